"""From the configuration of an experiment to demonstrations and a policy."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from diffusion_controller.commands.errors import CommandError
from diffusion_controller.commands.image_place import choose_place, explain_place
from diffusion_controller.data import (
    ArrayField,
    Normalizer,
    ReplayBuffer,
    WindowDataset,
    load_windows,
    split_episodes,
)
from diffusion_controller.envs import MIRROR_TRANSFORMS
from diffusion_controller.policy import DiffusionPolicy, build, load_resnet18_weights

if TYPE_CHECKING:
    from diffusion_controller.data import Mode


@dataclass(frozen=True)
class Demonstrations:
    """What an experiment learns from.

    Attributes:
        training: Windows to train on, with their mirror images if asked for.
        validation: Windows of the episodes held out; None if there are none.
        episodes: The training episodes.
        seeds: Seeds that the training episodes began from, as far as known.
        control_hz: Rate of the recording in [Hz]; None if not recorded.
        notes: What is worth knowing about how they were read, a line each.
    """

    training: WindowDataset
    validation: WindowDataset | None
    episodes: tuple[int, ...]
    seeds: tuple[int, ...]
    control_hz: float | None
    notes: tuple[str, ...] = ()


def load_demonstrations(config: DictConfig) -> Demonstrations:
    """Read the demonstrations that `config.data` and `config.task` describe.

    Raises:
        CommandError: `config.images_from` is not a place.
    """
    task, policy = config.task, config.policy
    fields = {str(name): _field(field) for name, field in task.observations.items()}
    buffer = ReplayBuffer.open(config.data)
    split = split_episodes(
        buffer.num_episodes,
        validation_fraction=config.validation_fraction,
        max_train_episodes=config.episodes,
        seed=config.training.seed,
    )
    place = choose_place(
        config.get("images_from", "auto"),  # runs of before have no such key
        buffer,
        fields,
        episodes=(*split.train, *split.validation),
    )

    def windows(episodes: tuple[int, ...]) -> WindowDataset:
        return load_windows(
            buffer,
            fields,
            _field(task.action),
            horizon=policy.horizon,
            obs_horizon=policy.obs_horizon,
            action_horizon=policy.action_horizon,
            episodes=episodes,
            images_in_memory=place.in_memory,
        )

    start = time.perf_counter()
    training = windows(split.train)
    validation = windows(split.validation) if split.validation else None
    duration = time.perf_counter() - start
    if task.mirror:
        training = training.with_transformed_copy(MIRROR_TRANSFORMS)
    recorded = buffer.metadata.get("seeds")
    if recorded is None and task.demonstration_seeds is not None:
        first, last = task.demonstration_seeds
        recorded = range(first, last + 1)
    return Demonstrations(
        training=training,
        validation=validation,
        episodes=split.train,
        seeds=tuple(int(recorded[e]) for e in split.train if e < len(recorded)) if recorded else (),
        control_hz=buffer.metadata.get("control_hz"),
        notes=tuple(explain_place(place, buffer, fields, url=str(config.data), duration=duration)),
    )


def make_policy(
    config: DictConfig, demonstrations: Demonstrations, *, encoder_weights: str | None = None
) -> DiffusionPolicy:
    """An untrained policy, its weights drawn from the training's seed, on the device asked for.

    Those of its encoders of images come from the file `encoder_weights`, if one is given.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        normalizer = fit_normalizer(config.task.normalization, demonstrations.training)
        policy = build(plain(config.policy), injected={"normalizer": normalizer})
    if not isinstance(policy, DiffusionPolicy):
        raise CommandError(
            f"policy._target_ makes a {type(policy).__name__}; expected a DiffusionPolicy"
        )
    _check_shapes(policy, demonstrations.training)
    if encoder_weights is not None:
        load_resnet18_weights(policy, encoder_weights)
    return policy.to(config.device)


def _check_shapes(policy: DiffusionPolicy, windows: WindowDataset) -> None:
    """Refuse an encoder that was described for other observations than were recorded."""
    for name, shape in policy.observation_shapes.items():
        recorded: Any = {**windows.observations, **windows.images}[name]
        found = tuple(recorded.shape[1:])
        if found != shape:
            raise CommandError(
                f"the encoder reads {name} of shape {shape}; in the demonstrations it has shape "
                f"{found}; describe it so under policy.encoder"
            )


def fit_normalizer(normalization: DictConfig, windows: WindowDataset) -> Normalizer:
    """Fit what the experiment says about each observation and the action."""
    arrays = {name: values.numpy() for name, values in windows.observations.items()}
    arrays["action"] = windows.actions.numpy()
    known = {*arrays, *windows.images}
    unknown = sorted(set(map(str, normalization)) - known)
    if unknown:
        raise CommandError(
            f"task.normalization has {', '.join(unknown)}; expected {', '.join(sorted(known))}"
        )
    modes: dict[str, Mode] = {str(name): entry.mode for name, entry in normalization.items()}
    ranges = {}
    for name, entry in normalization.items():
        is_image = str(name) in windows.images  # one map for all pixels and colours
        if is_image and entry.mode != "identity" and entry.range is None:
            raise CommandError(
                f"task.normalization.{name!s} is {entry.mode} without a range; images need "
                "mode: min_max and a range, such as [0, 255]"
            )
        if entry.range is not None:
            shape = () if is_image else arrays[str(name)].shape[1:]
            low, high = entry.range
            ranges[str(name)] = (np.full(shape, low), np.full(shape, high))
    return Normalizer.fit(arrays, modes, ranges)


def plain(config: DictConfig) -> dict[str, Any]:
    """A configuration as plain mappings and lists, every reference resolved."""
    container = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    if not isinstance(container, dict):
        raise CommandError(f"expected a table in the configuration, found {container!r}")
    return {str(key): value for key, value in container.items()}


def _field(config: Mapping[str, Any]) -> ArrayField:
    channels = config["channels"]
    return ArrayField(config["array"], None if channels is None else tuple(channels))
