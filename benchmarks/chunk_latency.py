"""Latency of a checkpoint's chunks on one device, whole sampler, against the control rate.

    python benchmarks/chunk_latency.py checkpoints/pusht_keypoints --device cuda --out latency.json

From an observation on the host to actions on the host, batch 1, for DDIM with 10 and DDPM with
100 denoising steps.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe_machine

from diffusion_controller.policy import load_policy
from diffusion_controller.runtime import LatencyStatistics
from diffusion_controller.runtime.latency import time_chunks

SETTINGS = (("ddim", 10), ("ddpm", 100))


def measure(
    checkpoint: Path, sampler: str, steps: int, *, device: str, calls: int
) -> dict[str, Any]:
    """Statistics in [s] of one sampler."""
    policy = load_policy(checkpoint, sampler=sampler, num_inference_steps=steps, device=device)
    observation = {
        name: np.full(shape, 256.0, np.float32) for name, shape in policy.observation_shapes.items()
    }
    durations = time_chunks(policy, observation, calls=calls)
    statistics = LatencyStatistics.of(durations, batch_size=1)
    return {"sampler": sampler, "num_inference_steps": steps, **vars(statistics)}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    is_cuda = arguments.device.startswith("cuda")
    rows = [
        measure(arguments.checkpoint, *setting, device=arguments.device, calls=arguments.calls)
        for setting in SETTINGS
    ]
    result = {
        "command": "python benchmarks/chunk_latency.py CHECKPOINT "
        f"--device {arguments.device} --threads {arguments.threads} --calls {arguments.calls}",
        "device": torch.cuda.get_device_name(arguments.device) if is_cuda else "cpu",
        "machine": describe_machine(),
        "control_period_s": 0.1,
        "latency_s": rows,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    for row in rows:
        print({key: round(v, 5) if isinstance(v, float) else v for key, v in row.items()})


if __name__ == "__main__":
    main()
