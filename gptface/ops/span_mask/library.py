"""The torch.library side of span masks: schemas and fake kernels.

``sample_span_mask``, ``corrupt_tokens`` and both in one, ``mask_tokens``, get their CPU and CUDA kernels from the
native library (``csrc/register.cpp``); their ``…_reference`` twins run the definitions, their ``…_host`` twins the
CPU's kernels on copies of what is elsewhere. Importing this file imports no backend.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

__all__: list[str] = []

_library = torch.library.Library("gptface", "FRAGMENT")

_SAMPLE = (
    "(int[] program, Tensor? layout, Tensor? word_ids, Tensor? region_map, Tensor sample_ids, SymInt seed, SymInt step,"
    " Tensor? device_step, SymInt max_length, SymInt max_masked)"
    " -> (Tensor mask, Tensor indices, Tensor cu_masked, Tensor span_ids)"
)
_CORRUPT = (
    "(Tensor token_ids, Tensor mask, Tensor span_ids, int[] ranges, int[] thresholds, bool per_span,"
    " Tensor sample_ids, SymInt seed, SymInt step, Tensor? device_step) -> Tensor"
)
_BOTH = (
    "(Tensor token_ids, int[] ranges, int[] thresholds, bool per_span, int[] program, Tensor? layout, Tensor? word_ids,"
    " Tensor? region_map, Tensor sample_ids, SymInt seed, SymInt step, Tensor? device_step, SymInt max_masked)"
    " -> (Tensor mask, Tensor indices, Tensor cu_masked, Tensor span_ids, Tensor corrupted)"
)


def _sample_fake(
    program: Sequence[int],
    layout: Tensor | None,
    word_ids: Tensor | None,
    region_map: Tensor | None,
    sample_ids: Tensor,
    seed: int,
    step: int,
    device_step: Tensor | None,
    max_length: int,
    max_masked: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    batch = sample_ids.shape[0]
    return (
        sample_ids.new_empty((batch, max_length), dtype=torch.bool),
        sample_ids.new_empty((max_masked,), dtype=torch.int64),
        sample_ids.new_empty((batch + 1,), dtype=torch.int64),
        sample_ids.new_empty((batch, max_length), dtype=torch.int32),
    )


def _sample_reference(*arguments: object) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    from gptface.ops.span_mask.reference import sample_reference

    return sample_reference(*arguments)  # type: ignore[arg-type]


def _corrupt_fake(token_ids: Tensor, *_: object) -> Tensor:
    return token_ids.new_empty(token_ids.shape)


def _corrupt_reference(*arguments: object) -> Tensor:
    from gptface.ops.span_mask.corruption import corrupt_reference

    return corrupt_reference(*arguments)  # type: ignore[arg-type]


def _sampling(token_ids: Tensor, arguments: Sequence[Any]) -> tuple[Any, ...]:
    """What sampling takes of the arguments of ``mask_tokens`` behind those of corruption: S is that of the tokens."""
    *inputs, max_masked = arguments
    return (*inputs, token_ids.shape[1], max_masked)


def _both_fake(
    token_ids: Tensor, ranges: Sequence[int], thresholds: Sequence[int], per_span: bool, *arguments: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    return (*_sample_fake(*_sampling(token_ids, arguments)), _corrupt_fake(token_ids))


def _both_reference(
    token_ids: Tensor, ranges: Sequence[int], thresholds: Sequence[int], per_span: bool, *arguments: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """One after the other: that is what the fused kernels have to equal."""
    sampled = _sample_reference(*_sampling(token_ids, arguments))
    mask, _, _, span_ids = sampled
    identity = arguments[4:8]  # sample ids, seed, step, step tensor
    return (*sampled, _corrupt_reference(token_ids, mask, span_ids, ranges, thresholds, per_span, *identity))


def _on_host(name: str) -> Callable[..., Any]:
    """The CPU's kernel on copies of the inputs, its results where the first tensor among them was."""

    def run(*arguments: Any) -> Any:
        device = next(argument.device for argument in arguments if isinstance(argument, Tensor))
        copies = [argument.cpu() if isinstance(argument, Tensor) else argument for argument in arguments]
        results = getattr(torch.ops.gptface, name)(*copies)
        if isinstance(results, Tensor):
            return results.to(device)
        return tuple(result.to(device) for result in results)

    return run


for _name, _schema, _fake, _reference in (
    ("sample_span_mask", _SAMPLE, _sample_fake, _sample_reference),
    ("corrupt_tokens", _CORRUPT, _corrupt_fake, _corrupt_reference),
    ("mask_tokens", _BOTH, _both_fake, _both_reference),
):
    for _twin in (_name, f"{_name}_reference", f"{_name}_host"):
        _library.define(_twin + _schema)
        torch.library.register_fake(f"gptface::{_twin}", _fake, lib=_library)
    _library.impl(f"{_name}_reference", _reference, "CompositeExplicitAutograd")
    _library.impl(f"{_name}_host", _on_host(_name), "CompositeExplicitAutograd")
