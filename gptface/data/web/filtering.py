"""Which aligned faces are used: screened one by one, then by what they look like. Pictures are not touched.

``screened/NNNNN.parquet`` holds every face of a shard with the reason to leave it out, if any; ``lookalikes.parquet``
what resembles held-out or better faces; ``decisions/NNNNN.parquet`` (key, reason, of) is what `sharding` reads.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gptface.data.images import UnusableImage, load_image
from gptface.data.shard_index import expand_pattern, find_sources
from gptface.data.web.database import database, literal, normal_url
from gptface.data.web.duplicates import MOST_BITS, write_lookalikes
from gptface.data.web.extra import require
from gptface.data.web.perceptual_hash import WORDS, perceptual_hash
from gptface.data.web.removals import write_removals
from gptface.data.web.step import RECORD, Step, open_step, read_record, read_summary, sum_counts, write_json
from gptface.data.web.units import Unit, run_units
from gptface.errors import InputError
from gptface.files import atomic_write

__all__ = ["REASONS", "FilterWish", "filter_faces"]

REASONS = {
    "removed": "its address or sample id stands in a removal list",
    "small_face": "the face spans too few pixels in its picture",
    "low_score": "the detector was not sure",
    "many_faces": "there are more faces in its picture",
    "narrow_picture": "its picture is too long or too tall",
    "cut_face": "too much of the aligned picture lies beyond the picture's border",
    "low_similarity": "CLIP saw too little of the caption in the picture",
    "nsfw": "its tag is one of those to leave out",
    "held_out": "it looks like a held-out picture",
    "duplicate": "it looks like another face, of more pixels",
}
"""Why a face is left out; of several reasons the first counts."""


@dataclass(frozen=True)
class FilterWish:
    """What a face must have; what is not known of it (no such column) keeps none out.

    Attributes:
        side: pixels that the face spans in its picture, at least.
        score: of the detector, at least.
        faces: in its picture, at most.
        aspect: of its picture's longer to its shorter side, at most.
        outside: share of the aligned picture beyond the border, at most.
        similarity: CLIP score of picture and caption, at least.
        nsfw: tags to leave out.
        removal: files of addresses or sample ids (``removals``).
        held_out: shards or folders of held-out pictures, aligned or whole.
        bits: by which hashes of 256 bits may differ and still be of one picture, at most 15; -1: nothing is compared.
    """

    side: float = 64
    score: float = 0.8
    faces: int = 5
    aspect: float = 3.0
    outside: float = 0.4
    similarity: float = 0.0
    nsfw: tuple[str, ...] = ("NSFW",)
    removal: tuple[Path, ...] = ()
    held_out: tuple[str, ...] = ()
    bits: int = 12


def filter_faces(
    aligned: Path,
    output: Path,
    wish: FilterWish,
    *,
    processes: int = 1,
    ray: str | None = None,
    memory: int = 2000,
    quiet: bool = False,
) -> dict[str, Any]:
    """Decide about every face of an alignment; returns the summary. Called again, it takes in what was aligned since.

    Args:
        memory: MB for the comparison of hashes; beyond it is the disk.

    Raises:
        InputError: no alignment that came to its end, a list that cannot be read, an option that is none.
    """
    require("duckdb", "pyarrow", "cv2")
    if not -1 <= wish.bits <= MOST_BITS:
        raise InputError(f"bits: {wish.bits}; allowed: -1 (compare nothing) to {MOST_BITS}")
    read_summary(aligned, "align", "input")
    tables = sorted(aligned.glob("*.parquet"))
    held_out = [path for pattern in wish.held_out for path in expand_pattern(pattern)]
    options = json.loads(json.dumps({"input": str(aligned.resolve()), **asdict(wish)}, default=str))
    with open_step(output, "filter", options, quiet=quiet) as step:
        for name in ("screened", "held-out", "decisions"):
            (output / name).mkdir(exist_ok=True)
        removals = _removals(step, wish)
        units = [
            Unit(f"screen-{table.stem}", (str(table), str(output.resolve()), wish, removals), table.stat().st_size)
            for table in tables
        ]
        hashing = [
            Unit(f"held-out-{number:03d}", (path, str((output / "held-out").resolve())))
            for number, path in enumerate(held_out)
        ]
        failures = run_units(step, "screening", units, screen_shard, processes=processes, ray=ray)
        failures += run_units(step, "hashing what is held out", hashing, hash_held_out, processes=processes, ray=ray)
        if failures:  # a comparison with part of them would look like a whole one
            raise InputError(failures[0])
        _compare(step, wish, tables, memory)
        units = [Unit(table.stem, (str(output.resolve()),)) for table in tables]
        run_units(step, "deciding", units, decide_shard, processes=processes, ray=ray)
        counts = sum_counts([step.record(unit.name) or {} for unit in units])
        if counts["faces"] != counts["kept"] + sum(counts["left_out"].values()):
            raise RuntimeError(f"the counts of the filter do not add up: {counts}")
        counts["left_out"] = {reason: counts["left_out"].get(reason, 0) for reason in REASONS}
        return step.finish({"held_out": _held_out(step, hashing), **counts}, complete=True)


def _held_out(step: Step, units: list[Unit]) -> dict[str, int]:
    return sum_counts([step.record(unit.name) or {} for unit in units])


def _removals(step: Step, wish: FilterWish) -> str | None:
    if not wish.removal:
        return None
    target = step.folder / "removals.parquet"
    if not target.exists():
        count = write_removals(list(wish.removal), target)
        step.say(f"{count:,} entries in the removal lists")
    return str(target.resolve())


def screen_shard(name: str, table: str, output: str, wish: FilterWish, removals: str | None) -> dict[str, Any]:
    """A unit: the faces of a shard with the first reason to leave them out; returns how many there are."""
    shard = Path(table).stem
    tags = ", ".join(literal(tag.upper()) for tag in wish.nsfw) or "NULL"
    gone = "false"
    if removals is not None:
        source = f"read_parquet({literal(removals)})"
        gone = (
            f"coalesce(sample_id IN (SELECT sample_id FROM {source} WHERE sample_id IS NOT NULL), false) OR "
            f"coalesce({normal_url('url')} IN (SELECT address FROM {source} WHERE address IS NOT NULL), false)"
        )
    # A comparison with NULL, what is not known, is not true: it keeps none out.
    query = f"""SELECT {literal(shard)} AS shard, *, CASE
        WHEN {gone} THEN 'removed'
        WHEN side < {wish.side} THEN 'small_face'
        WHEN score < {wish.score} THEN 'low_score'
        WHEN faces > {wish.faces} THEN 'many_faces'
        WHEN greatest(width, height) > {wish.aspect} * least(width, height) THEN 'narrow_picture'
        WHEN outside > {wish.outside} THEN 'cut_face'
        WHEN similarity < {wish.similarity} THEN 'low_similarity'
        WHEN upper(nsfw) IN ({tags}) THEN 'nsfw'
        END AS reason FROM read_parquet({literal(table)})"""
    target = Path(output) / "screened" / f"{shard}.parquet"
    with database(target.parent, 500, threads=1) as connection, atomic_write(target) as temporary:
        connection.execute(f"COPY ({query}) TO {literal(temporary)} (FORMAT parquet)")
        (count,) = connection.execute(f"SELECT count(*) FROM read_parquet({literal(temporary)})").fetchone()
    return {"screened": count}


def hash_held_out(name: str, path: str, output: str) -> dict[str, Any]:
    """A unit: the hashes of held-out pictures, in a shard or below a folder; returns counts."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    hashes = [(f"h{word}", pa.int64()) for word in range(WORDS)]
    schema = pa.schema([("name", pa.string()), *hashes])
    unusable: Counter[str] = Counter()
    count = 0
    with (
        atomic_write(Path(output) / f"{name}.parquet") as temporary,
        parquet.ParquetWriter(temporary, schema) as writer,
    ):
        rows: list[dict[str, Any]] = []
        for source in find_sources(path)[0]:
            for number in range(len(source)):
                encoded = source.read(number, 0)
                try:
                    image = load_image(encoded or b"", name=source.key(number))
                except UnusableImage as problem:
                    unusable[problem.reason] += 1
                    continue
                words = perceptual_hash(np.ascontiguousarray(image))
                rows.append({"name": source.key(number), **{f"h{place}": word for place, word in enumerate(words)}})
                count += 1
                if len(rows) >= 10_000:
                    writer.write_table(pa.Table.from_pylist(rows, schema))
                    rows.clear()
        writer.write_table(pa.Table.from_pylist(rows, schema))
    return {"pictures": count, **unusable}


def _compare(step: Step, wish: FilterWish, tables: list[Path], memory: int) -> None:
    """Look-alikes, once for a set of screened faces: more of them since the last time ask for another comparison."""
    screened = [step.folder / "screened" / table.name for table in tables]
    facts = [[path.name, (step.record(f"screen-{path.stem}") or {}).get("screened")] for path in screened]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    target, note = step.folder / "lookalikes.parquet", step.folder / "lookalikes.of"
    if target.exists() and (read_record(note) or {}).get("digest") == digest:
        return
    for table in tables:
        (step.records / f"{table.stem}{RECORD}").unlink(missing_ok=True)
    note.unlink(missing_ok=True)
    shutil.rmtree(step.folder / "decisions", ignore_errors=True)
    (step.folder / "decisions").mkdir()
    with database(step.folder, memory) as connection:
        if wish.bits < 0:
            connection.execute(
                "COPY (SELECT '' AS shard, '' AS key, '' AS reason, '' AS of WHERE false) "
                f"TO {literal(target)} (FORMAT parquet)"
            )
        else:
            held_out = sorted((step.folder / "held-out").glob("*.parquet"))
            write_lookalikes(connection, step, screened, held_out, wish.bits, target)
    write_json(note, {"digest": digest})


def decide_shard(shard: str, output: str) -> dict[str, Any]:
    """A unit: key, reason (null: kept) and the look-alike of every face of a shard, in its order; returns counts."""
    folder = Path(output)
    screened, target = folder / "screened" / f"{shard}.parquet", folder / "decisions" / f"{shard}.parquet"
    query = f"""SELECT s.key, coalesce(s.reason, l.reason) AS reason, l.of
        FROM read_parquet({literal(screened)}, file_row_number=true) s
        LEFT JOIN (SELECT * FROM read_parquet({literal(folder / "lookalikes.parquet")})
        WHERE shard = {literal(shard)}) l ON l.key = s.key ORDER BY s.file_row_number"""
    with database(target.parent, 500, threads=1) as connection, atomic_write(target) as temporary:
        connection.execute(f"COPY ({query}) TO {literal(temporary)} (FORMAT parquet)")
        rows = connection.execute(
            f"SELECT coalesce(reason, ''), count(*) FROM read_parquet({literal(temporary)}) GROUP BY 1"
        ).fetchall()
    found = dict(rows)
    kept = found.pop("", 0)
    return {"faces": kept + sum(found.values()), "kept": kept, "left_out": found}
