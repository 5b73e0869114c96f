"""A small real policy for tests."""

from typing import Any

import numpy as np
import torch

from diffusion_controller.data import Normalizer
from diffusion_controller.policy import SAMPLERS, DiffusionPolicy, build

SHAPES: dict[str, tuple[int, ...]] = {"keypoints": (9, 2), "agent": (2,)}

FLOW: dict[str, Any] = {
    "sampler": "euler",
    "noise_scheduler": {
        "_target_": "diffusers.FlowMatchEulerDiscreteScheduler",
        "num_train_timesteps": 100,
    },
}
"""Changes that make the small policy one of flow matching."""


def normalizer() -> Normalizer:
    """Pixels of [0, 512] to [−1, 1]."""
    shapes = {**SHAPES, "action": (2,)}
    ranges = {name: (np.zeros(shape), np.full(shape, 512.0)) for name, shape in shapes.items()}
    return Normalizer.fit({}, dict.fromkeys(shapes, "min_max"), ranges)


def config() -> dict[str, Any]:
    """Configuration of the small policy, as YAML would give it."""
    return {
        "_target_": "diffusion_controller.policy.DiffusionPolicy",
        "horizon": 8,
        "obs_horizon": 2,
        "action_horizon": 4,
        "num_inference_steps": 4,
        "encoder": {
            "_target_": "diffusion_controller.policy.StateEncoder",
            "observations": {name: list(shape) for name, shape in SHAPES.items()},
        },
        "network": {
            "_target_": "diffusion_controller.policy.ConditionalUnet1d",
            "action_dim": 2,
            "condition_dim": 40,
            "channels": [8, 16],
            "timestep_dim": 8,
        },
        "noise_scheduler": {
            "_target_": "diffusers.DDPMScheduler",
            "num_train_timesteps": 100,
            "beta_schedule": "squaredcos_cap_v2",
        },
    }


def small_policy(changes: dict[str, Any] | None = None, *, seed: int = 0) -> DiffusionPolicy:
    """An untrained policy; `changes` replaces top-level entries of the configuration."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        policy = build({**config(), **(changes or {})}, injected={"normalizer": normalizer()})
    assert isinstance(policy, DiffusionPolicy)
    return policy.eval()


def sampled_by(sampler: str) -> dict[str, Any]:
    """Changes to the small policy for a sampler: its name, and a schedule that it can sample."""
    changes = FLOW if SAMPLERS[sampler].process == "flow" else {}
    return {**changes, "sampler": sampler}


def observation(batch: int = 3, *, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """A history of two observations in pixels."""
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(50, 450, (batch, 2, *shape)) for name, shape in SHAPES.items()}
