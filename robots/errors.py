"""What can go wrong between the controller and a robot."""

from diffusion_controller import DiffusionControllerError


class RobotError(DiffusionControllerError, RuntimeError):
    """Base of what a robot refuses or reports."""


class NotConnectedError(RobotError):
    """The robot was not connected, or the connection was closed."""


class NotArmedError(RobotError):
    """A command for a robot that may not move."""


class InvalidCommandError(RobotError, ValueError):
    """A command that is not finite numbers of the right shape. Nothing was sent."""


class DeadlinePassedError(RobotError, TimeoutError):
    """A command that came after its deadline. Nothing was sent."""


class UnsupportedStopError(RobotError, ValueError):
    """A stop that this robot cannot do."""


class RobotFaultError(RobotError):
    """The robot is in a fault, which is latched until it is cleared.

    Attributes:
        token: Names this very fault to `clear_fault`.
    """

    def __init__(self, message: str, *, token: int) -> None:
        super().__init__(message)
        self.token = token


class FaultTokenError(RobotError, ValueError):
    """A token that does not name the fault that is latched."""
