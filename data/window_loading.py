"""Laying training windows over the episodes of a replay buffer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import zarr
from numpy.typing import NDArray
from torch import Tensor

from diffusion_controller.data.errors import (
    ArrayNotFoundError,
    HorizonError,
    StoreFormatError,
)
from diffusion_controller.data.images import IMAGE_NDIM, ImagesInMemory, StoredImages
from diffusion_controller.data.replay_buffer import ReplayBuffer
from diffusion_controller.data.windows import WindowDataset


@dataclass(frozen=True)
class ArrayField:
    """Where an observation or action comes from in a replay buffer.

    Attributes:
        array: Name under `data/`.
        channels: Selected along the last axis; None takes all.
    """

    array: str
    channels: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Makes a list from a configuration file hashable."""
        if self.channels is not None:
            object.__setattr__(self, "channels", tuple(self.channels))


def load_windows(
    buffer: ReplayBuffer,
    observations: Mapping[str, ArrayField],
    action: ArrayField,
    *,
    horizon: int,
    obs_horizon: int,
    action_horizon: int,
    episodes: Sequence[int] | None = None,
    images_in_memory: bool = True,
) -> WindowDataset:
    """Reads the arrays of some episodes into memory and lays windows over them.

    Images, which are observations of three axes per step, become uint8; all else float32.

    Args:
        buffer: Where the episodes lie.
        observations: Field by the name that the policy sees.
        action: Field of the actions; one axis per step.
        horizon: Steps of actions in a window.
        obs_horizon: Steps of observations in a window.
        action_horizon: Steps of actions that are executed before replanning.
        episodes: Which ones; None takes all.
        images_in_memory: Whether images are read now, or left in the store until they are gathered.

    Raises:
        HorizonError: The horizons do not fit together, or no episode is long enough.
        ArrayNotFoundError: The buffer has no such array or channel.
        MissingChunkError: A chunk is not in the store.
        StoreFormatError: A value is not finite.
    """
    check_horizons(horizon=horizon, obs_horizon=obs_horizon, action_horizon=action_horizon)
    selected = sorted(set(range(buffer.num_episodes) if episodes is None else episodes))
    lengths = np.array([stop - start for start, stop in map(buffer.episode_range, selected)])
    starts, first_steps, last_steps = _lay_windows(
        lengths.astype(np.int64), horizon, obs_horizon, action_horizon
    )
    if buffer.array(action.array).ndim != 2:
        raise StoreFormatError(
            f"the actions in data/{action.array} have shape {buffer.array(action.array).shape}; "
            "expected (steps, action_dim)"
        )
    reader = _Reader(buffer, selected)
    images = {name: field for name, field in observations.items() if reader.is_image(field)}
    return WindowDataset(
        observations={
            name: reader.read(field) for name, field in observations.items() if name not in images
        },
        images={
            name: ImagesInMemory(reader.read(field)) if images_in_memory else reader.leave(field)
            for name, field in images.items()
        },
        actions=reader.read(action),
        starts=torch.from_numpy(starts),
        first_steps=torch.from_numpy(first_steps),
        last_steps=torch.from_numpy(last_steps),
        horizon=horizon,
        obs_horizon=obs_horizon,
    )


def image_arrays(
    buffer: ReplayBuffer, observations: Iterable[ArrayField]
) -> dict[str, zarr.Array[Any]]:
    """Those of a buffer's arrays that some observations take images from, by name."""
    arrays = {field.array: buffer.array(field.array) for field in observations}
    return {name: array for name, array in arrays.items() if array.ndim == IMAGE_NDIM}


def check_horizons(*, horizon: int, obs_horizon: int, action_horizon: int) -> None:
    """Refuses horizons where the executed slice does not lie within the action chunk.

    Raises:
        HorizonError: obs_horizon - 1 + action_horizon exceeds horizon, or one is below 1.
    """
    if min(horizon, obs_horizon, action_horizon) < 1 or obs_horizon - 1 + action_horizon > horizon:
        raise HorizonError(
            f"found horizon={horizon}, obs_horizon={obs_horizon}, "
            f"action_horizon={action_horizon}; expected each at least 1 and "
            "obs_horizon - 1 + action_horizon <= horizon, because the executed actions are "
            "[obs_horizon - 1 : obs_horizon - 1 + action_horizon] of the chunk"
        )


def _lay_windows(
    lengths: NDArray[np.int64], horizon: int, obs_horizon: int, action_horizon: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Window starts, and first and last step of the episode of each window."""
    ends = np.cumsum(lengths)
    counts = np.maximum(lengths - horizon + action_horizon - 1 + obs_horizon, 0)
    if not counts.any():
        raise HorizonError(
            f"none of the {len(lengths)} selected episodes gives a window: the longest has "
            f"{lengths.max(initial=0)} steps, and horizon={horizon}, obs_horizon={obs_horizon}, "
            f"action_horizon={action_horizon} need "
            f"{horizon - obs_horizon - action_horizon + 2}. Choose a smaller horizon"
        )
    episode = np.repeat(np.arange(len(lengths)), counts)
    rank = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    first = (ends - lengths)[episode]
    return first - (obs_horizon - 1) + rank, first, (ends - 1)[episode]


class _Reader:
    """Reads fields of some episodes; an array that several fields share is read once."""

    def __init__(self, buffer: ReplayBuffer, episodes: Sequence[int]) -> None:
        self._buffer, self._episodes = buffer, episodes
        self._read: dict[str, NDArray[Any]] = {}

    def is_image(self, field: ArrayField) -> bool:
        """Whether a field has the axes of images."""
        return self._buffer.array(field.array).ndim == IMAGE_NDIM

    def read(self, field: ArrayField) -> Tensor:
        """A field in memory: uint8 if it holds images, otherwise float32 and finite."""
        self._check_channels(field)
        is_image = self.is_image(field)
        if field.array not in self._read:
            dtype = np.uint8 if is_image else np.float32
            values = self._buffer.read(field.array, dtype=dtype, episodes=self._episodes)
            self._read[field.array] = values
        values = self._read[field.array]
        if not is_image and not np.isfinite(values).all():
            step = int(np.argwhere(~np.isfinite(values))[0][0])
            raise StoreFormatError(
                f"data/{field.array} holds {values[step].tolist()} at step {step} of the selected "
                "episodes; expected finite numbers. Find every defect with `dpc data validate`"
            )
        if field.channels is not None:
            values = values[..., list(field.channels)]
        return torch.from_numpy(np.ascontiguousarray(values))

    def leave(self, field: ArrayField) -> StoredImages:
        """Images that stay in the store."""
        self._check_channels(field)
        steps = self._buffer.steps(field.array, episodes=self._episodes)
        return StoredImages(self._buffer, field.array, steps, field.channels)

    def _check_channels(self, field: ArrayField) -> None:
        if field.channels is None:
            return
        shape = self._buffer.array(field.array).shape
        size = shape[-1]
        wrong = [channel for channel in field.channels if not 0 <= channel < size]
        if len(shape) < 2 or wrong or not field.channels:
            raise ArrayNotFoundError(
                f"data/{field.array} has channels 0 to {size - 1}; "
                f"channels {list(field.channels)} were asked for"
            )
