"""The diffusion process as tables: diffusers' noise schedulers without their state."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from diffusion_controller import DiffusionControllerError

from .shapes import ActionChunk, Timesteps

Prediction = Literal["epsilon", "sample", "v_prediction", "flow"]
Process = Literal["diffusion", "flow"]

_UNSUPPORTED = (
    "thresholding",
    "rescale_betas_zero_snr",
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
    "use_dynamic_shifting",
    "shift_terminal",
    "invert_sigmas",
    "stochastic_sampling",
)
"""Options of diffusers' schedulers that change the process or its sampling."""


class NoiseScheduleError(DiffusionControllerError, ValueError):
    """A noise schedule that cannot be sampled, or a number of steps that it does not have."""


@dataclass(frozen=True)
class NoiseSchedule:
    """How chunks are noised, x_t = a_t x_0 + σ_t ε, and what the network predicts of it.

    A diffusion preserves the variance: a_t = √ᾱ_t, σ_t = √(1 − ᾱ_t) of Ho et al. (2020).
    A flow runs straight from chunk to noise: a_t = 1 − σ_t of Lipman et al. (2023), eq. 22.

    Attributes:
        signal: a_t, strictly decreasing. Shape (num_train_timesteps,), float64.
        sigma: σ_t, strictly increasing. Shape (num_train_timesteps,), float64.
        prediction: What the network predicts: the noise ε, the clean chunk x_0, the velocity
            v = √ᾱ_t ε − √(1 − ᾱ_t) x_0 of Salimans and Ho (2022), or that of a flow, ε − x_0.
        clip_range: The clean chunk is clipped to ± this at every denoising step; None: never.
    """

    signal: Tensor
    sigma: Tensor
    prediction: Prediction = "epsilon"
    clip_range: float | None = 1.0

    @classmethod
    def from_scheduler(cls, scheduler: Any) -> "NoiseSchedule":
        """Read the tables of a diffusers scheduler, such as `DDPMScheduler`.

        Raises:
            NoiseScheduleError: If the scheduler uses something that the samplers here do not.
        """
        config = getattr(scheduler, "config", {})
        for option in _UNSUPPORTED:
            if config.get(option):
                raise NoiseScheduleError(
                    f"the scheduler's {option} is not supported; set it to false"
                )
        alphas_cumprod = getattr(scheduler, "alphas_cumprod", None)
        if isinstance(alphas_cumprod, Tensor):
            return cls._diffusion(alphas_cumprod.double(), config)
        if "shift" in config:  # only diffusers' flow matching schedulers have it
            return cls._flow(config)
        raise NoiseScheduleError(
            f"noise_scheduler is a {type(scheduler).__name__} without alphas_cumprod; "
            "use diffusers' DDPMScheduler, DDIMScheduler, DPMSolverMultistepScheduler or "
            "FlowMatchEulerDiscreteScheduler"
        )

    @classmethod
    def _diffusion(cls, alphas_cumprod: Tensor, config: Mapping[str, Any]) -> "NoiseSchedule":
        expected = [name for name in get_args(Prediction) if name != "flow"]
        if config["prediction_type"] not in expected:
            raise NoiseScheduleError(
                f"prediction_type is {config['prediction_type']!r}; expected one of "
                f"{', '.join(expected)}"
            )
        clip = config.get("clip_sample", True)
        return cls(
            signal=alphas_cumprod.sqrt(),
            sigma=(1 - alphas_cumprod).sqrt(),
            prediction=config["prediction_type"],
            clip_range=float(config.get("clip_sample_range", 1.0)) if clip else None,
        )

    @classmethod
    def _flow(cls, config: Mapping[str, Any]) -> "NoiseSchedule":
        """σ from 1/T to 1, shifted to the noisy side as Esser et al. (2024), eq. 23.

        Computed, not read: a scheduler's own table is another one after `set_timesteps`.
        """
        timesteps, shift = int(config["num_train_timesteps"]), float(config["shift"])
        if not shift > 0:
            raise NoiseScheduleError(f"the scheduler's shift is {shift:g}; it must be more than 0")
        even = torch.arange(1, timesteps + 1, dtype=torch.float64) / timesteps
        sigma = shift * even / (1 + (shift - 1) * even)
        return cls(signal=1 - sigma, sigma=sigma, prediction="flow")

    @property
    def process(self) -> Process:
        """Whether noise is added as in a diffusion or along the straight lines of a flow."""
        return "flow" if self.prediction == "flow" else "diffusion"

    def __len__(self) -> int:
        """Number of timesteps that the network was trained with."""
        return len(self.sigma)

    def to(self, device: torch.device) -> "NoiseSchedule":
        """The same schedule with its tables on a device."""
        return replace(self, signal=self.signal.to(device), sigma=self.sigma.to(device))

    def add_noise(self, clean: ActionChunk, noise: ActionChunk, timestep: Timesteps) -> ActionChunk:
        """Draw from q(x_t | x_0): Ho et al. (2020), eq. 4, reparametrized."""
        signal, sigma = self._coefficients(timestep, clean.dtype)
        return signal * clean + sigma * noise

    def target(self, clean: ActionChunk, noise: ActionChunk, timestep: Timesteps) -> ActionChunk:
        """What the network is asked to predict for a chunk noised by `add_noise`."""
        if self.prediction == "epsilon":
            return noise
        if self.prediction == "sample":
            return clean
        if self.prediction == "flow":
            return noise - clean
        signal, sigma = self._coefficients(timestep, clean.dtype)
        return signal * noise - sigma * clean

    def clean_and_noise(
        self, prediction: ActionChunk, noisy: ActionChunk, timestep: int
    ) -> tuple[ActionChunk, ActionChunk]:
        """Read a network's prediction as an estimate of x_0, clipped, and of ε, as predicted.

        ε is not recomputed from the clipped x_0, as in diffusers.
        """
        signal, sigma = self.level(timestep)
        if self.prediction == "epsilon":
            clean, noise = (noisy - sigma * prediction) / signal, prediction
        elif self.prediction == "sample":
            clean, noise = prediction, (noisy - signal * prediction) / sigma
        elif self.prediction == "flow":
            clean, noise = noisy - sigma * prediction, noisy + signal * prediction
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
        alpha_cumprod_t, alpha_cumprod_s = (
            self.alpha_cumprod(timestep),
            self.alpha_cumprod(previous),
        )
        alpha = alpha_cumprod_t / alpha_cumprod_s
        variance = (1 - alpha_cumprod_s) / (1 - alpha_cumprod_t) * (1 - alpha)
        mean = (
            alpha_cumprod_s**0.5 * (1 - alpha) * clean + alpha**0.5 * (1 - alpha_cumprod_s) * noisy
        ) / (1 - alpha_cumprod_t)
        return mean, variance

    def level(self, timestep: int) -> tuple[float, float]:
        """The factors a and σ at a timestep; 1 and 0 before the first."""
        if timestep < 0:
            return 1.0, 0.0
        return float(self.signal[timestep]), float(self.sigma[timestep])

    def alpha_cumprod(self, timestep: int) -> float:
        """ᾱ at a timestep, 1 before the first."""
        signal, _ = self.level(timestep)
        return signal**2

    def _coefficients(self, timestep: Timesteps, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """a_t and σ_t, shaped to multiply a chunk."""
        signal, sigma = self.signal[timestep].to(dtype), self.sigma[timestep].to(dtype)
        return signal[:, None, None], sigma[:, None, None]


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


def trailing_timesteps(num_train_timesteps: int, num_inference_steps: int) -> list[int]:
    """Timesteps evenly down from the noisiest: diffusers' `timestep_spacing="trailing"`.

    The first is where training saw noise alone, however few there are: Lin et al. (2024),
    section 3.3.
    """
    _check_steps(num_train_timesteps, num_inference_steps)
    grid = np.arange(num_inference_steps, 0, -1) * (num_train_timesteps / num_inference_steps)
    return [int(value) - 1 for value in grid.round()]


def _check_steps(num_train_timesteps: int, num_inference_steps: int) -> None:
    if not 1 <= num_inference_steps <= num_train_timesteps:
        raise NoiseScheduleError(
            f"num_inference_steps is {num_inference_steps}; it must be between 1 and the "
            f"{num_train_timesteps} timesteps that the policy was trained with"
        )
