"""The picture of `denoising_steps.py`: score and success against the number of steps."""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator, NullLocator

INK, MUTED = "#1d2129", "#767c88"


@dataclass(frozen=True)
class Style:
    """How one sampler is drawn; colours of Okabe and Ito (2008), told apart by the colour-blind.

    Attributes:
        label: Its name in the legend.
        color: Of line and markers.
        marker: Of its points.
        shift: Factor on the number of steps, so that error bars stand side by side.
    """

    label: str
    color: str
    marker: str
    shift: float = 1.0


STYLES = {
    "ddpm": Style("DDPM, level dashed", "#1d2129", "s"),
    "ddim": Style("DDIM, as published", "#0072b2", "o", 0.92),
    "ddim_trailing": Style("DDIM, from the noisiest timestep", "#e69f00", "D", 0.973),
    "dpm_solver++": Style("DPM-Solver++(2M)", "#009e73", "^", 1.027),
    "euler": Style("flow matching, Euler", "#cc79a7", "v", 1.08),
}


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Two panels, one curve per sampler, 95 % intervals over the starts.

    Args:
        result: What `denoising_steps.py` writes.
        path: Where to: .png or .svg.
    """
    rows = result["rows"]
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    score, success = figure.subplots(1, 2)
    _panel(score, rows, "mean_score", scale=1, bottom=0.8)
    _panel(success, rows, "success_rate", scale=100, bottom=0)
    _title(score, "mean score")
    _title(success, "success in %")
    handles, labels = score.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=len(labels), frameon=False,
        fontsize=8.5, labelcolor=INK, handletextpad=0.4, columnspacing=1.6,
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=180, facecolor="white")


def _panel(
    axes: Axes, rows: Sequence[Mapping[str, Any]], key: str, *, scale: float, bottom: float
) -> None:
    for sampler, style in STYLES.items():
        found = sorted(
            (row for row in rows if row["sampler"] == sampler),
            key=lambda row: float(row["num_inference_steps"]),
        )
        if not found:
            continue
        steps = [style.shift * row["num_inference_steps"] for row in found]
        values = [scale * row[key] for row in found]
        ends = [[scale * end for end in row[f"{key}_interval"]] for row in found]
        if sampler == "ddpm":  # the process that was trained, as a level to compare with
            axes.axhspan(*ends[0], color=style.color, alpha=0.07, linewidth=0)
            axes.axhline(values[0], color=style.color, linewidth=0.8, linestyle=(0, (4, 3)))
        errors = [
            [max(value - low, 0) for value, (low, _) in zip(values, ends, strict=True)],
            [max(high - value, 0) for value, (_, high) in zip(values, ends, strict=True)],
        ]
        axes.errorbar(
            steps, values, errors, label=style.label, color=style.color, marker=style.marker,
            markersize=5, linewidth=1.3, elinewidth=1.3, capsize=2.5,
        )  # fmt: skip
        for at, value in zip(steps, values, strict=True):
            if value < bottom:
                _point_below(axes, at, value, bottom, style)
    axes.set_ylim(bottom if bottom else -0.025 * scale, scale)  # a marker at 0 is seen whole
    axes.set_xscale("log", base=2)
    axes.set_xlim(0.8, 128)
    axes.set_xticks([1, 2, 4, 8, 16, 32, 64, 100])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_locator(MultipleLocator(scale * (1 - bottom / scale) / 4))
    axes.set_xlabel("denoising steps per chunk, log scale", color=MUTED, fontsize=9)


def _point_below(axes: Axes, x: float, value: float, bottom: float, style: Style) -> None:
    """Say how low a point lies that the panel does not reach."""
    axes.text(x, bottom, f"↓ {value:.2f}", color=style.color, fontsize=8.5, va="bottom")


def _title(axes: Axes, text: str) -> None:
    """Two thin axes, a light grid, the title at the left in place of an axis label."""
    axes.set_title(text, loc="left", fontsize=9.5, color=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(MUTED)
        axes.spines[side].set_linewidth(0.7)
    axes.tick_params(which="both", colors=MUTED, labelsize=8.5, width=0.7, length=3)
    axes.grid(axis="y", color=MUTED, alpha=0.18, linewidth=0.6)
    axes.set_axisbelow(True)


def main() -> None:
    """Draw a JSON that is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("json", type=Path)
    parser.add_argument("picture", type=Path)
    arguments = parser.parse_args()
    draw(json.loads(arguments.json.read_text()), arguments.picture)


if __name__ == "__main__":
    main()
