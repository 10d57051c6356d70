"""What a simulated venue charges: commission of a fill, funding of a position."""

from __future__ import annotations

from decimal import Decimal

from grinder_kit.execution.money import EXACT, ROUNDED
from grinder_kit.model.config import ExecutionConfig
from grinder_kit.model.instrument import Instrument

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


def funding_amount(instrument: Instrument, rate: Decimal, mark_ticks: int, lots: int) -> Decimal:
    """Return what a position of `lots` receives (negative: pays) at a funding rate."""
    paid = ROUNDED.multiply(fee_base(instrument, mark_ticks, abs(lots)), rate)
    return (-paid if lots > 0 else paid).quantize(_INVERSE_UNIT, context=ROUNDED)


def fee_base(instrument: Instrument, ticks: int, lots: int) -> Decimal:
    """Return what a fee is a share of: notional in the settlement asset (exact; 50 digits for inverse)."""
    price, size = instrument.price(ticks), EXACT.multiply(instrument.quantity(lots), instrument.contract_size)
    return ROUNDED.divide(size, price) if instrument.inverse else EXACT.multiply(size, price)
