"""Two light towers over token embeddings: what a picture says as a whole, what a caption says, and whether they agree.

Attention has to find out where in a picture the mouth is before it can learn what "smiling" looks like; a map that
knows every position reads it off from the first step, and a contrastive loss over hundreds of pairs a step (CLIP,
arXiv 2103.00020; before fusion: ALBEF, arXiv 2107.07651) trains it at a small fraction of the transformer's cost. The
towers have token embeddings of their own (r numbers a token, behind the transformer's C), since they may learn alone
first and the transformer's losses would pull at shared ones. Both are embeddings of the same tokens, so guidance has a
gradient through the towers to every soft token.

    picture   all positions' embeddings side by side (N·r), linear, GELU: a summary (H)
    caption   each word with the one before it, linear, GELU, summed over the words (C), linear, GELU: a summary (H)
    agreement both summaries projected to vectors of length one (C); the elementwise product, whose sum is their cosine
    telling   the caption's summary to every image position (through r numbers a position), the picture's to the words
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from gptface.systems.gptface.configuration_language import FaceLanguageConfig
from gptface.systems.gptface.sequence import IMAGE_SEGMENT, Regime

__all__ = ["Alignment", "Telling", "words_among"]

# Of the towers' token embeddings, which enter the towers at unit size: a rate made for matrices moves small parameters
# faster. Between 0.02 and 0.06 it makes no difference.
INITIAL_DEVIATION = 0.03


class Telling(nn.Linear):
    """The last map before the residual stream; it starts at zero, so that the towers first say nothing."""


class Alignment(nn.Module):
    """The towers beside a transformer: what they tell each other's tokens, and their agreement.

    Args:
        config: of the transformer. H is its ``alignment_size``, r its ``alignment_rank``, C its ``hidden_size``.
    """

    def __init__(self, config: FaceLanguageConfig) -> None:
        super().__init__()
        width, size, rank = config.hidden_size, config.alignment_size, config.alignment_rank
        self.scale = config.initializer_range  # of what is told: that of the transformer's token embeddings
        self.positions = config.num_image_tokens
        self.image_offset = config.vocabulary.image_offset
        self.rank = rank
        self.token_embeddings = nn.Embedding(config.vocabulary.size, rank)
        self.picture = nn.Linear(self.positions * rank, size)
        self.word = nn.Linear(rank, width)
        self.word_before = nn.Linear(rank, width, bias=False)
        self.caption = nn.Linear(width, size)
        self.project_picture = nn.Linear(size, width, bias=False)
        self.project_caption = nn.Linear(size, width, bias=False)
        self.log_temperature = nn.Parameter(torch.tensor(-2.3))
        self.place = nn.Linear(size, self.positions * rank)
        self.tell_image = Telling(rank, width, bias=False)
        self.tell_text = Telling(size, width, bias=False)

    def summaries(self, text_ids: Tensor, text_lengths: Tensor, image_codes: Tensor) -> tuple[Tensor, Tensor]:
        """Summaries of pictures and of captions, ``(B, H)`` each, without the transformer: for contrastive learning.

        Args:
            text_ids, text_lengths, image_codes: as for :func:`~gptface.systems.gptface.sequence.build_sequence`.
        """
        words = (torch.arange(text_ids.shape[1], device=text_ids.device) < text_lengths.unsqueeze(1)).unsqueeze(-1)
        picture = self.summarise_picture(self.token_embeddings(image_codes + self.image_offset))
        return picture, self.summarise_caption(self.token_embeddings(text_ids), words)

    def summarise_picture(self, embeddings: Tensor) -> Tensor:
        """``(B, N, r)`` in raster order to ``(B, H)``."""
        return functional.gelu(self.picture(embeddings.flatten(1) / INITIAL_DEVIATION))

    def summarise_caption(self, embeddings: Tensor, words: Tensor) -> Tensor:
        """``(B, S, r)`` and which slots are words, ``(B, S, 1)`` bool and consecutive, to ``(B, H)``."""
        embeddings = embeddings / INITIAL_DEVIATION
        before = functional.pad(self.word_before(embeddings) * words, (0, 0, 1, 0))[:, :-1]
        pairs = functional.gelu(self.word(embeddings) + before) * words
        summed = pairs.sum(1) * words.sum(1).clamp_min(1).to(pairs.dtype).rsqrt()
        return functional.gelu(self.caption(summed))

    def embed(self, picture: Tensor, caption: Tensor) -> tuple[Tensor, Tensor]:
        """Both summaries as vectors of length one ``(B, C)``, in float32 at least."""
        seen, said = self.project_picture(picture), self.project_caption(caption)
        precise = torch.promote_types(seen.dtype, torch.float32)
        return functional.normalize(seen.to(precise), dim=-1), functional.normalize(said.to(precise), dim=-1)

    def agreement(self, picture: Tensor, caption: Tensor) -> Tensor:
        """``(B, C)``: C times the elementwise product, whose mean is the cosine."""
        seen, said = self.embed(picture, caption)
        return seen * said * seen.shape[-1]

    def similarities(self, picture: Tensor, caption: Tensor) -> Tensor:
        """``(B, B)`` cosine of picture i and caption j over the learned temperature."""
        seen, said = self.embed(picture, caption)
        return seen @ said.T * torch.exp(-self.log_temperature.clamp(-4.6, 0.0))

    def forward(self, picture: Tensor, others: Tensor, words: Tensor, regimes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What is added to joint sequences: to their slots before the transformer, to their [CLS] behind it.

        A row is told only what its regime lets it see, and the agreement, which knows both, goes to masked rows alone.

        Args:
            picture: ``(B, N, r)`` the towers' token embeddings of the image tokens, in raster order.
            others: ``(B, W, r)`` those of the other slots.
            words: ``(B, W)`` bool, which of them are the caption's words (:func:`words_among`).
            regimes: ``(B,)``, see :class:`~gptface.systems.gptface.sequence.JointSequence`.

        Returns:
            ``(B, N, C)`` for the image tokens, ``(B, W, C)`` for the other slots, ``(B, C)`` for [CLS].
        """
        words = words.unsqueeze(-1)
        shown, spoken = self.summarise_picture(picture), self.summarise_caption(others, words)

        # Summaries grow as they learn to tell pairs apart; told as they are, they drown the words they are added to.
        seen, said = (functional.layer_norm(summary, summary.shape[-1:]) for summary in (shown, spoken))
        told_image, told_text = (
            self.scale * (regimes != int(regime)).to(seen.dtype).unsqueeze(1)
            for regime in (Regime.IMAGE_TO_TEXT, Regime.TEXT_TO_IMAGE)
        )
        laid_out = self.place(said) * told_image
        to_image = self.tell_image(laid_out.view(-1, self.positions, self.rank))
        to_words = (self.tell_text(seen) * told_text).unsqueeze(1) * words
        agreement = self.agreement(shown, spoken) * (regimes == int(Regime.MASKED)).unsqueeze(1)
        return to_image, to_words, agreement

    def flops_per_pair(self, text_length: int) -> float:
        """Floating-point operations of comparing one pair, forward and backward."""
        once = (self.picture, self.caption, self.project_picture, self.project_caption)
        words = (self.word, self.word_before)
        weights = sum(layer.weight.numel() for layer in once)
        return 6.0 * (weights + text_length * sum(layer.weight.numel() for layer in words))


def words_among(position_ids: Tensor, segment_ids: Tensor) -> Tensor:
    """bool like ``position_ids (B, S)``: the slots of the caption's words, without [CLS] and [SEP]."""
    text_positions = position_ids.masked_fill(segment_ids == IMAGE_SEGMENT, 0)
    return (text_positions > 0) & (text_positions < text_positions.amax(1, keepdim=True))
