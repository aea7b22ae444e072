"""The page ``docs/performance/vq.md``, from the numbers that :mod:`benchmarks.vq_evidence` measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.tables import full_table

__all__ = ["write_page"]


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
        f"The demo's tokenizer ({size} codes), {steps} steps on {faces} procedural faces, the same seed and order "
        f"every time; measured on {records[0]['held_out_faces']} held-out faces ({records[0]['held_out_tokens']:,} "
        "tokens). Perplexity is at most the number of codes.",
        _table(["training", "codes used", "perplexity", "PSNR"], rows),
        "Perplexity inside a training batch, on the way:",
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
        "# Codebook lookup: how exact, how fast",
        f"Written by `python -m benchmarks.vq_evidence {numbers['options']}` on {numbers['date']}; {where} "
        f"({', '.join(machine['instruction_sets'])}), torch {numbers['torch']}, commit {numbers['commit']['id'][:12]}"
        f"{changed}.",
        "## Which code is nearest",
        f"{numbers['indices'][0]['rows']:,} rows a table. *Differ*: rows whose index is not the one that float64 "
        "arithmetic finds. *Worst gap*: how much worse the worst chosen code scores than the best one (squared "
        "distance, or cosine), in brackets as a share of the standard deviation of the best scores. A precision names "
        f"the least that is wanted: {on_device} *addmm + argmin* expands the square and centres nothing, as most code "
        "does.",
        *_indices(numbers["indices"]),
        "## What revival of dead codes does",
        *_training(numbers["training"], numbers["steps"], numbers["faces"]),
        "## Speed and memory",
        "From `benchmarks/results/`, written by `python -m benchmarks vq`; every contender was checked before it was "
        "timed."
        if speeds
        else "`benchmarks/results/` holds no result of `python -m benchmarks vq` yet.",
        *(_speed(result) for result in speeds),
    ]
    if not any(result["machine"]["gpu"] for result in speeds):
        text.append("No GPU was at hand for these tables.")
    path.write_text("\n\n".join(part.strip() for part in text) + "\n", encoding="utf-8")


def _speed(result: Mapping[str, Any]) -> str:
    """The table of one machine class, a level deeper, under the name of the class."""
    body = full_table(result).split("\n", 1)[1].replace("\n### ", "\n#### ")
    return f"### {result['machine']['class']}\n{body}"
