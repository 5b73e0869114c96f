"""Latency of one action chunk, batch 1, DDIM with 10 steps, against LeRobot and plain PyTorch.

    benchmarks/peers/make_lerobot.sh DIRECTORY
    python benchmarks/bench_inference.py --peer-python DIRECTORY/bin/python --engines eager openvino

State policies of three sizes and the published image policy, on the CPU, from an observation to a
chunk. The peers compute in fp32 and eagerly, this project with every engine asked for, written
`engine` or `engine:precision`. The sides take turns, ten chunks at a time. The latency must stay
under a tenth of the time that the eight actions of a chunk last at 10 Hz. Writes
`benchmarks/results/inference.json`.
"""

import argparse
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from contest import SIZES, Contestant, Size, Times, find_sides, make_parser, ratios, write

NUM_INFERENCE_STEPS = 10
LIMIT_MS = 80.0
CHUNKS_PER_TURN = 10


@dataclass(frozen=True)
class Entry:
    """A side, and what it computes chunks with."""

    side: str
    python: str
    engine: str = "eager"
    precision: str = "fp32"

    @property
    def name(self) -> str:
        """Ours by the engine, the others by themselves."""
        if self.side != "ours":
            return self.side
        return self.engine if self.precision == "fp32" else f"{self.engine}:{self.precision}"


def find_entries(arguments: argparse.Namespace) -> list[Entry]:
    """Ours with each engine, then the others."""
    pythons = find_sides(arguments)
    ours = [engine.partition(":") for engine in arguments.engines]
    return [
        *(Entry("ours", pythons["ours"], name, precision or "fp32") for name, _, precision in ours),
        *(Entry(side, python) for side, python in pythons.items() if side != "ours"),
    ]


def measure(arguments: argparse.Namespace, size: Size) -> dict[str, Any]:
    """All sides at one size, in turns."""
    entries = find_entries(arguments)
    times = {entry.name: Times() for entry in entries}
    with ExitStack() as stack:
        contestants = {
            entry.name: stack.enter_context(
                Contestant(entry.side, entry.python, arguments.threads, arguments.wait_policy)
            )
            for entry in entries
        }
        built = {}
        for entry in entries:
            engine = {"engine": entry.engine, "precision": entry.precision}
            order = size.order(NUM_INFERENCE_STEPS) | engine
            built[entry.name] = contestants[entry.name].ask(order)
        chunks, rounds = _turns(arguments, size)
        turn = {"do": "predict", "count": chunks}
        for contestant in contestants.values():
            contestant.ask(turn)  # warm-up
        for _ in range(rounds):
            for name, contestant in contestants.items():
                times[name].add(contestant.ask(turn))
    return {"sides": built, **_summary(times, [entry.name for entry in entries])}


def _turns(arguments: argparse.Namespace, size: Size) -> tuple[int, int]:
    """Chunks in a turn, and how often each side has its turn."""
    if size.is_large:
        return 2, arguments.large_rounds
    if size.channels[-1] >= 1024:
        return 3, max(arguments.rounds // 2, 10)
    return CHUNKS_PER_TURN, arguments.rounds


def _summary(times: dict[str, Times], names: list[str]) -> dict[str, Any]:
    latency = {name: _distribution(found.wall_s) for name, found in times.items()}
    ours = [name for name in names if name not in ("plain", "lerobot")]
    others = {name: times[name].median_wall_s for name in names if name not in ours}
    best = min(ours, key=lambda name: times[name].median_wall_s)
    return {
        "latency_ms": latency,
        "best_engine": best,
        "is_best_under_limit": latency[best]["p99"] < LIMIT_MS,
        "times_faster_than": {name: ratios(times[name].median_wall_s, others) for name in ours},
        "median_cpu_ms": {name: round(1e3 * t.median_cpu_s, 2) for name, t in times.items()},
        "peak_memory_gib": {name: found.peak_memory_gib for name, found in times.items()},
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
    sizes = {name: measure(arguments, SIZES[name]) for name in arguments.sizes}
    about = {
        "sampler": "ddim",
        "num_inference_steps": NUM_INFERENCE_STEPS,
        "limit_p99_ms": LIMIT_MS,
    }
    write(arguments, {**about, "sizes": sizes})


if __name__ == "__main__":
    parser = make_parser(__doc__, "inference", rounds=25, large_rounds=5)
    parser.add_argument("--engines", nargs="+", default=["eager"], help="of this project")
    run(parser.parse_args())
