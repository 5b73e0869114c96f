"""One side of a comparison, in a process of its own: reads orders as JSON lines, answers likewise.

    python benchmarks/peers/contestant.py ours|plain|lerobot

Orders: {"do": "build", …} with the fields of `Specification`,
{"do": "train", "count": n, "batch_size": n}, {"do": "predict", "count": n}. The times of each
training step or chunk come back, on the wall and of the CPU over all threads, in [s].
"""

import importlib
import importlib.metadata
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

sys.path.insert(0, str(Path(__file__).parent.parent))

import torch
from peers.specification import Specification, make_action, make_observation
from torch import Tensor

SIDES = {
    "ours": ("our_policy", "OurPolicy"),
    "plain": ("plain_policy", "PlainPolicy"),
    "lerobot": ("lerobot_policy", "LeRobotPolicy"),
}
PACKAGES = ("torch", "diffusers", "lerobot", "torchvision", "diffusion-controller", "openvino")


class Policy(Protocol):
    """What is timed."""

    @property
    def num_parameters(self) -> int:
        """Of encoder and network."""

    def hand_over(self, observation: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Observations as this side's loader hands them to its policy; not timed."""

    def training_step(self, observation: Mapping[str, Tensor], action: Tensor) -> float:
        """One optimizer step with all that belongs to it; gives the loss."""

    def predict_chunk(self, observation: Mapping[str, Tensor]) -> Tensor:
        """From a history of observations to (batch, action_horizon, action_dim)."""


def build(side: str, specification: Specification) -> Policy:
    """The policy of one side; only its own packages are imported."""
    torch.manual_seed(0)
    module, name = SIDES[side]
    policy: Policy = getattr(importlib.import_module(f"peers.{module}"), name)(specification)
    return policy


def describe() -> dict[str, Any]:
    """Versions and threads of this side."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "packages": versions,
        "threads": torch.get_num_threads(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", "default"),
    }


def timed(call: Callable[[], object], count: int) -> dict[str, Any]:
    """Wall and CPU time of each call [s], and the most memory that this process ever held."""
    wall, cpu = [], []
    for _ in range(count):
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        call()
        wall.append(time.perf_counter() - wall_start)
        cpu.append(time.process_time() - cpu_start)
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"wall_s": wall, "cpu_s": cpu, "peak_memory_gib": round(peak_gib, 2)}


class Side:
    """Carries orders out."""

    def __init__(self, name: str) -> None:
        """Nothing is built yet."""
        self._name = name
        self._policy: Policy | None = None
        self._sees = ""

    def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """The answer to one order."""
        task = order.pop("do")
        if task == "build":
            self._policy = None  # frees the one before
            order["channels"] = tuple(order["channels"])
            self._policy = build(self._name, Specification(**order))
            self._sees = order["sees"]
            return {**describe(), "num_parameters": self._policy.num_parameters}
        if self._policy is None:
            return {"error": "nothing is built yet"}
        policy, count = self._policy, order["count"]
        if task == "train":
            batch = order["batch_size"]
            observation = policy.hand_over(make_observation(self._sees, batch))
            action = make_action(batch)
            return timed(lambda: policy.training_step(observation, action), count)
        observation = policy.hand_over(make_observation(self._sees, 1))
        return timed(lambda: policy.predict_chunk(observation), count)


def main() -> None:
    """Serve until the input ends."""
    side = Side(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what packages print must not mix with the answers
    for line in sys.stdin:
        print(json.dumps(side.obey(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
