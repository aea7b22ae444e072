"""Masked multimodal attention: who sees whom is data (:class:`IntervalMask`), not code."""

from __future__ import annotations

from gptface.ops.attention.api import masked_attention
from gptface.ops.attention.choice import Choice, explain
from gptface.ops.attention.mask import IntervalMask

__all__ = ["Choice", "IntervalMask", "explain", "masked_attention"]
