"""The linear probe: finds what is there, finds nothing where nothing is, and never looks at the test rows."""

from __future__ import annotations

import numpy as np
import pytest

from gptface.data.sample import Sample
from gptface.errors import InputError
from gptface.evaluation.face_set import FaceSet
from gptface.evaluation.probe import linear_probe, probe_faces


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


def faces_of(labels: np.ndarray, **more: list[str]) -> FaceSet:
    """Noise whose red channel tells the label, and its metadata."""
    images = np.random.default_rng(len(labels)).integers(0, 100, (len(labels), 4, 4, 3), dtype=np.uint8)
    images[..., 0] += (50 * labels).astype(np.uint8)[:, None, None]
    names = ["low", "middle", "high"]
    samples = [
        Sample(
            sample_id=row,
            image=image,
            caption="",
            metadata={"tone": names[labels[row]]} | {k: v[row] for k, v in more.items()},
        )
        for row, image in enumerate(images)
    ]
    return FaceSet(images, [""] * len(labels), samples, {})


def test_representations_are_compared_and_the_training_faces_choose_among_candidates() -> None:
    generator = np.random.default_rng(0)
    train, test = faces_of(generator.integers(0, 3, 200)), faces_of(generator.integers(0, 3, 90))
    seen: list[int] = []

    def colours(images: np.ndarray) -> dict[str, np.ndarray]:
        seen.append(len(images))
        return {"blue": images[..., 2].mean((1, 2))[:, None], "red": images[..., 0].mean((1, 2))[:, None]}

    found = probe_faces(
        train,
        test,
        {"colours": colours, "blue": lambda images: {"blue": images[..., 2].reshape(len(images), -1)}},
        field="tone",
    )
    assert found["colours"].accuracy > 0.9 and found["blue"].balanced < 0.5
    assert seen == [200, 90]


def test_labels_that_are_missing_or_were_never_seen_are_named_before_anything_is_computed() -> None:
    train, test = faces_of(np.arange(20) % 2), faces_of(np.arange(20) % 3)

    def never(images: np.ndarray) -> dict[str, np.ndarray]:
        raise AssertionError("computed")

    with pytest.raises(InputError, match=r"labels \['high'\] of field 'tone' occur among the test faces but not in"):
        probe_faces(train, test, {"x": never}, field="tone")
    with pytest.raises(
        InputError, match=r"20 training faces have no metadata field 'age'; the first one has \['tone'\]"
    ):
        probe_faces(train, test, {"x": never}, field="age")
    with pytest.raises(InputError, match="20 training faces have no metadata field 'person'"):
        probe_faces(train, train, {"x": never}, field="tone", group_field="person")
