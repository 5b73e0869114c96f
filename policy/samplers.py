"""Samplers: pure functions from noise to an action chunk.

A sampler owns nothing. What it draws is given to it, so that a chunk depends on its seed and
on nothing else: not on the batch it is in, nor on what was sampled before.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from .noise_schedule import (
    NoiseSchedule,
    Process,
    leading_timesteps,
    linspace_timesteps,
    trailing_timesteps,
)
from .shapes import ActionChunk, NoiseDraws

Predict = Callable[[ActionChunk, int], ActionChunk]
"""The network: from a noisy chunk and its timestep to what the schedule says it predicts."""


class Sample(Protocol):
    """Denoises a chunk."""

    def __call__(
        self,
        predict: Predict,
        noise: NoiseDraws,
        schedule: NoiseSchedule,
        timesteps: Sequence[int],
    ) -> ActionChunk:
        """Denoise.

        Args:
            predict: The network.
            noise: Standard normal. `noise[0]` starts the denoising; a stochastic sampler adds
                `noise[k]` after its k-th denoising step.
            schedule: Schedule that the network was trained with.
            timesteps: Timesteps to visit, strictly decreasing.

        Returns:
            Normalized action chunk.
        """


def ddpm_sample(
    predict: Predict, noise: NoiseDraws, schedule: NoiseSchedule, timesteps: Sequence[int]
) -> ActionChunk:
    """Ancestral sampling: Ho et al. (2020), algorithm 2, with the posterior's variance.

    Needs `len(timesteps)` draws: the last denoising step adds no noise.
    """
    chunk = noise[0]
    for step, timestep in enumerate(timesteps):
        last = step + 1 == len(timesteps)
        previous = -1 if last else timesteps[step + 1]
        clean, _ = schedule.clean_and_noise(predict(chunk, timestep), chunk, timestep)
        chunk, variance = schedule.posterior(clean, chunk, timestep, previous)
        if not last:
            chunk = chunk + math.sqrt(max(variance, 1e-20)) * noise[step + 1]
    return chunk


def ddim_sample(
    predict: Predict, noise: NoiseDraws, schedule: NoiseSchedule, timesteps: Sequence[int]
) -> ActionChunk:
    """Deterministic DDIM: Song et al. (2021), eq. 12 with σ = 0.

    Needs one draw.
    """
    chunk = noise[0]
    for step, timestep in enumerate(timesteps):
        previous = -1 if step + 1 == len(timesteps) else timesteps[step + 1]
        signal, sigma = schedule.level(previous)
        clean, epsilon = schedule.clean_and_noise(predict(chunk, timestep), chunk, timestep)
        chunk = signal * clean + sigma * epsilon
    return chunk


def dpm_solver_sample(
    predict: Predict, noise: NoiseDraws, schedule: NoiseSchedule, timesteps: Sequence[int]
) -> ActionChunk:
    """DPM-Solver++(2M): Lu et al. (2022), *DPM-Solver++*, algorithm 2, midpoint form.

    The first step and the last, which lands on the clean chunk, are of first order. Needs one
    draw.
    """
    chunk = noise[0]
    before: tuple[ActionChunk, float] | None = None  # clean chunk and λ of the step before
    for step, timestep in enumerate(timesteps):
        clean, _ = schedule.clean_and_noise(predict(chunk, timestep), chunk, timestep)
        if step + 1 == len(timesteps):
            return clean
        lambda_t, sigma_t, _ = _log_snr(schedule, timestep)
        lambda_s, sigma_s, signal_s = _log_snr(schedule, timesteps[step + 1])
        direction = clean
        if before is not None:
            ratio = (lambda_t - before[1]) / (lambda_s - lambda_t)  # r of the paper
            direction = clean + (clean - before[0]) / (2 * ratio)
        decay = math.expm1(lambda_t - lambda_s)
        chunk = (sigma_s / sigma_t) * chunk - signal_s * decay * direction
        before = clean, lambda_t
    return chunk


def euler_sample(
    predict: Predict, noise: NoiseDraws, schedule: NoiseSchedule, timesteps: Sequence[int]
) -> ActionChunk:
    """Euler's method on the flow dx/dσ = v: Liu et al. (2023), eq. 1 and section 2.2.

    With v = (x − x̂_0) / σ, which is what the network predicts unless x̂_0 was clipped, the step
    x + (σ_s − σ_t) v shortens the way to x̂_0 to its σ_s / σ_t-th part; the last lands on it.
    Needs one draw.
    """
    chunk = noise[0]
    for step, timestep in enumerate(timesteps):
        previous = -1 if step + 1 == len(timesteps) else timesteps[step + 1]
        (_, sigma_t), (_, sigma_s) = schedule.level(timestep), schedule.level(previous)
        clean, _ = schedule.clean_and_noise(predict(chunk, timestep), chunk, timestep)
        chunk = clean + (sigma_s / sigma_t) * (chunk - clean)
    return chunk


def _log_snr(schedule: NoiseSchedule, timestep: int) -> tuple[float, float, float]:
    """λ = log(√ᾱ / √(1 − ᾱ)), √(1 − ᾱ) and √ᾱ at a timestep."""
    signal, sigma = schedule.level(timestep)
    return math.log(signal / sigma), sigma, signal


@dataclass(frozen=True)
class Sampler:
    """A way to denoise.

    Attributes:
        sample: The function.
        timesteps: Timesteps to visit, from (num_train_timesteps, num_inference_steps).
        is_stochastic: Whether each denoising step draws noise.
        process: Of the schedules that it can sample.
    """

    sample: Sample
    timesteps: Callable[[int, int], list[int]]
    is_stochastic: bool
    process: Process = "diffusion"

    def num_draws(self, num_inference_steps: int) -> int:
        """How many draws of noise a chunk takes."""
        return num_inference_steps if self.is_stochastic else 1


SAMPLERS = {
    "ddpm": Sampler(ddpm_sample, leading_timesteps, is_stochastic=True),
    "ddim": Sampler(ddim_sample, leading_timesteps, is_stochastic=False),
    "ddim_trailing": Sampler(ddim_sample, trailing_timesteps, is_stochastic=False),
    "dpm_solver++": Sampler(dpm_solver_sample, linspace_timesteps, is_stochastic=False),
    "euler": Sampler(euler_sample, trailing_timesteps, is_stochastic=False, process="flow"),
}
"""The samplers by the names that `load_policy` and the configuration take."""


def samplers_for(schedule: NoiseSchedule) -> list[str]:
    """Names of the samplers that can sample a schedule."""
    return [name for name, sampler in SAMPLERS.items() if sampler.process == schedule.process]
