"""Codebooks under ``torch.distributed``: two processes learn what one learns from the joined batch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from torch import Tensor

from gptface.ops import ResidualVectorQuantizer, VectorQuantizer
from gptface.ops.vq.codebook import pick_rows

STEPS = 6
CASES: dict[str, dict[str, Any]] = {
    "ema": {"kmeans_init": False, "revive_below": 0.0},
    "k-means and revival": {"decay": 0.7, "revive_below": 0.4},
    "cosine groups": {"metric": "cosine", "groups": 2, "decay": 0.7, "revive_below": 0.4},
    "gradient revival": {"codebook_update": "gradient", "decay": 0.5, "revive_below": 0.4},
    "residual": {"stages": 2, "decay": 0.7, "revive_below": 0.4},
    "padded": {"decay": 0.7, "revive_below": 0.4, "kmeans_init": False},
}


def batch(step: int) -> Tensor:
    return torch.randn(96, 8, generator=torch.Generator().manual_seed(step)) * 2 + 3


def mask_of(case: str, step: int) -> Tensor | None:
    return torch.arange(96) % (step + 2) != 0 if case == "padded" else None


def build(case: str) -> Any:
    torch.manual_seed(0)
    return (ResidualVectorQuantizer if "stages" in CASES[case] else VectorQuantizer)(8, 24, **CASES[case])


def learn(module: Any, case: str, step: int, part: slice = slice(None)) -> Any:
    mask = mask_of(case, step)
    return module(batch(step)[part], None if mask is None else mask[part])


def work(rank: int, directory: str) -> None:
    torch.set_num_threads(1)
    modules = {case: build(case) for case in CASES}  # before there is a process group
    late = build("k-means and revival")  # and this one has trained before there is one, alike on both
    for step in range(2):
        late(batch(step))
    ragged = build("k-means and revival")
    alone = VectorQuantizer(8, 24, synchronize=False)
    dist.init_process_group("gloo", init_method=f"file://{directory}/rendezvous", rank=rank, world_size=2)
    calls, all_reduce = [], dist.all_reduce

    def counted(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        return all_reduce(*arguments, **options)

    dist.all_reduce = counted
    result: dict[str, Any] = {}
    for case, module in modules.items():
        for step in range(STEPS):
            calls.clear()
            found = learn(module, case, step, slice(48 * rank, 48 * (rank + 1)))
            if step > 0:
                expected = CASES[case].get("stages", 1)
                assert len(calls) == expected, f"{case}: {len(calls)} collective calls in step {step}"
        result[case] = {**module.state_dict(), "perplexity": found.perplexity, "usage": found.usage}
    for step in range(2, STEPS):
        late(batch(step).chunk(2)[rank])
    result["late"] = late.state_dict()
    # Batches of different sizes, one of them empty: no deadlock, and the same codebook everywhere.
    for step in range(STEPS):
        rows = batch(step)
        ragged(rows[: 10 * step] if rank == 0 else rows[10 * step :])
    result["ragged"] = ragged.state_dict()
    calls.clear()
    alone(batch(rank))
    assert not calls
    torch.save(result, f"{directory}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available() or sys.platform == "win32", reason="needs the gloo backend")
def test_two_processes_equal_one_on_the_joined_batch(tmp_path: Path) -> None:
    multiprocessing.spawn(work, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    for case in first:
        for name, value in first[case].items():
            assert torch.equal(value, second[case][name]), f"{case}: {name} differs between the processes"
            assert not value.is_floating_point() or value.isfinite().all()
    for case in CASES:
        single = build(case)
        for step in range(STEPS):
            found = learn(single, case, step)
        expected = {**single.state_dict(), "perplexity": found.perplexity, "usage": found.usage}
        if case == "k-means and revival":
            for name, value in single.state_dict().items():
                torch.testing.assert_close(first["late"][name], value, rtol=1e-4, atol=1e-5, msg=f"late: {name}")
        assert expected.keys() == first[case].keys()
        for name, value in expected.items():
            torch.testing.assert_close(first[case][name], value, rtol=1e-4, atol=1e-5, msg=f"{case}: {name}")


def test_shares_of_equal_processes_add_up_to_the_picks_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.randn(2, 60, 3)
    usable = torch.rand(2, 60) < 0.9
    step = torch.tensor(5)
    expected = pick_rows(rows, usable, 17, 3, step)
    for total in (2, 3, 4, 5, 6):
        shares = []
        for rank in range(total):
            monkeypatch.setattr("gptface.ops.vq.codebook.processes", lambda _, rank=rank, total=total: (rank, total))
            shares.append(pick_rows(rows.chunk(total, 1)[rank], usable.chunk(total, 1)[rank], 17, 3, step))
        for part, whole in zip(zip(*shares, strict=True), expected, strict=True):
            assert torch.equal(sum(part), whole)
