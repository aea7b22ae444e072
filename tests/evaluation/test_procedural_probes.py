"""Probes of procedural faces: exact labels, figures that add up, and features that know more than others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.evaluation import probe, procedural_probes
from gptface.evaluation.encoders import FaceEncoder
from gptface.evaluation.metrics import class_counts, mean_f1
from gptface.evaluation.procedural_probes import (
    PatchPixels,
    ProceduralSet,
    draw_procedural_set,
    measure_on_procedural_faces,
    probe_lines,
    probe_procedural_faces,
)
from gptface.faces.attributes import LABELLED_ATTRIBUTES
from gptface.faces.regions import REGIONS
from tests.helpers.tiny_encoder import TinyEncoder


class Nothing:
    """Features that do not depend on the picture."""

    image_size, grid, width = 32, (8, 8), 5

    def forward_features(self, images: Tensor) -> Tensor:
        return torch.randn(len(images), 64, 5, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def sets() -> tuple[ProceduralSet, ProceduralSet]:
    encoder = TinyEncoder(image_size=32)
    return draw_procedural_set(80, encoder), draw_procedural_set(40, encoder, start=5000)


@pytest.fixture(scope="module")
def rows(sets: tuple[ProceduralSet, ProceduralSet]) -> dict[tuple[str, str], dict[str, Any]]:
    encoders: dict[str, FaceEncoder] = {"pixels": PatchPixels(TinyEncoder(image_size=32)), "nothing": Nothing()}
    with pytest.MonkeyPatch.context() as patch:  # the first five attributes and few penalties take a tenth of the time
        patch.setattr(procedural_probes, "LABELLED_ATTRIBUTES", LABELLED_ATTRIBUTES[:5])
        patch.setattr(probe, "PENALTIES", (1e-2, 1e-3))
        return {(row["name"], row["task"]): row for row in probe_procedural_faces(*sets, encoders)}


def test_labels_are_those_of_the_generator(sets: tuple[ProceduralSet, ProceduralSet]) -> None:
    train, test = sets
    assert train.images.shape == (80, 3, 32, 32) and train.regions.shape == (80, 64) and len(test) == 40
    assert np.isnan(train.attributes).any() and set(np.unique(train.regions).tolist()) <= set(range(len(REGIONS)))
    again = draw_procedural_set(3, TinyEncoder(image_size=32), start=5000)
    assert (again.images == test.images[:3]).all() and (again.expressions == test.expressions[:3]).all()


def test_pixels_tell_regions_and_attributes_where_noise_tells_none(
    rows: dict[tuple[str, str], dict[str, Any]],
) -> None:
    assert len(rows) == 6
    assert rows["pixels", "regions"]["score"] > rows["nothing", "regions"]["score"] + 0.1
    assert rows["pixels", "attributes"]["balanced"] > rows["nothing", "attributes"]["balanced"]
    for row in rows.values():
        low, high = row["interval"]
        assert low <= row["score"] <= high and row["n"] == 40


def test_the_mean_is_that_of_what_is_listed(rows: dict[tuple[str, str], dict[str, Any]]) -> None:
    for name in ("pixels", "nothing"):
        assert rows[name, "regions"]["score"] == pytest.approx(np.mean(list(rows[name, "regions"]["each"].values())))
        each = rows[name, "attributes"]["each"].values()
        assert rows[name, "attributes"]["score"] == pytest.approx(np.mean([own["accuracy"] for own in each]))


def test_patch_pixels_are_the_patches() -> None:
    encoder = PatchPixels(TinyEncoder(image_size=16))
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(encoder.forward_features(images)[1, 5], images[1, :, 4:8, 4:8].flatten())
    assert encoder.width == 48 and encoder.grid == (4, 4)


def test_mean_f1_by_hand() -> None:
    counts = class_counts(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1]), 4)
    assert counts.tolist() == [[1, 1, 0, 0], [1, 0, 1, 0], [0, 2, 0, 0]]
    # 2/3 of class 0, 2/4 of class 1, nothing of class 2; class 3 takes no part.
    assert mean_f1(counts) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert mean_f1(np.stack([counts, counts])).shape == (2,)
    assert mean_f1(np.zeros((3, 4))) == 0


def test_lines_and_too_few_faces() -> None:
    row = {"name": "encoder", "task": "regions", "measure": "mean F1", "score": 0.5, "interval": [0.4, 0.6], "n": 9}
    assert probe_lines([row]) == ["encoder, regions mean F1 0.500 [0.400, 0.600] n 9"]
    with pytest.raises(InputError, match="faces: 5 to fit on and 500 to measure on; at least 50 and 10"):
        measure_on_procedural_faces(TinyEncoder(), TinyEncoder(), faces=5)
