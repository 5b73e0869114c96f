"""Weights of ResNet-18 from a file, as torchvision and timm write them.

Their networks have batch normalization. In use it is an affine map of each channel with fixed
numbers, and so it goes into the convolution before it: weights · γ / √(σ² + ε), and a bias of
β − μ · γ / √(σ² + ε). What comes out is the same network to rounding (an encoder with `norm:
folded`), at any batch size, and with nothing that the average of the weights would miss.
Group normalization in its place would divide by the statistics of each picture, which the
weights have never seen; an encoder with `norm: group` is to be trained from the beginning.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from diffusion_controller import DiffusionControllerError

from .resnet import ConvNorm, ResNet18, layers_by_published_name

BATCH_NORM_EPSILON = 1e-5
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of colours in [0, 1]; both libraries subtract the one and divide by the other."""

_NORM_PARTS = ("weight", "bias", "running_mean", "running_var")


class WeightsFileError(DiffusionControllerError, ValueError):
    """A file without the weights of the network that is asked for."""


def load_resnet18_weights(module: nn.Module, path: str | Path) -> None:
    """Put weights from a file into every ResNet-18 within an encoder or policy, in place.

    The head of the file's network is left out. The pictures' normalization by which it was
    trained becomes part of the first layer.

    Args:
        module: Its networks have the published width and `norm: folded`.
        path: State dict of ResNet-18 as `.safetensors`, or as torch saves it. Nothing in it is
            unpickled but tensors.

    Raises:
        WeightsFileError: If the file cannot be read or is of another network, or there is no
            network for it.
    """
    networks = [part for part in module.modules() if isinstance(part, ResNet18)]
    if not networks:
        raise WeightsFileError(
            f"{path}: the {type(module).__name__} has no ResNet-18 to put weights into; choose an "
            "encoder of images, or give no weights"
        )
    if any(network.norm != "folded" for network in networks):
        raise WeightsFileError(
            f"{path}: the encoder has norm=group, for which these weights were not trained; "
            "choose norm=folded, or train from the beginning without a file"
        )
    stored = _read(Path(path))
    for network in networks:
        _check(network, stored, path)
        for conv, norm, layer in layers_by_published_name(network):
            _fold(layer, *(stored[name] for name in _names(conv, norm)))
        _take_in_normalization(network)


def _read(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsFileError(f"{path} cannot be read: {error.strerror or error}") from error
    except SafetensorError as error:
        raise WeightsFileError(f"{path} is damaged or not a safetensors file ({error})") from error
    except Exception as error:  # torch raises many kinds for what is not a file of tensors
        raise WeightsFileError(
            f"{path} is not a file of tensors alone ({type(error).__name__}); expected a state "
            "dict, and best as .safetensors"
        ) from error
    if not isinstance(stored, Mapping) or not all(
        isinstance(value, Tensor) for value in stored.values()
    ):
        raise WeightsFileError(
            f"{path} holds {_describe(stored)}; expected a state dict: names and tensors"
        )
    return stored


def _describe(stored: Any) -> str:
    if not isinstance(stored, Mapping):
        return f"a {type(stored).__name__}"
    return f"a table of {', '.join(map(str, list(stored)[:4]))}"


def _check(network: ResNet18, stored: Mapping[str, Tensor], path: str | Path) -> None:
    """The first name that is missing, misshapen or too many."""
    known = {"fc.weight", "fc.bias"}
    for conv, norm, layer in layers_by_published_name(network):
        shapes = [tuple(layer.conv.weight.shape)] + 4 * [(layer.conv.out_channels,)]
        names = _names(conv, norm)
        for name, shape in zip(names, shapes, strict=True):
            if name not in stored:
                raise WeightsFileError(
                    f"{path} lacks {name}; expected the state dict of torchvision's or timm's "
                    "resnet18"
                )
            if tuple(stored[name].shape) != shape:
                raise WeightsFileError(
                    f"{path}: {name} has shape {tuple(stored[name].shape)}; the encoder of width "
                    f"{network.width} needs {shape}; resnet18 has width 64"
                )
        known |= {*names, f"{norm}.num_batches_tracked"}
    surplus = [name for name in stored if name not in known]
    if surplus:
        raise WeightsFileError(f"{path} has {surplus[0]}, which ResNet-18 lacks; it is another one")


def _names(conv: str, norm: str) -> list[str]:
    return [f"{conv}.weight", *(f"{norm}.{part}" for part in _NORM_PARTS)]


@torch.no_grad()
def _fold(
    layer: ConvNorm, weight: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, variance: Tensor
) -> None:
    """Batch normalization into the convolution before it: Ioffe and Szegedy (2015), algorithm 2."""
    factor = gamma.double() / torch.sqrt(variance.double() + BATCH_NORM_EPSILON)
    layer.conv.weight.copy_(weight.double() * factor[:, None, None, None])
    if layer.conv.bias is not None:
        layer.conv.bias.copy_(beta.double() - mean.double() * factor)


@torch.no_grad()
def _take_in_normalization(network: ResNet18) -> None:
    """From colours in [−1, 1] to those that the file's network was trained on.

    Its padding is 0 after its normalization: the mean colour. So the mean is subtracted from
    the pictures, and only the factor goes into the weights.
    """
    mean = network.mean_color.new_tensor(IMAGENET_MEAN)
    deviation = network.mean_color.new_tensor(IMAGENET_DEVIATION)
    network.mean_color.copy_(2 * mean - 1)
    network.stem.conv.weight.div_(2 * deviation[:, None, None])
