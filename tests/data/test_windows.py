from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from zarr.storage import MemoryStore

from diffusion_controller.data import (
    ArrayField,
    ArrayNotFoundError,
    ArraySpec,
    HorizonError,
    ReplayBuffer,
    StoreFormatError,
    TransformError,
    WindowDataset,
    check_horizons,
    load_windows,
)

LENGTHS = (7, 1, 12, 5)
FIELDS = {"agent": ArrayField("state", (0, 1)), "image": ArrayField("img")}


def load(path: Path, **changes: Any) -> WindowDataset:
    horizons: dict[str, int] = {"horizon": 6, "obs_horizon": 2, "action_horizon": 3}
    episodes: Sequence[int] | None = changes.pop("episodes", None)
    fields = changes.pop("observations", FIELDS)
    return load_windows(
        ReplayBuffer.open(path),
        fields,
        ArrayField("action"),
        episodes=episodes,
        **horizons | changes,
    )


def padded_windows(
    episode: NDArray[Any], horizon: int, obs_horizon: int, action_horizon: int
) -> list[NDArray[Any]]:
    """The same windows the slow way: repeat the edges, then slide."""
    before = np.repeat(episode[:1], obs_horizon - 1, axis=0)
    after = np.repeat(episode[-1:], action_horizon - 1, axis=0)
    padded = np.concatenate([before, episode, after])
    return [padded[i : i + horizon] for i in range(len(padded) - horizon + 1)]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    lengths=st.lists(st.integers(1, 25), min_size=1, max_size=5),
    horizon=st.integers(1, 12),
    obs_horizon=st.integers(1, 4),
    action_horizon=st.integers(1, 12),
)
def test_windows_equal_sliding_over_episodes_with_repeated_edges(
    lengths: list[int], horizon: int, obs_horizon: int, action_horizon: int
) -> None:
    assume(obs_horizon - 1 + action_horizon <= horizon)
    buffer = ReplayBuffer.create(MemoryStore(), {"x": ArraySpec((2,))})
    values = np.arange(2 * sum(lengths), dtype="f4").reshape(-1, 2)
    episodes = np.split(values, np.cumsum(lengths)[:-1])
    for episode in episodes:
        buffer.append_episode({"x": episode})
    expected = [
        window
        for episode in episodes
        for window in padded_windows(episode, horizon, obs_horizon, action_horizon)
    ]
    assume(expected)
    windows = load_windows(
        buffer,
        {"x": ArrayField("x")},
        ArrayField("x"),
        horizon=horizon,
        obs_horizon=obs_horizon,
        action_horizon=action_horizon,
    )
    batch = windows.gather(torch.arange(len(windows)))
    np.testing.assert_array_equal(batch.action.numpy(), np.stack(expected))
    np.testing.assert_array_equal(
        batch.observation["x"].numpy(), np.stack(expected)[:, :obs_horizon]
    )


def test_windows_have_the_shapes_and_types_of_the_contract(buffer_path: Path) -> None:
    windows = load(buffer_path)
    batch = windows.gather(torch.tensor([0, 3, 3, 5, 1]))
    assert batch.action.shape == (5, 6, 2)
    assert batch.action.dtype == torch.float32
    assert batch.observation["agent"].shape == (5, 2, 2)
    assert batch.observation["agent"].dtype == torch.float32
    assert batch.observation["image"].shape == (5, 2, 4, 6, 3)
    assert batch.observation["image"].dtype == torch.uint8


def test_no_window_crosses_from_one_episode_into_another(buffer_path: Path) -> None:
    windows = load(buffer_path)
    actions = windows.gather(torch.arange(len(windows))).action
    episode = torch.div(actions[:, :, 0], 1000, rounding_mode="floor")
    assert (episode == episode[:, :1]).all()


def test_selecting_episodes_selects_their_windows(buffer_path: Path) -> None:
    alone = [load(buffer_path, episodes=[index]) for index in (0, 2)]
    together = load(buffer_path, episodes=[2, 0, 2])
    expected = torch.cat([part.gather(torch.arange(len(part))).action for part in alone])
    torch.testing.assert_close(together.gather(torch.arange(len(together))).action, expected)
    assert len(together.actions) == LENGTHS[0] + LENGTHS[2]


def test_gathering_commutes_with_permuting_the_indices(buffer_path: Path) -> None:
    windows = load(buffer_path)
    order = torch.randperm(len(windows), generator=torch.Generator().manual_seed(0))
    ordered = windows.gather(torch.arange(len(windows)))
    permuted = windows.gather(order)
    assert torch.equal(permuted.action, ordered.action[order])
    assert torch.equal(permuted.observation["image"], ordered.observation["image"][order])


def test_moving_the_windows_keeps_them(buffer_path: Path) -> None:
    windows = load(buffer_path)
    indices = torch.arange(len(windows))
    moved = windows.to("cpu").gather(indices)
    assert torch.equal(moved.action, windows.gather(indices).action)
    assert windows.to("meta").gather(indices.to("meta")).action.shape == moved.action.shape


def test_float_images_are_gathered_as_uint8(tmp_path: Path) -> None:
    buffer = ReplayBuffer.create(
        tmp_path / "float.zarr", {"img": ArraySpec((4, 4, 3)), "action": ArraySpec((2,))}
    )
    images = np.arange(8 * 48, dtype="f4").reshape(8, 4, 4, 3) % 256
    buffer.append_episode({"img": images, "action": np.zeros((8, 2), "f4")})
    windows = load(tmp_path / "float.zarr", observations={"image": ArrayField("img")})
    found = windows.images["image"].take(torch.arange(8))
    assert found.dtype == torch.uint8
    np.testing.assert_array_equal(found.numpy(), images)


@pytest.mark.parametrize(
    ("horizon", "obs_horizon", "action_horizon"),
    [(8, 2, 8), (0, 1, 1), (4, 0, 2), (4, 1, 0), (4, 5, 1)],
)
def test_horizons_that_do_not_fit_together_are_refused(
    horizon: int, obs_horizon: int, action_horizon: int
) -> None:
    with pytest.raises(HorizonError, match="obs_horizon - 1 \\+ action_horizon <= horizon"):
        check_horizons(horizon=horizon, obs_horizon=obs_horizon, action_horizon=action_horizon)


def test_the_executed_slice_may_end_with_the_chunk() -> None:
    check_horizons(horizon=9, obs_horizon=2, action_horizon=8)


@pytest.mark.parametrize("episodes", [[1], []])
def test_episodes_too_short_for_a_window_are_refused_with_the_length_needed(
    buffer_path: Path, episodes: list[int]
) -> None:
    with pytest.raises(HorizonError, match=r"need 3\. Choose a smaller horizon"):
        load(buffer_path, episodes=episodes)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (ArrayField("velocity"), "has no array data/velocity; it has action, img, state"),
        (ArrayField("state", (5,)), r"channels 0 to 4; channels \[5\] were asked for"),
        (ArrayField("state", (-1,)), r"channels 0 to 4; channels \[-1\] were asked for"),
        (ArrayField("state", ()), r"channels \[\] were asked for"),
    ],
)
def test_fields_that_are_not_there_are_answered_with_those_that_are(
    buffer_path: Path, field: ArrayField, message: str
) -> None:
    with pytest.raises(ArrayNotFoundError, match=message):
        load(buffer_path, observations={"x": field})


def test_values_that_are_not_finite_are_refused_with_their_step(buffer_path: Path) -> None:
    zarr.open_array(buffer_path / "data" / "state")[9, 1] = np.nan
    with pytest.raises(StoreFormatError, match=r"data/state holds .*nan.* at step 9"):
        load(buffer_path)


def test_images_are_no_actions(buffer_path: Path, make_episode: Callable[..., Any]) -> None:
    assert make_episode(0, 7)["img"].ndim == 4
    with pytest.raises(StoreFormatError, match=r"expected \(steps, action_dim\)"):
        load_windows(
            ReplayBuffer.open(buffer_path),
            {},
            ArrayField("img"),
            horizon=2,
            obs_horizon=1,
            action_horizon=1,
        )


def _mirrored(windows: WindowDataset) -> WindowDataset:
    names = [*windows.observations, "action"]
    return windows.with_transformed_copy({name: lambda values: -values for name in names})


def test_a_transformed_copy_follows_the_windows() -> None:
    windows = _small_windows()
    both = _mirrored(windows)
    assert len(both) == 2 * len(windows)
    indices = torch.arange(len(windows))
    first, second = both.gather(indices), both.gather(indices + len(windows))
    expected = windows.gather(indices)
    assert torch.equal(first.action, expected.action)
    assert torch.equal(second.action, -expected.action)
    for name, values in expected.observation.items():
        assert torch.equal(first.observation[name], values)
        assert torch.equal(second.observation[name], -values)


def test_a_copy_without_a_transform_for_every_name_is_refused() -> None:
    windows = _small_windows()
    with pytest.raises(TransformError, match="no transform for action"):
        windows.with_transformed_copy(dict.fromkeys(windows.observations, np.negative))


def _small_windows() -> WindowDataset:
    return WindowDataset(
        observations={"agent": torch.arange(12.0).view(6, 2)},
        actions=torch.arange(12.0).view(6, 2) + 100,
        starts=torch.tensor([-1, 0, 1]),
        first_steps=torch.zeros(3, dtype=torch.int64),
        last_steps=torch.full((3,), 5),
        horizon=4,
        obs_horizon=2,
    )
