"""Convolution over time with fewer multiplications than taps times outputs.

Four outputs of a filter with five taps are the middle of a product of polynomials, which is
fixed by its values at eight points. A tile of eight inputs is transformed to these points, the
weights likewise; there the convolution is one matrix product per point: 8 for a tile, where
the taps take 20, or 14 at the edges. Winograd (1980), *Arithmetic Complexity of Computations*;
Lavin and Gray (2016), *Fast Algorithms for Convolutional Neural Networks*, whose matrices for
eight points these are.

In float32 the rounding error is about six times that of the sum over taps: 2e-6 of the largest
output. It would be too much for half precision.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

TAPS, TILE = 5, 4
_POINTS = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5)  # and infinity
_SCALES = (1.0, -2 / 9, -2 / 9, 1 / 90, 1 / 90, 32 / 45, 32 / 45)
_ONE = 1  # index of the point 1, where the value of a polynomial is the sum of its coefficients

_INPUT_TRANSFORM = (
    (1, 0, -21 / 4, 0, 21 / 4, 0, -1, 0),
    (0, 1, 1, -17 / 4, -17 / 4, 1, 1, 0),
    (0, -1, 1, 17 / 4, -17 / 4, -1, 1, 0),
    (0, 1 / 2, 1 / 4, -5 / 2, -5 / 4, 2, 1, 0),
    (0, -1 / 2, 1 / 4, 5 / 2, -5 / 4, -2, 1, 0),
    (0, 2, 4, -5 / 2, -5, 1 / 2, 1, 0),
    (0, -2, 4, 5 / 2, -5, -1 / 2, 1, 0),
    (0, -1, 0, 21 / 4, 0, -21 / 4, 0, 1),
)


def fits(x: Tensor, kernel_size: int) -> bool:
    """Whether a sequence, time first, is made of whole tiles and its numbers are precise enough.

    On a GPU the time would go into more and smaller kernels; not measured, so not claimed.
    """
    is_precise = x.dtype.itemsize >= 4
    return kernel_size == TAPS and len(x) % TILE == 0 and is_precise and x.is_cpu


class ConvolveTiles(torch.autograd.Function):
    """Stride 1, five taps, zero padding that keeps the length, a multiple of four.

    Takes x of shape (time, batch, in_channels), weight (taps, out, in) and bias (out,).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Transform, multiply point by point, transform back; keeps what was multiplied."""
        time, batch, channels = x.shape
        input_transform, weight_transform, output_transform = _transforms(x)
        points, tiles = len(input_transform), time // TILE
        x = x.reshape(time, -1)
        inputs = x.new_empty(points, tiles, batch * channels)
        for tile, steps, seen in _tiles(time):
            inputs[:, tile].addmm_(input_transform[:, seen], x[steps], beta=0)
        inputs = inputs.view(points, tiles * batch, channels)
        weights = (weight_transform @ weight.flatten(1)).view(points, *weight.shape[1:])
        products = torch.bmm(inputs, weights.transpose(1, 2))
        products[_ONE] += bias  # reaches every output once, with factor 1
        products = products.view(points, tiles, -1)
        y = x.new_empty(tiles, TILE, products.shape[2])
        for tile in range(tiles):
            y[tile].addmm_(output_transform, products[:, tile], beta=0)
        ctx.save_for_backward(inputs, weights)
        ctx.shape = time, batch, channels
        return y.view(time, batch, -1)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        """The transposed transforms in reverse order; all of them are linear."""
        inputs, weights = ctx.saved_tensors
        time, batch, channels = ctx.shape
        input_transform, weight_transform, output_transform = _transforms(inputs)
        points, tiles = len(input_transform), time // TILE
        grad_y = grad_outputs[0].reshape(tiles, TILE, -1)
        grad_products = grad_y.new_empty(points, tiles, grad_y.shape[2])
        for tile in range(tiles):
            grad_products[:, tile].addmm_(output_transform.t(), grad_y[tile], beta=0)
        grad_products = grad_products.view(points, tiles * batch, -1)
        grad_weights = torch.bmm(grad_products.transpose(1, 2), inputs)
        grad_weight = weight_transform.t() @ grad_weights.flatten(1)
        grad_bias = grad_products[_ONE].sum(dim=0)  # every output once
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_inputs = torch.bmm(grad_products, weights).view(points, tiles, -1)
            grad_x = grad_y.new_zeros(time, batch * channels)
            for tile, steps, seen in _tiles(time):
                grad_x[steps].addmm_(input_transform[:, seen].t(), grad_inputs[:, tile])
            grad_x = grad_x.view(time, batch, channels)
        return grad_x, grad_weight.view(TAPS, *weights.shape[1:]), grad_bias


def _tiles(length: int) -> Iterator[tuple[int, slice, slice]]:
    """Per tile of outputs: its number, the steps of its inputs, their places among the eight.

    What lies before the first step and after the last is zero and left out.
    """
    for tile in range(length // TILE):
        start = TILE * tile - TAPS // 2
        stop = start + TILE + TAPS - 1
        first, last = max(start, 0), min(stop, length)
        yield tile, slice(first, last), slice(first - start, last - start)


def _transforms(like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Matrices of inputs (8, 8), weights (8, 5) and outputs (4, 8), in the type of `like`."""
    weights = [
        [scale * point**power for power in range(TAPS)]
        for point, scale in zip(_POINTS, _SCALES, strict=True)
    ]
    outputs = [[point**power for point in _POINTS] + [0.0] for power in range(TILE)]
    outputs[-1][-1] = 1.0  # infinity sees the highest coefficient
    weights.append([0.0] * (TAPS - 1) + [1.0])
    return like.new_tensor(_INPUT_TRANSFORM), like.new_tensor(weights), like.new_tensor(outputs)
