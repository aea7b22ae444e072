"""Joint sequences against a per-sample loop that builds Python lists."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptface.errors import InputError
from gptface.systems.gptface.sequence import JointVocabulary, Regime, build_sequence

VOCABULARY = JointVocabulary(text_size=20, image_size=6, pad_id=0, cls_id=2, sep_id=3, mask_id=4)


def one_sample(text: list[int], image: list[int], regime: Regime) -> dict[str, Any]:
    """(id, segment, position) of every slot, where text and image tokens stand, and the visible keys of every slot."""
    text_part = [(token, 0, index + 1) for index, token in enumerate(text)]
    text_end = (VOCABULARY.sep_id, 0, len(text) + 1)
    image_part = [(VOCABULARY.text_size + code, 1, index) for index, code in enumerate(image)]
    image_end = (VOCABULARY.sep_id, 1, len(image))
    start = (VOCABULARY.cls_id, 0, 0)
    if regime == Regime.IMAGE_TO_TEXT:
        tokens = [start, *image_part, image_end, *text_part, text_end]
        image_start, text_start, prefix = 1, len(image) + 2, len(image) + 2
    else:
        tokens = [start, *text_part, text_end, *image_part, image_end]
        text_start, image_start, prefix = 1, len(text) + 2, len(text) + 2
    count = len(tokens)
    visible = []
    for row in range(count):
        if regime == Regime.MASKED:
            visible.append(set(range(count)))
        else:
            visible.append(set(range(prefix)) | set(range(row + 1)))
    return {
        "tokens": tokens,
        "text_slots": [text_start + index for index in range(len(text))],
        "image_slots": [image_start + index for index in range(len(image))],
        "visible": visible,
    }


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[list[int]], list[list[int]], list[Regime], int]:
    size = draw(st.integers(1, 4))
    codes = draw(st.integers(0, 5))
    texts = [draw(st.lists(st.integers(1, 19), max_size=6)) for _ in range(size)]
    images = [draw(st.lists(st.integers(0, 6), min_size=codes, max_size=codes)) for _ in range(size)]
    regimes = [draw(st.sampled_from(list(Regime))) for _ in range(size)]
    capacity = max(map(len, texts)) + draw(st.integers(0, 2))
    return texts, images, regimes, capacity


@settings(deadline=None, max_examples=150)
@given(batches())
def test_layout_matches_a_loop(batch: tuple[list[list[int]], list[list[int]], list[Regime], int]) -> None:
    texts, images, regimes, capacity = batch
    text_ids = torch.full((len(texts), capacity), 9)  # what stands behind a caption's end must not matter
    for row, text in enumerate(texts):
        text_ids[row, : len(text)] = torch.tensor(text, dtype=torch.int64)
    codes = torch.tensor(images, dtype=torch.int64).reshape(len(texts), -1)
    sequence = build_sequence(VOCABULARY, text_ids, [len(text) for text in texts], codes, regimes)
    slots = capacity + codes.shape[1] + 3
    assert sequence.token_ids.shape == (len(texts), slots)
    dense = sequence.attention_mask.to_dense().expand(len(texts), -1, -1)
    for row, (text, image, regime) in enumerate(zip(texts, images, regimes, strict=True)):
        expected = one_sample(text, image, regime)
        padded = expected["tokens"] + [(VOCABULARY.pad_id, 0, 0)] * (slots - len(expected["tokens"]))
        ids, segments, positions = (list(column) for column in zip(*padded, strict=True))
        assert sequence.token_ids[row].tolist() == ids
        assert sequence.segment_ids[row].tolist() == segments
        assert sequence.position_ids[row].tolist() == positions
        assert sequence.lengths[row] == len(expected["tokens"])
        assert sequence.regimes[row] == regime
        assert sequence.text_valid[row].tolist() == [True] * len(text) + [False] * (capacity - len(text))
        assert sequence.text_slots[row, : len(text)].tolist() == expected["text_slots"]
        assert (sequence.text_slots[row] < slots).all()
        assert sequence.image_slots[row].tolist() == expected["image_slots"]
        for slot in range(slots):
            seen = set(dense[row, slot].nonzero().flatten().tolist())
            assert seen == (expected["visible"][slot] if slot < len(expected["tokens"]) else set())
    sequence.attention_mask.validate()


def test_a_single_regime_and_tensors_of_lengths_are_accepted() -> None:
    text_ids, codes = torch.ones(2, 3, dtype=torch.int64), torch.zeros(2, 4, dtype=torch.int64)
    first = build_sequence(VOCABULARY, text_ids, torch.tensor([3, 1]), codes, Regime.TEXT_TO_IMAGE)
    second = build_sequence(VOCABULARY, text_ids, [3, 1], codes, torch.tensor([1, 1]))
    assert torch.equal(first.token_ids, second.token_ids)
    assert torch.equal(first.attention_mask.intervals, second.attention_mask.intervals)


def test_building_does_not_ask_the_host() -> None:
    def build(text_ids: torch.Tensor, lengths: torch.Tensor, codes: torch.Tensor, regimes: torch.Tensor) -> Any:
        sequence = build_sequence(VOCABULARY, text_ids, lengths, codes, regimes)
        return sequence.token_ids, sequence.attention_mask.intervals

    with torch.device("meta"):  # a meta tensor has no values: whatever needed one would raise
        result = build(
            torch.zeros(2, 5, dtype=torch.int64),
            torch.zeros(2, dtype=torch.int64),
            torch.zeros(2, 4, dtype=torch.int64),
            torch.zeros(2, dtype=torch.int64),
        )
    assert result[0].shape == (2, 12)


@pytest.mark.parametrize(
    ("text_ids", "lengths", "codes", "regimes", "message"),
    [
        (torch.zeros(2, 3), [1, 1], torch.zeros(3, 4), [0, 0], "same number of rows"),
        (torch.zeros(3), [1, 1], torch.zeros(3, 4), [0, 0], "matrices"),
        (torch.zeros(2, 3), [1], torch.zeros(2, 4), [0, 0], "text_lengths"),
        (torch.zeros(2, 3), [1, 1], torch.zeros(2, 4), [0], "regimes"),
    ],
)
def test_shapes_that_do_not_fit(text_ids: Any, lengths: Any, codes: Any, regimes: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_sequence(VOCABULARY, text_ids, lengths, codes, regimes)


def test_a_special_token_outside_the_text_range() -> None:
    with pytest.raises(InputError, match=r"sep_id .*\[0, 5\).* 7"):
        JointVocabulary(text_size=5, image_size=2, pad_id=0, cls_id=1, sep_id=7, mask_id=3)


def test_the_joint_ids_do_not_overlap() -> None:
    assert VOCABULARY.image_offset == 20
    assert VOCABULARY.image_mask_id == 26
    assert VOCABULARY.size == 27
