"""The training loop, from windows of demonstrations to checkpoints of a policy."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm import tqdm

from diffusion_controller.data import WindowDataset
from diffusion_controller.policy import DiffusionPolicy

from .batches import BatchReader
from .checkpoints import keep_checkpoint
from .data_order import DataOrder, draw_training_noise
from .interruption import StopRequest, TrainingInterruptedError
from .metrics import MetricsWriter, WandbWriter
from .precision import float32_products
from .settings import TrainingSettings
from .state import StateSaving, TrainState, begin_state
from .step import OptimizerStep, batch_indices
from .step_inputs import send

Evaluate = Callable[[DiffusionPolicy], Mapping[str, float]]
"""Rolls a policy out; gives `score`, by which checkpoints are ranked, and more if it likes."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Where a training writes, and what it writes beside the weights.

    Attributes:
        directory: Of the run; holds state.pt, metrics.jsonl and checkpoints/.
        provenance: What it is trained on, for the checkpoints' metrics.
        wandb: Where else metrics go.
    """

    directory: Path
    provenance: Mapping[str, Any]
    wandb: WandbWriter | None = None

    @property
    def state_path(self) -> Path:
        """File of the resumable state."""
        return self.directory / "state.pt"


def train(
    policy: DiffusionPolicy,
    windows: WindowDataset,
    settings: TrainingSettings,
    run: Run,
    *,
    validation: WindowDataset | None = None,
    evaluate: Evaluate | None = None,
    accelerator: Accelerator | None = None,
) -> DiffusionPolicy:
    """Train a policy; go on where the run's saved state ends, if there is one.

    Interrupted anywhere and called again with the same arguments, it gives bit-identical
    weights, averages, metrics and data order on the CPU.

    Args:
        policy: Trained in place, on its device.
        windows: What it learns from.
        settings: How.
        run: Where it writes.
        validation: Windows of episodes held out, for the denoising loss; optional.
        evaluate: Closed-loop evaluation of the averaged policy; optional.
        accelerator: For several processes, each called with the same arguments; every one
            takes its share of each batch.

    Returns:
        The averaged policy.

    Raises:
        TrainingInterruptedError: On SIGINT or SIGTERM, once the state is saved.
        TrainStateError: If the saved state is damaged or the disk is full.
    """
    accelerator = accelerator or Accelerator(cpu=policy.device.type == "cpu")
    if accelerator.num_processes > 1:
        policy.to(accelerator.device)
    windows = windows.to(policy.device)
    validation = None if validation is None else validation.to(policy.device)
    order = DataOrder(num_windows=len(windows), batch_size=settings.batch_size, seed=settings.seed)
    state = begin_state(policy, settings)
    if run.state_path.exists():
        state.load(run.state_path)
    batches = BatchReader(
        windows, batch_indices(order, windows, accelerator), num_steps=settings.num_steps
    )
    take_step = OptimizerStep(state, settings, batches=batches, accelerator=accelerator)
    is_main = accelerator.is_main_process
    metrics = _open_metrics(run, state) if is_main else None
    saving = StateSaving(state, run.state_path, interval_s=settings.state_interval_s)

    with (
        float32_products(settings.precision, policy.device),
        batches,
        StopRequest() as stop,
        _progress(settings, state, visible=is_main) as progress,
    ):
        while state.step < settings.num_steps:
            take_step()
            progress.update()

            line: dict[str, float] = {}
            is_last = state.step == settings.num_steps
            if is_last or state.step % settings.log_interval == 0:
                line = _mean_loss(state, settings, accelerator)
                progress.set_postfix(loss=f"{line['loss']:.4f}", epoch=order.epoch(state.step))
            if metrics is not None and (is_last or _is_evaluation_due(state.step, settings)):
                line |= _assess(averaged(state), validation, evaluate, settings)
                _keep(state, settings, run, line)
            if metrics is not None and line:
                line = {"step": state.step, "epoch": order.epoch(state.step), **line}
                metrics.write(line)
                if run.wandb is not None:
                    run.wandb.write(line, step=state.step)
            if metrics is not None and (is_last or saving.is_due or stop.signal_name):
                saving.save(metrics)
            if stop.signal_name and not is_last:
                raise TrainingInterruptedError(
                    f"{stop.signal_name} after step {state.step} of {settings.num_steps}; the "
                    f"state is saved; go on with: dpc train resume={run.directory}"
                )
    accelerator.wait_for_everyone()
    return averaged(state)


def averaged(state: TrainState) -> DiffusionPolicy:
    """The policy that is evaluated and saved."""
    return state.ema.model


@torch.no_grad()
def validation_loss(
    policy: DiffusionPolicy, windows: WindowDataset, *, seed: int, batch_size: int = 1024
) -> float:
    """Denoising loss over all windows, with the same noise at every call."""
    windows = windows.to(policy.device)
    total = torch.zeros((), dtype=torch.float64, device=policy.device)
    for number, first in enumerate(range(0, len(windows), batch_size)):
        last = min(first + batch_size, len(windows))
        batch = windows.gather(torch.arange(first, last, device=policy.device))
        shape = (last - first, policy.horizon, policy.action_dim)
        noise, timestep = draw_training_noise(
            seed, number, shape, len(policy.schedule), name="validation"
        )
        place = policy.device
        loss = policy.loss(batch, noise=send(noise, place), timestep=send(timestep, place))
        total += loss.double() * (last - first)
    return total.item() / len(windows)


def _mean_loss(
    state: TrainState, settings: TrainingSettings, accelerator: Accelerator
) -> dict[str, float]:
    """Loss since the line before, over all processes; starts the next sum."""
    steps = (state.step - 1) % settings.log_interval + 1
    total: Tensor = accelerator.reduce(state.loss_sum, reduction="mean")
    line = {
        "loss": total.item() / steps,
        "learning_rate": settings.learning_rate_at(state.step - 1),
    }
    state.loss_sum.zero_()
    return line


def _assess(
    policy: DiffusionPolicy,
    validation: WindowDataset | None,
    evaluate: Evaluate | None,
    settings: TrainingSettings,
) -> dict[str, float]:
    """Validation loss and closed-loop score, as far as asked for."""
    line: dict[str, float] = {}
    if validation is not None:
        line["validation_loss"] = validation_loss(
            policy, validation, seed=settings.seed, batch_size=settings.batch_size
        )
    if evaluate is not None:
        line |= evaluate(policy)
    return line


def _keep(
    state: TrainState, settings: TrainingSettings, run: Run, line: Mapping[str, float]
) -> None:
    state.checkpoints = keep_checkpoint(
        averaged(state),
        run.directory,
        step=state.step,
        score=line.get("score", 0.0),
        kept=state.checkpoints,
        limit=settings.keep_checkpoints,
        metrics={"training": {"step": state.step, **line, **run.provenance}},
    )


def _is_evaluation_due(step: int, settings: TrainingSettings) -> bool:
    return settings.evaluation_interval > 0 and step % settings.evaluation_interval == 0


def _open_metrics(run: Run, state: TrainState) -> MetricsWriter:
    run.directory.mkdir(parents=True, exist_ok=True)
    return MetricsWriter(run.directory / "metrics.jsonl", length=state.metrics_length)


@contextmanager
def _progress(
    settings: TrainingSettings, state: TrainState, *, visible: bool
) -> "Iterator[tqdm[Any]]":
    """A bar with rate and time left."""
    with tqdm(
        total=settings.num_steps,
        initial=state.step,
        desc="train",
        unit="step",
        dynamic_ncols=True,
        disable=not visible,
    ) as bar:
        yield bar
