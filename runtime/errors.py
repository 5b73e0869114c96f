"""Mistakes at run time that a caller could handle."""

from diffusion_controller import DiffusionControllerError


class EvaluationError(DiffusionControllerError, ValueError):
    """An evaluation that cannot be run as it was asked for."""


class TrainingSeedError(EvaluationError):
    """A start that a demonstration began from is no held-out start."""


class WorkerError(DiffusionControllerError, RuntimeError):
    """A process that steps environments failed or died."""


class ChunkError(DiffusionControllerError, ValueError):
    """What the policy answered is not an action chunk that may be executed."""


class PolicyRobotMismatchError(DiffusionControllerError, ValueError):
    """A policy whose observations or actions are not those of the robot."""
