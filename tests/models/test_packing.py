"""Packed batches: the same numbers as padded ones, and nothing of padding anywhere."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptface.errors import InputError
from gptface.models.packing import Packing, pack_layout
from gptface.ops import IntervalMask
from gptface.systems.gptface import FaceLanguageConfig, FaceLanguageModel, build_sequence

GRID, CODES, TEXT = (3, 4), 11, 40
FRAME = GRID[0] * GRID[1] + 3


def layout(lengths: list[int], slots: int, extra: int = 0) -> Packing:
    valid = torch.tensor(lengths)
    return pack_layout(IntervalMask.padding(valid, slots), valid, sum(lengths) + extra)


@st.composite
def ragged(draw: st.DrawFn) -> tuple[list[int], int, int]:
    slots = draw(st.integers(1, 7))
    lengths = draw(st.lists(st.integers(0, slots), min_size=1, max_size=5))
    return lengths, slots, draw(st.integers(0, 3))


@settings(deadline=None, max_examples=100)
@given(ragged())
def test_packing_is_the_valid_slots_in_order(batch: tuple[list[int], int, int]) -> None:
    lengths, slots, extra = batch
    packing = layout(lengths, slots, extra)
    padded = torch.randn(len(lengths), slots, 3)
    packed = packing.pack(padded)
    expected = torch.cat([row[:length] for row, length in zip(padded, lengths, strict=True)])
    assert torch.equal(packed, torch.cat([expected, torch.zeros(extra, 3)]).unsqueeze(0))
    valid = torch.arange(slots) < torch.tensor(lengths).unsqueeze(1)
    assert torch.equal(packing.unpack(packed), padded.masked_fill(~valid.unsqueeze(-1), 0.0))


@settings(deadline=None, max_examples=100)
@given(ragged(), st.randoms(use_true_random=False))
def test_every_row_sees_the_same_keys_in_their_new_places(batch: tuple[list[int], int, int], random: object) -> None:
    lengths, slots, extra = batch
    valid = torch.tensor(lengths)
    prefixes = torch.tensor([random.randint(0, length) for length in lengths])  # type: ignore[attr-defined]
    mask = IntervalMask.prefix_lm(prefixes, valid, slots)
    packing = pack_layout(mask, valid, sum(lengths) + extra)
    blocks = [dense[:length, :length] for dense, length in zip(mask.to_dense(), lengths, strict=True)]
    expected = torch.block_diag(*blocks, torch.zeros(extra, extra)).bool()
    packing.attention_mask.validate()
    assert torch.equal(packing.attention_mask.to_dense()[0], expected)


@settings(deadline=None, max_examples=100)
@given(ragged(), st.randoms(use_true_random=False))
def test_slots_that_are_left_out_are_neither_packed_nor_seen(
    batch: tuple[list[int], int, int], random: object
) -> None:
    lengths, slots, extra = batch
    valid = torch.tensor(lengths)
    flips = [[random.random() < 0.6 for _ in range(slots)] for _ in lengths]  # type: ignore[attr-defined]
    kept = torch.tensor(flips)
    prefixes = torch.tensor([random.randint(0, length) for length in lengths])  # type: ignore[attr-defined]
    mask = IntervalMask.prefix_lm(prefixes, valid, slots)
    there = kept & (torch.arange(slots) < valid.unsqueeze(1))
    packing = pack_layout(mask, valid, int(there.sum()) + extra, kept)
    padded = torch.randn(len(lengths), slots, 3)
    assert torch.equal(packing.pack(padded)[0, : int(there.sum())], padded[there])
    assert torch.equal(packing.unpack(packing.pack(padded)), padded.masked_fill(~there.unsqueeze(-1), 0.0))
    packing.attention_mask.validate()
    blocks = [dense[row][:, row] for dense, row in zip(mask.to_dense(), there, strict=True)]
    assert torch.equal(
        packing.attention_mask.to_dense()[0], torch.block_diag(*blocks, torch.zeros(extra, extra)).bool()
    )


def test_two_intervals_move_together() -> None:
    branches = torch.tensor([[0, 0, 1, 1, 2, -1], [0, 1, 1, 2, -1, -1]])
    mask = IntervalMask.shared_prefix(branches)
    lengths = (branches >= 0).sum(1)
    packed = pack_layout(mask, lengths, 9).attention_mask
    dense = mask.to_dense()
    assert torch.equal(packed.to_dense()[0], torch.block_diag(dense[0, :5, :5], dense[1, :4, :4]).bool())


def test_gradients_of_both_directions() -> None:
    packing = layout([3, 0, 2], 4, extra=1)
    padded = torch.randn(3, 4, 2, dtype=torch.float64, requires_grad=True)
    packed = torch.randn(1, 6, 2, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(packing.pack, (padded,))
    torch.autograd.gradcheck(packing.unpack, (packed,))
    torch.autograd.gradgradcheck(lambda x: packing.unpack(packing.pack(x) ** 2), (padded,))


def test_what_lies_in_padding_touches_nothing() -> None:
    packing = layout([2, 1], 3)
    padded = torch.randn(2, 3, 2)
    padded[0, 2] = torch.nan
    padded[1, 1:] = torch.inf
    padded.requires_grad_()
    packed = packing.pack(padded)
    assert packed.isfinite().all()
    gradient = torch.full((2, 3, 2), torch.nan)
    gradient[0, :2], gradient[1, :1] = 1.0, 2.0
    packing.unpack(packed).backward(gradient)
    assert padded.grad is not None
    assert torch.equal(padded.grad, torch.where(gradient.isnan(), 0.0, gradient))


def test_bad_input_names_what_does_not_fit() -> None:
    mask, lengths = IntervalMask.padding(torch.tensor([2, 3]), 3), torch.tensor([2, 3])
    with pytest.raises(InputError, match="at least the number of packed slots, 5, got 4"):
        pack_layout(mask, lengths, 4)
    with pytest.raises(InputError, match=r"lengths \(B,\)"):
        pack_layout(mask, lengths[:1], 5)
    packing = pack_layout(mask, lengths, 5)
    with pytest.raises(InputError, match=r"padded must be \(2, 3\)"):
        packing.pack(torch.zeros(3, 2, 4))
    with pytest.raises(InputError, match=r"packed must be \(1, 5\)"):
        packing.unpack(torch.zeros(1, 6, 4))


@pytest.fixture(params=[0, 24], ids=["attention alone", "alignment towers"])
def model(request: pytest.FixtureRequest) -> FaceLanguageModel:
    torch.manual_seed(0)
    config = FaceLanguageConfig(
        text_vocab_size=TEXT,
        codebook_size=CODES,
        image_grid=list(GRID),
        max_text_length=9,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        initializer_range=0.2,
        alignment_size=request.param,
    )
    model = FaceLanguageModel(config).eval()
    if model.alignment is not None:
        torch.nn.init.normal_(model.alignment.tell_image.weight, std=0.2)
        torch.nn.init.normal_(model.alignment.tell_text.weight, std=0.2)
    return model


def batch_of_all_regimes(extra: int | None) -> dict[str, object]:
    generator = torch.Generator().manual_seed(1)
    lengths = [7, 0, 3, 5, 1, 7]
    return {
        "text_ids": torch.randint(5, TEXT, (6, 7), generator=generator),
        "text_lengths": lengths,
        "image_codes": torch.randint(0, CODES + 1, (6, GRID[0] * GRID[1]), generator=generator),
        "regimes": [0, 0, 1, 2, 1, 2],
        "num_tokens": None if extra is None else sum(lengths) + 6 * FRAME + extra,
    }


@pytest.mark.parametrize("impl", ["reference", "auto"])
@pytest.mark.parametrize("extra", [0, 5])
def test_the_model_says_the_same_with_and_without_padding(model: FaceLanguageModel, impl: str, extra: int) -> None:
    """Hidden states and every parameter's gradient, all three regimes in the batch."""
    model.set_attention_impl(impl)
    if impl == "reference":
        model.double()
    found = []
    for tokens in (None, extra):
        sequence = build_sequence(model.vocabulary, **batch_of_all_regimes(tokens))  # type: ignore[arg-type]
        hidden = model.forward_sequence(sequence)
        valid = torch.arange(hidden.shape[1]) < sequence.lengths.unsqueeze(1)
        loss = (hidden.sin() * valid.unsqueeze(-1)).sum()
        gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True, materialize_grads=True)
        found.append((hidden[valid], *gradients))
        if tokens is not None:
            assert not hidden[~valid].any()
    tolerance = {"rtol": 1e-9, "atol": 1e-11} if impl == "reference" else {"rtol": 1e-4, "atol": 1e-4}
    for padded, packed in zip(*found, strict=True):
        torch.testing.assert_close(packed, padded, **tolerance)


def test_states_of_every_depth_come_back_in_their_slots(model: FaceLanguageModel) -> None:
    padded, packed = (
        model.layer_states(build_sequence(model.vocabulary, **batch_of_all_regimes(tokens)))  # type: ignore[arg-type]
        for tokens in (None, 0)
    )
    sequence = build_sequence(model.vocabulary, **batch_of_all_regimes(0))  # type: ignore[arg-type]
    valid = torch.arange(padded[0].shape[1]) < sequence.lengths.unsqueeze(1)
    assert len(padded) == len(packed) == 3
    for one, other in zip(padded, packed, strict=True):
        torch.testing.assert_close(other[valid], one[valid], rtol=1e-4, atol=1e-4)


def test_layers_get_as_many_rows_as_there_are_tokens(model: FaceLanguageModel) -> None:
    rows = []
    model.layers[0].register_forward_hook(lambda _module, inputs, _output: rows.append(inputs[0].shape[:2]))
    batch = batch_of_all_regimes(0)
    model.forward_sequence(build_sequence(model.vocabulary, **batch))  # type: ignore[arg-type]
    assert rows == [(1, batch["num_tokens"])]


def test_a_packed_step_traces_as_one_graph_for_any_number_of_tokens(model: FaceLanguageModel) -> None:
    def run(text: torch.Tensor, lengths: torch.Tensor, codes: torch.Tensor, num_tokens: int) -> torch.Tensor:
        regimes = torch.zeros_like(lengths)
        sequence = build_sequence(model.vocabulary, text, lengths, codes, regimes, num_tokens=num_tokens)
        return model.forward_sequence(sequence).sum()

    counts = torch._dynamo.utils.counters["stats"]
    compiled = torch.compile(run, backend="eager", fullgraph=True, dynamic=True)
    graphs = []
    for lengths, extra in (([7, 2, 3], 1), ([1, 6], 2), ([4, 4, 0, 7], 9)):
        arguments = (
            torch.randint(5, TEXT, (len(lengths), 7)),
            torch.tensor(lengths),
            torch.randint(0, CODES, (len(lengths), GRID[0] * GRID[1])),
            sum(lengths) + len(lengths) * FRAME + extra,
        )
        torch.testing.assert_close(compiled(*arguments), run(*arguments), rtol=1e-4, atol=1e-4)
        graphs.append(counts["unique_graphs"])
    assert graphs[0] == graphs[-1], "another number of tokens compiled anew"
