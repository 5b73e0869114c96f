import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion_controller.envs import (
    Demonstration,
    DemonstratorSettings,
    DemonstratorSettingsError,
    PushTSimulation,
    demonstrate,
    initial_state,
    keypoints_of_state,
)
from diffusion_controller.envs.push import Push, sample_pushes
from diffusion_controller.envs.pusht import SUCCESS_COVERAGE
from diffusion_controller.envs.travel import distance_to_block, is_inside_block, shortest_way

SEEDS = (1_000_000, 1_000_001, 1_000_002)


@pytest.fixture(scope="module")
def demonstrations() -> list[Demonstration]:
    return [demonstrate(seed) for seed in SEEDS]


def test_demonstrations_reach_the_goal(demonstrations: list[Demonstration]) -> None:
    assert all(demonstration.is_success for demonstration in demonstrations)
    assert all(len(demonstration.actions) <= 300 for demonstration in demonstrations)


def test_only_the_last_action_succeeds(demonstrations: list[Demonstration]) -> None:
    for demonstration in demonstrations:
        assert (demonstration.coverages[:-1] <= SUCCESS_COVERAGE).all()
        assert demonstration.coverages[-1] > SUCCESS_COVERAGE


def test_replayed_actions_give_the_states_again(demonstrations: list[Demonstration]) -> None:
    simulation = PushTSimulation()
    for demonstration in demonstrations:
        simulation.reset(demonstration.seed)
        for state, action in zip(demonstration.states, demonstration.actions, strict=True):
            np.testing.assert_array_equal(simulation.state, state)
            simulation.step(action)
        assert simulation.coverage == demonstration.coverages[-1]


def test_a_demonstration_is_a_function_of_seed_and_settings() -> None:
    few = DemonstratorSettings(max_steps=40, num_candidates=40, num_verified=4)
    first, again = demonstrate(SEEDS[0], few), demonstrate(SEEDS[0], few)
    np.testing.assert_array_equal(first.actions, again.actions)
    patient = demonstrate(SEEDS[0], dataclasses.replace(few, push_speed=(3.0, 4.0)))
    assert not np.array_equal(first.actions, patient.actions)


def test_targets_move_smoothly_within_the_field(demonstrations: list[Demonstration]) -> None:
    for demonstration in demonstrations:
        start = demonstration.states[:1, :2]
        jumps = np.linalg.norm(
            np.diff(np.concatenate([start, demonstration.actions]), axis=0), axis=1
        )
        assert jumps.max() <= 26.0 + 1e-6  # the fastest travel
        assert demonstration.actions.min() >= 0.0
        assert demonstration.actions.max() <= 512.0


def test_keypoints_are_those_of_the_states(demonstrations: list[Demonstration]) -> None:
    demonstration = demonstrations[0]
    np.testing.assert_array_equal(demonstration.keypoints, keypoints_of_state(demonstration.states))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_steps": 0}, "max_steps is 0"),
        ({"temperature": math.nan}, "temperature"),
        ({"push_speed": (9.0, 3.0)}, "0 < low <= high"),
        ({"travel_speed": (0.0, 3.0)}, "0 < low <= high"),
    ],
)
def test_settings_that_cannot_be_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(DemonstratorSettingsError, match=message):
        DemonstratorSettings(**arguments)  # type: ignore[arg-type]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_ways_keep_off_the_block(seed: int) -> None:
    random = np.random.default_rng(seed)
    pose = initial_state(seed)[2:]
    ends = random.uniform(2, 510, size=(200, 2))
    ends = ends[distance_to_block(ends, pose) > 25.0][-2:]  # some lie inside the block
    way = shortest_way(ends[0], ends[1], pose, clearance=8.0)
    if way is None:
        return
    np.testing.assert_array_equal(way[[0, -1]], ends)
    fractions = np.linspace(0, 1, 50)[:, None]
    for start, end in itertools.pairwise(way):
        assert distance_to_block(start + fractions * (end - start), pose).min() > 15.0


def test_a_free_way_is_straight() -> None:
    way = shortest_way([50, 450], [450, 450], [256, 200, 0.0], clearance=10.0)
    assert way is not None
    assert np.abs(way[:, 1] - 450).max() < 1e-9


def test_an_arc_is_as_long_as_it_says() -> None:
    push = Push(start=(200.0, 200.0), heading=0.3, curvature=0.01, speed=5.0, length=80.0)
    points = np.array([push.point(distance) for distance in np.linspace(0, 80, 2001)])
    assert np.linalg.norm(np.diff(points, axis=0), axis=1).sum() == pytest.approx(80, abs=1e-3)
    end = points[-1] - points[-2]
    assert math.atan2(end[1], end[0]) == pytest.approx(0.3 + 0.01 * 80, abs=1e-3)


def test_pushes_begin_clear_of_the_block_and_lead_into_it() -> None:
    pose = np.array([256.0, 200.0, 1.0])
    pushes = sample_pushes(pose, count=200, speed=8.0, random=np.random.default_rng(0))
    starts = np.array([push.start for push in pushes])
    ends = np.array([push.point(22.0) for push in pushes])
    assert len(pushes) > 100
    assert distance_to_block(starts, pose).min() > 17.0
    assert (distance_to_block(ends, pose) < distance_to_block(starts, pose)).mean() > 0.95


def test_an_agent_that_starts_inside_the_block_gets_out() -> None:
    seed = 1_000_034
    state = initial_state(seed)
    assert is_inside_block(state[:2], state[2:])
    assert demonstrate(seed).is_success


def test_an_agent_that_starts_wedged_between_bar_and_stem_gets_out() -> None:
    assert demonstrate(1_000_047, DemonstratorSettings(max_steps=60)).coverages.max() > 0.2


@pytest.mark.parametrize(
    ("point", "inside"),
    [((256, 215), True), ((200, 215), True), ((256, 310), True), ((200, 250), False)],
)
def test_inside_is_inside_bar_or_stem(point: tuple[int, int], inside: bool) -> None:
    assert is_inside_block(point, [256, 200, 0.0]) is inside
