"""LoRA by ``peft``: which layers of a language model get low-rank updates, and how they are put in."""

from __future__ import annotations

import os
import re
import warnings
from typing import Any

from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel

from gptface.errors import InputError

__all__ = ["default_lora", "import_peft", "with_lora"]

RANK = 16
DROPOUT = 0.05


def import_peft() -> Any:
    """The package ``peft``.

    Raises:
        InputError: it is not installed.
    """
    try:
        import peft
    except ImportError as error:
        raise InputError('LoRA needs the package peft: pip install "gptface[adapter]"') from error
    return peft


def default_lora(base: PreTrainedModel, rank: int = RANK) -> Any:
    """A ``LoraConfig`` for every linear layer of the language model: not its head, and nothing of a vision tower.

    Args:
        base: whose layers are looked through.
        rank: of the updates; they are scaled by 2, dropout is 0.05.
    """
    from transformers.pytorch_utils import Conv1D

    decoder = base.get_decoder()
    prefix = next((name for name, module in base.named_modules() if module is decoder), "")
    head = base.get_output_embeddings()
    layers = {
        name: module
        for name, module in decoder.named_modules()
        if isinstance(module, (nn.Linear, Conv1D)) and module is not head
    }
    kinds = {name.rpartition(".")[2] for name in layers}
    if not kinds:
        raise InputError(f"base: {type(decoder).__name__} has no linear layer that LoRA could update")
    start = re.escape(prefix) + r"\." if prefix else ""
    # A pattern for the whole name: the layers of a vision tower are often called the same.
    return import_peft().LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=DROPOUT,
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in layers.values()),
        target_modules=rf"{start}.*\.({'|'.join(sorted(map(re.escape, kinds)))})",
    )


def with_lora(base: PreTrainedModel, lora: Any) -> Any:
    """``base`` wrapped in a ``PeftModel``, changed in place; the updates are float32.

    Args:
        base: the model.
        lora: a ``LoraConfig``, for updates that start at 0; ``True`` for :func:`default_lora`; or the folder of saved
            ones.

    Raises:
        InputError: neither of these, a configuration that names no layer of the base, or a damaged folder.
    """
    peft = import_peft()
    if isinstance(lora, (str, os.PathLike)):
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("error", message="Found missing adapter keys")
                return peft.PeftModel.from_pretrained(base, os.fspath(lora), is_trainable=True)
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, SafetensorError, UserWarning) as error:
            raise InputError(f"{lora}: does not hold a LoRA for {type(base).__name__}: {_first_line(error)}") from error
    if lora is not True and not isinstance(lora, peft.LoraConfig):
        raise InputError(f"lora: {lora!r}; allowed: a peft.LoraConfig, True for the default, or None")
    try:
        return peft.get_peft_model(base, default_lora(base) if lora is True else lora)
    except ValueError as error:
        raise InputError(f"lora: it does not fit {type(base).__name__}: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
