"""Optimizer steps per second of `dpc train`, as it runs and with what a GPU offers beside.

    python benchmarks/gpu_training.py --out training.json experiment=pusht_image_gpu data=DATA

Takes the overrides of `dpc train`. Each variant takes the steps that the training would take,
on its data, but none of the evaluations. Writes one row after the other.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))

import torch
from accelerate import Accelerator
from machine import describe_machine
from omegaconf import DictConfig

from diffusion_controller.commands.compose import compose_config
from diffusion_controller.commands.experiment import (
    Demonstrations,
    load_demonstrations,
    make_policy,
)
from diffusion_controller.commands.table import find_command
from diffusion_controller.commands.train import settings_of
from diffusion_controller.training import BatchReader, DataOrder, TrainingSettings
from diffusion_controller.training.precision import float32_products
from diffusion_controller.training.state import begin_state
from diffusion_controller.training.step import OptimizerStep, batch_indices

WARM_UP_STEPS, STEPS_BETWEEN_CLOCKS = 8, 10


def variants_of(settings: TrainingSettings, *, is_cuda: bool) -> list[TrainingSettings]:
    """The training's own settings, then others."""
    if not is_cuda:
        return [settings]
    others = [("bf16", True), ("bf16", False), ("tf32", True), ("fp32", True), ("fp32", False)]
    variants = [replace(settings, precision=p, cuda_graph=g) for p, g in others]  # type: ignore[arg-type]
    return [settings, *(variant for variant in variants if variant != settings)]


def measure(
    config: DictConfig, demonstrations: Demonstrations, settings: TrainingSettings, seconds: float
) -> dict[str, Any]:
    """Steps per second of one variant, its queue emptied at the end."""
    policy = make_policy(config, demonstrations)
    windows = demonstrations.training.to(policy.device)
    accelerator = Accelerator(cpu=policy.device.type == "cpu")
    order = DataOrder(num_windows=len(windows), batch_size=settings.batch_size, seed=settings.seed)
    indices = batch_indices(order, windows, accelerator)
    batches = BatchReader(windows, indices, num_steps=settings.num_steps)
    state = begin_state(policy, settings)
    take_step = OptimizerStep(state, settings, batches=batches, accelerator=accelerator)
    if policy.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(policy.device)
    with float32_products(settings.precision, policy.device), batches:
        for _ in range(WARM_UP_STEPS):
            take_step()
        _wait(policy.device)
        began, first = time.perf_counter(), state.step
        while time.perf_counter() - began < seconds and state.step < settings.num_steps:
            for _ in range(STEPS_BETWEEN_CLOCKS):
                take_step()
            _wait(policy.device)
        steps_per_second = (state.step - first) / (time.perf_counter() - began)
    found = {
        "steps_per_second": round(steps_per_second, 2),
        "samples_per_second": round(steps_per_second * settings.batch_size, 1),
        "mean_loss": round(state.loss_sum.item() / state.step, 4),
    }
    if policy.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(policy.device)
        found["peak_device_memory_gib"] = round(peak / 2**30, 2)
    return found


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def run(arguments: argparse.Namespace, overrides: list[str]) -> None:
    """Measure variant by variant, write after each."""
    found_command = find_command(["train"])
    if found_command is None:
        raise SystemExit("there is no dpc train")
    config = compose_config(found_command[0], overrides)
    demonstrations = load_demonstrations(config)
    settings = TrainingSettings(**settings_of(config))
    is_cuda = torch.device(config.device).type == "cuda"
    about = {
        "command": f"python benchmarks/gpu_training.py {' '.join(sys.argv[1:])}",
        "device": torch.cuda.get_device_name(config.device) if is_cuda else "cpu",
        "machine": describe_machine(),
        "batch_size": settings.batch_size,
        "windows": len(demonstrations.training),
    }
    rows: list[dict[str, Any]] = []
    began = time.perf_counter()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    for variant in variants_of(settings, is_cuda=is_cuda):
        row: dict[str, Any] = {
            "precision": variant.precision,
            "cuda_graph": variant.cuda_graph,
            "compile": variant.compile,
        }
        found: dict[str, Any] = {"not_measured": "the time was up"}
        if time.perf_counter() - began < arguments.seconds:
            try:
                found = measure(config, demonstrations, variant, arguments.seconds_per_row)
            except Exception as error:  # the next rows are wanted all the same
                found = {"not_measured": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
        rows.append(row | found)
        arguments.out.write_text(json.dumps({**about, "rows": rows}, indent=2) + "\n")
        print("  ".join(f"{key}={value}" for key, value in rows[-1].items()), flush=True)
    if "not_measured" in rows[0]:
        raise SystemExit(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="no variant begins after that")
    parser.add_argument("--seconds-per-row", type=float, default=2.0)
    parser.add_argument("--out", type=Path, required=True)
    run(*parser.parse_known_args())
