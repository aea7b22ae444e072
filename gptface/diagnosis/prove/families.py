"""Every case of the proof, by the family of kernels that it is about."""

from __future__ import annotations

from collections.abc import Sequence

from gptface.diagnosis.prove import attention, lookup, raster, span_masks
from gptface.diagnosis.prove.case import Case

__all__ = ["INTERPRETED", "families"]

INTERPRETED = ("attention", "vq")  # what Triton's interpreter can run


def families(interpret: bool) -> dict[str, Sequence[Case]]:
    """Family -> its hard set; for the interpreter the Triton kernels' alone, over fewer rows."""
    if interpret:
        return {
            "attention": [case.small() for case in attention.cases()],
            "vq": [case.small() for case in lookup.cases("triton")],
        }
    return {
        "attention": attention.cases(),
        "vq": lookup.cases("triton"),
        "raster.cuda": raster.cases(),
        "span_mask.cuda": span_masks.cases(),
        "vq.cuda": lookup.cases("cuda"),
    }
