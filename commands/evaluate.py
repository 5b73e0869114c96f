"""`dpc evaluate`: roll a policy out on held-out starts and say how well it does."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from omegaconf import DictConfig
from tqdm import tqdm

from diffusion_controller.commands.errors import CommandError
from diffusion_controller.envs import PUSHT_ENV_ID
from diffusion_controller.policy import (
    DiffusionPolicy,
    load_policy,
    read_metrics,
    resolve_checkpoint,
)
from diffusion_controller.runtime import (
    EvaluationResult,
    check_seeds,
    evaluate_policy,
    measure_chunk_latency,
    write_rollouts,
)

RESULT_NAME = "evaluation.json"
VIDEO_NAME = "rollouts.mp4"


def run(config: DictConfig) -> int:
    """Evaluate, print a table, write the JSON and the video."""
    _check(config)
    directory = Path(config.out)
    if (directory / RESULT_NAME).exists():
        raise CommandError(f"{directory} holds {RESULT_NAME} already; choose another folder: out=…")
    if config.num_threads is not None:
        torch.set_num_threads(config.num_threads)
    checkpoint = resolve_checkpoint(Path(str(config.policy)))
    policy = load_policy(
        checkpoint,
        sampler=config.sampler,
        num_inference_steps=config.num_inference_steps,
        device=config.device,
        engine=config.engine,
        precision=config.precision,
    )
    training = read_metrics(checkpoint).get("training", {})
    training_seeds = training.get("training_seeds") or ()
    seeds = range(config.first_seed, config.first_seed + config.episodes)
    check_seeds(
        seeds,
        training_seeds=training_seeds,
        allow_training_seeds=config.allow_training_seeds,
    )
    directory.mkdir(parents=True, exist_ok=True)
    result = _evaluate(policy, config, seeds, training)
    result = replace(result, chunk_latency=measure_chunk_latency(policy, first_observation(result)))
    print("\n".join(summary(result, checkpoint=checkpoint)))
    if not training_seeds:
        print("note: the checkpoint does not say which starts its demonstrations began from")
    print(f"result          {result.save(directory / RESULT_NAME)}")
    if result.traces:
        film = write_rollouts(result.traces, directory / VIDEO_NAME, speed=config.video_speed)
        print(f"video           {film}")
    return 0


def summary(result: EvaluationResult, *, checkpoint: Path) -> list[str]:
    """Lines of the table that the command prints."""
    score, success = result.mean_score_interval, result.success_rate_interval
    steps = [episode.steps for episode in result.episodes if episode.is_success]
    chunk_s = result.policy["action_horizon"] / result.environment["metadata"]["render_fps"]
    first, last = min(result.seeds), max(result.seeds)
    lines = [
        f"policy          {checkpoint} ({result.policy['sampler']}, "
        f"{result.policy['num_inference_steps']} denoising steps)",
        f"trained on      {_or_unknown(result.training_episodes)} episodes",
        f"starts          {len(result.episodes)}, seeds {first} to {last}",
        f"mean score      {result.mean_score:.3f}   (95 %: {score.low:.3f} to {score.high:.3f})",
        f"success rate    {100 * result.success_rate:.1f} % "
        f"(95 %: {100 * success.low:.1f} to {100 * success.high:.1f} %)",
    ]
    if steps:
        lines.append(f"steps           {np.median(steps):.0f} to success (median)")
    if result.chunk_latency is not None:
        p50, p99 = 1e3 * result.chunk_latency.p50, 1e3 * result.chunk_latency.p99
        lines.append(
            f"chunk latency   p50 {p50:.1f} ms, p99 {p99:.1f} ms; "
            f"its actions last {1e3 * chunk_s:.0f} ms"
        )
    lines.append(f"took            {result.duration:.0f} s")
    return lines


def _evaluate(
    policy: DiffusionPolicy, config: DictConfig, seeds: Sequence[int], training: dict[str, Any]
) -> EvaluationResult:
    env_id = config.env_id or training.get("env_id") or PUSHT_ENV_ID
    is_push_t = env_id == PUSHT_ENV_ID
    workers = config.num_workers
    if workers is None:
        workers = min(len(os.sched_getaffinity(0)), config.episodes)
    with tqdm(total=len(seeds), unit="episode", desc="evaluate") as progress:

        def show(finished: int, _: int) -> None:
            progress.update(finished - progress.n)

        return evaluate_policy(
            policy,
            seeds=seeds,
            env_id=env_id,
            reset_options={"legacy_reset": config.legacy_reset} if is_push_t else None,
            max_steps=config.max_steps,
            num_workers=workers,
            batch_size=config.batch_size,
            sampling_seed=config.sampling_seed,
            training_seeds=training.get("training_seeds") or (),
            allow_training_seeds=config.allow_training_seeds,
            training_episodes=training.get("training_episodes"),
            traced_seeds=seeds[: config.video] if is_push_t else (),
            on_progress=show,
        )


def first_observation(result: EvaluationResult) -> dict[str, Any]:
    """What the environment shows at the first start of an evaluation."""
    described = result.environment
    env = gymnasium.make(described["env_id"], **described["arguments"])
    observation, _ = env.reset(seed=result.seeds[0], options=dict(described["reset_options"]))
    env.close()
    return dict(observation)


def _check(config: DictConfig) -> None:
    at_least = {"episodes": 1, "first_seed": 0, "sampling_seed": 0, "batch_size": 1, "video": 0}
    optional = {"num_inference_steps": 1, "num_workers": 0, "num_threads": 1, "max_steps": 1}
    for key, least in (at_least | optional).items():
        value = config[key]
        if value is None and key in optional:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise CommandError(f"{key}={value}; expected a whole number of at least {least}")
    if not config.video_speed > 0:
        raise CommandError(f"video_speed={config.video_speed}; expected more than 0")


def _or_unknown(value: int | None) -> str:
    return "an unknown number of" if value is None else str(value)
