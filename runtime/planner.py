"""Planning in the loop itself, while the world waits."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from diffusion_controller.runtime.chunk_policy import ChunkPolicy, checked_chunks, chunk_seed


class Planner(Protocol):
    """Makes a chunk of a history of observations."""

    def plan(self, observation: Mapping[str, NDArray[Any]], *, index: int) -> NDArray[np.float64]:
        """Plan.

        Args:
            observation: Shape of each (obs_horizon, …), oldest first.
            index: How many chunks the episode planned before.

        Returns:
            Finite actions in physical units. Shape (action_horizon, action_dim).
        """


class SynchronousPlanner:
    """Asks the policy and waits for its answer."""

    def __init__(self, policy: ChunkPolicy, *, episode_seed: int, sampling_seed: int = 0) -> None:
        """Fix the randomness of an episode.

        Args:
            policy: Whom to ask.
            episode_seed: Seed of the episode's start.
            sampling_seed: With it and the number of the chunk, decides the chunk's noise.
        """
        self._policy = policy
        self._episode_seed, self._sampling_seed = episode_seed, sampling_seed

    def plan(self, observation: Mapping[str, NDArray[Any]], *, index: int) -> NDArray[np.float64]:
        """A chunk of the policy.

        Raises:
            ChunkError: If the answer has another shape or one number is not finite.
        """
        batch = {name: observation[name][None] for name in self._policy.observation_shapes}
        seed = chunk_seed(self._sampling_seed, self._episode_seed, index)
        answer = self._policy.predict_chunk(batch, seeds=[seed])
        chunk: NDArray[np.float64] = checked_chunks(answer, batch=1, policy=self._policy)[0]
        return chunk
