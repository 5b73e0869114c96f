"""The rooms are linked into the package, and what is built holds everything that runs."""

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
LINKS = REPOSITORY / "src" / "diffusion_controller"
NOT_LINKED = {"benchmarks", "build", "demos", "dist", "docs", "examples", "outputs", "src", "tests"}
NOT_SHIPPED = {".pyc", ".gitkeep"}

pytestmark = pytest.mark.skipif(
    not (REPOSITORY / "pyproject.toml").is_file() or not (REPOSITORY / "commands").is_dir(),
    reason="needs a checkout of the repository",
)


def rooms() -> list[Path]:
    return sorted(
        folder
        for folder in REPOSITORY.iterdir()
        if folder.is_dir() and folder.name not in NOT_LINKED and not folder.name.startswith(".")
    )


def files_of_rooms() -> set[str]:
    """Every file that belongs into the package, relative to the repository."""
    return {
        str(path.relative_to(REPOSITORY))
        for room in rooms()
        for path in room.rglob("*")
        if path.is_file()
        and path.suffix not in NOT_SHIPPED
        and path.name not in NOT_SHIPPED
        and "__pycache__" not in path.parts
    }


def test_every_room_is_linked_into_the_package_by_a_relative_link() -> None:
    linked = {path.name: Path(os.readlink(path)) for path in LINKS.iterdir() if path.is_symlink()}
    assert linked == {room.name: Path("..", "..", room.name) for room in rooms()}


def test_every_link_leads_to_a_folder() -> None:
    assert all(path.is_dir() for path in LINKS.iterdir() if path.is_symlink())


def test_every_folder_of_a_room_can_be_a_package() -> None:
    broken = [
        str(path.parent.relative_to(REPOSITORY))
        for path in map(REPOSITORY.joinpath, files_of_rooms())
        if not all(part.isidentifier() for part in path.parent.relative_to(REPOSITORY).parts)
    ]
    assert not broken, f"setuptools leaves these folders out of the wheel: {broken}"


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A source distribution, and the wheel that was built from it and nothing else."""
    scratch = tmp_path_factory.mktemp("build")
    checkout, out = scratch / "checkout", scratch / "dist"
    ignored = shutil.ignore_patterns(
        ".git", ".venv*", ".*_cache", "__pycache__", "*.egg-info", "outputs", "demos", "build"
    )
    shutil.copytree(REPOSITORY, checkout, symlinks=True, ignore=ignored)
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(checkout)],
        check=True,
        capture_output=True,
        timeout=240,
    )
    (sdist,) = out.glob("*.tar.gz")
    (wheel,) = out.glob("*.whl")
    return sdist, wheel


def test_the_wheel_holds_every_file_of_every_room(distributions: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(distributions[1]) as wheel:
        held = {name.removeprefix("diffusion_controller/") for name in wheel.namelist()}
    assert files_of_rooms() - held == set()
    assert "py.typed" in held


def test_the_source_distribution_holds_the_rooms_and_the_tests(
    distributions: tuple[Path, Path],
) -> None:
    with tarfile.open(distributions[0]) as sdist:
        held = {name.split("/", 1)[-1] for name in sdist.getnames()}
    assert {f"src/diffusion_controller/{name}" for name in files_of_rooms()} - held == set()
    assert {
        "tests/conftest.py",
        "tests/test_layout.py",
        "constraints.txt",
        "LICENSE",
    } - held == set()


@pytest.fixture(scope="module")
def elsewhere(
    distributions: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A folder with nothing of the repository, and the folder of programs of a new environment.

    The environment sees the packages that the tests run with, except this project's own: a `.pth`
    file puts their folder on the path, and `.pth` files in that folder (the editable
    installation's) are not read then.
    """
    scratch = tmp_path_factory.mktemp("elsewhere")
    venv.create(scratch / "venv", with_pip=False, symlinks=True)
    programs = scratch / "venv" / "bin"
    install = ["install", "--quiet", "--no-deps", "--no-index", str(distributions[1])]
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(programs / "python"), *install], check=True
    )
    (packages,) = scratch.glob("venv/lib/python*/site-packages")
    (packages / "their_packages.pth").write_text(f"{Path(pytest.__file__).parent.parent}\n")
    return scratch, programs


def test_the_command_runs_where_the_wheel_is_installed(elsewhere: tuple[Path, Path]) -> None:
    folder, programs = elsewhere
    program = "import diffusion_controller.configs as c; print(c.__file__)"
    where = subprocess.run(
        [programs / "python", "-c", program], cwd=folder, check=True, capture_output=True, text=True
    )
    assert str(folder) in where.stdout
    said = subprocess.run(
        [programs / "dpc", "data", "inspect", "nowhere.zarr"],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
    )
    assert said.returncode == 2, said.stderr
    assert len(said.stderr.splitlines()) == 1, said.stderr
    assert "nowhere.zarr" in said.stderr


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_tests_of_the_source_distribution_pass_with_the_installed_wheel(
    distributions: tuple[Path, Path], elsewhere: tuple[Path, Path]
) -> None:
    folder, programs = elsewhere
    with tarfile.open(distributions[0]) as sdist:
        sdist.extractall(folder, filter="data")
    (unpacked,) = folder.glob("diffusion_controller-*")
    shutil.rmtree(unpacked / "src")
    said = subprocess.run(
        [programs / "python", "-m", "pytest", "-p", "no:cacheprovider", "tests"],
        cwd=unpacked,
        check=False,
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stdout[-4000:] + said.stderr[-2000:]


def test_the_dependencies_are_pinned() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pinned = {line.split("==")[0].lower() for line in lines if "==" in line}
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    wanted = {
        line.split(";")[0].split("[")[0].split(">")[0].strip().lower()
        for line in project["dependencies"] + extras
    }
    assert wanted - pinned - {"diffusion-controller"} == set()
