"""Training windows: short pieces of episodes, gathered from memory without per-sample Python."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffusion_controller.data.errors import (
    ArrayNotFoundError,
    EpisodeError,
    HorizonError,
    StoreFormatError,
)
from diffusion_controller.data.replay_buffer import ReplayBuffer

Transform = Callable[[NDArray[Any]], NDArray[Any]]
"""Maps values of one name, of shape (steps, ...), to others of the same shape and dtype."""


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


@dataclass(frozen=True)
class WindowBatch:
    """Several windows.

    Attributes:
        observation: Per name, the first `obs_horizon` steps. Shape (batch, obs_horizon, ...).
        action: Shape (batch, horizon, action_dim).
    """

    observation: dict[str, Tensor]
    action: Tensor


@dataclass(frozen=True, eq=False)
class WindowDataset:
    """All windows of some episodes, over arrays that lie whole on one device.

    A window may begin up to `obs_horizon - 1` steps before its episode and end up to
    `action_horizon - 1` steps after it; there the first or last step is repeated, as in the
    published implementation of Chi et al. (2023).

    Attributes:
        observations: float32, or uint8 for images. Shape of each (steps, ...).
        actions: float32. Shape (steps, action_dim).
        starts: First step of each window, before repetition. Shape (windows,).
        first_steps: First step of the episode of each window. Shape (windows,).
        last_steps: Last step of the episode of each window. Shape (windows,).
        horizon: Steps of actions in a window.
        obs_horizon: Steps of observations in a window.
    """

    observations: dict[str, Tensor]
    actions: Tensor
    starts: Tensor
    first_steps: Tensor
    last_steps: Tensor
    horizon: int
    obs_horizon: int

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.starts)

    def gather(self, indices: Tensor) -> WindowBatch:
        """The windows `indices`, of shape (batch,), on the device of the data."""
        steps = self.starts[indices, None] + torch.arange(self.horizon, device=self.starts.device)
        first, last = self.first_steps[indices, None], self.last_steps[indices, None]
        steps = torch.minimum(torch.maximum(steps, first), last)  # (batch, horizon)
        observed = steps[:, : self.obs_horizon]
        return WindowBatch(
            observation={
                name: _take(values, observed) for name, values in self.observations.items()
            },
            action=_take(self.actions, steps),
        )

    def with_transformed_copy(self, transforms: Mapping[str, Transform]) -> "WindowDataset":
        """These windows and, after them, the same with every value transformed.

        For tasks with a symmetry. The data must be on the CPU.

        Args:
            transforms: One for each observation, by the name that the policy sees, and one for
                `action`. Others are ignored.

        Raises:
            EpisodeError: An observation has no transform.
        """
        missing = sorted({*self.observations, "action"} - set(transforms))
        if missing:
            raise EpisodeError(
                f"no transform for {', '.join(missing)}; expected one for every observation and "
                f"for action, found {', '.join(sorted(transforms))}. Train without it"
            )

        def doubled(name: str, values: Tensor) -> Tensor:
            return torch.cat((values, torch.from_numpy(transforms[name](values.numpy()))))

        steps = len(self.actions)
        return replace(
            self,
            observations={name: doubled(name, old) for name, old in self.observations.items()},
            actions=doubled("action", self.actions),
            starts=torch.cat((self.starts, self.starts + steps)),
            first_steps=torch.cat((self.first_steps, self.first_steps + steps)),
            last_steps=torch.cat((self.last_steps, self.last_steps + steps)),
        )

    def to(self, device: torch.device | str) -> "WindowDataset":
        """The same windows on another device."""
        return replace(
            self,
            observations={name: values.to(device) for name, values in self.observations.items()},
            actions=self.actions.to(device),
            starts=self.starts.to(device),
            first_steps=self.first_steps.to(device),
            last_steps=self.last_steps.to(device),
        )


def _take(values: Tensor, steps: Tensor) -> Tensor:
    taken = values.index_select(0, steps.reshape(-1))
    return taken.view(*steps.shape, *values.shape[1:])


def load_windows(
    buffer: ReplayBuffer,
    observations: Mapping[str, ArrayField],
    action: ArrayField,
    *,
    horizon: int,
    obs_horizon: int,
    action_horizon: int,
    episodes: Sequence[int] | None = None,
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
    if not len(starts):
        raise HorizonError(
            f"none of the {len(selected)} selected episodes gives a window: the longest has "
            f"{lengths.max(initial=0)} steps, and horizon={horizon}, obs_horizon={obs_horizon}, "
            f"action_horizon={action_horizon} need "
            f"{horizon - obs_horizon - action_horizon + 2}. Choose a smaller horizon"
        )
    read: dict[tuple[str, bool], NDArray[Any]] = {}
    actions = _read_field(buffer, action, selected, read)
    if actions.ndim != 2 or actions.dtype == torch.uint8:
        raise StoreFormatError(
            f"the actions in data/{action.array} have shape {tuple(actions.shape)}; "
            "expected (steps, action_dim)"
        )
    return WindowDataset(
        observations={
            name: _read_field(buffer, field, selected, read) for name, field in observations.items()
        },
        actions=actions,
        starts=torch.from_numpy(starts),
        first_steps=torch.from_numpy(first_steps),
        last_steps=torch.from_numpy(last_steps),
        horizon=horizon,
        obs_horizon=obs_horizon,
    )


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
    episode = np.repeat(np.arange(len(lengths)), counts)
    rank = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    first = (ends - lengths)[episode]
    return first - (obs_horizon - 1) + rank, first, (ends - 1)[episode]


def _read_field(
    buffer: ReplayBuffer,
    field: ArrayField,
    episodes: Sequence[int],
    read: dict[tuple[str, bool], NDArray[Any]],
) -> Tensor:
    array = buffer.array(field.array)
    is_image = array.ndim == 4
    key = (field.array, is_image)
    if key not in read:
        dtype = np.uint8 if is_image else np.float32
        read[key] = buffer.read(field.array, dtype=dtype, episodes=episodes)
    values = read[key]
    if not is_image and not np.isfinite(values).all():
        step = int(np.argwhere(~np.isfinite(values))[0][0])
        raise StoreFormatError(
            f"data/{field.array} holds {values[step].tolist()} at step {step} of the selected "
            "episodes; expected finite numbers. Find every defect with `dpc data validate`"
        )
    if field.channels is not None:
        size = values.shape[-1]
        wrong = [channel for channel in field.channels if not 0 <= channel < size]
        if values.ndim < 2 or wrong or not field.channels:
            raise ArrayNotFoundError(
                f"data/{field.array} has channels 0 to {size - 1}; "
                f"channels {list(field.channels)} were asked for"
            )
        values = values[..., list(field.channels)]
    return torch.from_numpy(np.ascontiguousarray(values))
