"""Weights from files of torchvision and timm."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from diffusion_controller.policy import (
    ConcatEncoder,
    ImageEncoder,
    StateEncoder,
    WeightsFileError,
    load_resnet18_weights,
)
from diffusion_controller.policy.pretrained import IMAGENET_DEVIATION, IMAGENET_MEAN
from diffusion_controller.policy.resnet import ResNet18
from tests.policy.published_resnet import PublishedResNet18, with_lived_in_norms

StateDict = dict[str, Tensor]


@pytest.fixture(scope="module")
def published() -> PublishedResNet18:
    return with_lived_in_norms(PublishedResNet18())


@pytest.fixture(scope="module")
def narrow() -> PublishedResNet18:
    return with_lived_in_norms(PublishedResNet18(width=8))


def _safetensors(weights: StateDict, directory: Path) -> Path:
    save_file(weights, directory / "resnet18.safetensors")
    return directory / "resnet18.safetensors"


def _torch(weights: StateDict, directory: Path) -> Path:
    torch.save(weights, directory / "resnet18.pth")
    return directory / "resnet18.pth"


def _normalized_as_published(colors: Tensor) -> Tensor:
    mean, deviation = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_DEVIATION)
    return (colors - mean[:, None, None]) / deviation[:, None, None]


@pytest.mark.parametrize("save", [_safetensors, _torch])
def test_the_features_are_those_of_the_published_network(
    published: PublishedResNet18, tmp_path: Path, save: Callable[[StateDict, Path], Path]
) -> None:
    network = ResNet18(norm="folded")
    load_resnet18_weights(network, save(published.state_dict(), tmp_path))
    colors = torch.rand(2, 3, 84, 84, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = published(_normalized_as_published(colors))
        found = network(2 * colors - 1)
    assert expected.abs().max() > 1
    torch.testing.assert_close(found, expected, atol=1e-4 * expected.abs().max().item(), rtol=0)


def test_a_folded_network_is_equal_to_its_batch_normalization_to_rounding(
    narrow: PublishedResNet18, tmp_path: Path
) -> None:
    network = ResNet18(norm="folded", width=8)
    load_resnet18_weights(network, _safetensors(narrow.state_dict(), tmp_path))
    colors = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        expected = narrow.double()(_normalized_as_published(colors))
        found = network.double()(2 * colors - 1)
    narrow.float()
    torch.testing.assert_close(found, expected, atol=1e-5 * expected.abs().max().item(), rtol=0)


@pytest.mark.parametrize("is_shared", [True, False])
def test_every_camera_of_an_encoder_gets_them(
    narrow: PublishedResNet18, tmp_path: Path, is_shared: bool
) -> None:
    images = {"front": [48, 48, 3], "wrist": [48, 48, 3]}
    cameras = ImageEncoder(images=images, width=8, norm="folded", is_shared=is_shared)
    agent = StateEncoder(observations={"agent": [2]})
    encoder = ConcatEncoder(encoders={"cameras": cameras, "agent": agent})
    load_resnet18_weights(encoder, _safetensors(narrow.state_dict(), tmp_path))
    networks = [part for part in encoder.modules() if isinstance(part, ResNet18)]
    assert len(networks) == (1 if is_shared else 2)
    for network in networks:
        kernel = network.stages[3].get_submodule("1.second.conv").weight
        assert isinstance(kernel, Tensor)
        norm = narrow.get_submodule("layer4.1.bn2")
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_var is not None
        factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        weight = narrow.state_dict()["layer4.1.conv2.weight"]
        torch.testing.assert_close(kernel, weight * factor[:, None, None, None])


def _without(name: str) -> Callable[[StateDict], Any]:
    return lambda weights: {key: value for key, value in weights.items() if key != name}


def _with(name: str, *shape: int) -> Callable[[StateDict], Any]:
    return lambda weights: {**weights, name: torch.zeros(shape)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("layer2.0.downsample.0.weight"), "lacks layer2.0.downsample.0.weight; expected"),
        (_without("bn1.running_mean"), "lacks bn1.running_mean; expected the state dict of"),
        (
            _with("conv1.weight", 64, 3, 7, 7),
            "conv1.weight has shape (64, 3, 7, 7); the encoder of width 8 needs (8, 3, 7, 7)",
        ),
        (_with("layer1.2.conv1.weight", 8, 8, 3, 3), "has layer1.2.conv1.weight, which ResNet-18"),
        (lambda weights: {"state_dict": weights}, "holds a table of state_dict; expected a state"),
        (lambda weights: list(weights.values()), "holds a list; expected a state dict"),
    ],
)
def test_a_file_of_another_network_is_refused_with_the_first_name_that_does_not_fit(
    narrow: PublishedResNet18, tmp_path: Path, change: Callable[[StateDict], Any], message: str
) -> None:
    torch.save(change(narrow.state_dict()), tmp_path / "other.pth")
    with pytest.raises(WeightsFileError) as caught:
        load_resnet18_weights(ResNet18(norm="folded", width=8), tmp_path / "other.pth")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_does_not_fit_changes_nothing(
    narrow: PublishedResNet18, tmp_path: Path
) -> None:
    network = ResNet18(norm="folded", width=8)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    path = _torch(_without("layer4.1.bn2.bias")(narrow.state_dict()), tmp_path)
    with pytest.raises(WeightsFileError, match=r"lacks layer4\.1\.bn2\.bias"):
        load_resnet18_weights(network, path)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


class _Bomb:
    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self._trace,)


def test_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "exploded"
    network = ResNet18(norm="folded", width=8)
    (tmp_path / "a.pth").write_bytes(pickle.dumps(_Bomb(trace), protocol=2))
    torch.save({"conv1.weight": _Bomb(trace)}, tmp_path / "b.pth")
    (tmp_path / "c.safetensors").write_bytes(pickle.dumps(_Bomb(trace)))
    for name in ("a.pth", "b.pth"):
        with pytest.raises(WeightsFileError, match="is not a file of tensors alone"):
            load_resnet18_weights(network, tmp_path / name)
    with pytest.raises(WeightsFileError, match="damaged or not a safetensors file"):
        load_resnet18_weights(network, tmp_path / "c.safetensors")
    assert not trace.exists()


@pytest.mark.parametrize("name", ["nowhere.safetensors", "nowhere.pth"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(WeightsFileError, match=rf"{name} cannot be read: No such file"):
        load_resnet18_weights(ResNet18(norm="folded", width=8), tmp_path / name)


def test_an_encoder_with_no_place_for_them_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsFileError, match="the StateEncoder has no ResNet-18"):
        load_resnet18_weights(StateEncoder(observations={"agent": [2]}), tmp_path / "x.pth")
    with pytest.raises(WeightsFileError, match="norm=group, for which these weights were not"):
        load_resnet18_weights(ResNet18(width=8), tmp_path / "x.pth")
