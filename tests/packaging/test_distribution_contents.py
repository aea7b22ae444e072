"""What is missing from a wheel or a source distribution, or too much in it, is named."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from release.distribution_contents import main, sdist_problems, wheel_problems

FILES = {
    "gptface/__init__.py": "gptface/__init__.py",
    "gptface/a/table.yaml": "gptface/a/table.yaml",
    "kernels/attention.py": "gptface/kernels/attention.py",
    "csrc/include/gptface/philox.h": "gptface/include/gptface/philox.h",
}
TOP = ("CHANGELOG.md", "LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.py")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout, with what builds leave in it."""
    for name in (*FILES, *TOP, "csrc/cpu/vq.cpp", "gptface/_native_cpu.so", "gptface/__pycache__/x.cpython-311.pyc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def wheel(root: Path, names: list[str], tag: str = "cp310-abi3-manylinux_2_28_x86_64") -> Path:
    path = root / f"gptface-0.1.0-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in [*names, "gptface-0.1.0.dist-info/METADATA"]:
            archive.writestr(name, name)
    return path


def sdist(root: Path, names: list[str]) -> Path:
    path = root / "gptface-0.1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(f"gptface-0.1.0/{name}"), io.BytesIO())
    return path


def test_complete_ones_are_fine(root: Path) -> None:
    packed = [*FILES.values(), "gptface/_native_cpu.so"]
    assert wheel_problems(wheel(root, packed), ["cpu"], root) == []
    assert wheel_problems(wheel(root, list(FILES.values()), "cp310-abi3-linux_x86_64"), [], root) == []
    whole = [*FILES, *TOP, "csrc/cpu/vq.cpp", "PKG-INFO", "setup.cfg", "gptface.egg-info/SOURCES.txt"]
    assert sdist_problems(sdist(root, whole), root) == []


@pytest.mark.parametrize("name", FILES.values())
def test_a_missing_file_is_named(root: Path, name: str) -> None:
    packed = [*(other for other in FILES.values() if other != name), "gptface/_native_cpu.so"]
    assert wheel_problems(wheel(root, packed), ["cpu"], root) == [f"lacks {name}"]


def test_a_wrong_library_tag_or_room_is_named(root: Path) -> None:
    packed = [*FILES.values(), "gptface/_native_cpu.so"]
    assert wheel_problems(wheel(root, packed), ["cpu", "cuda"], root) == ["lacks gptface/_native_cuda.so"]
    assert wheel_problems(wheel(root, packed), [], root) == ["also holds gptface/_native_cpu.so"]
    assert wheel_problems(wheel(root, [*packed, "tests/test_it.py"]), ["cpu"], root) == ["also holds tests/test_it.py"]
    found = wheel_problems(wheel(root, packed, "cp311-cp311-linux_x86_64"), ["cpu"], root)
    assert len(found) == 1 and "not gptface-VERSION-cp310-abi3-PLATFORM.whl" in found[0]


def test_a_source_distribution_without_a_header_or_with_tests_is_refused(root: Path) -> None:
    whole = [*FILES, *TOP, "csrc/cpu/vq.cpp"]
    lacking = [name for name in whole if not name.endswith("philox.h")]
    assert sdist_problems(sdist(root, lacking), root) == ["lacks csrc/include/gptface/philox.h"]
    assert sdist_problems(sdist(root, [*whole, "tests/test_it.py"]), root) == ["also holds tests/test_it.py"]


def test_exit_code(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(wheel(root, ["gptface/other.py"]))]) == 1
    assert "lacks" in capsys.readouterr().err
