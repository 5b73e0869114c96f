"""Defects of values that are there, finite and of the right shape."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffusion_controller.data.defects import Defect, EpisodePlaces


def check_constant(name: str, values: NDArray[Any]) -> Iterator[Defect]:
    """Channels that never change."""
    if len(values) < 2 or values.dtype.kind not in "iuf":
        return
    flat = values.reshape(len(values), -1)
    channels = np.flatnonzero((flat == flat[0]).all(axis=0))
    if channels.size:
        yield Defect(
            "warning",
            None,
            None,
            f"data/{name}",
            f"channels {channels.tolist()} are constant at {flat[0, channels].tolist()}; "
            "expected them to change, or an explicit range when they are normalized",
        )


def check_range(
    actions: NDArray[Any], action_range: tuple[float, float], episodes: EpisodePlaces
) -> Iterator[Defect]:
    """Actions that no demonstrator could have given."""
    low, high = action_range
    flat = actions.reshape(len(actions), -1)
    outside = np.flatnonzero(((flat < low) | (flat > high)).any(axis=1))
    for episode, index, steps in episodes.group(outside):
        yield Defect(
            "error",
            episode,
            index,
            "data/action",
            f"{len(steps)} actions are out of range, the first being {flat[steps[0]].tolist()}; "
            f"expected {low:g} to {high:g}",
        )


def check_time(name: str, values: NDArray[Any], episodes: EpisodePlaces) -> Iterator[Defect]:
    """Times must increase, and steps of more than 1.5 of the median step are gaps."""
    times = values.reshape(len(values), -1)[:, 0].astype(np.float64)
    inside = [
        (episode, np.diff(times[start:stop])) for episode, start, stop in episodes.spans(len(times))
    ]
    steps = np.concatenate([step for _, step in inside]) if inside else np.zeros(0)
    rising = steps[steps > 0]
    period = float(np.median(rising)) if rising.size else 0.0
    for episode, step in inside:
        for index in np.flatnonzero(~(step > 0)):
            message = f"time advances by {step[index]:.6g} s; expected it to rise"
            yield Defect("error", episode, int(index) + 1, f"data/{name}", message)
        for index in np.flatnonzero(step > 1.5 * period):
            message = f"time jumps by {step[index]:.6g} s; expected about {period:.6g} s"
            yield Defect("warning", episode, int(index) + 1, f"data/{name}", message)


def check_idle(
    arrays: dict[str, NDArray[Any]], episodes: EpisodePlaces, *, steps: int, tolerance: float
) -> Iterator[Defect]:
    """Runs of steps at which nothing happens."""
    names = [name for name in ("action", "state") if name in arrays]
    if "action" not in names:
        return
    num_steps = min(len(arrays[name]) for name in names)
    still = np.ones(max(num_steps - 1, 0), dtype=bool)
    for name in names:
        flat = arrays[name][:num_steps].reshape(num_steps, -1).astype(np.float64)
        if num_steps:
            with np.errstate(invalid="ignore"):  # what is not finite is a defect of its own
                still &= (np.abs(np.diff(flat, axis=0)) <= tolerance * np.ptp(flat, axis=0)).all(1)
    for episode, start, stop in episodes.spans(num_steps):
        edges = np.diff(np.concatenate([[0], still[start : max(stop - 1, start)], [0]]).astype(int))
        for first, last in zip(
            np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True
        ):
            count = int(last - first) + 1  # n still intervals lie between n + 1 equal steps
            if count >= steps:
                yield Defect(
                    "warning",
                    episode,
                    int(first),
                    "data/action",
                    f"{count} steps are idle: neither {' nor '.join(names)} changes; "
                    "a policy would learn to wait there",
                )
