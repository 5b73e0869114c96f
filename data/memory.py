"""How much memory there is for data."""

from pathlib import Path


def available_memory(root: Path = Path("/")) -> int:
    """Memory that can be taken without pushing anything out, in [B].

    The machine's, or what the control group of a container leaves if that is less.

    Args:
        root: Where proc and sys are mounted.
    """
    limits = [_machine(root / "proc/meminfo"), _control_group(root / "sys/fs/cgroup")]
    return min(limit for limit in limits if limit is not None)


def _machine(meminfo: Path) -> int:
    fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
    return int(fields["MemAvailable"].split()[0]) * 1024


def _control_group(group: Path) -> int | None:
    """Limit less use, where version 2 of control groups sets a limit."""
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
        statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except OSError:
        return None
    if limit == "max":
        return None
    cached = int(statistics.get("inactive_file", 0))  # of files; given up for whoever needs it
    return max(0, int(limit) - used + cached)
