"""This project's policy, trained as `training.train` does and asked as a control loop does.

Numbers come normalized, as the other sides get them, and images as bytes, as this project's
windows hold them. Normalizing both, the numbers once more, is part of this side's time.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from peers.specification import (
    ACTION_DIM,
    ACTION_HORIZON,
    CROP,
    HORIZON,
    NUM_KEYPOINTS,
    NUM_TRAIN_TIMESTEPS,
    OBS_HORIZON,
    SHAPES,
    Specification,
)
from torch import Tensor, nn

from diffusion_controller.data import Normalizer, WindowBatch
from diffusion_controller.policy import DiffusionPolicy, build
from diffusion_controller.training import ExponentialMovingAverage, keep_freed_memory


class OurPolicy:
    """`DiffusionPolicy` with its optimizer and its average."""

    def __init__(self, specification: Specification) -> None:
        """Builds the policy; average and optimizer come with the first training step."""
        keep_freed_memory()  # as `dpc train` does
        self.policy = make_policy(specification)
        self.policy.eval()
        self.policy.set_engine(specification.engine, specification.precision)
        self._average: ExponentialMovingAverage | None = None
        self._optimizer = torch.optim.AdamW(
            self.policy.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6, fused=True
        )

    @property
    def num_parameters(self) -> int:
        """Of encoder and network."""
        return sum(parameter.numel() for parameter in self.policy.parameters())

    def hand_over(self, observation: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """As it is."""
        return observation

    def training_step(self, observation: Mapping[str, Tensor], action: Tensor) -> float:
        """One turn of the training loop, the average included."""
        if self._average is None:
            self._average = ExponentialMovingAverage(self.policy)
        loss: Tensor = self.policy(
            WindowBatch(observation=dict(observation), action=action),
            noise=torch.randn(action.shape),
            timestep=torch.randint(NUM_TRAIN_TIMESTEPS, (len(action),)),
            augmentation=torch.rand(len(action), self.policy.augmentation_dim),
        )
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.policy.parameters(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._average.update(self.policy)
        return loss.item()

    def predict_chunk(self, observation: Mapping[str, Tensor]) -> Tensor:
        """The whole way from an observation to actions, its checks included."""
        return self.policy.predict_chunk(observation)


def make_policy(specification: Specification) -> DiffusionPolicy:
    """The policy, with random weights."""
    shapes = {**SHAPES[specification.sees], "action": (ACTION_DIM,)}
    ranges = {name: (np.full(shape, -1.0), np.full(shape, 1.0)) for name, shape in shapes.items()}
    if "image" in ranges:
        ranges["image"] = (np.array(0.0), np.array(255.0))  # one map for all pixels and colours
    policy = build(
        _config(specification),
        injected={"normalizer": Normalizer.fit({}, dict.fromkeys(ranges, "min_max"), ranges)},
    )
    if not isinstance(policy, DiffusionPolicy):
        raise TypeError(f"built a {type(policy).__name__}; expected a DiffusionPolicy")
    return policy


def _config(specification: Specification) -> dict[str, Any]:
    return {
        "_target_": "diffusion_controller.policy.DiffusionPolicy",
        "horizon": HORIZON,
        "obs_horizon": OBS_HORIZON,
        "action_horizon": ACTION_HORIZON,
        "sampler": specification.sampler,
        "num_inference_steps": specification.num_inference_steps,
        "encoder": _encoder(specification.sees),
        "network": {
            "_target_": "diffusion_controller.policy.ConditionalUnet1d",
            "action_dim": ACTION_DIM,
            "condition_dim": specification.condition_dim,
            "channels": list(specification.channels),
            "timestep_dim": specification.timestep_dim,
        },
        "noise_scheduler": {
            "_target_": "diffusers.DDPMScheduler",
            "num_train_timesteps": NUM_TRAIN_TIMESTEPS,
            "beta_schedule": "squaredcos_cap_v2",
        },
    }


def _encoder(sees: str) -> dict[str, Any]:
    numbers = {
        "_target_": "diffusion_controller.policy.StateEncoder",
        "observations": {
            name: list(shape) for name, shape in SHAPES[sees].items() if name != "image"
        },
    }
    if sees == "state":
        return numbers
    camera = {
        "_target_": "diffusion_controller.policy.ImageEncoder",
        "images": {"image": list(SHAPES[sees]["image"])},
        "crop": list(CROP),
        "num_keypoints": NUM_KEYPOINTS,
    }
    return {
        "_target_": "diffusion_controller.policy.ConcatEncoder",
        "encoders": {"agent": numbers, "camera": camera},
    }
