"""The diffusion process as tables: diffusers' noise schedulers without their state."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from diffusion_controller import DiffusionControllerError

from .shapes import ActionChunk, Timesteps

Prediction = Literal["epsilon", "sample", "v_prediction"]


class NoiseScheduleError(DiffusionControllerError, ValueError):
    """A noise schedule that cannot be sampled, or a number of steps that it does not have."""


@dataclass(frozen=True)
class NoiseSchedule:
    """A variance-preserving diffusion process, and what the network predicts of it.

    Ho et al. (2020): q(x_t | x_0) = N(√ᾱ_t x_0, (1 − ᾱ_t) I).

    Attributes:
        alphas_cumprod: ᾱ_t. Shape (num_train_timesteps,), strictly decreasing, float32.
        prediction: What the network predicts: the noise ε, the clean chunk x_0, or the
            velocity v = √ᾱ_t ε − √(1 − ᾱ_t) x_0 of Salimans and Ho (2022).
        clip_range: The clean chunk is clipped to ± this at every denoising step; None: never.
    """

    alphas_cumprod: Tensor
    prediction: Prediction = "epsilon"
    clip_range: float | None = 1.0

    @classmethod
    def from_scheduler(cls, scheduler: Any) -> "NoiseSchedule":
        """Read the tables of a diffusers scheduler, such as `DDPMScheduler`.

        Raises:
            NoiseScheduleError: If the scheduler uses something that the samplers here do not.
        """
        config = getattr(scheduler, "config", None)
        alphas_cumprod = getattr(scheduler, "alphas_cumprod", None)
        if config is None or not isinstance(alphas_cumprod, Tensor):
            raise NoiseScheduleError(
                f"noise_scheduler is a {type(scheduler).__name__} without alphas_cumprod; "
                "use diffusers' DDPMScheduler, DDIMScheduler or DPMSolverMultistepScheduler"
            )
        if config.prediction_type not in get_args(Prediction):
            raise NoiseScheduleError(
                f"prediction_type is {config.prediction_type!r}; expected one of "
                f"{', '.join(get_args(Prediction))}"
            )
        for option in ("thresholding", "rescale_betas_zero_snr", "use_karras_sigmas"):
            if config.get(option):
                raise NoiseScheduleError(
                    f"the scheduler's {option} is not supported; set it to false"
                )
        clip = config.get("clip_sample", True)
        return cls(
            alphas_cumprod=alphas_cumprod.float(),
            prediction=config.prediction_type,
            clip_range=float(config.get("clip_sample_range", 1.0)) if clip else None,
        )

    def __len__(self) -> int:
        """Number of timesteps that the network was trained with."""
        return len(self.alphas_cumprod)

    def to(self, device: torch.device) -> "NoiseSchedule":
        """The same schedule with its table on a device."""
        return NoiseSchedule(self.alphas_cumprod.to(device), self.prediction, self.clip_range)

    def add_noise(self, clean: ActionChunk, noise: ActionChunk, timestep: Timesteps) -> ActionChunk:
        """Draw from q(x_t | x_0): Ho et al. (2020), eq. 4, reparametrized."""
        signal, sigma = self._coefficients(timestep)
        return signal * clean + sigma * noise

    def target(self, clean: ActionChunk, noise: ActionChunk, timestep: Timesteps) -> ActionChunk:
        """What the network is asked to predict for a chunk noised by `add_noise`."""
        if self.prediction == "epsilon":
            return noise
        if self.prediction == "sample":
            return clean
        signal, sigma = self._coefficients(timestep)
        return signal * noise - sigma * clean

    def clean_and_noise(
        self, prediction: ActionChunk, noisy: ActionChunk, timestep: int
    ) -> tuple[ActionChunk, ActionChunk]:
        """Read a network's prediction as an estimate of x_0, clipped, and of ε, as predicted.

        ε is not recomputed from the clipped x_0, as in diffusers.
        """
        alpha_cumprod = float(self.alphas_cumprod[timestep])
        signal, sigma = alpha_cumprod**0.5, (1 - alpha_cumprod) ** 0.5
        if self.prediction == "epsilon":
            clean, noise = (noisy - sigma * prediction) / signal, prediction
        elif self.prediction == "sample":
            clean, noise = prediction, (noisy - signal * prediction) / sigma
        else:
            clean = signal * noisy - sigma * prediction
            noise = signal * prediction + sigma * noisy
        if self.clip_range is not None:
            clean = clean.clamp(-self.clip_range, self.clip_range)
        return clean, noise

    def posterior(
        self, clean: ActionChunk, noisy: ActionChunk, timestep: int, previous: int
    ) -> tuple[ActionChunk, float]:
        """Mean and variance of q(x_s | x_t, x_0) for s < t: Ho et al. (2020), eq. 6 and 7.

        Args:
            clean: x_0.
            noisy: x_t.
            timestep: t.
            previous: s; −1 means the clean chunk, whose ᾱ is 1.

        Returns:
            Mean, shaped as `noisy`, and variance.
        """
        alpha_cumprod_t = float(self.alphas_cumprod[timestep])
        alpha_cumprod_s = self.alpha_cumprod(previous)
        alpha = alpha_cumprod_t / alpha_cumprod_s
        variance = (1 - alpha_cumprod_s) / (1 - alpha_cumprod_t) * (1 - alpha)
        mean = (
            alpha_cumprod_s**0.5 * (1 - alpha) * clean + alpha**0.5 * (1 - alpha_cumprod_s) * noisy
        ) / (1 - alpha_cumprod_t)
        return mean, variance

    def alpha_cumprod(self, timestep: int) -> float:
        """ᾱ at a timestep, 1 before the first."""
        return 1.0 if timestep < 0 else float(self.alphas_cumprod[timestep])

    def _coefficients(self, timestep: Timesteps) -> tuple[Tensor, Tensor]:
        """√ᾱ_t and √(1 − ᾱ_t), shaped to multiply a chunk."""
        alpha_cumprod = self.alphas_cumprod[timestep][:, None, None]
        return alpha_cumprod.sqrt(), (1 - alpha_cumprod).sqrt()


def leading_timesteps(num_train_timesteps: int, num_inference_steps: int) -> list[int]:
    """Evenly spaced timesteps down to 0, as diffusers' `timestep_spacing="leading"`.

    The spacing of the published Diffusion Policy, for DDPM and DDIM.
    """
    _check_steps(num_train_timesteps, num_inference_steps)
    ratio = num_train_timesteps // num_inference_steps
    return [step * ratio for step in reversed(range(num_inference_steps))]


def linspace_timesteps(num_train_timesteps: int, num_inference_steps: int) -> list[int]:
    """Timesteps from the noisiest down, without 0: `timestep_spacing="linspace"` of diffusers.

    The spacing of `DPMSolverMultistepScheduler`.
    """
    _check_steps(num_train_timesteps, num_inference_steps)
    grid = np.linspace(0, num_train_timesteps - 1, num_inference_steps + 1).round()
    return [int(value) for value in grid[:0:-1]]


def _check_steps(num_train_timesteps: int, num_inference_steps: int) -> None:
    if not 1 <= num_inference_steps <= num_train_timesteps:
        raise NoiseScheduleError(
            f"num_inference_steps is {num_inference_steps}; it must be between 1 and the "
            f"{num_train_timesteps} timesteps that the policy was trained with"
        )
