"""PaCo-FR's objective: masks are drawn, the model predicts, and its losses are weighed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gptface.faces.token_regions import TOKEN_REGIONS
from gptface.models.packing import rearrange_rows
from gptface.objectives import incubation_loss, patch_loss, relation_count, relation_loss
from gptface.systems.pacofr.configuration import PaCoFRSection
from gptface.systems.pacofr.leak import linear_leak
from gptface.systems.pacofr.masking import PatchMask, draw_mask
from gptface.systems.pacofr.model import PaCoFR, PaCoFROutput
from gptface.training.stage import Losses, Moment

__all__ = ["COMPONENTS", "MaskedFaces", "PaCoFRObjective"]

COMPONENTS = ("brows", "eyes", "nose", "mouth")
"""Regions whose patches the relation loss compares."""

# Patches of a pass that the incubation loss looks at: it holds their logits over all codes, and so many are plenty.
INCUBATED = 4096

# Of the masks: separates them from other draws of the same seed.
MASK_SEED = 0x9E3779B97F4A7C15


@dataclass
class MaskedFaces:
    """A batch.

    Attributes:
        images: float32 (B, C, S, S) in [−1, 1], views of the faces.
        sample_ids: int64 (B,).
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
        inside = torch.tensor([name in COMPONENTS for name in TOKEN_REGIONS])
        self.register_buffer("components", inside, persistent=False)

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
        """float32 (2,): masked patches, and pairs of components' patches."""
        mask = self.mask(faces, moment)
        pairs = mask.cu_visible.new_zeros(()).float()
        if self.section.losses.relation:
            pairs = relation_count(self._inside(faces), mask.masked)
        return torch.stack([mask.masked.sum().float(), pairs])

    def forward(self, faces: MaskedFaces, moment: Moment) -> Losses:
        mask = self.mask(faces, moment)
        out: PaCoFROutput = self.model(faces.images, mask)
        assert out.predicted is not None and out.targets is not None
        masked, pairs = (None, None) if moment.counts is None else moment.counts.unbind()
        parts = {"pixels": patch_loss(out.predicted, out.targets, masked)}
        total = parts["pixels"]
        if self.section.losses.relation:
            assert out.truth is not None
            predicted = rearrange_rows(out.predicted, mask.masked_places, mask.masked_rows).view_as(out.truth)
            parts["relation"] = relation_loss(predicted, out.truth, self._inside(faces), mask.masked, pairs)
            total = total + self.section.losses.relation * parts["relation"]
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

    def _inside(self, faces: MaskedFaces) -> Tensor:
        assert faces.regions is not None
        return self.components[faces.regions]

    def _incubation(self, out: PaCoFROutput) -> Tensor:
        assert out.beliefs is not None and out.targets is not None and self.model.belief is not None
        stride = max(1, math.ceil(len(out.targets) / INCUBATED))
        belief = self.model.belief
        queries, targets = out.beliefs.queries[::stride], belief.targets(out.targets[::stride])
        return incubation_loss(queries, targets, belief.codebook.codebook, belief.temperature)
