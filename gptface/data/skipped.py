"""What a data source hands on in place of a sample it cannot use."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Skipped"]


@dataclass(frozen=True)
class Skipped:
    """A sample that is left out.

    Attributes:
        key: which one, as its source names it.
        reason: the name it is counted under, for example ``"truncated_image"``.
        detail: one sentence for a person, naming the file.
    """

    key: str
    reason: str
    detail: str = ""
