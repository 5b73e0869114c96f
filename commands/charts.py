"""Charts of a report, each once for light and once for dark pages."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
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
        _label_log_axis(axes.yaxis)
        axes.set_xlim(0, max(steps))
        axes.set_xlabel("optimizer step")
        axes.set_title("denoising loss (mean squared error, log scale)")
        if held_out:
            axes.plot(*zip(*held_out, strict=True), "o", color=theme.series[1], markersize=5)
        _label_last(axes, steps[-1], losses[-1], theme)

    return _render(draw, path)


def draw_latency(
    durations: Mapping[str, Sequence[float]],
    path: Path,
    *,
    period: float,
    chunk_period: float,
) -> Chart:
    """How long chunks took, against what there is time for.

    Args:
        durations: In [s], by the name of the policy.
        path: PNG file to write besides.
        period: Control period in [s].
        chunk_period: How long the actions of one chunk last, in [s].
    """
    milliseconds = [1e3 * np.asarray(values) for values in durations.values()]
    low = min(values.min() for values in milliseconds)
    high = max(*(values.max() for values in milliseconds), 1e3 * chunk_period)
    bins = np.geomspace(0.7 * low, 1.6 * high, 120)

    def draw(axes: Axes, theme: Theme) -> None:
        for values, name, color in zip(milliseconds, durations, theme.series, strict=False):
            axes.hist(values, bins.tolist(), color=color, alpha=0.75, label=name)
        top = axes.get_ylim()[1] * 1.18
        axes.set_ylim(0, top)
        limits = {"control period": 1e3 * period, "actions of a chunk": 1e3 * chunk_period}
        for text, limit in limits.items():
            axes.axvline(limit, color=theme.warning, linewidth=1.2, linestyle=(0, (4, 3)))
            axes.text(
                limit * 0.97, top * 0.97, f"{text}\n{limit:.0f} ms", ha="right", va="top",
                color=theme.warning, fontsize=8,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_xlim(bins[0], bins[-1])
        _label_log_axis(axes.xaxis)
        axes.set_xlabel("time from observation to action chunk in [ms], log scale")
        axes.set_title("chunks")
        if len(durations) > 1:
            axes.legend(frameon=False, labelcolor=theme.ink, fontsize=8, loc="center")

    return _render(draw, path)


def _label_log_axis(axis: Axis) -> None:
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _label_last(axes: Axes, x: float, y: float, theme: Theme) -> None:
    axes.plot([x], [y], "o", color=theme.series[0], markersize=4, clip_on=False)
    axes.annotate(
        f"{y:.2g}", (x, y), (-6, 7), textcoords="offset points", ha="right", color=theme.ink
    )


def _render(draw: Callable[[Axes, Theme], None], path: Path) -> Chart:
    pictures = []
    for theme in (LIGHT, DARK):
        figure = Figure(figsize=(7.2, 2.5), layout="constrained")
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
