"""Policies that see learn: for a short time better than nothing, for long enough by heart.

Slow: some minutes each. The figures seen stand in docs/vision.md.
"""

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


def _store_with_pictures(path: Path, episodes: Sequence[int]) -> list[int]:
    """Embedded demonstrations with pictures drawn of their states; gives the starts' seeds."""
    source, renderer = ReplayBuffer.open(EMBEDDED_DEMONSTRATIONS), PushTRenderer(96)
    names = ("state", "action")
    specs = {name: ArraySpec(source.array(name).shape[1:]) for name in names}
    specs["img"] = ArraySpec((96, 96, 3), np.uint8)
    target = ReplayBuffer.create(path, specs, metadata={"control_hz": 10.0})
    seeds = [source.metadata["seeds"][episode] for episode in episodes]
    for episode, seed in zip(episodes, seeds, strict=True):
        recorded = source.episode(episode)
        pictures = np.stack([renderer.draw(state) for state in recorded["state"]])
        kept = {name: recorded[name] for name in names}
        target.append_episode({**kept, "img": pictures}, seed=seed)
    return seeds


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


def test_eight_episodes_learnt_by_heart_are_reproduced_in_closed_loop(tmp_path: Path) -> None:
    seeds = _store_with_pictures(tmp_path / "data.zarr", range(8))
    _train(
        tmp_path / "data.zarr",
        tmp_path / "run",
        "training.num_steps=1500",
        "training.ema_max_decay=0.995",
        "task.mirror=false",
    )
    starts = (f"first_seed={seeds[0]}", "episodes=8", "allow_training_seeds=true")
    result = _evaluate(tmp_path / "run", tmp_path / "score", *starts)
    assert result["success_rate"] >= 7 / 8
