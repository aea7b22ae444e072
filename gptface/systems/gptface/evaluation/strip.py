"""The strip: one line of pictures that shows what a trained system does to a face it has never seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from gptface.data.procedural import FaceSpecification, render_face, sample_specification, wish_caption
from gptface.evaluation.pictures import SheetRow, draw_sheet, mask_overlay
from gptface.systems.gptface.generation import DecodingSettings, FaceGenerator
from gptface.systems.gptface.system import FaceSystem

__all__ = ["draw_strip"]


def _plain_face(seed: int, start: int) -> FaceSpecification:
    """The first face from ``start`` on whose hair shows and is dark, with nothing worn and a neutral look."""
    for index in range(start, start + 10_000):
        face = sample_specification(seed, index, occluder_probability=0.0)
        worn = face.hat or face.glasses or face.bald
        if not worn and face.hair_colour in ("black", "brown"):
            return replace(face, expression="neutral")
    raise RuntimeError(f"no plain face among 10,000 of seed {seed}")


def draw_strip(system: FaceSystem, settings: DecodingSettings, path: Path, *, seed: int, start: int) -> Path:
    """Edit, uncover, fill and generate; the first result of each, whatever became of it.

    Args:
        system: with a parser, which finds hair, eyes and what covers the face.
        settings: of the decoding.
        path: of the PNG.
        seed, start: of the procedural faces; the strip takes the first plain one from index ``start`` on.
    """
    generator = FaceGenerator(system, settings=settings, describe=wish_caption)
    size = generator.codec.image_size
    face = _plain_face(seed, start)
    photo = render_face(face, size).image
    covered = render_face(replace(face, occluder="medical_mask"), size)
    hole = np.zeros((size, size), dtype=bool)
    hole[round(0.35 * size) : round(0.6 * size), round(0.2 * size) : round(0.55 * size)] = True
    cells = [
        ("a face", photo),
        ("blond hair", generator.edit(photo, attributes="Blond_Hair", best_of=1).images[0]),
        ("a hat", generator.edit(photo, attributes="Wearing_Hat", best_of=1).images[0]),
        ("glasses", generator.edit(photo, attributes="Eyeglasses", best_of=1).images[0]),
        ("surprise", generator.edit(photo, expressions="surprise", best_of=1).images[0]),
        ("covered", covered.image),
        ("uncovered", generator.unmask(covered.image, covered.occluder_mask).images[0]),
        ("a hole", mask_overlay(photo, hole)),
        ("filled", generator.inpaint(photo, hole).images[0]),
        ("from words", generator.generate("a smiling young woman with long blond hair").images[0]),
    ]
    return draw_sheet(path, [SheetRow([image for _, image in cells])], [name for name, _ in cells], cell=2 * size)
