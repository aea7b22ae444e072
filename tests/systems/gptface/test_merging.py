"""Squares of image tokens that share a slot of the layers: what is computed, what sees what, and how it is trained."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.ops import IntervalMask
from gptface.systems.gptface import FaceLanguageConfig, FaceLanguageModel
from gptface.systems.gptface.configuration import PretrainSection
from gptface.systems.gptface.generation.autoregressive import decode_image
from gptface.systems.gptface.merging import first_of_squares
from gptface.systems.gptface.mixed_batch import row_counts
from gptface.systems.gptface.sequence import JointSequence, build_sequence
from gptface.training.stage import Moment
from tests.systems.gptface.test_objective import make_objective, make_pairs

TEXT, CODES, GRID = 48, 32, (4, 6)
TOKENS = 24
LEFT_OUT = 18


def make_model(**fields: Any) -> FaceLanguageModel:
    torch.manual_seed(0)
    config = {
        "text_vocab_size": TEXT,
        "codebook_size": CODES,
        "image_grid": list(GRID),
        "max_text_length": 7,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "initializer_range": 0.2,
        "spatial_merge_size": 2,
        **fields,
    }
    return FaceLanguageModel(FaceLanguageConfig(**config)).eval()


def sequence_of(model: FaceLanguageModel, regimes: list[int], **more: Any) -> JointSequence:
    generator = torch.Generator().manual_seed(1)
    text = torch.randint(5, TEXT, (3, 7), generator=generator)
    codes = torch.randint(0, CODES + 1, (3, TOKENS), generator=generator)
    return build_sequence(model.vocabulary, text, torch.tensor([3, 7, 0]), codes, torch.tensor(regimes), **more)


def by_definition(model: FaceLanguageModel, sequence: JointSequence, row: int) -> Tensor:
    """Hidden states of one row's valid slots, square by square, through layers that see a short sequence."""
    merging = model.merging
    assert merging is not None
    length = int(sequence.lengths[row])
    own = model.token_embeddings(sequence.token_ids[row, :length]) + model.segment_embeddings(
        sequence.segment_ids[row, :length]
    )
    for slot in range(length):
        position = int(sequence.position_ids[row, slot])
        if not sequence.segment_ids[row, slot]:
            place = model.text_positions.weight[position]
        elif position == TOKENS:
            place = model.image_end.weight[0]
        else:
            place = model.image_positions()[position]
        own[slot] += place + model.regime_embeddings(sequence.regimes[row])
    start = int(sequence.image_slots[row, 0])
    members: list[list[int]] = []  # slots that each computed slot stands for
    for slot in range(length):
        token = slot - start
        if not 0 <= token < TOKENS:
            members.append([slot])
        elif token // 6 % 2 == 0 and token % 2 == 0:
            members.append([slot, slot + 1, slot + 6, slot + 7])
    rows = [own[m[0]] if len(m) == 1 else merging.merge(torch.cat([own[slot] for slot in m])) for m in members]
    states = torch.stack(rows)[None]
    seen = sequence.attention_mask.to_dense()[row]
    kept = [m[0] for m in members]
    ends = seen[kept][:, kept].sum(1).to(torch.int32)
    mask = IntervalMask(torch.stack([torch.zeros_like(ends), ends], -1)[None, :, None], len(kept))
    for layer in model.layers:
        states = layer(states, mask)
    hidden = torch.zeros(length, states.shape[-1])
    for state, slots in zip(states[0], members, strict=True):
        if len(slots) == 1:
            hidden[slots[0]] = state
        else:
            for slot, part in zip(slots, merging.split(state).chunk(4), strict=True):
                hidden[slot] = own[slot] + part
    return model.final_norm(hidden)


@torch.no_grad()
@pytest.mark.parametrize("regimes", [[0, 0, 0], [2, 0, 2]])
def test_hidden_states_are_those_of_the_definition(regimes: list[int]) -> None:
    model = make_model()
    sequence = sequence_of(model, regimes)
    hidden = model.forward_sequence(sequence)
    for row in range(3):
        expected = by_definition(model, sequence, row)
        torch.testing.assert_close(hidden[row, : len(expected)], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("regimes", [[0, 0, 0], [2, 0, 2]])
def test_packed_it_is_the_same(regimes: list[int]) -> None:
    model = make_model(alignment_size=16, surroundings_size=16)
    if not model.packing_pays():
        pytest.skip("no implementation of attention here leaves out what is hidden")
    plain = sequence_of(model, regimes)
    first = first_of_squares(GRID, 2).expand(3, -1)
    count = int(plain.lengths.sum()) - 3 * LEFT_OUT
    packed = sequence_of(model, regimes, num_tokens=count, image_kept=first)
    rows: list[int] = []
    model.layers[0].register_forward_hook(lambda _m, inputs, _o: rows.append(inputs[0].shape[:2].numel()))
    valid = torch.arange(plain.token_ids.shape[1]) < plain.lengths[:, None]
    wanted, found = model.forward_sequence(plain)[valid], model.forward_sequence(packed)[valid]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert rows == [plain.token_ids.numel() - 3 * LEFT_OUT, count]


@pytest.mark.parametrize("squares", [1, 2])
@pytest.mark.parametrize("packed", [False, True])
def test_wanted_slots_alone_are_what_they_are_among_all(squares: int, packed: bool) -> None:
    model = make_model(alignment_size=16, surroundings_size=16, spatial_merge_size=squares)
    if packed and not model.packing_pays():
        pytest.skip("no implementation of attention here leaves out what is hidden")
    regimes = [0, 2, 0]
    sequence = sequence_of(model, regimes)
    if packed:
        first = first_of_squares(GRID, squares).expand(3, -1)
        left_out = 0 if model.merging is None else LEFT_OUT
        sequence = sequence_of(
            model, regimes, num_tokens=int(sequence.lengths.sum()) - 3 * left_out, image_kept=first
        )
    valid = torch.arange(sequence.token_ids.shape[1]) < sequence.lengths[:, None]
    slots = valid.flatten().nonzero().flatten()
    wanted = slots[torch.randperm(len(slots), generator=torch.Generator().manual_seed(2))[:40]]
    wanted[[3, 17]] = -1
    soft = model.embed_tokens(sequence.token_ids).detach().requires_grad_()
    weights = torch.randn(40, 32, generator=torch.Generator().manual_seed(3)) * (wanted >= 0).unsqueeze(1)
    results = []
    for found in (
        model.forward_sequence(sequence, inputs_embeds=soft, wanted=wanted),
        model.forward_sequence(sequence, inputs_embeds=soft).flatten(0, 1)[wanted],
    ):
        (gradient,) = torch.autograd.grad((found * weights).sum(), soft)
        results.append((found[wanted >= 0].detach(), gradient))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_row_without_all_tokens_of_a_picture_is_an_error() -> None:
    model = make_model()
    sequence = sequence_of(model, [0, 0, 0])
    sequence.segment_ids[1, sequence.image_slots[1, 5]] = 0
    with pytest.raises(InputError, match=r"at most 10 slots a row that are no token of a picture, got \[10, 11, 10\]"):
        model.forward_sequence(sequence)


def test_packed_with_slots_that_share_anothers_it_is_an_error() -> None:
    model = make_model()
    lengths = int(sequence_of(model, [0, 0, 0]).lengths.sum())
    with pytest.raises(InputError, match="packing must leave out all image tokens but the first of each square of 2"):
        model.forward_sequence(sequence_of(model, [0, 0, 0], num_tokens=lengths))


@torch.no_grad()
def test_features_of_every_depth_repeat_a_squares_state() -> None:
    model = make_model()
    sequence = sequence_of(model, [0, 0, 0])
    depths = model.layer_states(sequence)
    assert len(depths) == 3
    for depth in depths:
        image = depth.gather(1, sequence.image_slots.unsqueeze(-1).expand(-1, -1, depth.shape[-1]))
        squares = image.unflatten(1, (2, 2, 3, 2)).transpose(2, 3).flatten(3, 4)
        assert bool((squares.unflatten(3, (2, 2, -1)) == squares.unflatten(3, (2, 2, -1))[..., :1, :1, :]).all())
        assert bool(squares.any())


def test_every_token_of_a_square_has_a_gradient_to_every_other() -> None:
    model = make_model(num_hidden_layers=1)
    del model.layers[0]  # what is left is the square itself
    sequence = sequence_of(model, [0, 0, 0])
    soft = model.embed_tokens(sequence.token_ids).detach().requires_grad_()
    slot = int(sequence.image_slots[0, 7])  # second row, second column: of the first square
    model.forward_sequence(sequence, inputs_embeds=soft)[0, slot].square().sum().backward()
    assert soft.grad is not None
    reached = soft.grad.abs().sum(-1)[0].nonzero().flatten().tolist()
    assert reached == [int(sequence.image_slots[0, token]) for token in (0, 1, 6, 7)]


@pytest.mark.parametrize("packing", [True, False])
def test_a_step_predicts_all_hidden_tokens_and_learns_the_same_packed_or_not(packing: bool) -> None:
    pairs, moment = make_pairs(12), Moment(0, 0, 1.0)
    section = {
        "model": {"spatial_merge_size": 2, "alignment_size": 16},
        "regimes": {"masked": 0.75, "text_to_image": 0.0, "image_to_text": 0.25},
    }
    objective = make_objective(packing=packing, **section)
    merging = objective.model.merging
    assert merging is not None
    torch.manual_seed(1)
    batch = objective.compose(pairs, moment)
    assert (batch.sequence.packing is not None) == (packing and objective.model.packing_pays())
    masked, to_image, _, _ = row_counts(objective.section, 12)
    assert (masked, to_image, len(batch.next_image.positions)) == (9, 0, 0)
    hidden = (batch.sequence.token_ids == objective.model.vocabulary.image_mask_id)[:masked].sum()
    assert int(batch.masked_image.count()) == int(hidden)
    if batch.sequence.packing is not None:
        computed = len(batch.sequence.packing.sources)
        assert computed == int(batch.sequence.lengths.sum()) - len(batch.sequence.lengths) * merging.left_out
    torch.manual_seed(1)
    loss, parts = objective(pairs, moment)
    gradients = torch.autograd.grad(loss, list(objective.parameters()), allow_unused=True, materialize_grads=True)
    reference = make_objective(packing=False, **section)
    reference.model.set_attention_impl("reference")
    torch.manual_seed(1)
    expected, expected_parts = reference(pairs, moment)
    wanted = torch.autograd.grad(expected, list(reference.parameters()), allow_unused=True, materialize_grads=True)
    found = (loss, *parts.values(), *gradients)
    for one, other in zip(found, (expected, *expected_parts.values(), *wanted), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_what_does_not_go_with_squares_is_an_error() -> None:
    with pytest.raises(InputError, match=r"spatial_merge_size must divide both sides of image_grid \[4, 6\], got 4"):
        make_model(spatial_merge_size=4)
    squares = {"spatial_merge_size": 2}
    with pytest.raises(ValueError, match=r"regimes\.text_to_image: must be 0 with model\.spatial_merge_size"):
        PretrainSection(model=squares)
    regimes = {"masked": 0.75, "text_to_image": 0.0, "image_to_text": 0.25}
    with pytest.raises(ValueError, match=r"sparse\.image: must be 1 with model\.spatial_merge_size, got 0\.5"):
        PretrainSection(model=squares, regimes=regimes, sparse={"image": 0.5})
    PretrainSection(model=squares, regimes=regimes)
    with pytest.raises(InputError, match="spatial_merge_size 1 to write pictures token by token, got 2"):
        decode_image(make_model(), torch.zeros(1, 7, dtype=torch.int64), torch.tensor([0]), TOKENS, [0])


def test_operations_are_counted_for_the_slots_that_are_computed() -> None:
    whole, squares = make_model(spatial_merge_size=1), make_model()
    own = squares.merging
    assert own is not None
    assert squares.flops_per_sequence(34, training=False) == (
        whole.flops_per_sequence(34 - LEFT_OUT, training=False) + own.flops_per_picture()
    )
    assert own.flops_per_picture() == 2 * 6 * (4 * 32 * 32 + 4 * 32 * 32)
    assert squares.computed_slots(34) == 34 - LEFT_OUT and whole.computed_slots(34) == 34
