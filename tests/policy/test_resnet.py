"""ResNet-18 against the same network put together from torch's modules."""

import pytest
import torch
from torch import nn

from diffusion_controller.policy.encoders import EncoderError
from diffusion_controller.policy.resnet import ResNet18, layers_by_published_name, num_groups
from tests.policy.published_resnet import PublishedResNet18


@pytest.mark.parametrize("width", [16, 32])
def test_it_is_the_published_network_with_group_normalization(width: int) -> None:
    published = PublishedResNet18(lambda c: nn.GroupNorm(c // 16, c), width=width)
    network = ResNet18(width=width)
    for conv, norm, layer in layers_by_published_name(network):
        assert isinstance(layer.norm, nn.GroupNorm)
        layer.conv.load_state_dict(published.get_submodule(conv).state_dict())
        layer.norm.load_state_dict(published.get_submodule(norm).state_dict())
    pictures = torch.randn(2, 3, 84, 84, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(pictures), published(pictures), atol=1e-4, rtol=1e-4)


def test_it_has_as_many_weights_as_published() -> None:
    with torch.device("meta"):
        network, published = ResNet18(), PublishedResNet18()
    expected = sum(w.numel() for n, w in published.named_parameters() if not n.startswith("fc."))
    assert sum(weight.numel() for weight in network.parameters()) == expected == 11_176_512


@pytest.mark.parametrize(("size", "expected"), [(84, 3), (96, 3), (97, 4), (224, 7)])
def test_height_and_width_become_a_32nd_part_rounded_up(size: int, expected: int) -> None:
    network = ResNet18(width=8)
    assert network(torch.zeros(1, 3, size, 64)).shape == (1, network.channels, expected, 2)


def test_the_memory_format_does_not_change_what_comes_out() -> None:
    network = ResNet18(width=8)
    pictures = torch.randn(2, 3, 84, 84)
    channels_last = pictures.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(network(pictures), network(channels_last), atol=1e-5, rtol=1e-4)


def test_groups_are_of_sixteen_channels_as_published_or_of_eight() -> None:
    assert [num_groups(channels) for channels in (64, 128, 256, 512)] == [4, 8, 16, 32]
    assert [num_groups(channels) for channels in (8, 16, 24, 48)] == [1, 1, 3, 3]


@pytest.mark.parametrize("width", [0, 4, 20])
def test_a_width_that_does_not_divide_into_groups_is_refused(width: int) -> None:
    with pytest.raises(EncoderError, match=f"width is {width}; it must be a multiple of 8"):
        ResNet18(width=width)


def test_an_unknown_normalization_is_refused() -> None:
    with pytest.raises(EncoderError, match="norm is 'batch'; expected one of group, folded"):
        ResNet18(norm="batch")  # type: ignore[arg-type]
