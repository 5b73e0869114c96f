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
from .diffusion_policy import DiffusionPolicy, PolicyConfigError
from .encoders import ConcatEncoder, Encoder, StateEncoder
from .engines import ENGINES, Engine, EngineError, Precision
from .image_encoder import ImageEncoder
from .noise_schedule import NoiseSchedule, NoiseScheduleError
from .observation_check import ObservationError
from .pretrained import WeightsFileError, load_resnet18_weights
from .samplers import (
    SAMPLERS,
    ddim_sample,
    ddpm_sample,
    dpm_solver_sample,
    euler_sample,
    samplers_for,
)
from .unet1d import ConditionalUnet1d, NetworkShapeError

__all__ = [
    "ENGINES",
    "SAMPLERS",
    "BuildError",
    "CheckpointError",
    "ColorJitter",
    "ConcatEncoder",
    "ConditionalUnet1d",
    "DeviceError",
    "DiffusionPolicy",
    "Encoder",
    "Engine",
    "EngineError",
    "ForbiddenTargetError",
    "ImageEncoder",
    "NetworkShapeError",
    "NoiseSchedule",
    "NoiseScheduleError",
    "ObservationError",
    "PolicyConfigError",
    "Precision",
    "StateEncoder",
    "WeightsFileError",
    "build",
    "ddim_sample",
    "ddpm_sample",
    "describe",
    "dpm_solver_sample",
    "euler_sample",
    "find_device",
    "load_policy",
    "load_resnet18_weights",
    "read_metrics",
    "resolve_checkpoint",
    "samplers_for",
    "save_policy",
]
