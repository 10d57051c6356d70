"""Orders: side, type, the life of an order as one table, and what is asked of a venue and answered by it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType


class Side(StrEnum):
    """Direction of an order."""

    BUY = "BUY"
    SELL = "SELL"

    @property
    def sign(self) -> int:
        """+1 for a buy, -1 for a sell: what a fill adds to the position."""
        return 1 if self is Side.BUY else -1

    @property
    def opposite(self) -> Side:
        """The other side."""
        return Side.SELL if self is Side.BUY else Side.BUY

    @property
    def letter(self) -> str:
        """``B`` or ``S``, as it stands in client order ids and figures."""
        return self.value[0]


class OrderType(StrEnum):
    """How an order meets the market (SPEC 9.1; TWAP and iceberg are schedules of these)."""

    POST_ONLY = "POST_ONLY"  # maker limit: refused when it would take
    LIMIT = "LIMIT"  # takes what crosses, rests with the remainder
    IOC = "IOC"  # taker limit: takes what crosses, the remainder expires


class OrderState(StrEnum):
    """State of an order (SPEC 9.2; the literals are the specification's)."""

    PENDING = "PENDING"
    OPEN = "OPEN"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"

    @property
    def terminal(self) -> bool:
        """Whether nothing can happen to the order any more."""
        return not TRANSITIONS[self]

    def may_become(self, new: OrderState) -> bool:
        """Whether the transition table allows `new` after this state."""
        return new in TRANSITIONS[self]


_S = OrderState
#: The one transition table. A terminal state leads nowhere: a late event never revives an order.
#: PENDING may fill at once (an IOC, or an acknowledgement overtaken by its fill).
TRANSITIONS: MappingProxyType[OrderState, frozenset[OrderState]] = MappingProxyType(
    {
        _S.PENDING: frozenset(_S) - {_S.PENDING},
        _S.OPEN: frozenset({_S.PARTIALLY_FILLED, _S.FILLED, _S.CANCELLED, _S.EXPIRED}),
        _S.PARTIALLY_FILLED: frozenset({_S.PARTIALLY_FILLED, _S.FILLED, _S.CANCELLED, _S.EXPIRED}),
        _S.FILLED: frozenset(),
        _S.CANCELLED: frozenset(),
        _S.REJECTED: frozenset(),
        _S.EXPIRED: frozenset(),
    }
)


class InFlight(StrEnum):
    """A request under way for an order; a field of the order, not a state."""

    NEW = "NEW"
    AMEND = "AMEND"
    CANCEL = "CANCEL"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRequest:
    """An order to be placed; the client order id is fixed before the first attempt."""

    client_order_id: str
    level_id: str
    symbol: str
    side: Side
    price: Decimal
    quantity: Decimal
    type: OrderType = OrderType.POST_ONLY
    reduce_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order as it is known to us.

    `price` in quote, `quantity` and `filled_quantity` in base or contracts, times in ns UTC.
    """

    client_order_id: str
    level_id: str
    symbol: str
    side: Side
    price: Decimal
    quantity: Decimal
    type: OrderType = OrderType.POST_ONLY
    state: OrderState = OrderState.PENDING
    in_flight: InFlight | None = None
    filled_quantity: Decimal = Decimal(0)
    order_id: str | None = None
    created_ns: int = 0
    reduce_only: bool = False

    @property
    def remaining(self) -> Decimal:
        """Quantity that can still fill."""
        return self.quantity - self.filled_quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderResult:
    """Outcome of one request, tied to its level: the order as it now is, or the reason why not."""

    level_id: str
    client_order_id: str
    ok: bool
    order: Order | None = None
    reason: str | None = None
