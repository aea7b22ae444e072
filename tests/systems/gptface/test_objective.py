"""The composition of the pre-training batch: who learns what, and from which tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from gptface.errors import InputError
from gptface.faces.regions import REGIONS
from gptface.ops import gather_rows
from gptface.systems.gptface import FaceLanguageConfig, FaceLanguageModel, Regime, pair_scores
from gptface.systems.gptface.configuration import PretrainSection
from gptface.systems.gptface.masking import Targets, dealt, joint_positions
from gptface.systems.gptface.mixed_batch import MixedBatch, _walk, row_counts
from gptface.systems.gptface.objective import PretrainingObjective
from gptface.systems.gptface.pairs import Pairs
from gptface.training.stage import Moment

TEXT, CODES, GRID, WIDTH = 64, 32, (4, 4), 9
CONFIG = FaceLanguageConfig.tiny(
    text_vocab_size=TEXT,
    codebook_size=CODES,
    image_grid=list(GRID),
    max_text_length=WIDTH,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=64,
)
TOKENS = GRID[0] * GRID[1]


def make_pairs(batch: int, seed: int = 0) -> Pairs:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, WIDTH + 1, (batch,), generator=generator)
    text = torch.randint(5, TEXT, (batch, WIDTH), generator=generator)
    text[torch.arange(WIDTH) >= lengths[:, None]] = 0
    return Pairs(
        torch.randint(0, CODES, (batch, TOKENS), generator=generator),
        text,
        lengths,
        torch.arange(batch) + 1000,
        torch.arange(batch),
        torch.randint(0, len(REGIONS), (batch, TOKENS), generator=generator),
    )


def make_objective(pairs: int = 0, packing: bool = True, **section: Any) -> PretrainingObjective:
    torch.manual_seed(0)
    config = FaceLanguageConfig.from_dict({**CONFIG.to_dict(), **section.get("model", {})})
    return PretrainingObjective(FaceLanguageModel(config), PretrainSection(**section), pairs, packing=packing).train()


def places(targets: Targets, sequence_length: int) -> tuple[Tensor, Tensor]:
    chosen = targets.positions[targets.positions >= 0]
    return chosen // sequence_length, chosen % sequence_length


@pytest.fixture(scope="module")
def composed() -> tuple[MixedBatch, Pairs, PretrainingObjective]:
    objective, pairs = make_objective(), make_pairs(32)
    return objective.compose(pairs, Moment(3, 3, 0.5)), pairs, objective


def test_regimes_and_rows(composed: tuple[MixedBatch, Pairs, PretrainingObjective]) -> None:
    batch, _, _ = composed
    assert (batch.masked, batch.to_image, batch.to_text, batch.mismatched) == (16, 8, 8, 16)
    expected = [Regime.MASKED] * 16 + [Regime.TEXT_TO_IMAGE] * 8 + [Regime.IMAGE_TO_TEXT] * 8 + [Regime.MASKED] * 16
    assert batch.sequence.regimes.tolist() == [int(regime) for regime in expected]


def test_masked_labels_are_the_true_tokens_at_hidden_positions_of_masked_rows_only(
    composed: tuple[MixedBatch, Pairs, PretrainingObjective],
) -> None:
    batch, pairs, objective = composed
    sequence, vocabulary = batch.sequence, objective.model.vocabulary
    length = sequence.token_ids.shape[1]
    for targets, truth, slots, mask_id in (
        (batch.masked_image, pairs.codes, sequence.image_slots, vocabulary.image_mask_id),
        (batch.masked_text, pairs.text_ids, sequence.text_slots, vocabulary.mask_id),
    ):
        rows, columns = places(targets, length)
        labels = targets.labels[targets.positions >= 0]
        assert len(rows) > 0
        assert int(rows.max()) < batch.masked
        for row, column, label in zip(rows.tolist(), columns.tolist(), labels.tolist(), strict=True):
            token = (slots[row] == column).nonzero()
            assert len(token) == 1
            assert truth[row, int(token)] == label
        # Every mask token of the masked rows is asked for: nothing hidden goes without a label.
        shown = sequence.token_ids[: batch.masked] == mask_id
        asked = torch.zeros_like(shown)
        asked[rows, columns] = True
        assert bool((asked | ~shown).all())


def test_every_masked_image_position_is_a_mask_token(composed: tuple[MixedBatch, Pairs, PretrainingObjective]) -> None:
    batch, _, objective = composed
    rows, columns = places(batch.masked_image, batch.sequence.token_ids.shape[1])
    assert (batch.sequence.token_ids[rows, columns] == objective.model.vocabulary.image_mask_id).all()


def test_mismatched_rows_have_the_first_rows_images_and_other_rows_captions(
    composed: tuple[MixedBatch, Pairs, PretrainingObjective],
) -> None:
    batch, _, _ = composed
    ids, slots = batch.sequence.token_ids, batch.sequence.image_slots
    mismatched = slice(len(ids) - batch.mismatched, None)
    images = ids.gather(1, slots)
    assert torch.equal(images[mismatched], images[: batch.mismatched])
    captions = torch.where(batch.sequence.text_valid, ids.gather(1, batch.sequence.text_slots), -1)
    valid = batch.match_valid[batch.masked :]
    assert bool(valid.any())
    own = (captions[mismatched] == captions[: batch.mismatched]).all(1)
    assert not bool((own & valid).any())
    positives = {tuple(row) for row in captions[: batch.masked].tolist()}
    assert all(tuple(row) in positives for row in captions[mismatched][valid].tolist())


def test_with_few_mismatched_rows_the_mask_shape_does_not_tell_them_apart() -> None:
    objective, pairs = make_objective(matching={"negatives": 0.25}), make_pairs(32)
    used = torch.zeros(16)
    for step in range(64):
        batch = objective.compose(pairs, Moment(step, step, 0.5))
        assert batch.mismatched == 4
        images = batch.sequence.token_ids.gather(1, batch.sequence.image_slots)
        same = (images[-4:, None] == images[None, : batch.masked]).all(-1)
        assert bool(same.any(1).all())
        used += same.any(0)
    assert used.min() > 8  # of 64 steps; 16 expected of each row, whatever its kind of mask


def test_match_labels_and_which_rows_count(composed: tuple[MixedBatch, Pairs, PretrainingObjective]) -> None:
    batch, _, _ = composed
    assert batch.match_labels.tolist() == [1] * batch.masked + [0] * batch.mismatched
    captioned = batch.sequence.text_valid[: batch.masked].any(1)
    assert torch.equal(batch.match_valid[: batch.masked], captioned)


def test_next_token_targets_lie_one_slot_before_what_they_predict(
    composed: tuple[MixedBatch, Pairs, PretrainingObjective],
) -> None:
    batch, pairs, objective = composed
    vocabulary, ids = objective.model.vocabulary, batch.sequence.token_ids
    rows, columns = places(batch.next_image, ids.shape[1])
    assert set(rows.tolist()) == set(range(batch.masked, batch.masked + batch.to_image))
    assert torch.equal(ids[rows, columns + 1] - vocabulary.image_offset, batch.next_image.labels)
    rows, columns = places(batch.next_text, ids.shape[1])
    first = batch.masked + batch.to_image
    assert set(rows.tolist()) == set(range(first, first + batch.to_text))
    labels = batch.next_text.labels[batch.next_text.positions >= 0]
    assert torch.equal(ids[rows, columns + 1], labels)
    assert len(labels) == int(pairs.text_lengths[first:].sum()) + batch.to_text
    assert int((labels == vocabulary.sep_id).sum()) == batch.to_text


def test_mismatched_and_unmasked_rows_get_no_gradient_from_masked_modelling() -> None:
    objective, pairs = make_objective(), make_pairs(16)
    moment = Moment(0, 0, 0.0)
    torch.manual_seed(1)
    batch = objective.compose(pairs, moment)
    hidden = torch.randn(len(batch.sequence.token_ids), batch.sequence.token_ids.shape[1], 32, requires_grad=True)
    objective.model.forward_sequence = lambda _, wanted: gather_rows(hidden, wanted)  # type: ignore[method-assign,assignment]
    torch.manual_seed(1)
    _, parts = objective(pairs, moment)
    (gradient,) = torch.autograd.grad(parts["masked_image"] + parts["masked_text"], hidden)
    touched = gradient.abs().sum(-1) > 0
    allowed = torch.zeros_like(touched)
    for targets in (batch.masked_image, batch.masked_text):
        rows, columns = places(targets, touched.shape[1])
        allowed[rows, columns] = True
    assert torch.equal(touched, allowed)
    assert not bool(touched[batch.masked :].any())


def test_matching_reads_masked_and_mismatched_rows_only() -> None:
    objective, pairs = make_objective(), make_pairs(16)
    batch_rows = row_counts(objective.section, 16)
    total = sum(batch_rows)
    hidden = torch.randn(total, WIDTH + TOKENS + 3, 32, requires_grad=True)
    objective.model.forward_sequence = lambda _, wanted: gather_rows(hidden, wanted)  # type: ignore[method-assign,assignment]
    _, parts = objective(pairs, Moment(0, 0, 0.0))
    (gradient,) = torch.autograd.grad(parts["matching"], hidden)
    touched = gradient.abs().sum((1, 2)) > 0
    masked, to_image, to_text, _ = batch_rows
    assert not bool(touched[masked : masked + to_image + to_text].any())
    assert bool(touched[:masked].any()) and bool(touched[masked + to_image + to_text :].any())
    assert not bool((gradient[:, 1:].abs() > 0).any())  # [CLS] alone


def test_equal_captions_are_never_mismatched() -> None:
    objective = make_objective(matching={"hard_share": 0.5, "hard_start": 0.0}, caption_dropout=0.0)
    pairs = make_pairs(24)
    pairs.text_ids[1::2] = pairs.text_ids[0]
    pairs.text_lengths[1::2] = pairs.text_lengths[0]
    for step in range(5):
        other, valid = objective.composer.mismatch(
            pairs,
            pairs.text_lengths[:12],
            _walk(12, step, torch.device("cpu")),
            torch.arange(12),
            Moment(step, step, 0.9),
        )
        for row in range(12):
            if valid[row]:
                assert not torch.equal(pairs.text_ids[row], pairs.text_ids[other[row]])


def test_hard_negatives_share_more_words_than_random_ones() -> None:
    pairs = make_pairs(64)
    # Captions in pairs that differ in one word.
    pairs.text_lengths[:] = 8
    pairs.text_ids[1::2] = pairs.text_ids[0::2]
    pairs.text_ids[1::2, 3] = (pairs.text_ids[1::2, 3] - 5 + 1) % (TEXT - 5) + 5

    def overlap(hard_share: float) -> float:
        objective = make_objective(matching={"hard_share": hard_share, "hard_start": 0.0})
        walk = _walk(32, 0, torch.device("cpu"))
        lengths, moment = pairs.text_lengths[:32], Moment(0, 0, 0.5)
        other, valid = objective.composer.mismatch(pairs, lengths, walk, torch.arange(32), moment)
        same = (pairs.text_ids[:32] == pairs.text_ids[other])[:, :8].float().mean(1)
        return float(same[valid].mean())

    assert overlap(1.0) > overlap(0.0) + 0.4


def test_masks_belong_to_the_sample_and_the_step() -> None:
    objective = make_objective()
    pairs = make_pairs(32)

    def hidden(step: int) -> Tensor:
        return objective.composer.masking.hide_image(pairs, 16, step).tokens == CODES

    assert torch.equal(hidden(4), hidden(4))
    assert not torch.equal(hidden(4), hidden(5))


@given(batch=st.integers(1, 40), step=st.integers(0, 200), share=st.sampled_from([0.0, 0.5, 1.0]))
@settings(max_examples=40, deadline=None)
def test_any_batch_size_composes(batch: int, step: int, share: float) -> None:
    objective, pairs = _shared(), make_pairs(batch, seed=step)
    found = objective.compose(pairs, Moment(step, step, share))
    rows = found.masked + found.to_image + found.to_text
    assert rows == batch
    assert len(found.sequence.token_ids) == batch + found.mismatched
    total = len(found.sequence.token_ids) * found.sequence.token_ids.shape[1]
    for targets in (found.masked_image, found.masked_text, found.next_image, found.next_text):
        assert targets.positions.shape == targets.labels.shape
        if len(targets.positions):
            assert int(targets.positions.min()) >= -1 and int(targets.positions.max()) < total
            unique = targets.positions[targets.positions >= 0]
            assert len(unique.unique()) == len(unique)


_objectives: list[PretrainingObjective] = []


def _shared() -> PretrainingObjective:
    if not _objectives:
        _objectives.append(make_objective())
    return _objectives[0]


@given(owed=st.floats(0, 20), steps=st.integers(1, 300))
def test_fractions_of_rows_are_dealt_over_the_steps(owed: float, steps: int) -> None:
    counts = [dealt(owed, step) for step in range(steps)]
    assert abs(sum(counts) - owed * steps) <= 1
    assert max(counts) - min(counts) <= 1


def test_shares_of_the_kinds_of_masks_are_met_over_many_steps() -> None:
    objective, pairs = make_objective(), make_pairs(20)
    masking, all_hidden, text_hidden, whole = objective.composer.masking, 0, 0, 0
    for step in range(60):
        all_hidden += int((masking.hide_image(pairs, 10, step).tokens == CODES).all(1).sum())
        walk = _walk(10, step, torch.device("cpu"))
        spans, captions = masking.hide_text(pairs, pairs.text_lengths[:10], walk, step).blocks
        text_hidden += len(spans[0])
        whole += len(captions[0])
    assert all_hidden >= 30  # the full share, and what the cosine happens to hide altogether
    assert text_hidden == 300
    assert whole == 60


def test_caption_dropout_leaves_image_to_text_alone() -> None:
    objective = make_objective(caption_dropout=1.0)
    batch = objective.compose(make_pairs(16), Moment(0, 0, 0.0))
    captioned = batch.sequence.text_valid.any(1)
    first = batch.masked + batch.to_image
    assert not bool(captioned[:first].any())
    assert bool(captioned[first : first + batch.to_text].all())
    assert not batch.match_valid.any()
    assert not len(places(batch.masked_text, batch.sequence.token_ids.shape[1])[0])


def test_a_pair_without_a_caption_teaches_neither_matching_nor_an_empty_caption() -> None:
    objective, pairs = make_objective(caption_dropout=0.0), make_pairs(16)
    pairs.text_lengths[:] = 0
    loss, parts = objective(pairs, Moment(0, 0, 0.5))
    assert torch.isfinite(loss)
    for name in ("masked_text", "image_to_text", "matching"):
        assert float(parts[name].detach()) == 0, name
    assert float(parts["masked_image"].detach()) > 0


def test_scores_of_pairs_are_kept_and_lower_what_they_say_of_the_caption(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_scores, "FLOOR", 0.0)  # so that captions are lost or kept for certain
    objective = make_objective(100, pair_weighting={"start": 0.0}, caption_dropout=0.0)
    pairs, scores = make_pairs(16), objective.pair_scores
    assert scores is not None
    objective(pairs, Moment(0, 0, 0.5))
    assert bool(scores.seen[:8].all()) and not bool(scores.seen[8:].any())
    scores.scores[:8] = torch.tensor([-20.0] * 4 + [20.0] * 4)
    batch = objective.compose(pairs, Moment(1, 1, 0.5))
    captioned = batch.sequence.text_valid[:8].any(1)
    assert captioned.tolist() == [False] * 4 + [True] * 4
    objective.eval()
    assert bool(objective.compose(pairs, Moment(1, 1, 0.5)).sequence.text_valid[:8].any(1).all())


def test_without_region_maps_regions_are_an_error_that_names_the_argument() -> None:
    pairs = make_pairs(16)
    pairs.regions = None
    with pytest.raises(ValueError, match="region_map"):
        make_objective().compose(pairs, Moment(0, 0, 0.0))
    objective = make_objective(image_masks={"random": 1, "blocks": 1, "regions": 0})
    assert objective.compose(pairs, Moment(0, 0, 0.0)).masked == 8


def test_joint_positions() -> None:
    slots = torch.tensor([[5, 6, 7], [1, 2, 3], [9, 8, 7]])
    found = joint_positions(torch.tensor([0, 4, -1, 5]), torch.tensor([2, 1]), slots, 10)
    assert found.tolist() == [29, 12, -1, 13]


def test_it_overfits_a_handful_of_pairs() -> None:
    objective, pairs = make_objective(caption_dropout=0.0, matching={"hard_share": 0.0}), make_pairs(8)
    optimizer = torch.optim.AdamW(objective.parameters(), 3e-3, weight_decay=0.0)
    # The same rows in every regime, so that each can be learned by heart.
    order = torch.Generator().manual_seed(0)
    first: dict[str, float] = {}
    recent: list[dict[str, float]] = []
    for step in range(150):
        rows = torch.randperm(8, generator=order)
        assert pairs.rows is not None and pairs.regions is not None
        batch = Pairs(
            pairs.codes[rows],
            pairs.text_ids[rows],
            pairs.text_lengths[rows],
            pairs.sample_ids[rows],
            pairs.rows[rows],
            pairs.regions[rows],
        )
        loss, parts = objective(batch, Moment(step, step, 0.0))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        values = {name: float(value.detach()) for name, value in parts.items()}
        first = first or values
        recent = [*recent[-9:], values]
    for name in ("masked_image", "masked_text", "text_to_image", "image_to_text"):
        later = sum(values[name] for values in recent) / len(recent)
        assert later < 0.6 * first[name], (name, first[name], later)


ALIGNED: dict[str, Any] = {
    "model": {"alignment_size": 24},
    "losses": {"contrastive": 0.5},
    "contrastive": {"pairs": 24},
    "caption_dropout": 0.0,
}


def test_a_contrastive_loss_needs_towers() -> None:
    with pytest.raises(InputError, match="contrastive: needs a model with alignment_size"):
        PretrainingObjective(FaceLanguageModel(CONFIG), PretrainSection(**ALIGNED))


def test_pairs_beyond_the_batch_are_compared_but_not_modelled() -> None:
    objective, pairs = make_objective(batch_size=8, **ALIGNED), make_pairs(24)
    torch.manual_seed(1)
    _, few = objective(pairs.first(8), Moment(3, 3, 0.0))
    torch.manual_seed(1)
    _, many = objective(pairs, Moment(3, 3, 0.0))
    for name in few:
        if name.startswith("contrastive"):
            assert not torch.equal(few[name], many[name]), name
        else:
            torch.testing.assert_close(few[name], many[name], msg=name)
    assert objective.compose(pairs.first(8), Moment(3, 3, 0.0)).masked == 4


def test_at_first_the_towers_learn_alone() -> None:
    aligned = {**ALIGNED, "contrastive": {"pairs": 24, "alone": 0.25}}
    objective, pairs = make_objective(batch_size=8, **aligned), make_pairs(24)
    loss, parts = objective(pairs, Moment(3, 3, 0.24))
    loss.backward()
    assert set(parts) == {"contrastive", "contrastive_accuracy"}
    learning = {name for name, parameter in objective.named_parameters() if parameter.grad is not None}
    assert learning and all(name.startswith("model.alignment.") for name in learning)
    assert "masked_image" in objective(pairs, Moment(3, 3, 0.25))[1]
    assert "masked_image" in objective.eval()(pairs, Moment(3, 3, 0.0))[1]  # validation measures everything


def test_the_towers_learn_which_caption_is_whose() -> None:
    objective, pairs = make_objective(batch_size=4, **ALIGNED), make_pairs(24)
    optimizer = torch.optim.AdamW(objective.parameters(), 3e-3, weight_decay=0.0)
    found = []
    for step in range(40):
        loss, parts = objective(pairs, Moment(step, step, 0.0))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        found.append(float(parts["contrastive_accuracy"].detach()))
    assert found[0] < 0.2
    assert sum(found[-5:]) / 5 > 0.6


@pytest.mark.filterwarnings("ignore:gptface runs without a native kernel")
@pytest.mark.parametrize("share", [0.0, 0.9])  # of the run: with hard negatives and pair weights towards its end
@pytest.mark.parametrize("hard_start", [0.0, 1.0])
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_a_training_step_asks_nothing_of_the_device(
    share: float, hard_start: float, aligned: bool, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the meta device there are no values: ``.item()``, ``nonzero`` and whatever else looks at one raise."""
    with torch.device("meta"):
        objective = make_objective(
            100,
            matching={"hard_share": 0.5, "hard_start": hard_start},
            pair_weighting={"start": 0.3},
            **(ALIGNED if aligned else {}),
        )
    real = make_pairs(32)
    values = {name: value.to("meta") for name, value in vars(real).items() if value is not None}
    pairs = Pairs(**values, host_lengths=real.text_lengths)
    # No kernel is for the meta device, so that it would not be packed.
    monkeypatch.setattr(objective.model, "packing_pays", lambda: packed)
    loss, parts = objective(pairs, Moment(3, 3, share))
    loss.backward()
    assert loss.device.type == "meta" and all(part.device.type == "meta" for part in parts.values())
    assert "caption_kept" in parts
    moment = Moment(3, 3, share)  # and as one of several passes, which are counted first
    moment.counts = objective.counts(pairs, moment)
    loss = objective(pairs, moment)[0]
    loss.backward()
    assert moment.counts.device.type == loss.device.type == "meta" and not moment.handover
    assert (objective.compose(pairs, Moment(3, 3, share)).sequence.packing is not None) == packed
    assert all(parameter.grad is not None for parameter in objective.parameters())
    for ask in (loss.item, pairs.codes.nonzero):  # the check itself
        with pytest.raises(RuntimeError, match="meta"):
            ask()


def test_a_step_is_one_graph_whatever_the_width_of_the_captions() -> None:
    """Compiled whole; padding is computed there, since lengths on the host are none of the graph's."""
    objective = make_objective(model={"num_hidden_layers": 1})
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("eager")
    traced = torch.compile(objective, backend=counter, fullgraph=True)
    moment = Moment(3, 3, 0.5)
    for width in (9, 7, 8):
        pairs = make_pairs(6)
        pairs.text_ids = pairs.text_ids[:, :width].contiguous()
        pairs.text_lengths = pairs.text_lengths.clamp(max=width)
        torch._dynamo.mark_dynamic(pairs.text_ids, 1)
        results = []
        for step in (traced, objective):
            torch.manual_seed(1)
            loss, _ = step(pairs, moment)
            results.append((loss.detach(), *torch.autograd.grad(loss, objective.model.parameters(), allow_unused=True)))
        for mine, theirs in zip(*results, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)
    assert counter.frame_count == 1


def test_hidden_tokens_weigh_as_their_region_does() -> None:
    section = {"image_masks": {"random": 1, "blocks": 0, "regions": 0}, "losses": {"regions": {"eyes": 6, "skin": 0.5}}}
    objective, pairs = make_objective(**section), make_pairs(16)
    assert objective.section.needs_regions
    batch = objective.compose(pairs, Moment(0, 0, 0.5))
    weights, length = batch.masked_image.weights, batch.sequence.token_ids.shape[1]
    assert weights is not None and pairs.regions is not None
    rows, columns = places(batch.masked_image, length)
    tokens = (columns - batch.sequence.image_slots[rows, 0]).tolist()
    names = [REGIONS[int(pairs.regions[row, token])] for row, token in zip(rows.tolist(), tokens, strict=True)]
    wanted = [{"eyes": 6.0, "skin": 0.5}.get(name, 1.0) for name in names]
    assert weights[batch.masked_image.positions >= 0].tolist() == wanted
    assert {"eyes", "skin"} < set(names)
    # The mean is weighted: one loss for all tokens would come out as it is.
    torch.testing.assert_close(batch.masked_image.count(), torch.tensor(sum(wanted)))


def test_weights_of_regions_need_regions_and_their_names() -> None:
    with pytest.raises(ValueError, match="'ear' is not a region; those are background, skin"):
        PretrainSection(losses={"regions": {"ear": 2}})
    pairs = make_pairs(8)
    pairs.regions = None
    objective = make_objective(image_masks={"random": 1, "regions": 0}, losses={"regions": {"eyes": 6}})
    with pytest.raises(InputError, match=r"losses\.regions needs the region of every token"):
        objective.compose(pairs, Moment(0, 0, 0.5))
