"""The venue behind a socket: what passes, what a closed connection means, and that it survives its clients."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest

from grinder_kit.errors import (
    ConnectivityError,
    OrderNotFoundError,
    OrderRejectedError,
    OutcomeUnknownError,
    RateLimitError,
    VenueError,
)
from grinder_kit.execution.clock import LoopClock
from grinder_kit.execution.port import AccountEvent, ExchangePort, MarketView
from grinder_kit.market.synthetic import SYNTHETIC_INSTRUMENT
from grinder_kit.model.event import StreamLost
from grinder_kit.model.fill import Fill
from grinder_kit.model.order import AmendRequest, Order, OrderRequest, OrderState, Side
from grinder_kit.venue.fault_schedule import ScriptedSchedule
from grinder_kit.venue.faults import Fault, FaultKind
from grinder_kit.venue.faulty import FaultyPort
from tests.lab.laboratory import LAB
from tests.lab.memory_port import SYMBOL, MemoryPort, cancel_request, order_request
from tests.lab.processes import PROCESSES, a_venue
from tests.lab.socket_port import SocketPort
from tests.lab.socket_venue import HOST, SocketVenue

ID = "gkr0-B1-1"
START = 1_700_000_000_000_000_000
Scene = Callable[[int, MemoryPort, SocketVenue], Coroutine[Any, Any, None]]


def play(scene: Scene, *, faults: Iterable[Fault] = (), **options: Any) -> None:
    """Run a scene against a served venue of this process, by the machine's time."""

    async def main() -> None:
        clock = LoopClock(START, speed=4.0)
        venue = MemoryPort(clock)
        port: ExchangePort = FaultyPort(venue, ScriptedSchedule(list(faults)), clock)
        served = SocketVenue(port, venue, SYNTHETIC_INSTRUMENT, clock, speed=4.0, **options)
        number = await served.start()
        try:
            await asyncio.wait_for(scene(number, venue, served), 20)
        finally:
            await served.close()

    asyncio.run(main())


@asynccontextmanager
async def attached(number: int) -> AsyncIterator[SocketPort]:
    """Attach for a while."""
    port = await SocketPort.connect(number)
    try:
        yield port
    finally:
        await port.close()


async def listening(port: SocketPort) -> tuple[asyncio.Task[None], list[AccountEvent]]:
    """Listen to the account; return once that has begun."""
    told: list[AccountEvent] = []

    async def listen() -> None:
        async for event in port.events():
            told.append(event)

    task = asyncio.create_task(listen())
    await asyncio.sleep(0)
    await port.now_ns()  # asked after `listen`, so answered after it
    return task, told


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that is about to happen."""
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not happen")


def test_every_call_passes() -> None:
    """Orders, batches and questions come back as the port behind answers them."""

    async def scene(number: int, venue: MemoryPort, served: SocketVenue) -> None:
        async with attached(number) as port:
            _: tuple[ExchangePort, MarketView] = (port, port)
            assert (port.capabilities, port.instrument, port.speed) == (venue.capabilities, SYNTHETIC_INSTRUMENT, 4.0)
            assert await port.place_order(order_request()) == venue.orders[ID]
            amend = AmendRequest(
                client_order_id=ID,
                level_id="BUY_1",
                symbol=SYMBOL,
                side=Side.BUY,
                price=Decimal(59980),
                quantity=Decimal("0.006"),
            )
            assert (await port.amend_order(amend)).price == 59980
            assert (await port.batch_amend([amend]))[0].ok
            placed = await port.batch_place([order_request("gkr0-B2-1"), order_request(ID)])
            assert [(r.ok, r.reason) for r in placed] == [(True, None), (False, "DUPLICATE_CLIENT_ID")]
            assert placed[0].order == venue.orders["gkr0-B2-1"]
            fill = venue.trade(ID, "0.002")
            assert await port.get_order(SYMBOL, client_order_id=ID) == venue.orders[ID]
            assert await port.get_order(SYMBOL, order_id="99") is None
            assert await port.get_open_orders(SYMBOL) == tuple(venue.orders.values())
            assert await port.get_fills(SYMBOL) == await port.get_fills(SYMBOL, order_id=ID) == (fill,)
            assert await port.get_fills(SYMBOL, since_ns=fill.ts_ns + 1) == ()
            assert await port.get_positions() == await venue.get_positions()
            assert await port.get_balances() == await venue.get_balances()
            assert (await port.cancel_order(cancel_request())).state is OrderState.CANCELLED
            cancelled = await port.batch_cancel([cancel_request(), cancel_request("gkr0-B2-1")])
            assert [r.reason for r in cancelled] == ["ORDER_NOT_FOUND", None]

    play(scene)


def test_errors_pass_with_the_request() -> None:
    """An error of the venue is the same error here, and carries the request."""

    async def scene(number: int, venue: MemoryPort, served: SocketVenue) -> None:
        async with attached(number) as port:
            with pytest.raises(RateLimitError) as limited:
                await port.place_order(order_request())
            assert (limited.value.retry_after, limited.value.request) == (0.0, order_request())
            with pytest.raises(OrderNotFoundError) as lost:
                await port.cancel_order(cancel_request())
            assert lost.value.request == cancel_request()
            await port.place_order(order_request())
            with pytest.raises(OrderRejectedError) as twice:
                await port.place_order(order_request())
            assert twice.value.reason == "DUPLICATE_CLIENT_ID"
            with pytest.raises(OutcomeUnknownError, match="no such call"):
                await port.ask("transfer")

    play(scene, faults=[Fault(kind=FaultKind.RATE_LIMITED, retry_after=0.0)])


def test_a_bug_behind_the_venue_is_told_and_kept() -> None:
    """Nobody waits for ever because the laboratory itself failed: it is an error, and a violation."""

    async def scene(number: int, venue: MemoryPort, served: SocketVenue) -> None:
        async with attached(number) as port:
            with pytest.raises(VenueError, match="AttributeError"):
                await port.ask("place_order", "no order at all")
            assert "AttributeError" in (await port.truth())["violations"][0]

    play(scene)


def test_events_are_pushed_and_lost_while_nobody_listens() -> None:
    """An attachment hears what happens from then on; what happened in between is gone for good."""

    async def scene(number: int, venue: MemoryPort, served: SocketVenue) -> None:
        async with attached(number) as port:
            listener, told = await listening(port)
            order = await port.place_order(order_request())
            await until(lambda: len(told) == 1)
            assert told == [order]
        await listener
        assert isinstance(told[-1], StreamLost)
        venue.trade(ID, "0.001")
        await until(lambda: "t1" in served.truth.fills)
        async with attached(number) as again, attached(number) as other:
            _, heard = await listening(again)
            fill = venue.trade(ID, "0.001")
            await until(lambda: len(heard) == 2)
            assert heard[0] == fill and isinstance(heard[1], Order)
            assert await other.get_order(SYMBOL, client_order_id=ID) == heard[1]

    play(scene)


def test_event_that_cannot_be_read_is_a_gap_in_the_stream() -> None:
    """Whoever cannot read an event knows that something was missed."""

    async def scene(number: int, venue: MemoryPort, served: SocketVenue) -> None:
        async with attached(number) as port:
            _, told = await listening(port)
            port._hear({"event": {"what": "Fill", "fill_id": "t1"}})
            await until(lambda: len(told) == 1)
            assert isinstance(told[0], StreamLost) and "lacks 'order_id'" in told[0].reason

    play(scene)


def test_connection_that_closes_before_the_answer_leaves_the_outcome_unknown() -> None:
    """Sent and not answered: OutcomeUnknownError, and a gap in the stream. Not sent at all: ConnectivityError."""

    async def scene(number: int, venue: MemoryPort, served: SocketVenue) -> None:
        port = await SocketPort.connect(number)
        listener, told = await listening(port)
        placing = asyncio.create_task(port.place_order(order_request()))
        await until(lambda: ID in venue.orders)
        await served.close()
        with pytest.raises(OutcomeUnknownError) as unknown:
            await placing
        assert unknown.value.request == order_request()
        with pytest.raises(ConnectivityError) as gone:
            await port.place_order(order_request("gkr0-B2-1"))
        assert not isinstance(gone.value, OutcomeUnknownError)
        await listener
        assert isinstance(told[-1], StreamLost)
        assert port.tick(START).stale
        with pytest.raises(ConnectivityError):
            await SocketPort.connect(number)
        await port.close()

    play(scene, faults=[Fault(kind=FaultKind.HANGS)])


def test_client_runs_by_the_venues_clock() -> None:
    """The client's clock shows the venue's time at its speed, and ticks follow the market until nothing is heard."""

    async def scene(number: int, venue: MemoryPort, served: SocketVenue) -> None:
        async with attached(number) as port:
            clock = await port.clock()
            assert abs(clock.now_ns() - served.clock.now_ns()) < 0.5e9
            assert clock.speed == 4.0
            assert port.tick(clock.now_ns()) == venue.tick(clock.now_ns())
            assert port.tick(clock.now_ns() + 10_000_000_000).stale

    play(scene)


def test_watch_looks_at_what_the_exchange_knows() -> None:
    """What `watch` says is kept once, though nobody asked; truth tells all that was seen and asked."""

    async def scene(number: int, venue: MemoryPort, served: SocketVenue) -> None:
        async with attached(number) as port:
            await port.place_order(order_request())
            await port.batch_place([order_request("gkr0-B2-1")])
            venue.trade(ID, "0.004")
            await port.cancel_order(cancel_request("gkr0-B2-1"))
            await until(lambda: len(served.truth.fills) == 1)
            truth = await port.truth()
        assert truth["violations"] == ["2 open"]
        assert {name: order.state for name, order in truth["orders"].items()} == {
            ID: OrderState.FILLED,
            "gkr0-B2-1": OrderState.CANCELLED,
        }
        assert truth["open_orders"] == [] and [type(fill) for fill in truth["fills"]] == [Fill]
        assert [(call, ids) for _, call, ids in truth["requests"]] == [
            ("place_order", [ID]),
            ("batch_place", ["gkr0-B2-1"]),
            ("cancel_order", ["gkr0-B2-1"]),
        ]

    def two(orders: tuple[Order, ...]) -> list[str]:
        return [f"{len(orders)} open"] if len(orders) > 1 else []

    play(scene, watch=two)

    async def known_directly(number: int, venue: MemoryPort, served: SocketVenue) -> None:
        served._known = venue.orders.values
        await scene(number, venue, served)

    play(known_directly, watch=two)


def test_nonsense_of_one_client_does_not_disturb_another() -> None:
    """A client that speaks no JSON, or dies in the middle of a line, is hung up on; the others go on."""

    async def scene(number: int, venue: MemoryPort, served: SocketVenue) -> None:
        async with attached(number) as port:
            for words in (b"GET / HTTP/1.1\r\n\r\n", b"[1]\n", b'{"id": 1}\n', b'{"id": 1, "call": "place_or'):
                reader, writer = await asyncio.open_connection(HOST, number)
                writer.write(words)
                writer.write_eof()
                while await reader.readline():
                    pass
                writer.close()
            assert (await port.place_order(order_request())).state is OrderState.OPEN
            assert len(served._clients) == 1

    play(scene)


# --- processes -----------------------------------------------------------------------------------------------------------


def send_and_die(number: int) -> None:
    """Send an order and be killed before the answer can come."""

    async def main() -> None:
        port = await SocketPort.connect(number)
        placing = asyncio.create_task(port.place_order(far_bid("gklab-B9-1")))
        await asyncio.sleep(0)
        await port._writer.drain()
        assert not placing.done()
        os.kill(os.getpid(), signal.SIGKILL)

    asyncio.run(main())


def far_bid(client_order_id: str) -> OrderRequest:
    """Return a request that rests far from the market of the laboratory."""
    return OrderRequest(
        client_order_id=client_order_id,
        level_id="BUY_9",
        symbol=LAB.symbol,
        side=Side.BUY,
        price=Decimal(100),
        quantity=Decimal("0.1"),
    )


def test_order_of_a_client_that_was_killed_lives_at_the_venue() -> None:
    """A request that was sent is carried out though its process is gone; the next one finds the order."""
    with a_venue() as number:
        process = PROCESSES.Process(target=send_and_die, args=(number,))
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL

        async def look() -> None:
            async with attached(number) as port:
                clock = await port.clock()
                await clock.sleep(1)
                order = await port.get_order(LAB.symbol, client_order_id="gklab-B9-1")
                assert order is not None and order.state is OrderState.OPEN
                with pytest.raises(OrderRejectedError, match="open order has the client order id"):
                    await port.place_order(far_bid("gklab-B9-1"))
                assert (await port.truth())["violations"] == []
                assert not port.tick(clock.now_ns()).stale

        asyncio.run(look())
