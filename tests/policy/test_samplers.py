"""The samplers, against diffusers and closed forms."""

import math
from dataclasses import replace

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

from diffusion_controller.policy import (
    SAMPLERS,
    NoiseSchedule,
    ddim_sample,
    ddpm_sample,
    dpm_solver_sample,
)
from diffusion_controller.policy.noise_schedule import (
    Prediction,
    leading_timesteps,
    linspace_timesteps,
)
from diffusion_controller.policy.samplers import Predict

PREDICTIONS: tuple[Prediction, ...] = ("epsilon", "sample", "v_prediction")


def _predict(chunk: Tensor, timestep: int) -> Tensor:
    """A smooth function of chunk and timestep in place of a network."""
    return torch.sin(2 * chunk + timestep / 30) + 0.1 * chunk


def _noise(draws: int = 1) -> Tensor:
    return torch.randn(draws, 3, 16, 2, generator=torch.Generator().manual_seed(0))


def _schedule(prediction: Prediction) -> NoiseSchedule:
    return NoiseSchedule.from_scheduler(
        DDPMScheduler(100, beta_schedule="squaredcos_cap_v2", prediction_type=prediction)
    )


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("steps", [1, 2, 4, 10, 100])
def test_ddim_agrees_with_diffusers(prediction: Prediction, steps: int) -> None:
    scheduler = DDIMScheduler(
        100, beta_schedule="squaredcos_cap_v2", prediction_type=prediction, clip_sample=True
    )
    scheduler.set_timesteps(steps)
    expected = _noise()[0]
    for timestep in scheduler.timesteps:
        expected = scheduler.step(_predict(expected, int(timestep)), timestep, expected).prev_sample
    found = ddim_sample(_predict, _noise(), _schedule(prediction), leading_timesteps(100, steps))
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("steps", [1, 10, 100])
def test_ddpm_agrees_with_diffusers(
    prediction: Prediction, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = DDPMScheduler(
        100, beta_schedule="squaredcos_cap_v2", prediction_type=prediction, clip_sample=True
    )
    scheduler.set_timesteps(steps)
    noise = _noise(steps)
    draws = iter(noise[1:])
    module = "diffusers.schedulers.scheduling_ddpm.randn_tensor"
    monkeypatch.setattr(module, lambda *_, **__: next(draws))
    expected = noise[0]
    for timestep in scheduler.timesteps:
        expected = scheduler.step(_predict(expected, int(timestep)), timestep, expected).prev_sample
    found = ddpm_sample(_predict, noise, _schedule(prediction), leading_timesteps(100, steps))
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("steps", [2, 4, 8, 14])
def test_dpm_solver_agrees_with_diffusers(prediction: Prediction, steps: int) -> None:
    scheduler = DPMSolverMultistepScheduler(
        100, beta_schedule="squaredcos_cap_v2", prediction_type=prediction, solver_order=2
    )
    scheduler.set_timesteps(steps)
    expected = _noise()[0]
    for timestep in scheduler.timesteps:
        expected = scheduler.step(_predict(expected, int(timestep)), timestep, expected).prev_sample
    unclipped = replace(_schedule(prediction), clip_range=None)
    found = dpm_solver_sample(_predict, _noise(), unclipped, linspace_timesteps(100, steps))
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


def _denoiser_of_a_gaussian(mean: float, deviation: float, schedule: NoiseSchedule) -> Predict:
    """The exact E[ε | x_t] when the clean chunks are N(mean, deviation²)."""

    def predict(chunk: Tensor, timestep: int) -> Tensor:
        alpha_cumprod = schedule.alpha_cumprod(timestep)
        variance = alpha_cumprod * deviation**2 + 1 - alpha_cumprod
        return math.sqrt(1 - alpha_cumprod) * (chunk - math.sqrt(alpha_cumprod) * mean) / variance

    return predict


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_the_exact_denoiser_of_a_gaussian_gives_that_gaussian(name: str) -> None:
    mean, deviation = 0.2, 0.1
    schedule = _schedule("epsilon")
    steps = 99
    noise = torch.randn(
        SAMPLERS[name].num_draws(steps), 4000, 1, 1, generator=torch.Generator().manual_seed(1)
    )
    chunks = SAMPLERS[name].sample(
        _denoiser_of_a_gaussian(mean, deviation, schedule),
        noise,
        schedule,
        SAMPLERS[name].timesteps(100, steps),
    )
    assert chunks.mean().item() == pytest.approx(mean, abs=0.01)
    # the variance of DDPM is exact for a point mass only, and narrows a Gaussian a little
    tolerance = 0.15 if name == "ddpm" else 0.1
    assert chunks.std().item() == pytest.approx(deviation, rel=tolerance)


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_the_clean_chunk_is_clipped(name: str) -> None:
    sampler = SAMPLERS[name]
    chunk = sampler.sample(
        lambda noisy, _: torch.full_like(noisy, 7.0),
        _noise(sampler.num_draws(4)),
        _schedule("sample"),
        sampler.timesteps(100, 4),
    )
    torch.testing.assert_close(chunk, torch.ones_like(chunk))


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_a_chunk_does_not_depend_on_its_batch(name: str) -> None:
    sampler = SAMPLERS[name]
    noise, timesteps = _noise(sampler.num_draws(5)), sampler.timesteps(100, 5)
    schedule = _schedule("epsilon")
    whole = sampler.sample(_predict, noise, schedule, timesteps)
    alone = sampler.sample(_predict, noise[:, 1:2], schedule, timesteps)
    torch.testing.assert_close(whole[1:2], alone)
