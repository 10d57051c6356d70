"""The venue behind a socket: what passes, what comes too late, what a closed connection means, and that it survives its clients."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import psutil
import pytest

from grinder_kit.errors import (
    ConfigError,
    ConnectivityError,
    DataError,
    OrderNotFoundError,
    OrderRejectedError,
    OutcomeUnknownError,
    RateLimitError,
)
from grinder_kit.execution.clock import LoopClock
from grinder_kit.execution.port import AccountEvent, ExchangePort, MarketView
from grinder_kit.market.synthetic import SYNTHETIC_INSTRUMENT
from grinder_kit.model.event import StreamLost, Tick
from grinder_kit.model.order import AmendRequest, Order, OrderRequest, OrderState, Side
from grinder_kit.venue import wire
from grinder_kit.venue.fault_schedule import ScriptedSchedule
from grinder_kit.venue.faults import Fault, FaultKind
from grinder_kit.venue.faulty import FaultyPort
from grinder_kit.venue.served import HOST, ServedVenue, serve
from grinder_kit.venue.socket_port import SocketPort
from tests.lab.laboratory import LAB, LabMarket
from tests.lab.memory_port import SYMBOL, MemoryPort, cancel_request, order_request
from tests.lab.processes import PROCESSES, a_venue
from tests.lab.truth import truth_of

ID = "gkr0-B1-1"
START = 1_700_000_000_000_000_000
Scene = Callable[[int, MemoryPort, ServedVenue], Coroutine[Any, Any, None]]


def play(scene: Scene, *, faults: Iterable[Fault] = (), **options: Any) -> None:
    """Run a scene against a served venue of this process, at four times the machine's time."""

    async def main() -> None:
        clock = LoopClock(START, speed=4.0)
        venue = MemoryPort(clock)
        port: ExchangePort = FaultyPort(venue, ScriptedSchedule(list(faults)), clock)
        served = ServedVenue(port, venue, SYNTHETIC_INSTRUMENT, clock, speed=4.0, **options)
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

    async def scene(number: int, venue: MemoryPort, served: ServedVenue) -> None:
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

    async def scene(number: int, venue: MemoryPort, served: ServedVenue) -> None:
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


def test_a_bug_behind_the_venue_leaves_the_outcome_unknown(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody waits for ever because the venue itself failed, and nobody takes it for a refusal."""
    seen: list[tuple[str, Any]] = []

    async def scene(number: int, venue: MemoryPort, served: ServedVenue) -> None:
        async with attached(number) as port:
            with pytest.raises(OutcomeUnknownError, match="AttributeError"):
                await port.ask("place_order", "no order at all")
            with pytest.raises(OrderRejectedError, match="finite number") as refused:
                await port.ask("place_order", wire.to_json(order_request()) | {"quantity": "NaN"})
            assert refused.value.reason == "INVALID_REQUEST"

    play(scene, observe=lambda what, value: seen.append((what, value)))
    assert seen[0] == ("place_order", ["no order at all"]) and isinstance(seen[1][1], AttributeError)
    assert "call failed call=place_order" in caplog.text


def test_events_are_pushed_and_lost_while_nobody_listens() -> None:
    """An attachment hears what happens from then on; what happened in between is gone for good."""
    seen: list[Any] = []

    async def scene(number: int, venue: MemoryPort, served: ServedVenue) -> None:
        async with attached(number) as port:
            listener, told = await listening(port)
            order = await port.place_order(order_request())
            await until(lambda: len(told) == 1)
            assert told == [order]
        await listener
        assert isinstance(told[-1], StreamLost)
        fill = venue.trade(ID, "0.001")
        await until(lambda: ("event", fill) in seen)
        async with attached(number) as again, attached(number) as other:
            _, heard = await listening(again)
            fill = venue.trade(ID, "0.001")
            await until(lambda: len(heard) == 2)
            assert heard[0] == fill and isinstance(heard[1], Order)
            assert await other.get_order(SYMBOL, client_order_id=ID) == heard[1]

    play(scene, observe=lambda what, value: seen.append((what, value)))


def test_event_that_cannot_be_read_is_a_gap_in_the_stream() -> None:
    """Whoever cannot read an event knows that something was missed."""

    async def scene(number: int, venue: MemoryPort, served: ServedVenue) -> None:
        async with attached(number) as port:
            _, told = await listening(port)
            port._hear({"event": {"what": "Fill", "fill_id": "t1"}})
            await until(lambda: len(told) == 1)
            assert isinstance(told[0], StreamLost) and "lacks 'order_id'" in told[0].reason

    play(scene)


def test_connection_that_closes_before_the_answer_leaves_the_outcome_unknown() -> None:
    """Sent and not answered: OutcomeUnknownError, and a gap in the stream. Not sent at all: ConnectivityError."""

    async def scene(number: int, venue: MemoryPort, served: ServedVenue) -> None:
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

    async def scene(number: int, venue: MemoryPort, served: ServedVenue) -> None:
        async with attached(number) as port:
            clock = await port.clock()
            assert abs(clock.now_ns() - served.clock.now_ns()) < 0.5e9
            assert clock.speed == 4.0
            assert port.tick(clock.now_ns()) == venue.tick(clock.now_ns())
            assert port.tick(clock.now_ns() + 10_000_000_000).stale

    play(scene)


def test_what_adds_risk_must_arrive_in_time() -> None:
    """Orders and amends that were under way for longer than the receive window are not carried out; cancels are."""

    async def scene(number: int, venue: MemoryPort, served: ServedVenue) -> None:
        async with attached(number) as port:
            await port.place_order(order_request())
            before = len(venue.calls)
            port._ahead_ns = -6_000_000_000  # its words have been lying for 6 s
            amend = AmendRequest(
                client_order_id=ID, level_id="", symbol=SYMBOL, side=Side.BUY, price=Decimal(1), quantity=Decimal(1)
            )
            another = order_request("gkr0-B2-1")
            late: list[tuple[Callable[..., Any], Any]] = [
                (port.place_order, another),
                (port.amend_order, amend),
                (port.batch_place, [another]),
                (port.batch_amend, [amend]),
            ]
            for call, request in late:
                with pytest.raises(OrderRejectedError, match="the receive window is 5 s") as refused:
                    await call(request)
                assert (refused.value.reason, refused.value.request) == ("OUTSIDE_RECV_WINDOW", request)
            assert len(venue.calls) == before
            assert (await port.cancel_order(cancel_request())).state is OrderState.CANCELLED
            message = {"id": 99, "call": "place_order", "args": [wire.to_json(another)]}
            answer = port._asked[99] = asyncio.get_running_loop().create_future()
            port._writer.write(wire.encode(message))
            assert (await answer)["error"]["reason"] == "INVALID_REQUEST"

    play(scene)


def test_client_stamps_what_it_sends_by_the_venue_s_clock() -> None:
    """Never ahead of it, and behind by no more than a message takes."""
    late: list[int] = []

    async def scene(number: int, venue: MemoryPort, served: ServedVenue) -> None:
        async with attached(number) as port:
            for _ in range(5):
                await port.now_ns()
                late.append(served.clock.now_ns() - port._message(1, "x", (), {})["sent_ns"])

    play(scene)
    assert all(0 <= ns < 4_000_000_000 for ns in late)


def test_queue_ahead_is_told_where_the_venue_can_tell() -> None:
    """A number for each order that rests, None for the others, and None for all at a venue that cannot tell."""

    async def asked(number: int, venue: MemoryPort, served: ServedVenue) -> None:
        async with attached(number) as port:
            assert await port.queue_ahead([ID, "gkr0-B2-1"]) == expected

    expected: dict[str, str | None] = {ID: "0.250", "gkr0-B2-1": None}
    play(asked, queue_ahead={ID: Decimal("0.250")}.get)
    expected = dict.fromkeys(expected)
    play(asked)


def test_a_market_that_fails_is_a_gap_in_the_stream_and_stale(caplog: pytest.LogCaptureFixture) -> None:
    """Clients stay attached and learn that something is missing."""

    class Failing(MemoryPort):
        async def events(self) -> AsyncIterator[AccountEvent]:
            """Fail once somebody has traded."""
            async for _ in super().events():
                raise DataError("the file is cut off")
                yield

        def tick(self, now_ns: int) -> Tick:
            """Fail."""
            raise DataError("the file is cut off")

    async def main() -> None:
        clock = LoopClock(START)
        venue = Failing(clock)
        served = ServedVenue(venue, venue, SYNTHETIC_INSTRUMENT, clock)
        async with attached(await served.start()) as port:
            _, told = await listening(port)
            await port.place_order(order_request())
            await until(lambda: len(told) == 1)
            assert isinstance(told[0], StreamLost) and told[0].reason == "the file is cut off"
            assert port.tick(clock.now_ns()).stale and port.feed_age_s >= 0
        await served.close()

    asyncio.run(main())
    assert "the file is cut off" in caplog.text


def test_a_client_that_does_not_read_is_hung_up_on(caplog: pytest.LogCaptureFixture) -> None:
    """What lies unread for it is bounded: ticks are left out, and in the end so is the client."""

    async def scene(number: int, venue: MemoryPort, served: ServedVenue) -> None:
        reader, writer = await asyncio.open_connection(HOST, number, limit=1 << 10)
        writer.write(wire.encode({"id": 1, "call": "listen"}))
        await until(lambda: len(served._listeners) == 1)
        order = replace(await venue.place_order(order_request()), raw="x" * (1 << 20))
        for _ in range(40):
            venue.tell(order)
        await until(lambda: not served._clients)
        writer.close()

    play(scene)
    assert "hung up on a client" in caplog.text


def test_a_port_that_is_in_use_says_so() -> None:
    """The second venue at a port is refused in words; it listens on loopback alone."""

    async def scene(number: int, venue: MemoryPort, served: ServedVenue) -> None:
        assert served._server is not None
        assert {socket.getsockname()[0] for socket in served._server.sockets} == {"127.0.0.1"}
        other = ServedVenue(venue, venue, SYNTHETIC_INSTRUMENT, served.clock)
        with pytest.raises(ConfigError, match=f"port {number} is in use, perhaps by another venue; write another one"):
            await other.start(number)
        with pytest.raises(ConfigError, match="port 70000 cannot be used"):
            await other.start(70_000)

    play(scene)


def test_what_is_no_venue_is_not_attached_to() -> None:
    """A server that greets with something else is refused at once."""

    async def main() -> None:
        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"{}\n{}\n")
            writer.close()

        server = await asyncio.start_server(greet, HOST, 0)
        with pytest.raises(ConnectivityError, match="does not greet as one"):
            await SocketPort.connect(server.sockets[0].getsockname()[1])
        server.close()
        await server.wait_closed()

    asyncio.run(main())


def test_a_market_is_served_until_a_client_asks_it_to_stop() -> None:
    """`serve` plays a market: orders rest in its queue, and each venue has an id of its own."""

    async def visit(number: int) -> str:
        async with attached(number) as port:
            clock = await port.clock()
            await until(lambda: port.tick(clock.now_ns()).bid_ticks is not None)
            await port.place_order(far_bid("web_1", "198"))
            ahead = await port.queue_ahead(["web_1"])
            assert port.instrument == LAB and ahead["web_1"] is not None and Decimal(ahead["web_1"]) >= 0
            await port.stop_venue()
            return port.venue_id

    async def main() -> None:
        ids = []
        for _ in range(2):
            ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            venue = asyncio.create_task(serve(LabMarket(1, 60), port=0, speed=2.0, on_ready=ready.set_result))
            ids.append(await visit(await ready))
            await asyncio.wait_for(venue, 20)
        assert len(set(ids)) == 2
        ready = asyncio.get_running_loop().create_future()
        venue = asyncio.create_task(serve(LabMarket(1, 60), on_ready=ready.set_result))
        number = await ready
        venue.cancel()
        with pytest.raises(asyncio.CancelledError):
            await venue
        with pytest.raises(ConnectivityError):
            await SocketPort.connect(number)

    asyncio.run(main())


def test_nonsense_of_one_client_does_not_disturb_another() -> None:
    """A client that speaks no JSON, or dies in the middle of a line, is hung up on; the others go on."""

    async def scene(number: int, venue: MemoryPort, served: ServedVenue) -> None:
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


def stop_while_sending(number: int) -> None:
    """Stop in the middle of sending an order, and send the rest when somebody lets this process go on."""

    async def main() -> None:
        port = await SocketPort.connect(number)
        line = wire.encode(port._message(1, "place_order", [far_bid("gklab-B9-1")], {}))
        answer = port._asked[1] = asyncio.get_running_loop().create_future()
        port._writer.write(line[:40])
        await port._writer.drain()
        os.kill(os.getpid(), signal.SIGSTOP)
        port._writer.write(line[40:])
        assert (await answer)["error"]["reason"] == "OUTSIDE_RECV_WINDOW"

    asyncio.run(main())


def far_bid(client_order_id: str, price: str = "100") -> OrderRequest:
    """Return a request that rests far from the market of the laboratory."""
    return OrderRequest(
        client_order_id=client_order_id,
        level_id="BUY_9",
        symbol=LAB.symbol,
        side=Side.BUY,
        price=Decimal(price),
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
                assert (await truth_of(port))["violations"] == []
                assert not port.tick(clock.now_ns()).stale

        asyncio.run(look())


def test_process_that_was_stopped_while_it_sent_places_no_old_order() -> None:
    """Stopped within a request and let go on after the receive window, it is refused, and nothing was placed."""
    with a_venue() as number:
        process = PROCESSES.Process(target=stop_while_sending, args=(number,))
        process.start()
        assert process.pid is not None
        one = psutil.Process(process.pid)

        async def look() -> None:
            async with attached(number) as port:
                await until(lambda: one.status() == psutil.STATUS_STOPPED)
                await (await port.clock()).sleep(2 * port.capabilities.receive_window_s)
                one.resume()
                await asyncio.to_thread(process.join, 60)
                assert process.exitcode == 0
                assert await port.get_order(LAB.symbol, client_order_id="gklab-B9-1") is None

        asyncio.run(look())
