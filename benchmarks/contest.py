"""Several implementations of the same work, timed in turns, each in a process of its own."""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from machine import describe_machine

HERE = Path(__file__).parent
NOT_MEASURED = "not measured"


@dataclass(frozen=True, kw_only=True)
class Size:
    """A policy that is compared.

    Attributes:
        channels: Of the U-Net's levels.
        timestep_dim: Of the timestep's embedding.
        sees: `state` or `image`; an image needs a ResNet-18 in front.
        batch_size: Samples in a training step.
    """

    channels: tuple[int, ...]
    timestep_dim: int
    sees: str = "state"
    batch_size: int = 256

    @property
    def is_large(self) -> bool:
        """Whether a step or a chunk takes seconds, and the weights gigabytes."""
        return self.channels[-1] >= 2048

    def order(self, num_inference_steps: int) -> dict[str, Any]:
        """For a contestant to build it."""
        return {
            "do": "build",
            "sees": self.sees,
            "channels": self.channels,
            "timestep_dim": self.timestep_dim,
            "num_inference_steps": num_inference_steps,
        }


SIZES = {
    "32-64-128": Size(channels=(32, 64, 128), timestep_dim=128),
    "64-128-256": Size(channels=(64, 128, 256), timestep_dim=128),
    "256-512-1024": Size(channels=(256, 512, 1024), timestep_dim=256),
    "image-512-1024-2048": Size(
        channels=(512, 1024, 2048), timestep_dim=128, sees="image", batch_size=64
    ),
}
"""By name; the last two are the published ones, for states and for images."""


class ContestantError(RuntimeError):
    """A side ended, or answered with an error."""


class Contestant:
    """A side of the comparison: a script of `benchmarks/peers` in an interpreter."""

    def __init__(
        self,
        side: str,
        python: str,
        threads: int,
        wait_policy: str,
        *,
        script: str = "contestant.py",
    ) -> None:
        """Starts it; all sides get the same threads and the same way of waiting for them."""
        self.side = side
        environment = os.environ | {
            "OMP_NUM_THREADS": str(threads),
            "MKL_NUM_THREADS": str(threads),
        }
        if wait_policy != "default":
            environment["OMP_WAIT_POLICY"] = wait_policy
        self._process = subprocess.Popen(
            [python, str(HERE / "peers" / script), side],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Gives an order and waits for its answer."""
        if self._process.stdin is None or self._process.stdout is None:
            raise ContestantError(f"{self.side} has no pipes")
        print(json.dumps(order), file=self._process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self._process.stdout.readline() or "{}")
        if not answer or "error" in answer:
            raise ContestantError(
                f"{self.side} ended or failed ({answer.get('error', 'see above')}); LeRobot's "
                "environment is made by benchmarks/peers/make_lerobot.sh"
            )
        return answer

    def __enter__(self) -> Self:
        """Runs already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends the process."""
        self._process.communicate()


@dataclass
class Times:
    """What one side took.

    Attributes:
        wall_s: On the wall, per step or call [s].
        cpu_s: Of the CPU, over all threads [s].
        peak_memory_gib: Most memory that its process ever held.
    """

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    peak_memory_gib: float = 0.0

    def add(self, answer: Mapping[str, Any]) -> None:
        """Takes in an answer of a contestant."""
        self.wall_s += answer["wall_s"]
        self.cpu_s += answer["cpu_s"]
        self.peak_memory_gib = max(self.peak_memory_gib, answer["peak_memory_gib"])

    @property
    def median_wall_s(self) -> float:
        """On the wall."""
        return statistics.median(self.wall_s)

    @property
    def median_cpu_s(self) -> float:
        """Of the CPU."""
        return statistics.median(self.cpu_s)


def make_parser(
    document: str | None, name: str, *, rounds: int, large_rounds: int
) -> argparse.ArgumentParser:
    """The options that both benchmarks take."""
    parser = argparse.ArgumentParser(description=(document or "").splitlines()[0])
    parser.add_argument("--peer-python", help="interpreter with LeRobot; without it: not measured")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--large-rounds", type=int, default=large_rounds, help="of the largest")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--wait-policy",
        choices=("default", "passive", "active"),
        default="passive",
        help="OMP_WAIT_POLICY of every side; passive keeps other work on the machine "
        "from multiplying the times",
    )
    parser.add_argument("--out", type=Path, default=HERE / "results" / f"{name}.json")
    return parser


def find_sides(arguments: argparse.Namespace) -> dict[str, str]:
    """The sides that can be measured here and the interpreter of each, ours first."""
    pythons = {"ours": sys.executable, "plain": sys.executable}
    if arguments.peer_python:
        pythons["lerobot"] = arguments.peer_python
    return pythons


def ratios(ours: float, others: Mapping[str, float]) -> dict[str, float | str]:
    """How many times longer the other sides took; LeRobot is named even if it was not measured."""
    found: dict[str, float | str] = {"lerobot": NOT_MEASURED}
    return found | {side: round(value / ours, 2) for side, value in others.items()}


def write(arguments: argparse.Namespace, result: Mapping[str, Any]) -> None:
    """Writes and prints the result with the machine and the command that made it."""
    peer = getattr(arguments, "peer_python", None)
    words = ["DIRECTORY/bin/python" if word == peer else word for word in sys.argv[1:]]
    whole = {
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *words]),
        "machine": describe_machine(),
        "threads": arguments.threads,
        "omp_wait_policy": arguments.wait_policy,
        **result,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(whole, indent=2))
