"""Receding horizon: which action of which chunk is due now, and when to plan again."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffusion_controller import DiffusionControllerError
from diffusion_controller.runtime.clock import GRID_TOLERANCE
from diffusion_controller.runtime.observation_history import ObservationHistory


class ObservationTimeError(DiffusionControllerError, ValueError):
    """An observation whose time stamp cannot be: not finite, or not after the one before."""


@dataclass(frozen=True)
class TimedChunk:
    """An action chunk and when it was planned from.

    Attributes:
        actions: In physical units. Shape (action_horizon, action_dim).
        observation_time: Time stamp of the newest observation it was planned from, in [s].
        index: How many chunks came before it.
    """

    actions: NDArray[np.float64]
    observation_time: float
    index: int


@dataclass(frozen=True)
class DueAction:
    """The action to send now.

    Attributes:
        action: Shape (action_dim,).
        chunk: Where it comes from.
        step: Its place in the chunk.
        age: From the measurement of the observation to now, in [s].
    """

    action: NDArray[np.float64]
    chunk: TimedChunk
    step: int
    age: float


class ChunkExecutor:
    """Holds the last observations and the chunk that is being executed.

    Action i of a chunk planned from an observation at t is due at t + i · period −
    action_latency. Actions whose time has passed are dropped, never replayed: when planning took
    three periods, execution goes on with action 3. The executor does not read a clock; times are
    arguments.
    """

    def __init__(self, *, obs_horizon: int, period: float, action_latency: float = 0.0) -> None:
        """Hold nothing yet.

        Args:
            obs_horizon: Observations that the policy conditions on.
            period: Time between two actions of a chunk in [s].
            action_latency: From sending a command to its effect, in [s]; commands are sent
                this much earlier.
        """
        self._period, self._action_latency = period, action_latency
        self._history = ObservationHistory(obs_horizon)
        self._observation_time = -math.inf
        self._chunk: TimedChunk | None = None
        self._chunks = 0

    @property
    def observation(self) -> dict[str, NDArray[Any]]:
        """What to plan from. Shape of each (obs_horizon, …), oldest first."""
        return self._history.stacked()

    @property
    def observation_time(self) -> float:
        """Time stamp of the newest observation in [s]."""
        return self._observation_time

    def observe(self, observation: Mapping[str, NDArray[Any]], *, time: float) -> None:
        """Take the newest observation.

        Raises:
            ObservationTimeError: If its time stamp is not after the one before; the observation
                is refused and nothing changes.
        """
        if not (math.isfinite(time) and time > self._observation_time):
            raise ObservationTimeError(
                f"an observation of {time} s after one of {self._observation_time} s; expected "
                "increasing time stamps. Drop stale and duplicate observations"
            )
        self._history.add(observation)
        self._observation_time = time

    def accept(self, actions: NDArray[np.float64], *, observation_time: float) -> TimedChunk:
        """Go on with a new chunk; what is left of the one before is dropped.

        Args:
            actions: Checked, in physical units. Shape (action_horizon, action_dim).
            observation_time: Time stamp of the newest observation it was planned from, in [s].
        """
        self._chunk = TimedChunk(actions, observation_time, self._chunks)
        self._chunks += 1
        return self._chunk

    def due(self, now: float) -> DueAction | None:
        """The action whose time has come last, or None: before the first and after the last."""
        if self._chunk is None:
            return None
        since = now - self._chunk.observation_time
        step = math.floor((since + self._action_latency) / self._period + GRID_TOLERANCE)
        if not 0 <= step < len(self._chunk.actions):
            return None
        return DueAction(self._chunk.actions[step], self._chunk, step, since)

    def must_replan(self, now: float) -> bool:
        """Whether no action of the chunk is left and there is an observation to plan from."""
        return len(self._history) > 0 and self.due(now) is None
