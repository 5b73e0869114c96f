"""The policy, from observations to action chunks."""

from typing import Any

import numpy as np
import pytest
import torch

from diffusion_controller.data import WindowBatch
from diffusion_controller.policy import SAMPLERS, NoiseScheduleError, ObservationError
from diffusion_controller.policy.diffusion_policy import PolicyConfigError, draw_noise
from tests.policy.policies import FLOW, config, observation, sampled_by, small_policy

INPAINTING: dict[str, Any] = {
    "conditioning": "inpainting",
    "network": {**config()["network"], "action_dim": 22, "condition_dim": 0},
}


def _batch(size: int = 4) -> WindowBatch:
    generator = torch.Generator().manual_seed(5)
    return WindowBatch(
        {name: torch.as_tensor(values).float() for name, values in observation(size).items()},
        torch.rand(size, 8, 2, generator=generator) * 512,
    )


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
@pytest.mark.parametrize("changes", [{}, INPAINTING], ids=["film", "inpainting"])
def test_a_chunk_is_action_horizon_long_and_in_physical_units(
    sampler: str, changes: dict[str, Any]
) -> None:
    policy = small_policy({**changes, **sampled_by(sampler)})
    chunk = policy.predict_chunk(observation(), seeds=[1, 2, 3])
    assert chunk.shape == (3, 4, 2)
    assert 0 <= chunk.min() < chunk.max() <= 512


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_a_seed_decides_a_chunk_whatever_the_batch(sampler: str) -> None:
    policy = small_policy(sampled_by(sampler))
    seen = observation()
    whole = policy.predict_chunk(seen, seeds=[1, 2, 3])
    alone = policy.predict_chunk({name: value[1:2] for name, value in seen.items()}, seeds=[2])
    torch.testing.assert_close(whole[1:2], alone, atol=0.01, rtol=0)  # [px]
    other = policy.predict_chunk(seen, seeds=[1, 9, 3])
    assert not torch.allclose(whole[1], other[1])


def test_without_seeds_every_chunk_is_another() -> None:
    policy, seen = small_policy(), observation()
    assert not torch.allclose(policy.predict_chunk(seen), policy.predict_chunk(seen))


def test_drawing_leaves_the_global_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    small_policy().predict_chunk(observation())
    assert torch.equal(before, torch.random.get_rng_state())


def test_noise_is_standard_normal() -> None:
    noise = draw_noise(range(200), (2, 16, 2))
    assert noise.shape == (2, 200, 16, 2)
    assert abs(noise.mean().item()) < 0.03
    assert noise.std().item() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("changes", [{}, INPAINTING], ids=["film", "inpainting"])
def test_the_observation_reaches_the_chunk(changes: dict[str, Any]) -> None:
    policy = small_policy(changes)
    chunk = policy.predict_chunk(observation(seed=0), seeds=[1, 2, 3])
    other = policy.predict_chunk(observation(seed=1), seeds=[1, 2, 3])
    assert not torch.allclose(chunk, other)


def test_the_executed_actions_begin_with_the_present_observation() -> None:
    policy = small_policy()
    tensors = {name: torch.as_tensor(v).float() for name, v in observation().items()}
    with torch.inference_mode():
        whole = policy.denoise(tensors, draw_noise([1, 2, 3], (1, 8, 2)))
    executed = policy.predict_chunk(tensors, seeds=[1, 2, 3])
    torch.testing.assert_close(executed, whole[:, 1:5])


@pytest.mark.parametrize("changes", [{}, INPAINTING, FLOW], ids=["film", "inpainting", "flow"])
def test_an_untrained_policy_has_a_loss_and_learning_lowers_it(changes: dict[str, Any]) -> None:
    policy, batch = small_policy(changes).train(), _batch()
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(4, 8, 2, generator=generator)
    timestep = torch.randint(100, (4,), generator=generator)
    optimizer = torch.optim.Adam(policy.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        loss = policy.loss(batch, noise=noise, timestep=timestep)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 0.5
    assert losses[-1] < 0.2 * losses[0]


def test_the_loss_of_a_batch_is_the_mean_over_its_elements() -> None:
    policy, batch = small_policy(), _batch()
    noise, timestep = torch.randn(4, 8, 2), torch.tensor([0, 10, 50, 99])
    whole = policy.loss(batch, noise=noise, timestep=timestep)
    parts = [
        policy.loss(
            WindowBatch(
                {name: value[i : i + 1] for name, value in batch.observation.items()},
                batch.action[i : i + 1],
            ),
            noise=noise[i : i + 1],
            timestep=timestep[i : i + 1],
        )
        for i in range(4)
    ]
    torch.testing.assert_close(whole, torch.stack(parts).mean())


def _wrong(name: str, value: Any) -> dict[str, Any]:
    return {**observation(), name: value}


@pytest.mark.parametrize(
    ("seen", "message"),
    [
        ({"agent": np.zeros((3, 2, 2))}, r"observation has agent; keypoints missing"),
        ({}, r"observation has nothing; keypoints, agent missing"),
        (
            _wrong("agent", np.zeros((3, 1, 2))),
            r"agent has shape \(3, 1, 2\); expected \(3, 2, 2\)",
        ),
        (
            _wrong("agent", np.zeros((2, 2, 2))),
            r"agent has shape \(2, 2, 2\); expected \(3, 2, 2\)",
        ),
        (_wrong("agent", np.full((3, 2, 2), np.nan)), r"agent holds NaN or infinity"),
        (_wrong("agent", np.zeros((3, 2, 2), bool)), r"agent has dtype torch.bool; expected"),
    ],
)
def test_an_observation_that_the_policy_was_not_trained_on_is_refused(
    seen: dict[str, Any], message: str
) -> None:
    with pytest.raises(ObservationError, match=message):
        small_policy().predict_chunk(seen)


def test_as_many_seeds_as_elements_are_needed() -> None:
    with pytest.raises(ObservationError, match="2 seeds for a batch of 3"):
        small_policy().predict_chunk(observation(), seeds=[1, 2])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"action_horizon": 8}, "lower action_horizon to 7 or raise horizon"),
        ({"obs_horizon": 0}, "must all be at least 1"),
        ({"obs_horizon": 3}, "needs action_dim 2 and condition_dim 60"),
        ({"conditioning": "inpainting"}, "needs action_dim 22 and condition_dim 0"),
        ({"conditioning": "cross-attention"}, "expected one of film, inpainting"),
        ({"sampler": "euler"}, "for a diffusion schedule expected one of ddpm, ddim, ddim_trail"),
        ({**FLOW, "sampler": "ddim"}, "for a flow schedule expected one of euler"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyConfigError, match=message):
        small_policy(changes)


def test_an_observation_without_normalization_is_refused() -> None:
    encoder = {**config()["encoder"], "observations": {"joints": [7]}}
    with pytest.raises(PolicyConfigError, match="joints missing; fit it on every observation"):
        small_policy({"encoder": encoder})


def test_more_denoising_steps_than_timesteps_are_refused() -> None:
    with pytest.raises(NoiseScheduleError, match="num_inference_steps is 200"):
        small_policy().set_sampler("ddim", 200)
