"""Charts of a report, each once for light and once for dark pages."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter


@dataclass(frozen=True)
class Theme:
    """Colours of a chart.

    Attributes:
        ink: Of text and of what matters.
        muted: Of axes and of what explains.
        series: Of the data, one after the other.
        warning: Of a limit.
    """

    ink: str
    muted: str
    series: tuple[str, ...]
    warning: str


LIGHT = Theme("#1d2129", "#767c88", ("#3457d5", "#c2571a"), "#b3261e")
DARK = Theme("#e7e9ee", "#8d94a3", ("#8ea6ff", "#f0995c"), "#ff8a80")


@dataclass(frozen=True)
class Chart:
    """A picture for each kind of page, as PNG with a transparent ground.

    Attributes:
        light: For light pages and for print.
        dark: For dark pages.
    """

    light: bytes
    dark: bytes


def draw_training(lines: Sequence[Mapping[str, Any]], path: Path) -> Chart:
    """The denoising loss over optimizer steps.

    Args:
        lines: Of the training's metrics; `step` and `loss`, perhaps `validation_loss`.
        path: PNG file to write besides.
    """
    steps = [line["step"] for line in lines if "loss" in line]
    losses = [line["loss"] for line in lines if "loss" in line]
    held_out = [
        (line["step"], line["validation_loss"]) for line in lines if "validation_loss" in line
    ]

    def draw(axes: Axes, theme: Theme) -> None:
        axes.plot(steps, losses, color=theme.series[0], linewidth=1.6)
        axes.set_yscale("log")
        label_log_axis(axes.yaxis)
        axes.set_xlim(0, max(steps))
        axes.set_xlabel("optimizer step")
        axes.set_title("denoising loss (mean squared error, log scale)")
        if held_out:
            axes.plot(*zip(*held_out, strict=True), "o", color=theme.series[1], markersize=5)
        _label_last(axes, steps[-1], losses[-1], theme)

    return render(draw, path)


def label_log_axis(axis: Axis) -> None:
    """Label 1, 2, 5, 10, …, as they are written."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _label_last(axes: Axes, x: float, y: float, theme: Theme) -> None:
    axes.plot([x], [y], "o", color=theme.series[0], markersize=4, clip_on=False)
    axes.annotate(
        f"{y:.2g}", (x, y), (-6, 7), textcoords="offset points", ha="right", color=theme.ink
    )


def render(draw: Callable[[Axes, Theme], None], path: Path, *, height: float = 2.5) -> Chart:
    """Draw for both kinds of page, and write the light one besides.

    Args:
        draw: Draws with the colours of a theme.
        path: PNG file to write.
        height: In inches; the width is that of a page.
    """
    pictures = []
    for theme in (LIGHT, DARK):
        figure = Figure(figsize=(7.2, height), layout="constrained")
        axes = figure.add_subplot()
        draw(axes, theme)
        _quiet(axes, theme)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=180, transparent=True)
        pictures.append(buffer.getvalue())
        if theme is LIGHT:
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, dpi=180, facecolor="white")
    return Chart(light=pictures[0], dark=pictures[1])


def _quiet(axes: Axes, theme: Theme) -> None:
    """Two thin axes, small text, the title at the left in place of an axis label."""
    axes.set_title(axes.get_title(), loc="left", fontsize=9, color=theme.muted)
    axes.set_title("", loc="center")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(theme.muted)
        axes.spines[side].set_linewidth(0.7)
    axes.tick_params(which="both", colors=theme.muted, labelsize=8, width=0.7, length=3)
    axes.xaxis.label.set_color(theme.muted)
    axes.xaxis.label.set_fontsize(9)
