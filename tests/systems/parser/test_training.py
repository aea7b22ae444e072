"""The parser's stage: what nobody can see is neither taught nor counted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from gptface.data.batches import Faces, Needs
from gptface.data.cache import FaceCache
from gptface.faces.regions import REGIONS
from gptface.models.parser import FaceParserOutput
from gptface.objectives import parsing_losses
from gptface.systems.parser.training import ParserStage, labelled

NAN = float("nan")


class Oracle(nn.Module):
    """Says "yes" of every attribute, "second" of every expression and "background" of every pixel."""

    def forward(self, images: torch.Tensor) -> FaceParserOutput:
        batch, side = len(images), images.shape[-1]
        regions = torch.zeros(batch, len(REGIONS), side, side)
        regions[:, 0] = 1
        return FaceParserOutput(regions, torch.ones(batch, 3), torch.tensor([0.0, 1.0]).expand(batch, 2))


def stage(attributes: list[list[float]], expressions: list[int]) -> ParserStage:
    """A stage with these held-out labels, and an oracle for a parser."""
    made = object.__new__(ParserStage)
    count = len(attributes)
    made.device = torch.device("cpu")
    made.parser = Oracle()
    cache = FaceCache(
        Path(),
        np.zeros((count, 8, 8, 3), np.uint8),
        np.zeros((count, 8, 8), np.uint8),
        np.arange(count),
        np.array(attributes, np.float32),
        np.array(expressions, np.int64),
        np.full((count, 68, 2), NAN, np.float32),
        Counter(),
    )
    faces = object.__new__(Faces)
    faces.cache, faces.tokens, faces._samples = cache, None, None
    faces.device, faces.flip, faces._columns = made.device, False, {}
    made.held_out = faces.in_order(Needs(region_maps=True, labels=True), labelled, batch_size=2)
    return made


def test_validation_leaves_out_what_is_unknown() -> None:
    measured = stage([[1, NAN, 0], [NAN, NAN, NAN], [1, 1, NAN]], [1, -100, 0]).validate()
    assert measured["attribute_accuracy"] == pytest.approx(3 / 4)  # four are known, one of them is a "no"
    assert measured["expression_accuracy"] == pytest.approx(1 / 2)
    assert measured["region_pixel_accuracy"] == 1.0


def test_an_accuracy_of_which_nothing_is_known_is_left_out() -> None:
    measured = stage([[NAN, NAN, NAN]], [-100]).validate()
    assert set(measured) == {"region_pixel_accuracy", "region_mean_iou"}


def test_unknown_labels_have_no_loss_and_no_gradient() -> None:
    logits = torch.randn(2, 3, requires_grad=True)
    expression_logits = torch.randn(2, 4, requires_grad=True)
    attributes = torch.tensor([[1.0, -1.0, 0.0], [-1.0, -1.0, 1.0]])
    parts = parsing_losses(
        torch.zeros(2, 5, 4, 4), logits, expression_logits, torch.zeros(2, 4, 4, dtype=torch.long), attributes,
        torch.tensor([2, -100]), region=0.0,
    )  # fmt: skip
    parts["total"].backward()
    assert torch.equal(logits.grad == 0, attributes < 0)
    assert (expression_logits.grad[1] == 0).all() and (expression_logits.grad[0] != 0).all()
    known = attributes >= 0
    expected = nn.functional.binary_cross_entropy_with_logits(logits[known], attributes[known])
    assert torch.allclose(parts["attribute"], expected)
