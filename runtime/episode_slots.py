"""Environments side by side, stepped a whole chunk at a time. Imports no torch."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

import diffusion_controller.envs  # noqa: F401 - registers the environments
from diffusion_controller.runtime.observation_history import ObservationHistory

SUCCESS_REWARD = 1.0
"""An episode succeeds when its largest reward reaches this."""


@dataclass(frozen=True)
class EnvironmentSpec:
    """How to make the environment and begin an episode; travels to worker processes.

    Attributes:
        env_id: Gymnasium's name.
        arguments: Keyword arguments of `gymnasium.make`.
        reset_options: Options of every reset.
        max_steps: Actions per episode; None for the registered number.
        traced_seeds: Episodes of which everything is noted.
    """

    env_id: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    reset_options: Mapping[str, Any] = field(default_factory=dict)
    max_steps: int | None = None
    traced_seeds: frozenset[int] = frozenset()

    def make(self) -> gymnasium.Env[Any, Any]:
        """A new environment."""
        return gymnasium.make(self.env_id, max_episode_steps=self.max_steps, **dict(self.arguments))


@dataclass(frozen=True)
class EpisodeResult:
    """How one episode went.

    Attributes:
        seed: Of the start.
        max_reward: Largest reward of any step; the score of the episode.
        is_success: Whether the score reached 1.
        steps: Actions executed.
        final_coverage: `info["coverage"]` after the last action; None where there is none.
    """

    seed: int
    max_reward: float
    is_success: bool
    steps: int
    final_coverage: float | None


@dataclass(frozen=True)
class EpisodeTrace:
    """What happened in one episode, for pictures.

    Attributes:
        seed: Of the start.
        states: `info["state"]` at the start and after every action. Shape (steps + 1, …).
        actions: Executed actions. Shape (steps, action_dim).
        rewards: Reward of each action. Shape (steps,).
        chunks: Chunk planned at each step that planned. Shape of each
            (action_horizon, action_dim).
    """

    seed: int
    states: NDArray[np.float64]
    actions: NDArray[np.float64]
    rewards: NDArray[np.float64]
    chunks: Mapping[int, NDArray[np.float64]]


@dataclass(frozen=True)
class Request:
    """An episode that waits for a chunk.

    Attributes:
        seed: Of the episode.
        replan_index: How many chunks it planned before.
        observation: Name to array. Shape (obs_horizon, …).
    """

    seed: int
    replan_index: int
    observation: dict[str, NDArray[Any]]


@dataclass(frozen=True)
class SlotReport:
    """What became of the slots after a round.

    Attributes:
        finished: Episodes that ended.
        traces: What happened in those that were to be traced.
        requests: Slot to the episode in it that waits for a chunk; slots that ran out of seeds
            are absent.
    """

    finished: tuple[EpisodeResult, ...]
    traces: tuple[EpisodeTrace, ...]
    requests: dict[int, Request]


class _Tracer:
    """Notes what happens in an episode."""

    def __init__(self, seed: int, info: Mapping[str, Any]) -> None:
        self._seed = seed
        self._states = [np.array(info["state"], dtype=np.float64)]
        self._actions: list[NDArray[Any]] = []
        self._rewards: list[float] = []
        self._chunks: dict[int, NDArray[np.float64]] = {}

    def note_chunk(self, chunk: NDArray[np.float64]) -> None:
        self._chunks[len(self._actions)] = chunk

    def note_step(self, action: NDArray[Any], reward: float, info: Mapping[str, Any]) -> None:
        self._actions.append(action)
        self._rewards.append(reward)
        self._states.append(np.array(info["state"], dtype=np.float64))

    def trace(self) -> EpisodeTrace:
        return EpisodeTrace(
            seed=self._seed,
            states=np.stack(self._states),
            actions=np.stack(self._actions).astype(np.float64),
            rewards=np.array(self._rewards),
            chunks=self._chunks,
        )


class _Slot:
    """One environment and the seeds that it still has to play."""

    def __init__(
        self, spec: EnvironmentSpec, seeds: Sequence[int], obs_horizon: int, names: Sequence[str]
    ) -> None:
        self._env = spec.make()
        self._options = dict(spec.reset_options)
        self._seeds = deque(seeds)
        self._history = ObservationHistory(obs_horizon)
        self._names = tuple(names)
        self._traced = spec.traced_seeds
        self._tracer: _Tracer | None = None

    def begin_next(self) -> Request | None:
        """Reset to the next seed; None if there is none left."""
        if not self._seeds:
            self._env.close()
            return None
        self._seed = self._seeds.popleft()
        observation, info = self._env.reset(seed=self._seed, options=dict(self._options))
        self._tracer = _Tracer(self._seed, info) if self._seed in self._traced else None
        self._history.clear()
        self._observe(observation)
        self._steps, self._replan_index, self._max_reward = 0, 0, -np.inf
        return self._request()

    def execute(self, chunk: NDArray[np.float64]) -> Request | EpisodeResult:
        """Step through the actions until they or the episode end."""
        dtype = self._env.action_space.dtype
        if self._tracer:
            self._tracer.note_chunk(chunk)
        for action in chunk.astype(dtype):
            observation, reward, terminated, truncated, info = self._env.step(action)
            self._observe(observation)
            if self._tracer:
                self._tracer.note_step(action, float(reward), info)
            self._steps += 1
            self._max_reward = max(self._max_reward, float(reward))
            if terminated or truncated:
                coverage = info.get("coverage")
                return EpisodeResult(
                    seed=self._seed,
                    max_reward=self._max_reward,
                    is_success=self._max_reward >= SUCCESS_REWARD,
                    steps=self._steps,
                    final_coverage=None if coverage is None else float(coverage),
                )
        self._replan_index += 1
        return self._request()

    def trace(self) -> EpisodeTrace | None:
        """What happened in the episode so far, if it is traced."""
        return self._tracer.trace() if self._tracer else None

    def _observe(self, observation: Mapping[str, NDArray[Any]]) -> None:
        self._history.add({name: observation[name] for name in self._names})

    def _request(self) -> Request:
        return Request(self._seed, self._replan_index, self._history.stacked())


class EpisodeSlots:
    """Slots that play their seeds one after the other; all advance one chunk per round."""

    def __init__(
        self,
        spec: EnvironmentSpec,
        seeds: Mapping[int, Sequence[int]],
        *,
        obs_horizon: int,
        observation_names: Sequence[str],
    ) -> None:
        """Make one environment per slot.

        Args:
            spec: The environment.
            seeds: Slot to the seeds that it plays, in this order.
            obs_horizon: Observations in a request.
            observation_names: Entries of the observation that the policy reads.
        """
        self._slots = {
            slot: _Slot(spec, queue, obs_horizon, observation_names)
            for slot, queue in seeds.items()
        }

    def begin(self) -> SlotReport:
        """Start the first episode of every slot."""
        requests = {slot: entry.begin_next() for slot, entry in self._slots.items()}
        return SlotReport(
            (), (), {slot: made for slot, made in requests.items() if made is not None}
        )

    def advance(self, chunks: Mapping[int, NDArray[np.float64]]) -> SlotReport:
        """Execute a chunk in each slot given; where an episode ends, the next one begins.

        Args:
            chunks: Slot to its actions. Shape of each (action_horizon, action_dim).
        """
        finished: list[EpisodeResult] = []
        traces: list[EpisodeTrace] = []
        requests: dict[int, Request] = {}
        for slot, chunk in chunks.items():
            outcome: Request | EpisodeResult | None = self._slots[slot].execute(chunk)
            if isinstance(outcome, EpisodeResult):
                finished.append(outcome)
                trace = self._slots[slot].trace()
                traces.extend([trace] if trace else [])
                outcome = self._slots[slot].begin_next()
            if outcome is not None:
                requests[slot] = outcome
        return SlotReport(tuple(finished), tuple(traces), requests)
