"""The console script: which command, which exit status, one line for every error."""

import errno
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from diffusion_controller import DiffusionControllerError, __version__
from diffusion_controller.commands.errors import CommandError, status_and_line
from diffusion_controller.commands.main import fill_output_folder, main
from diffusion_controller.commands.table import COMMANDS, Command, find_command

DPC = Path(sys.executable).with_name("dpc")


def test_every_listed_command_has_its_module_and_its_configuration() -> None:
    for command in COMMANDS:
        assert files("diffusion_controller.commands").joinpath(f"{command.name}.py").is_file()
        assert files("diffusion_controller.configs").joinpath(f"{command.name}.yaml").is_file()
        assert find_command(command.example.split()[1:]) is not None


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_explains_every_key(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command.words, "--help"]) == 0
    said = capsys.readouterr().out
    assert command.summary in said
    assert command.example in said
    if command.positional:
        assert f"  {command.positional}=" in said


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"{command.title} " in said for command in COMMANDS)


def test_no_words_print_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "dpc train" in capsys.readouterr().out


def test_a_family_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data"]) == 0
    said = capsys.readouterr().out
    assert "dpc data inspect" in said
    assert "dpc train" not in said


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert __version__ in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tarin"], "unknown command 'tarin'; did you mean 'train'?"),
        (["data", "inspct"], "unknown command 'data inspct'; did you mean 'data inspect'?"),
        (["--train"], "unknown command '--train'"),
        (["train", "trainig.num_steps=3"], "did you mean training.num_steps"),
        (["train", "training.num_steps=many"], "expected an integer"),
        (["train", "experiment=nowhere"], "there is no such choice; valid are"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line_and_status_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


class ExampleError(DiffusionControllerError, ValueError):
    pass


class StoppedError(DiffusionControllerError, InterruptedError):
    pass


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (StoppedError("the state is saved"), 130, "the state is saved"),
        (ExampleError("found 3,\nexpected 4"), 2, "found 3, expected 4"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(errno.ENOSPC, "No space left", "/a/b"), 2, "the disk is full at /a/b; free"),
        (PermissionError(errno.EACCES, "denied", "/a/b"), 2, "no permission at /a/b; give"),
        (OSError(errno.EROFS, "read-only", "/a"), 2, "the file system is read-only at /a"),
        (FileNotFoundError(errno.ENOENT, "No such file", "/a"), 2, "No such file"),
        (MemoryError(), 2, "the memory is full"),
        (BrokenPipeError(errno.EPIPE, "broken"), 1, ""),
        (ZeroDivisionError("by zero"), 70, "unexpected ZeroDivisionError: by zero; this is a"),
    ],
)
def test_an_error_ends_in_its_status_and_one_line(
    error: BaseException, status: int, line: str
) -> None:
    found_status, found = status_and_line(error)
    assert found_status == status
    assert line in found
    assert "\n" not in found


def test_a_traceback_is_shown_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DPC_DEBUG", "1")
    with pytest.raises(CommandError):
        main(["tarin"])


def test_the_console_script_exits_with_the_status() -> None:
    said = subprocess.run([DPC, "tarin"], check=False, capture_output=True, text=True)
    assert said.returncode == 2
    assert said.stderr.startswith("dpc: unknown command 'tarin'")


def test_a_reader_that_goes_away_is_no_error() -> None:
    said = subprocess.run(
        ["bash", "-c", f"{DPC} train --help | true"], check=True, capture_output=True, text=True
    )
    assert said.stderr == ""


def test_an_output_folder_is_named_by_command_and_time_and_never_used_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = Command(("data", "inspect"), "", "")
    found = []
    for _ in range(3):
        config = OmegaConf.create({"out": None})
        fill_output_folder(command, config, now=time.gmtime(0))
        Path(config.out).mkdir(parents=True)
        found.append(config.out)
    stem = "outputs/data_inspect/1970-01-01T00-00-00Z"
    assert found == [stem, f"{stem}-2", f"{stem}-3"]


def test_an_output_folder_that_is_given_is_kept_and_is_a_text() -> None:
    config = OmegaConf.create({"out": 2026})
    fill_output_folder(Command(("train",), "", ""), config, now=time.gmtime(0))
    assert config.out == "2026"
