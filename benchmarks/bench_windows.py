"""Training windows per second from memory, against a plain PyTorch Dataset and DataLoader.

    python benchmarks/bench_windows.py

Random values in the shapes of the published Push-T demonstrations (206 episodes, 25650 steps,
keypoints and agent), batch 256, one thread, in turns. The plain way is the usual one: a window per
`__getitem__`, cut out of NumPy arrays with repeated edges, then the default collation.
Writes `benchmarks/results/windows.json`.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe_machine
from peers.plain_windows import PlainWindows, batches
from torch import Tensor
from zarr.storage import MemoryStore

from diffusion_controller.data import (
    ArrayField,
    ArraySpec,
    ReplayBuffer,
    WindowDataset,
    load_windows,
)

HORIZON, OBS_HORIZON, ACTION_HORIZON = 16, 2, 8
NUM_EPISODES, NUM_STEPS, SHORTEST = 206, 25650, 49
SHAPES = {"state": (5,), "keypoint": (9, 2), "action": (2,)}


def make_buffer() -> ReplayBuffer:
    """Random episodes in the shapes of the published demonstrations, in memory."""
    random = np.random.default_rng(0)
    spread = NUM_STEPS - SHORTEST * NUM_EPISODES
    lengths = SHORTEST + random.multinomial(spread, np.full(NUM_EPISODES, 1 / NUM_EPISODES))
    buffer = ReplayBuffer.create(MemoryStore(), {k: ArraySpec(v) for k, v in SHAPES.items()})
    for length in lengths.tolist():
        buffer.append_episode(
            {
                name: random.uniform(0, 512, (length, *shape)).astype(np.float32)
                for name, shape in SHAPES.items()
            }
        )
    return buffer


def our_batches(windows: WindowDataset, batch_size: int) -> Iterator[Tensor]:
    """Shuffled epochs without end."""
    generator = torch.Generator().manual_seed(0)
    while True:
        order = torch.randperm(len(windows), generator=generator)
        for start in range(0, len(order) - batch_size + 1, batch_size):
            yield windows.gather(order[start : start + batch_size]).action


def check_equal(windows: WindowDataset, dataset: PlainWindows) -> None:
    """Both ways give the same windows, or the comparison is void."""
    if len(windows) != len(dataset):
        raise SystemExit(f"{len(windows)} windows here, {len(dataset)} there")
    batch = windows.gather(torch.arange(len(windows)))
    for index in range(0, len(windows), 7):
        sample = dataset[index]
        action, observation = sample["action"], sample["observation"]
        if not isinstance(action, Tensor) or isinstance(observation, Tensor):
            raise SystemExit("a sample has another structure than expected")
        equal = torch.equal(action, batch.action[index])
        for name, values in observation.items():
            equal &= torch.equal(values, batch.observation[name][index])
        if not equal:
            raise SystemExit(f"window {index} differs")


def windows_per_second(found: Iterator[Any], *, seconds: float, size: int) -> float:
    """Rate over the given time, in batches of `size` windows."""
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        next(found)
        count += size
    return count / elapsed


def main() -> None:
    """Measure in turns, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="per round and way")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/windows.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    buffer = make_buffer()
    windows = load_windows(
        buffer,
        {"keypoints": ArrayField("keypoint"), "agent": ArrayField("state", (0, 1))},
        ArrayField("action"),
        horizon=HORIZON,
        obs_horizon=OBS_HORIZON,
        action_horizon=ACTION_HORIZON,
    )
    dataset = PlainWindows(
        {"keypoints": buffer.read("keypoint"), "agent": buffer.read("state")[:, :2]},
        buffer.read("action"),
        buffer.episode_ends,
        horizon=HORIZON,
        obs_horizon=OBS_HORIZON,
        action_horizon=ACTION_HORIZON,
    )
    check_equal(windows, dataset)
    size = arguments.batch_size
    ways: dict[str, Callable[[], Iterator[Any]]] = {
        "gather": lambda: our_batches(windows, size),
        "dataset_and_dataloader": lambda: batches(dataset, size, 0),
        "dataset_and_dataloader_2_workers": lambda: batches(dataset, size, 2),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.rounds):
        for name, make in ways.items():
            found = make()
            next(found)  # starts the workers
            rates[name].append(windows_per_second(found, seconds=arguments.seconds, size=size))
    median = {name: statistics.median(values) for name, values in rates.items()}
    result = {
        "command": f"python benchmarks/bench_windows.py {' '.join(sys.argv[1:])}".strip(),
        "machine": describe_machine(),
        "batch_size": size,
        "threads": 1,
        "windows": len(windows),
        "windows_per_second": {name: round(value) for name, value in median.items()},
        "rounds": {name: [round(value) for value in values] for name, values in rates.items()},
        "ratio_to": {
            name: round(median["gather"] / value, 1)
            for name, value in median.items()
            if name != "gather"
        },
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
