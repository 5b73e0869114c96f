"""Recording runs of the control loop in the format of demonstrations."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffusion_controller import DiffusionControllerError
from diffusion_controller.robots import RobotDescription
from diffusion_controller.runtime.control_loop import TickRecord

if TYPE_CHECKING:
    from diffusion_controller.data import ReplayBuffer

PUSHT_ARRAYS: Mapping[str, str] = {"state": "state", "keypoint": "keypoints", "img": "image"}
"""Names of Push-T's published arrays and the observations that they hold."""

ACTION = "action"


class RecordingError(DiffusionControllerError, ValueError):
    """A recording that the robot's observations do not allow, or that holds nothing."""


class EpisodeRecorder:
    """Keeps one episode in memory; a subscriber of the control loop.

    Row i holds the observation that tick i read and the command that it really sent, as the
    demonstrations do. The episode goes to the disk when it is complete, so the loop never waits
    for a disk.
    """

    def __init__(self, arrays: Mapping[str, str]) -> None:
        """Record nothing yet.

        Args:
            arrays: Name in the store to name of the observation; `action` is recorded besides.
        """
        self._arrays = dict(arrays)
        self._columns: dict[str, list[NDArray[Any]]] = {name: [] for name in (*arrays, ACTION)}

    def __len__(self) -> int:
        """Ticks recorded."""
        return len(self._columns[ACTION])

    def on_tick(self, record: TickRecord) -> None:
        """Take a row.

        Raises:
            RecordingError: If an observation to be recorded is not there.
        """
        for array, name in self._arrays.items():
            if name not in record.state.observation:
                raise RecordingError(
                    f"there is no observation {name} to record as {array}; the robot observes "
                    f"{', '.join(record.state.observation)}"
                )
            self._columns[array].append(np.array(record.state.observation[name]))
        self._columns[ACTION].append(record.sent.astype(np.float32))

    def episode(self) -> dict[str, NDArray[Any]]:
        """What was recorded. Shape of each (ticks, …).

        Raises:
            RecordingError: If nothing was.
        """
        if not len(self):
            raise RecordingError("no tick was recorded; expected at least one command")
        return {name: np.stack(rows) for name, rows in self._columns.items()}


def open_recording(
    path: str | Path,
    description: RobotDescription,
    episode: Mapping[str, NDArray[Any]],
    *,
    source: str,
) -> "ReplayBuffer":
    """A replay buffer to append episodes like this one to; made if there is none.

    Args:
        path: Directory.
        description: The robot that was recorded.
        episode: One episode, for the shapes and types of the arrays.
        source: Where the episodes come from, for the record.
    """
    from diffusion_controller.data import ArraySpec, ReplayBuffer  # zarr takes half a second

    if Path(path).exists():
        return ReplayBuffer.append_to(path)
    specs = {name: ArraySpec(rows.shape[1:], rows.dtype) for name, rows in episode.items()}
    metadata = {
        "env_id": description.name,
        "control_hz": description.control_hz,
        "source": source,
    }
    return ReplayBuffer.create(path, specs, metadata=metadata)
