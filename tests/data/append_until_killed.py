"""Appends to copies of a buffer in processes that are killed; started by test_crash_safety.py.

Usage: append_until_killed.py TEMPLATE FOLDER RANDOM_TRIALS
"""

import asyncio
import itertools
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffusion_controller.data import ReplayBuffer
from diffusion_controller.data.stores import DurableStore

PHASES = ("before", "half written", "after")


def episode(index: int) -> dict[str, NDArray[Any]]:
    """Episode that follows from its index; the chunks of the buffer have 4 and 8 steps."""
    length = 3 + index % 4
    generator = np.random.default_rng(index)
    return {
        "action": generator.normal(size=(length, 2)).astype("f4"),
        "state": generator.normal(size=(length, 5)).astype("f4"),
        "img": generator.integers(0, 256, (length, 4, 6, 3), dtype=np.uint8),
    }


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class KillingStore(DurableStore):
    """Kills its process in the given phase of the given write."""

    write = 0
    last_write = -1
    phase = ""

    async def set(self, key: str, value: Any) -> None:
        is_last = self.write == self.last_write
        self.write += 1
        if is_last and self.phase == "before":
            die()
        if is_last and self.phase == "half written":
            path = self.root / key
            path.parent.mkdir(parents=True, exist_ok=True)
            content = value.to_bytes()
            path.with_name(f".unfinished-{path.name}").write_bytes(content[: len(content) // 2])
            die()
        await super().set(key, value)
        if is_last:
            die()


def append(store: Path | KillingStore, acknowledged: Path, *, num_episodes: int) -> None:
    buffer = ReplayBuffer.append_to(store)
    for index in range(buffer.num_episodes, buffer.num_episodes + num_episodes):
        buffer.append_episode(episode(index), seed=index)
        with acknowledged.open("ab") as file:
            file.write(b".")


def copy_template(template: Path, path: Path) -> Path:
    shutil.copytree(template, path)
    return path.with_suffix(".acknowledged")


def die_at_every_write(template: Path, folder: Path) -> None:
    for write, phase in itertools.product(range(1000), PHASES):
        path = folder / f"write-{write}-{phase.replace(' ', '-')}.zarr"
        acknowledged = copy_template(template, path)
        if os.fork() == 0:
            store = asyncio.run(KillingStore.open(path))
            store.last_write, store.phase = write, phase
            append(store, acknowledged, num_episodes=1)
            os._exit(0)
        if os.wait()[1] == 0:  # this write is never reached: the append was whole
            return


def die_at_random(template: Path, folder: Path, *, trials: int) -> None:
    delays = random.Random(0)
    for trial in range(trials):
        path = folder / f"random-{trial}.zarr"
        acknowledged = copy_template(template, path)
        child = os.fork()
        if child == 0:
            append(path, acknowledged, num_episodes=1000)
            os._exit(0)
        time.sleep(delays.uniform(0.05, 0.4))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


if __name__ == "__main__":
    given_template, given_folder, given_trials = sys.argv[1:]
    die_at_every_write(Path(given_template), Path(given_folder))
    die_at_random(Path(given_template), Path(given_folder), trials=int(given_trials))
