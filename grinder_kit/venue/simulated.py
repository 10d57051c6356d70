"""SimulatedVenue: the kernel behind the port. The same latency, queue and fees as a replay, with the life of a real venue around it.

It keeps two truths apart. What the exchange knows is folded from the kernel's responses the moment they are made, and is what
questions are answered from. What we have been told comes a response latency later, as account events and answers.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from grinder_kit.decision.constraints import Constraints
from grinder_kit.decision.reason import Reason
from grinder_kit.errors import (
    ConfigError,
    DataError,
    OrderNotFoundError,
    OrderRejectedError,
    RateLimitError,
    VenueError,
)
from grinder_kit.execution.clock import LoopClock
from grinder_kit.execution.fees import Fees, funding_amount
from grinder_kit.execution.fill_tracker import FillTracker
from grinder_kit.execution.outcome import result_of
from grinder_kit.execution.port import AccountEvent, Balance, Capabilities, Operation
from grinder_kit.kernel import exchange as ex
from grinder_kit.kernel.feed import Slice, slices
from grinder_kit.kernel.options import kernel_options
from grinder_kit.kernel.simulator import Simulator
from grinder_kit.model.config import ExecutionConfig
from grinder_kit.model.event import FundingPaid, Tick
from grinder_kit.model.fill import Fill, Position
from grinder_kit.model.instrument import Contract
from grinder_kit.model.order import (
    AmendRequest,
    CancelRequest,
    Order,
    OrderRequest,
    OrderResult,
    OrderState,
    OrderType,
    Side,
)
from grinder_kit.model.section import did_you_mean

if TYPE_CHECKING:
    from grinder_kit.market.source import Market

#: What an observer is told of the exchange's side: OPENED, AMENDED, FILLED or ENDED, the order as it now is, and when (ns).
Watch = Callable[[str, Order, int], None]
ENDED_KEPT = 10_000
_KINDS = {OrderType.POST_ONLY: ex.POST_ONLY, OrderType.LIMIT: ex.LIMIT, OrderType.IOC: ex.IOC}


@dataclass(frozen=True, slots=True)
class _Told:
    """A response as it will be told: the event, and the answer to whoever waits for one."""

    event: AccountEvent | None
    answer: Order | VenueError | None
    number: int
    funding: list[int] | None = None  # paid at the mid that is known when it is told, for want of a mark price


class SimulatedVenue:
    """A venue that plays a market and fills orders with the kernel.

    Parameters
    ----------
    market : Market
        A recording, or a synthetic market.
    execution : ExecutionConfig, optional
        Queue, latency and fees.
    capabilities : Capabilities, optional
        By default those of Binance for the instrument's kind of market.
    balances : mapping of str to Decimal, optional
        Assets at the start; by default a million of the quote (or settlement) asset and, on spot, a thousand of the base.
    speed : float
        1 plays in real time, 60 a minute a second. Under `run_stepped` time does not wait at all.
    with_features : bool
        Whether ticks carry features.
    enforce_weight : bool
        Whether requests beyond the weight limit are refused, as a real venue does.
    watch : callable, optional
        Told of every change at the exchange as it happens.

    Examples
    --------
    >>> async with SimulatedVenue(market) as venue:  # doctest: +SKIP
    ...     order = await venue.place_order(request)
    """

    def __init__(
        self,
        market: Market,
        *,
        execution: ExecutionConfig | None = None,
        capabilities: Capabilities | None = None,
        balances: Mapping[str, Decimal] | None = None,
        speed: float = 1.0,
        with_features: bool = False,
        enforce_weight: bool = False,
        watch: Watch | None = None,
    ) -> None:
        self.market = market
        self.instrument = market.instrument
        self.speed = speed
        self.watch = watch
        self._execution = execution or ExecutionConfig()
        self._capabilities = capabilities or Capabilities.of(self.instrument)
        self._with_features = with_features
        self._enforce_weight = enforce_weight
        self._constraints = Constraints.of(self.instrument)
        self._options = kernel_options(self._execution, amend=self._capabilities.amend)
        self._fees = Fees(self.instrument, self._execution)
        spot = {self.instrument.base: Decimal(1000)} if self.instrument.contract is Contract.SPOT else {}
        self._start = dict({self.instrument.settle: Decimal(10**6), **spot} if balances is None else balances)
        self._orders: dict[int, Order] = {}  # by the kernel's number: as the exchange knows them
        self._numbers: dict[str, int] = {}  # client order id to the number that last had it
        self._ended: deque[int] = deque()
        self._amends: Counter[int] = Counter()
        self._tracker = FillTracker(self.instrument)
        self._waiting: dict[int, deque[asyncio.Future[Order]]] = {}
        self._told: deque[_Told] = deque()  # made by the exchange, not delivered yet
        self._stream: asyncio.Queue[AccountEvent | DataError] = asyncio.Queue()
        self._delivered = self._folded = self._last_number = 0
        self._weights: deque[tuple[int, int]] = deque()
        self.max_weight_used = self._weight = 0
        self._timer: asyncio.TimerHandle | None = None
        self._failure: DataError | None = None

    # --- time --------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Begin to play on the running loop."""
        funding = self.market.funding().sort("ts_ns")
        marks = np.stack((funding["ts_ns"].to_numpy(), funding["mark"].fill_null(0).to_numpy())).astype(np.int64)
        self._rates = [Decimal(repr(rate)) for rate in funding["rate"].to_list()]
        self._simulator = Simulator(self._options, np.ascontiguousarray(marks))
        self._stretches = slices(self.market, self._options.feed)
        self._stretch: Slice = self._next_stretch()
        while len(self._stretch.exchange.ts) == 0:
            if self._stretch.final:
                raise DataError("the market has no events; import it again, or choose another window")
            self._simulator.run(self._stretch.until_ns)
            self._stretch = self._next_stretch()
        self.start_ns = int(self._stretch.exchange.ts[0])
        self.clock = LoopClock(self.start_ns, speed=self.speed)
        self._now = self.start_ns
        self._advance()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop playing; orders stay as they are."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None

    def _next_stretch(self) -> Slice:
        stretch = next(self._stretches)
        self._simulator.load(stretch)
        return stretch

    @property
    def ended(self) -> bool:
        """Whether the market has been played to its end; orders can still be placed and cancelled, and nothing trades."""
        return self._stretch.final and not self._simulator.more

    def _advance(self) -> None:
        """Let the exchange run up to now, and tell what is due; once that has failed, everybody hears of it."""
        if self._failure is None:
            try:
                self._play()
            except Exception as error:
                self._fail(error)
        if self._failure is not None:
            raise self._failure

    def _fail(self, error: Exception) -> None:
        self._failure = DataError(f"the venue has stopped: {error}")
        self._failure.__cause__ = error
        self._stream.put_nowait(self._failure)
        for waiting in self._waiting.values():
            for future in waiting:
                if not future.done():
                    future.set_exception(self._failure)

    def _play(self) -> None:
        until = max(self._now, self.clock.now_ns())
        while True:
            limit = until if self._stretch.final else min(until, self._stretch.until_ns)
            reached, responses = self._simulator.run(limit)
            self._fold(responses)
            for _ in range(len(responses)):
                self._tell(self._told.popleft())
            self._delivered += len(responses)
            if len(responses) or reached < limit:
                continue
            if reached >= until:
                break
            self._stretch = self._next_stretch()
        self._now = until
        self._set_timer()

    def _set_timer(self) -> None:
        """Wake up when the next answer or funding is due, the next command arrives, or a resting order may have filled."""
        if self._timer is not None:
            self._timer.cancel()
        due = [self._now + 1_000_000_000]
        under_way = self._simulator.under_way()
        if len(under_way):
            due.append(int(under_way[0, ex.R_SEEN]))
        due += [at for at in (self._simulator.next_arrival_ns, self._simulator.next_funding_ns) if at is not None]
        if self._simulator.exchange.head[ex.RESTING]:
            # A fill is found before it is due, as long as nobody looks away for longer than an answer takes.
            due.append(self._now + max(1_000_000, min(self._options.response_ns)))
        delay = max(0, min(due) - self._now) / 1e9 / self.speed
        self._timer = asyncio.get_running_loop().call_later(delay, self._wake)

    def _wake(self) -> None:
        with suppress(DataError):  # whoever waits has been told
            self._advance()

    def tick(self, now_ns: int) -> Tick:
        """Return the best prices as the feed shows them now (MarketView)."""
        self._advance()
        bid, ask = self._simulator.best
        features = self._simulator.features(now_ns, self.instrument) if self._with_features else None
        return Tick(bid_ticks=bid, ask_ticks=ask, stale=self._simulator.stale(now_ns), features=features)

    # --- from the kernel ---------------------------------------------------------------------------------------------

    def _fold(self, delivered: ex.Ints) -> None:
        """Take the responses that the exchange has made since the last look into its own books."""
        known = np.concatenate((delivered, self._simulator.under_way()))
        for response in known[self._folded - self._delivered :].tolist():
            self._told.append(self._made(response))
        self._folded = self._delivered + len(known)

    def _made(self, response: list[int]) -> _Told:
        what, ts, number = response[ex.R_TYPE], response[ex.R_TS], response[ex.R_ID]
        if what == ex.FUNDING:
            known = response[ex.R_TICK] > 0
            return _Told(self._funding(response) if known else None, None, 0, None if known else response)
        order = self._orders[number]
        if what in (ex.CANCEL_REJECTED, ex.AMEND_REJECTED):
            words = f"{order.client_order_id}: no such open order"
            if what == ex.AMEND_REJECTED and not order.state.terminal:
                return _Told(
                    None,
                    OrderRejectedError(f"{order.client_order_id}: cannot be amended so", reason="NOT_AMENDED"),
                    number,
                )
            return _Told(None, OrderNotFoundError(words), number)
        if what == ex.FILLED:
            return _Told(self._fill(order, number, response), None, number)
        if what == ex.AMENDED:
            price, quantity = self.instrument.price(response[ex.R_TICK]), self.instrument.quantity(response[ex.R_LOTS])
            order = replace(order, price=price, quantity=quantity)
            self._amends[number] += 1
            return self._changed(order, number, ts, "AMENDED")
        state = {
            ex.ACCEPTED: OrderState.OPEN,
            ex.REJECTED: OrderState.REJECTED,
            ex.CANCELLED: OrderState.CANCELLED,
            ex.EXPIRED: OrderState.EXPIRED,
        }[what]
        told = self._changed(
            replace(order, state=state),
            number,
            ts,
            "OPENED" if what == ex.ACCEPTED else "ENDED",
            answers=what != ex.EXPIRED,
        )
        if what == ex.REJECTED:
            error = OrderRejectedError(
                f"{order.client_order_id}: post-only, and would take", reason="POST_ONLY_WOULD_TAKE"
            )
            return _Told(None, error, number)
        return told

    def _changed(self, order: Order, number: int, ts: int, what: str, *, answers: bool = True) -> _Told:
        order = replace(order, updated_ns=ts)
        self._orders[number] = order
        if order.state.terminal:
            self._ended.append(number)
            if len(self._ended) > ENDED_KEPT:
                oldest = self._ended.popleft()
                gone = self._orders.pop(oldest)
                self._amends.pop(oldest, None)
                if self._numbers.get(gone.client_order_id) == oldest:  # and no later order has its id
                    del self._numbers[gone.client_order_id]
        if self.watch is not None:
            self.watch(what, order, ts)
        return _Told(order, order if answers else None, number)

    def _fill(self, order: Order, number: int, response: list[int]) -> Fill:
        ticks, lots, maker = response[ex.R_TICK], response[ex.R_LOTS], bool(response[ex.R_MAKER])
        ts, quantity = response[ex.R_TS], self.instrument.quantity(lots)
        fill = Fill(
            fill_id=str(len(self._tracker.fills) + 1),
            order_id=order.client_order_id,
            symbol=self.instrument.symbol,
            side=order.side,
            price=self.instrument.price(ticks),
            quantity=quantity,
            commission=self._fees.commission(ticks, lots, maker=maker),
            commission_asset=self.instrument.settle,
            ts_ns=ts,
            is_maker=maker,
        )
        self._tracker.record_fill(fill)
        filled = order.filled_quantity + quantity
        state = OrderState.FILLED if response[ex.R_LEAVES] == 0 else OrderState.PARTIALLY_FILLED
        self._changed(replace(order, filled_quantity=filled, state=state), number, ts, "FILLED")
        return fill

    def _funding(self, response: list[int]) -> FundingPaid:
        mark = response[ex.R_TICK]
        if mark == 0:
            bid, ask = self._simulator.best
            if bid is None or ask is None:
                raise DataError("funding is due while the book has no mid, and the recording gives no mark price")
            mark = (bid + ask) // 2
        amount = funding_amount(self.instrument, self._rates[response[ex.R_ID]], mark, response[ex.R_LOTS])
        self._tracker.record_funding(response[ex.R_TS], amount)
        return FundingPaid(ts_ns=response[ex.R_TS], amount=amount)

    def _tell(self, told: _Told) -> None:
        event = told.event if told.funding is None else self._funding(told.funding)
        if event is not None:
            self._stream.put_nowait(event)
            if isinstance(event, Fill):
                return
        if told.answer is None or not self._waiting.get(told.number):
            return
        future = self._waiting[told.number].popleft()
        if not self._waiting[told.number]:
            del self._waiting[told.number]
        if future.done():
            return
        if isinstance(told.answer, VenueError):
            future.set_exception(told.answer)
        else:
            future.set_result(told.answer)

    # --- orders ------------------------------------------------------------------------------------------------------

    @property
    def capabilities(self) -> Capabilities:
        """What this venue can do."""
        return self._capabilities

    @property
    def weight_used(self) -> int:
        """Request weight of the last window."""
        since = self.clock.monotonic_ns() - round(self._capabilities.weight_window_s * 1e9)
        while self._weights and self._weights[0][0] <= since:
            self._weight -= self._weights.popleft()[1]
        return self._weight

    def _charge(self, operation: Operation) -> None:
        now, window = self.clock.monotonic_ns(), round(self._capabilities.weight_window_s * 1e9)
        weight = self._capabilities.weight(operation)
        if self._enforce_weight and self.weight_used + weight > self._capabilities.weight_limit:
            wait = (self._weights[0][0] + window - now) / 1e9 if self._weights else self._capabilities.weight_window_s
            raise RateLimitError("too much request weight", retry_after=wait)
        self._weights.append((now, weight))
        self._weight += weight
        self.max_weight_used = max(self.max_weight_used, self.weight_used)

    def _submit(self, number: int, command: tuple[int, int, int, int, int, int]) -> asyncio.Future[Order]:
        future: asyncio.Future[Order] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(number, deque()).append(future)
        self._simulator.submit([command], self._now)
        self._set_timer()
        return future

    def _unknown_symbol(self, symbol: str, request: object = None) -> OrderRejectedError | None:
        known = self.instrument.symbol
        if symbol == known:
            return None
        words = f"unknown symbol {symbol!r}{did_you_mean(symbol, [known])}; this venue trades {known}"
        return OrderRejectedError(words, reason="UNKNOWN_SYMBOL", request=request)

    def _refusal(self, request: OrderRequest | AmendRequest) -> OrderRejectedError | None:
        """Return why the instrument's limits refuse a request."""
        instrument = self.instrument
        try:
            ticks, lots = instrument.ticks(request.price), instrument.lots(request.quantity)
        except ConfigError as error:
            return OrderRejectedError(f"{request.client_order_id}: {error}", reason="OFF_STEP", request=request)
        bid, ask = self._simulator.best
        mid2 = bid + ask if bid is not None and ask is not None else 2 * ticks
        why = self._constraints.refuse(ticks, lots, mid2)
        if why is not None:
            words = f"{request.client_order_id}: {why[0].text}: {why[1]}"
            return OrderRejectedError(words, reason=why[0], request=request)
        return None

    def _refused_place(self, request: OrderRequest) -> OrderRejectedError | None:
        """Return why the venue refuses a new order, by what the exchange knows now."""
        can, one = self._capabilities, request.client_order_id
        lacking = {OrderType.POST_ONLY: not can.post_only, OrderType.IOC: not can.ioc}.get(request.type, False)
        if lacking or (request.reduce_only and not can.reduce_only):
            kind = request.type if lacking else "reduce-only"
            return OrderRejectedError(
                f"{one}: this venue has no {kind} orders", reason="NOT_SUPPORTED", request=request
            )
        if (refusal := self._unknown_symbol(request.symbol, request) or self._refusal(request)) is not None:
            return refusal
        known = self._numbers.get(one)
        if known is not None and not self._orders[known].state.terminal:
            words = f"an open order has the client order id {one}"
            return OrderRejectedError(words, reason="DUPLICATE_CLIENT_ID", request=request)
        most = self._constraints.max_orders
        if most is not None and sum(not order.state.terminal for order in self._orders.values()) >= most:
            words = f"{one}: {most} orders are open, and no more are allowed"
            return OrderRejectedError(words, reason=Reason.MAX_ORDERS, request=request)
        if request.reduce_only:
            spoken_for = sum(
                (o.remaining for o in self._orders.values()
                 if o.reduce_only and o.side is request.side and not o.state.terminal),
                Decimal(0),
            )  # fmt: skip
            held = self._tracker.inventory
            if request.quantity > -held * request.side.sign - spoken_for:
                words = f"{one}: reduce-only; the position is {held}, and open orders may close {spoken_for} of it"
                return OrderRejectedError(words, reason="REDUCE_ONLY_REJECTED", request=request)
        return None

    def _place(self, request: OrderRequest) -> asyncio.Future[Order] | OrderRejectedError:
        self._advance()
        if (refusal := self._refused_place(request)) is not None:
            return refusal
        self._last_number = number = self._last_number + 1
        self._numbers[request.client_order_id] = number
        self._orders[number] = Order(
            client_order_id=request.client_order_id,
            level_id=request.level_id,
            symbol=request.symbol,
            side=request.side,
            price=request.price,
            quantity=request.quantity,
            type=request.type,
            order_id=str(number),
            created_ns=self.clock.now_ns(),
            reduce_only=request.reduce_only,
        )
        ticks, lots = self.instrument.ticks(request.price), self.instrument.lots(request.quantity)
        return self._submit(number, (ex.PLACE, number, request.side.sign, ticks, lots, _KINDS[request.type]))

    def _cancel(self, request: CancelRequest) -> asyncio.Future[Order] | OrderRejectedError:
        self._advance()
        if (refusal := self._unknown_symbol(request.symbol, request)) is not None:
            return refusal
        number = self._number(request.client_order_id, request.order_id)
        if number is None:
            return OrderNotFoundError(f"{request.client_order_id}: no such open order", request=request)
        order = self._orders[number]
        ticks, lots = self.instrument.ticks(order.price), self.instrument.lots(order.quantity)
        return self._submit(number, (ex.CANCEL, number, order.side.sign, ticks, lots, 0))

    def _amend(self, request: AmendRequest) -> asyncio.Future[Order] | OrderRejectedError:
        self._advance()
        if (refusal := self._unknown_symbol(request.symbol, request)) is not None:
            return refusal
        number = self._number(request.client_order_id, request.order_id)
        if number is None:
            return OrderNotFoundError(f"{request.client_order_id}: no such open order", request=request)
        if (refusal := self._refusal(request)) is not None:
            return refusal
        if self._amends[number] >= self._capabilities.max_amends and not self._orders[number].state.terminal:
            words = f"{request.client_order_id}: amended {self._amends[number]} times, and no more are allowed"
            return OrderRejectedError(words, reason="NOT_AMENDED", request=request)
        ticks, lots = self.instrument.ticks(request.price), self.instrument.lots(request.quantity)
        return self._submit(number, (ex.AMEND, number, request.side.sign, ticks, lots, 0))

    def _number(self, client_order_id: str | None, order_id: str | None) -> int | None:
        if client_order_id:
            return self._numbers.get(client_order_id)
        return int(order_id) if order_id is not None and order_id.isdigit() and int(order_id) in self._orders else None

    async def _answer(
        self, sent: asyncio.Future[Order] | OrderRejectedError, request: OrderRequest | CancelRequest | AmendRequest
    ) -> Order:
        if isinstance(sent, OrderRejectedError):
            await self._trip(1)
            await self._trip(-1)
            raise sent
        try:
            return await sent
        except VenueError as error:
            error.request = request
            raise

    async def place_order(self, request: OrderRequest) -> Order:
        """Place an order (ExchangePort)."""
        self._charge(Operation.PLACE)
        return await self._answer(self._place(request), request)

    async def cancel_order(self, request: CancelRequest) -> Order:
        """Withdraw an order (ExchangePort)."""
        self._charge(Operation.CANCEL)
        return await self._answer(self._cancel(request), request)

    async def amend_order(self, request: AmendRequest) -> Order:
        """Amend an order (ExchangePort)."""
        self._charge(Operation.AMEND)
        return await self._answer(self._amend(request), request)

    async def batch_place(self, requests: Sequence[OrderRequest]) -> list[OrderResult]:
        """Place several orders in one request (ExchangePort)."""
        self._whole(
            requests, Operation.BATCH_PLACE, self._capabilities.supports_batch_place, self._capabilities.max_batch_place
        )
        return await self._each([(r, self._place(r)) for r in requests], "PLACE")

    async def batch_cancel(self, requests: Sequence[CancelRequest]) -> list[OrderResult]:
        """Withdraw several orders in one request (ExchangePort)."""
        self._whole(
            requests,
            Operation.BATCH_CANCEL,
            self._capabilities.supports_batch_cancel,
            self._capabilities.max_batch_cancel,
        )
        return await self._each([(r, self._cancel(r)) for r in requests], "CANCEL")

    async def batch_amend(self, requests: Sequence[AmendRequest]) -> list[OrderResult]:
        """Amend several orders in one request (ExchangePort)."""
        self._whole(
            requests, Operation.BATCH_AMEND, self._capabilities.supports_batch_amend, self._capabilities.max_batch_amend
        )
        return await self._each([(r, self._amend(r)) for r in requests], "AMEND")

    def _whole(self, requests: Sequence[object], operation: Operation, supported: bool, most: int) -> None:
        self._charge(operation)
        if not supported:
            raise OrderRejectedError(f"this venue has no {operation}", reason="NOT_SUPPORTED", request=requests)
        if len(requests) > most:
            words = f"{operation} of {len(requests)} items; at most {most} go in one request"
            raise OrderRejectedError(words, reason="TOO_MANY_ITEMS", request=requests)

    async def _each(
        self,
        sent: Sequence[tuple[OrderRequest | CancelRequest | AmendRequest, asyncio.Future[Order] | OrderRejectedError]],
        action: str,
    ) -> list[OrderResult]:
        outcomes = await asyncio.gather(
            *(self._answer(item, request) for request, item in sent), return_exceptions=True
        )
        results: list[OrderResult] = []
        for (request, _), outcome in zip(sent, outcomes, strict=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, VenueError):
                raise outcome
            results.append(result_of(request, outcome, action))
        return results

    # --- questions ---------------------------------------------------------------------------------------------------

    async def _asked(self, symbol: str) -> None:
        """Let a question arrive."""
        await self._trip(1)
        if (refusal := self._unknown_symbol(symbol)) is not None:
            await self._trip(-1)
            raise refusal

    async def _trip(self, direction: int) -> None:
        """Take the time to the exchange (1) or back (-1)."""
        table = self._options.entry_ns if direction > 0 else self._options.response_ns
        await self.clock.sleep(table[0] / 1e9)
        self._advance()

    async def get_order(
        self, symbol: str, *, client_order_id: str | None = None, order_id: str | None = None
    ) -> Order | None:
        """Return an order as the exchange knows it (ExchangePort)."""
        self._charge(Operation.GET_ORDER)
        await self._asked(symbol)
        number = self._number(client_order_id, order_id)
        order = None if number is None else self._orders[number]
        if order is not None and order.state is OrderState.PENDING:
            order = None  # it has not arrived
        await self._trip(-1)
        return order

    async def get_open_orders(self, symbol: str) -> tuple[Order, ...]:
        """Return every open order of the account (ExchangePort)."""
        self._charge(Operation.GET_OPEN_ORDERS)
        await self._asked(symbol)
        orders = tuple(self._resting())
        await self._trip(-1)
        return orders

    async def get_fills(self, symbol: str, *, since_ns: int = 0, order_id: str | None = None) -> tuple[Fill, ...]:
        """Return the account's fills (ExchangePort)."""
        self._charge(Operation.GET_FILLS)
        await self._asked(symbol)
        fills = tuple(
            fill for fill in self._tracker.fills if fill.ts_ns >= since_ns and order_id in (None, fill.order_id)
        )
        await self._trip(-1)
        return fills

    async def get_positions(self) -> Mapping[str, Position]:
        """Return what is held by symbol; on spot what the session's trades have added (ExchangePort)."""
        self._charge(Operation.GET_POSITIONS)
        await self._trip(1)
        held = self._tracker.inventory
        await self._trip(-1)
        symbol = self.instrument.symbol
        return {symbol: Position(symbol=symbol, quantity=held)} if held else {}

    async def get_balances(self) -> Mapping[str, Balance]:
        """Return the account's assets (ExchangePort)."""
        self._charge(Operation.GET_BALANCES)
        await self._trip(1)
        totals = dict(self._start)
        tracker, settle, gained = self._tracker, self.instrument.settle, self.gained
        if self.instrument.contract is Contract.SPOT:
            totals[self.instrument.base] = totals.get(self.instrument.base, Decimal(0)) + tracker.inventory
            spent = sum((f.price * f.quantity * f.side.sign for f in tracker.fills), Decimal(0))
            gained = -spent - tracker.commission
        totals[settle] = totals.get(settle, Decimal(0)) + gained
        held = self._held()
        await self._trip(-1)
        return {
            asset: Balance(asset=asset, free=total - held.get(asset, Decimal(0)), total=total)
            for asset, total in totals.items()
        }

    def _resting(self) -> Iterator[Order]:
        live = (OrderState.OPEN, OrderState.PARTIALLY_FILLED)
        return (order for order in self._orders.values() if order.state in live)

    def _held(self) -> dict[str, Decimal]:
        """Return what open orders hold, by asset: on spot what they may spend; margin is not modelled."""
        held = {self.instrument.base: Decimal(0), self.instrument.quote: Decimal(0)}
        if self.instrument.contract is Contract.SPOT:
            for order in self._resting():
                if order.side is Side.BUY:
                    held[self.instrument.quote] += order.price * order.remaining
                else:
                    held[self.instrument.base] += order.remaining
        return held

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
        number = self._numbers.get(client_order_id)
        lots = None if number is None else self._simulator.queue_ahead(number)
        return None if lots is None else self.instrument.quantity(max(0, round(lots)))

    @property
    def orders(self) -> tuple[Order, ...]:
        """Every order that the exchange still remembers, as it knows it."""
        return tuple(self._orders.values())

    @property
    def fills(self) -> Sequence[Fill]:
        """Every fill of the account."""
        return self._tracker.fills

    @property
    def gained(self) -> Decimal:
        """What fills, commission and funding have changed in the balance of a futures account, in the settlement asset."""
        return self._tracker.average.realised - self._tracker.commission + self._tracker.funding

    @property
    def position(self) -> Decimal:
        """What is held."""
        return self._tracker.inventory
