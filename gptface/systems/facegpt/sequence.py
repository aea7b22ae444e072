"""Conversations as token sequences, and batches of them.

    [CLS] <human> [patches of the picture] question [SEP] <assistant> answer with <FACE> [SEP] <human> ...

What the assistant says, with its [SEP], is what the language model learns to predict. All of a batch lie side by side
in one row, told apart by their document, or one a row where the attention has nothing to gain from that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from gptface.data.metadata import without_surrogates
from gptface.data.text import special_tokens
from gptface.errors import InputError
from gptface.ops import IntervalMask
from gptface.systems.facegpt.configuration_model import FaceGPTConfig
from gptface.systems.facegpt.data.conversations import FACE, Conversation, Turn

__all__ = ["MARKERS", "ConversationBatch", "ConversationTokens", "Encoded", "collate"]

MARKERS = {"human": "<human>", "assistant": "<assistant>", "image": "<image>", "face": FACE}
"""Tokens beside those of the text tokenizer, by role."""

IGNORED = -1


@dataclass(frozen=True)
class Encoded:
    """One conversation as token ids.

    Attributes:
        ids: the sequence; the patches are ``num_patches`` times ``<image>``.
        spoken: of each token, whether the assistant says it (and so the model learns to).
        image_start: where the patches begin; −1 without a picture.
    """

    ids: list[int]
    spoken: list[bool]
    image_start: int


@dataclass
class ConversationBatch:
    """B conversations, of which P have a picture; M tokens are to be predicted, F of the tokens are ``<FACE>``.

    Sequences lie in R rows of S slots: one row for all, or a row each. Positions of slots are ``row · S + slot``.

    Attributes:
        ids: int64 (R, S), padded.
        position_ids: int64 (R, S): of words, how many stand before them; of patches, ``max_text_length`` + their place.
        document_ids: int64 (R, S), which conversation; −1 for padding.
        block_ids: int64 (R, S), 0 on patches, −1 elsewhere.
        images: float32 (P, 3, s, s) in [−1, 1].
        image_rows: int64 (P,), which conversation each picture belongs to.
        image_slots: int64 (P · patches,), positions of the patches.
        predicted_from: int64 (M,), positions whose next token is to be predicted.
        labels: int64 (M,), those tokens.
        face_slots: int64 (F,), positions of ``<FACE>``.
        face_rows: int64 (F,), which conversation each belongs to.
    """

    ids: Tensor
    position_ids: Tensor
    document_ids: Tensor
    block_ids: Tensor
    images: Tensor
    image_rows: Tensor
    image_slots: Tensor
    predicted_from: Tensor
    labels: Tensor
    face_slots: Tensor
    face_rows: Tensor

    def mask(self) -> IntervalMask:
        """Causal, but for the patches of a picture, which see one another; conversations do not."""
        return IntervalMask.multimodal(self.document_ids, self.block_ids)

    def to(self, device: torch.device | str) -> ConversationBatch:
        """The same on a device."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        moved = {name: value.to(device, non_blocking=True) for name, value in values.items()}
        return ConversationBatch(**moved)


class ConversationTokens:
    """A text tokenizer with the tokens that mark who speaks, pictures and faces.

    Args:
        tokenizer: any fast tokenizer with the special tokens of :mod:`gptface.data.text`; it is given the tokens of
            ``MARKERS`` where it lacks them.
        num_patches: of a picture.
        max_text_length: most tokens of a sequence, patches not counted.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, *, num_patches: int, max_text_length: int) -> None:
        lacking = [token for token in MARKERS.values() if token not in tokenizer.get_vocab()]
        if lacking:
            tokenizer.add_special_tokens({"additional_special_tokens": lacking}, replace_extra_special_tokens=False)
        self.tokenizer = tokenizer
        self.num_patches = num_patches
        self.max_text_length = max_text_length
        own = special_tokens(tokenizer)
        self.ids: dict[str, int] = {f"{name}_token_id": getattr(own, name) for name in ("pad", "unk", "cls", "sep")}
        for role, token in MARKERS.items():
            self.ids[f"{role}_token_id"] = tokenizer.get_vocab()[token]
        self._structure = {*self.ids.values(), own.mask} - {own.unk}

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerFast, config: FaceGPTConfig) -> ConversationTokens:
        """The tokens of a model.

        Raises:
            InputError: the tokenizer is not the one that the model was trained with.
        """
        tokens = cls(tokenizer, num_patches=config.num_patches, max_text_length=config.max_text_length)
        for name, value in tokens.ids.items():
            if getattr(config, name) != value:
                raise InputError(
                    f"text tokenizer: its {name} is {value}, the model's {getattr(config, name)}: they do not belong "
                    "together"
                )
        if len(tokenizer) > config.vocab_size:
            raise InputError(f"text tokenizer: has {len(tokenizer)} tokens, the model {config.vocab_size}")
        return tokens

    def __len__(self) -> int:
        """Size of the vocabulary."""
        return len(self.tokenizer)

    def structure(self) -> list[int]:
        """Ids of all tokens that are not text, in order; [UNK] is."""
        return sorted(self._structure)

    def text(self, text: str) -> list[int]:
        """Token ids of a text; what looks like a special token in it is text, and becomes [UNK]."""
        encoding = self.tokenizer.backend_tokenizer.encode(without_surrogates(text), add_special_tokens=False)
        unknown = self.ids["unk_token_id"]
        return [unknown if token in self._structure else token for token in encoding.ids]

    def answer(self, text: str) -> list[int]:
        """Token ids of what the assistant says, in which ``<FACE>`` is the token."""
        ids: list[int] = []
        for number, part in enumerate(text.split(FACE)):
            ids += [self.ids["face_token_id"]] * (number > 0) + self.text(part)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of what the assistant said, with ``<FACE>``."""
        parts: list[list[int]] = [[]]
        for token in ids:
            if token == self.ids["face_token_id"]:
                parts.append([])
            elif token not in self._structure:
                parts[-1].append(token)
        return f" {FACE} ".join(str(self.tokenizer.decode(part)) for part in parts).strip()

    def encode(self, conversation: Conversation) -> Encoded:
        """The whole conversation; later turns beyond ``max_text_length`` are left out, longer texts lose their end."""
        return self._encoded(conversation.turns, conversation.image)

    def prompt(self, question: str, *, image: bool) -> Encoded:
        """A question up to where its answer begins."""
        return self._encoded((Turn("human", question),), image, self.max_text_length // 2)

    def _encoded(self, turns: Sequence[Turn], image: bool, limit: int | None = None) -> Encoded:
        limit = self.max_text_length if limit is None else limit
        ids, spoken, start = [self.ids["cls_token_id"]], [False], -1
        words = 1
        for number in range(0, len(turns), 2):
            question = self.text(turns[number].text)[: max(0, limit // 2 - 3)]
            answer = self.answer(turns[number + 1].text) if number + 1 < len(turns) else None
            length = len(question) + 3 + (0 if answer is None else len(answer) + 1)
            if number and words + length > limit:
                break
            words += length
            ids.append(self.ids["human_token_id"])
            if image and not number:
                start = len(ids)
                ids += [self.ids["image_token_id"]] * self.num_patches
            ids += [*question, self.ids["sep_token_id"], self.ids["assistant_token_id"]]
            spoken += [False] * (len(ids) - len(spoken))
            if answer is not None:
                room = limit - (len(ids) - self.num_patches * (start >= 0)) - 1
                ids += [*answer[:room], self.ids["sep_token_id"]]
                spoken += [True] * (len(ids) - len(spoken))
        return Encoded(ids, spoken, start)


def collate(
    encoded: Sequence[Encoded], images: Tensor, tokens: ConversationTokens, *, packed: bool = True
) -> ConversationBatch:
    """A batch of conversations.

    Args:
        encoded: B of them.
        images: float32 (P, 3, s, s), those of the conversations that have a picture, in their order.
        tokens: that encoded them.
        packed: all in one row, or a row each.

    Raises:
        InputError: pictures that are not as many as the conversations have.
    """
    patches, pad, face = tokens.num_patches, tokens.ids["pad_token_id"], tokens.ids["face_token_id"]
    pictured = [row for row, one in enumerate(encoded) if one.image_start >= 0]
    if len(images) != len(pictured):
        raise InputError(f"images: {len(images)} pictures for {len(pictured)} conversations with a picture")
    lengths = [len(one.ids) for one in encoded]
    width = sum(lengths) if packed else max(lengths)
    shape = (1, width) if packed else (len(encoded), width)
    ids = torch.full(shape, pad, dtype=torch.int64)
    positions, documents, blocks = torch.zeros_like(ids), torch.full_like(ids, -1), torch.full_like(ids, -1)
    flat = [part.view(-1) for part in (ids, positions, documents, blocks)]
    slots, predicted_from, labels, faces, face_rows = [], [], [], [], []
    start = 0
    for row, one in enumerate(encoded):
        start = start if packed else row * width
        stop = start + lengths[row]
        sequence = torch.tensor(one.ids)
        place = torch.arange(lengths[row])
        flat[0][start:stop] = sequence
        flat[2][start:stop] = row
        if one.image_start >= 0:
            first, last = one.image_start, one.image_start + patches
            place[last:] -= patches
            place[first:last] = tokens.max_text_length + torch.arange(patches)
            flat[3][start + first : start + last] = 0
            slots.append(start + first + torch.arange(patches))
        flat[1][start:stop] = place
        spoken = torch.tensor(one.spoken).nonzero().flatten()
        predicted_from.append(start + spoken - 1)
        labels.append(sequence[spoken])
        shown = (sequence == face).nonzero().flatten()
        faces.append(start + shown)
        face_rows.append(torch.full_like(shown, row))
        start = stop
    empty = torch.zeros(0, dtype=torch.int64)
    return ConversationBatch(
        ids=ids,
        position_ids=positions,
        document_ids=documents,
        block_ids=blocks,
        images=images,
        image_rows=torch.tensor(pictured, dtype=torch.int64),
        image_slots=torch.cat([empty, *slots]),
        predicted_from=torch.cat([empty, *predicted_from]),
        labels=torch.cat([empty, *labels]),
        face_slots=torch.cat([empty, *faces]),
        face_rows=torch.cat([empty, *face_rows]),
    )
