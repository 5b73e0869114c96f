from pathlib import Path

import cv2
import numpy as np
import pytest

from diffusion_controller.data import ArraySpec, ReplayBuffer, StoreFormatError, StoreWriteError
from diffusion_controller.data.inspect import draw_episodes, format_summary, summarize


def test_the_summary_counts_what_was_recorded(buffer_path: Path) -> None:
    buffer = ReplayBuffer.open(buffer_path)
    summary = summarize(buffer)
    assert (summary.num_episodes, summary.num_steps) == (4, 25)
    assert (summary.shortest, summary.mean_length, summary.longest) == (1, 6.25, 12)
    assert (summary.control_hz, summary.num_seeds) == (10.0, 4)
    action, image, state = summary.arrays
    assert (action.low, action.high) == ((0.0, 0.0), (3004.0, 11.0))
    assert (image.shape, image.dtype, image.low) == ((4, 6, 3), "uint8", None)
    assert state.steps_per_chunk == 8


def test_the_table_has_a_line_for_each_array(buffer_path: Path) -> None:
    table = format_summary(summarize(ReplayBuffer.open(buffer_path)))
    assert "4 episodes, 25 steps, 0.0 min at 10 Hz" in table
    assert "episode length 1 to 12 steps, mean 6.2" in table
    lines = {line.split()[0]: line for line in table.splitlines() if line}
    assert lines["action"].endswith("0 to 3004, 0 to 11")
    assert lines["img"].endswith(" -")


@pytest.mark.parametrize("name", ["picture.png", "new/picture.svg"])
def test_the_picture_is_written(buffer_path: Path, tmp_path: Path, name: str) -> None:
    path = draw_episodes(ReplayBuffer.open(buffer_path), tmp_path / name)
    assert path.stat().st_size > 5000
    if name.endswith("png"):
        image = cv2.imread(str(path))
        assert image is not None
        assert image.shape[0] > 500
        assert len(np.unique(image.reshape(-1, 3), axis=0)) > 100


@pytest.mark.parametrize("shape", [(1,), (7,)])
def test_actions_of_any_dimension_are_drawn(tmp_path: Path, shape: tuple[int, ...]) -> None:
    buffer = ReplayBuffer.create(tmp_path / "b.zarr", {"action": ArraySpec(shape)})
    for length in (1, 9):
        values = np.random.default_rng(0).normal(size=(length, *shape))
        buffer.append_episode({"action": values})
    assert draw_episodes(buffer, tmp_path / "b.png").exists()


def test_what_cannot_be_drawn_is_refused_in_one_line(buffer_path: Path, tmp_path: Path) -> None:
    empty = ReplayBuffer.create(tmp_path / "empty.zarr", {"action": ArraySpec((2,))})
    assert summarize(empty).num_episodes == 0
    with pytest.raises(StoreFormatError, match="no episodes to draw"):
        draw_episodes(empty, tmp_path / "empty.png")
    with pytest.raises(StoreWriteError, match=r"ends with \.png, \.svg or \.pdf"):
        draw_episodes(ReplayBuffer.open(buffer_path), tmp_path / "picture.nothing")
