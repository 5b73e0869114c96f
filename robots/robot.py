"""What the control loop asks of a robot, real or simulated. Imports no torch.

`tests/contracts/robot_contract.py` states the promises below as tests; a driver inherits them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from diffusion_controller.robots.errors import DeadlinePassedError, InvalidCommandError


class ClockOwner(Enum):
    """Who says how late it is.

    An arm moves on while the controller thinks, so the controller keeps time, on the monotonic
    clock. A simulation stands still until it is told to go on, so it keeps its own.
    """

    CONTROLLER = "controller"
    ROBOT = "robot"


class StopKind(Enum):
    """Ways to stop, from the gentlest to the hardest."""

    CONTROLLED = "controlled"
    """Decelerate within the limits of velocity, acceleration and jerk."""
    IMMEDIATE = "immediate"
    """As fast as the device can, holding torque."""
    EMERGENCY = "emergency"
    """The device's own emergency stop; needs an operator to release it."""


@dataclass(frozen=True)
class RobotDescription:
    """What is known about a robot before it moves.

    Attributes:
        name: For messages and records.
        action_low: Least command. Shape (action_dim,).
        action_high: Greatest command. Shape (action_dim,).
        action_units: Unit of each number of a command, such as "rad".
        observation_shapes: Name and shape of what `read` observes.
        control_hz: Rate of commands in [Hz].
        clock_owner: Who keeps the time that states and deadlines are in.
        has_watchdog: Whether the device stops by itself when commands fail to come.
        stop_kinds: The stops it can do.
    """

    name: str
    action_low: NDArray[np.float64]
    action_high: NDArray[np.float64]
    action_units: tuple[str, ...]
    observation_shapes: Mapping[str, tuple[int, ...]]
    control_hz: float
    clock_owner: ClockOwner
    has_watchdog: bool
    stop_kinds: frozenset[StopKind]

    @property
    def action_dim(self) -> int:
        """Numbers in one command."""
        return len(self.action_low)

    @property
    def period(self) -> float:
        """Nominal time between commands in [s]."""
        return 1.0 / self.control_hz


@dataclass(frozen=True)
class RobotState:
    """One reading of the robot.

    Attributes:
        time: When it was measured, on the clock that the description names, in [s].
        observation: Name to array, in physical units. Not to be changed.
        is_finished: Whether the task has ended; only simulations know.
    """

    time: float
    observation: Mapping[str, NDArray[Any]]
    is_finished: bool = False


class Robot(Protocol):
    """A robot, from connecting to closing.

    `connect` → `arm` → any number of `read` and `write` → `stop` → `close`. A fault is latched:
    until `clear_fault`, `arm` and `write` raise `RobotFaultError`. Calls come from one thread.
    """

    def describe(self) -> RobotDescription:
        """What is known about the robot. Needs no connection."""

    def connect(self) -> None:
        """Reach the device; nothing moves. Again does no harm."""

    def arm(self) -> None:
        """Allow motion.

        Raises:
            NotConnectedError: Before `connect` or after `close`.
            RobotFaultError: While a fault is latched.
        """

    def read(self) -> RobotState:
        """The newest state, with the time at which it was measured.

        Raises:
            NotConnectedError: Before `connect` or after `close`.
            RobotFaultError: If the device does not answer.
        """

    def write(self, command: NDArray[np.float64], *, deadline: float) -> NDArray[np.float64]:
        """Send a command, whole or not at all.

        Args:
            command: Physical units. Shape (action_dim,).
            deadline: Latest time of sending, on the robot's clock, in [s].

        Returns:
            What was really sent: the command, within the limits of the description.

        Raises:
            NotConnectedError: Before `connect` or after `close`.
            NotArmedError: Before `arm` or after `stop`.
            InvalidCommandError: If it is not finite or of another shape.
            DeadlinePassedError: If it came too late.
            RobotFaultError: If the device refused or a fault is latched.
        """

    def stop(self, kind: StopKind) -> None:
        """Stop and disarm. Harmless when nothing moves.

        Raises:
            NotConnectedError: Before `connect` or after `close`.
            UnsupportedStopError: If the description does not list this kind.
        """

    def clear_fault(self, token: int) -> None:
        """Clear the fault that the token names; the robot is not armed afterwards.

        Raises:
            FaultTokenError: If another fault, or none, is latched.
        """

    def close(self) -> None:
        """Disarm and end the connection. Again does no harm."""


def check_command(
    command: NDArray[np.float64], description: RobotDescription, *, now: float, deadline: float
) -> NDArray[np.float64]:
    """What every driver refuses before it sends anything.

    Returns:
        The command within the limits of the description, as a new array.

    Raises:
        InvalidCommandError: If it is not finite or of another shape.
        DeadlinePassedError: If `now` is after the deadline.
    """
    values = np.array(command, dtype=np.float64)
    if values.shape != (description.action_dim,):
        raise InvalidCommandError(
            f"command of shape {values.shape} for {description.name}; expected "
            f"({description.action_dim},): one number in [{', '.join(description.action_units)}]"
        )
    if not np.isfinite(values).all():
        raise InvalidCommandError(
            f"command {values.tolist()} for {description.name} is not finite; nothing was sent"
        )
    if now > deadline:
        raise DeadlinePassedError(
            f"the command for {description.name} came {1e3 * (now - deadline):.1f} ms after its "
            "deadline; nothing was sent. Plan the next one from the present state"
        )
    return np.clip(values, description.action_low, description.action_high)
