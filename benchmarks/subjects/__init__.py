"""The subjects, by the names that the command line takes."""

from __future__ import annotations

from benchmarks.contender import Subject
from benchmarks.subjects.attention import Attention
from benchmarks.subjects.data import Data
from benchmarks.subjects.decode import Decode
from benchmarks.subjects.pacofr_step import PaCoFRStep
from benchmarks.subjects.pretrain_step import PretrainStep
from benchmarks.subjects.raster import Rasterisation
from benchmarks.subjects.regret import Regret
from benchmarks.subjects.span_mask import SpanMasks
from benchmarks.subjects.vq import CodebookLookup

__all__ = ["SUBJECTS"]

SUBJECTS: dict[str, Subject] = {
    subject.name: subject
    for subject in (
        Attention(),
        SpanMasks(),
        CodebookLookup(),
        Rasterisation(),
        PretrainStep(),
        PaCoFRStep(),
        Decode(),
        Data(),
        Regret(),
    )
}
