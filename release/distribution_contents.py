"""Compares what a wheel or a source distribution holds with what the checkout has: nothing missing, nothing too many.

    python -m release.distribution_contents dist/*.tar.gz
    python -m release.distribution_contents --libraries cpu cuda -- dist/*.whl

Of a wheel also its tag, ``cp310-abi3`` and a platform. (What its libraries need of others is seen by auditwheel.)
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["main", "sdist_problems", "wheel_problems"]

ROOT = Path(__file__).resolve().parents[1]
TOP = {"CHANGELOG.md", "LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.py"}
WRITTEN = re.compile(r"PKG-INFO|setup\.cfg|gptface\.egg-info/.*")
# Rooms of the checkout and where they are installed.
INSTALLED = {"gptface": "gptface", "kernels": "gptface/kernels", "csrc/include": "gptface/include"}
PACKED = (".py", ".pyi", ".typed", ".yaml", ".json", ".md", ".safetensors", ".h", ".cuh")
LIBRARIES = ("cpu", "cuda")


def _files(folder: Path) -> Iterator[str]:
    """Of a folder of the checkout, below it, without what builds and runs leave behind. Links are not followed."""
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in names:
            if not name.endswith((".pyc", ".so", ".tmp")):
                yield (Path(parent) / name).relative_to(folder).as_posix()


def _compared(held: set[str], wanted: set[str]) -> list[str]:
    problems = [f"lacks {', '.join(sorted(wanted - held)[:10])}"] if wanted - held else []
    return problems + ([f"also holds {', '.join(sorted(held - wanted)[:10])}"] if held - wanted else [])


def sdist_problems(path: Path, root: Path = ROOT) -> list[str]:
    """What is wrong with a source distribution, a sentence each."""
    with tarfile.open(path) as archive:
        names = [Path(member.name) for member in archive.getmembers() if member.isfile()]
    if len({name.parts[0] for name in names}) != 1:
        return ["has more than one folder at its top"]
    held = {Path(*name.parts[1:]).as_posix() for name in names}
    wanted = TOP | {f"{room}/{file}" for room in ("csrc", "gptface", "kernels") for file in _files(root / room)}
    return _compared({name for name in held if not WRITTEN.fullmatch(name)}, wanted)


def wheel_problems(path: Path, libraries: Sequence[str] = (), root: Path = ROOT) -> list[str]:
    """What is wrong with a wheel, a sentence each.

    Args:
        libraries: native libraries that it must have, of ``"cpu"`` and ``"cuda"``; no others may be in it.
    """
    problems = []
    if not re.fullmatch(r"gptface-[^-]+-cp310-abi3-\w+\.whl", path.name):
        problems.append(f"is called {path.name}, not gptface-VERSION-cp310-abi3-PLATFORM.whl")
    with zipfile.ZipFile(path) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    described = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    wanted = {f"{place}/{name}" for room, place in INSTALLED.items() for name in _files(root / room)}
    wanted = {name for name in wanted if name.endswith(PACKED) or name.endswith("/SHA256SUMS")}
    wanted |= {f"gptface/_native_{part}.so" for part in libraries}
    return problems + _compared(names - described, wanted)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m release.distribution_contents", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("files", nargs="+", type=Path, help="wheels and source distributions")
    parser.add_argument("--libraries", nargs="*", choices=LIBRARIES, default=[], help="native libraries of a wheel")
    given = parser.parse_args(arguments)
    problems = []
    for path in given.files:
        found = wheel_problems(path, given.libraries) if path.suffix == ".whl" else sdist_problems(path)
        problems += [f"{path.name}: {problem}" for problem in found]
        if not found:
            print(f"{path.name}: complete, {path.stat().st_size / 1e6:.1f} MB")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
