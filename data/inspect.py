"""What a replay buffer holds: a table to read and a picture of its episodes."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffusion_controller.data.errors import StoreFormatError, StoreWriteError
from diffusion_controller.data.replay_buffer import SEEDS, ReplayBuffer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MAX_PATHS = 300


@dataclass(frozen=True)
class ArraySummary:
    """One array under `data/`.

    Attributes:
        name: Its name.
        dtype: Its element type.
        shape: Shape of one step.
        steps_per_chunk: Steps that are read together.
        low: Smallest finite value of each channel; None for images, which are not read, and where
            a channel has none.
        high: Largest finite value of each channel, or None likewise.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    steps_per_chunk: int
    low: tuple[float, ...] | None
    high: tuple[float, ...] | None


@dataclass(frozen=True)
class BufferSummary:
    """What a replay buffer holds.

    Attributes:
        num_episodes: Finished episodes.
        num_steps: Their steps together.
        shortest: Steps of the shortest episode.
        mean_length: Mean steps of an episode.
        longest: Steps of the longest episode.
        control_hz: Recorded rate, in [Hz], if known.
        arrays: What is recorded at each step.
        metadata: What else was recorded, without the seeds.
        num_seeds: Episodes whose start seed is known.
    """

    num_episodes: int
    num_steps: int
    shortest: int
    mean_length: float
    longest: int
    control_hz: float | None
    arrays: tuple[ArraySummary, ...]
    metadata: dict[str, Any]
    num_seeds: int

    def to_json(self) -> dict[str, Any]:
        """The summary as JSON values."""
        return asdict(self)


def summarize(buffer: ReplayBuffer) -> BufferSummary:
    """Reads all arrays but images."""
    lengths = np.diff(buffer.episode_ends, prepend=0)
    control_hz = buffer.metadata.get("control_hz")
    return BufferSummary(
        num_episodes=buffer.num_episodes,
        num_steps=buffer.num_steps,
        shortest=int(lengths.min(initial=lengths[0])) if len(lengths) else 0,
        mean_length=float(lengths.mean()) if len(lengths) else 0.0,
        longest=int(lengths.max(initial=0)),
        control_hz=None if control_hz is None else float(control_hz),
        arrays=tuple(_summarize_array(buffer, name) for name in buffer.arrays),
        metadata={key: value for key, value in buffer.metadata.items() if key != SEEDS},
        num_seeds=len(buffer.metadata.get(SEEDS, [])),
    )


def _summarize_array(buffer: ReplayBuffer, name: str) -> ArraySummary:
    array = buffer.array(name)
    low = high = None
    if array.ndim < 4 and buffer.num_steps and array.dtype.kind in "iufb":
        values = buffer.read(name).reshape(buffer.num_steps, -1).astype(np.float64)
        values[~np.isfinite(values)] = np.nan  # a defect, which `validate` names
        if np.isfinite(values).any(axis=0).all():
            low = tuple(np.nanmin(values, axis=0).tolist())
            high = tuple(np.nanmax(values, axis=0).tolist())
    return ArraySummary(
        name=name,
        dtype=str(array.dtype),
        shape=tuple(array.shape[1:]),
        steps_per_chunk=(array.shards or array.chunks)[0],
        low=low,
        high=high,
    )


def format_summary(summary: BufferSummary) -> str:
    """The summary as a table for a terminal."""
    rate = summary.control_hz
    duration = f", {summary.num_steps / rate / 60:.1f} min at {rate:g} Hz" if rate else ""
    lines = [
        f"{summary.num_episodes} episodes, {summary.num_steps} steps{duration}",
        f"episode length {summary.shortest} to {summary.longest} steps, "
        f"mean {summary.mean_length:.1f}",
    ]
    if summary.num_seeds:
        lines.append(f"start seeds known for {summary.num_seeds} episodes")
    lines += [f"{key}: {value}" for key, value in sorted(summary.metadata.items())]
    rows = [("array", "type", "shape of a step", "chunk", "range")]
    rows += [_row(array) for array in summary.arrays]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines.append("")
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:4], widths, strict=True)]
        lines.append("  ".join([*cells, row[4]]).rstrip())
    return "\n".join(lines)


def _row(array: ArraySummary) -> tuple[str, str, str, str, str]:
    span = "-"
    if array.low is not None and array.high is not None:
        span = f"{min(array.low):.4g} to {max(array.high):.4g}"
        if len(array.low) <= 6:
            pairs = zip(array.low, array.high, strict=True)
            span = ", ".join(f"{low:.4g} to {high:.4g}" for low, high in pairs)
    return array.name, array.dtype, str(array.shape), str(array.steps_per_chunk), span


def draw_episodes(buffer: ReplayBuffer, path: str | Path) -> Path:
    """Draws where episodes start, the paths of their actions, and where actions lie.

    The first two channels of `action` and `state` are drawn against each other; the y axis
    points down, as in an image, where keypoints or images were recorded too.

    Args:
        buffer: With an array `action` of at least one channel.
        path: PNG, SVG or PDF to write.

    Raises:
        ArrayNotFoundError: There is no array `action`.
        StoreFormatError: There is nothing to draw.
        StoreWriteError: The picture cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not buffer.num_episodes:
        raise StoreFormatError("the buffer has no episodes to draw; expected at least one")
    actions = _plane(buffer, "action")
    lengths = np.diff(buffer.episode_ends, prepend=0)
    figure = Figure(figsize=(12, 10.5), layout="constrained")
    FigureCanvasAgg(figure)
    starts_axes, paths_axes, density_axes, lengths_axes = figure.subplots(2, 2).flat
    _draw_starts(starts_axes, buffer, actions)
    _draw_paths(paths_axes, actions, buffer.episode_ends)
    _draw_density(density_axes, actions)
    lengths_axes.hist(lengths, bins=min(40, max(5, len(lengths) // 4)), color="tab:blue")
    lengths_axes.set(title=f"Lengths of {len(lengths)} episodes", xlabel="steps", ylabel="episodes")
    is_planar = buffer.array("action").shape[-1] > 1
    for axes in (starts_axes, paths_axes, density_axes) if is_planar else ():
        axes.set_aspect("equal")
        if {"img", "keypoint"} & set(buffer.arrays):
            axes.invert_yaxis()
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise StoreWriteError(
            f"the picture {path} cannot be written ({error}); "
            "expected a writable place and a name that ends with .png, .svg or .pdf"
        ) from error
    return Path(path)


def _plane(buffer: ReplayBuffer, name: str) -> NDArray[np.float64]:
    """The first two channels of an array; time takes the place of one that is missing.

    Shape (steps, 2).
    """
    values = buffer.read(name).reshape(buffer.num_steps, -1).astype(np.float64)
    if values.shape[1] >= 2:
        return values[:, :2]
    starts = np.concatenate([[0], buffer.episode_ends[:-1]])
    lengths = np.diff(buffer.episode_ends, prepend=0)
    step = np.arange(buffer.num_steps) - np.repeat(starts, lengths)
    return np.stack([step, values[:, 0]], axis=1)


def _draw_starts(axes: "Axes", buffer: ReplayBuffer, actions: NDArray[np.float64]) -> None:
    first = np.concatenate([[0], buffer.episode_ends[:-1]])
    has_state = "state" in buffer.arrays
    positions = (_plane(buffer, "state") if has_state else actions)[first]
    label = "state channels 0, 1" if has_state else "first action"
    axes.scatter(positions[:, 0], positions[:, 1], s=18, color="tab:blue", label=label, zorder=3)
    state = buffer.read("state") if has_state else np.zeros((0, 0))
    if "keypoint" in buffer.arrays and state.shape[1:] == (5,):
        # Push-T: the block's origin, and an arrow along its stem, which is the body's y axis.
        x, y, angle = state[first, 2:].T
        stem = (x, y, -np.sin(angle), np.cos(angle))
        axes.quiver(*stem, angles="xy", scale=25, width=0.003, color="tab:gray", label="block")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2, frameon=False)
    axes.set(title=f"Starts of {buffer.num_episodes} episodes", xlabel="x", ylabel="y")


def _draw_paths(axes: "Axes", actions: NDArray[np.float64], ends: NDArray[np.int64]) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import LineCollection

    episodes = np.split(actions, ends[:-1])
    shown = episodes[:: -(-len(episodes) // _MAX_PATHS)]
    for episode in shown:
        segments = np.stack([episode[:-1], episode[1:]], axis=1)
        lines = LineCollection(list(segments), linewidths=0.6, alpha=0.6, cmap="viridis")
        lines.set_array(np.linspace(0, 1, max(len(segments), 1)))
        axes.add_collection(lines)
    axes.autoscale_view()
    colorbar = axes.figure.colorbar(ScalarMappable(cmap="viridis"), ax=axes, shrink=0.8)
    colorbar.set_label("part of the episode that has passed")
    axes.set(title=f"Actions of {len(shown)} episodes", xlabel="channel 0", ylabel="channel 1")


def _draw_density(axes: "Axes", actions: NDArray[np.float64]) -> None:
    counts, x_edges, y_edges = np.histogram2d(actions[:, 0], actions[:, 1], bins=64)
    mesh = axes.pcolormesh(x_edges, y_edges, np.log1p(counts.T), cmap="magma")
    axes.figure.colorbar(mesh, ax=axes, shrink=0.8).set_label("log(1 + actions)")
    axes.set(title="Density of actions", xlabel="channel 0", ylabel="channel 1")
