"""The samplers, against diffusers and closed forms."""

from dataclasses import replace

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
)
from torch import Tensor

from diffusion_controller.policy import (
    SAMPLERS,
    NoiseSchedule,
    ddim_sample,
    ddpm_sample,
    dpm_solver_sample,
    euler_sample,
    samplers_for,
)
from diffusion_controller.policy.noise_schedule import (
    Prediction,
    leading_timesteps,
    linspace_timesteps,
    trailing_timesteps,
)
from diffusion_controller.policy.samplers import Predict

PREDICTIONS: tuple[Prediction, ...] = ("epsilon", "sample", "v_prediction")


def _predict(chunk: Tensor, timestep: int) -> Tensor:
    """A smooth function of chunk and timestep in place of a network."""
    return torch.sin(2 * chunk + timestep / 30) + 0.1 * chunk


def _noise(draws: int = 1) -> Tensor:
    return torch.randn(draws, 3, 16, 2, generator=torch.Generator().manual_seed(0))


def _schedule(prediction: Prediction) -> NoiseSchedule:
    if prediction == "flow":
        return NoiseSchedule.from_scheduler(FlowMatchEulerDiscreteScheduler(100))
    return NoiseSchedule.from_scheduler(
        DDPMScheduler(100, beta_schedule="squaredcos_cap_v2", prediction_type=prediction)
    )


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("steps", [1, 2, 4, 10, 100])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_ddim_agrees_with_diffusers(prediction: Prediction, steps: int, spacing: str) -> None:
    scheduler = DDIMScheduler(
        100,
        beta_schedule="squaredcos_cap_v2",
        prediction_type=prediction,
        clip_sample=True,
        timestep_spacing=spacing,
    )
    scheduler.set_timesteps(steps)
    expected = _noise()[0]
    for timestep in scheduler.timesteps:
        expected = scheduler.step(_predict(expected, int(timestep)), timestep, expected).prev_sample
    timesteps = {"leading": leading_timesteps, "trailing": trailing_timesteps}[spacing](100, steps)
    found = ddim_sample(_predict, _noise(), _schedule(prediction), timesteps)
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


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", [1, 2, 4, 8, 10, 100])
def test_euler_agrees_with_diffusers(steps: int, shift: float) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(100, shift=shift)
    schedule = replace(NoiseSchedule.from_scheduler(scheduler), clip_range=None)
    timesteps = trailing_timesteps(100, steps)
    scheduler.set_timesteps(sigmas=[(timestep + 1) / 100 for timestep in timesteps])
    expected = _noise()[0]
    for timestep, level in zip(timesteps, scheduler.timesteps, strict=True):
        expected = scheduler.step(_predict(expected, timestep), level, expected).prev_sample
    found = euler_sample(_predict, _noise(), schedule, timesteps)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("steps", [1, 3, 100])
def test_the_flow_to_one_chunk_is_straight_so_that_a_single_step_is_exact(steps: int) -> None:
    schedule, clean = _schedule("flow"), _noise()[0].flip(0).clamp(-1, 1)

    def predict(chunk: Tensor, timestep: int) -> Tensor:
        return (chunk - clean) / schedule.sigma[timestep].float()

    found = euler_sample(predict, _noise(), schedule, trailing_timesteps(100, steps))
    torch.testing.assert_close(found, clean, atol=1e-5, rtol=1e-5)


def _denoiser_of_a_gaussian(mean: float, deviation: float, schedule: NoiseSchedule) -> Predict:
    """The exact E[ε | x_t], or E[ε − x_0 | x_t], when the clean chunks are N(mean, deviation²)."""

    def predict(chunk: Tensor, timestep: int) -> Tensor:
        signal, sigma = schedule.level(timestep)
        surprise = (chunk - signal * mean) / (signal**2 * deviation**2 + sigma**2)
        noise = sigma * surprise
        if schedule.prediction == "epsilon":
            return noise
        return noise - (mean + signal * deviation**2 * surprise)

    return predict


def _schedule_for(sampler: str) -> NoiseSchedule:
    return _schedule("flow" if SAMPLERS[sampler].process == "flow" else "epsilon")


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_the_exact_denoiser_of_a_gaussian_gives_that_gaussian(name: str) -> None:
    mean, deviation = 0.2, 0.1
    schedule = _schedule_for(name)
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
    schedule = _schedule("flow" if sampler.process == "flow" else "sample")
    far = -1e3 if schedule.prediction == "flow" else 7.0  # a velocity points away from the chunk
    chunk = sampler.sample(
        lambda noisy, _: torch.full_like(noisy, far),
        _noise(sampler.num_draws(4)),
        schedule,
        sampler.timesteps(100, 4),
    )
    torch.testing.assert_close(chunk, torch.ones_like(chunk))


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_a_chunk_does_not_depend_on_its_batch(name: str) -> None:
    sampler = SAMPLERS[name]
    noise, timesteps = _noise(sampler.num_draws(5)), sampler.timesteps(100, 5)
    schedule = _schedule_for(name)
    whole = sampler.sample(_predict, noise, schedule, timesteps)
    alone = sampler.sample(_predict, noise[:, 1:2], schedule, timesteps)
    torch.testing.assert_close(whole[1:2], alone)


def test_every_schedule_has_its_samplers() -> None:
    assert samplers_for(_schedule("flow")) == ["euler"]
    assert samplers_for(_schedule("sample")) == [name for name in SAMPLERS if name != "euler"]
