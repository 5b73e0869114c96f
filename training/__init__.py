"""Learning a policy from demonstrations: the loop, its resumable state, EMA and metrics."""

from .batches import BatchReader
from .data_order import DataOrder
from .ema import ExponentialMovingAverage
from .host_memory import keep_freed_memory
from .interruption import TrainingInterruptedError
from .metrics import MetricsError, MetricsWriter, WandbWriter, read_metrics_lines
from .settings import TrainingSettings, TrainingSettingsError
from .state import TrainState, TrainStateError
from .train import Evaluate, Run, train, validation_loss

__all__ = [
    "BatchReader",
    "DataOrder",
    "Evaluate",
    "ExponentialMovingAverage",
    "MetricsError",
    "MetricsWriter",
    "Run",
    "TrainState",
    "TrainStateError",
    "TrainingInterruptedError",
    "TrainingSettings",
    "TrainingSettingsError",
    "WandbWriter",
    "keep_freed_memory",
    "read_metrics_lines",
    "train",
    "validation_loss",
]
