"""The demo from demonstrations to a report, with everything as small as it gets."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from diffusion_controller.commands.main import main
from diffusion_controller.commands.report import Contestant
from diffusion_controller.data import ArraySpec, ReplayBuffer
from diffusion_controller.envs import PushTSimulation, initial_state, keypoints_of_state
from diffusion_controller.runtime import EvaluationResult, Latencies, LatencyStatistics

TINY = [
    "num_threads=1",
    "policy.network.channels=[8,16]",
    "policy.num_inference_steps=2",
    "training.num_steps=4",
    "training.batch_size=8",
    "training.log_interval=2",
    "evaluation.num_workers=0",
    "starts=2",
    "filmed=2",
    "chunks_timed=3",
    "max_steps=24",
]
VOID = {"meta", "img", "source", "line", "circle"}


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short episodes in which the agent goes to the middle."""
    path = tmp_path_factory.mktemp("demos") / "walks.zarr"
    arrays = {"state": ArraySpec((5,)), "keypoint": ArraySpec((9, 2)), "action": ArraySpec((2,))}
    buffer = ReplayBuffer.create(path, arrays)
    for seed in range(3):
        simulation = PushTSimulation()
        simulation.set_state(initial_state(seed))
        states = []
        actions = np.linspace(simulation.state[:2], (256.0, 256.0), 20)
        for action in actions:
            states.append(simulation.state)
            simulation.step(action)
        state = np.stack(states).astype(np.float32)
        keypoint = np.stack([keypoints_of_state(s) for s in states]).astype(np.float32)
        action = actions.astype(np.float32)
        buffer.append_episode({"state": state, "keypoint": keypoint, "action": action}, seed=seed)
    return path


@pytest.fixture(scope="module")
def finished(demonstrations: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a demo that compares with the policy of another demo."""
    folder = tmp_path_factory.mktemp("demo")
    first, second = folder / "first", folder / "second"
    assert main(["demo", f"data={demonstrations}", f"out={first}", *TINY]) == 0
    shipped = f"shipped={first / 'training' / 'best'}"
    assert main(["demo", f"data={demonstrations}", f"out={second}", shipped, *TINY]) == 0
    return second


class TagBalance(HTMLParser):
    """Notes tags that are closed out of order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, tag
        assert self.open.pop() == tag


def test_the_folder_holds_report_films_charts_numbers_and_checkpoint(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names == {
        "report.html",
        "metrics.json",
        "training.png",
        "latency.png",
        "rollouts_trained.mp4",
        "rollouts_shipped.mp4",
        "training",
    }
    assert (finished / "training" / "best" / "model.safetensors").is_file()


def test_the_report_needs_nothing_but_itself(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    assert re.findall(r"https?://|<script|<link|@import", page) == []
    sources = re.findall(r'(?:src|srcset|href)="([^"]{0,30})', page)
    kinds = {source.split(";")[0] for source in sources}
    assert kinds == {"data:video/mp4", "data:image/png"}
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_the_report_is_well_formed(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    parser = TagBalance()
    parser.feed(re.sub(r"/>", ">", page))
    assert parser.open == []
    assert "$" not in re.sub(r'"data:[^"]*"', "", page)


def test_the_report_tells_the_numbers_of_the_json(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    metrics = json.loads((finished / "metrics.json").read_text())
    assert [policy["name"] for policy in metrics["policies"]] == ["trained just now", "shipped"]
    for policy in metrics["policies"]:
        result = policy["evaluation"]
        low, high = result["mean_score_interval"]
        assert f"<td>{result['mean_score']:.3f}<small>{low:.3f} to {high:.3f}" in page
        assert f"p99 {1e3 * policy['chunk_latency']['p99']:.1f} ms" in page
        assert result["seeds"] == [100000, 100001]
        assert len(policy["chunk_durations"]) == len(policy["chunk_durations_busy"]) == 3
    assert metrics["training"]["steps"] == 4
    assert f"{metrics['training']['windows']:,}" in page


def test_every_start_is_a_dot(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    assert len(re.findall(r'<circle class="series\d"', page)) == 2 * 2


def test_a_folder_with_a_demo_is_not_overwritten(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished / "report.html").read_bytes()
    assert main(["demo", f"out={finished}", *TINY]) == 2
    assert "holds a demo already; choose another folder" in capsys.readouterr().err
    assert (finished / "report.html").read_bytes() == before


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("starts=0", "starts=0; expected at least 1"),
        ("filmed=9", "filmed=9 of starts=2; film fewer"),
        ("shipped=nowhere", "no checkpoint at nowhere"),
        ("data=nowhere.zarr", "nowhere.zarr"),
    ],
)
def test_a_demo_that_cannot_work_is_refused_before_training(
    override: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", f"out={tmp_path / 'demo'}", *TINY, override]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize(
    ("busy", "verdict"),
    [
        (0.02, "In time for 10 Hz: a chunk is there within 20 ms (max)"),
        (0.09, "In time for 10 Hz only when planning goes on beside execution"),
        (0.9, "Too slow for 10 Hz here"),
    ],
)
def test_the_verdict_goes_by_the_busy_machine(busy: float, verdict: str) -> None:
    result = EvaluationResult(
        episodes=(),
        environment={"metadata": {"render_fps": 10}},
        policy={"action_horizon": 8},
        sampling_seed=0,
        training_episodes=None,
        batch_latency=LatencyStatistics.of([busy], batch_size=1),
        duration=0.0,
    )
    alone = Latencies((0.01,) * 5)
    contestant = Contestant("x", "x", "x", 1, result, alone, Latencies((busy,) * 5), Path("x.mp4"))
    assert contestant.verdict.startswith(verdict)
