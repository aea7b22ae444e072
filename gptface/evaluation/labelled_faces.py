"""Faces with one label each, kept small in memory, and divided by person and by how many labels are used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gptface.data.landmark_files import LandmarkTable
from gptface.data.reading import Reading
from gptface.data.sample import Sample
from gptface.data.shards import FaceShards
from gptface.errors import InputError
from gptface.evaluation.compact_images import compact_image, stack_images
from gptface.evaluation.set_faces import FaceSource
from gptface.progress import Display

__all__ = ["LabelledFaces", "label_subset", "people_apart", "read_labelled_faces", "refuse_shared_people"]


@dataclass(frozen=True)
class LabelledFaces:
    """Faces of the wanted classes, in the order of their data set.

    Attributes:
        images: uint8 ``(N, C, S, S)``; ``C`` is 1 where every picture is grey, else 3.
        labels: int64 ``(N,)``, indices into ``classes``.
        classes: names, in the order in which they were asked for.
        groups: ``(N,)`` names of the people; each face its own where no field of people was named.
        keys: names of the pictures.
        points: float32 ``(N, P, 2)`` landmarks in pixels, NaN for faces without; ``None`` where none were asked for.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    groups: np.ndarray
    keys: tuple[str, ...]
    points: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def spread(self, count: int) -> LabelledFaces:
        """At most ``count`` of them, evenly spread over all, in their order."""
        rows = np.linspace(0, len(self) - 1, min(count, len(self))).astype(int)
        keys = tuple(self.keys[row] for row in rows)
        return LabelledFaces(self.images[rows], self.labels[rows], self.classes, self.groups[rows], keys)


def read_labelled_faces(
    paths: Sequence[str],
    size: int,
    field: str,
    classes: Sequence[str],
    group_field: str | None,
    *,
    name: str,
    landmarks: str | None = None,
) -> LabelledFaces:
    """The faces of ``paths`` (shards, globs, directories, or a public set as published) whose field is of ``classes``.

    Says on stderr what was read and what could not be used.

    Args:
        size: side in pixels.
        field: metadata field of the label; values are compared as text.
        classes: at least two; faces with other values are left out.
        group_field: metadata field of the person.
        name: which faces these are, for messages: ``training`` ones come from a public set's split of that name, all
            others from its test split.
        landmarks: an .npz file of :class:`~gptface.data.landmark_files.LandmarkTable`.

    Raises:
        InputError: fewer than two classes, a class without a face, faces without the label, or a face of a class
            without a person, or landmarks of none of the faces.
    """
    wanted = {label: index for index, label in enumerate(classes)}
    if len(wanted) < 2 or len(wanted) != len(classes):
        raise InputError(f"classes: got {', '.join(classes) or 'none'}; at least two different ones are needed")
    source = FaceSource(paths, "train" if name == "training" else "test", name)
    public = source.public_set()
    if public is not None and landmarks is not None:
        raise InputError(f"{name} landmarks: {paths[0]} is {public}, read as published; a file of points is for shards")
    table = None if landmarks is None else LandmarkTable([landmarks], f"{name} landmarks")
    dataset = source.open(size) if public is not None else FaceShards(list(paths), size, table)
    if table is not None and isinstance(dataset, FaceShards):
        table.matched((dataset.key(number) for number in range(len(dataset))), f"the {name} faces")
    images, labels, groups, keys, points = [], [], [], [], []
    skipped: Counter[str] = Counter()
    notes: Counter[str] = Counter()
    found: Counter[str] = Counter()
    without: list[str] = []
    for item in (dataset[number] for number in range(len(dataset))):
        if not isinstance(item, Sample):
            skipped[item.reason] += 1
            continue
        notes.update(item.metadata.get("reading_notes", ()))
        value = item.metadata.get(field)
        if value is None:
            without.append(str(item.metadata["key"]))
            continue
        found[str(value)] += 1
        if str(value) not in wanted:
            continue
        if group_field is not None and group_field not in item.metadata:
            raise InputError(f"group: {name} face {item.metadata['key']} has no metadata field {group_field!r}")
        images.append(compact_image(item.image))
        labels.append(wanted[str(value)])
        keys.append(str(item.metadata["key"]))
        points.append(item.metadata.get("landmarks") if table is not None and table.get(keys[-1]) is not None else None)
        groups.append(keys[-1] if group_field is None else str(item.metadata[group_field]))
    if without and found:
        raise InputError(
            f"label: {len(without)} of {len(without) + found.total()} {name} faces have no metadata field {field!r}, "
            f"such as {without[0]}; every face must have one"
        )
    absent = [label for label in classes if not found[label]]
    if absent:
        has = ", ".join(f"{label} ({count})" for label, count in found.most_common(8)) or "no such field"
        raise InputError(f"classes: no {name} face has {field} {' or '.join(absent)}; found: {has}")
    display = Display(name)
    read = Reading.of(dataset, len(images), skipped, notes)
    if public is not None:
        read.place = f"of {public} as published"
    for line in read.lines(f"{name} faces", "decoded into memory"):
        display.line(line)
    others = [(value, count) for value, count in found.most_common() if value not in wanted]
    if others:
        listed = ", ".join(f"{value} ({count})" for value, count in others)
        display.line(f"{name} faces: {sum(count for _, count in others)} of other classes left out: {listed}")
    marks = None if table is None else _stacked(points)
    if marks is not None:
        display.line(f"{name} faces: landmarks of {int(np.isfinite(marks).all((1, 2)).sum())} of {len(marks)}")
    return LabelledFaces(stack_images(images), np.array(labels), tuple(classes), np.array(groups), tuple(keys), marks)


def _stacked(points: Sequence[object]) -> np.ndarray:
    """float32 ``(N, P, 2)``, NaN where a face has none."""
    found = {number: np.asarray(own, np.float32) for number, own in enumerate(points) if own is not None}
    shapes = sorted({own.shape for own in found.values()})
    if len(shapes) != 1:
        counts = " and ".join(str(shape[0]) for shape in shapes) or "no"
        raise InputError(f"landmarks: faces of the wanted classes have {counts} points; all must have as many")
    stacked = np.full((len(points), *shapes[0]), np.nan, np.float32)
    for number, own in found.items():
        stacked[number] = own
    return stacked


def refuse_shared_people(train: LabelledFaces, test: LabelledFaces) -> None:
    """Refuse a test on people of the training faces.

    Raises:
        InputError: there are some.
    """
    both = sorted(set(train.groups.tolist()) & set(test.groups.tolist()))
    if both:
        raise InputError(
            f"group: {len(both)} people of the test faces are among the training faces too, such as {both[0]}; "
            "a test needs people who were not trained on"
        )


def label_subset(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Sorted rows of a random ``share`` of every class, at least one of each; smaller shares lie within larger ones.

    Args:
        labels: int ``(N,)``.
        share: in (0, 1].
        seed: of the draw.
    """
    generator = np.random.default_rng(seed)
    rows = []
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        rows.append(members[: max(1, round(share * len(members)))])
    return np.sort(np.concatenate(rows))


def people_apart(groups: np.ndarray, share: float, seed: int) -> np.ndarray:
    """bool ``(N,)``: which rows are held out: whole people, drawn until they have ``share`` of the rows or more."""
    names, member = np.unique(groups, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    sizes = np.bincount(member, minlength=len(names))[order]
    count = int(np.searchsorted(np.cumsum(sizes), share * len(groups))) + 1
    return np.isin(member, order[:count])
