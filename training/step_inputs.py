"""What an optimizer step is a function of, besides the weights, on its way to the device."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from diffusion_controller.data import WindowBatch


@dataclass(frozen=True)
class StepInputs:
    """Inputs of an optimizer step, on the policy's device.

    Attributes:
        batch: The windows.
        noise: Standard normal, shaped as `batch.action`.
        timestep: Noise level of each window.
        augmentation: Uniform in [0, 1). Shape (batch, augmentation_dim of the policy).
    """

    batch: WindowBatch
    noise: Tensor
    timestep: Tensor
    augmentation: Tensor

    def empty_like(self) -> "StepInputs":
        """Room for inputs of the same shapes."""
        observation = {
            name: torch.empty_like(values) for name, values in self.batch.observation.items()
        }
        return StepInputs(
            batch=WindowBatch(observation, torch.empty_like(self.batch.action)),
            noise=torch.empty_like(self.noise),
            timestep=torch.empty_like(self.timestep),
            augmentation=torch.empty_like(self.augmentation),
        )

    def copy_(self, other: "StepInputs") -> None:
        """Take over the values of others."""
        for mine, given in zip(self._tensors(), other._tensors(), strict=True):
            mine.copy_(given, non_blocking=True)

    def _tensors(self) -> Iterator[Tensor]:
        yield from self.batch.observation.values()
        yield from (self.batch.action, self.noise, self.timestep, self.augmentation)


def send(values: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on a device; the host does not wait for a copy to a GPU.

    Only from pinned memory does a GPU copy by itself. torch gives that memory out again once the
    copy is done, so nothing has to be kept here.
    """
    if device.type != "cuda" or values.numel() == 0:
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)
