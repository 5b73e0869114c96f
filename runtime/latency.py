"""How long a policy takes for one chunk."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from diffusion_controller.runtime.chunk_policy import ChunkPolicy
from diffusion_controller.runtime.clock import MonotonicTime, TimeSource
from diffusion_controller.runtime.evaluation_result import LatencyStatistics
from diffusion_controller.runtime.planner import SynchronousPlanner

WARM_UP_CALLS = 3
FEWEST_CALLS = 5
"""Measured even when the time is up."""


class DeviceClock(Protocol):
    """A second clock that measures each call, on the device."""

    def start(self) -> None:
        """The call begins."""

    def stop(self) -> float:
        """The call has ended; how long it took by this clock, in [s]."""


class ChunkStopwatch:
    """Asks for chunks as the control loop does, one robot at a time, and times each.

    The time is that from a history of observations on the host to a checked chunk on the host.

    Attributes:
        device_durations: Of the last `measure`, by the device's clock, in [s].
    """

    def __init__(
        self,
        policy: ChunkPolicy,
        observations: Sequence[Mapping[str, NDArray[Any]]],
        *,
        time_source: TimeSource | None = None,
        device_clock: DeviceClock | None = None,
    ) -> None:
        """Time nothing yet.

        Args:
            policy: Whom to ask.
            observations: Histories to plan from, taken in turns. Shape of each array
                (obs_horizon, …).
            time_source: The monotonic clock by default.
            device_clock: Measures besides.
        """
        self._planner = SynchronousPlanner(policy, episode_seed=0)
        self._observations = observations
        self._time = time_source or MonotonicTime()
        self._device_clock = device_clock
        self._calls = 0
        self.device_durations: list[float] = []

    def warm_up(self, *, calls: int = WARM_UP_CALLS, seconds: float = 0.0) -> list[float]:
        """Plan that often and that long; what each took, in [s]."""
        end = self._time.now() + seconds
        durations: list[float] = []
        while len(durations) < calls or self._time.now() < end:
            durations.append(self._timed())
        return durations

    def measure(self, *, calls: int, seconds: float = math.inf, rest: float = 0.0) -> list[float]:
        """Durations of chunks in [s].

        Args:
            calls: At most so many; at least 1.
            seconds: Begin none after so long, once there are `FEWEST_CALLS`.
            rest: Pause before each, in [s]. A control loop rests between chunks, and caches and
                clock rates cool down: calls in a row are faster than any loop's.
        """
        self.device_durations.clear()
        end = self._time.now() + seconds
        durations: list[float] = []
        while len(durations) < calls:
            if len(durations) >= FEWEST_CALLS and self._time.now() >= end:
                break
            if rest > 0:
                self._time.sleep_until(self._time.now() + rest)
            durations.append(self._timed())
        return durations

    def _timed(self) -> float:
        observation = self._observations[self._calls % len(self._observations)]
        began = self._time.now()
        if self._device_clock is not None:
            self._device_clock.start()
        self._planner.plan(observation, index=self._calls)
        duration = self._time.now() - began
        if self._device_clock is not None:
            self.device_durations.append(self._device_clock.stop())
        self._calls += 1
        return duration


def measure_chunk_latency(
    policy: ChunkPolicy,
    observation: Mapping[str, NDArray[Any]],
    *,
    calls: int = 30,
    time_source: TimeSource | None = None,
) -> LatencyStatistics:
    """Summary of `time_chunks`, whose arguments it takes."""
    durations = time_chunks(policy, observation, calls=calls, time_source=time_source)
    return LatencyStatistics.of(durations, batch_size=1)


def time_chunks(
    policy: ChunkPolicy,
    observation: Mapping[str, NDArray[Any]],
    *,
    calls: int,
    time_source: TimeSource | None = None,
) -> list[float]:
    """Time from an observation to its chunk on the host, one robot at a time, after a warm-up.

    Args:
        policy: Whom to ask.
        observation: One observation; the history repeats it. Shape of each as the policy's
            `observation_shapes` say.
        calls: How many are measured. At least 1.
        time_source: The monotonic clock by default.

    Returns:
        Duration of each call in [s].

    Raises:
        ChunkError: If an answer is no finite action chunk.
    """
    history = repeated(observation, policy)
    stopwatch = ChunkStopwatch(policy, [history], time_source=time_source)
    stopwatch.warm_up()
    return stopwatch.measure(calls=calls)


def repeated(
    observation: Mapping[str, NDArray[Any]], policy: ChunkPolicy
) -> dict[str, NDArray[Any]]:
    """One observation as a history of it alone. Shape of each array (obs_horizon, …)."""
    return {
        name: np.repeat(np.asarray(observation[name])[None], policy.obs_horizon, axis=0)
        for name in policy.observation_shapes
    }
