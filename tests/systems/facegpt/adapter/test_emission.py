"""Constrained emission: whatever the scores, ``<FACE>`` comes exactly once, and the rest stays the model's choice."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gptface.errors import InputError
from gptface.systems.facegpt.adapter import FaceOnce

VOCABULARY, FACE = 7, 4


def write(
    processor: FaceOnce, scores: Tensor, prompt: Tensor, ends: list[int], *, sample: torch.Generator | None = None
) -> Tensor:
    """Answers as ``generate`` writes them: after its end, a row is filled with 0."""
    ids = prompt
    over = torch.zeros(len(prompt), dtype=torch.bool)
    for step in scores:
        allowed = processor(ids, step)
        assert bool((allowed.amax(1) > -torch.inf)[~over].all())
        chosen = allowed.argmax(1)
        if sample is not None:
            chosen = torch.multinomial(allowed.softmax(1).nan_to_num(1.0), 1, generator=sample)[:, 0]
        ids = torch.cat((ids, torch.where(over, 0, chosen)[:, None]), 1)
        over |= torch.isin(ids[:, -1], torch.tensor(ends))
    return ids[:, prompt.shape[1] :]


@given(
    seed=st.integers(0, 10_000),
    longest=st.integers(1, 6),
    ends=st.sets(st.sampled_from([1, 2, 6]), max_size=2).map(sorted),
    at_once=st.booleans(),
    sampled=st.booleans(),
    spread=st.sampled_from([0.1, 3.0, 100.0]),
)
def test_every_answer_holds_the_face_exactly_once(
    seed: int, longest: int, ends: list[int], at_once: bool, sampled: bool, spread: float
) -> None:
    draw = torch.Generator().manual_seed(seed)
    scores = spread * torch.randn(longest, 5, VOCABULARY, generator=draw)
    prompt = torch.randint(0, VOCABULARY, (5, 3), generator=draw)  # may hold faces and ends of its own
    processor = FaceOnce(FACE, ends, 3, longest, at_once=at_once)
    answers = write(processor, scores, prompt, ends, sample=draw if sampled else None)
    assert ((answers == FACE).sum(1) == 1).all()
    if at_once:
        assert (answers[:, 0] == FACE).all()
    for answer in answers.tolist():
        finish = next((place for place, token in enumerate(answer) if token in ends), len(answer))
        assert answer.index(FACE) < finish


def test_the_wish_to_end_is_a_vote_for_the_face() -> None:
    processor = FaceOnce(FACE, [2], 1, 5)
    scores = torch.tensor([[0.0, 1.0, 5.0, 2.0, -3.0, 0.0, 0.0], [0.0, 9.0, 5.0, 2.0, -3.0, 0.0, 0.0]])
    found = processor(torch.ones(2, 1, dtype=torch.long), scores)
    assert found.argmax(1).tolist() == [FACE, 1]
    assert found[:, FACE].tolist() == [5.0, 5.0] and found[:, 2].tolist() == [-torch.inf] * 2
    assert torch.equal(found[:, [0, 1, 3, 5, 6]], scores[:, [0, 1, 3, 5, 6]])


def test_after_the_face_only_the_face_is_out_of_the_question() -> None:
    scores = torch.randn(1, VOCABULARY, generator=torch.Generator().manual_seed(0))
    found = FaceOnce(FACE, [2], 1, 5)(torch.tensor([[9, 3, FACE]]), scores)
    assert found[0, FACE] == -torch.inf
    others = [token for token in range(VOCABULARY) if token != FACE]
    assert torch.equal(found[:, others], scores[:, others])


def test_a_face_that_other_processors_forbade_still_comes_last() -> None:
    scores = torch.zeros(1, VOCABULARY)
    scores[0, [FACE, 2]] = -torch.inf
    assert FaceOnce(FACE, [2], 0, 1)(torch.zeros(1, 0, dtype=torch.long), scores).argmax(1).tolist() == [FACE]


def test_an_answer_of_no_token_is_refused() -> None:
    with pytest.raises(InputError, match="max_new_tokens: 0"):
        FaceOnce(FACE, [2], 1, 0)
