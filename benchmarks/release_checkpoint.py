"""Make a shipped checkpoint of a training run and its evaluation.

    dpc train experiment=pusht_keypoints out=RUN
    dpc evaluate policy=RUN episodes=500 out=EVALUATION
    python benchmarks/release_checkpoint.py RUN EVALUATION checkpoints/pusht_keypoints

Beside the four files of any checkpoint it gets `recipe.yaml` (the run's whole configuration),
`training_log.jsonl` (its metrics) and `evaluation.json` (every start).
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import yaml

SUMMARY = (
    "mean_score",
    "mean_score_interval",
    "success_rate",
    "success_rate_interval",
    "num_episodes",
)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds a table."""
    content = json.loads(path.read_text())
    if not isinstance(content, dict):
        raise SystemExit(f"{path} holds no table")
    return content


def release(run: Path, evaluation: Path, target: Path) -> None:
    """Copy the best checkpoint of a run with its recipe, its log and its evaluation."""
    result = read_json(evaluation / "evaluation.json")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree((run / "best").resolve(), target)
    metrics = read_json(target / "metrics.json")
    metrics["evaluation"] = {key: result[key] for key in SUMMARY if key in result}
    metrics["evaluation"]["seeds"] = [min(result["seeds"]), max(result["seeds"])]
    (target / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    recipe = yaml.safe_load((run / "config.yaml").read_text())
    recipe |= {"data": f"demos/{Path(recipe['data']).name}", "out": None}  # no path of one machine
    (target / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    shutil.copy(run / "metrics.jsonl", target / "training_log.jsonl")
    shutil.copy(evaluation / "evaluation.json", target)
    size = sum(path.stat().st_size for path in target.iterdir())
    print(f"{target}: {size / 1e6:.1f} MB")


def main() -> None:
    """Read the three paths and release."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("run", "evaluation", "target"):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args()
    release(arguments.run, arguments.evaluation, arguments.target)


if __name__ == "__main__":
    main()
