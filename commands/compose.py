"""From the words of a command line to a checked configuration, or one line that says why not."""

import difflib
import re
from collections.abc import Sequence

from hydra import compose, initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from diffusion_controller.commands.errors import CommandError
from diffusion_controller.commands.table import Command

CONFIG_MODULE = "diffusion_controller.configs"

_KEY_AND_VALUE = re.compile(r"^\+{0,2}[A-Za-z_][\w./@:-]*(?<!:)=")


def compose_config(
    command: Command, words: Sequence[str], *, config_module: str = CONFIG_MODULE
) -> DictConfig:
    """Configuration of a command with the overrides that the user typed, complete and checked.

    Args:
        command: Its configuration file has the same name.
        words: Overrides in Hydra's grammar; the first may be the bare value of the command's
            positional key.
        config_module: Importable folder of YAML files.

    Raises:
        CommandError: A key is misspelt, a value has another type than its default, a word
            cannot be parsed, or a value that has no default was not given.
    """
    config, choices = compose_partly(command, words, config_module=config_module)
    overrides = [_parse(word) for word in expand_positional(command, words)]
    chosen = [o.input_line or "" for o in overrides if o.key_or_group in choices]
    defaults, _ = _compose(command, chosen, config_module) if overrides else (config, {})
    for override in overrides:
        if not (override.key_or_group in choices or override.is_add() or override.is_delete()):
            _match_type_of_default(command, override, config, defaults)
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        needs = " ".join(f"{key}=VALUE" for key in missing)
        raise CommandError(f"{command.title} needs {needs}; for instance: {command.example}")
    return config


def compose_partly(
    command: Command, words: Sequence[str], *, config_module: str = CONFIG_MODULE
) -> tuple[DictConfig, dict[str, str]]:
    """The configuration, in which values may be missing, and the option chosen in each group.

    Raises:
        CommandError: A key is misspelt or a word cannot be parsed.
    """
    overrides = expand_positional(command, words)
    for override in overrides:
        _parse(override)
    try:
        config, choices = _compose(command, overrides, config_module)
        OmegaConf.to_container(config, resolve=True)
        return config, choices
    except (HydraException, OmegaConfBaseException) as error:
        raise CommandError(_explain(command, error, config_module)) from error


def expand_positional(command: Command, words: Sequence[str]) -> list[str]:
    """The words as overrides: a first word without `=` becomes the positional key's value."""
    overrides = list(words)
    if overrides and command.positional and _is_bare(overrides[0]):
        text = overrides[0].replace("\\", "\\\\").replace("'", "\\'")
        overrides[0] = f"{command.positional}='{text}'"
    for word in overrides:
        if word.startswith("-"):
            hint = word.lstrip("-").split("=")[0] or "key"
            raise CommandError(f"unknown option {word!r}; options are written {hint}=VALUE")
        if _is_bare(word):
            raise CommandError(
                f"cannot use the word {word!r}; write key=value, see: {command.title} --help"
            )
    return overrides


def _is_bare(word: str) -> bool:
    """Whether a word is a value alone. A URL or a path may hold a `=` and still be one."""
    return not word.startswith(("~", "-")) and not _KEY_AND_VALUE.match(word)


def _parse(override: str) -> Override:
    try:
        parsed = OverridesParser.create().parse_override(override)
    except HydraException as error:
        key, _, value = override.partition("=")
        raise CommandError(
            f"cannot read {override!r} as key=value; special characters need quotes: "
            f"\"{key}='{value}'\""
        ) from error
    if parsed.is_sweep_override():
        raise CommandError(
            f"{override!r} gives several values at once; run the command once for each, "
            f"or write a list: {parsed.key_or_group}=[…]"
        )
    return parsed


def _compose(
    command: Command, overrides: Sequence[str], config_module: str
) -> tuple[DictConfig, dict[str, str]]:
    """The configuration without Hydra's own part, and the option chosen in each group."""
    with initialize_config_module(config_module, version_base="1.3"):
        full = compose(command.name, list(overrides), return_hydra_config=True)
    choices = {
        str(group): str(name)
        for group, name in full.hydra.runtime.choices.items()
        if not str(group).startswith("hydra/")
    }
    config = OmegaConf.masked_copy(full, [str(key) for key in full if key != "hydra"])
    OmegaConf.set_struct(config, True)
    return config, choices


def _match_type_of_default(
    command: Command, override: Override, config: DictConfig, defaults: DictConfig
) -> None:
    """Refuse a value of another type than the default; `1e5` may be an integer, `007` a text."""
    key = override.key_or_group
    if OmegaConf.is_missing(config, key):
        return
    value = OmegaConf.select(config, key)
    default = OmegaConf.select(defaults, key, throw_on_missing=False)
    if default is None or value is None:
        return
    if type(default) is int and type(value) is float and value.is_integer():
        OmegaConf.update(config, key, int(value))
        return
    if type(default) is float and type(value) is int:
        OmegaConf.update(config, key, float(value))
        return
    if isinstance(default, str) and isinstance(value, int | float):
        OmegaConf.update(config, key, (override.input_line or "").partition("=")[2])
        return
    if type(value) is not type(default):
        typed = (override.input_line or "").partition("=")[2]
        shown = str(default).lower() if isinstance(default, bool) else default
        raise CommandError(
            f"{command.title}: {key}={typed} is {_kind(value)}, expected {_kind(default)} "
            f"such as {shown}"
        )


def _kind(value: object) -> str:
    names: dict[type, str] = {
        bool: "true or false",
        int: "an integer",
        float: "a number",
        str: "a text",
        ListConfig: "a list",
        DictConfig: "a group of keys",
    }
    return names.get(type(value), type(value).__name__)


def _explain(command: Command, error: Exception, config_module: str) -> str:
    """One line for what Hydra says in several."""
    text = " ".join(str(error).split())
    unknown = re.match(r"(?:Could not override|Could not delete.*?) '([^']+)'", text)
    if unknown:
        return _explain_unknown_key(command, unknown.group(1), config_module)
    option = re.search(r"Could not find '(\S+)/([^/\s]+)' Available options in '\S+': (.*)", text)
    if option:
        group, name, options = option.groups()
        valid = options.split(" Config search path")[0].split()
        return f"{group}={name}: there is no such choice; valid are {', '.join(valid)}"
    return f"{command.title}: {text}"


def _explain_unknown_key(command: Command, key: str, config_module: str) -> str:
    config, choices = _compose(command, (), config_module)
    known = list(dict.fromkeys([*choices, *_keys(config)]))
    last = key.rsplit(".", 1)[-1]
    likeness = {
        name: max(
            difflib.SequenceMatcher(None, key, name).ratio(),
            difflib.SequenceMatcher(None, last, name.rsplit(".", 1)[-1]).ratio(),
        )
        for name in known
    }
    near = sorted((n for n in known if likeness[n] > 0.7), key=lambda n: -likeness[n])[:3]
    if near:
        return f"{command.title} has no key {key!r}; did you mean {' or '.join(near)}?"
    top = sorted({name.split(".")[0] for name in known})
    return f"{command.title} has no key {key!r}; valid keys are {', '.join(top)}"


def _keys(config: DictConfig, prefix: str = "") -> list[str]:
    """Every key of a configuration, nested ones with dots."""
    keys: list[str] = []
    for name in map(str, config):
        keys.append(prefix + name)
        node = None if OmegaConf.is_missing(config, name) else config[name]
        if isinstance(node, DictConfig):
            keys.extend(_keys(node, f"{prefix}{name}."))
    return keys
