"""Conversations as a base of somebody else's reads them: its chat template, its picture tokens, its padding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.systems.facegpt.adapter.token import FACE, text_tokenizer
from gptface.systems.facegpt.data.conversations import Conversation, Turn, without_markers

__all__ = ["ConversationEncoder"]

NO_TARGET = -100
_PICTURES = ("pixel", "image", "video")
"""How the names of inputs begin that have a row a picture or a patch, and not a number a token."""


class ConversationEncoder:
    """Turns conversations and pictures into the base's inputs.

    A base without a chat template is spoken to in LLaVA 1.5's words: ``USER: question ASSISTANT: answer</s>``.

    Args:
        processor: of the base, with ``<FACE>``: a tokenizer, or a processor that also takes pictures.
        padding: id that fills up; what stands there is masked.
    """

    def __init__(self, processor: Any, padding: int) -> None:
        self.processor = processor
        self.tokenizer = text_tokenizer(processor)
        self.padding = padding
        self.sees = processor is not self.tokenizer
        self._speaker = next((one for one in (processor, self.tokenizer) if getattr(one, "chat_template", None)), None)

    def prompts(self, questions: Sequence[str], pictures: Sequence[Any | None] | None = None) -> dict[str, Tensor]:
        """Questions that wait for an answer, padded on the left.

        Args:
            questions: one a row; ``<FACE>``, ``<image>`` and the like are left out of them.
            pictures: one PIL picture a row, or ``None`` for a row without.

        Raises:
            InputError: pictures for a base that takes none, or not one a row.
        """
        pictures = self._pictures(questions, pictures)
        rows = []
        for question, picture in zip(questions, pictures, strict=True):
            turn = Turn("human", without_markers(question))
            rows.append(self._ids(self._text((turn,), picture is not None), picture))
        return self._batch(rows, left=True)

    def batch(
        self,
        conversations: Sequence[Conversation],
        pictures: Sequence[Any | None] | None = None,
        *,
        left: bool = False,
        longest: int | None = None,
    ) -> dict[str, Tensor]:
        """Whole conversations with ``labels``: the assistant's tokens, its end of turn among them; −100 elsewhere.

        Args:
            conversations: one a row.
            pictures: one PIL picture a row, or ``None`` for a row without.
            left: pad on the left instead of the right.
            longest: tokens a row may have.

        Raises:
            InputError: a conversation that is longer, pictures that do not go with the conversations or the base.
        """
        pictures = self._pictures(conversations, pictures)
        rows = []
        for number, (conversation, picture) in enumerate(zip(conversations, pictures, strict=True)):
            if conversation.image != (picture is not None):
                wants = "wants a picture and has none" if conversation.image else "has a picture that it does not want"
                raise InputError(f"pictures: conversation {number} {wants}")
            row = self._ids(self._text(conversation.turns, conversation.image), picture)
            row["labels"] = self._labels(conversation, row["input_ids"])
            length = row["input_ids"].shape[1]
            if longest is not None and length > longest:
                raise InputError(f"conversations: number {number} has {length} tokens; at most {longest} are allowed")
            rows.append(row)
        return self._batch(rows, left=left)

    def text(self, ids: Sequence[int]) -> str:
        """What was written, ``<FACE>`` included, without the other special tokens."""
        added = self.tokenizer.added_tokens_decoder
        number = self.tokenizer.convert_tokens_to_ids(FACE)
        special = {key for key, token in added.items() if token.special} | set(self.tokenizer.all_special_ids)
        kept = [one for one in ids if one == number or one not in special]
        return self.tokenizer.decode(kept, skip_special_tokens=False).strip()

    def _pictures(self, rows: Sequence[Any], pictures: Sequence[Any | None] | None) -> Sequence[Any | None]:
        found = [None] * len(rows) if pictures is None else list(pictures)
        if len(found) != len(rows):
            raise InputError(f"pictures: {len(found)} for {len(rows)} rows; one each, None where there is none")
        if not self.sees and any(one is not None for one in found):
            raise InputError("pictures: this base reads text alone; give the processor of a vision–language model")
        return found

    def _text(self, turns: Sequence[Turn], image: bool) -> str:
        """Turns as the base's text; where the last one is the human's, ready for the answer."""
        waiting = turns[-1].role == "human"
        if self._speaker is None:
            return self._plain(turns, image)
        from jinja2 import TemplateError

        parts = self._speaker is not self.tokenizer
        messages = []
        for number, turn in enumerate(turns):
            role = "user" if turn.role == "human" else "assistant"
            shown = image and number == 0
            content: Any = ("" if not shown else f"{self._picture_word()}\n") + turn.text
            if parts:
                content = [{"type": "image"}] * shown + [{"type": "text", "text": turn.text}]
            messages.append({"role": role, "content": content})
        try:
            return self._speaker.apply_chat_template(messages, tokenize=False, add_generation_prompt=waiting)
        except TemplateError as error:
            raise InputError(f"the base's chat template refuses this conversation: {error}") from error

    def _plain(self, turns: Sequence[Turn], image: bool) -> str:
        end = self.tokenizer.eos_token or "\n"
        text = ""
        for number, turn in enumerate(turns):
            if turn.role == "human":
                shown = f"{self._picture_word()}\n" if image and number == 0 else ""
                text += f"USER: {shown}{turn.text} ASSISTANT:"
            else:
                text += f" {turn.text}{end}"
        return text

    def _picture_word(self) -> str:
        word = getattr(self.processor, "image_token", None)
        if word is None:
            raise InputError(f"processor: {type(self.processor).__name__} has no image_token, nor a chat template")
        return str(word)

    def _tokens(self, text: str) -> list[int]:
        # A template writes the special tokens itself.
        return self.tokenizer(text, add_special_tokens=self._speaker is None)["input_ids"]

    def _ids(self, text: str, picture: Any | None) -> dict[str, Tensor]:
        if picture is None:
            ids = torch.tensor([self._tokens(text)])
            return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        found = self.processor(
            text=[text], images=[picture], return_tensors="pt", add_special_tokens=self._speaker is None
        )
        return dict(found)

    def _labels(self, conversation: Conversation, ids: Tensor) -> Tensor:
        """The assistant's tokens of ``ids (1, S)``: what a turn adds to the text before it.

        Counted from the end: pictures, which become many tokens, all come before the first answer.
        """
        whole = self._tokens(self._text(conversation.turns, conversation.image))
        labels = torch.full_like(ids, NO_TARGET)
        for number in range(1, len(conversation.turns), 2):
            first, last = (
                _common(self._tokens(self._text(conversation.turns[: number + more], conversation.image)), whole)
                for more in (0, 1)
            )
            span = slice(ids.shape[1] - len(whole) + first, ids.shape[1] - len(whole) + last)
            labels[:, span] = ids[:, span]
        return labels

    def _batch(self, rows: Sequence[Mapping[str, Tensor]], *, left: bool) -> dict[str, Tensor]:
        lengths = [row["input_ids"].shape[1] for row in rows]
        longest = max(lengths)
        batch: dict[str, Tensor] = {}
        for name in dict.fromkeys(name for row in rows for name in row):
            given = [row.get(name) for row in rows]
            each_token = all(
                one is None or one.shape == (1, length) for one, length in zip(given, lengths, strict=True)
            )
            if each_token and not name.startswith(_PICTURES):
                fill = {"input_ids": self.padding, "labels": NO_TARGET}.get(name, 0)
                padded = []
                for one, length in zip(given, lengths, strict=True):
                    one = torch.zeros(1, length, dtype=torch.long) if one is None else one
                    gap = longest - length
                    padded.append(torch.nn.functional.pad(one, (gap, 0) if left else (0, gap), value=fill))
                batch[name] = torch.cat(padded)
            else:
                batch[name] = _joined([one for one in given if one is not None])
        return batch


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two texts share at their beginning."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((number for number, (one, other) in pairs if one != other), min(len(first), len(second)))


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """Pictures one after the other; of those cut into unlike numbers of tiles, the missing ones are zeros."""
    shape = [max(sizes) for sizes in zip(*(part.shape[1:] for part in parts), strict=True)]
    padded = []
    for part in parts:
        gaps = [gap for size, wanted in zip(part.shape[1:], shape, strict=True) for gap in (wanted - size, 0)]
        padded.append(torch.nn.functional.pad(part, gaps[::-1]))
    return torch.cat(padded)
