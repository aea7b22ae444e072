"""Labels of faces from their metadata: what a parser is taught, and what it must not be taught.

An attribute behind an occluder is true or false all the same, but nobody can see it: to teach it would be to teach
guessing. Metadata name such attributes under ``hidden_attributes``; their labels are unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gptface.data.sample import Sample
from gptface.faces.attributes import LABELLED_ATTRIBUTES
from gptface.faces.expressions import LABELLED_EXPRESSIONS

__all__ = ["UNKNOWN", "attribute_labels", "expression_label", "known_labels"]

UNKNOWN = -100  # an expression nobody noted; what torch's cross-entropy leaves out


def attribute_labels(metadata: Mapping[str, Any]) -> np.ndarray:
    """float32 (A,), 0 or 1, in the order of ``LABELLED_ATTRIBUTES``; NaN where unknown or hidden.

    Args:
        metadata: of a sample: ``attributes`` are a name's 0 or 1, ``hidden_attributes`` names.
    """
    known = metadata.get("attributes")
    known = known if isinstance(known, Mapping) else {}
    hidden = metadata.get("hidden_attributes") or ()
    values = [np.nan if name in hidden else known.get(name, np.nan) for name in LABELLED_ATTRIBUTES]
    return np.array(values, dtype=np.float32)


def expression_label(metadata: Mapping[str, Any]) -> int:
    """Index into ``LABELLED_EXPRESSIONS`` of a sample's ``expression``; ``UNKNOWN`` for none and for others."""
    name = metadata.get("expression")
    return LABELLED_EXPRESSIONS.index(name) if name in LABELLED_EXPRESSIONS else UNKNOWN


def known_labels(samples: Sequence[Sample]) -> tuple[np.ndarray, np.ndarray]:
    """Attributes float32 (n, A) and expressions int64 (n,) of samples."""
    attributes = np.array([attribute_labels(sample.metadata) for sample in samples], dtype=np.float32)
    expressions = np.array([expression_label(sample.metadata) for sample in samples], dtype=np.int64)
    return attributes.reshape(-1, len(LABELLED_ATTRIBUTES)), expressions
