"""How well networks do on people they have not seen, by how many labels they were trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from gptface.evaluation.classifier import PatchClassifier
from gptface.evaluation.encoders import FaceEncoder
from gptface.evaluation.fine_tuning import Fit, Recipe, fit, planned_steps
from gptface.evaluation.labelled_faces import LabelledFaces, label_subset, people_apart
from gptface.evaluation.metrics import accuracy_interval, balanced_accuracy, cluster_bootstrap_interval
from gptface.evaluation.residual_network import ResidualNetwork
from gptface.evaluation.shares import deviation, share_words
from gptface.evaluation.training_pictures import RandomPictures, over_pictures
from gptface.progress import Display, format_duration

__all__ = [
    "ENCODER",
    "NETWORK_RECIPE",
    "Contender",
    "Trained",
    "compare_label_shares",
    "contenders",
    "row_lines",
    "summarise",
]

ENCODER = "encoder fine-tuned"
NETWORK = "network from scratch"
NETWORK_SIZE = 96  # pixels
# Measured to be enough on ten thousand labelled photos; the small network bears a larger rate than a transformer.
NETWORK_RECIPE = Recipe(
    epochs=14, least_steps=400, learning_rate=3e-3, layer_decay=1.0, weight_decay=0.02, warm_up=0.05, averaging=0.99
)
# Of the labels in use, the part by whose people weights are chosen, unless it would be fewer than this: with so few,
# the choice is noise and the labels teach more than they choose.
HELD_OUT_SHARE = 0.15
LEAST_HELD_OUT = 100


@dataclass(frozen=True)
class Contender:
    """A network that is trained.

    Attributes:
        name: in the rows of the result.
        build: the untrained (or pre-trained) network of a seed: pictures ``(B, 3, size, size)`` to logits.
        size: side of its pictures.
        recipe: how it is trained.
    """

    name: str
    build: Callable[[int], nn.Module]
    size: int
    recipe: Recipe


@dataclass(frozen=True)
class Trained:
    """One training, and what it came to on the test faces.

    Attributes:
        name, share, seed: which one.
        labels: how many were used, held-out ones included.
        fit: the training.
        predictions: int64 ``(N_test,)``.
    """

    name: str
    share: float
    seed: int
    labels: int
    fit: Fit
    predictions: np.ndarray

    @property
    def best_on_test(self) -> float | None:
        """Accuracy of the look that was best on the test faces, where they were watched: FaRL's convention."""
        return max((accuracy for _, accuracy in self.fit.watched), default=None)


def contenders(
    encoder: Callable[[], FaceEncoder] | None,
    random: Callable[[int], FaceEncoder] | None,
    classes: Sequence[str],
    recipe: Recipe,
    *,
    pooling: str = "attentive",
    network: Recipe | None = NETWORK_RECIPE,
) -> list[Contender]:
    """The encoder, the same architecture from random weights, and the small network from scratch.

    Args:
        encoder: opens the pre-trained encoder afresh.
        random: its architecture with fresh weights of a seed.
        network: how the small network is trained. What is ``None`` does not take part.
    """

    def classifier(build: Callable[[int], FaceEncoder]) -> Callable[[int], nn.Module]:
        return lambda seed: PatchClassifier(build(seed), classes, pooling=pooling, keep=recipe.keep_patches)

    chosen = []
    if encoder is not None:
        build = classifier(lambda seed: encoder())
        built = build(0)  # what cannot be built is said before anything is read
        assert isinstance(built, PatchClassifier)
        chosen.append(Contender(ENCODER, build, built.size, recipe))
    if random is not None:
        # Nothing is worth keeping in the earlier layers of random weights.
        fresh = replace(recipe, layer_decay=1.0)
        chosen.append(Contender("same from random weights", classifier(random), random(0).image_size, fresh))
    if network is not None:
        chosen.append(Contender(NETWORK, lambda seed: ResidualNetwork(len(classes)), NETWORK_SIZE, network))
    return chosen


class _Pace:
    """Time that remains, from the seconds a step that each contender took so far."""

    def __init__(self, pending: list[tuple[Contender, int]]) -> None:
        self.pending = pending
        self.pace: dict[str, float] = {}

    def begin(self) -> None:
        self.pending = self.pending[1:]

    def finish(self, name: str, result: Fit) -> None:
        self.pace[name] = result.seconds / result.steps

    def remaining(self, own: float | None) -> str:
        told = f"remaining {format_duration(own)}"
        if not self.pending:
            return told
        if own is None or not all(contender.name in self.pace for contender, _ in self.pending):
            return f"{told}, then {len(self.pending)} more"
        rest = sum(
            min(steps * self.pace[contender.name], 60 * (contender.recipe.minutes or math.inf))
            for contender, steps in self.pending
        )
        return f"{told}, in all {format_duration(own + rest)}"


def compare_label_shares(
    chosen: Sequence[Contender],
    train: LabelledFaces,
    test: LabelledFaces,
    shares: Sequence[float],
    seeds: int,
    *,
    device: torch.device | str = "cpu",
    display: Display | None = None,
    keep: Callable[[Trained, nn.Module], None] | None = None,
    watch_test: bool = False,
) -> list[Trained]:
    """Train every contender on every share of the labels, ``seeds`` times, and measure each once on the test faces.

    Seed ``s`` draws the labels in use, the people held out, the order and the fresh weights, the same for all
    contenders.

    Args:
        keep: is given each training with its network, as soon as it is measured.
        watch_test: measure the test faces at each look too, for ``Trained.best_on_test``. They choose nothing.
    """
    display = display or Display("finetune", shown=False)
    jobs = [(share, seed, contender) for share in shares for seed in range(seeds) for contender in chosen]
    rows_of = {(share, seed): label_subset(train.labels, share, seed) for share in shares for seed in range(seeds)}
    pace = _Pace(
        [(contender, planned_steps(contender.recipe, len(rows_of[share, seed]))) for share, seed, contender in jobs]
    )
    results = []
    for number, (share, seed, contender) in enumerate(jobs, 1):
        pace.begin()
        rows = rows_of[share, seed]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = contender.build(seed).to(device)
        title = f"{number} of {len(jobs)}: {contender.name}, {len(rows)} labels, seed {seed},"
        watched = test if watch_test else None
        record = _train(network, contender, train, watched, rows, seed, torch.device(device), display, title, pace)
        pace.finish(contender.name, record)
        predictions = _predict(network, test.images, contender.size, torch.device(device))
        trained = Trained(contender.name, share, seed, len(rows), record, predictions)
        display.line(f"{title} accuracy {(predictions == test.labels).mean():.3f} in {format_duration(record.seconds)}")
        results.append(trained)
        if keep is not None:
            keep(trained, network)
    return results


def _train(
    network: nn.Module,
    contender: Contender,
    faces: LabelledFaces,
    watched: LabelledFaces | None,
    rows: np.ndarray,
    seed: int,
    device: torch.device,
    display: Display,
    title: str,
    pace: _Pace,
) -> Fit:
    recipe = contender.recipe
    apart = people_apart(faces.groups[rows], HELD_OUT_SHARE, seed)
    if apart.sum() < LEAST_HELD_OUT or apart.all():
        apart[:] = False
    fitting, choosing = rows[~apart], rows[apart]
    labels = torch.from_numpy(faces.labels)
    views = RandomPictures(contender.size)

    def loss(batch: Tensor) -> Tensor:
        taken = fitting[batch.numpy()]
        pictures = views(torch.from_numpy(faces.images[taken]).to(device))
        targets = labels[taken].to(device)
        return functional.cross_entropy(network(pictures), targets, label_smoothing=recipe.label_smoothing)

    if isinstance(network, PatchClassifier):
        network.eval()
        pooled = over_pictures(faces.images[fitting], contender.size, device, network.pooled)
        network.start_at_probe(pooled, labels[fitting].to(device))

    def held_out() -> float:
        scores = _log_probabilities(network, faces.images[choosing], contender.size, device, mirrored=False)
        return float(functional.nll_loss(scores, labels[choosing]))

    def watch() -> float:
        assert watched is not None
        return float((_predict(network, watched.images, contender.size, device) == watched.labels).mean())

    return fit(
        network,
        recipe,
        len(fitting),
        loss,
        held_out if len(choosing) else None,
        watch=None if watched is None else watch,
        encoder=getattr(network, "encoder", None),
        seed=seed,
        display=display,
        title=title,
        rest=pace.remaining,
    )


def _log_probabilities(
    network: nn.Module, images: np.ndarray, size: int, device: torch.device, *, mirrored: bool
) -> Tensor:
    """float ``(N, classes)`` on the CPU; with ``mirrored``, of the mean of a picture's and its mirror image's."""
    network.eval()

    def scores(pictures: Tensor) -> Tensor:
        own = network(pictures).float().softmax(1)
        return ((own + network(pictures.flip(3)).float().softmax(1)) / 2 if mirrored else own).log()

    return over_pictures(images, size, device, scores).cpu()


def _predict(network: nn.Module, images: np.ndarray, size: int, device: torch.device) -> np.ndarray:
    return _log_probabilities(network, images, size, device, mirrored=True).argmax(1).numpy()


def summarise(results: Sequence[Trained], truth: np.ndarray, groups: np.ndarray | None = None) -> dict[str, Any]:
    """Rows of the result, one a contender and share, and what the encoder gains on each of the others.

    A row's accuracy is the mean over seeds. Its 95 % interval says how far another draw of test people might lie, and
    ``deviation`` how far another draw of labels and weights does. A gain is paired: the mean over the faces of the
    difference between two contenders.

    Args:
        truth: int64 ``(N_test,)``.
        groups: ``(N_test,)`` names of the test people, whose photos are right or wrong together; ``None``: each face on
            its own.
    """
    rows, gains = [], []
    for share in sorted({result.share for result in results}):
        right: dict[str, np.ndarray] = {}
        for name in dict.fromkeys(result.name for result in results if result.share == share):
            own = [result for result in results if result.name == name and result.share == share]
            right[name] = hits = np.array([result.predictions == truth for result in own])
            accuracies = hits.mean(1)
            balanced = [balanced_accuracy(result.predictions, truth) for result in own]
            best = [result.best_on_test for result in own if result.best_on_test is not None]
            rows.append(
                {
                    "name": name,
                    "label_share": share,
                    "labels": own[0].labels,
                    "accuracy": float(accuracies.mean()),
                    "interval": list(accuracy_interval(hits.mean(0), groups)),
                    "deviation": deviation(accuracies),
                    "n": len(truth),
                    "balanced_accuracy": float(np.mean(balanced)),
                    "best_on_test": float(np.mean(best)) if best else None,
                    "seeds": [_seed_row(result, hit) for result, hit in zip(own, hits, strict=True)],
                }
            )
        for name in right.keys() - {ENCODER} if ENCODER in right else ():
            difference = right[ENCODER].mean(0) - right[name].mean(0)
            interval = cluster_bootstrap_interval(difference, np.arange(len(truth)) if groups is None else groups)
            mean = float(difference.mean())
            gains.append({"over": name, "label_share": share, "difference": mean, "interval": list(interval)})
    return {"rows": rows, "gains": sorted(gains, key=lambda gain: (gain["label_share"], gain["over"]))}


def _seed_row(result: Trained, hits: np.ndarray) -> dict[str, Any]:
    return {
        "seed": result.seed,
        "accuracy": float(hits.mean()),
        "steps": result.fit.steps,
        "chosen_step": result.fit.chosen_step,
        "seconds": round(result.fit.seconds, 1),
        "looks": [list(look) for look in result.fit.looks],
        "watched": [list(look) for look in result.fit.watched],
    }


def row_lines(summary: Mapping[str, Any]) -> list[str]:
    """``NAME accuracy 0.931 [0.909, 0.949] balanced 0.928 n 677``, a line a row, with the deviation behind the mean of
    several seeds, and with what the test faces would have chosen where they were watched; then a line a gain."""
    lines = []
    for row in summary["rows"]:
        low, high = row["interval"]
        deviation = "" if row["deviation"] is None else f" ± {row['deviation']:.3f}"
        name = row["name"] + share_words(row["label_share"])
        told = f"[{low:.3f}, {high:.3f}] balanced {row['balanced_accuracy']:.3f}"
        if row["best_on_test"] is not None:
            told += f" (best look on the test faces, as FaRL reports: {row['best_on_test']:.3f})"
        lines.append(f"{name} accuracy {row['accuracy']:.3f}{deviation} {told} n {row['n']}")
    for gain in summary["gains"]:
        low, high = gain["interval"]
        name = gain["over"] + share_words(gain["label_share"])
        lines.append(f"{ENCODER} above {name}: {gain['difference']:+.3f} [{low:+.3f}, {high:+.3f}]")
    return lines
