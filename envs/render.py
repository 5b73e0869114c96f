"""Pictures of Push-T in the published look.

The scene is drawn at 512 × 512 and resized with OpenCV's bilinear filter, as published: field,
walls and goal T never change and are drawn once; block and agent are drawn on top.
"""

import math
from collections.abc import Sequence
from typing import Final, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from diffusion_controller import DiffusionControllerError
from diffusion_controller.envs.tee import BAR, GOAL_POSE, STEM, block_to_world

Frame: TypeAlias = npt.NDArray[np.uint8]
"""RGB picture. Shape (height, width, 3)."""

SCENE_SIZE: Final = 512
"""Side of the drawing before it is resized in [px]."""

_FIELD_COLOR: Final = (255, 255, 255)
_WALL_COLOR: Final = (211, 211, 211)
_GOAL_COLOR: Final = (144, 238, 144)
_BLOCK_EDGE_COLOR: Final = (119, 136, 153)
_BLOCK_COLOR: Final = (142, 163, 183)
_AGENT_EDGE_COLOR: Final = (65, 105, 225)
_AGENT_COLOR: Final = (78, 126, 255)
_EDGE_WIDTH: Final = 4
_AGENT_RADIUS: Final = 15
_AGENT_INNER_RADIUS: Final = 11
_WALLS: Final = (
    ((5, 506), (5, 5)),
    ((5, 5), (506, 5)),
    ((506, 5), (506, 506)),
    ((5, 506), (506, 506)),
)


class RenderError(DiffusionControllerError, ValueError):
    """A picture that cannot be drawn."""


class PushTRenderer:
    """Draws states of Push-T at one size.

    Only the part of the picture that block and agent touch is drawn and resized anew. The
    result is the same to the last bit as that of drawing and resizing everything, because that
    part consists of whole periods of the resizing grid.
    """

    def __init__(self, size: int) -> None:
        """Draw field, walls and goal.

        Args:
            size: Side of the square pictures in [px].

        Raises:
            RenderError: If the size is not positive.
        """
        if size < 1:
            raise RenderError(f"a picture of {size} px cannot be drawn; give a size of at least 1")
        self._size = size
        self._background = _draw_background()
        self._scene = self._background.copy()
        self._small_background = _resize(self._background, (size, size))
        common = math.gcd(SCENE_SIZE, size)
        # Each output pixel reads two neighbours per axis; from a factor of two on they lie in
        # one period of the grid.
        self._period = SCENE_SIZE // common if 2 * size <= SCENE_SIZE else SCENE_SIZE
        self._period_out = self._period * size // SCENE_SIZE

    def draw(self, state: npt.ArrayLike) -> Frame:
        """The scene in a state.

        Args:
            state: (agent x, agent y, block x, block y, block angle) in [px] and [rad].

        Returns:
            A new array. Shape (size, size, 3).
        """
        values = np.asarray(state, dtype=np.float64)
        bar = np.rint(block_to_world(BAR, values[2:])).astype(np.int32)
        stem = np.rint(block_to_world(STEM, values[2:])).astype(np.int32)
        agent = (round(float(values[0])), round(float(values[1])))
        for polygon in (bar, stem):
            cv2.fillConvexPoly(self._scene, polygon, _BLOCK_COLOR)
            cv2.polylines(self._scene, [polygon], True, _BLOCK_EDGE_COLOR, _EDGE_WIDTH)
        cv2.circle(self._scene, agent, _AGENT_RADIUS, _AGENT_EDGE_COLOR, cv2.FILLED)
        cv2.circle(self._scene, agent, _AGENT_INNER_RADIUS, _AGENT_COLOR, cv2.FILLED)

        block = np.concatenate([bar, stem])
        regions = (
            self._region(block.min(axis=0).tolist(), block.max(axis=0).tolist(), _EDGE_WIDTH),
            self._region(agent, agent, _AGENT_RADIUS + 1),
        )
        frame = self._small_background.copy()
        for rows, columns, rows_out, columns_out in regions:
            height, width = rows_out.stop - rows_out.start, columns_out.stop - columns_out.start
            if height > 0 and width > 0:
                frame[rows_out, columns_out] = _resize(self._scene[rows, columns], (width, height))
        for rows, columns, _, _ in regions:
            self._scene[rows, columns] = self._background[rows, columns]
        return frame

    def _region(
        self, low: Sequence[int], high: Sequence[int], margin: int
    ) -> tuple[slice, slice, slice, slice]:
        """Rows and columns of the scene, and of the picture, that hold a bounding box.

        Args:
            low: Least (x, y) in [px] of the scene.
            high: Greatest (x, y).
            margin: How much farther the drawing reaches.
        """
        period, period_out = self._period, self._period_out
        spans = []
        for axis in (1, 0):
            first = min(max(low[axis] - margin, 0), SCENE_SIZE) // period
            last = min(max(high[axis] + margin + 1, 0), SCENE_SIZE)
            spans.append((first, max(first, -(-last // period))))
        rows, columns = spans
        return (
            slice(rows[0] * period, rows[1] * period),
            slice(columns[0] * period, columns[1] * period),
            slice(rows[0] * period_out, rows[1] * period_out),
            slice(columns[0] * period_out, columns[1] * period_out),
        )


def _resize(picture: Frame, size: tuple[int, int]) -> Frame:
    """Bilinear, as published; `size` is (width, height)."""
    return np.asarray(cv2.resize(picture, size), dtype=np.uint8)


def _draw_background() -> Frame:
    """Field, goal T and walls. Shape (512, 512, 3)."""
    scene = np.full((SCENE_SIZE, SCENE_SIZE, 3), _FIELD_COLOR, dtype=np.uint8)
    for rectangle in (BAR, STEM):
        polygon = np.rint(block_to_world(rectangle, GOAL_POSE)).astype(np.int32)
        cv2.fillConvexPoly(scene, polygon, _GOAL_COLOR)
    for start, end in _WALLS:
        cv2.line(scene, start, end, _WALL_COLOR, _EDGE_WIDTH)
    return scene
