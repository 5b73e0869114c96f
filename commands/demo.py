"""`dpc demo`: the main job on what comes with the package, from demonstrations to a report."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

import diffusion_controller
from diffusion_controller.commands.charts import draw_training
from diffusion_controller.commands.errors import CommandError
from diffusion_controller.commands.evaluate import first_observation
from diffusion_controller.commands.experiment import (
    Demonstrations,
    load_demonstrations,
    make_policy,
)
from diffusion_controller.commands.json_file import write_json
from diffusion_controller.commands.report import Contestant, Report, Training
from diffusion_controller.commands.report_page import write_report
from diffusion_controller.commands.timing_chart import Row, draw_timing
from diffusion_controller.commands.train import provenance_of, settings_of
from diffusion_controller.data import EMBEDDED_DEMONSTRATIONS
from diffusion_controller.policy import DiffusionPolicy, load_policy, read_metrics
from diffusion_controller.runtime import (
    ChunkStopwatch,
    Effort,
    Latencies,
    LatencyStatistics,
    busy_cores,
    evaluate_policy,
    other_cores,
    repeated,
    write_rollouts,
)
from diffusion_controller.training import Run, TrainingSettings, read_metrics_lines, train

SHIPPED_CHECKPOINT = Path(diffusion_controller.__file__).parent / "checkpoints" / "pusht_keypoints"
REPORT_NAME = "report.html"


def run(config: DictConfig) -> int:
    """Learn, roll out, measure, report; prints where the report is."""
    out = Path(config.out)
    _check(config, out)
    if config.num_threads is not None:
        torch.set_num_threads(config.num_threads)
    if config.data is None:
        config.data = str(EMBEDDED_DEMONSTRATIONS)
    shipped = _load_shipped(config)
    demonstrations = load_demonstrations(config)
    policy = make_policy(config, demonstrations, encoder_weights=config.encoder_weights)

    print(f"1/3  learning from {len(demonstrations.episodes)} demonstrations")
    training = _learn(policy, demonstrations, config, out / "training")
    print(f"2/3  rolling out on {config.starts} starts that no demonstration began from")
    best = load_policy(out / "training" / "best", device=config.device)
    contestants = [_roll_out("trained just now", best, out / "training" / "best", config, out)]
    if shipped is not None:
        contestants.append(_roll_out("shipped", *shipped, config, out))

    print("3/3  writing the report")
    report = Report(training, tuple(contestants))
    write_json(out / "metrics.json", report.to_json())
    file = write_report(
        report,
        out / REPORT_NAME,
        training=draw_training(training.lines, out / "training.png"),
        latency=draw_timing(
            [Row(one.name, one.alone, one.busy) for one in contestants],
            contestants[0].requirement,
            out / "latency.png",
        ),
    )
    print("\n".join(["", *report.summary(), "", f"report   {file.resolve()}"]))
    return 0


def _load_shipped(config: DictConfig) -> tuple[DiffusionPolicy, Path] | None:
    """The policy to compare with and where it lies; None where this installation has none."""
    path = SHIPPED_CHECKPOINT if config.shipped is None else Path(config.shipped)
    if config.shipped is None and not path.is_dir():
        return None
    return load_policy(path, device=config.device), path


def _learn(
    policy: DiffusionPolicy, demonstrations: Demonstrations, config: DictConfig, directory: Path
) -> Training:
    """Train, and say what on and how long."""
    settings = TrainingSettings(**settings_of(config))
    directory.mkdir(parents=True)
    OmegaConf.save(config, directory / "config.yaml")
    began = time.monotonic()
    train(
        policy,
        demonstrations.training,
        settings,
        Run(
            directory=directory,
            provenance=provenance_of(config, demonstrations),
        ),
        validation=demonstrations.validation,
    )
    return Training(
        data=Path(str(config.data)).name,
        episodes=len(demonstrations.episodes),
        windows=len(demonstrations.training),
        is_mirrored=bool(config.task.mirror),
        steps=settings.num_steps,
        batch_size=settings.batch_size,
        parameters=sum(parameter.numel() for parameter in policy.parameters()),
        duration=time.monotonic() - began,
        lines=tuple(read_metrics_lines(directory / "metrics.jsonl")),
    )


def _roll_out(
    name: str, policy: DiffusionPolicy, checkpoint: Path, config: DictConfig, out: Path
) -> Contestant:
    """Score a policy, film it and time its chunks."""
    recorded: dict[str, Any] = read_metrics(checkpoint).get("training", {})
    seeds = range(config.first_seed, config.first_seed + config.starts)
    with tqdm(total=len(seeds), unit="episode", desc=name) as progress:

        def show(finished: int, _: int) -> None:
            progress.update(finished - progress.n)

        result = evaluate_policy(
            policy,
            seeds=seeds,
            env_id=config.task.env_id,
            max_steps=config.max_steps,
            num_workers=config.evaluation.num_workers,
            training_seeds=recorded.get("training_seeds") or (),
            training_episodes=recorded.get("training_episodes"),
            traced_seeds=seeds[: config.filmed],
            on_progress=show,
        )
    alone, busy = _time(policy, first_observation(result), calls=config.chunks_timed)
    slug = name.split()[0]
    return Contestant(
        name=name,
        checkpoint=str(checkpoint),
        data=str(recorded.get("data", "unknown")),
        parameters=sum(parameter.numel() for parameter in policy.parameters()),
        result=replace(result, chunk_latency=LatencyStatistics.of(alone.durations, batch_size=1)),
        alone=alone,
        busy=busy,
        video=write_rollouts(result.traces, out / f"rollouts_{slug}.mp4"),
    )


def _time(
    policy: DiffusionPolicy, observation: Mapping[str, Any], *, calls: int
) -> tuple[Latencies, Latencies]:
    """Latencies of chunks, alone and with the other cores busy, as `dpc timing` measures them."""
    stopwatch = ChunkStopwatch(policy, [repeated(observation, policy)])
    stopwatch.warm_up()
    alone = stopwatch.measure(calls=calls, rest=Effort.rest)
    with busy_cores(other_cores()):
        busy = stopwatch.measure(calls=calls, rest=Effort.rest)
    return Latencies(tuple(alone)), Latencies(tuple(busy))


def _check(config: DictConfig, out: Path) -> None:
    if (out / "training").exists() or (out / REPORT_NAME).exists():
        raise CommandError(f"{out} holds a demo already; choose another folder: out=…")
    for key in ("starts", "filmed", "chunks_timed"):
        if config[key] < 1:
            raise CommandError(f"{key}={config[key]}; expected at least 1")
    if config.max_steps is not None and config.max_steps < 1:
        raise CommandError(f"max_steps={config.max_steps}; expected at least 1")
    if config.filmed > config.starts:
        raise CommandError(f"filmed={config.filmed} of starts={config.starts}; film fewer")
    if config.first_seed < 0:
        raise CommandError(f"first_seed={config.first_seed}; expected 0 or more")
    if config.data is None and not EMBEDDED_DEMONSTRATIONS.exists():
        raise CommandError(
            f"no demonstrations at {EMBEDDED_DEMONSTRATIONS}; this installation is incomplete. "
            "Give your own: data=…"
        )
