"""An optimizer step as one launch: recorded as a CUDA graph, then replayed with other inputs."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from .step_inputs import StepInputs

WARM_UP_CALLS = 3
"""Run as they are before the recording, while libraries choose their kernels and allocate."""


class ReplayedStep:
    """A function of an optimizer step's inputs that launches nothing itself once it is recorded.

    A step of a small policy is some thousand kernels, which a host launches more slowly than a
    GPU runs them. A graph takes one launch. Its inputs and its result lie where they lay when it
    was recorded, so each call copies its inputs there. On a device without graphs every call runs
    the function, with the same copies.
    """

    def __init__(self, function: Callable[[StepInputs], Tensor], device: torch.device) -> None:
        """Record later, in the first call after the warm-up.

        Args:
            function: Does all its work on the device, never waits for it, and does the same work
                at every call. Its inputs keep their shapes.
            device: Where.
        """
        self._function, self._device = function, device
        self._inputs: StepInputs | None = None
        self._result = torch.zeros((), device=device)
        self._replay: Callable[[], None] | None = None
        self._calls = 0

    def __call__(self, inputs: StepInputs) -> Tensor:
        """The function's result, a scalar, which is overwritten by the next call."""
        if self._inputs is None:
            self._inputs = inputs.empty_like()
        self._inputs.copy_(inputs)
        self._calls += 1
        if self._calls <= WARM_UP_CALLS:
            self._run_aside()
        else:
            if self._replay is None:
                self._replay = self._record()
            self._replay()
        return self._result

    def _run(self) -> None:
        if self._inputs is None:
            raise RuntimeError("the step has no inputs yet; call it first")
        self._result.copy_(self._function(self._inputs))

    def _run_aside(self) -> None:
        """On another stream, as a recording will: nothing may be bound to the present one."""
        if self._device.type != "cuda":
            self._run()
            return
        with torch.cuda.device(self._device):
            present = torch.cuda.current_stream()
            aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            aside.wait_stream(present)
            with torch.cuda.stream(aside), warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*capturable=True")  # soon it is
                self._run()
            present.wait_stream(aside)

    def _record(self) -> Callable[[], None]:
        """The work of one call, for running it again; nothing of it is done yet."""
        if self._device.type != "cuda":
            return self._run
        graph = torch.cuda.CUDAGraph()
        with (
            torch.cuda.device(self._device),
            torch.cuda.graph(graph, capture_error_mode="thread_local"),  # others may copy data
        ):
            self._run()
        return graph.replay
