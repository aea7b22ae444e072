"""Writes ``docs/masks.md`` and its pictures: every constructor of :class:`gptface.ops.IntervalMask`, drawn.

    python -m benchmarks.mask_page

The page shows the very code that its pictures were drawn from.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from gptface.ops import IntervalMask

__all__ = ["PAGE", "PICTURES", "Picture", "page", "write"]

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "masks.md"
TILE = 8
_SAMPLES = 2


@dataclass(frozen=True)
class Picture:
    """A mask: its name (of the file, too), what it is for, and the expression that makes it."""

    name: str
    text: str
    code: str

    @property
    def file(self) -> Path:
        return PAGE.parent / "masks" / f"{self.name}.png"

    def mask(self) -> IntervalMask:
        mask = eval(self.code, {"torch": torch, "IntervalMask": IntervalMask})
        assert isinstance(mask, IntervalMask)
        return mask

    def draw(self, path: Path) -> None:
        self.mask().plot(path, tile_queries=TILE, tile_keys=TILE, samples=_SAMPLES)


PICTURES = (
    Picture("full", "Nothing is hidden: a bidirectional encoder.", "IntervalMask.full(48)"),
    Picture("causal", "A token sees itself and what came before: a language model.", "IntervalMask.causal(48)"),
    Picture(
        "sliding_window",
        "The last few tokens, and the first ones as attention sinks: two intervals a row.",
        "IntervalMask.sliding_window(48, 10, global_tokens=4)",
    ),
    Picture(
        "padding",
        "Samples of different lengths in one batch; the rows of the padding see nothing and cost nothing.",
        "IntervalMask.padding(torch.tensor([44, 21]), 48)",
    ),
    Picture(
        "prefix_lm",
        "A prefix that all tokens see, then a causal rest: image first, caption after, or the other way round.",
        "IntervalMask.prefix_lm(torch.tensor([20, 34]), torch.tensor([48, 40]), 48)",
    ),
    Picture(
        "packed",
        "Documents end to end in one row, each for itself; with `causal=True` each a language model.",
        "IntervalMask.packed(document_ids=torch.arange(48) // 18, causal=True)",
    ),
    Picture(
        "multimodal",
        "Causal text around an image whose tokens see one another: a token sees the earlier tokens of its document, "
        "and all of its own block (−1: no block).",
        "IntervalMask.multimodal(torch.tensor([0] * 48), torch.tensor([-1] * 12 + [0] * 20 + [-1] * 16))",
    ),
    Picture(
        "shared_prefix",
        "One image with several captions: they see it, not one another (0 is the prefix, −1 padding).",
        "IntervalMask.shared_prefix(torch.tensor([0] * 20 + [1] * 10 + [2] * 14 + [-1] * 4))",
    ),
    Picture(
        "from_dense",
        "Any dense mask whose rows need at most two intervals; an error names the first row that needs more.",
        "IntervalMask.from_dense((torch.arange(48)[:, None] - torch.arange(48)).abs() % 40 < 9)",
    ),
    Picture(
        "intersection",
        "`a & b`: a window, but inside documents only.",
        "IntervalMask.packed(document_ids=torch.arange(48) // 18) & IntervalMask.sliding_window(48, 6, 6)",
    ),
)


def page() -> str:
    """The text of ``docs/masks.md``."""
    lines = [
        "# Masks, drawn",
        "",
        "<!-- written by `python -m benchmarks.mask_page`, do not edit -->",
        "",
        "An `IntervalMask` says for each query which keys it sees, as one or two half-open intervals: O(S) numbers,",
        "the same object for every implementation, forward and backward. Upper picture: dark where a query (down)",
        f"sees a key (right). Lower picture: tiles of {TILE} × {TILE} as a kernel classes them. Grey ones are skipped,",
        "blue ones need no look at the mask, orange ones are masked element by element.",
        "",
    ]
    for picture in PICTURES:
        title = "`a & b`" if picture.name == "intersection" else f"`IntervalMask.{picture.name}`"
        lines += [f"## {title}", "", picture.text, "", "```python", picture.code, "```", ""]
        lines += [f"![{picture.name}](masks/{picture.file.name})", ""]
    return "\n".join(lines).rstrip() + "\n"


def write() -> None:
    """Write the page and its pictures."""
    for picture in PICTURES:
        picture.file.parent.mkdir(parents=True, exist_ok=True)
        picture.draw(picture.file)
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write()
    sys.stdout.write(f"{PAGE} and {len(PICTURES)} pictures\n")
