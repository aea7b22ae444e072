"""``<FACE>`` as a token of somebody else's tokenizer and model."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from gptface.errors import InputError
from gptface.systems.facegpt.data.conversations import FACE

__all__ = ["FACE", "add_face_token", "check_base", "make_room", "picture_tokens", "text_tokenizer"]

_IDS = ("_token_id", "_token_index")
"""How the fields of a configuration end that name a token."""


def text_tokenizer(processor: Any) -> Any:
    """The tokenizer of a processor, or the tokenizer itself."""
    return getattr(processor, "tokenizer", processor)


def check_base(base: Any) -> None:
    """Refuse what has no next token to predict.

    Raises:
        InputError: not a model of ``transformers``, one with an encoder and a decoder, one without a language head, or
            one that ``peft`` has wrapped already.
    """
    if hasattr(base, "peft_config"):
        raise InputError("base: it carries a peft adapter already; merge it first (merge_and_unload), or load without")
    if not isinstance(base, PreTrainedModel):
        raise InputError(f"base: {type(base).__name__} is no model of transformers")
    if getattr(base.config, "is_encoder_decoder", False):
        raise InputError(f"base: {type(base).__name__} has an encoder and a decoder; allowed: causal language models")
    if not base.can_generate() or base.get_output_embeddings() is None:
        raise InputError(
            f"base: {type(base).__name__} has no head over a vocabulary; allowed: a class for causal language "
            "modelling or conditional generation (…ForCausalLM, …ForConditionalGeneration)"
        )


def add_face_token(processor: Any, config: PreTrainedConfig) -> int:
    """Give a tokenizer ``<FACE>``, unless it has it, and return its id.

    Args:
        processor: a tokenizer, or a processor that holds one; changed in place.
        config: of the model that it belongs to.

    Raises:
        InputError: the id is one that the model uses for something else: this is another model's tokenizer.
    """
    from tokenizers import AddedToken

    tokenizer = text_tokenizer(processor)
    tokenizer.add_tokens([AddedToken(FACE, special=True, normalized=False)], special_tokens=True)
    number = tokenizer.convert_tokens_to_ids(FACE)
    if not isinstance(number, int) or number == getattr(tokenizer, "unk_token_id", None):
        raise InputError(f"tokenizer: {type(tokenizer).__name__} takes no further token, so it cannot have {FACE}")
    for name, value in {**config.get_text_config().to_dict(), **config.to_dict()}.items():
        used = value if isinstance(value, list) else [value]
        if name.endswith(_IDS) and number in used:
            raise InputError(
                f"tokenizer: its next free id, {number}, is the model's {name}; it must be the tokenizer that belongs "
                "to the model"
            )
    return number


def picture_tokens(config: PreTrainedConfig) -> list[int]:
    """The ids that stand at the patches of pictures and videos: nothing that an answer could hold."""
    named = (
        value
        for name, value in config.to_dict().items()
        if name.startswith(("image_token", "video_token")) and name.endswith(_IDS)
    )
    return sorted({value for value in named if isinstance(value, int) and value >= 0})


def make_room(base: PreTrainedModel, number: int) -> None:
    """Let the vocabulary of ``base`` reach id ``number``; a vocabulary that does (many have spare rows) is left alone.

    The rows that are added are never read: :class:`FaceRows` answers for them.
    """
    embedding = base.get_input_embeddings()
    assert isinstance(embedding.weight, nn.Parameter)
    if number >= embedding.weight.shape[0]:
        base.resize_token_embeddings(number + 1, mean_resizing=False)
