"""Agreement with gym-pusht 0.1.8, the published environment's package (pymunk 6).

`golden/record_golden.py` recorded its trajectories. Contacts amplify rounding: here the two
agree to 1e-11 px; the tolerance leaves room for compilers that fuse multiply and add.
"""

from pathlib import Path

import numpy as np
import pytest

from diffusion_controller.envs import PushTRenderer, PushTSimulation

GOLDEN = Path(__file__).parent / "golden" / "gym_pusht.npz"
TOLERANCE = 1e-6  # [px] and [rad]


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as archive:
        return {name: archive[name] for name in archive.files}


def _rollout(golden: dict[str, np.ndarray], index: int) -> tuple[np.ndarray, np.ndarray]:
    simulation = PushTSimulation()
    simulation.reset(int(golden["seeds"][index]), legacy_reset=bool(golden["legacy_reset"][index]))
    states, rewards = [simulation.state], []
    for action in golden["actions"][index]:
        rewards.append(simulation.step(action))
        states.append(simulation.state)
    return np.array(states), np.array(rewards)


@pytest.mark.parametrize("index", range(8))
def test_trajectories_are_those_of_the_published_package(
    golden: dict[str, np.ndarray], index: int
) -> None:
    states, rewards = _rollout(golden, index)
    np.testing.assert_allclose(states, golden["states"][index], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(rewards, golden["rewards"][index], rtol=0, atol=TOLERANCE)


def test_the_golden_trajectories_move_the_block(golden: dict[str, np.ndarray]) -> None:
    moved = np.abs(golden["states"][:, -1, 2:4] - golden["states"][:, 0, 2:4]).max(axis=1)
    assert (moved > 20).sum() >= 6
    assert golden["rewards"].max() > 0.2


def test_frames_look_like_those_of_the_published_package(golden: dict[str, np.ndarray]) -> None:
    renderer = PushTRenderer(96)
    every = int(golden["frame_every"])
    differences = [
        np.abs(renderer.draw(state).astype(int) - frame).mean()
        for states, frames in zip(golden["states"], golden["frames"], strict=True)
        for state, frame in zip(states[every::every], frames, strict=True)
    ]
    assert np.mean(differences) < 0.3  # of 255; rasterizers differ along edges
    assert np.max(differences) < 0.6
