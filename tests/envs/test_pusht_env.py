import math
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from diffusion_controller.envs import (
    OBSERVATIONS,
    PUSHT_ENV_ID,
    InvalidActionError,
    InvalidSeedError,
    InvalidStateError,
    PushTEnv,
    RenderError,
    UnknownOptionError,
    keypoints_of_state,
)
from diffusion_controller.envs.tee import GOAL_POSE


@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_gymnasiums_checker_finds_nothing(observation: str) -> None:
    env = gymnasium.make(PUSHT_ENV_ID, observation=observation, render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Actions are positions in [px], as published, and not normalized.
        warnings.filterwarnings("ignore", message=".*symmetric and normalized space.*")
        check_env(env.unwrapped)


def test_the_name_can_be_made_without_an_import_before() -> None:
    env = gymnasium.make(f"diffusion_controller.envs:{PUSHT_ENV_ID}")
    assert isinstance(env.unwrapped, PushTEnv)


@pytest.mark.parametrize(
    ("observation", "shapes"),
    [
        ("state", {"state": (5,)}),
        ("keypoints", {"keypoints": (9, 2), "agent": (2,)}),
        ("image", {"image": (96, 96, 3), "agent": (2,)}),
        ("all", {"state": (5,), "keypoints": (9, 2), "agent": (2,), "image": (96, 96, 3)}),
    ],
)
def test_observations_have_the_entries_that_were_asked_for(
    observation: str, shapes: dict[str, tuple[int, ...]]
) -> None:
    env = PushTEnv(observation=observation)
    first, _ = env.reset(seed=0)
    assert {name: value.shape for name, value in first.items()} == shapes
    assert env.observation_space.contains(first)


def test_the_entries_of_an_observation_agree() -> None:
    env = PushTEnv(observation="all")
    env.reset(seed=1)
    observation, _, _, _, info = env.step(np.array([200, 300], dtype=np.float32))
    state = info["state"]
    np.testing.assert_allclose(observation["state"], state, rtol=1e-6)
    np.testing.assert_allclose(observation["agent"], state[:2], rtol=1e-6)
    np.testing.assert_allclose(observation["keypoints"], keypoints_of_state(state), rtol=1e-6)


def test_an_episode_is_truncated_after_300_actions() -> None:
    env = gymnasium.make(PUSHT_ENV_ID)
    env.reset(seed=0)
    action = np.array([50, 50], dtype=np.float32)
    ends = [env.step(action)[2:4] for _ in range(300)]
    assert ends[:-1] == [(False, False)] * 299
    assert ends[-1] == (False, True)


def test_an_episode_terminates_with_success() -> None:
    env = PushTEnv()
    _, info = env.reset(options={"state": np.array([60.0, 60.0, *GOAL_POSE])})
    assert info["is_success"]
    _, reward, terminated, _, info = env.step(np.array([60, 60], dtype=np.float32))
    assert terminated
    assert info["is_success"]
    assert reward == 1.0


def test_episodes_depend_on_the_seed_alone() -> None:
    first, second = PushTEnv(observation="keypoints"), PushTEnv(observation="keypoints")
    second.reset(seed=99)
    second.step(np.array([256, 256], dtype=np.float32))
    for a, b in zip(first.reset(seed=5)[0].values(), second.reset(seed=5)[0].values(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_starts_without_a_seed_follow_from_the_last_seed() -> None:
    first, second = PushTEnv(), PushTEnv()
    starts = []
    for env in (first, second):
        env.reset(seed=5)
        starts.append([env.reset()[1]["state"] for _ in range(3)])
    np.testing.assert_array_equal(starts[0], starts[1])
    assert len(np.unique(np.array(starts[0]), axis=0)) == 3


def test_a_reset_to_a_state_starts_there() -> None:
    state = np.array([100.0, 120.0, 300.0, 200.0, 1.0])
    _, info = PushTEnv().reset(options={"state": state})
    np.testing.assert_allclose(info["state"], state, atol=1e-12)


def test_the_legacy_order_is_the_default() -> None:
    env = PushTEnv()
    default = env.reset(seed=3)[1]["state"]
    legacy = env.reset(seed=3, options={"legacy_reset": True})[1]["state"]
    exact = env.reset(seed=3, options={"legacy_reset": False})[1]["state"]
    np.testing.assert_array_equal(default, legacy)
    assert np.abs(default - exact).max() > 1.0


def test_targets_outside_the_field_are_clipped_to_it() -> None:
    inside, outside = PushTEnv(), PushTEnv()
    inside.reset(seed=0)
    outside.reset(seed=0)
    a = inside.step(np.array([512, 0], dtype=np.float32))
    b = outside.step(np.array([4000, -7], dtype=np.float32))
    np.testing.assert_array_equal(a[0]["state"], b[0]["state"])


def test_frames_have_the_size_that_was_asked_for() -> None:
    env = PushTEnv(render_mode="rgb_array", render_size=200)
    env.reset(seed=0)
    frame = env.render()
    assert frame is not None
    assert frame.shape == (200, 200, 3)
    assert frame.dtype == np.uint8


@pytest.mark.parametrize("bad", [[math.nan, 1.0], [math.inf, 1.0], [1.0], [1.0, 2.0, 3.0]])
def test_a_bad_action_is_refused(bad: list[float]) -> None:
    env = PushTEnv()
    env.reset(seed=0)
    with pytest.raises(InvalidActionError, match=r"\[px\]"):
        env.step(np.array(bad, dtype=np.float32))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"observation": "pixels"}, "choose one of state, keypoints, image, all"),
        ({"render_mode": "human"}, "rgb_array"),
    ],
)
def test_an_unknown_name_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UnknownOptionError, match=message):
        PushTEnv(**arguments)


def test_a_picture_without_size_is_refused() -> None:
    with pytest.raises(RenderError, match="at least 1"):
        PushTEnv(render_mode="rgb_array", render_size=0)


@pytest.mark.parametrize(
    "options",
    [{"stat": 1}, {"state": np.array([9.0, 9.0, 250.0, 250.0, 0.0]), "legacy_reset": False}],
)
def test_an_unknown_reset_option_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UnknownOptionError, match="not understood"):
        PushTEnv().reset(seed=0, options=options)


def test_an_impossible_start_is_refused() -> None:
    with pytest.raises(InvalidStateError, match="outside the field"):
        PushTEnv().reset(options={"state": np.array([-5.0, 0.0, 250.0, 250.0, 0.0])})
    with pytest.raises(InvalidSeedError, match="choose a seed"):
        PushTEnv().reset(seed=2**40)
