"""Exponential moving average of a policy's weights."""

import copy
from typing import Any

import torch
from torch import Tensor

from diffusion_controller.policy import DiffusionPolicy


class ExponentialMovingAverage:
    """Averages weights over updates, faster at first: decay = 1 − (1 + updates)^−power.

    The warm-up of Crowson's k-diffusion, which the published Diffusion Policy uses with power
    3/4. The policy that is evaluated and saved is the average.

    Attributes:
        model: The averaged copy; never trained itself.
        updates: How many updates it has seen; part of the state that a resume restores.
    """

    def __init__(
        self, model: DiffusionPolicy, *, power: float = 0.75, max_decay: float = 0.9999
    ) -> None:
        self.model = copy.deepcopy(model).eval()
        self.model.requires_grad_(requires_grad=False)
        self.power, self.max_decay = power, max_decay
        self.updates = 0

    @property
    def decay(self) -> float:
        """Weight of the past in the next update."""
        warming: float = 1 - (1 + self.updates) ** -self.power
        return min(self.max_decay, warming)

    @torch.no_grad()
    def update(self, model: DiffusionPolicy) -> None:
        """Take the model's present weights into the average; once per optimizer step."""
        averages: list[Tensor] = list(self.model.parameters())
        weights: list[Tensor] = list(model.parameters())
        torch._foreach_lerp_(averages, weights, 1 - self.decay)
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        """Averaged weights and the counter."""
        return {"model": self.model.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.model.load_state_dict(state["model"])
        self.updates = int(state["updates"])
