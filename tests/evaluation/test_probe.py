"""The linear probe: finds what is there, finds nothing where nothing is, and never looks at the test rows."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from gptface.errors import InputError
from gptface.evaluation.probe import linear_probe, probe_candidates


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


def test_the_training_rows_choose_among_candidates() -> None:
    features, labels = _data(3.0)
    noise = np.random.default_rng(5).normal(size=(600, 40))
    train, test = ({"noise": noise[part], "signal": features[part]} for part in (slice(400), slice(400, None)))
    result = probe_candidates(train, labels[:400], test, labels[400:])
    assert result.candidate == "signal" and result.accuracy > 0.8
    assert result.accuracy == linear_probe(features[:400], labels[:400], features[400:], labels[400:]).accuracy


def test_the_test_rows_take_no_part_in_any_choice() -> None:
    features, labels = _data(1.0)
    noise = np.random.default_rng(5).normal(size=(600, 40))
    train = {"noise": noise[:400], "signal": features[:400]}
    first = probe_candidates(train, labels[:400], {"noise": noise[400:], "signal": features[400:]}, labels[400:])
    other = probe_candidates(train, labels[:400], {"noise": noise[:50], "signal": -features[:50]}, labels[:50][::-1])
    assert (first.candidate, first.penalty, first.selection) == (other.candidate, other.penalty, other.selection)


def test_a_feature_that_never_varies_in_training_cannot_upset_the_test() -> None:
    features, labels = _data(4.0)
    frozen = np.concatenate([features, np.full((600, 1), 3.0)], axis=1)
    frozen[400:, -1] = 1e6
    plain = linear_probe(features[:400], labels[:400], features[400:], labels[400:])
    result = linear_probe(frozen[:400], labels[:400], frozen[400:], labels[400:])
    assert result.accuracy == pytest.approx(plain.accuracy, abs=0.02)


def test_uneven_classes_weigh_alike() -> None:
    generator = np.random.default_rng(1)
    labels = (generator.random(1200) < 0.06).astype(int)
    features = generator.normal(size=(1200, 6)) + 1.2 * labels[:, None] * np.eye(6)[0]
    result = linear_probe(features[:800], labels[:800], features[800:], labels[800:])
    assert result.balanced > 0.65 and result.accuracy < result.majority


def test_probe_without_scikit_learn_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = _data(1.0)
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(InputError, match=r'pip install "gptface\[probe\]"'):
        linear_probe(features[:400], labels[:400], features[400:], labels[400:])


def test_probe_of_too_few_rows_is_refused() -> None:
    features, labels = _data(1.0)
    with pytest.raises(InputError, match="9 training faces; at least 10"):
        linear_probe(features[:9], labels[:9], features[400:], labels[400:])
