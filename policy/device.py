"""Where a policy computes."""

import torch

from diffusion_controller import DiffusionControllerError


class DeviceError(DiffusionControllerError, ValueError):
    """A device that this machine does not have."""


def find_device(device: str | torch.device) -> torch.device:
    """The device of a name such as `cpu` or `cuda:1`, known to be there.

    Raises:
        DeviceError: If it is not.
    """
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise DeviceError(
            f"device {str(device)!r} is not there ({reason}); use device=cpu"
        ) from error
    return place
