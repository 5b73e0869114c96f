"""Everything that a training must remember to go on as if it had never stopped."""

import io
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffusion_controller import DiffusionControllerError
from diffusion_controller.policy import DiffusionPolicy

from .ema import ExponentialMovingAverage
from .metrics import MetricsWriter
from .settings import TrainingSettings


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

    def set_learning_rate(self, value: float) -> None:
        """Of the next optimizer step; a rate that lies on the device is changed there."""
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(value)
            else:
                group["lr"] = value

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
            _load_moments(self.optimizer, stored["optimizer"])
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


def begin_state(policy: DiffusionPolicy, settings: TrainingSettings) -> TrainState:
    """State of a training before its first step, on the policy's device."""
    average = ExponentialMovingAverage(
        policy, power=settings.ema_power, max_decay=settings.ema_max_decay
    )
    optimizer = torch.optim.AdamW(
        policy.parameters(),
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        fused=True,
        # a graph is replayed as it was recorded: what changes must lie on the device
        lr=torch.zeros((), device=policy.device) if settings.cuda_graph else 0.0,
        capturable=settings.cuda_graph,
    )
    loss_sum = torch.zeros((), device=policy.device)
    return TrainState(policy, average, optimizer, loss_sum=loss_sum)


class StateSaving:
    """Writes a training's state now and then, and takes a twentieth of the time at most.

    A state is about as large as four times the weights, and while it is written nothing is
    learnt: 0.1 GB in a moment, 4 GB in seconds.
    """

    def __init__(
        self,
        state: TrainState,
        path: Path,
        *,
        interval_s: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin to count.

        Args:
            state: To write.
            path: Where.
            interval_s: Time between two writes in [s], where they are fast enough; 0 for no wait.
            now: Monotonic clock in [s].
        """
        self._state, self._path, self._interval_s, self._now = state, path, interval_s, now
        self._done_at, self._took_s = now(), 0.0

    @property
    def is_due(self) -> bool:
        """Whether it is time."""
        pause = max(self._interval_s, 19 * self._took_s) if self._interval_s else 0.0
        return self._now() - self._done_at >= pause

    def save(self, metrics: MetricsWriter) -> None:
        """Write the state, with the metrics written before it.

        Raises:
            TrainStateError: If there is no room for it; what was there before is kept.
        """
        began = self._now()
        self._state.metrics_length = metrics.flush()
        self._state.save(self._path)
        self._done_at = self._now()
        self._took_s = self._done_at - began


def _load_moments(optimizer: torch.optim.Optimizer, stored: dict[str, Any]) -> None:
    """Restore what the steps made; how the optimizer computes stays as it was built here."""
    built = [dict(group) for group in optimizer.param_groups]
    optimizer.load_state_dict(stored)
    for group, options in zip(optimizer.param_groups, built, strict=True):
        group.update({name: value for name, value in options.items() if name != "params"})
