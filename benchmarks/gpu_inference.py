"""Chunks on a GPU: every engine beside an eager loop over diffusers' own scheduler, batch 1.

    python benchmarks/gpu_inference.py --device cuda --out inference.json

Two policies: the shipped keypoint policy, and the published image policy (ResNet-18 and a U-Net
512-1024-2048) with random weights. A call goes from an observation on the host to actions on the
host, DDIM with 10 and DDPM with 100 denoising steps. The peer is the same network in plain
PyTorch. Rows come in the order of their interest and are written one by one, so that a time limit
costs the last ones only.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

sys.path.append(str(Path(__file__).parent))

import numpy as np
import torch
from contest import HERE
from machine import describe_machine
from peers.our_policy import make_policy
from peers.plain_policy import PlainPolicy
from peers.specification import Specification, make_observation
from torch import Tensor

from diffusion_controller.policy import DiffusionPolicy, Precision, load_policy

CONTROL_PERIOD_MS = 100.0
SAMPLERS: tuple[tuple[Literal["ddim", "ddpm"], int], ...] = (("ddim", 10), ("ddpm", 100))
SHIPPED = HERE.parent / "checkpoints" / "pusht_keypoints"
SPECIFICATIONS = {
    "image 512-1024-2048": Specification(
        sees="image", channels=(512, 1024, 2048), timestep_dim=128, num_inference_steps=10
    ),
    "keypoints 32-64-128": Specification(
        sees="state", channels=(32, 64, 128), timestep_dim=128, num_inference_steps=10
    ),
}
TINY = replace(SPECIFICATIONS["image 512-1024-2048"], channels=(8, 16))
WARM_UP_CALLS, MOST_CALLS, SECONDS_PER_ROW = 3, 500, 1.0


@dataclass(frozen=True)
class Row:
    """What is measured in one row; the engine `diffusers` is the peer."""

    policy: str
    engine: str
    precision: Precision
    sampler: Literal["ddim", "ddpm"]
    num_inference_steps: int


def rows_of(device: torch.device, policies: list[str]) -> Iterator[Row]:
    """All rows, the most wanted first; what takes minutes to compile last."""
    engines: list[tuple[str, Precision]] = [("eager", "fp32"), ("diffusers", "fp32")]
    if device.type == "cuda":
        engines[:0] = [("cuda_graph", "bf16"), ("cuda_graph", "fp32")]
        engines += [("diffusers", "bf16"), ("eager", "bf16"), ("compiled", "bf16")]
    for engine, precision in engines:
        for policy in policies:
            for sampler, steps in SAMPLERS:
                yield Row(policy, engine, precision, sampler, steps)


class Policies:
    """Makes what a row measures, keeping what the next row needs too."""

    def __init__(self, specifications: dict[str, Specification], device: torch.device) -> None:
        self._specifications, self._device = specifications, device
        self._ours: dict[str, DiffusionPolicy] = {}
        self._peers: dict[str, PlainPolicy] = {}

    def call_of(self, row: Row) -> Callable[[], object]:
        """One call: from an observation on the host to actions on the host."""
        observation = make_observation(self._specifications[row.policy].sees, 1)
        if row.engine == "diffusers":
            return self._call_of_peer(row, observation)
        policy = self._our(row.policy)
        policy.set_sampler(row.sampler, row.num_inference_steps)
        if (policy.engine.name, policy.engine.precision) != (row.engine, row.precision):
            policy.set_engine(row.engine, row.precision)
        return lambda: policy.predict_chunk(observation, seeds=[0]).cpu()

    def _our(self, name: str) -> DiffusionPolicy:
        if name not in self._ours:
            specification = self._specifications[name]
            is_shipped = specification.sees == "state"
            made = load_policy(SHIPPED) if is_shipped else make_policy(specification).eval()
            self._ours[name] = made.to(self._device)
        return self._ours[name]

    def _call_of_peer(self, row: Row, observation: dict[str, Tensor]) -> Callable[[], object]:
        if row.policy not in self._peers:
            self._peers[row.policy] = PlainPolicy(self._specifications[row.policy])
        peer, device = self._peers[row.policy], self._device
        peer.set_sampler(row.sampler, row.num_inference_steps)
        dtype = torch.float32 if row.precision == "fp32" else torch.bfloat16
        peer.model.to(device, dtype)

        def call() -> Tensor:
            here = {name: values.to(device) for name, values in observation.items()}
            named = {name: values.to(dtype) for name, values in peer.hand_over(here).items()}
            return peer.predict_chunk(named).float().cpu()

        return call


def measure(call: Callable[[], object], device: torch.device, seconds: float) -> dict[str, Any]:
    """Latency of many calls [ms], after a warm-up."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    began = time.perf_counter()
    call()
    first_s = time.perf_counter() - began
    for _ in range(WARM_UP_CALLS):
        call()
    durations: list[float] = []
    began = time.perf_counter()
    while len(durations) < MOST_CALLS and time.perf_counter() - began < seconds:
        start = time.perf_counter()
        call()
        durations.append(1e3 * (time.perf_counter() - start))
    p50, p90, p99 = np.percentile(durations, (50, 90, 99))
    found = {"p50_ms": p50, "p90_ms": p90, "p99_ms": p99, "max_ms": max(durations)}
    result: dict[str, Any] = {name: round(float(value), 3) for name, value in found.items()}
    result |= {"calls": len(durations), "first_call_s": round(first_s, 2)}
    if device.type == "cuda":
        result["peak_device_memory_gib"] = round(torch.cuda.max_memory_allocated(device) / 2**30, 2)
    return result


def with_ratios(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, and how many times longer the peer took in the same precision and in fp32."""
    peers = {
        (r["policy"], r["sampler"], r["precision"]): r["p50_ms"]
        for r in rows
        if r["engine"] == "diffusers" and "p50_ms" in r
    }
    for row in rows:
        for precision in ("fp32", "bf16"):
            peer = peers.get((row["policy"], row["sampler"], precision))
            if peer is not None and "p50_ms" in row and row["engine"] != "diffusers":
                row[f"times_faster_than_diffusers_{precision}"] = round(peer / row["p50_ms"], 2)
    return rows


def run(arguments: argparse.Namespace) -> None:
    """Measure row by row, write after each."""
    device = torch.device(arguments.device)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    specifications = {"image 8-16": TINY} if arguments.tiny else SPECIFICATIONS
    policies = Policies(specifications, device)
    is_cuda = device.type == "cuda"
    about = {
        "command": f"python benchmarks/gpu_inference.py {' '.join(sys.argv[1:])}",
        "device": torch.cuda.get_device_name(device) if is_cuda else "cpu",
        "machine": describe_machine(),
        "threads": arguments.threads,
        "control_period_ms": CONTROL_PERIOD_MS,
    }
    rows: list[dict[str, Any]] = []
    began = time.perf_counter()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    for row in rows_of(device, list(specifications)):
        found: dict[str, Any] = {"not_measured": "the time was up"}
        if time.perf_counter() - began < arguments.seconds:
            try:
                found = measure(policies.call_of(row), device, arguments.seconds_per_row)
            except Exception as error:  # the next rows are wanted all the same
                found = {"not_measured": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
        rows.append(asdict(row) | found)
        arguments.out.write_text(json.dumps({**about, "rows": with_ratios(rows)}, indent=2) + "\n")
        print("  ".join(f"{key}={value}" for key, value in rows[-1].items()), flush=True)
    if any("not_measured" in row and "time was up" not in row["not_measured"] for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--seconds", type=float, default=75.0, help="no row begins after that")
    parser.add_argument("--seconds-per-row", type=float, default=SECONDS_PER_ROW)
    parser.add_argument("--tiny", action="store_true", help="one small policy, for a rehearsal")
    parser.add_argument("--out", type=Path, required=True)
    run(parser.parse_args())
