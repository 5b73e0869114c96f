"""`dpc timing` on a small untrained policy: what it prints, writes and answers."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from diffusion_controller.commands.errors import CommandError
from diffusion_controller.commands.main import main
from diffusion_controller.commands.timing_scores import known_scores, roll_out_scores
from diffusion_controller.policy import load_policy, save_policy
from diffusion_controller.runtime import Score, Setting
from tests.policy.policies import small_policy

FAST = ("calls=6", "seconds=0", "rest_ms=1", "sweep.engine=eager", "sweep.num_threads=1")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy that says how it scored."""
    evaluation = {"mean_score": 0.7, "mean_score_interval": [0.6, 0.8], "num_episodes": 50}
    folder = tmp_path_factory.mktemp("run") / "policy"
    return save_policy(small_policy(), folder, metrics={"evaluation": evaluation})


def timing(checkpoint: Path, out: Path, *words: str) -> int:
    return main(["timing", f"policy={checkpoint}", f"out={out}", *FAST, *words])


def test_it_prints_tables_and_ends_with_a_line_to_copy(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert timing(checkpoint, out, "control_hz=0.1", "sweep.num_inference_steps=[2,4]") == 0
    lines = capsys.readouterr().out.strip().splitlines()
    printed = "\n".join(lines)
    for words in ("p99.9", "cores busy", "copy in", "later than 10000 ms / 40000 ms", "in time"):
        assert words in printed
    assert "score 0.700 (0.600 to 0.800, 50 starts)" in printed
    assert "p99 takes 100" in printed  # six calls tell no p99
    call = f'load_policy("{checkpoint}", sampler="ddim", num_inference_steps=4)'
    assert lines[-1] == call  # the score of two steps is not known
    document: dict[str, Any] = json.loads((out / "timing.json").read_text())
    assert document["requirement"]["control_hz"] == 0.1
    assert [one["num_inference_steps"] for one in document["settings"]] == [4, 2]
    assert document["recommended"]["call"] == call
    assert document["recommended"]["environment"] == {
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    for one in document["settings"]:
        for latencies in (one["alone"], one["busy"]):
            assert latencies["calls"] == sum(latencies["histogram"]["counts"]) == 5
            assert latencies["missed"] == {"synchronous": 0, "slack": 0}
        parts = one["parts"]
        assert parts["whole"] == pytest.approx(
            parts["copy_in"] + parts["encode"] + parts["copy_out"] + parts["rest"]
            + one["num_inference_steps"] * parts["denoising_step"]
        )  # fmt: skip
    assert document["command"].startswith(f"dpc timing policy={checkpoint} control_hz=0.1")
    assert (out / "timing.png").stat().st_size > 0


def test_a_rate_that_nothing_keeps_is_status_1(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert timing(checkpoint, out, "control_hz=1e5", "load=false") == 1
    printed = capsys.readouterr().out
    assert "too slow" in printed
    assert printed.strip().splitlines()[-1].startswith("no setting keeps this rate here")
    document = json.loads((out / "timing.json").read_text())
    assert document["recommended"] is None
    assert document["settings"][0]["busy"] is None


def test_every_evaluation_in_the_folder_of_a_checkpoint_is_a_score(checkpoint: Path) -> None:
    own = known_scores(checkpoint, load_policy(checkpoint))
    assert own == {("ddim", 4, "fp32"): Score(0.7, 0.6, 0.8, 50)}
    other = {
        "mean_score": 0.9,
        "mean_score_interval": [0.85, 0.95],
        "num_episodes": 500,
        "policy": {"sampler": "ddim", "num_inference_steps": 8},
    }
    (checkpoint / "evaluation_ddim_8.json").write_text(json.dumps(other))
    found = known_scores(checkpoint, load_policy(checkpoint))
    assert found == {**own, ("ddim", 8, "fp32"): Score(0.9, 0.85, 0.95, 500)}
    (checkpoint / "evaluation_ddim_8.json").write_text("{")
    with pytest.raises(CommandError, match=r"evaluation_ddim_8.json is not JSON"):
        known_scores(checkpoint, load_policy(checkpoint))
    (checkpoint / "evaluation_ddim_8.json").unlink()


def test_a_score_is_rolled_out_once_for_all_engines_that_compute_the_same(checkpoint: Path) -> None:
    setting = Setting("ddim", 2, "eager", "fp32", 1, "passive")
    settings = [setting, replace(setting, engine="compiled")]
    scores = roll_out_scores(checkpoint, settings, starts=1, device="cpu")
    assert set(scores) == {("ddim", 2, "fp32")}
    assert scores["ddim", 2, "fp32"].starts == 1
    assert 0 <= scores["ddim", 2, "fp32"].mean <= 1
