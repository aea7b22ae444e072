"""IntervalMask: every constructor against a dense definition written out pair by pair here."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils import _pytree

from gptface.errors import InputError
from gptface.ops import IntervalMask


def dense(batch: int, num_queries: int, num_keys: int, sees: Callable[[int, int, int], bool]) -> torch.Tensor:
    """The mask of a predicate (b, i, j), one pair after another."""
    visible = torch.zeros(batch, num_queries, num_keys, dtype=torch.bool)
    for b, i, j in itertools.product(range(batch), range(num_queries), range(num_keys)):
        visible[b, i, j] = bool(sees(b, i, j))
    return visible


def check(mask: IntervalMask, expected: torch.Tensor) -> None:
    """Equal to the dense definition, and valid and in order, as kernels like it."""
    assert mask.intervals.dtype == torch.int32
    assert torch.equal(mask.to_dense(), expected)
    mask.validate()
    flat = mask.intervals.flatten(2)
    assert (flat[..., 1:] >= flat[..., :-1]).all(), "intervals of a row out of order"
    assert mask.shape == tuple(expected.shape)


SIZES = [(1, 1), (5, 5), (3, 7), (7, 3), (0, 4), (4, 0)]


@pytest.mark.parametrize(("num_queries", "num_keys"), SIZES)
def test_full(num_queries: int, num_keys: int) -> None:
    check(IntervalMask.full(num_queries, num_keys), dense(1, num_queries, num_keys, lambda b, i, j: True))


@pytest.mark.parametrize(("num_queries", "num_keys"), SIZES)
def test_causal_is_aligned_at_the_last_key(num_queries: int, num_keys: int) -> None:
    offset = num_keys - num_queries
    check(IntervalMask.causal(num_queries, num_keys), dense(1, num_queries, num_keys, lambda b, i, j: j <= i + offset))


@pytest.mark.parametrize(("num_queries", "num_keys"), SIZES)
@pytest.mark.parametrize(("left", "right"), [(0, 0), (2, 0), (1, 2), (9, 9)])
@pytest.mark.parametrize("global_tokens", [0, 1, 2, 9])
@pytest.mark.parametrize("symmetric", [False, True])
def test_sliding_window(
    num_queries: int, num_keys: int, left: int, right: int, global_tokens: int, symmetric: bool
) -> None:
    def sees(b: int, i: int, j: int) -> bool:
        p = i + num_keys - num_queries
        local = p - left <= j <= p + right
        if symmetric and global_tokens and 0 <= p < global_tokens:
            return True
        sink = j < global_tokens and (symmetric or right > 0 or j <= p)
        return local or sink

    mask = IntervalMask.sliding_window(
        num_queries, left, right, num_keys=num_keys, global_tokens=global_tokens, symmetric=symmetric
    )
    assert mask.intervals.shape[2] == (2 if global_tokens else 1)
    check(mask, dense(1, num_queries, num_keys, sees))


def test_padding_of_self_attention_hides_padding_rows_too() -> None:
    lengths = [0, 3, 7]
    mask = IntervalMask.padding(torch.tensor(lengths), 7)
    check(mask, dense(3, 7, 7, lambda b, i, j: i < lengths[b] and j < lengths[b]))


def test_padding_of_cross_attention() -> None:
    lengths, rows = [0, 3, 7], [5, 2, 0]
    mask = IntervalMask.padding(torch.tensor(lengths), 7, num_queries=5)
    check(mask, dense(3, 5, 7, lambda b, i, j: j < lengths[b]))
    mask = IntervalMask.padding(torch.tensor(lengths), 7, num_queries=5, query_lengths=torch.tensor(rows))
    check(mask, dense(3, 5, 7, lambda b, i, j: i < rows[b] and j < lengths[b]))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=4))
def test_prefix_lm(samples: list[tuple[int, int]]) -> None:
    prefixes, lengths = [list(column) for column in zip(*samples, strict=True)]

    def sees(b: int, i: int, j: int) -> bool:
        return i < lengths[b] and j < lengths[b] and (j < prefixes[b] or j <= i)

    mask = IntervalMask.prefix_lm(torch.tensor(prefixes), torch.tensor(lengths), 9)
    check(mask, dense(len(samples), 9, 9, sees))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=5), st.integers(0, 3), st.booleans())
def test_packed_by_cumulative_lengths(lengths: list[int], spare: int, causal: bool) -> None:
    bounds = [0, *itertools.accumulate(lengths)]
    owner = [document for document, length in enumerate(lengths) for _ in range(length)] + [-1] * spare
    size = len(owner)

    def sees(b: int, i: int, j: int) -> bool:
        return owner[i] >= 0 and owner[i] == owner[j] and (j <= i or not causal)

    expected = dense(1, size, size, sees)
    check(IntervalMask.packed(cu_seqlens=torch.tensor(bounds), num_tokens=size, causal=causal), expected)
    check(IntervalMask.packed(cu_seqlens=torch.tensor(bounds).int(), num_tokens=size, causal=causal), expected)
    check(IntervalMask.packed(document_ids=torch.tensor(owner).long(), causal=causal), expected)


def runs(ids: list[int]) -> list[int]:
    """The number of the maximal run of equal ids that each position lies in."""
    return list(itertools.accumulate([0] + [int(a != b) for a, b in itertools.pairwise(ids)])) if ids else []


ids = st.lists(st.integers(-1, 2), min_size=12, max_size=12)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(ids, ids), min_size=1, max_size=3))
def test_multimodal(samples: list[tuple[list[int], list[int]]]) -> None:
    def sees(b: int, i: int, j: int) -> bool:
        document, block = samples[b]
        document_run = runs(document)
        block_run = runs([1000 * run + 2 * (own + 1) for run, own in zip(document_run, block, strict=True)])
        if document[i] < 0 or document_run[i] != document_run[j]:
            return False
        return j <= i or (block[i] >= 0 and block_run[i] == block_run[j])

    documents, blocks = (torch.tensor([sample[k] for sample in samples]) for k in (0, 1))
    check(IntervalMask.multimodal(documents, blocks), dense(len(samples), 12, 12, sees))


def test_multimodal_image_inside_causal_text() -> None:
    block = [-1, -1, 0, 0, 0, -1]  # two text tokens, an image of three, one text token
    mask = IntervalMask.multimodal(torch.zeros(6, dtype=torch.int64), torch.tensor(block))
    last_seen = [1, 2, 5, 5, 5, 6]
    check(mask, dense(1, 6, 6, lambda b, i, j: j < last_seen[i]))


@settings(max_examples=60, deadline=None)
@given(ids, st.none() | ids, st.booleans(), st.booleans())
def test_shared_prefix(
    branch: list[int], document: list[int] | None, causal_prefix: bool, causal_branches: bool
) -> None:
    size = len(branch)
    of_document = [0] * size if document is None else document
    document_run = runs(of_document)
    branch_run = runs([1000 * run + 2 * (own + 1) for run, own in zip(document_run, branch, strict=True)])
    first = {run: document_run.index(run) for run in document_run}  # where each document begins

    def valid(i: int) -> bool:
        return branch[i] >= 0 and of_document[i] >= 0

    def in_prefix(i: int) -> bool:
        return valid(i) and branch[i] == 0 and branch_run[i] == branch_run[first[document_run[i]]]

    def sees(b: int, i: int, j: int) -> bool:
        if not valid(i) or document_run[i] != document_run[j]:
            return False
        if in_prefix(i):
            return in_prefix(j) and (j <= i or not causal_prefix)
        return in_prefix(j) or (branch_run[i] == branch_run[j] and (j <= i or not causal_branches))

    mask = IntervalMask.shared_prefix(
        torch.tensor(branch),
        None if document is None else torch.tensor(document),
        causal_prefix=causal_prefix,
        causal_branches=causal_branches,
    )
    check(mask, dense(1, size, size, sees))


# --- odd intervals, order, intersection -----------------------------------------------------------

bound = st.integers(-3, 14)


def rows(k: int, count: int = 6) -> st.SearchStrategy[torch.Tensor]:
    """Intervals (1, count, k, 2) of any values, out of range and upside down included."""
    row = st.lists(st.tuples(bound, bound), min_size=k, max_size=k)
    return st.lists(row, min_size=count, max_size=count).map(lambda r: torch.tensor(r, dtype=torch.int32)[None])


@settings(max_examples=60, deadline=None)
@given(rows(1) | rows(2))
def test_odd_intervals_mean_their_union_and_normalizing_keeps_it(intervals: torch.Tensor) -> None:
    mask = IntervalMask(intervals, 11)
    expected = dense(1, 6, 11, lambda b, i, j: any(low <= j < high for low, high in intervals[0, i].tolist()))
    assert torch.equal(mask.to_dense(), expected)
    check(mask.normalized(), expected)
    assert mask.density() == pytest.approx(float(expected.float().mean()))
    second = mask.normalized().intervals[:, :, 1:]
    assert ((second[..., 0] > mask.normalized().intervals[:, :, :1, 1]) | (second[..., 0] == second[..., 1])).all()


@settings(max_examples=100, deadline=None)
@given(rows(1, 4) | rows(2, 4), rows(1, 4) | rows(2, 4))
def test_intersection(first: torch.Tensor, second: torch.Tensor) -> None:
    a, b = IntervalMask(first, 11), IntervalMask(second, 11)
    expected = a.to_dense() & b.to_dense()
    edges = torch.cat([torch.zeros(1, 4, 1, dtype=torch.bool), expected], dim=-1).int().diff(dim=-1) > 0
    too_many = edges.sum(-1)[0] > 2
    if too_many.any():
        with pytest.raises(InputError, match=f"three intervals in row {int(too_many.nonzero()[0])} of sample 0"):
            a & b
    else:
        both = a & b
        assert torch.equal(both.to_dense(), expected)
        assert both.intervals.shape[2] == max(first.shape[2], second.shape[2])


def test_intersection_of_constructors() -> None:
    lengths = torch.tensor([0, 3, 6])
    both = IntervalMask.causal(6) & IntervalMask.padding(lengths, 6)
    check(both, dense(3, 6, 6, lambda b, i, j: j <= i and i < lengths[b] and j < lengths[b]))
    window = IntervalMask.sliding_window(6, 1, global_tokens=1) & IntervalMask.padding(lengths, 6)
    check(window, dense(3, 6, 6, lambda b, i, j: (j == 0 or i - 1 <= j) and j <= i < lengths[b]))


def test_what_hides_nothing_changes_nothing_and_kinds_survive() -> None:
    causal, full = IntervalMask.causal(6), IntervalMask.full(6)
    assert (causal & full) is causal and (full & causal) is causal
    assert (full & full).kind == "full" and (causal & IntervalMask.causal(6)).kind == "causal"
    assert (causal & IntervalMask.padding(torch.tensor([6]), 6)).kind == "general"
    assert IntervalMask.causal(3, 6).kind == "general", "only the square one is what SDPA calls causal"
    assert IntervalMask.full(3, 0).kind == "general", "rows that see nothing need care"


def test_intersection_refuses_other_shapes() -> None:
    with pytest.raises(InputError, match=r"\(1, 3, 4\) and \(1, 3, 5\)"):
        IntervalMask.full(3, 4) & IntervalMask.full(3, 5)
    with pytest.raises(InputError, match="batches"):
        IntervalMask.padding(torch.tensor([1, 2]), 4) & IntervalMask.padding(torch.tensor([1, 2, 3]), 4)
    with pytest.raises(InputError, match="move one of them"):
        IntervalMask.full(3) & IntervalMask.full(3, device="meta")


# --- from dense -----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(rows(2, 5), st.integers(0, 11))
def test_from_dense_and_back(intervals: torch.Tensor, num_keys: int) -> None:
    visible = IntervalMask(intervals, num_keys).to_dense()
    mask = IntervalMask.from_dense(visible)
    check(mask, visible)
    check(IntervalMask.from_dense(visible[0]), visible)


def test_from_dense_takes_one_interval_where_one_is_enough() -> None:
    assert IntervalMask.from_dense(torch.ones(5, 5).tril().bool()).intervals.shape == (1, 5, 1, 2)
    assert IntervalMask.from_dense(torch.ones(5, 5).bool()).kind == "full"
    assert IntervalMask.from_dense(torch.zeros(2, 3, 4).bool()).density() == 0.0


def test_from_dense_takes_a_mask_with_one_head_for_all() -> None:
    visible = torch.ones(2, 1, 5, 5).tril().bool()
    visible[1, 0, 3, 1] = False
    assert torch.equal(IntervalMask.from_dense(visible).to_dense(), visible[:, 0])


@pytest.mark.parametrize(
    ("visible", "message"),
    [
        (torch.ones(2, 7).long(), r"int64 \(2, 7\); a padding mask \(B, S\).*IntervalMask.padding"),
        (torch.ones(2, 4, 5, 5).bool(), r"\(2, 4, 5, 5\); the heads of a layer share one mask"),
        (torch.zeros(5, 5), "padding mask"),
        (torch.zeros(2, 5, 5), "an additive mask .* is visible == 0"),
        ([[True]], "got list"),
    ],
)
def test_from_dense_says_what_was_given_instead(visible: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        IntervalMask.from_dense(visible)


def test_from_dense_in_a_compiled_function_fails_on_the_device_where_a_row_needs_three_intervals() -> None:
    compiled = torch.compile(lambda dense: IntervalMask.from_dense(dense).intervals, fullgraph=True, backend="eager")
    visible = torch.tensor([[True, False, True, False], [False, False, False, False]])
    assert torch.equal(IntervalMask(compiled(visible), 4).to_dense()[0], visible)
    with pytest.raises(RuntimeError, match="more than two intervals"):
        compiled(torch.tensor([[True, False, True, False, True]]))


def test_from_dense_names_the_first_row_with_three_intervals() -> None:
    visible = torch.zeros(2, 4, 7, dtype=torch.bool)
    visible[1, 2, ::3] = True
    visible[1, 3, ::2] = True
    with pytest.raises(InputError, match=r"visible\[1, 2\] needs 3 intervals.*\(2, 4, 7\)"):
        IntervalMask.from_dense(visible)
    with pytest.raises(InputError, match="bool tensor"):
        IntervalMask.from_dense(torch.zeros(3, 3))


# --- tiles, picture, text -------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(rows(1, 7) | rows(2, 7), st.integers(1, 9), st.integers(1, 13))
def test_tile_classes(intervals: torch.Tensor, tile_queries: int, tile_keys: int) -> None:
    mask = IntervalMask(intervals, 11)
    visible = mask.to_dense()[0]
    classes = mask.tile_classes(tile_queries, tile_keys)
    assert classes.dtype == torch.uint8
    for row, block in enumerate(visible.split(tile_queries, 0)):
        for column, tile in enumerate(block.split(tile_keys, 1)):
            assert int(classes[0, row, column]) == int(tile.any()) + int(tile.all())
    assert classes.shape == (1, row + 1, column + 1)


def test_repr_says_what_one_wants_to_know() -> None:
    text = repr(IntervalMask.causal(4))
    assert text == "IntervalMask(causal, batch 1, 4 queries x 4 keys, K = 1, cpu, 62.5% visible)"
    assert "meta" in repr(IntervalMask.full(4, device="meta"))


def test_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "mask.png"
    branch = torch.tensor([0] * 50 + [1] * 40 + [2] * 30 + [-1] * 10)
    IntervalMask.shared_prefix(torch.stack([branch, branch.flip(0).sort().values])).plot(path, tile_queries=16)
    assert path.read_bytes()[:4] == b"\x89PNG" and path.stat().st_size > 5_000
    with pytest.raises(InputError, match="queries and keys to draw"):
        IntervalMask.full(0).plot(path)


# --- an object among others -----------------------------------------------------------------------


def test_bad_values_are_found_when_asked_for() -> None:
    intervals = torch.zeros(2, 3, 1, 2, dtype=torch.int32)
    intervals[1, 2, 0] = torch.tensor([3, 2])
    with pytest.raises(InputError, match=r"intervals\[1, 2, 0\] is \[3, 2\).*num_keys = 5"):
        IntervalMask(intervals, 5).validate()
    with pytest.raises(InputError, match=r"is \[0, 9\)"):
        IntervalMask.padding(torch.tensor([9]), 5).validate()
    with pytest.raises(InputError, match=r"\[-2, -2\)"):
        IntervalMask.padding(torch.tensor([-2]), 5, num_queries=1).validate()


@pytest.mark.parametrize(
    "make",
    [
        lambda: IntervalMask(torch.zeros(1, 3, 1, 2), 3),
        lambda: IntervalMask(torch.zeros(3, 1, 2).int(), 3),
        lambda: IntervalMask(torch.zeros(1, 3, 3, 2).int(), 3),
        lambda: IntervalMask(torch.zeros(1, 3, 1, 1).int(), 3),
        lambda: IntervalMask([[0, 1]], 3),
        lambda: IntervalMask(torch.zeros(1, 3, 1, 2).int(), -1),
        lambda: IntervalMask.full(-1),
        lambda: IntervalMask.causal(3, -1),
        lambda: IntervalMask.sliding_window(3, -1),
        lambda: IntervalMask.padding(torch.ones(3), 3),
        lambda: IntervalMask.padding(torch.ones(3, 1).long(), 3),
        lambda: IntervalMask.padding([1, 2], 3),
        lambda: IntervalMask.padding(torch.ones(3).long(), 3, num_queries=3, query_lengths=torch.ones(2).long()),
        lambda: IntervalMask.prefix_lm(torch.ones(3).long(), torch.ones(2).long(), 4),
        lambda: IntervalMask.packed(),
        lambda: IntervalMask.packed(cu_seqlens=torch.tensor([0, 3])),
        lambda: IntervalMask.packed(cu_seqlens=torch.tensor([], dtype=torch.int64), num_tokens=3),
        lambda: IntervalMask.packed(document_ids=torch.zeros(3).long(), num_tokens=4),
        lambda: IntervalMask.packed(document_ids=torch.zeros(3).bool()),
        lambda: IntervalMask.multimodal(torch.zeros(3).long(), torch.zeros(4).long()),
        lambda: IntervalMask.shared_prefix(torch.zeros(2, 3).long(), torch.zeros(3).long()),
        lambda: IntervalMask.full(3).tile_classes(0, 4),
    ],
)
def test_bad_input_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(InputError):
        make()


def test_moves_copies_and_pickles_without_what_can_be_derived() -> None:
    mask = IntervalMask.causal(5)
    mask.dense()
    assert mask.to("cpu") is mask
    for other in (copy.deepcopy(mask), copy.copy(mask), pickle.loads(pickle.dumps(mask))):
        assert torch.equal(other.intervals, mask.intervals)
        assert (other.num_keys, other.kind, other._derived) == (5, "causal", {})
    moved = mask.to("meta")
    assert moved.device.type == "meta" and moved.kind == "causal"


def test_is_a_pytree_node() -> None:
    mask = IntervalMask.causal(5)
    leaves, structure = _pytree.tree_flatten({"mask": mask})
    assert len(leaves) == 1 and leaves[0] is mask.intervals
    again = _pytree.tree_unflatten([leaves[0] * 1], structure)["mask"]
    assert (again.num_keys, again.kind) == (5, "causal") and torch.equal(again.intervals, mask.intervals)
    assert _pytree.tree_flatten({"mask": IntervalMask.causal(5)})[1] == structure
    assert _pytree.tree_flatten({"mask": IntervalMask.causal(6)})[1] != structure


def test_dense_form_is_made_once_and_again_after_a_write() -> None:
    mask = IntervalMask.padding(torch.tensor([2, 3]), 4)
    attended, empty = mask.dense()
    assert mask.dense()[0] is attended
    assert attended.shape == (2, 1, 4, 4) and empty.shape == (2, 4, 1, 1)
    assert torch.equal(attended[:, 0], mask.to_dense() | empty[..., 0])
    assert torch.equal(empty[..., 0, 0], torch.tensor([[False, False, True, True], [False, False, False, True]]))
    mask.intervals.copy_(IntervalMask.padding(torch.tensor([4, 4]), 4).intervals)
    assert mask.dense()[0].all() and not mask.dense()[1].any()


def test_dense_form_made_in_inference_mode_does_not_reach_autograd() -> None:
    mask = IntervalMask.padding(torch.tensor([2, 3]), 4)
    with torch.inference_mode():
        mask.dense()
    assert not mask.dense()[0].is_inference()
    with torch.inference_mode():
        written = IntervalMask.padding(torch.tensor([2, 3]), 4)
        written.dense()
        written.intervals.zero_()
        assert written.dense()[1].all(), "writes in inference mode leave no trace: nothing may be remembered"
