"""The attention mask as data: for every query row, the one or two ranges of keys that it may see."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree

from gptface.errors import InputError
from gptface.ops.attention import interval_algebra as algebra
from gptface.ops.attention import mask_constructors as constructors

__all__ = ["IntervalMask"]


class _Flattened(NamedTuple):
    """What of a mask is not a tensor, for pytrees."""

    num_keys: int
    kind: str


@dataclass(eq=False, repr=False)
class IntervalMask:
    """Which keys each query row may attend to, as at most two half-open intervals a row.

    O(S) memory, no shape that depends on data, and nothing here synchronises with the device except :meth:`validate`,
    :meth:`from_dense`, :meth:`density`, ``repr`` and :meth:`plot`. A mask can be built inside a compiled function, be
    an argument of one, or be a leaf-bearing node of a pytree; new intervals never recompile anything.

    Attributes:
        intervals: ``(B or 1, Sq, K, 2)`` int32, K = 1 or 2: row i may attend to keys ``lo <= j < hi`` of each of its
            intervals. Batch 1 holds for every sample. See ``interval_algebra.dense_from_intervals`` for odd values.
        num_keys: Skv.
        kind: ``"full"`` or ``"causal"`` (square, nothing else hidden) where a constructor knows the mask to be
            exactly that, which lets the dense path drop the mask; ``"general"`` otherwise. It is a claim about
            ``intervals``: leave it alone when making a mask from your own intervals.

    Raises:
        InputError: for intervals of another rank, dtype or K. Values are looked at by :meth:`validate` only.
    """

    intervals: Tensor
    num_keys: int
    kind: str = "general"
    # Derived forms, shared by all layers that get this object. See `dense`.
    _derived: dict[Any, Any] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        intervals = self.intervals
        if not isinstance(intervals, Tensor):
            raise InputError(f"intervals must be an int32 tensor, got {type(intervals).__name__}")
        if intervals.dtype != torch.int32:
            raise InputError(f"intervals must be int32, got {intervals.dtype}")
        if intervals.ndim != 4 or intervals.shape[3] != 2 or intervals.shape[2] not in (1, 2):
            raise InputError(
                f"intervals must have shape (B or 1, Sq, K, 2) with K = 1 or 2, got {tuple(intervals.shape)}"
            )
        if self.num_keys < 0:
            raise InputError(f"num_keys must not be negative, got {self.num_keys}")

    # --- what it is -------------------------------------------------------------------------------------------------

    @property
    def batch_size(self) -> int:
        """B, or 1 where one pattern holds for every sample."""
        return self.intervals.shape[0]

    @property
    def num_queries(self) -> int:
        """Sq."""
        return self.intervals.shape[1]

    @property
    def device(self) -> torch.device:
        return self.intervals.device

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(B or 1, Sq, Skv)``, the shape of :meth:`to_dense`."""
        return (self.batch_size, self.num_queries, self.num_keys)

    @property
    def ndim(self) -> int:
        """4, the rank of ``intervals``: what libraries ask of a mask to tell it from padding ``(B, S)``."""
        return self.intervals.ndim

    # --- constructors: each documented where it is computed, in mask_constructors.py ----------------------------------

    @classmethod
    def full(
        cls, num_queries: int, num_keys: int | None = None, *, device: torch.device | str | None = None
    ) -> IntervalMask:
        """Every query sees every key. ``num_keys`` defaults to ``num_queries``."""
        num_keys = num_queries if num_keys is None else num_keys
        kind = "full" if num_keys else "general"
        return cls(constructors.full(num_queries, num_keys, device), num_keys, kind)

    @classmethod
    def causal(
        cls, num_queries: int, num_keys: int | None = None, *, device: torch.device | str | None = None
    ) -> IntervalMask:
        """Query i stands at key position ``i + num_keys - num_queries`` and sees every key up to its own position.

        With fewer queries than keys the queries are thus the last ones, as in decoding with a cache; with more, the
        first rows see nothing.
        """
        num_keys = num_queries if num_keys is None else num_keys
        if num_queries == 1 and num_keys > 0:
            # A step of generation: the last position sees all.
            return cls(constructors.full(1, num_keys, device), num_keys, "full")
        kind = "causal" if num_keys == num_queries else "general"
        return cls(constructors.causal(num_queries, num_keys, device), num_keys, kind)

    @classmethod
    def sliding_window(
        cls,
        num_queries: int,
        left: int,
        right: int = 0,
        *,
        num_keys: int | None = None,
        global_tokens: int = 0,
        symmetric: bool = False,
        device: torch.device | str | None = None,
    ) -> IntervalMask:
        """Query at position p (as in :meth:`causal`) sees keys ``p - left`` to ``p + right``, both included.

        Args:
            num_queries: Sq.
            left: keys to see before the query's own position.
            right: keys to see after it; 0 is a causal window.
            num_keys: Skv, by default ``num_queries``.
            global_tokens: every row also sees the first so many keys ("attention sinks"); K = 2 then. In a causal
                window (``right == 0`` and not ``symmetric``) only those up to its own position.
            symmetric: the rows of the global tokens in turn see every key (Longformer).
        """
        num_keys = num_queries if num_keys is None else num_keys
        intervals = constructors.sliding_window(num_queries, num_keys, left, right, global_tokens, symmetric, device)
        return cls(intervals, num_keys)

    @classmethod
    def padding(
        cls,
        lengths: Tensor,
        num_keys: int,
        *,
        num_queries: int | None = None,
        query_lengths: Tensor | None = None,
    ) -> IntervalMask:
        """Every query of sample b sees the first ``lengths[b]`` keys.

        Without ``num_queries`` this is self-attention: rows from ``lengths[b]`` on are padding and see nothing. With
        it, it is cross-attention, and rows from ``query_lengths[b]`` on (by default none) see nothing.

        Args:
            lengths: ``(B,)`` integer, on the device where the mask shall be.
            num_keys: Skv, the padded length.
        """
        if num_queries is None:
            num_queries = num_keys
            query_lengths = lengths if query_lengths is None else query_lengths
        return cls(constructors.padding(lengths, num_keys, num_queries, query_lengths), num_keys)

    @classmethod
    def prefix_lm(cls, prefix_lengths: Tensor, lengths: Tensor, num_keys: int) -> IntervalMask:
        """Every token sees the whole prefix; a token after the prefix also sees everything up to itself.

        ``prefix_lengths == lengths`` is a bidirectional sample, ``prefix_lengths == 0`` a causal one, so one batch may
        mix all three. Rows from ``lengths[b]`` on are padding and see nothing; a prefix is cut at the sample's end.

        Args:
            prefix_lengths: ``(B,)`` integer.
            lengths: ``(B,)`` integer, prefix included.
            num_keys: the padded length S.
        """
        return cls(constructors.prefix_lm(prefix_lengths, lengths, num_keys), num_keys)

    @classmethod
    def packed(
        cls,
        *,
        cu_seqlens: Tensor | None = None,
        document_ids: Tensor | None = None,
        num_tokens: int | None = None,
        causal: bool = False,
    ) -> IntervalMask:
        """Several documents in one row: a token sees its own document (up to itself, if ``causal``).

        Give exactly one of ``cu_seqlens`` and ``document_ids``.

        Args:
            cu_seqlens: ``(n + 1,)`` integer, cumulative lengths starting at 0: document d holds tokens
                ``cu_seqlens[d]`` to ``cu_seqlens[d + 1] - 1``. Tokens from ``cu_seqlens[-1]`` on are padding.
            document_ids: ``(S,)`` or ``(B, S)`` integer. A document is a maximal run of equal ids; negative ids are
                padding, which neither sees nor is seen.
            num_tokens: S, needed with ``cu_seqlens`` (its last value is known to the device only).
        """
        if (cu_seqlens is None) == (document_ids is None):
            raise InputError("packed needs exactly one of cu_seqlens and document_ids")
        if cu_seqlens is not None:
            if num_tokens is None:
                raise InputError("num_tokens is needed with cu_seqlens: the number of rows of the mask")
            return cls(constructors.packed_lengths(cu_seqlens, num_tokens, causal), num_tokens)
        assert document_ids is not None
        intervals = constructors.packed_documents(document_ids, causal)
        if num_tokens is not None and num_tokens != intervals.shape[1]:
            raise InputError(f"num_tokens is {num_tokens}, but document_ids has shape {tuple(document_ids.shape)}")
        return cls(intervals, intervals.shape[1])

    @classmethod
    def multimodal(cls, document_ids: Tensor, block_ids: Tensor) -> IntervalMask:
        """A token sees every earlier token of its document, itself, and all of its own block.

        One rule gives bidirectional images, or prefixes, inside causal text.

        Args:
            document_ids: ``(S,)`` or ``(B, S)`` integer, as in :meth:`packed`.
            block_ids: same shape. A block is a maximal run of equal ids >= 0 within a document; tokens with a
                negative id belong to no block.
        """
        intervals = constructors.multimodal(document_ids, block_ids)
        return cls(intervals, intervals.shape[1])

    @classmethod
    def shared_prefix(
        cls,
        branch_ids: Tensor,
        document_ids: Tensor | None = None,
        *,
        causal_prefix: bool = False,
        causal_branches: bool = True,
    ) -> IntervalMask:
        """One prefix, such as an image, and several branches, such as captions, that see it but not one another.

        K = 2: the prefix of the token's document, and its own branch (up to itself, if ``causal_branches``).

        Args:
            branch_ids: ``(S,)`` or ``(B, S)`` integer: 0 on the prefix (the first run of each document), positive on
                branches, negative on padding. A branch is a maximal run of equal ids.
            document_ids: same shape; several prefix groups in one row, as in :meth:`packed`. By default one a row.
            causal_prefix: a prefix token sees the prefix up to itself only.
        """
        intervals = constructors.shared_prefix(branch_ids, document_ids, causal_prefix, causal_branches)
        return cls(intervals, intervals.shape[1])

    @classmethod
    def from_dense(cls, visible: Tensor) -> IntervalMask:
        """The mask of a dense one. Synchronises, and takes O(S²) work: for tests, tools and small adapters.

        In compiled code it does not synchronise: K is 2 then, and a row that needs more fails on the device.

        Args:
            visible: ``(Sq, Skv)``, ``(B, Sq, Skv)`` or ``(B, 1, Sq, Skv)`` bool, true where the query may see the key.

        Raises:
            InputError: naming the first row that needs more than two intervals.
        """
        intervals = algebra.from_dense(visible)
        whole = not torch.compiler.is_compiling() and visible.shape[-1] > 0 and bool(visible.all())
        kind = "full" if whole else "general"
        return cls(intervals, visible.shape[-1], kind)

    # --- algebra and movement ---------------------------------------------------------------------------------------

    def __and__(self, other: IntervalMask) -> IntervalMask:
        """What both masks show. Batch 1 broadcasts.

        The intersection of m and n intervals is at most ``m + n - 1`` intervals, so K grows statically: K = 1 with
        K = 1 gives 1, and 1 with 2 gives 2, with nothing to check. Only 2 with 2 may come to 3. That is decided by
        the data, where the data is and without waiting for it: on the CPU by an :class:`InputError` at once, on an
        accelerator and in compiled code by a device-side assertion (``torch._assert_async``) that surfaces at the next
        synchronisation.

        Raises:
            InputError: where shapes or devices differ, or a row needs three intervals.
        """
        if not isinstance(other, IntervalMask):
            return NotImplemented
        if self.num_queries != other.num_queries or self.num_keys != other.num_keys:
            raise InputError(f"masks of shapes {self.shape} and {other.shape} do not intersect: (Sq, Skv) must agree")
        if self.batch_size != other.batch_size and 1 not in (self.batch_size, other.batch_size):
            raise InputError(
                f"masks of shapes {self.shape} and {other.shape} do not intersect: batches must agree or be 1"
            )
        if self.device != other.device:
            raise InputError(f"masks on {self.device} and {other.device} do not intersect: move one of them")
        if self.kind == "full" and other.batch_size >= self.batch_size:
            return other
        if other.kind == "full" and self.batch_size >= other.batch_size:
            return self
        kind = self.kind if self.kind == other.kind else "general"
        return IntervalMask(algebra.intersection(self.intervals, other.intervals, self.num_keys), self.num_keys, kind)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> IntervalMask:
        """The same mask on ``device``; itself where it already is there."""
        moved = self.intervals.to(device, non_blocking=non_blocking)
        return self if moved is self.intervals else IntervalMask(moved, self.num_keys, self.kind)

    def pin_memory(self) -> IntervalMask:
        """A copy in page-locked host memory, as data loaders ask for."""
        return IntervalMask(self.intervals.pin_memory(), self.num_keys, self.kind)

    def normalized(self) -> IntervalMask:
        """The same visibility with every row in order: ``0 <= lo0 <= hi0 <= lo1 <= hi1 <= num_keys``.

        Intervals are clamped, sorted, and merged where they overlap or touch (the second is then empty). On the
        device, O(S): what a kernel that walks tiles interval by interval wants to be given.
        """
        return IntervalMask(algebra.normalized(self.intervals, self.num_keys), self.num_keys, self.kind)

    # --- derived forms ----------------------------------------------------------------------------------------------

    def to_dense(self) -> Tensor:
        """``(B or 1, Sq, Skv)`` bool, true where the query may see the key. O(S²) memory; a new tensor every time."""
        return algebra.dense_from_intervals(self.intervals, self.num_keys)

    def dense(self) -> tuple[Tensor, Tensor]:
        """The dense path's form, made once a mask and shared by all layers.

        Returns:
            ``attended (B or 1, 1, Sq, Skv)`` bool, true also throughout rows that may see nothing, so that no softmax
            runs over an empty set; and ``empty (B or 1, Sq, 1, 1)`` bool, which rows those are.
        """
        return self._remembered("dense", self._build_dense)

    def _build_dense(self) -> tuple[Tensor, Tensor]:
        visible = self.to_dense()
        empty = ~visible.any(dim=-1, keepdim=True)
        return (visible | empty).unsqueeze(1), empty.unsqueeze(-1)

    def block_bounds(self) -> tuple[Tensor, Tensor]:
        """What GPU kernels need to know for blocks of 64 queries and keys, made once a mask and shared by all layers.

        Two int32 tables in O(S) memory, made on the device: see ``gptface.kernels.attention_bounds``. Needs triton.
        """
        return self._remembered("block bounds", self._build_block_bounds)

    def _build_block_bounds(self) -> tuple[Tensor, Tensor]:
        rows, columns = torch.ops.gptface.attention_block_bounds(self.intervals, self.num_keys)
        return rows, columns

    def _remembered(self, name: str, build: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """What ``build`` makes of the intervals, from the first call on this object.

        Nothing is remembered in compiled code (a cache there would be a guard, hence a recompilation; the compiler
        merges the equal computations of all layers by itself), under CUDA-graph capture, and for inference tensors
        (writes to them leave no trace, so that a remembered form could go stale in silence).
        """
        if torch.compiler.is_compiling() or self.intervals.is_inference():
            return build()
        if self.intervals.is_cuda and torch.cuda.is_current_stream_capturing():
            return build()
        # A form made in inference mode must not be handed to autograd, and one of overwritten intervals to nobody.
        key = (name, torch.is_inference_mode_enabled())
        version = self.intervals._version
        remembered = self._derived.get(key)
        if remembered is None or remembered[0] is not self.intervals or remembered[1] != version:
            remembered = (self.intervals, version, build())
            self._derived[key] = remembered
        return remembered[2]

    def tile_classes(self, tile_queries: int = 64, tile_keys: int = 64) -> Tensor:
        """How each tile of the score matrix stands: 0 skipped, 1 partly visible, 2 fully visible.

        Returns:
            ``(B or 1, ceil(Sq / tile_queries), ceil(Skv / tile_keys))`` uint8, on the device, from O(S · tiles) work.
        """
        return algebra.tile_classes(self.intervals, self.num_keys, tile_queries, tile_keys)

    def density(self) -> float:
        """Visible share of all (query, key) pairs. Synchronises."""
        intervals = algebra.normalized(self.intervals, self.num_keys)
        pairs = self.batch_size * self.num_queries * self.num_keys
        return float((intervals[..., 1] - intervals[..., 0]).sum(dtype=torch.int64)) / pairs if pairs else 0.0

    def validate(self) -> IntervalMask:
        """Check the values, and return the mask. Synchronises.

        Raises:
            InputError: naming the first row with ``lo > hi`` or an interval outside ``[0, num_keys]``.
        """
        low, high = self.intervals.cpu().unbind(-1)
        wrong = (low > high) | (low < 0) | (high > self.num_keys)
        if bool(wrong.any()):
            batch, row, which = (int(index) for index in wrong.nonzero()[0])
            bounds = f"[{int(low[batch, row, which])}, {int(high[batch, row, which])})"
            raise InputError(
                f"intervals[{batch}, {row}, {which}] is {bounds}: an interval must have 0 <= lo <= hi <= num_keys = "
                f"{self.num_keys} (intervals of shape {tuple(self.intervals.shape)})"
            )
        return self

    def plot(
        self, path: str | os.PathLike[str], *, tile_queries: int = 64, tile_keys: int = 64, samples: int = 4
    ) -> None:
        """Draw the mask and its tile classes into an image file (needs matplotlib). Synchronises.

        Args:
            path: where to; the suffix chooses the format.
            tile_queries: rows of a tile.
            tile_keys: columns of a tile.
            samples: how many samples of the batch to draw, from the first.
        """
        from gptface.ops.attention.mask_plot import plot_visibility

        if samples < 1 or 0 in self.shape:
            raise InputError(
                f"plot needs samples, queries and keys to draw, got samples={samples} of a mask {self.shape}"
            )
        intervals = self.intervals[:samples].cpu()
        visible = algebra.dense_from_intervals(intervals, self.num_keys)
        tiles = algebra.tile_classes(intervals, self.num_keys, tile_queries, tile_keys)
        plot_visibility(visible, tiles, path, tile_queries, tile_keys)

    def __repr__(self) -> str:
        head = f"IntervalMask({self.kind}, batch {self.batch_size}, {self.num_queries} queries x {self.num_keys} keys, "
        head += f"K = {self.intervals.shape[2]}, {self.device}"
        if type(self.intervals) is not Tensor or self.intervals.is_meta:
            return head + ")"  # traced or shapeless: there are no values to look at
        return head + f", {self.density():.1%} visible)"

    def __getstate__(self) -> dict[str, Any]:
        # Copies and pickles (to data-loader workers, to disk) carry the data, not what can be derived from it.
        return {"intervals": self.intervals, "num_keys": self.num_keys, "kind": self.kind, "_derived": {}}


def _flatten(mask: IntervalMask) -> tuple[list[Tensor], _Flattened]:
    return [mask.intervals], _Flattened(mask.num_keys, mask.kind)


def _flatten_with_keys(mask: IntervalMask) -> tuple[list[tuple[_pytree.KeyEntry, Tensor]], _Flattened]:
    return [(_pytree.GetAttrKey("intervals"), mask.intervals)], _Flattened(mask.num_keys, mask.kind)


def _unflatten(children: Any, context: _Flattened) -> IntervalMask:
    # Without __post_init__: pytree tools put all sorts of things (None, specifications) where the tensor was.
    mask = object.__new__(IntervalMask)
    (mask.intervals,) = children
    mask.num_keys, mask.kind, mask._derived = context.num_keys, context.kind, {}
    return mask


_pytree.register_pytree_node(
    IntervalMask,
    _flatten,
    _unflatten,
    serialized_type_name="gptface.IntervalMask",
    flatten_with_keys_fn=_flatten_with_keys,
    to_dumpable_context=lambda context: list(context),
    from_dumpable_context=lambda context: _Flattened(*context),
)
