"""The report of `dpc demo` as one HTML page that needs nothing else."""

import base64
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from diffusion_controller.commands.charts import Chart
from diffusion_controller.commands.report import Contestant, Report, describe_machine
from diffusion_controller.runtime.evaluation_result import package_versions

_TEMPLATE = "report.html"
_SCALE_WIDTH = 760.0  # of the score's scale in [px]
_MARGIN = 14.0
_DOTS_HEIGHT = 84.0
_BIN = 0.0125  # scores this close are stacked
_SUCCESS_COLUMNS = 5  # dots of score 1 stand side by side, right of the scale's end


def write_report(report: Report, path: Path, *, training: Chart, latency: Chart) -> Path:
    """Write the page.

    Args:
        report: What to tell.
        path: File to write.
        training: Chart of the training.
        latency: Chart of the chunks' latency.

    Returns:
        The file.
    """
    template = files("diffusion_controller.commands").joinpath(_TEMPLATE).read_text("utf-8")
    page = Template(template).substitute(
        headline=_headline(report),
        subline=_subline(report),
        videos="\n".join(map(_video, report.contestants)),
        scores=_scores(report.contestants),
        table=_table(report.contestants),
        training_facts=_facts(_training_facts(report)),
        training_chart=_picture(training, "Denoising loss over optimizer steps"),
        verdicts="\n".join(map(_verdict, report.contestants)),
        latency_chart=_picture(latency, "How long chunks take, against the control period"),
        checkpoint=escape(report.contestants[0].checkpoint),
        machine=_facts(_machine_facts()),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path


def _headline(report: Report) -> str:
    learned = report.contestants[0].result
    return (
        f"Learned from {report.training.episodes} demonstrations in "
        f"{_duration(report.training.duration)}, it pushes the T to a score of "
        f"<b>{learned.mean_score:.3f}</b>."
    )


def _subline(report: Report) -> str:
    first = report.contestants[0].result
    score, success = first.mean_score_interval, first.success_rate_interval
    text = (
        f"95 % interval {score.low:.3f} to {score.high:.3f}, over {len(first.episodes)} starts "
        "that no demonstration began from. "
        f"It succeeds in {100 * first.success_rate:.0f} % of them "
        f"({100 * success.low:.0f} to {100 * success.high:.0f} %)."
    )
    for other in report.contestants[1:]:
        score = other.result.mean_score_interval
        text += (
            f" The {escape(other.name)} policy reaches <b>{other.result.mean_score:.3f}</b> "
            f"({score.low:.3f} to {score.high:.3f}) on the same starts."
        )
    return text


def _video(contestant: Contestant) -> str:
    seeds = [trace.seed for trace in contestant.result.traces]
    return (
        f'<figure><video controls autoplay muted loop playsinline src="'
        f'{_data_uri(contestant.video.read_bytes(), "video/mp4")}"></video>'
        f"<figcaption><b>{escape(contestant.name.capitalize())}.</b> Seeds {seeds[0]} to "
        f"{seeds[-1]}, the first of the starts, not the best.</figcaption></figure>"
    )


def _scores(contestants: Iterable[Contestant]) -> str:
    """One dot per start on a scale from 0 to 1, with the mean and its interval below."""
    rows = list(contestants)
    row = _DOTS_HEIGHT + 42
    height = row * len(rows) + 26
    spacing = min(7.0, *(_DOTS_HEIGHT / _levels(contestant) for contestant in rows))
    width = 2 * _MARGIN + _SCALE_WIDTH + _SUCCESS_COLUMNS * spacing
    parts = [
        f'<svg class="scores" viewBox="0 0 {width:.0f} {height:.0f}" '
        'role="img" aria-label="Score of every start">'
    ]
    for index, contestant in enumerate(rows):
        parts += _score_row(contestant, spacing, index=index, top=index * row)
    for tick in range(0, 11, 2):
        x = _x(tick / 10)
        parts.append(f'<line class="tick" x1="{x}" x2="{x}" y1="0" y2="{row * len(rows)}"/>')
        parts.append(f'<text class="muted" x="{x}" y="{height - 6}">{tick / 10:.1f}</text>')
    return "".join([*parts, "</svg>"])


def _score_row(contestant: Contestant, spacing: float, *, index: int, top: float) -> list[str]:
    result = contestant.result
    base = top + _DOTS_HEIGHT + 6
    color, radius = f"series{index}", max(1.0, 0.43 * spacing)
    low, high = result.mean_score_interval
    mean, line = _x(result.mean_score), base + 12
    label = f"{contestant.name}: {result.mean_score:.3f}"
    return [
        *(
            f'<circle class="{color}" cx="{_x(place)}" '
            f'cy="{base - (level + 0.5) * spacing:.1f}" r="{radius:.1f}"/>'
            for place, level in _places(result.scores, spacing)
        ),
        f'<line class="axis" x1="{_x(0)}" x2="{_x(1)}" y1="{base}" y2="{base}"/>',
        f'<line class="interval {color}" x1="{_x(low)}" x2="{_x(high)}" y1="{line}" y2="{line}"/>',
        f'<circle class="mean {color}" cx="{mean}" cy="{line}" r="5.5"/>',
        f'<text x="{_x(0)}" dx="7" y="{top + 16}">{escape(label)}</text>',
    ]


def _places(scores: Sequence[float], spacing: float) -> Iterator[tuple[float, int]]:
    """Place on the scale and level of each dot; those of score 1 fill a block beyond its end."""
    stacks: Counter[int] = Counter()
    successes = 0
    for score in scores:
        if score >= 1:
            level, column = divmod(successes, _SUCCESS_COLUMNS)
            yield 1 + (column + 0.9) * spacing / _SCALE_WIDTH, level
            successes += 1
        else:
            bin_index = int(score / _BIN)
            yield (bin_index + 0.5) * _BIN, stacks[bin_index]
            stacks[bin_index] += 1


def _levels(contestant: Contestant) -> int:
    return 1 + max(level for _, level in _places(contestant.result.scores, 0.0))


def _x(score: float) -> str:
    return f"{_MARGIN + _SCALE_WIDTH * score:.1f}"


def _table(contestants: Iterable[Contestant]) -> str:
    rows = []
    for contestant in contestants:
        result, latency = contestant.result, contestant.latency
        score, success = result.mean_score_interval, result.success_rate_interval
        episodes = result.training_episodes
        rows.append(
            f"<tr><th>{escape(contestant.name)}</th>"
            f"<td>{result.mean_score:.3f}<small>{score.low:.3f} to {score.high:.3f}</small></td>"
            f"<td>{100 * result.success_rate:.0f} %<small>{100 * success.low:.0f} to "
            f"{100 * success.high:.0f} %</small></td>"
            f"<td>{episodes or 'unknown'}<small>{escape(contestant.data)}</small></td>"
            f"<td>{contestant.parameters / 1e6:.2f} M<small>{escape(result.policy['sampler'])}, "
            f"{result.policy['num_inference_steps']} steps</small></td>"
            f"<td>{1e3 * latency.p50:.1f} ms<small>p99 {1e3 * latency.p99:.1f} ms</small></td></tr>"
        )
    return "\n".join(rows)


def _training_facts(report: Report) -> list[tuple[str, str]]:
    training = report.training
    mirrored = ", mirror images included" if training.is_mirrored else ""
    samples = training.steps * training.batch_size
    return [
        ("Demonstrations", f"{training.episodes} episodes of {training.data}"),
        ("Windows", f"{training.windows:,}{mirrored}"),
        ("Optimizer steps", f"{training.steps:,} of {training.batch_size} windows"),
        ("Policy", f"{training.parameters / 1e6:.2f} M parameters"),
        (
            "Time",
            f"{_duration(training.duration)}, {samples / training.duration:,.0f} windows a second",
        ),
    ]


def _verdict(contestant: Contestant) -> str:
    name = escape(contestant.name.capitalize())
    return f"<p><b>{name}.</b> {escape(contestant.verdict)}</p>"


def _machine_facts() -> list[tuple[str, str]]:
    machine = describe_machine()
    versions = ", ".join(f"{name} {version}" for name, version in package_versions().items())
    return [
        ("Processor", f"{machine['processor']}, {machine['cores']} cores available"),
        (
            "Threads",
            f"{machine['torch_threads']} for the policy; load average of the last minute "
            f"{machine['load_average']:.1f}",
        ),
        ("System", machine["system"]),
        ("Versions", versions),
    ]


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)


def _picture(chart: Chart, description: str) -> str:
    light, dark = (_data_uri(png, "image/png") for png in (chart.light, chart.dark))
    return (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img src="{light}" alt="{escape(description)}"></picture>'
    )


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}\u00a0min\u00a0{rest}\u00a0s" if minutes else f"{rest}\u00a0s"
