"""FaultyPort: each fault does what it says, the same for the same seed, and calm is calm."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.errors import (
    BannedError,
    ConfigError,
    ConnectivityError,
    MalformedAnswerError,
    OrderRejectedError,
    OutcomeUnknownError,
    RateLimitError,
    VenueError,
)
from grinder_kit.execution.clock import LoopClock, run_stepped
from grinder_kit.execution.port import AccountEvent, ExchangePort, Operation
from grinder_kit.model.event import FundingPaid, StreamLost
from grinder_kit.model.fill import Fill
from grinder_kit.model.order import AmendRequest, InFlight, Order, OrderState, Side
from grinder_kit.venue.fault_schedule import RandomSchedule, Schedule, ScriptedSchedule
from grinder_kit.venue.faults import EVENT_KINDS, FITS, NO_FAULT, Fate, Fault, FaultKind, kinds_of
from grinder_kit.venue.faulty import FaultyPort, JumpingClock
from tests.lab.memory_port import SYMBOL, MemoryPort, cancel_request, order_request

K = FaultKind
ID = "gkr0-B1-1"
Scene = Callable[[FaultyPort, MemoryPort, LoopClock], Coroutine[Any, Any, None]]


def play(scene: Scene, requests: list[Any] | None = None, events: list[Fault] | None = None) -> FaultyPort:
    """Run a scene against a fresh venue whose faults are scripted."""

    async def main() -> FaultyPort:
        clock = LoopClock()
        venue = MemoryPort(clock)
        port = FaultyPort(venue, ScriptedSchedule(requests or [], events or []), clock)
        await scene(port, venue, clock)
        return port

    return run_stepped(main())


def seconds(clock: LoopClock) -> float:
    """Return the time of the loop."""
    return clock.monotonic_ns() / 1e9


# --- requests ------------------------------------------------------------------------------------------------------------


def test_unreachable_does_nothing_and_says_so() -> None:
    """A request that does not get away raises ConnectivityError, and never reaches the venue."""

    async def scene(port: FaultyPort, venue: MemoryPort, clock: LoopClock) -> None:
        with pytest.raises(ConnectivityError) as error:
            await port.place_order(order_request())
        assert not isinstance(error.value, OutcomeUnknownError)
        assert error.value.request == order_request()
        assert (venue.calls, seconds(clock)) == ([], 0.5)

    play(scene, [Fault(kind=K.UNREACHABLE, delay_s=0.5)])


def test_timed_out_is_carried_out() -> None:
    """An answer that is lost leaves an order at the venue and an unknown outcome with the caller."""

    async def scene(port: FaultyPort, venue: MemoryPort, clock: LoopClock) -> None:
        with pytest.raises(OutcomeUnknownError) as error:
            await port.place_order(order_request())
        assert error.value.request == order_request()
        assert (venue.calls, seconds(clock)) == ([(0, f"place {ID}")], 2)
        order = await port.get_order(SYMBOL, client_order_id=ID)
        assert order is not None and order.state is OrderState.OPEN

    play(scene, [Fault(kind=K.TIMED_OUT, delay_s=2)])


def test_timed_out_hides_a_refusal_too() -> None:
    """Whether the venue took the order cannot be told from a lost answer."""

    async def scene(port: FaultyPort, venue: MemoryPort, clock: LoopClock) -> None:
        await port.place_order(order_request())
        with pytest.raises(OutcomeUnknownError):
            await port.place_order(order_request())

    play(scene, [NO_FAULT, Fault(kind=K.TIMED_OUT)])


def test_vanished_is_not_carried_out_though_nobody_knows() -> None:
    """A request that is lost on the way has an unknown outcome, and never arrives."""

    async def scene(port: FaultyPort, venue: MemoryPort, clock: LoopClock) -> None:
        with pytest.raises(OutcomeUnknownError):
            await port.place_order(order_request())
        await clock.sleep(60)
        assert await port.get_order(SYMBOL, client_order_id=ID) is None

    play(scene, [Fault(kind=K.VANISHED, delay_s=1)])


def test_late_arrives_after_a_look_up_found_nothing() -> None:
    """Not found right after a send may be transient: the order appears within the receive window."""

    async def scene(port: FaultyPort, venue: MemoryPort, clock: LoopClock) -> None:
        with pytest.raises(OutcomeUnknownError):
            await port.place_order(order_request())
        assert await port.get_order(SYMBOL, client_order_id=ID) is None
        assert port.under_way == 1
        await clock.sleep(4)
        assert await port.get_order(SYMBOL, client_order_id=ID) is not None
        assert (4_000_000_000, f"place {ID}") in venue.calls
        assert port.under_way == 0

    play(scene, [Fault(kind=K.LATE, delay_s=1, arrives_s=4)])


def test_late_beyond_the_receive_window_is_not_executed() -> None:
    """What arrives outside the receive window does not become an order: then not found is final."""

    async def scene(port: FaultyPort, venue: MemoryPort, clock: LoopClock) -> None:
        with pytest.raises(OutcomeUnknownError):
            await port.place_order(order_request())
        await clock.sleep(60)
        assert venue.calls == []

    play(scene, [Fault(kind=K.LATE, delay_s=1, arrives_s=5.1)])


def test_slow_request_is_answered_when_it_arrives() -> None:
    """A slow request is carried out late and answered then."""

    async def scene(port: FaultyPort, venue: MemoryPort, clock: LoopClock) -> None:
        assert (await port.place_order(order_request())).state is OrderState.OPEN
        assert venue.calls == [(3_000_000_000, f"place {ID}")]

    play(scene, [Fault(kind=K.SLOW_REQUEST, arrives_s=3)])


def test_slow_request_beyond_the_receive_window_is_refused() -> None:
    """An order that arrives too late is refused as OUTSIDE_RECV_WINDOW; a question that does has merely failed."""

    async def scene(port: FaultyPort, venue: MemoryPort, clock: LoopClock) -> None:
        with pytest.raises(OrderRejectedError) as error:
            await port.place_order(order_request())
        assert error.value.reason == "OUTSIDE_RECV_WINDOW"
        with pytest.raises(ConnectivityError):
            await port.get_order(SYMBOL, client_order_id=ID)
        assert venue.calls == []

    play(scene, [Fault(kind=K.SLOW_REQUEST, arrives_s=6)] * 2)


def test_partial_fill_happens_while_a_cancel_is_under_way() -> None:
    """A slow cancel comes back with what was filled meanwhile."""

    async def scene(port: FaultyPort, venue: MemoryPort, clock: LoopClock) -> None:
        await port.place_order(order_request())
        cancel = asyncio.create_task(port.cancel_order(cancel_request()))
        await clock.sleep(1)
        fill = venue.trade(ID, "0.001")
        order = await cancel
        assert (order.state, order.filled_quantity) == (OrderState.CANCELLED, fill.quantity)

    play(scene, [(Operation.CANCEL, Fault(kind=K.SLOW_REQUEST, arrives_s=2))])


def test_slow_answer_is_carried_out_at_once() -> None:
    """A slow answer says how the order was when the venue acted."""

    async def scene(port: FaultyPort, venue: MemoryPort, clock: LoopClock) -> None:
        placing = asyncio.create_task(port.place_order(order_request()))
        await clock.sleep(1)
        venue.trade(ID, "0.004")
        assert (await placing).state is OrderState.OPEN
        assert (venue.calls[0][0], seconds(clock)) == (0, 3)

    play(scene, [Fault(kind=K.SLOW_ANSWER, delay_s=3)])


def test_hanging_call_is_answered_by_release_only() -> None:
    """A call that hangs was carried out; calm does not answer it, release does, with what the venue said."""

    async def scene(port: FaultyPort, venue: MemoryPort, clock: LoopClock) -> None:
        placing = asyncio.create_task(port.place_order(order_request()))
        await clock.sleep(1)
        assert venue.orders[ID].state is OrderState.OPEN
        port.schedule.calm()
        await clock.sleep(3600)
        assert not placing.done()
        port.release()
        assert (await placing).client_order_id == ID

    play(scene, [Fault(kind=K.HANGS)])


def test_giving_up_does_not_take_a_request_back() -> None:
    """A caller that is cancelled in mid-send does not stop what is on the wire."""

    async def scene(port: FaultyPort, venue: MemoryPort, clock: LoopClock) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(port.place_order(order_request()), 1)
        assert venue.orders == {}
        await clock.sleep(2)
        assert venue.orders[ID].state is OrderState.OPEN

    play(scene, [Fault(kind=K.SLOW_REQUEST, arrives_s=2)])


def test_rejected_is_definitive() -> None:
    """A refusal names its reason, and nothing was done."""

    async def scene(port: FaultyPort, venue: MemoryPort, clock: LoopClock) -> None:
        with pytest.raises(OrderRejectedError) as error:
            await port.place_order(order_request())
        assert (error.value.reason, venue.calls) == ("POST_ONLY_WOULD_TAKE", [])
        results = await port.batch_place([order_request(f"gkr0-B{n}-1") for n in range(2)])
        assert [(r.client_order_id, r.reason) for r in results] == [
            ("gkr0-B0-1", "MIN_NOTIONAL"),
            ("gkr0-B1-1", "MIN_NOTIONAL"),
        ]

    play(scene, [Fault(kind=K.REJECTED, reason="POST_ONLY_WOULD_TAKE"), Fault(kind=K.REJECTED, reason="MIN_NOTIONAL")])


@pytest.mark.parametrize("retry_after", [0.0, None])
def test_rate_limit_without_a_wait_lets_the_next_request_pass(retry_after: float | None) -> None:
    """A 429 with Retry-After 0, or without one, does nothing and shuts nothing."""

    async def scene(port: FaultyPort, venue: MemoryPort, clock: LoopClock) -> None:
        with pytest.raises(RateLimitError) as error:
            await port.place_order(order_request())
        assert error.value.retry_after == retry_after
        assert venue.calls == []
        await port.place_order(order_request())
        assert port.impatient == []

    play(scene, [Fault(kind=K.RATE_LIMITED, retry_after=retry_after)])


@pytest.mark.parametrize(("kind", "error"), [(K.RATE_LIMITED, RateLimitError), (K.BANNED, BannedError)])
def test_retry_after_is_enforced_and_who_ignores_it_is_named(kind: FaultKind, error: type[RateLimitError]) -> None:
    """Until Retry-After is over every request is refused and noted; then all pass."""

    async def scene(port: FaultyPort, venue: MemoryPort, clock: LoopClock) -> None:
        with pytest.raises(error):
            await port.place_order(order_request())
        await clock.sleep(2)
        with pytest.raises(error) as again:
            await port.get_open_orders(SYMBOL)
        assert again.value.retry_after == 1
        assert len(port.impatient) == 1 and "get_open_orders" in port.impatient[0]
        await clock.sleep(1)
        await port.place_order(order_request())
        assert len(port.impatient) == 1

    play(scene, [Fault(kind=kind, retry_after=3)])


def test_malformed_answer_was_carried_out() -> None:
    """An answer that cannot be read is kept, and the order exists."""

    async def scene(port: FaultyPort, venue: MemoryPort, clock: LoopClock) -> None:
        with pytest.raises(MalformedAnswerError) as error:
            await port.place_order(order_request())
        assert error.value.raw and error.value.request == order_request()
        assert ID in venue.orders

    play(scene, [Fault(kind=K.MALFORMED)])


def test_unreadable_status_keeps_the_venues_words() -> None:
    """A status FOO makes the order unknown, with the words in raw; the other orders of the answer can be read."""

    async def scene(port: FaultyPort, venue: MemoryPort, clock: LoopClock) -> None:
        order = await port.place_order(order_request())
        assert (order.in_flight, order.raw) == (InFlight.UNKNOWN, "FOO")
        results = await port.batch_place([order_request(f"gkr0-B{n}-1") for n in (2, 3)])
        assert [r.order.raw for r in results if r.order] == ["FOO", ""]
        assert [o.raw for o in await port.get_open_orders(SYMBOL)] == ["FOO", "", ""]
        found = await port.get_order(SYMBOL, client_order_id=ID)
        assert found is not None and found.raw == "FOO"
        assert venue.orders[ID].raw == ""

    play(scene, [Fault(kind=K.UNREADABLE)] * 4)


def test_batch_fails_in_part_with_one_result_per_item() -> None:
    """Of a batch some items are done, some refused, some unknown whether done or not; the results keep the order."""

    async def scene(port: FaultyPort, venue: MemoryPort, clock: LoopClock) -> None:
        requests = [order_request(f"gkr0-B{n}-1") for n in range(5)]
        results = await port.batch_place(requests)
        assert [r.client_order_id for r in results] == [r.client_order_id for r in requests]
        assert [(r.ok, r.reason) for r in results] == [
            (True, None),
            (False, "VENUE_BUSY"),
            (False, "OUTCOME_UNKNOWN"),
            (False, "OUTCOME_UNKNOWN"),
            (True, None),
        ]
        assert list(venue.orders) == ["gkr0-B0-1", "gkr0-B2-1", "gkr0-B4-1"]
        cancels = await port.batch_cancel([cancel_request(f"gkr0-B{n}-1") for n in (0, 2)])
        assert [r.reason for r in cancels] == ["VENUE_BUSY", "VENUE_BUSY"]

    fates = (Fate.DONE, Fate.REJECTED, Fate.TIMED_OUT, Fate.VANISHED)
    play(scene, [Fault(kind=K.PARTIAL, items=fates), Fault(kind=K.PARTIAL, items=(Fate.REJECTED,))])


def test_amends_and_questions_are_struck_too() -> None:
    """Every operation of the port passes the schedule under its own name."""

    async def scene(port: FaultyPort, venue: MemoryPort, clock: LoopClock) -> None:
        await port.place_order(order_request())
        amend = AmendRequest(
            client_order_id=ID,
            level_id="BUY_1",
            symbol=SYMBOL,
            side=Side.BUY,
            price=Decimal(59980),
            quantity=Decimal("0.005"),
        )
        calls: dict[Operation, Callable[[], Coroutine[Any, Any, Any]]] = {
            Operation.AMEND: lambda: port.amend_order(amend),
            Operation.BATCH_AMEND: lambda: port.batch_amend([amend]),
            Operation.GET_FILLS: lambda: port.get_fills(SYMBOL),
            Operation.GET_POSITIONS: port.get_positions,
            Operation.GET_BALANCES: port.get_balances,
        }
        for operation, call in calls.items():
            with pytest.raises(ConnectivityError):
                await call()
            assert port.schedule.log[-1].where == operation
            await call()

    operations = ("amend", "batch_amend", "get_fills", "get_positions", "get_balances")
    play(scene, [(Operation(o), Fault(kind=K.UNREACHABLE)) for o in operations])


# --- the stream ----------------------------------------------------------------------------------------------------------


def stream(faults: list[Fault], count: int = 4, *, calm_at: int | None = None) -> list[tuple[float, str]]:
    """Tell of a fill once a second under scripted faults of the stream; return (second, what was told)."""
    told: list[tuple[float, str]] = []

    async def scene(port: FaultyPort, venue: MemoryPort, clock: LoopClock) -> None:
        async def read() -> None:
            async for event in port.events():
                told.append((seconds(clock), event.fill_id if isinstance(event, Fill) else type(event).__name__))

        reading = asyncio.create_task(read())
        for number in range(1, count + 1):
            await clock.sleep(1)
            if number == calm_at:
                port.schedule.calm()
            venue.tell(fill(number))
        await clock.sleep(20)
        reading.cancel()

    play(scene, events=faults)
    return told


def fill(number: int) -> Fill:
    """Return a fill."""
    return Fill(
        fill_id=f"t{number}",
        order_id=ID,
        symbol=SYMBOL,
        side=Side.BUY,
        price=Decimal(59990),
        quantity=Decimal("0.001"),
        commission=Decimal(0),
        commission_asset="USDT",
        ts_ns=number,
        is_maker=True,
    )


def test_duplicated_event_is_told_twice() -> None:
    """A duplicate comes later, the same in everything."""
    assert stream([Fault(kind=K.DUPLICATED, delay_s=1.5)], 2) == [(1, "t1"), (2, "t2"), (2.5, "t1")]


def test_delayed_event_is_overtaken() -> None:
    """A late event lets others pass."""
    assert stream([Fault(kind=K.DELAYED, delay_s=2.5)], 3) == [(2, "t2"), (3, "t3"), (3.5, "t1")]


def test_reordered_event_comes_right_after_the_next() -> None:
    """Two events change places; where none follows, the delay bounds the wait."""
    assert stream([Fault(kind=K.REORDERED, delay_s=9)], 2) == [(2, "t2"), (2, "t1")]
    assert stream([Fault(kind=K.REORDERED, delay_s=9)], 1) == [(10, "t1")]


def test_lost_stream_says_so_when_it_is_back() -> None:
    """What happens while the stream is lost is never told; StreamLost is."""
    assert stream([Fault(kind=K.STREAM_LOST, delay_s=1.5)]) == [(2.5, "StreamLost"), (3, "t3"), (4, "t4")]


def test_loss_of_the_stream_may_be_noticed_late() -> None:
    """Events may be told again before anybody notices that some are missing."""
    lost = Fault(kind=K.STREAM_LOST, delay_s=0.5, notice_s=1.5)
    assert stream([lost], 3) == [(2, "t2"), (2.5, "StreamLost"), (3, "t3")]


def test_calm_tells_what_is_held_in_order_and_ends_an_outage() -> None:
    """With calm, held events are told in the order in which they happened, before what comes then."""
    late = [Fault(kind=K.DELAYED, delay_s=9), Fault(kind=K.DELAYED, delay_s=8)]
    assert stream(late, 3, calm_at=3) == [(3, "t1"), (3, "t2"), (3, "t3")]
    lost = Fault(kind=K.STREAM_LOST, delay_s=9)
    assert stream([lost], 3, calm_at=3) == [(3, "StreamLost"), (3, "t3")]


def test_unreadable_event_keeps_the_order() -> None:
    """An order event with a status that nobody knows is told as UNKNOWN; funding and losses pass as they are."""

    async def scene(port: FaultyPort, venue: MemoryPort, clock: LoopClock) -> None:
        await port.place_order(order_request())
        venue.tell(FundingPaid(ts_ns=1, amount=venue.orders[ID].quantity))
        venue.tell(StreamLost(ts_ns=1))
        events = port.events()
        first = await anext(events)
        assert isinstance(first, Order) and (first.in_flight, first.raw) == (InFlight.UNKNOWN, "FOO")
        assert [type(await anext(events)) for _ in range(2)] == [FundingPaid, StreamLost]
        await events.aclose()  # type: ignore[attr-defined]

    play(scene, events=[Fault(kind=K.UNREADABLE), Fault(kind=K.DELAYED, delay_s=5)])


# --- schedules -----------------------------------------------------------------------------------------------------------


def session(seed: int, **options: Any) -> tuple[list[str], list[str], Schedule]:
    """Run the same small session under a seed; return what was answered and told, and the schedule."""
    answers: list[str] = []
    told: list[str] = []

    async def main() -> Schedule:
        clock = LoopClock()
        venue = MemoryPort(clock)
        schedule = RandomSchedule(seed, **options)
        port = FaultyPort(venue, schedule, clock)

        async def read() -> None:
            async for event in port.events():
                told.append(f"{seconds(clock):.6f} {event}")

        async def ask(number: int) -> None:
            one = f"gkr0-B{number}-1"
            for call in (port.place_order(order_request(one)), port.cancel_order(cancel_request(one))):
                try:
                    words = str(await call)
                except VenueError as error:
                    words = repr(error)
                answers.append(f"{seconds(clock):.6f} {words}")

        reading = asyncio.create_task(read())
        asking = []
        for number in range(40):
            asking.append(asyncio.create_task(ask(number)))
            await clock.sleep(0.5)
        schedule.calm()
        port.release()
        await asyncio.gather(*asking)
        await clock.sleep(30)
        reading.cancel()
        return schedule

    return answers, told, run_stepped(main())


def test_random_schedule_is_the_same_for_the_same_seed() -> None:
    """A seed gives the same faults, answers and events in stepped time; another gives others."""
    first, again, other = (session(seed, rate=0.5) for seed in (7, 7, 8))
    assert first[:2] == again[:2]
    assert first[2].story() == again[2].story() != other[2].story()
    assert len(first[2].log) > 20


@given(st.integers(0, 2**32), st.sampled_from(Operation))
def test_random_schedule_draws_what_fits_within_its_bounds(seed: int, operation: Operation) -> None:
    """Whatever is drawn can strike the operation, and every delay ends."""
    schedule = RandomSchedule(seed, rate=1.0, longest_s=2.0, receive_window_s=5.0, ban_s=4.0)
    for _ in range(5):
        fault = schedule.next_request(operation)
        assert fault.kind in kinds_of(operation)
        assert 0 <= fault.delay_s <= 2
        assert 0 <= fault.arrives_s <= 3.5 or 6 <= fault.arrives_s <= 8
        assert 0 <= (fault.retry_after or 0) <= 4
        event = schedule.next_event()
        assert event.kind in EVENT_KINDS
        assert 0 <= event.delay_s <= 2
        assert event.kind is not K.STREAM_LOST or event.delay_s <= event.notice_s <= 4


def test_random_schedule_draws_every_kind() -> None:
    """No fault is forgotten: each is drawn for some operation, as are both sides of the receive window."""
    schedule = RandomSchedule(1, rate=1.0)
    drawn = [schedule.next_request(operation) for operation in list(Operation) * 60]
    assert {fault.kind for fault in drawn} == set(FITS) - {K.NONE}
    assert {fault.arrives_s > 5 for fault in drawn if fault.kind is K.LATE} == {True, False}
    assert {fault.retry_after for fault in drawn if fault.kind is K.RATE_LIMITED} > {0.0, None}
    assert {schedule.next_event().kind for _ in range(100)} == set(EVENT_KINDS)


def test_random_schedule_keeps_to_what_it_may_draw() -> None:
    """`only` and `most` bound what is drawn; rate 0 draws nothing."""
    schedule = RandomSchedule(1, rate=1.0, only={K.TIMED_OUT, K.DUPLICATED}, most=5)
    drawn = [schedule.next_request(Operation.PLACE) for _ in range(9)]
    assert [fault.kind for fault in drawn] == [K.TIMED_OUT] * 5 + [K.NONE] * 4
    assert RandomSchedule(1, rate=1.0, only={K.DUPLICATED}).next_request(Operation.PLACE) is NO_FAULT
    assert RandomSchedule(1, rate=0.0).next_event() is NO_FAULT


def test_calm_is_the_inner_port() -> None:
    """After calm nothing is struck, a ban is lifted, and answers and events come at once."""

    async def scene(port: FaultyPort, venue: MemoryPort, clock: LoopClock) -> None:
        with pytest.raises(BannedError):
            await port.place_order(order_request())
        port.schedule.calm()
        await port.place_order(order_request())
        assert seconds(clock) == 0
        told: AccountEvent = await anext(port.events())
        assert told == venue.orders[ID]

    play(scene, [Fault(kind=K.BANNED, retry_after=60), Fault(kind=K.UNREACHABLE)], [Fault(kind=K.STREAM_LOST)])


def test_log_tells_the_story() -> None:
    """The log names time, operation, order and fault, so that a seed can be read."""

    async def scene(port: FaultyPort, venue: MemoryPort, clock: LoopClock) -> None:
        with pytest.raises(RateLimitError):
            await port.place_order(order_request())

    port = play(scene, [Fault(kind=K.RATE_LIMITED, delay_s=0.25, retry_after=3)])
    assert port.schedule.story() == f"0.000s place {ID} RATE_LIMITED delay_s=0.25 retry_after=3"


@pytest.mark.parametrize(
    "nonsense",
    [
        lambda: Fault(kind=K.SLOW_ANSWER, delay_s=-1),
        lambda: Fault(kind=K.PARTIAL),
        lambda: ScriptedSchedule([Fault(kind=K.DUPLICATED)]).next_request(Operation.PLACE),
        lambda: ScriptedSchedule([Fault(kind=K.REJECTED)]).next_request(Operation.GET_FILLS),
        lambda: ScriptedSchedule([], [Fault(kind=K.HANGS)]).next_event(),
    ],
)
def test_fault_that_makes_no_sense_is_refused(nonsense: Callable[[], object]) -> None:
    """A negative delay, a batch without fates, or a fault of something else is an error that says what to write."""
    with pytest.raises(ConfigError, match="write|needs"):
        nonsense()


def test_jumping_clock_keeps_durations() -> None:
    """The time of day jumps both ways; the monotonic clock and sleeping do not."""

    async def main() -> None:
        inner = LoopClock(1_000_000_000)
        clock = JumpingClock(inner)
        clock.jump(3600)
        assert clock.now_ns() == 3601_000_000_000
        await clock.sleep(1)
        clock.jump(-7200)
        assert (clock.now_ns(), clock.monotonic_ns()) == (-3598_000_000_000, 1_000_000_000)

    run_stepped(main())


def test_faulty_port_has_the_shape_of_a_port() -> None:
    """It goes wherever a port goes."""

    async def main() -> None:
        clock = LoopClock()
        port: ExchangePort = FaultyPort(MemoryPort(clock), ScriptedSchedule(), clock)
        assert port.capabilities.supports_batch_place

    run_stepped(main())
