"""The stream of an account as a bad connection tells it: twice, late, out of order, or with a hole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

from grinder_kit.execution.clock import Clock
from grinder_kit.execution.port import AccountEvent
from grinder_kit.model.event import FundingPaid, StreamLost
from grinder_kit.model.fill import Fill
from grinder_kit.model.order import InFlight, Order, OrderState
from grinder_kit.venue.fault_schedule import Schedule
from grinder_kit.venue.faults import NO_FAULT, Fault, FaultKind, Injected


def unreadable(order: Order) -> Order:
    """Return an order as it looks when the venue's status for it is one that nobody has heard of."""
    return replace(order, state=OrderState.PENDING, in_flight=InFlight.UNKNOWN, raw="FOO")


class FaultyStream:
    """Events of `source`, struck by the schedule; nothing is held for longer than its fault says.

    Funding passes as it is: a port cannot be asked for funding that was missed, so that no recovery could be right.
    """

    def __init__(self, source: AsyncIterator[AccountEvent], schedule: Schedule, clock: Clock) -> None:
        self._source = source
        self._schedule = schedule
        self._clock = clock
        self._told: asyncio.Queue[AccountEvent | BaseException | None] = asyncio.Queue()
        self._held: dict[int, AccountEvent] = {}  # by the order in which they happened
        self._swapped: list[int] = []
        self._timers: dict[int, asyncio.Task[None]] = {}
        self._count = 0
        self._lost_until_ns: int | None = None
        self._over = False

    async def events(self) -> AsyncIterator[AccountEvent]:
        """Yield what gets through, until the source ends."""
        reader = asyncio.create_task(self._read())
        try:
            while (event := await self._told.get()) is not None:
                if isinstance(event, BaseException):
                    raise event
                yield event
        finally:
            for task in (reader, *self._timers.values()):
                task.cancel()

    def settle(self) -> None:
        """Tell everything that is held, in the order in which it happened, and let nothing be lost from here on."""
        self._lost_until_ns = None
        for number in sorted(self._held):
            self._tell_held(number)

    async def _read(self) -> None:
        try:
            async for event in self._source:
                self._take(event)
        except Exception as error:
            self._told.put_nowait(error)
        self._over = True
        self._end_if_done()

    def _take(self, event: AccountEvent) -> None:
        if isinstance(event, StreamLost | FundingPaid):
            self._tell(event)
            return
        if self._lost_until_ns is not None:
            if self._clock.monotonic_ns() < self._lost_until_ns:
                self._note(Fault(kind=FaultKind.STREAM_LOST), event)
                return
            self._lost_until_ns = None
        fault = self._schedule.next_event()
        if fault is not NO_FAULT:
            self._note(fault, event)
        match fault.kind:
            case FaultKind.STREAM_LOST:
                self._lost_until_ns = self._clock.monotonic_ns() + round(fault.delay_s * 1e9)
                self._hold(StreamLost(ts_ns=0, reason="connection lost"), max(fault.delay_s, fault.notice_s))
            case FaultKind.DELAYED:
                self._hold(event, fault.delay_s)
            case FaultKind.REORDERED:
                self._swapped.append(self._hold(event, fault.delay_s))
            case FaultKind.DUPLICATED:
                self._tell(event)
                self._hold(event, fault.delay_s)
            case FaultKind.UNREADABLE if isinstance(event, Order):
                self._tell(unreadable(event))
            case _:
                self._tell(event)

    def _tell(self, event: AccountEvent) -> None:
        if isinstance(event, StreamLost) and not event.ts_ns:
            event = replace(event, ts_ns=self._clock.now_ns())
        self._told.put_nowait(event)
        behind, self._swapped = self._swapped, []
        for number in behind:
            self._tell_held(number)

    def _hold(self, event: AccountEvent, seconds: float) -> int:
        self._count += 1
        number = self._count
        self._held[number] = event
        self._timers[number] = asyncio.create_task(self._wait(number, seconds))
        return number

    async def _wait(self, number: int, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._timers.pop(number, None)
        self._tell_held(number)

    def _tell_held(self, number: int) -> None:
        event = self._held.pop(number, None)
        if (timer := self._timers.pop(number, None)) is not None:
            timer.cancel()
        if event is not None:
            self._tell(event)
            self._end_if_done()

    def _end_if_done(self) -> None:
        if self._over and not self._held:
            self._told.put_nowait(None)

    def _note(self, fault: Fault, event: AccountEvent) -> None:
        subject = f"fill {event.fill_id} of {event.order_id}" if isinstance(event, Fill) else _words(event)
        self._schedule.log.append(
            Injected(at_ns=self._clock.monotonic_ns(), where="event", fault=fault, subject=subject)
        )


def _words(event: AccountEvent) -> str:
    return f"{event.client_order_id} {event.state}" if isinstance(event, Order) else type(event).__name__
