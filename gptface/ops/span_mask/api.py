"""``sample_span_mask``, ``corrupt_tokens`` and ``mask_tokens``, which is both in one: what people call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.ops.span_mask import library
from gptface.ops.span_mask.arguments import (
    Layout,
    as_tensor,
    companion,
    identities,
    is_numpy,
    read_corruption,
    read_layout,
    seed_and_step,
)
from gptface.ops.span_mask.choice import kernel
from gptface.ops.span_mask.program import IMAGE_REGIONS
from gptface.ops.span_mask.specification import Specification

__all__ = ["MaskedTokens", "SpanMask", "corrupt_tokens", "mask_tokens", "sample_span_mask"]

del library  # imported for its schemas


class SpanMask(NamedTuple):
    """What is masked, in four views. B samples of S positions; tensors, or NumPy arrays where NumPy came in.

    Attributes:
        mask: bool ``(B, S)``.
        indices: int64 ``(M,)``, ``b · S + s`` of every masked position in ascending order. M is their exact number
            where the host knows it; otherwise (CUDA, compiled code) a static upper bound, and the rest holds −1.
        cu_masked: int64 ``(B + 1,)``: sample b owns ``indices[cu_masked[b] : cu_masked[b + 1]]``.
        span_ids: int32 ``(B, S)``: number of the span, block or region that masks the position, from 0 in each sample;
            −1 where nothing does.
    """

    mask: Any
    indices: Any
    cu_masked: Any
    span_ids: Any


class MaskedTokens(NamedTuple):
    """What :func:`mask_tokens` returns: the corrupted ids, shaped like those given, and what is masked."""

    token_ids: Any
    span_mask: SpanMask


def sample_span_mask(
    spec: Specification,
    lengths_or_eligible: Any = None,
    *,
    seed: int,
    step: int | Tensor,
    sample_ids: Any,
    max_length: int | None = None,
    word_ids: Any = None,
    region_map: Any = None,
    impl: str = "auto",
) -> SpanMask:
    """Draw the masked positions of every sample of a batch.

    A sample's mask depends on ``seed``, ``step``, its id and its own layout alone: not on the rest of the batch, the
    order, the process or the device. Every implementation gives the same bits. The number of masked positions is exact;
    how likely each one is stands in the docstring of the specification.

    Args:
        spec: ``TextSpans``, ``ImageBlocks``, ``ImageRandom``, ``FacialRegions`` or ``Multimodal``.
        lengths_or_eligible: one of

            - lengths ``(B,)``: a list, a NumPy array or an integer tensor on any device (which needs ``max_length``,
              since the host never reads it); positions below the length are eligible;
            - eligible bool ``(B, S)``, NumPy or a tensor on any device;
            - for ``Multimodal``: modality int8 or uint8 ``(B, S)``: 0 never masked, 1 text, 2 image, 3 an image cell
              that is never masked;
            - ``None`` for the specifications of an image grid: every cell is eligible, S = h · w.
        seed: any 64-bit integer.
        step: 0 to 2³² − 1, or a 0-d integer tensor on the inputs' device (a CUDA graph can then change it).
        sample_ids: ``(B,)`` 64-bit identities of the samples: list, NumPy array or tensor.
        max_length: S of the result for lengths; their maximum by default.
        word_ids: integers ``(B, S)`` for ``TextSpans(whole_words=True)``: neighbours with one id are one word, a
            negative id is a word of its own.
        region_map: integers ``(B, h · w)`` for ``FacialRegions``: the region label of every cell of the grid.
        impl: ``"auto"`` (the native library where it holds a kernel for the device, on a GPU one that is proven there;
            else, with a warning, the CPU's on copies or the reference, which on a GPU wait for the inputs), or by name
            ``"reference"``, ``"cpu"``, ``"cuda"`` or ``"host"``.

    Returns:
        A :class:`SpanMask` on the device of the inputs, as NumPy arrays if ``lengths_or_eligible`` (or, where that is
        ``None`` or a list, ``sample_ids``) is one. NumPy arrays are read and written without a copy.

    Raises:
        InputError: an argument has the wrong shape, dtype or range (sentence names it). Values on a CUDA device are not
            looked at; lengths outside [0, S] count as the nearest allowed one.
        RuntimeError: a named ``impl`` that cannot run here.
    """
    name = "sample_span_mask"
    layout, words, regions = _layout(name, spec, lengths_or_eligible, sample_ids, max_length, word_ids, region_map)
    device = layout.sample_ids.device
    seed, step, device_step = seed_and_step(name, seed, step, device)
    operator = getattr(torch.ops.gptface, kernel(name, impl, device.type, device.index))
    results = operator(
        spec.encoded, layout.tensor, words, regions, layout.sample_ids, seed, step, device_step, layout.size,
        layout.most_masked,
    )  # fmt: skip
    leader = lengths_or_eligible
    if leader is None or isinstance(leader, list):
        leader = sample_ids
    return _span_mask(results, is_numpy(leader))


def _layout(
    name: str, spec: Specification, given: Any, sample_ids: Any, max_length: int | None, word_ids: Any, region_map: Any
) -> tuple[Layout, Tensor | None, Tensor | None]:
    """The layout with what the specification needs beside it: word ids and regions."""
    if not isinstance(spec, Specification):
        raise InputError(
            f"{name}: spec is a {type(spec).__name__}; allowed: a specification such as TextSpans(ratio=0.15)"
        )
    layout = read_layout(name, spec, given, sample_ids, max_length)
    device, batch = layout.sample_ids.device, layout.sample_ids.shape[0]
    text, image = spec.decoded
    words = regions = None
    if text is not None and text.whole_words:
        words = companion(name, "word_ids", word_ids, (batch, layout.size), torch.int64, device)
    if image is not None and image.kind == IMAGE_REGIONS:
        regions = companion(name, "region_map", region_map, (batch, image.height * image.width), torch.int32, device)
    return layout, words, regions


def _span_mask(results: Sequence[Tensor], numpy: bool) -> SpanMask:
    mask, indices, cu_masked, span_ids = results
    if mask.device.type == "cpu" and not torch.compiler.is_compiling():
        indices = indices[: int(cu_masked[-1])]
    if numpy:
        return SpanMask(mask.numpy(), indices.numpy(), cu_masked.numpy(), span_ids.numpy())
    return SpanMask(mask, indices, cu_masked, span_ids)


def corrupt_tokens(
    token_ids: Any,
    span_mask: SpanMask,
    *,
    mask_id: int | Sequence[int],
    vocabulary_ranges: Sequence[tuple[int, int]],
    probabilities: tuple[float, float, float] = (0.8, 0.1, 0.1),
    per: str = "span",
    seed: int,
    step: int | Tensor,
    sample_ids: Any,
    impl: str = "auto",
) -> Any:
    """Replace masked tokens: by the mask token, by a random one of its modality, or not at all (BERT's 80/10/10).

    Args:
        token_ids: integers ``(B, S)``, tensor or NumPy array.
        span_mask: what :func:`sample_span_mask` gave for these samples.
        mask_id: the mask token, one for all or one for each vocabulary range.
        vocabulary_ranges: half-open ``(low, high)`` of ids that a random replacement is drawn from, one for each
            modality, ascending and disjoint. A token belongs to the last range that begins at or below it (to the
            first, if none does), so special ids in front of a range count with it but are never drawn.
        probabilities: of (mask token, random token, unchanged); they sum to one.
        per: ``"span"``: one decision for all tokens of a span, as SpanBERT; ``"token"``: one for each, as BERT.
        seed, step, sample_ids: as in :func:`sample_span_mask`; decisions are independent of the mask's own draws.
        impl: as in :func:`sample_span_mask`.

    Returns:
        The corrupted ids, shape, dtype and kind of ``token_ids``.

    Raises:
        InputError: an argument has the wrong shape, dtype or range.
        RuntimeError: a named ``impl`` that cannot run here.
    """
    name = "corrupt_tokens"
    mask, span_ids = as_tensor(span_mask.mask), as_tensor(span_mask.span_ids)
    tokens, flat, thresholds = read_corruption(name, token_ids, mask_id, vocabulary_ranges, probabilities, per)
    if mask.shape != tokens.shape or span_ids.shape != tokens.shape or mask.device != tokens.device:
        raise InputError(
            f"{name}: token_ids has shape {tuple(tokens.shape)} on {tokens.device}, span_mask {tuple(mask.shape)} on "
            f"{mask.device}; allowed: the same"
        )
    ids = identities(name, sample_ids, tokens.device)
    if ids.shape[0] != tokens.shape[0]:
        raise InputError(f"{name}: token_ids has {tokens.shape[0]} samples, sample_ids {ids.shape[0]}")
    seed, step, device_step = seed_and_step(name, seed, step, tokens.device)
    operator = getattr(torch.ops.gptface, kernel(name, impl, tokens.device.type, tokens.device.index))
    corrupted = operator(
        tokens, mask.contiguous(), span_ids.contiguous(), flat, thresholds, per == "span", ids, seed, step, device_step
    )
    return corrupted.numpy() if is_numpy(token_ids) else corrupted


def mask_tokens(
    token_ids: Any,
    spec: Specification,
    lengths_or_eligible: Any = None,
    *,
    mask_id: int | Sequence[int],
    vocabulary_ranges: Sequence[tuple[int, int]],
    probabilities: tuple[float, float, float] = (0.8, 0.1, 0.1),
    per: str = "span",
    seed: int,
    step: int | Tensor,
    sample_ids: Any,
    word_ids: Any = None,
    region_map: Any = None,
    impl: str = "auto",
) -> MaskedTokens:
    """Draw a mask and corrupt the tokens under it, in one kernel.

    The same bits as ``span_mask = sample_span_mask(spec, …)`` and then ``corrupt_tokens(token_ids, span_mask, …)``,
    with the same seed, step and sample ids in both.

    Args:
        token_ids: integers ``(B, S)``, tensor or NumPy array; its kind and device are those of the result.
        spec, lengths_or_eligible, word_ids, region_map: as in :func:`sample_span_mask`; lengths count into S.
        mask_id, vocabulary_ranges, probabilities, per: as in :func:`corrupt_tokens`.
        seed, step, sample_ids, impl: as in both.

    Raises:
        InputError: an argument has the wrong shape, dtype or range.
        RuntimeError: a named ``impl`` that cannot run here.
    """
    name = "mask_tokens"
    tokens, flat, thresholds = read_corruption(name, token_ids, mask_id, vocabulary_ranges, probabilities, per)
    size = tokens.shape[1]
    ids = identities(name, sample_ids, tokens.device)
    layout, words, regions = _layout(name, spec, lengths_or_eligible, ids, size, word_ids, region_map)
    if layout.size != size or layout.sample_ids.shape[0] != tokens.shape[0]:
        raise InputError(
            f"{name}: token_ids has shape {tuple(tokens.shape)}, the masks ({layout.sample_ids.shape[0]}, "
            f"{layout.size}); allowed: the same"
        )
    if layout.sample_ids.device != tokens.device:
        raise InputError(f"{name}: token_ids is on {tokens.device}, lengths_or_eligible on {layout.sample_ids.device}")
    seed, step, device_step = seed_and_step(name, seed, step, tokens.device)
    operator = getattr(torch.ops.gptface, kernel(name, impl, tokens.device.type, tokens.device.index))
    *results, corrupted = operator(
        tokens, flat, thresholds, per == "span", spec.encoded, layout.tensor, words, regions, layout.sample_ids, seed,
        step, device_step, layout.most_masked,
    )  # fmt: skip
    numpy = is_numpy(token_ids)
    return MaskedTokens(corrupted.numpy() if numpy else corrupted, _span_mask(results, numpy))
