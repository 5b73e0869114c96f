import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion_controller.runtime import ChunkExecutor, ObservationTimeError

CHUNK = np.arange(8.0)[:, None]


def executor(*, action_latency: float = 0.0, obs_horizon: int = 2) -> ChunkExecutor:
    made = ChunkExecutor(obs_horizon=obs_horizon, period=0.1, action_latency=action_latency)
    made.observe({"position": np.array([0.0])}, time=5.0)
    return made


def test_before_the_first_chunk_nothing_is_due_and_a_plan_is_needed() -> None:
    assert executor().due(5.0) is None
    assert executor().must_replan(5.0)


def test_without_an_observation_there_is_nothing_to_plan_from() -> None:
    assert not ChunkExecutor(obs_horizon=2, period=0.1).must_replan(0.0)


def test_action_i_is_due_i_periods_after_the_observation() -> None:
    made = executor()
    made.accept(CHUNK, observation_time=5.0)
    for step in range(8):
        due = made.due(5.0 + 0.1 * step)
        assert due is not None
        assert (due.step, due.action.tolist()) == (step, [step])
        assert due.age == pytest.approx(0.1 * step)


def test_after_the_last_action_a_plan_is_needed() -> None:
    made = executor()
    made.accept(CHUNK, observation_time=5.0)
    assert not made.must_replan(5.7)
    assert made.must_replan(5.8)


def test_actions_whose_time_passed_while_planning_are_dropped() -> None:
    made = executor()
    made.accept(CHUNK, observation_time=5.0)
    due = made.due(5.34)
    assert due is not None
    assert due.step == 3


def test_commands_are_sent_earlier_by_the_action_latency() -> None:
    made = executor(action_latency=0.03)
    made.accept(CHUNK, observation_time=5.0)
    steps = [due.step for time in (5.0, 5.069, 5.071, 5.171) if (due := made.due(time))]
    assert steps == [0, 0, 1, 2]


def test_an_old_chunk_is_not_executed_at_all() -> None:
    made = executor()
    made.accept(CHUNK, observation_time=3.0)
    assert made.due(5.0) is None
    assert made.must_replan(5.0)


def test_a_chunk_from_the_future_is_not_executed_before_its_time() -> None:
    made = executor()
    made.accept(CHUNK, observation_time=6.0)
    assert made.due(5.5) is None


def test_a_new_chunk_replaces_what_is_left_of_the_old_one() -> None:
    made = executor()
    made.accept(CHUNK, observation_time=5.0)
    made.accept(CHUNK + 100.0, observation_time=5.2)
    due = made.due(5.3)
    assert due is not None
    assert (due.action.tolist(), due.chunk.index) == ([101.0], 1)


@given(start=st.floats(0, 1e6), period=st.floats(1e-3, 1.0), step=st.integers(0, 7))
def test_on_the_grid_every_action_is_due_at_its_own_tick(
    start: float, period: float, step: int
) -> None:
    made = ChunkExecutor(obs_horizon=1, period=period)
    made.accept(CHUNK, observation_time=start)
    due = made.due(start + step * period)
    assert due is not None
    assert due.step == step


def test_the_history_is_padded_with_the_first_observation() -> None:
    made = executor(obs_horizon=3)
    assert made.observation["position"].tolist() == [[0.0], [0.0], [0.0]]
    made.observe({"position": np.array([1.0])}, time=5.1)
    assert made.observation["position"].tolist() == [[0.0], [0.0], [1.0]]
    for count in (2.0, 3.0):
        made.observe({"position": np.array([count])}, time=5.0 + count)
    assert made.observation["position"].tolist() == [[1.0], [2.0], [3.0]]


@pytest.mark.parametrize("time", [5.0, 4.9, math.nan, math.inf])
def test_an_observation_that_is_not_newer_is_refused_and_changes_nothing(time: float) -> None:
    made = executor()
    with pytest.raises(ObservationTimeError, match="increasing time stamps"):
        made.observe({"position": np.array([9.0])}, time=time)
    assert made.observation["position"].tolist() == [[0.0], [0.0]]
    assert made.observation_time == 5.0
