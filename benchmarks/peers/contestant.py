"""One side of a comparison, in a process of its own: reads orders as JSON lines, answers likewise.

    python benchmarks/peers/contestant.py ours|plain|lerobot

Orders: {"do": "build", "channels": […], "timestep_dim": n, "num_inference_steps": n},
{"do": "train", "count": n, "batch_size": n}, {"do": "predict", "count": n}. The times of each
training step or chunk come back, on the wall and of the CPU over all threads, in [s].
"""

import importlib
import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

HORIZON, OBS_HORIZON, OBSERVATION_DIM, ACTION_DIM = 16, 2, 20, 2
SIDES = {
    "ours": ("our_policy", "OurPolicy"),
    "plain": ("plain_unet", "PlainPolicy"),
    "lerobot": ("lerobot_policy", "LeRobotPolicy"),
}
PACKAGES = ("torch", "diffusers", "lerobot", "diffusion-controller")


class Policy(Protocol):
    """What is timed."""

    @property
    def num_parameters(self) -> int:
        """Of the network."""

    def training_step(self, observation: Tensor, action: Tensor) -> float:
        """One optimizer step with all that belongs to it; gives the loss."""

    def predict_chunk(self, observation: Tensor) -> Tensor:
        """Shape (batch, obs_horizon, observation_dim) to (batch, action_horizon, action_dim)."""


def build(side: str, channels: Sequence[int], timestep_dim: int, steps: int) -> Policy:
    """The policy of one side; only its own packages are imported."""
    torch.manual_seed(0)
    module, name = SIDES[side]
    policy: Policy = getattr(importlib.import_module(module), name)(channels, timestep_dim, steps)
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


def timed(call: Callable[[], object], count: int) -> dict[str, list[float]]:
    """Wall and CPU time of each call [s]."""
    wall, cpu = [], []
    for _ in range(count):
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        call()
        wall.append(time.perf_counter() - wall_start)
        cpu.append(time.process_time() - cpu_start)
    return {"wall_s": wall, "cpu_s": cpu}


def main() -> None:
    """Serve until the input ends."""
    side = sys.argv[1]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what packages print must not mix with the answers
    policy: Policy | None = None
    for line in sys.stdin:
        order = json.loads(line)
        answer: dict[str, Any]
        if order["do"] == "build":
            policy = None  # frees the one before
            policy = build(
                side, order["channels"], order["timestep_dim"], order["num_inference_steps"]
            )
            answer = {**describe(), "num_parameters": policy.num_parameters}
        elif policy is None:
            answer = {"error": "nothing is built yet"}
        elif order["do"] == "train":
            answer = _train(policy, order["count"], order["batch_size"])
        else:
            observation = torch.rand(1, OBS_HORIZON, OBSERVATION_DIM) * 2 - 1
            answer = timed(_bind_predict(policy, observation), order["count"])
        print(json.dumps(answer), file=answers, flush=True)


def _train(policy: Policy, count: int, batch_size: int) -> dict[str, list[float]]:
    observation = torch.rand(batch_size, OBS_HORIZON, OBSERVATION_DIM) * 2 - 1
    action = torch.rand(batch_size, HORIZON, ACTION_DIM) * 2 - 1
    return timed(lambda: policy.training_step(observation, action), count)


def _bind_predict(policy: Policy, observation: Tensor) -> Callable[[], object]:
    return lambda: policy.predict_chunk(observation)


if __name__ == "__main__":
    main()
