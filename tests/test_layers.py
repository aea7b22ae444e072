"""The rooms of the architecture hold: who may import whom, and that the operators need torch alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Room -> rooms of gptface it may import (itself always; the top-level modules too). What a room may import, it may also
# reach through the rooms it imports: `training` may use `ops`, which `objectives` rests on.
ALLOWED: dict[str, set[str]] = {
    "ops": {"kernels"},
    "faces": set(),
    "morphable": {"ops", "faces"},
    "hub": set(),
    "models": {"ops", "faces", "hub"},
    "objectives": {"ops"},
    "data": {"ops", "faces"},
    "training": {"ops", "objectives", "data"},
    "evaluation": {"ops", "faces", "models", "objectives", "data", "training"},
    "systems": {"ops", "faces", "morphable", "hub", "models", "objectives", "data", "training", "evaluation"},
    "diagnosis": {"ops", "kernels"},
    "integrations": {"ops", "models"},
    "studio": {"ops", "faces", "morphable", "models", "data", "systems"},
    "cli": {
        *("ops", "faces", "morphable", "models", "objectives", "data", "training", "evaluation", "systems"),
        *("diagnosis", "integrations", "studio"),
    },
}
EVERYBODY = {
    *("configuration", "decoding_defaults", "errors", "files", "integers", "pickled_arrays", "progress"),
    *("__version__", "get_include"),
}


def imported_modules(path: Path) -> set[str]:
    """Every ``gptface.…`` module that a file imports, wherever in the file it stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names if alias.name.startswith("gptface."))
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            if node.module == "gptface":
                found.update(f"gptface.{alias.name}" for alias in node.names)
            elif node.module == "gptface.systems":
                found.update(f"gptface.systems.{alias.name}" for alias in node.names)
            elif node.module.startswith("gptface."):
                found.add(node.module)
    return found


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_room_imports_only_what_stands_above_it(room: str) -> None:
    for path in sorted((ROOT / "gptface" / room).rglob("*.py")):
        rooms = {module.split(".")[1] for module in imported_modules(path)}
        extra = rooms - ALLOWED[room] - {room} - EVERYBODY
        assert not extra, f"{path.relative_to(ROOT)} imports {sorted(extra)}; {room} may import {sorted(ALLOWED[room])}"


@pytest.mark.parametrize("system", sorted(path.parent.name for path in (ROOT / "gptface/systems").glob("*/stages.py")))
def test_no_system_imports_another(system: str) -> None:
    for path in sorted((ROOT / "gptface" / "systems" / system).rglob("*.py")):
        systems = {module.split(".")[2] for module in imported_modules(path) if module.startswith("gptface.systems.")}
        assert systems <= {system}, f"{path.relative_to(ROOT)} imports {sorted(systems - {system})}"


def test_training_names_no_system() -> None:
    names = [path.parent.name for path in (ROOT / "gptface/systems").glob("*/stages.py")]
    for path in sorted((ROOT / "gptface" / "training").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        named = [name for name in names if f"systems.{name}" in text]
        assert not named, f"{path.relative_to(ROOT)} names {named}"


def test_every_directory_of_the_package_is_a_known_room() -> None:
    rooms = {path.parent.name for path in (ROOT / "gptface").glob("*/__init__.py")}
    assert rooms == set(ALLOWED)


@pytest.mark.parametrize("directory", ["benchmarks", "docsite", "examples"])
def test_outside_the_package_nobody_imports_the_source_tree(directory: str) -> None:
    for path in sorted((ROOT / directory).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                assert node.module.split(".")[0] != "kernels", f"{path}: use gptface.kernels"


def test_benchmarks_import_no_private_name_and_their_runner_no_test() -> None:
    for path in sorted((ROOT / "benchmarks").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                # An evidence page shares the tests' generator of random specifications; the runner needs no tests.
                allowed = path.stem.endswith("_evidence")
                assert allowed or node.module.split(".")[0] != "tests", f"{path}: helpers of the tests stay there"
                if node.module.split(".")[0] == "gptface":
                    private = [alias.name for alias in node.names if alias.name.startswith("_")]
                    assert not private, f"{path} imports {private} from {node.module}"


def test_package_does_not_import_its_benchmarks() -> None:
    for path in sorted((ROOT / "gptface").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                assert node.module.split(".")[0] != "benchmarks", f"{path} imports benchmarks"


def test_importing_the_operators_pulls_in_torch_and_nothing_else() -> None:
    heavy = [
        "transformers", "PIL", "tokenizers", "accelerate", "webdataset", "pydantic", "matplotlib", "yaml", "triton",
    ]
    code = (
        "import sys, torch; before = set(sys.modules); import gptface.ops; "
        f"new = {{name.split('.')[0] for name in set(sys.modules) - before}}; "
        f"print(sorted(new & set({heavy!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_the_package_pulls_in_nothing() -> None:
    code = "import sys, gptface; print(int('torch' in sys.modules or 'numpy' in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"
