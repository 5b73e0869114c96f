"""How arrays lie in the stores that we write: types, chunks, codecs, and which chunks are there."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import DTypeLike, NDArray
from zarr.codecs import BloscCodec, BloscShuffle, Crc32cCodec
from zarr.core.array_spec import ArrayConfigParams
from zarr.core.sync import sync

from diffusion_controller.data.errors import ImageRangeError, StoreFormatError

EPISODE_ENDS = "meta/episode_ends"
# A random window touches one or two chunks, so a chunk is small: one 480 x 640 image, eight
# 96 x 96 images. Low-dimensional arrays are read whole and only bounded from above.
_CHUNK_BYTES = 256 * 1024
_MAX_CHUNK_STEPS = 4096
# Reading and converting hold at most about this much beside the result.
PIECE_BYTES = 32 * 1024 * 1024
# zarr leaves out chunks of zeros unless told otherwise; then a lost chunk looks like one.
WRITE_EVERY_CHUNK: ArrayConfigParams = {"write_empty_chunks": True}


@dataclass(frozen=True)
class ArraySpec:
    """What one array under `data/` holds at each step.

    Attributes:
        shape: Shape of one step.
        dtype: Element type; images are uint8.
        chunk_steps: Steps per chunk; None chooses for random windows.
    """

    shape: tuple[int, ...]
    dtype: DTypeLike = np.float32
    chunk_steps: int | None = None

    def steps_per_chunk(self) -> int:
        """Steps per chunk: the largest power of two that keeps a chunk within 256 KiB."""
        if self.chunk_steps is not None:
            return self.chunk_steps
        step_bytes = max(1, np.dtype(self.dtype).itemsize * int(np.prod(self.shape, dtype=int)))
        fitting = max(1, _CHUNK_BYTES // step_bytes)
        return min(_MAX_CHUNK_STEPS, int(2 ** np.floor(np.log2(fitting))))


def create_array(group: zarr.Group, path: str, spec: ArraySpec) -> zarr.Array[Any]:
    """An empty array of zarr v3 in `group`; every chunk carries a checksum."""
    dtype = np.dtype(spec.dtype)
    shuffle = BloscShuffle.bitshuffle if dtype.itemsize == 1 else BloscShuffle.shuffle
    return group.create_array(
        path,
        shape=(0, *spec.shape),
        chunks=(spec.steps_per_chunk(), *spec.shape),
        dtype=dtype,
        compressors=[BloscCodec(cname="zstd", clevel=5, shuffle=shuffle), Crc32cCodec()],
        fill_value=0,
        chunk_key_encoding={"name": "default", "separator": "."},
        config=WRITE_EVERY_CHUNK,
    )


def missing_chunks(array: zarr.Array[Any], *, num_steps: int) -> list[tuple[int, int]]:
    """Ranges [start, stop) of steps below `num_steps` whose chunks are not in the store."""
    grid = array.shards or array.chunks
    shape = (min(num_steps, array.shape[0]), *array.shape[1:])
    counts = tuple(-(-size // chunk) for size, chunk in zip(shape, grid, strict=True))
    prefix = f"{array.store_path.path}/" if array.store_path.path else ""
    keys = {
        prefix + array.metadata.encode_chunk_key(index): index[0] for index in np.ndindex(counts)
    }
    present = sync(_present_keys(array, prefix, list(keys)))
    missing = sorted({row for key, row in keys.items() if key not in present})
    return [(row * grid[0], min((row + 1) * grid[0], shape[0])) for row in missing]


async def _present_keys(array: zarr.Array[Any], prefix: str, keys: list[str]) -> set[str]:
    store = array.store_path.store
    listed = {key async for key in store.list_prefix(prefix)}
    if listed:
        return listed
    return {key for key in keys if await store.exists(key)}  # a web server that cannot list


def pieces(array: zarr.Array[Any], *, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Ranges of steps that cover [start, stop): whole chunks, about `PIECE_BYTES` each."""
    chunk = (array.shards or array.chunks)[0]
    step_bytes = max(1, array.dtype.itemsize * int(np.prod(array.shape[1:], dtype=int)))
    steps = max(1, PIECE_BYTES // (step_bytes * chunk)) * chunk
    for first in range(start // chunk * chunk, stop, steps):
        yield max(first, start), min(first + steps, stop)


def read_scattered(array: zarr.Array[Any], steps: NDArray[np.int64]) -> NDArray[Any]:
    """An array at single steps, strictly increasing; each chunk that holds some is read once.

    zarr's own way of selecting many rows copies them element by element, and takes half as long
    again.
    """
    chunk_steps = array.chunks[0]
    runs = np.split(steps, np.flatnonzero(np.diff(steps // chunk_steps)) + 1)

    async def read(run: NDArray[np.int64]) -> NDArray[Any]:
        values = np.asarray(await array.async_array.getitem(slice(run[0], run[-1] + 1)))
        return values if len(values) == len(run) else values[run - run[0]]

    async def read_all() -> list[NDArray[Any]]:
        return await asyncio.gather(*map(read, runs))

    return np.concatenate(sync(read_all()))


def cast_exactly(
    values: NDArray[Any], dtype: np.dtype[Any], *, name: str, steps: NDArray[np.int64]
) -> NDArray[Any]:
    """`values` as `dtype`; conversion to an integer type must lose nothing.

    Args:
        values: Shape (steps, ...).
        dtype: Type of the result.
        name: Array under `data/`, for the message.
        steps: Number of each step in the store, for the message. Shape (steps,).

    Raises:
        ImageRangeError: A value is not a whole number that `dtype` can hold.
    """
    if values.dtype == dtype:
        return values
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        with np.errstate(invalid="ignore"):
            fits = (values >= info.min) & (values <= info.max) & (values == np.rint(values))
        if not fits.all():
            where = np.argwhere(~fits)[0]
            raise ImageRangeError(
                f"data/{name} holds {values[tuple(where)]} at step {steps[where[0]]}; "
                f"expected whole numbers from {info.min} to {info.max} to store as {dtype}. "
                "Scale the images to 0..255 and round them before recording them"
            )
    return values.astype(dtype)


def read_members(
    group: zarr.Group, name: str
) -> tuple[dict[str, zarr.Array[Any]], zarr.Array[Any]]:
    """The arrays under `data/` by name, and `meta/episode_ends`.

    Raises:
        StoreFormatError: They are not there, or not of the right kind.
    """
    data, ends = group.get("data"), group.get(EPISODE_ENDS)
    if not isinstance(data, zarr.Group) or not isinstance(ends, zarr.Array):
        raise StoreFormatError(
            f"{name} is zarr but holds {sorted(group.keys())}; expected arrays under data/ and "
            "meta/episode_ends. A recording that was cut off before its first episode looks so "
            "too: delete it then"
        )
    if ends.ndim != 1 or ends.dtype.kind not in "iu":
        raise StoreFormatError(
            f"{name}: meta/episode_ends is {ends.dtype} of shape {ends.shape}; "
            "expected whole numbers of shape (episodes,)"
        )
    arrays = dict(sorted(data.arrays()))
    if not arrays:
        raise StoreFormatError(f"{name}: data/ holds no arrays; expected at least one")
    return {key: array.with_config(WRITE_EVERY_CHUNK) for key, array in arrays.items()}, ends


def read_ends(array: zarr.Array[Any], name: str) -> NDArray[np.int64]:
    """The ends of all episodes, which must increase from above 0.

    Raises:
        StoreFormatError: They do not.
    """
    ends = np.asarray(array[:]).astype(np.int64)
    wrong = np.flatnonzero(np.diff(ends, prepend=0) <= 0)
    if wrong.size:
        raise StoreFormatError(
            f"{name}: meta/episode_ends[{wrong[0]}] is {ends[wrong[0]]}; expected ends that "
            "increase from above 0. Look at every defect with `dpc data validate`"
        )
    return ends
