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
    Picture(
        "full",
        "Every token sees every token: a bidirectional encoder.",
        "IntervalMask.full(48)",
    ),
    Picture(
        "causal",
        "A token sees itself and everything before it: a language model.",
        "IntervalMask.causal(48)",
    ),
    Picture(
        "sliding_window",
        "A token sees itself and the 10 tokens before it. `global_tokens=4` adds the first four tokens (attention "
        "sinks), which takes a second range.",
        "IntervalMask.sliding_window(48, 10, global_tokens=4)",
    ),
    Picture(
        "padding",
        "Samples of different lengths in one batch. Rows of padding see nothing, and their output is 0.",
        "IntervalMask.padding(torch.tensor([44, 21]), 48)",
    ),
    Picture(
        "prefix_lm",
        "Every token sees the whole prefix; what follows it is causal. The prefix can be the image or the caption. The "
        "arguments are the prefix lengths and the lengths of the samples.",
        "IntervalMask.prefix_lm(torch.tensor([20, 34]), torch.tensor([48, 40]), 48)",
    ),
    Picture(
        "packed",
        "Several documents side by side in one row: a token sees its own document only. With `causal=True` it sees "
        "that document up to itself.",
        "IntervalMask.packed(document_ids=torch.arange(48) // 18, causal=True)",
    ),
    Picture(
        "multimodal",
        "Causal text around an image. A token sees the earlier tokens of its document, itself, and all of its own "
        "block. Here the image is block 0, and −1 stands for text, which belongs to no block.",
        "IntervalMask.multimodal(torch.tensor([0] * 48), torch.tensor([-1] * 12 + [0] * 20 + [-1] * 16))",
    ),
    Picture(
        "shared_prefix",
        "One image with several captions. Each caption sees the image and itself, but no other caption. 0 is the "
        "image, positive numbers are the captions, −1 is padding.",
        "IntervalMask.shared_prefix(torch.tensor([0] * 20 + [1] * 10 + [2] * 14 + [-1] * 4))",
    ),
    Picture(
        "from_dense",
        "From a dense mask, also one with a 1 for the heads (`(B, 1, S, S)`), as long as no row needs more than two "
        "ranges. It takes O(S²) work and waits for the device, except in compiled code: use it in tests, tools and "
        "small adapters.",
        "IntervalMask.from_dense((torch.arange(48)[:, None] - torch.arange(48)).abs() % 40 < 9)",
    ),
    Picture(
        "intersection",
        "What both masks show: here a window of six tokens to each side that stays inside its document.",
        "IntervalMask.packed(document_ids=torch.arange(48) // 18) & IntervalMask.sliding_window(48, 6, 6)",
    ),
)

INTRODUCTION = f"""\
# Attention masks

<!-- written by `python -m benchmarks.mask_page`, do not edit -->

An `IntervalMask` says which keys each query may see. For every query it stores one or two ranges of keys, so the memory
it takes grows with the length of the sequence and not with its square.

```python
import torch
from gptface.ops import IntervalMask, masked_attention

query, key, value = torch.randn(3, 1, 48, 8, 64)  # (batch, tokens, heads, channels) each
mask = IntervalMask.causal(48)
out = masked_attention(query, key, value, mask)
```

**Use.** Every implementation of `masked_attention` takes the same mask object, forward and backward. Give one object to
all layers: what the kernels derive from it is then computed once. Masks combine with `&`, move with `.to(device)`, and
can be built and used inside `torch.compile`. `mask.plot("mask.png")` draws pictures like those below.

**Cost.** A range takes 8 bytes: 8 or 16 bytes a query. The CPU and Triton kernels skip what the mask hides, so a call
costs about what it shows ([performance](performance/attention.md)).

**Limits.** A row has at most two ranges. `from_dense` names the first row that needs more; `&` raises where a row would
need three (on a GPU, at the next synchronisation). Ranges that you make yourself are checked only by `mask.validate()`.

**Reading the pictures.** Above: each row is a query, each column a key, and dark means that the query sees the key.
Below: the same mask in tiles of {TILE} × {TILE}. A kernel skips grey tiles, computes blue ones without looking at the
mask, and masks orange ones element by element.
"""


def page() -> str:
    """The text of ``docs/masks.md``."""
    lines = [INTRODUCTION]
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
