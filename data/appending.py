"""Adding an episode to arrays on a disk: what fits, and the one step that makes it count."""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.core.metadata import ArrayV3Metadata

from diffusion_controller.data.errors import EpisodeError


def check_episode(
    episode: Mapping[str, NDArray[Any]],
    arrays: Mapping[str, zarr.Array[Any]],
    *,
    index: int,
    seed: int | None,
    has_seeds: bool,
) -> int:
    """Number of steps of an episode that may be appended to `arrays` as number `index`.

    Raises:
        EpisodeError: It does not fit.
    """
    if set(episode) != set(arrays):
        raise EpisodeError(
            f"episode {index} has arrays {sorted(episode)}; "
            f"expected {sorted(arrays)}, as the buffer has"
        )
    lengths = {name: len(np.atleast_1d(values)) for name, values in episode.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise EpisodeError(
            f"episode {index} has lengths {lengths}; expected one equal length of at least 1"
        )
    for name, array in arrays.items():
        values = np.asarray(episode[name])
        fits = np.can_cast(values.dtype, array.dtype, "same_kind")
        if values.shape[1:] != array.shape[1:] or not fits:
            raise EpisodeError(
                f"episode {index}: data/{name} is {values.dtype} of shape {values.shape}; "
                f"expected {array.dtype} of shape {('steps', *array.shape[1:])}"
            )
    if index and (seed is not None) != has_seeds:
        raise EpisodeError(
            f"episode {index} is given seed {seed}, unlike the ones before it; "
            "expected a seed for every episode of a buffer or for none"
        )
    return next(iter(lengths.values()))


def commit_end(ends: zarr.Array[Any], index: int, end: int) -> None:
    """Makes an episode part of the buffer, in one atomic step.

    The chunk is written while the shape in the metadata still hides the new entry; replacing
    the metadata then shows it.
    """
    metadata = cast(ArrayV3Metadata, ends.metadata)
    grown = zarr.AsyncArray(
        metadata=metadata.update_shape((index + 1,)), store_path=ends.store_path
    )
    zarr.Array(grown)[index] = end
    ends.resize((index + 1,))
