"""Checkpoints: whole or not at all, and harmless."""

import pickle
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from diffusion_controller import DiffusionControllerError
from diffusion_controller.policy import (
    BuildError,
    CheckpointError,
    DeviceError,
    ForbiddenTargetError,
    PolicyConfigError,
    build,
    describe,
    load_policy,
    read_metrics,
    save_policy,
)
from tests.policy.policies import FLOW, config, normalizer, observation, small_policy


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save_policy(small_policy(), tmp_path / "policy", metrics={"training": {"step": 7}})


def test_a_loaded_policy_plans_as_the_saved_one(checkpoint: Path) -> None:
    loaded = load_policy(checkpoint)
    expected = small_policy().predict_chunk(observation(), seeds=[1, 2, 3])
    assert torch.equal(loaded.predict_chunk(observation(), seeds=[1, 2, 3]), expected)


def test_the_sampler_is_chosen_at_load_time(checkpoint: Path) -> None:
    policy = load_policy(checkpoint, sampler="dpm_solver++", num_inference_steps=2)
    assert (policy.sampler, policy.num_inference_steps) == ("dpm_solver++", 2)
    kept = load_policy(checkpoint)
    assert (kept.sampler, kept.num_inference_steps) == ("ddim", 4)


def test_a_policy_of_flow_matching_is_saved_and_loaded_like_any_other(tmp_path: Path) -> None:
    policy = small_policy(FLOW)
    loaded = load_policy(save_policy(policy, tmp_path / "flow", metrics={}))
    assert (loaded.sampler, loaded.schedule.process) == ("euler", "flow")
    assert torch.equal(loaded.schedule.sigma, policy.schedule.sigma)
    expected = policy.predict_chunk(observation(), seeds=[1, 2, 3])
    assert torch.equal(loaded.predict_chunk(observation(), seeds=[1, 2, 3]), expected)
    with pytest.raises(PolicyConfigError, match="for a flow schedule expected one of euler"):
        load_policy(tmp_path / "flow", sampler="dpm_solver++")


def test_half_precision_halves_the_file_and_hardly_moves_the_actions(tmp_path: Path) -> None:
    policy = small_policy()
    half = save_policy(policy, tmp_path / "half", metrics={}, dtype=torch.float16)
    stored = load_file(half / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    expected = policy.predict_chunk(observation(), seeds=[1, 2, 3])
    found = load_policy(half).predict_chunk(observation(), seeds=[1, 2, 3])
    torch.testing.assert_close(found, expected, atol=1.0, rtol=0)  # [px]


def test_metrics_are_kept(checkpoint: Path) -> None:
    assert read_metrics(checkpoint) == {"training": {"step": 7}}


def test_saving_again_replaces_the_checkpoint_whole(checkpoint: Path) -> None:
    (checkpoint / "stale").write_text("from before")
    save_policy(small_policy(seed=1), checkpoint, metrics={})
    assert not (checkpoint / "stale").exists()
    assert sorted(p.name for p in checkpoint.parent.iterdir()) == ["policy"]


def test_a_run_directory_stands_for_its_best_checkpoint(tmp_path: Path) -> None:
    saved = tmp_path / "run" / "checkpoints" / "step_1"
    save_policy(small_policy(), saved, metrics={})
    (tmp_path / "run" / "best").symlink_to("checkpoints/step_1")
    assert load_policy(tmp_path / "run").horizon == 8


def test_a_missing_checkpoint_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*model.safetensors, config.yaml"):
        load_policy(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.yaml", "normalizer.json", "metrics.json"]
)
def test_an_incomplete_checkpoint_names_the_missing_file(checkpoint: Path, name: str) -> None:
    (checkpoint / name).unlink()
    with pytest.raises(CheckpointError, match=f"lacks {name}"):
        load_policy(checkpoint)


@pytest.mark.parametrize("name", ["model.safetensors", "config.yaml", "normalizer.json"])
def test_a_truncated_file_is_refused(checkpoint: Path, name: str) -> None:
    content = (checkpoint / name).read_bytes()
    (checkpoint / name).write_bytes(content[: len(content) // 2])
    message = r"damaged|cannot be (built|read)|not plain YAML"
    with pytest.raises(DiffusionControllerError, match=message):
        load_policy(checkpoint)


class _Bomb:
    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (str(self._trace),)


def test_a_pickle_in_place_of_the_weights_is_refused_and_not_run(
    checkpoint: Path, tmp_path: Path
) -> None:
    trace = tmp_path / "exploded"
    (checkpoint / "model.safetensors").write_bytes(pickle.dumps(_Bomb(trace)))
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        load_policy(checkpoint)
    assert not trace.exists()


@pytest.mark.parametrize("target", ["os.system", "subprocess.Popen", "builtins.eval", "torch.load"])
def test_a_configuration_cannot_call_what_is_not_on_the_list(checkpoint: Path, target: str) -> None:
    document = yaml.safe_load((checkpoint / "config.yaml").read_text())
    document["policy"]["encoder"] = {"_target_": target}
    (checkpoint / "config.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(ForbiddenTargetError, match=f"_target_ is '{target}'"):
        load_policy(checkpoint)


def test_python_tags_in_yaml_are_refused(checkpoint: Path) -> None:
    (checkpoint / "config.yaml").write_text("format: !!python/object/apply:os.getcwd []")
    with pytest.raises(CheckpointError, match="not plain YAML"):
        load_policy(checkpoint)


def test_weights_of_another_policy_are_refused(checkpoint: Path) -> None:
    document = yaml.safe_load((checkpoint / "config.yaml").read_text())
    document["policy"]["network"]["channels"] = [16, 32]
    (checkpoint / "config.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(CheckpointError, match=r"has shape .* they are of different policies"):
        load_policy(checkpoint)


def test_another_format_is_refused(checkpoint: Path) -> None:
    (checkpoint / "config.yaml").write_text("format: 99\npolicy: {}")
    with pytest.raises(CheckpointError, match="has format 99; this version reads format 1"):
        load_policy(checkpoint)


def test_a_device_that_is_not_there_is_named(checkpoint: Path) -> None:
    with pytest.raises(DeviceError, match=r"device 'mps:7' is not there .* use device=cpu"):
        load_policy(checkpoint, device="mps:7")


def test_a_misspelt_argument_names_itself_and_the_nearest() -> None:
    wrong = {**config(), "horizn": 8}
    with pytest.raises(BuildError, match="no argument 'horizn'; did you mean 'horizon'"):
        build(wrong, injected={"normalizer": normalizer()})


def test_a_missing_argument_is_named() -> None:
    wrong = {key: value for key, value in config().items() if key != "network"}
    with pytest.raises(BuildError, match="needs network"):
        build(wrong, injected={"normalizer": normalizer()})


def test_only_classes_are_built() -> None:
    with pytest.raises(ForbiddenTargetError, match="not a class"):
        build({"_target_": "diffusion_controller.policy.load_policy", "path": "/"})


def test_a_target_that_does_not_exist_is_named() -> None:
    with pytest.raises(BuildError, match=r"policy.Nothing', which does not exist"):
        build({"_target_": "diffusion_controller.policy.Nothing"})


def test_a_described_policy_is_built_again() -> None:
    described = describe(small_policy(), omit=["normalizer"])
    assert described["_target_"] == "diffusion_controller.policy.DiffusionPolicy"
    assert described["noise_scheduler"]["_target_"] == "diffusers.DDPMScheduler"
    again = build(described, injected={"normalizer": normalizer()})
    assert describe(again, omit=["normalizer"]) == described
    again.load_state_dict(small_policy().state_dict())
    expected = small_policy().predict_chunk(observation(), seeds=[1, 2, 3])
    assert torch.equal(again.eval().predict_chunk(observation(), seeds=[1, 2, 3]), expected)


def test_a_description_is_plain_yaml() -> None:
    described = describe(small_policy(), omit=["normalizer"])
    assert yaml.safe_load(yaml.safe_dump(described)) == described


def test_the_sampler_chosen_last_is_described() -> None:
    policy = small_policy()
    policy.set_sampler("dpm_solver++", 2)
    described = describe(policy, omit=["normalizer"])
    assert (described["sampler"], described["num_inference_steps"]) == ("dpm_solver++", 2)


def test_an_object_that_forgot_its_arguments_is_refused() -> None:
    class Forgetful:
        def __init__(self, *, size: int) -> None:
            self.double = 2 * size

    with pytest.raises(BuildError, match="Forgetful does not keep its argument 'size'"):
        describe(Forgetful(size=3))
