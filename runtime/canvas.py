"""Smooth drawing in the coordinates of the Push-T field."""

from typing import Final, TypeAlias

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffusion_controller.envs.pusht import FIELD_SIZE

Frame: TypeAlias = NDArray[np.uint8]
"""RGB picture. Shape (height, width, 3)."""

Color: TypeAlias = tuple[int, int, int]

_OVERSAMPLING: Final = 2
_SUBPIXEL_BITS: Final = 4


class FieldCanvas:
    """The square field, drawn at twice the size of the picture that is taken of it.

    Points are in [px] of the field, whatever the size of the picture.
    """

    def __init__(self, size: int, *, paper: Color) -> None:
        """An empty field.

        Args:
            size: Side of the pictures in [px].
            paper: Its color.
        """
        self._size = size
        self._scale = _OVERSAMPLING * size / FIELD_SIZE
        side = _OVERSAMPLING * size
        self._pixels = np.full((side, side, 3), paper, dtype=np.uint8)

    def copy(self) -> "FieldCanvas":
        """Another canvas with the same drawing."""
        twin = FieldCanvas.__new__(FieldCanvas)
        twin._size, twin._scale, twin._pixels = self._size, self._scale, self._pixels.copy()
        return twin

    def picture(self) -> Frame:
        """What was drawn. Shape (size, size, 3)."""
        size = (self._size, self._size)
        return np.asarray(cv2.resize(self._pixels, size, interpolation=cv2.INTER_AREA), np.uint8)

    def polygon(self, points: ArrayLike, color: Color) -> None:
        """Fill. Shape of `points` (vertices, 2)."""
        cv2.fillPoly(self._pixels, [self._place(points)], color, cv2.LINE_AA, _SUBPIXEL_BITS)

    def line(
        self, points: ArrayLike, color: Color, *, width: float, is_closed: bool = False
    ) -> None:
        """Connect. Shape of `points` (points, 2); `width` in [px] of the field."""
        thickness = max(1, round(width * self._scale))
        cv2.polylines(
            self._pixels,
            [self._place(points)],
            is_closed,
            color,
            thickness,
            cv2.LINE_AA,
            _SUBPIXEL_BITS,
        )

    def disc(self, centre: ArrayLike, radius: float, color: Color) -> None:
        """Fill a circle; `radius` in [px] of the field."""
        x, y = self._place(centre).reshape(2).tolist()
        scaled = round(radius * self._scale * 2**_SUBPIXEL_BITS)
        cv2.circle(self._pixels, (x, y), scaled, color, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS)

    def _place(self, points: ArrayLike) -> NDArray[np.int32]:
        """In parts of a pixel; what lies far outside is cut, lest OpenCV's integers overflow."""
        scaled = np.asarray(points, dtype=np.float64) * self._scale * 2**_SUBPIXEL_BITS
        return np.clip(np.rint(scaled), -(2**17), 2**17).astype(np.int32)


def between(start: Color, end: Color, share: float) -> Color:
    """A color on the way from one to another; `share` in [0, 1]."""
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(start, end, strict=True))
    return red, green, blue
