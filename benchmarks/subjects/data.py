"""Data: procedural faces a second, and captioned faces a second read back from shards."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.contender import (
    BASELINE,
    CannotRun,
    Case,
    Contender,
    Prepared,
    Scale,
    Subject,
    Verdict,
    optional_import,
)
from benchmarks.shapes import DataShape, data_shapes
from gptface.data.loader import ResumableLoader
from gptface.data.order import Position
from gptface.data.procedural import ProceduralFaces
from gptface.data.sample import Sample
from gptface.data.shard_writer import write_shards
from gptface.data.shards import FaceShards

__all__ = ["Data"]


@dataclass
class _Problem:
    shape: DataShape
    faces: ProceduralFaces
    folder: tempfile.TemporaryDirectory[str] | None

    @property
    def shards(self) -> str:
        assert self.folder is not None
        return str(Path(self.folder.name) / "00000.tar")

    @functools.cached_property
    def truth(self) -> list[np.ndarray]:
        return [self.faces[index].image for index in range(self.shape.count)]


class Data(Subject):
    name = "data"
    title = "Data"
    size_label = "side in pixels"
    host_only = True

    def cases(self, scale: Scale, device: torch.device) -> Sequence[Case]:
        return [Case(s.name, s.size, dataclasses.asdict(s), s.size == 64) for s in data_shapes(scale)]

    def problem(self, case: Case, device: torch.device) -> _Problem:
        shape = DataShape(**case.settings)
        faces = ProceduralFaces(size=shape.size, count=shape.count)
        if shape.what == "generator":
            return _Problem(shape, faces, None)
        folder = tempfile.TemporaryDirectory(prefix="gptface-benchmark-")
        write_shards(faces, folder.name)
        return _Problem(shape, faces, folder)

    def contenders(self, case: Case) -> Sequence[Contender]:
        if case.settings["what"] == "generator":
            return [Contender(BASELINE, "gptface", _prepare_generator)]
        return [
            Contender(BASELINE, "gptface", _prepare_shards),
            Contender("gptface, through its loader", "gptface", _prepare_loader),
            Contender("webdataset", "webdataset", _prepare_webdataset),
        ]

    def gate(self, problem: _Problem, outputs: Sequence[np.ndarray]) -> Verdict:
        truth = problem.truth
        if len(outputs) != len(truth):
            return Verdict({}, f"{len(outputs)} images, not {len(truth)}")
        equal = float(np.mean([np.array_equal(own, image) for own, image in zip(outputs, truth, strict=True)]))
        return Verdict({"equal": equal}, "" if equal == 1.0 else f"{1 - equal:.0%} of the images are wrong")

    def work(self, problem: _Problem) -> dict[str, float]:
        return {"faces": problem.shape.count}

    def rates(self, work: Mapping[str, float], seconds: float) -> dict[str, float]:
        return {"faces/s": work["faces"] / seconds}


def _images(samples: Sequence[Any]) -> list[np.ndarray]:
    return [sample.image for sample in samples]


def _prepare_generator(problem: _Problem) -> Prepared:
    faces, count = problem.faces, problem.shape.count
    return Prepared(lambda _: [faces[index] for index in range(count)], None, _images)


def _prepare_shards(problem: _Problem) -> Prepared:
    """Opened once, as in training; every sample read and decoded in order."""
    shards = FaceShards(problem.shards)
    return Prepared(lambda _: list(shards), None, _images)


def _prepare_loader(problem: _Problem) -> Prepared:
    """An epoch a time. The loader shuffles, and a sample's key is its number."""
    count = problem.shape.count
    batch_size = min(16, count)
    loader = ResumableLoader(FaceShards(problem.shards), Position(count, seed=0, batch_size=batch_size), list)

    def run(_: None) -> list[Sample]:
        return [sample for _batch in range(count // batch_size) for sample in next(loader)]

    return Prepared(run, None, lambda samples: _images(sorted(samples, key=lambda sample: str(sample.metadata["key"]))))


def _prepare_webdataset(problem: _Problem) -> Prepared:
    """The same parts of every sample, decoded: image, caption, metadata and region map."""
    library = optional_import("webdataset", "webdataset")
    if not hasattr(library, "WebDataset"):
        raise CannotRun("this webdataset has no WebDataset")

    def run(_: None) -> list[Any]:
        pipeline = library.WebDataset(problem.shards, shardshuffle=False).decode("rgb8")
        return list(pipeline.to_tuple("png", "txt", "json", "regions.png"))

    return Prepared(run, None, lambda samples: [sample[0] for sample in samples])
