"""The encoder of cameras: from pictures to keypoints."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from .augmentation import CROP_DRAWS, ColorJitter, centre_crop, random_crop
from .encoders import EncoderError
from .resnet import REDUCTION, Norm, ResNet18
from .shapes import Draws, Features, History
from .spatial_softmax import SpatialSoftmax


class ImageEncoder(nn.Module):
    """Pictures of any number of cameras, each time step by itself: Chi et al. (2023), section 3.

    ResNet-18, spatial softmax, and a linear layer over the keypoints. Where draws are given, as
    in training, the picture is cropped anywhere and its colours are changed; otherwise, as in
    use, the middle is seen as it is.

    Attributes:
        observation_shapes: Height, width and channels of each camera's pictures.
        feature_dim: Features of one time step: 2 · num_keypoints for each camera.
        augmentation_dim: Uniform numbers per sample that `forward` takes as `draws`.
    """

    def __init__(
        self,
        *,
        images: Mapping[str, Sequence[int]],
        crop: Sequence[int] | None = None,
        padding: int = 0,
        width: int = 64,
        num_keypoints: int = 32,
        norm: Norm = "group",
        is_shared: bool = False,
        color_jitter: ColorJitter | None = None,
    ) -> None:
        """Build the encoder.

        Args:
            images: Name and shape of each camera's pictures, e.g. `{"image": [96, 96, 3]}`.
            crop: Height and width that the network sees; null for all of the picture.
            padding: How far beyond the picture a crop in training may reach, in [px]. With
                crop=null the picture is shifted by that much in training, and nothing of it
                is cut off in use.
            width: Channels of the first stage; 64 is the published network.
            num_keypoints: Keypoints found in each picture.
            norm: `group`, or `folded` for weights with batch normalization folded into them.
            is_shared: One network for all cameras, or one for each.
            color_jitter: Random colours in training; null leaves them.

        Raises:
            EncoderError: If the arguments do not fit together.
        """
        super().__init__()
        self.images = {name: tuple(shape) for name, shape in images.items()}
        self.crop = None if crop is None else _height_and_width(crop)
        self.padding = padding
        self.width, self.num_keypoints, self.norm = width, num_keypoints, norm
        self.is_shared, self.color_jitter = is_shared, color_jitter
        self._check()
        self.observation_shapes = self.images
        self.feature_dim = 2 * num_keypoints * len(self.images)
        crop_draws = CROP_DRAWS if self.crop is not None or padding else 0
        self._draws = [crop_draws, 0 if color_jitter is None else ColorJitter.num_draws]
        self.augmentation_dim = sum(self._draws) * len(self.images)
        channels = next(iter(self.images.values()))[2]
        self.cameras = nn.ModuleDict(
            {
                name: _Camera(channels, width=width, num_keypoints=num_keypoints, norm=norm)
                for name in (["shared"] if is_shared else self.images)
            }
        )

    def cut_off(self) -> Iterator[str]:
        """What is never seen in use, a sentence for each camera whose pictures are cropped."""
        for name, (height, width, _) in self.images.items():
            if self.crop is None or self.crop == (height, width):
                continue
            rows, columns = height - self.crop[0], width - self.crop[1]
            share = self.crop[0] * self.crop[1] / (height * width)
            yield (
                f"in use, crop {list(self.crop)} shows {100 * share:.0f} % of {name} "
                f"{[height, width]}; its outer {rows} rows and {columns} columns, half of them on "
                "each side, are not seen"
            )

    def forward(self, observation: Mapping[str, Tensor], draws: Draws | None = None) -> Features:
        """Encode.

        Args:
            observation: Pictures of each camera, normalized to [−1, 1]. Shape (batch,
                obs_horizon, height, width, channels).
            draws: Uniform in [0, 1), which decide crops and colours. Shape (batch,
                augmentation_dim). Without them the middle is seen.
        """
        if draws is None or self.augmentation_dim == 0:
            seen = [self._in_use(observation[name]) for name in self.images]
        else:
            shares = draws.chunk(len(self.images), dim=1)
            seen = [
                self._in_training(observation[name], share)
                for name, share in zip(self.images, shares, strict=True)
            ]
        batch, horizon = seen[0].shape[:2]
        flat = [pictures.flatten(0, 1).permute(0, 3, 1, 2) for pictures in seen]
        if self.is_shared:
            found = self.cameras["shared"](torch.cat(flat)).chunk(len(flat))
        else:
            found = [self.cameras[name](x) for name, x in zip(self.images, flat, strict=True)]
        return torch.cat(tuple(found), dim=-1).view(batch, horizon, self.feature_dim)

    def _in_use(self, pictures: History) -> History:
        return pictures if self.crop is None else centre_crop(pictures, self.crop)

    def _in_training(self, pictures: History, draws: Draws) -> History:
        for_crop, for_colors = torch.split(draws, self._draws, dim=1)
        if self._draws[0]:
            size = self.crop or (pictures.shape[2], pictures.shape[3])
            pictures = random_crop(pictures, size, for_crop, padding=self.padding)
        if self.color_jitter is not None:
            pictures = self.color_jitter(pictures, for_colors)
        return pictures

    def _check(self) -> None:
        if not self.images:
            raise EncoderError("images is empty; name at least one, e.g. {image: [96, 96, 3]}")
        for name, shape in self.images.items():
            if len(shape) != 3 or min(shape) < 1:
                raise EncoderError(
                    f"images.{name} is {list(shape)}; expected height, width and channels such as "
                    "[96, 96, 3]"
                )
            self._check_crop(name, shape)
            seen = self.crop or shape[:2]
            if min(seen) <= REDUCTION:
                raise EncoderError(
                    f"of {name} {list(seen)} px are seen; more than {REDUCTION} are needed each "
                    "way, for a map of more than one place to find keypoints in"
                )
        if self.is_shared and len({(self.crop or s[:2], s[2]) for s in self.images.values()}) > 1:
            raise EncoderError(
                f"is_shared with pictures of {list(map(list, self.images.values()))}; one network "
                "for all cameras needs the same size and channels, after cropping"
            )
        if self.color_jitter is not None and any(shape[2] != 3 for shape in self.images.values()):
            raise EncoderError("color_jitter needs RGB, pictures of 3 channels; leave it out")
        if not isinstance(self.color_jitter, ColorJitter | None):
            raise EncoderError(
                f"color_jitter is {self.color_jitter!r}; expected null or "
                "{_target_: diffusion_controller.policy.ColorJitter, brightness: 0.1}"
            )
        if self.num_keypoints < 1 or self.padding < 0:
            raise EncoderError(
                f"num_keypoints is {self.num_keypoints} and padding {self.padding}; expected at "
                "least 1 and 0"
            )

    def _check_crop(self, name: str, shape: tuple[int, ...]) -> None:
        if self.crop is None:
            return
        if self.crop[0] > shape[0] or self.crop[1] > shape[1]:
            raise EncoderError(
                f"crop is {list(self.crop)}, larger than {name} of {list(shape[:2])} px; "
                "choose a smaller crop, or null to see all of the picture"
            )


def _height_and_width(crop: Sequence[int]) -> tuple[int, int]:
    if len(crop) != 2 or min(crop) < 1:
        raise EncoderError(
            f"crop is {list(crop)}; expected height and width such as [84, 84], or null"
        )
    return crop[0], crop[1]


class _Camera(nn.Module):
    """One network, from pictures to features."""

    def __init__(self, in_channels: int, *, width: int, num_keypoints: int, norm: Norm) -> None:
        super().__init__()
        self.network = ResNet18(in_channels=in_channels, width=width, norm=norm)
        self.keypoints = SpatialSoftmax(
            in_channels=self.network.channels, num_keypoints=num_keypoints
        )
        self.linear = nn.Linear(2 * num_keypoints, 2 * num_keypoints)

    def forward(self, pictures: Tensor) -> Tensor:
        """Shape (pictures, channels, height, width) to (pictures, 2 · num_keypoints)."""
        features: Tensor = self.linear(self.keypoints(self.network(pictures)).flatten(1))
        return features
