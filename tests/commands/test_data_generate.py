"""`dpc data generate` with a demonstrator that is allowed little."""

from pathlib import Path

import numpy as np
import pytest

from diffusion_controller.commands.main import main
from diffusion_controller.data import ReplayBuffer
from diffusion_controller.envs import PushTSimulation, keypoints_of_state

LITTLE = (
    "demonstrator.num_candidates=24",
    "demonstrator.num_verified=3",
    "demonstrator.max_steps=25",
    "keep_failures=true",
)


def _generate(out: Path, *words: str) -> int:
    return main(["data", "generate", "pusht", f"out={out}", *LITTLE, *words])


def test_the_store_has_the_published_layout(tmp_path: Path) -> None:
    assert _generate(tmp_path / "a.zarr", "episodes=2") == 0
    buffer = ReplayBuffer.open(tmp_path / "a.zarr")
    assert {name: array.shape[1:] for name, array in buffer.arrays.items()} == {
        "state": (5,),
        "keypoint": (9, 2),
        "action": (2,),
    }
    assert all(array.dtype == np.float32 for array in buffer.arrays.values())
    assert buffer.metadata["control_hz"] == 10.0
    assert buffer.metadata["source"] == "scripted"
    assert buffer.metadata["env_id"] == "diffusion_controller/PushT-v0"
    assert buffer.metadata["seeds"] == [1_000_000, 1_000_001]


def test_state_and_action_belong_together(tmp_path: Path) -> None:
    assert _generate(tmp_path / "a.zarr", "episodes=1") == 0
    episode = ReplayBuffer.open(tmp_path / "a.zarr").episode(0)
    simulation = PushTSimulation()
    simulation.reset(1_000_000)
    arrays = (episode[name] for name in ("state", "keypoint", "action"))
    for state, keypoint, action in zip(*arrays, strict=True):
        np.testing.assert_allclose(simulation.state, state, atol=1e-3)
        np.testing.assert_allclose(keypoints_of_state(state), keypoint, atol=1e-3)
        simulation.step(action)


def test_episodes_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    assert _generate(tmp_path / "one.zarr", "episodes=3") == 0
    assert _generate(tmp_path / "two.zarr", "episodes=3", "workers=2") == 0
    one, two = (ReplayBuffer.open(tmp_path / name) for name in ("one.zarr", "two.zarr"))
    for name in one.arrays:
        np.testing.assert_array_equal(one.read(name), two.read(name))
    assert one.metadata == two.metadata


def test_only_successes_are_kept_unless_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("episodes=1", "keep_failures=false", "demonstrator.max_steps=1")
    assert _generate(tmp_path / "a.zarr", *words) == 2
    assert "0 of 20 episodes reached the goal; raise" in capsys.readouterr().err
    assert ReplayBuffer.open(tmp_path / "a.zarr").num_episodes == 0


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("episodes=0", "give at least 1"),
        ("workers=0", "give at least 1"),
        ("env=cartpole", "choose env=pusht"),
        ("first_seed=-1", "give a seed from 0"),
        ("demonstrator.push_speed=[3.0]", "give [low,high]"),
        ("demonstrator.push_speed=[3.0,1.0]", "0 < low <= high"),
    ],
)
def test_bad_settings_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], word: str, message: str
) -> None:
    assert main(["data", "generate", f"out={tmp_path / 'a.zarr'}", word]) == 2
    assert message in capsys.readouterr().err


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.zarr").mkdir()
    assert _generate(tmp_path / "a.zarr", "episodes=1") == 2
    assert "exists already" in capsys.readouterr().err
