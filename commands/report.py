"""What `dpc demo` found, as values and as JSON."""

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from diffusion_controller.runtime import (
    EvaluationResult,
    Latencies,
    LatencyStatistics,
    Requirement,
    worse_of,
)
from diffusion_controller.runtime.evaluation_result import package_versions


@dataclass(frozen=True)
class Training:
    """How the policy was learned.

    Attributes:
        data: Name of the demonstrations.
        episodes: Demonstrations trained on.
        windows: Windows made of them, mirror images included.
        is_mirrored: Whether mirror images were added.
        steps: Optimizer steps.
        batch_size: Windows per optimizer step.
        parameters: Of the policy.
        duration: In [s].
        lines: Of the metrics, one per log interval.
    """

    data: str
    episodes: int
    windows: int
    is_mirrored: bool
    steps: int
    batch_size: int
    parameters: int
    duration: float
    lines: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Contestant:
    """A policy that was rolled out.

    Attributes:
        name: What the report calls it.
        checkpoint: Where it lies.
        data: Name of the demonstrations that it was trained on.
        parameters: Of the policy.
        result: Of its rollouts.
        alone: Latencies of its chunks with the machine left alone.
        busy: Latencies of its chunks with the other cores busy.
        video: File of its filmed rollouts.
    """

    name: str
    checkpoint: str
    data: str
    parameters: int
    result: EvaluationResult
    alone: Latencies
    busy: Latencies
    video: Path

    @property
    def latency(self) -> LatencyStatistics:
        """Summary of `alone`."""
        return LatencyStatistics.of(self.alone.durations, batch_size=1)

    @property
    def requirement(self) -> Requirement:
        """The environment's rate, with the margin that `dpc timing` asks for."""
        rate = float(self.result.environment["metadata"]["render_fps"])
        return Requirement(rate, int(self.result.policy["action_horizon"]))

    @property
    def verdict(self) -> str:
        """Whether it plans in time for the control rate, as one sentence."""
        worse = worse_of(self.alone, self.busy)
        return self.requirement.explain(worse.judged, by=worse.judged_by)


@dataclass(frozen=True)
class Report:
    """Everything that the demo found.

    Attributes:
        training: How the first contestant was learned.
        contestants: The policy trained just now, and the shipped one if there is one.
    """

    training: Training
    contestants: tuple[Contestant, ...]

    def to_json(self) -> dict[str, Any]:
        """All numbers, as JSON can hold them."""
        return {
            "training": asdict(self.training),
            "policies": [
                {
                    "name": contestant.name,
                    "checkpoint": contestant.checkpoint,
                    "data": contestant.data,
                    "parameters": contestant.parameters,
                    "chunk_latency": asdict(contestant.latency),
                    "chunk_durations": list(contestant.alone.durations),
                    "chunk_durations_busy": list(contestant.busy.durations),
                    "verdict": contestant.verdict,
                    "evaluation": contestant.result.to_json(),
                }
                for contestant in self.contestants
            ],
            "machine": describe_machine(),
            "versions": package_versions(),
        }

    def summary(self) -> list[str]:
        """Lines that the command prints."""
        width = max(len(contestant.name) for contestant in self.contestants)
        lines = []
        for contestant in self.contestants:
            result = contestant.result
            score, success = result.mean_score_interval, result.success_rate_interval
            lines.append(
                f"{contestant.name:<{width}}  score {result.mean_score:.3f} "
                f"({score.low:.3f} to {score.high:.3f})  success {100 * result.success_rate:.0f} % "
                f"({100 * success.low:.0f} to {100 * success.high:.0f} %)  chunk p99 "
                f"{1e3 * contestant.latency.p99:.0f} ms"
            )
        return lines


def describe_machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "torch_threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
        "system": f"{platform.system()} {platform.machine()}",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
