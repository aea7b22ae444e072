"""The pre-training step packs its batches: the same losses without padding, and only where that is less work."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptface.systems.gptface.mixed_batch import row_counts
from gptface.training.stage import Moment
from tests.systems.gptface.test_objective import TOKENS, WIDTH, make_objective, make_pairs


def test_a_step_computes_no_padding_and_learns_the_same() -> None:
    """The losses and gradients of the packed step are those of the padded one by the reference implementation."""
    pairs, moment, found = make_pairs(12), Moment(0, 0, 1.0), []
    if not make_objective().model.packing_pays():
        pytest.skip("no implementation of attention here leaves out what is hidden")
    for packing, impl in ((True, "auto"), (False, "reference")):
        objective = make_objective(packing=packing)
        objective.model.set_attention_impl(impl)
        rows: list[int] = []
        objective.model.layers[0].register_forward_hook(
            lambda _module, inputs, _output, rows=rows: rows.append(inputs[0].shape[:2].numel())
        )
        torch.manual_seed(1)
        sequence = objective.compose(pairs, moment).sequence
        assert (sequence.packing is not None) == packing
        torch.manual_seed(1)
        loss, parts = objective(pairs, moment)
        assert rows == [int(sequence.lengths.sum()) if packing else sequence.token_ids.numel()]
        gradients = torch.autograd.grad(loss, list(objective.parameters()), allow_unused=True, materialize_grads=True)
        found.append((loss, *parts.values(), *gradients))
    for packed, padded in zip(*found, strict=True):
        torch.testing.assert_close(packed, padded, rtol=1e-4, atol=1e-5)


def test_a_batch_without_padding_is_left_as_it_is() -> None:
    pairs = make_pairs(12)
    pairs.text_lengths = torch.full_like(pairs.text_lengths, WIDTH)
    batch = make_objective(caption_dropout=0.0).compose(pairs, Moment(0, 0, 1.0))
    assert batch.sequence.packing is None


@pytest.mark.parametrize("impl", ["reference", "sdpa"])
def test_attention_that_computes_every_score_gets_padded_batches(impl: str) -> None:
    """Packed, all samples of a batch would meet in one dense matrix of scores: 35 times the time of a demo's step."""
    objective = make_objective()
    objective.model.set_attention_impl(impl)
    assert objective.compose(make_pairs(12), Moment(0, 0, 1.0)).sequence.packing is None


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 20), st.integers(0, 5))
def test_where_lengths_are_on_a_device_the_host_knows_a_bound(batch: int, seed: int) -> None:
    objective, pairs, moment = make_objective(), make_pairs(batch, seed), Moment(0, 0, 1.0)
    masked = row_counts(objective.section, batch)[0]
    used = objective.compose(pairs, moment).sequence.lengths
    elsewhere = torch.empty(len(used), device="meta")
    assert objective.composer.num_tokens(pairs, elsewhere, masked) is None
    pairs.host_lengths = pairs.text_lengths
    bound = objective.composer.num_tokens(pairs, elsewhere, masked)
    if bound is not None:
        assert int(used.sum()) <= bound < len(used) * (TOKENS + 3 + WIDTH)


def test_sparse_rows_keep_their_share_of_image_tokens_and_predict_those_alone() -> None:
    pairs = make_pairs(12)
    objective = make_objective(sparse={"image": 0.5, "until": 0.8})
    if not objective.model.packing_pays():
        pytest.skip("no implementation of attention here leaves out what is hidden")
    masked, to_image, to_text, mismatched = row_counts(objective.section, 12)
    whole = make_objective().compose(pairs, Moment(0, 0, 0.5))
    sparse = objective.compose(pairs, Moment(0, 0, 0.5))
    assert sparse.sequence.packing is not None
    places = sparse.sequence.packing.places.view(len(sparse.sequence.lengths), -1)
    found = (places.gather(1, sparse.sequence.image_slots) >= 0).sum(1).tolist()
    half = round(0.5 * TOKENS)
    assert found == [half] * masked + [TOKENS] * to_image + [half] * (to_text + mismatched)
    # Nothing but image tokens of those rows is missing, and every target that is left is computed.
    rows = masked + to_text + mismatched
    assert int((places >= 0).sum()) == int(sparse.sequence.lengths.sum()) - rows * (TOKENS - half)
    named = sparse.masked_image.positions[sparse.masked_image.positions >= 0]
    assert bool((places.flatten()[named] >= 0).all())
    assert 0 < len(named) < int((whole.masked_image.positions >= 0).sum())
    assert int(sparse.next_image.count()) == int(whole.next_image.count())
    # From ``until`` on, and in validation, rows are whole.
    assert objective.composer._image_kept(pairs, Moment(0, 0, 0.8), torch.zeros(19, TOKENS, dtype=torch.bool)) is None
    loss, parts = objective(pairs, Moment(0, 0, 0.5))
    assert all(bool(part.isfinite()) for part in (loss, *parts.values()))


def test_hidden_tokens_are_kept_first_and_some_that_are_seen_stay() -> None:
    pairs = make_pairs(12)
    masks = {"random": 0, "blocks": 0, "regions": 0, "edits": 1}
    objective = make_objective(image_masks=masks, sparse={"image": 0.5}, caption_dropout=0.0)
    half = TOKENS // 2
    composer = objective.composer
    if not objective.model.packing_pays():
        pytest.skip("no implementation of attention here leaves out what is hidden")
    for share in (0.25, 0.5, 0.75, 1.0):
        hidden = torch.zeros(sum(row_counts(objective.section, 12)), TOKENS, dtype=torch.bool)
        hidden[:, : round(share * TOKENS)] = True
        kept = composer._image_kept(pairs, Moment(0, 0, 0.0), hidden)
        assert kept is not None
        masked, to_image, *_ = row_counts(objective.section, 12)
        rows = torch.ones(len(hidden), dtype=torch.bool)
        rows[masked : masked + to_image] = False
        assert (kept.tokens[rows].sum(1) == half).all() and kept.tokens[~rows].all()
        count = round(share * TOKENS)
        # At most three quarters of what is kept, unless too few are seen to fill the rest.
        expected = min(count, max(math.floor(0.75 * half), half - (TOKENS - count)))
        assert ((kept.tokens & hidden)[rows[:masked].nonzero().flatten()].sum(1) == expected).all()


def test_what_a_sparse_row_leaves_out_changes_nothing_in_it() -> None:
    pairs = make_pairs(12)
    objective = make_objective(sparse={"image": 0.5})
    objective.model.alignment = None  # the towers see whole pictures
    objective.model.config.alignment_size = 0
    if not objective.model.packing_pays():
        pytest.skip("no implementation of attention here leaves out what is hidden")
    sequence = objective.compose(pairs, Moment(0, 0, 0.5)).sequence
    assert sequence.packing is not None
    absent = (sequence.packing.places < 0).view(sequence.token_ids.shape)
    hidden = objective.model.forward_sequence(sequence)
    sequence.token_ids = torch.where(absent, (sequence.token_ids + 1) % 30, sequence.token_ids)
    assert torch.equal(hidden, objective.model.forward_sequence(sequence))
    assert bool((hidden[absent] == 0).all())
