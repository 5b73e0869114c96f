"""`dpc evaluate` on a small untrained policy: what it prints, writes and refuses."""

import json
from pathlib import Path
from typing import Any

import pytest

from diffusion_controller.commands.main import main
from diffusion_controller.policy import load_policy, save_policy
from diffusion_controller.runtime import evaluate_policy
from tests.policy.policies import small_policy

FAST = ("episodes=3", "max_steps=16", "batch_size=4", "num_workers=0", "num_inference_steps=2")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_policy(
        small_policy(),
        tmp_path_factory.mktemp("run") / "checkpoints" / "step_7",
        metrics={"training": {"training_episodes": 206, "training_seeds": list(range(206))}},
    )


def evaluate(checkpoint: Path, out: Path, *words: str) -> int:
    return main(["evaluate", f"policy={checkpoint}", f"out={out}", *FAST, *words])


def test_it_prints_a_table_and_writes_json_and_video(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(checkpoint, tmp_path / "out", "video=2") == 0
    printed = capsys.readouterr().out
    for words in ("mean score", "success rate", "95 %", "seeds 100000 to 100002", "206 episodes"):
        assert words in printed
    document: dict[str, Any] = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert document["seeds"] == [100_000, 100_001, 100_002]
    assert document["training_episodes"] == 206
    assert document["policy"]["num_inference_steps"] == 2
    assert document["environment"]["reset_options"] == {"legacy_reset": True}
    assert document["chunk_latency"]["batch_size"] == 1
    assert (tmp_path / "out" / "rollouts.mp4").stat().st_size > 0


def test_it_gives_what_the_python_function_gives(checkpoint: Path, tmp_path: Path) -> None:
    assert evaluate(checkpoint, tmp_path / "out", "video=0") == 0
    document = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    result = evaluate_policy(
        load_policy(checkpoint, num_inference_steps=2),
        seeds=range(100_000, 100_003),
        max_steps=16,
        batch_size=4,
    )
    assert document["episodes"] == result.to_json()["episodes"]
    assert not (tmp_path / "out" / "rollouts.mp4").exists()


def test_of_a_training_run_the_best_checkpoint_is_taken(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "best").symlink_to(checkpoint)
    assert evaluate(tmp_path, tmp_path / "out", "video=0") == 0
    assert f"{tmp_path / 'best'} (ddim, 2 denoising steps)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["first_seed=204"], "2 of 3 starts, such as seed 204"),
        (["episodes=0"], "episodes=0; expected a whole number of at least 1"),
        (["num_workers=two"], "num_workers=two; expected a whole number"),
        (["sampler=euler"], "for a diffusion schedule expected one of ddpm, ddim"),
        (["env_id=CartPole-v1"], "CartPole-v1 are Box; expected a Dict"),
        (["epsiodes=3"], "did you mean episodes?"),
        (["video_speed=0"], "video_speed=0"),
        (["policy=/nowhere"], "no checkpoint at /nowhere"),
    ],
)
def test_bad_input_gives_one_line_and_leaves_nothing_behind(
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    assert evaluate(checkpoint, tmp_path / "out", *words) == 2
    lines = capsys.readouterr().err.replace("\r", "\n").splitlines()
    complaints = [line for line in lines if line.startswith("dpc: ")]
    assert len(complaints) == 1
    assert message in complaints[0]
    assert not list((tmp_path / "out").glob("*"))


def test_an_evaluation_is_not_overwritten(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "evaluation.json").write_text("precious")
    assert evaluate(checkpoint, tmp_path) == 2
    assert "holds evaluation.json already" in capsys.readouterr().err
    assert (tmp_path / "evaluation.json").read_text() == "precious"


def test_starts_of_the_demonstrations_can_be_forced(checkpoint: Path, tmp_path: Path) -> None:
    words = ("first_seed=0", "allow_training_seeds=true", "video=0")
    assert evaluate(checkpoint, tmp_path / "out", *words) == 0
