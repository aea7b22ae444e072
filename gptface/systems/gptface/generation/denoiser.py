"""The network as decoding sees it: tokens in, logits of one modality and the matching head's verdict out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

import torch
from torch import Tensor

from gptface.models.transformer_layer import KeyValueCache
from gptface.ops import IntervalMask
from gptface.systems.gptface.generation.memory import Memory
from gptface.systems.gptface.sequence import JointSequence, Regime, build_sequence

if TYPE_CHECKING:
    from gptface.systems.gptface.transformer import FaceLanguageModel

__all__ = ["Denoised", "Denoiser", "JointDenoiser", "JointState", "Target"]

Target = Literal["image", "text"]


@dataclass(frozen=True)
class JointState:
    """Captions and image tokens of a batch, either possibly partly masked.

    Attributes:
        text_ids: ``(B, T)`` int64 without ``[CLS]``/``[SEP]``, padded; masked tokens are ``mask_id``.
        text_lengths: ``(B,)`` int64, from 0 (no caption) to T.
        image_codes: ``(B, N)`` int64 in ``[0, K]``, where K is a masked token.
    """

    text_ids: Tensor
    text_lengths: Tensor
    image_codes: Tensor

    def __len__(self) -> int:
        return int(self.image_codes.shape[0])

    def repeat(self, copies: int) -> JointState:
        """Every sample ``copies`` times in a row: ``(B * copies, …)``."""
        return JointState(
            self.text_ids.repeat_interleave(copies, 0),
            self.text_lengths.repeat_interleave(copies, 0),
            self.image_codes.repeat_interleave(copies, 0),
        )

    def rows(self, index: Tensor | slice) -> JointState:
        return JointState(self.text_ids[index], self.text_lengths[index], self.image_codes[index])

    def without_caption(self) -> JointState:
        """The same images with the empty caption: the unconditional branch of classifier-free guidance."""
        return replace(self, text_lengths=torch.zeros_like(self.text_lengths))

    @staticmethod
    def concatenate(states: Sequence[JointState]) -> JointState:
        return JointState(
            torch.cat([state.text_ids for state in states]),
            torch.cat([state.text_lengths for state in states]),
            torch.cat([state.image_codes for state in states]),
        )


@dataclass(frozen=True)
class Denoised:
    """What one pass of the network knows.

    Attributes:
        features: ``(B, L, C)`` hidden states of the target modality's positions.
        match_logits: ``(B, 2)``, class 1 is "caption and image belong together".
    """

    features: Tensor
    match_logits: Tensor

    def rows(self, index: Tensor | slice) -> Denoised:
        return Denoised(self.features[index], self.match_logits[index])

    @property
    def match_log_odds(self) -> Tensor:
        """``(B,)`` ``log p(match) − log p(mismatch)``."""
        return (self.match_logits[:, 1] - self.match_logits[:, 0]).float()


class Denoiser(Protocol):
    """What the sampler and the guidance need of a network."""

    @property
    def target(self) -> Target: ...

    @property
    def mask_token(self) -> int:
        """What stands at an unknown position of the target modality."""

    @property
    def image_mask_token(self) -> int: ...

    @property
    def forbidden(self) -> Tensor | None:
        """``(V,)`` bool, tokens that are never to be written; None if all are fine."""

    def tokens(self, state: JointState) -> Tensor:
        """``(B, L)`` the target modality's tokens."""

    def with_tokens(self, state: JointState, tokens: Tensor) -> JointState: ...

    def __call__(self, state: JointState, embeddings: Tensor | None = None) -> Denoised:
        """One pass; ``embeddings (B, L, C)`` takes the place of the target modality's token embeddings."""

    def remembering(self, state: JointState, memory: Memory) -> Denoised:
        """One pass, which fills ``memory``."""

    def renewed(self, state: JointState, memory: Memory) -> Denoised:
        """A pass over the tokens of ``memory`` alone: features ``(B, n, C)``."""

    def logits(self, denoised: Denoised, index: Tensor | None = None) -> Tensor:
        """``(B, L, V)`` float32, or ``(B, n, V)`` of the tokens ``index (B, n)`` alone."""

    def embed(self, tokens: Tensor) -> Tensor:
        """``(B, L, C)`` embeddings of the target modality's tokens (masked ones included)."""

    def embedding_table(self) -> Tensor:
        """``(V, C)`` embeddings of the tokens that logits speak of."""


class JointDenoiser:
    """A :class:`~gptface.systems.gptface.transformer.FaceLanguageModel` in the bidirectional regime.

    Args:
        model: in evaluation mode.
        target: which modality is decoded; the other one conditions it.
        forbidden_ids: text pieces that are never written, besides the special tokens.
    """

    def __init__(self, model: FaceLanguageModel, target: Target = "image", forbidden_ids: Sequence[int] = ()) -> None:
        self.model = model
        self.forbidden_ids = tuple(forbidden_ids)
        self._target: Target = target
        self.vocabulary = model.vocabulary
        self._masks: dict[int, tuple[Tensor, IntervalMask]] = {}

    @property
    def target(self) -> Target:
        return self._target

    @property
    def image_mask_token(self) -> int:
        return self.vocabulary.image_size

    @property
    def mask_token(self) -> int:
        return self.vocabulary.image_size if self.target == "image" else self.vocabulary.mask_id

    @property
    def forbidden(self) -> Tensor | None:
        if self.target == "image":
            return None
        special = (self.vocabulary.pad_id, self.vocabulary.cls_id, self.vocabulary.sep_id, self.vocabulary.mask_id)
        banned = torch.zeros(self.vocabulary.text_size, dtype=torch.bool, device=self.model.device)
        banned[[*special, *self.forbidden_ids]] = True
        return banned

    def tokens(self, state: JointState) -> Tensor:
        return state.image_codes if self.target == "image" else state.text_ids

    def with_tokens(self, state: JointState, tokens: Tensor) -> JointState:
        return replace(state, image_codes=tokens) if self.target == "image" else replace(state, text_ids=tokens)

    def _sequence(self, state: JointState) -> JointSequence:
        sequence = build_sequence(self.vocabulary, state.text_ids, state.text_lengths, state.image_codes, Regime.MASKED)
        if torch.compiler.is_compiling():
            return sequence  # a graph has no memory of other calls
        # Decoding changes tokens, never lengths, so every step's mask is the first step's: one object, whose derived
        # forms (a dense mask, tile bounds) are then computed once.
        known = self._masks.get(id(state.text_lengths))
        if known is not None and known[1].num_keys == sequence.token_ids.shape[1]:
            sequence.attention_mask = known[1]
        else:
            if len(self._masks) >= 8:
                self._masks.clear()
            # The tensor is kept beside its mask so that its identity cannot pass to another one.
            self._masks[id(state.text_lengths)] = (state.text_lengths, sequence.attention_mask)
        return sequence

    def _slots(self, sequence: JointSequence) -> Tensor:
        return sequence.image_slots if self.target == "image" else sequence.text_slots

    def remembering(self, state: JointState, memory: Memory) -> Denoised:
        """As a call, over all tokens, which fills ``memory``; see :meth:`renewed`."""
        sequence = self._sequence(state)
        slots = self.model.computed_slots(sequence.token_ids.shape[1])
        memory.caches = [KeyValueCache(slots) for _ in self.model.layers]
        denoised = self._read(self.model.forward_sequence(sequence, caches=memory.caches), self._slots(sequence))
        memory.match_logits = denoised.match_logits
        return denoised

    def renewed(self, state: JointState, memory: Memory) -> Denoised:
        """Of the tokens ``memory.index`` alone, features ``(B, n, C)``; all others count as they were when it was made.

        The verdict is that of the full pass.
        """
        assert memory.match_logits is not None
        sequence = self._sequence(state)
        slots = self._slots(sequence).gather(1, memory.index)
        return Denoised(self.model.forward_sequence(sequence, caches=memory.caches, slots=slots), memory.match_logits)

    def __call__(self, state: JointState, embeddings: Tensor | None = None) -> Denoised:
        sequence = self._sequence(state)
        slots = self._slots(sequence)
        inputs = None
        if embeddings is not None:
            if self.target == "text":
                # Text positions past a caption's end share slot 0 with [CLS] and must leave it alone.
                own = self.model.embed_tokens(sequence.token_ids.gather(1, slots))
                embeddings = torch.where(sequence.text_valid.unsqueeze(-1), embeddings, own)
            inputs = self.model.embed_tokens(sequence.token_ids)
            index = slots.unsqueeze(-1).expand(-1, -1, inputs.shape[-1])
            inputs = inputs.scatter(1, index, embeddings.to(inputs.dtype))
        return self._read(self.model.forward_sequence(sequence, inputs_embeds=inputs), slots)

    def _read(self, hidden: Tensor, slots: Tensor) -> Denoised:
        features = hidden.gather(1, slots.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))
        return Denoised(features, self.model.match_logits(hidden))

    def logits(self, denoised: Denoised, index: Tensor | None = None) -> Tensor:
        project = self.model.image_logits if self.target == "image" else self.model.text_logits
        features = denoised.features
        if index is not None:
            features = features.gather(1, index.unsqueeze(-1).expand(-1, -1, features.shape[-1]))
        return project(features).float()

    def embed(self, tokens: Tensor) -> Tensor:
        offset = self.vocabulary.image_offset if self.target == "image" else 0
        return self.model.embed_tokens(tokens + offset)

    def embedding_table(self) -> Tensor:
        size = self.vocabulary.image_size if self.target == "image" else self.vocabulary.text_size
        return self.embed(torch.arange(size, device=self.model.device))
