"""Linear probe: how much of a label a frozen representation holds, read off by multinomial logistic regression."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from gptface.errors import InputError
from gptface.evaluation.face_set import FaceSet
from gptface.evaluation.metrics import balanced_accuracy

__all__ = ["ProbeResult", "Representation", "linear_probe", "probe_faces"]

# Images uint8 (N, H, W, 3) to one or more candidate features of them, name -> (N, D).
Representation = Callable[[np.ndarray], Mapping[str, np.ndarray]]

PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


@dataclass(frozen=True)
class ProbeResult:
    """Outcome of a linear probe.

    Attributes:
        accuracy: share of test rows labelled rightly.
        balanced: mean over classes of the per-class share (classes are often uneven).
        majority: accuracy of always answering the commonest training class.
        penalty: the L2 weight that the selection split chose.
        selection: balanced accuracy on the selection split, for choosing between representations without the test rows.
        predictions: ``(N_test,)`` int64.
    """

    accuracy: float
    balanced: float
    majority: float
    penalty: float
    selection: float
    predictions: np.ndarray


def _fit(
    features: torch.Tensor, labels: torch.Tensor, classes: int, penalty: float, weights: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Minimise the weighted cross-entropy + penalty·‖W‖² by L-BFGS from zero: convex, so the start does not matter."""
    weight = torch.zeros(features.shape[1], classes, requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], lr=1.0, max_iter=200, history_size=20, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = functional.cross_entropy(features @ weight + bias, labels, weight=weights)
        loss = loss + penalty * weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return weight.detach(), bias.detach()


def linear_probe(
    train_features: np.ndarray,
    train_labels: np.ndarray,
    test_features: np.ndarray,
    test_labels: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    selection_share: float = 0.15,
    seed: int = 0,
) -> ProbeResult:
    """Fit on the training rows, choose the L2 penalty on a held-out part of them, measure once on the test rows.

    The test rows take no part in the choice. Classes are weighted by inverse frequency, because a probe on uneven data
    otherwise answers the commonest class; the penalty is chosen by balanced accuracy.

    Args:
        train_features, test_features: ``(N, D)`` float arrays; standardised here with the training rows' statistics.
        train_labels, test_labels: ``(N,)`` integers from 0.
        groups: ``(N_train,)`` identities; rows of one identity never stand on both sides of the selection split.
        selection_share: share of the groups (or rows) held out for choosing the penalty.
        seed: of the selection split.
    """
    if len(train_features) != len(train_labels) or len(test_features) != len(test_labels):
        raise InputError(
            f"linear_probe: features and labels differ in length: train {len(train_features)} and {len(train_labels)}, "
            f"test {len(test_features)} and {len(test_labels)}"
        )
    if len(train_labels) < 10:
        raise InputError(f"linear_probe: train_features has {len(train_labels)} rows; at least 10 are needed")
    classes = int(max(train_labels.max(), test_labels.max())) + 1
    features = torch.from_numpy(np.ascontiguousarray(train_features, dtype=np.float32))
    labels = torch.from_numpy(np.asarray(train_labels, dtype=np.int64))
    held_out = torch.from_numpy(np.ascontiguousarray(test_features, dtype=np.float32))
    mean, deviation = features.mean(0), features.std(0).clamp_min(1e-6)
    features, held_out = (features - mean) / deviation, (held_out - mean) / deviation
    # Wide features have a larger norm; dividing by sqrt(D) lets one grid of penalties serve every width.
    features, held_out = features / features.shape[1] ** 0.5, held_out / features.shape[1] ** 0.5

    units = np.asarray(groups) if groups is not None else np.arange(len(train_labels))
    names = np.unique(units)
    chosen = np.random.default_rng(seed).permutation(names)[: max(1, round(selection_share * len(names)))]
    selection = torch.from_numpy(np.isin(units, chosen))

    def class_weights(of: torch.Tensor) -> torch.Tensor:
        counts = torch.bincount(of, minlength=classes).float()
        return torch.where(counts > 0, of.numel() / (classes * counts.clamp_min(1)), torch.zeros_like(counts))

    fitting = ~selection
    weights = class_weights(labels[fitting])
    scores = []
    for penalty in PENALTIES:
        weight, bias = _fit(features[fitting], labels[fitting], classes, penalty, weights)
        predicted = (features[selection] @ weight + bias).argmax(1)
        scores.append(balanced_accuracy(predicted.numpy(), labels[selection].numpy()))
    penalty = PENALTIES[int(np.argmax(scores))]
    weight, bias = _fit(features, labels, classes, penalty, class_weights(labels))
    predictions = (held_out @ weight + bias).argmax(1).numpy()
    majority = int(torch.bincount(labels).argmax())
    return ProbeResult(
        accuracy=float((predictions == test_labels).mean()),
        balanced=balanced_accuracy(predictions, np.asarray(test_labels)),
        majority=float((np.asarray(test_labels) == majority).mean()),
        penalty=penalty,
        selection=max(scores),
        predictions=predictions,
    )


def _metadata(faces: FaceSet, field: str, which: str) -> list[str]:
    missing = sum(field not in sample.metadata for sample in faces.samples)
    if missing:
        known = sorted(faces.samples[0].metadata)
        raise InputError(f"{missing} {which} faces have no metadata field {field!r}; the first one has {known}")
    return [str(sample.metadata[field]) for sample in faces.samples]


def probe_faces(
    train: FaceSet,
    test: FaceSet,
    representations: Mapping[str, Representation],
    *,
    field: str,
    group_field: str | None = None,
    seed: int = 0,
) -> dict[str, ProbeResult]:
    """Put the same linear probe to several representations of the same faces.

    Where a representation has more than one candidate, the selection split of the training faces chooses among them:
    the test faces take no part in that either.

    Args:
        train, test: faces whose metadata hold the label.
        representations: by the names under which their results are returned.
        field: metadata field of the label, such as ``"expression"``.
        group_field: metadata field of identities that must not stand on both sides of the selection split.
        seed: of that split.

    Raises:
        InputError: a face has no such field, or a label of the test faces does not occur in training.
    """
    known, wanted = _metadata(train, field, "training"), _metadata(test, field, "test")
    classes = {name: index for index, name in enumerate(sorted(set(known)))}
    unknown = sorted(set(wanted) - set(classes))
    if unknown:
        raise InputError(f"labels {unknown} of field {field!r} occur among the test faces but not in training")
    train_labels, test_labels = (np.array([classes[name] for name in names]) for names in (known, wanted))
    groups = None if group_field is None else np.array(_metadata(train, group_field, "training"))
    results = {}
    for name, represent in representations.items():
        ours, theirs = represent(train.images), represent(test.images)
        candidates = [
            linear_probe(ours[kind], train_labels, theirs[kind], test_labels, groups=groups, seed=seed) for kind in ours
        ]
        results[name] = max(candidates, key=lambda result: result.selection)
    return results
