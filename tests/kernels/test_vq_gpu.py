"""Ring 4: the Triton lookup on a CUDA device."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gptface.kernels.vq_configurations import Configuration, forced
from gptface.ops import vq_lookup
from tests.ops.vq_cases import METRICS, assert_is_the_definition, draw

pytestmark = pytest.mark.gpu


def look(x: torch.Tensor, codebook: torch.Tensor, **options: Any) -> Any:
    return vq_lookup(x, codebook, return_scores=True, impl="triton", **options)


@pytest.mark.usefixtures("poisoned_empty")
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(("number", "size", "length", "topk"), [
    (1003, 517, 32, 1), (300, 1025, 64, 5), (129, 257, 100, 16), (77, 1000, 256, 1), (5, 3, 8, 2),
])  # fmt: skip
def test_is_the_definition(metric: Any, dtype: torch.dtype, number: int, size: int, length: int, topk: int) -> None:
    x, codebook = draw(number, length, seed=1, dtype=dtype).cuda(), draw(size, length, seed=2, dtype=dtype).cuda()
    found = look(x, codebook, metric=metric, topk=topk, nearest_rows=True)
    assert_is_the_definition(x, codebook, found, metric, topk)


@pytest.mark.parametrize("offset", [10.0, 1e4])
def test_offsets_cost_no_index(offset: float) -> None:
    x, codebook = draw(500, 64, seed=3, offset=offset).cuda(), draw(257, 64, seed=4, offset=offset).cuda()
    exact = vq_lookup(x.double(), codebook.double(), impl="reference").indices
    assert torch.equal(vq_lookup(x, codebook, impl="triton").indices, exact)


@pytest.mark.parametrize(("precision", "share"), [("tf32x3", 0.001), ("tf32", 0.01), ("bf16", 0.1)])
def test_lower_precisions_miss_no_more_than_they_say(precision: Any, share: float) -> None:
    x, codebook = draw(4096, 128, seed=5).cuda(), draw(1024, 128, seed=6).cuda()
    exact, found = look(x, codebook), look(x, codebook, precision=precision)
    differs = found.indices != exact.indices
    assert differs.double().mean() <= share
    assert torch.equal(found.scores[~differs], exact.scores[~differs]) and (found.scores <= exact.scores).all()


@pytest.mark.parametrize("precision", ["exact", "tf32x3", "tf32", "bf16"])
@pytest.mark.parametrize("splits", [1, 3])
def test_equal_codes_go_to_the_lowest_index(precision: Any, splits: int) -> None:
    distinct, x = draw(5, 64, seed=7).cuda(), draw(300, 64, seed=8).cuda()
    chosen = Configuration(64, 64, 16 if precision == "exact" else 64, 4, 2)
    with forced(chosen, splits):
        found = look(x, distinct.repeat(117, 1), topk=3, precision=precision).indices
    assert torch.equal(found, found[:, :1] % 5 + 5 * torch.arange(3, device="cuda"))


def test_what_is_not_finite() -> None:
    x, codebook = draw(200, 32, seed=9).cuda(), draw(70, 32, seed=10).cuda()
    x[1, 2], x[3, 0], codebook[0, 0], codebook[2, 31] = torch.nan, torch.inf, torch.nan, torch.inf
    found = look(x, codebook, topk=2, nearest_rows=True)
    exact = vq_lookup(x.double(), codebook.double(), topk=2, nearest_rows=True, impl="reference")
    assert torch.equal(found.indices, exact.indices) and torch.equal(found.counts, exact.counts)
    assert torch.equal(found.nearest_rows, exact.nearest_rows)


def test_new_numbers_of_rows_and_codes_compile_nothing() -> None:
    from gptface.kernels.vq_decide import decide_kernel
    from gptface.kernels.vq_nominate import nominate_kernel

    def run(number: int, size: int) -> list[int]:
        vq_lookup(torch.randn(number, 64, device="cuda"), torch.randn(size, 64, device="cuda"), impl="triton")
        return [
            sum(len(caches[0]) for caches in kernel.device_caches.values())
            for kernel in (nominate_kernel, decide_kernel)
        ]

    with forced(Configuration(64, 64, 16, 4, 2)):
        compiled = run(1000, 512)
        for number, size in ((1, 2), (16, 16), (4097, 3001)):
            assert run(number, size) == compiled


def test_lookups_do_not_synchronise_and_replay_in_a_graph() -> None:
    x, codebook = torch.randn(3000, 64, device="cuda"), torch.randn(512, 64, device="cuda")
    look(x, codebook, nearest_rows=True)
    torch.cuda.set_sync_debug_mode("error")
    try:
        look(x, codebook, nearest_rows=True)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = look(x, codebook, nearest_rows=True)
    x.copy_(torch.randn_like(x))
    codebook.copy_(torch.randn_like(codebook))
    graph.replay()
    for got, want in zip(captured, look(x, codebook, nearest_rows=True), strict=True):
        assert torch.equal(got, want)


def test_run_twice_the_same_bits() -> None:
    x, codebook = torch.randn(20000, 64, device="cuda"), torch.randn(4096, 64, device="cuda")
    for precision in ("exact", "tf32", "bf16"):
        first = look(x, codebook, precision=precision, nearest_rows=True)
        for got, want in zip(look(x, codebook, precision=precision, nearest_rows=True), first, strict=True):
            assert torch.equal(got, want)


def test_more_than_two_to_the_31_scores_and_elements() -> None:
    if torch.cuda.get_device_properties(0).total_memory < 40 * 2**30:
        pytest.skip("needs 40 GiB")
    x = torch.randn(2**31 // 64 + 65, 64, device="cuda", dtype=torch.bfloat16)
    codebook = torch.randn(128, 64, device="cuda", dtype=torch.bfloat16)
    found = vq_lookup(x, codebook, precision="bf16", impl="triton").indices
    assert torch.equal(found[-1000:], vq_lookup(x[-1000:], codebook, precision="bf16", impl="triton").indices)
