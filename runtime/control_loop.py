"""The control loop: the same one for simulations and for arms."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from diffusion_controller.robots import (
    ClockOwner,
    DeadlinePassedError,
    Robot,
    RobotDescription,
    RobotState,
    StopKind,
)
from diffusion_controller.runtime.chunk_executor import (
    ChunkExecutor,
    DueAction,
    ObservationTimeError,
)
from diffusion_controller.runtime.chunk_policy import ChunkPolicy
from diffusion_controller.runtime.clock import (
    MonotonicTime,
    PeriodicClock,
    RobotTime,
    Tick,
    TimeSource,
)
from diffusion_controller.runtime.errors import PolicyRobotMismatchError
from diffusion_controller.runtime.planner import Planner


@dataclass(frozen=True)
class TickRecord:
    """What happened in one tick.

    Attributes:
        tick: When.
        state: What the robot was read to be.
        due: The action that was due.
        sent: What was really sent to the robot. Shape (action_dim,).
    """

    tick: Tick
    state: RobotState
    due: DueAction
    sent: NDArray[np.float64]


class Subscriber(Protocol):
    """Is told of every tick; must return soon."""

    def on_tick(self, record: TickRecord) -> None:
        """A command was sent."""


@dataclass
class LoopSummary:
    """How a run of the loop went; counts while it runs.

    Attributes:
        commands: Commands sent.
        chunks: Chunks planned.
        skipped_ticks: Ticks that were missed before they began.
        missed_deadlines: Ticks that began but in which planning or sending took too long.
        refused_observations: States with a stale or impossible time stamp.
        max_lateness: Of the beginning of any tick, in [s].
        is_finished: Whether the robot said that the task has ended.
    """

    commands: int = 0
    chunks: int = 0
    skipped_ticks: int = 0
    missed_deadlines: int = 0
    refused_observations: int = 0
    max_lateness: float = 0.0
    is_finished: bool = False


def run_control_loop(
    robot: Robot,
    planner: Planner,
    executor: ChunkExecutor,
    clock: PeriodicClock,
    *,
    max_ticks: int,
    subscribers: Sequence[Subscriber] = (),
) -> LoopSummary:
    """Read, plan when need be, write: on every tick until the task or the time ends.

    The robot is connected and armed by the caller. However the loop ends, by an error as well,
    the robot is stopped.

    Args:
        robot: Connected and armed.
        planner: Makes chunks.
        executor: Says what is due; new.
        clock: Ticks at the rate of the chunks' actions; new.
        max_ticks: How many periods it runs at most, missed ones included.
        subscribers: Told of every command sent, in this order.

    Raises:
        ChunkError: If the policy's answer is no finite action chunk; nothing of it was sent.
        RobotError: If the robot refuses a command or is in a fault.
    """
    summary = LoopSummary()
    try:
        while (tick := clock.wait()).index < max_ticks:
            summary.skipped_ticks += tick.skipped
            summary.max_lateness = max(summary.max_lateness, tick.lateness)

            state = robot.read()
            summary.is_finished = state.is_finished
            if state.is_finished:
                break
            _observe(executor, state, summary)

            now = clock.now()
            if executor.must_replan(now):
                chunk = planner.plan(executor.observation, index=summary.chunks)
                executor.accept(chunk, observation_time=executor.observation_time)
                summary.chunks += 1
                now = clock.now()

            due = executor.due(now)  # of the moment that replanning was decided in, or of its end
            if due is None or clock.is_over(tick):
                summary.missed_deadlines += 1  # the robot holds; the next tick finds what is due
                continue
            sent = _write(robot, due, tick.deadline + clock.period, summary)
            if sent is not None:
                for subscriber in subscribers:
                    subscriber.on_tick(TickRecord(tick, state, due, sent))
    finally:
        robot.stop(StopKind.CONTROLLED)
    return summary


def _observe(executor: ChunkExecutor, state: RobotState, summary: LoopSummary) -> None:
    try:
        executor.observe(state.observation, time=state.time)
    except ObservationTimeError:
        summary.refused_observations += 1


def _write(
    robot: Robot, due: DueAction, deadline: float, summary: LoopSummary
) -> NDArray[np.float64] | None:
    """What was sent; None if it came too late."""
    try:
        sent = robot.write(due.action, deadline=deadline)
    except DeadlinePassedError:
        summary.missed_deadlines += 1
        return None
    summary.commands += 1
    return sent


def clock_for(robot: Robot, *, time_source: TimeSource | None = None) -> PeriodicClock:
    """A clock at the robot's rate, by whichever time its states are stamped with.

    Args:
        robot: Connected.
        time_source: For a robot whose controller keeps time; the monotonic clock by default.
    """
    description = robot.describe()
    if description.clock_owner is ClockOwner.ROBOT:
        return PeriodicClock(RobotTime(robot), period=description.period)
    return PeriodicClock(time_source or MonotonicTime(), period=description.period)


def check_policy_fits(policy: ChunkPolicy, description: RobotDescription) -> None:
    """Refuse a robot that the policy was not made for, before anything moves.

    Raises:
        PolicyRobotMismatchError: If observations or actions differ.
    """
    if policy.action_dim != description.action_dim:
        raise PolicyRobotMismatchError(
            f"the policy's actions have {policy.action_dim} numbers; {description.name} takes "
            f"{description.action_dim} in [{', '.join(description.action_units)}]. "
            "Choose a policy that was trained for this robot"
        )
    for name, shape in policy.observation_shapes.items():
        found = description.observation_shapes.get(name)
        if found is None or tuple(found) != tuple(shape):
            raise PolicyRobotMismatchError(
                f"the policy reads {name} of shape {tuple(shape)}; {description.name} observes "
                f"{dict(description.observation_shapes)}. Add what is missing to the robot, or "
                "choose a policy that was trained with what it observes"
            )
