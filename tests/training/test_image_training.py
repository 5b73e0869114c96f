"""Training on images: what an optimizer step sees is a function of the seed and the step."""

from pathlib import Path
from typing import Any

import pytest
import torch

from diffusion_controller.data import WindowDataset
from diffusion_controller.policy import DiffusionPolicy
from diffusion_controller.training import Run, train, validation_loss
from diffusion_controller.training.data_order import draw_augmentation
from tests.policy.image_policies import image_policy
from tests.training.trainings import image_windows, scored, settings


def _train(directory: Path, *, evaluate: Any = scored, **changes: Any) -> DiffusionPolicy:
    return train(
        image_policy(color_jitter={"_target_": "diffusion_controller.policy.ColorJitter"}),
        image_windows(),
        settings(**{"num_steps": 8, "batch_size": 4, "evaluation_interval": 4, **changes}),
        Run(directory=directory, provenance={}),
        evaluate=evaluate,
    )


class _InterruptedError(Exception):
    pass


def _interrupt(_: DiffusionPolicy) -> dict[str, float]:
    raise _InterruptedError


def test_a_training_with_augmentation_resumes_bit_identical(tmp_path: Path) -> None:
    with pytest.raises(_InterruptedError):
        _train(tmp_path / "resumed", evaluate=_interrupt)
    resumed = _train(tmp_path / "resumed").state_dict()
    whole = _train(tmp_path / "whole").state_dict()
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    metrics = [tmp_path / name / "metrics.jsonl" for name in ("resumed", "whole")]
    assert metrics[0].read_bytes() == metrics[1].read_bytes()


def test_the_validation_loss_sees_the_middle_of_the_picture() -> None:
    policy, windows = image_policy(), image_windows()
    framed = windows.observations["image"].clone()
    framed[:, :4], framed[:, -4:], framed[:, :, :4], framed[:, :, -4:] = 0, 0, 0, 0
    losses = [
        validation_loss(policy, changed, seed=0, batch_size=8)
        for changed in (
            windows,
            WindowDataset(
                **{**vars(windows), "observations": {**windows.observations, "image": framed}}
            ),
        )
    ]
    assert losses[0] == losses[1]


def test_augmentation_is_a_function_of_seed_and_step() -> None:
    drawn = draw_augmentation(0, 3, (256, 5))
    assert torch.equal(drawn, draw_augmentation(0, 3, (256, 5)))
    assert not torch.equal(drawn, draw_augmentation(0, 4, (256, 5)))
    assert not torch.equal(drawn, draw_augmentation(1, 3, (256, 5)))
    assert 0 <= drawn.min() < 0.01 < 0.99 < drawn.max() < 1
