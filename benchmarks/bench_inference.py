"""Latency of one action chunk, batch 1, DDIM with 10 steps, against LeRobot and plain PyTorch.

    benchmarks/peers/make_lerobot.sh DIRECTORY
    python benchmarks/bench_inference.py --peer-python DIRECTORY/bin/python

State policies of three sizes, fp32 on the CPU, from an observation to a chunk. The sides take
turns, ten chunks at a time. The latency must stay under a tenth of the time that the eight
actions of a chunk last at 10 Hz. Writes `benchmarks/results/inference.json`.
"""

import argparse
from contextlib import ExitStack
from typing import Any

import numpy as np
from contest import SIZES, Contestant, Times, parse_arguments, ratios, start, write

NUM_INFERENCE_STEPS = 10
LIMIT_MS = 80.0
CHUNKS_PER_TURN = 10
LARGE = "256-512-1024"


def measure(sides: list[Contestant], size: str, rounds: int) -> dict[str, Any]:
    """All sides at one size, in turns."""
    channels, timestep_dim = SIZES[size]
    order = {
        "do": "build",
        "channels": channels,
        "timestep_dim": timestep_dim,
        "num_inference_steps": NUM_INFERENCE_STEPS,
    }
    built = {side.side: side.ask(order) for side in sides}
    turn = {"do": "predict", "count": 3 if size == LARGE else CHUNKS_PER_TURN}
    times = {side.side: Times() for side in sides}
    for side in sides:
        side.ask(turn)  # warm-up
    for _ in range(max(rounds // 2, 10) if size == LARGE else rounds):
        for side in sides:
            times[side.side].add(side.ask(turn))
    latency = {side: _distribution(found.wall_s) for side, found in times.items()}
    others = [side.side for side in sides if side.side != "ours"]
    return {
        "sides": built,
        "latency_ms": latency,
        "is_ours_under_limit": latency["ours"]["p99"] < LIMIT_MS,
        "times_faster_than": ratios(
            times["ours"].median_wall_s, {side: times[side].median_wall_s for side in others}
        ),
        "times_less_cpu_than": ratios(
            times["ours"].median_cpu_s, {side: times[side].median_cpu_s for side in others}
        ),
        "median_cpu_ms": {
            side: round(1e3 * found.median_cpu_s, 2) for side, found in times.items()
        },
    }


def _distribution(wall_s: list[float]) -> dict[str, float]:
    values = 1e3 * np.array(wall_s)
    return {
        "chunks": len(wall_s),
        "p50": round(float(np.percentile(values, 50)), 2),
        "p90": round(float(np.percentile(values, 90)), 2),
        "p99": round(float(np.percentile(values, 99)), 2),
        "max": round(float(values.max()), 2),
    }


def run(arguments: argparse.Namespace) -> None:
    """Measure, print, write."""
    with ExitStack() as stack:
        sides = [stack.enter_context(side) for side in start(arguments)]
        sizes = {size: measure(sides, size, arguments.rounds) for size in arguments.sizes}
    write(
        arguments,
        {
            "sampler": "ddim",
            "num_inference_steps": NUM_INFERENCE_STEPS,
            "limit_p99_ms": LIMIT_MS,
            "sizes": sizes,
        },
    )


if __name__ == "__main__":
    run(parse_arguments(__doc__, "inference", rounds=25))
