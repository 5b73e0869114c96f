"""How long and how a policy is trained."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from diffusion_controller import DiffusionControllerError

Precision = Literal["fp32", "tf32", "bf16"]


class TrainingSettingsError(DiffusionControllerError, ValueError):
    """Settings that cannot be trained with."""


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Settings of the training loop; the defaults are those of Chi et al. (2023).

    Attributes:
        num_steps: Optimizer steps.
        batch_size: Windows per optimizer step, over all processes.
        learning_rate: Peak, reached after `warmup_steps`; a half cosine to 0 follows.
        warmup_steps: Optimizer steps of linear warm-up.
        weight_decay: Of AdamW.
        betas: Of AdamW.
        max_grad_norm: Gradients are scaled down to this global norm.
        ema_power: See `ExponentialMovingAverage`.
        ema_max_decay: Likewise.
        precision: `bf16` runs the matrix products in bfloat16; slow on a CPU without AVX512-BF16.
            `tf32` rounds the factors of float32 products, on GPUs from Ampere on.
        compile: Compile the network; costs minutes at the start.
        cuda_graph: Record a step once and launch it as a whole: for small policies, whose
            kernels a GPU runs faster than a host launches them. CUDA, one process.
        seed: Decides weights, data order, noise and timesteps.
        log_interval: Optimizer steps averaged into one line of metrics.
        evaluation_interval: Optimizer steps between closed-loop evaluations; 0 only at the end.
        keep_checkpoints: How many of the best checkpoints by closed-loop score are kept.
        state_interval_s: Time between writes of the resumable state; does not change the result.
            Longer where a write is slow, so that it takes a twentieth of the time at most; 0
            writes after every step.
    """

    num_steps: int
    batch_size: int = 256
    learning_rate: float = 1e-4
    warmup_steps: int = 500
    weight_decay: float = 1e-6
    betas: tuple[float, float] = (0.95, 0.999)
    max_grad_norm: float = 1.0
    ema_power: float = 0.75
    ema_max_decay: float = 0.9999
    precision: Precision = "fp32"
    compile: bool = False
    cuda_graph: bool = False
    seed: int = 0
    log_interval: int = 100
    evaluation_interval: int = 0
    keep_checkpoints: int = 3
    state_interval_s: float = 60.0

    def __post_init__(self) -> None:
        """Refuse what cannot be trained with."""
        for name in ("num_steps", "batch_size", "log_interval", "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise TrainingSettingsError(
                    f"{name} is {getattr(self, name)}; it must be at least 1"
                )
        for name in ("learning_rate", "max_grad_norm"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise TrainingSettingsError(f"{name} is {value}; it must be positive")
        for name in ("warmup_steps", "weight_decay", "evaluation_interval", "state_interval_s"):
            if getattr(self, name) < 0:
                raise TrainingSettingsError(
                    f"{name} is {getattr(self, name)}; it must not be negative"
                )
        if self.precision not in get_args(Precision):
            raise TrainingSettingsError(
                f"precision is {self.precision!r}; expected one of {', '.join(get_args(Precision))}"
            )

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of an optimizer step: linear warm-up, then a half cosine to 0.

        Loshchilov and Hutter (2017), eq. 5, without restarts.
        """
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(1, self.num_steps - self.warmup_steps)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
