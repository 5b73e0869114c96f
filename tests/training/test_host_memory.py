"""What is freed is kept."""

import os
import subprocess
import sys

import pytest

_PROGRAM = """
import resource, sys
import torch
from diffusion_controller.training import keep_freed_memory

def faults_of_a_block():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = torch.ones(16 * 2**20)  # 64 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

took = keep_freed_memory() if sys.argv[1] == "keep" else None
for _ in range(4):
    faults = faults_of_a_block()
print(took, faults)
"""


def _run(what: str) -> tuple[str, int]:
    environment = os.environ | {"THP_MEM_ALLOC_ENABLE": "0"}
    answer = subprocess.run(
        [sys.executable, "-c", _PROGRAM, what],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )
    took, faults = answer.stdout.split()
    return took, int(faults)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_a_block_that_is_taken_again_costs_no_page_faults() -> None:
    took, faults = _run("keep")
    if took == "False":
        pytest.skip("another C library")
    _, usual = _run("usual")
    assert usual > 16_000  # a page of 4 KiB each
    assert faults < 100
