"""``gptface evaluate finetune``: reads faces, has networks trained on their labels, writes what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gptface.errors import InputError
from gptface.evaluation.classifier import PatchClassifier, check_savable, save_classifier
from gptface.evaluation.device import pick_device
from gptface.evaluation.encoders import FaceEncoder
from gptface.evaluation.fine_tuning import Recipe
from gptface.evaluation.label_shares import (
    ENCODER,
    NETWORK_RECIPE,
    Trained,
    compare_label_shares,
    contenders,
    summarise,
)
from gptface.evaluation.label_task import LabelTask
from gptface.evaluation.numbers import write_numbers
from gptface.evaluation.result_tables import write_label_shares
from gptface.evaluation.training_pictures import training_size
from gptface.progress import Display

__all__ = ["FineTuning", "measure_fine_tuning"]


@dataclass(frozen=True)
class FineTuning(LabelTask):
    """What is to be measured.

    Attributes:
        recipe: of the encoder and of its architecture from random weights.
        network: of the small network from scratch; ``None``: without it.
        pooling: of the encoder's patches.
        save: folder for the classifier, or ``None``.
        watch_test: also tell the look that was best on the test faces, FaRL's convention.
    """

    recipe: Recipe = field(default_factory=Recipe)
    network: Recipe | None = NETWORK_RECIPE
    pooling: str = "attentive"
    save: Path | None = None
    watch_test: bool = False


def measure_fine_tuning(
    wish: FineTuning,
    encoder: Callable[[], FaceEncoder] | None = None,
    random: Callable[[int], FaceEncoder] | None = None,
) -> dict[str, Any]:
    """Train and measure; the result is written to ``wish.output`` in one step, when all is done.

    Args:
        encoder: opens the pre-trained encoder afresh; ``None``: only the network from scratch.
        random: its architecture with fresh weights of a seed; ``None``: without.

    Returns:
        ``rows`` and ``gains`` of :func:`~gptface.evaluation.label_shares.summarise`, with what was asked for.

    Raises:
        InputError: whatever of the wish cannot be had, before anything is trained.
    """
    device = pick_device(wish.device)
    chosen = contenders(encoder, random, wish.classes, wish.recipe, pooling=wish.pooling, network=wish.network)
    if not chosen:
        raise InputError("encoder: there is none, and without the network from scratch there is nothing to train")
    if wish.save is not None:
        if encoder is None:
            raise InputError("save: there is no encoder to fine-tune; give --encoder")
        check_savable(encoder())
    size = max(training_size(contender.size) for contender in chosen)
    train, test = wish.read(size)

    def keep(trained: Trained, network: nn.Module) -> None:
        first_and_fullest = trained.seed == 0 and trained.share == max(wish.shares)
        if wish.save is not None and trained.name == ENCODER and first_and_fullest:
            assert isinstance(network, PatchClassifier)
            right = float((trained.predictions == test.labels).mean())
            save_classifier(network, wish.save, label=wish.label, accuracy=right, n=len(test))

    with Display("finetune") as display:
        results = compare_label_shares(
            chosen,
            train,
            test,
            wish.shares,
            wish.seeds,
            device=device,
            display=display,
            keep=keep,
            watch_test=wish.watch_test,
        )
    summary = {
        **dict(wish.facts),
        "label": wish.label,
        "train_paths": " ".join(map(str, wish.train)),
        "test_paths": " ".join(map(str, wish.test)),
        "classes": list(wish.classes),
        "train_faces": len(train),
        "test_faces": len(test),
        "test_people": len(set(test.groups.tolist())) if wish.group is not None else None,
        "recipes": {contender.name: asdict(contender.recipe) for contender in chosen},
        "device": device.type,
        "threads": torch.get_num_threads(),
        **summarise(results, test.labels, None if wish.group is None else test.groups),
    }
    if wish.output is not None:
        write_numbers(wish.output, summary)
    write_label_shares(summary, f"Fine-tuning for {wish.label}", wish.table, wish.plot)
    return summary
