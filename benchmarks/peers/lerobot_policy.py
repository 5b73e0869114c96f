"""LeRobot's diffusion policy, trained and asked as its own scripts do. Runs in LeRobot's Python.

States instead of images: `observation.state` holds the agent, `observation.environment_state` the
keypoints. Batches are normalized beforehand, so that its processors are not counted.
"""

import os
from collections.abc import Sequence

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before its imports read it; nothing is downloaded

import torch
from lerobot.configs.types import FeatureType, PolicyFeature  # type: ignore[import-not-found]
from lerobot.policies.diffusion.configuration_diffusion import (  # type: ignore[import-not-found]
    DiffusionConfig,
)
from lerobot.policies.diffusion.modeling_diffusion import (  # type: ignore[import-not-found]
    DiffusionPolicy,
)
from torch import Tensor

AGENT_DIM = 2


class LeRobotPolicy:
    """Its policy, with the optimizer and gradient clipping of its presets; it keeps no average."""

    def __init__(
        self, channels: Sequence[int], timestep_dim: int, num_inference_steps: int
    ) -> None:
        """Builds policy and optimizer."""
        config = DiffusionConfig(
            input_features={
                "observation.state": PolicyFeature(FeatureType.STATE, (AGENT_DIM,)),
                "observation.environment_state": PolicyFeature(FeatureType.ENV, (18,)),
            },
            output_features={"action": PolicyFeature(FeatureType.ACTION, (2,))},
            horizon=16,
            n_obs_steps=2,
            n_action_steps=8,
            down_dims=tuple(channels),
            kernel_size=5,
            diffusion_step_embed_dim=timestep_dim,
            use_film_scale_modulation=True,
            noise_scheduler_type="DDIM",
            num_inference_steps=num_inference_steps,
            device="cpu",
        )
        preset = config.get_optimizer_preset()
        self._policy = DiffusionPolicy(config)
        self._max_grad_norm = preset.grad_clip_norm
        self._optimizer = preset.build(self._policy.get_optim_params())

    @property
    def num_parameters(self) -> int:
        """Of the network."""
        return sum(parameter.numel() for parameter in self._policy.parameters())

    def training_step(self, observation: Tensor, action: Tensor) -> float:
        """What `update_policy` of its training script does."""
        self._policy.train()
        batch = _name(observation) | {
            "action": action,
            "action_is_pad": torch.zeros(action.shape[:2], dtype=torch.bool),
        }
        loss, _ = self._policy.forward(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._policy.parameters(), self._max_grad_norm)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return float(loss.item())

    def predict_chunk(self, observation: Tensor) -> Tensor:
        """A chunk, from its observation queue; the queue is filled outside of the model's way."""
        self._policy.eval()
        self._policy.reset()
        named = _name(observation)
        for name, values in named.items():
            self._policy._queues[name].extend(values.unbind(dim=1))
        chunk: Tensor = self._policy.predict_action_chunk(named)
        return chunk


def _name(observation: Tensor) -> dict[str, Tensor]:
    return {
        "observation.state": observation[..., :AGENT_DIM],
        "observation.environment_state": observation[..., AGENT_DIM:],
    }
