"""Training windows the usual way: one per `__getitem__`, then the default collation.

Images are handled as published with Chi et al. (2023): the whole data set in memory as float32,
and for each window its pictures moved to channels first and divided by 255.
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

IMAGE_NDIM = 4

Sample = dict[str, dict[str, Tensor] | Tensor]


class PlainWindows(Dataset[Sample]):
    """Cuts one window per call out of arrays of all episodes."""

    def __init__(
        self,
        observations: Mapping[str, NDArray[Any]],
        actions: NDArray[Any],
        episode_ends: NDArray[np.int64],
        *,
        horizon: int,
        obs_horizon: int,
        action_horizon: int,
        observed: int | None = None,
    ) -> None:
        """Lists all windows: start, and first and last step of the episode.

        Args:
            observations: By name. Shape of each (steps, ...).
            actions: Shape (steps, action_dim).
            episode_ends: Step after the last of each episode.
            horizon: Actions in a window.
            obs_horizon: Observations that the policy sees.
            action_horizon: Actions that are executed.
            observed: Observations that are cut out of a window; None for `obs_horizon`. As
                published it is `horizon`, of which the policy then takes the first.
        """
        self._observations, self._actions = observations, actions
        self._horizon, self._observed = horizon, observed or obs_horizon
        self._windows: list[tuple[int, int, int]] = []
        first = 0
        for end in episode_ends.tolist():
            for start in range(first - (obs_horizon - 1), end - horizon + action_horizon):
                self._windows.append((start, first, end))
            first = end

    def __len__(self) -> int:
        """Number of windows."""
        return len(self._windows)

    def __getitem__(self, index: int) -> Sample:
        """One window as tensors."""
        return {
            "observation": {
                name: self._observe(values, index) for name, values in self._observations.items()
            },
            "action": torch.from_numpy(self._cut(self._actions, index, self._horizon)),
        }

    def _observe(self, values: NDArray[Any], index: int) -> Tensor:
        cut = self._cut(values, index, self._observed)
        if values.ndim == IMAGE_NDIM:
            cut = np.moveaxis(cut, -1, 1) / 255
        return torch.from_numpy(cut)

    def _cut(self, values: NDArray[Any], index: int, length: int) -> NDArray[Any]:
        start, first, end = self._windows[index]
        inside = values[max(start, first) : min(start + length, end)]
        before, after = max(first - start, 0), max(start + length - end, 0)
        if not before and not after:
            return inside
        repeated = (np.repeat(inside[:1], before, axis=0), np.repeat(inside[-1:], after, axis=0))
        return np.concatenate([repeated[0], inside, repeated[1]])


def batches(dataset: Dataset[Sample], batch_size: int, num_workers: int) -> Iterator[Sample]:
    """Shuffled epochs without end."""
    loader: DataLoader[Sample] = DataLoader(
        dataset,
        batch_size=batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        generator=torch.Generator().manual_seed(0),
    )
    for _ in itertools.count():
        yield from loader
