"""PaCo-FR's objective: masks are drawn, the model predicts, and its losses are weighed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gptface.faces.regions import REGIONS
from gptface.faces.token_regions import TOKEN_REGIONS
from gptface.models.initialisation import initialise
from gptface.models.packing import rearrange_rows
from gptface.objectives import (
    alignment_loss,
    code_activations,
    component_count,
    component_loss,
    component_means,
    components_seen,
    incubation_loss,
    layout_loss,
    patch_loss,
    relation_count,
    relation_loss,
)
from gptface.systems.pacofr.configuration import PaCoFRSection
from gptface.systems.pacofr.configuration_model import PaCoFRConfig
from gptface.systems.pacofr.leak import linear_leak
from gptface.systems.pacofr.masking import PatchMask, draw_mask
from gptface.systems.pacofr.model import PaCoFR, PaCoFROutput
from gptface.training.stage import Losses, Moment

__all__ = ["COMPONENTS", "MaskedFaces", "PaCoFRObjective", "cells_a_side"]

COMPONENTS = ("brows", "eyes", "nose", "mouth")
"""Regions whose patches the relation loss compares, and whose features the component loss."""

# Into how many parts a side of a patch is divided where it tells regions: two pixels each, in patches of 8.
CELLS = 4

# Of the cosines between components; a tenth is the middle of what contrastive learning of pictures takes.
TEMPERATURE = 0.1

# Length of what a component is compared by, over two views.
SUMMARY_SIZE = 64

# Patches of a pass that the incubation loss looks at: it holds their logits over all codes, and so many are plenty.
INCUBATED = 4096

# Patches per number of a token from which on a pass measures the leak: with fewer, it would be noise.
LEAK_ROWS = 4

# Of the masks: separates them from other draws of the same seed.
MASK_SEED = 0x9E3779B97F4A7C15


@dataclass
class MaskedFaces:
    """A batch; B is the number of faces, or twice as many where each has two views, all first ones first.

    Attributes:
        images: float32 (B, C, S, S) in [−1, 1], views of the faces.
        sample_ids: int64 (B,), another one for a second view.
        regions: int64 (B, N), indices into ``TOKEN_REGIONS``; ``None`` where neither masks nor losses need them.
        cells: uint8 (B, N, ``cells_a_side``²), region of every part of each patch; ``None`` without the layout loss.
    """

    images: Tensor
    sample_ids: Tensor
    regions: Tensor | None
    cells: Tensor | None = None


class PaCoFRObjective(nn.Module):
    """``forward(faces, moment) -> (loss, parts)``.

    Args:
        model: to be trained.
        section: losses, masks and seed.
        steps_an_epoch: optimiser steps in which all processes together see as many faces as there are.

    The heads have done their work after the training, and are no part of the model. There is none without its loss: a
    parameter without a gradient would stop a training of several processes.

    Attributes:
        activations: from a visible patch's feature to how near its pixels are to every code.
        layout, masked_layout: from a visible patch's feature, and from what the decoder makes of a masked one, to the
            regions of its cells.
        summary: from the mean feature of a component to what it is compared by.
    """

    components: Tensor

    def __init__(self, model: PaCoFR, section: PaCoFRSection, steps_an_epoch: float) -> None:
        super().__init__()
        self.model = model
        self.section = section
        self.steps_an_epoch = steps_an_epoch
        width, codes = model.config.hidden_size, model.config.codebook_size
        aligned = section.losses.alignment > 0 and model.belief is not None
        # Each draws from a seed of its own, so that one loss more or less changes no other head.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(section.seed)
            self.activations = linear_head(width, codes) if aligned else None
            torch.manual_seed(section.seed)
            outputs = cells_a_side(model.config) ** 2 * len(REGIONS)
            told = section.losses.layout > 0
            self.layout = linear_head(width, outputs) if told else None
            self.masked_layout = linear_head(model.config.decoder_size, outputs) if told else None
            torch.manual_seed(section.seed)
            self.summary = summary_head(width) if section.losses.components else None
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
        """Weight of the incubation loss at a moment: full, fading, gone; the same in all passes of a step."""
        weight, length = self.section.losses.incubation, self.section.incubation_epochs
        if weight == 0 or length == 0 or self.model.config.codes != "belief":
            return 0.0
        epochs = moment.step / self.steps_an_epoch
        return weight * min(1.0, max(0.0, 2.0 - epochs / length))

    def counts(self, faces: MaskedFaces, moment: Moment) -> Tensor:
        """float32 (4,): masked patches, visible ones, pairs of components' patches, components seen in both views."""
        mask = self.mask(faces, moment)
        masked = mask.masked.sum().float()
        numbers = [masked, mask.masked.numel() - masked, torch.zeros_like(masked), torch.zeros_like(masked)]
        if self.section.losses.relation:
            numbers[2] = relation_count(self._labels(faces) >= 0, mask.masked)
        if self.section.losses.components:
            numbers[3] = component_count(components_seen(self._visible_labels(faces, mask), len(COMPONENTS)))
        return torch.stack(numbers)

    def forward(self, faces: MaskedFaces, moment: Moment) -> Losses:
        mask = self.mask(faces, moment)
        out: PaCoFROutput = self.model(faces.images, mask)
        assert out.predicted is not None and out.targets is not None
        masked, visible, pairs, both = [None] * 4 if moment.counts is None else moment.counts.unbind()
        parts = {"pixels": patch_loss(out.predicted, out.targets, masked, mask.usable)}
        total = parts["pixels"]
        if self.section.losses.relation:
            assert out.truth is not None
            predicted = rearrange_rows(out.predicted, mask.masked_places, mask.masked_rows).view_as(out.truth)
            parts["relation"] = relation_loss(predicted, out.truth, self._labels(faces) >= 0, mask.masked, pairs)
            total = total + self.section.losses.relation * parts["relation"]
        if self.layout is not None and self.masked_layout is not None:
            assert out.features is not None and out.guesses is not None
            parts["layout"] = self._layout(self.layout(out.features), faces, mask.visible_rows, mask, visible)
            parts["masked_layout"] = self._layout(
                self.masked_layout(out.guesses), faces, mask.masked_rows, mask, masked
            )
            total = total + self.section.losses.layout * (parts["layout"] + parts["masked_layout"])
        if self.activations is not None:
            parts["alignment"] = self._alignment(faces, mask, out, visible)
            total = total + self.section.losses.alignment * parts["alignment"]
        if self.summary is not None and self.training:  # a held-out face has one view
            assert out.features is not None
            labels = self._visible_labels(faces, mask)
            features = rearrange_rows(out.features, mask.visible_places, mask.visible_rows)
            means = component_means(features.view(*labels.shape, -1), labels, len(COMPONENTS))
            seen = components_seen(labels, len(COMPONENTS))
            loss, accuracy = component_loss(self.summary(means), seen, TEMPERATURE, both)
            parts["components"], parts["component_accuracy"] = loss, accuracy
            total = total + self.section.losses.components * loss
        if out.beliefs is not None:
            weight = self.incubation(moment) if self.training else 0.0
            if weight:
                parts["incubation"] = self._incubation(out, mask, masked)
                total = total + weight * parts["incubation"]
            parts["code_usage"] = out.beliefs.usage
            parts["code_perplexity"] = out.beliefs.perplexity
            parts["belief_entropy"] = mean_entropy(out.beliefs.weights.detach(), mask.usable)
        if out.tokens is not None and self._enough_for_the_leak(mask):
            parts["leak"] = linear_leak(out.tokens.detach(), out.targets, mask.usable)
        return total, parts

    def _labels(self, faces: MaskedFaces) -> Tensor:
        """int64 (B, N): which component each patch lies in; −1 for none."""
        assert faces.regions is not None
        return self.components[faces.regions]

    def _visible_labels(self, faces: MaskedFaces, mask: PatchMask) -> Tensor:
        """``_labels``, −1 for masked patches too."""
        return self._labels(faces).masked_fill(mask.masked, -1)

    def _layout(
        self, told: Tensor, faces: MaskedFaces, rows: Tensor, mask: PatchMask, number: Tensor | None
    ) -> Tensor:
        """The loss of the patches in ``rows``, as ``told`` (R, cells · regions)."""
        assert faces.cells is not None
        cells = faces.cells.flatten(0, 1).index_select(0, rows.clamp_min(0))
        usable = rows >= 0 if mask.padded else None
        return layout_loss(told.unflatten(1, (cells.shape[1], len(REGIONS))), cells, number, usable)

    def _alignment(self, faces: MaskedFaces, mask: PatchMask, out: PaCoFROutput, visible: Tensor | None) -> Tensor:
        assert self.activations is not None and self.model.belief is not None and out.features is not None
        belief = self.model.belief
        with torch.no_grad():
            pictures = self.model.encoder.colours(faces.images)
            codes = belief.codebook.codebook
            near = code_activations(pictures, self.model.config.patch_size, belief.projection, codes).flatten(0, 1)
            near = near.index_select(0, mask.visible_rows.clamp_min(0))
        usable = mask.visible_rows >= 0 if mask.padded else None
        return alignment_loss(self.activations(out.features), near, visible, usable)

    def _incubation(self, out: PaCoFROutput, mask: PatchMask, masked: Tensor | None) -> Tensor:
        """The loss of every so manieth masked patch, which stands for those between."""
        assert out.beliefs is not None and out.targets is not None and self.model.belief is not None
        stride = max(1, math.ceil(len(out.targets) / INCUBATED))
        belief = self.model.belief
        queries, targets = out.beliefs.queries[::stride], belief.targets(out.targets[::stride])
        usable = None if mask.usable is None else mask.usable[::stride]
        if masked is not None:
            here = masked.new_full((), len(queries)) if usable is None else usable.sum()
            masked = masked * here / mask.masked.sum().clamp_min(1)
        return incubation_loss(queries, targets, belief.codebook.codebook, belief.temperature, masked, usable)

    def _enough_for_the_leak(self, mask: PatchMask) -> bool:
        """Whether a batch of this size always has patches enough to measure it: the same for all passes of a run."""
        ratio = self.section.masks.ratio
        batch, patches = mask.masked.shape
        least = round((ratio[0] if isinstance(ratio, tuple) else ratio) * patches)
        return batch * least >= LEAK_ROWS * self.model.config.code_dim


def cells_a_side(config: PaCoFRConfig) -> int:
    """Into how many parts a side of a patch is divided where it tells the regions of its parts."""
    return min(CELLS, config.patch_size)


def linear_head(width: int, outputs: int) -> nn.Linear:
    """A linear map from features of ``width``."""
    head = nn.Linear(width, outputs)
    initialise(head, 1)
    return head


def summary_head(width: int) -> nn.Sequential:
    """A multilayer perceptron from features of ``width`` to what components are compared by."""
    return nn.Sequential(linear_head(width, 2 * width), nn.GELU(), linear_head(2 * width, SUMMARY_SIZE))


def mean_entropy(weights: Tensor, usable: Tensor | None) -> Tensor:
    """Entropy of distributions ``(M, k)``, in nats: the mean over those that are ``usable``, bool ``(M,)``."""
    entropy = torch.special.entr(weights).sum(-1)
    if usable is None:
        return entropy.mean()
    return torch.where(usable, entropy, 0.0).sum() / usable.sum().clamp_min(1)
