import math

import numpy as np
import pytest
import shapely  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from diffusion_controller.envs import coverage, keypoints_of_state
from diffusion_controller.envs.push_planner import gap_to_goal
from diffusion_controller.envs.tee import (
    AREA,
    BAR,
    GOAL_POSE,
    KEYPOINTS,
    OUTLINE,
    STEM,
    block_to_world,
)

near_goal = st.tuples(
    st.floats(150, 360), st.floats(150, 360), st.floats(-2 * math.pi, 2 * math.pi)
)


def _shapely_coverage(pose: tuple[float, float, float]) -> float:
    """Bar and stem as separate polygons, clipped by shapely: nothing in common with our code."""
    goal, block = (
        [shapely.Polygon(block_to_world(rectangle, each)) for rectangle in (BAR, STEM)]
        for each in (GOAL_POSE, pose)
    )
    area = sum(a.intersection(b).area for a in goal for b in block)
    return float(area / sum(a.area for a in goal))


@given(near_goal)
def test_coverage_equals_shapely(pose: tuple[float, float, float]) -> None:
    assert coverage(*pose) == pytest.approx(_shapely_coverage(pose), abs=1e-9)


@pytest.mark.parametrize("angle", [0.0, math.pi / 4, math.pi / 2, math.pi, -3 * math.pi / 4])
@pytest.mark.parametrize("offset", [0.0, 1e-12, 1e-6, 15.0, 30.0])
def test_coverage_equals_shapely_where_edges_are_parallel(angle: float, offset: float) -> None:
    pose = (256.0 + offset, 256.0 - offset, angle)
    assert coverage(*pose) == pytest.approx(_shapely_coverage(pose), abs=1e-9)


def test_the_block_on_its_goal_covers_it() -> None:
    assert coverage(*GOAL_POSE) == pytest.approx(1.0, abs=1e-12)
    assert coverage(256, 256, GOAL_POSE[2] + 6 * math.pi) == pytest.approx(1.0, abs=1e-12)


def test_a_far_block_covers_nothing() -> None:
    assert coverage(900.0, 100.0, 1.0) == 0.0
    assert coverage(90.0, 90.0, GOAL_POSE[2] + math.pi) == pytest.approx(0.0, abs=1e-12)


@given(st.floats(0, 30))
def test_coverage_of_a_block_slid_along_its_stem_has_a_closed_form(slide: float) -> None:
    # Slid by s along the stem, the bar overlaps by 30 - s, the stem lies on bar or stem by 90.
    x = 256 - slide * math.sin(GOAL_POSE[2])
    y = 256 + slide * math.cos(GOAL_POSE[2])
    expected = (120 * (30 - slide) + 30 * slide + 30 * (90 - slide)) / AREA
    assert coverage(x, y, GOAL_POSE[2]) == pytest.approx(expected, abs=1e-9)


def test_the_outline_encloses_bar_and_stem() -> None:
    both = shapely.union(shapely.Polygon(BAR), shapely.Polygon(STEM))
    assert shapely.Polygon(OUTLINE).symmetric_difference(both).area == pytest.approx(0.0)
    assert both.area == AREA


def test_keypoints_move_with_the_block() -> None:
    state = np.array([1.0, 2.0, 100.0, 200.0, math.pi / 2])
    expected = np.stack([100 - KEYPOINTS[:, 1], 200 + KEYPOINTS[:, 0]], axis=-1)
    np.testing.assert_allclose(keypoints_of_state(state), expected)
    np.testing.assert_allclose(
        keypoints_of_state(np.stack([state, state])), np.stack([expected] * 2)
    )


@given(near_goal)
def test_the_gap_is_the_distance_of_the_corners(pose: tuple[float, float, float]) -> None:
    corners = block_to_world(OUTLINE, pose) - block_to_world(OUTLINE, GOAL_POSE)
    expected = math.sqrt((corners**2).sum(axis=1).mean())
    assert gap_to_goal(*pose) == pytest.approx(expected, abs=1e-5)
