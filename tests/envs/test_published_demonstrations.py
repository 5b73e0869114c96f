"""Agreement with the 206 published human demonstrations."""

from pathlib import Path

import numpy as np
import pytest
import shapely  # type: ignore[import-untyped]

from diffusion_controller.data import ReplayBuffer
from diffusion_controller.envs import (
    PushTRenderer,
    PushTSimulation,
    coverage,
    initial_state,
    keypoints_of_state,
)
from diffusion_controller.envs.pusht import reward_of_coverage
from diffusion_controller.envs.tee import BAR, GOAL_POSE, STEM, block_to_world


@pytest.fixture(scope="module")
def buffer(published_demonstrations: Path) -> ReplayBuffer:
    return ReplayBuffer.open(published_demonstrations)


@pytest.fixture(scope="module")
def states(buffer: ReplayBuffer) -> np.ndarray:
    return buffer.read("state", dtype=np.float64)


@pytest.fixture(scope="module")
def starts(buffer: ReplayBuffer) -> np.ndarray:
    return np.concatenate([[0], buffer.episode_ends[:-1]])


def test_coverage_of_real_frames_equals_shapely(states: np.ndarray) -> None:
    goal = shapely.MultiPolygon(
        [shapely.Polygon(block_to_world(r, GOAL_POSE)) for r in (BAR, STEM)]
    )
    for state in states[::25]:
        block = [shapely.Polygon(block_to_world(r, state[2:])) for r in (BAR, STEM)]
        expected = goal.intersection(shapely.MultiPolygon(block)).area / goal.area
        assert coverage(*state[2:]) == pytest.approx(expected, abs=1e-9)


def test_the_reward_of_an_action_is_the_coverage_of_the_next_real_frame(
    buffer: ReplayBuffer, states: np.ndarray, starts: np.ndarray
) -> None:
    """`coverage(state[i + 1]) / 0.95` is what `step(action[i])` returned; float32 states: 1e-6."""
    actions = buffer.read("action", dtype=np.float64)
    simulation = PushTSimulation()
    differences = []
    for episode in range(0, buffer.num_episodes, 20):
        simulation.reset(episode)
        for index in range(starts[episode], buffer.episode_ends[episode] - 1):
            reward = simulation.step(actions[index])
            recorded = reward_of_coverage(coverage(*states[index + 1, 2:]))
            differences.append(abs(reward - recorded))
    assert np.median(differences) < 1e-6
    assert np.quantile(differences, 0.9) < 1e-6


def test_no_demonstration_ends_in_success(buffer: ReplayBuffer, states: np.ndarray) -> None:
    final = np.array([coverage(*states[end - 1, 2:]) for end in buffer.episode_ends])
    assert final.min() == pytest.approx(0.772, abs=1e-3)
    assert final.max() == pytest.approx(0.901, abs=1e-3)
    assert final.mean() == pytest.approx(0.847, abs=1e-3)


def test_demonstration_number_n_began_with_the_legacy_reset_of_seed_n(
    states: np.ndarray, starts: np.ndarray
) -> None:
    simulation = PushTSimulation()
    for seed, start in enumerate(starts):
        simulation.reset(seed)
        np.testing.assert_allclose(simulation.state, states[start], atol=5e-5)
    assert len(starts) == 206
    assert np.abs(initial_state(0, legacy_reset=False) - states[0]).max() > 1.0


def test_replayed_demonstrations_are_what_was_recorded(
    buffer: ReplayBuffer, states: np.ndarray, starts: np.ndarray
) -> None:
    """Open loop, from the seed alone: nine episodes in ten agree to rounding until their end."""
    actions = buffer.read("action", dtype=np.float64)
    simulation = PushTSimulation()
    agent_error, block_error = [], []
    for episode in range(0, buffer.num_episodes, 5):
        simulation.reset(episode)
        last = buffer.episode_ends[episode] - 1
        for action in actions[starts[episode] : last]:
            simulation.step(action)
        error = simulation.state - states[last]
        agent_error.append(np.hypot(*error[:2]))
        block_error.append(np.hypot(*error[2:4]))
    assert max(agent_error) < 1e-4  # [px]
    assert np.quantile(block_error, 0.85) < 1e-3


def test_keypoints_of_real_states_are_the_recorded_ones(
    buffer: ReplayBuffer, states: np.ndarray
) -> None:
    """To rounding for most frames; those in contact were recorded a touch apart from the state."""
    recorded = buffer.read("keypoint", dtype=np.float64)
    difference = np.abs(keypoints_of_state(states) - recorded).max(axis=(1, 2))
    assert np.median(difference) < 5e-5  # [px]
    assert np.quantile(difference, 0.99) < 0.05
    assert difference.max() < 2.5


def test_pictures_of_real_states_are_the_recorded_ones(buffer: ReplayBuffer) -> None:
    episode = buffer.episode(3)
    renderer = PushTRenderer(96)
    differences = [
        np.abs(renderer.draw(state).astype(float) - image).mean()
        for state, image in zip(episode["state"][::10], episode["img"][::10], strict=True)
    ]
    assert np.mean(differences) < 0.3  # of 255; rasterizers differ along edges
    assert np.max(differences) < 0.6
