"""The `dpc` console script: finds the command, composes its configuration, runs it.

Everything heavy is imported after the command is known: `dpc --help` imports neither torch nor
Hydra.
"""

import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from diffusion_controller import __version__
from diffusion_controller.commands.errors import CommandError, status_and_line
from diffusion_controller.commands.help import command_help, overview
from diffusion_controller.commands.table import (
    COMMANDS,
    Command,
    commands_under,
    find_command,
)

if TYPE_CHECKING:
    from omegaconf import DictConfig

_HELP = ("--help", "-h", "help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `dpc` with the given words, by default those of the process; returns the exit status."""
    # Worker threads that spin while they wait make a step tens of times slower as soon as anything
    # else wants a core; read when torch loads its OpenMP library.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_MININTERVAL", "30")  # [s]: a log file is not a screen
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(words)
    except BaseException as error:
        if isinstance(error, SystemExit) or os.environ.get("DPC_DEBUG") == "1":
            raise
        if isinstance(error, BrokenPipeError):
            # The reader went away (`dpc … | head`); leave nothing to flush at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status, line = status_and_line(error)
        if line:
            print(f"dpc: {line}", file=sys.stderr)
        return status


def _dispatch(words: Sequence[str]) -> int:
    if not words or words[0] in _HELP:
        print(overview())
        return 0
    if words[0] in ("--version", "-V"):
        print(f"diffusion-controller {__version__}")
        return 0
    found = find_command(words)
    if found is None:
        return _without_command(words)
    command, rest = found
    from diffusion_controller.commands.compose import CONFIG_MODULE, compose_config

    if any(word in _HELP[:2] for word in rest):
        overrides = [word for word in rest if word not in _HELP[:2]]
        print(command_help(command, overrides, config_module=CONFIG_MODULE))
        return 0
    config = compose_config(command, rest)
    fill_output_folder(command, config, now=time.gmtime())
    run = import_module(f"diffusion_controller.commands.{command.name}").run
    status: int = run(config)
    return status


def _without_command(words: Sequence[str]) -> int:
    """`dpc data` and `dpc data --help` list the commands of `data`; anything else is a mistake."""
    family = commands_under(words[0])
    if family and (len(words) == 1 or words[1] in _HELP):
        print(overview(family))
        return 0
    known = [" ".join(command.words) for command in family or COMMANDS]
    typed = " ".join(words[:2] if family else words[:1])
    import difflib

    near = difflib.get_close_matches(typed, known, n=1)
    advice = f"did you mean {near[0]!r}? " if near else ""
    raise CommandError(f"unknown command {typed!r}; {advice}valid are {', '.join(known)}")


def fill_output_folder(command: Command, config: "DictConfig", *, now: time.struct_time) -> None:
    """Give `out: null` its value: a new folder under outputs/<command>, named by the time [UTC]."""
    if "out" not in config:
        return
    if config.out is not None:
        config.out = str(config.out)  # `out=2026` is a folder too
        return
    stem = Path("outputs", command.name, time.strftime("%Y-%m-%dT%H-%M-%SZ", now))
    folder, number = stem, 2
    while folder.exists():
        folder, number = stem.with_name(f"{stem.name}-{number}"), number + 1
    config.out = str(folder)


if __name__ == "__main__":
    sys.exit(main())
