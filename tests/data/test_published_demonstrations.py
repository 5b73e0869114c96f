"""What is known of the published Push-T demonstrations, read from the real file."""

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from diffusion_controller.data import ArrayField, Normalizer, ReplayBuffer, load_windows
from diffusion_controller.data.download import PUBLISHED, check_content, download_dataset
from diffusion_controller.data.validate import validate_buffer


@pytest.fixture(scope="module")
def buffer(published_demonstrations: Path) -> ReplayBuffer:
    return ReplayBuffer.open(published_demonstrations)


def test_episodes_and_arrays_are_those_published(buffer: ReplayBuffer) -> None:
    assert (buffer.num_episodes, buffer.num_steps) == (206, 25650)
    assert buffer.episode_ends[:3].tolist() == [161, 279, 420]
    lengths = np.diff(buffer.episode_ends, prepend=0)
    assert (lengths.min(), lengths.max()) == (49, 246)
    assert lengths.mean() == pytest.approx(124.5, abs=0.05)
    assert {name: array.shape[1:] for name, array in buffer.arrays.items()} == {
        "action": (2,),
        "img": (96, 96, 3),
        "keypoint": (9, 2),
        "n_contacts": (1,),
        "state": (5,),
    }


def test_actions_span_the_range_published(buffer: ReplayBuffer) -> None:
    actions = buffer.read("action")
    assert actions.min(axis=0).tolist() == [12, 25]
    assert actions.max(axis=0).tolist() == [511, 511]


def test_images_are_whole_numbers_and_become_uint8_unchanged(buffer: ReplayBuffer) -> None:
    images = buffer.read("img", dtype=np.uint8, episodes=[0, 100, 205])
    assert images.dtype == np.uint8
    assert (images.min(), images.max()) == (65, 255)
    np.testing.assert_array_equal(images[:161], buffer.array("img")[:161])


def test_keypoints_are_a_rigid_body(buffer: ReplayBuffer) -> None:
    keypoints = buffer.read("keypoint").astype("f8")
    distances = np.linalg.norm(keypoints[:, :, None] - keypoints[:, None], axis=-1)
    assert np.ptp(distances, axis=0).max() < 1e-3


def test_keypoints_follow_the_recorded_pose_but_for_a_hair(buffer: ReplayBuffer) -> None:
    """Where the block moves, the recorded keypoints and state differ: up to 2.2 px, mostly less."""
    state, keypoints = buffer.read("state").astype("f8"), buffer.read("keypoint").astype("f8")
    cos, sin = np.cos(state[:, 4]), np.sin(state[:, 4])
    rotation = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
    in_block = np.einsum("tji,tkj->tki", rotation, keypoints - state[:, None, 2:4])
    deviation = np.abs(in_block - np.median(in_block, axis=0)).max(axis=(1, 2))
    assert np.median(deviation) < 1e-4
    assert np.quantile(deviation, 0.99) < 0.05
    assert deviation.max() < 2.2


def test_every_window_of_the_published_settings_is_there(buffer: ReplayBuffer) -> None:
    windows = load_windows(
        buffer,
        {"keypoints": ArrayField("keypoint"), "agent": ArrayField("state", (0, 1))},
        ArrayField("action"),
        horizon=16,
        obs_horizon=2,
        action_horizon=8,
    )
    assert len(windows) == 25650 - 7 * 206
    batch = windows.gather(torch.tensor([0]))
    assert batch.action[0, 0].tolist() == batch.action[0, 1].tolist() == [233, 71]
    assert batch.observation["keypoints"].shape == (1, 2, 9, 2)


def test_all_channels_can_be_normalized(buffer: ReplayBuffer) -> None:
    arrays = {name: buffer.read(name) for name in ("action", "state", "keypoint")}
    normalizer = Normalizer.fit(arrays, dict.fromkeys(arrays, "min_max"))
    for name, values in arrays.items():
        assert np.abs(normalizer.normalize(name, values)).max() <= 1 + 1e-5


def test_its_content_is_the_published_content(published_demonstrations: Path) -> None:
    check_content(published_demonstrations, PUBLISHED["pusht"].content_sha256)


def test_a_local_copy_takes_the_place_of_the_download(
    published_demonstrations: Path, tmp_path: Path
) -> None:
    path = download_dataset(str(published_demonstrations), tmp_path)
    assert path.stat().st_size == published_demonstrations.stat().st_size


def test_nothing_is_wrong_with_them_but_short_pauses(published_demonstrations: Path) -> None:
    defects = validate_buffer(published_demonstrations, action_range=(0, 512), idle_steps=2)
    assert {(d.severity, d.message.split(" ", 1)[1].split(":")[0]) for d in defects} == {
        ("warning", "steps are idle")
    }
    pauses = [int(defect.message.split()[0]) for defect in defects]
    assert (len(pauses), max(pauses)) == (19, 4)  # none is as long as the 5 steps of the default
    assert (defects[0].episode, defects[0].index) == (0, 126)


@pytest.mark.slow
def test_float_images_are_read_in_bounded_memory(published_demonstrations: Path) -> None:
    """709 MB of uint8 come out of 2.8 GB of float32; the whole process stays under 1.2 GB."""
    program = (
        "import sys; from diffusion_controller.data import ReplayBuffer;"
        "images = ReplayBuffer.open(sys.argv[1]).read('img', dtype='uint8');"
        "assert images.nbytes == 25650 * 96 * 96 * 3"
    )
    subprocess.run([sys.executable, "-c", program, str(published_demonstrations)], check=True)
    peak_bytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    assert peak_bytes < 1.2e9
