"""Constrained emission: ``<FACE>`` exactly once in every answer, wherever the model likes it best."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import LogitsProcessor

from gptface.errors import InputError

__all__ = ["FaceOnce"]


class FaceOnce(LogitsProcessor):
    """Makes ``generate`` emit ``<FACE>`` once a row: an answer cannot end without it, and cannot hold it twice.

    Until it has come, the wish to end the answer is a vote for ``<FACE>``, whose score becomes the larger of its own
    and those of the ending tokens; the last token that may be written is ``<FACE>`` whatever the scores. Afterwards it
    is out of the question. The words around are the model's own.

    Args:
        number: id of ``<FACE>``.
        ends: ids that end an answer.
        prompt: tokens of the prompt, padding included; those of ``input_ids`` before it are not looked at.
        longest: tokens that an answer may have, ``max_new_tokens``.
        at_once: ``<FACE>`` is the first token of the answer: the fastest way to a face, and the words before it, which
            a model may have learnt to lead up to it with, are missing.

    Raises:
        InputError: an answer of no token.
    """

    def __init__(self, number: int, ends: list[int], prompt: int, longest: int, *, at_once: bool = False) -> None:
        if longest < 1:
            raise InputError(f"max_new_tokens: {longest}; an answer with a face has at least 1 token")
        self.number = number
        self.ends = ends
        self.prompt = prompt
        self.last = 0 if at_once else longest - 1

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores ``(B, V)`` of the next token after ``input_ids (B, S)``, changed as said above."""
        written = input_ids[:, self.prompt :]
        given = (written == self.number).any(1)
        ended = torch.isin(written, torch.tensor(self.ends, device=written.device)).any(1)
        scores = scores.clone()
        face = scores[:, self.number]
        if self.ends:
            ends = scores[:, self.ends]
            # Numbers, not infinities: somebody else's processor may have left the token none.
            waiting = torch.maximum(face, ends.amax(1))
            scores[:, self.ends] = torch.where((given | ended)[:, None], ends, -torch.inf)
        else:
            waiting = face
        if written.shape[1] >= self.last:
            scores = torch.where((given | ended)[:, None], scores, -torch.inf)
            waiting = waiting.nan_to_num(neginf=0.0)
        scores[:, self.number] = torch.where(given | ended, -torch.inf, waiting)
        return scores
