"""What ``sample_span_mask`` promises: exact counts, sound spans, draws keyed by identity, clear errors."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptface.diagnosis.span_mask_draws import random_case
from gptface.errors import InputError
from gptface.ops import (
    FacialRegions,
    Fixed,
    Geometric,
    ImageBlocks,
    ImageRandom,
    MaskGITCosine,
    Multimodal,
    Normal,
    Poisson,
    TextSpans,
    Uniform,
    implementations,
    sample_span_mask,
)
from gptface.ops.span_mask.program import Program
from gptface.ops.span_mask.random_stream import RandomStream, philox_block
from gptface.ops.span_mask.reference import draw_count, draw_length

IMPLS = [found.name for found in implementations("sample_span_mask") if found.available and found.name != "cuda"]
seeds = st.integers(0, 2**32 - 1)


def pieces(span_ids: np.ndarray) -> list[tuple[int, int]]:
    """(begin, end) of every span of one sample, by its number."""
    return [
        (int(np.flatnonzero(span_ids == number)[0]), int(np.flatnonzero(span_ids == number)[-1]) + 1)
        for number in range(span_ids.max(initial=-1) + 1)
    ]


def test_philox_known_answers() -> None:
    ones = 2**32 - 1
    assert philox_block((0, 0, 0, 0), (0, 0)) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    assert philox_block((ones,) * 4, (ones,) * 2) == (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)
    counter = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)
    assert philox_block(counter, (0xA4093822, 0x299F31D0)) == (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)


@pytest.mark.parametrize("impl", IMPLS)
@given(seed=seeds)
@settings(max_examples=60, deadline=None)
def test_the_four_views_agree(impl: str, seed: int) -> None:
    case = random_case(np.random.default_rng(seed))
    found = sample_span_mask(case.spec, case.layout, impl=impl, **case.keywords)
    assert found.mask.dtype == np.bool_ and found.span_ids.dtype == np.int32
    np.testing.assert_array_equal(found.mask, found.span_ids >= 0)
    np.testing.assert_array_equal(found.indices, np.flatnonzero(found.mask))
    np.testing.assert_array_equal(found.cu_masked, np.concatenate([[0], np.cumsum(found.mask.sum(1))]))
    for row in found.span_ids:
        numbers = np.unique(row[row >= 0])
        np.testing.assert_array_equal(numbers, np.arange(len(numbers)))


@pytest.mark.parametrize("impl", IMPLS)
@given(
    ratio=st.floats(0, 1),
    lengths=st.lists(st.integers(0, 90), max_size=5),
    seed=seeds,
    gap=st.integers(0, 5),
    least=st.integers(0, 5),
)
@settings(max_examples=60, deadline=None)
def test_text_counts_are_exact(impl: str, ratio: float, lengths: list[int], seed: int, gap: int, least: int) -> None:
    ids, spec = list(range(len(lengths))), TextSpans(ratio, min_gap=gap, minimum=least)
    found = sample_span_mask(spec, lengths, seed=seed, step=0, sample_ids=ids, impl=impl)
    wanted = [max(round(ratio * length), min(least, length) if ratio else 0) for length in lengths]
    assert found.mask.sum(1).tolist() == wanted
    assert not any(found.mask[b, length:].any() for b, length in enumerate(lengths))


@pytest.mark.parametrize("impl", IMPLS)
@given(ratio=st.floats(0, 1), share=st.floats(0, 1), seed=seeds)
@settings(max_examples=60, deadline=None)
def test_image_counts_are_exact_whatever_is_eligible(impl: str, ratio: float, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    eligible = rng.random((3, 42)) < share
    regions = rng.integers(0, 5, (3, 42))
    kept = FacialRegions((6, 7), {0: 1.0, 3: 2.0}, ratio, keep=(2,))
    for spec in (ImageBlocks((6, 7), ratio), ImageRandom((6, 7), ratio), kept):
        extra = {"region_map": regions} if spec is kept else {}
        found = sample_span_mask(spec, eligible, seed=seed, step=1, sample_ids=[4, 5, 6], impl=impl, **extra)
        allowed = eligible & (regions != 2) if spec is kept else eligible
        assert found.mask.sum(1).tolist() == [round(ratio * int(n)) for n in allowed.sum(1)]
        assert not (found.mask & ~allowed).any()


@pytest.mark.parametrize("impl", IMPLS)
@given(seed=seeds)
@settings(max_examples=40, deadline=None)
def test_a_mask_depends_on_its_sample_alone(impl: str, seed: int) -> None:
    """Not on the batch, its order, its padding, nor on the other modality."""
    rng = np.random.default_rng(seed)
    lengths, ids = rng.integers(0, 60, 6), rng.integers(0, 2**62, 6)
    spec = TextSpans((0.1, 0.6), Geometric(0.3))
    whole = sample_span_mask(spec, lengths, seed=seed, step=3, sample_ids=ids, max_length=64, impl=impl)
    order = rng.permutation(6)[:4]
    part = sample_span_mask(spec, lengths[order], seed=seed, step=3, sample_ids=ids[order], max_length=70, impl=impl)
    np.testing.assert_array_equal(part.span_ids[:, :64], whole.span_ids[order])
    # the same text inside a joint sequence, with special tokens around it
    modality = np.zeros((6, 2 + 64 + 16), np.int8)
    for b, length in enumerate(lengths):
        modality[b, 1 : 1 + length] = 1
        modality[b, 2 + length : 18 + length] = 2
    joint = sample_span_mask(
        Multimodal(spec, ImageBlocks((4, 4))), modality, seed=seed, step=3, sample_ids=ids, impl=impl
    )
    for b, length in enumerate(lengths):
        np.testing.assert_array_equal(joint.mask[b, 1 : 1 + length], whole.mask[b, :length])
        image = joint.mask[b, 2 + length : 18 + length]
        alone = sample_span_mask(ImageBlocks((4, 4)), seed=seed, step=3, sample_ids=ids[b : b + 1], impl=impl)
        np.testing.assert_array_equal(image, alone.mask[0])


def test_seed_step_and_sample_each_change_the_mask() -> None:
    def draw(seed: int, step: int, sample: int) -> np.ndarray:
        return sample_span_mask(ImageRandom((16, 16)), seed=seed, step=step, sample_ids=np.array([sample])).mask

    base = draw(1, 2, 3)
    assert (base == draw(1, 2, 3)).all()
    for other in (draw(2, 2, 3), draw(1 + 2**40, 2, 3), draw(1, 3, 3), draw(1, 2, 4), draw(1, 2, 3 + 2**40)):
        assert (base != other).any()


@pytest.mark.parametrize("impl", IMPLS)
@given(seed=seeds, gap=st.integers(0, 4), length=st.integers(1, 100))
@settings(max_examples=80, deadline=None)
def test_spans_are_runs_in_reading_order_with_gaps(impl: str, seed: int, gap: int, length: int) -> None:
    spec = TextSpans(1 / (gap + 1), Geometric(0.4, 6), gap)
    row = sample_span_mask(spec, [length], seed=seed, step=0, sample_ids=[seed], impl=impl).span_ids[0].numpy()
    found = pieces(row)
    for number, (begin, end) in enumerate(found):
        assert (row[begin:end] == number).all() and end - begin <= 6
    masked = int((row >= 0).sum())
    if masked * gap <= length - masked:  # then there is room, however many spans were drawn
        assert all(begin - end >= gap for (_, end), (begin, _) in pairwise(found))


@pytest.mark.parametrize("impl", IMPLS)
def test_the_gap_gives_way_to_the_count(impl: str) -> None:
    found = sample_span_mask(TextSpans(0.9, Fixed(2), 5), [40], seed=0, step=0, sample_ids=[1], impl=impl)
    assert int(found.mask.sum()) == 36


@pytest.mark.parametrize("impl", IMPLS)
def test_a_span_over_ineligible_positions_counts_as_two(impl: str) -> None:
    eligible = np.ones((200, 20), bool)
    eligible[:, 10] = False
    found = sample_span_mask(TextSpans(0.25, Fixed(5)), eligible, seed=0, step=0, sample_ids=np.arange(200), impl=impl)
    split = [row for row in found.span_ids if row[9] >= 0 and row[11] >= 0]
    assert len(split) > 20 and all(row[11] == row[9] + 1 and row[10] == -1 for row in split)


@pytest.mark.parametrize("impl", IMPLS)
@given(seed=seeds, ratio=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_whole_words_stay_whole(impl: str, seed: int, ratio: float) -> None:
    rng = np.random.default_rng(seed)
    words = np.cumsum(rng.random((4, 50)) < 0.5, axis=1)
    lengths = rng.integers(0, 51, 4)
    found = sample_span_mask(
        TextSpans(ratio, whole_words=True, minimum=2),
        lengths,
        seed=seed,
        step=0,
        sample_ids=np.arange(4),
        word_ids=words,
        max_length=50,
        impl=impl,
    )
    for mask, ids, length in zip(found.mask, words, lengths, strict=True):
        ids = ids[:length]
        masked = [mask[:length][ids == word] for word in np.unique(ids)]
        assert all(word.all() or not word.any() for word in masked)
        least = min(2, len(masked)) if ratio else 0
        assert sum(bool(word.all()) for word in masked) == max(round(ratio * len(masked)), least)


@pytest.mark.parametrize("impl", IMPLS)
def test_regions_are_masked_whole_while_they_fit(impl: str) -> None:
    regions = np.repeat(np.arange(8), 8)[None].repeat(50, 0)
    spec = FacialRegions((8, 8), {label: 1.0 + label for label in range(8)}, ratio=0.5)
    found = sample_span_mask(spec, seed=1, step=0, sample_ids=np.arange(50), region_map=regions, impl=impl)
    by_region = found.mask.reshape(50, 8, 8)
    assert (by_region.all(2) | ~by_region.any(2)).all() and (by_region.all(2).sum(1) == 4).all()
    often = by_region.all(2).mean(0)
    assert often[7] > often[0] + 0.2  # weights matter
    keep = FacialRegions((8, 8), [1.0] * 8, ratio=1.0, keep=(3, 4))
    mask = sample_span_mask(keep, seed=1, step=0, sample_ids=np.arange(50), region_map=regions, impl=impl).mask
    assert (mask == ~np.isin(regions, (3, 4))).all()


@pytest.mark.parametrize("impl", IMPLS)
def test_blocks_are_rectangles_on_the_torus(impl: str) -> None:
    """The first block of a mask is a full rectangle, up to the wrap: its rows are equal cyclic intervals."""
    spec = ImageBlocks((9, 11), 0.4, minimum=6, maximum=20)
    for row in sample_span_mask(spec, seed=0, step=0, sample_ids=np.arange(100), impl=impl).span_ids:
        block = row.reshape(9, 11) == 0
        rows, columns = block.any(1), block.any(0)
        assert (block == rows[:, None] & columns).all()
        for line in (rows, columns):
            assert np.count_nonzero(line & ~np.roll(line, 1)) <= 1  # one cyclic interval
        assert 3 <= block.sum() <= 40


def test_kinds_of_input_and_output() -> None:
    spec, ids = TextSpans(0.3), [3, 4]
    keywords = {"seed": 1, "step": 1, "sample_ids": ids}
    by_list = sample_span_mask(spec, [5, 9], **keywords)
    by_array = sample_span_mask(spec, np.array([5, 9], np.int16), **keywords)
    by_tensor = sample_span_mask(spec, torch.tensor([5, 9]), **keywords)
    by_mask = sample_span_mask(spec, torch.arange(9) < torch.tensor([[5], [9]]), **keywords)
    assert isinstance(by_array.mask, np.ndarray) and isinstance(by_list.mask, torch.Tensor)
    for other in (by_array, by_tensor, by_mask):
        for mine, theirs in zip(by_list, other, strict=True):
            np.testing.assert_array_equal(np.asarray(mine), np.asarray(theirs))
    grid = sample_span_mask(ImageBlocks((4, 4)), seed=1, step=1, sample_ids=np.array(ids))
    assert isinstance(grid.mask, np.ndarray) and grid.mask.shape == (2, 16) and len(grid.indices) == 2 * 6
    read_only = np.array([5, 9])
    read_only.flags.writeable = False
    np.testing.assert_array_equal(sample_span_mask(spec, read_only, **keywords).mask, by_array.mask)


@pytest.mark.parametrize("impl", IMPLS)
def test_empty_batches_and_empty_samples(impl: str) -> None:
    for lengths in ([], [0], [0, 0]):
        found = sample_span_mask(
            TextSpans(0.5), lengths, seed=0, step=0, sample_ids=list(range(len(lengths))), impl=impl
        )
        assert found.mask.shape == (len(lengths), 0) and found.cu_masked.tolist() == [0] * (len(lengths) + 1)
    nothing = np.zeros((2, 12), bool)
    for spec in (TextSpans(1.0), ImageBlocks((3, 4), 1.0), ImageRandom((3, 4), 1.0)):
        assert not sample_span_mask(spec, nothing, seed=0, step=0, sample_ids=[0, 1], impl=impl).mask.any()


def test_the_cosine_ratio_is_maskgit_s() -> None:
    ratios = []
    for sample in range(4000):
        stream = RandomStream(0, 0, sample, 1)
        word = RandomStream(0, 0, sample, 1).word()
        program = ImageRandom((1, 1), MaskGITCosine()).program().image
        assert program is not None
        count = draw_count(program.ratio, 2**24, stream)
        assert abs(count / 2**24 - np.cos(np.pi / 2 * word / 2**32)) < 1e-7
        ratios.append(count / 2**24)
    assert abs(np.mean(ratios) - 2 / np.pi) < 0.015


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        (Geometric(0.2, 10), {k: 0.8 ** (k - 1) for k in range(1, 11)}),
        (Poisson(3.0, 8), {1: 3.0, 2: 4.5, 3: 4.5, 4: 3.375, 5: 2.025, 6: 1.0125, 7: 0.43392857, 8: 0.16272321}),
        (Normal(2.5, 1.0, 5), {1: 0.15865525, 2: 0.34134475, 3: 0.34134475, 4: 0.13590512, 5: 0.02140023}),
        (Uniform(2, 5), dict.fromkeys(range(2, 6), 1.0)),
        (Fixed(3), {3: 1.0}),
    ],
)
def test_lengths_follow_their_law(lengths: object, expected: dict[int, float]) -> None:
    stream = RandomStream(5, 0, 0, 0)
    draws = 20000
    found = np.bincount([draw_length(lengths.law(), stream) for _ in range(draws)], minlength=12)  # type: ignore[attr-defined]
    total = sum(expected.values())
    assert set(np.flatnonzero(found)) == set(expected)
    statistic = sum((found[k] - draws * p / total) ** 2 / (draws * p / total) for k, p in expected.items())
    assert statistic < 30  # fewer than ten degrees of freedom


@given(seed=seeds)
@settings(max_examples=100, deadline=None)
def test_programs_survive_encoding(seed: int) -> None:
    spec = random_case(np.random.default_rng(seed)).spec
    assert Program.decode(spec.encoded) == spec.program()
    assert spec == eval(repr(spec), globals())  # a specification prints what makes it
    assert hash(spec) == hash(eval(repr(spec), globals()))


def test_lists_and_numpy_numbers_make_the_same_specification() -> None:
    spec = ImageBlocks([np.int64(4), 5], [np.float32(0.25), 0.5], minimum=np.int32(2))  # type: ignore[arg-type]
    assert spec == ImageBlocks((4, 5), (0.25, 0.5), minimum=2) and hash(spec) == hash(spec)
    assert repr(spec) == repr(ImageBlocks((4, 5), (0.25, 0.5), minimum=2))


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: TextSpans(1.5), "TextSpans.ratio"),
        (lambda: TextSpans((0.5, 0.2)), "TextSpans.ratio"),
        (lambda: TextSpans(float("nan")), "TextSpans.ratio"),
        (lambda: TextSpans("a lot"), "TextSpans.ratio"),  # type: ignore[arg-type]
        (lambda: TextSpans(min_gap=-1), "TextSpans.min_gap"),
        (lambda: TextSpans(lengths=3), "TextSpans.lengths"),  # type: ignore[arg-type]
        (lambda: Geometric(0.0), "Geometric.p"),
        (lambda: Poisson(40.0, 10), "Poisson.mean"),
        (lambda: Normal(0.0, 1.0), "Normal.mean"),
        (lambda: Normal(3.0, 0.0), "Normal.deviation"),
        (lambda: Uniform(5, 4), "Uniform.minimum"),
        (lambda: Fixed(0), "Fixed.length"),
        (lambda: ImageBlocks((0, 4)), "ImageBlocks.grid"),
        (lambda: ImageBlocks((4, 4), aspect=(2.0, 1.0)), "ImageBlocks.aspect"),
        (lambda: ImageBlocks((4, 4), minimum=5, maximum=4), "ImageBlocks.maximum"),
        (lambda: FacialRegions((4, 4), [-1.0]), "FacialRegions.weights"),
        (lambda: FacialRegions((4, 4), {70: 1.0}), "FacialRegions.weights"),
        (lambda: Multimodal(ImageRandom((2, 2)), None), "Multimodal.text"),  # type: ignore[arg-type]
    ],
)
def test_impossible_specifications_are_named(make: object, names: str) -> None:
    with pytest.raises(InputError, match=names):
        make()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("spec", "layout", "change", "names"),
    [
        ("text", [3], {}, "spec"),
        (TextSpans(), None, {}, "lengths_or_eligible"),
        (TextSpans(), [3, 4], {}, "sample_ids"),
        (TextSpans(), [-1], {}, "lengths"),
        (TextSpans(), [9], {"max_length": 8}, "lengths"),
        (TextSpans(), torch.tensor([0.5]), {}, "lengths_or_eligible"),
        (TextSpans(), torch.ones(1, 2, 3, dtype=torch.bool), {}, "lengths_or_eligible"),
        (TextSpans(), torch.ones(1, 3, dtype=torch.int8), {}, "bool"),
        (TextSpans(), [3], {"step": -1}, "step"),
        (TextSpans(), [3], {"step": 2**32}, "step"),
        (TextSpans(), [3], {"step": torch.zeros(2)}, "step"),
        (TextSpans(), [3], {"seed": 0.5}, "seed"),
        (TextSpans(), [3], {"sample_ids": torch.zeros(1)}, "sample_ids"),
        (TextSpans(whole_words=True), [3], {}, "word_ids"),
        (TextSpans(whole_words=True), [3], {"word_ids": np.zeros((1, 4), int)}, "word_ids"),
        (ImageBlocks((4, 4)), np.ones((1, 15), bool), {}, "cells"),
        (FacialRegions((4, 4), [1.0]), None, {}, "region_map"),
        (FacialRegions((4, 4), [1.0]), None, {"region_map": np.zeros((1, 16))}, "region_map"),
        (Multimodal(TextSpans(), None), [3], {}, "modality"),
        (Multimodal(TextSpans(), None), np.ones((1, 4), bool), {}, "modality"),
    ],
)
def test_bad_calls_are_named(spec: object, layout: object, change: dict[str, object], names: str) -> None:
    keywords = {"seed": 0, "step": 0, "sample_ids": [7]} | change
    with pytest.raises(InputError, match=names):
        sample_span_mask(spec, layout, **keywords)  # type: ignore[arg-type]


def test_a_named_implementation_never_falls_back() -> None:
    with pytest.raises(ValueError, match="'reference'"):
        sample_span_mask(TextSpans(), [3], seed=0, step=0, sample_ids=[0], impl="fast")
    with pytest.raises(RuntimeError, match="cannot run here"):
        sample_span_mask(TextSpans(), [3], seed=0, step=0, sample_ids=[0], impl="cuda")
