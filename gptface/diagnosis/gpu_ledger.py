"""The GPU kernels, and the ledger that says which of them have passed on a GPU as their source is now.

The ledger, ``benchmarks/results/gpu_ledger.json`` in a checkout, is written only by the program that ran the GPU tests
(``python -m benchmarks.gpu_ledger``)::

    {"span_mask.cuda": {"source_hash": "…", "outcome": "passed", "gpu": "…", "date": "…", …}, …}
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gptface

__all__ = ["LEDGER", "gpu_kernels", "ledger_states", "read_ledger"]

ROOT = Path(gptface.__file__).resolve().parent.parent
LEDGER = ROOT / "benchmarks" / "results" / "gpu_ledger.json"


def gpu_kernels(root: Path = ROOT) -> dict[str, str]:
    """``operator.kernel`` -> SHA-256 of the sources it is made of.

    Triton kernels are those that ``gptface.kernels.inventory`` lists, and every other file of ``gptface.kernels`` that
    defines one (``<file>.triton``, hashed with the files it imports from there). CUDA kernels are the files of
    ``csrc/cuda`` in a checkout (``<file>.cuda``, hashed with the headers of the project that they include); an
    installed wheel has no sources of them.
    """
    found: dict[str, str] = {}
    listed: set[str] = set()
    folder = _triton_folder(root)
    for kernel in _inventory(folder):
        found[kernel.name] = kernel.source_hash
        listed.update(kernel.files)
    for file in sorted(folder.glob("*.py")):
        if file.name not in listed and re.search(r"^@triton\.jit", file.read_text(encoding="utf-8"), re.MULTILINE):
            found[f"{file.stem}.triton"] = _digest(_python_closure(file, folder), folder)
    csrc = root / "csrc"
    for file in sorted((csrc / "cuda").glob("*.cu")):
        found[f"{file.stem}.cuda"] = _digest(_include_closure(file, csrc), csrc)
    return found


def _inventory(folder: Path) -> Iterable[Any]:
    """The kernels that ``inventory.py`` of a folder lists; it is loaded by its path: in a checkout it has no name."""
    path = folder / "inventory.py"
    spec = importlib.util.spec_from_file_location("_gptface_kernel_inventory", path) if path.is_file() else None
    if spec is None or spec.loader is None:
        return ()
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look their module up there
    spec.loader.exec_module(module)
    return module.kernels()


def _triton_folder(root: Path) -> Path:
    """Where the files of ``gptface.kernels`` lie: in the package where it is installed, beside it in a checkout."""
    installed = root / "gptface" / "kernels"
    return installed if installed.is_dir() else root / "kernels"


def _digest(files: Iterable[Path], base: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.relative_to(base).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _include_closure(file: Path, csrc: Path) -> set[Path]:
    """A source and every header of the project that it includes, directly or not."""
    seen, waiting = {file}, [file]
    while waiting:
        current = waiting.pop()
        text = current.read_text(encoding="utf-8")
        for name in re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', text, re.MULTILINE):
            for base in (current.parent, csrc / "include", csrc):
                header = base / name
                if header.is_file() and header not in seen:
                    seen.add(header)
                    waiting.append(header)
    return seen


def _python_closure(file: Path, folder: Path) -> set[Path]:
    """A file of ``gptface.kernels`` and those of its neighbours that it imports, directly or not."""
    seen, waiting = {file}, [file]
    while waiting:
        for node in ast.walk(ast.parse(waiting.pop().read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                modules = [node.module or "", *(f"{node.module or ''}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            else:
                continue
            for module in modules:
                neighbour = folder / f"{module.removeprefix('gptface.kernels.').split('.')[0]}.py"
                if neighbour.is_file() and neighbour not in seen:
                    seen.add(neighbour)
                    waiting.append(neighbour)
    return seen


def read_ledger(path: Path = LEDGER) -> dict[str, dict[str, Any]]:
    """The records; none where no program has written any."""
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def ledger_states(kernels: dict[str, str], ledger: dict[str, dict[str, Any]]) -> dict[str, str]:
    """The state of every kernel, in words: passed as it is now, failed, changed since, or never run."""
    states = {}
    for name, source_hash in kernels.items():
        record = ledger.get(name)
        if record is None:
            states[name] = "has never run on a GPU"
            continue
        run = f"{record['outcome']} on {record['gpu']} on {record['date']}"
        states[name] = run if record["source_hash"] == source_hash else f"its source has changed since it {run}"
    return states
