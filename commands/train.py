"""`dpc train`: learn a policy from demonstrations."""

import os
import sys
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from diffusion_controller.commands.errors import CommandError
from diffusion_controller.commands.experiment import (
    Demonstrations,
    load_demonstrations,
    make_policy,
    plain,
)
from diffusion_controller.policy import DiffusionPolicy, ImageEncoder, find_device
from diffusion_controller.runtime import evaluate_policy
from diffusion_controller.training import (
    Evaluate,
    Run,
    TrainingSettings,
    WandbWriter,
    keep_freed_memory,
    train,
)


def run(config: DictConfig) -> int:
    """Train, or go on with a training; prints where the checkpoints are."""
    directory = Path(config.out)
    if config.resume is not None:
        directory = Path(config.resume)
        config = _saved_config(directory)
    elif (directory / "state.pt").exists():
        raise CommandError(
            f"{directory} holds a run already; go on with: dpc train resume={directory}"
        )
    if config.num_threads is not None:
        torch.set_num_threads(config.num_threads)
    find_device(config.device)
    keep_freed_memory()
    demonstrations = load_demonstrations(config)
    is_begun = (directory / "state.pt").exists()  # then it has weights of its own
    weights = None if is_begun else config.get("encoder_weights")
    policy = make_policy(config, demonstrations, encoder_weights=weights)
    is_main = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun started
    if is_main:
        directory.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(config, directory / "config.yaml")
        _announce(policy, demonstrations, config, directory)
    train(
        policy,
        demonstrations.training,
        TrainingSettings(**settings_of(config)),
        Run(
            directory=directory,
            provenance=provenance_of(config, demonstrations),
            wandb=WandbWriter(
                mode=config.wandb.mode,
                project=config.wandb.project,
                directory=directory,
                config=plain(config),
            ),
        ),
        validation=demonstrations.validation,
        evaluate=make_evaluation(config, demonstrations),
    )
    if is_main:
        print(f"best checkpoint: {directory / 'best'}")
        print(f"evaluate it:     dpc evaluate policy={directory / 'best'} episodes=500")
    return 0


def settings_of(config: DictConfig) -> dict[str, Any]:
    """Arguments of `TrainingSettings`."""
    settings = plain(config.training)
    return {**settings, "betas": tuple(settings["betas"])}


def provenance_of(config: DictConfig, demonstrations: Demonstrations) -> dict[str, Any]:
    """What a checkpoint says of its training."""
    return {
        "data": Path(str(config.data)).name,
        "training_episodes": len(demonstrations.episodes),
        "training_seeds": list(demonstrations.seeds),
        "mirror": bool(config.task.mirror),
        "env_id": config.task.env_id,
        "settings": plain(config.training),
    }


def make_evaluation(config: DictConfig, demonstrations: Demonstrations) -> Evaluate | None:
    """Closed-loop evaluation as the training asks for it; None if it asks for none."""
    if config.evaluation.episodes == 0:
        return None
    first = config.evaluation.first_seed

    def evaluate(policy: DiffusionPolicy) -> dict[str, float]:
        result = evaluate_policy(
            policy,
            seeds=range(first, first + config.evaluation.episodes),
            env_id=config.task.env_id,
            num_workers=config.evaluation.num_workers,
            training_seeds=demonstrations.seeds,
        )
        return {"score": result.mean_score, "success_rate": result.success_rate}

    return evaluate


def _saved_config(directory: Path) -> DictConfig:
    path = directory / "config.yaml"
    if not path.is_file():
        raise CommandError(f"no run to resume at {directory}: {path.name} is not there")
    config = OmegaConf.load(path)
    if not isinstance(config, DictConfig):
        raise CommandError(f"{path} is not the configuration of a run")
    return config


def _announce(
    policy: DiffusionPolicy, demonstrations: Demonstrations, config: DictConfig, directory: Path
) -> None:
    """Say what is about to happen, before the progress bar takes the line."""
    parameters = sum(parameter.numel() for parameter in policy.parameters())
    mirrored = " with mirror images" if config.task.mirror else ""
    print(
        f"{len(demonstrations.episodes)} episodes, {len(demonstrations.training):,} windows"
        f"{mirrored}; policy of {parameters / 1e6:.2f} M parameters on {policy.device}; "
        f"writing to {directory}",
        *demonstrations.notes,
        sep="\n",
        file=sys.stderr,
    )
    for encoder in policy.modules():
        for line in encoder.cut_off() if isinstance(encoder, ImageEncoder) else ():
            print(f"warning: {line}; if it matters, set crop=null and padding", file=sys.stderr)
