"""Draws what a policy plans over a picture of Push-T."""

import cv2
import numpy as np
import numpy.typing as npt

from diffusion_controller.envs.pusht import FIELD_SIZE
from diffusion_controller.envs.render import Frame, RenderError

_SHIFT = 4  # OpenCV takes coordinates in 1/16 px
_SOON = np.array((220.0, 50.0, 32.0))
_LATE = np.array((255.0, 190.0, 60.0))
_PATH_COLOR = (90, 90, 110)


def draw_action_chunk(
    frame: Frame,
    chunk_px: npt.ArrayLike,
    *,
    num_executed: int | None = None,
    agent_path_px: npt.ArrayLike | None = None,
) -> Frame:
    """A copy of a frame with an action chunk, and the agent's way so far, drawn over it.

    Args:
        frame: From `PushTRenderer`, of any size. Shape (height, width, 3).
        chunk_px: Targets in [px] of the 512 × 512 field, soonest first. They go from red to
            yellow. Shape (horizon, 2).
        num_executed: How many of them are to be executed: discs; the others are rings. All if None.
        agent_path_px: Positions of the agent so far, in [px] of the field. Shape (points, 2).

    Returns:
        A new array of the frame's shape.

    Raises:
        RenderError: If points are not (x, y) or not finite.
    """
    picture = frame.copy()
    scale = frame.shape[1] / FIELD_SIZE
    thickness = max(1, round(2 * scale))
    if agent_path_px is not None:
        path = _in_frame(agent_path_px, "agent path", scale)
        cv2.polylines(picture, [path], False, _PATH_COLOR, thickness, cv2.LINE_AA, _SHIFT)
    chunk = _in_frame(chunk_px, "action chunk", scale)
    executed = len(chunk) if num_executed is None else num_executed
    colors = [_blend(index / max(1, len(chunk) - 1)) for index in range(len(chunk))]
    for index in range(1, len(chunk)):
        start, end = chunk[index - 1].tolist(), chunk[index].tolist()
        cv2.line(picture, start, end, colors[index], thickness, cv2.LINE_AA, _SHIFT)
    radius = max(1.5, 4 * scale)
    for index in reversed(range(len(chunk))):  # the soonest on top
        filled = cv2.FILLED if index < executed else thickness
        center, size = chunk[index].tolist(), round(radius * 2**_SHIFT)
        cv2.circle(picture, center, size, colors[index], filled, cv2.LINE_AA, _SHIFT)
    return picture


def _in_frame(points: npt.ArrayLike, name: str, scale: float) -> npt.NDArray[np.int32]:
    """Points in sixteenths of a pixel of the frame. Shape (points, 2)."""
    values = np.asarray(points, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != 2 or not np.isfinite(values).all():
        raise RenderError(
            f"{name} of shape {values.shape} cannot be drawn; give finite (x, y) in [px], "
            "shape (points, 2)"
        )
    return np.asarray(np.rint(values * scale * 2**_SHIFT), dtype=np.int32)


def _blend(fraction: float) -> tuple[int, int, int]:
    red, green, blue = (1 - fraction) * _SOON + fraction * _LATE
    return round(red), round(green), round(blue)
