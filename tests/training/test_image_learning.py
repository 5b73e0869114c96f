"""A policy that sees learns something in minutes. The figures seen stand in docs/vision.md."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffusion_controller.commands.main import main
from diffusion_controller.data import EMBEDDED_DEMONSTRATIONS, ArraySpec, ReplayBuffer
from diffusion_controller.envs import PushTRenderer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def _store_with_pictures(path: Path, episodes: Sequence[int]) -> None:
    """Embedded demonstrations with pictures drawn of their states."""
    source, renderer = ReplayBuffer.open(EMBEDDED_DEMONSTRATIONS), PushTRenderer(96)
    names = ("state", "action")
    specs = {name: ArraySpec(source.array(name).shape[1:]) for name in names}
    specs["img"] = ArraySpec((96, 96, 3), np.uint8)
    target = ReplayBuffer.create(path, specs, metadata={"control_hz": 10.0})
    for episode in episodes:
        recorded = source.episode(episode)
        pictures = np.stack([renderer.draw(state) for state in recorded["state"]])
        kept = {name: recorded[name] for name in names}
        target.append_episode({**kept, "img": pictures}, seed=source.metadata["seeds"][episode])


def _train(data: Path, run: Path, *settings: str) -> None:
    words = ["train", "experiment=pusht_image_agent", f"data={data}", f"out={run}"]
    assert main([*words, "evaluation.episodes=0", "num_threads=2", *settings]) == 0


def _evaluate(run: Path, out: Path, *settings: str) -> dict[str, Any]:
    words = ["evaluate", f"policy={run}", f"out={out}", "video=0", "num_threads=2"]
    assert main([*words, *settings]) == 0
    result: dict[str, Any] = json.loads((out / "evaluation.json").read_text())
    return result


def test_a_short_training_beats_no_training(tmp_path: Path) -> None:
    _store_with_pictures(tmp_path / "data.zarr", range(60))
    for name, steps in (("untrained", 1), ("trained", 1000)):
        _train(tmp_path / "data.zarr", tmp_path / name, f"training.num_steps={steps}")
    untrained, trained = (
        _evaluate(tmp_path / name, tmp_path / f"{name}_score", "episodes=50")
        for name in ("untrained", "trained")
    )
    assert trained["mean_score_interval"][0] > untrained["mean_score_interval"][1]
