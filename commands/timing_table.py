"""What `dpc timing` prints, for a person to understand at a glance."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from diffusion_controller.commands.timing_report import WORDS, TimingReport
from diffusion_controller.runtime import (
    QUANTILES,
    Judgement,
    Latencies,
    Measurement,
    Requirement,
    Swept,
    calls_for,
    in_ms,
    thread_variables,
)

_NAME_WIDTH = 34


def heading(
    requirement: Requirement, *, checkpoint: str, device: str, machine: Mapping[str, Any]
) -> list[str]:
    """What is measured against what."""
    is_busy = machine["load_average"] > 0.5 * machine["cores"]
    gpu = f"{machine['gpu']}, " if machine["gpu"] else ""
    busy = "; other work is running, which the figures include" if is_busy else ""
    return [
        f"{checkpoint} on {device} at {requirement.control_hz:g} Hz: from one observation to one "
        "chunk, both on the host",
        f"a control period is {in_ms(requirement.period)}, the {requirement.action_horizon} "
        f"actions of a chunk last {in_ms(requirement.chunk_period)}; "
        f"{100 * requirement.margin:.0f} % of it must be left at p99",
        f"{gpu}{machine['processor']}, {machine['cores']} cores, load average "
        f"{machine['load_average']:.1f}{busy}",
    ]


def tables(report: TimingReport) -> list[str]:
    """Everything that was found; the last line is the recommendation, to be copied."""
    return [
        *_threads_table(report.swept),
        *_latency_table(report.judgements, report.requirement),
        *_parts_table(report.judgements),
        *_verdict_table(report.judgements, report.requirement, report.swept.impossible),
        *_recommendation(report),
    ]


def _threads_table(swept: Swept) -> list[str]:
    """Which threads there were to choose from, and which were chosen."""
    if not swept.threads:
        return []
    lines = ["", f"{'threads, p90 [ms]':<{_NAME_WIDTH + 22}}   alone    busy"]
    last = ""
    for one in swept.threads:
        engine = f"{one.setting.engine} {one.setting.precision}"
        row = f"  {'' if engine == last else engine:<{_NAME_WIDTH - 2}}{one.setting.threads:<22}"
        for latencies in (one.alone, one.busy):
            row += f"{_ms(latencies.quantile('p90') if latencies else None):>8}"
        lines.append(row + ("  <- chosen" if one.setting in swept.chosen_threads else ""))
        last = engine
    return lines


def _latency_table(judgements: Sequence[Judgement], requirement: Requirement) -> list[str]:
    """Quantiles and missed deadlines of every setting."""
    columns = "".join(f"{name:>8}" for name in (*QUANTILES, "max"))
    late = f"   later than {in_ms(requirement.period)} / {in_ms(requirement.chunk_period)}"
    lines = ["", f"{'latency [ms]':<{_NAME_WIDTH + 11}}{columns}{late}"]
    few = set()
    for judgement in judgements:
        one = judgement.measurement
        names = iter((one.setting.name, f"  {one.setting.threads}"))
        for condition, latencies in _conditions(one):
            row = f"  {next(names, ''):<{_NAME_WIDTH - 2}}{condition:<11}"
            for name in QUANTILES:
                row += f"{_ms(latencies.quantile(name)):>8}"
                if latencies.quantile(name) is None:
                    few.add(name)
            missed = [latencies.later_than(limit) for limit in requirement.limits.values()]
            row += f"{_ms(latencies.max):>8}   {missed[0]} / {missed[1]} of {latencies.calls}"
            lines.append(row)
    if few:
        needed = ", ".join(f"{n} takes {calls_for(QUANTILES[n])}" for n in QUANTILES if n in few)
        lines.append(f"  – too few chunks for this quantile ({needed}): give more seconds=…")
    return lines


def _parts_table(judgements: Sequence[Judgement]) -> list[str]:
    """Where the time goes, what a start costs and how much memory it takes."""
    lines = [
        "",
        f"{'parts [ms], medians':<{_NAME_WIDTH}} copy in  encode      denoising  copy out    rest"
        "   whole   cold start   memory",
    ]
    for judgement in judgements:
        one = judgement.measurement
        row = f"  {one.setting.name:<{_NAME_WIDTH - 2}}"
        if one.parts is None:
            row += f"{'–':>8}{'–':>8}{'–':>15}{'–':>10}{'–':>8}{'–':>8}"
        else:
            parts = one.parts
            passes = f"{parts.num_inference_steps} × {_ms(parts.denoising_step)}"
            row += f"{_ms(parts.copy_in):>8}{_ms(parts.encode):>8}{passes:>15}"
            row += f"{_ms(parts.copy_out):>10}{_ms(parts.rest):>8}{_ms(parts.whole):>8}"
        row += f"{one.cold_start.total:>10.1f} s{one.peak_memory / 2**20:>6.0f} MiB"
        if one.peak_device_memory is not None:
            row += f", GPU {one.peak_device_memory / 2**20:.0f} MiB"
        lines.append(row)
    return lines


def _verdict_table(
    judgements: Sequence[Judgement],
    requirement: Requirement,
    impossible: Mapping[tuple[str, str], str],
) -> list[str]:
    """The settings in the order in which to choose them."""
    limits = [(1 - requirement.margin) * limit for limit in requirement.limits.values()]
    lines = [
        "",
        f"verdict at {requirement.control_hz:g} Hz: in time is p99 within {in_ms(limits[0])}, "
        f"with slack within {in_ms(limits[1])}",
    ]
    for place, judgement in enumerate(judgements, start=1):
        one, score = judgement.measurement, judgement.score
        row = (
            f"  {place:>2}. {WORDS[judgement.in_time]:<20}{one.setting.name:<{_NAME_WIDTH - 4}}"
            f"{one.worse.judged_by} {_ms(one.worse.judged):>6} ms"
        )
        if score is not None:
            row += (
                f"   score {score.mean:.3f} ({score.low:.3f} to {score.high:.3f}, "
                f"{score.starts} starts)"
            )
        lines.append(row)
    for (engine, precision), reason in impossible.items():
        lines.append(f"   –  not possible      {engine} {precision}: {reason}")
    return lines


def _recommendation(report: TimingReport) -> list[str]:
    if report.recommended is None:
        return [
            "",
            "no setting keeps this rate here; try fewer denoising steps "
            "(sweep.num_inference_steps=[2,4,8]), another engine or a smaller network",
        ]
    best = report.recommended.measurement
    variables = " ".join(f"{name}={v}" for name, v in thread_variables(best.setting).items())
    return [
        "",
        report.requirement.explain(best.worse.judged, by=best.worse.judged_by),
        f"Start Python with {variables}, then",
        report.call(best.setting),
    ]


def _conditions(one: Measurement) -> Iterator[tuple[str, Latencies]]:
    yield "alone", one.alone
    if one.busy is not None:
        yield "cores busy", one.busy
    if one.device_alone is not None:
        yield "GPU events", one.device_alone


def _ms(seconds: float | None) -> str:
    """In [ms] with a fixed number of digits; a dash where there is nothing to tell."""
    if seconds is None:
        return "–"
    milliseconds = 1e3 * seconds
    digits = 0 if abs(milliseconds) >= 100 else 1 if abs(milliseconds) >= 10 else 2
    return f"{milliseconds:.{digits}f}"
