"""What `dpc timing` found, as values and as JSON: times in [s], memory in [byte]."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from diffusion_controller.runtime import (
    Effort,
    InTime,
    Judgement,
    Latencies,
    Measurement,
    Requirement,
    Setting,
    Swept,
    thread_variables,
)
from diffusion_controller.runtime.evaluation_result import package_versions

FORMAT = 1
WORDS: Mapping[InTime, str] = {
    "synchronous": "in time",
    "slack": "in time with slack",
    "never": "too slow",
}
"""What is said of a setting, by the deadline that it keeps."""


@dataclass(frozen=True)
class TimingReport:
    """Everything that was found.

    Attributes:
        command: Makes it again.
        checkpoint: Where the policy lies.
        device: Where it computed.
        requirement: What it has to keep.
        accepts_slack: Whether a setting counts that is in time with slack only.
        effort: Spent on each setting.
        swept: What was measured.
        judgements: The settings in the order in which to choose them.
        machine: What it was measured on, described before it began.
    """

    command: str
    checkpoint: str
    device: str
    requirement: Requirement
    accepts_slack: bool
    effort: Effort
    swept: Swept
    judgements: tuple[Judgement, ...]
    machine: Mapping[str, Any]

    @property
    def recommended(self) -> Judgement | None:
        """The setting to use; None if none keeps the rate."""
        accepted = ("synchronous", "slack") if self.accepts_slack else ("synchronous",)
        return next((one for one in self.judgements if one.in_time in accepted), None)

    def call(self, setting: Setting) -> str:
        """The Python expression that loads the policy with a setting."""
        arguments = [
            f'"{self.checkpoint}"',
            f'sampler="{setting.sampler}"',
            f"num_inference_steps={setting.num_inference_steps}",
        ]
        others = {
            "device": (self.device, "cpu"),
            "engine": (setting.engine, "eager"),
            "precision": (setting.precision, "fp32"),
        }
        arguments += [f'{k}="{value}"' for k, (value, plain) in others.items() if value != plain]
        return f"load_policy({', '.join(arguments)})"

    def to_json(self) -> dict[str, Any]:
        """All of it but the single durations, of which it holds quantiles and histograms."""
        recommended = self.recommended.measurement.setting if self.recommended else None
        return {
            "format": FORMAT,
            "command": self.command,
            "checkpoint": self.checkpoint,
            "device": self.device,
            "requirement": {
                **asdict(self.requirement),
                "period": self.requirement.period,
                "chunk_period": self.requirement.chunk_period,
                "accepts_slack": self.accepts_slack,
            },
            "effort": asdict(self.effort),
            "recommended": recommended
            and {
                **asdict(recommended),
                "environment": thread_variables(recommended),
                "call": self.call(recommended),
            },
            "settings": [self._judgement_json(one) for one in self.judgements],
            "threads": [
                {
                    **asdict(one.setting),
                    "is_chosen": one.setting in self.swept.chosen_threads,
                    **self._latencies_json(one),
                }
                for one in self.swept.threads
            ],
            "impossible": [
                {"engine": engine, "precision": precision, "reason": reason}
                for (engine, precision), reason in self.swept.impossible.items()
            ],
            "machine": dict(self.machine),
            "versions": package_versions(),
        }

    def _judgement_json(self, judgement: Judgement) -> dict[str, Any]:
        one, parts = judgement.measurement, judgement.measurement.parts
        return {
            **asdict(one.setting),
            "in_time": judgement.in_time,
            "judged": one.worse.judged,
            "score": asdict(judgement.score) if judgement.score else None,
            **self._latencies_json(one),
            "cold_start": {**asdict(one.cold_start), "total": one.cold_start.total},
            "parts": {**asdict(parts), "rest": parts.rest} if parts else None,
            "peak_memory": one.peak_memory,
            "peak_device_memory": one.peak_device_memory,
        }

    def _latencies_json(self, one: Measurement) -> dict[str, Any]:
        found: Mapping[str, Latencies | None] = {
            "alone": one.alone,
            "busy": one.busy,
            "device_alone": one.device_alone,
        }
        limits = self.requirement.limits
        return {name: each.to_json(limits) if each else None for name, each in found.items()}
