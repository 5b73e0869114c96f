"""Encoders: from a history of normalized observations to features for the network."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Protocol

import torch
from torch import Tensor, nn

from diffusion_controller import DiffusionControllerError

from .shapes import Draws, Features


class EncoderError(DiffusionControllerError, ValueError):
    """An encoder's arguments do not fit together."""


class Encoder(Protocol):
    """What `DiffusionPolicy` needs of an encoder; implementations are `nn.Module`s.

    An encoder that augments what it sees in training has one attribute more,
    `augmentation_dim`, and `__call__` takes `draws`: numbers uniform in [0, 1) of the shape
    (batch, augmentation_dim), which decide all of it. Called without them it does not augment.

    Attributes:
        observation_shapes: The observations that are read, with the shape of one of each.
        feature_dim: Features made of one time step.
    """

    observation_shapes: dict[str, tuple[int, ...]]
    feature_dim: int

    def __call__(self, observation: Mapping[str, Tensor], draws: Draws = ...) -> Features:
        """Encode. Each observation has the shape (batch, obs_horizon, …)."""


def augmentation_dim_of(encoder: object) -> int:
    """Uniform numbers per sample that an encoder takes as `draws` in training.

    An encoder that always encodes alike has no `augmentation_dim` and takes none.
    """
    return int(getattr(encoder, "augmentation_dim", 0))


class StateEncoder(nn.Module):
    """Low-dimensional observations, flattened side by side.

    With `hidden_channels` a small multi-layer perceptron with Mish follows.
    """

    def __init__(
        self,
        *,
        observations: Mapping[str, Sequence[int]],
        hidden_channels: Sequence[int] = (),
    ) -> None:
        """Build the encoder.

        Args:
            observations: Name and shape of each observation, e.g. `{"keypoints": [9, 2]}`.
            hidden_channels: Output sizes of the layers of the perceptron.
        """
        super().__init__()
        if not observations:
            raise EncoderError("observations is empty; name at least one, e.g. {agent: [2]}")
        self.observation_shapes = {name: tuple(shape) for name, shape in observations.items()}
        size = sum(prod(shape) for shape in self.observation_shapes.values())
        layers: list[nn.Module] = []
        for channels in hidden_channels:
            layers += [nn.Linear(size, channels), nn.Mish()]
            size = channels
        self.observations, self.hidden_channels = self.observation_shapes, tuple(hidden_channels)
        self.perceptron = nn.Sequential(*layers)
        self.feature_dim = size

    def forward(self, observation: Mapping[str, Tensor]) -> Features:
        """Encode. Each observation has the shape (batch, obs_horizon, …)."""
        flat = torch.cat([observation[name].flatten(2) for name in self.observation_shapes], dim=-1)
        features: Tensor = self.perceptron(flat)
        return features


class ConcatEncoder(nn.Module):
    """Several encoders side by side, such as one for the arm and one for each camera."""

    def __init__(self, *, encoders: Mapping[str, nn.Module]) -> None:
        """Join encoders.

        Args:
            encoders: Name of each, for its weights, and the encoder.
        """
        super().__init__()
        if not encoders:
            raise EncoderError("encoders is empty; give at least one")
        self.encoders = nn.ModuleDict(dict(encoders))
        self.observation_shapes: dict[str, tuple[int, ...]] = {}
        self.feature_dim = 0
        for encoder in self._members():
            self.observation_shapes |= encoder.observation_shapes
            self.feature_dim += encoder.feature_dim
        self._draws = [augmentation_dim_of(encoder) for encoder in self._members()]
        self.augmentation_dim = sum(self._draws)

    def forward(self, observation: Mapping[str, Tensor], draws: Draws | None = None) -> Features:
        """Encode. Each observation has the shape (batch, obs_horizon, …).

        Args:
            observation: Of every encoder.
            draws: Of the encoders that augment, side by side; see `Encoder`.
        """
        if draws is None:
            return torch.cat([encoder(observation) for encoder in self._members()], dim=-1)
        shares = torch.split(draws, self._draws, dim=1)
        return torch.cat(
            [
                encoder(observation, share) if share.shape[1] else encoder(observation)
                for encoder, share in zip(self._members(), shares, strict=True)
            ],
            dim=-1,
        )

    def _members(self) -> list[Encoder]:
        return list(self.encoders.values())  # type: ignore[arg-type]
