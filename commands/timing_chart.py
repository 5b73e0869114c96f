"""The plot of a timing: how latencies are spread, against what there is time for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.transforms import blended_transform_factory
from numpy.typing import NDArray

from diffusion_controller.commands.charts import Chart, Theme, label_log_axis, render
from diffusion_controller.commands.timing_report import WORDS
from diffusion_controller.runtime import Latencies, Requirement, in_ms, worse_of

ROW_INCHES = 0.62
_HALF = 0.42  # height of a distribution, in rows
_TAIL = 0.12  # distance of the line to the longest, likewise
_SMOOTHING = 0.012  # of the distributions, in decades


@dataclass(frozen=True)
class Row:
    """One policy or setting of the plot.

    Attributes:
        name: What stands beside it; may have two lines.
        alone: Latencies with the machine left alone, drawn upwards.
        busy: Latencies with the other cores busy, drawn downwards; None if not measured.
    """

    name: str
    alone: Latencies
    busy: Latencies | None


def draw_timing(rows: Sequence[Row], requirement: Requirement, path: Path) -> Chart:
    """One row per setting: the time of its chunks, alone above the line and busy below.

    Args:
        rows: From top to bottom.
        requirement: What there is time for.
        path: PNG file to write besides.
    """
    shown = [latencies for row in rows for latencies in (row.alone, row.busy) if latencies]
    low = 1e3 * min(requirement.period, *(min(latencies.durations) for latencies in shown))
    high = 1e3 * max(requirement.chunk_period, *(latencies.max for latencies in shown))
    grid = np.geomspace(0.75 * low, 1.5 * high, 1200)

    def draw(axes: Axes, theme: Theme) -> None:
        for place, row in enumerate(rows):
            _draw_row(axes, row, -place, grid, theme)
            axes.text(
                1.01, -place, _verdict(row, requirement), va="center", fontsize=8, color=theme.ink,
                transform=blended_transform_factory(axes.transAxes, axes.transData),
            )  # fmt: skip
        _draw_limits(axes, requirement, theme)
        axes.set_xscale("log")
        axes.set_xlim(grid[0], grid[-1])
        axes.set_ylim(-len(rows) + 0.45, 0.95)  # with room for the names of the limits
        label_log_axis(axes.xaxis)
        axes.set_yticks([-place for place in range(len(rows))], [row.name for row in rows])
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("time from observation to action chunk in [ms], log scale")
        _draw_legend(axes, theme, has_busy=any(row.busy for row in rows))

    return render(draw, path, height=1.4 + ROW_INCHES * len(rows))


def _draw_row(axes: Axes, row: Row, y: float, grid: NDArray[np.float64], theme: Theme) -> None:
    axes.axhline(y, color=theme.muted, linewidth=0.5, alpha=0.5, zorder=0)
    halves = [(row.alone, 1.0, theme.series[0]), (row.busy, -1.0, theme.series[1])]
    for latencies, side, color in halves:
        if latencies is None:
            continue
        density = _density(latencies, grid)
        edge = y + side * _HALF * density / density.max()
        axes.fill_between(grid, y, edge, color=color, alpha=0.75, linewidth=0)
        for name, width in (("p50", 1.6), ("p99", 1.6)):
            found = latencies.quantile(name)
            if found is not None:
                axes.plot([1e3 * found] * 2, [y, y + side * _HALF], color=color, linewidth=width)
        tail = 1e3 * np.array([latencies.judged, latencies.max])
        axes.plot(tail, [y + side * _TAIL] * 2, color=color, linewidth=0.8)
        axes.plot(tail[1], y + side * _TAIL, "o", color=color, markersize=2.6)


def _verdict(row: Row, requirement: Requirement) -> str:
    worse = worse_of(row.alone, row.busy)
    kept = WORDS[requirement.in_time(worse.judged)]
    return f"{kept}\n{worse.judged_by} {in_ms(worse.judged)}"


def _density(latencies: Latencies, grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """Density on a logarithmic scale, smoothed so that single calls can be seen."""
    decades = np.log10(grid)[:, None] - np.log10(1e3 * np.asarray(latencies.durations))
    density: NDArray[np.float64] = np.exp(-0.5 * (decades / _SMOOTHING) ** 2).sum(axis=1)
    return density


def _draw_limits(axes: Axes, requirement: Requirement, theme: Theme) -> None:
    """The two deadlines, and before each the margin that must be left."""
    transform = blended_transform_factory(axes.transData, axes.transAxes)
    actions = f"{requirement.action_horizon} actions"
    names = {"synchronous": ("control period", "right"), "slack": (actions, "left")}
    for kind, limit in requirement.limits.items():
        name, side = names[kind]
        right, left = 1e3 * limit, 1e3 * (1 - requirement.margin) * limit
        axes.axvspan(left, right, color=theme.warning, alpha=0.10, linewidth=0, zorder=0)
        axes.axvline(right, color=theme.warning, linewidth=1.2, zorder=1)
        label = axes.text(
            right, 0.99, f" {name}, {in_ms(limit)} ", transform=transform,
            ha=side, va="top", fontsize=8, color=theme.warning,
        )  # fmt: skip
        label.set_in_layout(False)  # it may stand over what is beside the axes


def _draw_legend(axes: Axes, theme: Theme, *, has_busy: bool) -> None:
    handles = [Patch(color=theme.series[0], alpha=0.75, label="alone")]
    if has_busy:
        handles.append(Patch(color=theme.series[1], alpha=0.75, label="other cores busy"))
    marks = [
        Line2D([], [], color=theme.muted, linewidth=1.6, label="p50 and p99"),
        Line2D([], [], color=theme.muted, linewidth=0, marker="o", markersize=3, label="longest"),
    ]
    axes.figure.legend(
        handles=[*handles, *marks], loc="outside lower left", ncols=4, frameon=False,
        labelcolor=theme.ink, fontsize=8, handlelength=1.2, columnspacing=1.6,
    )  # fmt: skip
