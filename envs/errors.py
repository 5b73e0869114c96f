"""What a caller of an environment can get wrong."""

from diffusion_controller import DiffusionControllerError


class InvalidActionError(DiffusionControllerError, ValueError):
    """An action that is not two finite numbers."""


class InvalidStateError(DiffusionControllerError, ValueError):
    """A state that the simulation cannot be set to."""


class InvalidSeedError(DiffusionControllerError, ValueError):
    """A seed outside the range of the published reset."""


class UnknownOptionError(DiffusionControllerError, ValueError):
    """A name that an environment does not know: observation, render mode or reset option."""
