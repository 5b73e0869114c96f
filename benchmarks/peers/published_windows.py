"""Image windows as published with Chi et al. (2023): all float32, in memory, with eight workers."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from peers.plain_windows import PlainWindows, batches

from diffusion_controller.data import ReplayBuffer

HORIZON, OBS_HORIZON, ACTION_HORIZON = 16, 2, 8
WORKERS = (0, 8)  # 8 as published


class PublishedWindows:
    """All pictures of a window, as published, or the observed ones alone, which is kinder."""

    def __init__(self, paths: dict[str, str], batch_size: int) -> None:
        """Reads the float store into memory as it is."""
        self._batch_size = batch_size
        buffer = ReplayBuffer.open(Path(paths["published"]))
        observations = {"image": buffer.read("img"), "agent": buffer.read("state")[:, :2]}
        actions = buffer.read("action")
        self._datasets = {
            name: PlainWindows(
                observations,
                actions,
                buffer.episode_ends,
                horizon=HORIZON,
                obs_horizon=OBS_HORIZON,
                action_horizon=ACTION_HORIZON,
                observed=observed,
            )
            for name, observed in {"all 16 images": HORIZON, "2 images": OBS_HORIZON}.items()
        }
        self.variants = tuple(
            f"{name}, {workers} workers" for name in self._datasets for workers in WORKERS
        )

    def __len__(self) -> int:
        """Number of windows."""
        return len(self._datasets["2 images"])

    def batches(self, variant: str) -> tuple[Iterator[Any], int]:
        """Batches without end, and how many to let pass before timing: those of the workers."""
        name, words = variant.rsplit(", ", 1)
        workers = int(words.split()[0])
        return batches(self._datasets[name], self._batch_size, workers), 1 + 2 * workers

    def pixel_sums(self, indices: Sequence[int]) -> list[int]:
        """Sum over all pixels of the observed images of single windows, counted to 255."""
        sums = []
        for index in indices:
            observation = self._datasets["2 images"][index]["observation"]
            if not isinstance(observation, dict):
                raise TypeError("a sample has another structure than expected")
            sums.append(round(float(observation["image"].double().mul(255).sum())))
        return sums
