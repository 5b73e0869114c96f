"""The published network in plain PyTorch: `nn.Conv1d`, `nn.GroupNorm`, `nn.Mish`, as anybody would.

It has the same parameters as this project's `ConditionalUnet1d`, in the layout (batch, channels,
time) of `nn.Conv1d`. Needs PyTorch, nothing of this project.
"""

import math
from collections.abc import Sequence

import torch
from peers.specification import ACTION_DIM
from torch import Tensor, nn

KERNEL_SIZE, GROUPS = 5, 8


def convolve(in_channels: int, out_channels: int) -> nn.Sequential:
    """Convolution, group normalization, Mish."""
    return nn.Sequential(
        nn.Conv1d(in_channels, out_channels, KERNEL_SIZE, padding=KERNEL_SIZE // 2),
        nn.GroupNorm(GROUPS, out_channels),
        nn.Mish(),
    )


class PlainBlock(nn.Module):
    """Two convolutions with FiLM between them, and a skip."""

    def __init__(self, in_channels: int, out_channels: int, condition_dim: int) -> None:
        super().__init__()
        self.first = convolve(in_channels, out_channels)
        self.second = convolve(out_channels, out_channels)
        self.film = nn.Sequential(nn.Mish(), nn.Linear(condition_dim, 2 * out_channels))
        self.skip = (
            nn.Conv1d(in_channels, out_channels, 1)
            if in_channels != out_channels
            else nn.Identity()
        )

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Shape (batch, in_channels, time) to (batch, out_channels, time)."""
        scale, shift = self.film(condition)[..., None].chunk(2, dim=1)
        output: Tensor = self.second(scale * self.first(x) + shift) + self.skip(x)
        return output


class PlainUnet(nn.Module):
    """The network of Chi et al. (2023), *Diffusion Policy*."""

    def __init__(self, channels: Sequence[int], timestep_dim: int, condition_dim: int) -> None:
        super().__init__()
        self.timestep_dim = timestep_dim
        self.embed_timestep = nn.Sequential(
            nn.Linear(timestep_dim, 4 * timestep_dim),
            nn.Mish(),
            nn.Linear(4 * timestep_dim, timestep_dim),
        )
        modulation_dim = timestep_dim + condition_dim

        def pair(in_channels: int, out_channels: int) -> nn.ModuleList:
            return nn.ModuleList(
                (
                    PlainBlock(in_channels, out_channels, modulation_dim),
                    PlainBlock(out_channels, out_channels, modulation_dim),
                )
            )

        inputs = (ACTION_DIM, *channels[:-1])
        self.down = nn.ModuleList(pair(a, b) for a, b in zip(inputs, channels, strict=True))
        self.downsample = nn.ModuleList(nn.Conv1d(c, c, 3, 2, 1) for c in channels[:-1])
        self.middle = pair(channels[-1], channels[-1])
        ascending = list(zip(channels[:0:-1], channels[-2::-1], strict=True))
        self.up = nn.ModuleList(pair(2 * a, b) for a, b in ascending)
        self.upsample = nn.ModuleList(nn.ConvTranspose1d(b, b, 4, 2, 1) for _, b in ascending)
        self.last = convolve(channels[0], channels[0])
        self.head = nn.Conv1d(channels[0], ACTION_DIM, 1)

    def forward(self, chunk: Tensor, timestep: Tensor, features: Tensor) -> Tensor:
        """Predict the noise.

        Args:
            chunk: Noisy actions. Shape (batch, horizon, action_dim).
            timestep: Shape (batch,).
            features: Of the observations. Shape (batch, condition_dim).
        """
        embedding = self.embed_timestep(_embed(timestep, self.timestep_dim).to(features.dtype))
        condition = torch.cat((embedding, features), dim=-1)
        x = chunk.transpose(1, 2)
        skips: list[Tensor] = []
        for level, pair in enumerate(self.down):
            x = _apply(pair, x, condition)
            skips.append(x)
            if level < len(self.downsample):
                x = self.downsample[level](x)
        x = _apply(self.middle, x, condition)
        for pair, upsample in zip(self.up, self.upsample, strict=True):
            x = upsample(_apply(pair, torch.cat((x, skips.pop()), dim=1), condition))
        prediction: Tensor = self.head(self.last(x))
        return prediction.transpose(1, 2)


def _apply(blocks: nn.Module, x: Tensor, condition: Tensor) -> Tensor:
    for block in blocks.children():
        x = block(x, condition)
    return x


def _embed(timestep: Tensor, dim: int) -> Tensor:
    half = dim // 2
    places = torch.arange(half, device=timestep.device)
    frequencies = torch.exp(places * (-math.log(10_000) / (half - 1)))
    phase = timestep[:, None] * frequencies
    return torch.cat((phase.sin(), phase.cos()), dim=-1)
