from pathlib import Path

import pytest

from diffusion_controller.data import available_memory

MEMINFO = "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    800 kB\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine with 800 KiB to spare, seen from outside any container."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text(MEMINFO)
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    return tmp_path


def _limit(root: Path, limit: str, *, used: int, cached: int) -> None:
    group = root / "sys/fs/cgroup"
    (group / "memory.max").write_text(f"{limit}\n")
    (group / "memory.current").write_text(f"{used}\n")
    (group / "memory.stat").write_text(f"anon 1\ninactive_file {cached}\nactive_file 5\n")


def test_what_is_available_is_what_the_machine_says(root: Path) -> None:
    assert available_memory(root) == 800 * 1024


def test_a_container_leaves_its_limit_less_what_it_uses_but_for_cached_files(root: Path) -> None:
    _limit(root, "500000", used=300000, cached=100000)
    assert available_memory(root) == 300000


def test_a_container_without_a_limit_leaves_what_the_machine_has(root: Path) -> None:
    _limit(root, "max", used=300000, cached=0)
    assert available_memory(root) == 800 * 1024


def test_a_container_cannot_leave_more_than_the_machine_has(root: Path) -> None:
    _limit(root, "500000000", used=0, cached=0)
    assert available_memory(root) == 800 * 1024


def test_this_machine_has_some() -> None:
    assert available_memory() > 0
