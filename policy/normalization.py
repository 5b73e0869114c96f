"""The normalizer as part of the policy: on its device, in its precision."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from diffusion_controller.data import Normalizer


class Normalization(nn.Module):
    """Applies a `data.Normalizer` to tensors.

    Its numbers are not weights: they are saved as `normalizer.json`, beside the weights.
    """

    def __init__(self, normalizer: "Normalizer") -> None:
        super().__init__()
        self.normalizer = normalizer
        self.names = tuple(normalizer.channels)
        for name, channels in normalizer.channels.items():
            for part, values in (("scale", channels.scale), ("offset", channels.offset)):
                tensor = torch.as_tensor(values, dtype=torch.float32).clone()
                self.register_buffer(f"{name}_{part}", tensor, persistent=False)

    def normalize(self, name: str, values: Tensor) -> Tensor:
        """Physical units to normalized ones. The channels are the last dimensions.

        Images come as uint8 and become floating point here, on the policy's device.
        """
        scale = self._part(name, "scale")
        return torch.addcmul(self._part(name, "offset"), values.to(scale.dtype), scale)

    def denormalize(self, name: str, values: Tensor) -> Tensor:
        """Normalized units to physical ones: the inverse of `normalize`."""
        return (values - self._part(name, "offset")) / self._part(name, "scale")

    def _part(self, name: str, part: str) -> Tensor:
        return self.get_buffer(f"{name}_{part}")
