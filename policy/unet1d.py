"""The denoising network: a one-dimensional U-Net over time with FiLM conditioning.

The architecture is that of Chi et al. (2023), *Diffusion Policy*, section III-A, after
Janner et al. (2022), *Planning with Diffusion*.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from diffusion_controller import DiffusionControllerError

from .conv1d import Downsample1d, TimeConv1d, Upsample1d, is_exported, is_small
from .shapes import ActionChunk, Modulation, TimeMajor, Timesteps


class NetworkShapeError(DiffusionControllerError, ValueError):
    """A network's sizes do not fit together, or do not fit the chunk."""


class SinusoidalEmbedding(nn.Module):
    """Sines and cosines of a timestep: Vaswani et al. (2017), section 3.5."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        if dim < 4 or dim % 2:
            raise NetworkShapeError(f"timestep_dim is {dim}; it must be even and at least 4")
        half = dim // 2
        frequencies = torch.exp(torch.arange(half) * (-math.log(10_000) / (half - 1)))
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.frequencies: Tensor

    def forward(self, timestep: Timesteps) -> Tensor:
        """Embed. Shape (batch,) to (batch, dim)."""
        phase = timestep[:, None] * self.frequencies
        return torch.cat((phase.sin(), phase.cos()), dim=-1)


class _NormalizeMish(torch.autograd.Function):
    """Group normalization, then Mish, of (time, batch, channels), in few passes over memory.

    The normalization is one affine map per (batch, channel); statistics and gradients of the
    map come from sums over time. Eager PyTorch takes about twice the passes.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float
    ) -> Tensor:
        time, batch, channels = x.shape
        count = time * channels // groups
        total = x.sum(dim=0).view(batch, groups, -1).sum(dim=-1)
        mean = total / count
        centred = x - mean.repeat_interleave(channels // groups, dim=1)
        squares = (centred * centred).sum(dim=0).view(batch, groups, -1).sum(dim=-1)
        deviation = torch.rsqrt(squares / count + eps)
        slope = deviation.repeat_interleave(channels // groups, dim=1) * weight
        activated = torch.addcmul(bias, centred, slope)
        ctx.save_for_backward(centred, activated, slope, deviation, weight)
        ctx.groups = groups
        output: Tensor = nn.functional.mish(activated)
        return output

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        centred, activated, slope, deviation, weight = ctx.saved_tensors
        groups = ctx.groups
        time, batch, channels = centred.shape
        size = channels // groups
        grad: Tensor = torch.ops.aten.mish_backward(grad_outputs[0], activated)
        grad_sum = grad.sum(dim=0)  # over time: (batch, channels)
        product_sum = (grad * centred).sum(dim=0)
        spread = deviation.repeat_interleave(size, dim=1)
        grad_weight = (product_sum * spread).sum(dim=0)
        grad_bias = grad_sum.sum(dim=0)

        def group_mean(values: Tensor) -> Tensor:
            means: Tensor = (values * weight).view(batch, groups, size).sum(dim=-1)
            spread_out: Tensor = (means / (time * size)).repeat_interleave(size, dim=1)
            return spread_out

        # Ioffe and Szegedy (2015), section 3, with groups for batches
        constant = -spread * group_mean(grad_sum)
        linear = -spread.pow(3) * group_mean(product_sum)
        grad_x = torch.addcmul(constant, centred, linear).addcmul_(grad, slope)
        return grad_x, grad_weight, grad_bias, None, None


class ConvBlock(nn.Module):
    """Convolution, group normalization (Wu and He 2018), Mish.

    Mean and variance are taken over time and the channels of a group, as `nn.GroupNorm`
    does for (batch, channels, time).
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel_size: int, groups: int
    ) -> None:
        super().__init__()
        if out_channels % groups:
            raise NetworkShapeError(
                f"{out_channels} channels do not divide into {groups} groups; "
                "choose channels that are multiples of `groups`"
            )
        self.groups = groups
        self.conv = TimeConv1d(in_channels, out_channels, kernel_size=kernel_size)
        self.norm_weight = nn.Parameter(torch.ones(out_channels))
        self.norm_bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: TimeMajor) -> TimeMajor:
        """Shape (time, batch, in_channels) to (time, batch, out_channels)."""
        y = self.conv(x)
        if torch.is_autocast_enabled(y.device.type):
            y = y.float()  # statistics stay in full precision
        if is_small(y) or is_exported():  # one call rather than few passes
            channels_first = y.permute(1, 2, 0)
            normalized = nn.functional.group_norm(
                channels_first, self.groups, self.norm_weight, self.norm_bias
            )
            return nn.functional.mish(normalized).permute(2, 0, 1)
        activated: Tensor = _NormalizeMish.apply(  # type: ignore[no-untyped-call]
            y, self.norm_weight, self.norm_bias, self.groups, 1e-5
        )
        return activated


class ResidualBlock(nn.Module):
    """Two convolution blocks, modulated between them (FiLM, Perez et al. 2018), and a skip."""

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel_size: int, groups: int
    ) -> None:
        super().__init__()
        self.first = ConvBlock(in_channels, out_channels, kernel_size=kernel_size, groups=groups)
        self.second = ConvBlock(out_channels, out_channels, kernel_size=kernel_size, groups=groups)
        self.modulation_dim = 2 * out_channels
        self.skip = (
            nn.Linear(in_channels, out_channels) if in_channels != out_channels else nn.Identity()
        )

    def forward(self, x: TimeMajor, modulation: Tensor) -> TimeMajor:
        """Shape (time, batch, in_channels) to (time, batch, out_channels).

        Args:
            x: Sequence.
            modulation: Scale and shift of each channel. Shape (batch, 2 · out_channels).
        """
        scale, shift = modulation.chunk(2, dim=-1)
        y = torch.addcmul(shift, self.first(x), scale)
        output: Tensor = self.second(y) + self.skip(x)
        return output


class ConditionalUnet1d(nn.Module):
    """U-Net over time whose residual blocks are modulated by timestep and condition.

    Each level has two residual blocks; all but the last halve the length. The horizon must
    be a multiple of 2 ** (levels − 1).

    The modulation of all blocks is one matrix product of timestep and condition. It does not
    depend on the noisy chunk: a sampler has it computed once per chunk, for all its timesteps.
    """

    def __init__(
        self,
        *,
        action_dim: int,
        condition_dim: int,
        channels: Sequence[int] = (256, 512, 1024),
        timestep_dim: int = 256,
        kernel_size: int = 5,
        groups: int = 8,
    ) -> None:
        """Build the network.

        Args:
            action_dim: Channels of the noisy chunk; also of the output.
            condition_dim: Size of the condition; 0 for none.
            channels: Channels of each level, from full length down.
            timestep_dim: Size of the timestep's embedding.
            kernel_size: Of the convolutions; odd.
            groups: Of the group normalization; divides every entry of `channels`.

        Raises:
            NetworkShapeError: If the sizes do not fit together.
        """
        super().__init__()
        if not channels:
            raise NetworkShapeError(
                "channels is empty; give one entry per level, e.g. [64, 128, 256]"
            )
        self.action_dim, self.condition_dim = action_dim, condition_dim
        self.channels, self.timestep_dim = tuple(channels), timestep_dim
        self.kernel_size, self.groups = kernel_size, groups
        self.length_multiple = 2 ** (len(channels) - 1)
        self.embed_timestep = nn.Sequential(
            SinusoidalEmbedding(timestep_dim),
            nn.Linear(timestep_dim, 4 * timestep_dim),
            nn.Mish(),
            nn.Linear(4 * timestep_dim, timestep_dim),
        )

        def block(in_channels: int, out_channels: int) -> ResidualBlock:
            return ResidualBlock(
                in_channels,
                out_channels,
                kernel_size=kernel_size,
                groups=groups,
            )

        inputs = (action_dim, *channels[:-1])
        self.down = nn.ModuleList(
            nn.ModuleList((block(before, after), block(after, after)))
            for before, after in zip(inputs, channels, strict=True)
        )
        self.downsample = nn.ModuleList(Downsample1d(size) for size in channels[:-1])
        self.middle = nn.ModuleList(block(channels[-1], channels[-1]) for _ in range(2))
        ascending = list(zip(channels[:0:-1], channels[-2::-1], strict=True))
        self.up = nn.ModuleList(
            nn.ModuleList((block(2 * before, after), block(after, after)))
            for before, after in ascending
        )
        self.upsample = nn.ModuleList(Upsample1d(after) for _, after in ascending)
        self.last = ConvBlock(channels[0], channels[0], kernel_size=kernel_size, groups=groups)
        self.head = nn.Linear(channels[0], action_dim)
        self._modulation_dims = [block.modulation_dim for block in self._residual_blocks()]
        self.film = nn.Linear(timestep_dim + condition_dim, sum(self._modulation_dims))

    def modulate(self, timestep: Timesteps, condition: Tensor | None) -> Modulation:
        """Scale and shift of every block: what does not depend on the noisy chunk.

        Args:
            timestep: Noise level of each chunk.
            condition: Observation features. Shape (batch, condition_dim); None if that is 0.
        """
        embedding = self.embed_timestep(timestep)
        if condition is not None:
            embedding = torch.cat((embedding, condition), dim=-1)
        modulation: Tensor = self.film(nn.functional.mish(embedding))
        return modulation

    def forward(self, chunk: ActionChunk, modulation: Modulation) -> ActionChunk:
        """Predict the network's target (noise, clean chunk or velocity) from a noisy chunk.

        Args:
            chunk: Noisy normalized chunk.
            modulation: As `modulate` gives it for the timestep and condition of each chunk.

        Returns:
            Prediction, shaped as `chunk`.

        Raises:
            NetworkShapeError: If the horizon does not fit the number of levels.
        """
        if chunk.shape[1] % self.length_multiple:
            raise NetworkShapeError(
                f"horizon is {chunk.shape[1]}; with {len(self.down)} levels it must be a "
                f"multiple of {self.length_multiple}"
            )
        modulations = iter(torch.split(modulation, self._modulation_dims, dim=-1))
        x = chunk.transpose(0, 1).contiguous()
        skips: list[Tensor] = []
        for level, blocks in enumerate(self.down):
            for residual in blocks:  # type: ignore[attr-defined]
                x = residual(x, next(modulations))
            skips.append(x)
            if level < len(self.downsample):
                x = self.downsample[level](x)
        for residual in self.middle:
            x = residual(x, next(modulations))
        for blocks, upsample in zip(self.up, self.upsample, strict=True):
            x = torch.cat((x, skips.pop()), dim=-1)
            for residual in blocks:  # type: ignore[attr-defined]
                x = residual(x, next(modulations))
            x = upsample(x)
        prediction: Tensor = self.head(self.last(x))
        return prediction.transpose(0, 1)

    def _residual_blocks(self) -> Iterator[ResidualBlock]:
        """In the order in which `forward` comes to them."""
        for blocks in (*self.down, self.middle, *self.up):
            yield from blocks
