"""The Polars batch of :mod:`grinder_kit.market.features`: rows of a market in, a frame of features out, streamed."""

from __future__ import annotations

import functools
import heapq
import math
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from grinder_kit.errors import ConfigError
from grinder_kit.market import features as rule
from grinder_kit.market.features import FEATURES, NAMES, NATR_BPS, NATR_IS_PROXY, Ints

if TYPE_CHECKING:
    from grinder_kit.market.source import Market

_COLUMNS = ("local_ns", "seq", "kind", "side", "price", "quantity")
_HELD = 65_536  # events handed to the compiled loop at once


@functools.cache
def _compiled() -> Any:
    import numba

    return rule.compiled_consume(numba.njit(cache=True, nogil=True, error_model="numpy"))


def run(
    market: Market | pl.DataFrame,
    *,
    every_ns: int,
    quotes: str,
    prelude: Iterable[tuple[Decimal | float, Decimal | float, Decimal | float]],
    tick: Decimal | None,
) -> pl.DataFrame:
    """Return what :func:`grinder_kit.market.features.features` promises."""
    if quotes not in ("depth", "bbo"):
        raise ConfigError(f'quotes is "{quotes}"; write "depth" or "bbo"')
    if every_ns <= 0:
        raise ConfigError(f"every_ns is {every_ns}; write a distance above zero, such as 1_000_000_000")
    if isinstance(market, pl.DataFrame):
        if tick is None:
            raise ConfigError("rows do not know their tick; pass tick=instrument.tick")
        frames: Iterator[pl.DataFrame] = iter((market.sort("local_ns", maintain_order=True),))
    else:
        tick = market.instrument.tick if tick is None else tick
        frames = _in_local_order(market)
    f, i, ring = rule.init_state()
    for bar in rule.bars_in_ticks(prelude, float(tick)):
        rule.on_bar(f, i, ring, *bar)
    out = np.full(FEATURES, math.nan)
    parts: list[pl.DataFrame] = []
    next_ns = 0
    for events in best_levels(frames, quotes):
        if not next_ns:
            next_ns = -(-int(events[0, 0]) // every_ns) * every_ns
        capacity = max(0, (int(events[-1, 0]) - next_ns) // every_ns + 1)
        rows = np.empty((capacity, FEATURES))
        written = _compiled()(f, i, ring, events, every_ns, next_ns, float(tick), rows, out)
        times = next_ns + every_ns * np.arange(written, dtype=np.int64)
        parts.append(_frame(times, rows[:written]))
        next_ns += every_ns * written
    return pl.concat(parts) if parts else _frame(np.zeros(0, np.int64), np.zeros((0, FEATURES)))


def _frame(times: Ints, rows: rule.Floats) -> pl.DataFrame:
    columns = {name: pl.Series(name, rows[:, at], nan_to_null=True) for at, name in enumerate(NAMES)}
    columns[NAMES[NATR_BPS]] = columns[NAMES[NATR_BPS]].cast(pl.Int64)
    columns[NAMES[NATR_IS_PROXY]] = columns[NAMES[NATR_IS_PROXY]] == 1.0
    return pl.DataFrame({"ts_ns": times, **columns})


def _in_local_order(market: Market) -> Iterator[pl.DataFrame]:
    """Yield a market's rows in stable order of local time, holding back as much as may still be overtaken."""
    offset, disorder = market.clock_offset_ns, market.disorder_ns[1]
    held: pl.DataFrame | None = None
    latest = 0
    for batch in market.batches():
        rows = batch.select(_COLUMNS).with_columns(pl.col("local_ns") + offset)
        if disorder:
            rows = rows if held is None else pl.concat((held, rows))
            latest = max(latest, int(rows["local_ns"].max() or 0))  # type: ignore[arg-type]
            rows = rows.sort("local_ns", maintain_order=True)
            settled = pl.col("local_ns") < latest - disorder
            held = rows.filter(~settled)
            rows = rows.filter(settled)
        yield rows
    if held is not None:
        yield held


class _Side:
    """One side of a book: lots by price, and a heap of prices of which removed ones are dropped when they surface."""

    def __init__(self, sign: int) -> None:
        self.sign = sign  # +1 asks, -1 bids: the best is the smallest sign * price
        self.lots: dict[int, int] = {}
        self._heap: list[int] = []

    def set(self, price: int, lots: int) -> None:
        if lots <= 0:
            self.lots.pop(price, None)
            return
        if price not in self.lots:
            if len(self._heap) > 4 * len(self.lots) + 1_000:
                self._heap = [self.sign * known for known in self.lots]
                heapq.heapify(self._heap)
            heapq.heappush(self._heap, self.sign * price)
        self.lots[price] = lots

    def best(self) -> tuple[int, int]:
        """Return price and lots of the best level, zeros when there is none."""
        while self._heap:
            price = self.sign * self._heap[0]
            if price in self.lots:
                return price, self.lots[price]
            heapq.heappop(self._heap)
        return 0, 0

    def clear_to(self, price: int) -> None:
        """Remove the levels from the best to `price`, included."""
        best, lots = self.best()
        while lots and self.sign * best <= self.sign * price:
            del self.lots[best]
            best, lots = self.best()


def best_levels(frames: Iterable[pl.DataFrame], quotes: str) -> Iterator[Ints]:
    """Yield events (n, 6) for :func:`grinder_kit.market.features.consume`: trades, and the quote after each message.

    Rows of one message are one event. A level that reaches the other side removes what it crosses there.
    """
    bids, asks = _Side(-1), _Side(1)
    events: list[tuple[int, int, int, int, int, int]] = []
    message: tuple[int, int, str] | None = None  # local time, seq, kind
    levels: list[tuple[str, int, int]] = []

    def close() -> None:
        if message is None:
            return
        ts_ns, _, kind = message
        if kind == "trade":
            events.extend((ts_ns, 1, price, 0, 0, 0) for _, price, _ in levels)
            return
        if kind == "gap":
            bids.__init__(-1)  # type: ignore[misc]
            asks.__init__(1)  # type: ignore[misc]
        elif kind == "bbo":
            for side, price, lots in levels:
                book = bids if side == "buy" else asks
                book.lots.clear()
                book.set(price, lots)
        else:
            if kind == "snapshot" and quotes != "depth":
                return
            if kind == "snapshot":
                for side, book, edge in (("buy", bids, min), ("sell", asks, max)):
                    prices = [price for at, price, _ in levels if at == side]
                    if prices:
                        book.clear_to(edge(prices))
            for side, price, lots in levels:
                own, other = (bids, asks) if side == "buy" else (asks, bids)
                own.set(price, lots)
                if lots > 0:
                    other.clear_to(price)
        # Also when nothing changed: a message says that the market is alive.
        events.append((ts_ns, 0, *bids.best(), *asks.best()))

    unused = "bbo" if quotes == "depth" else "depth"
    for frame in frames:
        wanted = frame.filter(pl.col("kind") != unused)
        for ts_ns, seq, kind, side, price, lots in wanted.select(_COLUMNS).iter_rows():
            if message is None or message[1] != seq:
                close()
                levels = []
                if len(events) >= _HELD:
                    yield np.array(events, np.int64)
                    events = []
            message = (ts_ns, seq, kind)
            levels.append((side, price, lots))
    close()
    if events:
        yield np.array(events, np.int64)
