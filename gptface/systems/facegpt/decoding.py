"""Answers token by token: greedy or sampled, keys and values kept, ``<FACE>`` left to the model or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.models.transformer_layer import KeyValueCache
from gptface.ops import IntervalMask
from gptface.systems.facegpt.model import FaceGPT
from gptface.systems.facegpt.sequence import ConversationTokens, Encoded, collate

__all__ = ["Answer", "Emission", "answer"]

Emission = Literal["free", "forced", "forbidden"]
"""Who decides on ``<FACE>``: the model; an answer that would end without it is given it first; it is never said."""


@dataclass(frozen=True)
class Answer:
    """What the model says.

    Attributes:
        ids: the tokens, without the [SEP] that ends them.
        text: the same as text, with ``<FACE>``.
        numbers: float32 (F, ``face_size``), of every ``<FACE>``: see :class:`FaceLayout`.
        ended: whether the model ended it, and not the lack of room.
    """

    ids: list[int]
    text: str
    numbers: Tensor
    ended: bool


@torch.no_grad()
def answer(
    model: FaceGPT,
    tokens: ConversationTokens,
    prompts: Sequence[Encoded],
    images: Tensor,
    *,
    emission: Emission = "free",
    temperature: float = 0.0,
    top_k: int | None = None,
    seed: int = 0,
    max_new_tokens: int | None = None,
) -> list[Answer]:
    """The answers to questions, all at once.

    Args:
        model: in evaluation mode.
        tokens: of the model.
        prompts: B of :meth:`ConversationTokens.prompt`.
        images: float32 (P, 3, s, s) in [−1, 1], those of the prompts that have a picture, in their order.
        emission: who decides on ``<FACE>``.
        temperature: 0 takes the most probable token every time; above it, tokens are drawn.
        top_k: draw from the most probable ones only.
        seed: of the draws.
        max_new_tokens: at most so many; by default as many as there is room for.

    Raises:
        InputError: a number out of its range, or a model without language.
    """
    if not model.config.language:
        raise InputError("this model was trained without language: it makes heads of photos, and says nothing")
    if emission not in ("free", "forced", "forbidden"):
        raise InputError(f"emission: {emission!r}; allowed: free, forced, forbidden")
    if not 0 <= temperature < float("inf"):
        raise InputError(f"temperature: {temperature!r}; it must be 0 or more")
    for name, value in (("top_k", top_k), ("max_new_tokens", max_new_tokens)):
        if value is not None and value < 1:
            raise InputError(f"{name}: {value!r}; it must be at least 1")
    if not prompts:
        return []
    device = model.token_embeddings.weight.device
    batch = collate(prompts, images, tokens, packed=False).to(device)
    count, slots = batch.ids.shape
    lengths = torch.tensor([len(prompt.ids) for prompt in prompts], device=device)
    patches = torch.tensor([tokens.num_patches * (prompt.image_start >= 0) for prompt in prompts], device=device)
    room = tokens.max_text_length - int((lengths - patches).max())
    steps = room if max_new_tokens is None else min(room, max_new_tokens)
    caches = [KeyValueCache(slots + steps) for _ in model.layers]

    def through(states: Tensor, places: Tensor, intervals: Tensor) -> Tensor:
        for cache in caches:
            cache.places = places
        return model.contextualise(states, IntervalMask(intervals, slots + steps), caches)

    states = model.embed(batch.ids, batch.position_ids, batch.images, batch.image_slots)
    hidden = through(states, torch.arange(slots, device=device).expand(count, -1), batch.mask().intervals)
    last = hidden[torch.arange(count, device=device), lengths - 1]
    choice = _Choice(tokens, emission, temperature, top_k, seed, count)
    said: list[list[int]] = [[] for _ in prompts]
    faces: list[list[Tensor]] = [[] for _ in prompts]
    nothing = batch.images[:0], batch.image_slots[:0]
    for step in range(steps):
        chosen = choice(model.word_logits(last).float(), steps - step)
        for row in choice.going():
            said[row].append(chosen[row])
        if not choice.going():
            break
        ids = torch.tensor(chosen, device=device)[:, None]
        # A finished answer goes on writing at one place, which nobody looks at.
        position = (lengths - patches).clamp(max=tokens.max_text_length - 1)[:, None]
        seen = IntervalMask.padding(lengths + 1, slots + steps, num_queries=1)
        last = through(model.embed(ids, position, *nothing), lengths[:, None], seen.intervals)[:, 0]
        shown = [row for row in choice.going() if chosen[row] == tokens.ids["face_token_id"]]
        if shown:
            for row, numbers in zip(shown, model.numbers(last[shown]), strict=True):
                faces[row].append(numbers)
        growing = torch.zeros_like(lengths)
        growing[choice.going()] = 1
        lengths = lengths + growing
    none = torch.zeros(0, model.config.face_size, device=device)
    return [
        Answer(ids, tokens.decode(ids), torch.stack(found) if found else none, not going)
        for ids, found, going in zip(said, faces, choice.unfinished, strict=True)
    ]


class _Choice:
    """Which token comes next in every answer, and which answers are not at their end."""

    def __init__(
        self,
        tokens: ConversationTokens,
        emission: Emission,
        temperature: float,
        top_k: int | None,
        seed: int,
        count: int,
    ) -> None:
        self.end, self.face = tokens.ids["sep_token_id"], tokens.ids["face_token_id"]
        structure = [value for value in tokens.structure() if value not in (self.end, self.face)]
        self.banned = [*structure, self.face] if emission == "forbidden" else structure
        self.forced = emission == "forced"
        self.temperature = temperature
        self.top_k = top_k
        self.generator = torch.Generator().manual_seed(seed)
        self.unfinished = [True] * count
        self.shown = [False] * count

    def going(self) -> list[int]:
        """The answers that go on."""
        return [row for row, going in enumerate(self.unfinished) if going]

    def __call__(self, logits: Tensor, room: int) -> list[int]:
        """Token ids for logits (B, V), where there is room for ``room`` tokens, the last of them [SEP]."""
        logits[:, self.banned] = float("-inf")
        chosen = self._drawn(logits)
        for row in self.going():
            if self.forced and not self.shown[row] and (chosen[row] == self.end or room <= 2):
                chosen[row] = self.face
            self.shown[row] |= chosen[row] == self.face
            self.unfinished[row] = chosen[row] != self.end
        return chosen

    def _drawn(self, logits: Tensor) -> list[int]:
        if self.temperature == 0:
            return logits.argmax(-1).tolist()
        if self.top_k is not None and self.top_k < logits.shape[1]:
            least = logits.topk(self.top_k, dim=-1).values[:, -1:]
            logits = logits.masked_fill(logits < least, float("-inf"))
        shares = torch.softmax(logits / self.temperature, -1).cpu()
        return torch.multinomial(shares, 1, generator=self.generator)[:, 0].tolist()
