"""A label of faces' metadata to be told apart: which faces, which people, how many of the labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptface.evaluation.labelled_faces import LabelledFaces, read_labelled_faces, refuse_shared_people
from gptface.evaluation.result_tables import check_result_files
from gptface.evaluation.shares import check_shares

__all__ = ["LabelTask"]


@dataclass(frozen=True)
class LabelTask:
    """What every measurement on a label is asked.

    Attributes:
        train, test: shards, globs or directories.
        label: metadata field, of which ``classes`` are told apart.
        group: metadata field of the person, or ``None``.
        shares: of the training labels, each in (0, 1].
        seeds: how often all that is drawn is drawn anew: labels, held-out people, fresh weights.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        landmarks: files with the landmarks of the training and of the test faces, or ``None``.
        output: JSON file, or ``None``.
        table: Markdown file, or ``None``.
        plot: PNG of accuracy over labels, or ``None``.
        facts: further entries of the JSON, such as the encoder's folder.
    """

    train: Sequence[str]
    test: Sequence[str]
    label: str
    classes: Sequence[str]
    group: str | None = None
    shares: Sequence[float] = (1.0,)
    seeds: int = 1
    device: str = "auto"
    landmarks: tuple[str, str] | None = None
    output: Path | None = None
    table: Path | None = None
    plot: Path | None = None
    facts: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        check_shares(self.shares, self.seeds)
        check_result_files(self.table, self.plot)

    def read(self, size: int) -> tuple[LabelledFaces, LabelledFaces]:
        """Training and test faces at ``size``² pixels.

        Raises:
            InputError: faces that cannot be used so, or people in both sets.
        """
        train, test = (
            read_labelled_faces(paths, size, self.label, self.classes, self.group, name=name, landmarks=marks)
            for paths, name, marks in zip(
                (self.train, self.test), ("training", "test"), self.landmarks or (None, None), strict=True
            )
        )
        if self.group is not None:
            refuse_shared_people(train, test)
        return train, test
