"""The torch.library side of span masks: schemas and fake kernels.

``sample_span_mask`` and ``corrupt_tokens`` get their CPU and CUDA kernels from the native library
(``csrc/register.cpp``); their ``…_reference`` twins run the definitions. Importing this file imports no backend.
"""

from __future__ import annotations

from collections.abc import Sequence

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
for _name in ("sample_span_mask", "sample_span_mask_reference"):
    _library.define(_name + _SAMPLE)
for _name in ("corrupt_tokens", "corrupt_tokens_reference"):
    _library.define(_name + _CORRUPT)


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


_library.impl("sample_span_mask_reference", _sample_reference, "CompositeExplicitAutograd")
_library.impl("corrupt_tokens_reference", _corrupt_reference, "CompositeExplicitAutograd")
for _name in ("sample_span_mask", "sample_span_mask_reference"):
    torch.library.register_fake(f"gptface::{_name}", _sample_fake, lib=_library)
for _name in ("corrupt_tokens", "corrupt_tokens_reference"):
    torch.library.register_fake(f"gptface::{_name}", _corrupt_fake, lib=_library)
