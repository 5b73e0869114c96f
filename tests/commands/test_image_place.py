"""Where images are read from, as chosen and as told."""

from pathlib import Path

import numpy as np
import pytest

from diffusion_controller.commands.errors import CommandError
from diffusion_controller.commands.image_place import choose_place, explain_place
from diffusion_controller.commands.main import main
from diffusion_controller.data import ArrayField, ArraySpec, ReplayBuffer, convert_buffer

FIELDS = {"image": ArrayField("img"), "agent": ArrayField("state", (0, 1))}
IMAGE_BYTES = 6 * 6 * 3


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two episodes of 30 steps whose images are stored as float32."""
    specs = {"img": ArraySpec((6, 6, 3)), "state": ArraySpec((5,)), "action": ArraySpec((2,))}
    buffer = ReplayBuffer.create(tmp_path / "demos.zarr", specs)
    random = np.random.default_rng(0)
    for seed in (1_000_000, 1_000_001):
        episode = {
            "img": random.integers(0, 256, (30, 6, 6, 3)).astype("f4"),
            "state": random.uniform(50, 450, (30, 5)).astype("f4"),
            "action": random.uniform(50, 450, (30, 2)).astype("f4"),
        }
        buffer.append_episode(episode, seed=seed)
    return tmp_path / "demos.zarr"


@pytest.mark.parametrize(
    ("place", "available", "in_memory"),
    [
        ("auto", 2 * 60 * IMAGE_BYTES, True),
        ("auto", 2 * 60 * IMAGE_BYTES - 1, False),
        ("memory", 0, True),
        ("disk", 10**12, False),
    ],
)
def test_images_lie_in_memory_if_they_take_half_of_what_is_free_or_if_told(
    store: Path, place: str, available: int, in_memory: bool
) -> None:
    buffer = ReplayBuffer.open(store)
    chosen = choose_place(place, buffer, FIELDS, episodes=(0, 1), available_bytes=available)
    assert chosen.in_memory == in_memory
    assert chosen.needed_bytes == 60 * IMAGE_BYTES


def test_without_images_everything_lies_in_memory(store: Path) -> None:
    fields = {"agent": FIELDS["agent"]}
    buffer = ReplayBuffer.open(store)
    place = choose_place("auto", buffer, fields, episodes=(0,), available_bytes=0)
    assert place.in_memory
    assert not list(explain_place(place, buffer, fields, url="demos.zarr", duration=0.0))


def test_an_unknown_place_is_refused(store: Path) -> None:
    with pytest.raises(CommandError, match="'tape'; expected one of auto, memory, disk"):
        choose_place("tape", ReplayBuffer.open(store), FIELDS, episodes=(0,))


def test_images_of_uint8_in_memory_need_no_word(store: Path, tmp_path: Path) -> None:
    buffer = ReplayBuffer.open(convert_buffer(store, tmp_path / "converted.zarr"))
    place = choose_place("memory", buffer, FIELDS, episodes=(0,))
    assert not list(explain_place(place, buffer, FIELDS, url="converted.zarr", duration=1.0))


def _train(store: Path, out: Path, place: str) -> int:
    return main(
        [
            "train",
            f"data={store}",
            f"out={out}",
            f"images_from={place}",
            "~task.observations.keypoints",
            "+task.observations.image={array:img,channels:null}",
            "~task.normalization.keypoints",
            "+task.normalization.image={mode:min_max,range:[0,255]}",
            "~policy.encoder.observations.keypoints",
            "+policy.encoder.observations.image=[6,6,3]",
            f"policy.network.condition_dim={2 * (IMAGE_BYTES + 2)}",
            "policy.network.channels=[8,16]",
            "evaluation.episodes=0",
            "validation_fraction=0.5",
            "training.num_steps=6",
            "training.log_interval=2",
            "training.batch_size=8",
        ]
    )


def test_a_training_from_disk_is_that_from_memory_and_says_what_to_convert(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _train(store, tmp_path / "memory", "memory") == 0
    said = capsys.readouterr().err
    command = f"dpc data convert {store} out=demos/demos_uint8.zarr"
    assert "data/img is stored as float32: reading took" in said
    assert command in said
    assert _train(store, tmp_path / "disk", "disk") == 0
    said = capsys.readouterr().err
    assert "data/img is read from the store during the training" in said
    assert "data/img is stored as float32 in chunks of" in said
    assert command in said
    metrics = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("memory", "disk")]
    assert metrics[0] == metrics[1]


def test_a_word_that_is_no_place_ends_the_command_with_2(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _train(store, tmp_path / "run", "tape") == 2
    assert "images_from is 'tape'; expected one of auto, memory, disk" in capsys.readouterr().err
