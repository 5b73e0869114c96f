"""Rewriting any replay buffer in the layout that we write: zarr v3, uint8 images, small chunks."""

import os
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.store import Store
from zarr.storage import LocalStore

from diffusion_controller.data.errors import (
    ArrayNotFoundError,
    StoreExistsError,
    StoreFormatError,
    StoreWriteError,
)
from diffusion_controller.data.layout import ArraySpec, cast_exactly
from diffusion_controller.data.replay_buffer import SEEDS, ReplayBuffer


def convert_buffer(
    source: str | Path | Store,
    destination: str | Path,
    *,
    drop: Sequence[str] = (),
    episodes: Sequence[int] | None = None,
    allow_missing_chunks: bool = False,
    report: Callable[[int, int], None] | None = None,
) -> Path:
    """Writes a new buffer with the content of another; memory holds one episode at a time.

    Float arrays of images (three axes per step) become uint8. The destination appears only when
    it is whole.

    Args:
        source: Anything that `ReplayBuffer.open` takes.
        destination: A zarr directory, or a zip of one where the name ends with .zip.
        drop: Arrays to leave out.
        episodes: Which ones, in this order; None takes all.
        allow_missing_chunks: Whether lost chunks may become zarr's fill value.
        report: Called with the episodes that are done and their number.

    Raises:
        StoreExistsError: Something stands at the destination.
        ArrayNotFoundError: An array to drop is not there.
        EpisodeError: An episode is not there.
        MissingChunkError: A chunk of the source is not in the store.
        ImageRangeError: Float images hold other values than whole numbers from 0 to 255.
        StoreWriteError: The disk refused.
    """
    buffer = ReplayBuffer.open(source)
    for name in drop:
        buffer.array(name)
    kept = [name for name in buffer.arrays if name not in drop]
    if not kept:
        raise ArrayNotFoundError(
            f"all arrays ({', '.join(buffer.arrays)}) are to be dropped; expected one to be left"
        )
    selected = list(range(buffer.num_episodes) if episodes is None else episodes)
    for index in selected:
        buffer.episode_range(index)
    if not selected:
        raise StoreFormatError(f"{source} is left with no episodes; expected at least one")
    path = Path(destination)
    if path.exists():
        raise StoreExistsError(f"{path} exists already; choose another name or delete it first")
    unfinished = path.with_name(f".{path.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(buffer, unfinished, kept, selected, allow_missing_chunks, report)
        if path.suffix == ".zip":
            _pack(unfinished, path)
        else:
            unfinished.replace(path)
    except OSError as error:
        raise StoreWriteError(
            f"{path} could not be written ({error.__cause__ or error}); {source} is "
            "untouched. "
            "Free some space and convert again"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return path


def _write(
    buffer: ReplayBuffer,
    directory: Path,
    names: Sequence[str],
    episodes: Sequence[int],
    allow_missing_chunks: bool,
    report: Callable[[int, int], None] | None,
) -> None:
    specs = {name: _spec(buffer.arrays[name]) for name in names}
    metadata = {key: value for key, value in buffer.metadata.items() if key != SEEDS}
    seeds = buffer.metadata.get(SEEDS)
    # Not durable write by write: the whole appears by a rename when it is done.
    converted = ReplayBuffer.create(LocalStore(directory), specs, metadata=metadata)
    for done, index in enumerate(episodes, start=1):
        steps = np.arange(*buffer.episode_range(index))
        episode: dict[str, NDArray[Any]] = {}
        for name, spec in specs.items():
            values = buffer.read(name, episodes=[index], allow_missing_chunks=allow_missing_chunks)
            episode[name] = cast_exactly(values, np.dtype(spec.dtype), name=name, steps=steps)
        converted.append_episode(episode, seed=None if seeds is None else int(seeds[index]))
        if report is not None:
            report(done, len(episodes))


def _spec(array: zarr.Array[Any]) -> ArraySpec:
    is_float_image = array.ndim == 4 and array.dtype.kind == "f"
    dtype = np.dtype(np.uint8) if is_float_image else array.dtype.newbyteorder("=")
    return ArraySpec(tuple(array.shape[1:]), dtype)


def _pack(directory: Path, archive: Path) -> None:
    """Puts a directory into a zip; chunks are compressed already, so the zip only stores."""
    unfinished = archive.with_name(f".{archive.name}.packing")
    try:
        with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_STORED) as file:
            for entry in sorted(path for path in directory.rglob("*") if path.is_file()):
                # A fixed time stamp: equal content gives equal bytes.
                info = zipfile.ZipInfo(str(entry.relative_to(directory)))
                info.external_attr = 0o644 << 16
                file.writestr(info, entry.read_bytes())
        os.replace(unfinished, archive)
    finally:
        unfinished.unlink(missing_ok=True)
