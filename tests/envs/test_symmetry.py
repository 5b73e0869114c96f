import cv2
import numpy as np

from diffusion_controller.envs import (
    PushTRenderer,
    PushTSimulation,
    coverage,
    keypoints_of_state,
    mirror_action,
    mirror_image,
    mirror_keypoints,
    mirror_state,
)
from diffusion_controller.envs.tee import GOAL_POSE, KEYPOINTS


def _states(count: int = 200) -> np.ndarray:
    random = np.random.default_rng(0)
    return random.uniform([0, 0, 100, 100, 0], [512, 512, 400, 400, 2 * np.pi], size=(count, 5))


def test_mirroring_twice_changes_nothing() -> None:
    states = _states()
    np.testing.assert_allclose(mirror_state(mirror_state(states)), states, atol=1e-9)
    np.testing.assert_allclose(mirror_action(mirror_action(states[:, :2])), states[:, :2])


def test_the_goal_is_its_own_mirror_image() -> None:
    state = np.array([100.0, 412.0, *GOAL_POSE])
    np.testing.assert_allclose(mirror_state(state), state, atol=1e-12)


def test_coverage_is_that_of_the_mirror_image() -> None:
    for state, mirrored in zip(_states(), mirror_state(_states()), strict=True):
        assert abs(coverage(*state[2:]) - coverage(*mirrored[2:])) < 1e-12


def test_mirrored_keypoints_are_those_of_the_mirrored_state() -> None:
    states = _states().reshape(20, 10, 5)
    np.testing.assert_allclose(
        mirror_keypoints(keypoints_of_state(states)),
        keypoints_of_state(mirror_state(states)),
        atol=1e-9,
    )


def test_the_published_keypoints_are_not_symmetric() -> None:
    mirrored = KEYPOINTS * np.array([-1.0, 1.0])
    distances = np.linalg.norm(mirrored[:, None] - KEYPOINTS, axis=-1).min(axis=1)
    assert distances.max() > 5.0  # [px]: no permutation maps them onto their image


def test_the_picture_of_the_mirrored_state_is_the_mirrored_picture() -> None:
    """Exactly, but along edges: there the rasterizer rounds towards one side."""
    renderer = PushTRenderer(96)
    for state, mirrored in zip(_states(50), mirror_state(_states(50)), strict=True):
        expected, found = mirror_image(renderer.draw(state)), renderer.draw(mirrored)
        difference = np.abs(found.astype(int) - expected.astype(int))
        neighbourhood = np.ones((5, 5), np.uint8)
        is_edge = cv2.dilate(found, neighbourhood) != cv2.erode(found, neighbourhood)
        assert difference[~is_edge.any(axis=-1)].max() == 0
        assert difference.mean() < 1.0
        assert np.abs(renderer.draw(state).astype(int) - expected).mean() > 1.5


def test_mirroring_an_image_twice_changes_nothing_and_leaves_the_original() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 2, 8, 8, 3), dtype=np.uint8)
    before = images.copy()
    mirrored = mirror_image(images)
    assert mirrored.dtype == np.uint8
    assert mirrored.base is None
    np.testing.assert_array_equal(mirrored[1, 0, 0, 7], images[1, 0, 0, 7])
    np.testing.assert_array_equal(mirrored[1, 0, 0, 0], images[1, 0, 7, 7])
    np.testing.assert_array_equal(mirror_image(mirrored), before)


def test_mirroring_keeps_the_dtype() -> None:
    state = _states().astype(np.float32)
    assert mirror_state(state).dtype == np.float32
    assert mirror_action(state[:, :2]).dtype == np.float32
    assert mirror_keypoints(keypoints_of_state(state).astype(np.float32)).dtype == np.float32


def test_a_mirrored_push_moves_the_block_to_the_mirror_image() -> None:
    start = np.array([256.0, 120.0, 240.0, 200.0, 0.3])
    direct, mirrored = PushTSimulation(), PushTSimulation()
    direct.set_state(start)
    mirrored.set_state(mirror_state(start))
    for step in range(12):
        action = np.array([256.0, 120.0 + 10.0 * step])
        direct.step(action)
        mirrored.step(mirror_action(action))
    assert np.linalg.norm(direct.state[2:4] - start[2:4]) > 10.0
    np.testing.assert_allclose(mirror_state(mirrored.state), direct.state, atol=1e-6)
