"""ResNet-18 without its head: from pictures to a map of features."""

from collections.abc import Iterator
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from .conv1d import is_exported
from .encoders import EncoderError
from .shapes import FeatureMap, Pictures

Norm = Literal["group", "folded"]
"""Group normalization, or none: then each convolution has a bias that stands for it."""

STAGE_STRIDES = (1, 2, 2, 2)
REDUCTION = 32
"""Pixels to one place of the feature map."""


class ResNet18(nn.Module):
    """The convolutions of ResNet-18: He et al. (2016), table 1.

    A 7 × 7 convolution and a pooling, each with stride 2, then four stages of two residual
    blocks; the last three halve height and width and double the channels. In place of batch
    normalization there is group normalization (Wu and He 2018), as in Chi et al. (2023): a
    batch of policy training is small, and its moving average of weights knows no running
    statistics.

    Attributes:
        channels: Of the feature map: 8 · width.
        mean_color: Subtracted from pictures where `norm` is `folded`; in [−1, 1].
    """

    def __init__(self, *, in_channels: int = 3, width: int = 64, norm: Norm = "group") -> None:
        """Build the network, its weights drawn as He et al. (2015) do.

        Args:
            in_channels: Of the pictures.
            width: Channels of the first stage, a multiple of 8; 64 is the published network.
            norm: `group`, or `folded` for weights with batch normalization folded into them.

        Raises:
            EncoderError: If the width or the normalization is not possible.
        """
        super().__init__()
        if width < 8 or width % 8:
            raise EncoderError(
                f"width is {width}; it must be a multiple of 8, so that channels divide into "
                "groups; 64 is the published network"
            )
        if norm not in get_args(Norm):
            raise EncoderError(f"norm is {norm!r}; expected one of {', '.join(get_args(Norm))}")
        self.width, self.norm = width, norm
        self.mean_color: Tensor
        if norm == "folded":
            self.register_buffer("mean_color", torch.zeros(in_channels))
        self.stem = ConvNorm(in_channels, width, kernel_size=7, stride=2, norm=norm)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stages = nn.ModuleList()
        before = width
        for stage, stride in enumerate(STAGE_STRIDES):
            after = width * 2**stage
            first = ResidualBlock2d(before, after, stride=stride, norm=norm)
            self.stages.append(
                nn.Sequential(first, ResidualBlock2d(after, after, stride=1, norm=norm))
            )
            before = after
        self.channels = before
        self._lay_channels_last()

    def forward(self, pictures: Pictures) -> FeatureMap:
        """Encode. Height and width become a 32nd part, rounded up."""
        if self.norm == "folded":
            pictures = pictures - self.mean_color[:, None, None]
        x = self.pool(nn.functional.relu(self.stem(pictures), inplace=True))
        for stage in self.stages:
            x = stage(x)
        features: Tensor = x
        return features

    def _lay_channels_last(self) -> None:
        """Lay the weights out as the pictures are, which saves reordering them at every call."""
        for weight in self.parameters():
            if weight.ndim == 4:
                weight.data = weight.data.contiguous(memory_format=torch.channels_last)


class ResidualBlock2d(nn.Module):
    """Two 3 × 3 convolutions beside a skip: He et al. (2016), figure 5, left."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, norm: Norm) -> None:
        super().__init__()
        self.first = ConvNorm(in_channels, out_channels, kernel_size=3, stride=stride, norm=norm)
        self.second = ConvNorm(out_channels, out_channels, kernel_size=3, stride=1, norm=norm)
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.skip = ConvNorm(in_channels, out_channels, kernel_size=1, stride=stride, norm=norm)

    def forward(self, x: FeatureMap) -> FeatureMap:
        """Shape (pictures, in_channels, height, width) to out_channels at 1 / stride the size."""
        y = self.second(nn.functional.relu(self.first(x), inplace=True))
        return nn.functional.relu(y + self.skip(x), inplace=True)


class ConvNorm(nn.Module):
    """A convolution, padded to keep the size at stride 1, and its normalization."""

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel_size: int, stride: int, norm: Norm
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=kernel_size // 2,
            bias=norm == "folded",
        )
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)
        self.norm: nn.Module = nn.Identity()
        if norm == "group":
            self.norm = nn.GroupNorm(num_groups(out_channels), out_channels)

    def forward(self, x: FeatureMap) -> FeatureMap:
        """Convolve and normalize."""
        y: Tensor = self.conv(x)
        if is_exported():  # OpenVINO's compiler crashes on such a norm of four axes before a sum
            flat: Tensor = self.norm(y.flatten(2))
            return flat.view_as(y)
        normalized: Tensor = self.norm(y)
        return normalized


def num_groups(channels: int) -> int:
    """Groups of 16 channels, as published; of 8 where those do not come out even."""
    return channels // (16 if channels % 16 == 0 else 8)


def layers_by_published_name(network: ResNet18) -> Iterator[tuple[str, str, ConvNorm]]:
    """Each layer with the names that torchvision and timm give its convolution and its norm."""
    yield "conv1", "bn1", network.stem
    for stage, blocks in enumerate(network.stages, start=1):
        for place, block in enumerate(blocks.children()):
            prefix = f"layer{stage}.{place}"
            if isinstance(block, ResidualBlock2d):
                yield f"{prefix}.conv1", f"{prefix}.bn1", block.first
                yield f"{prefix}.conv2", f"{prefix}.bn2", block.second
                if isinstance(block.skip, ConvNorm):
                    yield f"{prefix}.downsample.0", f"{prefix}.downsample.1", block.skip
