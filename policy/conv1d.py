"""One-dimensional convolutions over time as matrix products, without copies.

The sequences of a diffusion policy are short (16, 8 and 4 steps) and wide (up to 1024
channels). Laid out as (time, batch, channels), the slab of inputs that one tap of the kernel
sees is one contiguous matrix. A convolution is then one matrix product per tap,
accumulated in place, which touches no padding: at length 4 and kernel 5, a padded
convolution multiplies 20 pairs of steps, this one the 14 that exist. Where it applies,
`minimal_filtering` needs 8.

In a control loop, where one chunk is denoised, the calls cost more than the arithmetic: there
the taps are one batched product over overlapping views of the padded input. A compiler of whole
graphs, to which a network is exported, is given the columns and one product instead.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from .minimal_filtering import ConvolveTiles, fits
from .shapes import TimeMajor

SMALL_BATCH = 4
"""Up to this many chunks, fewer calls are worth more than products that avoid the padding."""


def is_small(x: TimeMajor) -> bool:
    """Whether a few chunks are denoised and nothing is differentiated."""
    return x.shape[1] <= SMALL_BATCH and not torch.is_grad_enabled() and not is_exported()


def is_exported() -> bool:
    """Whether the network is being written down for a compiler of whole graphs."""
    return torch.compiler.is_exporting()


def _overlaps(length: int, kernel_size: int) -> Iterator[tuple[int, slice, slice]]:
    """Taps of a centred kernel with the outputs and inputs that each connects.

    Yields:
        The tap, the slice of output times, the slice of input times: equally long, not empty.
        The centre tap, which reaches every output, comes first.
    """
    centre = kernel_size // 2
    for tap in sorted(range(kernel_size), key=lambda tap: abs(tap - centre)):
        shift = tap - centre
        first, last = max(0, -shift), min(length, length - shift)
        if first < last:
            yield tap, slice(first, last), slice(first + shift, last + shift)


class _Convolve(torch.autograd.Function):
    """Stride 1, zero padding that keeps the length, odd kernel.

    Every product runs over a contiguous (time · batch, channels) matrix.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x, weight)
        time, batch, _ = x.shape
        y = x.new_empty(time, batch, weight.shape[1])
        for tap, outputs, inputs in _overlaps(time, weight.shape[0]):
            target, source = y[outputs].flatten(0, 1), x[inputs].flatten(0, 1)
            if tap == weight.shape[0] // 2:
                torch.addmm(bias, source, weight[tap].t(), out=target)
            else:
                target.addmm_(source, weight[tap].t())
        return y

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        grad_y = grad_outputs[0].contiguous()
        grad_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        grad_weight = torch.zeros_like(weight)
        for tap, outputs, inputs in _overlaps(x.shape[0], weight.shape[0]):
            gradient = grad_y[outputs].flatten(0, 1)
            torch.mm(gradient.t(), x[inputs].flatten(0, 1), out=grad_weight[tap])
            if grad_x is None:
                continue
            target = grad_x[inputs].flatten(0, 1)
            if tap == weight.shape[0] // 2:
                torch.mm(gradient, weight[tap], out=target)
            else:
                target.addmm_(gradient, weight[tap])
        return grad_x, grad_weight, grad_y.sum(dim=(0, 1))


def _convolve_small(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The same convolution in few calls: all taps at once, padding included."""
    taps, out_channels, in_channels = weight.shape
    time, batch, _ = x.shape
    padded = nn.functional.pad(x, (0, 0, 0, 0, taps // 2, taps // 2)).contiguous()
    step = batch * in_channels
    seen = padded.as_strided((taps, time * batch, in_channels), (step, in_channels, 1))
    convolved = torch.bmm(seen, weight.transpose(1, 2)).sum(dim=0).add_(bias)
    return convolved.view(time, batch, out_channels)


def _convolve_columns(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The same convolution as one product: for each step, the inputs of all taps side by side."""
    taps, time = len(weight), len(x)
    padded = nn.functional.pad(x, (0, 0, 0, 0, taps // 2, taps // 2))
    columns = torch.cat([padded[tap : tap + time] for tap in range(taps)], dim=-1)
    return nn.functional.linear(columns, _rows(weight), bias)


class TimeConv1d(nn.Module):
    """Convolution over time that keeps the length: `nn.Conv1d(…, padding="same")`.

    Attributes:
        weight: Shape (kernel_size, out_channels, in_channels): tap by tap, as it is multiplied.
        bias: Shape (out_channels,).
    """

    def __init__(self, in_channels: int, out_channels: int, *, kernel_size: int) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size is {kernel_size}; it must be odd to keep the length")
        self.weight = nn.Parameter(torch.empty(kernel_size, out_channels, in_channels))
        self.bias = nn.Parameter(torch.empty(out_channels))
        _initialize(self.weight, self.bias, fan_in=kernel_size * in_channels)

    def forward(self, x: TimeMajor) -> TimeMajor:
        """Convolve. Shape (time, batch, in_channels) to (time, batch, out_channels)."""
        weight: Tensor = self.weight
        bias: Tensor = self.bias
        if torch.is_autocast_enabled(x.device.type):
            precision = torch.get_autocast_dtype(x.device.type)
            x, weight, bias = x.to(precision), weight.to(precision), bias.to(precision)
        if is_exported():
            return _convolve_columns(x, weight, bias)
        if is_small(x):
            return _convolve_small(x, weight, bias)
        convolve = ConvolveTiles if fits(x, len(weight)) else _Convolve
        convolved: Tensor = convolve.apply(x, weight, bias)  # type: ignore[no-untyped-call]
        return convolved


class Downsample1d(nn.Module):
    """Halves the length: `nn.Conv1d` with kernel_size=3, stride=2, padding=1.

    Attributes:
        weight: Shape (3, channels, channels): tap, out, in.
        bias: Shape (channels,).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(3, channels, channels))
        self.bias = nn.Parameter(torch.empty(channels))
        _initialize(self.weight, self.bias, fan_in=3 * channels)

    def forward(self, x: TimeMajor) -> TimeMajor:
        """Convolve with stride 2. Shape (time, batch, channels) to (time / 2, batch, channels)."""
        even, odd = x[0::2], x[1::2]
        before = torch.nn.functional.pad(odd[:-1], (0, 0, 0, 0, 1, 0))  # odd steps, one later
        if is_small(x):
            seen = torch.stack((before, even, odd)).flatten(1, 2)
            products = torch.bmm(seen, self.weight.transpose(1, 2))
            return (products.sum(dim=0) + self.bias).view_as(even)
        columns = torch.cat((before, even, odd), dim=-1)
        return nn.functional.linear(columns, _rows(self.weight), self.bias)


class Upsample1d(nn.Module):
    """Doubles the length: `nn.ConvTranspose1d` with kernel_size=4, stride=2, padding=1.

    Attributes:
        weight: Shape (4, channels, channels): tap, out, in.
        bias: Shape (channels,).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(4, channels, channels))
        self.bias = nn.Parameter(torch.empty(channels))
        _initialize(self.weight, self.bias, fan_in=4 * channels)

    def forward(self, x: TimeMajor) -> TimeMajor:
        """Convolve transposed. Shape (time, batch, channels) to (2 · time, batch, channels).

        Output 2t sees x[t] through tap 1 and x[t − 1] through tap 3; output 2t + 1 sees
        x[t] through tap 2 and x[t + 1] through tap 0.
        """
        pad = nn.functional.pad
        previous = pad(x[:-1], (0, 0, 0, 0, 1, 0))
        following = pad(x[1:], (0, 0, 0, 0, 0, 1))
        if is_small(x):
            seen = torch.stack((following, x, x, previous)).flatten(1, 2)
            products = torch.bmm(seen, self.weight.transpose(1, 2)).view(2, 2, *x.shape)
            odd_even = products.sum(dim=0) + self.bias
            return odd_even.flip(0).transpose(0, 1).flatten(0, 1)
        even = nn.functional.linear(
            torch.cat((x, previous), dim=-1), _rows(self.weight[1::2]), self.bias
        )
        odd = nn.functional.linear(
            torch.cat((following, x), dim=-1), _rows(self.weight[0::2]), self.bias
        )
        return torch.stack((even, odd), dim=1).flatten(0, 1)


def _rows(weight: Tensor) -> Tensor:
    """(taps, out, in) to (out, taps · in): the taps side by side, for inputs side by side."""
    return weight.transpose(0, 1).flatten(1)


def _initialize(weight: Tensor, bias: Tensor, *, fan_in: int) -> None:
    """Draw as `nn.Conv1d` does: uniform within ±1/√fan_in (He et al. 2015, with a = √5)."""
    bound = 1 / math.sqrt(fan_in)
    nn.init.uniform_(weight, -bound, bound)
    nn.init.uniform_(bias, -bound, bound)
