import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from zarr.storage import MemoryStore

from diffusion_controller import DiffusionControllerError
from diffusion_controller.data import (
    ArrayNotFoundError,
    ArraySpec,
    EpisodeError,
    ImageRangeError,
    MissingChunkError,
    ReplayBuffer,
    StoreExistsError,
    StoreFormatError,
    StoreNotFoundError,
)

Episode = dict[str, NDArray[Any]]
MakeEpisode = Callable[[int, int], Episode]
MakeBuffer = Callable[[Sequence[int]], ReplayBuffer]
LENGTHS = (7, 1, 12, 5)


def write_published_layout(store: Any, *, path: str, zarr_format: Any) -> None:
    """Two episodes the way the published data sets are written, images as floats."""
    group = zarr.create_group(store, path=path, zarr_format=zarr_format)
    steps = np.arange(20, dtype="f4")
    for name, values in {
        "data/action": np.stack([steps, steps], axis=1),
        "data/img": np.tile(steps[:, None, None, None], (1, 4, 4, 3)),
        "meta/episode_ends": np.array([8, 20]),
    }.items():
        array = group.create_array(
            name, shape=values.shape, dtype=values.dtype, chunks=(3, *values.shape[1:])
        )
        array[:] = values


def zip_directory(directory: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(directory.rglob("*")):
            file.write(path, path.relative_to(directory))


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=5))
def test_what_is_appended_is_read_back(
    lengths: list[int], make_episode: MakeEpisode, specs: dict[str, ArraySpec]
) -> None:
    store = MemoryStore()
    buffer = ReplayBuffer.create(store, specs)
    for index, length in enumerate(lengths):
        buffer.append_episode(make_episode(index, length), seed=index)
    read = ReplayBuffer.open(store)
    assert read.episode_ends.tolist() == np.cumsum(lengths).tolist()
    assert read.metadata["seeds"] == list(range(len(lengths)))
    for index, length in enumerate(lengths):
        for name, values in make_episode(index, length).items():
            np.testing.assert_array_equal(read.episode(index)[name], values, strict=True)
            whole = read.read(name)
            np.testing.assert_array_equal(whole[slice(*read.episode_range(index))], values)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("packing", ["directory", "parent", "zip", "nested zip", "url", "zip url"])
def test_a_store_opens_however_it_is_packed(tmp_path: Path, zarr_format: int, packing: str) -> None:
    inner = "a/b.zarr" if packing == "nested zip" else "b.zarr" if packing == "parent" else ""
    write_published_layout(tmp_path / "store", path=inner, zarr_format=zarr_format)
    location: str | Path = tmp_path / "store"
    if "zip" in packing:
        if inner:
            for metadata in ("zarr.json", ".zgroup", "a/zarr.json", "a/.zgroup"):
                (tmp_path / "store" / metadata).unlink(missing_ok=True)
        zip_directory(tmp_path / "store", tmp_path / "store.zip")
        location = tmp_path / "store.zip"
    elif packing == "parent":
        for metadata in ("zarr.json", ".zgroup"):
            (tmp_path / "store" / metadata).unlink(missing_ok=True)
    if "url" in packing:
        location = f"local://{location}"
    buffer = ReplayBuffer.open(location)
    assert buffer.episode_ends.tolist() == [8, 20]
    assert sorted(buffer.arrays) == ["action", "img"]
    np.testing.assert_array_equal(buffer.read("action")[:, 0], np.arange(20))


def test_float_images_of_whole_numbers_become_uint8(tmp_path: Path) -> None:
    write_published_layout(tmp_path / "store", path="", zarr_format=2)
    images = ReplayBuffer.open(tmp_path / "store").read("img", dtype=np.uint8)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images[:, 3, 3, 2], np.arange(20))


@pytest.mark.parametrize("wrong", [0.5, -1.0, 256.0, np.nan])
def test_float_images_that_uint8_cannot_hold_are_refused_with_the_step(
    tmp_path: Path, wrong: float
) -> None:
    write_published_layout(tmp_path / "store", path="", zarr_format=2)
    zarr.open_array(tmp_path / "store" / "data" / "img")[13, 2, 1, 0] = wrong
    with pytest.raises(ImageRangeError, match=r"at step 13; expected whole numbers from 0 to 255"):
        ReplayBuffer.open(tmp_path / "store").read("img", dtype=np.uint8)


def test_selected_episodes_are_read_in_the_order_of_the_store(
    buffer_path: Path, make_episode: MakeEpisode
) -> None:
    read = ReplayBuffer.open(buffer_path).read("state", episodes=[3, 0])
    expected = [make_episode(index, LENGTHS[index])["state"] for index in (0, 3)]
    np.testing.assert_array_equal(read, np.concatenate(expected))


def test_appending_resumes_where_the_buffer_ended(
    buffer_path: Path, make_episode: MakeEpisode
) -> None:
    buffer = ReplayBuffer.append_to(buffer_path)
    buffer.append_episode(make_episode(4, 9), seed=104)
    read = ReplayBuffer.open(buffer_path)
    assert read.episode_ends.tolist() == [7, 8, 20, 25, 34]
    assert read.metadata == {"control_hz": 10.0, "seeds": [100, 101, 102, 103, 104]}
    np.testing.assert_array_equal(read.episode(4)["img"], make_episode(4, 9)["img"])


def test_black_images_are_written_and_not_mistaken_for_a_lost_chunk(tmp_path: Path) -> None:
    path = tmp_path / "black.zarr"
    buffer = ReplayBuffer.create(path, {"img": ArraySpec((4, 4, 3), np.uint8, chunk_steps=2)})
    for _ in range(3):
        ReplayBuffer.append_to(path).append_episode({"img": np.zeros((5, 4, 4, 3), np.uint8)})
    assert buffer.num_episodes == 0  # an opened buffer is a snapshot
    assert ReplayBuffer.open(path).read("img").shape == (15, 4, 4, 3)


def test_a_missing_chunk_is_refused_with_steps_and_episode(buffer_path: Path) -> None:
    (buffer_path / "data" / "state" / "c.1.0").unlink()
    buffer = ReplayBuffer.open(buffer_path)
    message = r"data/state with steps 8 to 15 \(from episode 2\) is missing"
    with pytest.raises(MissingChunkError, match=message):
        buffer.read("state")
    with pytest.raises(MissingChunkError, match=message):
        buffer.episode(2)
    assert (buffer.read("state", allow_missing_chunks=True)[8:16] == 0).all()
    assert buffer.read("state", episodes=[0, 1, 3]).shape == (13, 5)


def test_a_damaged_chunk_is_refused_and_not_read_as_something_else(buffer_path: Path) -> None:
    chunk = buffer_path / "data" / "state" / "c.1.0"
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    with pytest.raises(StoreFormatError, match=r"steps 0 to 24 of data/state cannot be decoded"):
        ReplayBuffer.open(buffer_path).read("state")


@pytest.mark.parametrize(
    ("spec", "steps"),
    [
        (ArraySpec((480, 640, 3), np.uint8), 1),
        (ArraySpec((96, 96, 3), np.uint8), 8),
        (ArraySpec((2,)), 4096),
        (ArraySpec((1000,)), 64),
        (ArraySpec((5,), chunk_steps=17), 17),
    ],
)
def test_chunks_are_small_enough_for_random_windows(spec: ArraySpec, steps: int) -> None:
    assert spec.steps_per_chunk() == steps


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state": None}, r"has arrays \['action', 'img'\]; expected \['action', 'img', 'state'\]"),
        ({"state": np.zeros((3, 5))}, r"lengths .*'state': 3.*; expected one equal length"),
        ({"state": np.zeros((4, 6))}, r"data/state is float64 of shape \(4, 6\); expected float32"),
        ({"img": np.zeros((4, 4, 6, 3))}, r"data/img is float64 .* expected uint8"),
    ],
)
def test_an_episode_that_does_not_fit_is_refused_before_anything_is_written(
    make_buffer: MakeBuffer, make_episode: MakeEpisode, change: dict[str, Any], message: str
) -> None:
    buffer = make_buffer([3])
    episode = {k: v for k, v in (make_episode(1, 4) | change).items() if v is not None}
    with pytest.raises(EpisodeError, match=message):
        buffer.append_episode(episode, seed=1)
    assert {array.shape[0] for array in buffer.arrays.values()} == {3}


def test_an_empty_episode_is_refused(make_buffer: MakeBuffer, make_episode: MakeEpisode) -> None:
    with pytest.raises(EpisodeError, match="at least 1"):
        make_buffer([3]).append_episode(make_episode(1, 0), seed=1)


def test_seeds_are_given_for_all_episodes_or_for_none(
    make_buffer: MakeBuffer, make_episode: MakeEpisode
) -> None:
    with pytest.raises(EpisodeError, match="a seed for every episode"):
        make_buffer([3]).append_episode(make_episode(1, 4))


def test_unknown_names_and_indices_are_answered_with_the_valid_ones(buffer_path: Path) -> None:
    buffer = ReplayBuffer.open(buffer_path)
    with pytest.raises(ArrayNotFoundError, match="it has action, img, state"):
        buffer.read("velocity")
    with pytest.raises(EpisodeError, match=r"there is no episode 4; expected 0 to 3"):
        buffer.episode(4)


def test_create_never_overwrites(buffer_path: Path) -> None:
    with pytest.raises(StoreExistsError, match="exists already"):
        ReplayBuffer.create(buffer_path, {"action": ArraySpec((2,))})
    assert ReplayBuffer.open(buffer_path).num_episodes == 4


def test_a_store_of_zarr_v2_is_not_appended_to(tmp_path: Path) -> None:
    write_published_layout(tmp_path / "store", path="", zarr_format=2)
    with pytest.raises(StoreFormatError, match=r"is zarr v2; expected v3 to append to"):
        ReplayBuffer.append_to(tmp_path / "store")


def damage(buffer_path: Path, kind: str) -> str | Path:
    """Breaks the buffer in some way and returns what to open."""
    if kind == "absent":
        return buffer_path.with_name("nothing.zarr")
    if kind == "not zarr":
        buffer_path.with_name("other").mkdir()
        return buffer_path.with_name("other")
    if kind == "text file":
        buffer_path.with_name("notes.txt").write_text("hello")
        return buffer_path.with_name("notes.txt")
    if kind == "truncated zip":
        archive = buffer_path.with_name("buffer.zip")
        zip_directory(buffer_path, archive)
        archive.write_bytes(archive.read_bytes()[:-100])
        return archive
    if kind == "two stores in a zip":
        archive = buffer_path.with_name("both.zip")
        for name in ("a", "b"):
            write_published_layout(buffer_path.parent / "both" / name, path="", zarr_format=3)
        zip_directory(buffer_path.parent / "both", archive)
        return archive
    if kind == "broken metadata":
        (buffer_path / "zarr.json").write_text('{"zarr_format": 3')
    if kind == "no episode ends":
        (buffer_path / "meta" / "episode_ends" / "zarr.json").unlink()
    if kind == "ends beyond the data":
        zarr.open_array(buffer_path / "meta" / "episode_ends")[3] = 26
    if kind == "ends that fall":
        zarr.open_array(buffer_path / "meta" / "episode_ends")[1] = 7
    return buffer_path


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("absent", StoreNotFoundError, "there is no replay buffer at"),
        ("not zarr", StoreFormatError, "holds no replay buffer"),
        ("text file", StoreFormatError, "is no whole zip archive"),
        ("truncated zip", StoreFormatError, "is no whole zip archive"),
        ("two stores in a zip", StoreFormatError, r"holds 2 replay buffers \(a, b\)"),
        ("broken metadata", StoreFormatError, "its metadata is damaged"),
        ("no episode ends", StoreFormatError, "expected arrays under data/ and meta/episode_ends"),
        ("ends beyond the data", StoreFormatError, r"data/action has shape \(25, 2\) but .* 26"),
        (
            "ends that fall",
            StoreFormatError,
            r"episode_ends\[1\] is 7; expected ends that increase",
        ),
    ],
)
def test_what_is_no_whole_buffer_is_refused_in_one_line(
    buffer_path: Path, kind: str, error: type[DiffusionControllerError], message: str
) -> None:
    location = damage(buffer_path, kind)
    with pytest.raises(error, match=message) as refusal:
        ReplayBuffer.open(location)
    assert "\n" not in str(refusal.value)


def test_a_url_that_nothing_answers_is_refused_in_one_line() -> None:
    with pytest.raises(DiffusionControllerError, match=r"127\.0\.0\.1:9/none\.zip"):
        ReplayBuffer.open("http://127.0.0.1:9/none.zip")
    with pytest.raises(DiffusionControllerError, match="nowhere"):
        ReplayBuffer.open("nowhere://none.zarr")
    with pytest.raises(DiffusionControllerError, match="memory://none"):
        ReplayBuffer.open("memory://none.zarr")
