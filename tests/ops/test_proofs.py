"""What ``impl="auto"`` takes on a GPU: a proven kernel, else what there was before, with one warning."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from gptface.kernels import inventory
from gptface.ops import TextSpans, corrupt_tokens, mask_tokens, proofs, registry, sample_span_mask
from gptface.ops.native import cpu_kernel_missing
from gptface.ops.registry import Preference
from gptface.ops.span_mask import choice
from tests.helpers.gpu_records import believe_in_a_gpu, passed, write

TABLE = (Preference("triton", "fast"), Preference("sdpa", "torch's"))


@pytest.fixture(autouse=True)
def a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The ledger of a machine with a GPU."""
    believe_in_a_gpu(monkeypatch, tmp_path / "ledger.json")
    caches = (proofs._warn_once, proofs.warn_of, proofs.machine, proofs.unproven)
    for cache in caches:
        cache.cache_clear()
    yield tmp_path / "ledger.json"
    monkeypatch.undo()
    for cache in caches:
        cache.cache_clear()
    proofs.forget()


def auto() -> str:
    return registry.choose("masked_attention", "auto", TABLE, lambda name: None, 0).implementation


def everything(family: str) -> list[str]:
    return [kernel for kernel in inventory.KERNELS if inventory.family(kernel) == family]


def test_without_a_proof_torchs_kernels_are_taken_and_it_is_said_once() -> None:
    with pytest.warns(RuntimeWarning, match="gptface prove") as caught:
        assert auto() == "sdpa" and auto() == "sdpa"
        registry.choose("vq_lookup", "auto", (TABLE[0], Preference("torch", "")), lambda name: None, 0)
    assert len(caught) == 1


def test_with_a_proof_of_every_kernel_auto_takes_them(a_gpu: Path) -> None:
    write(a_gpu, map(passed, everything("attention")))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert auto() == "triton"


def test_a_stale_record_of_one_kernel_is_not_believed(a_gpu: Path) -> None:
    records = [passed(kernel) for kernel in everything("attention")]
    records[2] = passed(records[2].kernel, source_hash="of last week")
    write(a_gpu, records)
    with pytest.warns(RuntimeWarning):
        assert auto() == "sdpa"
    reason = registry.ruled_out("masked_attention", "triton", lambda name: None, 0)
    assert reason is not None and records[2].kernel in reason and "changed since" in reason


def test_a_broken_ledger_breaks_no_call(a_gpu: Path) -> None:
    a_gpu.write_text("{")
    proofs.forget()
    with pytest.warns(RuntimeWarning):
        assert auto() == "sdpa"
    assert str(a_gpu) in str(proofs.unproven("attention", 0))


def test_span_masks_on_a_gpu_are_drawn_on_the_host_until_their_kernel_is_proven(
    a_gpu: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``auto`` took the CUDA kernel, which nobody had seen run."""
    monkeypatch.setattr(choice, "cuda_kernel_missing", lambda operator: None)
    monkeypatch.setattr(inventory, "_built", lambda: {"span_mask.cuda": "abc"})
    fallback = "host" if cpu_kernel_missing("sample_span_mask") is None else "reference"
    with pytest.warns(RuntimeWarning, match="gptface prove"):
        for operator in ("sample_span_mask", "corrupt_tokens", "mask_tokens"):
            assert choice.choose(operator, "auto", "cuda", 0) == fallback
    write(a_gpu, [passed("span_mask.cuda")])
    assert choice.choose("sample_span_mask", "auto", "cuda", 0) == "cuda"
    assert choice.choose("sample_span_mask", "auto", "cpu") in ("cpu", "reference")


@pytest.mark.skipif(cpu_kernel_missing("mask_tokens") is not None, reason="no native library")
def test_the_host_kernels_give_the_same_bits() -> None:
    """On CPU tensors: what is tested is the way of the arguments. Copies from a GPU are for a GPU's tests."""
    spec, ids = TextSpans(0.3), torch.arange(5)
    tokens = torch.randint(0, 90, (5, 40))
    lengths = torch.tensor([40, 3, 0, 17, 25])
    mask = sample_span_mask(spec, lengths, seed=1, step=2, sample_ids=ids, max_length=40, impl="cpu")
    words = {"mask_id": 1, "vocabulary_ranges": [(5, 100)], "seed": 1, "step": 2, "sample_ids": ids}
    corrupted = corrupt_tokens(tokens, mask, impl="cpu", **words)
    both = mask_tokens(tokens, spec, lengths, impl="cpu", **words)
    operators = torch.ops.gptface
    sampled = operators.sample_span_mask_host(spec.encoded, lengths, None, None, ids, 1, 2, None, 40, 200)
    assert torch.equal(sampled[0], mask.mask) and torch.equal(sampled[3], mask.span_ids)
    again = operators.corrupt_tokens_host(
        tokens, mask.mask, mask.span_ids, [5, 100, 1], [round(0.8 * 2**32), round(0.9 * 2**32)], True, ids, 1, 2, None
    )
    assert torch.equal(again, corrupted) and torch.equal(both.token_ids, corrupted)


def test_what_needs_no_proof_is_taken_without_a_word() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert registry.choose("masked_attention", "auto", TABLE[1:], lambda name: None, 0).implementation == "sdpa"


@pytest.mark.parametrize("proven", [False, True])
def test_compiled_code_asks_while_it_is_traced_and_has_no_break(
    proven: bool, a_gpu: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiler looks through ``functools.cache``: it would have traced the reading of the ledger."""
    if proven:
        write(a_gpu, map(passed, everything("attention")))
    assert (proofs.unproven("attention", 0) is None) == proven  # known from here on
    monkeypatch.setattr(proofs, "missing_here", lambda: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # the compiler would ask this GPU for more
    torch._dynamo.reset()

    def choose(x: torch.Tensor) -> torch.Tensor:
        chosen = registry.choose("masked_attention", "auto", TABLE, lambda name: None, 0)
        return x + len(chosen.implementation)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = torch.compile(choose, backend="eager", fullgraph=True)(torch.zeros(()))
    assert int(found) == len("triton" if proven else "sdpa")
    assert len([one for one in caught if "gptface prove" in str(one.message)]) == (0 if proven else 1)
