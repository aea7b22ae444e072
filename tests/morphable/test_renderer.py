"""Camera and renderer: where points fall, how surfaces are lit, and gradients to every parameter."""

from __future__ import annotations

import pytest
import torch

from gptface.errors import InputError
from gptface.morphable import (
    FaceParameters,
    MorphableModel,
    PerspectiveCamera,
    WeakPerspectiveCamera,
    ambient_light,
    clip_to_pixels,
    directional_light,
    draw,
    linear_to_srgb,
    project_landmarks,
    render,
    srgb_to_linear,
    vertex_normals,
)
from tests.morphable.files import ball


@pytest.fixture(scope="module")
def sphere() -> MorphableModel:
    points, triangles = ball(9, 16)
    generator = torch.Generator().manual_seed(0)
    count = len(points)
    return MorphableModel(
        torch.tensor(points, dtype=torch.float32) * 8,
        torch.tensor(triangles),
        identity_basis=0.3 * torch.randn(2, count, 3, generator=generator),
        expression_basis=0.3 * torch.randn(2, count, 3, generator=generator),
        albedo_basis=0.1 * torch.randn(2, count, 3, generator=generator),
        landmarks=torch.tensor([0, 5, 9]),
    )


def test_perspective_shrinks_with_distance_and_weak_perspective_does_not() -> None:
    points = torch.tensor([[[5.0, 0.0, -50.0], [5.0, 0.0, -100.0], [0.0, 5.0, -50.0]]])
    near, far, up = clip_to_pixels(PerspectiveCamera(torch.tensor([4.0])).clip(points), 100, 100)[0]
    assert near.tolist() == pytest.approx([70.0, 50.0])
    assert far.tolist() == pytest.approx([60.0, 50.0])
    assert up.tolist() == pytest.approx([50.0, 30.0]), "y is up in space and down in pictures"
    near, far, up = clip_to_pixels(WeakPerspectiveCamera(torch.tensor([0.1])).clip(points), 100, 100)[0]
    assert near.tolist() == far.tolist() == pytest.approx([75.0, 50.0])


def test_wide_pictures_keep_proportions() -> None:
    points = torch.tensor([[[5.0, 5.0, -50.0]]])
    x, y = clip_to_pixels(PerspectiveCamera(torch.tensor([4.0])).clip(points, 2.0), 100, 200)[0, 0].tolist()
    assert (x - 100, 50 - y) == pytest.approx((20.0, 20.0))


def test_drawn_sphere_has_the_size_that_geometry_says(sphere: MorphableModel) -> None:
    camera = WeakPerspectiveCamera(torch.tensor([0.1]))
    drawn = render(sphere.mean[None], sphere.triangles, sphere.albedo(), ambient_light(), camera, 80, 80)
    radius = (drawn.mask.sum().item() / 3.14159) ** 0.5
    assert radius == pytest.approx(32.0, rel=0.04)
    assert drawn.mask[0, 0, 0] == 0 and drawn.mask[0, 40, 40] == 1


def test_ambient_light_draws_the_albedo_in_srgb(sphere: MorphableModel) -> None:
    camera = WeakPerspectiveCamera(torch.tensor([0.1]))
    grey = torch.full((1, sphere.vertex_count, 3), 0.214)
    drawn = render(sphere.mean[None], sphere.triangles, grey, ambient_light(), camera, 32, 32,
                   background=torch.full((32, 32, 3), 0.75))  # fmt: skip
    torch.testing.assert_close(drawn.image[0, 16, 16], torch.full((3,), 0.5), atol=2e-3, rtol=0)
    assert drawn.image[0, 0, 0].tolist() == [0.75] * 3


def test_display_values_come_back() -> None:
    values = torch.linspace(0, 1, 101)
    torch.testing.assert_close(linear_to_srgb(srgb_to_linear(values)), values, atol=1e-5, rtol=0)


def test_lamp_at_the_left_lights_the_left(sphere: MorphableModel) -> None:
    lamp = directional_light(torch.tensor([[-1.0, 0.0, 0.3]]), torch.ones(1, 1))
    drawn = render(
        sphere.mean[None], sphere.triangles, sphere.albedo(), lamp, WeakPerspectiveCamera(torch.tensor([0.1])), 40, 40
    )
    left, right = drawn.image[0, 20, 8], drawn.image[0, 20, 31]
    assert (left > right + 0.2).all()


def test_normals_of_a_sphere_point_outward() -> None:
    points, triangles = ball(9, 16)
    vertices = torch.tensor(points)[None]
    cosine = (vertex_normals(vertices, torch.tensor(triangles)) * vertices).sum(-1)
    assert cosine.min() > 0.97


def test_gradients_reach_every_parameter_and_agree_with_finite_differences(sphere: MorphableModel) -> None:
    parameters = FaceParameters.neutral(sphere)
    generator = torch.Generator().manual_seed(3)
    values = {
        name: (getattr(parameters, name) + 0.05 * torch.randn(getattr(parameters, name).shape, generator=generator))
        for name in FaceParameters.__dataclass_fields__
    }
    leaves = {name: value.clone().requires_grad_(True) for name, value in values.items()}
    drawn = draw(sphere, FaceParameters(**leaves), 24, 24)
    fixed = drawn.mask.detach()
    drawn.image.square().mean().backward()
    for name, leaf in leaves.items():
        assert leaf.grad is not None and torch.isfinite(leaf.grad).all() and leaf.grad.abs().max() > 0, name
    # Colours and light move no edges, so the difference quotient is the gradient.
    for name in ("albedo", "light"):
        step = torch.randn(values[name].shape, generator=generator)
        loss = []
        for sign in (1, -1):
            moved = {**values, name: values[name] + sign * 1e-3 * step}
            image = draw(sphere, FaceParameters(**moved), 24, 24)
            assert torch.equal(image.mask, fixed)
            loss.append(image.image.double().square().mean().item())
        expected = (loss[0] - loss[1]) / 2e-3
        found = (leaves[name].grad * step).sum().item()
        assert found == pytest.approx(expected, rel=0.03, abs=1e-5), name


def test_colours_and_expression_are_recovered_from_a_render(sphere: MorphableModel) -> None:
    truth = FaceParameters.neutral(sphere).replace(
        albedo=torch.tensor([[1.0, -1.0]]), expression=torch.tensor([[0.8, -0.5]])
    )
    with torch.no_grad():
        target = draw(sphere, truth, 32, 32).image
    start = FaceParameters.neutral(sphere)
    expression = start.expression.clone().requires_grad_(True)
    albedo = start.albedo.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([expression, albedo], lr=0.05)
    losses = []
    for _ in range(80):
        optimizer.zero_grad()
        image = draw(sphere, start.replace(expression=expression, albedo=albedo), 32, 32).image
        loss = (image - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0]
    torch.testing.assert_close(albedo.detach(), truth.albedo, atol=0.15, rtol=0)


def test_translation_is_recovered_through_the_outline_alone(sphere: MorphableModel) -> None:
    truth = FaceParameters.neutral(sphere)
    truth = truth.replace(translation=truth.translation + torch.tensor([[1.5, -1.0, 0.0]]))
    with torch.no_grad():
        target = draw(sphere, truth, 32, 32, smooth=True).mask
    start = FaceParameters.neutral(sphere)
    shift = torch.zeros(1, 3, requires_grad=True)
    optimizer = torch.optim.Adam([shift], lr=0.1)
    for _ in range(40):
        optimizer.zero_grad()
        moved = start.replace(translation=start.translation + shift * torch.tensor([1.0, 1.0, 0.0]))
        (draw(sphere, moved, 32, 32, smooth=True).mask - target).square().mean().backward()
        optimizer.step()
    torch.testing.assert_close(shift.detach()[:, :2], torch.tensor([[1.5, -1.0]]), atol=0.15, rtol=0)


def test_without_smoothing_a_pixel_shows_one_triangle(sphere: MorphableModel) -> None:
    parameters = FaceParameters.neutral(sphere)
    with torch.no_grad():
        hard = draw(sphere, parameters, 32, 32)
        soft = draw(sphere, parameters, 32, 32, smooth=True)
    assert set(hard.mask.unique().tolist()) == {0.0, 1.0}
    assert 0.0 < soft.mask[(soft.mask != 0) & (soft.mask != 1)].min() < 1.0
    torch.testing.assert_close(soft.mask.sum(), hard.mask.sum(), rtol=0.03, atol=0)


def test_landmarks_fall_where_the_head_is_drawn(sphere: MorphableModel) -> None:
    parameters = FaceParameters.neutral(sphere)
    front = project_landmarks(sphere, parameters, 64, 64)[0, 0]
    assert front.tolist() == pytest.approx([32.0, 32.0], abs=8)


def test_parameters_that_are_not_finite_are_named(sphere: MorphableModel) -> None:
    broken = FaceParameters.neutral(sphere).replace(light=torch.full((1, 9, 3), float("nan")))
    with pytest.raises(InputError, match="light"):
        broken.check()
    with pytest.raises(InputError, match="albedo has the shape"):
        camera = PerspectiveCamera(torch.ones(1))
        render(sphere.mean[None], sphere.triangles, torch.zeros(1, 2, 3), ambient_light(), camera, 8, 8)


def test_autocast_leaves_the_geometry_as_it_is(sphere: MorphableModel) -> None:
    parameters = FaceParameters.neutral(sphere).replace(identity=torch.tensor([[1.0, -0.7]]))
    plain = draw(sphere, parameters, 32, 32).image, project_landmarks(sphere, parameters, 32, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        image, points = draw(sphere, parameters, 32, 32).image, project_landmarks(sphere, parameters, 32, 32)
    assert torch.equal(image, plain[0]) and torch.equal(points, plain[1])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_parameters_of_another_dtype_are_taken(sphere: MorphableModel, dtype: torch.dtype) -> None:
    parameters = FaceParameters.neutral(sphere, 2)
    leaves = {name: getattr(parameters, name).to(dtype) for name in FaceParameters.__dataclass_fields__}
    leaves["rotation"] = leaves["rotation"].requires_grad_()
    drawn = draw(sphere, FaceParameters(**leaves), 24, 24)
    assert drawn.image.dtype == torch.float32
    drawn.image.sum().backward()
    assert leaves["rotation"].grad is not None and leaves["rotation"].grad.isfinite().all()


def test_one_light_and_one_pose_serve_several_heads(sphere: MorphableModel) -> None:
    one = FaceParameters.neutral(sphere)
    pair = one.replace(focal=torch.tensor([6.0, 8.0]))
    drawn = draw(sphere, pair, 24, 24).image
    for index, focal in enumerate((6.0, 8.0)):
        assert torch.equal(drawn[index], draw(sphere, one.replace(focal=torch.tensor([focal])), 24, 24).image[0])


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"focal": torch.tensor(6.0)}, r"focal has the shape \(\); it must be \(heads\)"),
        ({"translation": torch.zeros(1, 2)}, r"translation has the shape \(1, 2\); it must be \(heads, 3\)"),
        ({"light": torch.zeros(1, 4, 3)}, r"it must be \(heads, 9, 3\)"),
        ({"rotation": torch.zeros(2, 6), "albedo": torch.zeros(3, 2)}, "with 2 heads in the other fields"),
        ({"identity": torch.zeros(1, 3)}, "up to 2"),
        ({"identity": torch.zeros(2)}, r"it must be \(heads, modes\)"),
    ],
)
def test_parameters_that_do_not_fit_are_named(sphere: MorphableModel, changed: dict, sentence: str) -> None:
    broken = FaceParameters.neutral(sphere).replace(**changed)
    for drawing in (draw, project_landmarks):
        with pytest.raises(InputError, match=sentence):
            drawing(sphere, broken, 16, 16)


@pytest.mark.parametrize("background", [torch.zeros(3, 16, 16), torch.zeros(3), torch.zeros(16, 16, 3).byte()])
def test_backgrounds_of_another_kind_are_refused(sphere: MorphableModel, background: torch.Tensor) -> None:
    with pytest.raises(InputError, match="background is"):
        draw(sphere, FaceParameters.neutral(sphere), 16, 16, background=background)


def test_a_picture_without_rows_is_refused(sphere: MorphableModel) -> None:
    for drawing in (draw, project_landmarks):
        with pytest.raises(InputError, match="both sides must be at least 1"):
            drawing(sphere, FaceParameters.neutral(sphere), 0, 16)


def test_drawing_compiles_in_one_graph_for_every_size(sphere: MorphableModel) -> None:
    parameters = FaceParameters.neutral(sphere)

    def drawn(expression: torch.Tensor, height: int, width: int) -> torch.Tensor:
        return draw(sphere, parameters.replace(expression=expression), height, width).image

    compiled = torch.compile(drawn, fullgraph=True, dynamic=True, backend="aot_eager")
    for height, width in ((24, 32), (17, 40)):
        expression = torch.tensor([[0.5, -0.5]], requires_grad=True)
        image = compiled(expression, height, width)
        torch.testing.assert_close(image, drawn(expression, height, width))
        image.sum().backward()
        assert expression.grad is not None and expression.grad.abs().sum() > 0
