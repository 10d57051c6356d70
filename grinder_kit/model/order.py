"""Orders: side, type, the life of an order as one table, and what is asked of a venue and answered by it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType

from grinder_kit.errors import ConfigError, InvalidRequestError
from grinder_kit.model.number import exact


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
    """An order to be placed; the client order id is fixed before the first attempt.

    Parameters
    ----------
    client_order_id : str
        1 to 36 of ``A-Z a-z 0-9 _ -``.
    level_id, symbol : str
    side : Side
    price, quantity : Decimal
        Quote, and base or contracts; above zero. Text and whole numbers are taken too, floats are refused.
    type : OrderType
    reduce_only : bool
        May only make the position smaller.
    epoch : int
        Epoch of the session in which this was decided; the port refuses an older one.

    Raises
    ------
    InvalidRequestError
        For a value that must not be sent; it carries the request.
    """

    client_order_id: str
    level_id: str
    symbol: str
    side: Side
    price: Decimal
    quantity: Decimal
    type: OrderType = OrderType.POST_ONLY
    reduce_only: bool = False
    epoch: int = 0

    def __post_init__(self) -> None:
        _check_id(self)
        _make_exact(self, ("price", "quantity"))


@dataclass(frozen=True, slots=True, kw_only=True)
class AmendRequest:
    """A resting order to be moved: `quantity` is the whole order's, what has filled included.

    Raises
    ------
    InvalidRequestError
        As :class:`OrderRequest`.
    """

    client_order_id: str
    level_id: str
    symbol: str
    side: Side
    price: Decimal
    quantity: Decimal
    order_id: str | None = None
    epoch: int = 0

    def __post_init__(self) -> None:
        _check_id(self)
        _make_exact(self, ("price", "quantity"))


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequest:
    """An order to be withdrawn; venues want the symbol beside the id."""

    client_order_id: str
    symbol: str
    level_id: str = ""
    order_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order as it is known to us.

    `price` in quote, `quantity` and `filled_quantity` in base or contracts, times in ns UTC. A status that cannot be read
    leaves `state` as it was, `in_flight` UNKNOWN, and the venue's words in `raw`.
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
    updated_ns: int = 0
    reduce_only: bool = False
    raw: str = ""

    @property
    def remaining(self) -> Decimal:
        """Quantity that can still fill."""
        return self.quantity - self.filled_quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderResult:
    """Outcome of one request, tied to its level: the order as it now is, or the reason why not.

    `reason` is a code (``POST_ONLY_WOULD_TAKE``, ``OUTCOME_UNKNOWN``, ``OFF_PLAN``), `detail` says it in words, `action` is what
    was asked for (``PLACE``, ``AMEND``, ``CANCEL``, ``NOOP``, ``BLOCK``).
    """

    level_id: str
    client_order_id: str
    ok: bool
    order: Order | None = None
    reason: str | None = None
    detail: str = ""
    action: str = ""

    @property
    def unknown(self) -> bool:
        """Whether nobody knows what the venue did."""
        return self.reason == OUTCOME_UNKNOWN


OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"

_ID = re.compile(r"[A-Za-z0-9_-]{1,36}")


def _check_id(request: OrderRequest | AmendRequest) -> None:
    if not isinstance(request.client_order_id, str) or not _ID.fullmatch(request.client_order_id):
        raise InvalidRequestError(
            f"client order id {request.client_order_id!r} of level {request.level_id!r} would be refused: "
            "write 1 to 36 of A-Z, a-z, 0-9, _ and -",
            request=request,
        )


def _make_exact(request: OrderRequest | AmendRequest, names: tuple[str, ...]) -> None:
    for name in names:
        try:
            value = exact(getattr(request, name), name)
        except ConfigError as error:
            raise InvalidRequestError(f"{request.client_order_id}: {error}", request=request) from error
        if value <= 0:
            raise InvalidRequestError(
                f"{request.client_order_id}: {name} is {value}; it must be above zero", request=request
            )
        object.__setattr__(request, name, value)
