"""The pre-training step: one forward pass over a mixed batch, four modelling losses, matching, and contrast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gptface.errors import InputError
from gptface.objectives import contrastive_loss, gathered_cross_entropy, match_loss, same_captions
from gptface.systems.gptface.configuration import PretrainSection
from gptface.systems.gptface.masking import dealt
from gptface.systems.gptface.mixed_batch import BatchComposer, MixedBatch
from gptface.systems.gptface.pair_scores import PairScores
from gptface.systems.gptface.pairs import Pairs
from gptface.systems.gptface.transformer import FaceLanguageModel
from gptface.training.stage import Losses, Moment

__all__ = ["PretrainingObjective", "StepCounts"]

# Share of the pictures that the towers compare partly masked, as guidance meets them half-way through decoding.
COMPARED_MASKED = 0.5


class StepCounts(NamedTuple):
    """What each loss of a pass is a mean over: scalars, its own or, in a step of several passes, their mean."""

    masked_image: Tensor
    masked_text: Tensor
    text_to_image: Tensor
    image_to_text: Tensor
    matches: Tensor
    mismatches: Tensor
    compared: Tensor


class PretrainingObjective(nn.Module):
    """``forward(pairs, moment) -> (loss, parts)``.

    Args:
        model: the transformer.
        section: shares, masks and weights.
        pairs: number of pairs in the data set, whose scores are kept where ``pair_weighting`` asks for it; 0 where the
            data set is not known as a whole.
        packing: let the transformer's layers compute no padding, where its attention can make use of that.

    Raises:
        InputError: a contrastive loss for a model without alignment towers.
    """

    def __init__(
        self, model: FaceLanguageModel, section: PretrainSection, pairs: int = 0, *, packing: bool = True
    ) -> None:
        super().__init__()
        if section.losses.contrastive > 0 and model.alignment is None:
            raise InputError("losses.contrastive: needs a model with alignment_size, which is 0 here")
        self.model = model
        self.section = section
        self.composer = BatchComposer(model, section, packing)
        kept = pairs > 0 and section.pair_weighting.start < 1
        self.pair_scores = PairScores(pairs, section.pair_weighting) if kept else None

    def forward(self, pairs: Pairs, moment: Moment) -> Losses:
        if self._alone(moment):
            return self._towers_alone(pairs, moment)
        compared, pairs = pairs, pairs.first(self.section.batch_size)
        batch, keep = moment.handover.pop("composed", None) or self._composed(pairs, moment)
        counts = self._batch_counts(batch, compared) if moment.counts is None else StepCounts(*moment.counts.unbind())
        # Only what a loss is read from leaves the layers: targets, and the [CLS] of rows that are judged.
        rows, slots = batch.sequence.token_ids.shape
        judged = torch.arange(rows, device=compared.codes.device)
        judged = torch.cat([judged[: batch.masked], judged[rows - batch.mismatched :]]) * slots
        targets = (batch.masked_image, batch.masked_text, batch.next_image, batch.next_text)
        wanted = [*(each.positions for each in targets), judged]
        hidden = self.model.forward_sequence(batch.sequence, wanted=torch.cat(wanted))
        *hidden_of, of_judged = hidden.split([len(each) for each in wanted])

        weights = self.section.losses
        losses, parts = self._modelling(hidden_of, batch, counts)
        verdicts = self.model.match_logits(of_judged.unsqueeze(1))
        loss, parts["matching_accuracy"] = self._matching(verdicts, batch, counts)
        losses.append(weights.matching * loss)
        parts["matching"] = loss
        if weights.contrastive > 0:
            loss, parts["contrastive_accuracy"] = self._contrast(compared, moment, counts.compared)
            losses.append(weights.contrastive * loss)
            parts["contrastive"] = loss

        if self.pair_scores is not None and keep is not None and pairs.rows is not None:
            matched = batch.match_valid[: batch.masked]
            own = verdicts[: batch.masked].detach().float()
            self.pair_scores.remember(pairs.rows[: batch.masked], own, matched)
            parts["caption_kept"] = keep.mean()
        return torch.stack(losses).sum(), parts

    def compose(self, pairs: Pairs, moment: Moment) -> MixedBatch:
        """The joint batch that :meth:`forward` computes for ``pairs``."""
        return self._composed(pairs, moment)[0]

    @torch.no_grad()
    def counts(self, pairs: Pairs, moment: Moment) -> Tensor:
        """The :class:`StepCounts` of a pass as float32 (7,); the composed batch is left for the pass to take.

        Matching has two, for matches and mismatches weigh alike. Negatives and the pairs compared are each pass's own.
        """
        if self._alone(moment):
            nothing = torch.zeros((), device=pairs.codes.device)
            return torch.stack([nothing] * 6 + [_captioned(pairs).float().sum()])
        first = pairs.first(self.section.batch_size)
        moment.handover["composed"] = batch, _ = self._composed(first, moment)
        return torch.stack(self._batch_counts(batch, pairs))

    def _alone(self, moment: Moment) -> bool:
        """Whether nothing but the towers learns."""
        return self.training and moment.share < self.section.contrastive.alone

    def _composed(self, pairs: Pairs, moment: Moment) -> tuple[MixedBatch, Tensor | None]:
        keep = self._keep_probability(pairs, moment)
        return self.composer.compose(pairs, moment, keep), keep

    @staticmethod
    def _batch_counts(batch: MixedBatch, compared: Pairs) -> StepCounts:
        return StepCounts(
            batch.masked_image.count(),
            batch.masked_text.count(),
            batch.next_image.count(),
            batch.next_text.count(),
            batch.match_valid[: batch.masked].float().sum(),
            batch.match_valid[batch.masked :].float().sum(),
            _captioned(compared).float().sum(),
        )

    def _keep_probability(self, pairs: Pairs, moment: Moment) -> Tensor | None:
        """``(B,)``, how likely each pair keeps its caption; ``None`` where no scores are kept, and in evaluation."""
        if not self.training or self.pair_scores is None or pairs.rows is None:
            return None
        return self.pair_scores.keep_probability(pairs.rows, moment.share)

    def _modelling(
        self, hidden: Sequence[Tensor], batch: MixedBatch, counts: StepCounts
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Weighted losses of masked and next tokens of both modalities, and what is logged of them.

        ``hidden`` of each kind's targets, ``(M, C)``.
        """
        model, weights = self.model, self.section.losses
        losses: list[Tensor] = []
        parts: dict[str, Tensor] = {}
        for states, (name, weight, targets, project) in zip(
            hidden,
            (
                ("masked_image", 1.0, batch.masked_image, model.image_logits),
                ("masked_text", weights.masked_text, batch.masked_text, model.text_logits),
                ("text_to_image", weights.text_to_image, batch.next_image, model.image_logits),
                ("image_to_text", weights.image_to_text, batch.next_text, model.text_logits),
            ),
            strict=True,
        ):
            numbers = torch.arange(len(states), device=states.device)
            loss, accuracy = gathered_cross_entropy(
                states,
                torch.where(targets.positions < 0, -1, numbers),
                targets.labels,
                project,
                weights=targets.weights,
                normaliser=getattr(counts, name),
            )
            losses.append(weight * loss)
            parts[name] = loss
            if name.startswith("masked"):
                parts[f"{name}_accuracy"] = accuracy
        return losses, parts

    def _matching(self, verdicts: Tensor, batch: MixedBatch, counts: StepCounts) -> tuple[Tensor, Tensor]:
        """Loss and accuracy of the matching head, both classes alike however many there are of each."""
        share = torch.where(batch.match_labels > 0, counts.matches, counts.mismatches).clamp_min(1e-6).reciprocal()
        classes = (counts.matches > 0).float() + (counts.mismatches > 0).float()
        return match_loss(verdicts, batch.match_labels, batch.match_valid * share, classes)

    def _contrast(self, pairs: Pairs, moment: Moment, count: Tensor | None) -> tuple[Tensor, Tensor]:
        """Which caption belongs to which picture, among all pairs at hand: loss and accuracy of the towers."""
        towers = self.model.alignment
        assert towers is not None
        codes = pairs.codes
        masked = dealt(COMPARED_MASKED * len(codes), moment.micro_step)
        if masked:
            with torch.no_grad():
                hidden = self.composer.masking.hide_image(pairs, masked, moment.micro_step)
                codes = torch.cat([hidden.tokens, codes[masked:]])
        similarities = towers.similarities(*towers.summaries(pairs.text_ids, pairs.text_lengths, codes))
        same = same_captions(pairs.text_ids, pairs.text_lengths)
        return contrastive_loss(similarities, same, _captioned(pairs), count)

    def _towers_alone(self, pairs: Pairs, moment: Moment) -> Losses:
        """The start of the training, where nothing but the towers learns."""
        loss, accuracy = self._contrast(pairs, moment, None if moment.counts is None else moment.counts[-1])
        parts = {"contrastive_accuracy": accuracy, "contrastive": loss}
        total = self.section.losses.contrastive * loss
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            # Gradients are exchanged for all parameters or not at all.
            total = total + 0.0 * torch.stack([p.sum() for p in self.parameters() if p.requires_grad]).sum()
        return total, parts


def _captioned(pairs: Pairs) -> Tensor:
    """bool (B,): which pairs have a caption."""
    return pairs.text_lengths > 0
