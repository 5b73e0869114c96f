"""Checkpoints: a policy as a directory that anybody may open.

```
checkpoints/pusht_keypoints/
├── model.safetensors   weights
├── config.yaml         constructor arguments of the policy and its parts
├── normalizer.json     physical units to [−1, 1]
└── metrics.json        how it was trained and how it scored
```

Nothing here is unpickled, and `config.yaml` can only build what is on `build.ALLOWED_TARGETS`.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from diffusion_controller import DiffusionControllerError
from diffusion_controller.data import Normalizer

from .build import build, describe
from .device import find_device
from .diffusion_policy import DiffusionPolicy
from .engines import Precision

FORMAT = 1
_FILES = ("model.safetensors", "config.yaml", "normalizer.json", "metrics.json")


class CheckpointError(DiffusionControllerError, ValueError):
    """A checkpoint that is missing, incomplete, damaged or of another policy."""


def save_policy(
    policy: DiffusionPolicy,
    path: str | Path,
    *,
    metrics: Mapping[str, Any],
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write a checkpoint, whole or not at all.

    An existing checkpoint at `path` is replaced only once the new one is complete.

    Args:
        policy: What to save.
        path: Directory to make.
        metrics: How it was trained and how it scored; anything JSON can hold.
        dtype: Precision of the stored weights; float16 halves the file.

    Returns:
        The directory.

    Raises:
        BuildError: If a part of the policy does not keep its constructor's arguments.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    weights = {
        name: tensor.detach().cpu().to(dtype if tensor.is_floating_point() else tensor.dtype)
        for name, tensor in policy.state_dict().items()
    }
    content = save({name: tensor.contiguous() for name, tensor in weights.items()})
    (partial / _FILES[0]).write_bytes(content)
    document = {"format": FORMAT, "policy": describe(policy, omit=["normalizer"])}
    (partial / "config.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    policy.normalization.normalizer.save(partial / "normalizer.json")
    (partial / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    for name in _FILES:
        with open(partial / name, "rb") as file:
            os.fsync(file.fileno())
    shutil.rmtree(path, ignore_errors=True)
    partial.rename(path)
    return path


def load_policy(
    path: str | Path,
    *,
    sampler: str | None = None,
    num_inference_steps: int | None = None,
    device: str | torch.device = "cpu",
    engine: str = "eager",
    precision: Precision = "fp32",
    allow: Sequence[str] = (),
) -> DiffusionPolicy:
    """Load a policy, ready to plan.

    Args:
        path: Checkpoint directory; the directory of a training run stands for its `best`.
        sampler: One of `SAMPLERS`; the one it was saved with if not given.
        num_inference_steps: Denoising steps per chunk; likewise.
        device: Where it computes, such as `cpu` or `cuda`.
        engine: What computes its chunks: one of `ENGINES`.
        precision: Of the denoising network: `fp32` or `bf16`.
        allow: Names beyond `build.ALLOWED_TARGETS` that its configuration may build, for
            encoders and networks of your own.

    Raises:
        CheckpointError: If it is missing, incomplete, damaged or of another policy.
        ForbiddenTargetError: If its configuration names something that it may not call.
        DeviceError: If the device is not there.
        EngineError: If the engine is not installed, or not possible on the device.
    """
    path = resolve_checkpoint(Path(path))
    place = find_device(device)
    config = _read_config(path)
    try:
        normalizer = Normalizer.load(path / "normalizer.json")
        weights = load_file(path / "model.safetensors")
    except SafetensorError as error:
        raise CheckpointError(
            f"{path / 'model.safetensors'} is damaged or not a safetensors file ({error}); "
            "copy the checkpoint again"
        ) from error
    policy = build(config, allow=allow, injected={"normalizer": normalizer})
    if not isinstance(policy, DiffusionPolicy):
        raise CheckpointError(
            f"{path / 'config.yaml'} describes a {type(policy).__name__}; "
            "expected a DiffusionPolicy"
        )
    _load_weights(policy, weights, path)
    policy.set_sampler(sampler or policy.sampler, num_inference_steps or policy.num_inference_steps)
    policy = policy.to(place).eval()
    policy.set_engine(engine, precision)
    return policy


def _read_config(path: Path) -> dict[str, Any]:
    """The configuration that a checkpoint's policy is built from.

    Raises:
        CheckpointError: If the directory is not a checkpoint of this format.
    """
    if not path.is_dir():
        raise CheckpointError(
            f"no checkpoint at {path}; expected a directory with {', '.join(_FILES)}"
        )
    missing = [name for name in _FILES if not (path / name).is_file()]
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}; copy the checkpoint again")
    try:
        document = yaml.safe_load((path / "config.yaml").read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{path / 'config.yaml'} is not plain YAML ({' '.join(str(error).split())}); "
            "copy the checkpoint again"
        ) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        found = document.get("format") if isinstance(document, dict) else type(document).__name__
        raise CheckpointError(
            f"{path / 'config.yaml'} has format {found!r}; this version reads format {FORMAT}"
        )
    config = document.get("policy")
    if not isinstance(config, dict) or "_target_" not in config:
        raise CheckpointError(f"{path / 'config.yaml'} has no `policy` with a `_target_`")
    return config


def read_metrics(path: str | Path) -> dict[str, Any]:
    """What a checkpoint says of its training and its score."""
    try:
        metrics = json.loads((resolve_checkpoint(Path(path)) / "metrics.json").read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{Path(path) / 'metrics.json'} is not readable: {error}") from error
    if not isinstance(metrics, dict):
        raise CheckpointError(f"{Path(path) / 'metrics.json'} holds no table of metrics")
    return metrics


def resolve_checkpoint(path: Path) -> Path:
    """The checkpoint that a path stands for: of a training run its best, else itself."""
    return path / "best" if (path / "best" / _FILES[0]).is_file() else path


def _load_weights(policy: DiffusionPolicy, weights: dict[str, torch.Tensor], path: Path) -> None:
    expected = policy.state_dict()
    for name, tensor in expected.items():
        if name not in weights:
            raise CheckpointError(
                f"{path}: model.safetensors lacks {name}; it is of another policy"
            )
        if weights[name].shape != tensor.shape:
            raise CheckpointError(
                f"{path}: {name} has shape {tuple(weights[name].shape)} in model.safetensors and "
                f"{tuple(tensor.shape)} by config.yaml; they are of different policies"
            )
    surplus = sorted(set(weights) - set(expected))
    if surplus:
        raise CheckpointError(
            f"{path}: model.safetensors has {surplus[0]}, which config.yaml lacks"
        )
    policy.load_state_dict({name: weights[name].float() for name in expected})
