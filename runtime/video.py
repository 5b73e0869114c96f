"""Videos of Push-T rollouts, several episodes side by side."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

from diffusion_controller import DiffusionControllerError
from diffusion_controller.envs import PUSHT_ENV_ID
from diffusion_controller.envs.pusht import CONTROL_HZ
from diffusion_controller.runtime.canvas import Frame
from diffusion_controller.runtime.chunk_policy import ChunkPolicy
from diffusion_controller.runtime.episode_slots import EpisodeTrace
from diffusion_controller.runtime.evaluation import DEFAULT_BATCH_SIZE, evaluate_policy
from diffusion_controller.runtime.evaluation_result import EvaluationResult
from diffusion_controller.runtime.rollout_drawing import EpisodePainter, tile

DEFAULT_CELL_SIZE = 320
DEFAULT_SPEED = 2.0
HOLD_SECONDS = 1.5
"""How long the last picture stays."""


class VideoError(DiffusionControllerError, ValueError):
    """A video that cannot be made."""


def rollout_video(
    policy: ChunkPolicy,
    seeds: Sequence[int],
    path: str | Path,
    *,
    env_arguments: Mapping[str, Any] | None = None,
    max_steps: int | None = None,
    batch_size: int = DEFAULT_BATCH_SIZE,
    sampling_seed: int = 0,
    cell_size: int = DEFAULT_CELL_SIZE,
    speed: float = DEFAULT_SPEED,
) -> EvaluationResult:
    """Roll a policy out on Push-T from each seed and film it.

    With the same batch size and sampling seed these are the very episodes that `evaluate_policy`
    plays.

    Args:
        policy: What is filmed.
        seeds: Seeds of the starts, one picture each.
        path: File to write, `.mp4`.
        env_arguments: How to make the environment; None chooses what the policy reads.
        max_steps: Actions per episode; None for the registered number.
        batch_size: As in `evaluate_policy`.
        sampling_seed: As in `evaluate_policy`.
        cell_size: Side of each scene in [px].
        speed: How many times faster than real.

    Returns:
        How the episodes went.
    """
    result = evaluate_policy(
        policy,
        seeds=seeds,
        env_id=PUSHT_ENV_ID,
        env_arguments=env_arguments,
        max_steps=max_steps,
        batch_size=batch_size,
        sampling_seed=sampling_seed,
        traced_seeds=seeds,
    )
    write_rollouts(result.traces, path, cell_size=cell_size, speed=speed)
    return result


def write_rollouts(
    traces: Sequence[EpisodeTrace],
    path: str | Path,
    *,
    cell_size: int = DEFAULT_CELL_SIZE,
    speed: float = DEFAULT_SPEED,
) -> Path:
    """Film traced Push-T episodes; those that end sooner hold their last picture.

    Args:
        traces: At least one.
        path: File to write, `.mp4`.
        cell_size: Side of each scene in [px].
        speed: How many times faster than real.

    Returns:
        The file.

    Raises:
        VideoError: If there is nothing to film, or something that is not Push-T.
    """
    frames_per_second = CONTROL_HZ * speed
    hold = round(HOLD_SECONDS * frames_per_second)
    frames = draw_rollouts(traces, cell_size=cell_size, hold=hold)
    return write_mp4(frames, path, frames_per_second=frames_per_second)


def draw_rollouts(
    traces: Sequence[EpisodeTrace], *, cell_size: int = DEFAULT_CELL_SIZE, hold: int = 0
) -> Iterator[Frame]:
    """The pictures of the video, one per control period.

    Args:
        traces: At least one.
        cell_size: Side of each scene in [px].
        hold: How many times the last picture is repeated.

    Raises:
        VideoError: If there is nothing to draw, or something that is not Push-T.
    """
    if not traces or any(trace.states.shape[1:] != (5,) for trace in traces):
        shapes = [trace.states.shape for trace in traces]
        raise VideoError(
            f"states of shapes {shapes} cannot be drawn; expected at least one episode of Push-T, "
            "of shape (steps + 1, 5)"
        )
    painters = [EpisodePainter(trace, size=cell_size) for trace in traces]
    last = max(painter.num_steps for painter in painters)
    for step in range(last + 1):
        frame = tile([painter.draw(step) for painter in painters])
        yield frame
    for _ in range(hold):
        yield frame


def write_mp4(frames: Iterable[Frame], path: str | Path, *, frames_per_second: float) -> Path:
    """H.264 in MP4, as every browser plays it.

    Args:
        frames: Of one size; height and width even. At least one.
        path: File to write; its folder is made if need be.
        frames_per_second: Positive.

    Returns:
        The file.

    Raises:
        VideoError: If there is no frame or the rate is not positive.
    """
    import av  # loads FFmpeg

    if not frames_per_second > 0:
        raise VideoError(f"{frames_per_second} frames per second; expected more than 0")
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    rate = Fraction(frames_per_second).limit_denominator(1000)
    pictures = iter(frames)
    first = next(pictures, None)
    if first is None:
        raise VideoError(f"there is no frame to write to {file}; expected at least one")
    with av.open(str(file), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "20"})
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuv420p"
        for picture in chain([first], pictures):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return file
