"""Time: what runs a policy in closed loop, on a robot or in simulation."""

from diffusion_controller.runtime.chunk_policy import ChunkPolicy, checked_chunks, chunk_seed
from diffusion_controller.runtime.episode_slots import EpisodeResult
from diffusion_controller.runtime.errors import (
    ChunkError,
    EvaluationError,
    TrainingSeedError,
    WorkerError,
)
from diffusion_controller.runtime.evaluation import (
    DEFAULT_BATCH_SIZE,
    HELD_OUT_SEED,
    check_seeds,
    evaluate_policy,
)
from diffusion_controller.runtime.evaluation_result import EvaluationResult, LatencyStatistics
from diffusion_controller.runtime.observation_history import ObservationHistory
from diffusion_controller.runtime.statistics import Interval, bootstrap_interval, wilson_interval

__all__ = [
    "DEFAULT_BATCH_SIZE",
    "HELD_OUT_SEED",
    "ChunkError",
    "ChunkPolicy",
    "EpisodeResult",
    "EvaluationError",
    "EvaluationResult",
    "Interval",
    "LatencyStatistics",
    "ObservationHistory",
    "TrainingSeedError",
    "WorkerError",
    "bootstrap_interval",
    "check_seeds",
    "checked_chunks",
    "chunk_seed",
    "evaluate_policy",
    "wilson_interval",
]
