"""Time: what runs a policy in closed loop, on a robot or in simulation. Imports no torch."""

from typing import TYPE_CHECKING, Any

from diffusion_controller.runtime.chunk_executor import (
    ChunkExecutor,
    DueAction,
    ObservationTimeError,
    TimedChunk,
)
from diffusion_controller.runtime.chunk_policy import ChunkPolicy, checked_chunks, chunk_seed
from diffusion_controller.runtime.clock import (
    ClockError,
    MonotonicTime,
    PeriodicClock,
    RobotTime,
    SimulatedTime,
    Tick,
    TimeSource,
)
from diffusion_controller.runtime.control_loop import (
    LoopSummary,
    Subscriber,
    TickRecord,
    check_policy_fits,
    clock_for,
    run_control_loop,
)
from diffusion_controller.runtime.episode_slots import EpisodeResult, EpisodeTrace
from diffusion_controller.runtime.errors import (
    ChunkError,
    EvaluationError,
    PolicyRobotMismatchError,
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
from diffusion_controller.runtime.latency import (
    ChunkStopwatch,
    measure_chunk_latency,
    repeated,
    time_chunks,
)
from diffusion_controller.runtime.observation_history import ObservationHistory
from diffusion_controller.runtime.planner import Planner, SynchronousPlanner
from diffusion_controller.runtime.recorder import (
    PUSHT_ARRAYS,
    EpisodeRecorder,
    RecordingError,
    open_recording,
)
from diffusion_controller.runtime.statistics import Interval, bootstrap_interval, wilson_interval
from diffusion_controller.runtime.timing import (
    QUANTILES,
    ColdStart,
    Latencies,
    Measurement,
    Parts,
    Setting,
    TimingError,
    calls_for,
    worse_of,
)
from diffusion_controller.runtime.timing_load import available_cores, busy_cores, other_cores
from diffusion_controller.runtime.timing_sweep import (
    WAIT_POLICIES,
    Effort,
    SettingError,
    Sweep,
    Swept,
    measure_in_new_process,
    run_sweep,
    thread_variables,
    threads_to_try,
)
from diffusion_controller.runtime.timing_verdict import (
    InTime,
    Judgement,
    Requirement,
    Score,
    Scores,
    best_threads,
    in_ms,
    judge,
)

if TYPE_CHECKING:
    from diffusion_controller.runtime.video import VideoError, rollout_video, write_rollouts

__all__ = [
    "DEFAULT_BATCH_SIZE",
    "HELD_OUT_SEED",
    "PUSHT_ARRAYS",
    "QUANTILES",
    "WAIT_POLICIES",
    "ChunkError",
    "ChunkExecutor",
    "ChunkPolicy",
    "ChunkStopwatch",
    "ClockError",
    "ColdStart",
    "DueAction",
    "Effort",
    "EpisodeRecorder",
    "EpisodeResult",
    "EpisodeTrace",
    "EvaluationError",
    "EvaluationResult",
    "InTime",
    "Interval",
    "Judgement",
    "Latencies",
    "LatencyStatistics",
    "LoopSummary",
    "Measurement",
    "MonotonicTime",
    "ObservationHistory",
    "ObservationTimeError",
    "Parts",
    "PeriodicClock",
    "Planner",
    "PolicyRobotMismatchError",
    "RecordingError",
    "Requirement",
    "RobotTime",
    "Score",
    "Scores",
    "Setting",
    "SettingError",
    "SimulatedTime",
    "Subscriber",
    "Sweep",
    "Swept",
    "SynchronousPlanner",
    "Tick",
    "TickRecord",
    "TimeSource",
    "TimedChunk",
    "TimingError",
    "TrainingSeedError",
    "VideoError",
    "WorkerError",
    "available_cores",
    "best_threads",
    "bootstrap_interval",
    "busy_cores",
    "calls_for",
    "check_policy_fits",
    "check_seeds",
    "checked_chunks",
    "chunk_seed",
    "clock_for",
    "evaluate_policy",
    "in_ms",
    "judge",
    "measure_chunk_latency",
    "measure_in_new_process",
    "open_recording",
    "other_cores",
    "repeated",
    "rollout_video",
    "run_control_loop",
    "run_sweep",
    "thread_variables",
    "threads_to_try",
    "time_chunks",
    "wilson_interval",
    "worse_of",
    "write_rollouts",
]

_IN_VIDEO = ("VideoError", "rollout_video", "write_rollouts")


def __getattr__(name: str) -> Any:
    """Imports the video's libraries when a video is made: the control loop needs none of them."""
    if name not in _IN_VIDEO:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("diffusion_controller.runtime.video"), name)
