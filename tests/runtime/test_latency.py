from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from diffusion_controller.runtime import SimulatedTime, measure_chunk_latency
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
