"""What an evaluation found, as numbers and as JSON."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from diffusion_controller import __version__
from diffusion_controller.runtime.episode_slots import EpisodeResult, EpisodeTrace
from diffusion_controller.runtime.statistics import Interval, bootstrap_interval, wilson_interval

FORMAT = 1
_PACKAGES = ("torch", "numpy", "gymnasium", "pymunk", "shapely", "diffusers")


@dataclass(frozen=True)
class LatencyStatistics:
    """How long calls of `predict_chunk` took, in [s].

    Attributes:
        calls: How many there were.
        batch_size: Chunks per call.
        mean: Mean duration.
        p50: Median.
        p99: 99th percentile.
        max: Longest.
    """

    calls: int
    batch_size: int
    mean: float
    p50: float
    p99: float
    max: float

    @classmethod
    def of(cls, durations: Sequence[float], *, batch_size: int) -> "LatencyStatistics":
        """Summarize durations in [s]; at least one."""
        values = np.asarray(durations)
        p50, p99 = np.quantile(values, [0.5, 0.99])
        return cls(
            calls=values.size,
            batch_size=batch_size,
            mean=float(values.mean()),
            p50=float(p50),
            p99=float(p99),
            max=float(values.max()),
        )


@dataclass(frozen=True)
class EvaluationResult:
    """Closed-loop rollouts from many starts.

    Attributes:
        episodes: One result per start, in the order of the seeds asked for.
        environment: The environment's name, arguments and constants.
        policy: Horizons of the policy, and its sampler where it has one.
        sampling_seed: Decides the noise of every chunk together with the start's seed.
        training_episodes: Demonstrations that the policy was trained on; None if unknown.
        batch_latency: Calls of the policy on whole batches during the rollouts.
        duration: Of the whole evaluation, in [s].
        chunk_latency: Time for one chunk of one robot, where it was measured.
        traces: What happened in the episodes that were to be traced, in the order of the seeds;
            not part of the JSON.
    """

    episodes: tuple[EpisodeResult, ...]
    environment: Mapping[str, Any]
    policy: Mapping[str, Any]
    sampling_seed: int
    training_episodes: int | None
    batch_latency: LatencyStatistics
    duration: float
    chunk_latency: LatencyStatistics | None = None
    traces: tuple[EpisodeTrace, ...] = ()

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the starts."""
        return tuple(episode.seed for episode in self.episodes)

    @property
    def scores(self) -> tuple[float, ...]:
        """Largest reward of each episode."""
        return tuple(episode.max_reward for episode in self.episodes)

    @property
    def mean_score(self) -> float:
        """Mean of the scores."""
        return float(np.mean(self.scores))

    @cached_property
    def mean_score_interval(self) -> Interval:
        """95 % bootstrap interval of the mean score over starts."""
        return bootstrap_interval(self.scores)

    @property
    def success_rate(self) -> float:
        """Share of the starts with a score of 1."""
        return float(np.mean([episode.is_success for episode in self.episodes]))

    @cached_property
    def success_rate_interval(self) -> Interval:
        """95 % Wilson interval of the success rate."""
        successes = sum(episode.is_success for episode in self.episodes)
        return wilson_interval(successes, len(self.episodes))

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return {
            "format": FORMAT,
            "mean_score": self.mean_score,
            "mean_score_interval": list(self.mean_score_interval),
            "success_rate": self.success_rate,
            "success_rate_interval": list(self.success_rate_interval),
            "num_episodes": len(self.episodes),
            "training_episodes": self.training_episodes,
            "environment": dict(self.environment),
            "policy": dict(self.policy),
            "sampling_seed": self.sampling_seed,
            "batch_latency": asdict(self.batch_latency),
            "chunk_latency": asdict(self.chunk_latency) if self.chunk_latency else None,
            "duration": self.duration,
            "versions": package_versions(),
            "seeds": list(self.seeds),
            "episodes": [asdict(episode) for episode in self.episodes],
        }

    def save(self, path: str | Path) -> Path:
        """Write the JSON; the folder is made if need be.

        Returns:
            The file.
        """
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(self.to_json(), indent=2) + "\n", encoding="utf-8")
        return file


def package_versions() -> dict[str, str]:
    """Versions of this package, of Python and of what the numbers depend on."""
    versions = {"diffusion-controller": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
