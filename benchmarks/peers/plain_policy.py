"""A diffusion policy in plain PyTorch with diffusers' scheduler, trained with the default AdamW.

What this project is compared with where no peer is installed: nothing in it is this project's.
"""

import copy
from collections.abc import Mapping

import torch
from diffusers import DDIMScheduler, DDPMScheduler
from peers.plain_unet import PlainUnet
from peers.plain_vision import PlainEncoder
from peers.specification import (
    ACTION_DIM,
    ACTION_HORIZON,
    HORIZON,
    NUM_TRAIN_TIMESTEPS,
    OBS_HORIZON,
    Specification,
)
from torch import Tensor, nn


class PlainModel(nn.Module):
    """Encoder, if it sees images, and network."""

    def __init__(self, specification: Specification) -> None:
        super().__init__()
        self.encoder = PlainEncoder() if specification.sees == "image" else None
        self.network = PlainUnet(
            specification.channels, specification.timestep_dim, specification.condition_dim
        )

    def encode(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Features of all observations. Shape (batch, condition_dim)."""
        if self.encoder is not None:
            features: Tensor = self.encoder(observation["image"], observation["agent"])
            return features
        numbers = (observation["agent"], observation["keypoints"].flatten(2))
        return torch.cat(numbers, dim=-1).flatten(1)


class PlainPolicy:
    """A training step, and a chunk of actions."""

    def __init__(self, specification: Specification) -> None:
        """Builds the model; average and optimizer come with the first training step."""
        self.model = PlainModel(specification)
        self.average: nn.Module | None = None
        self.set_sampler(specification.sampler, specification.num_inference_steps)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6
        )

    @property
    def num_parameters(self) -> int:
        """Of encoder and network."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def set_sampler(self, sampler: str, num_inference_steps: int) -> None:
        """Takes `ddim` or `ddpm` from now on."""
        self._num_inference_steps = num_inference_steps
        scheduler = DDIMScheduler if sampler == "ddim" else DDPMScheduler
        self.scheduler = scheduler(
            num_train_timesteps=NUM_TRAIN_TIMESTEPS, beta_schedule="squaredcos_cap_v2"
        )

    def hand_over(self, observation: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Images as convolutions take them: float, channels before height and width."""
        named = dict(observation)
        if "image" in named:
            images = named["image"].permute(0, 1, 4, 2, 3).contiguous()
            named["image"] = images.float() / 127.5 - 1
        return named

    def training_step(self, observation: Mapping[str, Tensor], action: Tensor) -> float:
        """One optimizer step, in normalized units, with the average after it; gives the loss."""
        self.model.train()
        noise = torch.randn_like(action)
        timestep = torch.randint(NUM_TRAIN_TIMESTEPS, (len(action),))
        noisy = self.scheduler.add_noise(action, noise, timestep)
        predicted = self.model.network(noisy, timestep, self.model.encode(observation))
        loss = nn.functional.mse_loss(predicted, noise)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._update_average()
        return loss.item()

    @torch.no_grad()
    def predict_chunk(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Denoise the actions to execute, in normalized units, where the model is."""
        self.model.eval()
        features = self.model.encode(observation)
        self.scheduler.set_timesteps(self._num_inference_steps)
        shape = (len(features), HORIZON, ACTION_DIM)
        chunk: Tensor = torch.randn(shape, device=features.device, dtype=features.dtype)
        for timestep in self.scheduler.timesteps:
            levels = torch.full((len(chunk),), int(timestep), device=features.device)
            prediction = self.model.network(chunk, levels, features)
            chunk = self.scheduler.step(prediction, timestep, chunk).prev_sample
        return chunk[:, OBS_HORIZON - 1 : OBS_HORIZON - 1 + ACTION_HORIZON]

    @torch.no_grad()
    def _update_average(self) -> None:
        if self.average is None:
            self.average = copy.deepcopy(self.model).requires_grad_(requires_grad=False)
        parameters = zip(self.average.parameters(), self.model.parameters(), strict=True)
        for average, weight in parameters:
            average.lerp_(weight, 1e-4)
