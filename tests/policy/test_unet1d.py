"""The denoising network."""

import pytest
import torch
from torch import Tensor, nn

from diffusion_controller.policy import ConditionalUnet1d, NetworkShapeError
from diffusion_controller.policy.unet1d import ConvBlock, SinusoidalEmbedding, _NormalizeMish


def _network(channels: tuple[int, ...] = (16, 32)) -> ConditionalUnet1d:
    torch.manual_seed(0)
    return ConditionalUnet1d(
        action_dim=3, condition_dim=5, channels=channels, timestep_dim=8, groups=4
    )


def _predict(
    network: ConditionalUnet1d, chunk: Tensor, timestep: Tensor, condition: Tensor
) -> Tensor:
    prediction: Tensor = network(chunk, network.modulate(timestep, condition))
    return prediction


def _inputs(batch: int = 4, horizon: int = 16) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    chunk = torch.randn(batch, horizon, 3, generator=generator)
    timestep = torch.randint(100, (batch,), generator=generator)
    return chunk, timestep, torch.randn(batch, 5, generator=generator)


@pytest.mark.parametrize("channels", [(16,), (16, 32), (16, 32, 64)])
def test_the_output_is_shaped_as_the_chunk(channels: tuple[int, ...]) -> None:
    chunk, timestep, condition = _inputs()
    assert _predict(_network(channels), chunk, timestep, condition).shape == chunk.shape


def test_the_published_widths_give_the_published_size() -> None:
    with torch.device("meta"):
        network = ConditionalUnet1d(action_dim=2, condition_dim=40)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert 63e6 < parameters < 67e6


def test_an_element_of_a_batch_does_not_see_the_others() -> None:
    network, (chunk, timestep, condition) = _network(), _inputs()
    whole = _predict(network, chunk, timestep, condition)
    alone = _predict(network, chunk[1:2], timestep[1:2], condition[1:2])
    torch.testing.assert_close(whole[1:2], alone)


def test_planning_agrees_with_what_training_computes() -> None:
    network, inputs = _network((16, 32, 64)), _inputs()
    trained = _predict(network, *inputs).detach()
    with torch.inference_mode():
        torch.testing.assert_close(_predict(network, *inputs), trained)


def test_condition_and_timestep_reach_the_output() -> None:
    network, (chunk, timestep, condition) = _network(), _inputs()
    output = _predict(network, chunk, timestep, condition)
    assert not torch.allclose(output, _predict(network, chunk, timestep, condition + 1))
    assert not torch.allclose(output, _predict(network, chunk, (timestep + 50) % 100, condition))


def test_every_weight_gets_a_gradient() -> None:
    network = _network((16, 32, 64))
    torch.autograd.backward(_predict(network, *_inputs()).square().sum())
    without = [name for name, weight in network.named_parameters() if weight.grad is None]
    assert without == []


def test_a_horizon_that_does_not_halve_is_refused() -> None:
    chunk, timestep, condition = _inputs(horizon=15)
    with pytest.raises(NetworkShapeError, match=r"horizon is 15; .* multiple of 2"):
        _predict(_network(), chunk, timestep, condition)


def test_channels_that_do_not_divide_into_groups_are_refused() -> None:
    with pytest.raises(NetworkShapeError, match="30 channels do not divide into 4 groups"):
        ConditionalUnet1d(action_dim=2, condition_dim=0, channels=(16, 30), groups=4)


def test_normalization_and_mish_agree_with_pytorch() -> None:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(8, 3, 16, generator=generator) * 3 + 5
    weight, bias = torch.randn(16, generator=generator), torch.randn(16, generator=generator)
    expected = nn.functional.mish(nn.functional.group_norm(x.permute(1, 2, 0), 4, weight, bias))
    found = _NormalizeMish.apply(x, weight, bias, 4, 1e-5)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(found.permute(1, 2, 0), expected)


def test_gradients_of_normalization_agree_with_finite_differences() -> None:
    generator = torch.Generator().manual_seed(3)
    x, weight, bias = (
        torch.randn(shape, generator=generator, dtype=torch.double, requires_grad=True)
        for shape in ((4, 3, 8), (8,), (8,))
    )
    assert torch.autograd.gradcheck(
        lambda *inputs: _NormalizeMish.apply(*inputs, 2, 1e-5),  # type: ignore[no-untyped-call]
        (x, weight, bias),
    )


def test_statistics_stay_in_full_precision_under_autocast() -> None:
    block = ConvBlock(16, 16, kernel_size=5, groups=4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert block(torch.randn(4, 2, 16)).dtype == torch.float32


def test_the_timestep_embedding_tells_all_timesteps_apart() -> None:
    embedded = SinusoidalEmbedding(32)(torch.arange(100))
    distance = torch.cdist(embedded, embedded) + 10 * torch.eye(100)
    assert distance.min() > 0.1
