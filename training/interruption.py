"""Stopping a training on request without losing anything."""

import signal
from types import FrameType

from diffusion_controller import DiffusionControllerError


class TrainingInterruptedError(DiffusionControllerError, InterruptedError):
    """A training was asked to stop, and its state is saved."""


class StopRequest:
    """Notes SIGINT and SIGTERM while it is entered, so that the step at hand is finished.

    A second SIGINT interrupts at once.

    Attributes:
        signal_name: The signal that came, or None.
    """

    def __init__(self) -> None:
        self.signal_name: str | None = None

    def __enter__(self) -> "StopRequest":
        """Take over both signals."""
        self._before = {
            number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)
        }
        for number in self._before:
            signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        """Give both signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.signal_name is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal_name = signal.Signals(number).name
