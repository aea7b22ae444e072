"""The native library gives the definition's bits, for any specification; it works in workers and on shared memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from gptface.diagnosis.span_mask_draws import Case, random_case
from gptface.ops import (
    ImageBlocks,
    MaskGITCosine,
    Multimodal,
    SpanMask,
    TextSpans,
    corrupt_tokens,
    implementations,
    sample_span_mask,
)

_reason = next(found.reason for found in implementations("sample_span_mask") if found.name == "cpu")
pytestmark = pytest.mark.skipif(bool(_reason), reason=_reason)


def assert_same_bits(case: Case) -> None:
    native = sample_span_mask(case.spec, case.layout, impl="cpu", **case.keywords)
    reference = sample_span_mask(case.spec, case.layout, impl="reference", **case.keywords)
    for name, mine, theirs in zip(SpanMask._fields, native, reference, strict=True):
        np.testing.assert_array_equal(mine, theirs, err_msg=f"{name} of {case}")


@given(seed=st.integers(0, 2**63))
@settings(max_examples=300, deadline=None)
def test_any_specification_bit_for_bit(seed: int) -> None:
    assert_same_bits(random_case(np.random.default_rng(seed)))


def test_two_thousand_random_specifications_bit_for_bit() -> None:
    rng = np.random.default_rng(20)
    for _ in range(2000):
        assert_same_bits(random_case(rng))


def test_sizes_around_the_words_of_a_bit_set() -> None:
    for size in (1, 63, 64, 65, 127, 128, 129, 1000):
        keywords = {"seed": size, "step": 1, "sample_ids": np.arange(3)}
        for ratio in (0.0, 0.5, 0.97, 1.0):
            assert_same_bits(Case(TextSpans(ratio, min_gap=0), np.full(3, size), keywords))
            assert_same_bits(Case(ImageBlocks((1, size), ratio), None, keywords))


def test_every_count_of_a_range_of_ratios_bit_for_bit() -> None:
    """Counts at the edge of rounding: both sides round the same float64 product."""
    for ratio in np.linspace(0, 1, 41):
        lengths = np.arange(40)
        keywords = {"seed": 1, "step": 1, "sample_ids": lengths}
        assert_same_bits(Case(TextSpans(float(ratio)), lengths, keywords))


def test_the_number_of_threads_changes_nothing() -> None:
    spec = Multimodal(TextSpans(0.3), ImageBlocks((8, 8), MaskGITCosine()))
    modality = np.array([0] + [1] * 40 + [2] * 64, np.int8)[None].repeat(100, 0)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(sample_span_mask(spec, modality, seed=0, step=0, sample_ids=np.arange(100), impl="cpu"))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        for mine, theirs in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_results_own_their_bytes(poisoned_empty: None) -> None:
    """Nothing of a result is left unwritten, also where the bound on ``indices`` is not reached."""
    operator = torch.ops.gptface.sample_span_mask
    spec = TextSpans(0.5)
    mask, indices, cu_masked, span_ids = operator(
        spec.encoded, torch.tensor([4, 0, 7]), None, None, torch.arange(3), 1, 2, None, 9, 30
    )
    masked = int(cu_masked[-1])
    assert masked == 2 + 0 + 4 and (indices[masked:] == -1).all()
    assert set(mask.view(torch.uint8).unique().tolist()) <= {0, 1} and int(span_ids.min()) == -1


def test_a_program_of_another_version_is_refused() -> None:
    for program in ([], [1] * 21, [*TextSpans().encoded, 3]):
        with pytest.raises(RuntimeError, match="program"):
            torch.ops.gptface.sample_span_mask(program, None, None, None, torch.arange(1), 0, 0, None, 4, 4)


class Captions(Dataset[dict[str, Any]]):
    """Masks its own samples in the worker, on NumPy arrays."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> dict[str, Any]:
        tokens = np.arange(10, 30)[None]
        keywords: dict[str, Any] = {"seed": 5, "step": 0, "sample_ids": np.array([index])}
        mask = sample_span_mask(TextSpans(0.4), np.array([20]), **keywords)
        corrupted = corrupt_tokens(tokens, mask, mask_id=0, vocabulary_ranges=[(10, 30)], **keywords)
        return {"tokens": corrupted[0], "mask": mask.mask[0], "index": index}


def test_data_loader_workers_give_the_masks_of_the_main_process() -> None:
    alone = [Captions()[index] for index in range(12)]
    for batch in DataLoader(Captions(), batch_size=4, num_workers=2, shuffle=True):
        for tokens, mask, index in zip(batch["tokens"], batch["mask"], batch["index"], strict=True):
            np.testing.assert_array_equal(tokens, alone[int(index)]["tokens"])
            np.testing.assert_array_equal(mask, alone[int(index)]["mask"])


def test_numpy_results_are_not_copies() -> None:
    found = sample_span_mask(TextSpans(0.4), np.array([20]), seed=0, step=0, sample_ids=np.array([1]))
    assert not found.mask.flags.owndata and found.mask.flags.writeable
