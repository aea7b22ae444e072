"""The linear probe: finds what is there, finds nothing where nothing is, and never looks at the test rows."""

from __future__ import annotations

import numpy as np
import pytest

from gptface.errors import InputError
from gptface.evaluation.probe import linear_probe


def _data(signal: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, 600)
    features = generator.normal(size=(600, 12))
    features[np.arange(600), labels] += signal
    return features, labels


def test_probe_reads_a_linear_label() -> None:
    features, labels = _data(4.0)
    result = linear_probe(features[:400], labels[:400], features[400:], labels[400:])
    assert result.accuracy > 0.9 and result.balanced > 0.9
    assert result.majority < 0.5


def test_probe_on_noise_stays_at_chance() -> None:
    features, labels = _data(0.0)
    result = linear_probe(features[:400], labels[:400], features[400:], labels[400:])
    assert result.balanced < 0.45


def test_probe_ignores_the_scale_of_a_feature() -> None:
    features, labels = _data(3.0)
    scaled = features * np.logspace(-3, 3, 12) + 100
    plain = linear_probe(features[:400], labels[:400], features[400:], labels[400:])
    assert linear_probe(scaled[:400], labels[:400], scaled[400:], labels[400:]).accuracy == pytest.approx(
        plain.accuracy, abs=0.02
    )


def test_probe_refuses_lengths_that_differ() -> None:
    features, labels = _data(1.0)
    with pytest.raises(InputError, match="differ in length"):
        linear_probe(features[:400], labels[:399], features[400:], labels[400:])
