"""The convolution with fewer multiplications agrees with PyTorch's."""

import pytest
import torch
from torch import Tensor, nn

from diffusion_controller.policy.minimal_filtering import ConvolveTiles, fits


def _arguments(time: int, channels: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(time)
    x = torch.randn(time, 3, channels, generator=generator, dtype=dtype)
    weight = torch.randn(5, 6, channels, generator=generator, dtype=dtype)
    weight /= (5 * channels) ** 0.5
    return x, weight, torch.randn(6, generator=generator, dtype=dtype)


def _pytorch(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    y = nn.functional.conv1d(x.permute(1, 2, 0), weight.permute(1, 2, 0), bias, padding=2)
    return y.permute(2, 0, 1)


def _tiles(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    y: Tensor = ConvolveTiles.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return y


@pytest.mark.parametrize("time", [4, 8, 12, 16])
def test_tiles_agree_with_pytorch(time: int) -> None:
    arguments = _arguments(time, 7, torch.double)
    torch.testing.assert_close(_tiles(*arguments), _pytorch(*arguments))


@pytest.mark.parametrize("time", [4, 8])
def test_gradients_agree_with_finite_differences(time: int) -> None:
    arguments = _arguments(time, 2, torch.double)
    assert torch.autograd.gradcheck(_tiles, [tensor.requires_grad_() for tensor in arguments])


def test_single_precision_is_off_by_a_few_roundings() -> None:
    arguments = _arguments(16, 512, torch.float32)
    exact = _pytorch(*(tensor.double() for tensor in arguments))
    error = (_tiles(*arguments) - exact).abs().max() / exact.abs().max()
    assert error < 5e-6


def test_half_precision_and_incomplete_tiles_do_not_fit() -> None:
    assert fits(torch.empty(8, 1, 3), 5)
    assert not fits(torch.empty(8, 1, 3), 3)
    assert not fits(torch.empty(6, 1, 3), 5)
    assert not fits(torch.empty(8, 1, 3, dtype=torch.bfloat16), 5)
