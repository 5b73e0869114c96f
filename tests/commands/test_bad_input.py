"""Every mistake of a user gives one line that helps, and exit status 2."""

import os
import pickle
import re
from pathlib import Path

import pytest

from diffusion_controller.commands.main import main
from diffusion_controller.data import ArraySpec, ReplayBuffer
from diffusion_controller.policy import save_policy
from tests.policy.policies import small_policy


@pytest.fixture
def demonstrations(tmp_path: Path) -> Path:
    """Two episodes of made-up Push-T in the published layout."""
    import numpy as np

    rng = np.random.default_rng(0)
    shapes = {"state": (5,), "keypoint": (9, 2), "action": (2,)}
    path = tmp_path / "demos.zarr"
    specs = {name: ArraySpec(shape, "float32") for name, shape in shapes.items()}
    buffer = ReplayBuffer.create(path, specs, metadata={"control_hz": 10.0, "source": "test"})
    for seed in (1_000_000, 1_000_001):
        episode = {
            name: rng.uniform(50, 450, (30, *shape)).astype("float32")
            for name, shape in shapes.items()
        }
        buffer.append_episode(episode, seed=seed)
    return path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save_policy(small_policy(), tmp_path / "policy", metrics={})


def _refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line that a command prints on its way out with 2."""
    status = main(words)
    error = capsys.readouterr().err
    assert status == 2, error
    lines = [line for line in error.splitlines() if line.startswith("dpc: ")]
    assert len(lines) == 1
    assert "Traceback" not in error
    return lines[0]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.num_stps=3", "num_steps"),
        ("training.num_steps=many", "num_steps"),
        ("training.num_steps=0", "num_steps is 0; it must be at least 1"),
        ("policy.action_horizon=20", "action_horizon"),
        ("policy.obs_horizon=3", "condition_dim 60"),
        ("policy.sampler=euler", "for a diffusion schedule expected one of ddpm, ddim"),
        ("objective=flows", "valid are diffusion, flow"),
        ("policy.noise_scheduler.prediction_type=score", "expected one of epsilon, sample"),
        ("policy.noise_scheduler._target_=os.system", "_target_ is 'os.system'"),
        ("policy.network.channels=[8,12]", "12 channels do not divide into 8 groups"),
        ("episodes=500", "500"),
        ("device=cuda:9", "device 'cuda:9' is not there"),
        ("wandb.mode=sometimes", "wandb mode is 'sometimes'; expected one of off"),
        ("experiment=pusht_keypoint", "pusht_keypoints"),
        ("data=nowhere.zarr", "nowhere.zarr"),
        ("resume=nowhere", "no run to resume at nowhere"),
    ],
)
def test_a_training_that_cannot_be_is_refused(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    demonstrations: Path,
    override: str,
    message: str,
) -> None:
    words = ["train", f"data={demonstrations}", f"out={tmp_path / 'run'}"]
    words = [word for word in words if word.split("=")[0] != override.split("=")[0]]
    assert message in _refused(capsys, *words, override)
    assert not (tmp_path / "run" / "state.pt").exists()


def test_a_folder_that_holds_a_run_is_not_trained_over(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, demonstrations: Path
) -> None:
    (tmp_path / "state.pt").write_bytes(b"precious")
    line = _refused(capsys, "train", f"data={demonstrations}", f"out={tmp_path}")
    assert f"go on with: dpc train resume={tmp_path}" in line
    assert (tmp_path / "state.pt").read_bytes() == b"precious"


def test_a_missing_chunk_is_named_before_training(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, demonstrations: Path
) -> None:
    chunk = next(p for p in (demonstrations / "data/action").glob("c.*"))
    chunk.unlink()
    line = _refused(capsys, "train", f"data={demonstrations}", f"out={tmp_path / 'run'}")
    assert re.search(r"action.*chunk", line)


def test_a_read_only_place_is_named(
    capsys: pytest.CaptureFixture[str], demonstrations: Path
) -> None:
    line = _refused(capsys, "train", f"data={demonstrations}", "out=/proc/nowhere")
    assert "/proc/nowhere" in line


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("policy=nowhere", "nowhere"),
        ("sampler=euler", "expected one of ddpm, ddim"),
        ("num_inference_steps=101", "num_inference_steps is 101"),
        ("device=cuda:9", "device 'cuda:9' is not there"),
        ("episodes=0", "episodes"),
        ("epsiodes=5", "episodes"),
    ],
)
def test_an_evaluation_that_cannot_be_is_refused(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    checkpoint: Path,
    override: str,
    message: str,
) -> None:
    words = ["evaluate", f"policy={checkpoint}", "episodes=1", f"out={tmp_path / 'evaluation'}"]
    words = [word for word in words if word.split("=")[0] != override.split("=")[0]]
    assert message in _refused(capsys, *words, override)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("control_hz=0", "control_hz is 0; expected a positive, finite rate in Hz"),
        ("control_hz=-10", "control_hz is -10; expected a positive, finite rate in Hz"),
        ("control_hz=inf", "control_hz is inf; expected a positive, finite rate in Hz"),
        ("control_hz=nan", "control_hz is nan; expected a positive, finite rate in Hz"),
        ("control_hz=often", "control_hz=often; expected a number"),
        ("margin=1", "margin is 1; expected a part of the control period"),
        ("policy=nowhere", "no checkpoint at nowhere"),
        ("device=cuda:9", "device 'cuda:9' is not there"),
        ("sweep.sampler=[ddim,heun]", "sweep.sampler has heun; expected some of ddpm, ddim"),
        ("sweep.num_inference_steps=[4,101]", "num_inference_steps is 101"),
        ("sweep.num_inference_steps=0", "sweep.num_inference_steps has 0; expected whole numbers"),
        ("sweep.engine=[warp]", "sweep.engine has warp; expected some of eager, compiled"),
        ("sweep.engine=cuda_graph", "the cuda_graph engine runs on cuda, and the policy is on cpu"),
        ("sweep.precision=fp8", "sweep.precision has fp8; expected some of fp32, bf16"),
        ("sweep.wait_policy=lazy", "sweep.wait_policy has lazy; expected some of passive, active"),
        ("seconds=-1", "seconds=-1.0; expected a finite number of at least 0"),
        ("calls=0", "calls=0; expected at least 1"),
    ],
)
def test_a_timing_that_cannot_be_is_refused(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    checkpoint: Path,
    override: str,
    message: str,
) -> None:
    words = ["timing", f"policy={checkpoint}", "control_hz=10", f"out={tmp_path / 'timing'}"]
    words = [word for word in words if word.split("=")[0] != override.split("=")[0]]
    assert message in _refused(capsys, *words, "sweep.num_threads=1", override)
    assert not (tmp_path / "timing").exists()


def test_a_timing_needs_a_rate(capsys: pytest.CaptureFixture[str], checkpoint: Path) -> None:
    line = _refused(capsys, "timing", f"policy={checkpoint}")
    assert "dpc timing needs control_hz=VALUE" in line


def test_a_pickled_checkpoint_is_refused_and_not_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, checkpoint: Path
) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "exploded"),)

    (checkpoint / "model.safetensors").write_bytes(pickle.dumps(Bomb()))
    line = _refused(
        capsys, "evaluate", f"policy={checkpoint}", "episodes=1", f"out={tmp_path / 'evaluation'}"
    )
    assert "not a safetensors file" in line
    assert not (tmp_path / "exploded").exists()


def test_a_checkpoint_file_in_place_of_a_folder_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, checkpoint: Path
) -> None:
    line = _refused(
        capsys,
        "evaluate",
        f"policy={checkpoint / 'model.safetensors'}",
        "episodes=1",
        f"out={tmp_path / 'evaluation'}",
    )
    assert "expected a directory with model.safetensors" in line
