"""Small replay buffers with known content."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from diffusion_controller.data import ArraySpec, ReplayBuffer

Episode = dict[str, NDArray[Any]]
LENGTHS = (7, 1, 12, 5)


def _episode(index: int, length: int) -> Episode:
    """Content that depends on the index only; actions rise by one from step to step."""
    random = np.random.default_rng([index, length])
    first = 1000 * index
    return {
        "action": np.stack([first + np.arange(length), np.arange(length)], axis=1).astype("f4"),
        "state": random.uniform(0, 512, (length, 5)).astype("f4"),
        "img": random.integers(0, 256, (length, 4, 6, 3), dtype=np.uint8),
    }


def _write(path: Path, specs: dict[str, ArraySpec], lengths: Sequence[int]) -> ReplayBuffer:
    buffer = ReplayBuffer.create(path, specs, metadata={"control_hz": 10.0})
    for index, length in enumerate(lengths):
        buffer.append_episode(_episode(index, length), seed=100 + index)
    return buffer


@pytest.fixture(scope="session")
def make_episode() -> Callable[[int, int], Episode]:
    """Episode of an index and a length; the same arguments give the same content."""
    return _episode


@pytest.fixture(scope="session")
def specs() -> dict[str, ArraySpec]:
    return {
        "action": ArraySpec((2,), chunk_steps=8),
        "state": ArraySpec((5,), chunk_steps=8),
        "img": ArraySpec((4, 6, 3), np.uint8, chunk_steps=4),
    }


@pytest.fixture
def make_buffer(
    tmp_path: Path, specs: dict[str, ArraySpec]
) -> Callable[[Sequence[int]], ReplayBuffer]:
    """Buffer with episodes of the given lengths at `tmp_path/buffer.zarr`."""

    def make(lengths: Sequence[int]) -> ReplayBuffer:
        return _write(tmp_path / "buffer.zarr", specs, lengths)

    return make


@pytest.fixture(scope="session")
def _template(tmp_path_factory: pytest.TempPathFactory, specs: dict[str, ArraySpec]) -> Path:
    path = tmp_path_factory.mktemp("template") / "buffer.zarr"
    _write(path, specs, LENGTHS)
    return path


@pytest.fixture
def buffer_path(_template: Path, tmp_path: Path) -> Path:
    """Path of a buffer of four episodes of 7, 1, 12 and 5 steps, to do anything with."""
    shutil.copytree(_template, tmp_path / "buffer.zarr")
    return tmp_path / "buffer.zarr"
