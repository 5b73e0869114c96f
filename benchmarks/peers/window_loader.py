"""One way to load training windows, in a process of its own: reads orders as JSON lines.

    python benchmarks/peers/window_loader.py memory|disk|published|lerobot

Orders: {"do": "build", "paths": {…}, "batch_size": n}, {"do": "load", "variant": …, "seconds": s},
{"do": "pixel_sums", "indices": […]}, {"do": "waits", "count": n}, {"do": "memory"}.
"""

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

sys.path.insert(0, str(Path(__file__).parent.parent))

from peers.contestant import describe

SIDES = {
    "memory": ("our_windows", "WindowsInMemory"),
    "disk": ("our_windows", "WindowsOnDisk"),
    "published": ("published_windows", "PublishedWindows"),
    "lerobot": ("lerobot_windows", "LeRobotWindows"),
}


class Windows(Protocol):
    """What is timed."""

    variants: Sequence[str]

    def __len__(self) -> int:
        """Number of windows."""

    def batches(self, variant: str) -> tuple[Iterator[Any], int]:
        """Batches without end, and how many to let pass before timing."""


def timed(windows: Windows, variant: str, seconds: float, batch_size: int) -> dict[str, float]:
    """Samples over some seconds, and what they took."""
    batches, skipped = windows.batches(variant)
    for _ in range(skipped):
        next(batches)
    count, cpu, start = 0, time.process_time(), time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        next(batches)
        count += batch_size
    cpu = time.process_time() - cpu
    del batches  # ends threads and workers
    return {"samples": count, "wall_s": elapsed, "cpu_s": cpu}


def peak_memory() -> dict[str, float]:
    """Largest resident memory so far of this process and of its largest worker [MB]."""
    who = {"process_mb": resource.RUSAGE_SELF, "largest_worker_mb": resource.RUSAGE_CHILDREN}
    return {name: round(resource.getrusage(w).ru_maxrss / 1e3) for name, w in who.items()}


def main() -> None:
    """Serve until the input ends."""
    module, name = SIDES[sys.argv[1]]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what packages print must not mix with the answers
    windows: Any = None
    batch_size = 0
    for line in sys.stdin:
        order = json.loads(line)
        answer: dict[str, Any] = {}
        if order["do"] == "build":
            start, batch_size = time.perf_counter(), order["batch_size"]
            windows = getattr(importlib.import_module(module), name)(order["paths"], batch_size)
            answer = {
                **describe(),
                "windows": len(windows),
                "variants": list(windows.variants),
                "not_measured": getattr(windows, "failures", {}),
                "build_s": round(time.perf_counter() - start, 1),
            }
        elif order["do"] == "load":
            answer = timed(windows, order["variant"], order["seconds"], batch_size)
        elif order["do"] == "memory":
            answer = peak_memory()
        else:
            arguments = {key: value for key, value in order.items() if key != "do"}
            answer = {"values": getattr(windows, order["do"])(**arguments)}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
