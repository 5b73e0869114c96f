"""Score of a policy against its sampler and number of denoising steps, as JSON, table and plot.

    python benchmarks/denoising_steps.py checkpoints/pusht_keypoints [CHECKPOINT …]

Every setting is rolled out from the same 500 held-out starts, so that two can be compared start
by start. Settings that the JSON holds already are not rolled out again: killed and started
anew, it goes on. The latencies of all settings are measured at the end, in turns, so that what
else the machine does meets all of them alike. All of it takes hours on one core; `--episodes 20`
tries it out.
"""

import argparse
import hashlib
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from denoising_steps_plot import draw
from machine import describe_machine

from diffusion_controller.policy import DiffusionPolicy, load_policy, read_metrics
from diffusion_controller.runtime import evaluate_policy
from diffusion_controller.runtime.latency import time_chunks
from diffusion_controller.runtime.statistics import bootstrap_interval

HERE = Path(__file__).parent
SETTINGS = {
    "diffusion": (
        *(("ddim", steps) for steps in (10, 1, 2, 4, 8, 16)),
        *(("ddim_trailing", steps) for steps in (1, 2, 4, 8)),
        *(("dpm_solver++", steps) for steps in (2, 4, 8)),
        ("ddpm", 100),
    ),
    "flow": tuple(("euler", steps) for steps in (1, 2, 4, 8)),
}
"""Samplers and numbers of denoising steps, by the process that the policy was trained with."""

REFERENCE = ("ddim", 10)
"""What the others are compared with, start by start: that of the first checkpoint."""


def evaluate(checkpoint: Path, sampler: str, steps: int, seeds: Sequence[int]) -> dict[str, Any]:
    """One row: how well a setting does."""
    policy = load_policy(checkpoint, sampler=sampler, num_inference_steps=steps)
    training = read_metrics(checkpoint).get("training", {})
    result = evaluate_policy(
        policy,
        seeds=seeds,
        reset_options={"legacy_reset": True},  # as the published evaluations
        training_seeds=training.get("training_seeds") or (),
    )
    return {
        **name_of(checkpoint, sampler, steps, seeds),
        "mean_score": result.mean_score,
        "mean_score_interval": list(result.mean_score_interval),
        "success_rate": result.success_rate,
        "success_rate_interval": list(result.success_rate_interval),
        "duration_s": round(result.duration, 1),
        "scores": [round(score, 5) for score in result.scores],
    }


def name_of(checkpoint: Path, sampler: str, steps: int, seeds: Sequence[int]) -> dict[str, Any]:
    """What tells a row from the others: other weights make another row."""
    weights = (checkpoint / "model.safetensors").read_bytes()
    return {
        "policy": checkpoint.resolve().name,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "sampler": sampler,
        "num_inference_steps": steps,
        "first_seed": seeds[0],
        "episodes": len(seeds),
    }


def measure_latency(policies: Sequence[DiffusionPolicy], *, rounds: int) -> list[dict[str, Any]]:
    """Median over the rounds of each round's p50 and p99 in [s], of ten chunks of one robot."""
    samples: list[list[tuple[float, float]]] = [[] for _ in policies]
    for _ in range(rounds):
        for policy, found in zip(policies, samples, strict=True):
            observation = {
                name: np.full(shape, 256.0) for name, shape in policy.observation_shapes.items()
            }
            durations = time_chunks(policy, observation, calls=10)
            low, high = np.quantile(durations, [0.5, 0.99])
            found.append((float(low), float(high)))
    return [
        {
            "p50": statistics.median(low for low, _ in found),
            "p99": statistics.median(high for _, high in found),
            "rounds": rounds,
        }
        for found in samples
    ]


def compare(rows: Sequence[dict[str, Any]]) -> None:
    """Add to each row its score minus that of the reference, start by start."""
    settings = [(row["sampler"], row["num_inference_steps"]) for row in rows]
    if REFERENCE not in settings:
        return
    reference = rows[settings.index(REFERENCE)]
    for row in rows:
        difference = np.subtract(row["scores"], reference["scores"])
        row["difference"] = float(difference.mean())
        row["difference_interval"] = list(bootstrap_interval(difference.tolist()))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| policy | sampler | steps | mean score | 95 % | success | 95 % | − DDIM 10 | chunk |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        score, success = row["mean_score_interval"], row["success_rate_interval"]
        difference = "–"
        if "difference" in row:
            low, high = row["difference_interval"]
            difference = f"{row['difference']:+.3f} ({low:+.3f} to {high:+.3f})"
        lines.append(
            f"| {row['policy']} | {row['sampler']} | {row['num_inference_steps']} "
            f"| {row['mean_score']:.3f} | {score[0]:.3f} to {score[1]:.3f} "
            f"| {100 * row['success_rate']:.1f} % "
            f"| {100 * success[0]:.1f} to {100 * success[1]:.1f} % "
            f"| {difference} | {1e3 * row['latency_s']['p50']:.1f} ms |"
        )
    return "\n".join(lines)


def write(path: Path, result: dict[str, Any]) -> None:
    """Write JSON with one line per row, whole or not at all."""
    head = json.dumps({key: value for key, value in result.items() if key != "rows"}, indent=2)
    rows = ",\n".join("    " + json.dumps(row) for row in result["rows"])
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(head.removesuffix("\n}") + f',\n  "rows": [\n{rows}\n  ]\n}}\n')
    partial.replace(path)


def roll_out(checkpoints: Sequence[Path], seeds: Sequence[int], out: Path) -> list[dict[str, Any]]:
    """The rows of all checkpoints and settings, of which those in the JSON are taken from there."""
    known = json.loads(out.read_text())["rows"] if out.exists() else []
    rows = []
    for checkpoint in checkpoints:
        for setting in SETTINGS[load_policy(checkpoint).schedule.process]:
            name = name_of(checkpoint, *setting, seeds)
            found = [row for row in known if name.items() <= row.items()]
            rows.append(found[0] if found else evaluate(checkpoint, *setting, seeds))
            print(f"{checkpoint} {setting}: {rows[-1]['mean_score']:.4f}", flush=True)
            write(out, {"benchmark": "unfinished", "rows": rows + known})
    return rows


def main() -> None:
    """Roll out what is missing, measure latencies, write, draw and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("--episodes", type=int, default=500)
    parser.add_argument("--first-seed", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=11, help="of the latencies")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "denoising_steps.json")
    parser.add_argument("--plot", type=Path, help="picture to draw, .png or .svg")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.episodes)
    rows = roll_out(arguments.checkpoints, seeds, arguments.out)
    paths = {path.resolve().name: path for path in arguments.checkpoints}
    policies = [
        load_policy(
            paths[row["policy"]],
            sampler=row["sampler"],
            num_inference_steps=row["num_inference_steps"],
        )
        for row in rows
    ]
    for row, latency in zip(rows, measure_latency(policies, rounds=arguments.rounds), strict=True):
        row["latency_s"] = latency
    compare(rows)
    result = {
        "benchmark": "Push-T score against sampler and denoising steps; chunk latency at batch 1",
        "command": "python benchmarks/denoising_steps.py "
        + " ".join(f"checkpoints/{name}" for name in paths)
        + f" --episodes {arguments.episodes} --first-seed {arguments.first_seed}",
        "threads": 1,
        "machine": describe_machine(),
        "rows": rows,
    }
    write(arguments.out, result)
    if arguments.plot is not None:
        draw(result, arguments.plot)
    print(table(rows))


if __name__ == "__main__":
    main()
