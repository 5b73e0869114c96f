"""A controller that learns a diffusion policy from demonstrations and runs it on a robot, on time."""

__version__ = "0.1.0"


class DiffusionControllerError(Exception):
    """Base of every error that this project raises on purpose.

    Each message says what was found, what was expected and what to do. A command prints
    the message on one line and exits with 2.
    """
