"""LeRobot's own data set class, on demonstrations recorded with it. Runs in LeRobot's Python."""

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before its imports read it; nothing is downloaded

import datasets  # type: ignore[import-not-found]
import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset  # type: ignore[import-not-found]
from peers.plain_windows import batches

REPOSITORY = "local/pusht"
FPS, HORIZON, OBS_HORIZON = 10, 16, 2
WORKERS = (0, 4)  # 4 is the default of its training
KINDS = ("png", "video", "low-dimensional")


class LeRobotWindows:
    """Episodes that its recorder wrote, with pictures as PNG, as video, or without pictures."""

    def __init__(self, paths: dict[str, str], batch_size: int) -> None:
        """Records and opens the data sets; a kind that cannot be read here is left out."""
        logging.disable(logging.WARNING)
        datasets.disable_progress_bars()
        self._batch_size = batch_size
        self._sets: dict[str, Any] = {}
        self.failures: dict[str, str] = {}
        for kind in KINDS:
            root = Path(paths["scratch"]) / kind
            try:
                record(Path(paths["episodes"]), root, kind)
                self._sets[kind] = open_windows(root, kind)
                self._sets[kind][0]  # decodes, or says why not
            except Exception as error:  # of any kind: its decoders and encoders are many
                self._sets.pop(kind, None)
                self.failures[kind] = f"{type(error).__name__}: {error}".splitlines()[0]
                print(f"LeRobot, {kind}: {self.failures[kind]}", file=sys.stderr)
        self.variants = tuple(
            f"{kind}, {workers} workers" for kind in self._sets for workers in WORKERS
        )

    def __len__(self) -> int:
        """Number of windows: one for each step."""
        return max(map(len, self._sets.values()), default=0)

    def batches(self, variant: str) -> tuple[Iterator[Any], int]:
        """Batches without end, and how many to let pass before timing: those of the workers."""
        kind, words = variant.rsplit(", ", 1)
        workers = int(words.split()[0])
        return batches(self._sets[kind], self._batch_size, workers), 1 + 2 * workers


def record(episodes: Path, root: Path, kind: str) -> None:
    """Writes a data set with LeRobot's recorder."""
    arrays = np.load(episodes)
    features: dict[str, dict[str, Any]] = {
        "observation.state": {"dtype": "float32", "shape": (2,), "names": None},
        "action": {"dtype": "float32", "shape": (2,), "names": None},
    }
    if kind == "low-dimensional":
        features["observation.environment_state"] = features["observation.state"] | {"shape": (18,)}
    else:
        features["observation.image"] = {
            "dtype": "video" if kind == "video" else "image",
            "shape": (96, 96, 3),
            "names": ["height", "width", "channels"],
        }
    recorded = LeRobotDataset.create(
        REPOSITORY, fps=FPS, features=features, root=root, use_videos=kind == "video"
    )
    values = {
        "observation.state": arrays["state"][:, :2],
        "observation.environment_state": arrays["keypoint"].reshape(-1, 18),
        "observation.image": arrays["img"],
        "action": arrays["action"],
    }
    first = 0
    for end in arrays["episode_ends"].tolist():
        for step in range(first, end):
            recorded.add_frame({name: values[name][step] for name in features} | {"task": "push"})
        recorded.save_episode()
        first = end
    recorded.finalize()


def open_windows(root: Path, kind: str) -> Any:
    """Its data set, asked for the windows of its diffusion policy: 2 observations, 16 actions."""
    observed = [step / FPS for step in range(1 - OBS_HORIZON, 1)]
    acted = [step / FPS for step in range(1 - OBS_HORIZON, 1 - OBS_HORIZON + HORIZON)]
    low_dim = kind == "low-dimensional"
    seen = "observation.environment_state" if low_dim else "observation.image"
    return LeRobotDataset(
        REPOSITORY,
        root=root,
        delta_timestamps={"observation.state": observed, seen: observed, "action": acted},
    )
