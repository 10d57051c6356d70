"""A recorded market: a Parquet file, or a folder of daily files, opened lazily and streamed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from grinder_kit.errors import DataError
from grinder_kit.market.part import Part, read_metadata
from grinder_kit.market.schema import COLUMNS, FUNDING_COLUMNS, funding_path
from grinder_kit.market.source import BATCH_ROWS
from grinder_kit.market.window import Windowed, in_batches
from grinder_kit.market.writer import RecordingWriter as RecordingWriter
from grinder_kit.model.instrument import Instrument


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording(Windowed):
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
        blocks = self._all_rows(max(rows, BATCH_ROWS))
        inside = self.cut.rows(blocks, clock_offset_ns=self.clock_offset_ns, disorder_ns=self.disorder_ns[0])
        return in_batches(inside, rows)

    def funding(self) -> pl.DataFrame:
        """Return funding times of the window: `ts_ns`, `rate`, `mark` in ticks; empty where no table lies beside the files."""
        tables = [pl.read_parquet(p) for part in self.parts if (p := funding_path(part.path)).exists()]
        empty = pl.DataFrame(schema=FUNDING_COLUMNS)
        out = pl.concat([empty, *(table.select(list(FUNDING_COLUMNS)).cast(FUNDING_COLUMNS) for table in tables)])
        return out.filter(self.cut.inside("ts_ns")).unique("ts_ns", keep="first").sort("ts_ns")

    @property
    def opens_as(self) -> str:
        """Name by which it is opened from the folder where it lies."""
        return f"{self.path.resolve().name}{self.cut.words}"

    def describe(self) -> dict[str, Any]:
        """Return what a report says about its data, as JSON types."""
        return {
            "name": self.path.name,
            "opens_as": self.opens_as,
            "venue": self.instrument.venue,
            "symbol": self.instrument.symbol,
            "source": [source for part in self.parts for source in part.metadata["source"]],
            "span_ns": list(self.span_ns),
            "window": not self.cut.whole,
            "rows": self.rows,
            "clock_offset_ns": self.clock_offset_ns,
            "gaps": [gap for part in self.parts for gap in part.metadata["gaps"]],
            "partial": [cut for part in self.parts for cut in part.metadata.get("partial", ())],
        }

    @property
    def whole_ns(self) -> tuple[int, int]:
        """First and last exchange time, whatever the window."""
        spans = [part.metadata["span_ns"] for part in self.parts if part.rows] or [(0, 0)]
        return min(s[0] for s in spans), max(s[1] for s in spans)

    @property
    def rows(self) -> int | None:
        """Recorded rows; None for a window, where only reading tells."""
        return sum(part.rows for part in self.parts) if self.cut.whole else None

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
                following = int(block["seq"][-1]) + 1
                yield block
                del block  # not kept while the next is read
            if part.rows:
                base = following

    def _moves(self, part: Part) -> bool:
        """Whether kinds without an exchange time stand on another offset in this file than in the whole recording."""
        return (
            bool(part.metadata["exchange_time_is_local"])
            and int(part.metadata["clock_offset_ns"]) != self.clock_offset_ns
        )


def _what(part: Part) -> str:
    return f"{part.metadata['instrument']['symbol']} of {part.metadata['venue']}"
