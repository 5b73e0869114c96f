"""Engines: how a policy's chunks are computed.

Whatever the engine, it is the same computation: encode the observations once, then denoise.
All give what `eager` gives, to rounding; they differ in how long that takes, and where.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, Protocol, get_args

import torch
from torch import Tensor, nn

from diffusion_controller import DiffusionControllerError

from .shapes import ActionChunk, Features, Modulation, NoiseDraws

if TYPE_CHECKING:
    from .diffusion_policy import DiffusionPolicy

Precision = Literal["fp32", "bf16"]
"""Of the denoising network's weights and products; all else stays in fp32."""

Denoiser = Callable[[ActionChunk, Modulation], ActionChunk]
"""The denoising network without its conditioning: what runs once per denoising step."""


class EngineError(DiffusionControllerError, ValueError):
    """An engine or precision that is not there, or not possible on this device."""


class Engine(Protocol):
    """Computes chunks for one policy.

    Attributes:
        name: In `ENGINES`.
        precision: Of the network.
    """

    name: str
    precision: Precision

    def encode(self, observation: Mapping[str, Tensor]) -> Features:
        """Features of observations in physical units. Shape of each (batch, obs_horizon, …)."""

    def predict(self, chunk: ActionChunk, modulation: Modulation) -> ActionChunk:
        """One denoising step's pass through the network."""

    def denoise(self, observation: Mapping[str, Tensor], noise: NoiseDraws) -> ActionChunk:
        """Denoise a whole chunk: see `DiffusionPolicy.denoise`."""


class PyTorch:
    """PyTorch, on every device: call by call, or compiled."""

    def __init__(
        self,
        policy: "DiffusionPolicy",
        precision: Precision,
        *,
        name: str,
        encode: Callable[[Mapping[str, Tensor]], Features],
        network: Denoiser,
    ) -> None:
        self.name, self.precision = name, precision
        self._policy, self._encode, self._network = policy, encode, network

    def encode(self, observation: Mapping[str, Tensor]) -> Features:
        """See `Engine`."""
        return self._encode(observation)

    def predict(self, chunk: ActionChunk, modulation: Modulation) -> ActionChunk:
        """See `Engine`."""
        return self._network(chunk, modulation)

    def denoise(self, observation: Mapping[str, Tensor], noise: NoiseDraws) -> ActionChunk:
        """See `Engine`."""
        return self._policy.denoise_features(self.encode(observation), noise, self._network)


def network_in(policy: "DiffusionPolicy", precision: Precision) -> Denoiser:
    """The policy's network as it is, or a copy in bfloat16 that takes and gives float32.

    The conditioning is not part of it and stays in float32: sines of a timestep do not bear
    bfloat16, and it is computed once per chunk.
    """
    if precision == "fp32":
        return policy.network
    if not isinstance(policy.network, nn.Module):
        raise EngineError(f"precision {precision} needs a network that is an nn.Module")
    network = copy.deepcopy(policy.network).to(torch.bfloat16)

    def predict(chunk: ActionChunk, modulation: Modulation) -> ActionChunk:
        prediction: Tensor = network(chunk.bfloat16(), modulation.bfloat16())
        return prediction.float()

    return predict


@dataclass(frozen=True)
class EngineKind:
    """A row of `ENGINES`.

    Attributes:
        make: From a policy and a precision.
        device_type: Where it runs; None for everywhere.
        package: What must be installed; None for nothing.
    """

    make: Callable[["DiffusionPolicy", Precision], Engine]
    device_type: str | None = None
    package: str | None = None


def _make_eager(policy: "DiffusionPolicy", precision: Precision) -> Engine:
    network = network_in(policy, precision)
    return PyTorch(policy, precision, name="eager", encode=policy.encode, network=network)


def _make_compiled(policy: "DiffusionPolicy", precision: Precision) -> Engine:
    encode = torch.compile(policy.encode, dynamic=False)
    network = torch.compile(network_in(policy, precision), dynamic=False)
    return PyTorch(policy, precision, name="compiled", encode=encode, network=network)


def _make_cuda_graph(policy: "DiffusionPolicy", precision: Precision) -> Engine:
    from .cuda_graph import CudaGraph

    return CudaGraph(policy, _make_eager(policy, precision))


def _make_openvino(policy: "DiffusionPolicy", precision: Precision) -> Engine:
    from .openvino_engine import OpenVino

    return OpenVino(policy, precision)


ENGINES = {
    "eager": EngineKind(_make_eager),
    "compiled": EngineKind(_make_compiled),
    "cuda_graph": EngineKind(_make_cuda_graph, device_type="cuda"),
    "openvino": EngineKind(_make_openvino, device_type="cpu", package="openvino"),
}
"""The engines by the names that `load_policy` and the configuration take."""


def make_engine(name: str, policy: "DiffusionPolicy", precision: Precision = "fp32") -> Engine:
    """The engine of a name for a policy, with its weights as they are now.

    Raises:
        EngineError: If there is no such engine or precision, or not on this device.
    """
    if name not in ENGINES:
        raise EngineError(f"engine is {name!r}; expected one of {', '.join(ENGINES)}")
    if precision not in get_args(Precision):
        expected = ", ".join(get_args(Precision))
        raise EngineError(f"precision is {precision!r}; expected one of {expected}")
    kind = ENGINES[name]
    if kind.device_type is not None and policy.device.type != kind.device_type:
        raise EngineError(
            f"the {name} engine runs on {kind.device_type}, and the policy is on "
            f"{policy.device}; choose another engine or device={kind.device_type}"
        )
    if kind.package is not None and find_spec(kind.package) is None:
        raise EngineError(
            f"the {name} engine needs the package {kind.package}, which is not installed; "
            f"install it with: pip install 'diffusion-controller[{kind.package}]'"
        )
    return kind.make(policy, precision)
