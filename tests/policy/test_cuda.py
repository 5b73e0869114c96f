"""The policy on a GPU does what it does on the CPU. Run with `pytest -m gpu`."""

from pathlib import Path
from typing import Any

import pytest
import torch

from diffusion_controller.data import WindowBatch
from diffusion_controller.policy import (
    SAMPLERS,
    DiffusionPolicy,
    Precision,
    load_policy,
    save_policy,
)
from tests.policy.image_policies import image_batch, image_observation, image_policy
from tests.policy.policies import observation, sampled_by, small_policy

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is visible"),
]


@pytest.fixture(autouse=True)
def _full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    assert torch.get_float32_matmul_precision() == "highest"


def _on_gpu(changes: dict[str, Any] | None = None) -> DiffusionPolicy:
    return small_policy(changes).to("cuda")


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_a_chunk_is_the_same_as_on_the_cpu(sampler: str) -> None:
    expected, found = small_policy(sampled_by(sampler)), _on_gpu(sampled_by(sampler))
    expected.set_sampler(sampler, 10)
    found.set_sampler(sampler, 10)
    chunk = found.predict_chunk(observation(), seeds=[1, 2, 3])
    assert chunk.device.type == "cuda"
    reference = expected.predict_chunk(observation(), seeds=[1, 2, 3])
    torch.testing.assert_close(chunk.cpu(), reference, atol=0.05, rtol=0)  # [px]


def test_loss_and_gradients_are_the_same_as_on_the_cpu() -> None:
    seen = {name: torch.as_tensor(value).float() for name, value in observation(4).items()}
    action = torch.rand(4, 8, 2, generator=torch.Generator().manual_seed(0)) * 512
    noise, timestep = torch.randn(4, 8, 2), torch.tensor([0, 10, 50, 99])
    gradients = []
    for device in ("cpu", "cuda"):
        policy = small_policy().to(device)
        batch = WindowBatch({n: v.to(device) for n, v in seen.items()}, action.to(device))
        loss = policy.loss(batch, noise=noise.to(device), timestep=timestep.to(device))
        loss.backward()  # type: ignore[no-untyped-call]
        gradients.append([p.grad.cpu() for p in policy.parameters() if p.grad is not None])
    for on_cpu, on_gpu in zip(*gradients, strict=True):
        torch.testing.assert_close(on_gpu, on_cpu, atol=1e-4, rtol=1e-3)


def test_images_stay_pixels_until_they_are_on_the_gpu_and_are_cropped_there_alike() -> None:
    batch, seen = image_batch(), image_observation()
    noise, timestep = torch.randn(4, 8, 2), torch.tensor([0, 10, 50, 99])
    losses, chunks = [], []
    for device in ("cpu", "cuda"):
        policy = image_policy(color_jitter={"_target_": "diffusion_controller.policy.ColorJitter"})
        policy.to(device)
        draws = torch.rand(4, policy.augmentation_dim, generator=torch.Generator().manual_seed(0))
        observation = {name: values.to(device) for name, values in batch.observation.items()}
        loss = policy.loss(
            WindowBatch(observation, batch.action.to(device)),
            noise=noise.to(device),
            timestep=timestep.to(device),
            augmentation=draws.to(device),
        )
        losses.append(loss.cpu())
        chunks.append(policy.predict_chunk(seen, seeds=[1, 2, 3]).cpu())
    torch.testing.assert_close(losses[1], losses[0], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(chunks[1], chunks[0], atol=0.1, rtol=0)  # [px]


def test_a_checkpoint_loads_on_the_gpu(tmp_path: Path) -> None:
    save_policy(_on_gpu(), tmp_path / "policy", metrics={})
    assert load_policy(tmp_path / "policy", device="cuda").device.type == "cuda"


def _chunk(policy: DiffusionPolicy, batch: int = 3) -> torch.Tensor:
    return policy.predict_chunk(observation(batch), seeds=range(batch)).cpu()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_a_graph_gives_the_chunk_of_eager(sampler: str, precision: Precision) -> None:
    eager, graph = _on_gpu(sampled_by(sampler)), _on_gpu(sampled_by(sampler))
    eager.set_engine("eager", precision)
    graph.set_engine("cuda_graph", precision)
    for steps, batch in ((10, 3), (10, 1), (5, 3), (10, 3)):
        eager.set_sampler(sampler, steps)
        graph.set_sampler(sampler, steps)
        difference = (_chunk(graph, batch) - _chunk(eager, batch)).abs().max()
        assert difference < 0.01  # [px]


def test_a_graph_sees_each_observation_and_keeps_each_answer() -> None:
    policy = image_policy().to("cuda")
    expected = [policy.predict_chunk(image_observation(seed=s), seeds=[1, 2, 3]) for s in (0, 1)]
    policy.set_engine("cuda_graph")
    found = [policy.predict_chunk(image_observation(seed=s), seeds=[1, 2, 3]) for s in (0, 1)]
    torch.testing.assert_close(found, expected, atol=0.05, rtol=0)  # [px]


@pytest.mark.parametrize("engine", ["eager", "cuda_graph"])
def test_denoising_never_waits_for_the_device(engine: str) -> None:
    policy = image_policy().to("cuda")
    policy.set_engine(engine)
    seen = {n: torch.from_numpy(v).to("cuda") for n, v in image_observation().items()}
    noise = torch.randn(1, 3, policy.horizon, policy.action_dim, device="cuda")
    with torch.inference_mode():
        policy.denoise(seen, noise)  # tables are copied there, the graph is captured
        torch.cuda.set_sync_debug_mode("error")
        try:
            policy.denoise(seen, noise)
        finally:
            torch.cuda.set_sync_debug_mode("default")
