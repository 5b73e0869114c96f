import cv2
import numpy as np
import pytest

from diffusion_controller.envs import (
    PushTRenderer,
    initial_state,
)

STATE = np.array([120.0, 380.0, 300.0, 180.0, 0.7])


@pytest.mark.parametrize("size", [96, 64, 200, 256, 300, 512, 600])
def test_drawing_what_changes_equals_drawing_and_resizing_everything(size: int) -> None:
    renderer, scene = PushTRenderer(size), PushTRenderer(512)
    for seed in range(20):
        state = initial_state(seed)
        full = scene.draw(state)
        expected = full if size == 512 else cv2.resize(full, (size, size))
        np.testing.assert_array_equal(renderer.draw(state), expected)


def test_a_picture_does_not_depend_on_the_ones_before() -> None:
    used = PushTRenderer(96)
    for seed in range(5):
        used.draw(initial_state(seed))
    np.testing.assert_array_equal(used.draw(STATE), PushTRenderer(96).draw(STATE))


@pytest.mark.parametrize("corner", [(0.0, 0.0), (512.0, 512.0), (0.0, 512.0)])
def test_what_reaches_over_the_edge_is_cut_off(corner: tuple[float, float]) -> None:
    renderer = PushTRenderer(96)
    frame = renderer.draw([*corner, *corner, 2.0])
    assert frame.shape == (96, 96, 3)
    np.testing.assert_array_equal(renderer.draw(STATE), PushTRenderer(96).draw(STATE))


def test_a_block_outside_the_field_is_not_seen() -> None:
    frame = PushTRenderer(96).draw([50.0, 50.0, 900.0, 900.0, 0.0])
    np.testing.assert_array_equal(frame, PushTRenderer(96).draw([50.0, 50.0, -500.0, 200.0, 0.0]))


def test_colors_stand_where_things_are() -> None:
    frame = PushTRenderer(512).draw(STATE)
    assert frame[380, 120].tolist() == [78, 126, 255]  # agent
    assert frame[256 + 30, 256 - 30].tolist() == [144, 238, 144]  # goal's stem
    assert frame[256, 5].tolist() == [211, 211, 211]  # wall
    assert frame[60, 60].tolist() == [255, 255, 255]  # field
