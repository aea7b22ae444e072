"""What a run asks of the machine."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("resource")

PROGRAM = """
import resource
import torch
from gptface.training.hardware import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(2**22)  # 16 MiB, and gone
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

torch.set_num_threads(1)
given_back = faults()
kept = keep_freed_memory()
faults()
print(int(kept), given_back, faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_memory_that_is_kept_comes_back_without_page_faults() -> None:
    # glibc keeps large blocks by itself once some were freed, unless it is told where to start mapping them.
    environment = {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=1048576"}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    assert done.returncode == 0, done.stderr
    kept, given_back, afterwards = map(int, done.stdout.split())
    if not kept:
        pytest.skip("this C library cannot be told to keep memory")
    assert given_back > 1000 and afterwards < given_back / 20
