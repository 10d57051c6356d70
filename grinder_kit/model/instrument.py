"""Instrument: what can be traded, in which steps, and the only place where Decimals become ticks and lots."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from enum import StrEnum
from typing import Any

from grinder_kit.errors import ConfigError
from grinder_kit.model.number import Exact, exact, plain
from grinder_kit.model.order import Side


class Contract(StrEnum):
    """How a quantity becomes money."""

    SPOT = "spot"  # quantity in base; notional = price * quantity, paid in quote
    LINEAR = "linear"  # quantity in base times contract_size; profit in quote
    INVERSE = "inverse"  # quantity in contracts of contract_size quote each; profit in base


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """One symbol at one venue.

    Parameters
    ----------
    symbol, venue : str
        The venue's own symbol (``BTCUSDT``) and the venue's name (``binanceusdm``).
    base, quote : str
        Asset bought and asset paid with.
    contract : Contract
        Spot, linear or inverse.
    tick, lot : Decimal
        Smallest price step (quote) and quantity step (base, or contracts).
    min_quantity, min_notional : Decimal
        Smallest order; 0 where the venue sets none.
    max_quantity, min_price, max_price : Decimal or None
        Further limits of one order; None where the venue sets none.
    contract_size : Decimal
        Base (linear) or quote (inverse) per unit of quantity.
    band_up, band_down : Decimal or None
        An order's price must stay within [reference * band_down, reference * band_up].
    max_orders : int or None
        Open orders allowed at once.
    unknown_filters : tuple of str
        Names of venue filters that this class does not enforce; kept so that nobody believes they are checked.

    Raises
    ------
    ConfigError
        For a step that is not positive, or a negative minimum.
    """

    symbol: str
    venue: str
    base: str
    quote: str
    tick: Decimal
    lot: Decimal
    contract: Contract = Contract.SPOT
    contract_size: Decimal = Decimal(1)
    min_quantity: Decimal = Decimal(0)
    min_notional: Decimal = Decimal(0)
    max_quantity: Decimal | None = None
    min_price: Decimal | None = None
    max_price: Decimal | None = None
    band_up: Decimal | None = None
    band_down: Decimal | None = None
    max_orders: int | None = None
    unknown_filters: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        for name in ("tick", "lot", "contract_size", "min_quantity", "min_notional"):
            object.__setattr__(self, name, exact(getattr(self, name), f"{self.symbol}: {name}"))
        for name in ("max_quantity", "min_price", "max_price", "band_up", "band_down"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, exact(getattr(self, name), f"{self.symbol}: {name}"))
        for name in ("tick", "lot", "contract_size"):
            if getattr(self, name) <= 0:
                raise ConfigError(
                    f"{self.symbol}: {name} is {plain(getattr(self, name))}; it must be above zero "
                    "(a venue that says 0 has not opened this symbol yet)"
                )
        for name in ("min_quantity", "min_notional"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{self.symbol}: {name} is {getattr(self, name)}; write 0 for no minimum")

    @property
    def inverse(self) -> bool:
        """Whether profit is paid in the base asset."""
        return self.contract is Contract.INVERSE

    @property
    def settle(self) -> str:
        """Asset in which profit and fees are counted."""
        return self.base if self.inverse else self.quote

    # --- Decimal to integer: exact, or an error that says what to write --------------------------------------------

    def ticks(self, price: Exact, name: str = "price") -> int:
        """Return a price as whole ticks.

        Raises
        ------
        ConfigError
            When the price is off the tick, with both neighbours.
        """
        return self._whole(exact(price, name), self.tick, name, "tick")

    def lots(self, quantity: Exact, name: str = "quantity") -> int:
        """Return a quantity as whole lots.

        Raises
        ------
        ConfigError
            When the quantity is off the lot, with both neighbours.
        """
        return self._whole(exact(quantity, name), self.lot, name, "lot")

    def _whole(self, value: Decimal, step: Decimal, name: str, unit: str) -> int:
        count = value / step
        whole = count.to_integral_value(rounding=ROUND_FLOOR)
        if count != whole:
            below, above = plain(whole * step), plain((whole + 1) * step)
            instead = f'write "{below}" or "{above}"' if whole > 0 else f'write "{above}"'
            raise ConfigError(f"{name} is {plain(value)}, off the {unit} of {plain(step)} of {self.symbol}; {instead}")
        return int(whole)

    # --- integer to Decimal ------------------------------------------------------------------------------------------

    def price(self, ticks: int) -> Decimal:
        """Return `ticks` as a price in quote."""
        return self.tick * ticks

    def quantity(self, lots: int) -> Decimal:
        """Return `lots` as a quantity in base or contracts."""
        return self.lot * lots

    def notional(self, price: Decimal, quantity: Decimal) -> Decimal:
        """Return the value of an order: quote for spot and linear, quote as well (contracts times size) for inverse."""
        if self.inverse:
            return quantity * self.contract_size
        return price * quantity * self.contract_size

    # --- rounding ----------------------------------------------------------------------------------------------------

    def round_price(self, price: Exact, side: Side) -> Decimal:
        """Return the nearest price on the tick that is no worse for us: down for a buy, up for a sell."""
        value = exact(price, "price")
        mode = ROUND_FLOOR if side is Side.BUY else ROUND_CEILING
        return (value / self.tick).to_integral_value(rounding=mode) * self.tick

    def round_quantity(self, quantity: Exact) -> Decimal:
        """Return the quantity floored to the lot: never more than was asked for."""
        return round_to_step(exact(quantity, "quantity"), self.lot, truncate=True)

    def to_json(self) -> dict[str, Any]:
        """Return the values as JSON types; Decimals as text."""
        out: dict[str, Any] = {}
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            out[name] = str(value) if isinstance(value, (Decimal, Contract)) else value
        out["unknown_filters"] = list(self.unknown_filters)
        return out

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Instrument:
        """Read what :meth:`to_json` wrote."""
        known = {k: v for k, v in values.items() if k in cls.__dataclass_fields__}
        known["contract"] = Contract(known["contract"])
        known["unknown_filters"] = tuple(known.get("unknown_filters", ()))
        return cls(**known)


def round_to_step(value: Decimal, step: Decimal, *, truncate: bool) -> Decimal:
    """Return `value` on a grid of `step`: cut off towards zero, or rounded with halves away from zero.

    This is how ccxt rounds with TICK_SIZE; its own vectors are the test.
    """
    mode = ROUND_DOWN if truncate else ROUND_HALF_UP
    return (value / step).to_integral_value(rounding=mode) * step
