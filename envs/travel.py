"""Shortest ways for the agent around the block, by a visibility graph of its corners."""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from diffusion_controller.envs.pusht import AGENT_RADIUS, FIELD_SIZE
from diffusion_controller.envs.tee import OUTLINE, block_to_world

Points = npt.NDArray[np.float64]

_WALL_MARGIN: Final = 2.0
_CONVEX_CORNERS: Final = (0, 1, 2, 4, 5, 7)  # of OUTLINE; the other two are concave


def distance_to_block(points: npt.ArrayLike, pose: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Distance of points from the block's outline in [px]. Shape (points,)."""
    p = np.asarray(points, dtype=np.float64)
    edges = _outline(pose)
    nearest = _point_to_segment(p[:, None], edges[0], edges[1]).min(axis=1)
    return np.asarray(nearest, dtype=np.float64)


def is_inside_block(point: npt.ArrayLike, pose: npt.ArrayLike) -> bool:
    """Whether a point lies within the block's outline, as the agent may after a reset."""
    x, y, angle = np.asarray(pose, dtype=np.float64)
    dx, dy = np.asarray(point, dtype=np.float64) - (x, y)
    u = math.cos(angle) * dx + math.sin(angle) * dy
    v = math.cos(angle) * dy - math.sin(angle) * dx
    return bool((abs(u) < 60 and 0 < v < 30) or (abs(u) < 15 and 0 < v < 120))


def shortest_way(
    start: npt.ArrayLike, goal: npt.ArrayLike, pose: npt.ArrayLike, *, clearance: float
) -> Points | None:
    """Polyline from start to goal that keeps the agent off the block.

    Where an end is closer to the block than the clearance, the way first leads straight away
    from the block, or at last straight towards it.

    Args:
        start: Centre of the agent in [px]. Shape (2,).
        goal: Where it is to go. Shape (2,).
        pose: (x, y, angle) of the block.
        clearance: Gap to keep between agent and block in [px].

    Returns:
        Corners of the way with both ends, shape (corners, 2), or None where there is no way.
    """
    distance = AGENT_RADIUS + clearance
    ends = np.array([start, goal], dtype=np.float64)
    inner_ends = [_backed_off(end, pose, distance) for end in ends]
    nodes = np.concatenate([inner_ends, _detours(pose, distance)])
    count = len(nodes)
    first, second = np.triu_indices(count, k=1)
    free = _segment_clearance(nodes[first], nodes[second], pose) >= distance - 1e-6
    length = np.full((count, count), np.inf)
    between = np.hypot(*(nodes[first] - nodes[second]).T)
    length[first, second] = length[second, first] = np.where(free, between, np.inf)

    cost = length[0].copy()
    cost[0] = 0.0
    previous = np.zeros(count, dtype=int)
    for _ in range(count - 2):  # Bellman–Ford
        through = cost[:, None] + length
        best = through.argmin(axis=0)
        better = through.min(axis=0) < cost
        previous[better] = best[better]
        cost = np.minimum(cost, through.min(axis=0))
    if not math.isfinite(cost[1]):
        return None
    way = [1]
    while way[-1] != 0:
        way.append(int(previous[way[-1]]))
    return np.concatenate([ends[:1], nodes[way[::-1]], ends[1:]])


def _backed_off(point: Points, pose: npt.ArrayLike, distance: float) -> Points:
    """The point itself, or where it has the distance when moved straight away from the block."""
    starts, ends = _outline(pose)
    along = ends - starts
    t = np.clip(((point - starts) * along).sum(axis=1) / (along**2).sum(axis=1), 0.0, 1.0)
    away = point - starts - t[:, None] * along
    distances = np.hypot(away[:, 0], away[:, 1])
    nearest = int(distances.argmin())
    if distances[nearest] >= distance:
        return point
    unit = away[nearest] / max(distances[nearest], 1e-9)
    moved = point + (distance + 0.5 - distances[nearest]) * unit
    return np.asarray(np.clip(moved, _WALL_MARGIN, FIELD_SIZE - _WALL_MARGIN))


def _detours(pose: npt.ArrayLike, distance: float) -> Points:
    """Points around the block's convex corners where the agent can turn. Shape (≤ 6, 2)."""
    corners = np.array([OUTLINE[index] for index in _CONVEX_CORNERS])
    outward = np.sign(corners - np.array([0.0, 45.0]))
    outward[1:3, 1] = (-1.0, 1.0)  # the bar's outer edge looks to -y, its inner one to +y
    outward[[0, 5], 1] = (-1.0, 1.0)
    points = block_to_world(corners + (distance + 0.5) * outward, pose)
    inside = (points > _WALL_MARGIN) & (points < FIELD_SIZE - _WALL_MARGIN)
    return np.asarray(points[inside.all(axis=1)])


def _outline(pose: npt.ArrayLike) -> tuple[Points, Points]:
    corners = block_to_world(OUTLINE, pose)
    return corners, np.roll(corners, -1, axis=0)


def _segment_clearance(a: Points, b: Points, pose: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Distance of segments from the block's outline, 0 where they cross it. Shape (segments,)."""
    c, d = _outline(pose)
    distance = np.minimum.reduce(
        [
            _point_to_segment(a[:, None], c, d),
            _point_to_segment(b[:, None], c, d),
            _point_to_segment(c, a[:, None], b[:, None]),
            _point_to_segment(d, a[:, None], b[:, None]),
        ]
    )
    crossing = (_side(a[:, None], b[:, None], c) * _side(a[:, None], b[:, None], d) < 0) & (
        _side(c, d, a[:, None]) * _side(c, d, b[:, None]) < 0
    )
    return np.asarray(np.where(crossing, 0.0, distance).min(axis=1))


def _side(a: Points, b: Points, point: Points) -> npt.NDArray[np.float64]:
    """Positive where the point lies to one side of the line through a and b."""
    u, v = b - a, point - a
    return np.asarray(u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0])


def _point_to_segment(point: Points, a: Points, b: Points) -> npt.NDArray[np.float64]:
    along = b - a
    squared = np.maximum((along**2).sum(axis=-1), 1e-12)
    t = np.clip(((point - a) * along).sum(axis=-1) / squared, 0.0, 1.0)
    return np.asarray(np.sqrt(((point - a - t[..., None] * along) ** 2).sum(axis=-1)))
