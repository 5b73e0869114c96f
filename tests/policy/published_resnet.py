"""ResNet-18 put together from torch's modules, named as torchvision and timm name them."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

MakeNorm = Callable[[int], nn.Module]


class BasicBlock(nn.Module):
    def __init__(self, before: int, after: int, stride: int, norm: MakeNorm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = norm(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = norm(after)
        self.downsample: nn.Module | None = None
        if stride > 1 or before != after:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), norm(after)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class PublishedResNet18(nn.Module):
    """Up to the feature map; `fc` is there, and not used."""

    def __init__(self, norm: MakeNorm = nn.BatchNorm2d, *, width: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = norm(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        sizes = [width * factor for factor in (1, 1, 2, 4, 8)]
        for stage, (before, after) in enumerate(pairwise(sizes), start=1):
            blocks = nn.Sequential(
                BasicBlock(before, after, 1 if stage == 1 else 2, norm),
                BasicBlock(after, after, 1, norm),
            )
            self.add_module(f"layer{stage}", blocks)
        self.fc = nn.Linear(sizes[-1], 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        return x


def with_lived_in_norms(network: PublishedResNet18, *, seed: int = 0) -> PublishedResNet18:
    """The network in use, its batch normalization as if it had been trained."""
    generator = torch.Generator().manual_seed(seed)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for values, low, high in (
                (norm.weight, 0.5, 1.5),
                (norm.bias, -0.5, 0.5),
                (norm.running_mean, -0.5, 0.5),
                (norm.running_var, 0.5, 2.0),
            ):
                if values is not None:
                    values.data.uniform_(low, high, generator=generator)
    return network.eval()
