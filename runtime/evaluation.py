"""Closed-loop evaluation: many starts side by side, one batched policy.

The result of a start depends on the policy, the start's seed, `sampling_seed` and `batch_size`
(and on the machine and its number of threads), but neither on the other starts nor on the number
of workers:

- Every chunk's noise comes from a seed made of (sampling_seed, seed of the start, how many chunks
  came before).
- Every call of the policy has `batch_size` rows; rows without an episode are filled up. A matrix
  product may round differently for another shape, and Push-T amplifies the last bit.
- A start with seed s always occupies row s mod batch_size, since a kernel may also treat the
  rows at the edge of a matrix differently.

Results of different batch sizes agree statistically, not start by start.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffusion_controller.envs import PUSHT_ENV_ID
from diffusion_controller.runtime.chunk_policy import ChunkPolicy, checked_chunks, chunk_seed
from diffusion_controller.runtime.environment import check_environment, environment_arguments
from diffusion_controller.runtime.episode_slots import (
    EnvironmentSpec,
    EpisodeResult,
    EpisodeSlots,
    EpisodeTrace,
    Request,
)
from diffusion_controller.runtime.errors import EvaluationError, TrainingSeedError
from diffusion_controller.runtime.evaluation_result import EvaluationResult, LatencyStatistics
from diffusion_controller.runtime.workers import Slots, WorkerPool

HELD_OUT_SEED = 100_000
"""First of the held-out starts; the published demonstrations began from seeds 0 to 205."""

DEFAULT_BATCH_SIZE = 25

Progress = Callable[[int, int], None]
"""Is told (episodes finished, episodes asked for) whenever an episode ended."""


def evaluate_policy(
    policy: ChunkPolicy,
    *,
    seeds: Sequence[int],
    env_id: str = PUSHT_ENV_ID,
    env_arguments: Mapping[str, Any] | None = None,
    reset_options: Mapping[str, Any] | None = None,
    max_steps: int | None = None,
    num_workers: int = 0,
    batch_size: int = DEFAULT_BATCH_SIZE,
    sampling_seed: int = 0,
    training_seeds: Collection[int] = (),
    allow_training_seeds: bool = False,
    training_episodes: int | None = None,
    traced_seeds: Collection[int] = (),
    on_progress: Progress | None = None,
) -> EvaluationResult:
    """Roll a policy out from each seed and score it.

    Args:
        policy: What is evaluated.
        seeds: Seeds of the starts; distinct.
        env_id: Gymnasium's name of the environment.
        env_arguments: How to make it; None chooses what the policy reads.
        reset_options: Options of every reset.
        max_steps: Actions per episode; None for the registered number.
        num_workers: Processes that step environments; 0 steps them in this one.
        batch_size: Episodes side by side, and rows of every call of the policy.
        sampling_seed: Another one draws other noise. At least 0.
        training_seeds: Seeds that the policy's demonstrations began from.
        allow_training_seeds: Whether `seeds` may hold some of them.
        training_episodes: How many demonstrations the policy was trained on, for the record.
        traced_seeds: Those of `seeds` whose episodes are kept in `EvaluationResult.traces`.
        on_progress: Is told how many episodes are finished.

    Raises:
        TrainingSeedError: If a seed is one that a demonstration began from.
        EvaluationError: If seeds or environment do not fit.
        ChunkError: If the policy answers with something that is no action chunk.
        WorkerError: If a worker process fails.
    """
    began = time.monotonic()
    check_seeds(seeds, training_seeds=training_seeds, allow_training_seeds=allow_training_seeds)
    if batch_size < 1 or num_workers < 0 or sampling_seed < 0:
        raise EvaluationError(
            f"batch_size {batch_size}, num_workers {num_workers}, sampling_seed {sampling_seed}; "
            "expected at least 1, 0 and 0"
        )
    names = tuple(policy.observation_shapes)
    arguments = environment_arguments(env_id, names) if env_arguments is None else env_arguments
    spec = EnvironmentSpec(
        env_id, arguments, reset_options or {}, max_steps, frozenset(traced_seeds)
    )
    environment = check_environment(spec, policy)
    queues = _queues(seeds, batch_size)
    with _open_slots(spec, queues, policy, names, num_workers) as slots:
        played = _play(policy, slots, len(seeds), batch_size, sampling_seed, on_progress)
    by_seed = {episode.seed: episode for episode in played.episodes}
    traces = {trace.seed: trace for trace in played.traces}
    return EvaluationResult(
        episodes=tuple(by_seed[seed] for seed in seeds),
        environment=environment,
        policy=_describe(policy),
        sampling_seed=sampling_seed,
        training_episodes=training_episodes,
        batch_latency=LatencyStatistics.of(played.durations, batch_size=batch_size),
        duration=time.monotonic() - began,
        traces=tuple(traces[seed] for seed in seeds if seed in traces),
    )


def check_seeds(
    seeds: Sequence[int], *, training_seeds: Collection[int], allow_training_seeds: bool = False
) -> None:
    """Refuse starts that would not say how well a policy does.

    Raises:
        EvaluationError: If there are none, one is negative or one occurs twice.
        TrainingSeedError: If one is among `training_seeds` and that is not allowed.
    """
    if not seeds:
        raise EvaluationError("no seeds to evaluate on; expected at least one start")
    if min(seeds) < 0 or len(set(seeds)) != len(seeds):
        raise EvaluationError(
            f"the {len(seeds)} seeds, of which {len(set(seeds))} are distinct, begin at "
            f"{min(seeds)}; expected distinct ones from 0 on"
        )
    known = sorted(set(seeds) & set(training_seeds))
    if known and not allow_training_seeds:
        raise TrainingSeedError(
            f"{len(known)} of {len(seeds)} starts, such as seed {known[0]}, are starts of the "
            f"demonstrations; expected held-out starts, {HELD_OUT_SEED} upwards. Choose others, or "
            "set allow_training_seeds and say so beside the score"
        )


def _queues(seeds: Sequence[int], batch_size: int) -> dict[int, list[int]]:
    """Row of the batch to the seeds that are played in it."""
    queues: dict[int, list[int]] = {}
    for seed in seeds:
        queues.setdefault(seed % batch_size, []).append(seed)
    return queues


def _open_slots(
    spec: EnvironmentSpec,
    queues: Mapping[int, Sequence[int]],
    policy: ChunkPolicy,
    names: Sequence[str],
    num_workers: int,
) -> AbstractContextManager[Slots]:
    if num_workers == 0:
        return nullcontext(
            EpisodeSlots(spec, queues, obs_horizon=policy.obs_horizon, observation_names=names)
        )
    return WorkerPool(
        spec,
        queues,
        num_workers=num_workers,
        obs_horizon=policy.obs_horizon,
        observation_names=names,
    )


@dataclass
class _Played:
    """What came of the rounds; `durations` of the policy's calls in [s]."""

    episodes: list[EpisodeResult] = field(default_factory=list)
    traces: list[EpisodeTrace] = field(default_factory=list)
    durations: list[float] = field(default_factory=list)


def _play(
    policy: ChunkPolicy,
    slots: Slots,
    num_episodes: int,
    batch_size: int,
    sampling_seed: int,
    on_progress: Progress | None,
) -> _Played:
    """Round after round, until every seed is played."""
    played = _Played()
    report = slots.begin()
    while report.requests:
        began = time.monotonic()
        chunks = _plan(policy, report.requests, batch_size, sampling_seed)
        played.durations.append(time.monotonic() - began)
        report = slots.advance(chunks)
        played.episodes.extend(report.finished)
        played.traces.extend(report.traces)
        if report.finished and on_progress is not None:
            on_progress(len(played.episodes), num_episodes)
    return played


def _plan(
    policy: ChunkPolicy, requests: Mapping[int, Request], batch_size: int, sampling_seed: int
) -> dict[int, NDArray[np.float64]]:
    """One chunk for each request, from one call with `batch_size` rows."""
    filler = next(iter(requests.values()))
    rows = [requests.get(row, filler) for row in range(batch_size)]
    observation = {
        name: np.stack([request.observation[name] for request in rows])
        for name in filler.observation
    }
    seeds = [chunk_seed(sampling_seed, row.seed, row.replan_index) for row in rows]
    answer = policy.predict_chunk(observation, seeds=seeds)
    chunks = checked_chunks(answer, batch=batch_size, policy=policy)
    return {row: chunks[row] for row in requests}


def _describe(policy: ChunkPolicy) -> dict[str, Any]:
    described: dict[str, Any] = {
        "obs_horizon": policy.obs_horizon,
        "horizon": policy.horizon,
        "action_horizon": policy.action_horizon,
        "observations": {name: list(shape) for name, shape in policy.observation_shapes.items()},
    }
    for name in ("sampler", "num_inference_steps"):
        if hasattr(policy, name):
            described[name] = getattr(policy, name)
    engine = getattr(policy, "engine", None)
    if engine is not None:
        described |= {"engine": engine.name, "precision": engine.precision}
    return described
