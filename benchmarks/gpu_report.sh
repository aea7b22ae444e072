#!/usr/bin/env bash
# GPU tests, ledger, every benchmark, tables and plots in one command, on a machine with a CUDA GPU and no network:
#
#   OUT=folder benchmarks/gpu_report.sh            measure; a second call goes on where the first stopped
#   benchmarks/gpu_report.sh pack                  before, with network: put what a stock CUDA image with torch >= 2.10
#                                                  and triton lacks into benchmarks/wheels, this package's wheel included
#   OUT=folder benchmarks/gpu_report.sh --dry-run  the same steps on a processor, miniature in time; proves no kernel
#
# Leaves in $OUT: results/*.json, results/tables.md, results/*.png, gpu_ledger.json, logs/. Commit the JSON, tables and
# pictures as benchmarks/results/<GPU>/, and gpu_ledger.json as benchmarks/results/gpu_ledger.json.
#
# PYTHON    interpreter with torch (default python3)
# MINUTES   for everything (default 25); a subject has at most 8
# SUBJECTS  which (default all)
# WORK      scratch folder (default gptface-gpu-report under the system's temporary folder)
# TARGET    with pack: Python version of the GPU machine, such as 3.12 (default: that of PYTHON)
# PEERS     with pack: names of further packages to carry as wheels, such as "xformers vector-quantize-pytorch"
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python3}
wheels=$root/benchmarks/wheels
subjects=${SUBJECTS:-attention vq pretrain_step span_mask decode data}
limit=$((60 * ${MINUTES:-25}))
mode=${1:-measure}

usage() {
    sed -n '2,17s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
}

hashes() {
    (cd "$root" && find gptface kernels csrc setup.py -type f ! -name '*.so' ! -name '*.pyc' -print0 | LC_ALL=C sort -z |
        xargs -0 sha256sum | sha256sum)
}

# Puts a wheel of the present sources into the folder $1, and beside it a hash of what it is made of.
build_wheel() {
    rm -rf "$root"/build/lib* "$root"/build/bdist*
    rm -f "$1"/gptface-*.whl "$1/sources.sha256"
    "$python" -m pip wheel --quiet --no-build-isolation --no-deps --no-index --wheel-dir "$1" "$root"
    hashes >"$1/sources.sha256"
}

pack() {
    mkdir -p "$wheels"
    build_wheel "$wheels"
    target=${TARGET:-$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')}
    # Versions that are known to work together: those installed here. torch, triton and numpy are the image's own.
    (cd "$root" && PYTHONPATH=$root "$python" -m benchmarks.carried_packages) >"$wheels/requirements.txt"
    # shellcheck disable=SC2086
    "$python" -m pip download --quiet --no-deps --only-binary=:all: --python-version "$target" \
        --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
        --dest "$wheels" --requirement "$wheels/requirements.txt" ${PEERS:-}
    git -C "$root" rev-parse HEAD >"$wheels/COMMIT" 2>/dev/null || true
    du -sh "$wheels"
}

case $mode in
pack)
    pack
    exit 0
    ;;
measure) device=cuda ;;
--dry-run) device=cpu ;;
*) usage ;;
esac
[ -n "${OUT:-}" ] || usage

mkdir -p "$OUT"
OUT=$(cd "$OUT" && pwd)
work=${WORK:-${TMPDIR:-/tmp}/gptface-gpu-report}
done_marks=$OUT/done
mkdir -p "$work" "$done_marks" "$OUT/logs" "$OUT/results"
began=$SECONDS
failed=()

say() { printf '%4d s  %s\n' "$((SECONDS - began))" "$*"; }
left() { echo "$((limit - (SECONDS - began)))"; }

# step NAME SECONDS COMMAND...: once, within the time, its output in logs/NAME.log.
step() {
    local name=$1 seconds=$2 code=0
    shift 2
    if [ -e "$done_marks/$name" ]; then
        say "$name: done before"
        return 0
    fi
    [ "$(left)" -lt "$seconds" ] && seconds=$(left)
    if [ "$seconds" -lt 20 ]; then
        say "$name: no time left; call again to go on here"
        failed+=("$name")
        return 0
    fi
    say "$name: at most $seconds s"
    timeout --kill-after=10 "$seconds" "$@" >"$OUT/logs/$name.log" 2>&1 || code=$?
    if [ "$code" -eq 0 ]; then
        touch "$done_marks/$name"
        say "$name: done"
    else
        say "$name: ended with $code (124: out of time); the last lines of logs/$name.log:"
        tail -n 5 "$OUT/logs/$name.log" | sed 's/^/        /'
        failed+=("$name")
    fi
}

if [ "$device" = cuda ]; then
    "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || {
        echo "gpu_report: $python sees no CUDA device (a trial without one: --dry-run)" >&2
        exit 2
    }
fi

# The package is used from its wheel and nothing else: a copy of tests and benchmarks beside it, not the checkout.
install() {
    local built=$work/wheels
    rm -rf "$work/site" "$work/run"
    mkdir -p "$work/run/csrc" "$built"
    if ls "$wheels"/gptface-*.whl >/dev/null 2>&1 && [ "$(hashes)" = "$(cat "$wheels/sources.sha256")" ]; then
        cp "$wheels"/gptface-*.whl "$wheels/sources.sha256" "$built/"
    else
        echo "no carried wheel of the present sources: building one"
        build_wheel "$built"
    fi
    "$python" -m pip install --quiet --no-index --no-deps --target "$work/site" "$built"/gptface-*.whl
    # What the image has already is left as it is.
    for wheel in "$wheels"/*.whl; do
        [ -e "$wheel" ] || continue
        name=$(basename "$wheel" | cut -d- -f1)
        [ "$name" = gptface ] && continue
        "$python" -m pip show --quiet "$name" >/dev/null 2>&1 && continue
        "$python" -m pip install --quiet --no-index --no-deps --target "$work/site" "$wheel"
    done
    cp -R "$root/benchmarks" "$root/tests" "$root/pyproject.toml" "$work/run/"
    rm -rf "$work/run/benchmarks/wheels"
    cp -R "$root/csrc/." "$work/run/csrc/"
    cp -R "$root/kernels" "$work/run/kernels"  # hashed, not imported
}

say "$mode on $device, $((limit / 60)) minutes, results in $OUT"
# Not "install || …": in such a list no error inside would stop it.
set +e
(
    set -e
    install
) >"$OUT/logs/install.log" 2>&1
code=$?
set -e
if [ "$code" -ne 0 ]; then
    cat "$OUT/logs/install.log" >&2
    exit 1
fi
GPTFACE_COMMIT=$(git -C "$root" rev-parse HEAD 2>/dev/null || cat "$wheels/COMMIT" 2>/dev/null || echo unknown)
export GPTFACE_COMMIT PYTHONPATH="$work/site" HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
cd "$work/run"
"$python" -m gptface doctor | tee "$OUT/logs/doctor.log" | sed -n '/operator implementations/,$p'

[ "$device" = cuda ] && step gpu_tests 420 "$python" -m pytest -m gpu -q tests
# Most of the time to what depends most on kernels. --minutes begins no new case after it; the rest is for the last one.
for subject in $subjects; do
    case $subject in
    attention) minutes=7 ;;
    vq | pretrain_step) minutes=3 ;;
    decode) minutes=2 ;;
    *) minutes=1 ;;
    esac
    options=(--device "$device" --output "$OUT/results" --minutes "$minutes" --seconds 2)
    [ "$device" = cpu ] && options=(--device cpu --output "$OUT/results" --quick --minutes 0.05 --seconds 0.2)
    step "$subject" 480 "$python" -m benchmarks "$subject" "${options[@]}"
done

if ls "$OUT"/results/*.json >/dev/null 2>&1; then
    "$python" -m benchmarks table --output "$OUT/results"
    "$python" -m benchmarks plot --output "$OUT/results"
fi
if [ "${#failed[@]}" -gt 0 ]; then
    say "not complete: ${failed[*]}"
    exit 1
fi
say "complete"
