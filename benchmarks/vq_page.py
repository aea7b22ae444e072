"""The page ``docs/performance/vq.md``, from the numbers that :mod:`benchmarks.vq_evidence` measured.

``python -m benchmarks.vq_page`` writes it again from the numbers that are committed, without measuring.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import RESULTS, ROOT
from benchmarks.results import load_results
from benchmarks.tables import full_table

__all__ = ["PAGE", "committed_speeds", "write_page"]

PAGE = ROOT / "docs" / "performance" / "vq.md"

INTRODUCTION = """\
# Codebook lookup

`vq_lookup` finds the nearest of K codes for each of N rows and never stores the N × K matrix of distances.
`VectorQuantizer` is the layer on top of it, which also learns the codebook. This page says how exact the lookup is,
what reviving unused codes does for a codebook, and what both cost beside other implementations.

```python
import torch
from gptface.ops import pack_codebook, vq_lookup

x, codebook = torch.randn(8192, 32), torch.randn(1024, 32)
found = vq_lookup(x, codebook)
found.indices  # int64 (8192,)

packed = pack_codebook(codebook)  # worth it for many calls with few rows each
found = vq_lookup(x, packed)
```

## How it works

The CPU kernel keeps a tile of scores in registers and only remembers the best codes of each row. Wherever rounding
could have turned a choice, it decides in float64 from the original values, so its indices are those of float64
arithmetic. Where the processor multiplies bfloat16, a first pass in bfloat16 settles the rows whose best code leads by
more than a proven bound on the rounding; float32 settles the others. With `precision="bf16"`, bfloat16 alone nominates
the codes that are then compared. Where AMX is asked for (`GPTFACE_CPU_INSTRUCTION_SET=amx`), the first pass multiplies
tiles, 32 rows by 48 codes at a time, under the same bound: it allows any order of a sum. That path is compiled, and
proven on a tile unit in plain C++; it never ran on such a processor.

The codebook is rearranged for the kernel in every call. With few rows that is a large share of the time, and
`pack_codebook` does it once. A `VectorQuantizer` that does not learn keeps its codebook packed by itself.
"""

LIMITS = """\
## Limits

- Extra memory is a constant plus O(N + K · D). A packed codebook takes another copy or more of the codebook.
- A packed codebook gets no gradient, and later changes to the original do not reach it.
- The CPU kernel returns at most 16 candidates a row and takes float32, bfloat16 and float16.
- The trainings above are one run each: they show how many codes stay in use, and not small differences in PSNR.
"""
NO_GPU = "- The speed of the GPU kernels (Triton; CUDA for short vectors) was not measured (proofs: `gptface doctor`)."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _share(value: float, rows: int) -> str:
    if value == 0:
        return "0"
    return f"{value:.2%}" if value >= 1e-3 else f"{value * 1e6:.0f} in a million ({value * rows:.0f} rows)"


def _gap(record: Mapping[str, Any]) -> str:
    return "0" if record["gap"] == 0 else f"{record['gap']:.1e} ({record['relative_gap']:.1e})"


def _indices(records: Sequence[Mapping[str, Any]]) -> list[str]:
    parts = []
    for name in dict.fromkeys(record["data"] for record in records):
        own = [record for record in records if record["data"] == name]
        shapes = list(dict.fromkeys((record["codes"], record["length"]) for record in own))
        rows = []
        for contender in dict.fromkeys(record["contender"] for record in own):
            cells = [contender]
            for shape in shapes:
                record = next(r for r in own if r["contender"] == contender and (r["codes"], r["length"]) == shape)
                cells += [_share(record["share"], record["rows"]), _gap(record)]
            rows.append(cells)
        head = ["lookup"]
        for codes, length in shapes:
            head += [f"K {codes}, D {length}: differ", "worst gap"]
        parts += [f"### {name[0].upper()}{name[1:]}", _table(head, rows)]
    return parts


def _training(records: Sequence[Mapping[str, Any]], steps: int, faces: int) -> list[str]:
    if not records:
        return ["Not run (`--steps 0`)."]
    size = records[0]["codebook_size"]
    rows = [
        [
            record["training"],
            f"{record['codebook_usage']:.1%}",
            f"{record['codebook_perplexity']:.0f}",
            f"{record['psnr']:.2f} dB",
        ]
        for record in records
    ]
    marks = [line["step"] for line in records[0]["course"]]
    course = [[record["training"], *(f"{line['perplexity']:.0f}" for line in record["course"])] for record in records]
    return [
        f"The demo's tokenizer ({size} codes) was trained for {steps} steps on {faces} procedural faces, with the same "
        f"seed and order every time, and measured on {records[0]['held_out_faces']} held-out faces "
        f"({records[0]['held_out_tokens']:,} tokens). *Revival* moves codes that are hardly used onto vectors of the "
        "batch. Perplexity tells how evenly the codes are used; it is at most their number.",
        _table(["training", "codes used", "perplexity", "PSNR"], rows),
        "Perplexity inside a training batch, as training goes on:",
        _table(["step", *map(str, marks)], course),
    ]


def write_page(path: Path, numbers: Mapping[str, Any], speeds: Sequence[Mapping[str, Any]]) -> None:
    """Write the page; ``speeds`` are the results of the subject ``vq``, a machine class each."""
    machine, changed = numbers["machine"], " with uncommitted changes" if numbers["commit"]["modified"] else ""
    where = machine["gpu"]["name"] if machine["gpu"] else machine["processor"]
    on_device = (
        "on a processor `tf32` and `tf32x3` are computed as `exact`."
        if machine["gpu"] is None
        else 'what ran is the implementation that `impl="auto"` takes on this device.'
    )
    text = [
        INTRODUCTION,
        f"The next two sections were measured by `python -m benchmarks.vq_evidence {numbers['options']}` on "
        f"{numbers['date']}; {where} ({', '.join(machine['instruction_sets'])}), torch {numbers['torch']}, commit "
        f"{numbers['commit']['id'][:12]}{changed}.",
        "## Which code is nearest",
        f"Each table looks up {numbers['indices'][0]['rows']:,} rows. *Differ*: the share of rows whose index is not "
        "the one that float64 arithmetic finds. *Worst gap*: by how much the worst chosen code scores less than the "
        "best one (in squared distance or cosine), and in brackets the same as a share of the standard deviation of "
        f"the best scores. `precision` names the least accuracy wanted: {on_device} *addmm + argmin* is what most "
        "code does: it expands the square and does not centre the data.",
        *_indices(numbers["indices"]),
        "## What reviving unused codes does",
        *_training(numbers["training"], numbers["steps"], numbers["faces"]),
        "## Speed and memory",
        "Measured by `python -m benchmarks vq`, whose results are in `benchmarks/results/`. Every contender was "
        "checked before it was timed."
        if speeds
        else "`benchmarks/results/` holds no result of `python -m benchmarks vq` yet.",
        *(_speed(result) for result in speeds),
        LIMITS if any(result["machine"]["gpu"] for result in speeds) else LIMITS + NO_GPU,
    ]
    path.write_text("\n\n".join(part.strip() for part in text) + "\n", encoding="utf-8")


def _speed(result: Mapping[str, Any]) -> str:
    """The table of one machine class, a level deeper, under the name of the class."""
    body = full_table(result).split("\n", 1)[1].replace("\n### ", "\n#### ")
    return f"### {result['machine']['class']}\n{body}"


def committed_speeds() -> list[dict[str, Any]]:
    """The results of the subject ``vq`` in ``benchmarks/results/``, a machine class each."""
    return [result for _, result in load_results(RESULTS) if result["subject"] == "vq"]


if __name__ == "__main__":
    stored = json.loads((PAGE.with_suffix("") / "numbers.json").read_text(encoding="utf-8"))
    write_page(PAGE, stored, committed_speeds())
