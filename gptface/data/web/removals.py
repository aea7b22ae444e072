"""Lists of what must not be used: addresses or sample ids, one a line, or a table of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gptface.data.web.database import open_parquet
from gptface.errors import InputError
from gptface.files import atomic_write

__all__ = ["write_removals"]

BATCH = 50_000
Entry = tuple[int | None, str | None]


def write_removals(sources: list[Path], target: Path) -> int:
    """The lists as one table with the columns sample_id and address (without scheme and fragment); how many there are.

    Raises:
        InputError: no such file, or a line that is neither an address nor a number; it names file and line.
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet

    schema = pa.schema([("sample_id", pa.int64()), ("address", pa.string())])
    count = 0
    with atomic_write(target) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
        for source in sources:
            for batch in _batches(_table(source) if source.suffix.lower() == ".parquet" else _lines(source)):
                ids, addresses = zip(*batch, strict=True)
                writer.write_table(pa.table({"sample_id": ids, "address": addresses}, schema))
                count += len(batch)
    return count


def _batches(entries: Iterator[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    for entry in entries:
        batch.append(entry)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _address(url: str) -> str:
    """As ``database.normal_url`` has it."""
    return re.sub(r"#.*$", "", re.sub(r"^[a-zA-Z]+://", "", url.strip()))


def _lines(source: Path) -> Iterator[Entry]:
    try:
        with open(source, encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                text = line.strip()
                if not text:
                    continue
                if re.fullmatch(r"-?\d{1,19}", text):
                    yield int(text), None
                elif "://" in text:
                    yield None, _address(text)
                else:
                    raise InputError(f"{source}, line {number}: {text[:60]!r} is neither an address nor a sample id")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{source}: cannot be read ({error})") from None


def _table(source: Path) -> Iterator[Entry]:
    with open_parquet(source, "removal") as file:
        columns: dict[str, Any] = {name.lower(): name for name in file.schema_arrow.names}
        wanted = [columns[name] for name in ("sample_id", "url") if name in columns]
        if not wanted:
            raise InputError(f"removal: {source} has neither a column SAMPLE_ID nor URL")
        for batch in file.iter_batches(BATCH, columns=wanted):
            rows = batch.to_pydict()
            for name in wanted:
                for value in rows[name]:
                    if value is not None:
                        yield (None, _address(str(value))) if name.lower() == "url" else (int(value), None)
