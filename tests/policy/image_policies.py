"""A small real policy that sees a camera and the agent, for tests."""

from typing import Any

import numpy as np
import torch

from diffusion_controller.data import Normalizer, WindowBatch
from diffusion_controller.policy import DiffusionPolicy, build
from tests.policy.policies import config

SIDE = 48


def image_config(**camera: Any) -> dict[str, Any]:
    """Configuration as YAML would give it; `camera` replaces arguments of the image encoder."""
    encoder = {
        "_target_": "diffusion_controller.policy.ImageEncoder",
        "images": {"image": [SIDE, SIDE, 3]},
        "crop": [40, 40],
        "width": 8,
        "num_keypoints": 4,
        **camera,
    }
    agent = {
        "_target_": "diffusion_controller.policy.StateEncoder",
        "observations": {"agent": [2]},
    }
    features = 2 * encoder["num_keypoints"] * len(encoder["images"]) + 2
    return {
        **config(),
        "encoder": {
            "_target_": "diffusion_controller.policy.ConcatEncoder",
            "encoders": {"camera": encoder, "agent": agent},
        },
        "network": {**config()["network"], "condition_dim": 2 * features},
    }


def image_policy(*, seed: int = 0, **camera: Any) -> DiffusionPolicy:
    """An untrained policy."""
    described = image_config(**camera)
    images = described["encoder"]["encoders"]["camera"]["images"]
    ranges: dict[str, tuple[Any, Any]] = {
        **dict.fromkeys(images, (0, 255)),
        "agent": ([0, 0], [512, 512]),
        "action": ([0, 0], [512, 512]),
    }
    normalizer = Normalizer.fit({}, dict.fromkeys(ranges, "min_max"), ranges)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        policy = build(described, injected={"normalizer": normalizer})
    assert isinstance(policy, DiffusionPolicy)
    return policy.eval()


def image_observation(batch: int = 3, *, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """A history of two observations: pixels as uint8, and the agent in pixels of the field."""
    rng = np.random.default_rng(seed)
    return {
        "image": rng.integers(0, 256, (batch, 2, SIDE, SIDE, 3), dtype=np.uint8),
        "agent": rng.uniform(50, 450, (batch, 2, 2)).astype(np.float32),
    }


def image_batch(size: int = 4) -> WindowBatch:
    """Windows as the data room gathers them."""
    seen = {name: torch.from_numpy(values) for name, values in image_observation(size).items()}
    generator = torch.Generator().manual_seed(5)
    return WindowBatch(seen, torch.rand(size, 8, 2, generator=generator) * 512)
