"""A synthetic market: the embedded default data, streamed, the same rows for the same seed under the pinned versions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from grinder_kit.errors import ConfigError
from grinder_kit.market.source import BATCH_ROWS
from grinder_kit.market.window import Windowed, in_batches
from grinder_kit.model.instrument import Contract, Instrument
from grinder_kit.model.number import plain

if TYPE_CHECKING:
    import polars as pl

    from grinder_kit.market.synthetic_core import Physics

START_NS = 1_704_067_200_000_000_000  # 2024-01-01 00:00 UTC
LONGEST_MINUTES = 31 * 24 * 60  # the walk is one of ticks, and must stay far from zero
_CHUNK = 1 << 17  # rows the core makes at once; batches are cut from these, so their size changes nothing

SYNTHETIC_INSTRUMENT = Instrument(
    symbol="SYNTH-USDT",
    venue="synthetic",
    base="SYNTH",
    quote="USDT",
    contract=Contract.LINEAR,
    tick=Decimal("0.1"),
    lot=Decimal("0.001"),
    min_quantity=Decimal("0.001"),
    min_notional=Decimal(5),
    max_orders=200,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticMarket(Windowed):
    """A market that is computed while it is read; see :mod:`grinder_kit.market.synthetic_core` for its model.

    The model lives in ticks and lots: it starts at 600,000 ticks and its best levels hold some hundred lots. Another instrument
    gives these another name and changes nothing else.
    """

    seed: int
    minutes: float
    instrument: Instrument = SYNTHETIC_INSTRUMENT
    clock_offset_ns: int = 0
    disorder_ns: tuple[int, int] = (0, 0)
    physics: Physics | None = None  # None: the tuned values
    start_ns: int | None = None  # of a window; None reaches to the market's own end
    end_ns: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.minutes <= LONGEST_MINUTES:
            raise ConfigError(
                f"minutes is {self.minutes:g}; write a number above 0 and at most {LONGEST_MINUTES} (31 days)"
            )

    def batches(self, rows: int = BATCH_ROWS) -> Iterator[pl.DataFrame]:
        """Yield the recorded columns in row order, `rows` at a time, from the start at each call.

        A window that starts later opens with the book as it then stood, and everything before it is computed as well.
        """
        blocks = (_frame(chunk) for chunk in self._chunks())
        rows_inside = self.cut.rows(blocks, clock_offset_ns=self.clock_offset_ns, disorder_ns=self.disorder_ns[0])
        return in_batches(rows_inside, rows)

    @property
    def whole_ns(self) -> tuple[int, int]:
        """First and last exchange time, whatever the window."""
        return START_NS, START_NS + round(self.minutes * 60e9)

    def _chunks(self) -> Iterator[Any]:
        import numpy as np

        from grinder_kit.market import synthetic_core as core

        state = core.new_state(self.seed)
        out = np.empty((_CHUNK + core.ROOM, core.COLUMNS), np.int64)
        physics = self.physics or core.Physics()
        ended = False
        while not ended:
            ended = core.generate(*state, physics, START_NS // 1_000_000, 60.0 * self.minutes, out)
            yield out[: state[1][core.OUT]].copy()

    def funding(self) -> pl.DataFrame:
        """Return no funding: ts_ns, rate, mark without rows."""
        import polars as pl

        return pl.DataFrame(schema={"ts_ns": pl.Int64, "rate": pl.Float64, "mark": pl.Int64})

    @property
    def opens_as(self) -> str | None:
        """Name by which another process opens it; None with another instrument or physics, which no name says."""
        if replace(self, start_ns=None, end_ns=None) != synthetic_market(self.seed, self.minutes):
            return None
        return f"synthetic seed={self.seed} minutes={plain(Decimal(repr(float(self.minutes))))}{self.cut.words}"

    def describe(self) -> dict[str, Any]:
        """Return what a report says about its data."""
        return {
            "name": f"synthetic market, seed {self.seed}, {self.minutes:g} minutes",
            "opens_as": self.opens_as,
            "venue": self.instrument.venue,
            "symbol": self.instrument.symbol,
            "seed": self.seed,
            "minutes": self.minutes,
            "span_ns": list(self.span_ns),
            "window": not self.cut.whole,
            "rows": None,  # known only when it has been read
            "gaps": [],
        }


def synthetic_market(seed: int = 7, minutes: float = 30, *, instrument: Instrument | None = None) -> SyntheticMarket:
    """Return a market of `minutes` minutes in which orders eat queues and move prices.

    Parameters
    ----------
    seed : int
        The same seed gives the same rows under the pinned versions.
    minutes : float
        Length; days are fine, memory stays flat. A longer market begins like a shorter one of the same seed.
    instrument : Instrument, optional
        Names and steps; a linear perpetual with a tick of .1 and a lot of .001 by default.

    Raises
    ------
    ConfigError
        For a length that is not positive.
    """
    return SyntheticMarket(seed=seed, minutes=minutes, instrument=instrument or SYNTHETIC_INSTRUMENT)


def _frame(block: Any) -> pl.DataFrame:
    import numpy as np

    from grinder_kit.market.schema import frame

    exchange_ns, local_ns, seq, kind, side, price, quantity, number = np.ascontiguousarray(block.T)
    return frame(
        exchange_ns=exchange_ns,
        local_ns=local_ns,
        seq=seq,
        kind=kind.astype(np.int8),
        side=side.astype(np.int8),
        price=price,
        quantity=quantity,
        id=number,
    )
