"""What the engine takes and gives: events in, commands out, over whole ticks and lots.

Venue adapters and the simulator translate to and from Decimal with the Instrument; the engine never sees a float price.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import TypeAlias

from grinder_kit.model.market import Features
from grinder_kit.model.order import OrderState, OrderType, Side


class RunState(StrEnum):
    """State of a session; only RUNNING may add orders."""

    RUNNING = "RUNNING"
    PAUSED = "PAUSED"  # own orders are withdrawn, the position is kept
    STOPPED = "STOPPED"  # cancels only
    KILLED = "KILLED"  # cancels only


# --- events ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A time to decide: the local book's best prices (None: no such side), whether the data can be trusted, features."""

    bid_ticks: int | None
    ask_ticks: int | None
    stale: bool = False
    features: Features | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderUpdate:
    """An own order changed: `state` as the venue says; fills come as :class:`OrderFilled`."""

    client_order_id: str
    state: OrderState
    ts_ns: int
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRejected:
    """The venue did not find the order to be cancelled: look at its fills, or look it up."""

    client_order_id: str
    ts_ns: int
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFilled:
    """An own order traded; `trade_id` is unique per fill, `commission` positive when paid."""

    client_order_id: str
    trade_id: str
    price_ticks: int
    quantity_lots: int
    commission: Decimal
    commission_asset: str
    ts_ns: int
    is_maker: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingPaid:
    """Funding of the position: `amount` in the settlement asset, positive when received."""

    ts_ns: int
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class SetState:
    """The operator, or a gate, changes the state of the session."""

    state: RunState
    reason: str = ""


Event: TypeAlias = Tick | OrderUpdate | CancelRejected | OrderFilled | FundingPaid | SetState


# --- commands ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Send a new order."""

    client_order_id: str
    level_id: str
    side: Side
    price_ticks: int
    quantity_lots: int
    type: OrderType = OrderType.POST_ONLY


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Withdraw an order."""

    client_order_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Amend:
    """Change price and quantity of a resting order."""

    client_order_id: str
    price_ticks: int
    quantity_lots: int


Command: TypeAlias = Place | Cancel | Amend
