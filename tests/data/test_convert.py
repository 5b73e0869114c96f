import zipfile
from pathlib import Path

import numpy as np
import pytest
import zarr

from diffusion_controller.data import (
    ArrayNotFoundError,
    EpisodeError,
    ImageRangeError,
    MissingChunkError,
    ReplayBuffer,
    StoreExistsError,
    StoreFormatError,
    StoreWriteError,
)
from diffusion_controller.data.convert import convert_buffer


@pytest.fixture
def published_layout(tmp_path: Path) -> Path:
    """Store of zarr v2 with two episodes and float images of whole numbers."""
    random = np.random.default_rng(0)
    group = zarr.create_group(tmp_path / "v2.zarr", zarr_format=2)
    for name, values in {
        "data/action": random.normal(size=(20, 2)).astype(">f4"),
        "data/img": random.integers(0, 256, (20, 4, 4, 3)).astype("f4"),
        "data/n_contacts": random.integers(0, 3, (20, 1)).astype("f4"),
        "meta/episode_ends": np.array([8, 20]),
    }.items():
        chunks = (7, *values.shape[1:])
        stored = group.create_array(name, shape=values.shape, dtype=values.dtype, chunks=chunks)
        stored[:] = values
    return tmp_path / "v2.zarr"


@pytest.mark.parametrize("name", ["out.zarr", "new/out.zip"])
def test_converting_keeps_every_value(published_layout: Path, tmp_path: Path, name: str) -> None:
    converted = ReplayBuffer.open(convert_buffer(published_layout, tmp_path / name))
    source = ReplayBuffer.open(published_layout)
    assert converted.episode_ends.tolist() == [8, 20]
    for array in source.arrays:
        np.testing.assert_array_equal(converted.read(array), source.read(array))
        assert converted.array(array).metadata.zarr_format == 3
    assert converted.array("img").dtype == np.uint8
    assert converted.array("action").dtype == np.dtype("<f4")


def test_converting_twice_changes_nothing(published_layout: Path, tmp_path: Path) -> None:
    once = convert_buffer(published_layout, tmp_path / "once.zip")
    twice = convert_buffer(once, tmp_path / "twice.zip")
    with zipfile.ZipFile(once) as first, zipfile.ZipFile(twice) as second:
        assert {n: first.read(n) for n in first.namelist()} == {
            n: second.read(n) for n in second.namelist()
        }
    assert once.read_bytes() == twice.read_bytes()


def test_selected_episodes_keep_their_seeds(buffer_path: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = convert_buffer(
        buffer_path,
        tmp_path / "some.zarr",
        drop=["img"],
        episodes=[3, 0],
        report=lambda done, total: seen.append((done, total)),
    )
    some, source = ReplayBuffer.open(path), ReplayBuffer.open(buffer_path)
    assert sorted(some.arrays) == ["action", "state"]
    assert some.metadata == {"control_hz": 10.0, "seeds": [103, 100]}
    np.testing.assert_array_equal(some.episode(0)["state"], source.episode(3)["state"])
    np.testing.assert_array_equal(some.episode(1)["state"], source.episode(0)["state"])
    assert seen == [(1, 2), (2, 2)]


def test_a_converted_directory_can_be_appended_to(buffer_path: Path, tmp_path: Path) -> None:
    path = convert_buffer(buffer_path, tmp_path / "copy.zarr")
    buffer = ReplayBuffer.append_to(path)
    buffer.append_episode(buffer.episode(2), seed=5)
    assert ReplayBuffer.open(path).num_episodes == 5


def test_a_missing_chunk_stops_it_unless_accepted(buffer_path: Path, tmp_path: Path) -> None:
    (buffer_path / "data" / "state" / "c.1.0").unlink()
    with pytest.raises(MissingChunkError, match="allow_missing_chunks=true"):
        convert_buffer(buffer_path, tmp_path / "copy.zarr")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["buffer.zarr"]
    accepted = convert_buffer(buffer_path, tmp_path / "copy.zarr", allow_missing_chunks=True)
    assert (ReplayBuffer.open(accepted).read("state")[8:16] == 0).all()


def test_images_that_uint8_cannot_hold_stop_it(published_layout: Path, tmp_path: Path) -> None:
    zarr.open_array(published_layout / "data" / "img")[11, 0, 0, 0] = 0.5
    with pytest.raises(ImageRangeError, match=r"0\.5 at step 11"):
        convert_buffer(published_layout, tmp_path / "out.zarr")
    assert not (tmp_path / "out.zarr").exists()


def test_what_cannot_be_converted_is_refused_before_anything_is_written(
    buffer_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.zarr"
    with pytest.raises(ArrayNotFoundError, match="it has action, img, state"):
        convert_buffer(buffer_path, out, drop=["velocity"])
    with pytest.raises(ArrayNotFoundError, match="expected one to be left"):
        convert_buffer(buffer_path, out, drop=["action", "img", "state"])
    with pytest.raises(EpisodeError, match="there is no episode 4"):
        convert_buffer(buffer_path, out, episodes=[0, 4])
    with pytest.raises(StoreFormatError, match="expected at least one"):
        convert_buffer(buffer_path, out, episodes=[])
    with pytest.raises(StoreExistsError, match="exists already"):
        convert_buffer(buffer_path, buffer_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreWriteError, match="could not be written"):
        convert_buffer(buffer_path, tmp_path / "file" / "out.zarr")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["buffer.zarr", "file"]
