"""DuckDB for joins larger than memory: it spills to disk beyond its limit."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gptface.errors import InputError

__all__ = ["database", "literal", "names", "normal_url", "open_parquet"]


@contextlib.contextmanager
def database(folder: Path, memory: int, threads: int = 0) -> Iterator[Any]:
    """A connection that takes at most ``memory`` MB and spills below ``folder``; nothing of it stays.

    Raises:
        InputError: it takes more memory, and cannot spill.
    """
    import duckdb

    spill = tempfile.mkdtemp(dir=folder, prefix=".spill-")
    connection = duckdb.connect()
    try:
        connection.execute(f"SET memory_limit='{memory}MB'")
        connection.execute(f"SET temp_directory={literal(spill)}")
        connection.execute("SET preserve_insertion_order=false")
        connection.execute("SET enable_progress_bar=false")  # the step has one
        connection.execute("SET autoinstall_known_extensions=false")  # it would ask the network
        if threads:
            connection.execute(f"SET threads={threads}")
        yield connection
    except duckdb.OutOfMemoryException as error:
        raise InputError(f"memory: {memory} MB are too few ({str(error).splitlines()[0]}); give more") from None
    finally:
        connection.close()
        shutil.rmtree(spill, ignore_errors=True)


def literal(text: object) -> str:
    """A text for a query."""
    return "'" + str(text).replace("'", "''") + "'"


def names(paths: list[Path]) -> str:
    """A list of files for ``read_parquet``."""
    return "[" + ", ".join(map(literal, paths)) + "]"


def normal_url(column: str) -> str:
    """The query for an address without its scheme, fragment and spaces at the ends: one page, one text."""
    return f"regexp_replace(regexp_replace(trim({column}), '^[a-zA-Z]+://', ''), '#.*$', '')"


def open_parquet(path: Path, what: str) -> Any:
    """pyarrow's ``ParquetFile``.

    Raises:
        InputError: no such file, or none that can be read.
    """
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        return parquet.ParquetFile(path)
    except FileNotFoundError:
        raise InputError(f"{what}: {path}: no such file") from None
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(f"{what}: {path} is no parquet file that can be read ({error})") from None
