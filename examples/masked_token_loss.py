"""Sampler, packed indices, gather of hidden rows, loss only there: in one compiled step that never asks the device."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from gptface.ops import ImageBlocks, TextSpans, gather_rows, mask_tokens, sample_span_mask

TEXT, GRID, WORDS, CODES, WIDTH = 12, (4, 4), 100, 64, 32
TEXT_SPANS, IMAGE_BLOCKS = TextSpans(0.25), ImageBlocks(GRID, 0.5)  # made outside compiled code


class Model(nn.Module):
    """Words, then image codes; each modality has its own embedding and its own head."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.codes = nn.Embedding(CODES + 1, WIDTH)  # the last one stands for a masked code
        self.mixer = nn.TransformerEncoderLayer(WIDTH, 2, 64, dropout=0.0, batch_first=True)
        self.text_head, self.image_head = nn.Linear(WIDTH, WORDS), nn.Linear(WIDTH, CODES)

    def forward(self, text: Tensor, lengths: Tensor, codes: Tensor, ids: Tensor, step: Tensor) -> Tensor:
        hidden_text, spans = mask_tokens(
            text, TEXT_SPANS, lengths, mask_id=3, vocabulary_ranges=[(5, WORDS)], seed=0, step=step, sample_ids=ids
        )
        blocks = sample_span_mask(IMAGE_BLOCKS, seed=0, step=step, sample_ids=ids)
        hidden_codes = torch.where(blocks.mask, CODES, codes)
        hidden = self.mixer(torch.cat([self.words(hidden_text), self.codes(hidden_codes)], 1))
        text_loss = masked_loss(hidden[:, :TEXT], spans.indices, text, self.text_head)
        return text_loss + masked_loss(hidden[:, TEXT:], blocks.indices, codes, self.image_head)


def masked_loss(hidden: Tensor, indices: Tensor, truth: Tensor, head: nn.Module) -> Tensor:
    """Mean cross-entropy of the masked tokens. Rows of −1, which pad ``indices``, add nothing to it or its gradient."""
    labels = torch.where(indices >= 0, truth.flatten()[indices.clamp_min(0)], -100)
    return functional.cross_entropy(head(gather_rows(hidden, indices)), labels, ignore_index=-100)


def main(steps: int = 3, backend: str = "inductor") -> list[float]:
    torch.manual_seed(0)
    model = Model()
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    text, codes = torch.randint(5, WORDS, (8, TEXT)), torch.randint(0, CODES, (8, GRID[0] * GRID[1]))
    lengths, losses = torch.randint(4, TEXT + 1, (8,)), []
    for step in range(steps):
        loss = compiled(text, lengths, codes, torch.arange(8), torch.tensor(step))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    print("loss", " ".join(f"{loss:.3f}" for loss in losses))
    return losses


if __name__ == "__main__":
    main()
