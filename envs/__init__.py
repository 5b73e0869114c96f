"""Simulated tasks as Gymnasium environments.

Importing this package registers them, as Gymnasium's convention has it:
`import diffusion_controller.envs; gymnasium.make("diffusion_controller/PushT-v0")`, or in one
step, `gymnasium.make("diffusion_controller.envs:diffusion_controller/PushT-v0")`.
"""

import gymnasium

from diffusion_controller.envs.demonstrator import (
    Demonstration,
    DemonstratorSettings,
    DemonstratorSettingsError,
    demonstrate,
)
from diffusion_controller.envs.errors import (
    InvalidActionError,
    InvalidSeedError,
    InvalidStateError,
    UnknownOptionError,
)
from diffusion_controller.envs.pusht import PushTSimulation, initial_state
from diffusion_controller.envs.pusht_env import OBSERVATIONS, PushTEnv
from diffusion_controller.envs.render import PushTRenderer, RenderError
from diffusion_controller.envs.symmetry import (
    MIRROR_TRANSFORMS,
    mirror_action,
    mirror_image,
    mirror_keypoints,
    mirror_state,
)
from diffusion_controller.envs.tee import coverage, keypoints_of_state

__all__ = [
    "MIRROR_TRANSFORMS",
    "OBSERVATIONS",
    "PUSHT_ENV_ID",
    "Demonstration",
    "DemonstratorSettings",
    "DemonstratorSettingsError",
    "InvalidActionError",
    "InvalidSeedError",
    "InvalidStateError",
    "PushTEnv",
    "PushTRenderer",
    "PushTSimulation",
    "RenderError",
    "UnknownOptionError",
    "coverage",
    "demonstrate",
    "initial_state",
    "keypoints_of_state",
    "mirror_action",
    "mirror_image",
    "mirror_keypoints",
    "mirror_state",
    "register_environments",
]

PUSHT_ENV_ID = "diffusion_controller/PushT-v0"
"""Gymnasium's name of Push-T."""


def register_environments() -> None:
    """Register this package's environments with Gymnasium; again does no harm.

    Gymnasium's checks of every step are off: a test runs its checker instead.
    """
    if PUSHT_ENV_ID not in gymnasium.registry:
        gymnasium.register(
            PUSHT_ENV_ID,
            entry_point="diffusion_controller.envs.pusht_env:PushTEnv",
            max_episode_steps=300,
            disable_env_checker=True,
        )


register_environments()
