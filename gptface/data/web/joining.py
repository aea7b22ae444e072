"""Sample ids and detected faces joined with LAION-400M's table: by id over all its parts, by address where that misses.

The result is what ``fetching`` asks for: parquet files of bounded length with the columns of ``COLUMNS``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptface.data.web.database import database, literal, names, normal_url, open_parquet
from gptface.data.web.extra import require
from gptface.data.web.lists import write_detections, write_ids
from gptface.data.web.step import Step, open_step, sum_counts, write_json
from gptface.data.web.units import Unit, run_units
from gptface.errors import InputError
from gptface.files import atomic_write
from gptface.progress import Countdown

__all__ = ["COLUMNS", "JoinWish", "join"]

COLUMNS = {
    "sample_id": "BIGINT",
    "url": "VARCHAR",
    "caption": "VARCHAR",
    "nsfw": "VARCHAR",
    "similarity": "DOUBLE",
    "listed_width": "INTEGER",
    "listed_height": "INTEGER",
    "license": "VARCHAR",
    "faces": "STRUCT(box FLOAT[], landmarks FLOAT[][], score FLOAT)[]",
}
"""The joined table: names and DuckDB's types."""

# Column of the result -> what publishers call it, whatever the case of the letters.
SPELLINGS = {
    "sample_id": ("sample_id", "id", "sampleid"),
    "url": ("url", "image_url"),
    "caption": ("text", "caption", "top_caption"),
    "nsfw": ("nsfw",),
    "similarity": ("similarity", "clip_similarity", "clip_similarity_vitb32"),
    "listed_width": ("width", "original_width"),
    "listed_height": ("height", "original_height"),
    "license": ("license",),
}
BY_URL = "url"  # name of the unit that comes last; sorts behind all numbers


@dataclass(frozen=True)
class JoinWish:
    """What is to be joined.

    Attributes:
        metadata: LAION-400M's parquet files.
        ids: lists of sample ids; none takes every row that has detections.
        detections: ``sample2detect_*.pth``; without these and ``ids`` every row is taken.
        known_urls: tables that say at which address an id of the lists was, for ids that the metadata lack.
        rows: of a file of the result.
        memory: MB that the join may take.
    """

    metadata: tuple[Path, ...]
    ids: tuple[Path, ...] = ()
    detections: tuple[Path, ...] = ()
    known_urls: tuple[Path, ...] = ()
    rows: int = 100_000
    memory: int = 2000


def join(wish: JoinWish, output: Path, quiet: bool = False) -> dict[str, Any]:
    """Do what ``wish`` says, or go on with it; returns the summary.

    Raises:
        InputError: a file that is none, lacks a column without which nothing can be joined, or no memory.
    """
    require("duckdb", "pyarrow")
    if wish.rows < 1:
        raise InputError(f"rows: {wish.rows}; it must be at least 1")
    columns = {path: _columns(path, "metadata") for path in wish.metadata}
    lists = bool(wish.ids or wish.detections)
    _check_columns(columns, wish, lists)
    options = {
        "metadata": [_stamp(path) for path in wish.metadata],
        "ids": [_stamp(path) for path in wish.ids],
        "detections": [_stamp(path) for path in wish.detections],
        "known_urls": [_stamp(path) for path in wish.known_urls],
        "rows": wish.rows,
    }
    with open_step(output, "join", options, quiet=quiet) as step:
        for path, found in columns.items():
            if missing := sorted(set(SPELLINGS) - set(found)):
                step.say(f"{path} lacks {', '.join(missing)}: unknown for its rows")
        counts = _read_lists(step, wish) if lists else {}
        with database(output, wish.memory) as connection:
            if lists:
                _wanted(connection, step)
            _join_by_id(connection, step, wish, columns, lists)
            if lists:
                _join_by_url(connection, step, wish, columns)
            return _summary(connection, step, wish, counts, lists)


def _stamp(path: Path) -> list[Any]:
    return [str(path.resolve()), path.stat().st_size]


def _columns(path: Path, what: str) -> dict[str, str]:
    """Column of the result -> its name in the file."""
    with open_parquet(path, what) as file:
        present = {name.lower(): name for name in file.schema_arrow.names}
    return {
        column: next(present[spelling] for spelling in spellings if spelling in present)
        for column, spellings in SPELLINGS.items()
        if any(spelling in present for spelling in spellings)
    }


def _check_columns(columns: dict[Path, dict[str, str]], wish: JoinWish, lists: bool) -> None:
    if not columns:
        raise InputError("metadata: no parquet file is given")
    for path, found in columns.items():
        if "url" not in found:
            raise InputError(f"metadata: {path} has no column URL, so nothing could be fetched")
        if lists and "sample_id" not in found and not wish.known_urls:
            raise InputError(
                f"metadata: {path} has no column SAMPLE_ID; give known_urls, tables of ids and addresses, to join by"
            )
    for path in wish.known_urls:
        if not {"sample_id", "url"} <= set(_columns(path, "known_urls")):
            raise InputError(f"known_urls: {path} needs the columns SAMPLE_ID and URL")


def _read_lists(step: Step, wish: JoinWish) -> dict[str, Any]:
    """The lists as tables in ``lists/``; counts of all."""
    (step.folder / "lists").mkdir(exist_ok=True)
    units = [
        Unit(f"list-ids-{number:03d}", (str(path), str(step.folder / "lists" / f"ids-{number:03d}.parquet"), "ids"))
        for number, path in enumerate(wish.ids)
    ] + [
        Unit(
            f"list-detections-{number:03d}",
            (str(path), str(step.folder / "lists" / f"detections-{number:03d}.parquet"), "detections"),
            path.stat().st_size,
        )
        for number, path in enumerate(wish.detections)
    ]
    if failures := run_units(step, "reading lists", units, _read_list):
        raise InputError(failures[0])  # a join with half the lists would look like a whole one
    return sum_counts([record for unit in units if (record := step.record(unit.name))])


def _read_list(_: str, source: str, target: str, kind: str) -> dict[str, Any]:
    return (write_ids if kind == "ids" else write_detections)(Path(source), Path(target))


def _wanted(connection: Any, step: Step) -> None:
    """The view ``wanted`` (sample_id, faces), every id once; its table lies beside the lists."""
    target = step.folder / "lists" / "wanted.parquet"
    if not target.exists():
        ids = sorted((step.folder / "lists").glob("ids-*.parquet"))
        found = sorted((step.folder / "lists").glob("detections-*.parquet"))
        if found:
            detections = (
                f"SELECT sample_id, faces FROM read_parquet({names(found)}, filename=true, file_row_number=true) "
                "QUALIFY row_number() OVER (PARTITION BY sample_id ORDER BY filename, file_row_number) = 1"
            )
        distinct = f"SELECT DISTINCT sample_id FROM read_parquet({names(ids)})" if ids else ""
        if found and ids:
            query = f"SELECT sample_id, faces FROM ({distinct}) LEFT JOIN ({detections}) USING (sample_id)"
        elif found:
            query = f"SELECT * FROM ({detections})"
        else:
            query = f"SELECT sample_id, NULL::{COLUMNS['faces']} AS faces FROM ({distinct})"
        step.note("sorting out ids that are listed more than once")
        with atomic_write(target) as temporary:
            connection.execute(f"COPY ({query} ORDER BY sample_id) TO {literal(temporary)} (FORMAT parquet)")
    connection.execute(f"CREATE VIEW wanted AS SELECT * FROM read_parquet({literal(target)})")


def _parts(folder: Path, unit: str) -> list[Path]:
    return sorted(folder.glob(f"{unit}-*.parquet"))


def _selected(found: dict[str, str], faces: str) -> str:
    """The columns of the result, read from a file ``m``."""
    columns = [
        (f'TRY_CAST(m."{found[name]}" AS {kind})' if name in found else f"NULL::{kind}") + f" AS {name}"
        for name, kind in COLUMNS.items()
        if name not in ("faces", "sample_id")
    ]
    return ", ".join([*columns, f"{faces} AS faces"])


def _join_by_id(connection: Any, step: Step, wish: JoinWish, columns: dict[Path, dict[str, str]], lists: bool) -> None:
    """A unit a metadata file, in order: an id that an earlier file had is not taken again."""
    countdown = Countdown(step.display, "joining by id", max(1, sum(path.stat().st_size for path in wish.metadata)))
    done, earlier = 0, list[Path]()
    for number, path in enumerate(wish.metadata):
        unit = f"{number:05d}"
        if step.record(unit) is None:
            _join_file(connection, step, wish, path, columns[path], unit, earlier, lists)
        earlier += _parts(step.folder, unit)
        done += path.stat().st_size
        countdown.advance(done)


def _join_file(
    connection: Any,
    step: Step,
    wish: JoinWish,
    path: Path,
    found: dict[str, str],
    unit: str,
    earlier: list[Path],
    lists: bool,
) -> None:
    source = f"read_parquet({literal(path)}, file_row_number=true)"
    usable = f"""regexp_matches(m."{found["url"]}", '^ *https?://', 'i')"""
    identity = f'TRY_CAST(m."{found["sample_id"]}" AS BIGINT)' if "sample_id" in found else "NULL::BIGINT"
    rows, addressed = connection.execute(f"SELECT count(*), count(*) FILTER ({usable}) FROM {source} m").fetchone()
    connection.execute("DROP TABLE IF EXISTS hit")
    if lists:
        # Ids alone first: repeated ones are told apart without carrying addresses and captions about.
        taken = f"SELECT sample_id FROM read_parquet({names(earlier)})" if earlier else "SELECT NULL WHERE false"
        connection.execute(
            f"""CREATE TEMP TABLE hit AS
            SELECT row, id, row_number() OVER (PARTITION BY id ORDER BY row) AS turn, id IN ({taken}) AS taken
            FROM (SELECT m.file_row_number AS row, {identity} AS id FROM {source} m WHERE {usable})
            WHERE id IN (SELECT sample_id FROM wanted)"""
        )
        listed, matched = connection.execute(
            "SELECT count(*), count(*) FILTER (turn = 1 AND NOT taken) FROM hit"
        ).fetchone()
        query = f"""SELECT hit.id AS sample_id, {_selected(found, "wanted.faces")}
            FROM {source} m JOIN hit ON m.file_row_number = hit.row JOIN wanted ON wanted.sample_id = hit.id
            WHERE hit.turn = 1 AND NOT hit.taken ORDER BY hit.row"""
    else:
        listed = matched = addressed
        faces = f"NULL::{COLUMNS['faces']}"
        query = f"""SELECT {identity} AS sample_id, {_selected(found, faces)} FROM {source} m WHERE {usable}
            ORDER BY m.file_row_number"""
    written = _write_parts(connection, step.folder, query, unit, wish.rows)
    if written != matched:
        raise RuntimeError(f"{path}: {matched} rows match, {written} were written")
    reasons = {"no_url": rows - addressed, "not_listed": addressed - listed, "repeated_id": listed - matched}
    write_json(step.records / f"{unit}_stats.json", {"rows": rows, "joined": matched, "left_out": reasons})


def _write_parts(connection: Any, folder: Path, query: str, unit: str, rows: int) -> int:
    """The query's result as UNIT-00000.parquet, ..., of at most ``rows`` rows; how many there are."""
    import pyarrow.parquet as parquet

    for old in _parts(folder, unit):
        old.unlink()  # of a run that was killed
    written = 0
    with atomic_write(folder / f"{unit}.whole") as whole:
        connection.execute(f"COPY ({query}) TO {literal(whole)} (FORMAT parquet, ROW_GROUP_SIZE 20000)")
        with parquet.ParquetFile(whole) as file:
            total = file.metadata.num_rows
            batches = file.iter_batches(min(rows, 20_000))
            pending: list[Any] = []
            for number in range(-(-total // rows)):
                with (
                    atomic_write(folder / f"{unit}-{number:05d}.parquet") as temporary,
                    parquet.ParquetWriter(temporary, file.schema_arrow) as writer,
                ):
                    room = min(rows, total - written)
                    while room:
                        batch = pending.pop() if pending else next(batches)
                        if batch.num_rows > room:
                            pending.append(batch.slice(room))
                            batch = batch.slice(0, room)
                        writer.write_batch(batch)
                        room -= batch.num_rows
                        written += batch.num_rows
    (folder / f"{unit}.whole").unlink()
    return written


def _join_by_url(connection: Any, step: Step, wish: JoinWish, columns: dict[Path, dict[str, str]]) -> None:
    """Ids that no file has, by the addresses that other tables know for them; one unit."""
    if not wish.known_urls or step.record(BY_URL) is not None:
        return
    by_id = [part for number in range(len(wish.metadata)) for part in _parts(step.folder, f"{number:05d}")]
    known = " UNION ALL ".join(
        f"""SELECT TRY_CAST("{found["sample_id"]}" AS BIGINT) AS id, "{found["url"]}" AS url
        FROM read_parquet({literal(path)})"""
        for path in wish.known_urls
        for found in [_columns(path, "known_urls")]
    )
    connection.execute("DROP TABLE IF EXISTS sought")
    connection.execute(
        f"""CREATE TEMP TABLE sought AS SELECT id, {normal_url("url")} AS address FROM ({known}) known
        WHERE id IN (SELECT sample_id FROM wanted) {_and_not_in(by_id)}
        QUALIFY row_number() OVER (PARTITION BY id ORDER BY url) = 1"""
    )
    rows = " UNION ALL ".join(
        f"""SELECT {number} AS file, m.file_row_number AS row, {_selected(columns[path], "NULL")}
        FROM read_parquet({literal(path)}, file_row_number=true) m"""
        for number, path in enumerate(wish.metadata)
    )
    listed = ", ".join(f"hit.{name}" for name in COLUMNS if name not in ("faces", "sample_id"))
    query = f"""SELECT hit.id AS sample_id, {listed}, wanted.faces FROM (
            SELECT sought.id, m.* FROM ({rows}) m JOIN sought ON {normal_url("m.url")} = sought.address
            WHERE regexp_matches(m.url, '^ *https?://', 'i')
            QUALIFY row_number() OVER (PARTITION BY sought.id ORDER BY m.file, m.row) = 1
        ) hit JOIN wanted ON wanted.sample_id = hit.id ORDER BY hit.file, hit.row"""
    (sought,) = connection.execute("SELECT count(*) FROM sought").fetchone()
    joined = _write_parts(connection, step.folder, query, BY_URL, wish.rows)
    write_json(step.records / f"{BY_URL}_stats.json", {"sought_by_url": sought, "joined_by_url": joined})


def _and_not_in(parts: list[Path]) -> str:
    return f"AND id NOT IN (SELECT sample_id FROM read_parquet({names(parts)}))" if parts else ""


def _summary(connection: Any, step: Step, wish: JoinWish, lists_read: dict[str, Any], lists: bool) -> dict[str, Any]:
    counts = sum_counts([step.record(f"{number:05d}") or {} for number in range(len(wish.metadata))])
    by_url = (step.record(BY_URL) or {}).get("joined_by_url", 0)
    if counts["rows"] != counts["joined"] + sum(counts["left_out"].values()):
        raise RuntimeError(f"the counts of the join do not add up: {counts}")
    result: dict[str, Any] = {
        "metadata_rows": counts["rows"],
        "joined": counts["joined"] + by_url,
        "joined_by_url": by_url,
        "left_out": counts["left_out"],
    }
    if lists:
        (wanted, faces) = connection.execute("SELECT count(*), count(faces) FROM wanted").fetchone()
        result["lists"] = {
            **lists_read,
            "different_ids": wanted,
            "with_detections": faces,
            "not_in_metadata": wanted - result["joined"],
        }
    return step.finish(result, complete=True)
