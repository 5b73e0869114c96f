"""One thing that is wrong with a replay buffer, and where."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Defect:
    """One thing that is wrong.

    Attributes:
        severity: "error" where training would fail or learn something false, else "warning".
        episode: Which episode; None where it concerns the whole store.
        index: First step concerned, counted from the start of `episode`, or from the start of
            the array where `episode` is None; None where it concerns no single step.
        array: Path in the store, such as "data/action".
        message: What was found and what was expected.
    """

    severity: Severity
    episode: int | None
    index: int | None
    array: str
    message: str

    def to_json(self) -> dict[str, Any]:
        """The defect as JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        """One line."""
        place = "" if self.episode is None else f" episode {self.episode}"
        place += "" if self.index is None else f" step {self.index}"
        return f"{self.severity}: {self.array}{place}: {self.message}"


class EpisodePlaces:
    """Where a step of an array belongs."""

    def __init__(self, ends: NDArray[np.int64] | None) -> None:
        self.ends = ends

    def place(self, step: int) -> tuple[int | None, int]:
        """Episode and step within it."""
        if self.ends is None or not len(self.ends) or step >= self.ends[-1]:
            return None, step
        episode = int(np.searchsorted(self.ends, step, side="right"))
        return episode, step - (int(self.ends[episode - 1]) if episode else 0)

    def spans(self, num_steps: int) -> Iterator[tuple[int | None, int, int]]:
        """Episode, first step and end of each episode; the whole array where none are known."""
        if self.ends is None:
            yield None, 0, num_steps
            return
        start = 0
        for episode, end in enumerate(self.ends.tolist()):
            yield episode, start, min(end, num_steps)
            start = end

    def group(
        self, steps: NDArray[np.int64]
    ) -> Iterator[tuple[int | None, int, NDArray[np.int64]]]:
        """Episode, first step within it, and steps of the array, for each episode concerned."""
        places = [self.place(int(step)) for step in steps]
        episodes = np.array([-1 if episode is None else episode for episode, _ in places], int)
        for found in np.unique(episodes):
            inside = np.flatnonzero(episodes == found)
            episode, index = places[inside[0]]
            yield episode, index, steps[inside]
