"""Captions that contradict: which they are, and what matching makes of them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptface.data.sample import Sample
from gptface.data.text import encode_captions
from gptface.evaluation.face_set import FaceSet
from gptface.systems.gptface.evaluation import contradictions
from gptface.systems.gptface.evaluation.contradictions import contradicting_pairs, measure_contradictions
from tests.systems.gptface.generation.systems import tiny_system

SAYING = {"a smiling man": "happiness", "a happy face": "happiness", "a sad woman": "sadness"}


def test_captions_that_say_nothing_take_no_part() -> None:
    captions = ["a smiling man"] * 5 + ["a sad woman"] * 5 + ["a photo"] * 4 + ["once"]
    labels = ["happiness"] * 5 + ["sadness"] * 5 + ["happiness", "sadness"] * 2 + ["anger"]
    pairs = contradicting_pairs(captions, labels)
    assert pairs.captions == 2 and pairs.rows.tolist() == list(range(10))
    for row, other in zip(pairs.rows, pairs.others, strict=True):
        assert {captions[row], captions[other]} == {"a smiling man", "a sad woman"}


@given(st.lists(st.tuples(st.sampled_from(list(SAYING)), st.booleans()), max_size=40), st.integers(0, 3))
def test_the_other_caption_always_says_another_expression(drawn: list[tuple[str, bool]], seed: int) -> None:
    captions = [caption for caption, _ in drawn]
    labels = [SAYING[caption] if known else None for caption, known in drawn]
    pairs = contradicting_pairs(captions, labels, seed=seed)
    counts = Counter(caption for caption, label in zip(captions, labels, strict=True) if label is not None)
    for row, other in zip(pairs.rows, pairs.others, strict=True):
        assert labels[row] == SAYING[captions[row]] != SAYING[captions[other]]
        assert counts[captions[row]] >= 2 and counts[captions[other]] >= 2
    speaking = {SAYING[caption] for caption, count in counts.items() if count >= 2}
    assert bool(len(pairs.rows)) == (len(speaking) > 1)


def test_one_wrong_label_in_twenty_does_not_silence_a_caption() -> None:
    captions = ["a smiling man"] * 20 + ["a sad woman"] * 3
    labels = ["happiness"] * 19 + ["sadness"] + ["sadness"] * 3
    pairs = contradicting_pairs(captions, labels)
    assert pairs.captions == 2 and 19 not in pairs.rows, "its caption does not say its own label"


def test_accuracy_ranking_and_what_captions_alone_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A matcher that knows happy faces, and takes every caption for right on the others."""
    captions = ["a smiling man"] * 6 + ["a sad woman"] * 6
    labels = ["happiness"] * 6 + ["sadness"] * 6
    image = np.zeros((32, 32, 3), np.uint8)
    samples = [
        Sample(image, caption, row, {"expression": label, "person": row // 2})
        for row, (caption, label) in enumerate(zip(captions, labels, strict=True))
    ]
    faces = FaceSet(np.stack([image] * 12), captions, samples, {})
    system = tiny_system()
    ids, lengths = encode_captions(system.text_tokenizer, captions, 8)
    codes = torch.arange(12)[:, None].expand(12, 16) % 2 + torch.tensor([0] * 6 + [10] * 6)[:, None]

    def odds(model: object, codes: torch.Tensor, text_ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        happy_face = codes.masked_fill(codes == 64, 0).amax(1) < 10
        happy_text = (text_ids == ids[0]).all(1)
        return torch.where(happy_face, torch.where(happy_text, 1.0, -1.0), torch.where(happy_text, 1.0, 2.0))

    monkeypatch.setattr(contradictions, "match_log_odds", odds)
    found = measure_contradictions(system, faces, codes, ids, lengths, group="person")
    assert found["pairs"] == 12 and found["accuracy"] == 0.75 and found["ranking"] == 1.0
    assert found["accuracy_low"] < 0.75 < found["accuracy_high"] and found["ranking_low"] < 1
    assert found["accuracy_without_looking"] == 0.5
    assert contradictions._without_looking(["a", "a", "b"], ["b", "c", "a"]) == pytest.approx(4 / 6)
    blank = FaceSet(faces.images, captions, [Sample(image, "", row, {}) for row in range(12)], {})
    assert measure_contradictions(system, blank, codes, ids, lengths) == {}
