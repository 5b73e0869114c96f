"""Every engine computes the chunk that eager PyTorch computes."""

import builtins
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from diffusion_controller.policy import SAMPLERS, DiffusionPolicy, EngineError
from tests.policy.image_policies import image_observation, image_policy
from tests.policy.policies import config, observation, small_policy

FP32_TOLERANCE_PX = 0.01  # predicting noise divides rounding by a small √ᾱ at the first step
BF16_TOLERANCE_PX = 10.0

INPAINTING = {
    "conditioning": "inpainting",
    "network": {**config()["network"], "action_dim": 22, "condition_dim": 0},
}
WIDE = {"network": {**config()["network"], "channels": [32, 64, 128], "timestep_dim": 32}}
DIFFUSION_SAMPLERS = [name for name, kind in SAMPLERS.items() if kind.process == "diffusion"]


def _chunk(policy: DiffusionPolicy, batch: int = 1) -> Tensor:
    return policy.predict_chunk(observation(batch), seeds=range(batch))


def _difference(policy: DiffusionPolicy, engine: str, batch: int = 1, **precision: Any) -> float:
    """Largest difference from eager fp32 in [px]."""
    expected = _chunk(policy, batch)
    policy.set_engine(engine, **precision)
    return float((_chunk(policy, batch) - expected).abs().max())


@pytest.fixture(scope="module")
def exported() -> DiffusionPolicy:
    policy = small_policy()
    policy.set_engine("openvino")
    return policy


@pytest.mark.parametrize("sampler", DIFFUSION_SAMPLERS)
@pytest.mark.parametrize("batch", [1, 7])
def test_openvino_gives_the_chunk_of_eager_with_every_sampler(
    exported: DiffusionPolicy, sampler: str, batch: int
) -> None:
    eager = small_policy({"sampler": sampler})
    exported.set_sampler(sampler, eager.num_inference_steps)  # the export serves all of them
    difference = (_chunk(exported, batch) - _chunk(eager, batch)).abs().max()
    assert difference < FP32_TOLERANCE_PX


@pytest.mark.parametrize("changes", [INPAINTING, WIDE], ids=["inpainting", "wide"])
def test_openvino_gives_the_chunk_of_eager_for_every_network(changes: dict[str, Any]) -> None:
    assert _difference(small_policy(changes), "openvino") < FP32_TOLERANCE_PX


@pytest.mark.parametrize("norm", ["group", "folded"])
def test_openvino_gives_the_chunk_of_eager_to_policies_that_see(norm: str) -> None:
    policy, seen = image_policy(norm=norm), image_observation()
    expected = policy.predict_chunk(seen, seeds=[1, 2, 3])
    policy.set_engine("openvino")
    difference = (policy.predict_chunk(seen, seeds=[1, 2, 3]) - expected).abs().max()
    assert difference < FP32_TOLERANCE_PX


@pytest.mark.parametrize("engine", ["eager", "openvino"])
def test_bfloat16_stays_near_float32(engine: str) -> None:
    difference = _difference(small_policy(), engine, precision="bf16")
    assert 0 < difference < BF16_TOLERANCE_PX


def test_bfloat16_leaves_the_policy_as_it_was() -> None:
    policy = small_policy()
    policy.set_engine("eager", "bf16")
    assert {parameter.dtype for parameter in policy.parameters()} == {torch.float32}


@pytest.mark.slow
@pytest.mark.parametrize("sampler", DIFFUSION_SAMPLERS)
def test_compiled_gives_the_chunk_of_eager(sampler: str) -> None:
    assert _difference(small_policy({"sampler": sampler}), "compiled") < FP32_TOLERANCE_PX


def test_observations_are_encoded_once_per_chunk_and_modulated_once() -> None:
    policy, calls = small_policy(), {"encoder": 0, "film": 0, "network": 0}

    def count(name: str, module: nn.Module) -> None:
        def hook(*_: object) -> None:
            calls[name] += 1

        module.register_forward_hook(hook)

    network: Any = policy.network
    count("encoder", policy.encoder)  # type: ignore[arg-type]
    count("film", network.film)
    count("network", network)
    _chunk(policy)
    assert calls == {"encoder": 1, "film": 1, "network": policy.num_inference_steps}


def test_an_answer_is_not_overwritten_by_the_next_one(exported: DiffusionPolicy) -> None:
    first = _chunk(exported)
    kept = first.clone()
    exported.predict_chunk(observation(1, seed=5), seeds=[9])
    assert torch.equal(first, kept)


def test_an_engine_that_is_not_there_is_refused() -> None:
    with pytest.raises(EngineError, match="engine is 'tensorrt'; expected one of eager, compiled"):
        small_policy().set_engine("tensorrt")


def test_a_precision_that_is_not_there_is_refused() -> None:
    with pytest.raises(EngineError, match="precision is 'fp8'; expected one of fp32, bf16"):
        small_policy().set_engine("eager", "fp8")  # type: ignore[arg-type]


def test_a_graph_without_a_gpu_is_refused() -> None:
    with pytest.raises(EngineError, match="cuda_graph engine runs on cuda, and the policy is on"):
        small_policy().set_engine("cuda_graph")


def test_an_engine_that_is_not_installed_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("diffusion_controller.policy.engines.find_spec", lambda _: None)
    with pytest.raises(EngineError, match=r"pip install 'diffusion-controller\[openvino\]'"):
        small_policy().set_engine("openvino")


def test_openvino_is_imported_only_for_its_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, *rest: Any, **named: Any) -> Any:
        assert not name.startswith("openvino")
        return real(name, *rest, **named)

    real = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", refuse)
    _chunk(small_policy())
