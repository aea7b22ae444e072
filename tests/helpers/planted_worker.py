"""A worker of ``gptface prove`` whose kernels are wrong on purpose: what is planted must be found, and named."""

from __future__ import annotations

import sys
from typing import Any


def plant() -> None:
    from gptface.kernels import attention, vq

    backward, lookup = attention.backward, vq.lookup

    def wrong_backward(*arguments: Any) -> Any:
        grad_query, grad_key, grad_value = backward(*arguments)
        return grad_query, grad_key * 1.02, grad_value

    def wrong_lookup(*arguments: Any) -> Any:
        scores, indices, counts, nearest = lookup(*arguments)
        indices[:, 3] = (indices[:, 3] + 1) % counts.shape[-1]
        return scores, indices, counts, nearest

    attention.backward, vq.lookup = wrong_backward, wrong_lookup


if __name__ == "__main__":
    from gptface.diagnosis.prove.worker import main

    sys.exit(main(before=plant))
