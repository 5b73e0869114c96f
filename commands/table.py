"""The commands of `dpc`: one row each.

A command is three things: a row here, `commands/<name>.py` with `run(config) -> int`, and
`configs/<name>.yaml` with every key, its default and a comment that says what it means.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """One command of `dpc`.

    Attributes:
        words: What the user types after `dpc`.
        summary: What it does, in a few words.
        example: A whole line that the user could type.
        positional: Key of the configuration that a first word without `=` fills, if any.
    """

    words: tuple[str, ...]
    summary: str
    example: str
    positional: str | None = None

    @property
    def name(self) -> str:
        """Name of the module and of the configuration file, for instance `data_inspect`."""
        return "_".join(self.words)

    @property
    def title(self) -> str:
        """The command as it is typed, for instance `dpc data inspect`."""
        return " ".join(("dpc", *self.words))


COMMANDS: tuple[Command, ...] = (
    Command(
        words=("demo",),
        summary="train, roll out and report on the demonstrations that come with the package",
        example="dpc demo out=outputs/demo",
    ),
    Command(
        words=("data", "download"),
        summary="fetch published demonstrations, with resume and checksum",
        example="dpc data download pusht",
        positional="dataset",
    ),
    Command(
        words=("data", "generate"),
        summary="make demonstrations with the scripted demonstrator",
        example="dpc data generate pusht episodes=200",
        positional="env",
    ),
    Command(
        words=("data", "inspect"),
        summary="print what a set of demonstrations holds and draw its episodes",
        example="dpc data inspect demos/pusht.zarr",
        positional="path",
    ),
    Command(
        words=("data", "validate"),
        summary="name every defect of a set of demonstrations; exit 1 when there is one",
        example="dpc data validate demos/pusht.zarr",
        positional="path",
    ),
    Command(
        words=("data", "convert"),
        summary="rewrite demonstrations in the format that training reads fastest",
        example="dpc data convert demos/pusht.zip out=demos/pusht.zarr",
        positional="path",
    ),
    Command(
        words=("train",),
        summary="learn a policy from demonstrations",
        example="dpc train experiment=pusht_keypoints",
    ),
    Command(
        words=("evaluate",),
        summary="roll a policy out on held-out starts and say how well it does, with intervals",
        example="dpc evaluate policy=checkpoints/pusht_keypoints episodes=500",
        positional="policy",
    ),
    Command(
        words=("timing",),
        summary="say whether a policy keeps a control rate on this machine, and with which setting",
        example="dpc timing policy=checkpoints/pusht_keypoints control_hz=10",
        positional="policy",
    ),
)


def find_command(
    words: Sequence[str], commands: Sequence[Command] = COMMANDS
) -> tuple[Command, tuple[str, ...]] | None:
    """The command that the first words name, and the words after it; None if there is none."""
    for command in commands:
        length = len(command.words)
        if tuple(words[:length]) == command.words:
            return command, tuple(words[length:])
    return None


def commands_under(word: str, commands: Sequence[Command] = COMMANDS) -> tuple[Command, ...]:
    """The two-word commands that begin with a word, for instance those of `data`."""
    return tuple(c for c in commands if len(c.words) > 1 and c.words[0] == word)
