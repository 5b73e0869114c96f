"""Training on a GPU does what it does on the CPU, and never waits. Run with `pytest -m gpu`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from diffusion_controller.data import WindowDataset
from diffusion_controller.data.images import Images, ImagesInMemory
from diffusion_controller.policy import DiffusionPolicy
from diffusion_controller.training import DataOrder, Run, read_metrics_lines, train
from diffusion_controller.training.batches import BatchReader
from diffusion_controller.training.replay import WARM_UP_CALLS
from diffusion_controller.training.state import begin_state
from diffusion_controller.training.step import OptimizerStep, batch_indices
from tests.policy.image_policies import image_policy
from tests.policy.policies import small_policy
from tests.training.trainings import image_windows, settings, windows

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is visible"),
]

STEPS, METRICS = 20, "metrics.jsonl"
GRAPHS = pytest.mark.parametrize("cuda_graph", [False, True], ids=["eager", "graph"])


def _train(directory: Path, device: str, **changes: Any) -> list[float]:
    """Loss of each step of a training, or of what a resume adds to it."""
    lasting = {"state_interval_s": 1e9, "evaluation_interval": 0, "log_interval": 1}
    chosen = settings(**{"num_steps": STEPS, **lasting, **changes})
    policy = train(
        small_policy().to(device), windows(), chosen, Run(directory=directory, provenance={})
    )
    assert policy.device.type == device
    return [line["loss"] for line in read_metrics_lines(directory / METRICS)]


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


@GRAPHS
def test_images_are_learned_from_as_on_the_cpu(tmp_path: Path, *, cuda_graph: bool) -> None:
    lasting: dict[str, Any] = {"num_steps": 10, "batch_size": 8, "log_interval": 1}
    losses = []
    for device in ("cpu", "cuda"):
        chosen = settings(**lasting, cuda_graph=cuda_graph and device == "cuda")
        run = Run(directory=tmp_path / device, provenance={})
        train(image_policy().to(device), _mirrored_images(), chosen, run)
        losses.append([line["loss"] for line in read_metrics_lines(run.directory / METRICS)])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def _mirrored_images() -> WindowDataset:
    """Windows with their mirror images, which are made when a batch is gathered."""
    windows = image_windows()
    images: dict[str, Images] = {"image": ImagesInMemory(windows.observations["image"])}
    without = replace(windows, observations={"agent": windows.observations["agent"]})
    return replace(without, images=images).with_transformed_copy(
        {"image": lambda v: v[..., ::-1, :], "agent": np.negative, "action": np.negative}
    )


@contextmanager
def _waiting_is_an_error() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def _step(policy: DiffusionPolicy, data: WindowDataset, **changes: Any) -> Any:
    chosen = settings(**changes)
    data = data.to(policy.device)
    order = DataOrder(num_windows=len(data), batch_size=chosen.batch_size, seed=chosen.seed)
    state = begin_state(policy, chosen)
    accelerator = Accelerator()
    indices = batch_indices(order, data, accelerator)
    batches = BatchReader(data, indices, num_steps=chosen.num_steps)
    return OptimizerStep(state, chosen, batches=batches, accelerator=accelerator)


@GRAPHS
@pytest.mark.parametrize("sees", ["state", "image"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_never_waits_for_the_device(sees: str, precision: str, *, cuda_graph: bool) -> None:
    policy = image_policy() if sees == "image" else small_policy()
    data = _mirrored_images() if sees == "image" else windows()
    take_step = _step(policy.to("cuda"), data, precision=precision, cuda_graph=cuda_graph)
    for _ in range(WARM_UP_CALLS + 1):  # the recording waits, once
        take_step()
    with _waiting_is_an_error():
        for _ in range(2 * len(data) // settings().batch_size):  # over two epochs
            take_step()
