"""The rooms import each other in one direction only, and nothing heavy or unsafe where it harms."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import diffusion_controller

PACKAGE = Path(diffusion_controller.__file__).parent
REPOSITORY = Path(__file__).parent.parent

ROOMS = ("data", "envs", "robots", "policy", "runtime", "training", "commands")
MAY_IMPORT = {
    "data": set[str](),
    "envs": set[str](),
    "robots": set[str](),
    "policy": {"data"},
    "runtime": {"policy", "data", "envs", "robots"},
    "training": {"runtime", "policy", "data"},
    "commands": set(ROOMS),
}
UNPICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


@dataclass(frozen=True)
class Import:
    """One imported module, with the place where it stands."""

    module: str
    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file.relative_to(PACKAGE)}:{self.line} imports {self.module}"


def sources(room: str) -> list[Path]:
    return sorted((PACKAGE / room).rglob("*.py"))


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports_of(path: Path) -> Iterator[Import]:
    """Every import of a file, those within functions and under TYPE_CHECKING too."""
    folders = path.relative_to(PACKAGE.parent).parent.parts if PACKAGE in path.parents else ()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield Import(name.name, path, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = folders[: len(folders) - node.level + 1] if node.level else ()
            module = ".".join([*base, *filter(None, [node.module])])
            yield Import(module, path, node.lineno)
            for name in node.names if module == "diffusion_controller" else ():
                yield Import(f"{module}.{name.name}", path, node.lineno)


def room_of(module: str) -> str | None:
    parts = module.split(".")
    is_room = parts[0] == "diffusion_controller" and len(parts) > 1 and parts[1] in ROOMS
    return parts[1] if is_room else None


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_the_rooms_before_it(room: str) -> None:
    allowed = {room, None} | MAY_IMPORT[room]
    broken = [
        str(found)
        for path in sources(room)
        for found in imports_of(path)
        if room_of(found.module) not in allowed
    ]
    assert not broken, f"{room} may import {sorted(MAY_IMPORT[room])}: {broken}"


def test_an_import_from_the_package_itself_is_seen_as_a_room(tmp_path: Path) -> None:
    file = tmp_path / "wrong.py"
    file.write_text("def f():\n    from diffusion_controller import training\n")
    assert [room_of(found.module) for found in imports_of(file)] == [None, "training"]


@pytest.mark.parametrize("room", ["envs", "robots"])
def test_a_robot_or_an_environment_needs_no_torch(room: str) -> None:
    broken = [
        str(found)
        for path in sources(room)
        for found in imports_of(path)
        if found.module.split(".")[0] in {"torch", "torchvision", "diffusers", "accelerate"}
    ]
    assert not broken, broken


def test_only_training_windows_need_torch_in_the_data_room() -> None:
    users = {
        str(path.relative_to(PACKAGE))
        for path in sources("data")
        for found in imports_of(path)
        if found.module.split(".")[0] == "torch"
    }
    assert users <= {"data/images.py", "data/window_loading.py", "data/windows.py"}


@pytest.mark.parametrize("module", ["data", "envs", "robots", "commands.main"])
def test_importing_a_light_room_does_not_import_torch(module: str) -> None:
    program = f"import sys, diffusion_controller.{module}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from diffusion_controller.commands.main import main\n"
        "status = main(['--help'])\n"
        "heavy = {'torch', 'wandb', 'hydra', 'omegaconf', 'matplotlib', 'numpy', 'zarr', 'cv2'}\n"
        "found = heavy & set(sys.modules)\n"
        "sys.exit(f'imported {found}' if found else status)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("room", ROOMS)
def test_nothing_imports_an_unpickler(room: str) -> None:
    broken = [
        str(found)
        for path in sources(room)
        for found in imports_of(path)
        if found.module.split(".")[0] in UNPICKLERS
    ]
    assert not broken, broken


def unsafe_loads(tree: ast.Module) -> Iterator[str]:
    """Calls that could run code from a file: torch.load, numpy.load and yaml.load unrestrained."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        call = ast.unparse(node.func)
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if call == "torch.load" and given.get("weights_only") != "True":
            yield f"line {node.lineno}: torch.load without weights_only=True"
        if call in {"np.load", "numpy.load"} and given.get("allow_pickle", "False") != "False":
            yield f"line {node.lineno}: numpy.load with allow_pickle"
        if call in {"yaml.load", "yaml.unsafe_load", "yaml.full_load"}:
            yield f"line {node.lineno}: {call}; use yaml.safe_load"


@pytest.mark.parametrize("room", ROOMS)
def test_no_file_is_loaded_in_a_way_that_runs_code(room: str) -> None:
    broken = [
        f"{path.relative_to(PACKAGE)}, {fault}"
        for path in sources(room)
        for fault in unsafe_loads(parsed(path))
    ]
    assert not broken, broken


@pytest.mark.parametrize(
    ("line", "is_unsafe"),
    [
        ("torch.load(path)", True),
        ("torch.load(path, weights_only=False)", True),
        ("torch.load(path, weights_only=True)", False),
        ("numpy.load(path, allow_pickle=True)", True),
        ("numpy.load(path)", False),
        ("yaml.load(text, Loader=Loader)", True),
        ("yaml.safe_load(text)", False),
    ],
)
def test_an_unsafe_load_is_recognized(line: str, is_unsafe: bool) -> None:
    assert bool(list(unsafe_loads(ast.parse(line)))) == is_unsafe


def normalized(distribution: str) -> str:
    return distribution.lower().replace("_", "-").replace(".", "-")


@pytest.mark.skipif(not (REPOSITORY / "pyproject.toml").is_file(), reason="needs pyproject.toml")
def test_every_package_that_is_imported_is_a_declared_dependency() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = [
        line
        for name, lines in project["optional-dependencies"].items()
        if name != "dev"
        for line in lines
    ]
    declared = {
        normalized(line.split(";")[0].split("[")[0].split(">")[0].split("=")[0].strip())
        for line in project["dependencies"] + extras
    } | {"omegaconf"}  # Hydra's other half, released with it
    origin = packages_distributions()
    broken = [
        str(found)
        for room in ROOMS
        for path in sources(room)
        for found in imports_of(path)
        if (top := found.module.split(".")[0]) not in {*sys.stdlib_module_names, PACKAGE.name}
        and not declared & {normalized(name) for name in origin.get(top, [])}
    ]
    assert not broken, broken


@pytest.mark.skipif(not (REPOSITORY / "examples").is_dir(), reason="needs the examples")
def test_examples_use_the_public_names_of_the_rooms() -> None:
    broken = [
        f"{path.name}:{found.line} imports {found.module}"
        for path in sorted((REPOSITORY / "examples").glob("*.py"))
        for found in imports_of(path)
        if room_of(found.module) and len(found.module.split(".")) > 2
    ]
    assert not broken, broken
