"""The project for Hugging Face's kernel-builder: complete, importable, in a namespace of its own."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import gptface.ops
from release.hub_kernels import make_project
from release.hub_kernels.native_side import TARGETS, binding
from release.hub_kernels.project import NAME, PYTHON_NAME, ROOT
from release.hub_kernels.python_side import Module, rewritten

# What `build.toml` of edition 5 may hold (docs of kernel-builder, "Write kernels").
GENERAL = {"name", "version", "edition", "license", "backends", "hub", "upstream", "source", "python-depends", "cuda"}
TORCH = {"src", "include", "pyext", "cxx-flags", "minver", "maxver", "stable-abi"}
KERNEL = {
    "cpu": {"backend", "depends", "include", "src", "cxx-flags"},
    "cuda": {"backend", "depends", "include", "src", "cxx-flags", "cuda-flags", "cuda-capabilities", "cuda-minver"},
}
# As kernel-builder's template for the compiled extension; `importing` is left out where none was compiled.
OPS = """\
import torch
{importing}
ops = torch.ops.{name}

def add_op_namespace_prefix(op_name: str):
    return f"{name}::{{op_name}}"
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub kernels") / "project"
    make_project(folder)
    return folder


@pytest.fixture(scope="module")
def build(project: Path) -> dict[str, Any]:
    tomllib = pytest.importorskip("tomllib")  # from Python 3.11 on
    return dict(tomllib.loads((project / "build.toml").read_text(encoding="utf-8")))


def sections(build: dict[str, Any]) -> list[dict[str, Any]]:
    return [build["torch"], *build["kernel"].values()]


def install(project: Path, folder: Path, name: str, importing: str = "") -> Path:
    """A build variant as kernel-builder lays it out, without metadata."""
    shutil.copytree(project / "torch-ext" / PYTHON_NAME, folder)
    (folder / "_ops.py").write_text(OPS.format(name=name, importing=importing))
    return folder


def load(folder: Path, name: str) -> ModuleType:
    """Import a build variant under a name of its own, as ``kernels`` does."""
    specification = importlib.util.spec_from_file_location(name, folder / "__init__.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module


def test_build_file_is_of_the_documented_edition(build: dict[str, Any]) -> None:
    general = build["general"]
    assert set(general) <= GENERAL and general["edition"] == 5
    assert re.fullmatch(r"[a-z][-a-z0-9]*[a-z0-9]", general["name"]) and general["name"] == NAME
    assert set(build) == {"general", "torch", "kernel"}
    assert set(build["torch"]) <= TORCH
    for section in build["kernel"].values():
        assert section["backend"] in general["backends"]
        assert set(section) <= KERNEL[section["backend"]]
        assert section["depends"] == ["torch"]
    assert {section["backend"] for section in build["kernel"].values()} == set(general["backends"])


def test_stable_abi_is_the_one_of_the_package(build: dict[str, Any]) -> None:
    target = re.search(r"TORCH_TARGET_VERSION=0x(\w\w)(\w\w)0{12}", (ROOT / "setup.py").read_text(encoding="utf-8"))
    assert target is not None
    version = f"{int(target[1], 16)}.{int(target[2], 16)}"
    assert build["torch"]["stable-abi"] == dict.fromkeys(build["general"]["backends"], version)


def test_every_source_is_there_and_every_file_is_named(project: Path, build: dict[str, Any]) -> None:
    """kernel-builder copies what is named and nothing else; what is compiled is named once."""
    named = [source for section in sections(build) for source in section["src"]]
    assert named and not [source for source in named if not (project / source).is_file()]
    units = [source for source in named if source.endswith((".cpp", ".cu"))]
    assert len(units) == len(set(units))
    there = {path.relative_to(project).as_posix() for path in (project / "csrc").rglob("*") if path.is_file()}
    assert there | {"torch-ext/torch_binding.cpp"} == set(named)
    assert {path.name for path in (ROOT / "csrc").rglob("*.c*") if path.suffix in (".cpp", ".cu")} == {
        Path(unit).name.replace("torch_binding", "register") for unit in units
    }
    for section in sections(build):
        assert all((project / folder).is_dir() for folder in section["include"])


def test_every_header_of_the_project_is_found(project: Path, build: dict[str, Any]) -> None:
    for section in sections(build):
        for source in map(Path, section["src"]):
            text = (project / source).read_text(encoding="utf-8")
            for name in re.findall(r'^#include (?:"|<)((?:gptface|operators)/[\w.]+)', text, re.MULTILINE):
                assert any((project / folder / name).is_file() for folder in section["include"]), f"{source}: {name}"


def test_flags_are_those_of_setup(build: dict[str, Any]) -> None:
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    for section in build["kernel"].values():
        if section["backend"] == "cpu":
            raster = any("raster" in source for source in section["src"] if source.endswith(".cpp"))
            assert ("-ffp-contract=off" in section["cxx-flags"]) == raster
        for flag in section.get("cxx-flags", []):
            assert f'"{flag}"' in setup, flag
    for ending, target in TARGETS.items():
        flags = re.search(rf'"{ending}": \[(.*)\]', setup)
        assert flags is not None and [f"-m{name}" for name in target.split(",")] == re.findall(r'"(.*?)"', flags[1])


def test_nothing_of_the_package_is_named_any_more(project: Path) -> None:
    for path in (project / "torch-ext" / PYTHON_NAME).rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        texts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                assert node.level or (node.module or "").split(".")[0] != "gptface", path
            elif isinstance(node, ast.Import):
                assert all(alias.name.split(".")[0] != "gptface" for alias in node.names), path
            elif isinstance(node, ast.Attribute):
                assert ast.unparse(node) != "torch.ops.gptface", path
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in texts:
                assert "gptface::" not in node.value and not node.value.startswith("gptface."), f"{path}: {node.value}"


def test_it_imports_torch_and_the_standard_library_alone(project: Path) -> None:
    """At import; what a plot or a proof needs is imported there."""
    allowed = set(sys.stdlib_module_names) | {"torch", "triton"}
    for path in (project / "torch-ext" / PYTHON_NAME).rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [str(node.module)]
            assert {name.split(".")[0] for name in names} <= allowed, path


PROGRAM = """
import importlib.util, sys, warnings
import torch
def load(folder, name):
    specification = importlib.util.spec_from_file_location(name, folder + "/__init__.py")
    module = sys.modules[name] = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
warnings.simplefilter("ignore", RuntimeWarning)  # no extension was compiled here
one, two = (load(folder, name) for folder, name in ({first!r}, {second!r}))
query, key, value = (torch.randn(2, 9, 2, 16, requires_grad=True) for _ in range(3))
for kernel in (one, two):
    mask = kernel.IntervalMask.prefix_lm(torch.tensor([3, 2]), torch.tensor([9, 7]), 9)
    out = kernel.masked_attention(query, key, value, mask)
    out.sum().backward()
    kernel.vq_lookup(torch.randn(20, 8), torch.randn(16, 8))
    kernel.sample_span_mask(kernel.ImageBlocks(grid=(4, 4), ratio=0.5), [16], seed=0, step=0, sample_ids=[7])
    kernel.VectorQuantizer(8, 16)(torch.randn(20, 8))
    positions = torch.tensor([[[-1., -1, 0, 1], [1, -1, 0, 1], [0, 1, 0, 1]]])
    kernel.rasterize(positions, torch.tensor([[0, 1, 2]]), 8, 8)
    assert len({{row.operator for row in kernel.implementations()}}) > 4
assert one.IntervalMask is not two.IntervalMask
assert "gptface" not in sys.modules
print(sorted(name for name in ("_test_one", "_test_two") if getattr(torch.ops, name).masked_attention))
"""


def test_two_of_them_live_in_one_process(project: Path, tmp_path: Path) -> None:
    folders = [install(project, tmp_path / name, f"_test_{name}") for name in ("one", "two")]
    first, second = ((str(folder), f"hub_{folder.name}") for folder in folders)
    program = PROGRAM.format(first=first, second=second)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['_test_one', '_test_two']"


def test_its_names_are_those_of_the_package(project: Path, tmp_path: Path) -> None:
    kernel = load(install(project, tmp_path / "kernel", "_test_names"), "hub_names")
    assert kernel.__all__ == gptface.ops.__all__
    assert all(hasattr(kernel, name) for name in kernel.__all__)


def test_a_former_project_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    make_project(tmp_path / "project")
    (tmp_path / "project" / "old.txt").write_text("old")
    make_project(tmp_path / "project", "somebody/operators")
    assert not (tmp_path / "project" / "old.txt").exists()
    assert 'repo-id = "somebody/operators"' in (tmp_path / "project" / "build.toml").read_text()
    assert 'get_kernel("somebody/operators"' in (tmp_path / "project" / "tests" / "test_operators.py").read_text()
    (tmp_path / "mine").mkdir()
    with pytest.raises(ValueError, match="is no such project"):
        make_project(tmp_path / "mine")
    with pytest.raises(ValueError, match="repo-id"):
        make_project(tmp_path / "other", "no repository")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "project"]


def test_sources_that_changed_too_much_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="registrations"):
        binding("#include <x>\nSTABLE_TORCH_LIBRARY(gptface, library) {}\n")
    path = tmp_path / "native.py"
    path.write_text('"""It."""\n\nimport gptface.ops\n')
    with pytest.raises(ValueError, match="import gptface"):
        rewritten(Module("gptface.ops.other", path), set())
    path.write_text('"""It."""\n')
    with pytest.raises(ValueError, match="library_path"):
        rewritten(Module("gptface.ops.native", path), set())


@pytest.mark.slow
@pytest.mark.skipif("GPTFACE_COMPILE_HUB_KERNELS" not in os.environ, reason="it takes minutes: make check-hf-kernels")
def test_compiled_it_gives_the_same_as_the_package(project: Path, build: dict[str, Any], tmp_path: Path) -> None:
    """The CPU variant with kernel-builder's flags, and its results beside those of the package."""
    name = f"_{PYTHON_NAME}_cpu_test"
    registration = (
        "#pragma once\n#include <Python.h>\n#define CONCAT_(A, B) A##B\n#define CONCAT(A, B) CONCAT_(A, B)\n"
        "#define TEXT_(A) #A\n#define TEXT(A) TEXT_(A)\n"
        "#define STABLE_TORCH_LIBRARY_IMPL_EXPAND(NAME, KEY, MODULE) STABLE_TORCH_LIBRARY_IMPL(NAME, KEY, MODULE)\n"
        "#define REGISTER_EXTENSION(NAME) PyMODINIT_FUNC CONCAT(PyInit_, NAME)() { static struct PyModuleDef module = "
        "{PyModuleDef_HEAD_INIT, TEXT(NAME), nullptr, 0, nullptr}; return PyModule_Create(&module); }\n"
    )
    (project / "torch-ext" / "registration.h").write_text(registration)
    torch_folder = Path(torch.__file__).parent
    objects = []
    for section in (build["torch"], *(part for part in build["kernel"].values() if part["backend"] == "cpu")):
        for source in (source for source in section["src"] if source.endswith(".cpp")):
            objects.append(str(tmp_path / f"{Path(source).stem}.o"))
            flags = ["-O2", "-fPIC", "-DCPU_KERNEL", f"-DTORCH_EXTENSION_NAME={name}", "-DPy_LIMITED_API=0x03090000"]
            flags += ["-DTORCH_TARGET_VERSION=0x020a000000000000", *section["cxx-flags"]]
            flags += [f"-I{project / folder}" for folder in section["include"]]
            flags += ["-isystem", str(torch_folder / "include"), f"-I{sysconfig.get_path('include')}"]
            subprocess.run(["c++", *flags, "-c", str(project / source), "-o", objects[-1]], check=True)
    folder = install(project, tmp_path / "variant", name, f"from . import {name}")
    libraries = [f"-L{torch_folder / 'lib'}", "-ltorch", "-ltorch_cpu", "-lc10"]
    subprocess.run(["c++", "-shared", *objects, "-o", str(folder / f"{name}.abi3.so"), *libraries], check=True)
    kernel = load(folder, "hub_compiled")
    ours = {(row.operator, row.name): row.available for row in gptface.ops.implementations()}
    assert {(row.operator, row.name): row.available for row in kernel.implementations()} == ours
    query, key, value = (torch.randn(2, 37, 4, 64) for _ in range(3))
    rows, codes = torch.randn(500, 8), torch.randn(64, 8)
    results = []
    for operators in (kernel, gptface.ops):
        mask = operators.IntervalMask.prefix_lm(torch.tensor([3, 2]), torch.tensor([37, 30]), 37)
        out = operators.masked_attention(query, key, value, mask, impl="cpu")
        blocks = operators.ImageBlocks(grid=(4, 4), ratio=0.5)
        spans = operators.sample_span_mask(blocks, [16, 16], seed=0, step=0, sample_ids=[7, 8], impl="cpu").mask
        results.append((out, operators.vq_lookup(rows, codes, impl="cpu").indices, spans))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-5, atol=1e-5)
    assert torch.equal(results[0][1], results[1][1]) and torch.equal(results[0][2], results[1][2])
