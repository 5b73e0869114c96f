"""A real policy without a network, and an environment whose outcome is known in closed form."""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray


class ScriptedPolicy:
    """Pushes the agent to the block and on, with noise that its seeds decide."""

    obs_horizon = 2
    horizon = 12
    action_horizon = 8
    action_dim = 2
    observation_shapes: Mapping[str, tuple[int, ...]] = {"keypoints": (9, 2), "agent": (2,)}

    def __init__(self) -> None:
        self.batch_sizes: list[int] = []

    def predict_chunk(
        self, observation: Mapping[str, Any], *, seeds: Sequence[int] | None = None
    ) -> NDArray[np.float64]:
        keypoints = np.asarray(observation["keypoints"], dtype=np.float64)
        agent = np.asarray(observation["agent"], dtype=np.float64)
        batch, steps = agent.shape[0], self.action_horizon
        self.batch_sizes.append(batch)
        noise = np.stack(
            [np.random.default_rng(seed).normal(size=(steps, 2)) for seed in seeds or [0] * batch]
        )
        velocity = agent[:, -1] - agent[:, 0]  # the whole history matters
        aim = keypoints[:, -1].mean(axis=1) + 0.3 * velocity
        way = np.linspace(0.2, 1.4, steps)[:, None]
        path = agent[:, -1:] + way * (aim - agent[:, -1])[:, None]
        chunks: NDArray[np.float64] = np.clip(path + 15.0 * noise, 0.0, 512.0)
        return chunks


class CountingEnv(gymnasium.Env[dict[str, Any], NDArray[np.float32]]):
    """Counts: the position is the sum of the actions, the reward position / `goal`, at most 1."""

    metadata = {"render_modes": [], "render_fps": 10}  # noqa: RUF012

    def __init__(self, *, goal: float = 5.0) -> None:
        self.goal = goal
        self.observation_space = spaces.Dict(
            {"position": spaces.Box(-np.inf, np.inf, shape=(1,), dtype=np.float32)}
        )
        self.action_space = spaces.Box(-1.0, 1.0, shape=(1,), dtype=np.float32)
        self.actions: list[float] = []
        self.position = 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(seed=seed)
        self.position = float(options["start"]) if options else 0.0
        self.actions.clear()
        return self._observation(), {}

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        self.position += float(action[0])
        self.actions.append(float(action[0]))
        reward = min(1.0, self.position / self.goal)
        return self._observation(), reward, reward >= 1.0, False, {}

    def _observation(self) -> dict[str, Any]:
        return {"position": np.array([self.position], dtype=np.float32)}
