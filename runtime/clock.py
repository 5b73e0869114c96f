"""Time as a parameter, and a clock that ticks on a grid."""

import math
import time
from dataclasses import dataclass
from typing import Protocol

from diffusion_controller import DiffusionControllerError
from diffusion_controller.robots import Robot

GRID_TOLERANCE = 1e-6
"""Part of a period by which two times may differ and still be the same tick."""


class ClockError(DiffusionControllerError, ValueError):
    """A clock that cannot tick as asked for."""


class TimeSource(Protocol):
    """Says how late it is, and waits."""

    def now(self) -> float:
        """In [s]; never goes back. Only differences mean something."""

    def sleep_until(self, instant: float) -> None:
        """Block until `now` is at least `instant`; return at once when it is already."""


class MonotonicTime:
    """The machine's monotonic clock: changes of the wall clock do not touch it."""

    def now(self) -> float:
        """Seconds of CLOCK_MONOTONIC."""
        return time.monotonic()

    def sleep_until(self, instant: float) -> None:
        """Sleep; wakes up late rather than early."""
        while (remaining := instant - time.monotonic()) > 0:
            time.sleep(remaining)


class SimulatedTime:
    """Time that passes when told to, or when somebody sleeps. For tests and simulations."""

    def __init__(self, start: float = 0.0) -> None:
        """Begin at `start` in [s]."""
        self._now = start

    def now(self) -> float:
        """The simulated time in [s]."""
        return self._now

    def sleep_until(self, instant: float) -> None:
        """Jump to `instant`, unless it has passed."""
        self._now = max(self._now, instant)

    def advance(self, seconds: float) -> None:
        """Let time pass, as work does that takes a while."""
        self._now += seconds


class RobotTime:
    """The clock of a robot that owns it: it advances when the robot is written to."""

    def __init__(self, robot: Robot) -> None:
        """Follow a connected robot."""
        self._robot = robot

    def now(self) -> float:
        """Time of the robot's state in [s]."""
        return self._robot.read().time

    def sleep_until(self, instant: float) -> None:
        """Returns at once: waiting does not move this clock, so nobody can be early by it."""


@dataclass(frozen=True)
class Tick:
    """One turn of the control loop.

    Attributes:
        index: Which point of the grid it is; skipped ones leave gaps.
        deadline: When it is due, in [s].
        time: When it really began, in [s].
        skipped: Ticks before it that were missed.
    """

    index: int
    deadline: float
    time: float
    skipped: int

    @property
    def lateness(self) -> float:
        """Beginning − deadline, in [s]."""
        return self.time - self.deadline


class PeriodicClock:
    """Ticks at `start + k * period`, however long the work between ticks takes.

    Deadlines are absolute, so sleep overshoot never accumulates. A missed tick is skipped, never
    replayed: two commands in a burst would ask the robot to move at twice the planned speed.
    """

    def __init__(self, time_source: TimeSource, *, period: float) -> None:
        """Start the grid at the present; the first tick is due at once.

        Args:
            time_source: Says how late it is.
            period: Distance of the ticks in [s].

        Raises:
            ClockError: If the period is not positive and finite.
        """
        if not 0 < period < math.inf:
            raise ClockError(f"a period of {period} s cannot be kept; give a positive one")
        self._time, self._period = time_source, period
        self._start = time_source.now()
        self._next = 0

    @property
    def period(self) -> float:
        """Distance of the ticks in [s]."""
        return self._period

    def now(self) -> float:
        """The present, by the clock's time source, in [s]."""
        return self._time.now()

    def is_over(self, tick: Tick) -> bool:
        """Whether the next tick is already due, so that it is too late to act on this one."""
        return self.now() >= tick.deadline + (1 - GRID_TOLERANCE) * self._period

    def wait(self) -> Tick:
        """Block until the next tick.

        When ticks were missed, the newest one that is due is returned at once and the ones before
        it are counted as skipped; the one after it is due on the grid.
        """
        now = self._time.now()
        due = math.floor((now - self._start) / self._period + GRID_TOLERANCE)
        index = max(self._next, due)
        skipped = index - self._next
        self._next = index + 1
        deadline = self._start + index * self._period
        self._time.sleep_until(deadline)
        return Tick(index, deadline, self._time.now(), skipped)
