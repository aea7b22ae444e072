"""``gptface evaluate attributes``: attributes of faces read off frozen features, as CelebA's tables report them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gptface.data.sample import Sample
from gptface.errors import InputError
from gptface.evaluation.attribute_report import attribute_table
from gptface.evaluation.device import pick_device
from gptface.evaluation.encoders import FaceEncoder
from gptface.evaluation.metrics import average_precision, bootstrap_interval, mean_attribute_accuracy
from gptface.evaluation.numbers import write_numbers
from gptface.evaluation.result_tables import check_result_files, draw_by_name, draw_label_shares, write_text
from gptface.evaluation.set_faces import FaceSource, mean_features, samples_in_batches
from gptface.evaluation.shares import check_shares, deviation, face_subset
from gptface.faces.attributes import ATTRIBUTES
from gptface.progress import Countdown, Display

__all__ = ["AttributeTest", "Probed", "fit_attributes", "measure_attributes"]

PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)  # of the squared weights beside the mean loss, from the strongest on
ITERATIONS = 60  # of L-BFGS, from the weights of the stronger penalty
HELD_OUT_SHARE = 0.1  # of the training faces, where no validation faces are given
COMMONEST = "commonest answer"


@dataclass(frozen=True)
class AttributeTest:
    """What is to be measured.

    Attributes:
        train, test: shards, globs or directories, or a folder of a public set.
        validation: likewise, by which layer and penalty are chosen; ``None``: a tenth of the training faces in use.
        attributes: names to be told; ``None``: all of CelebA's that the training faces have.
        shares: of the training faces, each in (0, 1]; validation faces are not cut.
        seeds: how often the faces in use and those held out are drawn.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        seed: the first of them.
        output, table, plot: JSON, Markdown and PNG files, or ``None``.
        facts: further entries of the JSON.
    """

    train: Sequence[str]
    test: Sequence[str]
    validation: Sequence[str] | None = None
    attributes: Sequence[str] | None = None
    shares: Sequence[float] = (1.0,)
    seeds: int = 1
    device: str = "auto"
    seed: int = 0
    output: Path | None = None
    table: Path | None = None
    plot: Path | None = None
    facts: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        check_result_files(self.table, self.plot)
        check_shares(self.shares, self.seeds)
        if self.attributes is not None and len(set(self.attributes)) < len(self.attributes):
            raise InputError(f"attributes: {', '.join(self.attributes)}; each may be named once")
        if unknown := sorted(set(self.attributes or ()) - set(ATTRIBUTES)):
            raise InputError(f"attributes: {unknown[0]!r} is none of CelebA's; choose from {', '.join(ATTRIBUTES)}")


@dataclass
class Faces:
    """Features of faces by name, float32 (N, D), and their attributes float32 (N, A), NaN where not known."""

    features: dict[str, np.ndarray]
    attributes: np.ndarray
    skipped: Counter[str] = field(default_factory=Counter)

    def rows(self, chosen: np.ndarray) -> Faces:
        return Faces({name: rows[chosen] for name, rows in self.features.items()}, self.attributes[chosen])


@dataclass(frozen=True)
class Probed:
    """One linear probe of all attributes.

    Attributes:
        layer, penalty: what the validation faces chose.
        validation: mean accuracy on them.
        scores: float ``(N_test, A)``; above 0 an attribute is told to be there.
        best_on_test: mean accuracy of the layer and penalty that the test faces would have chosen.
    """

    layer: str
    penalty: float
    validation: float
    scores: np.ndarray
    best_on_test: float


def fit_attributes(train: Faces, validation: Faces, test: Faces, device: torch.device | str = "cpu") -> Probed:
    """Logistic regressions of all attributes on each layer's features; validation faces choose layer and penalty.

    Unknown attributes take no part in the loss.
    """
    best: Probed | None = None
    on_test = 0.0
    for layer, rows in train.features.items():
        mean, deviation = rows.mean(0), rows.std(0)
        scale = np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation > 1e-6)

        def standard(values: np.ndarray, mean: np.ndarray = mean, scale: np.ndarray = scale) -> Tensor:
            return torch.from_numpy((values - mean) * scale).to(device)

        inputs, others, tests = (standard(faces.features[layer]) for faces in (train, validation, test))
        path = _Path(inputs, torch.from_numpy(train.attributes).to(device))
        for penalty in PENALTIES:
            weight, bias = path.fit(penalty)
            scores = (tests @ weight + bias).cpu().numpy()
            on_test = max(on_test, mean_attribute_accuracy(scores > 0, test.attributes))
            found = mean_attribute_accuracy((others @ weight + bias).cpu().numpy() > 0, validation.attributes)
            if best is None or found > best.validation:
                best = Probed(layer, penalty, found, scores, 0.0)
    assert best is not None
    return Probed(best.layer, best.penalty, best.validation, best.scores, on_test)


class _Path:
    """Fits along falling penalties, each from the weights of the one before."""

    def __init__(self, inputs: Tensor, attributes: Tensor) -> None:
        self.inputs = inputs
        self.known = attributes.isfinite()
        self.targets = attributes.nan_to_num(0.0)
        self.weight = torch.zeros(inputs.shape[1], attributes.shape[1], device=inputs.device, requires_grad=True)
        self.bias = torch.zeros(attributes.shape[1], device=inputs.device, requires_grad=True)

    def fit(self, penalty: float) -> tuple[Tensor, Tensor]:
        optimizer = torch.optim.LBFGS([self.weight, self.bias], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimizer.zero_grad()
            scores = self.inputs @ self.weight + self.bias
            losses = nn.functional.binary_cross_entropy_with_logits(scores, self.targets, reduction="none")
            # A mean an attribute, so that one that is known of few faces weighs as much.
            each = (losses * self.known).sum(0) / self.known.sum(0).clamp_min(1)
            loss = each.sum() + penalty * self.weight.square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        return self.weight.detach().clone(), self.bias.detach().clone()


def measure_attributes(
    wish: AttributeTest,
    encoders: Mapping[str, Callable[[], FaceEncoder]],
) -> dict[str, Any]:
    """Fit on the training faces, choose by the validation faces, measure on the test faces; write what was asked for.

    Args:
        encoders: what opens each encoder, by the name of its row.

    Returns:
        ``rows``, one a share and method (``name``, ``label_share``, ``labels`` (faces in use), ``mean_accuracy`` (the
        mean over the seeds) with its 95 % interval over the faces and its ``deviation`` over the seeds,
        ``average_precision`` (mean over the attributes), ``best_on_test``, ``each`` attribute's figures, ``seeds``,
        ``n``), with what was asked for and read.

    Raises:
        InputError: whatever of the wish cannot be had.
    """
    device = pick_device(wish.device)
    opened = {name: open_encoder() for name, open_encoder in encoders.items()}
    for network in opened.values():
        if isinstance(network, nn.Module):
            network.to(device)
    sources = [FaceSource(wish.train, "train", "training")]
    if wish.validation is not None:
        sources.append(FaceSource(wish.validation, "validation", "validation"))
    sources.append(FaceSource(wish.test, "test", "test"))
    names = tuple(wish.attributes or ATTRIBUTES)
    found: dict[tuple[float, str], list[_Answer]] = {}
    with Display("attributes") as display:
        for title, encoder in opened.items():
            sets = [_read(source, encoder, names, title, display) for source in sources]
            train, test = sets[0], sets[-1]
            told = _told(train, test, names)
            fitting, measured = (Faces(part.features, part.attributes[:, told]) for part in (train, test))
            choosing = Faces(sets[1].features, sets[1].attributes[:, told]) if wish.validation is not None else None
            for share in sorted(set(wish.shares)):
                for seed in range(wish.seed, wish.seed + wish.seeds):
                    rows_used = face_subset(len(fitting.attributes), share, seed)
                    used = fitting if share == 1 else fitting.rows(rows_used)
                    if title == next(iter(opened)):
                        found.setdefault((share, COMMONEST), []).append(_commonest(used, measured, seed))
                    display.line(f"{title}: probes of {int(told.sum())} attributes on {len(used.attributes)} faces")
                    answer = _probed(used, choosing, measured, seed, device)
                    found.setdefault((share, title), []).append(answer)
    order = [COMMONEST, *opened]
    rows = [
        _row(name, share, found[share, name], test, names, told)
        for share in sorted(set(wish.shares))
        for name in order
    ]
    summary = {
        **dict(wish.facts),
        "train_paths": " ".join(map(str, wish.train)),
        "validation_paths": None if wish.validation is None else " ".join(map(str, wish.validation)),
        "test_paths": " ".join(map(str, wish.test)),
        "train_faces": len(train.attributes),
        "validation_faces": None if choosing is None else len(choosing.attributes),
        "test_faces": len(test.attributes),
        "attributes": [name for name, known in zip(names, told, strict=True) if known],
        "skipped": dict(sum((part.skipped for part in sets), Counter())),
        "device": device.type,
        "rows": rows,
    }
    if wish.table is not None:
        write_text(wish.table, attribute_table(summary))
    if wish.plot is not None:
        if len(set(wish.shares)) > 1:
            draw_label_shares(wish.plot, [{**row, "accuracy": row["mean_accuracy"]} for row in rows], "mean accuracy")
        else:
            accuracies = {row["name"]: {name: own["accuracy"] for name, own in row["each"].items()} for row in rows}
            draw_by_name(wish.plot, accuracies, "accuracy")
    if wish.output is not None:
        write_numbers(wish.output, summary)
    return summary


def _read(source: FaceSource, encoder: FaceEncoder, names: Sequence[str], title: str, display: Display) -> Faces:
    dataset = source.open(encoder.image_size)
    skipped: Counter[str] = Counter()
    progress = Countdown(display, f"{title}: features of {len(dataset)} {source.name} faces", len(dataset))
    features: dict[str, list[np.ndarray]] = {}
    attributes: list[np.ndarray] = []
    done = 0
    for samples in samples_in_batches(dataset, lambda sample: _known(sample, names) is not None, skipped):
        for name, rows in mean_features(encoder, np.stack([sample.image for sample in samples])).items():
            features.setdefault(name, []).append(rows)
        attributes += [known for sample in samples if (known := _known(sample, names)) is not None]
        done += len(samples)
        progress.advance(min(len(dataset), done + skipped.total()))
    if not attributes:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in skipped.items()) or "there is none"
        raise InputError(f"{source.name} faces: none of {len(dataset)} can be used ({reasons})")
    for reason, count in skipped.items():
        display.line(f"{source.name} faces: {count} left out ({reason})")
    return Faces({name: np.concatenate(rows) for name, rows in features.items()}, np.stack(attributes), skipped)


def _known(sample: Sample, names: Sequence[str]) -> np.ndarray | None:
    """float32 (A,) of a face, NaN where not known or hidden; ``None`` where nothing is known."""
    found = sample.metadata.get("attributes")
    if not isinstance(found, Mapping):
        return None
    hidden = sample.metadata.get("hidden_attributes") or ()
    values = np.array([np.nan if name in hidden else found.get(name, np.nan) for name in names], dtype=np.float32)
    return values if np.isfinite(values).any() else None


def _told(train: Faces, test: Faces, names: Sequence[str]) -> np.ndarray:
    """bool (A,): which attributes some training faces have and some lack, and are known of a test face.

    Raises:
        InputError: none are.
    """
    there = (train.attributes == 1).any(0) & (train.attributes == 0).any(0)
    told = there & np.isfinite(test.attributes).any(0)
    if not told.any():
        raise InputError(f"attributes: none of {', '.join(names)} is there and absent among the training faces")
    return told


@dataclass(frozen=True)
class _Answer:
    """What one fit tells of the test faces.

    Attributes:
        seed: of the faces in use.
        labels: how many they were, held-out ones included.
        scores: float (N_test, A); above 0 an attribute is told to be there.
        best_on_test: mean accuracy of what the test faces would have chosen.
        facts: what was chosen.
    """

    seed: int
    labels: int
    scores: np.ndarray
    best_on_test: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def _commonest(used: Faces, test: Faces, seed: int) -> _Answer:
    known = np.isfinite(used.attributes)
    shares = np.where(known, used.attributes, 0).sum(0) / known.sum(0).clip(1)
    return _Answer(seed, len(used.attributes), np.repeat(shares[None] - 0.5, len(test.attributes), 0))


def _probed(used: Faces, choosing: Faces | None, test: Faces, seed: int, device: torch.device) -> _Answer:
    """A probe of the faces in use; a tenth of them choose where there are no others."""
    train = used
    if choosing is None:
        apart = np.random.default_rng(seed).random(len(used.attributes)) < HELD_OUT_SHARE
        train, choosing = used.rows(~apart), used.rows(apart)
        if not len(choosing.attributes):
            raise InputError(f"train: {len(train.attributes)} faces are too few to hold some out; give --validation")
    probed = fit_attributes(train, choosing, test, device)
    facts = {"layer": probed.layer, "penalty": probed.penalty, "validation": probed.validation}
    return _Answer(seed, len(used.attributes), probed.scores, probed.best_on_test, facts)


def _row(
    title: str, share: float, answers: Sequence[_Answer], test: Faces, names: Sequence[str], told: np.ndarray
) -> dict[str, Any]:
    """Means over the seeds; the interval is over the faces, the deviation over the seeds."""
    truth = test.attributes[:, told]
    known = np.isfinite(truth)
    right = np.mean([(answer.scores > 0) == (truth == 1) for answer in answers], axis=0)
    each = {}
    for place, name in enumerate(name for name, kept in zip(names, told, strict=True) if kept):
        own = known[:, place]
        precision = float(
            np.mean([average_precision(answer.scores[own, place], truth[own, place] == 1) for answer in answers])
        )
        each[name] = {
            "accuracy": float(right[own, place].mean()),
            "average_precision": None if np.isnan(precision) else precision,
            "share": float((truth[own, place] == 1).mean()),
            "n": int(own.sum()),
        }
    precisions = [own["average_precision"] for own in each.values() if own["average_precision"] is not None]
    told_of = np.flatnonzero(known.any(1))  # faces of which something is known
    own_right, own_known = np.where(known, right, 0)[told_of], known[told_of]

    def mean_accuracy(rows: np.ndarray) -> float:
        counts = own_known[rows].sum(0)
        return float((own_right[rows].sum(0)[counts > 0] / counts[counts > 0]).mean()) if counts.any() else np.nan

    accuracies = [mean_attribute_accuracy(answer.scores > 0, truth) for answer in answers]
    best = [answer.best_on_test for answer in answers if answer.best_on_test is not None]
    return {
        "name": title,
        "label_share": share,
        "labels": answers[0].labels,
        "mean_accuracy": float(np.mean(accuracies)),
        "interval": list(bootstrap_interval(mean_accuracy, np.arange(len(told_of)))),
        "deviation": deviation(accuracies),
        "average_precision": float(np.mean(precisions)) if precisions else None,
        "best_on_test": float(np.mean(best)) if best else None,
        "each": each,
        "seeds": [
            {"seed": answer.seed, "mean_accuracy": accuracy, "best_on_test": answer.best_on_test, **answer.facts}
            for answer, accuracy in zip(answers, accuracies, strict=True)
        ],
        "n": len(told_of),
    }
