"""Notebooks: Python files in cells (``# %%``), run and turned into ``.ipynb`` and a page with their outputs."""

from __future__ import annotations

import base64
import hashlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["NOTEBOOKS", "executed", "notebook_page"]

# In the order of the navigation; each is docs/notebooks/NAME.py.
NOTEBOOKS = ("attention_in_transformers", "spans_for_a_language_model", "vq_tokenizer", "edit_a_face")

_SECONDS = 600  # a cell that takes longer is broken, also on a machine that is busy
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def executed(source: Path, *, run: bool = True) -> Any:
    """The notebook of a Python file in cells, with the outputs of every cell if it is ``run``.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised.
    """
    import jupytext

    notebook = jupytext.read(source)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for cell in notebook.cells:
        cell.metadata.clear()
    if run:
        from jupyter_client.manager import AsyncKernelManager
        from nbclient import NotebookClient

        with tempfile.TemporaryDirectory() as sockets:
            # Sockets in a folder, not ports, on which anybody on this machine could listen.
            kernel = AsyncKernelManager(kernel_name="python3", transport="ipc", ip=f"{sockets}/kernel")
            where = {"metadata": {"path": source.parent}}
            NotebookClient(notebook, km=kernel, timeout=_SECONDS, resources=where).execute(cleanup_kc=True)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
        cell.metadata.clear()  # the times of the run
        if "outputs" in cell:  # warnings of other packages about the kernel that runs it
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


def _outputs(cell: Any, name: str, number: int) -> Iterator[tuple[str, bytes]]:
    """What a cell printed or drew: Markdown under the name ``""``, pictures under their places."""
    for place, output in enumerate(cell.get("outputs", [])):
        data = output.get("data", {})
        if "image/png" in data:
            file = f"{name}-{number}-{place}.png"
            yield f"notebooks/{file}", base64.b64decode(data["image/png"])
            yield "", f"![output of the cell above]({file})".encode()
        elif text := output.get("text") or data.get("text/plain"):
            text = _ESCAPES.sub("", text).rstrip()
            yield "", f"```{{.text .output}}\n{text}\n```".encode()


def _made(source: Path, run: bool) -> Iterator[tuple[str, bytes]]:
    import nbformat

    notebook = executed(source, run=run)
    name = source.stem
    parts: list[str] = []
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            if number == 0:
                parts.append(f"[:lucide-download: The notebook]({name}.ipynb){{ .md-button download }}")
            continue
        parts.append(f"```python\n{cell.source}\n```")
        for place, data in _outputs(cell, name, number):
            if place:
                yield place, data
            else:
                parts.append(data.decode())
    yield f"notebooks/{name}.md", ("\n\n".join(parts) + "\n").encode()
    yield f"notebooks/{name}.ipynb", nbformat.writes(notebook).encode()


def notebook_page(source: Path, work: Path, run: bool = True) -> Iterator[tuple[str, bytes]]:
    """Page, notebook and pictures of ``source`` by their places in the site.

    They are kept under ``work/notebooks`` for as long as the source does not change.
    """
    digest = hashlib.sha256(source.read_bytes() + bytes([run])).hexdigest()[:16]
    kept = work / "notebooks" / f"{source.stem}-{digest}"
    if not kept.is_dir():
        results = list(_made(source, run))
        for place, data in results:
            file = kept / place
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
    for file in sorted(path for path in kept.rglob("*") if path.is_file()):
        yield file.relative_to(kept).as_posix(), file.read_bytes()
