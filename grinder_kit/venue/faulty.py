"""A venue with a bad day: any port, struck by the faults of a schedule. What the laboratory runs sessions against.

It keeps to what a real venue does. A request that got away is not taken back when its caller gives up; one that is beyond the
receive window is not carried out at all; a venue that said "wait" refuses until the wait is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar

from grinder_kit.errors import (
    BannedError,
    ConnectivityError,
    MalformedAnswerError,
    OrderRejectedError,
    OutcomeUnknownError,
    RateLimitError,
    VenueError,
)
from grinder_kit.execution.clock import Clock
from grinder_kit.execution.outcome import result_of
from grinder_kit.execution.port import AccountEvent, Balance, Capabilities, ExchangePort, Operation
from grinder_kit.model.fill import Fill, Position
from grinder_kit.model.order import AmendRequest, CancelRequest, Order, OrderRequest, OrderResult
from grinder_kit.venue.fault_schedule import Schedule
from grinder_kit.venue.faults import FITS, NO_FAULT, Fate, Fault, FaultKind, Injected
from grinder_kit.venue.faulty_stream import FaultyStream, unreadable

Answer = TypeVar("Answer")
Request = TypeVar("Request", OrderRequest, CancelRequest, AmendRequest)
_Outcome: TypeAlias = tuple[Any, VenueError | None]
_Call: TypeAlias = Callable[[], Awaitable[Answer]]

_GARBAGE = '{"orderId": 28, "status": '


class JumpingClock:
    """A clock that somebody sets: `now_ns` jumps, what is measured by `monotonic_ns` and `sleep` does not.

    Parameters
    ----------
    clock : Clock
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset_ns = 0

    def jump(self, seconds: float) -> None:
        """Set the clock forward, or back where `seconds` is below zero."""
        self._offset_ns += round(seconds * 1e9)

    def now_ns(self) -> int:
        """Return the time as the clock shows it, ns UTC."""
        return self._clock.now_ns() + self._offset_ns

    def monotonic_ns(self) -> int:
        """Return the time that only goes forward, ns."""
        return self._clock.monotonic_ns()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._clock.sleep(seconds)


class FaultyPort:
    """A port whose requests and events are struck by the faults of a schedule.

    Parameters
    ----------
    port : ExchangePort
        The venue; what it holds is the truth.
    schedule : Schedule
        After its `calm`, held events are told in order and everything passes as `port` has it.
    clock : Clock

    Attributes
    ----------
    impatient : list of str
        Requests that came while the venue had asked to wait: Retry-After was not obeyed.

    Examples
    --------
    >>> port = FaultyPort(venue, RandomSchedule(seed=7, rate=0.3), clock)  # doctest: +SKIP
    """

    def __init__(self, port: ExchangePort, schedule: Schedule, clock: Clock) -> None:
        self._port = port
        self._clock = clock
        self._streams: list[FaultyStream] = []
        self._travelling: set[asyncio.Task[_Outcome]] = set()
        self._released = asyncio.Event()
        self._shut: tuple[int, type[RateLimitError]] | None = None
        self.schedule = schedule
        self.impatient: list[str] = []
        schedule.when_calm(self._settle)

    @property
    def capabilities(self) -> Capabilities:
        """What the venue behind can do."""
        return self._port.capabilities

    @property
    def under_way(self) -> int:
        """Requests that are on their way to the venue, though their callers may have gone."""
        return len(self._travelling)

    def release(self) -> None:
        """Let every call that hangs be answered, with what the venue had said; later ones hang again."""
        self._released.set()
        self._released = asyncio.Event()

    def _settle(self) -> None:
        self._shut = None
        for stream in self._streams:
            stream.settle()

    # --- the way of a request ----------------------------------------------------------------------------------------

    async def _ask(self, operation: Operation, request: Any, call: _Call[Answer], fault: Fault) -> Answer:
        """Send a request through a fault that strikes it as a whole."""
        match fault.kind:
            case FaultKind.UNREACHABLE:
                await self._clock.sleep(fault.delay_s)
                raise ConnectivityError(f"{operation}: connection refused", request=request)
            case FaultKind.RATE_LIMITED | FaultKind.BANNED:
                await self._clock.sleep(fault.delay_s)
                raise self._shut_for(fault, request)
            case FaultKind.REJECTED:
                await self._clock.sleep(fault.delay_s)
                raise OrderRejectedError(f"{operation}: refused by the venue", reason=fault.reason, request=request)
            case FaultKind.VANISHED:
                await self._clock.sleep(fault.delay_s)
                raise OutcomeUnknownError(f"{operation}: no answer", request=request)
        travel = asyncio.create_task(self._travel(operation, request, call, fault))
        self._travelling.add(travel)
        travel.add_done_callback(self._travelling.discard)
        if fault.kind is FaultKind.LATE:
            await self._clock.sleep(fault.delay_s)
            raise OutcomeUnknownError(f"{operation}: no answer", request=request)
        # A caller that gives up does not stop what is on the wire.
        answer, error = await asyncio.shield(travel)
        if fault.kind is FaultKind.HANGS:
            await self._released.wait()
        await self._clock.sleep(fault.delay_s)
        if fault.kind is FaultKind.TIMED_OUT:
            raise OutcomeUnknownError(f"{operation}: no answer", request=request)
        if fault.kind is FaultKind.MALFORMED:
            raise MalformedAnswerError(f"{operation}: the answer cannot be read", raw=_GARBAGE, request=request)
        if error is not None:
            raise error
        answered: Answer = _with_unreadable(answer) if fault.kind is FaultKind.UNREADABLE else answer
        return answered

    async def _travel(self, operation: Operation, request: Any, call: _Call[Answer], fault: Fault) -> _Outcome:
        """Reach the venue, and return what it said; errors are values here, since nobody may be left to read them."""
        if fault.arrives_s:
            await self._clock.sleep(fault.arrives_s)
        if fault.arrives_s > self.capabilities.receive_window_s:
            words = f"{operation}: arrived {fault.arrives_s:.1f} s after it was sent, outside the receive window"
            if operation not in FITS[FaultKind.REJECTED]:
                return None, ConnectivityError(words, request=request)
            return None, OrderRejectedError(words, reason="OUTSIDE_RECV_WINDOW", request=request)
        try:
            return await call(), None
        except VenueError as error:
            return None, error

    def _strike(self, operation: Operation, request: Any) -> Fault:
        """Draw what happens to a request that is being sent; refuse it where the venue has asked to wait."""
        now = self._clock.monotonic_ns()
        if self._shut is not None:
            until, error = self._shut
            if now < until:
                self.impatient.append(f"{now / 1e9:.3f}s {operation} {_subject(request)}: {error.__name__}")
                raise error(f"{operation}: asked to wait", retry_after=(until - now) / 1e9, request=request)
            self._shut = None
        fault = self.schedule.next_request(operation)
        if fault is not NO_FAULT:
            self.schedule.log.append(Injected(at_ns=now, where=operation.value, fault=fault, subject=_subject(request)))
        return fault

    def _shut_for(self, fault: Fault, request: Any) -> RateLimitError:
        error = BannedError if fault.kind is FaultKind.BANNED else RateLimitError
        if fault.retry_after and not self.schedule.is_calm:
            until = self._clock.monotonic_ns() + round(fault.retry_after * 1e9)
            if self._shut is None or until > self._shut[0]:
                self._shut = (until, error)
        return error("too many requests", retry_after=fault.retry_after, request=request)

    async def _single(self, operation: Operation, request: Any, call: _Call[Answer]) -> Answer:
        return await self._ask(operation, request, call, self._strike(operation, request))

    async def _batch(
        self,
        operation: Operation,
        requests: Sequence[Request],
        send: Callable[[Sequence[Request]], Awaitable[list[OrderResult]]],
    ) -> list[OrderResult]:
        fault = self._strike(operation, requests)
        if fault.kind is FaultKind.REJECTED:
            await self._clock.sleep(fault.delay_s)
            return [_refused(request, fault.reason) for request in requests]
        if fault.kind is not FaultKind.PARTIAL:
            return await self._ask(operation, requests, lambda: send(requests), fault)
        fates = [fault.items[n % len(fault.items)] for n in range(len(requests))]
        sent = [r for r, fate in zip(requests, fates, strict=True) if fate in (Fate.DONE, Fate.TIMED_OUT)]
        answers = iter(await self._ask(operation, requests, lambda: send(sent), fault) if sent else [])
        results = []
        for request, fate in zip(requests, fates, strict=True):
            result = next(answers) if fate in (Fate.DONE, Fate.TIMED_OUT) else _refused(request, fault.reason)
            unknown = fate in (Fate.TIMED_OUT, Fate.VANISHED)
            results.append(
                result_of(request, OutcomeUnknownError("no outcome for this item", request=request))
                if unknown
                else result
            )
        return results

    # --- the port ----------------------------------------------------------------------------------------------------

    async def place_order(self, request: OrderRequest) -> Order:
        """Place an order, if nothing goes wrong."""
        return await self._single(Operation.PLACE, request, lambda: self._port.place_order(request))

    async def cancel_order(self, request: CancelRequest) -> Order:
        """Withdraw an order, if nothing goes wrong."""
        return await self._single(Operation.CANCEL, request, lambda: self._port.cancel_order(request))

    async def amend_order(self, request: AmendRequest) -> Order:
        """Amend an order, if nothing goes wrong."""
        return await self._single(Operation.AMEND, request, lambda: self._port.amend_order(request))

    async def batch_place(self, requests: Sequence[OrderRequest]) -> list[OrderResult]:
        """Place several orders; any item may go wrong."""
        return await self._batch(Operation.BATCH_PLACE, requests, self._port.batch_place)

    async def batch_cancel(self, requests: Sequence[CancelRequest]) -> list[OrderResult]:
        """Withdraw several orders; any item may go wrong."""
        return await self._batch(Operation.BATCH_CANCEL, requests, self._port.batch_cancel)

    async def batch_amend(self, requests: Sequence[AmendRequest]) -> list[OrderResult]:
        """Amend several orders; any item may go wrong."""
        return await self._batch(Operation.BATCH_AMEND, requests, self._port.batch_amend)

    async def get_order(
        self, symbol: str, *, client_order_id: str | None = None, order_id: str | None = None
    ) -> Order | None:
        """Return an order, if nothing goes wrong."""
        return await self._single(
            Operation.GET_ORDER,
            client_order_id or order_id,
            lambda: self._port.get_order(symbol, client_order_id=client_order_id, order_id=order_id),
        )

    async def get_open_orders(self, symbol: str) -> tuple[Order, ...]:
        """Return the open orders, if nothing goes wrong."""
        return await self._single(Operation.GET_OPEN_ORDERS, symbol, lambda: self._port.get_open_orders(symbol))

    async def get_fills(self, symbol: str, *, since_ns: int = 0, order_id: str | None = None) -> tuple[Fill, ...]:
        """Return the fills, if nothing goes wrong."""
        return await self._single(
            Operation.GET_FILLS,
            order_id or symbol,
            lambda: self._port.get_fills(symbol, since_ns=since_ns, order_id=order_id),
        )

    async def get_positions(self) -> Mapping[str, Position]:
        """Return what is held, if nothing goes wrong."""
        return await self._single(Operation.GET_POSITIONS, None, self._port.get_positions)

    async def get_balances(self) -> Mapping[str, Balance]:
        """Return the assets, if nothing goes wrong."""
        return await self._single(Operation.GET_BALANCES, None, self._port.get_balances)

    def events(self) -> AsyncIterator[AccountEvent]:
        """Yield the account's events, as the schedule lets them through."""
        stream = FaultyStream(self._port.events(), self.schedule, self._clock)
        self._streams.append(stream)
        return stream.events()


def _refused(request: OrderRequest | CancelRequest | AmendRequest, reason: str) -> OrderResult:
    return result_of(request, OrderRejectedError("refused by the venue", reason=reason, request=request))


def _with_unreadable(answer: Any) -> Any:
    """Return an answer in which the status of an order, the first of several, cannot be read."""
    match answer:
        case Order():
            return unreadable(answer)
        case OrderResult(order=Order() as order):
            return replace(answer, order=unreadable(order))
        case [first, *rest]:
            return type(answer)([_with_unreadable(first), *rest])
    return answer


def _subject(request: Any) -> str:
    if isinstance(request, OrderRequest | CancelRequest | AmendRequest):
        return request.client_order_id
    if isinstance(request, str) or request is None:
        return request or ""
    return " ".join(_subject(one) for one in request)
