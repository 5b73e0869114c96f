"""Batches of a training by step, gathered ahead where gathering takes long."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from torch import Tensor

from diffusion_controller.data import WindowBatch, WindowDataset

THREADS = 2
"""Batches that are gathered at the same time, beside the training."""


class BatchReader:
    """The batch of each optimizer step; a context manager.

    Windows that lie in memory, on the device where they are wanted, are gathered when asked for.
    Images in a store take long to read, so threads gather the batches of the next steps
    meanwhile. Which windows a step sees is a function of the step alone, so the batches are the
    same, bit by bit, whatever was read ahead and wherever a training is resumed.
    """

    def __init__(
        self,
        windows: WindowDataset,
        indices_of: Callable[[int], Tensor],
        *,
        num_steps: int,
        steps_ahead: int = 4,
    ) -> None:
        """Start nothing yet.

        Args:
            windows: To gather from.
            indices_of: Windows of a step; called in this thread only. Shape (batch,).
            num_steps: Steps of the training; nothing is read for later ones.
            steps_ahead: How many batches are held beside the one at hand.
        """
        self._windows, self._indices_of = windows, indices_of
        self._num_steps, self._steps_ahead = num_steps, steps_ahead
        self._pool: ThreadPoolExecutor | None = None
        self._coming: dict[int, Future[WindowBatch]] = {}

    def __enter__(self) -> Self:
        """Start the threads, if any are needed."""
        if not self._windows.is_on_device:
            self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="read-batches")
        return self

    def __exit__(self, *_: object) -> None:
        """End the threads; what they are reading is waited for."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
        self._coming.clear()

    def batch(self, step: int) -> WindowBatch:
        """The batch of a step, on the windows' device; starts to read those of the next steps.

        Raises:
            StoreFormatError: A chunk could not be decoded, of this or of a coming batch.
            ImageRangeError: Likewise, that an image holds what is no image.
        """
        if self._pool is None:
            return self._windows.gather(self._indices_of(step))
        wanted = range(step, min(step + self._steps_ahead + 1, self._num_steps))
        self._coming = {s: future for s, future in self._coming.items() if s in wanted}
        for coming in wanted:
            if coming not in self._coming:
                indices = self._indices_of(coming)
                self._coming[coming] = self._pool.submit(self._gather, indices)
        batch = self._coming.pop(step).result()
        for future in self._coming.values():
            if future.done():
                future.result()  # an error is told now, not when its batch is due
        return batch.to(self._windows.device)

    def _gather(self, indices: Tensor) -> WindowBatch:
        batch = self._windows.gather_in_place(indices)
        return batch.pin_memory() if self._windows.device.type == "cuda" else batch
