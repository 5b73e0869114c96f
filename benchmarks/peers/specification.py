"""What every side of a comparison builds and is given. Needs PyTorch, nothing of this project."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

HORIZON, OBS_HORIZON, ACTION_HORIZON, ACTION_DIM = 16, 2, 8, 2
NUM_TRAIN_TIMESTEPS = 100
SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "state": {"agent": (2,), "keypoints": (9, 2)},
    "image": {"agent": (2,), "image": (96, 96, 3)},
}
"""Shape of each observation, by what the policy sees."""

CROP = (84, 84)
NUM_KEYPOINTS = 32


@dataclass(frozen=True, kw_only=True)
class Specification:
    """A policy.

    Attributes:
        sees: The published state network, or ResNet-18 with group normalization and spatial
            softmax over crops before the network, as published for images.
        channels: Of the U-Net's levels.
        timestep_dim: Of the timestep's embedding.
        num_inference_steps: Denoising steps of a chunk.
        sampler: `ddim` or `ddpm`.
        engine: What this project computes chunks with; the other sides have one way.
        precision: Of that engine: `fp32` or `bf16`.
    """

    sees: Literal["state", "image"]
    channels: tuple[int, ...]
    timestep_dim: int
    num_inference_steps: int
    sampler: Literal["ddim", "ddpm"] = "ddim"
    engine: str = "eager"
    precision: Literal["fp32", "bf16"] = "fp32"

    @property
    def condition_dim(self) -> int:
        """Features of all observations that condition the network."""
        return OBS_HORIZON * (20 if self.sees == "state" else 2 + 2 * NUM_KEYPOINTS)


def make_observation(sees: str, batch: int) -> dict[str, Tensor]:
    """Random observations: numbers in [−1, 1], images as the bytes that are on the disk.

    Shape of each (batch, OBS_HORIZON, …).
    """
    made: dict[str, Tensor] = {}
    for name, shape in SHAPES[sees].items():
        size = (batch, OBS_HORIZON, *shape)
        is_image = name == "image"
        made[name] = (
            torch.randint(256, size, dtype=torch.uint8) if is_image else torch.rand(size) * 2 - 1
        )
    return made


def make_action(batch: int) -> Tensor:
    """Random actions in [−1, 1]. Shape (batch, HORIZON, ACTION_DIM)."""
    return torch.rand(batch, HORIZON, ACTION_DIM) * 2 - 1
