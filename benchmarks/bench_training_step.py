"""Training steps of the published state network per second, against LeRobot and plain PyTorch.

    benchmarks/peers/make_lerobot.sh DIRECTORY
    python benchmarks/bench_training_step.py --peer-python DIRECTORY/bin/python

Twenty numbers in two observations, sixteen actions of two, batch 256, fp32 on the CPU. A step is
forward, backward, gradient clipping and optimizer (ours: fused AdamW; plain: AdamW; LeRobot: Adam,
its preset), and the moving average of the weights (ours and plain; LeRobot keeps none). The sides
take turns, step by step. Writes `benchmarks/results/training_step.json`.
"""

import argparse
from contextlib import ExitStack
from typing import Any

from contest import SIZES, Contestant, Times, parse_arguments, ratios, start, write

BATCH_SIZE = 256


def measure(sides: list[Contestant], size: str, rounds: int) -> dict[str, Any]:
    """All sides at one size, in turns."""
    channels, timestep_dim = SIZES[size]
    order = {
        "do": "build",
        "channels": channels,
        "timestep_dim": timestep_dim,
        "num_inference_steps": 10,
    }
    built = {side.side: side.ask(order) for side in sides}
    steps = 1 if size == "256-512-1024" else 4
    turn = {"do": "train", "count": steps, "batch_size": BATCH_SIZE}
    times = {side.side: Times() for side in sides}
    for side in sides:
        side.ask(turn | {"count": 2})  # the first steps allocate
    for _ in range(rounds):
        for side in sides:
            times[side.side].add(side.ask(turn))
    others = [side.side for side in sides if side.side != "ours"]
    return {
        "sides": built,
        "samples_per_second": {
            side: round(BATCH_SIZE / found.median_wall_s, 2) for side, found in times.items()
        },
        "times_faster_than": ratios(
            times["ours"].median_wall_s, {side: times[side].median_wall_s for side in others}
        ),
        "times_less_cpu_than": ratios(
            times["ours"].median_cpu_s, {side: times[side].median_cpu_s for side in others}
        ),
        "step_wall_s": {side: _rounded(found.wall_s) for side, found in times.items()},
        "step_cpu_s": {side: _rounded(found.cpu_s) for side, found in times.items()},
    }


def _rounded(values: list[float]) -> list[float]:
    return [round(value, 4) for value in values]


def run(arguments: argparse.Namespace) -> None:
    """Measure, print, write."""
    with ExitStack() as stack:
        sides = [stack.enter_context(side) for side in start(arguments)]
        sizes = {size: measure(sides, size, arguments.rounds) for size in arguments.sizes}
    write(arguments, {"batch_size": BATCH_SIZE, "sizes": sizes})


if __name__ == "__main__":
    run(parse_arguments(__doc__, "training_step", rounds=9))
