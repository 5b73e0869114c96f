"""Push-T as published (Chi et al. 2023), on pymunk 7: physics and score without an interface.

World frame: x to the right, y down, in [px]; the field is 512 × 512. Physics run at 100 Hz,
control at 10 Hz. The agent is a kinematic disc that follows a target position; it pushes a
T-shaped block, which rests as soon as nothing touches it.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt
import pymunk

from diffusion_controller.envs.errors import (
    InvalidActionError,
    InvalidSeedError,
    InvalidStateError,
)
from diffusion_controller.envs.tee import (
    BAR,
    CENTER_OF_GRAVITY,
    STEM,
    coverage,
    keypoints_of_state,
)

FIELD_SIZE: Final = 512.0
"""Side of the square field in [px]."""

AGENT_RADIUS: Final = 15.0
"""Radius of the agent in [px]."""

CONTROL_HZ: Final = 10.0
"""Rate of actions in [Hz]."""

PHYSICS_PERIOD: Final = 0.01
"""Length of one physics step in [s]."""

SUBSTEPS: Final = 10
"""Physics steps per action."""

SUCCESS_COVERAGE: Final = 0.95
"""An episode succeeds when coverage exceeds this."""

_POSITION_GAIN: Final = 100.0
_VELOCITY_GAIN: Final = 20.0
_WALL_CORNERS: Final = ((5.0, 5.0), (506.0, 5.0), (506.0, 506.0), (5.0, 506.0))
_WALL_RADIUS: Final = 2.0
_BLOCK_MASS: Final = 1.0
_FARTHEST: Final = 1024.0  # a block this far out is a mistake, not a squeezed block


def reward_of_coverage(value: float) -> float:
    """clip(coverage / 0.95, 0, 1)."""
    return min(1.0, max(0.0, value / SUCCESS_COVERAGE))


def initial_state(seed: int, *, legacy_reset: bool = True) -> npt.NDArray[np.float64]:
    """Where an episode starts, before the one physics step that follows a reset.

    The numbers come from `np.random.RandomState(seed)`, as in the published evaluation.

    Args:
        seed: In [0, 2³²).
        legacy_reset: The published order: the block is placed first and then turned about
            its centre of gravity, which moves its origin. Otherwise the origin is where the
            draw says.

    Returns:
        (agent x, agent y, block x, block y, block angle), the angle in [0, 2π). Shape (5,).

    Raises:
        InvalidSeedError: If the seed is out of range.
    """
    if not 0 <= seed < 2**32:
        raise InvalidSeedError(
            f"seed {seed} is outside [0, {2**32}), the range of the published reset; "
            "choose a seed within it"
        )
    random = np.random.RandomState(seed)
    agent_x, agent_y = random.randint(50, 450), random.randint(50, 450)
    block_x, block_y = float(random.randint(100, 400)), float(random.randint(100, 400))
    angle = float(random.randn()) * 2 * math.pi - math.pi
    if legacy_reset:
        block_x, block_y = _turned_about_center_of_gravity(block_x, block_y, angle)
    return np.array([agent_x, agent_y, block_x, block_y, angle % (2 * math.pi)])


def _turned_about_center_of_gravity(x: float, y: float, angle: float) -> tuple[float, float]:
    """Origin of a block that stood at (x, y) unturned: pos' = pos + c − R(angle) c."""
    c_x, c_y = CENTER_OF_GRAVITY
    cos, sin = math.cos(angle), math.sin(angle)
    return x + c_x - (cos * c_x - sin * c_y), y + c_y - (sin * c_x + cos * c_y)


def agent_trace(
    position: npt.NDArray[np.float64],
    velocity: tuple[float, float],
    targets: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Where the agent goes when it follows targets; the block never deflects it.

    Args:
        position: Of the agent in [px]. Shape (2,).
        velocity: In [px/s].
        targets: One per control period. Shape (steps, 2).

    Returns:
        Position after each physics step in [px]. Shape (10 · steps, 2).
    """
    trace = np.empty((SUBSTEPS * len(targets), 2))
    for axis in (0, 1):
        x, v, column = float(position[axis]), float(velocity[axis]), []
        for target in targets[:, axis].tolist():
            for _ in range(SUBSTEPS):
                v += (_POSITION_GAIN * (target - x) - _VELOCITY_GAIN * v) * PHYSICS_PERIOD
                x += v * PHYSICS_PERIOD
                column.append(x)
        trace[:, axis] = column
    return trace


class PushTSimulation:
    """Physics and score of Push-T.

    Contact impulses are carried from one physics step to the next by the engine. Therefore
    `set_state` and `reset` build a new space: what follows depends on the state alone, not on
    what was simulated before.
    """

    def __init__(self) -> None:
        self._build((256.0, 400.0, 256.0, 300.0, 0.0), (0.0, 0.0))

    @property
    def state(self) -> npt.NDArray[np.float64]:
        """(agent x, agent y, block x, block y, block angle), the angle in [0, 2π). Shape (5,)."""
        agent, block = self._agent.position, self._block.position
        angle = self._block.angle % (2 * math.pi)
        return np.array([agent.x, agent.y, block.x, block.y, angle])

    @property
    def agent_velocity(self) -> tuple[float, float]:
        """In [px/s]."""
        return self._agent.velocity

    @property
    def keypoints(self) -> npt.NDArray[np.float64]:
        """The nine published keypoints in [px]. Shape (9, 2)."""
        return keypoints_of_state(self.state)

    @property
    def coverage(self) -> float:
        """Which part of the goal is covered, in [0, 1]."""
        position = self._block.position
        return coverage(position.x, position.y, self._block.angle)

    def reset(self, seed: int, *, legacy_reset: bool = True) -> None:
        """Start an episode as the published environment does; see `initial_state`.

        One physics step follows, which separates an agent and a block that overlap.
        """
        self.set_state(initial_state(seed, legacy_reset=legacy_reset))
        self.settle()

    def set_state(
        self, state: npt.ArrayLike, *, agent_velocity: tuple[float, float] = (0.0, 0.0)
    ) -> None:
        """Place agent and block exactly there; the block is at rest.

        Args:
            state: (agent x, agent y, block x, block y, block angle) in [px] and [rad].
            agent_velocity: In [px/s].

        Raises:
            InvalidStateError: If the state is not five finite numbers, the agent is outside the
                field or the block is far outside.
        """
        values = np.asarray(state, dtype=np.float64)
        if values.shape != (5,) or not np.isfinite(values).all():
            raise InvalidStateError(
                f"state {values.tolist()} of shape {values.shape} is not five finite numbers; "
                "give (agent x, agent y, block x, block y, block angle)"
            )
        agent_x, agent_y, block_x, block_y, angle = values.tolist()
        if not (0.0 <= agent_x <= FIELD_SIZE and 0.0 <= agent_y <= FIELD_SIZE):
            raise InvalidStateError(
                f"agent at ({agent_x:g}, {agent_y:g}) px is outside the field; "
                f"give a position in [0, {FIELD_SIZE:g}]"
            )
        if max(abs(block_x), abs(block_y)) > _FARTHEST:
            raise InvalidStateError(
                f"block at ({block_x:g}, {block_y:g}) px is far outside the field; "
                f"give a position near [0, {FIELD_SIZE:g}]"
            )
        self._build((agent_x, agent_y, block_x, block_y, angle), agent_velocity)

    def settle(self) -> None:
        """Advance the physics by one step without a command."""
        self._space.step(PHYSICS_PERIOD)

    def step(self, action: npt.ArrayLike) -> float:
        """Follow a target for one control period.

        Args:
            action: Target position of the agent in [px]. Shape (2,). Not clipped.

        Returns:
            Reward: clip(coverage / 0.95, 0, 1) afterwards.

        Raises:
            InvalidActionError: If the action is not two finite numbers.
        """
        target = np.asarray(action, dtype=np.float64)
        if target.shape != (2,):
            raise InvalidActionError(
                f"action of shape {target.shape}; expected (2,): the agent's target (x, y) in [px]"
            )
        target_x, target_y = target.tolist()
        if not (math.isfinite(target_x) and math.isfinite(target_y)):
            raise InvalidActionError(
                f"action ({target_x}, {target_y}) is not finite; give a target (x, y) in [px]"
            )
        self.follow(target_x, target_y)
        return reward_of_coverage(self.coverage)

    def follow(self, target_x: float, target_y: float) -> None:
        """The physics of `step` alone: no check, no score."""
        agent, advance = self._agent, self._space.step
        velocity_x, velocity_y = agent.velocity
        for _ in range(SUBSTEPS):
            x, y = agent.position
            # The published order of operations, so that trajectories agree to the last digit.
            velocity_x += (
                _POSITION_GAIN * (target_x - x) + _VELOCITY_GAIN * (0.0 - velocity_x)
            ) * PHYSICS_PERIOD
            velocity_y += (
                _POSITION_GAIN * (target_y - y) + _VELOCITY_GAIN * (0.0 - velocity_y)
            ) * PHYSICS_PERIOD
            agent.velocity = (velocity_x, velocity_y)
            advance(PHYSICS_PERIOD)

    def _build(
        self, state: tuple[float, float, float, float, float], velocity: tuple[float, float]
    ) -> None:
        agent_x, agent_y, block_x, block_y, angle = state
        space = pymunk.Space()
        space.gravity = (0.0, 0.0)
        space.damping = 0.0  # what nothing touches rests
        corners = zip(_WALL_CORNERS, (*_WALL_CORNERS[1:], _WALL_CORNERS[0]), strict=True)
        space.add(*(pymunk.Segment(space.static_body, a, b, _WALL_RADIUS) for a, b in corners))

        agent = pymunk.Body(body_type=pymunk.Body.KINEMATIC)
        agent.position = (agent_x, agent_y)
        agent.velocity = velocity
        space.add(agent, pymunk.Circle(agent, AGENT_RADIUS))

        # The published code takes the bar's moment of inertia twice; the stem's is not used.
        inertia = 2 * pymunk.moment_for_poly(_BLOCK_MASS, BAR)
        block = pymunk.Body(_BLOCK_MASS, inertia)
        shapes = (pymunk.Poly(block, BAR), pymunk.Poly(block, STEM))
        block.center_of_gravity = CENTER_OF_GRAVITY
        block.angle = angle  # first: turning moves the origin, see `initial_state`
        block.position = (block_x, block_y)
        space.add(block, *shapes)
        self._space, self._agent, self._block = space, agent, block
