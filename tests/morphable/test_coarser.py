"""A model with fewer vertices is the same model where it is kept, looks like it, and keeps lips apart."""

from __future__ import annotations

import pytest
import torch

from gptface.errors import InputError
from gptface.morphable import FaceParameters, MorphableModel, draw, load_morphable_model, project_landmarks
from gptface.morphable.coarser import coarser

MODEL = load_morphable_model("synthetic", smooth_modes=0)


def _face() -> FaceParameters:
    face, generator = FaceParameters.neutral(MODEL, 2), torch.Generator().manual_seed(0)
    identity = torch.randn(face.identity.shape, generator=generator)
    return face.replace(identity=identity, expression=MODEL.weights("expression", {"jawOpen": 0.7}).repeat(2, 1))


def test_it_has_fewer_vertices_and_the_same_landmarks_and_looks() -> None:
    face = _face()
    before, size = draw(MODEL, face, 48, 48), MODEL.vertex_count
    for spacing in (0.4, 0.8):
        small = coarser(MODEL, spacing)
        assert small.vertex_count < size
        size = small.vertex_count
        wanted = project_landmarks(MODEL, face, 48, 48)
        torch.testing.assert_close(project_landmarks(small, face, 48, 48), wanted, atol=1e-3, rtol=0)
        rendering = draw(small, face, 48, 48)
        assert float((rendering.mask - before.mask).abs().mean()) < 0.03
        both = (rendering.mask * before.mask)[..., None]
        assert float(((rendering.image - before.image).abs() * both).sum() / (3 * both.sum())) < 0.06


def test_what_is_kept_is_as_it_was() -> None:
    small = coarser(MODEL, 0.8)

    def rows(model: MorphableModel) -> set[tuple[float, ...]]:
        shown = torch.cat((model.mean, model.albedo_mean, model.expression_basis[:12].transpose(0, 1).flatten(1)), 1)
        return {tuple(row) for row in shown.tolist()}

    assert rows(small) <= rows(MODEL)
    assert small.expression_names == MODEL.expression_names and torch.equal(small.centre, MODEL.centre)
    assert small.triangles.unique().numel() <= small.vertex_count
    assert set(small.regions) == set(MODEL.regions) and set(small.points) == set(MODEL.points)


def test_lips_that_touch_are_not_sewn_together() -> None:
    """Two sheets that lie on one another, with vertices of their own."""
    rows, columns = 12, 15
    y, x = torch.meshgrid(torch.arange(rows) * 0.2, torch.arange(columns) * 0.2, indexing="ij")
    sheet = torch.stack((x, y, torch.zeros_like(x)), -1).flatten(0, 1)
    corner = (torch.arange(rows - 1)[:, None] * columns + torch.arange(columns - 1)).flatten()
    square = torch.stack((corner, corner + 1, corner + columns, corner + columns, corner + 1, corner + columns + 1), 1)
    triangles = square.view(-1, 3)
    model = MorphableModel(
        torch.cat((sheet, sheet)),
        torch.cat((triangles, triangles + len(sheet))),
        expression_basis=torch.cat((torch.zeros_like(sheet), torch.ones_like(sheet)))[None],  # which sheet
    )
    small = coarser(model, 0.45)
    upper = small.expression_basis[0, :, 0][small.triangles.long()]
    assert 20 < len(small.triangles) < len(model.triangles) / 3
    assert bool(((upper == 0).all(1) | (upper == 1).all(1)).all())
    assert bool((upper == 0).any()) and bool((upper == 1).any())


def test_no_spacing_is_the_model_itself_and_a_wrong_one_is_refused() -> None:
    assert coarser(MODEL, 0) is MODEL
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="spacing"):
            coarser(MODEL, wrong)
