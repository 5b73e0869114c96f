"""Windows on a GPU are those on the CPU. Run with `pytest -m gpu`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from diffusion_controller.data import ArrayField, ReplayBuffer, WindowDataset, load_windows
from diffusion_controller.training import BatchReader

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is visible"),
]


def _flipped(values: NDArray[Any]) -> NDArray[Any]:
    return values[..., ::-1, :]


def _load(path: Path, *, images_in_memory: bool) -> WindowDataset:
    windows = load_windows(
        ReplayBuffer.open(path),
        {"agent": ArrayField("state", (0, 1)), "image": ArrayField("img")},
        ArrayField("action"),
        horizon=6,
        obs_horizon=2,
        action_horizon=3,
        images_in_memory=images_in_memory,
    )
    return windows.with_transformed_copy(
        {"image": _flipped, "agent": np.negative, "action": np.negative}
    )


@pytest.mark.parametrize("images_in_memory", [True, False])
def test_batches_on_a_gpu_equal_those_on_the_cpu(buffer_path: Path, images_in_memory: bool) -> None:
    windows = _load(buffer_path, images_in_memory=True)
    on_gpu = _load(buffer_path, images_in_memory=images_in_memory).to("cuda")
    assert on_gpu.is_on_device == images_in_memory
    generator = torch.Generator().manual_seed(0)
    batches = torch.chunk(torch.randperm(len(windows), generator=generator), 5)
    with BatchReader(on_gpu, batches.__getitem__, num_steps=len(batches)) as reader:
        for step, indices in enumerate(batches):
            found, expected = reader.batch(step), windows.gather(indices)
            assert found.action.device.type == "cuda"
            assert torch.equal(found.action.cpu(), expected.action)
            for name, values in expected.observation.items():
                assert torch.equal(found.observation[name].cpu(), values)


def test_data_that_fills_a_gpu_stays_on_the_host(
    buffer_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (100, 100))
    windows = _load(buffer_path, images_in_memory=True).to("cuda")
    assert not windows.is_on_device
    assert windows.gather(torch.tensor([0])).action.device.type == "cuda"
