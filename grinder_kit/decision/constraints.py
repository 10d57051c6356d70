"""ConstraintProvider: what the venue accepts for a symbol, cached, and the checks every level passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from grinder_kit.decision.reason import Reason
from grinder_kit.errors import ConfigError
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.section import did_you_mean

DAY_NS = 24 * 3600 * 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """An instrument's limits in whole ticks and lots; None where the venue sets none.

    `min_value`: minimum notional in tick-lots for spot and linear instruments, in lots for inverse ones (whose
    contracts have a fixed value in quote). `band_down`, `band_up`: lowest and highest price over mid, as a fraction.
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
        if ticks <= 0:
            return Reason.PRICE_NOT_POSITIVE, f"{ticks} ticks"
        if ticks < self.min_ticks or (self.max_ticks is not None and ticks > self.max_ticks):
            return Reason.PRICE_BAND, f"{ticks} ticks, allowed {self.min_ticks} to {self.max_ticks or 'any'}"
        if self.band_down is not None and ticks * 2 * self.band_down[1] < mid2 * self.band_down[0]:
            return (
                Reason.PRICE_BAND,
                f"{ticks * 2 / mid2:.4f} of mid, at least {self.band_down[0] / self.band_down[1]:g}",
            )
        if self.band_up is not None and ticks * 2 * self.band_up[1] > mid2 * self.band_up[0]:
            return Reason.PRICE_BAND, f"{ticks * 2 / mid2:.4f} of mid, at most {self.band_up[0] / self.band_up[1]:g}"
        if lots < self.min_lots:
            return Reason.MIN_QUANTITY, f"{lots} lots, at least {self.min_lots}"
        if self.max_lots is not None and lots > self.max_lots:
            return Reason.MAX_QUANTITY, f"{lots} lots, at most {self.max_lots}"
        value = lots if self.value_in_lots else ticks * lots
        if value < self.min_value:
            return Reason.MIN_NOTIONAL, f"{value / self.min_value:.2f} of the minimum notional"
        return None


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
