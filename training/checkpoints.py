"""Which checkpoints of a run are kept."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusion_controller.policy import DiffusionPolicy, save_policy


def keep_checkpoint(
    policy: DiffusionPolicy,
    directory: Path,
    *,
    step: int,
    score: float,
    kept: list[tuple[float, str]],
    limit: int,
    metrics: Mapping[str, Any],
) -> list[tuple[float, str]]:
    """Save a checkpoint, keep the best by score and the last, remove the others.

    Writes `checkpoints/step_…` and makes the links `best` and `last` point into it.

    Args:
        policy: To save.
        directory: Of the run.
        step: Optimizer steps done.
        score: Closed-loop score; of equal ones the later is better.
        kept: Score and name of those kept so far, best first.
        limit: How many of the best to keep.
        metrics: See `save_policy`.

    Returns:
        `kept` as it is now.
    """
    checkpoints = directory / "checkpoints"
    name = f"step_{step:08d}"
    save_policy(policy, checkpoints / name, metrics=metrics)
    others = [entry for entry in kept if entry[1] != name]
    ranked = sorted([(score, name), *others], reverse=True)[:limit]
    _point(directory / "best", checkpoints / ranked[0][1])
    _point(directory / "last", checkpoints / name)
    wanted = {name, *(kept_name for _, kept_name in ranked)}
    for found in checkpoints.glob("step_*"):
        if found.name not in wanted:
            shutil.rmtree(found, ignore_errors=True)
    return ranked


def _point(link: Path, target: Path) -> None:
    """Make a relative link point to a checkpoint, replacing the one before in one step."""
    partial = link.with_name(f".{link.name}.partial")
    partial.unlink(missing_ok=True)
    partial.symlink_to(target.relative_to(link.parent))
    partial.replace(link)
