"""CPU time of `dpc --help`, beside that of a Python that does nothing.

    python benchmarks/bench_startup.py

Writes `benchmarks/results/startup.json`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from machine import describe_machine

COMMANDS = {
    "dpc_help": [sys.executable, "-m", "diffusion_controller.commands.main", "--help"],
    "dpc_train_help": [sys.executable, "-m", "diffusion_controller.commands.main", "train", "-h"],
    "python": [sys.executable, "-c", "pass"],
}


def cpu_time(command: list[str]) -> float:
    """User and system time of a command in [s]."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with status {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Measure in turn, after one round that warms the file cache."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/startup.json")
    arguments = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for round_number in range(arguments.rounds + 1):
        for name, command in COMMANDS.items():
            seconds = cpu_time(command)
            if round_number:
                times[name].append(round(seconds, 4))
    medians = {name: statistics.median(values) for name, values in times.items()}
    result = {
        "what": "CPU time (user and system) of a whole process in [s], median over rounds",
        "command": "python benchmarks/bench_startup.py",
        "machine": describe_machine(),
        "cpu_s": medians,
        "ratio_dpc_help_to_python": round(medians["dpc_help"] / medians["python"], 2),
        "all_rounds_s": times,
    }
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    for name, seconds in medians.items():
        print(f"{name:<16} {seconds:.3f} s")


if __name__ == "__main__":
    main()
