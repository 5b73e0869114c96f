"""Image windows per second, against loaders in the published style and LeRobot's data set class.

    dpc data download pusht
    TORCH="torch==2.10.0 torchvision==0.25.0" benchmarks/peers/make_lerobot.sh DIRECTORY
    python benchmarks/bench_image_windows.py --peer-python DIRECTORY/bin/python

The 206 published demonstrations: 96 × 96 × 3 pictures, 2 observations, 16 actions, batch 64,
shuffled. Each way is a process of its own, they take turns, and each tells its largest resident
memory. Beside other work a peer with workers gets more of the machine than we do, so the CPU that
a sample takes is compared as well. LeRobot gets the first episodes only, recorded anew with its
own recorder; later releases of torchvision than the above have no video reader. Without the
demonstrations nothing is measured. Writes `benchmarks/results/image_windows.json`.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from contest import HERE, NOT_MEASURED, Contestant, write

from diffusion_controller.data import ReplayBuffer, convert_buffer

BATCH_SIZE = 64
CHECKED = list(range(0, 24208, 97))
OURS = "memory"


def prepare(published: Path, scratch: Path, lerobot_episodes: int) -> dict[str, str]:
    """The store, converted as `dpc data convert` does, and arrays of some episodes."""
    buffer = ReplayBuffer.open(published)
    converted = convert_buffer(published, scratch / "converted.zarr")
    selected = list(range(lerobot_episodes))
    np.savez(
        scratch / "episodes.npz",
        img=buffer.read("img", dtype=np.uint8, episodes=selected),
        state=buffer.read("state", episodes=selected),
        keypoint=buffer.read("keypoint", episodes=selected),
        action=buffer.read("action", episodes=selected),
        episode_ends=buffer.episode_ends[:lerobot_episodes],
    )
    return {
        "published": str(published),
        "converted": str(converted),
        "episodes": str(scratch / "episodes.npz"),
        "scratch": str(scratch),
    }


def check_equal(sides: list[Contestant]) -> None:
    """The ways that read the same windows give the same pictures, or the comparison is void."""
    order = {"do": "pixel_sums", "indices": CHECKED}
    found = {s.side: s.ask(order)["values"] for s in sides if s.side != "lerobot"}
    if any(sums != found[OURS] for sums in found.values()):
        raise SystemExit(f"the pictures of {', '.join(found)} differ")


def measure(sides: list[Contestant], arguments: argparse.Namespace) -> dict[str, Any]:
    """All ways in turns."""
    paths = arguments.paths
    built = {
        s.side: s.ask({"do": "build", "paths": paths, "batch_size": BATCH_SIZE}) for s in sides
    }
    check_equal(sides)
    rounds: dict[str, dict[str, list[float]]] = {side: {} for side in built}
    cpu: dict[str, dict[str, list[float]]] = {side: {} for side in built}
    waits: list[float] = []
    for _ in range(arguments.rounds):
        for side in sides:
            for variant in built[side.side]["variants"]:
                order = {"do": "load", "variant": variant, "seconds": arguments.seconds}
                answer = side.ask(order)
                rate = answer["samples"] / answer["wall_s"]
                rounds[side.side].setdefault(variant, []).append(round(rate, 1))
                spent = 1e3 * answer["cpu_s"] / answer["samples"]
                cpu[side.side].setdefault(variant, []).append(round(spent, 4))
        disk = next(side for side in sides if side.side == "disk")
        waits += disk.ask({"do": "waits", "count": arguments.waits})["values"]
    return {
        "sides": built,
        "samples_per_second": medians(rounds),
        "cpu_ms_per_sample_without_workers": medians(cpu),
        "rounds": rounds,
        "waiting_for_disk_ms": {
            "optimizer_step_ms": 300,
            "steps": len(waits),
            "median": round(1e3 * statistics.median(waits), 2),
            "p99": round(1e3 * float(np.quantile(waits, 0.99)), 2),
            "max": round(1e3 * max(waits), 2),
        },
        "peak_memory": {side.side: side.ask({"do": "memory"}) for side in sides},
    }


def medians(rounds: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, float]]:
    """Over the rounds, of each way."""
    return {
        side: {variant: statistics.median(values) for variant, values in variants.items()}
        for side, variants in rounds.items()
    }


def ratios(rates: dict[str, dict[str, float]]) -> dict[str, float | str]:
    """How many times more samples per second we gather than each peer in its best setting."""
    found = not_measured()
    for name, variant in peers_of(rates):
        ratio = ours_for(name, rates) / variant[1]
        before = found.get(name)
        found[name] = round(min(ratio, before) if isinstance(before, float) else ratio, 1)
    return found


def cpu_ratios(costs: dict[str, dict[str, float]]) -> dict[str, float | str]:
    """How many times less CPU a sample takes here than with each peer without workers."""
    found = not_measured()
    for name, (variant, cost) in peers_of(costs):
        if variant.endswith(" 0 workers"):  # the CPU of workers is not counted
            found[name] = round(cost / ours_for(name, costs), 1)
    return found


def not_measured() -> dict[str, float | str]:
    """LeRobot is named even if it was not measured."""
    names = ("LeRobot, png", "LeRobot, video", "LeRobot, low-dimensional")
    return dict.fromkeys(names, NOT_MEASURED)


def peers_of(figures: dict[str, dict[str, float]]) -> Iterator[tuple[str, tuple[str, float]]]:
    """Each figure of a peer, with the peer's name and the variant."""
    for side, title in {"published": "published", "lerobot": "LeRobot"}.items():
        for variant, figure in figures.get(side, {}).items():
            yield f"{title}, {variant.rsplit(', ', 1)[0]}", (variant, figure)


def ours_for(peer: str, figures: dict[str, dict[str, float]]) -> float:
    """Our figure for the same kind of windows."""
    return figures[OURS]["low-dimensional" if peer.endswith("low-dimensional") else "memory"]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("demos/pusht.zip"))
    parser.add_argument("--peer-python", help="interpreter with LeRobot; without it: not measured")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--waits", type=int, default=20, help="optimizer steps that may wait")
    parser.add_argument("--threads", type=int, default=1, help="of torch, in each process")
    parser.add_argument("--wait-policy", default="passive", help="OMP_WAIT_POLICY")
    parser.add_argument("--lerobot-episodes", type=int, default=10)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "image_windows.json")
    arguments = parser.parse_args()
    if not arguments.data.exists():
        print(f"not measured: no {arguments.data}; fetch it with: dpc data download pusht")
        return
    pythons = dict.fromkeys(("memory", "disk", "published"), sys.executable)
    if arguments.peer_python:
        pythons["lerobot"] = arguments.peer_python
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        arguments.paths = prepare(arguments.data, Path(scratch), arguments.lerobot_episodes)
        sides = [
            stack.enter_context(
                Contestant(
                    side,
                    python,
                    arguments.threads,
                    arguments.wait_policy,
                    script="window_loader.py",
                )
            )
            for side, python in pythons.items()
        ]
        result = measure(sides, arguments)
    summary = {
        "batch_size": BATCH_SIZE,
        "times_faster_than": ratios(result["samples_per_second"]),
        "times_less_cpu_than": cpu_ratios(result["cpu_ms_per_sample_without_workers"]),
    }
    write(arguments, {**summary, **result})


if __name__ == "__main__":
    main()
