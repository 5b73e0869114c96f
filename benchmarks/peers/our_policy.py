"""This project's policy, trained as `training.train` does and asked as a control loop does.

Observations and actions come normalized, as the other sides get them; normalizing them once more
(by the identity's cost) is part of this side's time.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from diffusion_controller.data import Normalizer, WindowBatch
from diffusion_controller.policy import DiffusionPolicy, build
from diffusion_controller.training import ExponentialMovingAverage

SHAPES: dict[str, tuple[int, ...]] = {"agent": (2,), "keypoints": (9, 2)}


class OurPolicy:
    """`DiffusionPolicy` with its optimizer and its average."""

    def __init__(
        self, channels: Sequence[int], timestep_dim: int, num_inference_steps: int
    ) -> None:
        """Builds policy, optimizer and average."""
        ranges = {
            name: (np.full(shape, -1.0), np.full(shape, 1.0))
            for name, shape in {**SHAPES, "action": (2,)}.items()
        }
        policy = build(
            _config(channels, timestep_dim, num_inference_steps),
            injected={"normalizer": Normalizer.fit({}, dict.fromkeys(ranges, "min_max"), ranges)},
        )
        if not isinstance(policy, DiffusionPolicy):
            raise TypeError(f"built a {type(policy).__name__}; expected a DiffusionPolicy")
        self._policy = policy
        self._average = ExponentialMovingAverage(policy)
        self._optimizer = torch.optim.AdamW(
            policy.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6, fused=True
        )

    @property
    def num_parameters(self) -> int:
        """Of the network."""
        return sum(parameter.numel() for parameter in self._policy.parameters())

    def training_step(self, observation: Tensor, action: Tensor) -> float:
        """One turn of the training loop, the average included."""
        noise = torch.randn(action.shape)
        timestep = torch.randint(len(self._policy.schedule), (len(action),))
        batch = WindowBatch(observation=_name(observation), action=action)
        loss: Tensor = self._policy(batch, noise=noise, timestep=timestep)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._policy.parameters(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._average.update(self._policy)
        return loss.item()

    def predict_chunk(self, observation: Tensor) -> Tensor:
        """The whole way from an observation to actions, its checks included."""
        return self._policy.predict_chunk(_name(observation))


def _name(observation: Tensor) -> dict[str, Tensor]:
    return {
        "agent": observation[..., :2],
        "keypoints": observation[..., 2:].reshape(*observation.shape[:-1], *SHAPES["keypoints"]),
    }


def _config(
    channels: Sequence[int], timestep_dim: int, num_inference_steps: int
) -> dict[str, object]:
    return {
        "_target_": "diffusion_controller.policy.DiffusionPolicy",
        "sampler": "ddim",
        "num_inference_steps": num_inference_steps,
        "encoder": {
            "_target_": "diffusion_controller.policy.StateEncoder",
            "observations": {name: list(shape) for name, shape in SHAPES.items()},
        },
        "network": {
            "_target_": "diffusion_controller.policy.ConditionalUnet1d",
            "action_dim": 2,
            "condition_dim": 40,
            "channels": list(channels),
            "timestep_dim": timestep_dim,
        },
        "noise_scheduler": {
            "_target_": "diffusers.DDPMScheduler",
            "num_train_timesteps": 100,
            "beta_schedule": "squaredcos_cap_v2",
        },
    }
