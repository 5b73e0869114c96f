"""How long a policy takes for one chunk."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffusion_controller.runtime.chunk_policy import ChunkPolicy, checked_chunks, chunk_seed
from diffusion_controller.runtime.clock import MonotonicTime, TimeSource
from diffusion_controller.runtime.evaluation_result import LatencyStatistics

WARM_UP_CALLS = 3


def measure_chunk_latency(
    policy: ChunkPolicy,
    observation: Mapping[str, NDArray[Any]],
    *,
    calls: int = 30,
    time_source: TimeSource | None = None,
) -> LatencyStatistics:
    """Summary of `time_chunks`, whose arguments it takes."""
    durations = time_chunks(policy, observation, calls=calls, time_source=time_source)
    return LatencyStatistics.of(durations, batch_size=1)


def time_chunks(
    policy: ChunkPolicy,
    observation: Mapping[str, NDArray[Any]],
    *,
    calls: int,
    time_source: TimeSource | None = None,
) -> list[float]:
    """Time from an observation to its chunk on the host, one robot at a time, after a warm-up.

    Args:
        policy: Whom to ask.
        observation: One observation; the history repeats it. Shape of each as the policy's
            `observation_shapes` say.
        calls: How many are measured. At least 1.
        time_source: The monotonic clock by default.

    Returns:
        Duration of each call in [s].

    Raises:
        ChunkError: If an answer is no finite action chunk.
    """
    time = time_source or MonotonicTime()
    batch = {
        name: np.repeat(np.asarray(observation[name])[None, None], policy.obs_horizon, axis=1)
        for name in policy.observation_shapes
    }
    durations = []
    for index in range(WARM_UP_CALLS + calls):
        began = time.now()
        answer = policy.predict_chunk(batch, seeds=[chunk_seed(0, 0, index)])
        checked_chunks(answer, batch=1, policy=policy)
        durations.append(time.now() - began)
    return durations[WARM_UP_CALLS:]
