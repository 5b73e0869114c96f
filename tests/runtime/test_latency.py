from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from diffusion_controller.runtime import ChunkStopwatch, SimulatedTime, measure_chunk_latency
from diffusion_controller.runtime.latency import FEWEST_CALLS
from tests.runtime.doubles import ScriptedPolicy


class SlowPolicy(ScriptedPolicy):
    """Takes a second to warm up, then the given durations in turn."""

    def __init__(self, time_source: SimulatedTime, durations: Sequence[float]) -> None:
        super().__init__()
        self._time = time_source
        self._durations = iter([1.0, 1.0, 1.0, *durations])

    def predict_chunk(
        self, observation: Mapping[str, Any], *, seeds: Sequence[int] | None = None
    ) -> Any:
        assert observation["keypoints"].shape == (1, 2, 9, 2)
        self._time.advance(next(self._durations))
        return super().predict_chunk(observation, seeds=seeds)


def test_latency_is_that_of_one_robot_after_the_warm_up() -> None:
    time = SimulatedTime()
    durations = np.linspace(0.010, 0.019, 10)
    found = measure_chunk_latency(
        SlowPolicy(time, durations.tolist()),
        {"keypoints": np.zeros((9, 2)), "agent": np.zeros(2)},
        calls=10,
        time_source=time,
    )
    assert (found.calls, found.batch_size) == (10, 1)
    assert found.p50 == pytest.approx(0.0145)
    assert found.max == pytest.approx(0.019)
    assert found.mean == pytest.approx(durations.mean())


HISTORY = {"keypoints": np.zeros((2, 9, 2)), "agent": np.zeros((2, 2))}


def test_the_rest_before_a_chunk_is_not_its_latency() -> None:
    time = SimulatedTime()
    stopwatch = ChunkStopwatch(SlowPolicy(time, [0.02] * 6), [HISTORY], time_source=time)
    stopwatch.warm_up()
    began = time.now()
    assert stopwatch.measure(calls=6, rest=0.05) == pytest.approx([0.02] * 6)
    assert time.now() - began == pytest.approx(6 * 0.07)


def test_measuring_ends_when_its_time_is_up_but_not_without_calls() -> None:
    time = SimulatedTime()
    stopwatch = ChunkStopwatch(SlowPolicy(time, [0.1] * 50), [HISTORY], time_source=time)
    stopwatch.warm_up()
    assert len(stopwatch.measure(calls=100, seconds=1.95)) == 20
    assert len(stopwatch.measure(calls=100, seconds=0.0)) == FEWEST_CALLS


def test_a_warm_up_lasts_as_long_as_asked_for() -> None:
    time = SimulatedTime()
    stopwatch = ChunkStopwatch(SlowPolicy(time, [0.1] * 50), [HISTORY], time_source=time)
    assert len(stopwatch.warm_up(seconds=3.45)) == 8  # three of a second, five of a tenth


class SlowerClock:
    """A device that says every call took so long."""

    def __init__(self) -> None:
        self.started = 0

    def start(self) -> None:
        self.started += 1

    def stop(self) -> float:
        return 0.5


def test_a_device_times_the_measured_calls_besides() -> None:
    time, clock = SimulatedTime(), SlowerClock()
    policy = SlowPolicy(time, [0.1] * 9)
    stopwatch = ChunkStopwatch(policy, [HISTORY], time_source=time, device_clock=clock)
    stopwatch.warm_up()
    assert stopwatch.measure(calls=4) == pytest.approx([0.1] * 4)
    assert stopwatch.device_durations == [0.5] * 4
    assert clock.started == 7
