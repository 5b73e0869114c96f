"""Refusing at the door what a policy was not trained on."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffusion_controller import DiffusionControllerError

IMAGE_AXES = 3
"""An observation of that many axes is an image: height, width, channels, as uint8."""


class ObservationError(DiffusionControllerError, ValueError):
    """An observation is not what the policy was trained on."""


def checked_observation(
    observation: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    *,
    obs_horizon: int,
    device: torch.device,
) -> dict[str, Tensor]:
    """The observations that a policy reads, as tensors on its device.

    Images stay uint8, a quarter of the bytes to copy; all else becomes float32.

    Args:
        observation: Arrays or tensors by name, in physical units. Shape (batch, obs_horizon, …).
        shapes: Shape of one of each that is read.
        obs_horizon: Observations in a history.
        device: Where to put them.

    Raises:
        ObservationError: If one is missing, misshapen, of another type or not finite.
    """
    missing = [name for name in shapes if name not in observation]
    if missing:
        reads = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ObservationError(
            f"observation has {', '.join(observation) or 'nothing'}; "
            f"{', '.join(missing)} missing; the policy reads {reads}"
        )
    tensors: dict[str, Tensor] = {}
    batch: int | None = None
    for name, shape in shapes.items():
        tensor = _as_tensor(name, observation[name])
        _check_shape(name, tensor, (obs_horizon, *shape), batch)
        is_image = len(shape) == IMAGE_AXES
        if is_image:
            _check_pixels(name, tensor)
        elif tensor.dtype == torch.bool or tensor.is_complex():
            raise ObservationError(f"{name} has dtype {tensor.dtype}; expected numbers")
        tensor = tensor.to(device) if is_image else tensor.to(device, torch.float32)
        if not is_image and not torch.isfinite(tensor).all():
            raise ObservationError(f"{name} holds NaN or infinity; check the sensor")
        tensors[name], batch = tensor, tensor.shape[0]
    return tensors


def _as_tensor(name: str, values: Any) -> Tensor:
    if isinstance(values, Tensor):
        return values
    try:
        return torch.as_tensor(np.ascontiguousarray(values))  # torch takes no negative strides
    except (TypeError, ValueError) as error:
        raise ObservationError(f"{name} is no array of numbers ({error})") from error


def _check_shape(name: str, tensor: Tensor, expected: tuple[int, ...], batch: int | None) -> None:
    found = tuple(tensor.shape)
    if found[1:] == expected and found[0] == (batch or found[0]):
        return
    wanted = f"({batch or 'batch'}, {', '.join(map(str, expected))})"
    if len(expected) == 1 + IMAGE_AXES:
        height, width, channels = expected[1:]
        if found[-3:] == (channels, height, width):
            raise ObservationError(
                f"{name} has shape {found}, channels first; expected {wanted}, channels last; "
                "move them with numpy.moveaxis(image, -3, -1)"
            )
        if found[1:2] == expected[:1] and len(found) == 2 + IMAGE_AXES:
            raise ObservationError(
                f"{name} has shape {found}; expected {wanted}; resize each picture to "
                f"{height} × {width} px and {channels} channels, as the policy was trained"
            )
    raise ObservationError(
        f"{name} has shape {found}; expected {wanted}: a batch of {expected[0]} observations, "
        "oldest first"
    )


def _check_pixels(name: str, image: Tensor) -> None:
    """An image has the type of its pixels, and with it their range."""
    if image.dtype == torch.uint8:
        return
    low, high = (image.min().item(), image.max().item()) if image.numel() else (0, 0)
    what_to_do = "convert with image.astype(numpy.uint8)"
    if image.is_floating_point() and high <= 1:
        what_to_do = "convert with (255 * image).astype(numpy.uint8)"
    if low < 0:
        what_to_do = "give the pixels as the camera does"
    raise ObservationError(
        f"{name} has dtype {str(image.dtype).removeprefix('torch.')} and values from {low:g} to "
        f"{high:g}; the policy was trained on uint8 from 0 to 255; {what_to_do}"
    )
