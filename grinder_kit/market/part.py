"""One file of a recording: its metadata, read and checked without touching a row."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from grinder_kit.errors import DataError
from grinder_kit.market.schema import METADATA_KEY, SCHEMA_VERSION

_NEEDED = (
    "instrument", "venue", "source", "clock_offset_ns", "disorder_ns", "exchange_time_is_local", "rows", "counts", "messages",
    "span_ns", "local_span_ns", "gaps", "issues",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file of a recording and what its metadata say."""

    path: Path
    metadata: dict[str, Any]

    @property
    def rows(self) -> int:
        """Rows in the file."""
        return int(self.metadata["rows"])

    def disorder(self, clock: str) -> int:
        """How far back a later row may lie, ns; `clock` is exchange or local."""
        return int(self.metadata["disorder_ns"][clock])


def read_metadata(path: Path) -> dict[str, Any]:
    """Return a recording's metadata.

    Raises
    ------
    DataError
        For a file that is missing, is no recording, or has a later schema version.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such recording; make one with `grinder import binance-ws FILE -o {path}`")
    try:
        text = pl.read_parquet_metadata(path).get(METADATA_KEY)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"{path.name} is not a Parquet file ({error}); raw lines become a recording with `grinder import`"
        ) from None
    if text is None:
        raise DataError(
            f"{path.name} is Parquet without the metadata of a recording; make recordings with `grinder import`"
        )
    try:
        metadata: dict[str, Any] = json.loads(text)
        version = int(metadata["schema"])
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{path.name}: its metadata cannot be read; import the source again") from None
    if version > SCHEMA_VERSION:
        raise DataError(
            f"{path.name} has schema version {version}, this grinder_kit reads up to {SCHEMA_VERSION}; "
            "upgrade grinder_kit, or import the source again"
        )
    missing = [key for key in _NEEDED if key not in metadata]
    if missing:
        raise DataError(f"{path.name}: its metadata lack {', '.join(missing)}; import the source again")
    return metadata
