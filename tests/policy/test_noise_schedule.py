"""The diffusion process as tables, against its closed forms and diffusers."""

import math
from dataclasses import replace

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EDMEulerScheduler,
    FlowMatchEulerDiscreteScheduler,
)
from torch import Tensor

from diffusion_controller.policy import NoiseSchedule, NoiseScheduleError
from diffusion_controller.policy.noise_schedule import (
    Prediction,
    leading_timesteps,
    linspace_timesteps,
    trailing_timesteps,
)

PREDICTIONS: tuple[Prediction, ...] = ("epsilon", "sample", "v_prediction", "flow")


def _scheduler(prediction: Prediction = "epsilon") -> DDPMScheduler:
    return DDPMScheduler(100, beta_schedule="squaredcos_cap_v2", prediction_type=prediction)


def _schedule(prediction: Prediction = "epsilon") -> NoiseSchedule:
    if prediction == "flow":
        return NoiseSchedule.from_scheduler(FlowMatchEulerDiscreteScheduler(100))
    return NoiseSchedule.from_scheduler(_scheduler(prediction))


def _chunks(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(5, 16, 2, generator=generator) for _ in range(count)]


def test_noising_agrees_with_diffusers() -> None:
    clean, noise = _chunks(2)
    timestep = torch.tensor([0, 3, 50, 98, 99])
    expected = _scheduler().add_noise(clean, noise, timestep)
    torch.testing.assert_close(_schedule().add_noise(clean, noise, timestep), expected)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_noising_along_a_flow_agrees_with_diffusers(shift: float) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(100, shift=shift)
    schedule = NoiseSchedule.from_scheduler(scheduler)
    clean, noise = _chunks(2)
    timestep = torch.tensor([0, 3, 50, 98, 99])
    expected = scheduler.scale_noise(clean, scheduler.timesteps.flip(0)[timestep], noise)
    torch.testing.assert_close(schedule.add_noise(clean, noise, timestep), expected)


def test_a_flow_is_straight_from_the_clean_chunk_to_the_noise() -> None:
    """Its velocity, the network's target, is dx/dσ at every timestep, and at the end all is noise.

    A diffusion's is not, and leaves a little of the clean chunk at the end.
    """
    schedule = _schedule("flow")
    clean, noise = _chunks(2)
    for first, second in [(0, 1), (20, 60), (98, 99)]:
        points = [schedule.add_noise(clean, noise, torch.full((5,), t)) for t in (first, second)]
        rise = (points[1] - points[0]) / (schedule.sigma[second] - schedule.sigma[first])
        velocity = schedule.target(clean, noise, torch.full((5,), first))
        torch.testing.assert_close(rise, velocity, atol=1e-4, rtol=1e-4)
    assert torch.equal(schedule.add_noise(clean, noise, torch.full((5,), 99)), noise)


def test_a_schedule_does_not_depend_on_what_its_scheduler_was_used_for() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(100)
    scheduler.set_timesteps(4)
    torch.testing.assert_close(
        NoiseSchedule.from_scheduler(scheduler).sigma, _schedule("flow").sigma
    )


def test_the_closed_form_is_the_forward_process_step_by_step() -> None:
    """q(x_t | x_0) has the mean and variance of t + 1 steps of q(x_t | x_{t−1})."""
    betas = _scheduler().betas.double()
    mean, variance = 1.0, 0.0
    for timestep, beta in enumerate(betas.tolist()):
        mean, variance = math.sqrt(1 - beta) * mean, (1 - beta) * variance + beta
        alpha_cumprod = _schedule().alpha_cumprod(timestep)
        assert mean == pytest.approx(math.sqrt(alpha_cumprod), rel=1e-4)
        assert variance == pytest.approx(1 - alpha_cumprod, rel=1e-4)


@pytest.mark.parametrize("timestep", [1, 20, 70, 99])
def test_the_posterior_is_bayes_rule(timestep: int) -> None:
    """q(x_{t−1} | x_t, x_0) ∝ q(x_t | x_{t−1}) q(x_{t−1} | x_0), a product of two Gaussians."""
    schedule = _schedule()
    clean, noisy = 0.3, -0.8
    before = schedule.alpha_cumprod(timestep - 1)
    alpha = schedule.alpha_cumprod(timestep) / before
    prior_precision = 1 / (1 - before)
    likelihood_precision = alpha / (1 - alpha)  # of x_{t−1}, seen through x_t / √α
    precision = prior_precision + likelihood_precision
    mean = (
        prior_precision * math.sqrt(before) * clean
        + likelihood_precision * noisy / math.sqrt(alpha)
    ) / precision
    found, variance = schedule.posterior(
        torch.tensor([[[clean]]]).double(),
        torch.tensor([[[noisy]]]).double(),
        timestep,
        timestep - 1,
    )
    assert found.item() == pytest.approx(mean, rel=1e-6)
    assert variance == pytest.approx(1 / precision, rel=1e-6)


def test_the_posterior_before_the_first_timestep_is_the_clean_chunk() -> None:
    clean, noisy = _chunks(2)
    mean, variance = _schedule().posterior(clean, noisy, 0, -1)
    torch.testing.assert_close(mean, clean)
    assert variance == 0


def test_the_elbo_term_is_a_weighted_noise_error() -> None:
    """KL of two posteriors with the same variance = β² / (2 σ² α (1 − ᾱ)) ‖ε − ε'‖².

    Ho et al. (2020), eq. 8 to 12: what the simplified loss drops is the weight alone.
    """
    schedule = _schedule()
    clean, noise, error = (chunk.double() for chunk in _chunks(3))
    timestep = 40
    noisy = schedule.add_noise(clean, noise, torch.full((5,), timestep))
    unclipped = replace(schedule, clip_range=None)
    estimate, _ = unclipped.clean_and_noise(noise + error, noisy, timestep)
    true_mean, variance = schedule.posterior(clean, noisy, timestep, timestep - 1)
    mean, _ = schedule.posterior(estimate, noisy, timestep, timestep - 1)
    divergence = (true_mean - mean).square().sum() / (2 * variance)
    alpha_cumprod = schedule.alpha_cumprod(timestep)
    alpha = alpha_cumprod / schedule.alpha_cumprod(timestep - 1)
    weight = (1 - alpha) ** 2 / (2 * variance * alpha * (1 - alpha_cumprod))
    torch.testing.assert_close(divergence, weight * error.square().sum(), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("timestep", [0, 7, 60, 99])
def test_a_perfect_prediction_gives_back_what_was_noised(
    prediction: Prediction, timestep: int
) -> None:
    schedule = _schedule(prediction)
    clean, noise = (chunk.double() for chunk in _chunks(2))
    clean = clean.clamp(-1, 1)
    levels = torch.full((5,), timestep)
    noisy = schedule.add_noise(clean, noise, levels)
    found, found_noise = schedule.clean_and_noise(
        schedule.target(clean, noise, levels), noisy, timestep
    )
    tolerance = 1e-3 if timestep == 99 else 1e-5  # ᾱ is 2e-9 there, in float32
    torch.testing.assert_close(found, clean, atol=tolerance, rtol=tolerance)
    tolerance = 1e-3 if timestep == 0 else 1e-5
    torch.testing.assert_close(found_noise, noise, atol=tolerance, rtol=tolerance)


def test_velocity_agrees_with_diffusers() -> None:
    clean, noise = _chunks(2)
    timestep = torch.tensor([0, 3, 50, 98, 99])
    expected = _scheduler("v_prediction").get_velocity(clean, noise, timestep)
    found = _schedule("v_prediction").target(clean, noise, timestep)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("steps", [1, 2, 4, 8, 10, 16, 100])
def test_timesteps_agree_with_diffusers(steps: int) -> None:
    ddim = DDIMScheduler(100, beta_schedule="squaredcos_cap_v2")
    ddim.set_timesteps(steps)
    assert leading_timesteps(100, steps) == ddim.timesteps.tolist()
    solver = DPMSolverMultistepScheduler(100, beta_schedule="squaredcos_cap_v2")
    ddim = DDIMScheduler(100, beta_schedule="squaredcos_cap_v2", timestep_spacing="trailing")
    ddim.set_timesteps(steps)
    assert trailing_timesteps(100, steps) == ddim.timesteps.tolist()
    if steps < 100:  # at 100 diffusers visits a timestep twice
        solver.set_timesteps(steps)
        assert linspace_timesteps(100, steps) == solver.timesteps.tolist()


@pytest.mark.parametrize("steps", [0, 101])
def test_an_impossible_number_of_steps_is_refused(steps: int) -> None:
    with pytest.raises(NoiseScheduleError, match=f"num_inference_steps is {steps}; .* the 100"):
        leading_timesteps(100, steps)


def test_a_scheduler_with_an_unsupported_option_is_refused() -> None:
    with pytest.raises(NoiseScheduleError, match="thresholding"):
        NoiseSchedule.from_scheduler(DDPMScheduler(100, thresholding=True))
    with pytest.raises(NoiseScheduleError, match="stochastic_sampling"):
        NoiseSchedule.from_scheduler(FlowMatchEulerDiscreteScheduler(100, stochastic_sampling=True))
    with pytest.raises(NoiseScheduleError, match="shift is 0; it must be more than 0"):
        NoiseSchedule.from_scheduler(FlowMatchEulerDiscreteScheduler(100, shift=0.0))


@pytest.mark.parametrize("scheduler", [object(), EDMEulerScheduler()], ids=["object", "EDM"])
def test_a_scheduler_of_another_process_is_refused(scheduler: object) -> None:
    with pytest.raises(NoiseScheduleError, match="without alphas_cumprod; use diffusers' DDPM"):
        NoiseSchedule.from_scheduler(scheduler)
