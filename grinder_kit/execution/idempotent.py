"""IdempotentPort: asks before it asks again. A request that is repeated has one effect and one outcome.

What a venue did with a request that was never answered is found out by the client order id, before anything is sent again. "No such
order" counts only once the venue would refuse the request if it arrived now: before, it may still be on its way.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from grinder_kit.errors import (
    InvalidRequestError,
    OrderFailedError,
    OrderNotFoundError,
    OrderRejectedError,
    OutcomeUnknownError,
    VenueError,
)
from grinder_kit.execution.clock import Clock
from grinder_kit.execution.outcome import result_of
from grinder_kit.execution.port import AccountEvent, Balance, Capabilities, ExchangePort
from grinder_kit.model.config import RetryConfig
from grinder_kit.model.fill import Fill, Position
from grinder_kit.model.order import (
    OUTCOME_UNKNOWN,
    AmendRequest,
    CancelRequest,
    InFlight,
    Order,
    OrderRequest,
    OrderResult,
)

log = logging.getLogger(__name__)

Request = TypeVar("Request", CancelRequest, AmendRequest)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 0.5
#: Reasons of an item that say nothing about the order: the same request may be sent later.
NOTHING_DONE = frozenset({"RATE_LIMIT", "CONNECTIVITY", "SUPERSEDED", "FAILED"})


@dataclass(frozen=True, slots=True)
class _Known:
    request: OrderRequest
    outcome: Order | VenueError


class IdempotentPort:
    """An ExchangePort over one that tells when an outcome is unknown, such as a RetryingPort.

    Parameters
    ----------
    port : ExchangePort
    clock : Clock
    config : RetryConfig
        `stale_after_s`: an order that never arrived is sent again only while its decision is younger than this.
    lookup_deadline_s : float
        Patience with a venue that does not answer questions either; OutcomeUnknownError is raised then, and nothing is
        remembered, so that a later call asks first.
    kept : int
        Outcomes remembered.
    """

    def __init__(
        self,
        port: ExchangePort,
        clock: Clock,
        *,
        config: RetryConfig | None = None,
        lookup_deadline_s: float = 60.0,
        kept: int = 10_000,
    ) -> None:
        self._port = port
        self._clock = clock
        self._stale_ns = round((config or RetryConfig()).stale_after_s * 1e9)
        self._patience_ns = round(lookup_deadline_s * 1e9)
        self._kept = kept
        self._known: OrderedDict[str, _Known] = OrderedDict()  # placements with a final outcome, by client order id
        self._placing: dict[str, tuple[OrderRequest, asyncio.Task[Order]]] = {}
        self._cancelling: dict[str, asyncio.Task[Order]] = {}
        self._unsure: OrderedDict[str, int] = OrderedDict()  # placement that may still arrive, until this monotonic ns

    def __repr__(self) -> str:
        return f"IdempotentPort({len(self._known)} outcomes known, {len(self._placing)} placements under way)"

    @property
    def capabilities(self) -> Capabilities:
        """What the venue behind can do."""
        return self._port.capabilities

    # --- placing -----------------------------------------------------------------------------------------------------

    async def place_order(self, request: OrderRequest) -> Order:
        """Place an order once, however often this is called; the first outcome is returned or raised each time.

        Raises
        ------
        InvalidRequestError
            For a client order id that was used for another order.
        OrderRejectedError, OrderFailedError
            Definitive: no such order exists or will.
        OutcomeUnknownError
            The venue did not answer questions either.
        """
        flight = self._begin(request)
        if isinstance(flight, _Known):
            return _given(flight.outcome)
        return await asyncio.shield(flight)

    def _begin(self, request: OrderRequest) -> _Known | asyncio.Task[Order]:
        one = request.client_order_id
        known = self._known.get(one)
        if known is not None:
            _same(known.request, request)
            return known
        if one in self._placing:
            _same(self._placing[one][0], request)
            return self._placing[one][1]
        return self._fly(request, self._place(request))

    def _fly(self, request: OrderRequest, work: Coroutine[Any, Any, Order]) -> asyncio.Task[Order]:
        """Let a placement run whatever becomes of its caller; cancels and repeats wait for it."""
        one = request.client_order_id
        task = asyncio.create_task(work)
        self._placing[one] = request, task
        _when_done(task, self._placing, one)
        return task

    async def _place(self, request: OrderRequest) -> Order:
        if request.client_order_id in self._unsure:
            return await self._arrived_or_again(request, self._clock.monotonic_ns(), None)
        return await self._send(request, self._clock.monotonic_ns())

    async def _send(self, request: OrderRequest, began_ns: int) -> Order:
        """Send a placement that was decided at `began_ns`, and find out about it where it is not answered."""
        try:
            return self._settled(request, await self._port.place_order(request))
        except OutcomeUnknownError as error:
            self._mark_unsure(request.client_order_id)
            return await self._arrived_or_again(request, began_ns, error)
        except OrderRejectedError as error:
            return await self._refused(request, error)

    async def _refused(self, request: OrderRequest, error: OrderRejectedError) -> Order:
        if error.reason == "DUPLICATE_CLIENT_ID":  # an earlier attempt, of this process or one before it, has arrived
            order = await self._look_up(request.symbol, request.client_order_id)
            same = order is not None and (order.side, order.price, order.quantity) == (
                request.side, request.price, request.quantity,
            )  # fmt: skip
            if order is not None and same:
                return self._settled(request, order)
        self._remember(request, error)
        raise error

    async def _arrived_or_again(self, request: OrderRequest, began_ns: int, cause: Exception | None) -> Order:
        """Find out about a placement that was not answered; send it once more if it surely never arrived and is still fresh."""
        order = await self._look_up(request.symbol, request.client_order_id)
        if order is not None:
            return self._settled(request, order)
        if cause is not None and self._clock.monotonic_ns() - began_ns <= self._stale_ns:
            log.info("sending again id=%s", request.client_order_id)
            return await self._send(request, began_ns)
        failure = OrderFailedError(f"{request.client_order_id} never arrived; its price is stale", request=request)
        failure.__cause__ = cause
        self._remember(request, failure)
        raise failure

    def _settled(self, request: OrderRequest, order: Order) -> Order:
        if order.in_flight is InFlight.UNKNOWN:  # a status that cannot be read is no outcome: a repeat looks it up
            self._mark_unsure(request.client_order_id)
        else:
            self._remember(request, order)
        return order

    def _remember(self, request: OrderRequest, outcome: Order | VenueError) -> None:
        self._unsure.pop(request.client_order_id, None)
        self._known[request.client_order_id] = _Known(request, outcome)
        while len(self._known) > self._kept:
            self._known.popitem(last=False)

    def _mark_unsure(self, client_order_id: str) -> None:
        window = round(self.capabilities.receive_window_s * 1e9)
        self._unsure[client_order_id] = self._clock.monotonic_ns() + window
        while len(self._unsure) > self._kept:
            self._unsure.popitem(last=False)

    # --- looking up --------------------------------------------------------------------------------------------------

    async def _look_up(self, symbol: str, client_order_id: str) -> Order | None:
        """Return what the venue knows under an id; None only when nothing can still arrive under it.

        Raises
        ------
        OutcomeUnknownError
            When the venue does not answer for longer than patience lasts.
        """
        final_ns = self._unsure.get(client_order_id, 0)
        give_up_ns = self._clock.monotonic_ns() + self._patience_ns
        pause = FIRST_PAUSE_S
        while True:
            asked_ns = self._clock.monotonic_ns()
            try:
                order = await self._port.get_order(symbol, client_order_id=client_order_id)
                if order is not None or asked_ns >= final_ns:
                    return order
            except VenueError as error:
                log.warning("look-up failed id=%s error=%s", client_order_id, error)
                if asked_ns >= give_up_ns:
                    raise OutcomeUnknownError(
                        f"{client_order_id}: the venue answers no questions; what became of it is unknown"
                    ) from error
            await self._clock.sleep(pause)
            pause = min(LONGEST_PAUSE_S, 2 * pause)

    # --- cancelling and amending ---------------------------------------------------------------------------------------

    async def cancel_order(self, request: CancelRequest) -> Order:
        """Withdraw an order; return it as it ended, filled included. May be repeated at any time.

        Raises
        ------
        OrderNotFoundError
            The venue knows no such order, and none can still arrive.
        OutcomeUnknownError
            The venue did not answer questions either.
        """
        one = request.client_order_id
        if one not in self._cancelling:
            self._cancelling[one] = asyncio.create_task(self._cancel(request))
            _when_done(self._cancelling[one], self._cancelling, one)
        return await asyncio.shield(self._cancelling[one])

    async def _cancel(self, request: CancelRequest) -> Order:
        await self._placed(request.client_order_id)
        give_up_ns = self._clock.monotonic_ns() + self._patience_ns
        pause = FIRST_PAUSE_S
        while True:
            try:
                return await self._port.cancel_order(request)
            except (OutcomeUnknownError, OrderNotFoundError, OrderFailedError) as error:
                if not _in_doubt(error):
                    raise
                order = await self._after_cancel(request, error)
                if order is not None:
                    return order
                if self._clock.monotonic_ns() >= give_up_ns:
                    words = f"{request.client_order_id}: cancelled again and again, and still open"
                    raise OutcomeUnknownError(words, request=request) from error
            await self._clock.sleep(pause)
            pause = min(LONGEST_PAUSE_S, 2 * pause)

    async def _placed(self, client_order_id: str) -> None:
        """Wait for a placement under way: an order that is not confirmed cannot be withdrawn safely."""
        flight = self._placing.get(client_order_id)
        if flight is not None:
            await asyncio.wait([flight[1]])

    async def _after_cancel(self, request: CancelRequest, error: VenueError) -> Order | None:
        """Return the order where it has ended, None where it is still open."""
        order = await self._look_up(request.symbol, request.client_order_id)
        if order is None:
            words = f"{request.client_order_id}: the venue knows no such order"
            raise OrderNotFoundError(words, request=request) from error
        if order.in_flight is InFlight.UNKNOWN:
            words = f"{request.client_order_id}: the venue's status cannot be read: {order.raw}"
            raise OutcomeUnknownError(words, request=request) from error
        return order if order.state.terminal else None

    async def amend_order(self, request: AmendRequest) -> Order:
        """Amend an order; return it as it is then, which may be cancelled or filled.

        Raises
        ------
        OrderRejectedError
            It stands as it was: decide anew.
        OutcomeUnknownError
            The venue did not answer questions either.
        """
        await self._placed(request.client_order_id)
        try:
            return await self._port.amend_order(request)
        except (OutcomeUnknownError, OrderNotFoundError) as error:
            return await self._after_amend(request, error)

    async def _after_amend(self, request: AmendRequest, error: VenueError) -> Order:
        final_ns = self._clock.monotonic_ns() + round(self.capabilities.receive_window_s * 1e9)
        pause = FIRST_PAUSE_S
        while True:
            asked_ns = self._clock.monotonic_ns()
            order = await self._look_up(request.symbol, request.client_order_id)
            if order is None:
                words = f"{request.client_order_id}: the venue knows no such order"
                raise OrderNotFoundError(words, request=request) from error
            done = order.price == request.price and order.quantity == request.quantity
            if order.state.terminal or (done and order.in_flight is not InFlight.UNKNOWN):
                return order
            if asked_ns >= final_ns:
                words = f"{request.client_order_id} was not amended; it stands at {order.price} for {order.quantity}"
                raise OrderRejectedError(words, reason="NOT_AMENDED", request=request) from error
            await self._clock.sleep(pause)
            pause = min(LONGEST_PAUSE_S, 2 * pause)

    # --- batches -----------------------------------------------------------------------------------------------------

    async def batch_place(self, requests: Sequence[OrderRequest]) -> list[OrderResult]:
        """Place several orders; items that are known are not sent again, unknown ones are looked up one by one."""
        _fits(requests, self.capabilities.max_batch_place)
        fresh = [r for r in requests if r.client_order_id not in self._known and r.client_order_id not in self._placing]
        fresh = [r for r in fresh if r.client_order_id not in self._unsure]
        fresh = list({r.client_order_id: r for r in reversed(fresh)}.values())[::-1]  # the first of each id
        began = self._clock.monotonic_ns()
        sent = asyncio.create_task(self._send_batch(fresh)) if fresh else None
        flights: list[_Known | asyncio.Task[Order] | InvalidRequestError] = []
        for request in requests:
            if sent is not None and request in fresh and request.client_order_id not in self._placing:
                flights.append(self._fly(request, self._item(request, sent, began)))
                continue
            try:
                flights.append(self._begin(request))
            except InvalidRequestError as error:  # of this item alone: the others are on their way
                flights.append(error)
        tasks = [flight for flight in flights if isinstance(flight, asyncio.Task)]
        if tasks:
            await asyncio.shield(asyncio.gather(*tasks, return_exceptions=True))
        return [
            result_of(request, _outcome(flight), "PLACE") for request, flight in zip(requests, flights, strict=True)
        ]

    async def _send_batch(self, requests: Sequence[OrderRequest]) -> dict[str, OrderResult | VenueError]:
        try:
            results = await self._port.batch_place(requests)
        except VenueError as error:
            return {request.client_order_id: error for request in requests}
        return {request.client_order_id: result for request, result in zip(requests, results, strict=True)}

    async def _item(
        self, request: OrderRequest, sent: asyncio.Task[dict[str, OrderResult | VenueError]], began_ns: int
    ) -> Order:
        answer = (await asyncio.shield(sent))[request.client_order_id]
        if isinstance(answer, OutcomeUnknownError) or (isinstance(answer, OrderResult) and answer.unknown):
            self._mark_unsure(request.client_order_id)
            cause = answer if isinstance(answer, VenueError) else OutcomeUnknownError(answer.detail, request=request)
            return await self._arrived_or_again(request, began_ns, cause)
        if isinstance(answer, VenueError):
            raise answer
        if answer.ok and answer.order is not None:
            return self._settled(request, answer.order)
        refused = OrderRejectedError(answer.detail or str(answer.reason), reason=str(answer.reason), request=request)
        if answer.reason in NOTHING_DONE:
            raise refused
        return await self._refused(request, refused)

    async def batch_cancel(self, requests: Sequence[CancelRequest]) -> list[OrderResult]:
        """Withdraw several orders; items of which nobody knows what became are withdrawn one by one."""
        _fits(requests, self.capabilities.max_batch_cancel)

        async def alone(request: CancelRequest, result: OrderResult) -> Order:
            return await self.cancel_order(request)

        return await self._batch(requests, self._port.batch_cancel, alone, "CANCEL")

    async def batch_amend(self, requests: Sequence[AmendRequest]) -> list[OrderResult]:
        """Amend several orders; items of which nobody knows what became are looked up one by one."""
        _fits(requests, self.capabilities.max_batch_amend)

        async def alone(request: AmendRequest, result: OrderResult) -> Order:
            return await self._after_amend(request, OutcomeUnknownError(result.detail, request=request))

        return await self._batch(requests, self._port.batch_amend, alone, "AMEND")

    async def _batch(
        self,
        requests: Sequence[Request],
        send: Callable[[Sequence[Request]], Awaitable[list[OrderResult]]],
        alone: Callable[[Request, OrderResult], Awaitable[Order]],
        action: str,
    ) -> list[OrderResult]:
        """Send what changes orders that were placed; `alone` finds out about an item of which nobody knows what became."""
        await asyncio.gather(*(self._placed(request.client_order_id) for request in requests))
        try:
            results = await send(requests)
        except VenueError as error:
            if not _in_doubt(error):
                return [result_of(request, error, action) for request in requests]
            unknown = OutcomeUnknownError(str(error), request=requests)
            results = [result_of(request, unknown, action) for request in requests]

        async def item(request: Request, result: OrderResult) -> OrderResult:
            if result.reason not in (OUTCOME_UNKNOWN, "ORDER_NOT_FOUND"):
                return result
            try:
                return result_of(request, await alone(request, result), action)
            except VenueError as error:
                return result_of(request, error, action)

        return list(await asyncio.gather(*(item(*pair) for pair in zip(requests, results, strict=True))))

    # --- questions: passed on ------------------------------------------------------------------------------------------

    async def get_order(
        self, symbol: str, *, client_order_id: str | None = None, order_id: str | None = None
    ) -> Order | None:
        """Ask about an order."""
        return await self._port.get_order(symbol, client_order_id=client_order_id, order_id=order_id)

    async def get_open_orders(self, symbol: str) -> tuple[Order, ...]:
        """Ask for the open orders."""
        return await self._port.get_open_orders(symbol)

    async def get_fills(self, symbol: str, *, since_ns: int = 0, order_id: str | None = None) -> tuple[Fill, ...]:
        """Ask for fills."""
        return await self._port.get_fills(symbol, since_ns=since_ns, order_id=order_id)

    async def get_positions(self) -> Mapping[str, Position]:
        """Ask for positions."""
        return await self._port.get_positions()

    async def get_balances(self) -> Mapping[str, Balance]:
        """Ask for balances."""
        return await self._port.get_balances()

    def events(self) -> AsyncIterator[AccountEvent]:
        """Listen to the account."""
        return self._port.events()


def _when_done(task: asyncio.Task[Order], flights: dict[str, Any], one: str) -> None:
    """Forget a flight that has ended; its caller may have gone, and nobody else would read what it raised."""

    def done(finished: asyncio.Task[Order]) -> None:
        flights.pop(one, None)
        if not finished.cancelled():
            finished.exception()

    task.add_done_callback(done)


def _given(outcome: Order | VenueError) -> Order:
    if isinstance(outcome, VenueError):
        raise outcome
    return outcome


def _outcome(flight: _Known | asyncio.Task[Order] | InvalidRequestError) -> Order | VenueError | InvalidRequestError:
    if isinstance(flight, _Known):
        return flight.outcome
    if isinstance(flight, InvalidRequestError):
        return flight
    error = flight.exception()
    if error is None:
        return flight.result()
    if isinstance(error, VenueError | InvalidRequestError):
        return error
    raise error


def _in_doubt(error: VenueError) -> bool:
    """Whether the venue may have acted, or may know more: an unknown outcome, also of one of several attempts."""
    return isinstance(error, OutcomeUnknownError | OrderNotFoundError) or isinstance(
        error.__cause__, OutcomeUnknownError
    )


def _same(first: OrderRequest, again: OrderRequest) -> None:
    if replace(first, epoch=0) != replace(again, epoch=0):
        raise InvalidRequestError(
            f"client order id {again.client_order_id} was used for another order ({first.side} {first.quantity} at "
            f"{first.price}); give each order an id of its own",
            request=again,
        )


def _fits(requests: Sequence[object], most: int) -> None:
    if len(requests) > most:
        raise InvalidRequestError(f"{len(requests)} items in one batch; the venue takes {most}", request=requests)
