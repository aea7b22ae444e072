"""The embedding rows of ``<FACE>``: trained and saved apart from the base's matrix, which stays as it is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

__all__ = ["FaceRows"]


class FaceRows(nn.Module):
    """What one token reads as (a row of the input embedding) and is written by (a row of the language head).

    Hooks put the rows where the base's matrices have theirs, so that training touches two vectors instead of two
    matrices, and the base's own rows, spare ones included, are never changed. Both are kept in float32, whatever the
    base computes in. They start as the mean of all rows, which makes the token as likely as an average one.

    Args:
        base: the model; hooks are registered on its embedding and its head.
        number: id of the token, inside the model's vocabulary.
        known: how many ids the tokenizer knows: rows beyond are spare and may hold anything.

    Attributes:
        input: ``(C,)``.
        output: ``(C,)``; ``None`` where the head is the embedding (tied), which then is also ours.
        bias: ``(1,)``; ``None`` where the head has none.
    """

    def __init__(self, base: PreTrainedModel, number: int, known: int) -> None:
        super().__init__()
        embedding: Any = base.get_input_embeddings()
        head: Any = base.get_output_embeddings()
        self.number = number
        tied = head.weight is embedding.weight
        self.input = nn.Parameter(_mean(embedding.weight, number, known))
        self.output = None if tied else nn.Parameter(_mean(head.weight, number, known))
        bias = getattr(head, "bias", None)
        self.bias = None if bias is None else nn.Parameter(_mean(bias[:, None], number, known))
        self._hooks = [
            embedding.register_forward_hook(self._read, with_kwargs=True),
            head.register_forward_hook(self._write, with_kwargs=True),
        ]

    def remove(self) -> None:
        """Take the hooks off the base."""
        for hook in self._hooks:
            hook.remove()

    def _read(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], states: Tensor) -> Tensor:
        ids: Tensor = args[0] if args else kwargs["input"]
        row = self.input
        scale = getattr(module, "embed_scale", None)  # of Gemma and its kin
        if scale is not None:
            row = row * scale
        return torch.where((ids == self.number)[..., None], row.to(states), states)

    def _write(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], logits: Tensor) -> Tensor:
        hidden: Tensor = args[0] if args else kwargs["input"]
        row = self.input if self.output is None else self.output
        bias = None if self.bias is None else self.bias.to(logits)
        # In place: a copy of the logits would be the largest tensor of the step once more.
        logits[..., self.number] = functional.linear(hidden, row.to(hidden)[None], bias)[..., 0].to(logits)
        return logits


def _mean(rows: Tensor, number: int, known: int) -> Tensor:
    """Mean in float32 over the rows of the tokens that the tokenizer knows, without the new one."""
    with torch.no_grad():
        others = [part for part in (rows[: min(number, known)], rows[number + 1 : known]) if len(part)]
        total = sum((part.sum(0, dtype=torch.float32) for part in others), torch.zeros(rows.shape[1]).to(rows.device))
        return total / max(sum(map(len, others)), 1)
