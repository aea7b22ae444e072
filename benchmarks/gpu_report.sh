#!/usr/bin/env bash
# Proofs, benchmarks, GPU tests, tables and plots on a machine with a CUDA GPU and no network, in bites of a few minutes:
#
#   OUT=folder benchmarks/gpu_report.sh            one bite after the other, for MINUTES; a second call goes on
#   benchmarks/gpu_report.sh pack                  before, with network: put what a stock CUDA image with torch >= 2.10
#                                                  and triton lacks into benchmarks/wheels, this package's wheel included
#   OUT=folder benchmarks/gpu_report.sh --dry-run  the same steps on a processor, miniature in time; proves no kernel
#
# By worth: gptface prove, attention, lookup, a pre-training step, decoding, the rest, the GPU tests; first a bite of each,
# then what is left of each. Twelve minutes in all give the ledger, the tables of attention and lookup and a row of
# pre-training. Whatever ends a call, $OUT holds complete results of what was measured: results/*.json, results/tables.md,
# results/*.png, gpu_ledger.json, logs/. Commit the JSON, tables and pictures as benchmarks/results/<GPU>/, and the records
# of gpu_ledger.json in kernels/tuned/ledger.json. Exit code 0: complete; 3: call again; 1: something failed (also call
# again, once it is mended).
#
# PYTHON    interpreter with torch (default python3)
# MINUTES   for this call (default 9)
# SUBJECTS  which (default all, by worth)
# WORK      scratch folder (default gptface-gpu-report under the system's temporary folder)
# TARGET    with pack: Python version of the GPU machine, such as 3.12 (default: that of PYTHON)
# PEERS     with pack: names of further packages to carry as wheels, such as "xformers vector-quantize-pytorch"
# ROOM      with pack: MiB that the tracked files and the wheels may take together (default 60)
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python3}
wheels=$root/benchmarks/wheels
subjects=${SUBJECTS:-attention vq pretrain_step decode raster span_mask pacofr_step data}
limit=$((60 * ${MINUTES:-9}))
mode=${1:-measure}

usage() {
    sed -n '2,25s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
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
    # The tree travels to the GPU machine whole.
    tracked=$(git -C "$root" ls-files -z | (cd "$root" && xargs -0 du -ck --apparent-size) | awk '/total$/ {sum += $1} END {print sum}')
    carried=$(du -sk --apparent-size "$wheels" | cut -f1)
    echo "tracked files $((tracked / 1024)) MiB, wheels $((carried / 1024)) MiB"
    if [ $((tracked + carried)) -gt $((1024 * ${ROOM:-60})) ]; then
        echo "gpu_report: more than ${ROOM:-60} MiB together; the largest wheels:" >&2
        ls -lS "$wheels"/*.whl | head -n 5 >&2
        return 1
    fi
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

# step NAME SECONDS COMMAND...: within the time, its output in logs/NAME.log. 0: done, now or before; 3: it has more to do.
step() {
    local name=$1 seconds=$2 whole=$2 code=0
    shift 2
    if [ -e "$done_marks/$name" ]; then
        return 0
    fi
    [ "$(left)" -lt "$seconds" ] && seconds=$(left)
    if [ "$seconds" -lt 20 ]; then
        return 3
    fi
    say "$name: at most $seconds s"
    timeout --kill-after=10 "$seconds" "$@" >"$OUT/logs/$name.log" 2>&1 || code=$?
    [ "$code" -eq 124 ] && [ "$seconds" -lt "$whole" ] && code=3  # the call ended, not the step
    case $code in
    0) touch "$done_marks/$name" && say "$name: done" ;;
    3) say "$name: a bite done, more to do" ;;
    *)
        say "$name: ended with $code (124: out of time); the last lines of logs/$name.log:"
        tail -n 5 "$OUT/logs/$name.log" | sed 's/^/        /'
        failed+=("$name")
        ;;
    esac
    return "$code"
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
    rm -rf "$work/site" "$work/run" "$work/installed"
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
}

say "$mode on $device, $((limit / 60)) minutes, results in $OUT"
# Not "install || …": in such a list no error inside would stop it.
set +e
(
    set -e
    # Installed by an earlier call, from the same sources.
    if [ "$(cat "$work/installed" 2>/dev/null)" != "$(hashes)" ]; then
        install
        hashes >"$work/installed"
    fi
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

export GPTFACE_LEDGER=$OUT/gpu_ledger.json

# One bite of a subject: no case is begun after MINUTES of it; those of earlier bites are kept.
bite() {
    local subject=$1 minutes=$2 options
    options=(--device "$device" --output "$OUT/results" --minutes "$minutes" --seconds 2 --go-on)
    [ "$device" = cpu ] && options=(--device cpu --output "$OUT/results" --quick --minutes 0.05 --seconds 0.2 --go-on)
    # A case that was begun may take as long again.
    step "$subject" "$((60 * minutes + 120))" "$python" -m benchmarks "$subject" "${options[@]}"
}

tables() {
    if ls "$OUT"/results/*.json >/dev/null 2>&1; then
        "$python" -m benchmarks table --output "$OUT/results" >/dev/null
        "$python" -m benchmarks plot --output "$OUT/results" >/dev/null
    fi
}

if [ "$device" = cuda ]; then
    # A kernel that fails its proof is a result: its record says so, and the benchmarks go on without it.
    step prove 240 "$python" -m gptface prove || [ ! -s "$OUT/gpu_ledger.json" ] || touch "$done_marks/prove"
else
    step prove 240 "$python" -m gptface prove --interpret --kernel vq || true
fi
waiting=$subjects
more=""
round=1
while [ -n "$waiting" ]; do
    more=""
    for subject in $waiting; do
        case $round-$subject in
        1-attention) minutes=4 ;;
        1-*) minutes=1 ;;
        *) minutes=4 ;;
        esac
        code=0
        bite "$subject" "$minutes" || code=$?
        tables
        [ "$code" -eq 3 ] && more="$more $subject"
    done
    [ "$(left)" -lt 20 ] && break
    waiting=$more
    round=$((round + 1))
done
if [ "$device" = cuda ] && [ -z "$more" ]; then
    step gpu_tests 420 "$python" -m pytest -m gpu -q tests || more="$more gpu_tests"
fi
if [ "${#failed[@]}" -gt 0 ]; then
    say "failed: ${failed[*]}"
    exit 1
fi
if [ -n "$more" ]; then
    say "call again to go on with:$more"
    exit 3
fi
say "complete"
