"""Encoders."""

import pytest
import torch

from diffusion_controller.policy import ConcatEncoder, StateEncoder
from diffusion_controller.policy.encoders import EncoderError


def _seen() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"keypoints": (9, 2), "agent": (2,), "joints": (7,)}
    return {name: torch.randn(3, 2, *shape, generator=generator) for name, shape in shapes.items()}


def test_observations_stand_flattened_side_by_side_in_the_order_given() -> None:
    encoder = StateEncoder(observations={"keypoints": [9, 2], "agent": [2]})
    seen = _seen()
    features = encoder(seen)
    assert features.shape == (3, 2, encoder.feature_dim) == (3, 2, 20)
    torch.testing.assert_close(features[..., :18], seen["keypoints"].flatten(2))
    torch.testing.assert_close(features[..., 18:], seen["agent"])


def test_a_perceptron_makes_as_many_features_as_its_last_layer() -> None:
    encoder = StateEncoder(observations={"agent": [2]}, hidden_channels=[16, 5])
    assert encoder(_seen()).shape == (3, 2, 5)
    assert encoder.feature_dim == 5


def test_each_time_step_is_encoded_alone() -> None:
    encoder = StateEncoder(observations={"agent": [2]}, hidden_channels=[16])
    seen = _seen()
    reversed_in_time = {"agent": seen["agent"].flip(1)}
    torch.testing.assert_close(encoder(reversed_in_time), encoder(seen).flip(1))


def test_joined_encoders_stand_side_by_side() -> None:
    agent, joints = (
        StateEncoder(observations={"agent": [2]}),
        StateEncoder(observations={"joints": [7]}, hidden_channels=[4]),
    )
    joined, seen = ConcatEncoder(encoders={"agent": agent, "joints": joints}), _seen()
    assert joined.feature_dim == 6
    assert joined.observation_shapes == {"agent": (2,), "joints": (7,)}
    torch.testing.assert_close(joined(seen), torch.cat((agent(seen), joints(seen)), dim=-1))
    assert (
        sum(1 for name, _ in joined.named_parameters() if name.startswith("encoders.joints")) == 2
    )


def test_an_encoder_of_nothing_is_refused() -> None:
    with pytest.raises(EncoderError, match="observations is empty"):
        StateEncoder(observations={})
    with pytest.raises(EncoderError, match="encoders is empty"):
        ConcatEncoder(encoders={})
