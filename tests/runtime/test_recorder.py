from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from diffusion_controller.data import ReplayBuffer
from diffusion_controller.robots import EnvRobot
from diffusion_controller.runtime import (
    PUSHT_ARRAYS,
    ChunkExecutor,
    EpisodeRecorder,
    RecordingError,
    SynchronousPlanner,
    clock_for,
    open_recording,
    run_control_loop,
)
from tests.runtime.doubles import ScriptedPolicy


def record(
    env: gymnasium.Env[Any, Any], recorder: EpisodeRecorder, *, seed: int, max_ticks: int
) -> EnvRobot:
    robot = EnvRobot(env, seed=seed)
    robot.connect()
    robot.arm()
    policy = ScriptedPolicy()
    run_control_loop(
        robot,
        SynchronousPlanner(policy, episode_seed=seed),
        ChunkExecutor(obs_horizon=policy.obs_horizon, period=robot.describe().period),
        clock_for(robot),
        max_ticks=max_ticks,
        subscribers=[recorder],
    )
    return robot


@pytest.fixture(scope="module")
def push_t() -> gymnasium.Env[Any, Any]:
    return gymnasium.make("diffusion_controller/PushT-v0", observation="all")


def test_recorded_episodes_read_back_as_demonstrations(
    push_t: gymnasium.Env[Any, Any], tmp_path: Path
) -> None:
    path = tmp_path / "rollouts.zarr"
    for seed in (100_000, 100_001):
        recorder = EpisodeRecorder(PUSHT_ARRAYS)
        robot = record(push_t, recorder, seed=seed, max_ticks=12)
        episode = recorder.episode()
        buffer = open_recording(path, robot.describe(), episode, source="test")
        buffer.append_episode(episode, seed=seed)

    buffer = ReplayBuffer.open(path)
    assert buffer.num_episodes == 2
    assert buffer.metadata["seeds"] == [100_000, 100_001]
    assert buffer.metadata["control_hz"] == 10.0
    assert buffer.metadata["env_id"] == "diffusion_controller/PushT-v0"
    shapes = {name: array.shape for name, array in buffer.arrays.items()}
    assert shapes == {
        "action": (24, 2),
        "img": (24, 96, 96, 3),
        "keypoint": (24, 9, 2),
        "state": (24, 5),
    }


def test_replaying_the_recorded_actions_leads_through_the_recorded_states(
    push_t: gymnasium.Env[Any, Any],
) -> None:
    recorder = EpisodeRecorder(PUSHT_ARRAYS)
    record(push_t, recorder, seed=100_002, max_ticks=20)
    episode = recorder.episode()
    observation, _ = push_t.reset(seed=100_002)
    for state, action in zip(episode["state"], episode["action"], strict=True):
        np.testing.assert_array_equal(observation["state"], state)
        observation, *_ = push_t.step(action)


def test_an_observation_that_the_robot_lacks_cannot_be_recorded(
    push_t: gymnasium.Env[Any, Any],
) -> None:
    with pytest.raises(RecordingError, match="no observation wrist"):
        record(push_t, EpisodeRecorder({"img": "wrist"}), seed=1, max_ticks=3)


def test_an_episode_without_a_command_is_no_episode() -> None:
    with pytest.raises(RecordingError, match="at least one command"):
        EpisodeRecorder(PUSHT_ARRAYS).episode()
