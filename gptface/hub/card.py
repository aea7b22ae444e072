"""A model card, filled from the run: Hugging Face's ``ModelCard`` over this package's template."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCard, ModelCardData

from gptface.hub.run_facts import RunFacts
from gptface.progress import format_duration

__all__ = ["Description", "model_card"]

TEMPLATE = Path(__file__).with_name("model_card.md")
LICENCES = {
    "apache-2.0": "Apache-2.0, as the package [gptface](https://pypi.org/p/gptface) that made it.",
    None: "Whoever shared this model named none; the terms of the data that it was trained on hold.",
}


@dataclass(frozen=True)
class Description:
    """What a card says of a kind of model, whatever the run.

    Attributes:
        title: such as ``"Face tokenizer"``.
        summary: what it does, in a sentence or two.
        code: lines that load it from the Hub; ``REPOSITORY`` stands for its name there.
        limits: what it does not do, in a sentence or two.
        tags: for the Hub's search.
        task: the Hub's name of what it is for, if it has one.
        paper: number on arXiv, if there is one.
    """

    title: str
    summary: str
    code: str
    limits: str
    tags: tuple[str, ...] = ()
    task: str | None = None
    paper: str | None = None


def model_card(
    description: Description, repository: str, weights: int, run: RunFacts | None = None, licence: str | None = None
) -> ModelCard:
    """The card of a model; needs no network.

    Args:
        description: of its kind.
        repository: ``owner/name`` on the Hub.
        weights: how many it has.
        run: that it comes from; without one the card says that nobody told.
        licence: as the Hub names them; by default that of the package where all faces were drawn, else none.
    """
    named = licence or ("apache-2.0" if run is not None and run.drawn else None)
    data = ModelCardData(
        license=named or "other",
        library_name="gptface",
        tags=["gptface", "faces", *description.tags],
        pipeline_tag=description.task,
        # Without a link the Hub refuses "other".
        license_name=None if named else "not-stated",
    )
    return ModelCard.from_template(
        data,
        template_str=TEMPLATE.read_text(encoding="utf-8"),
        title=description.title,
        summary=description.summary,
        code=description.code.replace("REPOSITORY", repository),
        limits=description.limits,
        paper=description.paper,
        size=f"{weights:,}",
        run=run,
        drawn=run is not None and run.drawn,
        duration=format_duration(run.summary["seconds"]) if run is not None else "",
        validation=_rounded(run.summary["validation"]) if run is not None else {},
        measured={name: _rounded(found) for name, found in run.figures.items()} if run is not None else {},
        unlisted=run.unlisted if run is not None else (),
        licence=LICENCES.get(named, f"{named}."),
        configuration=yaml.safe_dump(run.configuration, sort_keys=False, allow_unicode=True) if run is not None else "",
    )


def _rounded(figures: Mapping[str, Any]) -> dict[str, str]:
    return {name: f"{value:.4g}" for name, value in figures.items()}
