"""A training that is interrupted anywhere ends as one that was not, bit by bit."""

import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffusion_controller.policy import load_policy
from diffusion_controller.training import TrainingInterruptedError, TrainStateError
from tests.training.trainings import run_training

# Children need no second import of torch, and come from a process without the threads of this one.
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["tests.training.trainings"])


def _in_child(function: Callable[..., Any], *arguments: Any) -> Any:
    child = _SERVER.Process(target=function, args=arguments, daemon=True)
    child.start()
    return child


def _train_and_leave_its_error(directory: Path) -> None:
    torch.set_num_threads(1)  # as in this process; another number may round differently
    try:
        run_training(directory)
    except (TrainingInterruptedError, TrainStateError) as error:
        (directory / "error.txt").write_text(str(error))
        os._exit(2)
    os._exit(0)


def _final_state(directory: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(directory / "state.pt", weights_only=True)
    return state


def _assert_identical(found: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            _assert_identical(found[key], expected[key])
    elif isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected)
    else:
        assert found == expected


def _assert_same_run(directory: Path, expected: Path) -> None:
    _assert_identical(_final_state(directory), _final_state(expected))
    metrics = "metrics.jsonl"
    assert (directory / metrics).read_bytes() == (expected / metrics).read_bytes()
    for name in ("best", "last"):
        assert os.readlink(directory / name) == os.readlink(expected / name)
        weights = f"{name}/model.safetensors"
        assert (directory / weights).read_bytes() == (expected / weights).read_bytes()
    kept = [sorted(p.name for p in (d / "checkpoints").iterdir()) for d in (directory, expected)]
    assert kept[0] == kept[1]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("uninterrupted")
    run_training(directory)
    return directory


def test_a_training_killed_twenty_times_ends_bit_identical(
    uninterrupted: Path, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    steps_at_kill = []
    for _ in range(20):
        child = _in_child(_train_and_leave_its_error, tmp_path)
        state = tmp_path / "state.pt"
        before = state.stat().st_mtime_ns if state.exists() else 0
        deadline = time.monotonic() + 60
        while (state.stat().st_mtime_ns if state.exists() else 0) == before:
            if not child.is_alive() or time.monotonic() > deadline:
                break
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.02))  # a step and its save take about that long
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        steps_at_kill.append(_final_state(tmp_path)["step"])
    assert steps_at_kill == sorted(steps_at_kill)
    assert len(set(steps_at_kill)) > 10  # really killed in different places
    run_training(tmp_path)
    _assert_same_run(tmp_path, uninterrupted)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_training_asked_to_stop_saves_and_says_how_to_go_on(
    uninterrupted: Path, tmp_path: Path, number: signal.Signals
) -> None:
    child = _in_child(_train_and_leave_its_error, tmp_path)
    deadline = time.monotonic() + 60
    while not (tmp_path / "state.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.001)
    os.kill(child.pid, number)
    child.join(30)
    assert child.exitcode == 2
    message = (tmp_path / "error.txt").read_text()
    assert message.startswith(f"{number.name} after step ")
    assert f"dpc train resume={tmp_path}" in message
    run_training(tmp_path)
    _assert_same_run(tmp_path, uninterrupted)


def _train_with_little_room(directory: Path) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    size = (directory / "state.pt").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2))
    _train_and_leave_its_error(directory)


def test_a_full_disk_keeps_the_state_before_and_is_resumed(
    uninterrupted: Path, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_training(tmp_path, evaluate=_interrupt_in_the_second_evaluation())
    before = (tmp_path / "state.pt").read_bytes()
    child = _in_child(_train_with_little_room, tmp_path)
    child.join(60)
    assert child.exitcode == 2
    assert "could not be written" in (tmp_path / "error.txt").read_text()
    assert (tmp_path / "state.pt").read_bytes() == before
    assert not list(tmp_path.glob(".*partial"))
    run_training(tmp_path)
    _assert_same_run(tmp_path, uninterrupted)


def _interrupt_in_the_second_evaluation() -> Any:
    from tests.training.trainings import scored

    calls = []

    def evaluate(policy: Any) -> dict[str, float]:
        calls.append(policy)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return scored(policy)

    return evaluate


def test_a_finished_training_is_not_trained_again(uninterrupted: Path, tmp_path: Path) -> None:
    first = run_training(tmp_path)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    again = run_training(tmp_path)
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    _assert_same_run(tmp_path, uninterrupted)


def test_a_damaged_state_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "state.pt").write_bytes(b"not a state")
    with pytest.raises(TrainStateError, match=r"state.pt is damaged or of another policy"):
        run_training(tmp_path)
    assert (tmp_path / "state.pt").read_bytes() == b"not a state"


def test_the_best_checkpoint_is_the_averaged_policy(tmp_path: Path) -> None:
    policy = run_training(tmp_path, keep_checkpoints=1, evaluation_interval=0)
    loaded = load_policy(tmp_path)
    for a, b in zip(policy.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(a, b)
