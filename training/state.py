"""Everything that a training must remember to go on as if it had never stopped."""

import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffusion_controller import DiffusionControllerError
from diffusion_controller.policy import DiffusionPolicy

from .ema import ExponentialMovingAverage


class TrainStateError(DiffusionControllerError, ValueError):
    """A training state that cannot be read or written."""


@dataclass
class TrainState:
    """State of a training between two optimizer steps.

    The data order, the noise and the learning rate are functions of the seed and the step, see
    `DataOrder`, so that the step stands for them.

    Attributes:
        policy: Being trained.
        ema: Average of its weights.
        optimizer: With its moments.
        step: Optimizer steps done.
        loss_sum: Of the steps since the last line of metrics. Scalar.
        metrics_length: Bytes of metrics written when the state was.
        checkpoints: Score and name of the checkpoints kept, best first.
    """

    policy: DiffusionPolicy
    ema: ExponentialMovingAverage
    optimizer: torch.optim.Optimizer
    step: int = 0
    loss_sum: Tensor = field(default_factory=lambda: torch.zeros(()))
    metrics_length: int = 0
    checkpoints: list[tuple[float, str]] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write the state, whole or not at all: the file before stays until this one is complete.

        Raises:
            TrainStateError: If there is no room for it; what was there before is kept.
        """
        content = io.BytesIO()
        torch.save(
            {
                "policy": self.policy.state_dict(),
                "ema": self.ema.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "step": self.step,
                "loss_sum": self.loss_sum,
                "metrics_length": self.metrics_length,
                "checkpoints": self.checkpoints,
            },
            content,
        )
        partial = path.with_name(f".{path.name}.partial")
        try:
            with open(partial, "wb") as file:
                file.write(content.getbuffer())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise TrainStateError(
                f"the training state could not be written to {path} ({error.strerror}); the state "
                "saved before is still there: make room and resume"
            ) from error
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Restore what `save` wrote.

        Raises:
            TrainStateError: If the file is missing, damaged or of another policy.
        """
        try:
            stored: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            self.policy.load_state_dict(stored["policy"])
            self.ema.load_state_dict(stored["ema"])
            self.optimizer.load_state_dict(stored["optimizer"])
        except FileNotFoundError as error:
            raise TrainStateError(f"no training state at {path}; start a new run") from error
        except Exception as error:  # torch raises many kinds for a damaged file
            reason = str(error).split("\n")[0]
            raise TrainStateError(
                f"{path} is damaged or of another policy ({type(error).__name__}: {reason}); "
                "start a new run"
            ) from error
        self.step = int(stored["step"])
        self.loss_sum = stored["loss_sum"].to(self.policy.device)
        self.metrics_length = int(stored["metrics_length"])
        self.checkpoints = [(float(score), str(name)) for score, name in stored["checkpoints"]]
