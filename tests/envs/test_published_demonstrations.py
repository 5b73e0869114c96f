"""Agreement with the 206 published human demonstrations."""

from dataclasses import dataclass
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

ODD_EPISODE = 50
"""Its agent starts inside the block, and the engine parts them otherwise than was recorded."""


@pytest.fixture(scope="module")
def buffer(published_demonstrations: Path) -> ReplayBuffer:
    return ReplayBuffer.open(published_demonstrations)


@pytest.fixture(scope="module")
def states(buffer: ReplayBuffer) -> np.ndarray:
    return buffer.read("state", dtype=np.float64)


@pytest.fixture(scope="module")
def starts(buffer: ReplayBuffer) -> np.ndarray:
    return np.concatenate([[0], buffer.episode_ends[:-1]])


@pytest.fixture(scope="module")
def coverages(states: np.ndarray) -> np.ndarray:
    """Of the block in every recorded state."""
    return np.array([coverage(*state[2:]) for state in states])


@dataclass(frozen=True)
class Replay:
    """All demonstrations, open loop, from the seed of each alone.

    Attributes:
        rewards: Of every action but the last of each episode. Shape (actions,).
        states: After each. Shape (actions, 5).
        following: Number of the recorded frame after each. Shape (actions,).
        is_odd: Whether the action belongs to `ODD_EPISODE`. Shape (actions,).
    """

    rewards: np.ndarray
    states: np.ndarray
    following: np.ndarray
    is_odd: np.ndarray


@pytest.fixture(scope="module")
def replay(buffer: ReplayBuffer, starts: np.ndarray) -> Replay:
    actions = buffer.read("action", dtype=np.float64)
    simulation = PushTSimulation()
    rewards, states, following, is_odd = [], [], [], []
    for episode, start in enumerate(starts):
        simulation.reset(episode)
        for index in range(start, buffer.episode_ends[episode] - 1):
            rewards.append(simulation.step(actions[index]))
            states.append(simulation.state)
            following.append(index + 1)
            is_odd.append(episode == ODD_EPISODE)
    return Replay(np.array(rewards), np.array(states), np.array(following), np.array(is_odd))


def test_coverage_of_every_real_frame_equals_shapely(
    states: np.ndarray, coverages: np.ndarray
) -> None:
    def tees(poses: np.ndarray) -> np.ndarray:
        corners = np.stack([block_to_world(r, poses) for r in (BAR, STEM)], axis=-3)
        return np.asarray(shapely.multipolygons(shapely.polygons(corners)))

    goal = tees(np.array(GOAL_POSE))
    expected = shapely.area(shapely.intersection(goal, tees(states[:, 2:]))) / shapely.area(goal)
    np.testing.assert_allclose(coverages, expected, rtol=0, atol=1e-12)


def test_the_reward_of_every_action_is_the_coverage_of_the_next_real_frame(
    replay: Replay, coverages: np.ndarray
) -> None:
    """`coverage(state[i + 1]) / 0.95` is what `step(action[i])` returned; float32 states: 1e-6."""
    recorded = np.array([reward_of_coverage(value) for value in coverages[replay.following]])
    differences = np.abs(replay.rewards - recorded)
    assert np.median(differences) < 1e-7
    assert differences[~replay.is_odd].max() < 1e-6
    assert differences.max() < 0.1


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


def test_every_frame_of_a_replay_is_the_recorded_one(replay: Replay, states: np.ndarray) -> None:
    """To the rounding of float32, to the end of every episode but one."""
    errors = replay.states - states[replay.following]
    agent = np.hypot(errors[:, 0], errors[:, 1])
    block = np.hypot(errors[:, 2], errors[:, 3])
    turned = np.abs((errors[:, 4] + np.pi) % (2 * np.pi) - np.pi)
    assert agent.max() < 5e-5  # [px]
    assert block[~replay.is_odd].max() < 5e-5
    assert turned[~replay.is_odd].max() < 1e-6  # [rad]
    assert block.max() < 12


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
