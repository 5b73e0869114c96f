"""The policy's two networks exported to OpenVINO, for CPUs.

The encoder runs once per chunk, the denoising network once per denoising step; the sampler
between the steps is the same function as everywhere. Exported for one batch size at a time, the
graphs have constant shapes and their memory is laid out beforehand.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino
import torch
from torch import Tensor, nn

from .engines import Precision
from .shapes import ActionChunk, Features, Modulation, NoiseDraws

if TYPE_CHECKING:
    from .diffusion_policy import DiffusionPolicy


class OpenVino:
    """OpenVINO on the CPU, on as many threads as PyTorch has."""

    name = "openvino"

    def __init__(self, policy: "DiffusionPolicy", precision: Precision) -> None:
        self._policy, self.precision = policy, precision
        self._encoders: dict[int, _Program] = {}
        self._networks: dict[int, _Program] = {}

    def encode(self, observation: Mapping[str, Tensor]) -> Features:
        """See `Engine`. The first call for a batch size exports."""
        inputs = [observation[name] for name in self._policy.observation_shapes]
        batch = len(inputs[0])
        if batch not in self._encoders:
            self._encoders[batch] = _Program(_Encode(self._policy), inputs, "fp32")
        return self._encoders[batch](*inputs)

    def predict(self, chunk: ActionChunk, modulation: Modulation) -> ActionChunk:
        """See `Engine`. The first call for a batch size exports."""
        batch = len(chunk)
        if batch not in self._networks:
            network: Any = self._policy.network
            self._networks[batch] = _Program(network, [chunk, modulation], self.precision)
        return self._networks[batch](chunk, modulation)

    def denoise(self, observation: Mapping[str, Tensor], noise: NoiseDraws) -> ActionChunk:
        """See `Engine`."""
        return self._policy.denoise_features(self.encode(observation), noise, self.predict)


class _Encode(nn.Module):
    """From observations in the order of their names to features."""

    def __init__(self, policy: "DiffusionPolicy") -> None:
        super().__init__()
        self.policy = policy

    def forward(self, *observation: Tensor) -> Features:
        names = self.policy.observation_shapes
        return self.policy.encode(dict(zip(names, observation, strict=True)))


class _Program:
    """A module compiled for inputs of fixed shapes."""

    def __init__(self, module: nn.Module, inputs: list[Tensor], precision: Precision) -> None:
        with torch.no_grad():
            example = tuple(torch.zeros_like(tensor) for tensor in inputs)
            model = openvino.convert_model(torch.export.export(module.eval(), example))
        shapes = [list(tensor.shape) for tensor in inputs]
        model.reshape(dict(zip(model.inputs, shapes, strict=True)))
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
        }
        compiled = openvino.Core().compile_model(model, "CPU", settings)
        self._request = compiled.create_infer_request()
        self._inputs = [port.data for port in self._request.input_tensors]
        self._output = self._request.get_output_tensor(0).data

    def __call__(self, *inputs: Tensor) -> Tensor:
        for target, source in zip(self._inputs, inputs, strict=True):
            np.copyto(target, source.numpy())
        self._request.infer()
        return torch.from_numpy(self._output.copy())
