"""Steps per second of Push-T against gym-pusht, in one process each, alternating in one run.

    benchmarks/peers/make_gym_pusht.sh DIRECTORY
    python benchmarks/bench_pusht.py --peer-python DIRECTORY/bin/python

Without `--peer-python`, only our own figures are measured. Writes `benchmarks/results/pusht.json`.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
from machine import describe_machine
from pusht_workload import steps_per_second

from diffusion_controller.envs import PUSHT_ENV_ID

HERE = Path(__file__).parent
OBSERVATIONS = ("state", "keypoints", "image")
PEER_OBSERVATIONS = ("state", "image")


class Peer:
    """gym-pusht in its own interpreter."""

    def __init__(self, python: str) -> None:
        """Start it."""
        script = HERE / "peers" / "step_gym_pusht.py"
        self._process = subprocess.Popen(
            [python, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def steps_per_second(self, observation: str, *, seconds: float) -> float:
        """One measurement."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the peer has no pipes")
        print(observation, seconds, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(
                "the peer ended without an answer; make its environment with "
                "benchmarks/peers/make_gym_pusht.sh"
            )
        return float(answer)

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def measure(peer: Peer | None, *, rounds: int, seconds: float) -> dict[str, dict[str, list[float]]]:
    """Steps per second by name and observation, one entry per round."""
    envs = {name: gymnasium.make(PUSHT_ENV_ID, observation=name) for name in OBSERVATIONS}
    ours: dict[str, list[float]] = {name: [] for name in OBSERVATIONS}
    theirs: dict[str, list[float]] = {name: [] for name in PEER_OBSERVATIONS}
    for _ in range(rounds):
        for name in OBSERVATIONS:
            ours[name].append(steps_per_second(envs[name], seconds=seconds))
            if peer is not None and name in PEER_OBSERVATIONS:
                theirs[name].append(peer.steps_per_second(name, seconds=seconds))
    return {"ours": ours, "gym_pusht": theirs if peer is not None else {}}


def summarize(samples: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """Medians, and the ratio of each round's pair."""
    ours, theirs = samples["ours"], samples["gym_pusht"]
    return {
        "steps_per_second": {
            who: {name: round(statistics.median(values)) for name, values in by_name.items()}
            for who, by_name in samples.items()
        },
        "ratio": {
            name: round(
                statistics.median(a / b for a, b in zip(ours[name], theirs[name], strict=True)), 2
            )
            for name in theirs
        },
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--peer-python", help="interpreter of an environment with gym-pusht")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "pusht.json")
    arguments = parser.parse_args()
    peer = Peer(arguments.peer_python) if arguments.peer_python else None
    samples = measure(peer, rounds=arguments.rounds, seconds=arguments.seconds)
    if peer is not None:
        peer.close()
    result = {
        "benchmark": "Push-T steps per second of processor time, one process, resets included",
        **summarize(samples),
        "samples": samples,
        "command": f"python benchmarks/bench_pusht.py --rounds {arguments.rounds} "
        f"--seconds {arguments.seconds:g}" + (" --peer-python PYTHON" if peer else ""),
        "peer": "gym-pusht 0.1.8, pymunk 6" if peer else None,
        "machine": describe_machine(),
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    json.dump({key: result[key] for key in ("steps_per_second", "ratio")}, sys.stdout, indent=2)
    print(f"\nwritten to {arguments.out}")


if __name__ == "__main__":
    main()
