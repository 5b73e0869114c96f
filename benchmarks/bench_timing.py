"""The verdicts of `dpc timing` against a stopwatch around the control loop, in real time.

    python benchmarks/bench_timing.py seconds=10 sweep.engine=[eager,openvino] sweep.num_threads=1

The policy drives Push-T at 10 Hz and at 50 Hz, with the machine left alone and with its other
cores busy, in a process with the threads of the setting. What the loop missed, and how long its
planner took, is put beside what `dpc timing` had said.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from machine import describe_machine
from numpy.typing import NDArray

from diffusion_controller.envs import PUSHT_ENV_ID
from diffusion_controller.policy import load_policy
from diffusion_controller.robots import (
    ClockOwner,
    DeadlinePassedError,
    EnvRobot,
    RobotDescription,
    RobotState,
    StopKind,
)
from diffusion_controller.runtime import (
    HELD_OUT_SEED,
    ChunkExecutor,
    Planner,
    Setting,
    SynchronousPlanner,
    busy_cores,
    clock_for,
    other_cores,
    run_control_loop,
)
from diffusion_controller.runtime.timing_sweep import environment_of

HERE = Path(__file__).parent
RATES_HZ = (10.0, 50.0)


class RealTimePushT:
    """Push-T that does not wait for the policy: it is stamped with the machine's clock.

    When an episode is over, the next one begins.
    """

    def __init__(self, control_hz: float) -> None:
        """Make the environment; its physics does not change with the rate."""
        self._env = gymnasium.make(PUSHT_ENV_ID, observation="keypoints")
        self._seed, self._control_hz = HELD_OUT_SEED, control_hz
        self._robot = self._begin()

    def describe(self) -> RobotDescription:
        """The environment, with a clock that nobody can stop."""
        described = self._robot.describe()
        return replace(described, clock_owner=ClockOwner.CONTROLLER, control_hz=self._control_hz)

    def connect(self) -> None:
        """Connected from the beginning."""

    def arm(self) -> None:
        """Armed from the beginning."""

    def read(self) -> RobotState:
        """What it shows now."""
        state = self._robot.read()
        if state.is_finished:
            self._seed += 1
            self._robot = self._begin()
            state = self._robot.read()
        return replace(state, time=time.monotonic())

    def write(self, command: NDArray[np.float64], *, deadline: float) -> NDArray[np.float64]:
        """One step of the environment, if it is not too late for it."""
        if time.monotonic() > deadline:
            raise DeadlinePassedError(f"a command for {deadline} s came too late")
        return self._robot.write(command, deadline=math.inf)

    def stop(self, kind: StopKind) -> None:
        """It stands still when it is not written to."""
        del kind

    def clear_fault(self, token: int) -> None:
        """It has none."""
        del token

    def close(self) -> None:
        """The environment goes with the process."""

    def _begin(self) -> EnvRobot:
        robot = EnvRobot(self._env, seed=self._seed)
        robot.connect()
        robot.arm()
        return robot


class StopwatchPlanner:
    """Times another planner, by another clock than `dpc timing` does."""

    def __init__(self, planner: Planner) -> None:
        """Stand in front of it."""
        self._planner = planner
        self.durations: list[float] = []

    def plan(self, observation: Mapping[str, NDArray[Any]], *, index: int) -> NDArray[np.float64]:
        """See `Planner`."""
        began = time.perf_counter()
        chunk = self._planner.plan(observation, index=index)
        self.durations.append(time.perf_counter() - began)
        return chunk


def drive(order: Mapping[str, Any]) -> dict[str, Any]:
    """Run the control loop with a setting; what it missed, and what its planner took in [s]."""
    setting = Setting(**order["setting"])
    policy = load_policy(
        order["checkpoint"],
        sampler=setting.sampler,
        num_inference_steps=setting.num_inference_steps,
        engine=setting.engine,
        precision=setting.precision,
    )
    planner = StopwatchPlanner(SynchronousPlanner(policy, episode_seed=HELD_OUT_SEED))
    robot = RealTimePushT(order["control_hz"])
    executor = ChunkExecutor(obs_horizon=policy.obs_horizon, period=robot.describe().period)
    executor.observe(robot.read().observation, time=0.0)
    for _ in range(10):  # warm up
        planner.plan(executor.observation, index=0)
    planner.durations.clear()
    executor = ChunkExecutor(obs_horizon=policy.obs_horizon, period=robot.describe().period)
    with busy_cores(other_cores()) if order["is_busy"] else nullcontext():
        ticks = order["chunks"] * policy.action_horizon
        summary = run_control_loop(robot, planner, executor, clock_for(robot), max_ticks=ticks)
    durations = np.asarray(planner.durations)
    period = 1 / order["control_hz"]
    return {
        "chunks": summary.chunks,
        "commands": summary.commands,
        "missed_deadlines": summary.missed_deadlines,
        "skipped_ticks": summary.skipped_ticks,
        "max_lateness": summary.max_lateness,
        "p50": float(np.quantile(durations, 0.5)),
        "p90": float(np.quantile(durations, 0.9)),
        "p99": float(np.quantile(durations, 0.99)),
        "max": float(durations.max()),
        "later_than_period": int((durations > period).sum()),
        "later_than_actions": int((durations > policy.action_horizon * period).sum()),
    }


def drive_in_new_process(order: Mapping[str, Any]) -> dict[str, Any]:
    """`drive` in a process with the threads of the setting."""
    done = subprocess.run(
        [sys.executable, __file__, "--drive"],
        input=json.dumps(order),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=environment_of(Setting(**order["setting"]), os.environ),
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def ask_timing(checkpoint: str, rate_hz: float, words: Sequence[str]) -> dict[str, Any]:
    """What `dpc timing` finds and says."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["timing", f"policy={checkpoint}", f"control_hz={rate_hz:g}", f"out={folder}"]
        subprocess.run(
            [sys.executable, "-m", "diffusion_controller.commands.main", *command, *words],
            check=False,  # 1 says that no setting keeps the rate, which is an answer
        )
        answer: dict[str, Any] = json.loads((Path(folder) / "timing.json").read_text())
        return answer


def compare(checkpoint: str, rate_hz: float, *, chunks: int, words: Sequence[str]) -> list[Any]:
    """One row per setting and condition: what was said, and what the loop did."""
    rows = []
    timing = ask_timing(checkpoint, rate_hz, words)
    for found in timing["settings"]:
        setting = {field.name: found[field.name] for field in fields(Setting)}
        for condition in ("alone", "busy"):
            order = {
                "checkpoint": checkpoint,
                "setting": setting,
                "control_hz": rate_hz,
                "chunks": chunks,
                "is_busy": condition == "busy",
            }
            said = {key: found[condition][key] for key in ("calls", "p50", "p90", "p99", "max")}
            rows.append(
                {
                    "control_hz": rate_hz,
                    "setting": setting,
                    "condition": condition,
                    "said": {**said, **found[condition]["missed"], "in_time": found["in_time"]},
                    "control_loop": drive_in_new_process(order),
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    return rows


def main() -> None:
    """Compare and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", default="checkpoints/pusht_keypoints")
    parser.add_argument("--chunks", type=int, default=60, help="that the loop plans, each time")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "timing.json")
    parser.add_argument("--drive", action="store_true", help="an order follows on the input")
    parser.add_argument("words", nargs="*", help="more words for dpc timing")
    arguments = parser.parse_args()
    if arguments.drive:
        print(json.dumps(drive(json.load(sys.stdin))))
        return
    result = {
        "command": " ".join(["python benchmarks/bench_timing.py", *arguments.words]),
        "machine": describe_machine(),
        "times": "[s]",
        "rows": [
            row
            for rate in RATES_HZ
            for row in compare(
                arguments.checkpoint, rate, chunks=arguments.chunks, words=arguments.words
            )
        ],
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
