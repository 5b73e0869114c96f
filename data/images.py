"""Images of recorded steps: in memory, left in their store, or made from others when taken."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffusion_controller.data.errors import TransformError
from diffusion_controller.data.replay_buffer import ReplayBuffer

IMAGE_NDIM = 4
"""Axes of an array of images: steps, height, width and channels."""

Transform = Callable[[NDArray[Any]], NDArray[Any]]
"""Maps values of one name, of shape (steps, ...), to others of the same shape and dtype."""


class Images(Protocol):
    """Images of many steps, as uint8, of which some are taken at a time."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(steps, height, width, channels)."""

    @property
    def is_stored(self) -> bool:
        """Whether taking some reads from a store."""

    @property
    def nbytes(self) -> int:
        """Memory that they take [B]."""

    def take(self, steps: Tensor) -> Tensor:
        """Those at `steps`, in any order, as a new tensor on the device of `steps`.

        Shape (*steps.shape, height, width, channels).
        """

    def to(self, device: torch.device) -> Self:
        """The same on a device; what is stored stays where it is."""


@dataclass(frozen=True, eq=False)
class ImagesInMemory:
    """Images that lie whole on one device.

    Attributes:
        values: uint8. Shape (steps, height, width, channels).
    """

    values: Tensor
    is_stored = False

    @property
    def shape(self) -> tuple[int, ...]:
        """(steps, height, width, channels)."""
        return tuple(self.values.shape)

    @property
    def nbytes(self) -> int:
        """Memory that they take [B]."""
        return self.values.nbytes

    def take(self, steps: Tensor) -> Tensor:
        """See `Images`."""
        return self.values.index_select(0, steps.reshape(-1)).view(*steps.shape, *self.shape[1:])

    def to(self, device: torch.device) -> "ImagesInMemory":
        """The same on a device."""
        return replace(self, values=self.values.to(device))


@dataclass(frozen=True, eq=False)
class StoredImages:
    """Images of some episodes that stay in their store; taking some reads the chunks they are in.

    Attributes:
        buffer: The store.
        name: Array under `data/`.
        stored_steps: Which step of the store each image is. Shape (steps,).
        channels: Selected along the last axis; None takes all.
    """

    buffer: ReplayBuffer
    name: str
    stored_steps: NDArray[np.int64]
    channels: tuple[int, ...] | None = None
    is_stored = True
    nbytes = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """(steps, height, width, channels)."""
        height, width, channels = self.buffer.array(self.name).shape[1:]
        selected = channels if self.channels is None else len(self.channels)
        return len(self.stored_steps), height, width, selected

    def take(self, steps: Tensor) -> Tensor:
        """See `Images`; on the CPU. Several threads may take at once.

        Raises:
            StoreFormatError: A chunk cannot be decoded.
            ImageRangeError: Float images hold other values than whole numbers from 0 to 255.
        """
        wanted = self.stored_steps[steps.reshape(-1).numpy()]
        found, places = np.unique(wanted, return_inverse=True)
        images = self.buffer.read_at(self.name, found, dtype=np.uint8)
        if self.channels is not None:
            images = images[..., list(self.channels)]
        taken = torch.from_numpy(images).index_select(0, torch.from_numpy(places))
        return taken.view(*steps.shape, *self.shape[1:])

    def to(self, _: torch.device) -> "StoredImages":
        """These."""
        return self


@dataclass(frozen=True, eq=False)
class RearrangedCopy:
    """Images and, after them, the same with their pixels rearranged, which no memory holds.

    Attributes:
        images: The first half.
        pixels: Which pixel of an image, counted along its rows, stands at each place of the
            rearranged one. Shape (height · width,).
    """

    images: Images
    pixels: Tensor

    @classmethod
    def by(cls, images: Images, transform: Transform, *, name: str) -> "RearrangedCopy":
        """With the pixels where a transform puts them.

        Raises:
            TransformError: The transform does more than to move pixels.
        """
        _, height, width, channels = images.shape
        pixels = _moved_pixels(transform, height, width, channels)
        if pixels is None:
            raise TransformError(
                f"the transform of {name} does more to images of {height} × {width} × {channels} "
                "than to move their pixels; expected a mirror image or another rearrangement, the "
                "same for all channels, that keeps the shape"
            )
        return cls(images, torch.from_numpy(pixels))

    @property
    def shape(self) -> tuple[int, ...]:
        """(twice the steps of `images`, height, width, channels)."""
        return 2 * self.images.shape[0], *self.images.shape[1:]

    @property
    def is_stored(self) -> bool:
        """Whether taking some reads from a store."""
        return self.images.is_stored

    @property
    def nbytes(self) -> int:
        """Memory that they take [B]."""
        return self.images.nbytes

    def take(self, steps: Tensor) -> Tensor:
        """See `Images`."""
        count = self.images.shape[0]
        flat = steps.reshape(-1)
        pixels = self.images.take(flat % count).flatten(1, 2)  # (images, height · width, channels)
        is_copy = flat >= count
        if pixels.device.type == "cpu":
            copies = is_copy.nonzero().squeeze(1)
            moved = pixels.index_select(0, copies).index_select(1, self.pixels)
            pixels.numpy()[copies.numpy()] = moved.numpy()  # a tenth of the time of torch's way
        else:  # which ones are copies is known on the device only: asking would mean to wait for it
            moved = pixels.index_select(1, self.pixels)
            pixels = torch.where(is_copy[:, None, None], moved, pixels)
        return pixels.view(*steps.shape, *self.shape[1:])

    def to(self, device: torch.device) -> "RearrangedCopy":
        """The same on a device; what is stored stays where it is, and so does this then."""
        if self.is_stored:
            return self
        return replace(self, images=self.images.to(device), pixels=self.pixels.to(device))


def _moved_pixels(
    transform: Transform, height: int, width: int, channels: int
) -> NDArray[np.int64] | None:
    """Which pixel a transform puts at each place; None if that is not all that it does."""
    numbers = np.arange(height * width).reshape(1, height, width, 1)
    moved = np.asarray(transform(numbers))
    if moved.shape != numbers.shape or not np.array_equal(np.sort(moved, axis=None), numbers.flat):
        return None
    pixels = np.ascontiguousarray(moved).reshape(-1)
    noise = np.random.default_rng(0).integers(0, 256, (1, height, width, channels), dtype=np.uint8)
    expected = noise.reshape(height * width, channels)[pixels].reshape(noise.shape)
    return pixels if np.array_equal(transform(noise), expected) else None
