"""Tables for people, made from the JSON and from nothing else.

``benchmarks/results/<machine class>/tables.md`` holds every row, ``docs/performance/results.md`` the headline cases of
every machine, and README.md, between two markers, one table of at most twelve of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import RESULTS, ROOT
from benchmarks.regret_table import regret_lines
from benchmarks.results import load_results
from gptface.files import atomic_write

__all__ = [
    "BEGIN",
    "END",
    "README_CASES",
    "full_table",
    "headline_page",
    "readme_block",
    "replace_block",
    "update_readme",
    "write_tables",
]

BEGIN = "<!-- benchmarks: written by `python -m benchmarks table --readme`, do not edit -->"
END = "<!-- benchmarks: end -->"
README = ROOT / "README.md"
HEADLINES = ROOT / "docs" / "performance" / "results.md"

# The README's rows, by subject and case. Each subject shows where it gains most and where it gains least or loses.
README_CASES: tuple[tuple[str, str], ...] = (
    ("attention", "mixed, B 8, S 334, H 12, D 64, float32, forward+backward"),
    ("attention", "mixed, B 8, S 334, H 12, D 64, bfloat16, forward+backward"),
    ("attention", "packed, B 1, S 4096, H 12, D 64, float32, forward+backward"),
    ("attention", "packed, B 1, S 1024, H 12, D 64, bfloat16, forward+backward"),
    ("span_mask", "text, B 256, S 334, ratio 0.15"),
    ("span_mask", "image, B 256, grid 16×16, ratio 0.4"),
    ("vq", "quantiser training step, N 4096, K 8192, D 256"),
    ("vq", "lookup, N 16384, K 8192, D 256"),
    ("vq", "lookup, N 65536, K 16384, D 8"),
    ("pretrain_step", "demo, B 24, bfloat16"),
    ("pretrain_step", "base, B 4, bfloat16"),
    ("decode", "tiny, batch 1, 8 steps"),
)
NO_GPU = (
    "**GPU columns are empty**: no GPU was at hand. `benchmarks/gpu_report.sh` fills them on a machine that has one; "
    "what they might be is not written here."
)

NO_RESULTS = (
    "No result is committed yet. `python -m benchmarks all && python -m benchmarks table --readme` writes them."
)

Record = Mapping[str, Any]


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return lines + ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]


def _number(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"


def _time(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{_number(seconds * 1e6)} µs"
    return f"{_number(seconds * 1e3)} ms" if seconds < 10 else f"{_number(seconds)} s"


def _spread(summary: Record | None) -> str:
    if summary is None:
        return ""
    if summary["samples"] == 1:
        return f"{_time(summary['median'])} (once)"
    return f"{_time(summary['median'])} ({_time(summary['low'])}–{_time(summary['high'])})"


def _ratio(summary: Record | None) -> str:
    if summary is None:
        return ""
    text = f"{_number(summary['median'])}×"
    return text if summary["samples"] == 1 else f"{text} ({_number(summary['low'])}–{_number(summary['high'])})"


def _bytes(count: float | None) -> str:
    return "" if count is None else f"{_number(count / 2**20)} MiB"


def _quality(figures: Record) -> str:
    parts = []
    for name, value in figures.items():
        parts.append(f"{name} {value:.1e}" if 0 < abs(value) < 1e-3 else f"{name} {value:.4g}")
    return ", ".join(parts)


def _conditions(result: Record) -> str:
    machine, settings = result["machine"], result["settings"]
    if machine["gpu"] is not None:
        where = f"{machine['gpu']['name']}, CUDA events, cold L2 cache"
    else:
        threads = f"{settings['threads']} thread{'' if settings['threads'] == 1 else 's'}"
        time = "wall time" if settings["clock"] == "wall" else "CPU time"
        where = f"{machine['processor']}, {machine['cores']} cores ({threads}, {time})"
    commit = result["commit"]
    changed = " with uncommitted changes" if commit["modified"] else ""
    return (
        f"{where}; torch {result['versions']['torch']}, Python {result['versions']['python']}; "
        f"commit {commit['id'][:12]}{changed}; {result['date']}."
    )


def full_table(result: Record) -> str:
    """Every case of a subject, every contender, with the reasons of those that were not timed.

    Of the ``regret`` subject, whose cases are many and small, a row a case.
    """
    lines = [f"## {result['title']}", "", _conditions(result), ""]
    if result["subject"] == "regret":
        lines += regret_lines(result)
        if result["left_out"]:
            lines += ["", f"Not reached in time: {'; '.join(result['left_out'])}."]
        return "\n".join(lines) + "\n"
    lines.append(
        f"Median (20 %–80 % quantiles) of interleaved rounds. Ratio: time over that of `{result['baseline']}`, paired "
        "round by round; above 1 the contender is slower. Peak memory: of one call with its mask, beyond the inputs."
    )
    for case in result["cases"]:
        lines += ["", f"### {case['name']}", ""]
        facts = ", ".join(f"{name} {value:.4g}" for name, value in case["work"].items())
        lines += [f"Work: {facts}.", ""]
        rates = sorted({name for row in case["rows"] for name in row["rates"]})
        header = ["contender", "time", "ratio", *rates]
        if result["has_masks"]:
            header += ["with its mask built", "ratio with mask", "mask building"]
        header += ["peak memory", "checked", "note"]
        rows, others = [], []
        for row in case["rows"]:
            if row["seconds"] is None:
                status = "" if row["status"] == "cannot" else f"**{row['status']}**: "
                others.append(f"{row['contender']} ({status}{row['reason']})")
                continue
            cells = [row["contender"], _spread(row["seconds"]), _ratio(row["ratio"])]
            cells += [_number(row["rates"][name]) if name in row["rates"] else "" for name in rates]
            if result["has_masks"]:
                mask = row["mask_seconds"]
                cells += [_spread(row["fresh_seconds"]), _ratio(row["fresh_ratio"])]
                cells += [_time(mask["median"]) if mask else ""]
            rows.append([*cells, _bytes(row["peak_bytes"]), _quality(row["quality"]), row["reason"]])
        lines += _markdown(header, rows)
        if others:
            lines += ["", f"Not timed: {'; '.join(others)}."]
    if result["left_out"]:
        lines += ["", f"Not reached in time: {'; '.join(result['left_out'])}."]
    return "\n".join(lines) + "\n"


def _best_peer(case: Record, field: str) -> Record | None:
    timed = [row for row in case["rows"] if row["owner"] != "gptface" and row["status"] == "timed"]
    return min(timed, key=lambda row: (row[field] or row["seconds"])["median"], default=None)


def _headlines(result: Record) -> list[list[str]]:
    rows = []
    for case in result["cases"]:
        own = next(row for row in case["rows"] if row["contender"] == result["baseline"])
        if not case["headline"] or own["status"] != "timed":
            continue
        # With masks: built for every call, as a training step does; a second number has it reused.
        field, ratio = ("fresh_seconds", "fresh_ratio") if result["has_masks"] else ("seconds", "ratio")
        peer = _best_peer(case, field)
        time = own[field] or own["seconds"]
        cells = [case["name"], _time(time["median"])]
        if peer is None:
            cells += ["none", "", ""]
        else:
            cells += [peer["contender"], _time((peer[field] or peer["seconds"])["median"]), _ratio(peer[ratio])]
        if result["has_masks"]:
            reused = _best_peer(case, "seconds")
            cells.append("" if reused is None else _ratio(reused["ratio"]))
        rows.append([*cells, _bytes(own["peak_bytes"]), "" if peer is None else _bytes(peer["peak_bytes"])])
    return rows


def _against_fastest(result: Record, name: str) -> str:
    """Our time in a case, the ratio to the fastest peer and its name; empty where the case was not measured."""
    for case in result["cases"]:
        if case["name"] != name:
            continue
        own = next(row for row in case["rows"] if row["contender"] == result["baseline"])
        field, ratio = ("fresh_seconds", "fresh_ratio") if result["has_masks"] else ("seconds", "ratio")
        peer = _best_peer(case, field)
        if own["status"] != "timed" or peer is None:
            return ""
        time = _time((own[field] or own["seconds"])["median"])
        return f"{time}, **{_number(peer[ratio]['median'])}×** {peer['contender']}"
    return ""


def readme_block(folder: Path = RESULTS) -> str:
    """What stands between the markers: one table, a row a case and a column a machine class."""
    results = [result for _, result in load_results(folder)]
    if not results:
        return NO_RESULTS
    cases = set(README_CASES)
    shown = [
        result for result in results if any((result["subject"], case["name"]) in cases for case in result["cases"])
    ]
    # A machine that measured none of the cases would be an empty column.
    classes = list(dict.fromkeys(result["machine"]["class"] for result in shown or results))
    titles = {result["subject"]: result["title"] for result in results}
    rows = []
    for subject, name in README_CASES:
        cells = {
            result["machine"]["class"]: _against_fastest(result, name)
            for result in results
            if result["subject"] == subject
        }
        if any(cells.values()):
            rows.append([f"{titles[subject]}: {name}", *(cells.get(machine, "") for machine in classes)])
    lines = [
        "Our time a call, then how many times as long the fastest peer takes: medians of interleaved rounds; every "
        "contender is checked before it is timed.",
        "",
        *_markdown(["case", *(_machine(machine, results) for machine in classes)], rows),
        "",
        "More cases, spreads, memory and conditions: `docs/performance/results.md`.",
    ]
    if all(result["machine"]["gpu"] is None for result in results):
        lines += ["", NO_GPU]
    return "\n".join(lines)


def _machine(name: str, results: Sequence[Record]) -> str:
    """A machine class as a column's head, with the days on which it was measured."""
    own = [result for result in results if result["machine"]["class"] == name]
    machine = own[0]["machine"]
    gpu = machine["gpu"]
    where = f"{machine['processor']}, {machine['cores']} cores" if gpu is None else gpu["name"]
    days = sorted({result["date"].split()[0] for result in own})
    return f"`{name}` ({where}; {days[0] if len(days) == 1 else f'{days[0]} to {days[-1]}'})"


def headline_page(folder: Path = RESULTS) -> str:
    """The page of headline cases: per machine and subject, ours against the fastest peer."""
    lines = ["# Speed, measured", "", "Written by `python -m benchmarks table --readme`.", ""]
    lines.append(
        "Time of the fastest peer over ours, above 1 where we are faster: median (20 %–80 % quantiles) of interleaved "
        "rounds; every contender is checked before it is timed, attention and lookup against float64. "
        "All contenders, reasons and memory: `tables.md` beside the JSON in `benchmarks/results/`."
    )
    has_gpu = measured = False
    for path, result in load_results(folder):
        has_gpu |= result["machine"]["gpu"] is not None
        measured = True
        rows = _headlines(result)
        if not rows:
            continue
        header = ["case", "gptface", "fastest peer", "its time", "ratio"]
        if result["has_masks"]:
            header.append("ratio, mask reused")
        header += ["our peak memory", "the peer's"]
        lines += ["", f"## {result['title']}", "", f"{_conditions(result)} (`{path.parent.name}/{path.name}`)", ""]
        lines += _markdown(header, rows)
    if not measured:
        lines += ["", NO_RESULTS]
    if not has_gpu:
        lines += ["", NO_GPU]
    return "\n".join(lines) + "\n"


def replace_block(text: str, block: str) -> str:
    """``text`` with what stands between the markers replaced.

    Raises:
        ValueError: the markers are not there, once each and in order.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"README.md must hold the lines {BEGIN!r} and {END!r} once each, in this order")
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n\n{block}\n\n{END}{rest.split(END)[1]}"


def update_readme(folder: Path = RESULTS, readme: Path = README, headlines: Path = HEADLINES) -> Iterator[Path]:
    """Write the block into README.md, and the page of headline cases."""
    _write(readme, replace_block(readme.read_text(encoding="utf-8"), readme_block(folder)))
    yield readme
    _write(headlines, headline_page(folder))
    yield headlines


def write_tables(folder: Path = RESULTS) -> Iterator[Path]:
    """Write ``tables.md`` beside the JSON of every machine class."""
    by_class: dict[Path, list[str]] = {}
    for path, result in load_results(folder):
        by_class.setdefault(path.parent, []).append(full_table(result))
    for place, tables in by_class.items():
        target = place / "tables.md"
        _write(target, "# Benchmark tables\n\nWritten by `python -m benchmarks table`.\n\n" + "\n".join(tables))
        yield target


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
