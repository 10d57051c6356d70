"""IdempotentPort: one effect and one outcome, whatever becomes of the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from grinder_kit.errors import (
    InvalidRequestError,
    OrderFailedError,
    OrderNotFoundError,
    OrderRejectedError,
    OutcomeUnknownError,
)
from grinder_kit.execution.clock import run_stepped
from grinder_kit.execution.idempotent import IdempotentPort
from grinder_kit.execution.port import FUTURES, Operation
from grinder_kit.model.config import ExecutionConfig, RetryConfig
from grinder_kit.model.order import AmendRequest, CancelRequest, InFlight, OrderRequest, OrderState, Side
from grinder_kit.venue.fault_schedule import ScriptedSchedule
from grinder_kit.venue.faults import Fate, Fault, FaultKind
from grinder_kit.venue.faulty import FaultyPort
from grinder_kit.venue.simulated import SimulatedVenue
from tests.lab.laboratory import LAB, LabMarket

WINDOW = replace(FUTURES, receive_window_s=2.0)
Work = Callable[[IdempotentPort, SimulatedVenue], Awaitable[None]]


def order(number: int = 1, price: str = "195", **more: Any) -> OrderRequest:
    """Return an order that rests below the market."""
    values: dict[str, Any] = {"client_order_id": f"gkr0-B1-{number}", "level_id": "BUY_1", "symbol": LAB.symbol}
    return OrderRequest(**(values | {"side": Side.BUY, "price": price, "quantity": Decimal("0.05")} | more))


def cancel(number: int = 1) -> CancelRequest:
    """Return the cancel of such an order."""
    return CancelRequest(client_order_id=f"gkr0-B1-{number}", symbol=LAB.symbol)


def at_a_venue(work: Work, *faults: tuple[Operation, Fault], stale_after_s: float = 30.0, **more: Any) -> None:
    """Run something with a port on a venue in stepped time, struck by some faults."""

    async def main() -> None:
        execution = ExecutionConfig(entry_ms=10, response_ms=10)
        async with SimulatedVenue(LabMarket(1, 60), execution=execution, capabilities=WINDOW) as venue:
            await venue.clock.sleep(1)
            faulty = FaultyPort(venue, ScriptedSchedule(faults), venue.clock)
            config = RetryConfig(stale_after_s=stale_after_s)
            await work(IdempotentPort(faulty, venue.clock, config=config, **more), venue)

    run_stepped(main())


async def ids(venue: SimulatedVenue) -> list[str]:
    """Return the ids of the open orders."""
    return sorted(one.client_order_id for one in await venue.get_open_orders(LAB.symbol))


def fault(operation: Operation, kind: FaultKind, **more: Any) -> tuple[Operation, Fault]:
    """Return a fault of a request."""
    return operation, Fault(kind=kind, **more)


def test_a_repeated_request_returns_the_first_outcome() -> None:
    """The venue sees one order; every caller gets the same answer, also those that come at the same time."""

    async def work(port: IdempotentPort, venue: SimulatedVenue) -> None:
        first, second = await asyncio.gather(port.place_order(order()), port.place_order(order()))
        assert first is second and await port.place_order(order()) is first
        assert len(venue.orders) == 1

    at_a_venue(work)


def test_a_repeated_request_raises_the_first_rejection() -> None:
    """A rejection is an outcome: it is not asked for again."""

    async def work(port: IdempotentPort, venue: SimulatedVenue) -> None:
        for _ in range(2):
            with pytest.raises(OrderRejectedError) as error:
                await port.place_order(order(price="230"))
            assert error.value.reason == "POST_ONLY_WOULD_TAKE"
        assert len(venue.orders) == 1

    at_a_venue(work)


def test_an_id_means_one_order_for_ever() -> None:
    """The same id with another content is refused, naming the first."""

    async def work(port: IdempotentPort, venue: SimulatedVenue) -> None:
        await port.place_order(order())
        with pytest.raises(InvalidRequestError, match="gkr0-B1-1 was used for another order") as error:
            await port.place_order(order(price="194"))
        assert error.value.request == order(price="194")

    at_a_venue(work)


@pytest.mark.parametrize("kind", [FaultKind.TIMED_OUT, FaultKind.MALFORMED])
def test_accepted_then_timed_out_is_found_and_not_sent_again(kind: FaultKind) -> None:
    """The order exists: the look-up is the outcome."""

    async def work(port: IdempotentPort, venue: SimulatedVenue) -> None:
        placed = await port.place_order(order())
        assert placed.state is OrderState.OPEN and len(venue.orders) == 1

    at_a_venue(work, fault(Operation.PLACE, kind))


def test_not_found_right_after_a_send_may_be_transient() -> None:
    """A request that arrives a second after it was given up is waited for, not doubled."""

    async def work(port: IdempotentPort, venue: SimulatedVenue) -> None:
        placed = await port.place_order(order())
        assert placed.state is OrderState.OPEN and len(venue.orders) == 1

    at_a_venue(work, fault(Operation.PLACE, FaultKind.LATE, arrives_s=1.2))


def test_what_never_arrived_is_sent_once_more_under_the_same_id() -> None:
    """Only after the receive window, when "no such order" is final."""

    async def work(port: IdempotentPort, venue: SimulatedVenue) -> None:
        began = venue.clock.monotonic_ns()
        await port.place_order(order())
        assert venue.clock.monotonic_ns() - began > 2e9
        assert await ids(venue) == ["gkr0-B1-1"] and len(venue.orders) == 1

    at_a_venue(work, fault(Operation.PLACE, FaultKind.VANISHED))


def test_a_stale_price_is_not_sent_again() -> None:
    """What never arrived and is too old is given up, for good and in words."""

    async def work(port: IdempotentPort, venue: SimulatedVenue) -> None:
        for _ in range(2):
            with pytest.raises(OrderFailedError, match="never arrived; its price is stale"):
                await port.place_order(order())
        assert venue.orders == ()

    at_a_venue(work, fault(Operation.PLACE, FaultKind.VANISHED), stale_after_s=0.5)


def test_look_ups_that_fail_are_asked_again() -> None:
    """The question is repeated until it is answered."""
    fails = [
        fault(Operation.GET_ORDER, kind) for kind in (FaultKind.UNREACHABLE, FaultKind.RATE_LIMITED, FaultKind.VANISHED)
    ]

    async def work(port: IdempotentPort, venue: SimulatedVenue) -> None:
        assert (await port.place_order(order())).state is OrderState.OPEN and len(venue.orders) == 1

    at_a_venue(work, fault(Operation.PLACE, FaultKind.TIMED_OUT), *fails)


def test_patience_ends_in_unknown_and_a_later_call_asks_first() -> None:
    """With a venue that answers nothing the outcome stays unknown; it is not remembered, and nothing is sent blindly."""
    deaf = [fault(Operation.GET_ORDER, FaultKind.UNREACHABLE)] * 40

    async def work(port: IdempotentPort, venue: SimulatedVenue) -> None:
        with pytest.raises(OutcomeUnknownError, match="answers no questions"):
            await port.place_order(order())
        while True:
            try:
                placed = await port.place_order(order())
                break
            except OutcomeUnknownError:
                continue
        assert placed.state is OrderState.OPEN and len(venue.orders) == 1

    at_a_venue(work, fault(Operation.PLACE, FaultKind.TIMED_OUT), *deaf, lookup_deadline_s=3.0)


def test_a_duplicate_that_the_venue_refuses_means_that_the_first_arrived() -> None:
    """A process that sends again what another has sent gets the order that exists."""

    async def work(port: IdempotentPort, venue: SimulatedVenue) -> None:
        await venue.place_order(order())
        assert (await port.place_order(order())).order_id == "1" and len(venue.orders) == 1

    at_a_venue(work)


def test_an_unreadable_status_is_returned_and_no_outcome() -> None:
    """FOO comes back as UNKNOWN with the raw message, and the next call asks again."""

    async def work(port: IdempotentPort, venue: SimulatedVenue) -> None:
        first = await port.place_order(order())
        assert first.in_flight is InFlight.UNKNOWN and first.raw == "FOO"
        again = await port.place_order(order())
        assert again.state is OrderState.OPEN and again.in_flight is None and len(venue.orders) == 1

    at_a_venue(work, fault(Operation.PLACE, FaultKind.UNREADABLE))


@pytest.mark.parametrize("kind", [FaultKind.TIMED_OUT, FaultKind.VANISHED])
def test_a_cancel_of_which_nothing_was_heard_is_looked_up(kind: FaultKind) -> None:
    """The order has ended, or it is withdrawn again."""

    async def work(port: IdempotentPort, venue: SimulatedVenue) -> None:
        await port.place_order(order())
        ended = await port.cancel_order(cancel())
        assert ended.state is OrderState.CANCELLED and await ids(venue) == []

    at_a_venue(work, fault(Operation.CANCEL, kind))


def test_a_cancel_of_an_unknown_order_means_look_it_up() -> None:
    """An order that ended before is returned as it ended; one that nobody ever knew is said to be unknown."""

    async def work(port: IdempotentPort, venue: SimulatedVenue) -> None:
        await port.place_order(order())
        await port.cancel_order(cancel())
        assert (await port.cancel_order(cancel())).state is OrderState.CANCELLED
        with pytest.raises(OrderNotFoundError):
            await port.cancel_order(cancel(9))

    at_a_venue(work)


def test_a_cancel_waits_for_a_placement_under_way() -> None:
    """An order that is not confirmed cannot be withdrawn safely."""

    async def work(port: IdempotentPort, venue: SimulatedVenue) -> None:
        placing = asyncio.create_task(port.place_order(order()))
        await venue.clock.sleep(0.001)
        ended = await port.cancel_order(cancel())
        assert placing.done() and ended.state is OrderState.CANCELLED and await ids(venue) == []

    at_a_venue(work, fault(Operation.PLACE, FaultKind.SLOW_REQUEST, arrives_s=1.0))


@pytest.mark.parametrize(
    ("kind", "done"), [(FaultKind.TIMED_OUT, True), (FaultKind.LATE, True), (FaultKind.VANISHED, False)]
)
def test_an_amend_of_which_nothing_was_heard_is_looked_up(kind: FaultKind, done: bool) -> None:
    """Price and quantity tell whether it happened; where it did not, the order stands and the caller decides anew."""
    wanted = AmendRequest(
        client_order_id="gkr0-B1-1", level_id="BUY_1", symbol=LAB.symbol, side=Side.BUY,
        price=Decimal(194), quantity=Decimal("0.07"),
    )  # fmt: skip

    async def work(port: IdempotentPort, venue: SimulatedVenue) -> None:
        await port.place_order(order())
        if done:
            assert (await port.amend_order(wanted)).price == 194
        else:
            with pytest.raises(OrderRejectedError) as error:
                await port.amend_order(wanted)
            assert error.value.reason == "NOT_AMENDED"
        assert [one.price for one in await venue.get_open_orders(LAB.symbol)] == [Decimal(194 if done else 195)]

    at_a_venue(work, fault(Operation.AMEND, kind, arrives_s=1.0 if kind is FaultKind.LATE else 0.0))


def test_items_of_a_batch_are_looked_up_alone() -> None:
    """One result per item in order: done, refused, done unheard, never arrived and sent again."""
    fates = (Fate.DONE, Fate.REJECTED, Fate.TIMED_OUT, Fate.VANISHED)

    async def work(port: IdempotentPort, venue: SimulatedVenue) -> None:
        requests = [order(n, price=str(190 + n)) for n in range(1, 5)]
        results = await port.batch_place(requests)
        assert [r.ok for r in results] == [True, False, True, True]
        assert [r.client_order_id for r in results] == [r.client_order_id for r in requests]
        assert await ids(venue) == ["gkr0-B1-1", "gkr0-B1-3", "gkr0-B1-4"]
        again = await port.batch_place(requests)
        assert [r.ok for r in again] == [True, False, True, True] and len(await ids(venue)) == 3

    at_a_venue(work, fault(Operation.BATCH_PLACE, FaultKind.PARTIAL, items=fates, reason="VENUE_BUSY"))


@pytest.mark.parametrize("kind", [FaultKind.TIMED_OUT, FaultKind.VANISHED, FaultKind.LATE])
def test_a_whole_batch_that_was_not_answered_is_looked_up(kind: FaultKind) -> None:
    """Each item exists once in the end."""

    async def work(port: IdempotentPort, venue: SimulatedVenue) -> None:
        results = await port.batch_place([order(n, price=str(190 + n)) for n in range(1, 4)])
        assert all(r.ok for r in results) and len(await ids(venue)) == len(venue.orders) == 3
        ended = await port.batch_cancel([cancel(n) for n in range(1, 4)])
        assert all(r.ok and r.order is not None and r.order.state is OrderState.CANCELLED for r in ended)

    at_a_venue(
        work,
        fault(Operation.BATCH_PLACE, kind, arrives_s=0.5 if kind is FaultKind.LATE else 0.0),
        fault(Operation.BATCH_CANCEL, FaultKind.TIMED_OUT),
    )


def test_what_was_surely_not_done_is_a_result_and_no_exception() -> None:
    """A batch that did not get away gives a reason for each item."""

    async def work(port: IdempotentPort, venue: SimulatedVenue) -> None:
        results = await port.batch_place([order(n, price=str(190 + n)) for n in range(1, 3)])
        assert [r.reason for r in results] == ["CONNECTIVITY", "CONNECTIVITY"] and venue.orders == ()
        with pytest.raises(InvalidRequestError, match="7 items in one batch; the venue takes 5"):
            await port.batch_place([order(n) for n in range(7)])

    at_a_venue(work, fault(Operation.BATCH_PLACE, FaultKind.UNREACHABLE))
