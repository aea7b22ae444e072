"""Rows of packed positions: what stands between a span mask and a loss that looks at masked tokens only."""

from __future__ import annotations

from gptface.ops.gather.api import gather_rows

__all__ = ["gather_rows"]
