"""The faces that stay, as shards of even length that `gptface train` reads: pictures and captions byte for byte."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from webdataset import TarWriter

from gptface.data.shard_index import ShardSource
from gptface.data.web.database import open_parquet
from gptface.data.web.extra import require
from gptface.data.web.step import PLAN, open_step, read_record, read_summary, sum_counts
from gptface.data.web.units import Unit, run_units
from gptface.errors import InputError
from gptface.files import atomic_write

__all__ = ["shard_faces"]

Span = tuple[str, int, int]  # an aligned shard, the first and the last but one of its faces that stay


def shard_faces(
    aligned: Path,
    filtered: Path,
    output: Path,
    *,
    per_shard: int = 10_000,
    processes: int = 1,
    ray: str | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Write the faces that the filter keeps as ``output``/00000.tar, ...; returns the summary.

    Keys, pictures, captions and metadata are those of the alignment. The same decisions give the same bytes.

    Raises:
        InputError: no alignment or no filter of it that came to its end, or none of its faces stays.
    """
    require("pyarrow")
    if per_shard < 1:
        raise InputError(f"per_shard: {per_shard}; it must be at least 1")
    read_summary(aligned, "align", "aligned")
    read_summary(filtered, "filter", "filtered")
    plan = read_record(filtered / PLAN) or {}
    if plan["options"]["input"] != str(aligned.resolve()):
        raise InputError(f"filtered: {filtered} is about {plan['options']['input']}, not about {aligned}")
    kept = {
        table.stem: int((read_record(filtered / f"{table.stem}_stats.json") or {})["kept"])
        for table in sorted((filtered / "decisions").glob("*.parquet"))
    }
    total = sum(kept.values())
    if not total:
        raise InputError(f"filtered: {filtered} keeps no face")
    digest = hashlib.sha256(json.dumps(kept).encode()).hexdigest()[:16]
    options = {"aligned": str(aligned.resolve()), "filtered": str(filtered.resolve()), "decisions": digest}
    with open_step(output, "shard", {**options, "per_shard": per_shard}, quiet=quiet) as step:
        units = [
            Unit(f"{number:05d}", (str(aligned.resolve()), str(filtered.resolve()), str(output.resolve()), spans))
            for number, spans in enumerate(_spans(kept, per_shard))
        ]
        failures = run_units(step, "writing shards", units, write_shard, processes=processes, ray=ray)
        counts = sum_counts([record for unit in units if (record := step.record(unit.name))])
        if not failures and counts["faces"] != total:
            raise RuntimeError(f"{total} faces stay, {counts['faces']} were written")
        return step.finish({"shards": len(units) - len(failures), **counts}, complete=not failures)


def _spans(kept: dict[str, int], per_shard: int) -> list[list[Span]]:
    """The faces that stay, in order, cut into shards."""
    shards: list[list[Span]] = []
    room = 0
    for name, count in kept.items():
        start = 0
        while start < count:
            if not room:
                shards.append([])
                room = per_shard
            stop = min(count, start + room)
            shards[-1].append((name, start, stop))
            room -= stop - start
            start = stop
    return shards


def write_shard(name: str, aligned: str, filtered: str, output: str, spans: list[Span]) -> dict[str, Any]:
    """A unit: one shard of the result; returns counts."""
    written = 0
    with (
        atomic_write(Path(output) / f"{name}.tar") as temporary,
        open(temporary, "wb") as file,
        TarWriter(file, encoder=False, mtime=0, user="", group="") as archive,
    ):
        for shard, start, stop in spans:
            with open_parquet(Path(filtered) / "decisions" / f"{shard}.parquet", "filtered") as table:
                rows = table.read(columns=["key", "reason"]).to_pydict()
            keys = [key for key, reason in zip(rows["key"], rows["reason"], strict=True) if reason is None]
            source = ShardSource(Path(aligned) / f"{shard}.tar")
            places = {source.key(number): number for number in range(len(source))}
            for key in keys[start:stop]:
                if key not in places:
                    raise InputError(f"{aligned}/{shard}.tar lacks {key}: it was aligned anew since it was filtered")
                parts = [source.read(places[key], part) for part in range(3)]
                archive.write({"__key__": key, "jpg": parts[0], "txt": parts[1] or b"", "json": parts[2] or b"{}"})
                written += 1
    return {"faces": written}
