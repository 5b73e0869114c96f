"""Crops and colours: functions of the numbers that are drawn for them."""

import pytest
import torch

from diffusion_controller.policy import ColorJitter
from diffusion_controller.policy.augmentation import centre_crop, random_crop
from diffusion_controller.policy.encoders import EncoderError

LAST = 1 - 2**-24  # the largest number that torch.rand draws


def _places(batch: int, height: int, width: int) -> torch.Tensor:
    """Pictures whose pixels hold their row and column; the second time step adds 0.5."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    picture = torch.stack((rows, columns, torch.zeros_like(rows)), dim=-1).float()
    return torch.stack((picture, picture + 0.5)).expand(batch, 2, height, width, 3)


def test_the_centre_crop_is_the_middle() -> None:
    crop = centre_crop(_places(1, 96, 80), (84, 60))
    assert crop.shape == (1, 2, 84, 60, 3)
    assert crop[0, 0, 0, 0].tolist() == [6, 10, 0]
    assert crop[0, 0, -1, -1].tolist() == [96 - 1 - 6, 80 - 1 - 10, 0]


@pytest.mark.parametrize(
    ("drawn", "corner"), [((0.0, 0.0), (0, 0)), ((LAST, 0.0), (12, 0)), ((0.5, LAST), (6, 20))]
)
def test_a_random_crop_lies_anywhere_within_the_picture(
    drawn: tuple[float, float], corner: tuple[int, int]
) -> None:
    crop = random_crop(_places(1, 96, 80), (84, 60), torch.tensor([drawn]))
    assert crop.shape == (1, 2, 84, 60, 3)
    assert tuple(crop[0, 0, 0, 0, :2].tolist()) == corner
    expected = (corner[0] + 83, corner[1] + 59)
    assert tuple(crop[0, 0, -1, -1, :2].tolist()) == expected


def test_every_offset_is_drawn_equally_often() -> None:
    draws = torch.rand(13_000, 2, generator=torch.Generator().manual_seed(0))
    corners = random_crop(_places(13_000, 14, 14), (2, 2), draws)[:, 0, 0, 0, :2]
    for axis in range(2):
        counts = torch.bincount(corners[:, axis].long(), minlength=13)
        assert len(counts) == 13
        assert 850 < counts.min() <= counts.max() < 1150


def test_the_pictures_of_a_sample_are_cropped_alike_and_samples_each_in_its_own_way() -> None:
    draws = torch.rand(8, 2, generator=torch.Generator().manual_seed(0))
    crop = random_crop(_places(8, 96, 96), (84, 84), draws)
    torch.testing.assert_close(crop[:, 1], crop[:, 0] + 0.5)
    assert len({tuple(corner) for corner in crop[:, 0, 0, 0].tolist()}) > 4


def test_the_same_draws_give_the_same_crop() -> None:
    draws = torch.rand(4, 2, generator=torch.Generator().manual_seed(0))
    first = random_crop(_places(4, 96, 96), (84, 84), draws)
    assert torch.equal(first, random_crop(_places(4, 96, 96), (84, 84), draws.clone()))
    assert not torch.equal(first, random_crop(_places(4, 96, 96), (84, 84), 1 - draws))


def test_with_padding_a_crop_as_large_as_the_picture_is_a_shift() -> None:
    pictures = _places(3, 10, 10)
    draws = torch.tensor([[0.5, 0.5], [0.0, 0.5], [0.5, LAST]])
    unmoved, down, left = random_crop(pictures, (10, 10), draws, padding=2)[:, 0]
    torch.testing.assert_close(unmoved, pictures[0, 0])
    torch.testing.assert_close(down[2:], pictures[0, 0, :-2])
    torch.testing.assert_close(down[0], pictures[0, 0, 0])  # the edge is repeated
    torch.testing.assert_close(left[:, :-2], pictures[0, 0, :, 2:])


def _pictures() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 2, 6, 5, 3, generator=generator) - 0.5


def test_in_the_middle_of_their_ranges_colours_stay() -> None:
    pictures = _pictures()
    torch.testing.assert_close(ColorJitter()(pictures, torch.full((2, 3), 0.5)), pictures)


def test_colours_change_as_their_definitions_say() -> None:
    pictures = _pictures()
    draws = torch.tensor([[0.1, 0.6, 0.9], [0.8, 0.2, 0.3]])
    changed = ColorJitter(brightness=0.2, contrast=0.3, saturation=0.4)(pictures, draws)
    for sample in range(2):
        b, c, s = (1 + (2 * draws[sample] - 1) * torch.tensor([0.2, 0.3, 0.4])).tolist()
        light = b * (pictures[sample] + 1) / 2
        grey = light @ torch.tensor([0.299, 0.587, 0.114])
        light = c * light + (1 - c) * grey.mean()
        grey = (light @ torch.tensor([0.299, 0.587, 0.114]))[..., None]
        light = s * light + (1 - s) * grey
        torch.testing.assert_close(changed[sample], 2 * light - 1)


def test_a_black_picture_stays_black_and_nothing_leaves_the_range() -> None:
    draws = torch.rand(2, 3, generator=torch.Generator().manual_seed(1))
    jitter = ColorJitter(brightness=1, contrast=1, saturation=1)
    black = torch.full((2, 2, 6, 5, 3), -1.0)
    torch.testing.assert_close(jitter(black, draws), black)
    changed = jitter(_pictures() * 2, draws)
    assert -1 <= changed.min() <= changed.max() <= 1


def test_a_jitter_that_would_turn_colours_round_is_refused() -> None:
    with pytest.raises(EncoderError, match=r"color_jitter.contrast is 1.5; expected 0 .* to 1"):
        ColorJitter(contrast=1.5)
