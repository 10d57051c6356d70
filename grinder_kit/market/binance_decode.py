"""Blocks of Binance lines to arrays: the compiled lane first, real JSON for what it leaves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from grinder_kit.errors import DataError
from grinder_kit.market import binance_scan as scan
from grinder_kit.market.binance_lines import Feed, read_message, split_line
from grinder_kit.market.binance_scan import Ints, Lines, Rows
from grinder_kit.market.raw_lines import Block
from grinder_kit.model.instrument import Instrument


class Decoder:
    """Blocks to arrays.

    Parameters
    ----------
    feed : Feed
    instrument : Instrument
        Its tick and lot become the units.
    cut_off : callable
        Called with (file name, number of the last whole line) where a last line turns out to be half a line.

    Attributes
    ----------
    left_out : Counter
        Lines without rows, by name.
    """

    def __init__(self, feed: Feed, instrument: Instrument, cut_off: Callable[[str, int], None]) -> None:
        self.feed = feed
        self.instrument = instrument
        self._cut_off = cut_off
        self._off_lot = np.zeros(1, np.int64)
        self.left_out: Counter[str] = Counter()
        self._words, self._symbol = scan.words(feed.symbol)
        steps = (instrument.tick.scaleb(scan.DECIMALS), instrument.lot.scaleb(scan.DECIMALS))
        self._steps = (
            tuple(int(s) for s in steps) if all(s == int(s) for s in steps) else None
        )  # None: too fine for scan
        self._rows = scan.new_rows(0)

    @property
    def off_lot(self) -> int:
        """Quantities that were rounded."""
        return int(self._off_lot[0])

    def decode(self, block: Block) -> tuple[Lines, Rows]:
        """Return what is known of each line, and the rows; the rows are overwritten by the next call."""
        text = np.frombuffer(block.text, np.uint8)
        ends = np.flatnonzero(text == 10)
        lines = scan.new_lines(ends.size)
        room = text.size // 10 + 2 * ends.size
        if self._rows.line.size < room:
            self._rows = scan.new_rows(room)
        n = 0
        if self._steps is None:
            lines.kind[:] = scan.SLOW
        else:
            market, (tick, lot) = int(self.feed.market), self._steps
            n = scan.scan(text, ends, self._words, self._symbol, market, tick, lot, lines, self._rows, self._off_lot)
        filled = self._rows
        rows = Rows(filled.line[:n], filled.side[:n], filled.price[:n], filled.lots[:n])
        slow = np.flatnonzero(lines.kind == scan.SLOW)
        return lines, self._slow(block, ends, slow, lines, rows) if slow.size else rows

    def _slow(self, block: Block, ends: Ints, slow: Ints, lines: Lines, rows: Rows) -> Rows:
        extra: list[tuple[int, int, int, int]] = []
        for i in slow.tolist():
            lines.kind[i] = scan.DROPPED
            text = block.text[int(ends[i - 1]) + 1 if i else 0 : int(ends[i])]
            where = block.where(i)
            if not text.strip():
                self.left_out["empty line"] += 1
                continue
            try:
                local_ns, value = split_line(text.rstrip(b"\r"), where)
            except DataError:
                if block.open_end and i + 1 == ends.size and block.first_line + i > 1:
                    self._cut_off(block.name, block.first_line + i - 1)
                    continue
                raise
            lines.local_ns[i] = local_ns
            message = read_message(value, local_ns, self.feed, self.instrument, where)
            if isinstance(message, str):
                self.left_out[message] += 1
                continue
            lines.kind[i], lines.exchange_ns[i], lines.id[i] = message.kind, message.exchange_ns, message.id
            lines.first[i], lines.previous[i] = message.first, message.previous
            self._off_lot[0] += message.off_lot
            extra += [(i, *row) for row in message.rows]
        if not extra:
            return rows
        more = np.array(extra, np.int64).T
        line = np.concatenate((rows.line, more[0]))
        order = np.argsort(line, kind="stable")
        return Rows(
            line[order],
            np.concatenate((rows.side, more[1].astype(np.int8)))[order],
            np.concatenate((rows.price, more[2]))[order],
            np.concatenate((rows.lots, more[3]))[order],
        )
