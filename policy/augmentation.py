"""Random crops and colours of pictures, as functions of numbers drawn beforehand.

Randomness is an argument here: `draws` are uniform in [0, 1), a few per sample, and the same
draws give the same pictures, on any device and without waiting for it. The pictures of one
sample, of one camera at consecutive times, are changed alike, so that what moves between them
is the world. The published implementation crops each picture by itself, which makes a scene
at rest look as if it moved.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from .encoders import EncoderError
from .shapes import Draws, History

CROP_DRAWS = 2

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601: how bright red, green and blue look


def centre_crop(pictures: History, size: tuple[int, int]) -> History:
    """The middle of each picture. Shape (…, height, width, channels) to (…, *size, channels)."""
    (height, width), (high, wide) = pictures.shape[-3:-1], size
    top, left = (height - high) // 2, (width - wide) // 2
    return pictures[..., top : top + high, left : left + wide, :]


def random_crop(
    pictures: History, size: tuple[int, int], draws: Draws, *, padding: int = 0
) -> History:
    """A part of each picture, anywhere in it, the same for all of a sample.

    With padding it may reach beyond the picture, where the pixels at its edge are repeated:
    the random shift of Kostrikov et al. (2021).

    Args:
        pictures: Shape (batch, obs_horizon, height, width, channels).
        size: Height and width of the part.
        draws: Uniform in [0, 1). Shape (batch, 2).
        padding: How far beyond in [px].

    Returns:
        Shape (batch, obs_horizon, *size, channels).
    """
    if padding:
        sides = (0, 0, padding, padding, padding, padding)
        pictures = nn.functional.pad(pictures, sides, mode="replicate")
    free = [whole - part + 1 for whole, part in zip(pictures.shape[2:4], size, strict=True)]
    top, left = (
        (draws[:, axis] * count).long().clamp(max=count - 1) for axis, count in enumerate(free)
    )
    everywhere = pictures.unfold(2, size[0], 1).unfold(3, size[1], 1)  # a view of every crop
    samples = torch.arange(len(pictures), device=pictures.device)
    return everywhere[samples, :, top, left].movedim(2, -1)


@dataclass(frozen=True, kw_only=True)
class ColorJitter:
    """Small random changes of brightness, contrast and saturation, in this order.

    Each is drawn uniformly: factors within 1 ± the number given. All three are one affine map
    of the colours of a sample, which are RGB.

    Attributes:
        brightness: Of the factor on all colours.
        contrast: Of the factor on the distance from the mean grey of the sample.
        saturation: Of the factor on the distance from each pixel's own grey.
    """

    brightness: float = 0.1
    contrast: float = 0.1
    saturation: float = 0.1

    num_draws: ClassVar[int] = 3

    def __post_init__(self) -> None:
        """Refuse what would turn colours round."""
        for name in ("brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) <= 1:
                raise EncoderError(
                    f"color_jitter.{name} is {getattr(self, name)}; expected 0 (none) to 1"
                )

    def __call__(self, pictures: History, draws: Draws) -> History:
        """Change colours.

        Args:
            pictures: RGB, normalized to [−1, 1]. Shape (batch, obs_horizon, height, width, 3).
            draws: Uniform in [0, 1). Shape (batch, 3).

        Returns:
            New pictures, clipped to [−1, 1].
        """
        brightness, contrast, saturation = (
            1 + (2 * draws[:, column] - 1) * extent
            for column, extent in enumerate((self.brightness, self.contrast, self.saturation))
        )
        # of scalars and made on the device: a copy from the host could not be captured in a graph
        to_grey = torch.stack([draws.new_full((3,), share) for share in _LUMA])
        to_itself = torch.eye(3, device=pictures.device)
        matrix = torch.lerp(to_grey, to_itself, saturation[:, None, None])
        gain = brightness * contrast
        mean = (pictures.mean(dim=(1, 2, 3)) @ to_grey)[:, 0]
        offset = gain + brightness * (1 - contrast) * (mean + 1) - 1  # black is −1, not 0
        changed = torch.baddbmm(
            offset[:, None, None], pictures.flatten(1, 3), gain[:, None, None] * matrix
        )
        return changed.clamp_(-1, 1).view_as(pictures)
