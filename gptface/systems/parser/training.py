"""Training the face parser on the labels of procedural faces; with another seed, the judge of the evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from gptface.data.batches import FaceBatch, Faces, InOrder, Needs, held_out_faces
from gptface.data.cache import FaceCache
from gptface.errors import InputError
from gptface.faces.attributes import LABELLED_ATTRIBUTES
from gptface.faces.expressions import LABELLED_EXPRESSIONS
from gptface.faces.regions import REGIONS
from gptface.files import atomic_directory
from gptface.models import FaceParser, FaceParserConfig
from gptface.objectives import parsing_losses
from gptface.systems.parser.configuration import Configuration, ParserSection
from gptface.training.declaration import StageContext
from gptface.training.hardware import forward_flops
from gptface.training.optimization import kernels
from gptface.training.stage import Losses, Moment, Phase, Stage

__all__ = ["LabelledFaces", "ParserObjective", "ParserStage", "perturbed"]


@dataclass
class LabelledFaces:
    """A batch.

    Attributes:
        images: float32 (B, 3, S, S) in [−1, 1].
        regions: int64 (B, S, S) labels.
        attributes: float32 (B, A), 0 or 1, −1 where unknown or hidden.
        expressions: int64 (B,), −100 where unknown.
    """

    images: Tensor
    regions: Tensor
    attributes: Tensor
    expressions: Tensor


def labelled(faces: FaceBatch) -> LabelledFaces:
    """The parser's batch."""
    assert faces.images is not None and faces.region_maps is not None
    assert faces.attributes is not None and faces.expressions is not None
    attributes = faces.attributes.nan_to_num(-1.0)
    return LabelledFaces(faces.images, faces.region_maps.long(), attributes, faces.expressions)


def perturbed(images: Tensor) -> Tensor:
    """Blur, light, contrast, loss of colour and noise, each at random: what photos and decoded codes differ by.

    ``images`` (B, 3, H, W) in [−1, 1]; drawn from torch's generator on their device.
    """
    batch = len(images)

    def strength(low: float, high: float, share: float, otherwise: float) -> Tensor:
        drawn = torch.empty(batch, 1, 1, 1, device=images.device).uniform_(low, high)
        return torch.where(torch.rand(batch, 1, 1, 1, device=images.device) < share, drawn, otherwise)

    blurred = functional.interpolate(functional.avg_pool2d(images, 2), scale_factor=2.0, mode="bilinear")
    if blurred.shape == images.shape:
        images = torch.lerp(images, blurred, strength(0.2, 1.0, 0.5, 0.0))
    grey = images.mean(1, keepdim=True)
    images = torch.lerp(images, grey.expand_as(images), strength(0.5, 1.0, 0.2, 0.0))
    mean = images.mean((1, 2, 3), keepdim=True)
    images = (images - mean) * strength(0.7, 1.3, 0.5, 1.0) + mean + strength(-0.25, 0.25, 0.5, 0.0)
    return (images + torch.randn_like(images) * strength(0.0, 0.12, 0.3, 0.0)).clamp(-1, 1)


class ParserObjective(nn.Module):
    """``forward(faces, moment) -> (loss, parts)``."""

    region_weights: Tensor

    def __init__(self, parser: FaceParser, section: ParserSection, region_weights: Tensor) -> None:
        super().__init__()
        self.parser = parser
        self.section = section
        self.register_buffer("region_weights", region_weights)

    def forward(self, faces: LabelledFaces, moment: Moment) -> Losses:
        images = perturbed(faces.images) if self.section.augment and self.training else faces.images
        out = self.parser(images)
        parts = parsing_losses(
            out.region_logits,
            out.attribute_logits,
            out.expression_logits,
            faces.regions,
            faces.attributes,
            faces.expressions,
            region=self.section.region_weight,
            region_weights=self.region_weights,
        )
        return parts.pop("total"), parts


class ParserStage(Stage):
    """The face parser, or with another ``parser.seed`` the judge; the result is ``parser/`` in the run's folder."""

    name = "parser"
    result = "parser"

    def __init__(self, context: StageContext) -> None:
        configuration: Configuration = context.configuration
        output, accelerator, verbose = context.output, context.accelerator, context.verbose
        self.section = section = configuration.parser
        self.device = accelerator.device
        data = configuration.data
        faces = Faces(data, "train", output, accelerator, verbose=verbose)
        assert faces.cache is not None  # the configuration sees to it
        self.parser = FaceParser(parser_config(configuration))
        self.parser.train()
        self.objective = ParserObjective(self.parser, section, _region_weights(faces.cache))
        hidden = kernels(self.parser.down, self.parser.reduce, self.parser.enlarge, self.parser.up)
        self.phases = [Phase("parser", self.objective, matrices=hidden)]
        needs = Needs(region_maps=True, labels=True)
        self.batches = faces.batches(needs, labelled, batch_size=section.batch_size, seed=section.seed)
        self.held_out: InOrder[LabelledFaces] | None = None
        held_out = held_out_faces(data, output, accelerator, verbose=verbose)
        if held_out is not None:
            self.held_out = held_out.in_order(needs, labelled, batch_size=section.batch_size)
        blank = torch.zeros(1, 3, data.image_size, data.image_size)
        # A backward pass costs twice a forward pass.
        self.flops_per_sample = 3 * forward_flops(lambda: self.parser(blank))

    def compilable(self) -> list[nn.Module]:
        return [self.parser]

    def save(self, output: Path) -> None:
        with atomic_directory(output / self.result) as temporary:
            self.parser.save_pretrained(temporary)

    def validate(self) -> dict[str, float]:
        """Pixel accuracy and mean intersection over union of the regions, accuracy of attributes and expressions.

        What is unknown of a face counts for nothing; an accuracy of which nothing is known is left out.
        """
        if self.held_out is None:
            return {}
        count = len(REGIONS)
        confusion = torch.zeros(count * count, dtype=torch.int64, device=self.device)
        right: dict[str, list[Tensor]] = {"attribute_accuracy": [], "expression_accuracy": []}
        for faces in self.held_out:
            out = self.parser(faces.images)
            found = out.region_logits.argmax(1)
            confusion += torch.bincount((faces.regions * count + found).flatten(), minlength=count * count)
            right["attribute_accuracy"].append(_right(out.attribute_logits > 0, faces.attributes))
            right["expression_accuracy"].append(_right(out.expression_logits.argmax(-1), faces.expressions))
        table = confusion.view(count, count).double()
        both, present = table.diag(), table.sum(1)
        overlap = both / (present + table.sum(0) - both).clamp_min(1)
        return {
            "region_pixel_accuracy": float(both.sum() / table.sum()),
            "region_mean_iou": float(overlap[present > 0].mean()),
            **{name: float(torch.cat(found).mean()) for name, found in right.items() if sum(map(len, found))},
        }


def _right(found: Tensor, labels: Tensor) -> Tensor:
    """float32 (K,): 1 where the prediction agrees with the label, for the K labels that are known (not negative)."""
    return (found == labels)[labels >= 0].float()


def parser_config(configuration: Configuration) -> FaceParserConfig:
    """The parser's model configuration: its names are those of the procedural faces."""
    fixed = {"image_size", "region_names", "attribute_names", "expression_names"}
    for name in configuration.parser.model:
        if name in fixed:
            raise InputError(f"parser.model.{name}: follows from the data")
    names = {"region_names": REGIONS, "attribute_names": LABELLED_ATTRIBUTES, "expression_names": LABELLED_EXPRESSIONS}
    try:
        overrides = {"image_size": configuration.data.image_size, **names, **configuration.parser.model}
        return FaceParserConfig.preset({}, overrides)
    except InputError as error:
        raise InputError(f"parser.model: {error}") from error


def _region_weights(cache: FaceCache) -> Tensor:
    """Against the rarity of small regions: one over the square root of each region's share, with mean 1 over pixels."""
    assert cache.region_maps is not None
    counts = torch.bincount(torch.from_numpy(cache.region_maps[:256]).flatten().long(), minlength=len(REGIONS)).double()
    shares = (counts / counts.sum()).clamp_min(1e-3)
    weights = shares.rsqrt()
    return (weights / (weights * shares).sum()).float()
