"""Two light towers over token embeddings: what a picture says as a whole, what a caption says, and whether they agree.

Attention has to find out where in a picture the mouth is before it can learn what "smiling" looks like; a map that
knows every position reads it off from the first step, and a contrastive loss over hundreds of pairs a step (CLIP,
arXiv 2103.00020; before fusion: ALBEF, arXiv 2107.07651) trains it at a small fraction of the transformer's cost. The
towers read *embeddings*, not ids, so that guidance has a gradient through them to every soft token.

    picture   each token embedding (C) to r numbers, all positions side by side (N·r), linear, GELU: a summary (H)
    caption   each word with the one before it, linear, GELU, summed over the words (C), linear, GELU: a summary (H)
    agreement both summaries projected to vectors of length one (C); the elementwise product, whose sum is their cosine
    telling   the caption's summary to every image position (through r numbers a position), the picture's to the words
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Alignment", "Telling"]


class Telling(nn.Linear):
    """The last map before the residual stream; it starts at zero, so that the towers first say nothing."""


class Alignment(nn.Module):
    """The towers, what they tell each other's tokens, and their agreement.

    Args:
        width: C, of the token embeddings.
        positions: N, image tokens.
        size: H, of the summaries.
        rank: r, numbers an image position.
        scale: what embeddings are multiplied by first, so that they enter at about unit size.
    """

    def __init__(self, width: int, positions: int, size: int, *, rank: int = 32, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.positions = positions
        self.rank = rank
        self.narrow = nn.Linear(width, rank, bias=False)
        self.picture = nn.Linear(positions * rank, size)
        self.word = nn.Linear(width, width)
        self.word_before = nn.Linear(width, width, bias=False)
        self.caption = nn.Linear(width, size)
        self.project_picture = nn.Linear(size, width, bias=False)
        self.project_caption = nn.Linear(size, width, bias=False)
        self.log_temperature = nn.Parameter(torch.tensor(-2.3))
        self.place = nn.Linear(size, positions * rank)
        self.tell_image = Telling(rank, width, bias=False)
        self.tell_text = Telling(size, width, bias=False)

    def summarise(
        self, text_table: Tensor, text_ids: Tensor, words: Tensor, image_table: Tensor, codes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Summaries of pictures and of captions ``(B, H)`` from ids and the tables of their embeddings.

        Args:
            text_table: ``(V, C)``; text_ids: ``(B, T)``; words: ``(B, T, 1)`` bool.
            image_table: ``(K + 1, C)``; codes: ``(B, N)``.
        """
        here, before = (_looked_up(text_ids, text_table, layer, self.scale) for layer in (self.word, self.word_before))
        picture = self._picture(_looked_up(codes, image_table, self.narrow, self.scale))
        return picture, self._caption(here, before, words)

    def embed(self, picture: Tensor, caption: Tensor) -> tuple[Tensor, Tensor]:
        """Both summaries as vectors of length one, float32 ``(B, C)``."""
        return (
            functional.normalize(self.project_picture(picture).float(), dim=-1),
            functional.normalize(self.project_caption(caption).float(), dim=-1),
        )

    def agreement(self, picture: Tensor, caption: Tensor) -> Tensor:
        """``(B, C)``: C times the elementwise product, whose mean is the cosine."""
        seen, said = self.embed(picture, caption)
        return seen * said * seen.shape[-1]

    def similarities(self, picture: Tensor, caption: Tensor) -> Tensor:
        """``(B, B)`` cosine of picture i and caption j over the learned temperature."""
        seen, said = self.embed(picture, caption)
        return seen @ said.T * torch.exp(-self.log_temperature.clamp(-4.6, 0.0))

    def forward(
        self, embeddings: Tensor, places: Tensor, words: Tensor, told_image: Tensor, told_text: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What is added to the slots of joint sequences, and the agreement.

        Args:
            embeddings: ``(B, S, C)`` token embeddings, before positions.
            places: ``(B, S)`` int64, raster index of an image token, N elsewhere.
            words: ``(B, S, 1)`` bool, the caption's slots.
            told_image, told_text: ``(B,)`` bool, rows whose image may see the caption, whose text may see the picture.

        Returns:
            ``(B, S, C)`` and ``(B, C)``.
        """
        batch = embeddings.shape[0]
        narrow = self.narrow(embeddings * self.scale)
        # Slots that are no image token all write to row N, which is not read.
        index = places.unsqueeze(-1).expand(-1, -1, self.rank)
        raster = narrow.new_zeros(batch, self.positions + 1, self.rank).scatter(1, index, narrow)
        picture = self._picture(raster[:, : self.positions])
        caption = self._caption(self.word(embeddings * self.scale), self.word_before(embeddings * self.scale), words)
        laid_out = self.place(caption).view(batch, self.positions, self.rank) * told_image.view(-1, 1, 1)
        to_image = self.tell_image(functional.pad(laid_out, (0, 0, 0, 1)).gather(1, index))
        to_text = self.tell_text(picture).unsqueeze(1) * (words & told_text.view(-1, 1, 1))
        return to_image + to_text, self.agreement(picture, caption)

    def _picture(self, raster: Tensor) -> Tensor:
        return functional.gelu(self.picture(raster.flatten(1)))

    def _caption(self, here: Tensor, before: Tensor, words: Tensor) -> Tensor:
        """Words are consecutive slots; the first has no word before it."""
        shifted = functional.pad((before * words)[:, :-1], (0, 0, 1, 0))
        pairs = functional.gelu(here + shifted) * words
        summed = pairs.sum(1) * words.sum(1).clamp_min(1).to(pairs.dtype).rsqrt()
        return functional.gelu(self.caption(summed))


def _looked_up(ids: Tensor, table: Tensor, layer: nn.Linear, scale: float) -> Tensor:
    """``layer(scale · table[ids])``, projecting the table where it is shorter than the list of ids."""
    if table.shape[0] <= ids.numel():
        return functional.embedding(ids, layer(table * scale))
    return layer(functional.embedding(ids, table) * scale)
