"""Pictures of Push-T episodes: the scene, what the policy plans, how well it does."""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Final

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from diffusion_controller.envs.pusht import AGENT_RADIUS, FIELD_SIZE
from diffusion_controller.envs.tee import GOAL_POSE, OUTLINE, block_to_world
from diffusion_controller.runtime.canvas import FieldCanvas, Frame, between
from diffusion_controller.runtime.episode_slots import SUCCESS_REWARD, EpisodeTrace

TRAIL_STEPS: Final = 24
"""How far back the agent's path is shown, in control periods."""

_PAPER: Final = (255, 255, 255)
_INK: Final = (38, 42, 51)
_MUTED: Final = (122, 130, 143)
_FRAME: Final = (214, 218, 225)
_GOOD: Final = (33, 145, 80)
_GOAL: Final = (197, 236, 206)
_GOAL_EDGE: Final = (74, 176, 106)
_BLOCK: Final = (156, 170, 191)
_BLOCK_EDGE: Final = (92, 106, 128)
_AGENT: Final = (65, 105, 225)
_PLAN_NEAR: Final = (214, 62, 32)
_PLAN_FAR: Final = (250, 190, 88)
_WALL: Final = 5.0  # where the walls stand in [px] of the field


class EpisodePainter:
    """Draws one episode at any step, as a square scene with a caption below."""

    def __init__(self, trace: EpisodeTrace, *, size: int) -> None:
        """Prepare.

        Args:
            trace: Of a Push-T episode.
            size: Side of the scene in [px].
        """
        self._trace, self._size = trace, size
        self._background = _background(size)
        self._caption = max(24, round(size * 0.13))
        self._best = np.maximum.accumulate(np.concatenate([[0.0], trace.rewards]))
        self._last: Frame | None = None

    @property
    def num_steps(self) -> int:
        """Actions of the episode."""
        return len(self._trace.actions)

    def draw(self, step: int) -> Frame:
        """The episode after `step` actions; from its end on, its last picture, paler and marked.

        Returns:
            Shape (size + caption, size, 3).
        """
        if step < self.num_steps:
            return np.concatenate([self._scene(step), self._draw_caption(step)])
        if self._last is None:
            scene = self._marked(self._scene(self.num_steps))
            self._last = np.concatenate([scene, self._draw_caption(self.num_steps)])
        return self._last

    def _scene(self, now: int) -> Frame:
        canvas = self._background.copy()
        state = self._trace.states[now]
        block = block_to_world(OUTLINE, state[2:])
        canvas.polygon(block, _BLOCK)
        canvas.line(block, _BLOCK_EDGE, width=3, is_closed=True)
        canvas.line(block_to_world(OUTLINE, GOAL_POSE), _GOAL_EDGE, width=1.5, is_closed=True)
        self._draw_trail(canvas, now)
        canvas.disc(state[:2], AGENT_RADIUS, _AGENT)
        if now < self.num_steps:
            self._draw_plan(canvas, now)
        return canvas.picture()

    def _draw_trail(self, canvas: FieldCanvas, now: int) -> None:
        """Where the agent was, paler with age."""
        path = self._trace.states[max(0, now - TRAIL_STEPS) : now + 1, :2]
        for index, piece in enumerate(pairwise(path)):
            freshness = (index + 1) / len(path)
            canvas.line(piece, between(_PAPER, _AGENT, 0.15 + 0.6 * freshness), width=4)

    def _draw_plan(self, canvas: FieldCanvas, now: int) -> None:
        """The chunk that is being executed: what is left of it filled, what is done hollow."""
        planned = max(at for at in self._trace.chunks if at <= now)
        chunk = self._trace.chunks[planned]
        shares = np.linspace(0.0, 1.0, len(chunk))
        colors = [between(_PLAN_NEAR, _PLAN_FAR, share) for share in shares.tolist()]
        for piece, color in zip(pairwise(chunk), colors, strict=False):
            canvas.line(piece, color, width=2.5)
        for index in reversed(range(len(chunk))):
            canvas.disc(chunk[index], 6.5, _PAPER)
            canvas.disc(chunk[index], 5.0, colors[index])
            if index < now - planned:
                canvas.disc(chunk[index], 3.0, _PAPER)

    def _draw_caption(self, now: int) -> Frame:
        """Best score so far as a bar and as text; seed and step."""
        height, width = self._caption, self._size
        picture = Image.new("RGB", (width, height), _PAPER)
        draw = ImageDraw.Draw(picture)
        score = float(self._best[now])
        color = _GOOD if score >= SUCCESS_REWARD else _INK
        bar = max(3, round(height * 0.12))
        draw.rectangle((0, 0, width, bar - 1), fill=_FRAME)
        if score > 0:
            draw.rectangle((0, 0, round(score * width), bar - 1), fill=_GOOD)
        regular, bold = _font(height * 0.40, bold=False), _font(height * 0.46, bold=True)
        middle, margin = (height + bar) / 2, round(0.02 * width)
        seed = f"seed {self._trace.seed}"
        draw.text((margin, middle), seed, _MUTED, regular, anchor="lm")
        draw.text((width * 0.57, middle), f"step {now}", _MUTED, regular, anchor="mm")
        draw.text((width - margin, middle), f"{score:.2f}", color, bold, anchor="rm")
        return np.asarray(picture, np.uint8)

    def _marked(self, scene: Frame) -> Frame:
        """How the episode ended: the scene paler, with a plate at its top."""
        succeeded = bool(self._best[-1] >= SUCCESS_REWARD)
        text, color = ("success", _GOOD) if succeeded else ("time is up", _MUTED)
        paler = (0.65 * scene + 0.35 * np.array(_PAPER)).round().astype(np.uint8)
        picture = Image.fromarray(paler)
        draw = ImageDraw.Draw(picture)
        font = _font(self._size * 0.058, bold=True)
        centre = (self._size / 2, self._size * 0.11)
        left, top, right, bottom = draw.textbbox(centre, text, font, anchor="mm")
        pad = self._size * 0.026
        plate = (left - 1.6 * pad, top - pad, right + 1.6 * pad, bottom + pad)
        draw.rounded_rectangle(plate, radius=1.3 * pad, fill=color)
        draw.text(centre, text, _PAPER, font, anchor="mm")
        return np.asarray(picture, np.uint8)


def grid_shape(count: int) -> tuple[int, int]:
    """Rows and columns for so many pictures: few empty places, wider than high."""
    root = int(np.ceil(np.sqrt(count)))
    columns = min(range(root, 2 * root + 1), key=lambda c: (-count % c, c))
    return -(-count // columns), columns


def tile(pictures: Sequence[Frame], *, gap: int = 10) -> Frame:
    """Pictures of one size side by side on white; height and width are even, as video needs."""
    rows, columns = grid_shape(len(pictures))
    height, width = pictures[0].shape[:2]
    total = (rows * (height + gap) + gap, columns * (width + gap) + gap)
    canvas = np.full((total[0] + total[0] % 2, total[1] + total[1] % 2, 3), 255, dtype=np.uint8)
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        top, left = gap + row * (height + gap), gap + column * (width + gap)
        canvas[top : top + height, left : left + width] = picture
    return canvas


def _background(size: int) -> FieldCanvas:
    canvas = FieldCanvas(size, paper=_PAPER)
    canvas.polygon(block_to_world(OUTLINE, GOAL_POSE), _GOAL)
    low, high = _WALL, FIELD_SIZE - _WALL
    walls = [(low, low), (high, low), (high, high), (low, high)]
    canvas.line(walls, _FRAME, width=3, is_closed=True)
    return canvas


@cache
def _font(size: float, *, bold: bool) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", name), round(size))
