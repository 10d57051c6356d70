"""SimulatedVenue: the kernel's fills behind the port, told when a venue would tell them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from grinder_kit.errors import OrderNotFoundError, OrderRejectedError, RateLimitError
from grinder_kit.execution.clock import run_stepped
from grinder_kit.execution.port import FUTURES, SPOT, Capabilities
from grinder_kit.model.config import ExecutionConfig
from grinder_kit.model.fill import Fill
from grinder_kit.model.order import AmendRequest, CancelRequest, Order, OrderRequest, OrderState, OrderType, Side
from grinder_kit.venue.simulated import SimulatedVenue
from tests.lab.laboratory import LAB, LabMarket

EXECUTION = ExecutionConfig(entry_ms=30, response_ms=20)
MS = 1_000_000


def order(number: int = 1, price: str = "195", quantity: str = "0.05", **more: Any) -> OrderRequest:
    """Return an order that rests below the market."""
    values: dict[str, Any] = {
        "client_order_id": f"web_{number}",
        "level_id": "",
        "symbol": LAB.symbol,
        "side": Side.BUY,
    }
    return OrderRequest(**(values | {"price": price, "quantity": quantity} | more))


def amend(price: str = "194", quantity: str = "0.05", number: int = 1) -> AmendRequest:
    """Return an amend of such an order."""
    return AmendRequest(
        client_order_id=f"web_{number}", level_id="", symbol=LAB.symbol, side=Side.BUY,
        price=price, quantity=quantity,  # type: ignore[arg-type]
    )  # fmt: skip


def at(work: Callable[[SimulatedVenue], Awaitable[None]], capabilities: Capabilities = FUTURES, **more: Any) -> None:
    """Run something at a venue in stepped time."""

    async def main() -> None:
        market = LabMarket(1, 60)
        async with SimulatedVenue(market, execution=EXECUTION, capabilities=capabilities, **more) as venue:
            await venue.clock.sleep(1)
            await work(venue)

    run_stepped(main())


def test_an_answer_comes_after_the_way_there_and_back_to_the_nanosecond() -> None:
    """30 ms to the exchange and 20 ms back; the event of the order comes at the same time, and first."""

    async def work(venue: SimulatedVenue) -> None:
        stream = venue.events()
        event = asyncio.ensure_future(anext(stream))
        began = venue.clock.now_ns()
        placed = await venue.place_order(order())
        assert venue.clock.now_ns() - began == 50 * MS and event.done()
        assert placed.updated_ns - began == 30 * MS and placed.state is OrderState.OPEN

    at(work)


def test_questions_see_what_the_exchange_knows_before_we_are_told() -> None:
    """A question that arrives after the order finds it, though its own answer is still on the way."""

    async def work(venue: SimulatedVenue) -> None:
        placing = asyncio.ensure_future(venue.place_order(order()))
        await venue.clock.sleep(0.001)
        found = await venue.get_order(LAB.symbol, client_order_id="web_1")
        assert found is not None and found.state is OrderState.OPEN and placing.done()
        await placing
        assert [one.client_order_id for one in await venue.get_open_orders(LAB.symbol)] == ["web_1"]
        assert await venue.get_order(LAB.symbol, client_order_id="web_9") is None

    at(work)


def test_an_order_that_has_not_arrived_is_not_known() -> None:
    """Not found right after a send is transient."""

    async def work(venue: SimulatedVenue) -> None:
        placing = asyncio.ensure_future(venue.place_order(order()))
        await asyncio.sleep(0)
        assert [one.state for one in venue.orders] == [OrderState.PENDING]  # at the exchange, not arrived
        assert await venue.get_open_orders(LAB.symbol) != () or placing.done()
        await placing

    at(work)


def test_fills_are_told_once_and_add_up() -> None:
    """Every fill of an order comes in the stream, and the account says what they come to."""

    async def work(venue: SimulatedVenue) -> None:
        told: list[Fill] = []

        async def listen() -> None:
            async for event in venue.events():
                if isinstance(event, Fill):
                    told.append(event)

        listener = asyncio.ensure_future(listen())
        await venue.place_order(order(price="203", quantity="0.20", type=OrderType.LIMIT))  # takes several levels
        await venue.clock.sleep(20)
        listener.cancel()
        fills = await venue.get_fills(LAB.symbol)
        assert tuple(told) == fills and len(fills) > 1
        assert sum((f.quantity for f in fills), Decimal(0)) == Decimal("0.20")
        assert (await venue.get_positions())[LAB.symbol].quantity == Decimal("0.20") == venue.position
        paid = sum((f.commission for f in fills), Decimal(0))
        assert (await venue.get_balances())["USDT"].total == Decimal(10**6) - paid
        assert await venue.get_fills(LAB.symbol, order_id="web_1") == fills
        assert await venue.get_fills(LAB.symbol, since_ns=fills[-1].ts_ns) == fills  # they took at one time
        assert await venue.get_fills(LAB.symbol, since_ns=fills[-1].ts_ns + 1) == ()

    at(work)


def test_a_modified_order_goes_to_the_back_of_the_queue_and_keeps_its_id() -> None:
    """USD-M: price and quantity change, the place in the queue is lost."""

    async def work(venue: SimulatedVenue) -> None:
        tick = venue.tick(venue.clock.now_ns())
        assert tick.bid_ticks is not None
        near, far = LAB.price(tick.bid_ticks - 1), LAB.price(tick.bid_ticks - 2)
        placed = await venue.place_order(order(price=str(near)))
        moved = await venue.amend_order(amend(str(far), "0.07"))
        assert (moved.order_id, moved.price, moved.quantity) == (placed.order_id, far, Decimal("0.07"))
        assert venue.queue_ahead("web_1") is not None

    at(work)


def test_a_modify_that_would_take_cancels_a_post_only() -> None:
    """USD-M: the order is gone, and the answer says so."""

    async def work(venue: SimulatedVenue) -> None:
        await venue.place_order(order())
        gone = await venue.amend_order(amend("230"))
        assert gone.state is OrderState.CANCELLED and await venue.get_open_orders(LAB.symbol) == ()

    at(work)


def test_spot_takes_only_a_smaller_quantity() -> None:
    """Anything else is rejected and the order stands."""

    async def work(venue: SimulatedVenue) -> None:
        await venue.place_order(order())
        assert (await venue.amend_order(amend("195", "0.03"))).quantity == Decimal("0.03")
        for wrong in (amend("194", "0.03"), amend("195", "0.09")):
            with pytest.raises(OrderRejectedError) as error:
                await venue.amend_order(wrong)
            assert error.value.reason == "NOT_AMENDED" and error.value.request == wrong

    at(work, SPOT)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (order(symbol="LABUSD"), "UNKNOWN_SYMBOL"),
        (order(price="195.05"), "OFF_STEP"),
        (order(quantity="0.001"), "OFF_STEP"),
        (order(price="230"), "POST_ONLY_WOULD_TAKE"),
        (order(side=Side.SELL, price="230", reduce_only=True), "REDUCE_ONLY_REJECTED"),
    ],
)
def test_what_a_venue_refuses_is_named(wrong: OrderRequest, reason: str) -> None:
    """The reason is a code, the message says what to write, the request is attached."""

    async def work(venue: SimulatedVenue) -> None:
        with pytest.raises(OrderRejectedError) as error:
            await venue.place_order(wrong)
        assert error.value.reason == reason and error.value.request == wrong

    at(work)


def test_an_unknown_symbol_says_which_one_is_traded() -> None:
    """With the nearest name where there is one."""

    async def work(venue: SimulatedVenue) -> None:
        with pytest.raises(OrderRejectedError, match="this venue trades LABUSDT"):
            await venue.place_order(order(symbol="LABUSD"))

    at(work)


def test_an_id_is_taken_while_its_order_is_open() -> None:
    """Two open orders never share an id; one that has ended may be used again."""

    async def work(venue: SimulatedVenue) -> None:
        await venue.place_order(order())
        with pytest.raises(OrderRejectedError) as error:
            await venue.place_order(order())
        assert error.value.reason == "DUPLICATE_CLIENT_ID"
        await venue.cancel_order(CancelRequest(client_order_id="web_1", symbol=LAB.symbol))
        assert (await venue.place_order(order())).state is OrderState.OPEN

    at(work)


def test_a_cancel_of_nothing_is_not_found() -> None:
    """Neither what never was nor what has ended can be withdrawn."""

    async def work(venue: SimulatedVenue) -> None:
        gone = CancelRequest(client_order_id="web_1", symbol=LAB.symbol)
        with pytest.raises(OrderNotFoundError):
            await venue.cancel_order(gone)
        await venue.place_order(order())
        assert (await venue.cancel_order(gone)).state is OrderState.CANCELLED
        with pytest.raises(OrderNotFoundError):
            await venue.cancel_order(gone)

    at(work)


def test_an_ioc_takes_and_the_rest_expires() -> None:
    """What crosses fills at the levels it meets, as taker."""

    async def work(venue: SimulatedVenue) -> None:
        await venue.place_order(order(price="201", quantity="90", type=OrderType.IOC))
        await venue.clock.sleep(1)
        (taken,) = venue.orders
        assert taken.state is OrderState.EXPIRED and 0 < taken.filled_quantity < 90
        assert all(not fill.is_maker for fill in venue.fills)

    at(work)


def test_a_batch_answers_for_each_item_and_refuses_too_many() -> None:
    """Items fail alone; a batch over the venue's size fails as a whole."""

    async def work(venue: SimulatedVenue) -> None:
        requests = [order(1), order(2, price="230"), order(3, price="194")]
        results = await venue.batch_place(requests)
        assert [(r.client_order_id, r.ok, r.reason) for r in results] == [
            ("web_1", True, None), ("web_2", False, "POST_ONLY_WOULD_TAKE"), ("web_3", True, None),
        ]  # fmt: skip
        with pytest.raises(OrderRejectedError, match="at most 5"):
            await venue.batch_place([order(n) for n in range(10, 16)])
        amended = await venue.batch_amend([amend("193", number=1), amend("192", number=9)])
        assert [r.reason for r in amended] == [None, "ORDER_NOT_FOUND"]
        ended = await venue.batch_cancel([CancelRequest(client_order_id=f"web_{n}", symbol=LAB.symbol) for n in (1, 3)])
        assert all(r.ok and r.order is not None and r.order.state is OrderState.CANCELLED for r in ended)

    at(work)


def test_spot_has_no_batches() -> None:
    """What a venue cannot do it says."""

    async def work(venue: SimulatedVenue) -> None:
        with pytest.raises(OrderRejectedError) as error:
            await venue.batch_place([order()])
        assert error.value.reason == "NOT_SUPPORTED"

    at(work, SPOT)


def test_too_much_weight_is_refused_where_it_is_enforced() -> None:
    """429 with how long to wait; after that there is room again."""

    async def work(venue: SimulatedVenue) -> None:
        for _ in range(3):
            await venue.get_order(LAB.symbol, client_order_id="web_1")
        with pytest.raises(RateLimitError) as error:
            await venue.get_order(LAB.symbol, client_order_id="web_1")
        assert error.value.retry_after is not None and 0 < error.value.retry_after <= 10
        await venue.clock.sleep(error.value.retry_after)
        await venue.get_order(LAB.symbol, client_order_id="web_1")
        assert venue.max_weight_used == 3

    at(work, replace(FUTURES, weight_limit=3, weight_window_s=10), enforce_weight=True)


def test_whoever_watches_sees_the_exchange_as_it_happens() -> None:
    """Opened, amended, ended, at the exchange's time."""
    seen: list[tuple[str, OrderState, int]] = []

    def watch(what: str, order: Order, ts_ns: int) -> None:
        seen.append((what, order.state, ts_ns))

    async def work(venue: SimulatedVenue) -> None:
        began = venue.clock.now_ns()
        await venue.place_order(order())
        await venue.amend_order(amend())
        await venue.cancel_order(CancelRequest(client_order_id="web_1", symbol=LAB.symbol))
        assert [(what, (ts - began) // MS) for what, _, ts in seen] == [("OPENED", 30), ("AMENDED", 80), ("ENDED", 130)]

    at(work, watch=watch)


def test_scaled_time_plays_a_minute_in_a_second() -> None:
    """At 60 times the speed, 6 s of market take about a tenth of a second of the machine's time."""

    async def main() -> None:
        market = LabMarket(1, 60)
        async with SimulatedVenue(market, execution=EXECUTION, speed=60) as venue:
            began = time.monotonic()
            await venue.place_order(order())
            await venue.clock.sleep(6)
            assert time.monotonic() - began >= 0.1 and venue.clock.now_ns() - venue.start_ns >= 6e9
            assert (await venue.get_open_orders(LAB.symbol))[0].client_order_id == "web_1"

    asyncio.run(main())


def test_after_the_market_has_ended_orders_can_still_be_withdrawn() -> None:
    """The last stretch ends, the venue does not."""

    async def work(venue: SimulatedVenue) -> None:
        await venue.place_order(order(price="120"))
        await venue.clock.sleep(120)
        assert [o.client_order_id for o in await venue.get_open_orders(LAB.symbol)] == ["web_1"]
        ended = await venue.cancel_order(CancelRequest(client_order_id="web_1", symbol=LAB.symbol))
        assert ended.state is OrderState.CANCELLED and venue.ended

    at(work)
