"""Which base an adapter was trained beside: where it came from, and what tells it from others."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

from gptface.errors import InputError

__all__ = ["check_description", "describe_base", "open_base"]

SAMPLED = 64
"""Rows of the embedding that a fingerprint is taken of."""
TOLERANCE = 0.02
"""Relative, of fingerprints: the same base in bfloat16 is the same base."""


def describe_base(base: PreTrainedModel) -> dict[str, Any]:
    """Name or path, class, sizes and a fingerprint of the embedding of a base that has not been changed yet."""
    weight: Any = base.get_input_embeddings().weight
    rows = torch.linspace(0, weight.shape[0] - 1, SAMPLED).round().long().to(weight.device)
    with torch.no_grad():
        sampled = weight[rows].double()
        signs = torch.arange(sampled.numel(), dtype=torch.float64, device=sampled.device).cos().view_as(sampled)
        fingerprint = [float(sampled.square().mean().sqrt()), float((sampled * signs).square().mean().sqrt())]
    text = base.config.get_text_config()
    name = base.name_or_path
    return {
        "name": str(Path(name).resolve()) if name and Path(name).is_dir() else name,
        "class": type(base).__name__,
        "vocabulary": weight.shape[0],
        "tied": base.get_output_embeddings().weight is weight,
        "width": text.hidden_size,
        "layers": text.num_hidden_layers,
        "fingerprint": fingerprint,
    }


def check_description(wanted: dict[str, Any], base: PreTrainedModel) -> None:
    """Refuse a base that is not the one described.

    Raises:
        InputError: another class, other sizes, other weights.
    """
    found = describe_base(base)
    told = wanted["name"] or wanted["class"]
    for key in ("class", "vocabulary", "width", "layers"):
        if found[key] != wanted[key]:
            raise InputError(
                f"base: its {key} is {found[key]}; in the adapter's training it was {wanted[key]} ({told})"
            )
    if found["tied"] != wanted["tied"]:
        how = ("apart", "one and the same")
        raise InputError(f"base: embedding and head are {how[found['tied']]}; in training they were not ({told})")
    pairs = zip(found["fingerprint"], wanted["fingerprint"], strict=True)
    if not all(math.isclose(one, other, rel_tol=TOLERANCE) for one, other in pairs):
        raise InputError(f"base: has other weights than the one that the adapter was trained beside ({told})")


def open_base(described: dict[str, Any], name: str | os.PathLike[str] | None, **options: Any) -> PreTrainedModel:
    """Load the base that is described, in evaluation mode and in the dtype of its file.

    Args:
        described: by :func:`describe_base`.
        name: where it is, if no longer where it was.
        options: for ``from_pretrained``; without ``local_files_only=False`` nothing is downloaded.

    Raises:
        InputError: it is not there, or of a class that ``transformers`` does not have.
    """
    source = os.fspath(name) if name is not None else described["name"]
    if not source:
        raise InputError("base: the adapter was trained beside a model that came from no file; give the model itself")
    kind = getattr(transformers, described["class"], None)
    if not (isinstance(kind, type) and issubclass(kind, PreTrainedModel)):
        raise InputError(f"base: transformers has no class {described['class']!r}; give the model itself")
    options = {"local_files_only": True, "dtype": "auto", **options}
    try:
        base: Any = kind.from_pretrained(source, **options)
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"base: {source} cannot be loaded as a {described['class']}: {reason}") from error
    return base.eval()
