"""Keypoints are where the features are."""

import pytest
import torch

from diffusion_controller.policy.spatial_softmax import SpatialSoftmax, expected_places


@pytest.mark.parametrize(
    ("row", "column", "place"),
    [(0, 0, (-1, -1)), (0, 4, (1, -1)), (2, 0, (-1, 1)), (1, 2, (0, 0)), (2, 3, (0.5, 1))],
)
def test_a_single_peak_is_found_where_it_is(
    row: int, column: int, place: tuple[float, float]
) -> None:
    logits = torch.zeros(1, 1, 3, 5)
    logits[0, 0, row, column] = 50
    torch.testing.assert_close(expected_places(logits), torch.tensor([[place]]).float())


def test_an_even_map_is_in_the_middle() -> None:
    torch.testing.assert_close(expected_places(torch.ones(2, 3, 4, 7)), torch.zeros(2, 3, 2))


def test_two_equal_peaks_are_found_between_them() -> None:
    logits = torch.zeros(1, 1, 3, 3)
    logits[0, 0, 0, 0] = logits[0, 0, 0, 2] = 50
    torch.testing.assert_close(expected_places(logits), torch.tensor([[[0.0, -1.0]]]))


def test_a_mirror_image_mirrors_the_places() -> None:
    logits = torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    mirrored = expected_places(logits.flip(-1))
    torch.testing.assert_close(mirrored, expected_places(logits) * torch.tensor([-1.0, 1.0]))


def test_each_keypoint_has_a_map_of_its_own() -> None:
    layer = SpatialSoftmax(in_channels=6, num_keypoints=4)
    assert layer(torch.randn(2, 6, 3, 3)).shape == (2, 4, 2)
