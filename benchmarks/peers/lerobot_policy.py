"""LeRobot's diffusion policy, trained and asked as its own scripts do. Runs in LeRobot's Python.

For states, `observation.state` holds the agent and `observation.environment_state` the keypoints.
Batches are normalized beforehand, images in float, so that its processors are not counted.
"""

import os
from collections.abc import Mapping

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before its imports read it; nothing is downloaded

import torch
from lerobot.configs.types import FeatureType, PolicyFeature  # type: ignore[import-not-found]
from lerobot.policies.diffusion.configuration_diffusion import (  # type: ignore[import-not-found]
    DiffusionConfig,
)
from lerobot.policies.diffusion.modeling_diffusion import (  # type: ignore[import-not-found]
    DiffusionPolicy,
)
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
from torch import Tensor


class LeRobotPolicy:
    """Its policy, with the optimizer and gradient clipping of its presets; it keeps no average."""

    def __init__(self, specification: Specification) -> None:
        """Builds policy and optimizer."""
        config = DiffusionConfig(
            input_features=_input_features(specification.sees),
            output_features={"action": PolicyFeature(FeatureType.ACTION, (ACTION_DIM,))},
            horizon=HORIZON,
            n_obs_steps=OBS_HORIZON,
            n_action_steps=ACTION_HORIZON,
            vision_backbone="resnet18",
            pretrained_backbone_weights=None,
            use_group_norm=True,
            crop_shape=CROP,
            spatial_softmax_num_keypoints=NUM_KEYPOINTS,
            down_dims=specification.channels,
            kernel_size=5,
            diffusion_step_embed_dim=specification.timestep_dim,
            use_film_scale_modulation=True,
            noise_scheduler_type=specification.sampler.upper(),
            num_train_timesteps=NUM_TRAIN_TIMESTEPS,
            num_inference_steps=specification.num_inference_steps,
            device="cpu",
        )
        preset = config.get_optimizer_preset()
        self._policy = DiffusionPolicy(config)
        self._max_grad_norm = preset.grad_clip_norm
        self._optimizer = preset.build(self._policy.get_optim_params())

    @property
    def num_parameters(self) -> int:
        """Of encoder and network."""
        return sum(p.numel() for p in self._policy.parameters() if p.requires_grad)

    def hand_over(self, observation: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """By its names; images as it takes them: float, channels before height and width."""
        named = {"observation.state": observation["agent"]}
        if "keypoints" in observation:
            named["observation.environment_state"] = observation["keypoints"].flatten(2)
        if "image" in observation:
            images = observation["image"].permute(0, 1, 4, 2, 3).contiguous()
            named["observation.image"] = images.float() / 127.5 - 1
        return named

    def training_step(self, observation: Mapping[str, Tensor], action: Tensor) -> float:
        """What `update_policy` of its training script does."""
        self._policy.train()
        is_pad = torch.zeros(action.shape[:2], dtype=torch.bool)
        loss, _ = self._policy.forward({**observation, "action": action, "action_is_pad": is_pad})
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._policy.parameters(), self._max_grad_norm)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return float(loss.item())

    def predict_chunk(self, observation: Mapping[str, Tensor]) -> Tensor:
        """A chunk, from its observation queues, which `select_action` would fill."""
        self._policy.eval()
        self._policy.reset()
        batch = dict(observation)
        if "observation.image" in batch:
            batch["observation.images"] = batch.pop("observation.image")[:, :, None]  # one camera
        for name, values in batch.items():
            self._policy._queues[name].extend(values.unbind(dim=1))
        chunk: Tensor = self._policy.predict_action_chunk(batch)
        return chunk


def _input_features(sees: str) -> dict[str, PolicyFeature]:
    if sees == "state":
        return {
            "observation.state": PolicyFeature(FeatureType.STATE, SHAPES[sees]["agent"]),
            "observation.environment_state": PolicyFeature(FeatureType.ENV, (18,)),
        }
    height, width, channels = SHAPES[sees]["image"]
    return {
        "observation.state": PolicyFeature(FeatureType.STATE, SHAPES[sees]["agent"]),
        "observation.image": PolicyFeature(FeatureType.VISUAL, (channels, height, width)),
    }
