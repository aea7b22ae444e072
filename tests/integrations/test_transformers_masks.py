"""Masks that models of ``transformers`` ask for: equal, pair by pair, to the dense ones that it makes itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import masking_utils as hf

from gptface.errors import InputError
from gptface.integrations import transformers_masks
from gptface.integrations.transformers_masks import interval_mask, mask_of_user
from gptface.ops import IntervalMask

LENGTH = 13
RESTARTS = torch.tensor([[0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 6, 7], [0, 0, 1, 2, 0, 1, 2, 3, 4, 5, 6, 0, 1]])
DOCUMENTS = torch.tensor([[0] * 5 + [1] * 8, [0] + [1] * 3 + [2] * 7 + [3] * 2])
BLOCKS = torch.tensor([[-1, 0, 0, 0, -1, -1, 1, 1, -1, -1, 2, 2, 2], [0, 0, -1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1]])
LEFT_PADDING = torch.tensor([0, 3])


def packed(function: Any) -> Any:
    """What ``transformers`` makes of positions that start anew in a row."""
    remapped = hf.remap_positions_for_packed_sequence(function, RESTARTS)
    return hf.and_masks(remapped, hf.packed_sequence_mask_function(DOCUMENTS))


CAUSAL = hf.causal_mask_function
WINDOW = hf.sliding_window_causal_mask_function(4)
CHUNKS = hf.chunked_causal_mask_function(4, LEFT_PADDING)
BOTH_WAYS = hf.sliding_window_bidirectional_mask_function(3)
IN_O_OF_S: dict[str, tuple[Any, dict[str, Any]]] = {
    "window": (WINDOW, {"local_size": 4}),
    "window of one": (hf.sliding_window_causal_mask_function(1), {"local_size": 1}),
    "chunks": (CHUNKS, {"local_size": 4}),
    "window both ways": (BOTH_WAYS, {"local_size": 3, "allow_is_bidirectional_skip": True}),
    "packed": (packed(CAUSAL), {}),
    "packed window": (packed(WINDOW), {"local_size": 4}),
    "packed chunks": (packed(hf.chunked_causal_mask_function(4, torch.zeros(2, dtype=torch.int64))), {"local_size": 4}),
}
LEFT = torch.arange(LENGTH) >= torch.tensor([[0], [3]])
HOLES = torch.arange(LENGTH) != torch.tensor([[6], [2]])


def dense(function: Any, padding: torch.Tensor | None = None, **sizes: Any) -> torch.Tensor:
    sizes = {"q_length": LENGTH, "kv_length": LENGTH, **sizes}
    mask = hf.sdpa_mask(2, mask_function=function, attention_mask=padding, allow_is_causal_skip=False, **sizes)
    assert mask is not None
    return mask[:, 0]


def ours(function: Any, padding: torch.Tensor | None = None, **options: Any) -> IntervalMask:
    """As ``transformers`` calls it: with ``use_vmap`` where a function of the user's is among those of the mask."""
    options = {"q_length": LENGTH, "kv_length": LENGTH, "use_vmap": False, **options}
    return interval_mask(2, mask_function=function, attention_mask=padding, **options)


def visible(mask: IntervalMask) -> torch.Tensor:
    return mask.to_dense().expand(2, -1, -1)


@pytest.fixture
def no_dense_detour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformers_masks, "sdpa_mask", None)


@pytest.mark.parametrize("name", IN_O_OF_S)
@pytest.mark.parametrize("padding", [None, LEFT, ~LEFT.flip(0)], ids=["no padding", "left", "right"])
@pytest.mark.usefixtures("no_dense_detour")
def test_what_transformers_describes_takes_no_dense_detour(name: str, padding: torch.Tensor | None) -> None:
    function, options = IN_O_OF_S[name]
    mask = ours(function, padding, **options)
    assert torch.equal(visible(mask), dense(function, padding))


@pytest.mark.parametrize("name", ["window", "chunks"])
@pytest.mark.parametrize(
    "sizes",
    [
        {"q_length": 1, "kv_length": 10, "q_offset": 9},
        {"q_length": 3, "kv_length": 12, "q_offset": torch.tensor(5)},  # a cache of fixed size, partly filled
        {"q_length": 2, "kv_length": 5, "q_offset": 9, "kv_offset": 6},  # one that drops old keys
    ],
    ids=["growing", "static", "sliding"],
)
@pytest.mark.parametrize("padding", [None, LEFT], ids=["no padding", "left"])
@pytest.mark.usefixtures("no_dense_detour")
def test_with_a_cache(name: str, sizes: dict[str, Any], padding: torch.Tensor | None) -> None:
    function, options = IN_O_OF_S[name]
    mask = ours(function, padding, **sizes, **options)
    assert torch.equal(visible(mask), dense(function, padding, **sizes))


@pytest.mark.parametrize(
    ("function", "padding", "options"),
    [
        (WINDOW, HOLES, {"local_size": 4}),
        (packed(CAUSAL), HOLES, {}),
        (hf.or_masks(CAUSAL, hf.blockwise_overlay(BLOCKS)), None, {}),
        # One block in two places: a row of the first sees the second, a range away.
        (hf.or_masks(CAUSAL, hf.blockwise_overlay(torch.where(BLOCKS == 2, 0, BLOCKS))), None, {}),
        (packed(hf.or_masks(CAUSAL, hf.blockwise_overlay(BLOCKS))), None, {}),
        (hf.and_masks(CAUSAL, lambda b, h, q, k: (k != 4) | (q < 6)), None, {"use_vmap": True}),
    ],
    ids=["window with holes", "packed with holes", "blocks", "a block in two places", "packed blocks", "of the user"],
)
def test_any_other_mask_is_right_by_the_dense_detour(
    function: Any, padding: torch.Tensor | None, options: dict[str, Any]
) -> None:
    mask = ours(function, padding, **options)
    assert torch.equal(visible(mask), dense(function, padding))


@pytest.mark.parametrize("name", IN_O_OF_S)
def test_compiled_masks_look_at_no_values(name: str) -> None:
    function, options = IN_O_OF_S[name]

    def make(padding: torch.Tensor) -> torch.Tensor:
        return ours(function, padding, **options).intervals

    made = torch.compile(make, fullgraph=True, backend="eager")(LEFT)
    assert torch.equal(IntervalMask(made, LENGTH).to_dense(), dense(function, LEFT))


def test_compiled_block_masks_take_the_dense_detour() -> None:
    def make(blocks: torch.Tensor) -> torch.Tensor:
        return ours(hf.or_masks(CAUSAL, hf.blockwise_overlay(blocks))).intervals

    blocks = torch.where(BLOCKS == 2, 0, BLOCKS)  # one of them in two places: two intervals
    made = torch.compile(make, fullgraph=True, backend="eager")(blocks)
    assert torch.equal(IntervalMask(made, LENGTH).to_dense(), dense(hf.or_masks(CAUSAL, hf.blockwise_overlay(blocks))))


def test_a_compiled_mask_of_another_kind_fails_on_the_device_instead_of_being_wrong() -> None:
    function = packed(hf.or_masks(CAUSAL, hf.blockwise_overlay(BLOCKS)))

    def make(batch: torch.Tensor) -> torch.Tensor:
        return ours(function).intervals + batch.int().sum()

    with pytest.raises(RuntimeError, match="not one run of keys"):
        torch.compile(make, fullgraph=True, backend="eager")(torch.zeros(2))


def test_a_dense_mask_edited_in_place_is_translated_anew() -> None:
    mask = torch.ones(1, 1, 6, 6).tril().bool()
    first = mask_of_user(mask)
    assert mask_of_user(mask) is first
    mask[..., 1] = False
    assert torch.equal(mask_of_user(mask).to_dense(), mask[:, 0])
    assert not torch.equal(first.to_dense(), mask[:, 0])


def test_a_dense_mask_of_inference_mode_edited_in_place_is_translated_anew() -> None:
    with torch.inference_mode():
        mask = torch.ones(1, 1, 6, 6).tril().bool()
        mask_of_user(mask)
        mask[..., 1] = False
        assert torch.equal(mask_of_user(mask).to_dense(), mask[:, 0])


def test_a_dense_mask_first_seen_in_inference_mode_can_be_trained_with() -> None:
    mask = torch.ones(1, 1, 6, 6).tril().bool()
    with torch.inference_mode():
        mask_of_user(mask)
    assert not mask_of_user(mask).intervals.is_inference()


@pytest.mark.parametrize(
    "mask", [torch.zeros(2, 1, 5, 5), torch.ones(2, 4, 5, 5).bool()], ids=["additive", "one for each head"]
)
def test_dense_masks_of_another_kind_are_refused(mask: torch.Tensor) -> None:
    with pytest.raises(InputError, match="attention_mask must be"):
        mask_of_user(mask)


def test_padding_with_many_holes_is_refused_by_its_name() -> None:
    padding = torch.tensor([[1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1]]).bool().expand(2, -1)
    with pytest.raises(InputError, match=r"attention_mask.*needs 3 intervals.*another attn_implementation"):
        ours(CAUSAL, padding)


def test_an_interval_mask_stands_for_the_whole_mask_and_a_static_cache_hides_its_empty_places() -> None:
    mask = IntervalMask.prefix_lm(torch.tensor([3, 2]), torch.tensor([5, 5]), 5)
    assert interval_mask(2, 5, 5, attention_mask=mask) is mask
    wider = interval_mask(2, 5, 9, attention_mask=mask)
    assert torch.equal(wider.to_dense(), torch.nn.functional.pad(mask.to_dense(), (0, 4)))
    last = IntervalMask(mask.intervals[:, 4:], 5)
    wider = interval_mask(2, 1, 9, q_offset=torch.tensor(4), attention_mask=last)
    assert torch.equal(wider.to_dense(), torch.nn.functional.pad(last.to_dense(), (0, 4)))
    assert interval_mask(2, 1, 9, q_offset=8, attention_mask=last) is last  # which the layer refuses: one key of nine


def test_ones_all_over_are_no_padding_but_a_mask_that_ends_early_is() -> None:
    options: dict[str, Any] = {"batch_size": 2, "q_length": 1, "kv_length": 9, "q_offset": 8}
    step = interval_mask(**options, attention_mask=torch.ones(2, 9, dtype=torch.long))
    assert step.kind == "full"
    assert step.intervals.tolist() == [[[[0, 9]]]]
    early = interval_mask(
        batch_size=2, q_length=3, kv_length=9, mask_function=hf.bidirectional_mask_function,
        attention_mask=torch.ones(2, 5, dtype=torch.long),
    )  # fmt: skip
    assert early.kind == "general"
    assert early.to_dense()[..., :5].all()
    assert not early.to_dense()[..., 5:].any()
