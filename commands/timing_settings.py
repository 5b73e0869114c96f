"""Which settings `dpc timing` measures: its configuration, checked."""

import math
from collections.abc import Iterable
from typing import Any, get_args

from omegaconf import DictConfig, ListConfig

from diffusion_controller.commands.errors import CommandError
from diffusion_controller.commands.experiment import plain
from diffusion_controller.policy import ENGINES, SAMPLERS, DiffusionPolicy, Precision
from diffusion_controller.runtime import (
    WAIT_POLICIES,
    Effort,
    Requirement,
    Sweep,
    available_cores,
    other_cores,
    threads_to_try,
)

PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def requirement_of(config: DictConfig, *, action_horizon: int) -> Requirement:
    """What the policy has to keep.

    Raises:
        CommandError: If rate or margin are no numbers.
        TimingError: If no loop could run at that rate.
    """
    for key in ("control_hz", "margin"):
        if not _is_number(config[key]):
            raise CommandError(f"{key}={config[key]}; expected a number")
    return Requirement(float(config.control_hz), action_horizon, margin=float(config.margin))


def effort_of(config: DictConfig) -> Effort:
    """How long each setting is measured."""
    for key, least in (("calls", 1), ("score_starts", 1)):
        if config[key] < least:
            raise CommandError(f"{key}={config[key]}; expected at least {least}")
    for key in ("seconds", "rest_ms"):
        if not (math.isfinite(config[key]) and config[key] >= 0):
            raise CommandError(f"{key}={config[key]}; expected a finite number of at least 0")
    return Effort(
        calls=config.calls,
        seconds=config.seconds,
        rest=1e-3 * config.rest_ms,
        busy_cores=other_cores() if config.load else 0,
    )


def sweep_of(config: DictConfig, policy: DiffusionPolicy) -> Sweep:
    """All combinations to measure; every sampler with every number of steps is tried out.

    Args:
        config: Of the command.
        policy: With the checkpoint's own sampler, which it comes back with.

    Raises:
        CommandError: If a value is not among the valid ones.
        PolicyConfigError: If the policy cannot be sampled so.
        NoiseScheduleError: If it was not trained with that many timesteps.
    """
    is_cpu = str(config.device) == "cpu"
    cores = threads_to_try(available_cores()) if is_cpu else (1,)
    own = policy.sampler, policy.num_inference_steps
    precisions = _names(config, "precision", PRECISIONS, ("fp32",))
    sweep = Sweep(
        samplers=_names(config, "sampler", SAMPLERS, own[:1]),
        num_inference_steps=_counts(config, "num_inference_steps", own[1:]),
        engines=_names(config, "engine", ENGINES, ENGINES),
        precisions=tuple(known for known in PRECISIONS if known in precisions),
        num_threads=_counts(config, "num_threads", cores),
        wait_policies=_names(
            config, "wait_policy", WAIT_POLICIES, ("passive", "active")[: 2 if is_cpu else 1]
        ),
    )
    for sampler, steps in sweep.denoisings():
        policy.set_sampler(sampler, steps)
    policy.set_sampler(*own)
    return sweep


def _names(
    config: DictConfig, key: str, valid: Iterable[str], default: Iterable[str]
) -> tuple[str, ...]:
    """The values of a list of the sweep, which may be a single one."""
    names = _listed(config.sweep[key])
    unknown = [name for name in names if name not in set(valid)]
    if unknown:
        raise CommandError(
            f"sweep.{key} has {unknown[0]}; expected some of {', '.join(valid)}, for instance "
            f"sweep.{key}=[{','.join(default)}]"
        )
    return tuple(dict.fromkeys(map(str, names))) or tuple(default)


def _counts(config: DictConfig, key: str, default: Iterable[int]) -> tuple[int, ...]:
    numbers = _listed(config.sweep[key])
    wrong = [n for n in numbers if not isinstance(n, int) or isinstance(n, bool) or n < 1]
    if wrong:
        raise CommandError(f"sweep.{key} has {wrong[0]}; expected whole numbers of at least 1")
    return tuple(dict.fromkeys(numbers)) or tuple(default)


def _listed(value: object) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, ListConfig) else [value]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def command_of(config: DictConfig) -> str:
    """The command line that stands for a configuration, but for where its results go."""
    words = ["dpc timing"]
    for key, value in plain(config).items():
        nested = value if isinstance(value, dict) else {"": value}
        for name, leaf in nested.items():
            if leaf is None or key == "out":
                continue
            shown = str(leaf).lower() if isinstance(leaf, bool) else str(leaf)
            words.append(f"{key}.{name}={shown}" if name else f"{key}={shown}")
    return " ".join(word.replace(", ", ",").replace("'", "") for word in words)
