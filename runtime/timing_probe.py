"""The process that times one setting: `python -m diffusion_controller.runtime.timing_probe`.

Reads an order as JSON from its input and writes its answer, as JSON too, where the order says.
`timing_sweep.measure_in_new_process` starts it.
"""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diffusion_controller import DiffusionControllerError
from diffusion_controller.policy import DiffusionPolicy, load_policy
from diffusion_controller.policy.observation_check import IMAGE_AXES
from diffusion_controller.runtime.latency import ChunkStopwatch
from diffusion_controller.runtime.timing_load import busy_cores
from diffusion_controller.runtime.timing_parts import measure_parts
from diffusion_controller.runtime.timing_sweep import Effort

WARM_UP_SECONDS = 0.5
OBSERVATIONS = 16
"""Different ones, planned from in turns."""

Observation = Mapping[str, NDArray[Any]]


class CudaEvents:
    """Times by events in the stream of a GPU."""

    def __init__(self, device: torch.device) -> None:
        """Make the two events."""
        self._stream = torch.cuda.current_stream(device)
        self._began = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        self._ended = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]

    def start(self) -> None:
        """Record the first event."""
        self._began.record(self._stream)

    def stop(self) -> float:
        """Record the second, wait for it; the time between them in [s]."""
        self._ended.record(self._stream)
        self._ended.synchronize()
        return 1e-3 * float(self._began.elapsed_time(self._ended))


def main() -> int:
    """Measure and answer."""
    imported = time.monotonic()
    order = json.load(sys.stdin)
    try:
        answer = measure(order, imported)
    except DiffusionControllerError as error:
        answer = {"error": " ".join(str(error).split())}
    Path(order["answer"]).write_text(json.dumps(answer), encoding="utf-8")
    return 0


def measure(order: Mapping[str, Any], imported: float) -> dict[str, Any]:
    """What `timing_sweep.Measurement` holds, durations as lists.

    Args:
        order: As `timing_sweep.measure_in_new_process` makes it.
        imported: When everything was imported, by the monotonic clock in [s].
    """
    effort = Effort(**order["effort"])
    began = time.monotonic()
    torch.set_num_threads(order["setting"]["num_threads"])
    policy = open_policy(order)
    loaded = time.monotonic()
    observations = plausible_observations(policy, OBSERVATIONS)
    is_cuda = policy.device.type == "cuda"
    stopwatch = ChunkStopwatch(
        policy, observations, device_clock=CudaEvents(policy.device) if is_cuda else None
    )
    (first_chunk,) = stopwatch.warm_up(calls=1)
    warm_up = stopwatch.warm_up(seconds=WARM_UP_SECONDS)
    alone = _measure(stopwatch, effort)
    device_alone = list(stopwatch.device_durations)
    busy: list[float] = []
    if effort.busy_cores:
        with busy_cores(effort.busy_cores):
            stopwatch.warm_up(calls=1)
            busy = _measure(stopwatch, effort)
    parts = measure_parts(policy, observations[0], rest=effort.rest)
    return {
        "cold_start": {
            "imports": imported - order["began"],
            "load": loaded - began,
            "first_chunk": first_chunk,
            "warm_up": warm_up,
        },
        "alone": alone,
        "busy": busy,
        "device_alone": device_alone,
        "parts": asdict(parts),
        "peak_memory": peak_memory(),
        "peak_device_memory": torch.cuda.max_memory_allocated(policy.device) if is_cuda else None,
    }


def _measure(stopwatch: ChunkStopwatch, effort: Effort) -> list[float]:
    return stopwatch.measure(calls=effort.calls, seconds=effort.seconds, rest=effort.rest)


def open_policy(order: Mapping[str, Any]) -> DiffusionPolicy:
    """The policy of an order."""
    setting = order["setting"]
    return load_policy(
        order["checkpoint"],
        sampler=setting["sampler"],
        num_inference_steps=setting["num_inference_steps"],
        device=order["device"],
        engine=setting["engine"],
        precision=setting["precision"],
    )


def plausible_observations(policy: DiffusionPolicy, count: int) -> list[dict[str, NDArray[Any]]]:
    """Histories of noise in the range that the policy was trained on, in physical units.

    Pictures are uint8, as a camera gives them.
    """
    random = np.random.default_rng(0)
    normalizer = policy.normalization.normalizer

    def draw(name: str, shape: tuple[int, ...]) -> NDArray[Any]:
        noise = random.uniform(-1.0, 1.0, (policy.obs_horizon, *shape))
        physical = normalizer.denormalize(name, noise)
        return physical.astype(np.uint8) if len(shape) == IMAGE_AXES else physical

    return [
        {name: draw(name, shape) for name, shape in policy.observation_shapes.items()}
        for _ in range(count)
    ]


def peak_memory() -> int:
    """Most memory that this process ever held, in [byte].

    Not `getrusage`: what that tells includes the parent, from before this program was loaded.
    """
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
