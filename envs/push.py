"""One push of the demonstrator: where the agent's target goes, and at what pace."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from diffusion_controller.envs.pusht import AGENT_RADIUS, FIELD_SIZE, agent_trace
from diffusion_controller.envs.tee import OUTLINE, block_to_world
from diffusion_controller.envs.travel import Points, distance_to_block, shortest_way

STANDOFF = 4.0
"""Gap between agent and block before a push in [px]."""

_WALL_MARGIN = 4.0
_CARE = ((14.0, 1.0), (8.0, 0.8), (3.0, 0.5))  # gap to keep while travelling in [px], and pace
_BACK_OFF = (0.0, 4.0, 10.0)  # behind the end of a push in [px]: wait, then draw back


@dataclass(frozen=True, kw_only=True)
class Push:
    """An arc that the agent's target follows, through the block.

    Attributes:
        start: Where it begins, clear of the block, in [px].
        heading: Direction at the start in [rad].
        curvature: Change of heading per way in [rad/px].
        speed: Of the target in [px] per action.
        length: Of the arc in [px].
    """

    start: tuple[float, float]
    heading: float
    curvature: float
    speed: float
    length: float

    def point(self, distance: float) -> tuple[float, float]:
        """Where the arc is after a distance in [px], within the field."""
        x, y = self.start
        turned = self.heading + self.curvature * distance
        if abs(self.curvature) < 1e-9:
            x += distance * math.cos(self.heading)
            y += distance * math.sin(self.heading)
        else:
            x += (math.sin(turned) - math.sin(self.heading)) / self.curvature
            y -= (math.cos(turned) - math.cos(self.heading)) / self.curvature
        return min(max(x, 0.0), FIELD_SIZE), min(max(y, 0.0), FIELD_SIZE)


def sample_pushes(
    pose: npt.NDArray[np.float64], *, count: int, speed: float, random: np.random.Generator
) -> list[Push]:
    """Pushes that begin at random places around the block and go roughly straight into it.

    Args:
        pose: (x, y, angle) of the block.
        count: How many are drawn; those that begin at a wall or inside a corner are left out.
        speed: Of the target in [px] per action.
        random: Source of the draws.

    Returns:
        Pushes of length 0.
    """
    vertices = np.array(OUTLINE)
    edges = np.roll(vertices, -1, axis=0) - vertices
    lengths = np.hypot(edges[:, 0], edges[:, 1])
    chosen = random.choice(len(edges), size=count, p=lengths / lengths.sum())
    contact = vertices[chosen] + random.uniform(size=(count, 1)) * edges[chosen]
    inward = np.arctan2(edges[chosen, 0], -edges[chosen, 1])
    heading = inward + random.normal(0.0, 0.25, size=count) + pose[2]
    curvature = random.normal(0.0, 0.006, size=count)
    direction = np.stack([np.cos(heading), np.sin(heading)], axis=-1)
    start = block_to_world(contact, pose) - (AGENT_RADIUS + STANDOFF) * direction
    in_field = ((start > _WALL_MARGIN) & (start < FIELD_SIZE - _WALL_MARGIN)).all(axis=1)
    clear = distance_to_block(start, pose) > AGENT_RADIUS + STANDOFF - 1.0
    return [
        Push(
            start=(float(start[index, 0]), float(start[index, 1])),
            heading=float(heading[index]),
            curvature=float(curvature[index]),
            speed=speed,
            length=0.0,
        )
        for index in np.flatnonzero(in_field & clear)
    ]


def targets_of_push(
    push: Push,
    *,
    state: npt.NDArray[np.float64],
    agent_velocity: tuple[float, float],
    last_target: Points,
    travel_speed: float,
) -> Points | None:
    """Actions that travel to a push, carry it out and draw back a little.

    Args:
        push: What to do.
        state: (agent x, agent y, block x, block y, block angle).
        agent_velocity: In [px/s].
        last_target: The action before; the way begins there, so that targets never jump.
        travel_speed: Of the target on the way to the push in [px] per action.

    Returns:
        Targets in [px], shape (steps, 2), or None where the block or a wall is in the way.
    """
    for clearance, haste in _CARE:
        way = shortest_way(last_target, push.start, state[2:], clearance=clearance)
        if way is None:
            continue
        travel = _along(way, haste * travel_speed)
        trace = agent_trace(state[:2], agent_velocity, travel)
        # The agent may begin in contact; it must not come closer than that.
        allowed = min(AGENT_RADIUS, float(distance_to_block(state[None, :2], state[2:])[0]))
        if (distance_to_block(trace, state[2:]) >= allowed - 0.01).all():
            pushing = [push.point(distance) for distance in _paced(push.length, push.speed)]
            drawing_back = [push.point(push.length - back) for back in _BACK_OFF]
            return np.concatenate([travel, np.array([*pushing, *drawing_back])])
    return None


def _along(way: Points, speed: float) -> Points:
    """Targets along a polyline, its corners rounded; the last is its end. Shape (steps, 2)."""
    travelled = np.concatenate([[0.0], np.hypot(*np.diff(way, axis=0).T).cumsum()])
    pace = [0.0, *_paced(float(travelled[-1]), speed)]
    targets = np.stack([np.interp(pace, travelled, way[:, axis]) for axis in (0, 1)], axis=-1)
    targets[1:-1] = 0.25 * targets[:-2] + 0.5 * targets[1:-1] + 0.25 * targets[2:]
    return np.asarray(targets[1:])


def _paced(length: float, speed: float) -> list[float]:
    """Distances reached action by action: speed up, keep the speed, slow down."""
    distances: list[float] = []
    reached, velocity = 0.0, 0.5 * speed
    while reached < length - 1e-9:
        velocity = min(speed, 1.5 * velocity)
        reached = min(length, reached + min(velocity, max(0.35 * (length - reached), 0.2 * speed)))
        distances.append(reached)
    return distances
