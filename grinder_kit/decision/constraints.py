"""ConstraintProvider: what the venue accepts for a symbol, cached, and the checks every level passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal

from grinder_kit.decision import rules
from grinder_kit.decision.reason import Reason
from grinder_kit.errors import ConfigError
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.section import did_you_mean

DAY_NS = 24 * 3600 * 1_000_000_000
#: What the codes of `rules.venue_refuses` and `rules.level_refuses` are called.
REASONS = {
    rules.NOT_POSITIVE: Reason.PRICE_NOT_POSITIVE,
    rules.OUT_OF_RANGE: Reason.PRICE_BAND,
    rules.BELOW_BAND: Reason.PRICE_BAND,
    rules.ABOVE_BAND: Reason.PRICE_BAND,
    rules.TOO_SMALL: Reason.MIN_QUANTITY,
    rules.TOO_LARGE: Reason.MAX_QUANTITY,
    rules.TOO_CHEAP: Reason.MIN_NOTIONAL,
    rules.SAME_PRICE: Reason.SAME_PRICE,
    rules.CROSSES: Reason.WOULD_CROSS,
    rules.NO_ROOM: Reason.MAX_ORDERS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """An instrument's limits in whole ticks and lots; None where the venue sets none.

    `min_value`: minimum notional in tick-lots for spot and linear instruments, in lots for inverse ones (whose
    contracts have a fixed value in quote). `band_down`, `band_up`: lowest and highest price over mid, as a fraction. `numbers`:
    all of it, as `rules.venue_refuses` takes it.
    """

    min_lots: int
    max_lots: int | None
    min_ticks: int
    max_ticks: int | None
    min_value: int
    value_in_lots: bool
    band_down: tuple[int, int] | None
    band_up: tuple[int, int] | None
    max_orders: int | None
    numbers: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "numbers", self._numbers())

    @classmethod
    def of(cls, instrument: Instrument) -> Constraints:
        """Return the limits of an instrument, minimums rounded up and maximums down to whole steps."""
        if instrument.inverse:
            value = instrument.min_notional / (instrument.lot * instrument.contract_size)
        else:
            value = instrument.min_notional / (instrument.tick * instrument.lot * instrument.contract_size)
        return cls(
            min_lots=max(1, _ceil(instrument.min_quantity / instrument.lot)),
            max_lots=None if instrument.max_quantity is None else int(instrument.max_quantity // instrument.lot),
            min_ticks=1 if not instrument.min_price else _ceil(instrument.min_price / instrument.tick),
            max_ticks=None if not instrument.max_price else int(instrument.max_price // instrument.tick),
            min_value=_ceil(value),
            value_in_lots=instrument.inverse,
            band_down=None if instrument.band_down is None else instrument.band_down.as_integer_ratio(),
            band_up=None if instrument.band_up is None else instrument.band_up.as_integer_ratio(),
            max_orders=instrument.max_orders,
        )

    def least_lots(self, ticks: int) -> int:
        """Return the smallest order at a price, in lots."""
        least = self.min_value if self.value_in_lots else -(-self.min_value // ticks)
        return max(self.min_lots, least)

    def refuse(self, ticks: int, lots: int, mid2: int) -> tuple[Reason, str] | None:
        """Return why the venue would refuse an order at `ticks` for `lots`, or None; `mid2` is mid in half ticks."""
        code = rules.venue_refuses(ticks, lots, mid2, self.numbers)
        return None if code == rules.FINE else (REASONS[code], self._detail(code, ticks, lots, mid2))

    def _detail(self, code: int, ticks: int, lots: int, mid2: int) -> str:
        if code == rules.NOT_POSITIVE:
            return f"{ticks} ticks"
        if code == rules.OUT_OF_RANGE:
            return f"{ticks} ticks, allowed {self.min_ticks} to {self.max_ticks or 'any'}"
        if code == rules.BELOW_BAND and self.band_down is not None:
            return f"{ticks * 2 / mid2:.4f} of mid, at least {self.band_down[0] / self.band_down[1]:g}"
        if code == rules.ABOVE_BAND and self.band_up is not None:
            return f"{ticks * 2 / mid2:.4f} of mid, at most {self.band_up[0] / self.band_up[1]:g}"
        if code == rules.TOO_SMALL:
            return f"{lots} lots, at least {self.min_lots}"
        if code == rules.TOO_LARGE:
            return f"{lots} lots, at most {self.max_lots}"
        value = lots if self.value_in_lots else ticks * lots
        return f"{value / self.min_value:.2f} of the minimum notional"

    def _numbers(self) -> tuple[int, ...]:
        down, up = self.band_down or (0, 0), self.band_up or (0, 0)
        values = {
            rules.MIN_LOTS: self.min_lots,
            rules.MAX_LOTS: rules.NO_LIMIT if self.max_lots is None else self.max_lots,
            rules.MIN_TICKS: self.min_ticks,
            rules.MAX_TICKS: rules.NO_LIMIT if self.max_ticks is None else self.max_ticks,
            rules.MIN_VALUE: self.min_value,
            rules.VALUE_IN_LOTS: int(self.value_in_lots),
            rules.BAND_DOWN: down[0],
            rules.BAND_DOWN_OF: down[1],
            rules.BAND_UP: up[0],
            rules.BAND_UP_OF: up[1],
        }
        return tuple(values[column] for column in range(rules.LIMITS))


def _ceil(value: Decimal) -> int:
    # Not -(-value // 1), which is the way with int: // of a Decimal cuts towards zero.
    return int(value.to_integral_value(ROUND_CEILING))


class ConstraintProvider:
    """Limits by symbol, read once a day; an unknown symbol is an error and never passes unchecked.

    Parameters
    ----------
    source : mapping of str to Instrument, or callable
        Where instruments come from; a callable takes the symbol and is asked again after 24 h.
    clock : callable
        Returns the time in ns.
    """

    def __init__(
        self, source: Mapping[str, Instrument] | Callable[[str], Instrument], clock: Callable[[], int]
    ) -> None:
        self._source = source
        self._clock = clock
        self._known: dict[str, tuple[int, Instrument, Constraints]] = {}

    def instrument(self, symbol: str) -> Instrument:
        """Return the instrument of a symbol.

        Raises
        ------
        ConfigError
            For a symbol the source does not know.
        """
        return self._entry(symbol)[1]

    def constraints(self, symbol: str) -> Constraints:
        """Return the limits of a symbol; raises as :meth:`instrument`."""
        return self._entry(symbol)[2]

    def _entry(self, symbol: str) -> tuple[int, Instrument, Constraints]:
        now = self._clock()
        entry = self._known.get(symbol)
        if entry is None or now - entry[0] >= DAY_NS:
            if isinstance(self._source, Mapping):
                if symbol not in self._source:
                    raise ConfigError(f"unknown symbol {symbol!r}{did_you_mean(symbol, self._source)}")
                instrument = self._source[symbol]
            else:
                instrument = self._source(symbol)
            entry = self._known[symbol] = (now, instrument, Constraints.of(instrument))
        return entry
