"""Which windows, noise, timesteps and augmentation an optimizer step sees.

All of it is a function of the seed and the step alone. A resumed training therefore needs no
record of where the generators were, and a process among many can take its share.
"""

import numpy as np
import torch
from torch import Tensor

_STREAMS = {"permutation": 0, "noise": 1, "validation": 2, "augmentation": 3}


class DataOrder:
    """Order in which windows are visited: a new permutation every epoch.

    The last, incomplete batch of an epoch is filled from the next epoch, so that every window is
    visited equally often and every batch is full.
    """

    def __init__(self, *, num_windows: int, batch_size: int, seed: int) -> None:
        """Fix the order.

        Args:
            num_windows: Windows in the data set.
            batch_size: Windows per optimizer step.
            seed: Of the training.
        """
        self.num_windows, self.batch_size, self.seed = num_windows, batch_size, seed
        self._cached_epoch, self._permutation = -1, torch.empty(0, dtype=torch.int64)

    def indices(self, step: int) -> Tensor:
        """Windows of an optimizer step. Shape (batch_size,), int64."""
        position = step * self.batch_size
        parts: list[Tensor] = []
        remaining = self.batch_size
        while remaining:
            epoch, offset = divmod(position, self.num_windows)
            part = self._permutation_of(epoch)[offset : offset + remaining]
            parts.append(part)
            position, remaining = position + len(part), remaining - len(part)
        return torch.cat(parts)

    def epoch(self, step: int) -> float:
        """How many times the data has been seen before an optimizer step."""
        return step * self.batch_size / self.num_windows

    def _permutation_of(self, epoch: int) -> Tensor:
        if self._cached_epoch != epoch:
            generator = stream(self.seed, "permutation", epoch)
            self._permutation = torch.randperm(self.num_windows, generator=generator)
            self._cached_epoch = epoch
        return self._permutation


def draw_training_noise(
    seed: int,
    step: int,
    shape: tuple[int, int, int],
    num_train_timesteps: int,
    *,
    name: str = "noise",
) -> tuple[Tensor, Tensor]:
    """Noise and timesteps of an optimizer step.

    Args:
        seed: Of the training.
        step: Optimizer step.
        shape: (batch_size, horizon, action_dim) over all processes.
        num_train_timesteps: Timesteps are uniform below this.
        name: Stream to draw from.

    Returns:
        Standard normal noise of that shape, and int64 timesteps of shape (batch_size,).
    """
    generator = stream(seed, name, step)
    noise = torch.randn(shape, generator=generator)
    return noise, torch.randint(num_train_timesteps, shape[:1], generator=generator)


def draw_augmentation(seed: int, step: int, shape: tuple[int, int]) -> Tensor:
    """Numbers that decide the augmentation of an optimizer step.

    Args:
        seed: Of the training.
        step: Optimizer step.
        shape: (batch_size, numbers per sample) over all processes.

    Returns:
        Uniform in [0, 1), of that shape.
    """
    return torch.rand(shape, generator=stream(seed, "augmentation", step))


def stream(seed: int, name: str, counter: int) -> torch.Generator:
    """A generator of its own for each purpose and each count."""
    entropy = np.random.SeedSequence((seed, _STREAMS[name], counter)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(entropy[0]))
