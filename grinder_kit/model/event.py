"""What the engine takes and gives: events in, commands out, over whole ticks and lots.

Venue adapters and the simulator translate to and from Decimal with the Instrument; the engine never sees a float price.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import TypeAlias

from grinder_kit.model.market import Features
from grinder_kit.model.order import OrderState, OrderType, Side


class RunState(StrEnum):
    """State of a session; only RUNNING may add orders."""

    RUNNING = "RUNNING"
    PAUSED = "PAUSED"  # own orders are withdrawn, the position is kept
    FLATTENING = "FLATTENING"  # cancels, and orders that only reduce the position
    STOPPED = "STOPPED"  # cancels only
    KILLED = "KILLED"  # cancels only

    @property
    def final(self) -> bool:
        """Whether nothing leads back to trading."""
        return STATES_AFTER[self] == _OVER

    def may_become(self, new: RunState) -> bool:
        """Whether a session in this state may be put into `new`."""
        return new in STATES_AFTER[self]


_R = RunState
_OVER = frozenset({_R.STOPPED, _R.KILLED})
#: The one table of what may follow. A session that flattens is paused before it quotes again; the end is an end.
STATES_AFTER: MappingProxyType[RunState, frozenset[RunState]] = MappingProxyType(
    {
        _R.RUNNING: frozenset({_R.PAUSED, _R.FLATTENING}) | _OVER,
        _R.PAUSED: frozenset({_R.RUNNING, _R.FLATTENING}) | _OVER,
        _R.FLATTENING: frozenset({_R.PAUSED}) | _OVER,
        _R.STOPPED: _OVER,
        _R.KILLED: _OVER,
    }
)


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
    """An own order changed: `state` as the venue says; what it filled is booked by :class:`OrderFilled` alone.

    `filled_lots`, where the venue says it, is all that the order has filled: an end that reports more than was booked waits
    for the missing fills. `price_ticks` and `quantity_lots`, where given, are those of the order now.
    """

    client_order_id: str
    state: OrderState
    ts_ns: int
    reason: str = ""
    filled_lots: int | None = None
    price_ticks: int | None = None
    quantity_lots: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Amended:
    """An own order rests at a new price or with a new quantity."""

    client_order_id: str
    price_ticks: int
    quantity_lots: int
    ts_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AmendRejected:
    """The venue did not amend the order; it stands as it was, or has ended."""

    client_order_id: str
    ts_ns: int
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRejected:
    """The venue did not find the order to be cancelled: look at its fills, or look it up."""

    client_order_id: str
    ts_ns: int
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeUnknown:
    """Nobody knows what became of a request for this order, or what its state means: its level waits for a look-up.

    `raw` is what the venue said, where it said something that cannot be read.
    """

    client_order_id: str
    ts_ns: int
    reason: str = ""
    raw: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LookedUp:
    """What the venue says about one order when asked, after its fills were booked; `state` None: it knows no such order."""

    client_order_id: str
    ts_ns: int
    state: OrderState | None = None
    filled_lots: int = 0
    price_ticks: int | None = None
    quantity_lots: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLost:
    """The stream of own orders has a gap: nothing that adds risk is sent until :class:`Resynced`."""

    ts_ns: int
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restarted:
    """Another process has taken the session over: whoever waited for answers is gone, and every request is unknown."""

    ts_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Resynced:
    """Orders and fills agree with the venue again."""

    ts_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFilled:
    """An own order traded; `trade_id` is unique per fill, `commission` positive when paid.

    `commission_rate`, where it is known, is the settlement asset per unit of `commission_asset` at that time.
    """

    client_order_id: str
    trade_id: str
    price_ticks: int
    quantity_lots: int
    commission: Decimal
    commission_asset: str
    ts_ns: int
    is_maker: bool
    commission_rate: Decimal | None = None


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Flatten:
    """The operator has the position taken out by a schedule of decision/slicing.py; FLATTENING without one is at once.

    Everything that the schedule is built from, so that it can be built again: `total_lots` is what was held and `least_lots` the
    smallest order when it was asked for. `duration_ns` and `slices` make a TWAP, `shown_lots` an iceberg.
    """

    total_lots: int
    least_lots: int
    duration_ns: int | None = None
    slices: int | None = None
    shown_lots: int | None = None
    seed: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebased:
    """What the account holds beside the session's own fills: as first seen, or after a difference was taken for granted.

    `foreign` is signed, in base or contracts; on spot it is a balance.
    """

    foreign: Decimal
    ts_ns: int
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """Something was done about a difference between session and venue: `state` is the one that it led to."""

    state: RunState
    ts_ns: int
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Updated:
    """The session takes another configuration; `config` is the whole of it, in its canonical JSON."""

    config: str
    ts_ns: int


Event: TypeAlias = (
    Tick
    | OrderUpdate
    | Amended
    | AmendRejected
    | CancelRejected
    | OutcomeUnknown
    | LookedUp
    | OrderFilled
    | FundingPaid
    | StreamLost
    | Restarted
    | Resynced
    | SetState
    | Flatten
    | Rebased
    | Reconciled
    | Updated
)


# --- commands ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Send a new order; `policy` names what decided it."""

    client_order_id: str
    level_id: str
    side: Side
    price_ticks: int
    quantity_lots: int
    type: OrderType = OrderType.POST_ONLY
    reduce_only: bool = False
    epoch: int = 0
    reason: str = ""
    policy: str = "UNKNOWN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Withdraw an order."""

    client_order_id: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amend:
    """Change price and quantity of a resting order; `quantity_lots` is the whole order's, what has filled included."""

    client_order_id: str
    price_ticks: int
    quantity_lots: int
    epoch: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUp:
    """Ask the venue about an order and its fills; answered by :class:`OrderFilled` and then :class:`LookedUp`."""

    client_order_id: str
    reason: str = ""


Command: TypeAlias = Place | Cancel | Amend | LookUp
