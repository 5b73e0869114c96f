"""What the shipped configurations of trainings say."""

from typing import Any

from diffusion_controller.commands.compose import compose_config
from diffusion_controller.commands.experiment import plain
from diffusion_controller.commands.table import find_command
from diffusion_controller.policy import DiffusionPolicy, build
from tests.policy.policies import normalizer


def _training(*words: str) -> dict[str, Any]:
    found = find_command(["train"])
    assert found is not None
    return plain(compose_config(found[0], [*words, "out=run"]))


def test_the_flow_experiment_differs_from_its_base_in_the_objective_alone() -> None:
    base = _training("experiment=pusht_keypoints")
    flow = _training("experiment=pusht_keypoints_flow")
    for key in ("sampler", "num_inference_steps", "noise_scheduler"):
        assert flow["policy"].pop(key) != base["policy"].pop(key)
    assert flow == base


def test_an_objective_can_be_chosen_for_any_experiment() -> None:
    config = _training("experiment=pusht_keypoints", "objective=flow")
    policy = build(config["policy"], injected={"normalizer": normalizer()})
    assert isinstance(policy, DiffusionPolicy)
    assert policy.schedule.process == "flow"
