"""The pre-training batch: three regimes and mismatched pairs side by side, and what each row is to predict.

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
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from gptface.objectives import hard_negatives, random_negatives, same_captions
from gptface.systems.gptface.configuration import PretrainSection
from gptface.systems.gptface.masking import HARD_NEGATIVES, RANDOM_NEGATIVES, Masking, Targets, dealt, seed_of
from gptface.systems.gptface.merging import first_of_squares
from gptface.systems.gptface.pairs import Pairs
from gptface.systems.gptface.sequence import JointSequence, Regime, build_sequence
from gptface.systems.gptface.transformer import FaceLanguageModel
from gptface.training.stage import Moment

__all__ = ["BatchComposer", "MixedBatch", "row_counts"]

# Of the draw of hard negatives by cosine similarity; smaller is harder.
NEGATIVES_TEMPERATURE = 0.1

# Of the image tokens that a sparse row keeps, the largest share that is hidden, where others could be kept.
HIDDEN_KEPT = 0.75

# Share of slots that hold a token, above which padding is computed rather than packed away: what is left to gain there
# is about what a benchmark of the step scatters by.
PACKED_BELOW = 0.98


@dataclass
class MixedBatch:
    """A joint batch ready for the model, and what it is to predict.

    Attributes:
        sequence: ``masked + to_image + to_text + mismatched`` rows.
        masked, to_image, to_text, mismatched: how many rows of each kind.
        masked_image, masked_text, next_image, next_text: targets of the four modelling losses.
        match_labels: (masked + mismatched,) int64, 1 for the caption that came with the image.
        match_valid: bool, false for pairs without a caption or without a true mismatch.
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
    match_valid: Tensor


class Kept(NamedTuple):
    """Which image tokens of each row have their slots computed, bool ``(R, N)``, and how many in all have not."""

    tokens: Tensor
    absent: int
    sparse: bool
    """Whether the others are left out altogether, rather than computed in another's slot."""


def row_counts(section: PretrainSection, pairs: int) -> tuple[int, int, int, int]:
    """Rows of each kind for a batch of so many ``pairs``: masked, text to image, image to text, mismatched."""
    shares = section.regimes
    masked = min(pairs, max(1, round(pairs * shares.masked)))
    to_image = min(pairs - masked, round(pairs * shares.text_to_image))
    if shares.image_to_text == 0:
        to_image = pairs - masked
    mismatched = round(masked * section.matching.negatives) if masked > 1 else 0
    return masked, to_image, pairs - masked - to_image, mismatched


class BatchComposer:
    """Lays out joint batches for ``model`` by the shares, masks and negatives of ``section``.

    Args:
        packing: let the transformer's layers compute no padding, where its attention can make use of that.
    """

    def __init__(self, model: FaceLanguageModel, section: PretrainSection, packing: bool = True) -> None:
        self.model = model
        self.section = section
        self.packing = packing
        self.masking = Masking(model.config, section)

    @torch.no_grad()
    def compose(self, pairs: Pairs, moment: Moment, keep: Tensor | None = None) -> MixedBatch:
        """A joint batch of ``pairs`` and its targets.

        Args:
            keep: ``(B,)`` the probability with which each pair keeps its caption, and the weight of the loss on a
                caption that is to be predicted. By default every pair counts in full.
        """
        masked, to_image, to_text, mismatched = row_counts(self.section, len(pairs.codes))
        device, step = pairs.codes.device, moment.micro_step
        lengths = self._kept_lengths(pairs, keep, masked + to_image)

        # Rows of text kinds, image kinds and hard negatives are dealt independently: image kinds go by the row, the
        # others by a fixed walk that visits every row once and starts elsewhere each step.
        walk = _walk(masked, step, device)
        text = self.masking.hide_text(pairs, lengths, walk, step)
        image = self.masking.hide_image(pairs, masked, step)

        # Another walk says which images get a wrong caption: were they always the first, the shape of their masks
        # would give the answer away.
        doubled = _walk(masked, step * 7, device)[:mismatched].sort().values
        other, mismatch = self.mismatch(pairs, lengths[:masked], walk, doubled, moment)

        all_lengths = torch.cat([lengths, lengths[:masked][other]])
        images = torch.cat([image.tokens, pairs.codes[masked:], image.tokens[doubled]])
        kept = self._image_kept(pairs, moment, images == self.model.vocabulary.image_size)
        counts = ((masked, Regime.MASKED), (to_image, Regime.TEXT_TO_IMAGE), (to_text, Regime.IMAGE_TO_TEXT))
        regimes = [torch.full((n,), int(regime), device=device) for n, regime in (*counts, (mismatched, Regime.MASKED))]
        sequence = build_sequence(
            self.model.vocabulary,
            torch.cat([text.tokens, pairs.text_ids[masked:], text.tokens[other]]),
            all_lengths,
            images,
            torch.cat(regimes),
            num_tokens=self.num_tokens(pairs, all_lengths, masked, None if kept is None else kept.absent),
            image_kept=None if kept is None else kept.tokens,
        )
        slots = sequence.token_ids.shape[1]
        next_image, next_text = self._next_tokens(sequence, pairs, masked, to_image, keep)
        masked_image = image.targets(pairs.codes, sequence.image_slots, slots, self.masking.image_weights(pairs))
        if kept is not None and kept.sparse:
            everywhere = torch.ones_like(sequence.token_ids, dtype=torch.bool)
            masked_image = masked_image.among(everywhere.scatter(1, sequence.image_slots, kept.tokens))
        captioned = (lengths[:masked] > 0) & (pairs.text_lengths[:masked] > 0)
        return MixedBatch(
            sequence,
            masked,
            to_image,
            to_text,
            mismatched,
            masked_image=masked_image,
            masked_text=text.targets(pairs.text_ids, sequence.text_slots, slots),
            next_image=next_image,
            next_text=next_text,
            match_labels=(torch.arange(masked + mismatched, device=device) < masked).long(),
            match_valid=torch.cat([captioned, mismatch]),
        )

    def _kept_lengths(self, pairs: Pairs, keep: Tensor | None, droppable: int) -> Tensor:
        """Lengths of the captions, 0 for those of the first ``droppable`` rows that are left out this time."""
        kept = torch.ones(len(pairs.codes), device=pairs.codes.device) if keep is None else keep
        dropped = torch.rand(len(kept), device=kept.device) >= kept * (1 - self.section.caption_dropout)
        dropped[droppable:] = False  # a caption that is to be predicted cannot be left out
        return torch.where(dropped, 0, pairs.text_lengths)

    def _image_kept(self, pairs: Pairs, moment: Moment, hidden: Tensor) -> Kept | None:
        """The image tokens that each row keeps; ``None`` where none are left out at this ``moment``.

        Where squares of tokens share a slot, all are kept, and their first tokens' slots are named. Sparse rows:

        Those that are ``hidden``, bool ``(R, N)``, come first, since they are what a masked row learns from, but for a
        share that is left to the ones seen; mismatched rows, which predict nothing, follow the same rule, or matching
        could tell them by it. Rows that predict the image token by token keep all of them.
        """
        sparse, total, device = self.section.sparse, self.model.config.num_image_tokens, pairs.codes.device
        if not self._packs() or (device.type != "cpu" and pairs.host_lengths is None):
            return None  # or the host could not know how many slots are left
        merging = self.model.merging
        if merging is not None:
            first = first_of_squares(merging.grid, merging.side, device).expand(len(hidden), -1)
            return Kept(first, len(hidden) * merging.left_out, sparse=False)
        count = max(1, round(sparse.image * total))
        if count == total or moment.share >= sparse.until:
            return None
        masked, to_image, to_text, mismatched = row_counts(self.section, len(pairs.codes))
        rows = masked + to_image + to_text + mismatched
        # A random part of the hidden ones, then those that are seen, then the hidden ones that are left.
        order = torch.rand(rows, total, device=device)
        among = order.masked_fill(~hidden, -1.0).argsort(dim=1, descending=True).argsort(dim=1)
        first = hidden & (among < math.floor(HIDDEN_KEPT * count))
        drawn = (order + 2 * first + ~hidden).topk(count, dim=1).indices
        tokens = torch.zeros(rows, total, dtype=torch.bool, device=device).scatter(1, drawn, True)
        tokens[masked : masked + to_image] = True
        return Kept(tokens, (rows - to_image) * (total - count), sparse=True)

    def _packs(self) -> bool:
        return not torch.compiler.is_compiling() and self.packing and self.model.packing_pays()

    def num_tokens(self, pairs: Pairs, lengths: Tensor, masked: int, absent: int | None = None) -> int | None:
        """How many slots of the joint batch hold a token, or a bound of it; ``None`` where it would not pay to know.

        ``absent`` image tokens are left out; where any are, it is always worth knowing.

        Which captions are dropped and which are doubled by mismatched rows is decided on the device. Where that is
        not the host, the bound takes every caption to stay and the longest one to be doubled. Compiled as one graph, a
        step knows no lengths on the host, and computes the padding.
        """
        if not self._packs():
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
        if absent is not None:
            return tokens - absent
        return tokens if tokens <= PACKED_BELOW * rows * (frame + pairs.text_ids.shape[1]) else None

    # Negatives -------------------------------------------------------------------------------------------------------

    def mismatch(
        self, pairs: Pairs, lengths: Tensor, walk: Tensor, doubled: Tensor, moment: Moment
    ) -> tuple[Tensor, Tensor]:
        """For the rows ``doubled``, whose caption takes the place of their own, and whether there is one."""
        matching, masked, step = self.section.matching, len(lengths), moment.micro_step
        ids = pairs.sample_ids[:masked]
        excluded = same_captions(pairs.text_ids[:masked], pairs.text_lengths[:masked]) | (lengths == 0)
        chosen = random_negatives(ids, seed=seed_of(self.section, RANDOM_NEGATIVES), step=step, excluded=excluded)
        indices = chosen.indices
        hard = dealt(matching.hard_share * masked, step) if moment.share >= matching.hard_start else 0
        if hard:
            harder = hard_negatives(
                self._similarity(pairs.first(masked)),
                ids,
                seed=seed_of(self.section, HARD_NEGATIVES),
                step=step,
                temperature=NEGATIVES_TEMPERATURE,
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
        towers = self.model.alignment
        if towers is not None:
            seen, said = towers.embed(*towers.summaries(pairs.text_ids, pairs.text_lengths, pairs.codes))
            return seen @ said.T
        lengths = pairs.text_lengths.unsqueeze(1)
        inside = (torch.arange(pairs.text_ids.shape[1], device=lengths.device) < lengths).unsqueeze(-1)
        vectors = (self.model.embed_tokens(pairs.text_ids).float() * inside).sum(1) / lengths.clamp_min(1)
        vectors = functional.normalize(vectors - vectors.mean(0), dim=-1)
        return vectors @ vectors.T

    # Next tokens -----------------------------------------------------------------------------------------------------

    def _next_tokens(
        self, sequence: JointSequence, pairs: Pairs, masked: int, to_image: int, keep: Tensor | None
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
        labels = torch.where(steps == lengths, self.model.vocabulary.sep_id, functional.pad(text, (0, 1)))
        positions = (first + sequence.image_slots[:, -1:] + 1)[rows] + steps
        positions = torch.where((steps <= lengths) & (lengths > 0), positions, -1)
        weights = None if keep is None else keep[rows].unsqueeze(1).expand_as(positions).flatten()
        return next_image, Targets(positions.flatten(), labels.flatten(), weights)


def _walk(count: int, step: int, device: torch.device) -> Tensor:
    """All of ``range(count)`` once, by strides of about the golden section, from another start each step."""
    stride = max(1, round(count * 0.618))
    while not _coprime(stride, count):
        stride += 1
    return (torch.arange(count, device=device) * stride + step) % count


def _coprime(one: int, other: int) -> bool:
    """By Euclid's algorithm; ``math.gcd`` cannot be traced."""
    while other:
        one, other = other, one % other
    return one == 1
