"""Image–text matching: the loss, and negatives that are never the sample itself."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from gptface.errors import InputError
from gptface.objectives import (
    contrastive_loss,
    hard_negatives,
    match_loss,
    random_negatives,
    same_captions,
)


def identities(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 2**62, (count,), generator=torch.Generator().manual_seed(seed))


def test_the_loss_is_two_way_cross_entropy() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 2), torch.tensor([0, 1, 1, 0, 1, 0])
    loss, accuracy = match_loss(logits, labels)
    torch.testing.assert_close(loss, functional.cross_entropy(logits, labels))
    torch.testing.assert_close(accuracy, (logits.argmax(-1) == labels).float().mean())
    loss, _ = match_loss(logits, labels.bool(), weights=torch.tensor([1.0, 0, 0, 0, 0, 1]))
    torch.testing.assert_close(loss, functional.cross_entropy(logits[[0, 5]], labels[[0, 5]]))
    loss, accuracy = match_loss(logits, labels, weights=torch.zeros(6))
    assert float(loss) == 0 and float(accuracy) == 0


@settings(deadline=None, max_examples=60)
@given(ids=st.lists(st.integers(0, 5), min_size=1, max_size=9), seed=st.integers(0, 2**40), step=st.integers(0, 10**6))
def test_a_negative_is_another_sample_or_declared_missing(ids: list[int], seed: int, step: int) -> None:
    sample_ids = torch.tensor(ids) * 2**33
    similarity = torch.randn(len(ids), len(ids), generator=torch.Generator().manual_seed(step))
    for negatives in (
        random_negatives(sample_ids, seed=seed, step=step),
        hard_negatives(similarity, sample_ids, seed=seed, step=step),
        hard_negatives(similarity, sample_ids, seed=seed, step=step, temperature=0.0),
    ):
        for row, (other, valid) in enumerate(zip(*map(torch.Tensor.tolist, negatives), strict=True)):
            assert valid == any(identity != ids[row] for identity in ids)
            if valid:
                assert ids[other] != ids[row]
            else:
                assert other == row


def test_random_negatives_are_uniform_over_the_others() -> None:
    count, draws = 25, 300
    sample_ids = identities(count)
    counts = torch.zeros(count, count)
    for step in range(draws):
        counts[torch.arange(count), random_negatives(sample_ids, seed=5, step=step).indices] += 1
    assert not counts.diagonal().any()
    expected = draws / (count - 1)
    off = counts[~torch.eye(count, dtype=torch.bool)]
    chi_square = ((off - expected) ** 2 / expected).sum()
    degrees = count * (count - 2)
    assert float(chi_square) < degrees + 4 * (2 * degrees) ** 0.5


def test_hard_negatives_follow_the_softmax() -> None:
    count, draws = 5, 1200
    sample_ids = identities(count, 3)
    similarity = torch.randn(count, count, generator=torch.Generator().manual_seed(1))
    counts = torch.zeros(count, count)
    for step in range(draws):
        drawn = hard_negatives(similarity, sample_ids, seed=9, step=step, temperature=0.5)
        counts[torch.arange(count), drawn.indices] += 1
    wanted = (similarity / 0.5).masked_fill(torch.eye(count, dtype=torch.bool), -torch.inf).softmax(-1)
    torch.testing.assert_close(counts / draws, wanted, atol=0.07, rtol=0)
    hardest = hard_negatives(similarity, sample_ids, seed=9, step=0, temperature=0.0).indices
    assert torch.equal(hardest, wanted.argmax(-1))


def test_a_draw_depends_on_identities_not_on_the_order_of_the_batch() -> None:
    sample_ids = identities(8)
    first = random_negatives(sample_ids, seed=1, step=2).indices
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    shuffled = random_negatives(sample_ids[order], seed=1, step=2).indices
    assert torch.equal(sample_ids[order][shuffled], sample_ids[first][order])
    assert not torch.equal(first, random_negatives(sample_ids, seed=1, step=3).indices)
    assert not torch.equal(first, random_negatives(sample_ids, seed=2, step=2).indices)


def test_identical_captions_are_left_out() -> None:
    text_ids = torch.tensor([[5, 6, 7], [5, 6, 9], [5, 6, 7], [8, 0, 0]])
    same = same_captions(text_ids, torch.tensor([2, 2, 3, 1]))
    expected = torch.eye(4, dtype=torch.bool)
    expected[0, 1] = expected[1, 0] = True  # what stands behind their ends differs, which does not count
    assert torch.equal(same, expected)
    sample_ids = identities(4)
    for step in range(50):
        drawn = random_negatives(sample_ids, seed=0, step=step, excluded=same)
        assert not same[torch.arange(4), drawn.indices].any()
    nothing_left = random_negatives(sample_ids, seed=0, step=0, excluded=torch.ones(4, 4, dtype=torch.bool))
    assert not nothing_left.valid.any()


def test_similarities_that_are_not_numbers_do_not_choose_the_sample_itself() -> None:
    drawn = hard_negatives(torch.full((3, 3), torch.nan), identities(3), seed=0, step=0)
    assert not (drawn.indices == torch.arange(3)).any()


def test_nothing_is_asked_of_the_host() -> None:
    with torch.device("meta"):
        drawn = hard_negatives(torch.zeros(4, 4), torch.zeros(4, dtype=torch.int64), seed=1, step=2)
        same_captions(torch.zeros(4, 3, dtype=torch.int64), torch.zeros(4, dtype=torch.int64))
    assert drawn.indices.shape == (4,)


def test_bad_arguments() -> None:
    with pytest.raises(InputError, match=r"logits must have shape \(B, 2\)"):
        match_loss(torch.zeros(3, 3), torch.zeros(3))
    with pytest.raises(InputError, match=r"similarity must have shape \(3, 3\), got \(2, 3\)"):
        hard_negatives(torch.zeros(2, 3), identities(3), seed=0, step=0)
    with pytest.raises(InputError, match="temperature"):
        hard_negatives(torch.zeros(3, 3), identities(3), seed=0, step=0, temperature=-1.0)


def test_the_contrastive_loss_is_cross_entropy_both_ways() -> None:
    torch.manual_seed(0)
    scores, own = torch.randn(5, 5), torch.eye(5, dtype=torch.bool)
    loss, accuracy = contrastive_loss(scores, own, torch.ones(5, dtype=torch.bool))
    rows = torch.arange(5)
    expected = (functional.cross_entropy(scores, rows) + functional.cross_entropy(scores.T, rows)) / 2
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(accuracy, (scores.argmax(1) == rows).float().mean())


def test_an_equal_caption_of_another_picture_is_no_wrong_answer() -> None:
    torch.manual_seed(0)
    scores, same = torch.randn(4, 4), torch.eye(4, dtype=torch.bool)
    same[0, 1] = same[1, 0] = True
    scores[0, 1] = scores[1, 0] = 50.0  # would be a loss of about 50 nats, were it held against them
    loss, _ = contrastive_loss(scores, same, torch.ones(4, dtype=torch.bool))
    assert float(loss) < 5


def test_pairs_without_a_caption_neither_ask_nor_answer() -> None:
    torch.manual_seed(0)
    scores, own = torch.randn(4, 4, requires_grad=True), torch.eye(4, dtype=torch.bool)
    valid = torch.tensor([True, True, False, True])
    loss, accuracy = contrastive_loss(scores, own, valid)
    kept = torch.tensor([0, 1, 3])
    expected, expected_accuracy = contrastive_loss(
        scores[kept][:, kept], own[kept][:, kept], torch.ones(3, dtype=torch.bool)
    )
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(accuracy, expected_accuracy)
    (gradient,) = torch.autograd.grad(loss, scores)
    assert not gradient[2].any() and not gradient[:, 2].any() and gradient.isfinite().all()
    nothing, _ = contrastive_loss(scores, own, torch.zeros(4, dtype=torch.bool))
    assert float(nothing.detach()) == 0


def test_contrastive_shapes_are_checked() -> None:
    own = torch.eye(3, dtype=torch.bool)
    with pytest.raises(InputError, match=r"similarities and same must have shape \(B, B\) and valid \(B,\)"):
        contrastive_loss(torch.zeros(3, 4), own, torch.ones(3, dtype=torch.bool))
