"""Batches that are read ahead: the same ones, their errors at once, and no thread left."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from diffusion_controller.data import (
    ArrayField,
    ArraySpec,
    Normalizer,
    ReplayBuffer,
    StoreFormatError,
    WindowDataset,
    load_windows,
)
from diffusion_controller.data.images import Transform
from diffusion_controller.policy import DiffusionPolicy, build
from diffusion_controller.training import (
    BatchReader,
    DataOrder,
    Run,
    TrainingInterruptedError,
    train,
)
from tests.policy.policies import config
from tests.training.trainings import scored, settings

NUM_STEPS = 30


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Three episodes with small images."""
    specs = {
        "img": ArraySpec((4, 6, 3), np.uint8, chunk_steps=4),
        "state": ArraySpec((2,)),
        "action": ArraySpec((2,)),
    }
    buffer = ReplayBuffer.create(tmp_path / "store.zarr", specs)
    random = np.random.default_rng(0)
    for length in (20, 15, 24):
        buffer.append_episode(
            {
                "img": random.integers(0, 256, (length, 4, 6, 3), dtype=np.uint8),
                "state": random.uniform(0, 512, (length, 2)).astype("f4"),
                "action": random.uniform(0, 512, (length, 2)).astype("f4"),
            }
        )
    return tmp_path / "store.zarr"


def _windows(store: Path, *, images_in_memory: bool) -> WindowDataset:
    windows = load_windows(
        ReplayBuffer.open(store),
        {"image": ArrayField("img"), "agent": ArrayField("state")},
        ArrayField("action"),
        horizon=8,
        obs_horizon=2,
        action_horizon=4,
        images_in_memory=images_in_memory,
    )
    transforms: dict[str, Transform] = {
        "image": lambda v: v[..., ::-1, :],
        "agent": np.negative,
        "action": np.negative,
    }
    return windows.with_transformed_copy(transforms)


def _order(windows: WindowDataset) -> DataOrder:
    return DataOrder(num_windows=len(windows), batch_size=8, seed=0)


def _reading_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("read-batches")]


@pytest.mark.parametrize("steps", [range(NUM_STEPS), range(17, NUM_STEPS), (3, 4, 20, 21, 5)])
def test_batches_that_are_read_ahead_are_those_in_memory(store: Path, steps: range) -> None:
    in_memory = _windows(store, images_in_memory=True)
    stored = _windows(store, images_in_memory=False)
    with BatchReader(stored, _order(stored).indices, num_steps=NUM_STEPS) as reader:
        for step in steps:
            found = reader.batch(step)
            expected = in_memory.gather(_order(in_memory).indices(step))
            assert torch.equal(found.action, expected.action)
            for name, values in expected.observation.items():
                assert torch.equal(found.observation[name], values)


def test_windows_in_memory_need_no_thread(store: Path) -> None:
    windows = _windows(store, images_in_memory=True)
    with BatchReader(windows, _order(windows).indices, num_steps=NUM_STEPS) as reader:
        assert reader.batch(2).action.shape == (8, 8, 2)
        assert not _reading_threads()


def test_no_batch_is_asked_for_after_the_last_and_few_before(store: Path) -> None:
    windows = _windows(store, images_in_memory=False)
    asked: list[int] = []

    def indices_of(step: int) -> Tensor:
        asked.append(step)
        return _order(windows).indices(step)

    with BatchReader(windows, indices_of, num_steps=6, steps_ahead=2) as reader:
        reader.batch(0)
        assert asked == [0, 1, 2]
        reader.batch(1)
        assert asked == [0, 1, 2, 3]
        for step in range(2, 6):
            reader.batch(step)
    assert asked == [0, 1, 2, 3, 4, 5]


def test_threads_end_with_the_reader_whatever_ends_it(store: Path) -> None:
    windows = _windows(store, images_in_memory=False)
    reader = BatchReader(windows, _order(windows).indices, num_steps=NUM_STEPS)

    def read_until_interrupted() -> None:
        with reader:
            reader.batch(0)
            assert _reading_threads()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_until_interrupted()
    assert not _reading_threads()


@dataclass(frozen=True)
class _ImagesThatFail:
    """Images of a store whose step 3 cannot be read."""

    shape: tuple[int, ...] = (9, 2, 2, 3)
    is_stored = True
    nbytes = 0
    has_failed: threading.Event = field(default_factory=threading.Event)

    def take(self, steps: Tensor) -> Tensor:
        if (steps == 3).any():
            self.has_failed.set()
            raise StoreFormatError("step 3 cannot be decoded")
        if (steps == 0).any():
            self.has_failed.wait(30)  # whoever takes the first image sees the failure behind it
        return torch.zeros(*steps.shape, *self.shape[1:], dtype=torch.uint8)

    def to(self, _: torch.device) -> "_ImagesThatFail":
        return self


def test_an_error_of_a_coming_batch_is_told_before_its_turn() -> None:
    images = _ImagesThatFail()
    windows = WindowDataset(
        observations={},
        actions=torch.zeros(9, 2),
        starts=torch.arange(9),
        first_steps=torch.zeros(9, dtype=torch.int64),
        last_steps=torch.full((9,), 8),
        horizon=1,
        obs_horizon=1,
        images={"image": images},
    )
    reached: list[int] = []

    def read_all(reader: BatchReader) -> None:
        for step in range(9):
            reader.batch(step)
            reached.append(step)

    with (
        BatchReader(windows, lambda step: torch.tensor([step]), num_steps=9) as reader,
        pytest.raises(StoreFormatError, match="step 3 cannot be decoded"),
    ):
        read_all(reader)
    assert len(reached) < 3  # mostly at once; the error is stored a moment after it is raised
    assert not _reading_threads()


def _image_policy() -> DiffusionPolicy:
    shapes = {"image": (4, 6, 3), "agent": (2,), "action": (2,)}
    ranges = {name: (np.zeros(shape), np.full(shape, 512.0)) for name, shape in shapes.items()}
    encoder = {
        "_target_": "diffusion_controller.policy.StateEncoder",
        "observations": {"image": [4, 6, 3], "agent": [2]},
    }
    network = {
        "_target_": "diffusion_controller.policy.ConditionalUnet1d",
        "action_dim": 2,
        "condition_dim": 2 * (4 * 6 * 3 + 2),
        "channels": [8, 16],
        "timestep_dim": 8,
    }
    normalizer = Normalizer.fit({}, dict.fromkeys(shapes, "min_max"), ranges)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        policy = build(
            {**config(), "encoder": encoder, "network": network},
            injected={"normalizer": normalizer},
        )
    assert isinstance(policy, DiffusionPolicy)
    return policy


def _train(
    directory: Path, windows: WindowDataset, evaluate: Callable[..., dict[str, float]] = scored
) -> dict[str, Tensor]:
    policy = _image_policy()
    run = Run(directory=directory, provenance={})
    train(policy, windows, settings(num_steps=NUM_STEPS), run, evaluate=evaluate)
    return policy.state_dict()


def test_training_from_the_store_gives_the_same_bits_even_when_interrupted(
    store: Path, tmp_path: Path
) -> None:
    expected = _train(tmp_path / "memory", _windows(store, images_in_memory=True))
    stored = _windows(store, images_in_memory=False)

    def interrupt(_: DiffusionPolicy) -> dict[str, float]:
        assert _reading_threads()
        raise TrainingInterruptedError("stop")

    with pytest.raises(TrainingInterruptedError):
        _train(tmp_path / "store", stored, interrupt)
    assert not _reading_threads()
    found = _train(tmp_path / "store", stored)
    assert not _reading_threads()
    for name, weights in expected.items():
        assert torch.equal(found[name], weights), name
    metrics = "metrics.jsonl"
    assert (tmp_path / "store" / metrics).read_bytes() == (
        tmp_path / "memory" / metrics
    ).read_bytes()


def test_a_damaged_store_ends_a_training_with_its_name(store: Path, tmp_path: Path) -> None:
    next((store / "data" / "img").glob("c.3.*")).write_bytes(b"damaged")
    with pytest.raises(StoreFormatError, match="of data/img cannot be decoded"):
        _train(tmp_path / "run", _windows(store, images_in_memory=False))
    assert not _reading_threads()
