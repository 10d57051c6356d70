"""A table that is written row by row and kept in memory only while it is small; then it spills to Parquet."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

import polars as pl

from grinder_kit.execution.frames import rows_frame

ROWS_IN_MEMORY = 10_000  # some 10 MB: a row of Decimals weighs about a kilobyte


class Spool:
    """Collect rows of one schema.

    Parameters
    ----------
    schema : dict of str to Polars type
    rows_in_memory : int
        Rows after which a part is written to a temporary directory, which is removed with this object.
    """

    def __init__(self, schema: dict[str, Any], rows_in_memory: int = ROWS_IN_MEMORY) -> None:
        self.schema = schema
        self.rows = 0
        self._limit = rows_in_memory
        self._pending: list[tuple[Any, ...]] = []
        self._folder: Path | None = None
        self._parts: list[Path] = []

    def add(self, *row: Any) -> None:
        """Append a row."""
        self._pending.append(row)
        self.rows += 1
        if len(self._pending) >= self._limit:
            self._spill()

    def _spill(self) -> None:
        if self._folder is None:
            # Not a TemporaryDirectory, which warns when it goes with its owner, as it is meant to here.
            self._folder = Path(tempfile.mkdtemp(prefix="grinder-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        part = self._folder / f"{len(self._parts):06d}.parquet"
        self._frame().write_parquet(part)
        self._parts.append(part)
        self._pending = []

    def _frame(self) -> pl.DataFrame:
        return rows_frame(self._pending, self.schema)

    def scan(self) -> pl.LazyFrame:
        """Return all rows, lazily where they have been spilled."""
        if not self._parts:
            return self._frame().lazy()
        return pl.concat([pl.scan_parquet(self._parts), self._frame().lazy()])

    def frame(self) -> pl.DataFrame:
        """Return all rows in memory."""
        return self.scan().collect()
