"""Our windows, gathered as `dpc train` does: from memory, and from a store ahead of each step."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from diffusion_controller.data import (
    ArrayField,
    ReplayBuffer,
    WindowBatch,
    WindowDataset,
    load_windows,
)
from diffusion_controller.envs import MIRROR_TRANSFORMS
from diffusion_controller.training import BatchReader, DataOrder

IMAGE = {"image": ArrayField("img"), "agent": ArrayField("state", (0, 1))}
LOW_DIM = {"keypoints": ArrayField("keypoint"), "agent": ArrayField("state", (0, 1))}
ENDLESS = 2**40
STEP_S = 0.3
FIRST_STEPS = 5


def load(path: Path, fields: dict[str, ArrayField], *, images_in_memory: bool) -> WindowDataset:
    """The windows of the published settings."""
    return load_windows(
        ReplayBuffer.open(path),
        fields,
        ArrayField("action"),
        horizon=16,
        obs_horizon=2,
        action_horizon=8,
        images_in_memory=images_in_memory,
    )


def read(windows: WindowDataset, batch_size: int) -> Iterator[WindowBatch]:
    """Batches in the order of a training, without end."""
    order = DataOrder(num_windows=len(windows), batch_size=batch_size, seed=0)
    with BatchReader(windows, order.indices, num_steps=ENDLESS) as reader:
        step = 0
        while True:
            yield reader.batch(step)
            step += 1


def pixel_sums(windows: WindowDataset, indices: Sequence[int]) -> list[int]:
    """Sum over all pixels of the observed images of single windows: equal if the images are."""
    images = windows.gather(torch.tensor(indices)).observation["image"]
    return [int(window.sum(dtype=torch.int64)) for window in images]


class WindowsInMemory:
    """Loaded from the store as it was published; images become uint8 on the way."""

    variants = ("memory", "memory, with mirror images", "memory, made float32", "low-dimensional")

    def __init__(self, paths: dict[str, str], batch_size: int) -> None:
        """Loads images and low-dimensional windows."""
        path = Path(paths["published"])
        self._batch_size = batch_size
        self._windows = load(path, IMAGE, images_in_memory=True)
        self._mirrored = self._windows.with_transformed_copy(MIRROR_TRANSFORMS)
        self._low_dim = load(path, LOW_DIM, images_in_memory=True)

    def __len__(self) -> int:
        """Number of windows."""
        return len(self._windows)

    def batches(self, variant: str) -> tuple[Iterator[Any], int]:
        """Batches without end, and how many to let pass before timing."""
        windows = {"memory, with mirror images": self._mirrored, "low-dimensional": self._low_dim}
        found = read(windows.get(variant, self._windows), self._batch_size)
        if variant == "memory, made float32":
            return (self._made_float(batch) for batch in found), 1
        return found, 1

    def pixel_sums(self, indices: Sequence[int]) -> list[int]:
        """See `pixel_sums`."""
        return pixel_sums(self._windows, indices)

    def _made_float(self, batch: WindowBatch) -> torch.Tensor:
        """What others do as they load; in a training it is the policy's part, on its device."""
        images = batch.observation["image"].permute(0, 1, 4, 2, 3)  # channels first, without a copy
        return images.to(torch.float32).div_(255)


class WindowsOnDisk:
    """Read ahead from the same store after `dpc data convert`."""

    variants = ("disk",)

    def __init__(self, paths: dict[str, str], batch_size: int) -> None:
        """Leaves the images where they are."""
        self._batch_size = batch_size
        self._windows = load(Path(paths["converted"]), IMAGE, images_in_memory=False)

    def __len__(self) -> int:
        """Number of windows."""
        return len(self._windows)

    def batches(self, _: str) -> tuple[Iterator[Any], int]:
        """Batches without end, and how many to let pass before timing: those read ahead."""
        return read(self._windows, self._batch_size), 6

    def pixel_sums(self, indices: Sequence[int]) -> list[int]:
        """See `pixel_sums`."""
        return pixel_sums(self._windows, indices)

    def waits(self, count: int) -> list[float]:
        """How long each of some optimizer steps of 0.3 s waited for its batch, in [s].

        Not counted are the first five, for which nothing could be read ahead.
        """
        found = read(self._windows, self._batch_size)
        waited = []
        factor = torch.randn(512, 512)
        for _ in range(count + FIRST_STEPS):
            start = time.perf_counter()
            next(found)
            waited.append(time.perf_counter() - start)
            until = time.perf_counter() + STEP_S
            while time.perf_counter() < until:  # a core is busy, as in a training on the CPU
                torch.mm(factor, factor)
        return waited[FIRST_STEPS:]
