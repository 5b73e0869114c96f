"""The verdict on what was measured: which settings keep a control rate, and which to use."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from diffusion_controller.runtime.timing import (
    JUDGED_QUANTILE,
    Measurement,
    Setting,
    TimingError,
)

InTime = Literal["synchronous", "slack", "never"]
"""`synchronous`: within a control period. `slack`: before the actions of a chunk run out, which
does for planning beside execution."""


@dataclass(frozen=True)
class Requirement:
    """What a policy has to keep.

    Attributes:
        control_hz: Rate of the control loop in [Hz].
        action_horizon: Actions of a chunk that are executed.
        margin: Part of the time that has to be left, in [0, 1).
    """

    control_hz: float
    action_horizon: int
    margin: float = 0.2

    def __post_init__(self) -> None:
        """Check.

        Raises:
            TimingError: If no loop could run at that rate, or no time would be left.
        """
        if not 0 < self.control_hz < math.inf:
            raise TimingError(
                f"control_hz is {self.control_hz:g}; expected a positive, finite rate in Hz, "
                "such as control_hz=10"
            )
        if not 0 <= self.margin < 1:
            raise TimingError(
                f"margin is {self.margin:g}; expected a part of the control period in [0, 1), "
                "such as margin=0.2"
            )

    @property
    def period(self) -> float:
        """Control period in [s]: what a chunk may take when the loop waits for it."""
        return 1 / self.control_hz

    @property
    def chunk_period(self) -> float:
        """How long the actions of a chunk last, in [s]: what the next chunk may take."""
        return self.action_horizon / self.control_hz

    @property
    def limits(self) -> dict[str, float]:
        """The deadlines in [s]."""
        return {"synchronous": self.period, "slack": self.chunk_period}

    def in_time(self, latency: float) -> InTime:
        """Which deadline a latency in [s] keeps, with the margin."""
        if latency <= (1 - self.margin) * self.period:
            return "synchronous"
        return "slack" if latency <= (1 - self.margin) * self.chunk_period else "never"

    def explain(self, latency: float, *, by: str = JUDGED_QUANTILE) -> str:
        """The verdict on a latency in [s] as one sentence.

        Args:
            latency: What is judged.
            by: What it is of all latencies: `p99` or `max`.
        """
        found, period, chunk_period = map(in_ms, (latency, self.period, self.chunk_period))
        rate, kept = f"{self.control_hz:g} Hz", self.in_time(latency)
        left = f" with {100 * self.margin:.0f} % of it left" if self.margin else ""
        if kept == "synchronous":
            return (
                f"In time for {rate}: a chunk is there within {found} ({by}), and a control "
                f"period is {period}."
            )
        if kept == "slack":
            return (
                f"In time for {rate} only when planning goes on beside execution: a chunk takes "
                f"up to {found} ({by}), too long for a control period of {period}{left}, but the "
                f"actions of the chunk before last {chunk_period}."
            )
        return (
            f"Too slow for {rate} here: a chunk takes up to {found} ({by}), too long even for the "
            f"{chunk_period} that the actions of the chunk before last{left}. Use fewer denoising "
            "steps, a faster engine or a smaller network."
        )


@dataclass(frozen=True)
class Score:
    """How well a policy does in closed loop with some sampler.

    Attributes:
        mean: Mean score.
        low: Lower end of its 95 % interval.
        high: Upper end.
        starts: How many starts it is the mean of.
    """

    mean: float
    low: float
    high: float
    starts: int


Scores = Mapping[tuple[str, int, str], Score]
"""Scores by sampler, denoising steps and precision."""


@dataclass(frozen=True)
class Judgement:
    """A setting beside what it has to keep.

    Attributes:
        measurement: Of the setting.
        in_time: Which deadline it keeps.
        score: In closed loop; None if not known.
    """

    measurement: Measurement
    in_time: InTime
    score: Score | None


def judge(
    measurements: Sequence[Measurement], requirement: Requirement, scores: Scores
) -> list[Judgement]:
    """Judge settings, the one to use first.

    Those that keep the control period come before those that only keep the chunk's, and these
    before the others; within each, a known score before an unknown one, a higher before a lower,
    and the faster of equal ones first.
    """
    judged = [
        Judgement(one, requirement.in_time(one.worse.judged), scores.get(one.setting.scored_as))
        for one in measurements
    ]
    order = {"synchronous": 0, "slack": 1, "never": 2}

    def place(one: Judgement) -> tuple[int, float, float]:
        score = math.inf if one.score is None else -one.score.mean
        return order[one.in_time], score, one.measurement.worse.judged

    return sorted(judged, key=place)


def best_threads(measurements: Sequence[Measurement]) -> Setting:
    """The setting to go on with of several that differ in their threads only.

    By the worse of alone and busy at p90, which takes few calls; of settings within a tenth of
    the best the one with the fewest threads, which leaves cores to the rest of the robot.
    """

    def reached(one: Measurement) -> float:
        found = [one.alone, one.busy or one.alone]
        return max(latencies.quantile("p90") or latencies.max for latencies in found)

    best = min(map(reached, measurements))
    close = [one for one in measurements if reached(one) <= 1.1 * best]
    return min(close, key=lambda one: (one.setting.num_threads, reached(one))).setting


def in_ms(seconds: float) -> str:
    """Three digits with the unit, for a person to read."""
    milliseconds = 1e3 * seconds
    return f"{milliseconds:.0f} ms" if milliseconds >= 100 else f"{milliseconds:.3g} ms"
