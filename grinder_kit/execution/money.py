"""Exact money for the books: decimal contexts, what a fill must be, and prices and profits as integers.

The default decimal context keeps 28 digits, and would round the cash of a long run without a word. Everything here is
added in `EXACT`, which refuses to round; only what has no finite decimal (1 / price, a third of a fee) goes through
`ROUNDED`.
"""

from __future__ import annotations

from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow

from grinder_kit.errors import ConfigError, DataError
from grinder_kit.model.fill import Fill
from grinder_kit.model.instrument import Contract, Instrument
from grinder_kit.model.number import Exact, exact, plain
from grinder_kit.model.order import Side

#: For sums and products: 200 digits, and an error instead of a rounded result.
EXACT = Context(prec=200, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])
#: For quotients: 50 digits, halves to even.
ROUNDED = Context(prec=50, traps=[InvalidOperation, DivisionByZero, Overflow])

ZERO = Decimal(0)
_RECIPROCAL = 10**40  # 1 / price is kept as a whole number of 1e-40: an error of 1e-22 after a million million fills


_CACHED = 65_536  # conversions kept


def money_scale(instrument: Instrument) -> int:
    """Return the decimals in which money is shown and fees are split: 12, or 18 where profit is paid in base."""
    return 18 if instrument.inverse else 12


def check_fill(fill: Fill, instrument: Instrument) -> None:
    """Refuse a fill that cannot be booked.

    Raises
    ------
    DataError
        No id, another symbol, no side, a number that is no finite Decimal, price or quantity not above zero, a fee in an
        unnamed asset (unless it is zero), or a rate of conversion that cannot be one.
    """
    if not fill.fill_id:
        raise DataError(f"a fill of {fill.symbol} at {fill.ts_ns} has no fill_id; give it the venue's trade id")
    name = f"fill {fill.fill_id}"
    if fill.symbol != instrument.symbol:
        raise DataError(
            f"{name} is of {fill.symbol}, these books are of {instrument.symbol}; keep one tracker per symbol"
        )
    if fill.side not in (Side.BUY, Side.SELL):
        raise DataError(f"{name}: side is {fill.side!r}; write BUY or SELL")
    for field, value in (("price", fill.price), ("quantity", fill.quantity), ("commission", fill.commission)):
        if not isinstance(value, Decimal) or not value.is_finite():
            raise DataError(f"{name}: {field} is {value!r}; write a finite Decimal")
    if fill.price <= 0 or fill.quantity <= 0:
        raise DataError(
            f"{name}: price is {fill.price}, quantity {fill.quantity}; both must be above zero, the side gives the sign"
        )
    if fill.commission and not fill.commission_asset:
        raise DataError(f"{name}: commission of {plain(fill.commission)} is paid in an unnamed asset; name it")
    rate = fill.commission_rate
    if rate is None:
        return
    if not isinstance(rate, Decimal) or not rate.is_finite() or rate <= 0:
        raise DataError(f"{name}: commission_rate is {rate!r}; write a finite Decimal above zero, or None")
    if fill.commission_asset == instrument.settle and rate != 1:
        raise DataError(
            f"{name}: commission_rate is {plain(rate)} for a fee that is paid in {instrument.settle} itself; write None"
        )


def in_kind(asset: str, instrument: Instrument) -> bool:
    """Whether a fee in `asset` is taken out of what was bought: in the base of a spot instrument, of which less is then held."""
    return asset == instrument.base and instrument.contract is Contract.SPOT and instrument.contract_size == 1


def needs_rate(asset: str, instrument: Instrument) -> bool:
    """Whether a fee in `asset` can be counted only with a rate of conversion."""
    return asset != instrument.settle and not in_kind(asset, instrument)


def settled(fill: Fill, instrument: Instrument) -> Decimal | None:
    """Return the commission of a fill in the settlement asset; None where nobody knows what its asset is worth.

    Exact for the settlement asset and for the base of a spot instrument, rounded to :func:`money_scale` for any other.
    """
    if not fill.commission or fill.commission_asset == instrument.settle:
        return fill.commission
    rate = fill.commission_rate
    if in_kind(fill.commission_asset, instrument):
        return EXACT.multiply(fill.commission, fill.price if rate is None else rate)
    if rate is None:
        return None
    quantum = Decimal(1).scaleb(-money_scale(instrument))
    return ROUNDED.quantize(EXACT.multiply(fill.commission, rate), quantum)


def check_mark(mark: Exact) -> Decimal:
    """Return a mark price as Decimal; it need not lie on the tick.

    Raises
    ------
    DataError
        When it is not above zero.
    """
    price = exact(mark, "mark")
    if price <= 0:
        raise DataError(f"mark is {price}; it must be above zero")
    return price


def split(commission: Decimal, part: int, whole: int, quantum: Decimal) -> Decimal:
    """Return the share of `part` lots in a commission of `whole` lots, on `quantum`; the last part takes what is left.

    Splitting what remains from what remains, the parts add up to the whole exactly.
    """
    if part == whole or not commission:
        return commission
    return ROUNDED.quantize(ROUNDED.divide(EXACT.multiply(commission, part), whole), quantum)


class Units:
    """Prices and profits of one instrument as whole numbers.

    A price is a `unit` such that the profit of a long lot is ``lots * (unit of exit - unit of entry)``: ticks for spot
    and linear, minus the reciprocal of the price for inverse. So one code path pairs all contracts, and what is added
    in integers stays conserved to the last digit; :meth:`money` turns the sum into the settlement asset.
    """

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.inverse = instrument.inverse
        self.quantum = Decimal(1).scaleb(-money_scale(instrument))
        self._size = EXACT.multiply(instrument.lot, instrument.contract_size)  # of one lot: base, or quote if inverse
        self._money = (
            EXACT.multiply(self._size, Decimal(1).scaleb(-40))
            if self.inverse
            else EXACT.multiply(self._size, instrument.tick)
        )
        self._prices: dict[Decimal, tuple[int, int]] = {}
        self._quantities: dict[Decimal, int] = {}
        numerator, denominator = instrument.tick.as_integer_ratio()
        self._numerator, self._reciprocal = numerator, _RECIPROCAL * denominator

    def read(self, fill: Fill) -> tuple[int, int, int]:
        """Return a fill as (ticks, unit, lots).

        Raises
        ------
        DataError
            When price or quantity lie off the instrument's steps.
        """
        price, lots = self._prices.get(fill.price), self._quantities.get(fill.quantity)
        if price is None or lots is None:
            price, lots = self._convert(fill)
        return *price, lots

    def _convert(self, fill: Fill) -> tuple[tuple[int, int], int]:
        """Convert through the instrument, and remember: a grid trades the same prices and quantities again."""
        try:
            ticks, lots = self.instrument.ticks(fill.price), self.instrument.lots(fill.quantity)
        except ConfigError as error:
            raise DataError(f"fill {fill.fill_id}: {error}") from error
        for cache in (self._prices, self._quantities):
            if len(cache) >= _CACHED:
                cache.clear()
        self._prices[fill.price] = price = (ticks, self.unit(ticks))
        self._quantities[fill.quantity] = lots
        return price, lots

    def unit(self, ticks: int) -> int:
        """Return the unit of a price in ticks."""
        if not self.inverse:
            return ticks
        step = ticks * self._numerator
        return -((2 * self._reciprocal + step) // (2 * step))  # rounded to nearest

    def money(self, amount: int, guard: int = 0) -> Decimal:
        """Return ``amount / 10**guard`` lot-units in the settlement asset."""
        money = EXACT.multiply(self._money, amount)
        return EXACT.scaleb(money, -guard) if guard else money

    def worth(self, lots: int, mark: Decimal) -> Decimal:
        """Return ``lots`` times the unit of `mark` in the settlement asset; 50 digits for inverse, exact otherwise."""
        if self.inverse:
            return ROUNDED.divide(EXACT.multiply(self._size, -lots), mark)
        return EXACT.multiply(EXACT.multiply(self._size, lots), mark)

    def price(self, cost: int, lots: int, guard: int) -> Decimal:
        """Return the mean price (harmonic for inverse) at which `lots` cost ``cost / 10**guard``, to 18 decimals."""
        if self.inverse:
            mean = ROUNDED.divide(Decimal(-_RECIPROCAL * 10**guard * lots), cost)
        else:
            mean = ROUNDED.divide(EXACT.multiply(self.instrument.tick, cost), 10**guard * lots)
        return ROUNDED.quantize(mean, Decimal(1).scaleb(-18)).normalize(ROUNDED)
