"""The pre-training step: one forward pass over a mixed batch, four modelling losses, matching, and contrast."""

from __future__ import annotations

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

__all__ = ["PretrainingObjective"]

# Share of the pictures that the towers compare partly masked, as guidance meets them half-way through decoding.
COMPARED_MASKED = 0.5


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
        if self.training and moment.share < self.section.contrastive.alone:
            return self._towers_alone(pairs, moment)
        compared, pairs = pairs, pairs.first(self.section.batch_size)
        keep = self._keep_probability(pairs, moment)
        batch = self.composer.compose(pairs, moment, keep)
        hidden = self.model.forward_sequence(batch.sequence)

        weights = self.section.losses
        losses, parts = self._modelling(hidden, batch)
        judged = torch.cat([hidden[: batch.masked], hidden[len(hidden) - batch.mismatched :]])
        verdicts = self.model.match_logits(judged)
        loss, parts["matching_accuracy"] = match_loss(verdicts, batch.match_labels, batch.match_weights)
        losses.append(weights.matching * loss)
        parts["matching"] = loss
        if weights.contrastive > 0:
            loss, parts["contrastive_accuracy"] = self._contrast(compared, moment)
            losses.append(weights.contrastive * loss)
            parts["contrastive"] = loss

        if self.pair_scores is not None and keep is not None and pairs.rows is not None:
            matched = batch.match_weights[: batch.masked] > 0
            own = verdicts[: batch.masked].detach().float()
            self.pair_scores.remember(pairs.rows[: batch.masked], own, matched)
            parts["caption_kept"] = keep.mean()
        return torch.stack(losses).sum(), parts

    def compose(self, pairs: Pairs, moment: Moment) -> MixedBatch:
        """The joint batch that :meth:`forward` computes for ``pairs``."""
        return self.composer.compose(pairs, moment, self._keep_probability(pairs, moment))

    def _keep_probability(self, pairs: Pairs, moment: Moment) -> Tensor | None:
        """``(B,)``, how likely each pair keeps its caption; ``None`` where no scores are kept, and in evaluation."""
        if not self.training or self.pair_scores is None or pairs.rows is None:
            return None
        return self.pair_scores.keep_probability(pairs.rows, moment.share)

    def _modelling(self, hidden: Tensor, batch: MixedBatch) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Weighted losses of masked and next tokens of both modalities, and what is logged of them."""
        model, weights = self.model, self.section.losses
        losses: list[Tensor] = []
        parts: dict[str, Tensor] = {}
        for name, weight, targets, project in (
            ("masked_image", 1.0, batch.masked_image, model.image_logits),
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
        return losses, parts

    def _contrast(self, pairs: Pairs, moment: Moment) -> tuple[Tensor, Tensor]:
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
        return contrastive_loss(similarities, same, pairs.text_lengths > 0)

    def _towers_alone(self, pairs: Pairs, moment: Moment) -> Losses:
        """The start of the training, where nothing but the towers learns."""
        loss, accuracy = self._contrast(pairs, moment)
        parts = {"contrastive_accuracy": accuracy, "contrastive": loss}
        total = self.section.losses.contrastive * loss
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            # Gradients are exchanged for all parameters or not at all.
            total = total + 0.0 * torch.stack([p.sum() for p in self.parameters() if p.requires_grad]).sum()
        return total, parts
