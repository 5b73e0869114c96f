"""The examples run from anywhere, with the public names only."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_a_program_of_forty_lines_trains_loads_and_rolls_out(tmp_path: Path) -> None:
    program = Path(shutil.copy(EXAMPLES / "train_and_roll_out.py", tmp_path))
    finished = subprocess.run(
        [sys.executable, program.name, "run", "30", "2"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
        timeout=280,
        env={"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
    )
    assert "2 starts" in finished.stdout
    assert (tmp_path / "run" / "best" / "model.safetensors").is_file()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_examples_use_the_public_names_of_rooms_only(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("diffusion_co"):
            assert (node.module or "").count(".") <= 1, f"{path.name} imports from {node.module}"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_examples_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 120
