"""Push-T as a Gymnasium environment."""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from diffusion_controller.envs.errors import InvalidActionError, UnknownOptionError
from diffusion_controller.envs.pusht import (
    AGENT_RADIUS,
    CONTROL_HZ,
    FIELD_SIZE,
    SUBSTEPS,
    SUCCESS_COVERAGE,
    PushTSimulation,
    reward_of_coverage,
)
from diffusion_controller.envs.render import PushTRenderer
from diffusion_controller.envs.tee import GOAL_POSE, keypoints_of_state

Observation: TypeAlias = dict[str, Any]

OBSERVATIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "state": ("state",),
    "keypoints": ("keypoints", "agent"),
    "image": ("image", "agent"),
    "all": ("state", "keypoints", "agent", "image"),
}
"""Which entries an observation has, by the name that the environment is made with."""

IMAGE_SIZE: Final = 96
"""Side of the image observation in [px]."""

# A block that the agent squeezes through a wall leaves the field; no farther than this.
_LOW, _HIGH = -FIELD_SIZE, 2 * FIELD_SIZE


def _observation_spaces() -> dict[str, spaces.Space[Any]]:
    angle_high = np.float32(2 * np.pi)
    return {
        "state": spaces.Box(
            np.array([0, 0, _LOW, _LOW, 0], dtype=np.float32),
            np.array([FIELD_SIZE, FIELD_SIZE, _HIGH, _HIGH, angle_high], dtype=np.float32),
        ),
        "keypoints": spaces.Box(_LOW, _HIGH, shape=(9, 2), dtype=np.float32),
        "agent": spaces.Box(0.0, FIELD_SIZE, shape=(2,), dtype=np.float32),
        "image": spaces.Box(0, 255, shape=(IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8),
    }


class PushTEnv(gymnasium.Env[Observation, npt.NDArray[np.float32]]):
    """Push the T-shaped block onto its goal; the action is the agent's target position.

    Action: (x, y) in [px], float32, shape (2,). Targets outside [0, 512] are clipped to it.

    Observation: a dictionary with the entries that `OBSERVATIONS` lists. `state` is
    (agent x, agent y, block x, block y, block angle), `agent` its first two numbers,
    `keypoints` nine points on the block, `image` 96 × 96 RGB. All but the image are float32,
    in [px] and [rad].

    Reward: clip(coverage / 0.95, 0, 1). The episode terminates when coverage exceeds 0.95;
    registered as `diffusion_controller/PushT-v0`, it is truncated after 300 actions.

    `info` holds `coverage`, `is_success` and the `state` in double precision.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - the type that Gymnasium declares
        "render_modes": ["rgb_array"],
        "render_fps": int(CONTROL_HZ),
        "action_units": ("px", "px"),
        "constants": {  # what a score depends on, for the record of an evaluation
            "control_hz": CONTROL_HZ,
            "physics_hz": CONTROL_HZ * SUBSTEPS,
            "success_coverage": SUCCESS_COVERAGE,
            "goal_pose": GOAL_POSE,
            "field_size_px": FIELD_SIZE,
            "agent_radius_px": AGENT_RADIUS,
        },
    }

    def __init__(
        self,
        *,
        observation: str = "state",
        render_mode: str | None = None,
        render_size: int = 512,
    ) -> None:
        """Make the environment; nothing is drawn unless images are asked for.

        Args:
            observation: One of `OBSERVATIONS`.
            render_mode: None or "rgb_array".
            render_size: Side of the frames that `render` returns in [px].

        Raises:
            UnknownOptionError: If a name is unknown.
            RenderError: If the render size is not positive.
        """
        if observation not in OBSERVATIONS:
            raise UnknownOptionError(
                f"observation {observation!r} is unknown; choose one of {', '.join(OBSERVATIONS)}"
            )
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise UnknownOptionError(
                f"render_mode {render_mode!r} is unknown; choose None or 'rgb_array'"
            )
        self.observation = observation
        self.render_mode = render_mode
        self.simulation = PushTSimulation()
        self._entries = OBSERVATIONS[observation]
        self._image_renderer = PushTRenderer(IMAGE_SIZE) if "image" in self._entries else None
        self._frame_renderer = PushTRenderer(render_size) if render_mode is not None else None
        offered = _observation_spaces()
        self.observation_space = spaces.Dict({name: offered[name] for name in self._entries})
        self.action_space = spaces.Box(0.0, FIELD_SIZE, shape=(2,), dtype=np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode.

        The start is drawn from `np.random.RandomState(seed)` as in the published evaluation, not
        from Gymnasium's `np_random`. Without a seed, one is drawn from `np_random`. One physics
        step follows, as published: it separates an agent and a block that overlap.

        Args:
            seed: In [0, 2³²).
            options: `{"legacy_reset": bool}` chooses the published order of placing the block
                (default True, see `initial_state`); `{"state": (5,)}` starts exactly there instead.

        Raises:
            UnknownOptionError: If an option is unknown or the two are combined.
            InvalidSeedError: If the seed is out of range.
            InvalidStateError: If the state cannot be.
        """
        super().reset(seed=seed)
        given = dict(options or {})
        state = given.pop("state", None)
        if state is not None:
            _refuse_unknown_options(given, known="nothing beside 'state'")
            self.simulation.set_state(state)
            self.simulation.settle()
        else:
            legacy_reset = bool(given.pop("legacy_reset", True))
            _refuse_unknown_options(given, known="'state' or 'legacy_reset'")
            if seed is None:
                seed = int(self.np_random.integers(2**31))
            self.simulation.reset(seed, legacy_reset=legacy_reset)
        return self._observe_with_info(self.simulation.coverage)

    def step(
        self, action: npt.NDArray[np.float32]
    ) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Follow a target for one control period, 0.1 s.

        Raises:
            InvalidActionError: If the action is not two finite numbers.
        """
        self.simulation.follow(*_checked_target(action))
        coverage = self.simulation.coverage
        observation, info = self._observe_with_info(coverage)
        return observation, reward_of_coverage(coverage), info["is_success"], False, info

    def render(self) -> npt.NDArray[np.uint8] | None:
        """The scene as RGB, or None without a render mode. Shape (render_size, render_size, 3)."""
        if self._frame_renderer is None:
            gymnasium.logger.warn(
                "render() was called without a render mode; make the environment with "
                'render_mode="rgb_array"'
            )
            return None
        return self._frame_renderer.draw(self.simulation.state)

    def _observe_with_info(self, coverage: float) -> tuple[Observation, dict[str, Any]]:
        state = self.simulation.state
        info = {
            "coverage": coverage,
            "is_success": coverage > SUCCESS_COVERAGE,
            "state": state,
        }
        return {name: self._entry(name, state) for name in self._entries}, info

    def _entry(self, name: str, state: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        if name == "state":
            return state.astype(np.float32)
        if name == "agent":
            return state[:2].astype(np.float32)
        if name == "keypoints":
            return keypoints_of_state(state).astype(np.float32)
        if self._image_renderer is None:
            raise RuntimeError("an image was asked for and no renderer was made; this is a defect")
        return self._image_renderer.draw(state)


def _checked_target(action: npt.ArrayLike) -> tuple[float, float]:
    target = np.asarray(action, dtype=np.float64)
    if target.shape != (2,):
        raise InvalidActionError(
            f"action of shape {target.shape}; expected (2,): the agent's target (x, y) in [px]"
        )
    x, y = target.tolist()
    if not (-np.inf < x < np.inf and -np.inf < y < np.inf):
        raise InvalidActionError(f"action ({x}, {y}) is not finite; give a target (x, y) in [px]")
    return min(max(x, 0.0), FIELD_SIZE), min(max(y, 0.0), FIELD_SIZE)


def _refuse_unknown_options(options: dict[str, Any], *, known: str) -> None:
    if options:
        raise UnknownOptionError(
            f"reset options {sorted(options)} are not understood here; give {known}"
        )
