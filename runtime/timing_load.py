"""Other work on the machine, to time a policy beside it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_SPIN = """
import os, sys
print(flush=True)
while os.getppid() == int(sys.argv[1]):  # ends by itself when nobody is left to end it
    for _ in range(100_000):
        pass
"""


def available_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def other_cores() -> int:
    """How many cores the rest of a robot's software may keep busy: all but one, at least one."""
    return max(1, available_cores() - 1)


@contextmanager
def busy_cores(count: int) -> Iterator[None]:
    """Keeps cores busy with `count` processes that spin, from when they run until it is left.

    Which cores these are is the scheduler's choice, as it is on a robot.
    """
    command = [sys.executable, "-I", "-S", "-c", _SPIN, str(os.getpid())]
    processes: list[subprocess.Popen[str]] = []
    try:
        for _ in range(count):
            processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        for process in processes:
            if process.stdout is not None:
                process.stdout.readline()  # it runs
        yield
    finally:
        for process in processes:
            process.kill()
            process.communicate()
