"""What the runtime needs of a policy, and what it makes sure of in the policy's answers."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from diffusion_controller.runtime.errors import ChunkError


class ChunkPolicy(Protocol):
    """Plans action chunks from histories of observations; `DiffusionPolicy` is one."""

    @property
    def obs_horizon(self) -> int:
        """Observations conditioned on."""

    @property
    def horizon(self) -> int:
        """Actions predicted in a chunk."""

    @property
    def action_horizon(self) -> int:
        """Actions executed before replanning."""

    @property
    def action_dim(self) -> int:
        """Numbers in one action."""

    @property
    def observation_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name and shape of each observation that the policy reads."""

    def predict_chunk(
        self, observation: Mapping[str, Any], *, seeds: Sequence[int] | None = None
    ) -> Any:
        """Plan the next actions.

        Args:
            observation: Name to array in physical units. Shape (batch, obs_horizon, …).
            seeds: One integer per element of the batch, which decides all of its randomness.

        Returns:
            Tensor or array in physical units. Shape (batch, action_horizon, action_dim).
        """


def chunk_seed(sampling_seed: int, episode_seed: int, replan_index: int) -> int:
    """The seed of one chunk's noise: a function of these three numbers alone.

    The evaluation and the control loop both use it, so that they draw the same noise whatever
    runs beside them.

    Args:
        sampling_seed: Chosen by the caller for the whole run. At least 0.
        episode_seed: Seed of the episode's start. At least 0.
        replan_index: How many chunks the episode planned before.
    """
    sequence = np.random.SeedSequence([sampling_seed, episode_seed, replan_index])
    return int(sequence.generate_state(1, np.uint64)[0] >> 1)  # torch takes 63 bits everywhere


def checked_chunks(answer: Any, *, batch: int, policy: ChunkPolicy) -> NDArray[np.float64]:
    """The policy's answer as an array on the host, refused whole if any number is not finite.

    Args:
        answer: What `predict_chunk` returned.
        batch: How many chunks were asked for.
        policy: Whose answer it is.

    Returns:
        Shape (batch, action_horizon, action_dim).

    Raises:
        ChunkError: If the shape is another or a number is NaN or infinite.
    """
    on_host = answer.detach().cpu() if hasattr(answer, "detach") else answer
    chunks = np.asarray(on_host, dtype=np.float64)
    expected = (batch, policy.action_horizon, policy.action_dim)
    if chunks.shape != expected:
        raise ChunkError(
            f"the policy answered with shape {chunks.shape}; expected {expected}: "
            "(batch, action_horizon, action_dim)"
        )
    wrong = np.argwhere(~np.isfinite(chunks))
    if wrong.size:
        row, step, channel = wrong[0].tolist()
        raise ChunkError(
            f"action {step} of chunk {row} is {chunks[row, step, channel]} in channel {channel}; "
            "expected finite numbers. The whole chunk is refused: check the policy's weights and "
            "its observations"
        )
    return chunks
