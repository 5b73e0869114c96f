import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion_controller.envs import (
    InvalidActionError,
    InvalidSeedError,
    InvalidStateError,
    PushTSimulation,
    initial_state,
)
from diffusion_controller.envs.pusht import agent_trace, reward_of_coverage
from diffusion_controller.envs.tee import CENTER_OF_GRAVITY, block_to_world

REST = np.array([100.0, 100.0, 256.0, 300.0, 0.5])


def _rollout(simulation: PushTSimulation, actions: np.ndarray) -> np.ndarray:
    states = []
    for action in actions:
        simulation.step(action)
        states.append(simulation.state)
    return np.array(states)


def _contact_actions(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(100, 400, size=(6, 2)).repeat(5, axis=0)


def test_the_same_seed_and_actions_give_the_same_trajectory_to_the_last_bit() -> None:
    used = PushTSimulation()
    used.reset(7)
    _rollout(used, _contact_actions(1))  # contacts leave impulses behind in the engine
    used.reset(3)
    fresh = PushTSimulation()
    fresh.reset(3)
    np.testing.assert_array_equal(
        _rollout(used, _contact_actions(2)), _rollout(fresh, _contact_actions(2))
    )


def test_an_untouched_block_stays() -> None:
    simulation = PushTSimulation()
    simulation.set_state(REST)
    states = _rollout(simulation, np.tile([60.0, 60.0], (30, 1)))
    np.testing.assert_array_equal(states[:, 2:], np.tile(REST[2:], (30, 1)))


def test_a_set_state_is_read_back() -> None:
    simulation = PushTSimulation()
    simulation.set_state(REST, agent_velocity=(3.0, 4.0))
    np.testing.assert_allclose(simulation.state, REST, atol=1e-12)
    assert simulation.agent_velocity == (3.0, 4.0)


def test_the_agent_approaches_its_target_as_a_critically_damped_oscillator() -> None:
    # x'' = 100 (target − x) − 20 x' by semi-implicit Euler at 100 Hz: (error, velocity) is
    # multiplied by a constant matrix at each physics step.
    simulation = PushTSimulation()
    simulation.set_state(REST)
    states = _rollout(simulation, np.tile([200.0, 100.0], (10, 1)))
    one_step = np.array([[1 - 100 * 0.01**2, -0.01 * (1 - 20 * 0.01)], [100 * 0.01, 1 - 20 * 0.01]])
    error = [
        (np.linalg.matrix_power(one_step, 10 * tick) @ [100.0, 0.0])[0] for tick in range(1, 11)
    ]
    np.testing.assert_allclose(200.0 - states[:, 0], error, atol=1e-9)
    assert (np.diff(states[:, 0]) > 0).all()  # no overshoot


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_the_agent_never_leaves_the_field(seed: int) -> None:
    # With ω = 10, x + v/ω moves towards the target and x towards x + v/ω: both stay between
    # the extremes of the targets.
    targets = np.random.default_rng(seed).choice([0.0, 512.0], size=(60, 2))
    trace = agent_trace(np.array([256.0, 256.0]), (0.0, 0.0), targets)
    assert trace.min() >= 0.0
    assert trace.max() <= 512.0


def test_the_trace_of_the_agent_is_that_of_the_simulation() -> None:
    simulation = PushTSimulation()
    simulation.set_state(REST, agent_velocity=(50.0, -20.0))
    targets = _contact_actions(0)
    trace = agent_trace(REST[:2], (50.0, -20.0), targets)
    np.testing.assert_allclose(trace[9::10], _rollout(simulation, targets)[:, :2], atol=1e-9)


def test_a_push_through_the_center_of_gravity_does_not_turn_the_block() -> None:
    simulation = PushTSimulation()
    simulation.set_state([256.0, 150.0, 256.0, 200.0, 0.0])
    states = _rollout(simulation, np.array([[256.0, 150.0 + 8 * k] for k in range(12)]))
    assert states[-1, 3] > 220.0
    assert abs((states[-1, 4] + math.pi) % (2 * math.pi) - math.pi) < 1e-3


def test_the_legacy_order_turns_the_block_about_its_center_of_gravity() -> None:
    legacy = initial_state(12)
    exact = initial_state(12, legacy_reset=False)
    np.testing.assert_array_equal(legacy[[0, 1, 4]], exact[[0, 1, 4]])
    center = block_to_world([CENTER_OF_GRAVITY], legacy[2:])[0]
    np.testing.assert_allclose(center, exact[2:4] + CENTER_OF_GRAVITY, atol=1e-9)


def test_starts_lie_where_the_published_draw_puts_them() -> None:
    states = np.array([initial_state(seed, legacy_reset=False) for seed in range(300)])
    assert states[:, :2].min() >= 50
    assert states[:, :2].max() < 450
    assert states[:, 2:4].min() >= 100
    assert states[:, 2:4].max() < 400
    assert states[:, 4].min() >= 0
    assert states[:, 4].max() < 2 * math.pi


@pytest.mark.parametrize(
    ("coverage", "reward"), [(-0.1, 0.0), (0.0, 0.0), (0.475, 0.5), (0.95, 1.0), (1.0, 1.0)]
)
def test_reward_is_coverage_up_to_the_threshold(coverage: float, reward: float) -> None:
    assert reward_of_coverage(coverage) == pytest.approx(reward)


@pytest.mark.parametrize("action", [[1.0], [1.0, 2.0, 3.0], [[1.0, 2.0]], 5.0])
def test_an_action_of_another_shape_is_refused(action: object) -> None:
    with pytest.raises(InvalidActionError, match=r"expected \(2,\)"):
        PushTSimulation().step(action)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_action_that_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(InvalidActionError, match="not finite"):
        PushTSimulation().step([100.0, bad])


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ([1.0, 2.0, 3.0], "five finite numbers"),
        ([1.0, 2.0, 3.0, 4.0, math.nan], "five finite numbers"),
        ([-1.0, 2.0, 3.0, 4.0, 0.0], "outside the field"),
        ([1.0, 600.0, 3.0, 4.0, 0.0], "outside the field"),
        ([1.0, 2.0, 9000.0, 4.0, 0.0], "far outside"),
    ],
)
def test_a_state_that_cannot_be_is_refused(state: list[float], message: str) -> None:
    with pytest.raises(InvalidStateError, match=message):
        PushTSimulation().set_state(state)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(InvalidSeedError, match="choose a seed"):
        PushTSimulation().reset(seed)
