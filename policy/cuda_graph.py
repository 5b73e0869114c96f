"""A whole chunk as one CUDA graph: encoder and every denoising step, replayed by one launch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .engines import Engine, Precision
from .shapes import ActionChunk, Features, Modulation, NoiseDraws

if TYPE_CHECKING:
    from .diffusion_policy import DiffusionPolicy

_WARM_UP_CALLS = 3  # libraries choose their kernels and allocate before the capture


@dataclass(frozen=True)
class _Captured:
    """A graph with the memory that it reads and writes."""

    graph: torch.cuda.CUDAGraph
    observation: dict[str, Tensor]
    noise: Tensor
    chunk: Tensor


class CudaGraph:
    """Captures the computation of a chunk once per sampler and batch size, then replays it.

    Without a graph the launches of some thousand small kernels take longer than the kernels.
    A replay allocates nothing on the device.
    """

    name = "cuda_graph"

    def __init__(self, policy: "DiffusionPolicy", eager: Engine) -> None:
        self._policy, self._eager = policy, eager
        self.precision: Precision = eager.precision
        self._captured: dict[tuple[str, int, int], _Captured] = {}

    def encode(self, observation: Mapping[str, Tensor]) -> Features:
        """See `Engine`; not by the graph, which is of one piece."""
        return self._eager.encode(observation)

    def predict(self, chunk: ActionChunk, modulation: Modulation) -> ActionChunk:
        """See `Engine`; likewise."""
        return self._eager.predict(chunk, modulation)

    def denoise(self, observation: Mapping[str, Tensor], noise: NoiseDraws) -> ActionChunk:
        """See `Engine`. The first call for a sampler and a batch size captures."""
        policy = self._policy
        key = (policy.sampler, policy.num_inference_steps, noise.shape[1])
        if key not in self._captured:
            self._captured[key] = self._capture(observation, noise)
        captured = self._captured[key]
        for name, values in captured.observation.items():
            values.copy_(observation[name], non_blocking=True)
        captured.noise.copy_(noise, non_blocking=True)
        captured.graph.replay()
        return captured.chunk.clone()  # the next replay writes over the graph's own

    def _capture(self, observation: Mapping[str, Tensor], noise: NoiseDraws) -> _Captured:
        inputs = {name: observation[name].clone() for name in self._policy.observation_shapes}
        noise = noise.clone()
        stream = torch.cuda.Stream(self._policy.device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(self._policy.device))
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP_CALLS):
                self._eager.denoise(inputs, noise)
        torch.cuda.current_stream(self._policy.device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            chunk = self._eager.denoise(inputs, noise)
        return _Captured(graph, inputs, noise, chunk)
