"""`dpc data generate`: make demonstrations with the scripted demonstrator."""

import functools
import multiprocessing
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from omegaconf import DictConfig
from tqdm import tqdm

from diffusion_controller.commands.errors import CommandError
from diffusion_controller.data import ArraySpec, ReplayBuffer
from diffusion_controller.envs import (
    PUSHT_ENV_ID,
    Demonstration,
    DemonstratorSettings,
    demonstrate,
)
from diffusion_controller.envs.pusht import CONTROL_HZ

ARRAYS = {"state": ArraySpec((5,)), "keypoint": ArraySpec((9, 2)), "action": ArraySpec((2,))}
"""Arrays of the published layout; float32."""

_LAST_SEED = 2**32 - 1


def run(config: DictConfig) -> int:
    """Generate, store and count."""
    if config.env != "pusht":
        raise CommandError(f"there is no demonstrator for env={config.env}; choose env=pusht")
    for key in ("episodes", "workers"):
        if config[key] < 1:
            raise CommandError(f"{key}={config[key]}; give at least 1")
    if not 0 <= config.first_seed <= _LAST_SEED:
        raise CommandError(f"first_seed={config.first_seed}; give a seed from 0 to {_LAST_SEED}")
    settings = _settings(config.demonstrator)
    buffer = ReplayBuffer.create(
        config.out,
        ARRAYS,
        metadata={"control_hz": CONTROL_HZ, "env_id": PUSHT_ENV_ID, "source": "scripted"},
    )
    tried = successes = 0
    with (
        tqdm(total=config.episodes, unit="episode", desc="demonstrations") as progress,
        ExitStack() as stack,
    ):
        for demonstration in _demonstrations(config, settings, stack):
            tried += 1
            successes += demonstration.is_success
            if demonstration.is_success or config.keep_failures:
                append_demonstration(buffer, demonstration)
                progress.update()
            if buffer.num_episodes == config.episodes:
                break
            if tried >= 20 and successes < 0.05 * tried and not config.keep_failures:
                raise CommandError(
                    f"{successes} of {tried} episodes reached the goal; raise "
                    "demonstrator.max_steps or demonstrator.num_candidates, or keep_failures=true"
                )
    print(f"{buffer.num_episodes} episodes, {buffer.num_steps} steps: {Path(config.out)}")
    print(f"the demonstrator reached the goal in {successes} of {tried} episodes")
    print(f"look at them:   dpc data inspect {config.out}")
    print(f"learn from them: dpc train data={config.out}")
    return 0


def append_demonstration(buffer: ReplayBuffer, demonstration: Demonstration) -> None:
    """Store one episode in the published layout."""
    buffer.append_episode(
        {
            "state": demonstration.states.astype(np.float32),
            "keypoint": demonstration.keypoints.astype(np.float32),
            "action": demonstration.actions.astype(np.float32),
        },
        seed=demonstration.seed,
    )


def _demonstrations(
    config: DictConfig, settings: DemonstratorSettings, stack: ExitStack
) -> Iterator[Demonstration]:
    """Episodes by increasing seed, whatever the number of workers."""
    make = functools.partial(demonstrate, settings=settings)
    seeds = range(config.first_seed, _LAST_SEED + 1)
    if config.workers == 1:
        yield from map(make, seeds)
        return
    # Spawned, not forked: a fork would copy the threads of zarr without their locks.
    pool = stack.enter_context(multiprocessing.get_context("spawn").Pool(config.workers))
    ahead = 4 * config.workers
    for start in range(seeds.start, seeds.stop, ahead):
        yield from pool.imap(make, range(start, min(start + ahead, seeds.stop)))


def _settings(config: DictConfig) -> DemonstratorSettings:
    for key in ("travel_speed", "push_speed"):
        if len(config[key]) != 2:
            raise CommandError(f"demonstrator.{key}={list(config[key])}; give [low,high]")
    return DemonstratorSettings(
        max_steps=config.max_steps,
        num_candidates=config.num_candidates,
        num_verified=config.num_verified,
        step_cost=config.step_cost,
        temperature=config.temperature,
        travel_speed=(config.travel_speed[0], config.travel_speed[1]),
        push_speed=(config.push_speed[0], config.push_speed[1]),
    )
