"""Linear probe: how much of a label a frozen representation holds, read off by multinomial logistic regression."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from gptface.errors import InputError
from gptface.evaluation.metrics import balanced_accuracy
from gptface.evaluation.selection import selection_splits

__all__ = ["PENALTIES", "ProbeResult", "linear_probe", "probe_candidates"]

# Predicted and true labels to what is to be high.
Score = Callable[[np.ndarray, np.ndarray], float]

# From the strongest on: each fit starts where the one before it ended.
PENALTIES = (1e-1, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6)
GRADIENT_TOLERANCE = 1e-4  # of the mean loss a face, whose gradient at the start is about 0.1
MAXIMUM_STEPS = 300


@dataclass(frozen=True)
class ProbeResult:
    """Outcome of a linear probe.

    Attributes:
        accuracy: share of test rows labelled rightly.
        balanced: mean over classes of the per-class share (classes are often uneven).
        majority: accuracy of always answering the commonest training class.
        penalty: the L2 weight that the selection splits chose.
        selection: mean score on the selection splits, for choosing without the test rows.
        predictions: ``(N_test,)`` int64.
        candidate: name of the representation that the selection splits chose.
    """

    accuracy: float
    balanced: float
    majority: float
    penalty: float
    selection: float
    predictions: np.ndarray
    candidate: str = ""


def _logistic_regression() -> Callable[..., Any]:
    try:
        from sklearn.linear_model import LogisticRegression
    except ModuleNotFoundError:
        raise InputError('a linear probe needs scikit-learn: pip install "gptface[probe]"') from None
    return LogisticRegression


@contextmanager
def _quietly() -> Iterator[None]:
    """A fit that stops at its last step is near enough to the optimum: weak penalties are there to be compared."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="sklearn")
        yield


class _Path:
    """Fits along falling penalties, each from the weights of the one before."""

    def __init__(self, features: np.ndarray, labels: np.ndarray, balanced: bool) -> None:
        self._features, self._labels = features, labels
        # The mean loss over the rows plus penalty * width * |W|²: wide features have a larger norm, and this lets one
        # list of penalties serve every width.
        self._scale = 2 * len(labels) * features.shape[1]
        self._model = _logistic_regression()(
            class_weight="balanced" if balanced else None,
            max_iter=MAXIMUM_STEPS,
            tol=GRADIENT_TOLERANCE,
            warm_start=True,
        )

    def fit(self, penalty: float) -> Callable[[np.ndarray], np.ndarray]:
        """The prediction of the fit with ``penalty``."""
        self._model.C = 1 / (self._scale * penalty)
        with _quietly():
            self._model.fit(self._features, self._labels)
        return self._model.predict


@dataclass(frozen=True)
class _Standard:
    """Training rows' mean and deviation of each feature; a feature that never varies in training tells nothing."""

    mean: np.ndarray
    factor: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> _Standard:
        mean, deviation = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64)
        varies = deviation > 1e-6 * np.abs(mean)
        factor = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies & (deviation > 0))
        return cls(mean.astype(np.float32), factor.astype(np.float32))

    def __call__(self, features: np.ndarray) -> np.ndarray:
        return (np.asarray(features, dtype=np.float32) - self.mean) * self.factor


def _choose_penalty(
    features: np.ndarray, labels: np.ndarray, splits: list[np.ndarray], balanced: bool, score: Score
) -> tuple[float, float]:
    """The penalty with the best mean score on the splits, and that score; of equals the strongest."""
    scores = np.zeros(len(PENALTIES))
    for held_out in splits:
        path = _Path(features[~held_out], labels[~held_out], balanced)
        scores += [score(path.fit(penalty)(features[held_out]), labels[held_out]) for penalty in PENALTIES]
    best = int(np.argmax(scores))
    return PENALTIES[best], float(scores[best]) / len(splits)


def probe_candidates(
    train: Mapping[str, np.ndarray],
    train_labels: np.ndarray,
    test: Mapping[str, np.ndarray],
    test_labels: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    seed: int = 0,
    balanced: bool = True,
    score: Score = balanced_accuracy,
) -> ProbeResult:
    """:func:`linear_probe` of the best of several representations of the same faces.

    The selection splits choose the representation together with its penalty; the test rows take no part in either.

    Args:
        train, test: features by name, the same names in both.
        train_labels, test_labels, groups, seed: as for :func:`linear_probe`.
        balanced: whether classes are weighted by inverse frequency.
        score: predicted and true labels to the number by which the selection splits choose.
    """
    for rows, labels, which in ((train, train_labels, "train"), (test, test_labels, "test")):
        for name, features in rows.items():
            if len(features) != len(labels):
                raise InputError(
                    f"linear probe: features and labels differ in length: {which} {name} {len(features)} and "
                    f"{len(labels)}"
                )
    if len(train_labels) < 10:
        raise InputError(f"linear probe: {len(train_labels)} training faces; at least 10 are needed")
    labels = np.asarray(train_labels, dtype=np.int64)
    splits = selection_splits(labels, groups, seed=seed)
    if not train:
        raise InputError("linear probe: there is no representation to probe")
    choices = {
        name: _choose_penalty(_Standard.of(rows)(rows), labels, splits, balanced, score) for name, rows in train.items()
    }
    name = max(choices, key=lambda candidate: choices[candidate][1])
    penalty, chosen = choices[name]
    standard = _Standard.of(train[name])
    path = _Path(standard(train[name]), labels, balanced)
    for step in PENALTIES[: PENALTIES.index(penalty) + 1]:
        predict = path.fit(step)
    predictions = np.asarray(predict(standard(test[name])), dtype=np.int64)
    majority = int(np.bincount(labels).argmax())
    return ProbeResult(
        accuracy=float((predictions == test_labels).mean()),
        balanced=balanced_accuracy(predictions, np.asarray(test_labels)),
        majority=float((np.asarray(test_labels) == majority).mean()),
        penalty=penalty,
        selection=chosen,
        predictions=predictions,
        candidate=name,
    )


def linear_probe(
    train_features: np.ndarray,
    train_labels: np.ndarray,
    test_features: np.ndarray,
    test_labels: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    seed: int = 0,
) -> ProbeResult:
    """Fit on the training rows, choose the L2 penalty on held-out parts of them, measure once on the test rows.

    The test rows take no part in the choice. Classes are weighted by inverse frequency, because a probe on uneven data
    otherwise answers the commonest class; the penalty is chosen by balanced accuracy.

    Args:
        train_features, test_features: ``(N, D)`` float arrays; standardised here with the training rows' statistics.
        train_labels, test_labels: ``(N,)`` integers from 0.
        groups: ``(N_train,)`` identities; rows of one identity never stand on both sides of a selection split.
        seed: of the selection splits (see :func:`~gptface.evaluation.selection.selection_splits`).

    Raises:
        InputError: lengths that differ, too few rows or people, or scikit-learn is absent.
    """
    return probe_candidates(
        {"features": train_features}, train_labels, {"features": test_features}, test_labels, groups=groups, seed=seed
    )
