"""A training of seconds, on made-up demonstrations, for tests."""

import math
from pathlib import Path
from typing import Any

import torch

from diffusion_controller.data import WindowDataset
from diffusion_controller.policy import DiffusionPolicy
from diffusion_controller.training import Evaluate, Run, TrainingSettings, WandbWriter, train
from tests.policy.image_policies import SIDE
from tests.policy.policies import small_policy

EPISODES, LENGTH = 4, 20


def windows() -> WindowDataset:
    """Four episodes in which the agent is sent towards the middle of the block."""
    generator = torch.Generator().manual_seed(0)
    keypoints = torch.rand(EPISODES * LENGTH, 9, 2, generator=generator) * 400 + 50
    agent = torch.rand(EPISODES * LENGTH, 2, generator=generator) * 400 + 50
    first = torch.arange(EPISODES).repeat_interleave(LENGTH - 5) * LENGTH
    return WindowDataset(
        observations={"keypoints": keypoints, "agent": agent},
        actions=(keypoints.mean(dim=1) + agent) / 2,
        starts=first - 1 + torch.arange(LENGTH - 5).repeat(EPISODES),
        first_steps=first,
        last_steps=first + LENGTH - 1,
        horizon=8,
        obs_horizon=2,
    )


def image_windows() -> WindowDataset:
    """Two episodes in which the agent is sent to a bright spot in the picture."""
    episodes = 2
    generator = torch.Generator().manual_seed(0)
    steps = episodes * LENGTH
    image = torch.randint(0, 50, (steps, SIDE, SIDE, 3), generator=generator, dtype=torch.uint8)
    place = torch.randint(4, SIDE - 8, (steps, 2), generator=generator)
    for step, (row, column) in enumerate(place.tolist()):
        image[step, row : row + 4, column : column + 4] = 255
    first = torch.arange(episodes).repeat_interleave(LENGTH - 5) * LENGTH
    return WindowDataset(
        observations={
            "image": image,
            "agent": torch.rand(steps, 2, generator=generator) * 512,
        },
        actions=place.flip(1) * 512.0 / SIDE,
        starts=first - 1 + torch.arange(LENGTH - 5).repeat(episodes),
        first_steps=first,
        last_steps=first + LENGTH - 1,
        horizon=8,
        obs_horizon=2,
    )


def settings(**changes: Any) -> TrainingSettings:
    """Forty optimizer steps, the state saved after each, evaluated every ten."""
    values = {
        "num_steps": 40,
        "batch_size": 16,
        "learning_rate": 1e-3,
        "warmup_steps": 5,
        "log_interval": 7,
        "evaluation_interval": 10,
        "keep_checkpoints": 2,
        "state_interval_s": 0.0,
    }
    return TrainingSettings(**{**values, **changes})


def scored(policy: DiffusionPolicy) -> dict[str, float]:
    """A number that depends on the weights, in place of a score."""
    total = sum(weight.double().sum().item() for weight in policy.parameters())
    return {"score": abs(math.sin(total))}


def run_training(
    directory: Path,
    *,
    evaluate: Evaluate | None = scored,
    validation: WindowDataset | None = None,
    wandb: WandbWriter | None = None,
    **changes: Any,
) -> DiffusionPolicy:
    """Train in a directory, or go on there; returns the averaged policy."""
    run = Run(directory=directory, provenance={"data": "made up"}, wandb=wandb)
    return train(
        small_policy(),
        windows(),
        settings(**changes),
        run,
        validation=validation,
        evaluate=evaluate,
    )
