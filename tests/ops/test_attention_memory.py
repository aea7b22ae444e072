"""Too little memory is an exception, in every thread, and what runs afterwards is right."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gptface.ops.native import cpu_kernel_missing

pytest.importorskip("resource")
pytestmark = [
    pytest.mark.skipif(cpu_kernel_missing("masked_attention") is not None, reason="no native kernel"),
    pytest.mark.skipif(sys.platform != "linux", reason="counts address space as Linux does"),
]

PROGRAM = """
import resource, sys
from pathlib import Path
import torch
from gptface.ops import masked_attention

torch.set_num_threads(int(sys.argv[1]))
few = torch.randn(2, 12, 2, 16)  # more than those whose kernel packs nothing
expected = masked_attention(few, few, few, impl="cpu")
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**30,) * 2)
many = torch.zeros(1, 1, 1, 16).expand(2, 2**28, 2, 16)  # 64 bytes; a kernel packs 16 GiB of it
lse = torch.zeros(2, 2, 12)
backward = torch.ops.gptface.masked_attention_backward
for call in (
    lambda: masked_attention(few, many, many, impl="cpu"),
    lambda: backward(few, None, few, many, many, expected, lse, None, None, 0.25, 0.0, False),
):
    try:
        call()
    except (MemoryError, RuntimeError) as error:
        print(type(error).__name__, error)
    else:
        sys.exit("no exception")
assert torch.equal(masked_attention(few, few, few, impl="cpu"), expected)
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_out_of_memory_is_an_exception(threads: int) -> None:
    command = [sys.executable, "-c", PROGRAM, str(threads)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    # What the kernel throws for want of scratch, std::bad_alloc, is a MemoryError up to torch 2.13 and a RuntimeError
    # of that name in 2.15. The backward fails in torch's own allocation of gradients.
    forward = done.stdout.splitlines()[0]
    assert forward.startswith("MemoryError") or "bad_alloc" in forward, done.stdout
