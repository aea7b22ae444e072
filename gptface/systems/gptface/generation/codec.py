"""Between people's pictures and words and the tokens of a system."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gptface.data.text import encode_captions
from gptface.systems.gptface.generation.autoregressive import DecodedText
from gptface.systems.gptface.generation.denoiser import JointDenoiser, JointState
from gptface.systems.gptface.system import FaceSystem

__all__ = ["SystemCodec"]


class SystemCodec:
    """Encodes and decodes with a system's two tokenizers.

    Pictures pass one at a time: convolutions choose their algorithm, and with it their rounding, by the batch, and what
    a sample becomes must not depend on its batch.

    Attributes:
        unwritable: text pieces no caption may be given: ids that the text tokenizer does not know, and ``[UNK]``.
    """

    def __init__(self, system: FaceSystem) -> None:
        self.system = system
        known, limit = len(system.text_tokenizer), int(system.model.config.text_vocab_size)
        unknown_word = system.text_tokenizer.unk_token_id
        self.unwritable = [*range(known, limit), *([] if unknown_word is None else [int(unknown_word)])]

    @property
    def device(self) -> torch.device:
        return self.system.device

    @property
    def image_size(self) -> int:
        """Side of the pictures the system makes, in pixels."""
        return int(self.system.tokenizer.config.image_size)

    @property
    def grid(self) -> tuple[int, int]:
        """Tokens of a picture, ``(h, w)``."""
        height, width = self.system.tokenizer.config.grid
        return int(height), int(width)

    @property
    def text_room(self) -> int:
        """Most word pieces of a caption."""
        return int(self.system.model.config.max_text_length)

    def state(self, captions: Sequence[str], codes: Tensor) -> JointState:
        """Captions, cut to ``text_room``, beside image tokens ``(B, N)``.

        Encoded as in training: what looks like a special token in a caption is a word nobody knows.
        """
        # Always the full room: a batch's longest caption must not decide how a sample is computed.
        ids, lengths = encode_captions(self.system.text_tokenizer, captions, self.text_room)
        return JointState(ids.to(self.device), lengths.to(self.device), codes)

    def words(self, text: DecodedText) -> list[str]:
        """Captions ``(B)`` as strings."""
        rows = zip(text.text_ids.tolist(), text.lengths.tolist(), strict=True)
        return [str(self.system.text_tokenizer.decode(ids[:length], skip_special_tokens=True)) for ids, length in rows]

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """``(B, 3, H, W)`` in [−1, 1] to codes ``(B, N)`` on the system's device."""
        return torch.cat([self.system.tokenizer.encode(image[None].to(self.system.device)) for image in images])

    @torch.no_grad()
    def pictures(self, codes: Tensor) -> Tensor:
        """Codes ``(B, N)`` to ``(B, 3, H, W)`` in [−1, 1]."""
        return torch.cat([self.system.tokenizer.decode(row[None]) for row in codes])

    @torch.no_grad()
    def match(self, state: JointState) -> Tensor:
        """``(B,)`` float32 log-odds of "caption and picture belong together"."""
        denoiser = JointDenoiser(self.system.model)
        rows = [state.rows(slice(row, row + 1)) for row in range(len(state))]
        return torch.cat([denoiser(row).match_log_odds for row in rows])
