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
    ts_ns : int
        Exchange time, ns UTC.
    is_maker : bool
    level_id : str
        Grid level of the order, empty when unknown.
    policy : str
        Name of what decided the order.
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

    `gross_pnl`, `commission` and `net_pnl` are in the instrument's settlement asset.
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

    @property
    def quantity(self) -> Decimal:
        """Quantity that went in and out."""
        return self.exit_fill.quantity

    @property
    def hold_ns(self) -> int:
        """Time from entry to exit, ns."""
        return self.exit_fill.ts_ns - self.entry_fill.ts_ns

    @property
    def hold_time_ms(self) -> int:
        """Time from entry to exit in ms (SPEC 9.6)."""
        return self.hold_ns // 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Signed quantity held, with the average price of its entries (None when flat)."""

    symbol: str
    quantity: Decimal
    entry_price: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionDiff:
    """Difference between what we believe and what the venue says (SPEC 9.7)."""

    symbol: str
    local_qty: Decimal
    exchange_qty: Decimal
    diff: Decimal
    action: str
