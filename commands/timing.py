"""`dpc timing`: does this policy keep this control rate on this machine, and which setting does."""

import sys
from pathlib import Path

import torch
from omegaconf import DictConfig

from diffusion_controller.commands.errors import CommandError
from diffusion_controller.commands.json_file import write_json
from diffusion_controller.commands.report import describe_machine
from diffusion_controller.commands.timing_chart import Row, draw_timing
from diffusion_controller.commands.timing_report import TimingReport
from diffusion_controller.commands.timing_scores import known_scores, roll_out_scores
from diffusion_controller.commands.timing_settings import (
    command_of,
    effort_of,
    requirement_of,
    sweep_of,
)
from diffusion_controller.commands.timing_table import heading, tables
from diffusion_controller.policy import find_device, load_policy, resolve_checkpoint
from diffusion_controller.runtime import (
    Effort,
    Measurement,
    Setting,
    Sweep,
    Swept,
    judge,
    measure_in_new_process,
    run_sweep,
)

RESULT_NAME = "timing.json"
CHART_NAME = "timing.png"


def run(config: DictConfig) -> int:
    """Measure, print tables and a verdict, write JSON and plot.

    Returns:
        0 if a setting keeps the rate with the margin, 1 if none does.
    """
    out, device = Path(config.out), str(config.device)
    if (out / RESULT_NAME).exists():
        raise CommandError(f"{out} holds {RESULT_NAME} already; choose another folder: out=…")
    find_device(device)
    checkpoint = resolve_checkpoint(Path(str(config.policy)))
    policy = load_policy(checkpoint)
    requirement = requirement_of(config, action_horizon=policy.action_horizon)
    sweep, effort = sweep_of(config, policy), effort_of(config)
    machine = {**describe_machine(), "gpu": _name_of_gpu(device)}
    print(
        "\n".join(heading(requirement, checkpoint=str(checkpoint), device=device, machine=machine)),
        flush=True,
    )
    swept = _sweep(checkpoint, sweep, effort, device=device)
    if config.score:
        settings = [one.setting for one in swept.measurements]
        scores = roll_out_scores(checkpoint, settings, starts=config.score_starts, device=device)
    else:
        scores = known_scores(checkpoint, policy)
    report = TimingReport(
        command=command_of(config),
        checkpoint=str(checkpoint),
        device=device,
        requirement=requirement,
        accepts_slack=config.accept_slack,
        effort=effort,
        swept=swept,
        judgements=tuple(judge(swept.measurements, requirement, scores)),
        machine=machine,
    )
    write_json(out / RESULT_NAME, report.to_json())
    measured = [judgement.measurement for judgement in report.judgements]
    draw_timing(
        [
            Row(f"{one.setting.name}\n{one.setting.threads}", one.alone, one.busy)
            for one in measured
        ],
        requirement,
        out / CHART_NAME,
    )
    print(f"\nresult   {out / RESULT_NAME}\nplot     {out / CHART_NAME}")
    print("\n".join(tables(report)))
    return 0 if report.recommended else 1


def _sweep(checkpoint: Path, sweep: Sweep, effort: Effort, *, device: str) -> Swept:
    """Measure everything, and say on the error output what goes on: it takes minutes."""

    def measure(setting: Setting, effort: Effort) -> Measurement:
        print(f"timing {setting.name}, {setting.threads} …", file=sys.stderr, flush=True)
        return measure_in_new_process(checkpoint, setting, effort, device=device)

    return run_sweep(sweep, effort, measure)


def _row(one: Measurement) -> Row:
    return Row(f"{one.setting.name}\n{one.setting.threads}", one.alone, one.busy)


def _name_of_gpu(device: str) -> str | None:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else None
