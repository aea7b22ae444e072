"""Makes a Hub kernel's Python package of ``gptface.ops`` and everything of ``gptface`` that it imports.

A Hub kernel may be loaded twice in a process, from anywhere, in different versions. So its imports are relative, and
its operators live in the namespace that kernel-builder generates (``_ops.py``). Five things are changed, each found in
the syntax tree, and nothing else:

* ``from gptface.x import y`` becomes relative; so do names of modules that are imported by string;
* ``torch.ops.gptface`` becomes the generated namespace, and ``torch.library.Library("gptface", …)`` a part of it;
* ``"gptface::operator"`` goes through ``add_op_namespace_prefix``;
* the name under which a mask is serialised carries the namespace too;
* the functions that look for the native libraries beside the package find the extension that is already imported.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["closure", "rewritten"]

MODULE = re.compile(r"gptface(?:\.\w+)+")
# Function -> what stands in its place, by module.
REPLACED = {
    "gptface.ops.native": {
        "library_path": '''\
def library_path(part: str) -> Path | None:
    """Path of the extension, where this build variant is the one of ``part`` ("cpu" or "cuda")."""
    return next(iter(sorted(_PACKAGE.glob(f"_*_{part}_*.so"))), None)
''',
        "cpu_library_missing": '''\
def cpu_library_missing() -> str | None:
    """``None`` where this build variant has CPU kernels, which came with the import, else the reason why not."""
    return None if library_path("cpu") else "this build variant of the Hub kernel has no CPU kernels"
''',
        "cuda_library_missing": '''\
def cuda_library_missing() -> str | None:
    """``None`` where CUDA kernels can run, which came with the import, else the reason why not."""
    if not torch.cuda.is_available():
        return "no CUDA device"
    return None if library_path("cuda") else "this build variant of the Hub kernel has no CUDA kernels"
''',
    },
    "gptface.kernels.inventory": {
        "cuda_library": '''\
def cuda_library() -> Path | None:
    """The extension with the CUDA kernels, or ``None`` where this is another build variant."""
    return next(iter(sorted(_PACKAGE.glob("_*_cuda_*.so"))), None)
''',
    },
}


@dataclass(frozen=True)
class Module:
    """A module of the package.

    Attributes:
        name: such as ``"gptface.ops.vq.api"``.
        path: of its source.
    """

    name: str
    path: Path

    @property
    def package(self) -> list[str]:
        """The packages that it is in, below ``gptface``."""
        parts = self.name.split(".")[1:]
        return parts if self.path.name == "__init__.py" else parts[:-1]

    @property
    def place(self) -> Path:
        """Where it goes, below the kernel's package."""
        return Path(*self.package, self.path.name)


def closure(root: Path) -> list[Module]:
    """The modules of ``gptface.ops`` and all that they import of the package, directly or not, sorted by name.

    Args:
        root: of the checkout.
    """
    waiting = [f"gptface.{name}" for name in _dotted(root / "gptface" / "ops", root / "gptface")]
    found: dict[str, Module] = {}
    while waiting:
        name = waiting.pop()
        path = _source(root, name)
        if name in found or name == "gptface" or path is None:
            continue
        found[name] = Module(name, path)
        waiting.append(name.rpartition(".")[0])
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").startswith("gptface"):
                waiting += [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and MODULE.fullmatch(node.value):
                waiting.append(node.value)
    return [found[name] for name in sorted(found)]


def _dotted(folder: Path, base: Path) -> Iterator[str]:
    for path in folder.rglob("*.py"):
        parts = path.relative_to(base).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _source(root: Path, name: str) -> Path | None:
    parts = name.split(".")[1:]
    base = root / "kernels" / Path(*parts[1:]) if parts[:1] == ["kernels"] else root / "gptface" / Path(*parts)
    for path in (base.with_suffix(".py") if parts != ["kernels"] else base / "__init__.py", base / "__init__.py"):
        if path.is_file():
            return path
    return None


def rewritten(module: Module, names: set[str]) -> str:
    """The source of a module as the Hub kernel has it.

    Args:
        names: of all modules that it has.

    Raises:
        ValueError: something of the package is used in a way that is not known here.
    """
    text = module.path.read_text(encoding="utf-8")
    dots = "." * (len(module.package) + 1)
    edits: list[tuple[int, int, str]] = []
    needed: set[str] = set()
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line.encode()))

    def replace(node: ast.AST, new: str) -> None:
        start = starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]
        edits.append((start, starts[node.end_lineno - 1] + node.end_col_offset, new))  # type: ignore[attr-defined]

    tree = ast.parse(text)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    inside: set[int] = set()  # parts of f-strings, which are replaced whole
    functions = dict(REPLACED.get(module.name, {}))
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inside |= {id(value) for value in node.values}
        if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] == "gptface":
            rest = str(node.module).removeprefix("gptface").removeprefix(".")
            source = _segment(text, starts, node)
            replace(node, re.sub(rf"from {re.escape(str(node.module))} import", f"from {dots}{rest} import", source))
        elif isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "gptface" for alias in node.names):
            if [(alias.name, alias.asname) for alias in node.names] != [("gptface", None)]:
                raise ValueError(f"{module.path}:{node.lineno}: of the package only `import gptface` is known here")
            replace(node, f'gptface = __import__("importlib").import_module("{dots}", __package__)')
        elif isinstance(node, ast.FunctionDef) and node.name in functions:
            replace(node, functions.pop(node.name).rstrip())
        elif ast.unparse(node) == "torch.ops.gptface" if isinstance(node, ast.Attribute) else False:
            needed.add("ops as _hub_ops")
            replace(node, "_hub_ops")
        elif isinstance(node, ast.JoinedStr) and ast.unparse(node)[2:].startswith("gptface::"):
            needed.add("add_op_namespace_prefix")
            source = _segment(text, starts, node).replace("gptface::", "", 1)
            replace(node, f"add_op_namespace_prefix({source})")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings | inside:
            if node.value.startswith("gptface::"):
                needed.add("add_op_namespace_prefix")
                replace(node, f'add_op_namespace_prefix("{node.value.removeprefix("gptface::")}")')
            elif node.value in names:
                needed.add("root")
                replace(node, f'_HUB_ROOT + "{node.value.removeprefix("gptface")}"')
            elif node.value == "gptface.IntervalMask":
                needed.add("ops as _hub_ops")
                replace(node, '_hub_ops.name + ".IntervalMask"')
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.library.Library":
            needed.add("ops as _hub_ops")
            replace(node.args[0], "_hub_ops.name")
    if functions:
        raise ValueError(f"{module.path}: {', '.join(functions)} is gone; release/hub_kernels must follow")
    lines = []
    if needed - {"root"}:
        lines.append(f"from {dots}_ops import {', '.join(sorted(needed - {'root'}))}\n")
    if "root" in needed:
        below = len(module.name.split(".")) - 1
        lines.append(f'_HUB_ROOT = __name__.rsplit(".", {below})[0]\n' if below else "_HUB_ROOT = __name__\n")
    return _edited(text, edits, _first_import(tree, starts), "".join(lines))


def _segment(text: str, starts: list[int], node: ast.AST) -> str:
    start = starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]
    end = starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]
    return text.encode()[start:end].decode()


def _first_import(tree: ast.Module, starts: list[int]) -> int:
    """Where imports begin: after the docstring and ``from __future__``."""
    last = 0
    for node in tree.body:
        future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
        if not future and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            break
        last = starts[int(node.end_lineno or 0)]
    return last


def _edited(text: str, edits: list[tuple[int, int, str]], place: int, lines: str) -> str:
    raw = text.encode()
    if lines:
        edits = [*edits, (place, place, f"\n{lines}")]
    # What lies inside a replaced function or import goes with it.
    outer = [edit for edit in edits if not any(o[0] <= edit[0] and edit[1] <= o[1] and o != edit for o in edits)]
    for start, end, new in sorted(outer, reverse=True):
        raw = raw[:start] + new.encode() + raw[end:]
    return raw.decode()
