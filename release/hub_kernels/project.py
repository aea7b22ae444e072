"""Writes the project: sources, ``build.toml`` and what else kernel-builder expects."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

from release.hub_kernels.native_side import binding, framed
from release.hub_kernels.python_side import closure, rewritten

__all__ = ["NAME", "PYTHON_NAME", "REPOSITORY", "make_project"]

ROOT = Path(__file__).resolve().parents[2]
FILES = Path(__file__).with_name("files")
NAME = "gptface-ops"
PYTHON_NAME = NAME.replace("-", "_")
REPOSITORY = f"gptface/{NAME}"
# The interface may still change: the Hub's convention for that is version 0.
VERSION = 0
STABLE_ABI = "2.10"
COMMON = ["-std=c++20", "-fno-math-errno"]
# Compute capabilities as kernel-builder names them; the kernels need 8.0 or later.
CAPABILITIES = ["8.0", "8.6", "8.9", "9.0", "10.0", "12.0"]


def make_project(output: Path, repository: str = REPOSITORY, root: Path = ROOT) -> None:
    """Write the project into ``output``, whole or not at all; a former one is replaced.

    Args:
        repository: ``owner/name`` on the Hub.
        root: the checkout.

    Raises:
        ValueError: the name is none, ``output`` is something else, or the sources have changed in a way that must be
            followed here.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise ValueError(f"repo-id: {repository!r} is no repository of the Hub; allowed: owner/name")
    if output.exists() and not (output / "build.toml").is_file():
        raise ValueError(f"output: {output} exists and is no such project; choose another folder")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".hub-kernels-") as folder:
        made = Path(folder) / "project"
        sections = _native(made, root)
        _python(made, root)
        words = {"name": NAME, "module": PYTHON_NAME, "repository": repository, "version": str(VERSION)}
        for name in ("CARD.md", "flake.nix", "tests/__init__.py", "tests/test_operators.py"):
            text = (FILES / f"{name}.in").read_text(encoding="utf-8")
            _write(made / name, Template(text).substitute(words))
        _write(made / "build.toml", _build_file(repository, sections))
        shutil.copyfile(root / "LICENSE", made / "LICENSE")
        if output.exists():
            shutil.rmtree(output)
        made.rename(output)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _native(made: Path, root: Path) -> dict[str, Mapping[str, object]]:
    """Write the native sources; gives the sections of ``build.toml`` that compile them."""
    csrc = root / "csrc"
    headers = sorted(path for name in ("include/gptface", "operators", "cpu") for path in (csrc / name).glob("*.*h"))
    units = sorted((csrc / "cpu").glob("*.cpp"))
    cuda = sorted((csrc / "cuda").glob("*.cu"))
    for path in [*headers, *units, *cuda]:
        text = framed(path) if path in units else path.read_text(encoding="utf-8")
        _write(made / path.relative_to(root), text)
    register = (csrc / "register.cpp").read_text(encoding="utf-8")
    _write(made / "torch-ext" / "torch_binding.cpp", binding(register))
    setup_hash = runpy.run_path(str(root / "kernels" / "sources.py"))["cuda_source_hash"]

    def names(paths: Sequence[Path]) -> list[str]:
        return [path.relative_to(root).as_posix() for path in paths]

    include = ["csrc", "csrc/include"]
    shared = [path for path in headers if path.parent.name == "gptface"]
    own = [path for path in headers if path.parent.name == "cpu"]
    sections: dict[str, Mapping[str, object]] = {
        "torch": {
            "src": ["torch-ext/torch_binding.cpp", *names([path for path in headers if path not in own])],
            "include": include,
            "pyext": ["py", "json"],
            "cxx-flags": COMMON,
        },
        "torch.stable-abi": {"cpu": STABLE_ABI, "cuda": STABLE_ABI},
    }
    # The rasteriser rounds every operation by itself: see UNFUSED in setup.py.
    for part, flags in (("cpu", []), ("cpu_raster", ["-ffp-contract=off"])):
        mine = [path for path in units if path.stem.startswith("raster") == (part == "cpu_raster")]
        sections[f"kernel.{part}"] = {
            "backend": "cpu",
            "depends": ["torch"],
            "include": include,
            "cxx-flags": [*COMMON, *flags],
            "src": names([*mine, *own, *shared]),
        }
    for path in cuda:
        # The library says what it was built from, by the hash that proofs of GPU kernels know it by.
        mark = f"-DGPTFACE_BUILT_FROM={path.stem}.cuda:{setup_hash(path, csrc)}"
        sections[f"kernel.cuda_{path.stem}"] = {
            "backend": "cuda",
            "depends": ["torch"],
            "include": include,
            "cuda-capabilities": CAPABILITIES,
            "cuda-flags": ["-std=c++20", "-DGPTFACE_CUDA", mark],
            "src": names([path, *shared]),
        }
    return sections


def _python(made: Path, root: Path) -> None:
    package = made / "torch-ext" / PYTHON_NAME
    modules = closure(root)
    names = {module.name for module in modules}
    for module in modules:
        _write(package / module.place, rewritten(module, names))
    for table in sorted((root / "kernels" / "tuned").glob("*.json")):
        _write(package / "kernels" / "tuned" / table.name, table.read_text(encoding="utf-8"))
    text = (root / "gptface" / "ops" / "__init__.py").read_text(encoding="utf-8")
    public = re.findall(r'^    "(\w+)",$', text[text.index("__all__") :], re.MULTILINE)
    listed = "".join(f"    {name},\n" for name in public)
    exported = "".join(f'    "{name}",\n' for name in public)
    _write(
        package / "__init__.py",
        '"""Operators for masked multimodal training: attention, span masks, codebook lookup, rasterisation."""\n\n'
        f"from .ops import (\n{listed})\n\n__all__ = [\n{exported}]\n",
    )


def _build_file(repository: str, sections: Mapping[str, Mapping[str, object]]) -> str:
    general = {
        "name": NAME,
        "version": VERSION,
        "edition": 5,
        "license": "Apache-2.0",
        "backends": ["cpu", "cuda"],
    }
    text = "# Made by `make hf-kernels` of the package's sources: change those, not this.\n"
    for name, values in {"general": general, "general.hub": {"repo-id": repository}, **sections}.items():
        text += f"\n[{name}]\n"
        for key, value in values.items():
            text += f"{key} = {_value(value)}\n"
    return text


def _value(value: object) -> str:
    """TOML of a number, a string or a list of strings: JSON's, with a list of many on lines of their own."""
    if isinstance(value, list) and len(value) > 3:
        return "[\n" + "".join(f"    {json.dumps(entry)},\n" for entry in value) + "]"
    return json.dumps(value)
