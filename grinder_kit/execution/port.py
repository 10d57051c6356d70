"""ExchangePort: the seam to a venue. Simulated, paper and live venues have this shape, and so has everything wrapped around them.

Wrappers compose visibly: ``IdempotentPort(RetryingPort(EpochGate(venue)))``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol, TypeAlias

from grinder_kit.decision.routing import Amends
from grinder_kit.errors import SupersededError
from grinder_kit.model.event import FundingPaid, StreamLost, Tick
from grinder_kit.model.fill import Fill, Position
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.order import AmendRequest, CancelRequest, Order, OrderRequest, OrderResult


class Operation(StrEnum):
    """What is asked of a venue; request weights and latencies are kept by these names."""

    PLACE = "place"
    CANCEL = "cancel"
    AMEND = "amend"
    BATCH_PLACE = "batch_place"
    BATCH_CANCEL = "batch_cancel"
    BATCH_AMEND = "batch_amend"
    GET_ORDER = "get_order"
    GET_OPEN_ORDERS = "get_open_orders"
    GET_FILLS = "get_fills"
    GET_POSITIONS = "get_positions"
    GET_BALANCES = "get_balances"


class AmendRule(StrEnum):
    """What a venue lets an order become without losing its identity."""

    NONE = "none"
    REDUCE = "reduce"  # spot: a smaller quantity at the same price; the order keeps its place in the queue
    MODIFY = "modify"  # USD-M: price and quantity; the order joins the back of the queue


def amends_of(rule: AmendRule, max_amends: int = 10_000) -> Amends:
    """Return a venue's rule as routing reads it."""
    return Amends(rule is not AmendRule.NONE, rule is AmendRule.MODIFY, max_amends)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a venue can do for one market; read once, and never guessed from its name.

    Parameters
    ----------
    supports_batch_place, supports_batch_cancel, supports_batch_amend : bool
    max_batch_place, max_batch_cancel, max_batch_amend : int
        Most items of one request.
    amend : AmendRule
    max_amends : int
        Amends that one order may take.
    post_only, ioc, reduce_only, dead_man_cancel : bool
    receive_window_s : float
        A request that arrives later than this after it was sent is refused by the venue. Only after it does "no such order"
        mean that an unanswered request never arrived.
    weights : mapping of Operation to int
        Request weight of each operation; 1 where it is not listed.
    weight_limit, weight_window_s : int, float
        Weight that all requests together may have within any such window.
    """

    supports_batch_place: bool = False
    supports_batch_cancel: bool = False
    supports_batch_amend: bool = False
    max_batch_place: int = 5
    max_batch_cancel: int = 10
    max_batch_amend: int = 5
    amend: AmendRule = AmendRule.NONE
    max_amends: int = 10_000
    post_only: bool = True
    ioc: bool = True
    reduce_only: bool = False
    dead_man_cancel: bool = False
    receive_window_s: float = 5.0
    weights: Mapping[Operation, int] = field(default_factory=lambda: MappingProxyType({}))
    weight_limit: int = 2400
    weight_window_s: float = 60.0

    def weight(self, operation: Operation) -> int:
        """Return the request weight of one call."""
        return self.weights.get(operation, 1)

    @classmethod
    def of(cls, instrument: Instrument) -> Capabilities:
        """Return what Binance offers for spot, or for futures; simulated venues offer the same."""
        return SPOT if instrument.contract == "spot" else FUTURES


#: Binance spot: no batches, amends only to a smaller quantity (facts as of ccxt 4.5.90).
SPOT = Capabilities(
    amend=AmendRule.REDUCE,
    weights=MappingProxyType(
        {
            Operation.GET_ORDER: 4,
            Operation.GET_OPEN_ORDERS: 6,
            Operation.GET_FILLS: 20,
            Operation.GET_POSITIONS: 20,
            Operation.GET_BALANCES: 20,
        }
    ),
    weight_limit=6000,
)
#: Binance USD-M and COIN-M: batches of 5 and 10, executed without order and item by item; LIMIT orders can be modified.
FUTURES = Capabilities(
    supports_batch_place=True,
    supports_batch_cancel=True,
    supports_batch_amend=True,
    amend=AmendRule.MODIFY,
    reduce_only=True,
    dead_man_cancel=True,
    weights=MappingProxyType(
        {
            Operation.BATCH_PLACE: 5,
            Operation.BATCH_AMEND: 5,
            Operation.GET_FILLS: 5,
            Operation.GET_POSITIONS: 5,
            Operation.GET_BALANCES: 5,
        }
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """An asset of the account: `free` can be used, `total` includes what open orders hold."""

    asset: str
    free: Decimal
    total: Decimal


#: What a venue says of its own accord: an order as it now is, a trade of it, funding, or that something was missed.
AccountEvent: TypeAlias = Order | Fill | FundingPaid | StreamLost


class ExchangePort(Protocol):
    """What is asked of a venue.

    Orders and fills of every owner of the account pass; `Fill.order_id` is the client order id where the order has one. A call
    that fails raises one of VenueError: RateLimitError and ConnectivityError mean that nothing was done,
    OutcomeUnknownError that it may have been. Nothing here retries.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What the venue can do for this market."""
        ...

    async def place_order(self, request: OrderRequest) -> Order:
        """Place an order; return it as the venue knows it.

        Raises
        ------
        OrderRejectedError
            With a reason such as ``POST_ONLY_WOULD_TAKE`` or ``DUPLICATE_CLIENT_ID``.
        """
        ...

    async def cancel_order(self, request: CancelRequest) -> Order:
        """Withdraw an order; return it as it ended, with what it had filled.

        Raises
        ------
        OrderNotFoundError
            The venue knows no such open order: it may have filled.
        """
        ...

    async def amend_order(self, request: AmendRequest) -> Order:
        """Change price and quantity of a resting order; return it as it now is, which may be cancelled."""
        ...

    async def batch_place(self, requests: Sequence[OrderRequest]) -> list[OrderResult]:
        """Place several orders; one result per item, in the order of the requests. Items fail alone."""
        ...

    async def batch_cancel(self, requests: Sequence[CancelRequest]) -> list[OrderResult]:
        """Withdraw several orders; one result per item."""
        ...

    async def batch_amend(self, requests: Sequence[AmendRequest]) -> list[OrderResult]:
        """Amend several orders; one result per item."""
        ...

    async def get_order(
        self, symbol: str, *, client_order_id: str | None = None, order_id: str | None = None
    ) -> Order | None:
        """Return an order by either id, None where the venue knows no such order (yet)."""
        ...

    async def get_open_orders(self, symbol: str) -> tuple[Order, ...]:
        """Return every open order of the account."""
        ...

    async def get_fills(self, symbol: str, *, since_ns: int = 0, order_id: str | None = None) -> tuple[Fill, ...]:
        """Return the account's fills since a time, oldest first; of one order where its client order id is given."""
        ...

    async def get_positions(self) -> Mapping[str, Position]:
        """Return what is held, by symbol; a symbol that is not there is flat."""
        ...

    async def get_balances(self) -> Mapping[str, Balance]:
        """Return the account's assets."""
        ...

    def events(self) -> AsyncIterator[AccountEvent]:
        """Yield what happens to the account, as it is told; one reader."""
        ...


class MarketView(Protocol):
    """What the session sees of the market when it decides."""

    def tick(self, now_ns: int) -> Tick:
        """Return the best prices as known at a local time."""
        ...


class Epoch:
    """A number that only rises. Whoever stops a session raises it first; what was decided before is not sent any more."""

    def __init__(self, current: int = 0) -> None:
        self.current = current

    def raise_to(self, epoch: int) -> None:
        """Let nothing older than `epoch` pass."""
        self.current = max(self.current, epoch)


class EpochGate:
    """The last door before the venue: orders and amends of an older epoch do not pass, cancels and questions always do.

    It stands inside the retries, so that a request that waits for its next attempt while the session is stopped is not sent.

    Parameters
    ----------
    port : ExchangePort
    epoch : Epoch
        Read at every request.
    """

    def __init__(self, port: ExchangePort, epoch: Epoch) -> None:
        self._port = port
        self.epoch = epoch

    @property
    def capabilities(self) -> Capabilities:
        """What the venue behind can do."""
        return self._port.capabilities

    def _check(self, request: OrderRequest | AmendRequest) -> None:
        if request.epoch < self.epoch.current:
            raise SupersededError(
                f"{request.client_order_id} was decided in epoch {request.epoch} and the session is in epoch "
                f"{self.epoch.current}: it was not sent",
                request=request,
            )

    async def place_order(self, request: OrderRequest) -> Order:
        """Pass an order of this epoch."""
        self._check(request)
        return await self._port.place_order(request)

    async def cancel_order(self, request: CancelRequest) -> Order:
        """Pass."""
        return await self._port.cancel_order(request)

    async def amend_order(self, request: AmendRequest) -> Order:
        """Pass an amend of this epoch."""
        self._check(request)
        return await self._port.amend_order(request)

    async def batch_place(self, requests: Sequence[OrderRequest]) -> list[OrderResult]:
        """Pass orders of this epoch, all or none: a batch is decided at once."""
        for request in requests:
            self._check(request)
        return await self._port.batch_place(requests)

    async def batch_cancel(self, requests: Sequence[CancelRequest]) -> list[OrderResult]:
        """Pass."""
        return await self._port.batch_cancel(requests)

    async def batch_amend(self, requests: Sequence[AmendRequest]) -> list[OrderResult]:
        """Pass amends of this epoch, all or none."""
        for request in requests:
            self._check(request)
        return await self._port.batch_amend(requests)

    async def get_order(
        self, symbol: str, *, client_order_id: str | None = None, order_id: str | None = None
    ) -> Order | None:
        """Pass."""
        return await self._port.get_order(symbol, client_order_id=client_order_id, order_id=order_id)

    async def get_open_orders(self, symbol: str) -> tuple[Order, ...]:
        """Pass."""
        return await self._port.get_open_orders(symbol)

    async def get_fills(self, symbol: str, *, since_ns: int = 0, order_id: str | None = None) -> tuple[Fill, ...]:
        """Pass."""
        return await self._port.get_fills(symbol, since_ns=since_ns, order_id=order_id)

    async def get_positions(self) -> Mapping[str, Position]:
        """Pass."""
        return await self._port.get_positions()

    async def get_balances(self) -> Mapping[str, Balance]:
        """Pass."""
        return await self._port.get_balances()

    def events(self) -> AsyncIterator[AccountEvent]:
        """Pass."""
        return self._port.events()
