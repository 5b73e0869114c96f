"""Where images are read from in a training, and what is worth knowing about it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from diffusion_controller.commands.errors import CommandError
from diffusion_controller.data import (
    ArrayField,
    ReplayBuffer,
    available_memory,
    image_arrays,
)

PLACES = ("auto", "memory", "disk")


@dataclass(frozen=True)
class ImagePlace:
    """Where images are read from.

    Attributes:
        in_memory: Whether all are read before the training, or each batch during it.
        needed_bytes: What they take in memory [B]; 0 if there are no images.
        available_bytes: What was free before they were read [B].
    """

    in_memory: bool
    needed_bytes: int
    available_bytes: int


def choose_place(
    place: str,
    buffer: ReplayBuffer,
    fields: Mapping[str, ArrayField],
    *,
    episodes: Sequence[int],
    available_bytes: int | None = None,
) -> ImagePlace:
    """Where the images among some observations are to be read from.

    Args:
        place: "memory", "disk", or "auto": memory if they take at most half of what is free.
        buffer: Where they are stored.
        fields: The observations.
        episodes: Those that will be read.
        available_bytes: Memory that is free [B]; None asks the machine.

    Raises:
        CommandError: There is no such place.
    """
    if place not in PLACES:
        raise CommandError(f"images_from is {place!r}; expected one of {', '.join(PLACES)}")
    num_steps = sum(stop - start for start, stop in map(buffer.episode_range, episodes))
    images = image_arrays(buffer, fields.values()).values()
    needed = num_steps * sum(prod(array.shape[1:]) for array in images)
    available = available_memory() if available_bytes is None else available_bytes
    in_memory = place == "memory" or (place == "auto" and 2 * needed <= available)
    return ImagePlace(in_memory, needed, available)


def explain_place(
    place: ImagePlace,
    buffer: ReplayBuffer,
    fields: Mapping[str, ArrayField],
    *,
    url: str,
    duration: float,
) -> Iterator[str]:
    """Lines for whoever waits: images that stay in the store, and float ones, which are slow.

    Args:
        place: As chosen.
        buffer: Where the images are stored.
        fields: The observations.
        url: Of the store.
        duration: How long it took to read what is in memory [s].
    """
    for name, array in image_arrays(buffer, fields.values()).items():
        megabytes = prod(array.chunks) * array.dtype.itemsize / 1e6
        convert = f"dpc data convert {url} out={_converted(url)}"
        if not place.in_memory:
            yield (
                f"data/{name} is read from the store during the training: all images take "
                f"{place.needed_bytes / 1e6:,.0f} MB, {place.available_bytes / 1e6:,.0f} MB of "
                "memory are free"
            )
        if array.dtype != np.uint8 and place.in_memory:
            yield (
                f"data/{name} is stored as {array.dtype}: reading took {duration:.1f} s; as uint8 "
                f"it is faster: {convert}"
            )
        elif array.dtype != np.uint8:
            yield (
                f"data/{name} is stored as {array.dtype} in chunks of {megabytes:.1f} MB, and a "
                f"window reads one or two: the training will wait for them; first: {convert}"
            )


def _converted(url: str) -> str:
    stem = url.rstrip("/").rsplit("/", 1)[-1].removesuffix(".zip").removesuffix(".zarr")
    return f"demos/{stem}_uint8.zarr"
