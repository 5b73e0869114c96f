import errno
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from diffusion_controller.data import ArraySpec, ReplayBuffer, StoreWriteError
from diffusion_controller.data.stores import DurableStore

SCRIPT = Path(__file__).parent / "append_until_killed.py"
Episode = dict[str, NDArray[Any]]
START = 3


@pytest.fixture(scope="module")
def episode() -> Callable[[int], Episode]:
    function: Callable[[int], Episode] = runpy.run_path(str(SCRIPT))["episode"]
    return function


@pytest.fixture
def template(
    tmp_path: Path, specs: dict[str, ArraySpec], episode: Callable[[int], Episode]
) -> Path:
    """Buffer of three episodes that end within a chunk, so that appending rewrites chunks."""
    buffer = ReplayBuffer.create(tmp_path / "template.zarr", specs)
    for index in range(START):
        buffer.append_episode(episode(index), seed=index)
    return tmp_path / "template.zarr"


def check_whole(path: Path, episode: Callable[[int], Episode], *, acknowledged: int) -> None:
    """All acknowledged episodes are there, at most one more, and appending goes on."""
    buffer = ReplayBuffer.open(path)
    assert acknowledged <= buffer.num_episodes <= acknowledged + 1
    for name in buffer.arrays:
        expected = [episode(index)[name] for index in range(buffer.num_episodes)]
        np.testing.assert_array_equal(buffer.read(name), np.concatenate(expected))
    assert buffer.metadata["seeds"] == list(range(buffer.num_episodes))

    repaired = ReplayBuffer.append_to(path)
    assert {array.shape[0] for array in repaired.arrays.values()} == {buffer.num_steps}
    assert not list(path.rglob(".unfinished-*"))
    repaired.append_episode(episode(buffer.num_episodes), seed=buffer.num_episodes)
    again = ReplayBuffer.open(path)
    assert again.num_episodes == buffer.num_episodes + 1
    for name in again.arrays:
        expected = [episode(index)[name] for index in range(again.num_episodes)]
        np.testing.assert_array_equal(again.read(name), np.concatenate(expected))


def test_a_killed_writer_loses_at_most_the_episode_it_was_writing(
    tmp_path: Path, template: Path, episode: Callable[[int], Episode]
) -> None:
    folder = tmp_path / "killed"
    folder.mkdir()
    subprocess.run([sys.executable, str(SCRIPT), str(template), str(folder), "10"], check=True)
    killed_in_between = 0
    for path in sorted(folder.glob("*.zarr")):
        note = path.with_suffix(".acknowledged")
        acknowledged = START + (note.stat().st_size if note.exists() else 0)
        lengths = {array.shape[0] for array in ReplayBuffer.open(path).arrays.values()}
        killed_in_between += len(lengths) > 1
        check_whole(path, episode, acknowledged=acknowledged)
    assert len(list(folder.glob("write-*.zarr"))) > 30
    assert killed_in_between > 5  # the instants did fall into the middle of an episode


class FullDisk(DurableStore):
    """A disk that is full from a given write on, after half of that value fitted."""

    free_writes = 10**9

    async def set(self, key: str, value: Any) -> None:
        self.free_writes -= 1
        if self.free_writes < 0:
            path = self.root / key
            path.parent.mkdir(parents=True, exist_ok=True)
            content = value.to_bytes()
            path.with_name(f".unfinished-{path.name}").write_bytes(content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        await super().set(key, value)


@pytest.mark.parametrize("recovery", ["same buffer", "reopened"])
def test_a_disk_that_fills_at_any_write_loses_at_most_the_episode(
    template: Path, episode: Callable[[int], Episode], recovery: str
) -> None:
    store = FullDisk(template)
    buffer = ReplayBuffer.append_to(store)
    for free_writes in range(1000):
        before = buffer.num_episodes
        store.free_writes = free_writes
        try:
            buffer.append_episode(episode(before), seed=before)
            break
        except StoreWriteError as error:
            message = str(error)
        assert "No space left on device" in message
        assert f"the {before} episodes before it are whole" in message
        assert ReplayBuffer.open(template).num_episodes == before
        for index in (before - 1, 0):
            for name, values in ReplayBuffer.open(template).episode(index).items():
                np.testing.assert_array_equal(values, episode(index)[name])
        store.free_writes = 10**9
        if recovery == "reopened":
            buffer = ReplayBuffer.append_to(store)
        buffer.append_episode(episode(before), seed=before)
    assert free_writes > 8
    check_whole(template, episode, acknowledged=buffer.num_episodes)


def test_a_disk_that_is_full_when_the_buffer_is_created_is_reported_in_one_line(
    tmp_path: Path, specs: dict[str, ArraySpec]
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(StoreWriteError, match="could not be created") as refusal:
        ReplayBuffer.create(blocked / "buffer.zarr", specs)
    assert "\n" not in str(refusal.value)


def test_a_reader_never_sees_an_unfinished_episode(
    template: Path, episode: Callable[[int], Episode]
) -> None:
    class Watched(DurableStore):
        async def set(self, key: str, value: Any) -> None:
            await super().set(key, value)
            written.append(key)

    written: list[str] = []
    ReplayBuffer.append_to(Watched(template)).append_episode(episode(START), seed=START)
    assert written[-2:] == ["meta/episode_ends/c.0", "meta/episode_ends/zarr.json"]
