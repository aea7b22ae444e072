"""The pre-training step: three regimes and mismatched pairs in one batch, one forward pass, five losses.

Rows of the joint batch, in this order:

    masked           both modalities partly hidden, all tokens see all: masked modelling, and the positives of matching
    text to image    prefix language model, the image's next token
    image to text    prefix language model, the caption's next token
    mismatched       hidden images of the masked rows with other rows' hidden captions: matching only

Every random choice is keyed by (seed, step, sample), or drawn by torch's generator on the device, so nothing here asks
the host.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from gptface.faces.regions import region_label
from gptface.objectives import (
    contrastive_loss,
    gathered_cross_entropy,
    hard_negatives,
    match_loss,
    random_negatives,
    same_captions,
)
from gptface.ops import (
    FacialRegions,
    Geometric,
    ImageBlocks,
    ImageRandom,
    MaskGITCosine,
    TextSpans,
    mask_tokens,
    sample_span_mask,
)
from gptface.systems.gptface import FaceLanguageModel, JointSequence, Regime, build_sequence
from gptface.systems.gptface.configuration import PretrainSection
from gptface.systems.gptface.pairs import Pairs
from gptface.training.stage import Losses, Moment

__all__ = ["MixedBatch", "PretrainingObjective", "Targets", "joint_positions"]

# Share of slots that hold a token, above which padding is computed rather than packed away. Not tuned: what is left to
# gain there is about what a benchmark of the step scatters by.
PACKED_BELOW = 0.98

# Purposes of the seeds that masks and negatives are drawn from, so that no two draws share random numbers.
TEXT, IMAGE, RANDOM_NEGATIVES, HARD_NEGATIVES = range(4)


@dataclass
class Targets:
    """What is to be predicted where: packed positions ``b * S + s`` of the joint batch (−1: nothing) and labels."""

    positions: Tensor
    labels: Tensor
    weights: Tensor | None = None


@dataclass
class MixedBatch:
    """A joint batch ready for the model, and what it is to predict.

    Attributes:
        sequence: ``masked + to_image + to_text + mismatched`` rows.
        masked, to_image, to_text, mismatched: how many rows of each kind.
        masked_image, masked_text, next_image, next_text: targets of the four modelling losses.
        match_labels: (masked + mismatched,) int64, 1 for the caption that came with the image.
        match_weights: float, 0 for pairs without a caption or without a true mismatch; both classes sum to one.
        keep: (B,) the probability with which each pair was to keep its caption.
    """

    sequence: JointSequence
    masked: int
    to_image: int
    to_text: int
    mismatched: int
    masked_image: Targets
    masked_text: Targets
    next_image: Targets
    next_text: Targets
    match_labels: Tensor
    match_weights: Tensor
    keep: Tensor


def joint_positions(indices: Tensor, rows: Tensor, slots: Tensor, sequence_length: int) -> Tensor:
    """Packed positions in the joint batch of tokens that are named in a block of some of its rows.

    Args:
        indices: ``(M,)`` packed ``r * W + t``: token ``t`` of the block's row ``r``, or −1.
        rows: ``(R,)`` which row of the joint batch the block's row ``r`` is.
        slots: ``(B, W)`` slot of token ``t`` in each row of the joint batch.
        sequence_length: S of the joint batch.
    """
    width = slots.shape[1]
    local = indices.clamp_min(0)
    row = rows[local // width]
    return torch.where(indices >= 0, row * sequence_length + slots[row, local % width], -1)


class PretrainingObjective(nn.Module):
    """``forward(pairs, moment) -> (loss, parts)``.

    Args:
        model: the transformer.
        section: shares, masks and weights.
        pairs: number of pairs in the data set when their scores are kept (``pair_weighting``), else 0.
    """

    pair_scores: Tensor
    pair_seen: Tensor

    def __init__(self, model: FaceLanguageModel, section: PretrainSection, pairs: int = 0) -> None:
        super().__init__()
        self.model = model
        self.section = section
        grid = (int(model.config.image_grid[0]), int(model.config.image_grid[1]))
        text, image = section.text_masks, section.image_masks
        self.text_spans = TextSpans(text.ratio, Geometric(text.span_p, text.span_maximum))
        ratio = MaskGITCosine()
        regions = {region_label(name): weight for name, weight in image.region_weights.items()}
        self.image_kinds = [
            (image.random, ImageRandom(grid, ratio)),
            (image.blocks, ImageBlocks(grid, ratio)),
            (image.regions, FacialRegions(grid, regions, ratio)),
        ]
        kept = pairs if section.pair_weighting.enabled else 0
        self.register_buffer("pair_scores", torch.zeros(kept))
        self.register_buffer("pair_seen", torch.zeros(kept, dtype=torch.bool))

    def forward(self, pairs: Pairs, moment: Moment) -> Losses:
        if moment.share < self.section.contrastive.alone and self.training:
            return self._towers_alone(pairs, moment)
        compared, pairs = pairs, pairs.first(self.section.batch_size)
        batch = self.compose(pairs, moment)
        hidden = self.model.forward_sequence(batch.sequence)
        model, weights = self.model, self.section.losses
        parts: dict[str, Tensor] = {}
        losses = []
        for name, weight, targets, project in (
            ("masked_image", weights.masked_image, batch.masked_image, model.image_logits),
            ("masked_text", weights.masked_text, batch.masked_text, model.text_logits),
            ("text_to_image", weights.text_to_image, batch.next_image, model.image_logits),
            ("image_to_text", weights.image_to_text, batch.next_text, model.text_logits),
        ):
            loss, accuracy = gathered_cross_entropy(
                hidden, targets.positions, targets.labels, project, weights=targets.weights
            )
            losses.append(weight * loss)
            parts[name] = loss
            if name.startswith("masked"):
                parts[f"{name}_accuracy"] = accuracy
        judged = torch.cat([hidden[: batch.masked], hidden[len(hidden) - batch.mismatched :]])
        logits = model.match_logits(judged)
        loss, parts["matching_accuracy"] = match_loss(logits, batch.match_labels, batch.match_weights)
        losses.append(weights.matching * loss)
        parts["matching"] = loss
        if weights.contrastive > 0:
            loss, parts["contrastive_accuracy"] = self._contrast(compared, moment)
            losses.append(weights.contrastive * loss)
            parts["contrastive"] = loss
        if self.training and pairs.rows is not None and len(self.pair_scores):
            matched = batch.match_weights[: batch.masked] > 0
            self._remember(pairs.rows[: batch.masked], logits[: batch.masked].detach().float(), matched)
            parts["caption_kept"] = batch.keep.mean()
        return torch.stack(losses).sum(), parts

    def _towers_alone(self, pairs: Pairs, moment: Moment) -> Losses:
        loss, accuracy = self._contrast(pairs, moment)
        parts = {"contrastive_accuracy": accuracy, "contrastive": loss}
        total = self.section.losses.contrastive * loss
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            # Gradients are exchanged for all parameters or not at all.
            total = total + 0.0 * torch.stack([p.sum() for p in self.parameters() if p.requires_grad]).sum()
        return total, parts

    def _contrast(self, pairs: Pairs, moment: Moment) -> tuple[Tensor, Tensor]:
        """Which caption belongs to which picture, among all pairs at hand."""
        count = len(pairs.codes)
        masked = _dealt(self.section.contrastive.masked_share * count, moment.micro_step)
        codes = pairs.codes
        if masked:
            with torch.no_grad():
                codes = torch.cat([self._hide_image(pairs, masked, moment)[0], codes[masked:]])
        summaries = self.model.align(pairs.text_ids, pairs.text_lengths, codes)
        return contrastive_loss(
            self.model.alignment.similarities(*summaries),
            same_captions(pairs.text_ids, pairs.text_lengths),
            pairs.text_lengths > 0,
        )

    # Composition -----------------------------------------------------------------------------------------------------

    def row_counts(self, batch: int) -> tuple[int, int, int, int]:
        """Rows of each kind for a batch of so many pairs: masked, text to image, image to text, mismatched."""
        shares = self.section.regimes
        masked = min(batch, max(1, round(batch * shares.masked)))
        to_image = min(batch - masked, round(batch * shares.text_to_image))
        if shares.image_to_text == 0:
            to_image = batch - masked
        mismatched = round(masked * self.section.matching.negatives) if masked > 1 else 0
        return masked, to_image, batch - masked - to_image, mismatched

    @torch.no_grad()
    def compose(self, pairs: Pairs, moment: Moment) -> MixedBatch:
        """Lay out the joint batch and its targets."""
        section, vocabulary = self.section, self.model.vocabulary
        device = pairs.codes.device
        masked, to_image, to_text, mismatched = self.row_counts(len(pairs.codes))
        true_lengths = pairs.text_lengths

        keep = self._keep_probability(pairs, moment)
        dropped = torch.rand(len(keep), device=device) >= keep * (1 - section.caption_dropout)
        dropped[masked + to_image :] = False  # a caption that is to be predicted cannot be left out
        lengths = torch.where(dropped, 0, true_lengths)

        # Rows of text kinds, image kinds and hard negatives are dealt independently: image kinds go by the row, the
        # others by a fixed walk that visits every row once and starts elsewhere each step.
        walk = self._walk(masked, moment.micro_step, device)
        hidden_text, text_parts = self._hide_text(pairs, lengths, walk, moment)
        hidden_codes, image_parts = self._hide_image(pairs, masked, moment)

        captioned = (lengths[:masked] > 0) & (true_lengths[:masked] > 0)
        # Another walk says which images get a wrong caption: were they always the first, the shape of their masks
        # would give the answer away.
        doubled = self._walk(masked, moment.micro_step * 7, device)[:mismatched].sort().values
        other, mismatch = self._mismatch(pairs, lengths[:masked], walk, doubled, moment)

        all_lengths = torch.cat([lengths, lengths[:masked][other]])
        sequence = build_sequence(
            vocabulary,
            torch.cat([hidden_text, pairs.text_ids[masked:], hidden_text[other]]),
            all_lengths,
            torch.cat([hidden_codes, pairs.codes[masked:], hidden_codes[doubled]]),
            torch.cat(
                [
                    torch.full((count,), int(regime), device=device)
                    for count, regime in (
                        (masked, Regime.MASKED),
                        (to_image, Regime.TEXT_TO_IMAGE),
                        (to_text, Regime.IMAGE_TO_TEXT),
                        (mismatched, Regime.MASKED),
                    )
                ]
            ),
            num_tokens=self._num_tokens(pairs, all_lengths, masked),
        )
        slots = sequence.token_ids.shape[1]
        masked_text = [
            Targets(joint_positions(indices, rows, sequence.text_slots, slots), _labels(pairs.text_ids, rows, indices))
            for rows, indices in text_parts
        ]
        masked_image = [
            Targets(joint_positions(indices, rows, sequence.image_slots, slots), _labels(pairs.codes, rows, indices))
            for rows, indices in image_parts
        ]
        next_image, next_text = self._next_tokens(sequence, pairs, masked, to_image, keep)
        weights = torch.cat([_balanced(captioned), _balanced(mismatch)])
        return MixedBatch(
            sequence,
            masked,
            to_image,
            to_text,
            mismatched,
            masked_image=_joined(masked_image, device),
            masked_text=_joined(masked_text, device),
            next_image=next_image,
            next_text=next_text,
            match_labels=(torch.arange(masked + mismatched, device=device) < masked).long(),
            match_weights=weights,
            keep=keep,
        )

    def _num_tokens(self, pairs: Pairs, lengths: Tensor, masked: int) -> int | None:
        """How many slots of the joint batch hold a token, or a bound of it; ``None`` where it would not pay to know.

        Which captions are dropped and which are doubled by mismatched rows is decided on the device. Where that is
        not the host, the bound takes every caption to stay and the longest one to be doubled.
        """
        if not (self.section.packing and self.model.packing_pays()):
            return None
        rows = len(lengths)
        if lengths.device.type == "cpu":
            text = int(lengths.sum())
        elif pairs.host_lengths is not None:
            doubled = int(pairs.host_lengths[:masked].max()) if masked else 0
            text = int(pairs.host_lengths.sum()) + (rows - len(pairs.host_lengths)) * doubled
        else:
            return None
        frame = self.model.config.num_image_tokens + 3
        tokens = text + rows * frame
        return tokens if tokens <= PACKED_BELOW * rows * (frame + pairs.text_ids.shape[1]) else None

    def _hide_text(
        self, pairs: Pairs, lengths: Tensor, walk: Tensor, moment: Moment
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """The masked rows' captions with spans replaced, and which tokens of which rows are to be predicted."""
        masks, masked = self.section.text_masks, len(walk)
        width, mask_id = pairs.text_ids.shape[1], self.model.vocabulary.mask_id
        text = pairs.text_ids[:masked]
        spanned = walk[: _dealt(masks.share * masked, moment.micro_step)]
        whole = walk[len(spanned) : len(spanned) + _dealt(masks.full_share * masked, moment.micro_step)]
        ids = pairs.sample_ids[:masked]
        spans, drawn = mask_tokens(
            text[spanned],
            self.text_spans,
            lengths[spanned],
            mask_id=mask_id,
            vocabulary_ranges=[(self._first_word(), self.model.vocabulary.text_size)],
            probabilities=masks.corruption,
            seed=self._seed(TEXT),
            step=moment.micro_step,
            sample_ids=ids[spanned],
        )
        places = torch.arange(len(whole) * width, device=text.device)
        everything = torch.where(places % width < lengths[whole][places // width], places, -1)
        hidden = text.index_copy(0, spanned, spans).index_copy(0, whole, torch.full_like(text[whole], mask_id))
        return hidden, [(spanned, drawn.indices), (whole, everything)]

    def _hide_image(self, pairs: Pairs, masked: int, moment: Moment) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """The masked rows' codes with masks of mixed shapes, and which tokens of which rows are to be predicted."""
        image_mask = self.model.vocabulary.image_size
        codes, ids = pairs.codes[:masked], pairs.sample_ids[:masked]
        width = codes.shape[1]
        total = sum(weight for weight, _ in self.image_kinds)
        full = _dealt(self.section.image_masks.full_share * masked, moment.micro_step)
        hidden, found, start, owed = [], [], 0, 0.0
        for weight, specification in self.image_kinds:
            owed += (masked - full) * weight / total
            end = min(masked - full, _dealt(owed, moment.micro_step) if owed < masked - full - 1e-6 else masked - full)
            rows = slice(start, max(start, end))
            start = rows.stop
            if rows.start == rows.stop:
                continue
            regions = None
            if isinstance(specification, FacialRegions) and pairs.regions is not None:
                regions = pairs.regions[rows]
            drawn = sample_span_mask(
                specification,
                seed=self._seed(IMAGE),
                step=moment.micro_step,
                sample_ids=ids[rows],
                region_map=regions,
            )
            hidden.append(torch.where(drawn.mask, image_mask, codes[rows]))
            found.append((torch.arange(rows.start, rows.stop, device=codes.device), drawn.indices))
        if full:
            hidden.append(torch.full_like(codes[start:], image_mask))
            found.append(
                (torch.arange(start, masked, device=codes.device), torch.arange(full * width, device=codes.device))
            )
        return torch.cat(hidden), found

    def _mismatch(
        self, pairs: Pairs, lengths: Tensor, walk: Tensor, doubled: Tensor, moment: Moment
    ) -> tuple[Tensor, Tensor]:
        """For the rows ``doubled``, whose caption takes the place of their own, and whether there is one."""
        matching, masked = self.section.matching, len(lengths)
        text, ids = pairs.text_ids[:masked], pairs.sample_ids[:masked]
        own = pairs.text_lengths[:masked]
        excluded = same_captions(text, own) | (lengths == 0)
        chosen = random_negatives(ids, seed=self._seed(RANDOM_NEGATIVES), step=moment.micro_step, excluded=excluded)
        indices = chosen.indices
        hard = _dealt(matching.hard_share * masked, moment.micro_step) if moment.share >= matching.hard_start else 0
        if hard:
            harder = hard_negatives(
                self._similarity(pairs.first(masked)),
                ids,
                seed=self._seed(HARD_NEGATIVES),
                step=moment.micro_step,
                temperature=matching.temperature,
                excluded=excluded,
            )
            # The walk backwards, so that hardness does not go with the way the text was hidden.
            rows = walk.flip(0)[:hard]
            indices = indices.index_copy(0, rows, harder.indices[rows])
        return indices[doubled], chosen.valid[doubled]

    def _similarity(self, pairs: Pairs) -> Tensor:
        """How well the caption of pair j would pass for that of picture i: ``(B, B)`` cosines.

        The alignment towers' where the model has them; else that of the captions' mean token embeddings, the batch's
        mean taken off, so that words which all captions share cancel.
        """
        if self.model.config.alignment_size:
            seen, said = self.model.alignment.embed(*self.model.align(pairs.text_ids, pairs.text_lengths, pairs.codes))
            return seen @ said.T
        lengths = pairs.text_lengths.unsqueeze(1)
        inside = (torch.arange(pairs.text_ids.shape[1], device=lengths.device) < lengths).unsqueeze(-1)
        vectors = (self.model.embed_tokens(pairs.text_ids).float() * inside).sum(1) / lengths.clamp_min(1)
        vectors = functional.normalize(vectors - vectors.mean(0), dim=-1)
        return vectors @ vectors.T

    def _next_tokens(
        self, sequence: JointSequence, pairs: Pairs, masked: int, to_image: int, keep: Tensor
    ) -> tuple[Targets, Targets]:
        """Next-token targets of the two prefix regimes: the slot before a token predicts it."""
        device, slots = pairs.codes.device, sequence.token_ids.shape[1]
        first = torch.arange(len(sequence.token_ids), device=device).unsqueeze(1) * slots
        rows = slice(masked, masked + to_image)
        next_image = Targets((first + sequence.image_slots - 1)[rows].flatten(), pairs.codes[rows].flatten())
        # A caption follows the image's [SEP]; its own closing [SEP] is predicted too, which is how decoding ends.
        rows = slice(masked + to_image, len(pairs.codes))
        text, lengths = pairs.text_ids[rows], pairs.text_lengths[rows].unsqueeze(1)
        steps = torch.arange(text.shape[1] + 1, device=device)
        padded = functional.pad(text, (0, 1))
        labels = torch.where(steps == lengths, self.model.vocabulary.sep_id, padded)
        positions = (first + sequence.image_slots[:, -1:] + 1)[rows] + steps
        positions = torch.where((steps <= lengths) & (lengths > 0), positions, -1)
        weights = keep[rows].unsqueeze(1).expand_as(positions).flatten() if len(self.pair_scores) else None
        return next_image, Targets(positions.flatten(), labels.flatten(), weights)

    # Weak correlation ------------------------------------------------------------------------------------------------

    def _keep_probability(self, pairs: Pairs, moment: Moment) -> Tensor:
        """How likely each pair keeps its caption, from the matching scores of its earlier visits: ``(B,)``."""
        weighting = self.section.pair_weighting
        if not self.training or not len(self.pair_scores) or pairs.rows is None or moment.share < weighting.start:
            return torch.ones(len(pairs.codes), device=pairs.codes.device)
        scores = self.pair_scores[pairs.rows]
        informed = weighting.floor + (1 - weighting.floor) * torch.sigmoid(
            (scores - weighting.threshold) / weighting.temperature
        )
        return torch.where(self.pair_seen[pairs.rows], informed, 1.0)

    @torch.no_grad()
    def _remember(self, rows: Tensor, logits: Tensor, valid: Tensor) -> None:
        """Move the scores of the pairs just judged; all processes learn of all of them, so that their tables agree."""
        odds = logits[:, 1] - logits[:, 0]
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            rows, odds, valid = (_gathered(value) for value in (rows, odds, valid.to(torch.uint8)))
            valid = valid.bool()
        decay = self.section.pair_weighting.decay
        old, seen = self.pair_scores[rows], self.pair_seen[rows]
        new = torch.where(seen, decay * old + (1 - decay) * odds, odds)
        self.pair_scores[rows] = torch.where(valid, new, old)
        self.pair_seen[rows] = seen | valid

    # Small parts -----------------------------------------------------------------------------------------------------

    def _seed(self, purpose: int) -> int:
        return self.section.seed * 8 + purpose

    def _first_word(self) -> int:
        """The lowest id that is not a special token, where those come first; random replacements start there."""
        config = self.model.config
        specials = (config.pad_token_id, config.cls_token_id, config.sep_token_id, config.mask_token_id)
        return min(max(specials) + 1, config.text_vocab_size - 1)

    @staticmethod
    def _walk(count: int, step: int, device: torch.device) -> Tensor:
        stride = max(1, round(count * 0.618))
        while math.gcd(stride, count) != 1:
            stride += 1
        return (torch.arange(count, device=device) * stride + step) % count


def _dealt(owed: float, step: int) -> int:
    """``owed`` rows a step on average: the whole number due at ``step`` when fractions are carried over."""
    return math.floor((step + 1) * owed + 1e-6) - math.floor(step * owed + 1e-6)


def _labels(truth: Tensor, rows: Tensor, indices: Tensor) -> Tensor:
    """The true tokens at packed ``indices`` of the block that ``rows`` make; anything where the index is −1."""
    local = indices.clamp_min(0)
    return truth[rows[local // truth.shape[1]], local % truth.shape[1]]


def _balanced(valid: Tensor) -> Tensor:
    """Equal weights over the valid rows, summing to one (or to zero, where there are none)."""
    return valid.float() / valid.sum().clamp_min(1)


def _joined(parts: list[Targets], device: torch.device) -> Targets:
    if not parts:
        nothing = torch.empty(0, dtype=torch.int64, device=device)
        return Targets(nothing, nothing)
    return Targets(torch.cat([part.positions for part in parts]), torch.cat([part.labels for part in parts]))


def _gathered(value: Tensor) -> Tensor:
    parts = [torch.empty_like(value) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, value.contiguous())
    return torch.cat(parts)
