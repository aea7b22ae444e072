"""PaCo-FR's objective: masks are drawn, the model predicts, and its losses are weighed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gptface.faces.token_regions import TOKEN_REGIONS
from gptface.models.packing import rearrange_rows
from gptface.objectives import (
    alignment_loss,
    code_activations,
    component_count,
    component_loss,
    component_means,
    incubation_loss,
    patch_loss,
    relation_count,
    relation_loss,
)
from gptface.systems.pacofr.configuration import PaCoFRSection
from gptface.systems.pacofr.leak import linear_leak
from gptface.systems.pacofr.masking import PatchMask, draw_mask
from gptface.systems.pacofr.model import PaCoFR, PaCoFROutput
from gptface.training.stage import Losses, Moment

__all__ = ["COMPONENTS", "MaskedFaces", "PaCoFRObjective"]

COMPONENTS = ("brows", "eyes", "nose", "mouth")
"""Regions whose patches the relation loss compares, and whose features the component loss."""

# Of the cosines between components; a tenth is the middle of what contrastive learning of pictures takes.
TEMPERATURE = 0.1

# Patches of a pass that the incubation loss looks at: it holds their logits over all codes, and so many are plenty.
INCUBATED = 4096

# Of the masks: separates them from other draws of the same seed.
MASK_SEED = 0x9E3779B97F4A7C15


@dataclass
class MaskedFaces:
    """A batch; B is the number of faces, or twice as many where each has two views, all first ones first.

    Attributes:
        images: float32 (B, C, S, S) in [−1, 1], views of the faces.
        sample_ids: int64 (B,), another one for a second view.
        regions: int64 (B, N), indices into ``TOKEN_REGIONS``; ``None`` where neither masks nor losses need them.
    """

    images: Tensor
    sample_ids: Tensor
    regions: Tensor | None


class PaCoFRObjective(nn.Module):
    """``forward(faces, moment) -> (loss, parts)``.

    Args:
        model: to be trained.
        section: losses, masks and seed.
        faces: number of training faces, an epoch.
        passed: faces a forward pass of all processes together.
    """

    components: Tensor

    def __init__(self, model: PaCoFR, section: PaCoFRSection, faces: int, passed: int) -> None:
        super().__init__()
        self.model = model
        self.section = section
        self.faces = faces
        self.passed = passed
        places = [COMPONENTS.index(name) if name in COMPONENTS else -1 for name in TOKEN_REGIONS]
        self.register_buffer("components", torch.tensor(places), persistent=False)

    def mask(self, faces: MaskedFaces, moment: Moment) -> PatchMask:
        """The masks of a pass: drawn once, whoever asks first."""
        if "mask" not in moment.handover:
            regions = faces.regions if self.section.masks.regions else None
            grid, ratio = self.model.config.grid, self.section.masks.ratio
            seed = (self.section.seed + MASK_SEED) % 2**63
            step = moment.micro_step % 2**32
            moment.handover["mask"] = draw_mask(regions, faces.sample_ids, grid, ratio, seed=seed, step=step)
        return moment.handover["mask"]

    def incubation(self, moment: Moment) -> float:
        """Weight of the incubation loss at a moment: full, fading, gone."""
        weight, length = self.section.losses.incubation, self.section.incubation_epochs
        if weight == 0 or length == 0 or self.model.config.codes != "belief":
            return 0.0
        epochs = moment.micro_step * self.passed / self.faces
        return weight * min(1.0, max(0.0, 2.0 - epochs / length))

    def counts(self, faces: MaskedFaces, moment: Moment) -> Tensor:
        """float32 (3,): masked patches, pairs of components' patches, and components seen in both views."""
        mask = self.mask(faces, moment)
        numbers = [mask.masked.sum().float(), torch.zeros_like(mask.masked.sum()).float()]
        numbers.append(numbers[1])
        if self.section.losses.relation:
            numbers[1] = relation_count(self._labels(faces) >= 0, mask.masked)
        if self.section.losses.components:
            _, seen = self._component_means(faces, mask, None)
            numbers[2] = component_count(seen)
        return torch.stack(numbers)

    def forward(self, faces: MaskedFaces, moment: Moment) -> Losses:
        mask = self.mask(faces, moment)
        out: PaCoFROutput = self.model(faces.images, mask)
        assert out.predicted is not None and out.targets is not None
        masked, pairs, both = (None, None, None) if moment.counts is None else moment.counts.unbind()
        parts = {"pixels": patch_loss(out.predicted, out.targets, masked)}
        total = parts["pixels"]
        if self.section.losses.relation:
            assert out.truth is not None
            predicted = rearrange_rows(out.predicted, mask.masked_places, mask.masked_rows).view_as(out.truth)
            parts["relation"] = relation_loss(predicted, out.truth, self._labels(faces) >= 0, mask.masked, pairs)
            total = total + self.section.losses.relation * parts["relation"]
        if self.section.losses.alignment and self.model.belief is not None:
            assert self.model.activations is not None and out.features is not None
            belief, rows = self.model.belief, mask.visible_rows.clamp_min(0)
            with torch.no_grad():
                pictures = self.model.encoder.colours(faces.images)
                codes = belief.codebook.codebook
                near = code_activations(pictures, self.model.config.patch_size, belief.projection, codes)
            parts["alignment"] = alignment_loss(self.model.activations(out.features), near.flatten(0, 1)[rows])
            total = total + self.section.losses.alignment * parts["alignment"]
        if self.section.losses.components and self.training:
            means, seen = self._component_means(faces, mask, out.features)
            summaries = self.model.summary(means)
            loss, accuracy = component_loss(summaries, seen, TEMPERATURE, both)
            parts["components"], parts["component_accuracy"] = loss, accuracy
            total = total + self.section.losses.components * loss
        if out.beliefs is not None:
            weight = self.incubation(moment)
            if weight:
                parts["incubation"] = self._incubation(out)
                total = total + weight * parts["incubation"]
            weights = out.beliefs.weights.detach()
            parts["code_usage"] = out.beliefs.usage
            parts["code_perplexity"] = out.beliefs.perplexity
            parts["belief_entropy"] = torch.special.entr(weights).sum(-1).mean()
        if out.tokens is not None:
            parts["leak"] = linear_leak(out.tokens.detach(), out.targets)
        return total, parts

    def _labels(self, faces: MaskedFaces) -> Tensor:
        """int64 (B, N): which component each patch lies in; −1 for none."""
        assert faces.regions is not None
        return self.components[faces.regions]

    def _component_means(self, faces: MaskedFaces, mask: PatchMask, features: Tensor | None) -> tuple[Tensor, Tensor]:
        """``component_means`` of the visible patches; without features, of nothing, to see which are seen."""
        labels = self._labels(faces)
        rows = mask.visible_rows.clamp_min(0)
        visible = torch.where(mask.visible_rows >= 0, labels.flatten()[rows], -1)
        if features is None:
            features = torch.zeros(len(rows), 1, device=rows.device)
        batch, patches = labels.shape
        return component_means(features, visible, rows // patches, batch, len(COMPONENTS))

    def _incubation(self, out: PaCoFROutput) -> Tensor:
        assert out.beliefs is not None and out.targets is not None and self.model.belief is not None
        stride = max(1, math.ceil(len(out.targets) / INCUBATED))
        belief = self.model.belief
        queries, targets = out.beliefs.queries[::stride], belief.targets(out.targets[::stride])
        return incubation_loss(queries, targets, belief.codebook.codebook, belief.temperature)
