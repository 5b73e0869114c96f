"""Metrics: always as JSON lines, and to Weights & Biases where asked."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from diffusion_controller import DiffusionControllerError

WandbMode = Literal["off", "offline", "online"]


class MetricsError(DiffusionControllerError, ValueError):
    """Metrics cannot be written as asked."""


class MetricsWriter:
    """Appends one JSON object per line to a file that a resume can cut back.

    What is written is a function of the training alone: nothing of the machine, nothing of
    the time it took. Rates belong to `wandb` and the progress bar.
    """

    def __init__(self, path: Path, *, length: int) -> None:
        """Take up a file.

        Args:
            path: File to append to; made if it is not there.
            length: Bytes to keep; what a killed run wrote after its last saved state is cut.

        Raises:
            MetricsError: If the file is shorter than that.
        """
        self._path = path
        with open(path, "ab") as file:
            if file.tell() < length:
                raise MetricsError(
                    f"{path} has {file.tell()} bytes, but {length} when the state was saved; "
                    "the file was changed since; restore it or start a new run"
                )
            file.truncate(length)

    def write(self, values: Mapping[str, Any]) -> None:
        """Write one line."""
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")

    def flush(self) -> int:
        """Put every line on the disk; returns the file's length in bytes."""
        with open(self._path, "ab") as file:
            os.fsync(file.fileno())
            return file.tell()


class WandbWriter:
    """Forwards metrics to Weights & Biases; does nothing when the mode is `off`."""

    def __init__(
        self, *, mode: WandbMode, project: str, directory: Path, config: Mapping[str, Any]
    ) -> None:
        if mode not in get_args(WandbMode):
            raise MetricsError(
                f"wandb mode is {mode!r}; expected one of {', '.join(get_args(WandbMode))}"
            )
        self._run: Any = None
        if mode != "off":
            try:
                import wandb  # an extra; takes seconds, and most trainings do without
            except ModuleNotFoundError as error:
                raise MetricsError(
                    f"wandb.mode={mode} needs wandb, which is not installed; run "
                    "`pip install 'diffusion-controller[wandb]'` or choose wandb.mode=off"
                ) from error
            self._run = wandb.init(
                mode=mode,
                project=project,
                dir=str(directory),
                config=dict(config),
                resume="allow",
                id=directory.name,
            )

    def write(self, values: Mapping[str, Any], *, step: int) -> None:
        """Log values at an optimizer step."""
        if self._run is not None:
            self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Finish the run."""
        if self._run is not None:
            self._run.finish()


def read_metrics_lines(path: Path) -> list[dict[str, Any]]:
    """All complete lines of a metrics file."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]
