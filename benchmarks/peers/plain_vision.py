"""ResNet-18 with group normalization and spatial softmax in plain PyTorch, as anybody would.

The vision encoder of Chi et al. (2023), *Diffusion Policy*. Needs PyTorch, nothing of this project.
"""

import torch
from peers.specification import CROP, NUM_KEYPOINTS
from torch import Tensor, nn

WIDTHS = (64, 128, 256, 512)


def normalize(channels: int) -> nn.GroupNorm:
    """Groups of sixteen channels."""
    return nn.GroupNorm(channels // 16, channels)


class PlainResidual(nn.Module):
    """Two convolutions and a skip."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.second = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norms = nn.ModuleList((normalize(out_channels), normalize(out_channels)))
        self.skip: nn.Module = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            projection = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.skip = nn.Sequential(projection, normalize(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Shape (images, in_channels, height, width) to the same of out_channels."""
        y = nn.functional.relu(self.norms[0](self.first(x)))
        return nn.functional.relu(self.norms[1](self.second(y)) + self.skip(x))


class PlainEncoder(nn.Module):
    """Images and numbers to features."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(3, WIDTHS[0], 7, stride=2, padding=3, bias=False),
            normalize(WIDTHS[0]),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
        ]
        before = WIDTHS[0]
        for width in WIDTHS:
            stride = 1 if width == WIDTHS[0] else 2
            layers += [PlainResidual(before, width, stride), PlainResidual(width, width, 1)]
            before = width
        self.backbone = nn.Sequential(*layers)
        self.maps = nn.Conv2d(before, NUM_KEYPOINTS, 1)
        self.out = nn.Linear(2 * NUM_KEYPOINTS, 2 * NUM_KEYPOINTS)

    def forward(self, images: Tensor, numbers: Tensor) -> Tensor:
        """Features.

        Args:
            images: Float, in [−1, 1]. Shape (batch, obs_horizon, channels, height, width).
            numbers: Shape (batch, obs_horizon, …).

        Returns:
            Shape (batch, obs_horizon · features).
        """
        height, width = images.shape[-2:]
        free = (height - CROP[0], width - CROP[1])
        top, left = (
            int(torch.randint(size + 1, ())) if self.training else size // 2 for size in free
        )
        seen = images[..., top : top + CROP[0], left : left + CROP[1]].flatten(0, 1)
        maps = self.maps(self.backbone(seen))
        attention = maps.flatten(2).softmax(dim=-1).view_as(maps)
        rows = torch.linspace(-1, 1, maps.shape[2], device=maps.device, dtype=maps.dtype)
        columns = torch.linspace(-1, 1, maps.shape[3], device=maps.device, dtype=maps.dtype)
        places = torch.cat((attention.sum(dim=2) @ columns, attention.sum(dim=3) @ rows), dim=-1)
        features = nn.functional.relu(self.out(places)).view(*images.shape[:2], -1)
        return torch.cat((features, numbers), dim=-1).flatten(1)
