"""A recorded market: a Parquet file, or a folder of daily files, opened lazily and streamed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from grinder_kit.errors import ConfigError, DataError
from grinder_kit.market.opening import OpeningBook
from grinder_kit.market.part import Part, read_metadata
from grinder_kit.market.schema import COLUMNS, FUNDING_COLUMNS, funding_path
from grinder_kit.market.source import BATCH_ROWS
from grinder_kit.market.writer import RecordingWriter as RecordingWriter
from grinder_kit.model.instrument import Instrument


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A market as it was recorded, one instrument; nothing but metadata is read until :meth:`batches` is iterated.

    Parameters
    ----------
    path : Path
        File or folder, as it was opened.
    parts : tuple of Part
        Files in the order of their names.
    start_ns, end_ns : int or None
        Exchange time of a window, start included, end not; None reaches to the recording's own end.

    Examples
    --------
    >>> recording = Recording.open("btcusdt.parquet")  # doctest: +SKIP
    >>> train, test = recording.split(0.6)  # doctest: +SKIP
    """

    path: Path
    parts: tuple[Part, ...]
    start_ns: int | None = None
    end_ns: int | None = None

    @classmethod
    def open(cls, path: Path | str) -> Recording:
        """Open a recording.

        Raises
        ------
        DataError
            A file or folder that is missing, is no recording, was written by a later version, or holds files that do not
            belong together.
        """
        path = Path(path)
        if path.is_dir():
            names = sorted(p for p in path.glob("[!.]*.parquet") if not p.name.endswith(".funding.parquet"))
            if not names:
                day = path / "day.parquet"
                raise DataError(
                    f"{path}: no recording in this folder; make one with `grinder import binance-ws FILE -o {day}`"
                )
        else:
            names = [path]
        parts = tuple(Part(path=name, metadata=read_metadata(name)) for name in names)
        first = parts[0]
        for earlier, part in zip(parts, parts[1:], strict=False):
            if part.metadata["instrument"] != first.metadata["instrument"]:
                raise DataError(
                    f"{part.path.name} holds {_what(part)}, {first.path.name} holds {_what(first)} (or other steps of it); "
                    "a folder is one recording of one instrument: give each its own"
                )
            if part.rows and earlier.rows and part.metadata["local_span_ns"][0] < earlier.metadata["local_span_ns"][1]:
                raise DataError(
                    f"{part.path.name} starts before {earlier.path.name} ends; name the files in the order of their time"
                )
        return cls(path=path, parts=parts)

    # --- the Market protocol -----------------------------------------------------------------------------------------

    @property
    def instrument(self) -> Instrument:
        """What is traded; the steps of `price` and `quantity`."""
        return Instrument.from_json(self.parts[0].metadata["instrument"])

    @property
    def clock_offset_ns(self) -> int:
        """Add this to `local_ns` to put the local clock on the exchange's axis; the largest of the files' offsets."""
        return max(int(part.metadata["clock_offset_ns"]) for part in self.parts)

    @property
    def disorder_ns(self) -> tuple[int, int]:
        """How far back a later row may lie, by the exchange's clock and by the local one; across files too."""
        return self._disorder("exchange", "span_ns"), self._disorder("local", "local_span_ns")

    def _disorder(self, clock: str, span: str) -> int:
        worst, latest = 0, None
        for part in self.parts:
            # Kinds without an exchange time move with the common offset, so they may move this much against the others.
            moved = (
                self.clock_offset_ns - int(part.metadata["clock_offset_ns"])
                if self._moves(part) and clock == "exchange"
                else 0
            )
            worst = max(worst, part.disorder(clock) + moved)
            if part.rows:
                first, last = part.metadata[span]
                worst = worst if latest is None else max(worst, latest - first)
                latest = last + moved if latest is None else max(latest, last + moved)
        return worst

    def batches(self, rows: int = BATCH_ROWS) -> Iterator[pl.DataFrame]:
        """Yield the recorded columns in row order, `rows` at a time, from the start at each call.

        The batches are the same however the file's row groups were cut, and memory does not grow with the recording. A window
        that starts later opens with the book as it then stood (see :class:`~grinder_kit.market.opening.OpeningBook`).
        """
        if rows < 1:
            raise ConfigError(f"rows is {rows}; write 1 or more")
        held: list[pl.DataFrame] = []
        count = 0
        for chunk in self._rows(max(rows, BATCH_ROWS)):
            held.append(chunk)
            count += chunk.height
            if count < rows:
                continue
            block = pl.concat(held, rechunk=True) if len(held) > 1 else chunk
            whole = count // rows * rows
            for at in range(0, whole, rows):
                yield block[at : at + rows]
            held, count = [block[whole:]], count - whole
        if count:
            yield pl.concat(held, rechunk=True)

    def funding(self) -> pl.DataFrame:
        """Return funding times of the window: `ts_ns`, `rate`, `mark` in ticks; empty where no table lies beside the files."""
        tables = [pl.read_parquet(p) for part in self.parts if (p := funding_path(part.path)).exists()]
        empty = pl.DataFrame(schema=FUNDING_COLUMNS)
        out = pl.concat([empty, *(table.select(list(FUNDING_COLUMNS)).cast(FUNDING_COLUMNS) for table in tables)])
        return out.filter(self._inside("ts_ns")).unique("ts_ns", keep="first").sort("ts_ns")

    def describe(self) -> dict[str, Any]:
        """Return what a report says about its data, as JSON types."""
        return {
            "name": self.path.name,
            "venue": self.instrument.venue,
            "symbol": self.instrument.symbol,
            "source": [source for part in self.parts for source in part.metadata["source"]],
            "span_ns": list(self.span_ns),
            "window": self.start_ns is not None or self.end_ns is not None,
            "rows": self.rows,
            "clock_offset_ns": self.clock_offset_ns,
            "gaps": [gap for part in self.parts for gap in part.metadata["gaps"]],
            "partial": [cut for part in self.parts for cut in part.metadata.get("partial", ())],
        }

    # --- windows -----------------------------------------------------------------------------------------------------

    @property
    def span_ns(self) -> tuple[int, int]:
        """First and last exchange time, or the window's edges where they lie inside."""
        spans = [part.metadata["span_ns"] for part in self.parts if part.rows] or [(0, 0)]
        first, last = min(s[0] for s in spans), max(s[1] for s in spans)
        return max(first, self.start_ns or first), min(last, self.end_ns or last)

    @property
    def rows(self) -> int | None:
        """Recorded rows; None for a window, where only reading tells."""
        whole = self.start_ns is None and self.end_ns is None
        return sum(part.rows for part in self.parts) if whole else None

    def window(self, start_ns: int | None = None, end_ns: int | None = None) -> Recording:
        """Return the part with exchange time in [start_ns, end_ns), cut to this window.

        Raises
        ------
        ConfigError
            When nothing would be left.
        """
        starts = [t for t in (self.start_ns, start_ns) if t is not None]
        ends = [t for t in (self.end_ns, end_ns) if t is not None]
        start, end = max(starts, default=None), min(ends, default=None)
        first, last = self.span_ns
        if (start if start is not None else first) >= (end if end is not None else last + 1) or (start or first) > last:
            raise ConfigError(
                f"window [{start_ns}, {end_ns}) ns leaves nothing of [{first}, {last}]; write times inside it"
            )
        return replace(self, start_ns=start, end_ns=end)

    def split(self, fraction: float, *, purge_ns: int = 0) -> tuple[Recording, Recording]:
        """Return (train, test): the first `fraction` of the exchange time, and what comes `purge_ns` after it.

        Raises
        ------
        ConfigError
            For a fraction outside (0, 1) or a purge that leaves no test.
        """
        if not 0 < fraction < 1:
            raise ConfigError(f"fraction is {fraction:g}; write a number between 0 and 1, such as 0.6")
        first, last = self.span_ns
        cut = first + int((last - first) * fraction)
        return self.window(None, cut), self.window(cut + purge_ns, None)

    def _inside(self, column: str) -> pl.Expr:
        inside = pl.lit(True)
        if self.start_ns is not None:
            inside = inside & (pl.col(column) >= self.start_ns)
        if self.end_ns is not None:
            inside = inside & (pl.col(column) < self.end_ns)
        return inside

    def _rows(self, chunk: int) -> Iterator[pl.DataFrame]:
        """Yield the window's rows in chunks of any size, a new `seq` for each message of the whole folder."""
        if self.start_ns is None and self.end_ns is None:
            yield from self._all_rows(chunk)
            return
        opening = OpeningBook(self.start_ns, self.clock_offset_ns) if self.start_ns is not None else None
        waiting: list[pl.DataFrame] = []
        disorder = self.disorder_ns[0]
        latest: int | None = None
        for block in self._all_rows(chunk):
            peak: int = block["exchange_ns"].max()  # type: ignore[assignment]
            latest = peak if latest is None else max(latest, peak)
            waiting.append(block.filter(self._inside("exchange_ns")))
            if opening is not None:
                opening.add(block.filter(pl.col("exchange_ns") < self.start_ns))
                if latest - disorder < opening.start_ns:
                    continue  # rows of before the window can still come
                yield from _opened(opening, waiting)
                opening = None
            else:
                yield from waiting
            waiting = []
            if self.end_ns is not None and latest - disorder > self.end_ns:
                return  # nothing later can lie in the window
        if opening is not None:
            yield from _opened(opening, waiting)

    def _all_rows(self, chunk: int) -> Iterator[pl.DataFrame]:
        base = 0
        for part in self.parts:
            scan = pl.scan_parquet(part.path).select(list(COLUMNS)).cast(COLUMNS)
            if base:
                scan = scan.with_columns(pl.col("seq") + base)
            if self._moves(part):
                late = pl.col("kind").is_in(
                    pl.Series(part.metadata["exchange_time_is_local"], dtype=COLUMNS["kind"]).implode()
                )
                stamp = pl.when(late).then(pl.col("local_ns") + self.clock_offset_ns).otherwise(pl.col("exchange_ns"))
                scan = scan.with_columns(exchange_ns=stamp)
            for at in range(0, part.rows, chunk):
                block = scan.slice(at, chunk).collect()
                yield block
            if part.rows:
                base = int(block["seq"][-1]) + 1

    def _moves(self, part: Part) -> bool:
        """Whether kinds without an exchange time stand on another offset in this file than in the whole recording."""
        return (
            bool(part.metadata["exchange_time_is_local"])
            and int(part.metadata["clock_offset_ns"]) != self.clock_offset_ns
        )


def _opened(opening: OpeningBook, rows: list[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    first = next((block for block in rows if block.height), None)
    if first is not None:
        yield opening.rows(before_seq=int(first["seq"][0]))
        yield from rows


def _what(part: Part) -> str:
    return f"{part.metadata['instrument']['symbol']} of {part.metadata['venue']}"
