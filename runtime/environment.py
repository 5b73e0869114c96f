"""Choosing an environment's observations for a policy, and writing down what it was."""

from collections.abc import Collection, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from diffusion_controller.envs import OBSERVATIONS, PUSHT_ENV_ID
from diffusion_controller.runtime.chunk_policy import ChunkPolicy
from diffusion_controller.runtime.episode_slots import EnvironmentSpec
from diffusion_controller.runtime.errors import EvaluationError


def environment_arguments(env_id: str, observation_names: Collection[str]) -> dict[str, Any]:
    """Arguments with which an environment offers what a policy reads.

    Push-T draws images only when asked to; other environments are made as they are.
    """
    if env_id != PUSHT_ENV_ID:
        return {}
    fitting = (mode for mode, names in OBSERVATIONS.items() if set(observation_names) <= set(names))
    return {"observation": next(fitting, "all")}


def check_environment(spec: EnvironmentSpec, policy: ChunkPolicy) -> dict[str, Any]:
    """Make the environment once, see that the policy fits it, and describe it.

    Returns:
        Name, arguments, constants and action range, as JSON can hold them.

    Raises:
        EvaluationError: If there is no such environment, or observations or actions differ.
    """
    try:
        env = spec.make()
    except (gymnasium.error.Error, ModuleNotFoundError, TypeError) as error:
        raise EvaluationError(
            f"the environment {spec.env_id} with {dict(spec.arguments)} cannot be made ({error}); "
            "check its name and arguments"
        ) from error
    try:
        _check_observations(env.observation_space, policy, spec.env_id)
        low, high = _check_actions(env.action_space, policy, spec.env_id)
        max_steps = env.spec.max_episode_steps if env.spec else None
        if max_steps is None:
            raise EvaluationError(
                f"{spec.env_id} sets no end to its episodes; expected one. Give max_steps"
            )
        return {
            "env_id": spec.env_id,
            "arguments": dict(spec.arguments),
            "reset_options": dict(spec.reset_options),
            "max_steps": max_steps,
            "action_low": low,
            "action_high": high,
            "metadata": dict(env.metadata),
        }
    finally:
        env.close()


def _check_observations(space: spaces.Space[Any], policy: ChunkPolicy, env_id: str) -> None:
    if not isinstance(space, spaces.Dict):
        raise EvaluationError(
            f"observations of {env_id} are {type(space).__name__}; expected a Dict of named arrays"
        )
    offered: Mapping[str, Any] = {name: entry.shape for name, entry in space.spaces.items()}
    for name, shape in policy.observation_shapes.items():
        if offered.get(name) != tuple(shape):
            found = f"{offered[name]}" if name in offered else "nothing"
            raise EvaluationError(
                f"the policy reads {name} of shape {tuple(shape)}; {env_id} offers {found} of that "
                f"name among {offered}. Choose an environment that fits, or its arguments"
            )


def _check_actions(
    space: spaces.Space[Any], policy: ChunkPolicy, env_id: str
) -> tuple[list[float], list[float]]:
    if not isinstance(space, spaces.Box) or space.shape != (policy.action_dim,):
        raise EvaluationError(
            f"the policy's actions have {policy.action_dim} numbers; {env_id} takes {space}. "
            "Choose an environment that fits"
        )
    return np.asarray(space.low, float).tolist(), np.asarray(space.high, float).tolist()
