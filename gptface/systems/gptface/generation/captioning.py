"""Captions for image codes: drawn word by word or filled in, and ranked by the matching head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.systems.gptface.generation.autoregressive import AutoregressiveSettings, DecodedText, decode_text
from gptface.systems.gptface.generation.codec import SystemCodec
from gptface.systems.gptface.generation.denoiser import JointDenoiser, JointState
from gptface.systems.gptface.generation.noise import derive_seed
from gptface.systems.gptface.generation.results import CaptionResult
from gptface.systems.gptface.generation.sampler import DecodingSettings, decode_masked

__all__ = ["caption_codes"]


def caption_codes(
    codec: SystemCodec,
    codes: Tensor,
    seeds: Sequence[int],
    *,
    method: str = "autoregressive",
    candidates: int = 1,
    max_length: int | None = None,
    autoregressive: AutoregressiveSettings | None = None,
    settings: DecodingSettings | None = None,
) -> CaptionResult:
    """See :meth:`gptface.systems.gptface.generation.FaceGenerator.caption`; ``codes (B, N)`` int64."""
    if candidates < 1:
        raise InputError(f"candidates must be at least 1, got {candidates}")
    longest = codec.text_room if max_length is None else max_length
    if not 1 <= longest <= codec.text_room:
        raise InputError(f"max_length must lie between 1 and the model's {codec.text_room} word pieces, got {longest}")
    drawn: list[DecodedText] = []
    if method == "autoregressive":
        chosen = autoregressive or AutoregressiveSettings(temperature=0.0 if candidates == 1 else 1.0)
        for candidate in range(candidates):
            numbers = [derive_seed(seed, candidate) for seed in seeds]
            drawn.append(decode_text(codec.system.model, codes, numbers, longest, chosen, codec.unwritable))
    elif method == "masked":
        for length in sorted({max(1, longest * share // 4) for share in (1, 2, 3)}):
            for candidate in range(candidates):
                numbers = [derive_seed(seed, length, candidate) for seed in seeds]
                drawn.append(_fill_caption(codec, codes, length, numbers, settings or DecodingSettings()))
    else:
        raise InputError(f"method must be autoregressive or masked, got {method!r}")
    match = torch.stack([codec.match(JointState(text.text_ids, text.lengths, codes)) for text in drawn])
    ranked = match.argsort(dim=0, descending=True, stable=True).cpu()
    texts = [codec.words(text) for text in drawn]
    ordered = [[texts[int(index)][row] for index in ranked[:, row]] for row in range(codes.shape[0])]
    return CaptionResult([own[0] for own in ordered], match.amax(0).cpu().numpy(), ordered)


def _fill_caption(
    codec: SystemCodec, codes: Tensor, length: int, seeds: Sequence[int], settings: DecodingSettings
) -> DecodedText:
    """A caption of exactly ``length`` word pieces, all of them unknown at first."""
    batch, device = codes.shape[0], codes.device
    ids = torch.full((batch, codec.text_room), codec.system.model.vocabulary.pad_id, dtype=torch.int64, device=device)
    unknown = (torch.arange(codec.text_room, device=device) < length).expand(batch, -1)
    lengths = torch.full((batch,), length, dtype=torch.int64, device=device)
    denoiser = JointDenoiser(codec.system.model, "text", codec.unwritable)
    decoded = decode_masked(denoiser, JointState(ids, lengths, codes), unknown, seeds, settings)
    return DecodedText(decoded.state.text_ids, lengths, torch.zeros(batch, device=device))
