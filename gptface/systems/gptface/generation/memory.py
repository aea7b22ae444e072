"""What a pass of the network leaves for those after it: keys and values of slots that hardly change between passes.

In masked decoding most of a sequence stands still: the caption, what was known, what was decided long ago. Their states
move only because the tokens they look at are filled in. Passes after a full one may compute the rest alone and look at
the others as they were, which is an approximation: of an edit of a fifth of a picture the layers then compute a fifth
of the rows, while embeddings, towers and surroundings are made for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from gptface.models.transformer_layer import KeyValueCache

__all__ = ["Memory"]


@dataclass
class Memory:
    """Filled by a full pass, and brought up to date by each that computes a part.

    Attributes:
        index: ``(B, n)`` int64, the tokens of the target modality that passes after the full one compute, in every row
            that the network is given (both branches of classifier-free guidance).
        caches: one a layer.
        match_logits: ``(B, 2)``, of the full pass.
    """

    index: Tensor
    caches: list[KeyValueCache] = field(default_factory=list)
    match_logits: Tensor | None = None
