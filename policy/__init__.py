"""Observation to action chunk: encoders, networks, samplers, the policy and its checkpoints."""

from .augmentation import ColorJitter
from .build import BuildError, ForbiddenTargetError, build, describe
from .checkpoint import (
    CheckpointError,
    load_policy,
    read_metrics,
    resolve_checkpoint,
    save_policy,
)
from .device import DeviceError, find_device
from .diffusion_policy import DiffusionPolicy, ObservationError, PolicyConfigError
from .encoders import ConcatEncoder, Encoder, StateEncoder
from .image_encoder import ImageEncoder
from .noise_schedule import NoiseSchedule, NoiseScheduleError
from .samplers import SAMPLERS, ddim_sample, ddpm_sample, dpm_solver_sample
from .unet1d import ConditionalUnet1d, NetworkShapeError

__all__ = [
    "SAMPLERS",
    "BuildError",
    "CheckpointError",
    "ColorJitter",
    "ConcatEncoder",
    "ConditionalUnet1d",
    "DeviceError",
    "DiffusionPolicy",
    "Encoder",
    "ForbiddenTargetError",
    "ImageEncoder",
    "NetworkShapeError",
    "NoiseSchedule",
    "NoiseScheduleError",
    "ObservationError",
    "PolicyConfigError",
    "StateEncoder",
    "build",
    "ddim_sample",
    "ddpm_sample",
    "describe",
    "dpm_solver_sample",
    "find_device",
    "load_policy",
    "read_metrics",
    "resolve_checkpoint",
    "save_policy",
]
