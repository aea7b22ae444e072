"""One self-contained HTML page: headings, tables, pictures (embedded, so that the file can be passed on alone)."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path

from gptface.files import atomic_write

__all__ = ["Page"]

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1000px; margin: 2em auto; padding: 0 1em; color: #222; }
h1 { font-size: 1.6em; } h2 { font-size: 1.2em; margin-top: 2em; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; margin: 1em 0; } td, th { padding: .25em .8em; border-bottom: 1px solid #e4e4e4;
text-align: left; vertical-align: top; } td.number { text-align: right; font-variant-numeric: tabular-nums; }
img { max-width: 100%; image-rendering: pixelated; } .note { color: #666; font-size: .92em; }
"""


class Page:
    """Collects blocks and writes them as one file."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._blocks: list[str] = [f"<h1>{html.escape(title)}</h1>"]

    def heading(self, text: str) -> None:
        self._blocks.append(f"<h2>{html.escape(text)}</h2>")

    def text(self, text: str, *, note: bool = False) -> None:
        self._blocks.append(f'<p{" class=note" if note else ""}>{html.escape(text)}</p>')

    def table(self, rows: Sequence[Sequence[str]], header: Sequence[str]) -> None:
        """Plain-text cells; a cell that begins with a digit or a sign is set as a number."""
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
        lines = [f"<tr>{head}</tr>"]
        for row in rows:
            cells = []
            for cell in row:
                number = " class=number" if cell[:1].isdigit() or cell[:1] in ("+", "-", "\N{MINUS SIGN}") else ""
                cells.append(f"<td{number}>{html.escape(cell)}</td>")
            lines.append(f"<tr>{''.join(cells)}</tr>")
        self._blocks.append(f"<table>{''.join(lines)}</table>")

    def picture(self, path: Path, caption: str) -> None:
        """Embed a PNG; ``caption`` is its text for those who do not see it, and stands under it."""
        data = base64.b64encode(path.read_bytes()).decode()
        self._blocks.append(
            f'<figure><img alt="{html.escape(caption)}" src="data:image/png;base64,{data}">'
            f"<figcaption class=note>{html.escape(caption)} ({html.escape(path.name)})</figcaption></figure>"
        )

    def write(self, path: Path) -> Path:
        body = "\n".join(self._blocks)
        document = (
            f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(self.title)}</title>"
            f"<style>{STYLE}</style><body>{body}</body></html>"
        )
        with atomic_write(path) as temporary:
            temporary.write_text(document, encoding="utf-8")
        return path
