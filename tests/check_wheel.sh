#!/bin/sh
# One wheel for every Python from 3.10 and every torch from 2.10: build it here, then run the operators' tests from it
# under another interpreter, which needs torch, platformdirs, pytest and hypothesis and is left as it was.
#
#   tests/check_wheel.sh PYTHON [BUILDER]
#
# PYTHON   interpreter to test under (another Python version, another torch, another triton: from 3.5 to the newest)
# BUILDER  interpreter that builds the wheel, with torch and setuptools; default .venv/bin/python
# TESTS    environment: what to run, default "tests/ops tests/test_native_library.py"
set -eu

if [ $# -lt 1 ]; then
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
root=$(cd "$(dirname "$0")/.." && pwd)
python=$1
builder=${2:-$root/.venv/bin/python}
tests=${TESTS:-tests/ops tests/test_native_library.py}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$python" -c 'import sys, torch; print("under: Python", sys.version.split()[0], "torch", torch.__version__)'
"$builder" -c 'import sys, torch; print("built: Python", sys.version.split()[0], "torch", torch.__version__)'

# setuptools packs what earlier builds left behind; the object files in build/temp* are worth keeping.
rm -rf "$root"/build/lib* "$root"/build/bdist*
GPTFACE_BUILD=required "$builder" -m pip wheel --quiet --no-build-isolation --no-deps --wheel-dir "$work/wheel" "$root"
wheel=$(ls "$work"/wheel/*.whl)
echo "wheel: $(basename "$wheel"), $(du -h "$wheel" | cut -f1)"
parts=cpu
if command -v nvcc > /dev/null && [ "${GPTFACE_CUDA:-1}" != 0 ]; then parts="cpu cuda"; fi
# shellcheck disable=SC2086
(cd "$root" && "$builder" -m release.distribution_contents --libraries $parts -- "$wheel")

# A directory of its own in front of the path, and the tests (some take their statistics from
# the benchmarks) copied away from the checkout: of the package nothing but the wheel is imported.
"$python" -m pip install --quiet --no-deps --target "$work/site" "$wheel"
mkdir "$work/run"
cp -R "$root/tests" "$root/benchmarks" "$root/pyproject.toml" "$work/run/"
# Tests that compile the headers by themselves take those of the wheel.
mkdir "$work/run/csrc"
ln -s "$work/site/gptface/include" "$work/run/csrc/include"
cd "$work/run"
export PYTHONPATH="$work/site" OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
"$python" - <<'END'
import gptface
import gptface.kernels
import torch
from gptface.ops import implementations

print("imports:", gptface.__file__)
for row in implementations():
    print(f"  {row.operator}: {row.name}: {'available' if row.available else row.reason}")
END
# shellcheck disable=SC2086
"$python" -m pytest -p no:cacheprovider $tests
# The Triton kernels under this triton, where there is one; NumPy below 2.3 for triton 3.6 and older.
if "$python" -c 'import triton; print("triton", triton.__version__)'; then
    "$python" -m gptface prove --interpret
fi
