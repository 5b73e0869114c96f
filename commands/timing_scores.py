"""Closed-loop scores beside latencies: those that a checkpoint tells, or new ones."""

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from diffusion_controller.commands.errors import CommandError
from diffusion_controller.envs import PUSHT_ENV_ID
from diffusion_controller.policy import DiffusionPolicy, load_policy, read_metrics
from diffusion_controller.runtime import (
    HELD_OUT_SEED,
    Score,
    Scores,
    Setting,
    available_cores,
    evaluate_policy,
)


def known_scores(checkpoint: Path, policy: DiffusionPolicy) -> Scores:
    """Scores that lie in a checkpoint's folder.

    Every `evaluation*.json` that `dpc evaluate` wrote counts for the sampler that it names, and
    the evaluation in `metrics.json` for the checkpoint's own.

    Args:
        checkpoint: Folder of the checkpoint.
        policy: Loaded from it with its own sampler.

    Raises:
        CommandError: If one of these files is not what `dpc evaluate` writes.
    """
    own = {"sampler": policy.sampler, "num_inference_steps": policy.num_inference_steps}
    documents = [{**read_metrics(checkpoint).get("evaluation", {}), "policy": own}]
    for file in sorted(checkpoint.glob("evaluation*.json")):
        documents.append(_read(file))
    return {_evaluated(document): _score(document) for document in documents if _is_whole(document)}


def roll_out_scores(
    checkpoint: Path, settings: Iterable[Setting], *, starts: int, device: str
) -> Scores:
    """Roll out each sampler, number of steps and precision among the settings, once.

    Args:
        checkpoint: Folder of the checkpoint.
        settings: Engines of the same precision compute the same chunks: the first one is taken.
        starts: Held-out starts, the same ones for all.
        device: Where the policy computes.
    """
    by_score = {setting.scored_as: setting for setting in reversed(list(settings))}
    training = read_metrics(checkpoint).get("training", {})
    env_id = training.get("env_id") or PUSHT_ENV_ID
    scores = {}
    for key, setting in reversed(by_score.items()):
        policy = load_policy(
            checkpoint,
            sampler=setting.sampler,
            num_inference_steps=setting.num_inference_steps,
            device=device,
            engine=setting.engine,
            precision=setting.precision,
        )
        with tqdm(total=starts, unit="episode", desc=setting.name, file=sys.stderr) as progress:

            def show(finished: int, _: int, bar: "tqdm[Any]" = progress) -> None:
                bar.update(finished - bar.n)

            result = evaluate_policy(
                policy,
                seeds=range(HELD_OUT_SEED, HELD_OUT_SEED + starts),
                env_id=env_id,
                reset_options={"legacy_reset": True} if env_id == PUSHT_ENV_ID else None,
                num_workers=min(available_cores(), starts),
                training_seeds=training.get("training_seeds") or (),
                on_progress=show,
            )
        low, high = result.mean_score_interval
        scores[key] = Score(result.mean_score, low, high, len(result.episodes))
    return scores


def _read(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CommandError(f"{file} is not JSON ({error}); remove it or evaluate again") from error
    if not isinstance(document, dict):
        raise CommandError(f"{file} holds no evaluation; give it another name")
    return document


def _is_whole(document: Mapping[str, Any]) -> bool:
    return {"mean_score", "mean_score_interval", "num_episodes", "policy"} <= set(document)


def _evaluated(document: Mapping[str, Any]) -> tuple[str, int, str]:
    policy = document["policy"]
    return policy["sampler"], policy["num_inference_steps"], policy.get("precision", "fp32")


def _score(document: Mapping[str, Any]) -> Score:
    low, high = document["mean_score_interval"]
    return Score(document["mean_score"], low, high, document["num_episodes"])
