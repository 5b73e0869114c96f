"""Building objects from configuration, only those on a list, and the way back."""

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from diffusion_controller import DiffusionControllerError

ALLOWED_TARGETS = (
    "diffusion_controller.policy.",
    "diffusers.DDIMScheduler",
    "diffusers.DDPMScheduler",
    "diffusers.DPMSolverMultistepScheduler",
    "diffusers.FlowMatchEulerDiscreteScheduler",
)
"""What a configuration may name as `_target_`; an entry that ends in a dot allows all below it."""


class BuildError(DiffusionControllerError, ValueError):
    """A configuration that does not describe an object."""


class ForbiddenTargetError(BuildError):
    """A configuration names something that it may not call."""


def build(
    config: Any, *, allow: Sequence[str] = (), injected: Mapping[str, Any] | None = None
) -> Any:
    """Build the object that a configuration describes.

    A mapping with the key `_target_` is a call of the class named there; its other keys are
    the constructor's keyword arguments, built likewise. The constructor's signature is the
    schema: a misspelt key fails and names itself.

    Args:
        config: Plain mappings, sequences and scalars, as YAML gives them.
        allow: Names, or prefixes that end in a dot, allowed besides `ALLOWED_TARGETS`.
        injected: Arguments of the outermost call that configuration cannot hold, such as a
            normalizer.

    Raises:
        ForbiddenTargetError: If a `_target_` is not on the list.
        BuildError: If there is no such target or its arguments do not fit.
    """
    if isinstance(config, Mapping):
        arguments = {str(key): build(value, allow=allow) for key, value in config.items()}
        target = arguments.pop("_target_", None)
        if target is None:
            return arguments
        return _call(str(target), {**arguments, **(injected or {})}, (*ALLOWED_TARGETS, *allow))
    if isinstance(config, Sequence) and not isinstance(config, str):
        return [build(value, allow=allow) for value in config]
    return config


def describe(item: Any, *, omit: Sequence[str] = ()) -> Any:
    """The configuration that `build` makes an equal object from, without its weights.

    An object is described by its class and its constructor's arguments, which it keeps as
    attributes of the same names; diffusers' schedulers keep them in their `config`.

    Args:
        item: An object, or a plain value, which describes itself.
        omit: Arguments of the outermost object to leave out: those to be injected.

    Raises:
        BuildError: If an argument was not kept.
    """
    if item is None or isinstance(item, str | int | float):
        return item
    if isinstance(item, Mapping | nn.ModuleDict):
        return {str(key): describe(value) for key, value in item.items()}
    if isinstance(item, Sequence):
        return [describe(value) for value in item]
    kept: Mapping[str, Any] = getattr(item, "config", None) or vars(item)
    described = {"_target_": _public_name(type(item))}
    for name in inspect.signature(type(item)).parameters:
        if name in omit:
            continue
        if name not in kept and not hasattr(item, name):
            raise BuildError(
                f"{type(item).__name__} does not keep its argument {name!r}; keep it as the "
                "attribute of that name, so that a checkpoint can say how it was built"
            )
        described[name] = describe(kept[name] if name in kept else getattr(item, name))
    return described


def _public_name(kind: type) -> str:
    """The shortest dotted name that a class can be imported by."""
    parts = kind.__module__.split(".")
    for length in range(1, len(parts)):
        package = ".".join(parts[:length])
        if getattr(importlib.import_module(package), kind.__name__, None) is kind:
            return f"{package}.{kind.__name__}"
    return f"{kind.__module__}.{kind.__name__}"


def _call(target: str, arguments: dict[str, Any], allowed: Sequence[str]) -> Any:
    if not any(
        target == entry or (entry[-1] == "." and target.startswith(entry)) for entry in allowed
    ):
        raise ForbiddenTargetError(
            f"_target_ is {target!r}; a configuration may only build {', '.join(allowed)}; "
            "if you trust it, pass the name in `allow`"
        )
    module_name, _, name = target.rpartition(".")
    try:
        factory: Callable[..., Any] = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise BuildError(f"_target_ is {target!r}, which does not exist: {error}") from error
    if not inspect.isclass(factory):
        raise ForbiddenTargetError(f"_target_ is {target!r}, which is not a class")
    _check_arguments(target, factory, arguments)
    try:
        return factory(**arguments)
    except DiffusionControllerError:
        raise
    except Exception as error:  # of any kind: the class is somebody else's
        raise BuildError(
            f"{target} cannot be built with {', '.join(arguments)}: {error}; check their values"
        ) from error


def _check_arguments(target: str, factory: Callable[..., Any], arguments: dict[str, Any]) -> None:
    parameters = inspect.signature(factory).parameters
    unknown = [name for name in arguments if name not in parameters]
    if unknown:
        near = difflib.get_close_matches(unknown[0], parameters, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(parameters)}"
        raise BuildError(f"{target} has no argument {unknown[0]!r}; {hint}")
    missing = [
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty and name not in arguments
    ]
    if missing:
        raise BuildError(f"{target} needs {', '.join(missing)}; add it to the configuration")
