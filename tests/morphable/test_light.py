"""Light: nine orthonormal harmonics, and the irradiance of known lamps."""

from __future__ import annotations

import math

import pytest
import torch

from gptface.errors import InputError
from gptface.morphable import ambient_light, directional_light, irradiance, spherical_harmonics


def sphere() -> tuple[torch.Tensor, torch.Tensor]:
    """Directions over the sphere with weights that integrate exactly what is a polynomial: Gauss–Legendre by steps."""
    import numpy as np

    height, weight = (torch.from_numpy(value) for value in np.polynomial.legendre.leggauss(12))
    turn = torch.arange(24, dtype=torch.float64) * (2 * math.pi / 24)
    radius = (1 - height**2).sqrt()
    directions = torch.stack(
        (radius[:, None] * turn.cos(), radius[:, None] * turn.sin(), height[:, None].expand(-1, 24)), -1
    )
    return directions.reshape(-1, 3), (weight[:, None].expand(-1, 24) * (2 * math.pi / 24)).reshape(-1)


def test_harmonics_are_orthonormal() -> None:
    directions, weight = sphere()
    harmonics = spherical_harmonics(directions)
    gram = (harmonics * weight[:, None]).T @ harmonics
    torch.testing.assert_close(gram, torch.eye(9, dtype=torch.float64), atol=1e-10, rtol=0)


def test_ambient_light_shows_the_albedo() -> None:
    normals = torch.nn.functional.normalize(torch.randn(2, 7, 3), dim=-1)
    torch.testing.assert_close(irradiance(normals, ambient_light(1.0, 2)), torch.ones(2, 7, 3))


def test_irradiance_is_the_integral_over_the_lit_hemisphere() -> None:
    # Radiance of degree two at most is described exactly by nine coefficients, so the definition can be integrated.
    generator = torch.Generator().manual_seed(1)
    light = torch.randn(1, 9, 3, generator=generator, dtype=torch.float64)
    normal = torch.nn.functional.normalize(torch.randn(1, 4, 3, generator=generator, dtype=torch.float64), dim=-1)
    fine = torch.nn.functional.normalize(torch.randn(400_000, 3, generator=generator, dtype=torch.float64), dim=-1)
    radiance = spherical_harmonics(fine) @ light[0]
    cosine = (fine @ normal[0].T).clamp_min(0)
    integral = cosine.T @ radiance * (4 * math.pi / len(fine)) / math.pi
    torch.testing.assert_close(irradiance(normal, light)[0], integral, atol=0.02, rtol=0.02)


def test_lamp_lights_what_faces_it_and_hardly_what_turns_away() -> None:
    lamp = directional_light(torch.tensor([[0.0, 0.0, 2.0]]), torch.ones(1, 1))
    towards, away = irradiance(torch.tensor([[[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]]), lamp)[0, :, 0].tolist()
    assert towards == pytest.approx(1.0625) and abs(away) < 0.1


def test_other_shapes_are_refused() -> None:
    with pytest.raises(InputError, match=r"\(batch, 9, 3\)"):
        irradiance(torch.zeros(1, 2, 3), torch.zeros(1, 27))
