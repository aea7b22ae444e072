"""Masked attention for a C++ program that knows nothing of torch: builds ``attention_from_cpp.cpp``, and calls it.

Needs a C++20 compiler, pybind11 and NumPy. The headers come with the package: ``gptface.get_include()``.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from types import ModuleType

import numpy as np

import gptface


def build(directory: Path, flags: tuple[str, ...] = ("-O3", "-march=native")) -> ModuleType:
    """Compile the module into ``directory`` and import it."""
    import pybind11

    target = directory / ("attention_from_cpp" + sysconfig.get_config_var("EXT_SUFFIX"))
    headers = (gptface.get_include(), pybind11.get_include(), sysconfig.get_path("include"))
    command = [os.environ.get("CXX", "c++"), "-std=c++20", *flags, "-shared", "-fPIC", "-fvisibility=hidden"]
    command += ["-pthread", *(f"-I{header}" for header in headers)]
    command += [str(Path(__file__).with_name("attention_from_cpp.cpp")), "-o", str(target)]
    subprocess.run(command, check=True)
    spec = importlib.util.spec_from_file_location("attention_from_cpp", target)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(directory: Path | None = None, flags: tuple[str, ...] = ("-O3", "-march=native")) -> float:
    """The largest difference from softmax attention in NumPy, on a prefix-LM mask: 7 tokens are seen by all."""
    module = build(directory or Path(tempfile.mkdtemp()), flags)
    generator = np.random.default_rng(0)
    query, key, value = (generator.standard_normal((2, 50, 4, 32), dtype=np.float32) for _ in range(3))
    ends = np.maximum(np.arange(50) + 1, 7)
    intervals = np.stack([np.zeros(50), ends], axis=-1).astype(np.int32).reshape(1, 50, 1, 2)
    out, _ = module.attend(query, key, value, intervals)
    scores = np.einsum("bihd,bjhd->bhij", query, key, dtype=np.float64) / np.sqrt(32)
    weights = np.exp(scores) * (np.arange(50)[None, :] < ends[:, None])
    expected = np.einsum("bhij,bjhd->bihd", weights / weights.sum(-1, keepdims=True), value)
    error = float(np.abs(out - expected).max())
    print(f"largest difference from NumPy: {error:.1e}")
    return error


if __name__ == "__main__":
    main()
