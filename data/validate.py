"""What is wrong with recorded demonstrations, each defect with its place."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.store import Store

from diffusion_controller.data.defects import Defect, EpisodePlaces
from diffusion_controller.data.errors import StoreFormatError
from diffusion_controller.data.layout import EPISODE_ENDS, missing_chunks, pieces, read_members
from diffusion_controller.data.stores import open_group
from diffusion_controller.data.value_checks import (
    check_constant,
    check_idle,
    check_range,
    check_time,
)

_TIME_ARRAYS = ("time", "timestamp")


def validate_buffer(
    source: str | Path | Store,
    *,
    action_range: tuple[float, float] | None = None,
    idle_steps: int = 5,
    idle_tolerance: float = 1e-3,
) -> list[Defect]:
    """Every defect of a replay buffer, errors first; reads every array once, in pieces.

    Args:
        source: Anything that `ReplayBuffer.open` takes, even where that refuses its content.
        action_range: Lowest and highest action, in the units of the store; None takes the
            "action_range" of the store's metadata, or does not check.
        idle_steps: Runs of at least this many steps with neither action nor state changing
            are idle.
        idle_tolerance: What counts as no change, as a fraction of the channel's range.

    Raises:
        StoreNotFoundError: There is nothing at `source`.
        StoreFormatError: It is no zarr store with `data/` and `meta/episode_ends`.
    """
    group = open_group(source)
    arrays, ends_array = read_members(group, str(source))
    ends = np.asarray(ends_array[:]).astype(np.int64)
    defects = list(_check_ends(ends))
    has_ends = not any(defect.severity == "error" for defect in defects)
    defects += _check_lengths(arrays, ends)
    episodes = EpisodePlaces(ends if has_ends else None)
    small: dict[str, NDArray[Any]] = {}
    for name, array in arrays.items():
        defects += _check_missing(name, array, episodes)
        values, found = _read_checked(name, array, episodes)
        defects += found
        if values is not None:
            small[name] = values
            defects += check_constant(name, values)
    if action_range is None:
        action_range = _recorded_range(group)
    if "action" in small and action_range is not None:
        defects += check_range(small["action"], action_range, episodes)
    for name in _TIME_ARRAYS:
        if name in small:
            defects += check_time(name, small[name], episodes)
    defects += check_idle(small, episodes, steps=idle_steps, tolerance=idle_tolerance)
    return sorted(defects, key=lambda defect: defect.severity)  # "error" < "warning"; stable


def _check_ends(ends: NDArray[np.int64]) -> Iterator[Defect]:
    if not len(ends):
        yield Defect("warning", None, None, EPISODE_ENDS, "is empty; expected finished episodes")
    previous = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
    for index in np.flatnonzero(ends <= previous):
        yield Defect(
            "error",
            int(index),
            None,
            EPISODE_ENDS,
            f"ends at {ends[index]} after {previous[index]}; expected ends that increase",
        )


def _check_lengths(arrays: dict[str, zarr.Array[Any]], ends: NDArray[np.int64]) -> Iterator[Defect]:
    num_steps = int(ends.max(initial=0))
    lengths = {name: array.shape[0] if array.ndim else 0 for name, array in arrays.items()}
    for name, length in lengths.items():
        if length < num_steps:
            yield Defect(
                "error",
                None,
                length,
                f"data/{name}",
                f"has {length} steps but meta/episode_ends ends at {num_steps}; expected as many",
            )
    if min(lengths.values()) != max(lengths.values()):
        longest = max(lengths.values())
        for name, length in lengths.items():
            if num_steps <= length < longest:
                yield Defect(
                    "warning",
                    None,
                    length,
                    f"data/{name}",
                    f"has {length} steps where another array has {longest}; "
                    "expected equal lengths, as an unfinished recording leaves them unequal",
                )
    elif max(lengths.values()) > num_steps:
        yield Defect(
            "warning",
            None,
            num_steps,
            EPISODE_ENDS,
            f"ends at {num_steps} but the arrays have {max(lengths.values())} steps; the rest "
            "belongs to an episode that was never finished and is not read",
        )


def _check_missing(name: str, array: zarr.Array[Any], episodes: EpisodePlaces) -> Iterator[Defect]:
    for start, stop in missing_chunks(array, num_steps=array.shape[0]):
        episode, index = episodes.place(start)
        last, _ = episodes.place(stop - 1)
        reach = "" if last == episode else f", up to episode {last}"
        yield Defect(
            "error",
            episode,
            index,
            f"data/{name}",
            f"the chunk of steps {start} to {stop - 1}{reach} is missing and would be read as "
            f"{array.fill_value}; expected it in the store",
        )


def _read_checked(
    name: str, array: zarr.Array[Any], episodes: EpisodePlaces
) -> tuple[NDArray[Any] | None, list[Defect]]:
    """The values, unless they are images or cannot be read, and the defects of single values."""
    is_image = array.ndim == 4
    kept: list[NDArray[Any]] = []
    broken: list[NDArray[np.int64]] = []
    fractional: list[NDArray[np.int64]] = []
    defects: list[Defect] = []
    for start, stop in pieces(array, start=0, stop=array.shape[0]):
        for first, values in _decode(name, array, start, stop, episodes, defects):
            if values.dtype.kind == "f":
                flat = values.reshape(len(values), -1)
                finite = np.isfinite(flat)
                broken.append(first + np.flatnonzero(~finite.all(axis=1)))
                if is_image:
                    with np.errstate(invalid="ignore"):
                        whole = (flat == np.rint(flat)) & (flat >= 0) & (flat <= 255) | ~finite
                    fractional.append(first + np.flatnonzero(~whole.all(axis=1)))
            if not is_image:
                kept.append(values)
    for episode, index, steps in episodes.group(_joined(broken)):
        message = f"{len(steps)} steps hold NaN or infinity; expected finite numbers"
        defects.append(Defect("error", episode, index, f"data/{name}", message))
    for episode, index, steps in episodes.group(_joined(fractional)):
        message = f"{len(steps)} images hold other values than whole numbers from 0 to 255"
        defects.append(Defect("error", episode, index, f"data/{name}", message))
    values_read = np.concatenate(kept) if kept else None
    complete = values_read is not None and len(values_read) == array.shape[0]
    return (values_read if complete else None), defects


def _joined(steps: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate(steps) if steps else np.zeros(0, np.int64)


def _decode(
    name: str,
    array: zarr.Array[Any],
    start: int,
    stop: int,
    episodes: EpisodePlaces,
    defects: list[Defect],
) -> Iterator[tuple[int, NDArray[Any]]]:
    """Values from `start` to `stop`; chunks that cannot be decoded become defects."""
    try:
        yield start, np.asarray(array[start:stop])
        return
    except (RuntimeError, ValueError, OSError, TypeError):
        pass  # find out which chunk it is
    chunk = (array.shards or array.chunks)[0]
    for first in range(start, stop, chunk):
        last = min(first + chunk, stop)
        try:
            yield first, np.asarray(array[first:last])
        except (RuntimeError, ValueError, OSError, TypeError) as error:
            episode, index = episodes.place(first)
            message = (
                f"the chunk of steps {first} to {last - 1} cannot be decoded "
                f"({' '.join(str(error).split())}); expected a whole one"
            )
            defects.append(Defect("error", episode, index, f"data/{name}", message))


def _recorded_range(group: zarr.Group) -> tuple[float, float] | None:
    recorded = group.attrs.get("action_range")
    if recorded is None:
        return None
    if not isinstance(recorded, list | tuple) or len(recorded) != 2:
        raise StoreFormatError(
            f"the metadata action_range is {recorded!r}; expected the lowest and highest action"
        )
    low, high = recorded
    return float(str(low)), float(str(high))
