"""Robots behind one protocol, and one file per robot."""

from diffusion_controller.robots.env_robot import (
    EnvRobot,
    EpisodeOutcome,
    UnsupportedEnvironmentError,
)
from diffusion_controller.robots.errors import (
    DeadlinePassedError,
    FaultTokenError,
    InvalidCommandError,
    NotArmedError,
    NotConnectedError,
    RobotError,
    RobotFaultError,
    UnsupportedStopError,
)
from diffusion_controller.robots.robot import (
    ClockOwner,
    Robot,
    RobotDescription,
    RobotState,
    StopKind,
    check_command,
)

__all__ = [
    "ClockOwner",
    "DeadlinePassedError",
    "EnvRobot",
    "EpisodeOutcome",
    "FaultTokenError",
    "InvalidCommandError",
    "NotArmedError",
    "NotConnectedError",
    "Robot",
    "RobotDescription",
    "RobotError",
    "RobotFaultError",
    "RobotState",
    "StopKind",
    "UnsupportedEnvironmentError",
    "UnsupportedStopError",
    "check_command",
]
