"""The T-shaped block: its outline, its keypoints, its goal, and how well it covers the goal.

The block's pose is (x, y, angle): where the origin of its body frame lies in the image-like
world frame (x to the right, y down, in [px]) and by how much the frame is turned in [rad].
The origin is the middle of the bar's outer edge, not the centre of gravity.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

BAR: Final = ((-60.0, 30.0), (60.0, 30.0), (60.0, 0.0), (-60.0, 0.0))
"""Vertices of the bar in the body frame in [px], in the order of the published environment."""

STEM: Final = ((-15.0, 30.0), (-15.0, 120.0), (15.0, 120.0), (15.0, 30.0))
"""Vertices of the stem in the body frame in [px], in the order of the published environment."""

OUTLINE: Final = (
    (-60.0, 0.0),
    (60.0, 0.0),
    (60.0, 30.0),
    (15.0, 30.0),
    (15.0, 120.0),
    (-15.0, 120.0),
    (-15.0, 30.0),
    (-60.0, 30.0),
)
"""Vertices of bar and stem together in the body frame in [px], once around."""

CENTER_OF_GRAVITY: Final = (0.0, 45.0)
"""In the body frame in [px]: the mean of the two rectangles' centres, as published."""

GOAL_POSE: Final = (256.0, 256.0, math.pi / 4)
"""Pose (x, y, angle) that the block is to reach."""

AREA: Final = 6300.0
"""Of the T in [px²]."""

KEYPOINTS: Final[npt.NDArray[np.float64]] = np.array(
    [
        (9.269787, 90.040974),
        (-60.983472, -1.186730),
        (60.912756, -1.393364),
        (-0.270503, 25.543625),
        (-14.064927, 122.815854),
        (39.002738, 32.857404),
        (-39.966414, 32.729656),
        (-16.824344, 62.863179),
        (23.541461, -1.700288),
    ]
)
"""The published keypoints in the body frame in [px]: medians over the demonstrations. (9, 2)."""
KEYPOINTS.flags.writeable = False

_COS_GOAL: Final = math.cos(GOAL_POSE[2])
_SIN_GOAL: Final = math.sin(GOAL_POSE[2])


def block_to_world(points: npt.ArrayLike, pose: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Points of the block's body frame in the world frame.

    Args:
        points: In the body frame in [px]. Shape (points, 2).
        pose: (x, y, angle). Shape (…, 3).

    Returns:
        In [px]. Shape (…, points, 2).
    """
    body = np.asarray(points, dtype=np.float64)
    poses = np.asarray(pose, dtype=np.float64)
    cos = np.cos(poses[..., 2, None])
    sin = np.sin(poses[..., 2, None])
    x = cos * body[:, 0] - sin * body[:, 1] + poses[..., 0, None]
    y = sin * body[:, 0] + cos * body[:, 1] + poses[..., 1, None]
    return np.stack([x, y], axis=-1)


def keypoints_of_state(state: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The nine published keypoints of the block.

    Args:
        state: (agent x, agent y, block x, block y, block angle). Shape (…, 5).

    Returns:
        In [px]. Shape (…, 9, 2).
    """
    return block_to_world(KEYPOINTS, np.asarray(state, dtype=np.float64)[..., 2:5])


def coverage(x: float, y: float, angle: float) -> float:
    """Which part of the goal T the block covers: area(T ∩ goal T) / area(goal T), in [0, 1].

    The block's outline is taken to the goal's body frame, where the goal is two
    axis-aligned rectangles. The area inside each is a boundary integral (Green), exact
    for any simple polygon and without building the intersection.
    """
    dx, dy = x - GOAL_POSE[0], y - GOAL_POSE[1]
    if dx * dx + dy * dy > 280.0 * 280.0:  # no point of a T is farther than 121 from its origin
        return 0.0
    cos, sin = math.cos(angle - GOAL_POSE[2]), math.sin(angle - GOAL_POSE[2])
    origin_x = _COS_GOAL * dx + _SIN_GOAL * dy
    origin_y = _COS_GOAL * dy - _SIN_GOAL * dx
    outline = [(cos * u - sin * v + origin_x, sin * u + cos * v + origin_y) for u, v in OUTLINE]
    area = _area_in_rectangle(outline, -60.0, 60.0, 0.0, 30.0)
    area += _area_in_rectangle(outline, -15.0, 15.0, 30.0, 120.0)
    return min(1.0, max(0.0, area / AREA))


def _area_in_rectangle(
    polygon: list[tuple[float, float]], left: float, right: float, low: float, high: float
) -> float:
    """Area of polygon ∩ [left, right] × [low, high]: −∮ clamp(y, low, high) dx within the slab.

    Args:
        polygon: Vertices, once around in the sense of `OUTLINE`.
        left: Of the rectangle, like the three that follow.
        right: Greater than left.
        low: Least y.
        high: Greater than low.
    """
    area = 0.0
    xa, ya = polygon[-1]
    for xb, yb in polygon:
        x0, y0, x1, y1 = xa, ya, xb, yb
        xa, ya = xb, yb
        if x0 == x1 or (x0 <= left and x1 <= left) or (x0 >= right and x1 >= right):
            continue
        slope = (y1 - y0) / (x1 - x0)
        if x0 < left:
            x0, y0 = left, y0 + (left - x0) * slope
        elif x0 > right:
            x0, y0 = right, y0 + (right - x0) * slope
        if x1 < left:
            x1, y1 = left, y1 + (left - x1) * slope
        elif x1 > right:
            x1, y1 = right, y1 + (right - x1) * slope
        bottom, top = (y0, y1) if y0 < y1 else (y1, y0)
        if top <= low:
            mean = low
        elif bottom >= high:
            mean = high
        elif bottom >= low and top <= high:
            mean = 0.5 * (bottom + top)
        else:
            inner_bottom, inner_top = max(bottom, low), min(top, high)
            mean = (
                (inner_bottom - bottom) * low
                + (top - inner_top) * high
                + (inner_top - inner_bottom) * 0.5 * (inner_bottom + inner_top)
            ) / (top - bottom)
        area -= mean * (x1 - x0)
    return area
