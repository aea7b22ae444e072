"""A data collator for span-masked language modelling with tokenizers of ``transformers``.

Where ``DataCollatorForLanguageModeling`` stands, this can stand::

    collator = SpanMaskingCollator(tokenizer, TextSpans(0.15))

The features, the keys of the batch and the label −100 of unmasked positions are the same. What differs: spans instead
of single tokens, exactly ``round(ratio · n)`` masked tokens in every sample, no special one among the replacements.

Under ``transformers.Trainer``, masks that a seed keys need to be told of epochs, and the features that the model does
not take to be left where they are::

    collator = SpanMaskingCollator(tokenizer, TextSpans(0.15), seed=0)
    arguments = TrainingArguments(..., remove_unused_columns=False)
    Trainer(model, arguments, train_dataset=..., data_collator=collator, callbacks=[MaskingEpochs(collator)])
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import TrainerCallback

from gptface.errors import InputError
from gptface.ops import TextSpans, mask_tokens

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

__all__ = ["MaskingEpochs", "SpanMaskingCollator"]

_UNMASKED = -100  # what torch's cross-entropy leaves out


class SpanMaskingCollator:
    """Features of a tokenizer to a padded, span-masked batch.

    Features hold ``input_ids`` and whatever else ``tokenizer.pad`` takes; ``special_tokens_mask`` (else the tokenizer
    is asked), ``word_ids`` for ``TextSpans(whole_words=True)`` (as the fast tokenizers' ``word_ids()`` gives them) and
    the column ``id_column`` are used and left out of the batch.

    Args:
        tokenizer: a ``PreTrainedTokenizerBase`` with a mask token and a padding token.
        spec: which tokens are hidden.
        probabilities, per: see :func:`gptface.ops.corrupt_tokens`.
        vocabulary_range: ids that random replacements are drawn from; by default the longest run of ids without a
            special one.
        seed: ``None`` draws new masks at every call from torch's generator, which a ``DataLoader`` seeds anew for every
            worker and epoch. A number keys every mask by (seed, epoch, id of the sample) and nothing else; the epoch
            is 0 until :meth:`set_epoch` says another, and a sample that comes again without it is warned of once.
        id_column: the feature that identifies a sample when ``seed`` is given.
        pad_to_multiple_of: see ``tokenizer.pad``.

    A call returns ``input_ids`` int64 ``(B, S)`` corrupted, ``attention_mask``, ``labels`` int64 ``(B, S)`` (the true
    token where masked, −100 elsewhere) and the tokenizer's other keys.

    Raises:
        InputError: the tokenizer has no mask token; a feature lacks a column that is needed, or holds text.
    """

    def __init__(
        self,
        tokenizer: Any,
        spec: TextSpans | None = None,
        *,
        probabilities: tuple[float, float, float] = (0.8, 0.1, 0.1),
        per: str = "span",
        vocabulary_range: tuple[int, int] | None = None,
        seed: int | None = None,
        id_column: str = "sample_id",
        pad_to_multiple_of: int | None = None,
    ) -> None:
        if tokenizer.mask_token_id is None:
            raise InputError(f"tokenizer: {type(tokenizer).__name__} has no mask token; add one first")
        self.tokenizer = tokenizer
        self.spec = TextSpans() if spec is None else spec
        if not isinstance(self.spec, TextSpans):
            raise InputError(f"spec: {self.spec!r}; allowed: TextSpans")
        self.probabilities = probabilities
        self.per = per
        self.vocabulary_range = vocabulary_range or longest_run(len(tokenizer), tokenizer.all_special_ids)
        self.seed = seed
        self.id_column = id_column
        self.pad_to_multiple_of = pad_to_multiple_of
        # In shared memory, so that the workers of a DataLoader that outlive an epoch see it change. And what they have
        # seen: whether an epoch was ever set, whether a first sample came, its id, and whether it was warned of.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._told = torch.zeros(4, dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """New masks for every sample; without effect where ``seed`` is ``None``, whose masks are always new."""
        self._epoch.fill_(epoch)
        self._told[0] = 1

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        ours = {"special_tokens_mask", "word_ids", "labels", self.id_column}
        _check_no_text(features, ours)
        batch = dict(
            self.tokenizer.pad(
                [{key: value for key, value in feature.items() if key not in ours} for feature in features],
                padding=True,
                pad_to_multiple_of=self.pad_to_multiple_of,
                return_tensors="pt",
                return_attention_mask=True,
            )
        )
        tokens, inside = batch["input_ids"], batch["attention_mask"].bool()
        special = [
            feature["special_tokens_mask"]
            if "special_tokens_mask" in feature
            else self.tokenizer.get_special_tokens_mask(feature["input_ids"], already_has_special_tokens=True)
            for feature in features
        ]
        words = None
        if self.spec.whole_words:
            words = _padded(inside, [self._column(feature, "word_ids") for feature in features])
        if self.seed is None:
            seed = int(torch.randint(2**62, ()))
            step, sample_ids = 0, list(range(len(features)))
        else:
            seed, step = self.seed, int(self._epoch)
            sample_ids = [int(self._column(feature, self.id_column)) for feature in features]
            self._warn_of_repetition(sample_ids)
        hidden, span_mask = mask_tokens(
            tokens,
            self.spec,
            inside & (_padded(inside, special) == 0),
            mask_id=self.tokenizer.mask_token_id,
            vocabulary_ranges=[self.vocabulary_range],
            probabilities=self.probabilities,
            per=self.per,
            seed=seed,
            step=step,
            sample_ids=sample_ids,
            word_ids=words,
        )
        batch["labels"] = torch.where(span_mask.mask, tokens, _UNMASKED)
        batch["input_ids"] = hidden
        return batch

    def _column(self, feature: Mapping[str, Any], name: str) -> Any:
        if name not in feature:
            raise InputError(
                f"features: a feature lacks {name!r}; it has {', '.join(feature)}. transformers' Trainer drops columns "
                "that the model does not take, unless TrainingArguments has remove_unused_columns=False"
            )
        return feature[name]

    def _warn_of_repetition(self, sample_ids: Sequence[int]) -> None:
        """Say once that a sample has come again, with its old mask, where nobody ever set an epoch."""
        was_set, has_first, first, warned = self._told.tolist()
        if was_set or warned or not sample_ids:
            return
        if not has_first:
            self._told[1:3] = torch.tensor([1, sample_ids[0]])
        elif first in sample_ids:
            self._told[3] = 1
            warnings.warn(
                f"sample {first} was masked again as in epoch 0: with a seed, masks change by set_epoch(epoch), which "
                "callbacks=[MaskingEpochs(collator)] calls under transformers' Trainer; set_epoch(0) if they shall not",
                UserWarning,
                stacklevel=3,
            )


class MaskingEpochs(TrainerCallback):
    """Tells a collator of the epochs of a ``transformers.Trainer``, in a resumed training too.

    An evaluation between epochs with the same collator has the masks of the epoch of training.
    """

    def __init__(self, collator: SpanMaskingCollator) -> None:
        self.collator = collator
        self._begun: int | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._begun = None

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # Counted, for `state.epoch` is a share of all steps where the length of the data is not known; the first of a
        # resumed training is in the state.
        self._begun = int(state.epoch or 0) if self._begun is None else self._begun + 1
        self.collator.set_epoch(self._begun)


def longest_run(size: int, special_ids: Sequence[int]) -> tuple[int, int]:
    """The longest half-open run of ids below ``size`` without a special one."""
    cuts = [-1, *sorted({index for index in special_ids if 0 <= index < size}), size]
    runs = [(low + 1, high) for low, high in itertools.pairwise(cuts)]
    best = max(runs, key=lambda run: run[1] - run[0])
    if best[0] == best[1]:
        raise InputError(f"tokenizer: all of its {size} tokens are special; nothing to draw replacements from")
    return best


def _check_no_text(features: Sequence[Mapping[str, Any]], left_out: set[str]) -> None:
    for name, value in features[0].items() if features else ():
        if name not in left_out and isinstance(value, str):
            raise InputError(f"features: column {name!r} holds text, of which no batch can be made; remove the column")


def _padded(inside: Tensor, rows: Sequence[Sequence[int | None]]) -> Tensor:
    """int64 ``(B, S)`` of each row's values where its tokens are, on whichever side the padding is; −1 elsewhere."""
    result = torch.full(inside.shape, -1)
    values = [-1 if value is None else int(value) for row in rows for value in row]
    result[inside] = torch.tensor(values, dtype=torch.int64)
    return result
