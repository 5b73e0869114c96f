"""What `dpc --help` and `dpc <command> --help` print."""

import re
import textwrap
from collections.abc import Mapping, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable

from diffusion_controller.commands.table import COMMANDS, Command

_KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z_][\w.\-]*):(?:\s|$)")
_COMMENT = re.compile(r"(?:^|\s)#\s?(?P<text>.*)$")


def overview(commands: Sequence[Command] = COMMANDS) -> str:
    """All commands with one line each. Reads no file, imports nothing."""
    width = max(len(command.title) for command in commands)
    rows = [f"  {command.title:<{width}}  {command.summary}" for command in commands]
    return "\n".join(
        [
            "dpc learns a diffusion policy from demonstrations and runs it.",
            "",
            *rows,
            "",
            "Options are written key=value; `dpc <command> --help` lists them.",
            "DPC_DEBUG=1 shows the traceback of an error.",
        ]
    )


def command_help(command: Command, words: Sequence[str], *, config_module: str) -> str:
    """The keys of a command with their values and comments, its choices, and an example.

    Args:
        command: Which command.
        words: Overrides that the user typed before `--help`; the values shown include them.
        config_module: Importable folder of YAML files.
    """
    from omegaconf import DictConfig, OmegaConf

    from diffusion_controller.commands.compose import compose_partly

    config, choices = compose_partly(command, words, config_module=config_module)
    root = files(config_module)
    comments = _all_comments(command, choices, root)

    lines: list[tuple[str, str]] = []

    def collect(node: DictConfig, prefix: str, depth: int) -> None:
        for name in map(str, node):
            path = prefix + name
            missing = OmegaConf.is_missing(node, name)
            value = None if missing else node._get_node(name)
            indent = "  " * depth
            if isinstance(value, DictConfig) and len(value):
                lines.append((f"{indent}{path}:", comments.get(path, "")))
                collect(value, f"{path}.", depth + 1)
            else:
                shown = "VALUE (required)" if missing else _yaml_value(node, name)
                lines.append((f"{indent}{path}={shown}", comments.get(path, "")))

    collect(config, "", 1)
    parts = [f"{command.title}: {command.summary}", "", f"  {command.example}", ""]
    if command.positional:
        parts += [f"The first word may stand for {command.positional}=VALUE.", ""]
    parts += ["Keys and their values now:", *_two_columns(lines)]
    if choices:
        options = [
            (f"  {group}={'null' if name == 'None' else name}", _options(root, group))
            for group, name in choices.items()
        ]
        parts += ["", "Choices of several keys at once:", *_two_columns(options)]
    return "\n".join(parts)


def _yaml_value(node: object, name: str) -> str:
    from omegaconf import OmegaConf

    container = OmegaConf.to_container(node, resolve=False)
    value = container[name] if isinstance(container, dict) else None
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _two_columns(rows: Sequence[tuple[str, str]], *, width: int = 100) -> list[str]:
    left = min(max((len(key) for key, text in rows if text), default=0), 48)
    lines: list[str] = []
    for key, text in rows:
        if not text:
            lines.append(key)
            continue
        wrapped = textwrap.wrap(text, width - left - 2)
        first = f"{key:<{left}}  " if len(key) <= left else None
        if first is None:
            lines.append(key)
            lines += [" " * (left + 2) + part for part in wrapped]
        else:
            lines.append(first + wrapped[0])
            lines += [" " * (left + 2) + part for part in wrapped[1:]]
    return lines


def _options(root: Traversable, group: str) -> str:
    folder = root
    for part in group.split("@")[0].split("/"):
        folder = folder.joinpath(part)
    names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    return "one of " + ", ".join(n.removesuffix(".yaml") for n in names if n.endswith(".yaml"))


def _all_comments(
    command: Command, choices: Mapping[str, str], root: Traversable
) -> dict[str, str]:
    """Comments of the command's file and of every chosen file, by dotted key."""
    texts = {
        group: _texts(root.joinpath(*group.split("@")[0].split("/")), name)
        for group, name in choices.items()
    }
    comments: dict[str, str] = {}
    # a choice that makes choices of its own knows better what it chose them for: it comes last
    for group in sorted(texts, key=lambda group: any("\ndefaults:" in t for t in texts[group])):
        path, _, package = group.partition("@")
        for text in texts[group]:
            package = "" if "@package _global_" in text else package or path.replace("/", ".")
            prefix = "" if package in ("", "_global_") else f"{package}."
            found = comments_of_keys(text)
            comments.update({prefix + key: comment for key, comment in found.items()})
    own = root.joinpath(f"{command.name}.yaml").read_text(encoding="utf-8")
    return comments | comments_of_keys(own)


def _texts(folder: Traversable, name: str) -> list[str]:
    """The YAML text of a choice, after those of the choices of its folder that it builds on."""
    from omegaconf import OmegaConf

    entry = folder.joinpath(f"{name}.yaml")
    if not entry.is_file():
        return []
    text = entry.read_text(encoding="utf-8")
    defaults = OmegaConf.select(OmegaConf.create(text), "defaults", default=[])
    bases = [base for base in defaults if isinstance(base, str) and base != "_self_"]
    return [*(part for base in bases for part in _texts(folder, base)), text]


def comments_of_keys(text: str) -> dict[str, str]:
    """The comment of each key in a YAML text, by dotted key.

    A comment stands behind the key on its line, or on the lines directly above it.
    """
    comments: dict[str, str] = {}
    above: list[str] = []
    parents: list[tuple[int, str]] = []
    for line in text.splitlines():
        if line.strip().startswith("#"):
            above.append(line.strip().lstrip("#").strip())
            continue
        match = _KEY.match(line)
        if match:
            indent = len(match["indent"])
            parents = [(depth, name) for depth, name in parents if depth < indent]
            parents.append((indent, match["key"]))
            behind = _COMMENT.search(line[match.end() - 1 :])
            comment = behind["text"].strip() if behind else " ".join(above)
            if comment:
                comments[".".join(name for _, name in parents)] = comment
        above = []
    return comments
