import resource
import subprocess
import sys

from diffusion_controller.runtime import busy_cores, other_cores

PROGRAM = """
import os
from diffusion_controller.runtime import busy_cores
with busy_cores(1):
    os._exit(0)  # as a crash: nothing is cleaned up
"""


def test_other_work_takes_time_of_the_processor_until_it_is_left() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    with busy_cores(other_cores()):
        sum(range(3_000_000))
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime > before


def test_other_work_ends_with_the_process_that_wanted_it() -> None:
    # The spinning process holds the error output: reading it ends when the process has.
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, timeout=60)
