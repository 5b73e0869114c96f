"""Training on a GPU does what it does on the CPU, and never waits. Run with `pytest -m gpu`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from diffusion_controller.data import WindowDataset
from diffusion_controller.policy import DiffusionPolicy
from diffusion_controller.training import DataOrder, Run, read_metrics_lines, train
from diffusion_controller.training.batches import BatchReader
from diffusion_controller.training.replay import WARM_UP_CALLS
from diffusion_controller.training.step import OptimizerStep, batch_indices
from diffusion_controller.training.train import begin_or_resume
from tests.policy.policies import small_policy
from tests.training.trainings import settings, windows

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is visible"),
]

STEPS = 20
GRAPHS = pytest.mark.parametrize("cuda_graph", [False, True], ids=["eager", "graph"])


def _train(directory: Path, device: str, **changes: Any) -> list[float]:
    """Loss of each step of a training, or of what a resume adds to it."""
    lasting = {"state_interval_s": 1e9, "evaluation_interval": 0, "log_interval": 1}
    chosen = settings(**{"num_steps": STEPS, **lasting, **changes})
    policy = train(
        small_policy().to(device), windows(), chosen, Run(directory=directory, provenance={})
    )
    assert policy.device.type == device
    return [line["loss"] for line in read_metrics_lines(directory / "metrics.jsonl")]


@GRAPHS
def test_float32_learns_what_the_cpu_does(tmp_path: Path, *, cuda_graph: bool) -> None:
    expected = _train(tmp_path / "cpu", "cpu")
    found = _train(tmp_path / "cuda", "cuda", cuda_graph=cuda_graph)
    assert found == pytest.approx(expected, rel=1e-3)


@GRAPHS
@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_less_precision_learns_nearly_the_same(
    tmp_path: Path, precision: str, *, cuda_graph: bool
) -> None:
    lasting = {"num_steps": 150, "batch_size": 60, "learning_rate": 1e-2}
    expected = _train(tmp_path / "fp32", "cuda", **lasting)
    found = _train(
        tmp_path / precision, "cuda", precision=precision, cuda_graph=cuda_graph, **lasting
    )
    assert sum(found[-30:]) < 0.75 * sum(found[:30])
    assert sum(found[-30:]) == pytest.approx(sum(expected[-30:]), rel=0.1)


@pytest.mark.parametrize(("first", "then"), [(False, False), (False, True), (True, False)])
def test_an_interrupted_training_goes_on(tmp_path: Path, *, first: bool, then: bool) -> None:
    """With a CUDA graph, without, and from one to the other."""
    expected = _train(tmp_path / "whole", "cuda", warmup_steps=STEPS)
    _train(tmp_path / "parts", "cuda", warmup_steps=STEPS, num_steps=STEPS // 2, cuda_graph=first)
    found = _train(tmp_path / "parts", "cuda", warmup_steps=STEPS, cuda_graph=then)
    assert found == pytest.approx(expected, rel=1e-3)


def test_a_training_goes_on_on_another_device(tmp_path: Path) -> None:
    expected = _train(tmp_path / "whole", "cpu", warmup_steps=STEPS)
    _train(tmp_path / "parts", "cpu", warmup_steps=STEPS, num_steps=STEPS // 2)
    found = _train(tmp_path / "parts", "cuda", warmup_steps=STEPS)
    assert found == pytest.approx(expected, rel=1e-3)


@contextmanager
def _waiting_is_an_error() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def _step(directory: Path, policy: DiffusionPolicy, data: WindowDataset, **changes: Any) -> Any:
    chosen = settings(**changes)
    data = data.to(policy.device)
    order = DataOrder(num_windows=len(data), batch_size=chosen.batch_size, seed=chosen.seed)
    state = begin_or_resume(policy, chosen, Run(directory=directory, provenance={}))
    accelerator = Accelerator()
    indices = batch_indices(order, data, accelerator)
    batches = BatchReader(data, indices, num_steps=chosen.num_steps)
    return OptimizerStep(state, chosen, batches=batches, accelerator=accelerator)


@GRAPHS
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_never_waits_for_the_device(
    tmp_path: Path, precision: str, *, cuda_graph: bool
) -> None:
    policy = small_policy().to("cuda")
    take_step = _step(tmp_path, policy, windows(), precision=precision, cuda_graph=cuda_graph)
    for _ in range(WARM_UP_CALLS + 1):  # the recording waits, once
        take_step()
    with _waiting_is_an_error():
        for _ in range(2 * len(windows()) // settings().batch_size):  # over two epochs
            take_step()
