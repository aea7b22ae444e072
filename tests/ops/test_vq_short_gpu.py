"""Ring 4: the CUDA lookup of short vectors on a device.

What its kernels compute is held on the threads of a CPU by ``tests/native/vq_short_checks.cpp``.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gptface.ops import vq_lookup
from gptface.ops.vq.cuda import cuda_missing
from tests.ops.vq_cases import METRICS, assert_is_the_definition, draw

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(cuda_missing() is not None, reason=str(cuda_missing()))]


def look(x: torch.Tensor, codebook: torch.Tensor, **options: Any) -> Any:
    return vq_lookup(x, codebook, return_scores=True, impl="cuda", **options)


@pytest.mark.usefixtures("poisoned_empty")
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(
    ("number", "size", "length"), [(1003, 517, 4), (5000, 3001, 8), (129, 257, 13), (77, 1000, 32)]
)
def test_is_the_definition(metric: Any, dtype: torch.dtype, number: int, size: int, length: int) -> None:
    x, codebook = draw(number, length, seed=1, dtype=dtype).cuda(), draw(size, length, seed=2, dtype=dtype).cuda()
    assert_is_the_definition(x, codebook, look(x, codebook, metric=metric), metric, 1)


@pytest.mark.parametrize("offset", [10.0, 1e4])
def test_offsets_cost_no_index(offset: float) -> None:
    x, codebook = draw(500, 8, seed=3, offset=offset).cuda(), draw(257, 8, seed=4, offset=offset).cuda()
    exact = vq_lookup(x.double(), codebook.double(), impl="reference").indices
    assert torch.equal(look(x, codebook).indices, exact)


def test_equal_codes_go_to_the_lowest_index() -> None:
    distinct, x = draw(5, 8, seed=5).cuda(), draw(300, 8, seed=6).cuda()
    assert torch.equal(look(x, distinct.repeat(401, 1)).indices, look(x, distinct).indices)


def test_groups_strides_and_what_is_not_finite() -> None:
    image = draw(2, 24, 9, 7, seed=7).cuda().permute(0, 2, 3, 1).unflatten(-1, (3, 8))
    codebook = draw(3, 140, 8, seed=8).cuda()
    image[0, 1, 2, 0, 3], codebook[1, 5, 2] = torch.nan, torch.inf
    found = look(image, codebook)
    exact = vq_lookup(image.double(), codebook.double(), impl="reference")
    assert torch.equal(found.indices, exact.indices) and torch.equal(found.counts, exact.counts)


def test_lookups_do_not_synchronise_and_replay_in_a_graph() -> None:
    x, codebook = torch.randn(3000, 8, device="cuda"), torch.randn(512, 8, device="cuda")
    look(x, codebook)
    torch.cuda.set_sync_debug_mode("error")
    try:
        look(x, codebook)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = look(x, codebook)
    x.copy_(torch.randn_like(x))
    graph.replay()
    expected = look(x, codebook)
    assert torch.equal(captured.indices, expected.indices) and torch.equal(captured.counts, expected.counts)


def test_what_the_kernel_does_not_take_is_named() -> None:
    x, codebook = torch.zeros(3, 8, device="cuda"), torch.zeros(20, 8, device="cuda")
    for options, reason in (({"topk": 2}, "topk=2"), ({"nearest_rows": True}, "nearest_rows=True")):
        with pytest.raises(RuntimeError, match=rf"impl='cuda' cannot run this call: {reason}"):
            vq_lookup(x, codebook, impl="cuda", **options)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="the last dimension is 33"):
        vq_lookup(torch.zeros(3, 33, device="cuda"), torch.zeros(20, 33, device="cuda"), impl="cuda")
