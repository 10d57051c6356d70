"""What a simulated venue charges: commission of a fill, funding of a position."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from grinder_kit.errors import DataError
from grinder_kit.execution.money import EXACT, ROUNDED
from grinder_kit.model.config import ExecutionConfig
from grinder_kit.model.instrument import Instrument

if TYPE_CHECKING:
    import polars as pl

_INVERSE_UNIT = Decimal("1e-18")


class Fees:
    """Commission by the rates of a configuration, in the instrument's settlement asset.

    Exact for spot and linear instruments, to 18 decimals for inverse ones.
    """

    def __init__(self, instrument: Instrument, execution: ExecutionConfig) -> None:
        self._instrument = instrument
        self._rates = {True: execution.maker_fee_bps / 10_000, False: execution.taker_fee_bps / 10_000}

    def commission(self, ticks: int, lots: int, *, maker: bool) -> Decimal:
        """Return the commission of a fill: positive when paid."""
        paid = EXACT.multiply(fee_base(self._instrument, ticks, lots), self._rates[maker])
        return paid.quantize(_INVERSE_UNIT, context=ROUNDED) if self._instrument.inverse else paid


class FundingTable:
    """When funding is paid, and what it comes to.

    Parameters
    ----------
    instrument : Instrument
    frame : DataFrame
        `ts_ns`, `rate`, `mark` in ticks (null where unknown), as a Market gives it; may be empty.

    Attributes
    ----------
    times : ndarray of int64, shape (2, n)
        Times, ns, in order, and mark prices in ticks, 0 where unknown: as the kernel takes them.
    """

    def __init__(self, instrument: Instrument, frame: pl.DataFrame) -> None:
        frame = frame.sort("ts_ns")
        columns = (frame["ts_ns"].to_list(), frame["mark"].fill_null(0).to_list())
        self.times = np.array(columns, np.int64).reshape(2, -1)
        self._rates = [Decimal(repr(rate)) for rate in frame["rate"].to_list()]
        self._instrument = instrument

    def amount(self, index: int, lots: int, mark_ticks: int, best: tuple[int | None, int | None]) -> Decimal:
        """Return what a position of `lots` receives at the time `index`; at mid of `best` where the mark is unknown (0).

        Raises
        ------
        DataError
            When there is neither a mark nor a mid.
        """
        if mark_ticks == 0:
            bid, ask = best
            if bid is None or ask is None:
                raise DataError("funding is due while the book has no mid, and the recording gives no mark price")
            mark_ticks = (bid + ask) // 2
        return funding_amount(self._instrument, self._rates[index], mark_ticks, lots)


def funding_amount(instrument: Instrument, rate: Decimal, mark_ticks: int, lots: int) -> Decimal:
    """Return what a position of `lots` receives (negative: pays) at a funding rate."""
    paid = ROUNDED.multiply(fee_base(instrument, mark_ticks, abs(lots)), rate)
    return (-paid if lots > 0 else paid).quantize(_INVERSE_UNIT, context=ROUNDED)


def fee_base(instrument: Instrument, ticks: int, lots: int) -> Decimal:
    """Return what a fee is a share of: notional in the settlement asset (exact; 50 digits for inverse)."""
    price, size = instrument.price(ticks), EXACT.multiply(instrument.quantity(lots), instrument.contract_size)
    return ROUNDED.divide(size, price) if instrument.inverse else EXACT.multiply(size, price)
