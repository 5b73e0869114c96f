from pathlib import Path

import av
import numpy as np
import pytest

from diffusion_controller.runtime import (
    EvaluationResult,
    VideoError,
    evaluate_policy,
    rollout_video,
    write_rollouts,
)
from diffusion_controller.runtime.rollout_drawing import EpisodePainter, grid_shape, tile
from diffusion_controller.runtime.video import draw_rollouts, write_mp4
from tests.runtime.doubles import ScriptedPolicy

SEEDS = (100_000, 100_001, 100_002)


@pytest.fixture(scope="module")
def result() -> EvaluationResult:
    return evaluate_policy(ScriptedPolicy(), seeds=SEEDS, max_steps=20, traced_seeds=SEEDS[1:])


def test_only_the_episodes_asked_for_are_traced(result: EvaluationResult) -> None:
    assert [trace.seed for trace in result.traces] == list(SEEDS[1:])


def test_tracing_does_not_change_what_happens(result: EvaluationResult) -> None:
    untraced = evaluate_policy(ScriptedPolicy(), seeds=SEEDS, max_steps=20, num_workers=1)
    assert untraced.episodes == result.episodes
    assert untraced.traces == ()


def test_traces_from_workers_are_those_from_this_process(result: EvaluationResult) -> None:
    others = evaluate_policy(
        ScriptedPolicy(), seeds=SEEDS, max_steps=20, traced_seeds=SEEDS[1:], num_workers=2
    ).traces
    for here, there in zip(result.traces, others, strict=True):
        np.testing.assert_array_equal(here.states, there.states)
        np.testing.assert_array_equal(here.actions, there.actions)


def test_a_trace_agrees_with_the_result_and_the_chunks(result: EvaluationResult) -> None:
    for trace, episode in zip(result.traces, result.episodes[1:], strict=True):
        assert trace.states.shape == (21, 5)
        assert trace.actions.shape == (20, 2)
        assert trace.rewards.max() == episode.max_reward
        assert list(trace.chunks) == [0, 8, 16]
        for start, chunk in trace.chunks.items():
            executed = trace.actions[start : start + 8]
            np.testing.assert_allclose(executed, chunk[: len(executed)], atol=1e-4)


def test_a_video_holds_every_step_at_the_asked_speed(
    result: EvaluationResult, tmp_path: Path
) -> None:
    path = write_rollouts(result.traces, tmp_path / "new" / "rollouts.mp4", cell_size=96, speed=2.0)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == 20
        frames = sum(1 for _ in container.decode(video=0))
    assert frames == 21 + 30  # one and a half seconds of the last picture


def test_the_film_shows_the_episodes_of_the_evaluation(
    result: EvaluationResult, tmp_path: Path
) -> None:
    filmed = rollout_video(
        ScriptedPolicy(), SEEDS, tmp_path / "film.mp4", max_steps=20, cell_size=96
    )
    assert filmed.episodes == result.episodes
    assert (tmp_path / "film.mp4").stat().st_size > 0


def test_pictures_have_one_size_even_for_yuv420p(result: EvaluationResult) -> None:
    shapes = {frame.shape for frame in draw_rollouts(result.traces, cell_size=97)}
    assert len(shapes) == 1
    height, width, channels = shapes.pop()
    assert (height % 2, width % 2, channels) == (0, 0, 3)


def test_the_agent_is_drawn_where_it_is(result: EvaluationResult) -> None:
    trace = result.traces[0]
    picture = EpisodePainter(trace, size=512).draw(trace.actions.shape[0])[:512].astype(int)
    bluest = (picture[..., 2] - picture[..., 0]) > 60
    rows, columns = np.nonzero(bluest)
    near = np.hypot(columns - trace.states[-1, 0], rows - trace.states[-1, 1]) < 12
    assert near.sum() > 350  # of the 452 pixels of a disc of 12 px; the rest of it is trail


def test_a_finished_episode_keeps_its_last_picture_paler(result: EvaluationResult) -> None:
    painter = EpisodePainter(result.traces[0], size=128)
    last, later = painter.draw(20), painter.draw(200)
    np.testing.assert_array_equal(last, later)
    assert last[32:128].mean() > painter.draw(19)[32:128].mean()


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, (1, 1)), (2, (1, 2)), (4, (2, 2)), (6, (2, 3)), (8, (2, 4)), (9, (3, 3)), (10, (2, 5))],
)
def test_grids_are_full_and_wider_than_high(count: int, expected: tuple[int, int]) -> None:
    assert grid_shape(count) == expected


def test_every_picture_has_its_place_in_the_grid() -> None:
    pictures = [np.full((4, 6, 3), value, dtype=np.uint8) for value in range(5)]
    tiled = tile(pictures, gap=2)
    for value in range(5):
        assert (tiled == value).all(axis=-1).sum() == 24


def test_nothing_makes_no_video(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="at least one episode"):
        write_rollouts([], tmp_path / "none.mp4")
    with pytest.raises(VideoError, match="no frame"):
        write_mp4(iter(()), tmp_path / "none.mp4", frames_per_second=10.0)
    assert not (tmp_path / "none.mp4").exists()


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
def test_a_rate_that_is_not_positive_is_refused(tmp_path: Path, rate: float) -> None:
    with pytest.raises(VideoError, match="more than 0"):
        write_mp4(iter(()), tmp_path / "none.mp4", frames_per_second=rate)
