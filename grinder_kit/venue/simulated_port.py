"""Our side of a simulated venue: requests and answers that travel, a stream of events, request weight, and time.

What the exchange knows (exchange_side.py) answers questions. What we have been told comes a response latency later, as account
events and answers. Where the market comes from is a matter of the source: played (simulated.py), or heard (paper.py).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from types import TracebackType
from typing import Any, Protocol, Self

from grinder_kit.errors import DataError, OrderRejectedError, RateLimitError, VenueError
from grinder_kit.execution.clock import Clock
from grinder_kit.execution.outcome import result_of
from grinder_kit.execution.port import AccountEvent, Balance, Capabilities, Operation
from grinder_kit.model.event import Tick
from grinder_kit.model.fill import Fill, Position
from grinder_kit.model.order import AmendRequest, CancelRequest, Order, OrderRequest, OrderResult, OrderState
from grinder_kit.venue.exchange_side import ExchangeSide, Told

LOOK_NS = 1_000_000_000  # time between two looks at a market in which nothing is due
_Request = OrderRequest | CancelRequest | AmendRequest
_Sent = asyncio.Future[Order] | OrderRejectedError


class Source(Protocol):
    """Where a simulated venue's market comes from: it moves the exchange's time as far as the market is known."""

    @property
    def speed(self) -> float:
        """How fast the clock runs against the event loop."""
        ...

    @property
    def known_ns(self) -> int:
        """Time up to which the exchange has run."""
        ...

    def begin(self, wake: Callable[[], None]) -> Clock:
        """Begin on the running loop; call `wake` when there is more of the market. Return the venue's clock."""
        ...

    async def end(self) -> None:
        """Let go of the market."""
        ...

    def play(self, now_ns: int) -> Iterator[Told]:
        """Let the exchange run up to now, and yield what is told by then."""
        ...

    def wake_ns(self, now_ns: int, waiting_ns: int | None) -> int:
        """Return when to play again at the latest; somebody may wait for the exchange to be known up to `waiting_ns`."""
        ...

    def tick(self, now_ns: int, *, with_features: bool) -> Tick:
        """Return the best prices as the feed shows them."""
        ...


def look(side: ExchangeSide, now_ns: int, *, with_features: bool) -> Tick:
    """Return the best prices as our side sees them at a local time."""
    bid, ask = side.eyes.best
    features = side.eyes.features(now_ns, side.instrument) if with_features else None
    return Tick(bid_ticks=bid, ask_ticks=ask, stale=side.eyes.stale(now_ns), features=features)


class SimulatedPort:
    """An ExchangePort and MarketView whose orders the kernel fills.

    Parameters
    ----------
    side : ExchangeSide
    source : Source
    with_features : bool
        Whether ticks carry features.
    enforce_weight : bool
        Whether requests beyond the weight limit are refused, as a real venue does.

    Attributes
    ----------
    clock : Clock
        The venue's time, from :meth:`__aenter__` on.
    """

    def __init__(
        self, side: ExchangeSide, source: Source, *, with_features: bool = False, enforce_weight: bool = False
    ) -> None:
        self.instrument = side.instrument
        self.max_weight_used = self._weight = 0
        self._side, self._source = side, source
        self._with_features = with_features
        self._enforce_weight = enforce_weight
        self._weights: deque[tuple[int, int]] = deque()
        self._waiting: dict[int, deque[asyncio.Future[Order]]] = {}
        self._questions: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._stream: asyncio.Queue[AccountEvent | DataError] = asyncio.Queue()
        self._timer: asyncio.TimerHandle | None = None
        self._failure: DataError | None = None

    # --- time --------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Begin on the running loop."""
        self.clock = self._source.begin(self._wake)
        self._now = self.clock.now_ns()
        self._advance()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop; orders stay as they are."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        await self._source.end()

    def _advance(self) -> None:
        """Let the exchange run up to now, and tell what is due; once that has failed, everybody hears of it."""
        if self._failure is None:
            try:
                self._play()
            except Exception as error:
                self._fail(error)
        if self._failure is not None:
            raise self._failure

    def _play(self) -> None:
        now = max(self._now, self.clock.now_ns())
        for told in self._source.play(now):
            self._tell(told)
        self._now = now
        while self._questions and self._questions[0][0] <= self._source.known_ns:
            _settle(self._questions.popleft()[1], None)
        self._set_timer()

    def _fail(self, error: Exception) -> None:
        self._failure = DataError(f"the venue has stopped: {error}")
        self._failure.__cause__ = error
        self._stream.put_nowait(self._failure)
        for waiting in self._waiting.values():
            for future in waiting:
                _settle(future, self._failure)
        for _, question in self._questions:
            _settle(question, self._failure)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        at = self._source.wake_ns(self._now, self._questions[0][0] if self._questions else None)
        delay_s = max(0, at - self._now) / 1e9 / self._source.speed
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._wake)

    def _wake(self) -> None:
        with suppress(DataError):  # whoever waits has been told
            self._advance()

    def _tell(self, told: Told) -> None:
        if told.event is not None:
            self._stream.put_nowait(told.event)
        if told.answer is None or not self._waiting.get(told.number):
            return
        future = self._waiting[told.number].popleft()
        if not self._waiting[told.number]:
            del self._waiting[told.number]
        _settle(future, told.answer)

    def tick(self, now_ns: int) -> Tick:
        """Return the best prices as the feed shows them now (MarketView)."""
        self._advance()
        return self._source.tick(now_ns, with_features=self._with_features)

    # --- request weight ----------------------------------------------------------------------------------------------

    @property
    def capabilities(self) -> Capabilities:
        """What this venue can do."""
        return self._side.capabilities

    @property
    def weight_used(self) -> int:
        """Request weight of the last window."""
        since = self.clock.monotonic_ns() - round(self.capabilities.weight_window_s * 1e9)
        while self._weights and self._weights[0][0] <= since:
            self._weight -= self._weights.popleft()[1]
        return self._weight

    def _charge(self, operation: Operation) -> None:
        can, now = self.capabilities, self.clock.monotonic_ns()
        weight, window = can.weight(operation), round(can.weight_window_s * 1e9)
        if self._enforce_weight and self.weight_used + weight > can.weight_limit:
            wait = (self._weights[0][0] + window - now) / 1e9 if self._weights else can.weight_window_s
            raise RateLimitError("too much request weight", retry_after=wait)
        self._weights.append((now, weight))
        self._weight += weight
        self.max_weight_used = max(self.max_weight_used, self.weight_used)

    # --- orders ------------------------------------------------------------------------------------------------------

    def _send(self, request: _Request) -> _Sent:
        """Send a request on its way; return the answer to come, or why it is refused."""
        self._advance()
        match request:
            case OrderRequest():
                sent = self._side.place(request, self._now)
            case CancelRequest():
                sent = self._side.cancel(request, self._now)
            case AmendRequest():
                sent = self._side.amend(request, self._now)
        if not isinstance(sent, int):
            return sent
        future: asyncio.Future[Order] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(sent, deque()).append(future)
        self._set_timer()
        return future

    async def _answer(self, sent: _Sent, request: _Request) -> Order:
        if isinstance(sent, OrderRejectedError):
            await self._travel(self._side.options.entry_ns[0])
            await self._travel(self._side.options.response_ns[0])
            raise sent
        try:
            return await sent
        except VenueError as error:
            error.request = request
            raise

    async def place_order(self, request: OrderRequest) -> Order:
        """Place an order (ExchangePort)."""
        self._charge(Operation.PLACE)
        return await self._answer(self._send(request), request)

    async def cancel_order(self, request: CancelRequest) -> Order:
        """Withdraw an order (ExchangePort)."""
        self._charge(Operation.CANCEL)
        return await self._answer(self._send(request), request)

    async def amend_order(self, request: AmendRequest) -> Order:
        """Amend an order (ExchangePort)."""
        self._charge(Operation.AMEND)
        return await self._answer(self._send(request), request)

    async def batch_place(self, requests: Sequence[OrderRequest]) -> list[OrderResult]:
        """Place several orders in one request (ExchangePort)."""
        can = self.capabilities
        self._check_batch(requests, Operation.BATCH_PLACE, can.supports_batch_place, can.max_batch_place)
        return await self._each(requests, "PLACE")

    async def batch_cancel(self, requests: Sequence[CancelRequest]) -> list[OrderResult]:
        """Withdraw several orders in one request (ExchangePort)."""
        can = self.capabilities
        self._check_batch(requests, Operation.BATCH_CANCEL, can.supports_batch_cancel, can.max_batch_cancel)
        return await self._each(requests, "CANCEL")

    async def batch_amend(self, requests: Sequence[AmendRequest]) -> list[OrderResult]:
        """Amend several orders in one request (ExchangePort)."""
        can = self.capabilities
        self._check_batch(requests, Operation.BATCH_AMEND, can.supports_batch_amend, can.max_batch_amend)
        return await self._each(requests, "AMEND")

    def _check_batch(self, requests: Sequence[object], operation: Operation, supported: bool, most: int) -> None:
        self._charge(operation)
        if not supported:
            raise OrderRejectedError(f"this venue has no {operation}", reason="NOT_SUPPORTED", request=requests)
        if len(requests) > most:
            words = f"{operation} of {len(requests)} items; at most {most} go in one request"
            raise OrderRejectedError(words, reason="TOO_MANY_ITEMS", request=requests)

    async def _each(self, requests: Sequence[_Request], action: str) -> list[OrderResult]:
        sent = [(request, self._send(request)) for request in requests]
        outcomes = await asyncio.gather(
            *(self._answer(answer, request) for request, answer in sent), return_exceptions=True
        )
        results: list[OrderResult] = []
        for request, outcome in zip(requests, outcomes, strict=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, VenueError):
                raise outcome
            results.append(result_of(request, outcome, action))
        return results

    # --- questions ---------------------------------------------------------------------------------------------------

    async def _travel(self, latency_ns: int) -> None:
        await self.clock.sleep(latency_ns / 1e9)
        self._advance()

    async def _arrive(self) -> int:
        """Let a question reach the exchange, and the exchange be known up to then; return when it did, ns."""
        await self._travel(self._side.options.entry_ns[0])
        arrived = self._now
        if self._source.known_ns < arrived:
            known: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._questions.append((arrived, known))
            self._set_timer()
            await known
        return arrived

    async def _return(self, arrived_ns: int) -> None:
        """Let the answer come back."""
        await self._travel(max(0, arrived_ns + self._side.options.response_ns[0] - self._now))

    async def _arrive_for(self, symbol: str) -> int:
        arrived = await self._arrive()
        if (refusal := self._side.unknown_symbol(symbol)) is not None:
            await self._return(arrived)
            raise refusal
        return arrived

    async def get_order(
        self, symbol: str, *, client_order_id: str | None = None, order_id: str | None = None
    ) -> Order | None:
        """Return an order as the exchange knows it (ExchangePort)."""
        self._charge(Operation.GET_ORDER)
        arrived = await self._arrive_for(symbol)
        number = self._side.number_of(client_order_id, order_id)
        order = None if number is None else self._side.orders[number]
        if order is not None and order.state is OrderState.PENDING:
            order = None  # it has not arrived
        await self._return(arrived)
        return order

    async def get_open_orders(self, symbol: str) -> tuple[Order, ...]:
        """Return every open order of the account (ExchangePort)."""
        self._charge(Operation.GET_OPEN_ORDERS)
        arrived = await self._arrive_for(symbol)
        orders = tuple(self._side.resting())
        await self._return(arrived)
        return orders

    async def get_fills(self, symbol: str, *, since_ns: int = 0, order_id: str | None = None) -> tuple[Fill, ...]:
        """Return the account's fills (ExchangePort)."""
        self._charge(Operation.GET_FILLS)
        arrived = await self._arrive_for(symbol)
        fills = tuple(fill for fill in self.fills if fill.ts_ns >= since_ns and order_id in (None, fill.order_id))
        await self._return(arrived)
        return fills

    async def get_positions(self) -> Mapping[str, Position]:
        """Return what is held by symbol; on spot what the session's trades have added (ExchangePort)."""
        self._charge(Operation.GET_POSITIONS)
        arrived = await self._arrive()
        held, symbol = self.position, self.instrument.symbol
        await self._return(arrived)
        return {symbol: Position(symbol=symbol, quantity=held)} if held else {}

    async def get_balances(self) -> Mapping[str, Balance]:
        """Return the account's assets (ExchangePort)."""
        self._charge(Operation.GET_BALANCES)
        arrived = await self._arrive()
        balances = self._side.balances()
        await self._return(arrived)
        return balances

    async def events(self) -> AsyncIterator[AccountEvent]:
        """Yield what happens to the account, a response latency after it did (ExchangePort).

        Raises
        ------
        DataError
            When the market cannot be played on.
        """
        while True:
            event = await self._stream.get()
            if isinstance(event, DataError):
                raise event
            yield event

    # --- for whoever watches -----------------------------------------------------------------------------------------

    def queue_ahead(self, client_order_id: str) -> Decimal | None:
        """Return the quantity ahead of a resting order at the exchange, None where it does not rest."""
        return self._side.queue_ahead(client_order_id)

    @property
    def orders(self) -> tuple[Order, ...]:
        """Every order that the exchange still remembers, as it knows it."""
        return tuple(self._side.orders.values())

    @property
    def fills(self) -> Sequence[Fill]:
        """Every fill of the account."""
        return self._side.tracker.fills

    @property
    def gained(self) -> Decimal:
        """What fills, commission and funding have changed in the balance of a futures account, in the settlement asset."""
        return self._side.gained

    @property
    def position(self) -> Decimal:
        """What is held."""
        return self._side.tracker.inventory


def _settle(future: asyncio.Future[Any], outcome: Any) -> None:
    """Answer whoever still waits, with a value or an exception."""
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
