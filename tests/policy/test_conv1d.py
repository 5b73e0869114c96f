"""The matrix-product convolutions agree with PyTorch's."""

import pytest
import torch
from torch import Tensor, nn

from diffusion_controller.policy.conv1d import (
    SMALL_BATCH,
    Downsample1d,
    TimeConv1d,
    Upsample1d,
    _Convolve,
    is_small,
)


def _time_last(x: Tensor) -> Tensor:
    return x.permute(1, 2, 0)


def _sequence(time: int, batch: int, channels: int) -> Tensor:
    generator = torch.Generator().manual_seed(time)
    return torch.randn(time, batch, channels, generator=generator, dtype=torch.double)


@pytest.mark.parametrize("time", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_convolution_agrees_with_pytorch(time: int, kernel_size: int) -> None:
    conv = TimeConv1d(3, 7, kernel_size=kernel_size).double()
    x = _sequence(time, 2, 3)
    weight = conv.weight.permute(1, 2, 0)
    expected = nn.functional.conv1d(_time_last(x), weight, conv.bias, padding=kernel_size // 2)
    torch.testing.assert_close(_time_last(conv(x)), expected)


@pytest.mark.parametrize("time", [1, 3, 8])
def test_gradients_of_the_convolution_agree_with_finite_differences(time: int) -> None:
    conv = TimeConv1d(3, 2, kernel_size=5).double()
    x = _sequence(time, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(_Convolve.apply, (x, conv.weight, conv.bias))


def test_the_first_layer_needs_no_gradient_of_its_input() -> None:
    conv = TimeConv1d(3, 2, kernel_size=5)
    conv(_sequence(4, 2, 3).float()).sum().backward()
    assert conv.weight.grad is not None


def test_downsampling_agrees_with_a_strided_convolution() -> None:
    layer, x = Downsample1d(3).double(), _sequence(8, 2, 3)
    expected = nn.functional.conv1d(
        _time_last(x), layer.weight.permute(1, 2, 0), layer.bias, stride=2, padding=1
    )
    torch.testing.assert_close(_time_last(layer(x)), expected)


def test_upsampling_agrees_with_a_transposed_convolution() -> None:
    layer, x = Upsample1d(3).double(), _sequence(4, 2, 3)
    expected = nn.functional.conv_transpose1d(
        _time_last(x), layer.weight.permute(2, 1, 0), layer.bias, stride=2, padding=1
    )
    torch.testing.assert_close(_time_last(layer(x)), expected)


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="kernel_size is 4; it must be odd"):
        TimeConv1d(3, 3, kernel_size=4)


def test_bfloat16_runs_the_products_in_bfloat16() -> None:
    conv = TimeConv1d(3, 5, kernel_size=5)
    x = _sequence(8, 2, 3).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = conv(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), conv(x), atol=0.05, rtol=0.05)


@pytest.mark.parametrize("batch", [1, SMALL_BATCH, SMALL_BATCH + 1])
@pytest.mark.parametrize(
    "layer", [TimeConv1d(3, 7, kernel_size=5), Downsample1d(3), Upsample1d(3)], ids=type
)
def test_a_few_chunks_without_gradients_take_another_way_to_the_same_result(
    layer: nn.Module, batch: int
) -> None:
    layer, x = layer.double(), _sequence(8, batch, 3)
    expected = layer(x)
    assert is_small(x) is False
    with torch.no_grad():
        assert is_small(x) is (batch <= SMALL_BATCH)
        torch.testing.assert_close(layer(x), expected.detach())
