"""Measuring settings of a policy, each in a process of its own that starts from nothing."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffusion_controller.runtime.timing import (
    ColdStart,
    Latencies,
    Measurement,
    Parts,
    Setting,
    TimingError,
)
from diffusion_controller.runtime.timing_verdict import best_threads

if TYPE_CHECKING:
    from diffusion_controller.policy import Precision

PROBE = "diffusion_controller.runtime.timing_probe"
ON_PYTORCH_THREADS = ("eager", "compiled", "cuda_graph")
WAIT_POLICIES = ("passive", "active", "default")


class SettingError(TimingError):
    """A setting that is not possible for this policy, on this device or in this installation."""


@dataclass(frozen=True)
class Effort:
    """How long to measure a setting.

    Attributes:
        calls: Chunks at most, alone and busy each.
        seconds: Time for them, likewise.
        rest: Pause before each chunk in [s].
        busy_cores: Processes that spin beside it in the second half; 0: there is none.
    """

    calls: int = 2000
    seconds: float = 15.0
    rest: float = 0.05
    busy_cores: int = 0


@dataclass(frozen=True)
class Sweep:
    """Which settings to measure: all combinations.

    Attributes:
        samplers: Names of samplers.
        num_inference_steps: Denoising steps per chunk.
        engines: Names of engines.
        precisions: Precisions of the network's arithmetic.
        num_threads: CPU threads of the policy, to choose from.
        wait_policies: Of these threads, to choose from; see `Setting`.
    """

    samplers: tuple[str, ...]
    num_inference_steps: tuple[int, ...]
    engines: tuple[str, ...]
    precisions: tuple["Precision", ...]
    num_threads: tuple[int, ...]
    wait_policies: tuple[str, ...]

    def threads(self) -> Iterator[tuple[int, str]]:
        """Threads and wait policies; a single thread waits for nobody, so it occurs once."""
        for threads in self.num_threads:
            for wait_policy in self.wait_policies[:1] if threads == 1 else self.wait_policies:
                yield threads, wait_policy

    def denoisings(self) -> Iterator[tuple[str, int]]:
        """Samplers and denoising steps."""
        for sampler in self.samplers:
            for steps in self.num_inference_steps:
                yield sampler, steps


@dataclass(frozen=True)
class Swept:
    """What a sweep found.

    Attributes:
        measurements: One per setting that is possible, with its threads chosen.
        threads: What these were chosen from; empty where there was no choice.
        chosen_threads: Those of `threads` that were chosen.
        impossible: Engine and precision to the reason why they are not possible.
    """

    measurements: tuple[Measurement, ...]
    threads: tuple[Measurement, ...]
    chosen_threads: tuple[Setting, ...]
    impossible: Mapping[tuple[str, str], str]


Measure = Callable[[Setting, Effort], Measurement]
"""Measures one setting; raises `SettingError` where it is not possible."""


def run_sweep(sweep: Sweep, effort: Effort, measure: Measure, *, part: float = 0.25) -> Swept:
    """Choose the threads of each engine and precision, then measure all settings with them.

    The threads are chosen with the first sampler and number of steps, and once for all engines
    that compute on PyTorch's threads: compiling takes a minute or more.

    Args:
        sweep: Which settings.
        effort: For each of them.
        measure: Does it.
        part: Of that effort, to spend on each choice of threads.

    Raises:
        SettingError: If no setting is possible.
    """
    tried: list[Measurement] = []
    chosen: dict[tuple[bool, str], Setting] = {}
    measurements: list[Measurement] = []
    impossible: dict[tuple[str, str], str] = {}
    brief = replace(effort, seconds=part * effort.seconds)
    for engine in sweep.engines:
        for precision in sweep.precisions:
            sampler, steps = next(sweep.denoisings())
            options = [Setting(sampler, steps, engine, precision, *t) for t in sweep.threads()]
            kind = engine in ON_PYTORCH_THREADS, precision
            try:
                if len(options) > 1 and kind not in chosen:
                    found = [measure(option, brief) for option in options]
                    tried += found
                    chosen[kind] = best_threads(found)
                best = replace(chosen.get(kind, options[0]), engine=engine)
                for sampler, steps in sweep.denoisings():
                    one = replace(best, sampler=sampler, num_inference_steps=steps)
                    measurements.append(measure(one, effort))
            except SettingError as error:
                impossible[engine, precision] = str(error)
    if not measurements:
        raise SettingError("; ".join(dict.fromkeys(impossible.values())))
    return Swept(tuple(measurements), tuple(tried), tuple(chosen.values()), impossible)


def measure_in_new_process(
    checkpoint: Path, setting: Setting, effort: Effort, *, device: str
) -> Measurement:
    """Start a process with the setting's threads, let it load the policy and time its chunks.

    The wait policy has to stand in the environment before torch loads, and a cold start and a
    peak of memory are those of a whole process.

    Raises:
        SettingError: If the policy cannot be loaded with the setting.
        TimingError: If the process ended without an answer.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        order = {
            "checkpoint": str(checkpoint),
            "device": device,
            "setting": asdict(setting),
            "effort": asdict(effort),
            "answer": str(answer),
            "began": time.monotonic(),
        }
        done = subprocess.run(
            [sys.executable, "-m", PROBE],
            input=json.dumps(order),
            text=True,
            capture_output=True,
            check=False,
            env=environment_of(setting, os.environ),
        )
        if not answer.is_file():
            last = (done.stderr.strip().splitlines() or ["nothing on its error output"])[-1]
            raise TimingError(
                f"timing {setting.name} ended with exit code {done.returncode} and no answer "
                f"({last}); is the memory full? Leave this setting out"
            )
        return _measurement(setting, json.loads(answer.read_text(encoding="utf-8")))


def environment_of(setting: Setting, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with the variables that give a process the setting's threads."""
    changed = dict(environment)
    changed.update(thread_variables(setting))
    if setting.wait_policy == "default":
        changed.pop("OMP_WAIT_POLICY", None)
    return changed


def thread_variables(setting: Setting) -> dict[str, str]:
    """Variables to set before Python starts, by name."""
    variables = {"OMP_NUM_THREADS": str(setting.num_threads)}
    if setting.wait_policy != "default":
        variables["OMP_WAIT_POLICY"] = setting.wait_policy.upper()
    return variables


def threads_to_try(cores: int) -> tuple[int, ...]:
    """Powers of two below the number of cores, and that number."""
    powers = [2**power for power in range(cores.bit_length()) if 2**power < cores]
    return (*powers, cores)


def _measurement(setting: Setting, answer: Mapping[str, Any]) -> Measurement:
    if "error" in answer:
        raise SettingError(str(answer["error"]))

    def latencies(name: str) -> Latencies | None:
        durations: Sequence[float] | None = answer[name]
        return Latencies(tuple(durations)) if durations else None

    alone = latencies("alone")
    if alone is None:
        raise TimingError(f"timing {setting.name} measured no chunk; give it more seconds")
    start = answer["cold_start"]
    return Measurement(
        setting=setting,
        alone=alone,
        busy=latencies("busy"),
        cold_start=ColdStart(**{**start, "warm_up": tuple(start["warm_up"])}),
        parts=Parts(**answer["parts"]) if answer["parts"] else None,
        peak_memory=answer["peak_memory"],
        peak_device_memory=answer["peak_device_memory"],
        device_alone=latencies("device_alone"),
    )
