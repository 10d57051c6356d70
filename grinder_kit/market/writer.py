"""Writing a recording: row batches stream to a temporary name; only a finished file gets the real one."""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import polars as pl
from polars.io.plugins import register_io_source

from grinder_kit.errors import DataError
from grinder_kit.market.schema import COLUMNS, FUNDING_COLUMNS, METADATA_KEY, SCHEMA_VERSION, funding_path
from grinder_kit.market.source import BATCH_ROWS
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.market import EventKind


class RecordingWriter:
    """Write one recording in bounded memory.

    Rows are compressed in a thread of their own while the caller makes the next ones. Leaving the ``with`` block without
    :meth:`finish` removes everything that was written.

    Parameters
    ----------
    target : Path
        The finished file; folders above it are made. An existing file is replaced only by a finished one.
    instrument : Instrument
        Its `venue` becomes the recording's.

    Examples
    --------
    >>> with RecordingWriter(target, instrument) as writer:  # doctest: +SKIP
    ...     writer.write(rows)
    ...     writer.finish(source=[])
    """

    def __init__(self, target: Path, instrument: Instrument) -> None:
        self.target = Path(target)
        self.instrument = instrument
        self._tally = _Tally()
        self._pending: list[pl.DataFrame] = []
        self._pending_rows = 0
        if self.target.is_dir():
            raise DataError(
                f"{self.target} is a folder; write the name of a file in it, such as {self.target / 'day.parquet'}"
            )
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = self.target.with_name(f".{self.target.name}.{os.getpid()}.tmp")
        self._sink = _Sink(self._temporary)

    def __enter__(self) -> RecordingWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    def write(self, rows: pl.DataFrame) -> None:
        """Append rows: the columns of a recording, `seq` not below what was written before."""
        if list(rows.columns) != list(COLUMNS):
            raise DataError(f"rows have the columns {rows.columns}; write {list(COLUMNS)}")
        if rows.is_empty():
            return
        rows = rows.cast(COLUMNS)
        self._tally.add(rows)
        self._pending.append(rows)
        self._pending_rows += rows.height
        if self._pending_rows >= BATCH_ROWS:
            self._flush(whole_groups=True)

    def finish(
        self,
        *,
        source: Sequence[dict[str, Any]] = (),
        clock_offset_ns: int = 0,
        exchange_time_is_local: Sequence[str] = (),
        gaps: Sequence[dict[str, int]] = (),
        issues: dict[str, int] | None = None,
        funding: pl.DataFrame | None = None,
        extra: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Write the metadata, give the file its name and return the metadata.

        Parameters
        ----------
        source : sequence of dict
            name, sha256, bytes and lines of each source file.
        clock_offset_ns : int
            Added to `local_ns` by readers.
        exchange_time_is_local : sequence of str
            Kinds that carry no exchange time. Their `exchange_ns` becomes `local_ns + clock_offset_ns`, so that the column
            is one axis for all kinds.
        gaps, issues, extra
            What the importer found; `extra` adds keys of its own.
        funding : DataFrame, optional
            ts_ns, rate, mark (ticks): written beside the recording.
        """
        self._flush(whole_groups=False)
        tally = self._tally
        if exchange_time_is_local:
            self._sink.finish({})
            tally = self._restamp(clock_offset_ns, list(exchange_time_is_local))
        metadata: dict[str, Any] = {
            "schema": SCHEMA_VERSION,
            "instrument": self.instrument.to_json(),
            "venue": self.instrument.venue,
            "source": list(source),
            "clock_offset_ns": clock_offset_ns,
            "exchange_time_is_local": list(exchange_time_is_local),
            "gaps": list(gaps),
            "issues": dict(issues or {}),
            **tally.to_json(),
            **(extra or {}),
        }
        self._sink.finish({METADATA_KEY: json.dumps(metadata)})
        if funding is not None:
            beside = funding_path(self.target)
            partial = beside.with_name(f".{beside.name}.{os.getpid()}.tmp")
            funding.select(list(FUNDING_COLUMNS)).cast(FUNDING_COLUMNS).write_parquet(partial)
            os.replace(partial, beside)
        os.replace(self._temporary, self.target)
        return metadata

    def abort(self) -> None:
        """Stop and remove what is unfinished; nothing happens after :meth:`finish`."""
        self._sink.abort()
        self._temporary.unlink(missing_ok=True)

    def _flush(self, *, whole_groups: bool) -> None:
        if not self._pending:
            return
        rows = pl.concat(self._pending)
        cut = rows.height // BATCH_ROWS * BATCH_ROWS if whole_groups else rows.height
        for at in range(0, cut, BATCH_ROWS):
            self._sink.put(rows[at : min(at + BATCH_ROWS, cut)])
        rest = rows[cut:]
        self._pending, self._pending_rows = ([rest] if rest.height else []), rest.height

    def _restamp(self, offset: int, kinds: list[str]) -> _Tally:
        """Copy the rows once more: the offset that such kinds need is known only at the end of the source."""
        first = self._temporary.with_suffix(".first")
        os.replace(self._temporary, first)
        self._sink = _Sink(self._temporary)
        tally = _Tally()
        stamp = pl.when(pl.col("kind").is_in(pl.Series(kinds, dtype=COLUMNS["kind"]).implode()))
        scan = pl.scan_parquet(first).with_columns(
            exchange_ns=stamp.then(pl.col("local_ns") + offset).otherwise(pl.col("exchange_ns"))
        )
        try:
            for at in range(0, self._tally.rows, BATCH_ROWS):
                rows = scan.slice(at, BATCH_ROWS).collect()
                tally.add(rows)
                self._sink.put(rows)
        finally:
            first.unlink()
        return tally


class _Tally:
    """Counts, spans and disorder of the rows written so far."""

    def __init__(self) -> None:
        self.rows = 0
        self.counts = dict.fromkeys((kind.value for kind in EventKind), 0)
        self.messages = dict(self.counts)
        self.first: list[int] = []  # exchange, local: earliest
        self.last: list[int] = []
        self.disorder = [0, 0]
        self._seq: int | None = None

    def add(self, rows: pl.DataFrame) -> None:
        seq = rows["seq"].to_numpy()
        step = np.diff(seq, prepend=seq[0] if self._seq is None else self._seq)
        if step.min() < 0:
            at = int(step.argmin())
            raise DataError(
                f"row {self.rows + at:,}: seq {seq[at]} comes after a higher one; write rows in the order of their source"
            )
        opens = step > 0
        if self._seq is None:
            opens[0] = True
        self._seq = int(seq[-1])
        kind = rows["kind"].to_physical().to_numpy()
        names = list(self.counts)
        for out, codes in ((self.counts, kind), (self.messages, kind[opens])):
            for name, n in zip(names, np.bincount(codes, minlength=len(names)), strict=True):
                out[name] += int(n)
        for i, column in enumerate(("exchange_ns", "local_ns")):
            values = rows[column].to_numpy()
            if self.rows == 0:
                self.first.append(int(values.min()))
                self.last.append(int(values[0]))
            peak = np.maximum.accumulate(np.maximum(values, self.last[i]))
            self.disorder[i] = max(self.disorder[i], int((peak - values).max()))
            self.first[i] = min(self.first[i], int(values.min()))
            self.last[i] = int(peak[-1])
        self.rows += rows.height

    def to_json(self) -> dict[str, Any]:
        spans = list(zip(self.first, self.last, strict=True)) or [(0, 0), (0, 0)]
        return {
            "rows": self.rows,
            "counts": self.counts,
            "messages": self.messages,
            "span_ns": list(spans[0]),
            "local_span_ns": list(spans[1]),
            "disorder_ns": {"exchange": self.disorder[0], "local": self.disorder[1]},
        }


class _Abort(Exception):
    """Ends the sink's thread early."""


class _Sink:
    """A Parquet file written from a queue by Polars' streaming sink, in a thread; metadata go in at the end."""

    def __init__(self, path: Path) -> None:
        self._queue: queue.Queue[pl.DataFrame | None | _Abort] = queue.Queue(maxsize=2)  # bounds the memory
        self._metadata: dict[str, str] = {}
        self._error: BaseException | None = None
        self._path = path
        self._thread = threading.Thread(target=self._run, name="recording-writer", daemon=True)
        self._thread.start()

    def _rows(self, *_: Any) -> Iterator[pl.DataFrame]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, _Abort):
                raise item
            yield item

    def _run(self) -> None:
        try:
            # Opened here: a path would be opened by a task of Polars, which may make the file after an aborted sink returned.
            with self._path.open("wb") as file:
                register_io_source(self._rows, schema=COLUMNS).sink_parquet(
                    file,
                    row_group_size=BATCH_ROWS,
                    compression_level=1,  # of zstd: 2 % larger than the default, a third faster
                    metadata=lambda _: self._metadata,
                )
        except BaseException as error:
            self._error = error

    def put(self, item: pl.DataFrame | None | _Abort) -> None:
        while self._thread.is_alive():
            with suppress(queue.Full):
                self._queue.put(item, timeout=0.2)
                return
        self._raise()

    def finish(self, metadata: dict[str, str]) -> None:
        self._metadata = metadata
        self.put(None)
        self._thread.join()
        if self._error is not None:
            self._raise()

    def abort(self) -> None:
        if self._thread.is_alive():
            with suppress(DataError):
                self.put(_Abort())
            self._thread.join()

    def _raise(self) -> None:
        raise DataError(f"{self._path.parent}: writing the recording failed: {self._error}") from self._error
