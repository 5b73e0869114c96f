"""Training steps of the published networks per second, against LeRobot and plain PyTorch.

    benchmarks/peers/make_lerobot.sh DIRECTORY
    python benchmarks/bench_training_step.py --peer-python DIRECTORY/bin/python

State networks: twenty numbers in two observations, sixteen actions of two, batch 256. The image
network: two numbers and a picture of 96 × 96 in two observations, crops of 84 × 84, ResNet-18 with
group normalization and spatial softmax, batch 64. fp32 on the CPU. A step is forward, backward,
gradient clipping and optimizer (ours: fused AdamW; plain: AdamW; LeRobot: Adam, its preset), and
the moving average of the weights (ours and plain; LeRobot keeps none). The sides take turns, step
by step; those of the image network, gigabytes each, come and go one at a time. Writes
`benchmarks/results/training_step.json`.
"""

import argparse
from contextlib import ExitStack
from typing import Any

from contest import SIZES, Contestant, Size, Times, find_sides, make_parser, ratios, write

WARM_UP_STEPS = 2  # the first steps allocate


def train_side_by_side(
    arguments: argparse.Namespace, size: Size
) -> tuple[dict[str, Times], dict[str, Any]]:
    """Times and description of each side, all of them in memory."""
    with ExitStack() as stack:
        sides = {
            side: stack.enter_context(_start(side, python, arguments))
            for side, python in find_sides(arguments).items()
        }
        built = {side: contestant.ask(size.order(10)) for side, contestant in sides.items()}
        times = {side: Times() for side in sides}
        steps = 1 if size.channels[-1] >= 1024 else 4
        for contestant in sides.values():
            contestant.ask(_train(size, WARM_UP_STEPS))
        for _ in range(arguments.rounds):
            for side, contestant in sides.items():
                times[side].add(contestant.ask(_train(size, steps)))
    return times, built


def train_one_at_a_time(
    arguments: argparse.Namespace, size: Size
) -> tuple[dict[str, Times], dict[str, Any]]:
    """The same, where memory is short: in every round each side starts anew."""
    sides = find_sides(arguments)
    times, built = {side: Times() for side in sides}, {}
    for _ in range(arguments.large_rounds):
        for side, python in sides.items():
            with _start(side, python, arguments) as contestant:
                built[side] = contestant.ask(size.order(10))
                contestant.ask(_train(size, 1))
                times[side].add(contestant.ask(_train(size, 2)))
    return times, built


def measure(arguments: argparse.Namespace, size: Size) -> dict[str, Any]:
    """All sides at one size, in turns."""
    train = train_one_at_a_time if size.is_large else train_side_by_side
    times, built = train(arguments, size)
    others = [side for side in times if side != "ours"]
    return {
        "batch_size": size.batch_size,
        "sides": built,
        "samples_per_second": {
            side: round(size.batch_size / found.median_wall_s, 2) for side, found in times.items()
        },
        "times_faster_than": ratios(
            times["ours"].median_wall_s, {side: times[side].median_wall_s for side in others}
        ),
        "times_less_cpu_than": ratios(
            times["ours"].median_cpu_s, {side: times[side].median_cpu_s for side in others}
        ),
        "peak_memory_gib": {side: found.peak_memory_gib for side, found in times.items()},
        "step_wall_s": {side: _rounded(found.wall_s) for side, found in times.items()},
        "step_cpu_s": {side: _rounded(found.cpu_s) for side, found in times.items()},
    }


def _start(side: str, python: str, arguments: argparse.Namespace) -> Contestant:
    return Contestant(side, python, arguments.threads, arguments.wait_policy)


def _train(size: Size, count: int) -> dict[str, Any]:
    return {"do": "train", "count": count, "batch_size": size.batch_size}


def _rounded(values: list[float]) -> list[float]:
    return [round(value, 4) for value in values]


def run(arguments: argparse.Namespace) -> None:
    """Measure, print, write."""
    write(arguments, {"sizes": {name: measure(arguments, SIZES[name]) for name in arguments.sizes}})


if __name__ == "__main__":
    run(make_parser(__doc__, "training_step", rounds=9, large_rounds=2).parse_args())
