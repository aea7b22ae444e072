"""The operators, embeddable in anybody's training code: importing this package pulls in torch and nothing else."""

from __future__ import annotations

from gptface.ops.registry import Implementation, implementations

__all__ = ["Implementation", "implementations"]
