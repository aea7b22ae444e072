"""Attentive probe: a learned query attends to a frozen encoder's patches, and one linear map reads what it gathers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from gptface.errors import InputError
from gptface.evaluation.metrics import balanced_accuracy
from gptface.evaluation.selection import selection_splits

__all__ = ["AttentiveProbe", "AttentiveResult", "attentive_probe"]

HEADS = 8
BATCH = 256
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.1
AVERAGING = 0.98  # of the weights, so that a constant rate needs no schedule and any step can be the last
LOOK_EVERY = 10  # steps
MOST_LOOKS = 50
PATIENCE = 8  # looks without a gain
LEAST_GAIN = 1e-3  # nats
ENOUGH_FOR_ONE_SPLIT = 500  # labels: the loss that chooses here is smoother than the accuracy that chooses a penalty


class AttentiveProbe(nn.Module):
    """One query, several heads, and a linear map: ``(B, n, C)`` to logits ``(B, classes)``.

    A query is the same for every picture, so its product with the key projection is one vector a head, and values are
    projected after they are gathered: the same function as multi-head cross-attention without the cost of projecting
    every patch.

    Args:
        width: of the patches, ``C``.
        classes: number of classes.
        heads: brought down to what divides the width.
    """

    def __init__(self, width: int, classes: int, heads: int = HEADS) -> None:
        super().__init__()
        heads = next(number for number in range(heads, 0, -1) if width % number == 0)
        self.scores = nn.Parameter(torch.randn(width, heads) * 0.02)
        self.values = nn.Parameter(torch.randn(heads, width, width // heads) * width**-0.5)
        self.classifier = nn.Linear(width, classes)
        nn.init.zeros_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        weights = (tokens @ self.scores).softmax(1)
        gathered = (weights.mT @ tokens).transpose(0, 1)  # (heads, B, C)
        return self.classifier((gathered @ self.values).transpose(0, 1).flatten(1))


@dataclass(frozen=True)
class AttentiveResult:
    """Outcome of an attentive probe.

    Attributes:
        accuracy, balanced: on the test rows, as of a linear probe.
        steps: how long it was trained, as the selection splits chose.
        selection: mean balanced accuracy on them.
        predictions: ``(N_test,)`` int64.
    """

    accuracy: float
    balanced: float
    steps: int
    selection: float
    predictions: np.ndarray


class _Tokens:
    """Patches as batches of float32, standardised by the training rows' mean and deviation of each feature."""

    def __init__(self, train: np.ndarray) -> None:
        count = train.shape[0] * train.shape[1]
        sums, squares = torch.zeros(2, train.shape[2], dtype=torch.float64)
        for start in range(0, len(train), 4 * BATCH):
            part = torch.from_numpy(train[start : start + 4 * BATCH]).double().flatten(0, 1)
            sums, squares = sums + part.sum(0), squares + part.square().sum(0)
        mean = sums / count
        deviation = (squares / count - mean.square()).clamp_min(0).sqrt()
        self._mean = mean.float()
        self._factor = torch.where(deviation > 1e-6 * mean.abs(), 1 / deviation.clamp_min(1e-12), 0.0).float()

    def __call__(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(rows).float().sub_(self._mean).mul_(self._factor)


def _passes(
    tokens: np.ndarray, labels: Tensor, classes: int, standard: _Tokens, generator: torch.Generator
) -> Iterator[nn.Module]:
    """Train without end; yields the averaged network every ``LOOK_EVERY`` steps."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        network = AttentiveProbe(tokens.shape[2], classes)
    averaged = copy.deepcopy(network)
    counts = torch.bincount(labels, minlength=classes).float()
    weights = labels.numel() / (classes * counts.clamp_min(1))
    optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, betas=(0.9, 0.98))
    step = 0
    while True:
        order = torch.randperm(len(labels), generator=generator)
        for rows in order.split(BATCH):
            if len(rows) < min(BATCH, len(labels)):
                continue  # the rest comes in another order next time
            loss = functional.cross_entropy(network(standard(tokens[rows.numpy()])), labels[rows], weight=weights)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            step += 1
            keep = min(AVERAGING, step / (step + 10))
            with torch.no_grad():
                for mean, value in zip(averaged.parameters(), network.parameters(), strict=True):
                    mean.lerp_(value, 1 - keep)
            if step % LOOK_EVERY == 0:
                yield averaged


@torch.inference_mode()
def _logits(network: nn.Module, tokens: np.ndarray, standard: _Tokens) -> Tensor:
    return torch.cat([network(standard(tokens[start : start + BATCH])) for start in range(0, len(tokens), BATCH)])


def _look(network: nn.Module, tokens: np.ndarray, labels: np.ndarray, standard: _Tokens) -> tuple[float, float]:
    """Cross-entropy, the classes weighing alike, and balanced accuracy."""
    logits = _logits(network, tokens, standard)
    losses = functional.cross_entropy(logits, torch.from_numpy(labels), reduction="none").numpy()
    loss = float(np.mean([losses[labels == label].mean() for label in np.unique(labels)]))
    return loss, balanced_accuracy(logits.argmax(1).numpy(), labels)


def attentive_probe(
    train_tokens: np.ndarray,
    train_labels: np.ndarray,
    test_tokens: np.ndarray,
    test_labels: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    seed: int = 0,
    advance: Callable[[float], None] | None = None,
) -> AttentiveResult:
    """Choose how long to train by held-out parts of the training rows, train on all of them, measure once on the test.

    AdamW at a constant rate over averaged weights; of all steps looked at, the one with the lowest held-out loss is the
    last. Classes are weighted by inverse frequency. The test rows take no part in the choice.

    Args:
        train_tokens, test_tokens: frozen features of patches, ``(N, n, C)``, float16 or float32.
        train_labels, test_labels: ``(N,)`` integers from 0.
        groups: ``(N_train,)`` identities; rows of one identity never stand on both sides of a selection split.
        seed: of the splits, the order and the fresh weights.
        advance: called with the share that is done at most.

    Raises:
        InputError: lengths that differ, or too few rows or people.
    """
    for tokens, labels, which in ((train_tokens, train_labels, "train"), (test_tokens, test_labels, "test")):
        if tokens.ndim != 3 or len(tokens) != len(labels):
            raise InputError(
                f"attentive probe: {which} tokens {tokens.shape} and {len(labels)} labels; (N, n, C) and N are needed"
            )
    labels = np.asarray(train_labels, dtype=np.int64)
    classes = int(max(labels.max(), np.max(test_labels))) + 1
    splits = selection_splits(labels, groups, seed=seed, enough=ENOUGH_FOR_ONE_SPLIT)
    standard = _Tokens(train_tokens)
    fits = len(splits) + 1

    def training(rows: np.ndarray) -> Iterator[nn.Module]:
        generator = torch.Generator().manual_seed(seed)
        return _passes(train_tokens[rows], torch.from_numpy(labels[rows]), classes, standard, generator)

    seen = []
    for number, held_out in enumerate(splits):
        looks: list[tuple[float, float]] = []
        lowest, since = float("inf"), 0
        for network in training(~held_out):
            looks.append(_look(network, train_tokens[held_out], labels[held_out], standard))
            gained = looks[-1][0] < lowest - LEAST_GAIN
            lowest, since = (looks[-1][0], 0) if gained else (lowest, since + 1)
            if advance is not None:
                advance((number + len(looks) / MOST_LOOKS) / fits)
            if len(looks) == MOST_LOOKS or since == PATIENCE:
                break
        seen.append(looks)
    shortest = min(map(len, seen))
    curves = np.mean([looks[:shortest] for looks in seen], axis=0)  # (looks, 2)
    best = int(curves[:, 0].argmin())
    network = next(islice(training(np.ones(len(labels), dtype=bool)), best, None))
    predictions = _logits(network, test_tokens, standard).argmax(1).numpy()
    return AttentiveResult(
        accuracy=float((predictions == test_labels).mean()),
        balanced=balanced_accuracy(predictions, np.asarray(test_labels)),
        steps=(best + 1) * LOOK_EVERY,
        selection=float(curves[best, 1]),
        predictions=predictions,
    )
