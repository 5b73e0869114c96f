"""Mistakes that a user of the command line can make."""

from diffusion_controller import DiffusionControllerError


class CommandError(DiffusionControllerError, ValueError):
    """A command line that cannot be run as it was typed."""
