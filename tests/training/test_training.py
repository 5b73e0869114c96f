"""The loop, its settings, the data order, the average and the metrics."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from diffusion_controller.policy import read_metrics
from diffusion_controller.training import (
    DataOrder,
    ExponentialMovingAverage,
    MetricsError,
    MetricsWriter,
    TrainingSettings,
    TrainingSettingsError,
    WandbWriter,
    read_metrics_lines,
)
from diffusion_controller.training.data_order import draw_training_noise
from tests.policy.policies import small_policy
from tests.training.trainings import run_training, windows


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    lasting: dict[str, Any] = {
        "state_interval_s": 1e9,
        "evaluation_interval": 0,
        "log_interval": 30,
    }
    run_training(tmp_path, num_steps=150, batch_size=60, learning_rate=1e-2, **lasting)
    losses = [line["loss"] for line in read_metrics_lines(tmp_path / "metrics.jsonl")]
    assert losses[-1] < 0.75 * losses[0]


def test_metrics_hold_loss_validation_score_and_no_time(tmp_path: Path) -> None:
    run_training(tmp_path, validation=windows())
    lines = read_metrics_lines(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines] == [7, 10, 14, 20, 21, 28, 30, 35, 40]
    assert set(lines[0]) == {"step", "epoch", "loss", "learning_rate"}
    assert set(lines[-1]) == {*lines[0], "validation_loss", "score"}
    assert lines[-1]["validation_loss"] < lines[1]["validation_loss"]


def test_a_line_of_metrics_is_the_mean_since_the_line_before(tmp_path: Path) -> None:
    run_training(tmp_path / "each", log_interval=1, num_steps=10)
    run_training(tmp_path / "five", log_interval=5, num_steps=10)
    each = [line["loss"] for line in read_metrics_lines(tmp_path / "each" / "metrics.jsonl")]
    five = [line["loss"] for line in read_metrics_lines(tmp_path / "five" / "metrics.jsonl")]
    assert five == pytest.approx([sum(each[:5]) / 5, sum(each[5:]) / 5])


def test_the_best_checkpoints_are_kept_and_the_last(tmp_path: Path) -> None:
    run_training(tmp_path)
    scores = {
        f"step_{line['step']:08d}": line["score"]
        for line in read_metrics_lines(tmp_path / "metrics.jsonl")
        if "score" in line
    }
    best = sorted(scores, key=lambda name: scores[name], reverse=True)
    kept = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert kept == {*best[:2], "step_00000040"}
    assert (tmp_path / "best").resolve().name == best[0]
    assert (tmp_path / "last").resolve().name == "step_00000040"
    assert read_metrics(tmp_path)["training"]["score"] == scores[best[0]]


@pytest.mark.parametrize(("num_windows", "batch_size"), [(10, 4), (7, 7), (3, 8), (100, 1)])
def test_every_window_is_visited_once_per_epoch(num_windows: int, batch_size: int) -> None:
    order = DataOrder(num_windows=num_windows, batch_size=batch_size, seed=0)
    visits = torch.cat([order.indices(step) for step in range(num_windows)])
    epochs = visits.view(batch_size, num_windows)
    assert all(torch.equal(epoch.sort().values, torch.arange(num_windows)) for epoch in epochs)


def test_the_order_of_a_step_does_not_depend_on_what_was_asked_before() -> None:
    walked = DataOrder(num_windows=10, batch_size=4, seed=1)
    expected = [walked.indices(step) for step in range(9)]
    jumped = DataOrder(num_windows=10, batch_size=4, seed=1)
    for step in (8, 0, 5):
        assert torch.equal(jumped.indices(step), expected[step])


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    order = DataOrder(num_windows=50, batch_size=50, seed=0)
    assert not torch.equal(order.indices(0), order.indices(1))
    other = DataOrder(num_windows=50, batch_size=50, seed=1)
    assert not torch.equal(order.indices(0), other.indices(0))


def test_training_noise_is_a_function_of_seed_and_step() -> None:
    noise, timestep = draw_training_noise(0, 3, (512, 8, 2), 100)
    again, _ = draw_training_noise(0, 3, (512, 8, 2), 100)
    other, _ = draw_training_noise(0, 4, (512, 8, 2), 100)
    assert torch.equal(noise, again)
    assert not torch.equal(noise, other)
    assert timestep.min() == 0
    assert timestep.max() == 99


def test_the_average_follows_its_closed_form() -> None:
    policy = small_policy()
    ema = ExponentialMovingAverage(policy, power=0.75, max_decay=0.9)
    expected = next(iter(policy.parameters())).detach().clone()
    for update in range(30):
        with torch.no_grad():
            for weight in policy.parameters():
                weight.add_(0.1)
        decay = min(0.9, 1 - (1 + update) ** -0.75)
        expected = decay * expected + (1 - decay) * next(iter(policy.parameters())).detach()
        assert ema.decay == pytest.approx(decay)
        ema.update(policy)
    torch.testing.assert_close(next(iter(ema.model.parameters())).detach(), expected)


def test_the_learning_rate_warms_up_and_falls_along_a_cosine() -> None:
    settings = TrainingSettings(num_steps=110, learning_rate=2.0, warmup_steps=10)
    assert settings.learning_rate_at(0) == pytest.approx(0.2)
    assert settings.learning_rate_at(9) == pytest.approx(2.0)
    assert settings.learning_rate_at(60) == pytest.approx(1.0)
    assert settings.learning_rate_at(109) == pytest.approx(1 + math.cos(math.pi * 0.99))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_steps": 0}, "num_steps is 0; it must be at least 1"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0; it must be positive"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
        ({"precision": "fp8"}, "precision is 'fp8'; expected one of fp32, tf32, bf16"),
        ({"warmup_steps": -1}, "warmup_steps is -1; it must not be negative"),
    ],
)
def test_settings_that_cannot_be_trained_with_are_refused(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(TrainingSettingsError, match=message):
        TrainingSettings(**{"num_steps": 10, **changes})  # type: ignore[arg-type]


def test_bfloat16_trains_too(tmp_path: Path) -> None:
    run_training(tmp_path, num_steps=5, precision="bf16", evaluation_interval=0)
    assert (tmp_path / "best" / "model.safetensors").exists()


def test_metrics_written_after_the_saved_state_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    writer = MetricsWriter(path, length=0)
    writer.write({"step": 1})
    length = writer.flush()
    writer.write({"step": 2})
    MetricsWriter(path, length=length).write({"step": 2, "again": True})
    assert read_metrics_lines(path) == [{"step": 1}, {"step": 2, "again": True}]


def test_a_metrics_file_that_lost_lines_is_refused(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    with pytest.raises(MetricsError, match="has 3 bytes, but 100 when the state was saved"):
        MetricsWriter(tmp_path / "metrics.jsonl", length=100)


def test_an_unknown_wandb_mode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MetricsError, match="wandb mode is 'on'; expected one of off, offline"):
        WandbWriter(mode="on", project="p", directory=tmp_path, config={})  # type: ignore[arg-type]


def test_wandb_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MetricsError, match="needs wandb, which is not installed; run `pip"):
        WandbWriter(mode="offline", project="p", directory=tmp_path, config={})


def test_wandb_offline_needs_no_account(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    program = (
        "import sys; from pathlib import Path\n"
        "from diffusion_controller.training import WandbWriter\n"
        "from tests.training.trainings import run_training\n"
        "directory = Path(sys.argv[1])\n"
        "writer = WandbWriter(mode='offline', project='p', directory=directory, config={})\n"
        "run_training(directory, wandb=writer, num_steps=10); writer.close()\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=120)
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))


_TWO_PROCESSES = """
import sys
from pathlib import Path
from typing import Any
import torch
torch.set_num_threads(1)
from tests.training.trainings import run_training
run_training(Path(sys.argv[1]), num_steps=12, batch_size=16, log_interval=1)
"""


def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    """The batch is shared between them: the losses agree with those of one process."""
    program = tmp_path / "program.py"
    program.write_text(_TWO_PROCESSES)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    repository = Path(__file__).parents[2]
    subprocess.run(
        [*launcher, "--nproc-per-node", "2", str(program), str(tmp_path / "two")],
        check=True,
        timeout=240,
        cwd=repository,
        env={"PYTHONPATH": str(repository), "PATH": "/usr/bin:/bin", "ACCELERATE_USE_CPU": "true"},
    )
    run_training(tmp_path / "one", num_steps=12, batch_size=16, log_interval=1)
    one, two = (
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    assert [line["step"] for line in two] == list(range(1, 13))
    assert [line["loss"] for line in two] == pytest.approx([line["loss"] for line in one], rel=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_compiled_network_learns_the_same(tmp_path: Path) -> None:
    run_training(tmp_path / "eager", num_steps=12, log_interval=1)
    run_training(tmp_path / "compiled", num_steps=12, log_interval=1, compile=True)
    eager, compiled = (
        [line["loss"] for line in read_metrics_lines(tmp_path / name / "metrics.jsonl")]
        for name in ("eager", "compiled")
    )
    assert compiled == pytest.approx(eager, rel=1e-4)
