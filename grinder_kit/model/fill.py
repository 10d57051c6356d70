"""What was traded: fills, round trips, positions."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from grinder_kit.model.order import Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One execution (SPEC 9.6).

    Parameters
    ----------
    fill_id : str
        The venue's trade id: a fill is booked once per id.
    order_id, symbol : str
    side : Side
    price : Decimal
        Quote per base.
    quantity : Decimal
        Base, or contracts for inverse instruments; above zero.
    commission : Decimal
        Positive when paid, negative when received (rebate), in `commission_asset`.
    commission_asset : str
        Any asset: that of the settlement, the base of a spot instrument, a third one.
    ts_ns : int
        Exchange time, ns UTC.
    is_maker : bool
    level_id : str
        Grid level of the order, empty when unknown.
    policy : str
        Name of what decided the order: a planner of the grid, or EXIT.
    commission_rate : Decimal, optional
        Settlement asset per unit of `commission_asset` when the fill was booked. None: 1 for the settlement asset, the price of
        the fill for the base of a spot instrument, unknown for any other.
    """

    fill_id: str
    order_id: str
    symbol: str
    side: Side
    price: Decimal
    quantity: Decimal
    commission: Decimal
    commission_asset: str
    ts_ns: int
    is_maker: bool
    level_id: str = ""
    policy: str = "UNKNOWN"
    commission_rate: Decimal | None = None

    @property
    def ts(self) -> int:
        """Exchange time in ms (SPEC 9.6)."""
        return self.ts_ns // 1_000_000


class PairingView(StrEnum):
    """Which entry an exit closes."""

    AVERAGE = "average"  # the exchange's: one open position at its average cost
    FIFO = "fifo"  # the oldest open lot first
    LEVEL = "level"  # the nearest open level on the profitable side; what cannot be paired at a profit stays open


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTrip:
    """An entry and the exit that closed it, both cut to the quantity they share (SPEC 9.6).

    `gross_pnl`, `commission` and `net_pnl` are in the instrument's settlement asset, and so are the commissions of both cut fills;
    what was paid in which asset stands in the fills themselves. `policy` is the entry's. `fees_known` is False where a fee was
    paid in an asset without a rate: `commission` and `net_pnl` do not hold it.
    """

    rt_id: str
    symbol: str
    entry_fill: Fill
    exit_fill: Fill
    gross_pnl: Decimal
    commission: Decimal
    net_pnl: Decimal
    policy: str
    view: PairingView = PairingView.FIFO
    fees_known: bool = True

    @property
    def quantity(self) -> Decimal:
        """Quantity that went in and out."""
        return self.exit_fill.quantity

    @property
    def hold_ns(self) -> int:
        """Time from entry to exit, ns; 0 where the venue's times say that the exit came first."""
        return max(0, self.exit_fill.ts_ns - self.entry_fill.ts_ns)

    @property
    def hold_time_ms(self) -> int:
        """Time from entry to exit in ms (SPEC 9.6)."""
        return self.hold_ns // 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Signed quantity held, with the average price of its entries (None when flat).

    `ts_ns` is when it was so, by the venue's clock; None where the venue does not say.
    """

    symbol: str
    quantity: Decimal
    entry_price: Decimal | None = None
    ts_ns: int | None = None


class SyncAction(StrEnum):
    """What is to be done about a difference of a position (SPEC 9.7)."""

    RECONCILE = "RECONCILE"
    IGNORE = "IGNORE"  # below a threshold; it is not forgotten, and counts in full once it has grown


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionDiff:
    """Difference between what we believe and what the venue says (SPEC 9.7): ``diff = exchange_qty - local_qty``.

    `notional` is its value in quote, None where no price is known.
    """

    symbol: str
    local_qty: Decimal
    exchange_qty: Decimal
    diff: Decimal
    action: SyncAction
    notional: Decimal | None = None
