"""Markets in memory for replays: scripts of a few messages, and real or synthetic markets under another hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import polars as pl

from grinder_kit.market.schema import COLUMNS, FUNDING_COLUMNS
from grinder_kit.market.source import Market
from grinder_kit.model.config import Config, ExecutionConfig, GridConfig
from grinder_kit.model.instrument import Contract, Instrument

MS = 1_000_000
START = 1_700_000_000_000 * MS
TOY = Instrument(
    symbol="TOYUSDT",
    venue="toy",
    base="TOY",
    quote="USDT",
    contract=Contract.LINEAR,
    tick=Decimal("0.1"),
    lot=Decimal("0.01"),
)
#: Levels 10 ticks apart around 1,000 ticks: 990, 980 and 1,010, 1,020.
GRID = GridConfig(spacing_bps=100, levels=2, size="0.02", recentre_bps=1000)
CONFIG = Config(grid=GRID, execution=ExecutionConfig(queue="risk_averse"))


class MemoryMarket:
    """Rows held in memory, in batches of any size; says of itself what is true of its rows."""

    def __init__(
        self,
        rows: pl.DataFrame,
        instrument: Instrument = TOY,
        *,
        batch: int = 131_072,
        funding: pl.DataFrame | None = None,
    ) -> None:
        self.rows, self.instrument, self.batch = rows, instrument, batch
        self._funding = pl.DataFrame(schema=FUNDING_COLUMNS) if funding is None else funding
        self.clock_offset_ns = 0
        worst = [int((rows[c].cum_max() - rows[c]).max() or 0) for c in ("exchange_ns", "local_ns")]
        self.disorder_ns = worst[0], worst[1]

    def batches(self, rows: int = 131_072) -> Iterator[pl.DataFrame]:
        """Yield the rows."""
        for start in range(0, len(self.rows), self.batch):
            yield self.rows[start : start + self.batch]

    def funding(self) -> pl.DataFrame:
        """Return the funding table."""
        return self._funding

    def describe(self) -> dict[str, Any]:
        """Return what a report says."""
        return {
            "name": "script",
            "venue": self.instrument.venue,
            "symbol": self.instrument.symbol,
            "rows": len(self.rows),
        }


class Wrapped:
    """A market with one thing changed: the size of its batches, its instrument, or its funding."""

    def __init__(
        self,
        market: Market,
        *,
        batch: int | None = None,
        instrument: Instrument | None = None,
        funding: pl.DataFrame | None = None,
    ) -> None:
        self._market, self._batch, self._funding = market, batch, funding
        self.instrument = instrument or market.instrument
        self.clock_offset_ns, self.disorder_ns = market.clock_offset_ns, market.disorder_ns

    def batches(self, rows: int = 131_072) -> Iterator[pl.DataFrame]:
        """Yield the market's rows in batches of our size."""
        return self._market.batches(self._batch or rows)

    def funding(self) -> pl.DataFrame:
        """Return our funding table, or the market's."""
        return self._market.funding() if self._funding is None else self._funding

    def describe(self) -> dict[str, Any]:
        """Return what the market says."""
        return self._market.describe()


def funding_table(rows: Sequence[tuple[int, float, int | None]]) -> pl.DataFrame:
    """Return a funding table of (ts_ns, rate, mark in ticks)."""
    return pl.DataFrame(rows, schema=FUNDING_COLUMNS, orient="row")


class Script:
    """A market written message by message; times in ms after START."""

    def __init__(self, *, feed_ms: int = 0) -> None:
        self._rows: list[tuple[Any, ...]] = []
        self._seq = 0
        self._feed_ns = feed_ms * MS

    def _message(self, ms: int, kind: str, levels: Sequence[tuple[str, int, int]]) -> Script:
        at = START + ms * MS
        for side, price, lots in levels:
            self._rows.append((at, at + self._feed_ns, self._seq, kind, side, price, lots, self._seq))
        self._seq += 1
        return self

    def book(self, ms: int, bids: dict[int, int], asks: dict[int, int]) -> Script:
        """Take a snapshot: price in ticks to lots."""
        levels = [("buy", price, bids[price]) for price in sorted(bids, reverse=True)]
        return self._message(ms, "snapshot", [*levels, *(("sell", price, asks[price]) for price in sorted(asks))])

    def depth(self, ms: int, *levels: tuple[str, int, int]) -> Script:
        """Set levels: side, price, lots."""
        return self._message(ms, "depth", levels)

    def trade(self, ms: int, aggressor: str, price: int, lots: int) -> Script:
        """Trade: `buy` takes from the asks."""
        return self._message(ms, "trade", [(aggressor, price, lots)])

    def gap(self, ms: int) -> Script:
        """Lose something of the feed."""
        return self._message(ms, "gap", [("none", 0, 0)])

    def market(self, instrument: Instrument = TOY, **options: Any) -> MemoryMarket:
        """Return the market."""
        return MemoryMarket(pl.DataFrame(self._rows, schema=COLUMNS, orient="row"), instrument, **options)


def calm(**options: Any) -> Script:
    """Return a book at 999 / 1,001 with some lots on every level that matters."""
    prices = (999, 990, 980, 970), (1_001, 1_010, 1_020, 1_030)
    return Script(**options).book(0, dict.fromkeys(prices[0], 5), dict.fromkeys(prices[1], 5))


def round_trip(**options: Any) -> Script:
    """Return a market in which one buy at 990 and one sell at 1,010 fill from the queue, at 1 s and at 3 s."""
    script = calm(**options).trade(1_000, "sell", 990, 8).trade(3_000, "buy", 1_010, 8)
    return script.depth(15_000, ("buy", 900, 1))
