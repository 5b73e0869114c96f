"""Images that a policy was not trained on are refused, each with one line that helps."""

from typing import Any

import numpy as np
import pytest
import torch

from diffusion_controller.policy import ObservationError
from tests.policy.image_policies import SIDE, image_observation, image_policy

PIXELS = image_observation()["image"]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            np.moveaxis(PIXELS, -1, -3),
            "image has shape (3, 2, 3, 48, 48), channels first; expected (batch, 2, 48, 48, 3), "
            "channels last; move them with numpy.moveaxis(image, -3, -1)",
        ),
        (
            np.zeros((3, 2, 50, 64, 3), np.uint8),
            "image has shape (3, 2, 50, 64, 3); expected (batch, 2, 48, 48, 3); resize each "
            "picture to 48 × 48 px and 3 channels",
        ),
        (PIXELS[..., :1], "image has shape (3, 2, 48, 48, 1); expected (batch, 2, 48, 48, 3)"),
        (PIXELS[:, :1], "expected (batch, 2, 48, 48, 3): a batch of 2 observations, oldest first"),
        (PIXELS[0], "image has shape (2, 48, 48, 3); expected (batch, 2, 48, 48, 3)"),
        (
            PIXELS / 255,
            "image has dtype float64 and values from 0 to 1; the policy was trained on uint8 from "
            "0 to 255; convert with (255 * image).astype(numpy.uint8)",
        ),
        (
            PIXELS.astype(np.float32),
            "image has dtype float32 and values from 0 to 255; the policy was trained on uint8 "
            "from 0 to 255; convert with image.astype(numpy.uint8)",
        ),
        (
            torch.full((3, 2, SIDE, SIDE, 3), -0.5),
            "values from -0.5 to -0.5; the policy was trained on uint8 from 0 to 255; give the "
            "pixels as the camera does",
        ),
        (PIXELS > 100, "image has dtype bool"),
        (np.full((3, 2, SIDE, SIDE, 3), None), "image is no array of numbers"),
        (np.zeros((3, 0, SIDE, SIDE, 3)), "image has shape (3, 0, 48, 48, 3)"),
    ],
)
def test_an_image_that_the_policy_was_not_trained_on_is_refused(image: Any, message: str) -> None:
    with pytest.raises(ObservationError) as caught:
        image_policy().predict_chunk({**image_observation(), "image": image})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_camera_is_named_with_what_the_policy_reads() -> None:
    seen = {"agent": image_observation()["agent"]}
    with pytest.raises(ObservationError) as caught:
        image_policy().predict_chunk(seen)
    assert str(caught.value) == (
        "observation has agent; image missing; the policy reads image (48, 48, 3), agent (2,)"
    )


def test_a_view_with_negative_strides_is_an_image_like_any_other() -> None:
    policy, seen = image_policy(), image_observation()
    turned = seen["image"][..., ::-1]  # the colours of a camera that gives them as BGR
    expected = policy.predict_chunk({**seen, "image": turned.copy()}, seeds=[1, 2, 3])
    assert torch.equal(policy.predict_chunk({**seen, "image": turned}, seeds=[1, 2, 3]), expected)


def test_tensors_are_taken_as_arrays_are() -> None:
    policy, seen = image_policy(), image_observation()
    tensors = {name: torch.from_numpy(values) for name, values in seen.items()}
    expected = policy.predict_chunk(seen, seeds=[1, 2, 3])
    assert torch.equal(policy.predict_chunk(tensors, seeds=[1, 2, 3]), expected)
