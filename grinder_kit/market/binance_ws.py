"""Importer for raw Binance websocket recordings: spot, USD-M and COIN-M, plain, gzip or xz.

A file passes in blocks of some megabytes: lines become whole ticks and lots, update ids are checked for gaps, the clock for steps,
the book for crossings. What was found is reported and written into the metadata; nothing is hidden or repaired.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from grinder_kit.errors import ConfigError, DataError
from grinder_kit.market.binance_lines import Feed, MarketType, detect, event_name, payload, split_line
from grinder_kit.market.instruments import built_in, find_instrument, inferred
from grinder_kit.market.raw_lines import Block, Progress, RawLines
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.number import plain

log = logging.getLogger(__name__)

_UNIT = Decimal("1e-8")
_UNITS = 10**8


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What an import wrote and found; `metadata` is what the recording holds."""

    target: Path
    instrument: Instrument
    lines: int
    seconds: float
    metadata: dict[str, Any]
    warnings: tuple[str, ...] = ()

    def to_text(self) -> tuple[str, ...]:
        """Return the report as lines."""
        m, i = self.metadata, self.instrument
        counts = ", ".join(f"{n:,} {kind}" for kind, n in m["counts"].items() if n)
        out = [
            f"{self.target}: {i.symbol} at {i.venue}, {self.lines:,} lines to {m['rows']:,} rows in {self.seconds:.1f} s",
            f"rows: {counts}",
            f"tick {plain(i.tick)}, lot {plain(i.lot)}; clock offset {m['clock_offset_ns']:,} ns; {len(m['gaps'])} gaps",
        ]
        found = [f"{n:,} {name.replace('_', ' ')}" for name, n in m["issues"].items() if n]
        out += [f"found: {', '.join(found)}"] if found else []
        out += [f"left out: {n:,} {name}" for name, n in m["left_out"].items()]
        return (*out, *(f"warning: {w}" for w in self.warnings))

    def __str__(self) -> str:
        return "\n".join(self.to_text())


def import_binance_ws(
    source: Path | str | Sequence[Path | str],
    target: Path | str,
    *,
    instrument: Instrument | Path | str | None = None,
    allow_partial: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Turn raw lines ``<local_ns> <json>`` into a recording.

    Parameters
    ----------
    source : path, or sequence of paths in the order of their time
        Files of one symbol of one market; contiguous files become one recording, checked across their borders.
    target : path
        The recording; written under a temporary name and renamed when it is whole.
    instrument : Instrument, built-in name or exchangeInfo file, optional
        Otherwise the built-in table, otherwise inferred from the decimals seen, with a warning.
    allow_partial : bool
        Keep what precedes the point at which a file is cut off; the metadata say so.
    progress : callable, optional
        Called with (bytes read, bytes in all).

    Raises
    ------
    DataError
        One message that says what is wrong, in which file and line, and what to do. Nothing is left behind.
    """
    started = time.perf_counter()
    paths = [Path(source)] if isinstance(source, (str, Path)) else [Path(p) for p in source]
    if not paths:
        raise DataError("no source file was given; name at least one")
    files = _Files(paths, allow_partial, progress)
    feed = _detect(files)
    found, warnings = _instrument(instrument, feed, files)
    return _import(files, Path(target), feed, found, warnings, started)


class _Files:
    """The source files as one run of blocks; each pass starts from the first."""

    def __init__(self, paths: list[Path], allow_partial: bool, progress: Progress | None) -> None:
        self.paths = paths
        self.allow_partial = allow_partial
        self.progress = progress
        self.raw: list[RawLines] = []
        self.partial: list[dict[str, Any]] = []
        self.total = sum(RawLines(path).size for path in paths)  # refuses what is missing or empty before any work

    def blocks(self, *, quiet: bool = True) -> Iterator[Block]:
        self.raw, self.partial, before = [], [], 0
        for path in self.paths:
            raw = RawLines(path, None if quiet or self.progress is None else self._progress(before))
            self.raw.append(raw)
            yield from raw.blocks()
            if raw.truncated:
                self.cut_off(path.name, raw.lines)
            before += raw.size

    def _progress(self, before: int) -> Progress:
        inner, total = self.progress, self.total
        assert inner is not None
        return lambda done, _: inner(before + done, total)

    def cut_off(self, name: str, after_line: int) -> None:
        """Note that a file ends early, or refuse it."""
        if not self.allow_partial:
            raise DataError(f"{name}: truncated after line {after_line:,}; download it again, or pass --allow-partial")
        self.partial.append({"name": name, "after_line": after_line})

    def source(self) -> list[dict[str, Any]]:
        return [{"name": r.path.name, "sha256": r.sha256(), "bytes": r.size, "lines": r.lines} for r in self.raw]


def _detect(files: _Files) -> Feed:
    """Return the market and symbol that the first telling line names."""
    seen: Counter[str] = Counter()
    for block in files.blocks():
        for i, line in enumerate(block.text.split(b"\n")[:-1]):
            if not line.strip():
                continue
            try:
                value = split_line(line, block.where(i))[1]
            except DataError:
                if block.open_end and i + 1 == block.text.count(b"\n") and block.first_line + i > 1:
                    break  # half a line; the second pass says so
                raise
            if (feed := detect(payload(value))) is not None:
                return feed
            seen[event_name(payload(value))] += 1
    names = ", ".join(f"{n:,} {name}" for name, n in seen.most_common(5)) or "no lines"
    raise DataError(
        f"{', '.join(p.name for p in files.paths)}: no depthUpdate, bookTicker or trade of Binance in it (found: {names}); "
        "binance-ws needs the raw lines of Binance's market streams"
    )


def _instrument(given: Instrument | Path | str | None, feed: Feed, files: _Files) -> tuple[Instrument, tuple[str, ...]]:
    venue = feed.market.venue
    if isinstance(given, Instrument):
        if (given.symbol, given.venue) != (feed.symbol, venue):
            raise ConfigError(
                f"instrument is {given.symbol} of {given.venue}, the file holds {feed.symbol} of {venue}; give that one"
            )
        return given, ()
    if given is not None:
        return find_instrument(given, symbol=feed.symbol, venue=venue), ()
    if (known := built_in(feed.symbol, venue)) is not None:
        return known, ()
    tick, lot = _decimals(files, feed)
    warning = (
        f"{feed.symbol} of {venue} is not in the built-in table: tick {plain(tick)} and lot {plain(lot)} are inferred from the decimals "
        "seen, minimum quantity and notional are unknown; pass --instrument NAME|FILE (an exchangeInfo file)"
    )
    log.warning("instrument inferred symbol=%s venue=%s tick=%s lot=%s", feed.symbol, venue, plain(tick), plain(lot))
    return inferred(feed.symbol, venue, tick=tick, lot=lot, base=feed.base), (warning,)


def _decimals(files: _Files, feed: Feed) -> tuple[Decimal, Decimal]:
    """Read everything once in units of 1e-8 and return the coarsest powers of ten, at most 1, that hold all numbers."""
    from grinder_kit.market.binance_decode import Decoder  # Numba: only when something is imported

    probe = inferred(feed.symbol, feed.market.venue, tick=_UNIT, lot=_UNIT, base=feed.base)
    decoder = Decoder(feed, probe, files.cut_off)
    common = [0, 0]
    for block in files.blocks():
        _, rows = decoder.decode(block)
        for i, values in enumerate((rows.price, rows.lots)):
            common[i] = int(np.gcd(common[i], np.gcd.reduce(values))) if values.size else common[i]
    steps = []
    for divisor in common:
        step = 1
        while step < _UNITS and divisor % (step * 10) == 0:
            step *= 10
        steps.append(Decimal(plain(_UNIT * step)))
    return steps[0], steps[1]


def _import(
    files: _Files, target: Path, feed: Feed, instrument: Instrument, warnings: tuple[str, ...], started: float
) -> ImportReport:
    from grinder_kit.market.binance_checks import Checks
    from grinder_kit.market.binance_decode import Decoder
    from grinder_kit.market.crossed import CrossedBooks
    from grinder_kit.market.schema import frame
    from grinder_kit.market.writer import RecordingWriter

    decoder, checks, book = (
        Decoder(feed, instrument, files.cut_off),
        Checks(spot=feed.market is MarketType.SPOT),
        CrossedBooks(),
    )
    with RecordingWriter(target, instrument) as writer:
        for block in files.blocks(quiet=False):
            lines, rows = decoder.decode(block)
            checks.clock(lines, block)
            columns = checks.columns(lines, rows)
            book.add(columns)
            writer.write(frame(**columns))
        n_lines = sum(raw.lines for raw in files.raw)
        checks.shuffled(n_lines)
        local_kinds = ("snapshot", "bbo") if checks.spot else ()
        metadata = writer.finish(
            source=files.source(),
            clock_offset_ns=-checks.behind_ns,
            exchange_time_is_local=local_kinds,
            gaps=checks.gaps,
            issues={
                "crossed": book.count,
                "crossed_quotes": checks.crossed_quotes,
                "stale_snapshots": checks.stale_snapshots,
                "clock_steps": checks.clock_steps,
                "off_lot": decoder.off_lot,
            },
            extra={"left_out": dict(decoder.left_out), "partial": files.partial},
        )
    warnings += tuple(
        f"{p['name']} is cut off after line {p['after_line']:,}; what precedes was kept" for p in files.partial
    )
    return ImportReport(
        target=target,
        instrument=instrument,
        lines=n_lines,
        seconds=time.perf_counter() - started,
        metadata=metadata,
        warnings=warnings,
    )
