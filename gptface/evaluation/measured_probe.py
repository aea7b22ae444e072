"""``gptface evaluate probe``: reads faces, compares frozen features by probes, writes what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from gptface.evaluation.device import pick_device
from gptface.evaluation.encoders import FaceEncoder
from gptface.evaluation.features import HOG_SETTING, HOG_SIZE
from gptface.evaluation.label_task import LabelTask
from gptface.evaluation.labelled_faces import LabelledFaces
from gptface.evaluation.numbers import write_numbers
from gptface.evaluation.probe_comparison import compare_probes, reading_size
from gptface.evaluation.result_tables import write_label_shares
from gptface.progress import Display

__all__ = ["ENCODER", "RANDOM", "measure_by_probe"]

ENCODER, RANDOM = "encoder", "random weights"


def _facts(faces: LabelledFaces, by_people: bool) -> dict[str, Any]:
    counts = {name: int((faces.labels == label).sum()) for label, name in enumerate(faces.classes)}
    return {"faces": len(faces), "classes": counts, "people": len(set(faces.groups.tolist())) if by_people else None}


def measure_by_probe(
    wish: LabelTask, encoders: Mapping[str, Callable[[], FaceEncoder]], random: Callable[[], FaceEncoder]
) -> dict[str, Any]:
    """Probe and measure; the result is written to ``wish.output`` in one step, when all is done.

    Args:
        encoders: what opens the pre-trained encoders, by the name that their rows begin with.
        random: the architecture of the first with fresh weights.

    Returns:
        ``rows`` of :func:`~gptface.evaluation.probe_comparison.compare_probes`, with what was asked for and read.

    Raises:
        InputError: whatever of the wish cannot be had, before anything is computed.
    """
    device = pick_device(wish.device)
    opened = {**{name: encoder() for name, encoder in encoders.items()}, RANDOM: random()}
    for network in opened.values():
        if isinstance(network, nn.Module):
            network.to(device)
    size = reading_size(*opened.values())
    train, test = wish.read(size)
    by_people = wish.group is not None
    facts = {"train": _facts(train, by_people), "test": _facts(test, by_people)}
    interval = "95 %, Wilson's, each face on its own"
    if by_people:
        interval = f"95 %, bootstrap over the {facts['test']['people']} people of the test faces"
    with Display("probe") as display:
        display.line(f"probe: intervals are {interval}")
        rows = compare_probes(
            train, test, opened, shares=wish.shares, seeds=wish.seeds, by_people=by_people, display=display
        )
    commonest = max(facts["train"]["classes"], key=facts["train"]["classes"].__getitem__)
    summary = {
        **dict(wish.facts),
        "label": wish.label,
        "train_paths": " ".join(map(str, wish.train)),
        "test_paths": " ".join(map(str, wish.test)),
        "train_faces": len(train),
        "test_faces": len(test),
        "classes": list(wish.classes),
        "group": wish.group,
        **facts,
        "interval": interval,
        "commonest_class": {"name": commonest, "accuracy": facts["test"]["classes"][commonest] / len(test)},
        "hog": {"size": HOG_SIZE, **HOG_SETTING},
        "device": device.type,
        "rows": rows,
    }
    if wish.output is not None:
        write_numbers(wish.output, summary)
    write_label_shares(summary, f"Probes for {wish.label}", wish.table, wish.plot)
    return summary
