from typing import Any

import gymnasium
import numpy as np
import pytest
from numpy.typing import NDArray

from diffusion_controller.robots import EnvRobot, RobotFaultError, StopKind
from diffusion_controller.runtime import (
    ChunkError,
    ChunkExecutor,
    LoopSummary,
    PolicyRobotMismatchError,
    SimulatedTime,
    SynchronousPlanner,
    TickRecord,
    check_policy_fits,
    clock_for,
    evaluate_policy,
    run_control_loop,
)
from tests.contracts.robot_contract import RobotContract
from tests.runtime.doubles import CountingEnv, FakeRobot, NumberingPlanner, ScriptedPolicy


class FakeRig:
    def __init__(self) -> None:
        self.robot = FakeRobot(SimulatedTime(start=50.0))

    def received(self) -> list[NDArray[np.float64]]:
        return [command for _, command in self.robot.commands]

    def break_device(self) -> None:
        self.robot.is_broken = True

    def mend_device(self) -> None:
        self.robot.is_broken = False


class TestFakeRobot(RobotContract):
    def rig(self) -> FakeRig:
        return FakeRig()


class Bench:
    """A loop around a fake arm, from 50 s on, with chunks of four actions."""

    def __init__(self) -> None:
        self.time = SimulatedTime(start=50.0)
        self.robot = FakeRobot(self.time)
        self.robot.connect()
        self.robot.arm()
        self.planner = NumberingPlanner(self.time)
        self.records: list[TickRecord] = []

    def on_tick(self, record: TickRecord) -> None:
        self.records.append(record)

    def run(self, max_ticks: int) -> LoopSummary:
        return run_control_loop(
            self.robot,
            self.planner,
            ChunkExecutor(obs_horizon=2, period=0.1),
            clock_for(self.robot, time_source=self.time),
            max_ticks=max_ticks,
            subscribers=[self],
        )

    @property
    def sent(self) -> list[tuple[float, float]]:
        """Time of each command and its first number, which is 10 · chunk + step."""
        return [(round(time - 50.0, 6), float(command[0])) for time, command in self.robot.commands]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_one_action_is_sent_per_tick_and_chunks_follow_each_other(bench: Bench) -> None:
    summary = bench.run(9)
    values = [0.0, 1.0, 2.0, 3.0, 10.0, 11.0, 12.0, 13.0, 20.0]
    assert bench.sent == [(round(0.1 * k, 6), value) for k, value in enumerate(values)]
    assert (summary.commands, summary.chunks, summary.missed_deadlines) == (9, 3, 0)


def test_planning_within_a_period_delays_only_the_first_action_of_a_chunk(bench: Bench) -> None:
    bench.planner.duration = 0.03
    bench.run(5)
    assert bench.sent == [(0.03, 0.0), (0.1, 1.0), (0.2, 2.0), (0.3, 3.0), (0.43, 10.0)]


def test_actions_that_planning_made_too_late_are_dropped_not_sent_in_a_burst(
    bench: Bench,
) -> None:
    bench.planner.duration = 0.25
    summary = bench.run(5)
    assert bench.sent == [(0.25, 2.0), (0.3, 3.0)]
    assert summary.skipped_ticks == 1
    assert summary.missed_deadlines == 2  # in the ticks at 0 s and at 0.4 s the plan came too late


def test_no_action_is_sent_twice_when_planning_takes_exactly_a_period(bench: Bench) -> None:
    bench.planner.duration = 0.1
    bench.run(4)
    assert bench.sent == [(0.1, 1.0), (0.2, 2.0), (0.3, 3.0)]


def test_a_planner_slower_than_its_chunk_never_moves_the_robot_and_the_loop_ends(
    bench: Bench,
) -> None:
    bench.planner.duration = 0.7
    summary = bench.run(20)
    assert bench.sent == []
    assert summary.commands == 0
    assert bench.robot.stops == [StopKind.CONTROLLED]


def test_a_state_with_a_stale_time_stamp_is_refused_and_counted(bench: Bench) -> None:
    bench.robot.stuck_at = 50.0
    summary = bench.run(6)
    assert summary.refused_observations == 5
    assert [value for _, value in bench.sent] == [0.0, 1.0, 2.0, 3.0]  # then nothing is due


def test_every_command_is_told_with_its_age_and_origin(bench: Bench) -> None:
    bench.run(6)
    assert [record.due.step for record in bench.records] == [0, 1, 2, 3, 0, 1]
    assert [record.due.chunk.index for record in bench.records] == [0, 0, 0, 0, 1, 1]
    ages = [round(record.due.age, 6) for record in bench.records]
    assert ages == [0.0, 0.1, 0.2, 0.3, 0.0, 0.1]


def test_a_fault_ends_the_loop_and_stops_the_robot(bench: Bench) -> None:
    bench.robot.is_broken = True
    with pytest.raises(RobotFaultError):
        bench.run(3)
    assert bench.robot.stops == [StopKind.CONTROLLED]


class PositionPolicy:
    """Moves a counter by half a unit; one action is not finite when told so."""

    obs_horizon, horizon, action_horizon, action_dim = 1, 4, 4, 1
    observation_shapes = {"position": (1,)}  # noqa: RUF012

    def __init__(self, *, bad: float | None = None) -> None:
        self._bad = bad

    def predict_chunk(
        self,
        observation: Any,
        *,
        seeds: Any = None,  # noqa: ARG002
    ) -> NDArray[np.float64]:
        chunk = np.full((len(observation["position"]), 4, 1), 0.5)
        if self._bad is not None:
            chunk[0, -1] = self._bad
        return chunk


def drive(env: gymnasium.Env[Any, Any], policy: Any, *, seed: int, max_ticks: int) -> EnvRobot:
    robot = EnvRobot(env, seed=seed)
    check_policy_fits(policy, robot.describe())
    robot.connect()
    robot.arm()
    run_control_loop(
        robot,
        SynchronousPlanner(policy, episode_seed=seed),
        ChunkExecutor(obs_horizon=policy.obs_horizon, period=robot.describe().period),
        clock_for(robot),
        max_ticks=max_ticks,
    )
    return robot


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_of_a_chunk_with_one_number_that_is_not_finite_nothing_is_sent(bad: float) -> None:
    env = CountingEnv()
    with pytest.raises(ChunkError, match="whole chunk is refused"):
        drive(env, PositionPolicy(bad=bad), seed=0, max_ticks=10)
    assert env.actions == []


def test_the_loop_ends_when_the_task_does() -> None:
    env = CountingEnv(goal=3.0)
    robot = drive(env, PositionPolicy(), seed=0, max_ticks=100)
    assert robot.outcome.steps == 6
    assert robot.outcome.max_reward == 1.0


def test_a_robot_that_the_policy_was_not_made_for_is_refused_before_anything_moves() -> None:
    env = CountingEnv()
    with pytest.raises(PolicyRobotMismatchError, match="takes 1 in"):
        drive(env, ScriptedPolicy(), seed=0, max_ticks=10)
    push_t = gymnasium.make("diffusion_controller/PushT-v0", observation="state")
    with pytest.raises(PolicyRobotMismatchError, match="reads keypoints"):
        drive(push_t, ScriptedPolicy(), seed=0, max_ticks=10)


def test_the_control_loop_and_the_evaluation_play_the_same_episodes() -> None:
    seeds = (100_000, 100_001, 100_002)
    result = evaluate_policy(ScriptedPolicy(), seeds=seeds)
    env = gymnasium.make("diffusion_controller/PushT-v0", observation="keypoints")
    for seed, episode in zip(seeds, result.episodes, strict=True):
        outcome = drive(env, ScriptedPolicy(), seed=seed, max_ticks=1000).outcome
        assert outcome.max_reward == episode.max_reward
        assert outcome.steps == episode.steps
        assert outcome.info["coverage"] == episode.final_coverage


class CreepingTime(SimulatedTime):
    """Passes by a microsecond whenever somebody looks, and begins late by one and a half."""

    def __init__(self) -> None:
        super().__init__(start=50.0)
        self._is_first = True

    def now(self) -> float:
        self.advance(1e-6)
        return super().now()

    def sleep_until(self, instant: float) -> None:
        super().sleep_until(instant + 1.5e-6 * self._is_first)
        self._is_first = False


def test_a_chunk_that_ends_between_two_looks_at_the_clock_is_no_missed_deadline() -> None:
    bench = Bench()
    bench.time = CreepingTime()
    bench.robot = FakeRobot(bench.time)
    bench.robot.connect()
    bench.robot.arm()
    bench.planner = NumberingPlanner(bench.time)
    summary = bench.run(max_ticks=9)
    assert (summary.missed_deadlines, summary.commands) == (0, 9)
