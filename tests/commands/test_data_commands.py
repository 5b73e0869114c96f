"""`dpc data download|inspect|validate|convert`, from the words to files and exit status."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr

from diffusion_controller.commands.main import main
from diffusion_controller.data import ArraySpec, ReplayBuffer


@pytest.fixture(scope="session")
def _template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "buffer.zarr"
    specs = {"action": ArraySpec((2,)), "state": ArraySpec((5,))}
    buffer = ReplayBuffer.create(path, specs, metadata={"control_hz": 10.0})
    random = np.random.default_rng(0)
    for length in (9, 12):
        values = {"action": (length, 2), "state": (length, 5)}
        buffer.append_episode({k: random.uniform(0, 512, v) for k, v in values.items()})
    return path


@pytest.fixture
def buffer_path(_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A buffer of two episodes in the working folder, at `buffer.zarr`."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(_template, tmp_path / "buffer.zarr")
    return "buffer.zarr"


def test_download_takes_a_local_file_and_checks_it(
    buffer_path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "convert", buffer_path, "out=mine.zip"]) == 0
    digest = hashlib.sha256(Path("mine.zip").read_bytes()).hexdigest()
    assert main(["data", "download", "mine.zip", f"sha256='{digest}'"]) == 0
    assert Path("demos/mine.zip").read_bytes() == Path("mine.zip").read_bytes()
    assert "dpc train data=demos/mine.zip" in capsys.readouterr().out


def test_inspect_prints_a_table_and_draws_a_picture(
    buffer_path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "inspect", buffer_path, "json=table.json"]) == 0
    said = capsys.readouterr().out
    assert "2 episodes, 21 steps" in said
    assert "picture: outputs/episodes.png" in said
    assert Path("outputs/episodes.png").stat().st_size > 5000
    assert json.loads(Path("table.json").read_text())["num_steps"] == 21


def test_inspect_draws_nothing_when_told_so(buffer_path: str) -> None:
    assert main(["data", "inspect", buffer_path, "picture=null"]) == 0
    assert sorted(path.name for path in Path().iterdir()) == ["buffer.zarr"]


def test_validate_exits_0_without_errors(
    buffer_path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "validate", buffer_path, "action_range=[0,512]"]) == 0
    assert capsys.readouterr().out == "0 errors, 0 warnings in buffer.zarr\n"


def test_validate_exits_1_with_errors_and_names_them(
    buffer_path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    zarr.open_array(f"{buffer_path}/data/state")[11, 2] = np.nan
    assert main(["data", "validate", buffer_path, "json=defects.json"]) == 1
    said = capsys.readouterr().out
    assert "error: data/state episode 1 step 2: 1 steps hold NaN" in said
    content = json.loads(Path("defects.json").read_text())
    assert content["errors"] == 1
    assert content["defects"][0]["episode"] == 1


def test_validate_exits_0_with_warnings_only(buffer_path: str) -> None:
    zarr.open_array(f"{buffer_path}/data/state")[:, 2] = 7
    assert main(["data", "validate", buffer_path]) == 0


def test_validate_prints_no_more_than_asked_for(
    buffer_path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in (2, 11):
        zarr.open_array(f"{buffer_path}/data/state")[step, 2] = np.nan
    assert main(["data", "validate", buffer_path, "limit=1"]) == 1
    assert "… and 1 more; limit=2 shows them" in capsys.readouterr().out


def test_convert_writes_what_was_selected(buffer_path: str) -> None:
    words = ["data", "convert", buffer_path, "out=some.zip", "episodes=[1]", "drop=[state]"]
    assert main(words) == 0
    some = ReplayBuffer.open("some.zip")
    assert (some.num_episodes, list(some.arrays)) == (1, ["action"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("inspect none.zarr", "there is no replay buffer at none.zarr"),
        ("inspect cut.zip", "cut.zip is no whole zip archive"),
        ("inspect buffer.zarr picture=p.nothing", "ends with .png, .svg or .pdf"),
        ("inspect", "dpc data inspect needs path=VALUE"),
        ("validate none.zarr", "there is no replay buffer at none.zarr"),
        ("validate buffer.zarr action_range=[5]", "give [lowest,highest]"),
        ("validate buffer.zarr action_range=7", "give [lowest,highest]"),
        ("validate buffer.zarr action_range=[9,5]", "give the lower number first"),
        ("validate buffer.zarr idle_steps=0", "idle_steps=0; give at least 1"),
        ("convert buffer.zarr", "needs out=VALUE"),
        ("convert buffer.zarr out=buffer.zarr", "exists already"),
        ("convert buffer.zarr out=x.zarr drop=[img]", "it has action, state"),
        ("convert buffer.zarr out=x.zarr episodes=[7]", "there is no episode 7; expected 0 to 1"),
        ("convert buffer.zarr out=x.zarr episodes=3", "give a list of numbers"),
        ("download none.zip", "there is no file none.zip"),
        ("download ftp://host/x.zip", "expected https, http, file or a path"),
        ("download cut.zip sha256=abc", "give 64 hexadecimal digits"),
        (f"download cut.zip sha256=a{'0' * 63}", "has SHA-256"),
        ("download http://127.0.0.1:9/x.zip", "cannot be reached"),
        ("download cut.zip out=cut.zip", "expected a writable place"),
        ("download cut.zip timeout=0", "give a time above 0 s"),
    ],
)
def test_bad_input_ends_with_2_and_one_line(
    buffer_path: str, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    assert main(["data", "convert", buffer_path, "out=whole.zip"]) == 0
    Path("cut.zip").write_bytes(Path("whole.zip").read_bytes()[:-99])
    capsys.readouterr()
    assert main(["data", *words.split()]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("dpc: ")
    assert message in line
    assert ReplayBuffer.open(buffer_path).num_steps == 21


def test_a_published_set_that_cannot_be_reached_names_the_way_with_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    assert main(["data", "download", "pusht", f"out={tmp_path}"]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "diffusion-policy.cs.columbia.edu/data/training/pusht.zip cannot be reached" in line
    assert "give a file that you have: `dpc data download /path/to/pusht.zip`" in line
