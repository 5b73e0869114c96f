"""`benchmarks/gpu.sh` goes its whole way, rehearsed on the CPU, and survives parts that fail."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from diffusion_controller.data import ArraySpec, ReplayBuffer

REPOSITORY = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(not (REPOSITORY / "benchmarks").is_dir(), reason="needs a checkout"),
]


@pytest.fixture
def demonstrations(tmp_path: Path) -> Path:
    """Two short episodes with pictures."""
    specs = {
        "img": ArraySpec((96, 96, 3), np.uint8),
        "state": ArraySpec((5,)),
        "action": ArraySpec((2,)),
    }
    buffer = ReplayBuffer.create(tmp_path / "demonstrations.zarr", specs)
    random = np.random.default_rng(0)
    for length in (20, 24):
        buffer.append_episode(
            {
                "img": random.integers(0, 256, (length, 96, 96, 3), dtype=np.uint8),
                "state": random.uniform(0, 512, (length, 5)).astype("f4"),
                "action": random.uniform(0, 512, (length, 2)).astype("f4"),
            }
        )
    return tmp_path / "demonstrations.zarr"


def _rehearse(folder: Path, **environment: str) -> tuple[int, list[str]]:
    """Exit code, and the lines of the summary."""
    made = os.environ | {
        "PYTHON": sys.executable,
        "OMP_NUM_THREADS": "1",
        "OUT": str(folder / "out"),
        "RUN": str(folder / "run"),
        **environment,
    }
    script = subprocess.run(
        ["bash", str(REPOSITORY / "benchmarks" / "gpu.sh"), "--rehearse"],
        env=made,
        capture_output=True,
        text=True,
    )
    sys.stdout.write(script.stdout + script.stderr)  # shown if the test fails
    _, _, summary = script.stdout.partition("== summary")
    return script.returncode, summary.splitlines()[1:]


def test_the_script_tests_times_trains_and_evaluates(demonstrations: Path, tmp_path: Path) -> None:
    status, summary = _rehearse(tmp_path, DATA=str(demonstrations))
    parts = ["tests", "timing", "inference", "steps", "training", "evaluation"]
    assert [line.split(", ")[0] for line in summary] == [f"{part}: ok" for part in parts]
    assert status == 0
    out = tmp_path / "out"
    files = [path for path in out.rglob("*") if path.is_file()]
    assert len(files) == 8
    assert all(len(path.relative_to(out).parts) <= 2 for path in files)
    results = json.loads((out / "results.json").read_text())
    assert results["inference"]["device"] == "cpu"
    assert {row["engine"] for row in results["inference"]["rows"]} == {"eager", "diffusers"}
    assert results["steps"]["rows"][0]["steps_per_second"] > 0
    weights = load_file(out / "checkpoint" / "model.safetensors")
    assert {str(tensor.dtype) for tensor in weights.values()} == {"torch.float16"}
    assert json.loads((out / "evaluation.json").read_text())["num_episodes"] == 1


def test_a_part_that_fails_is_told_and_the_next_begins(tmp_path: Path) -> None:
    status, summary = _rehearse(
        tmp_path, DATA=str(tmp_path / "nothing.zip"), PARTS="training evaluation"
    )
    assert status == 1
    assert summary[0].startswith("training: failed with exit code 2 after ")
    assert summary[1].startswith("evaluation: not begun, there is no checkpoint in ")
