"""How long a policy takes with some setting: latencies, parts, cold start, memory."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffusion_controller import DiffusionControllerError

if TYPE_CHECKING:
    from diffusion_controller.policy import Precision

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
"""The quantiles that are told, by their names."""

JUDGED_QUANTILE = "p99"
"""The quantile that a verdict goes by."""


class TimingError(DiffusionControllerError, ValueError):
    """A timing that cannot be made as it was asked for."""


@dataclass(frozen=True)
class Setting:
    """How a policy is run.

    Attributes:
        sampler: Name of the sampler.
        num_inference_steps: Denoising steps per chunk.
        engine: Name of the inference engine.
        precision: Of the network's arithmetic.
        num_threads: CPU threads of the policy.
        wait_policy: Of the threads that wait for work: `passive` ones sleep, `active` ones spin,
            and `default` leaves it to the library, whose threads spin for a while.
    """

    sampler: str
    num_inference_steps: int
    engine: str
    precision: "Precision"
    num_threads: int
    wait_policy: str

    @property
    def name(self) -> str:
        """The setting without its threads, for tables and plots."""
        return f"{self.engine} {self.precision}, {self.sampler} {self.num_inference_steps}"

    @property
    def threads(self) -> str:
        """Its threads, for tables; one thread waits for nobody."""
        if self.num_threads == 1:
            return "1 thread"
        return f"{self.num_threads} threads, {self.wait_policy}"

    @property
    def scored_as(self) -> tuple[str, int, str]:
        """What the closed-loop score depends on: engines compute the same chunk."""
        return self.sampler, self.num_inference_steps, self.precision


@dataclass(frozen=True)
class Latencies:
    """How long chunks took.

    Attributes:
        durations: From observation to chunk, both on the host, in [s]. At least one.
    """

    durations: tuple[float, ...]

    @cached_property
    def _sorted(self) -> NDArray[np.float64]:
        return np.sort(np.asarray(self.durations, dtype=np.float64))

    @property
    def calls(self) -> int:
        """How many chunks there were."""
        return len(self.durations)

    @property
    def max(self) -> float:
        """The longest, in [s]."""
        return float(self._sorted[-1])

    def quantile(self, name: str) -> float | None:
        """One of `QUANTILES` in [s]; None if so few calls do not reach it: p99 takes 100."""
        level = QUANTILES[name]
        if self.calls < calls_for(level):
            return None
        return float(np.quantile(self._sorted, level))

    @property
    def judged(self) -> float:
        """What a verdict goes by, in [s]: p99, or the maximum where there are too few calls."""
        found = self.quantile(JUDGED_QUANTILE)
        return self.max if found is None else found

    @property
    def judged_by(self) -> str:
        """What `judged` is: `p99` or `max`."""
        return "max" if self.quantile(JUDGED_QUANTILE) is None else JUDGED_QUANTILE

    def later_than(self, limit: float) -> int:
        """How many took longer than a limit in [s]."""
        return int(self.calls - np.searchsorted(self._sorted, limit, side="right"))

    def histogram(self, bins: int = 40) -> tuple[list[float], list[int]]:
        """Edges in [s], evenly spaced on a logarithmic scale, and calls between them."""
        low, high = float(self._sorted[0]), self.max
        edges = np.geomspace(low, max(high, low * (1 + 1e-9)), bins + 1)
        edges[0], edges[-1] = min(edges[0], low), max(edges[-1], high)
        counts, _ = np.histogram(self._sorted, edges)
        return edges.tolist(), counts.tolist()

    def to_json(self, limits: Mapping[str, float]) -> dict[str, Any]:
        """Summary in [s], with the calls that were later than each limit."""
        edges, counts = self.histogram()
        return {
            "calls": self.calls,
            "mean": float(self._sorted.mean()),
            **{name: self.quantile(name) for name in QUANTILES},
            "max": self.max,
            "missed": {name: self.later_than(limit) for name, limit in limits.items()},
            "histogram": {"edges": edges, "counts": counts},
        }


def worse_of(alone: Latencies, busy: Latencies | None) -> Latencies:
    """The latencies that a verdict goes by: a robot's machine has more to do than to plan."""
    return max(filter(None, (alone, busy)), key=lambda latencies: latencies.judged)


def calls_for(level: float) -> int:
    """How many calls a quantile takes, so that one of them is expected to lie beyond it."""
    return math.ceil(round(1 / (1 - level), 6))


@dataclass(frozen=True)
class Parts:
    """Where the time of a chunk goes: medians in [s].

    Attributes:
        copy_in: Observation from the host's arrays to tensors on the device, checked.
        encode: Observation to the network's condition, once per chunk.
        denoising_step: One pass of the network.
        copy_out: Chunk to the host's arrays, checked.
        whole: Observation to chunk.
        num_inference_steps: Passes of the network per chunk.
    """

    copy_in: float
    encode: float
    denoising_step: float
    copy_out: float
    whole: float
    num_inference_steps: int

    @property
    def denoising(self) -> float:
        """All passes of the network, in [s]."""
        return self.num_inference_steps * self.denoising_step

    @property
    def rest(self) -> float:
        """What is left over, in [s]: drawing noise, the sampler's arithmetic, denormalizing.

        Below zero where the engine runs the whole chunk faster than its parts one by one.
        """
        return self.whole - self.copy_in - self.encode - self.denoising - self.copy_out


@dataclass(frozen=True)
class ColdStart:
    """From a fresh process to the first chunk, in [s].

    Attributes:
        imports: Starting Python and importing.
        load: Loading the policy.
        first_chunk: Planning for the first time, which compiles what is compiled.
        warm_up: Duration of each call after that, before the measured ones.
    """

    imports: float
    load: float
    first_chunk: float
    warm_up: tuple[float, ...]

    @property
    def total(self) -> float:
        """Until the first chunk is there, in [s]."""
        return self.imports + self.load + self.first_chunk


@dataclass(frozen=True)
class Measurement:
    """What a setting was found to do.

    Attributes:
        setting: Which.
        alone: Latencies with the machine left alone.
        busy: Latencies with the other cores busy; None if not measured.
        cold_start: Of its process.
        parts: Where the time goes; None if not measured.
        peak_memory: Of its process, in [byte].
        peak_device_memory: That was allocated on the GPU, in [byte]; None on the CPU.
        device_alone: Times between two events on the GPU around each chunk of `alone`; None on
            the CPU.
    """

    setting: Setting
    alone: Latencies
    busy: Latencies | None
    cold_start: ColdStart
    parts: Parts | None
    peak_memory: int
    peak_device_memory: int | None = None
    device_alone: Latencies | None = None

    @property
    def worse(self) -> Latencies:
        """Those of alone and busy that a verdict goes by."""
        return worse_of(self.alone, self.busy)
