"""Captions to token ids and back, with any WordPiece (or other fast) tokenizer from the local disk or trained here."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, trainers
from tokenizers.models import WordPiece
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from gptface.data.metadata import without_surrogates
from gptface.errors import InputError

__all__ = [
    "SpecialTokens",
    "encode_captions",
    "load_text_tokenizer",
    "special_tokens",
    "train_text_tokenizer",
]

SPECIALS = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
ALPHABET_LIMIT = 1000  # characters; captions from the web hold tens of thousands, nearly all of them once
CHUNK = 1000  # captions normalised in one call
MINIMUM_FREQUENCY = 2  # a piece seen once is more likely a slip of the pen than a word
# Which of a tokenizer's own tokens may stand in for one it lacks, by what they do in their models.
STAND_INS = {"cls": "bos", "sep": "eos"}


@dataclass(frozen=True)
class SpecialTokens:
    """Ids of the tokens that are not text."""

    pad: int
    unk: int
    cls: int
    sep: int
    mask: int


def train_text_tokenizer(captions: Iterable[str], vocab_size: int = 8192) -> PreTrainedTokenizerFast:
    """Train a WordPiece tokenizer of BERT's kind on captions. The same captions give the same tokenizer.

    Case is folded and accents are stripped, as ``bert-base-uncased`` does.

    Args:
        captions: any iterable of texts; it is read once, and held in memory while training.
        vocab_size: the most pieces, the five special ones (ids 0 to 4: [PAD] [UNK] [CLS] [SEP] [MASK]) included. Few
            distinct captions give fewer.

    Raises:
        InputError: no text at all, or ``vocab_size`` too small for the special tokens and a character.
    """
    if vocab_size < len(SPECIALS) + 2:
        raise InputError(f"vocab_size: {vocab_size}; it must be at least {len(SPECIALS) + 2}, and better some hundreds")
    captions = [without_surrogates(caption) for caption in captions]
    backend = _wordpiece(WordPiece(unk_token=SPECIALS["unk"]))
    alphabet, continuing = _characters(backend, captions, (vocab_size - len(SPECIALS)) // 2)
    if not alphabet:
        raise InputError("captions: no text to train a tokenizer on (all captions are empty)")
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=MINIMUM_FREQUENCY,
        # The trainer numbers continuing characters in the order of a hash table, another one every time, and breaks
        # ties between merges by these numbers. Given as special tokens, they are numbered before it looks at the text.
        special_tokens=[*SPECIALS.values(), *continuing],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    backend.train_from_iterator(captions, trainer)
    pieces = WordPiece(backend.get_vocab(), unk_token=SPECIALS["unk"])  # a fresh model, without those special tokens
    return _wrap(_wordpiece(pieces))


def _characters(backend: Tokenizer, captions: list[str], limit: int) -> tuple[list[str], list[str]]:
    """The most frequent characters of the texts, and the ``##`` forms of those that occur within words; both sorted."""
    words: Counter[str] = Counter()
    for start in range(0, len(captions), CHUNK):
        normalized = backend.normalizer.normalize_str("\n".join(captions[start : start + CHUNK]))
        words.update(word for word, _ in backend.pre_tokenizer.pre_tokenize_str(normalized))
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            counts[character] += count
    ranked = sorted(counts, key=lambda character: (-counts[character], character))
    alphabet = sorted(ranked[: min(limit, ALPHABET_LIMIT)])
    within = set().union(*(word[1:] for word in words)) & set(alphabet)
    return alphabet, [f"##{character}" for character in sorted(within)]


def load_text_tokenizer(path: str | os.PathLike[str]) -> PreTrainedTokenizerFast:
    """Load a tokenizer from disk; nothing is fetched.

    ``path`` is a folder as ``save_pretrained`` writes it, a ``tokenizer.json``, or a WordPiece ``vocab.txt`` (or a
    folder that holds only that), as BERT's are distributed. The special tokens are found by their roles
    (``special_tokens``): [CLS] and [SEP] may be a model's beginning- and end-of-text tokens; a role that nothing fills
    is given a new token at the end of the vocabulary.

    Raises:
        InputError: nothing there that can be read as a tokenizer.
    """
    place = Path(path)
    vocabulary = place / "vocab.txt" if place.is_dir() else place
    if not place.exists():
        raise InputError(f"{path}: no such text tokenizer")
    try:
        if place.is_file() and place.suffix == ".json":
            tokenizer: object = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_file(str(place)))
        elif vocabulary.is_file() and not (place / "tokenizer.json").exists():
            tokenizer = _wrap(_wordpiece(WordPiece.from_file(str(vocabulary), unk_token=SPECIALS["unk"])))
        else:
            tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=True)
    except Exception as error:  # the library raises OSError, ValueError, KeyError and bare Exception for bad files
        raise InputError(f"{path}: not a readable text tokenizer ({type(error).__name__}: {error})") from None
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise InputError(f"{path}: {type(tokenizer).__name__} has no fast form (tokenizer.json)")
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    _complete(tokenizer)
    return tokenizer


def special_tokens(tokenizer: PreTrainedTokenizerFast) -> SpecialTokens:
    """The ids of a tokenizer's special tokens.

    Raises:
        InputError: it lacks one (``load_text_tokenizer`` and ``train_text_tokenizer`` see to it that none is lacking).
    """
    ids = {role: getattr(tokenizer, f"{role}_token_id") for role in SPECIALS}
    if missing := [role for role, value in ids.items() if value is None]:
        raise InputError(f"text tokenizer: it has no {', '.join(missing)} token; load it with load_text_tokenizer")
    return SpecialTokens(**ids)


def encode_captions(
    tokenizer: PreTrainedTokenizerFast, captions: Sequence[str], max_length: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Captions to padded token ids, without [CLS] and [SEP].

    What looks like a special token in a caption ("[SEP]") is text that somebody wrote, and becomes [UNK]: a caption
    cannot forge the structure of a sequence. A lone surrogate, which is no character, is read as U+FFFD.

    Args:
        captions: B texts; an empty one has length 0.
        max_length: T; longer captions lose their end.

    Returns:
        ids int64 (B, T), padded with the pad id, and lengths int64 (B,).
    """
    if max_length < 1:
        raise InputError(f"max_length: {max_length} tokens; it must be at least 1")
    specials = special_tokens(tokenizer)
    ids = torch.full((len(captions), max_length), specials.pad, dtype=torch.int64)
    lengths = torch.zeros(len(captions), dtype=torch.int64)
    texts = [without_surrogates(caption) for caption in captions]
    for row, encoding in enumerate(tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False)):
        pieces = torch.tensor(encoding.ids[:max_length], dtype=torch.int64)
        lengths[row] = len(pieces)
        ids[row, : len(pieces)] = pieces
    forged = [specials.pad, specials.cls, specials.sep, specials.mask]
    within = torch.arange(max_length) < lengths[:, None]
    ids[torch.isin(ids, torch.tensor(forged)) & within] = specials.unk
    return ids, lengths


def _wordpiece(model: WordPiece) -> Tokenizer:
    backend = Tokenizer(model)
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    return backend


def _wrap(backend: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, **{f"{role}_token": token for role, token in SPECIALS.items()}
    )


def _complete(tokenizer: PreTrainedTokenizerFast) -> None:
    """Give every role in ``SPECIALS`` a token: its usual name, a stand-in's, or a new one."""
    vocabulary = tokenizer.get_vocab()
    additions: dict[str, Any] = {}
    for role, usual in SPECIALS.items():
        if getattr(tokenizer, f"{role}_token") is not None:
            continue
        stand_in = getattr(tokenizer, f"{STAND_INS[role]}_token") if role in STAND_INS else None
        additions[f"{role}_token"] = usual if usual in vocabulary or stand_in is None else stand_in
    if additions:
        tokenizer.add_special_tokens(additions)
