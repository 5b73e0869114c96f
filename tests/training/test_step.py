"""One optimizer step: what it takes, how it is replayed, when the state is written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from diffusion_controller.data import WindowDataset
from diffusion_controller.policy import DiffusionPolicy
from diffusion_controller.training import (
    DataOrder,
    ExponentialMovingAverage,
    MetricsWriter,
    TrainingSettingsError,
    TrainState,
)
from diffusion_controller.training.batches import BatchReader
from diffusion_controller.training.replay import WARM_UP_CALLS, ReplayedStep
from diffusion_controller.training.state import StateSaving
from diffusion_controller.training.step import OptimizerStep, batch_indices
from tests.policy.policies import small_policy
from tests.training.trainings import run_training, settings, windows


def _state(learning_rate: float | Tensor = 0.0) -> TrainState:
    policy = small_policy()
    optimizer = torch.optim.AdamW(policy.parameters(), lr=learning_rate, fused=True)
    return TrainState(policy, ExponentialMovingAverage(policy), optimizer)


def _step(state: TrainState, data: WindowDataset | None = None, **changes: Any) -> OptimizerStep:
    chosen, data = settings(**changes), data or windows()
    order = DataOrder(num_windows=len(data), batch_size=chosen.batch_size, seed=chosen.seed)
    accelerator = Accelerator(cpu=True)
    indices = batch_indices(order, data, accelerator)
    batches = BatchReader(data, indices, num_steps=chosen.num_steps)
    return OptimizerStep(state, chosen, batches=batches, accelerator=accelerator)


def _weights(policy: DiffusionPolicy) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in policy.parameters()])


def test_replayed_steps_do_what_the_steps_do() -> None:
    """The recording itself needs CUDA; the way of inputs and result around it is here."""
    usual, replayed = _state(), _state()
    take_usual, take_replayed = _step(usual), _step(replayed)
    take_replayed.compute = ReplayedStep(take_replayed.learn, torch.device("cpu"))
    for _ in range(WARM_UP_CALLS + 4):
        take_usual()
        take_replayed()
    assert replayed.step == usual.step == WARM_UP_CALLS + 4
    assert torch.equal(_weights(replayed.policy), _weights(usual.policy))
    assert torch.equal(_weights(replayed.ema.model), _weights(usual.ema.model))
    assert torch.equal(replayed.loss_sum, usual.loss_sum)


def test_a_learning_rate_on_the_device_learns_the_same() -> None:
    usual, on_device = _state(), _state(torch.zeros(()))
    take_usual, take_other = _step(usual), _step(on_device)
    for _ in range(5):
        take_usual()
        take_other()
    rate = on_device.optimizer.param_groups[0]["lr"]
    assert isinstance(rate, Tensor)
    assert rate.item() == pytest.approx(settings().learning_rate_at(4))
    torch.testing.assert_close(on_device.loss_sum, usual.loss_sum, rtol=1e-5, atol=0)


def test_a_state_is_restored_into_an_optimizer_that_computes_otherwise(tmp_path: Path) -> None:
    """A training that began without a CUDA graph goes on with one, and the other way around."""
    saved, other = _state(), _state(torch.zeros(()))
    take = _step(saved)
    take()
    saved.save(tmp_path / "state.pt")
    other.load(tmp_path / "state.pt")
    take_other = _step(other)
    for _ in range(3):
        take()
        take_other()
    assert isinstance(other.optimizer.param_groups[0]["lr"], Tensor)
    torch.testing.assert_close(other.loss_sum, saved.loss_sum, rtol=1e-5, atol=0)


def test_inputs_are_a_function_of_the_step() -> None:
    state = _state()
    take = _step(state)
    first, again, second = take.inputs(0), take.inputs(0), take.inputs(1)
    assert torch.equal(first.noise, again.noise)
    assert torch.equal(first.batch.action, again.batch.action)
    assert not torch.equal(first.noise, second.noise)
    take()
    assert torch.equal(take.inputs(0).timestep, first.timestep)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cuda_graph": True}, r"cuda_graph is true .* on 'cpu'; it needs .* set it to false"),
        ({"precision": "tf32"}, r"precision is tf32, which the device 'cpu' does not have"),
    ],
)
def test_what_only_a_gpu_can_is_refused_on_the_cpu(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(TrainingSettingsError, match=message):
        run_training(tmp_path, **changes)


def _clock(times: list[float]) -> Callable[[], float]:
    return iter(times).__next__


@pytest.mark.parametrize(
    ("interval_s", "took_s", "pause_s"),
    [(60.0, 0.1, 60.0), (60.0, 10.0, 190.0)],
)
def test_writing_the_state_takes_a_twentieth_of_the_time_at_most(
    tmp_path: Path, interval_s: float, took_s: float, pause_s: float
) -> None:
    done = 100.0 + took_s
    now = _clock([0.0, 100.0, done, done + pause_s - 0.5, done + pause_s])
    saving = StateSaving(_state(), tmp_path / "state.pt", interval_s=interval_s, now=now)
    saving.save(MetricsWriter(tmp_path / "metrics.jsonl", length=0))
    assert (tmp_path / "state.pt").exists()
    assert not saving.is_due
    assert saving.is_due


def test_the_last_incomplete_line_of_metrics_survives_a_resume(tmp_path: Path) -> None:
    """The sum of losses since the last line is part of the state."""
    state = _state()
    take = _step(state)
    take()
    state.save(tmp_path / "state.pt")
    resumed = _state()
    resumed.load(tmp_path / "state.pt")
    assert torch.equal(resumed.loss_sum, state.loss_sum)
    assert resumed.loss_sum > 0
