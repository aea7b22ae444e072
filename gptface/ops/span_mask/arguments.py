"""What callers may hand in (lists, NumPy arrays, tensors) becomes what the operators take: contiguous tensors of one
dtype on one device. Nothing here reads a tensor that is not on the CPU, nor any tensor inside compiled code."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from numbers import Integral
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.ops.span_mask.program import Program
from gptface.ops.span_mask.reference import masked_count
from gptface.ops.span_mask.specification import LARGEST_SIZE, Multimodal, Specification

__all__ = [
    "Layout",
    "as_tensor",
    "companion",
    "describe",
    "identities",
    "is_numpy",
    "read_corruption",
    "read_layout",
    "seed_and_step",
]


def is_numpy(value: object) -> bool:
    """A NumPy array or scalar array; NumPy itself is not imported."""
    return not isinstance(value, (Tensor, list, tuple)) and hasattr(value, "__array__")


def as_tensor(value: Any) -> Any:
    """A NumPy array as a tensor over the same memory; anything else as it is."""
    if is_numpy(value):
        return torch.from_numpy(value if value.flags.writeable else value.copy())
    return value


def describe(value: object) -> str:
    """Kind and shape of an argument, for error sentences."""
    return f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"


def _of_integers(tensor: Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)


def _plain(value: Any) -> Any:
    """A whole number of NumPy's as Python's; anything else as it is."""
    whole = not isinstance(value, (int, torch.SymInt, Tensor)) and isinstance(value, Integral)
    return int(value) if whole else value


def seed_and_step(operator: str, seed: int, step: int | Tensor, device: torch.device) -> tuple[int, int, Tensor | None]:
    """The seed, the step as a number, and the step as a tensor that stands in for the number."""
    seed, step = _plain(seed), _plain(step)
    if isinstance(seed, bool) or not isinstance(seed, (int, torch.SymInt)) or not -(2**63) <= seed < 2**64:
        raise InputError(f"{operator}: seed is {seed!r}; allowed: a 64-bit integer")
    if isinstance(seed, int) and seed >= 2**63:
        seed -= 2**64  # the same 64 bits
    if isinstance(step, Tensor):
        if step.dim() != 0 or not _of_integers(step):
            raise InputError(f"{operator}: step is {describe(step)}; allowed: an int or a 0-d integer tensor")
        return seed, 0, step.to(device=device, dtype=torch.int64, non_blocking=True)
    if isinstance(step, bool) or not isinstance(step, (int, torch.SymInt)) or not 0 <= step < 2**32:
        raise InputError(f"{operator}: step is {step!r}; allowed: a whole number from 0 to 2**32 - 1, or a 0-d tensor")
    return seed, step, None


def identities(operator: str, sample_ids: Any, device: torch.device) -> Tensor:
    """Sample ids as int64 ``(B,)``."""
    ids = as_tensor(sample_ids)
    if not isinstance(ids, Tensor):
        ids = torch.tensor([int(i) for i in ids], dtype=torch.int64)
    if ids.dim() != 1 or not _of_integers(ids):
        raise InputError(f"{operator}: sample_ids is {describe(ids)}; allowed: whole numbers of shape (B,)")
    return ids.to(device=device, dtype=torch.int64, non_blocking=True).contiguous()


def companion(
    operator: str, argument: str, value: Any, shape: tuple[int, int], dtype: torch.dtype, device: torch.device
) -> Tensor:
    """An integer tensor of a known shape that goes with the layout."""
    if value is None:
        raise InputError(f"{operator}: {argument} is missing; the specification needs it, shape {shape}")
    tensor = as_tensor(value)
    if not isinstance(tensor, Tensor):
        tensor = torch.tensor(tensor)
    if tuple(tensor.shape) != shape or not _of_integers(tensor):
        raise InputError(f"{operator}: {argument} is {describe(tensor)}; allowed: integers of shape {shape}")
    return tensor.to(device=device, dtype=dtype, non_blocking=True).contiguous()


def read_corruption(
    operator: str,
    token_ids: Any,
    mask_id: int | Sequence[int],
    vocabulary_ranges: Sequence[tuple[int, int]],
    probabilities: tuple[float, float, float],
    per: str,
) -> tuple[Tensor, list[int], list[int]]:
    """The tokens, (low, high, mask id) of each vocabulary range in one list, and the two thresholds in units of
    2⁻³²: of the mask token, and of mask token or random token."""
    tokens = as_tensor(token_ids)
    if not isinstance(tokens, Tensor) or tokens.dim() != 2 or tokens.dtype not in (torch.int64, torch.int32):
        raise InputError(f"{operator}: token_ids is {describe(tokens)}; allowed: int64 or int32 (B, S)")
    if per not in ("span", "token"):
        raise InputError(f"{operator}: per is {per!r}; allowed: 'span', 'token'")
    ranges = [(int(low), int(high)) for low, high in vocabulary_ranges]
    mask_id = _plain(mask_id)
    mask_ids = [mask_id] * len(ranges) if isinstance(mask_id, int) else [int(own) for own in mask_id]
    ascending = all(before[1] <= after[0] for before, after in itertools.pairwise(ranges))
    if not 1 <= len(ranges) <= 16 or not ascending or not all(0 <= low < high < 2**31 for low, high in ranges):
        raise InputError(
            f"{operator}: vocabulary_ranges is {ranges}; allowed: 1 to 16 of (low, high), ascending, "
            "disjoint, below 2**31"
        )
    if len(mask_ids) != len(ranges):
        raise InputError(f"{operator}: mask_id has {len(mask_ids)} entries, vocabulary_ranges {len(ranges)}")
    if len(probabilities) != 3 or min(probabilities) < 0 or abs(sum(probabilities) - 1) > 1e-6:
        raise InputError(f"{operator}: probabilities is {probabilities}; allowed: three numbers >= 0 that sum to 1")
    masked, replaced = probabilities[0], probabilities[0] + probabilities[1]
    thresholds = [round(masked * 2**32), 2**32 if probabilities[2] == 0 else round(replaced * 2**32)]
    flat = [value for (low, high), own in zip(ranges, mask_ids) for value in (low, high, own)]  # noqa: B905
    return tokens.contiguous(), flat, thresholds


def most_masked(program: Program, size: int) -> int:
    """Upper bound of the masked positions of one sample of ``size`` positions."""
    most = 0
    if program.text is not None:
        most += size if program.text.whole_words else masked_count(program.text.ratio.largest(), size)
    if program.image is not None:
        most += masked_count(program.image.ratio.largest(), min(size, program.image.height * program.image.width))
    return min(most, size)


class Layout(NamedTuple):
    """Which positions of which sample can be masked, as the operators take it."""

    tensor: Tensor | None  # int64 lengths (B,), uint8 codes (B, S), or None: everything
    sample_ids: Tensor
    size: int  # S
    most_masked: int  # static upper bound of the batch


def read_layout(operator: str, spec: Specification, given: Any, sample_ids: Any, max_length: int | None) -> Layout:
    """Check ``lengths_or_eligible`` (``given``) and ``sample_ids`` against the specification and each other."""
    program = spec.decoded
    text, image = program
    layout, given_ids = as_tensor(given), as_tensor(sample_ids)
    on_host: list[int] | None = None
    if layout is not None and not isinstance(layout, Tensor):
        on_host = [int(length) for length in layout]
        layout = torch.tensor(on_host, dtype=torch.int64)
    leader = layout if layout is not None and on_host is None else given_ids
    device = leader.device if isinstance(leader, Tensor) else torch.device("cpu")
    ids = identities(operator, given_ids, device)
    cells = 0 if image is None else image.height * image.width

    if layout is None:
        if text is not None or image is None:
            raise InputError(
                f"{operator}: lengths_or_eligible is missing; {type(spec).__name__} needs lengths or an eligible mask"
            )
        size = cells
    elif layout.dim() == 1 and _of_integers(layout):
        if isinstance(spec, Multimodal):
            raise InputError(
                f"{operator}: Multimodal takes the modality of every position, int8 (B, S), and lengths were given"
            )
        size = _size_of_lengths(operator, layout, on_host, cells if text is None else max_length)
        layout = layout.to(device=device, dtype=torch.int64, non_blocking=True).contiguous()
    elif layout.dim() == 2 and layout.dtype in (torch.bool, torch.int8, torch.uint8):
        size = layout.shape[1]
        if isinstance(spec, Multimodal) == (layout.dtype == torch.bool):
            wanted = "int8 modality (0, 1, 2, 3)" if isinstance(spec, Multimodal) else "bool"
            raise InputError(f"{operator}: a (B, S) layout for {type(spec).__name__} is {wanted}, not {layout.dtype}")
        if text is None and not isinstance(spec, Multimodal):
            if size != cells:
                raise InputError(f"{operator}: eligible is {describe(layout)}; the grid has {cells} cells")
            layout = 3 - layout.to(torch.uint8)  # an ineligible cell keeps its place in the grid
        layout = layout.contiguous().view(torch.uint8)
    else:
        raise InputError(
            f"{operator}: lengths_or_eligible is {describe(layout)}; allowed: integer lengths (B,), bool eligible "
            "(B, S) or int8 modality (B, S)"
        )
    batch = ids.shape[0]
    if layout is not None and layout.shape[0] != batch:
        raise InputError(f"{operator}: lengths_or_eligible is for {layout.shape[0]} samples, sample_ids for {batch}")
    if not 0 <= size <= LARGEST_SIZE:
        raise InputError(f"{operator}: samples of {size} positions; allowed: at most {LARGEST_SIZE}")
    if on_host is not None:
        bound = sum(most_masked(program, length) for length in on_host)
    else:
        bound = batch * most_masked(program, size)
    return Layout(layout, ids, size, bound)


def _size_of_lengths(operator: str, lengths: Tensor, on_host: list[int] | None, wanted: int | None) -> int:
    """S, and a check of the lengths where the host may look at them."""
    if on_host is not None:
        shortest, longest = min(on_host, default=0), max(on_host, default=0)
    elif lengths.device.type == "cpu" and not torch.compiler.is_compiling():
        shortest, longest = (int(edge) for edge in lengths.aminmax()) if lengths.numel() else (0, 0)
    elif wanted is not None:
        return wanted
    else:
        raise InputError(
            f"{operator}: lengths on a device, or in compiled code, need max_length (they are never read by the host)"
        )
    size = longest if wanted is None else wanted
    if shortest < 0 or longest > size:
        raise InputError(f"{operator}: lengths run from {shortest} to {longest}; allowed: 0 to {size}")
    return size
