"""SimulatedVenue keeps an account as a venue does: balances, funding, reduce-only, limits, and an end that everybody hears of."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grinder_kit.errors import DataError, OrderRejectedError
from grinder_kit.execution.clock import run_stepped
from grinder_kit.execution.fees import Fees, funding_amount
from grinder_kit.execution.port import FUTURES, SPOT, AmendRule, Capabilities
from grinder_kit.kernel import exchange as ex
from grinder_kit.kernel.options import kernel_options
from grinder_kit.market.synthetic import synthetic_market
from grinder_kit.model.config import ExecutionConfig
from grinder_kit.model.event import FundingPaid
from grinder_kit.model.fill import Fill
from grinder_kit.model.instrument import Contract
from grinder_kit.model.order import CancelRequest, Order, OrderRequest, OrderState, OrderType, Side
from grinder_kit.venue import exchange_side
from grinder_kit.venue.simulated import SimulatedVenue
from tests.kernel.markets import Kernel
from tests.lab.laboratory import LAB, START, LabMarket
from tests.simulation.markets import Wrapped, calm, funding_table
from tests.venue.test_simulated import EXECUTION, MS, amend, order

Work = Callable[[SimulatedVenue], Awaitable[None]]


def at(work: Work, market: Any = None, capabilities: Capabilities = FUTURES, **more: Any) -> None:
    """Run something at a venue in stepped time."""

    async def main() -> None:
        options: dict[str, Any] = {"execution": EXECUTION, "capabilities": capabilities} | more
        async with SimulatedVenue(market or LabMarket(1, 60), **options) as venue:
            await venue.clock.sleep(1)
            await work(venue)

    run_stepped(main())


def cancel(number: int = 1, symbol: str = LAB.symbol) -> CancelRequest:
    """Return the cancel of an order."""
    return CancelRequest(client_order_id=f"web_{number}", symbol=symbol)


def take(number: int, side: Side, quantity: str = "0.02", **more: Any) -> OrderRequest:
    """Return an order that takes at once."""
    price = "230" if side is Side.BUY else "170"
    return order(number, price=price, quantity=quantity, side=side, type=OrderType.LIMIT, **more)


def lab(contract: Contract) -> Wrapped:
    """Return the lab's market as one of another kind."""
    return Wrapped(LabMarket(1, 60), instrument=replace(LAB, contract=contract))


# --- what is told, and when --------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(
    response=st.sampled_from([1.0, 3.7, 20.0, 333.0]),
    waits=st.lists(st.integers(0, 900_000_001), min_size=2, max_size=8),
    bids=st.lists(st.integers(1, 4), min_size=8, max_size=8),
)
def test_everything_is_told_a_response_latency_after_it_happened(
    response: float, waits: list[int], bids: list[int]
) -> None:
    """To the nanosecond in stepped time, whatever rests and whoever looks: nothing is told late, nothing early."""
    late: list[int] = []

    async def work(venue: SimulatedVenue) -> None:
        async def listen() -> None:
            async for event in venue.events():
                if isinstance(event, Order | Fill):
                    ts = event.ts_ns if isinstance(event, Fill) else event.updated_ns
                    late.append(venue.clock.now_ns() - ts - round(response * MS))

        listener = asyncio.ensure_future(listen())
        for number, (wait, below) in enumerate(zip(waits, bids, strict=False)):
            await venue.clock.sleep(wait / 1e9)
            bid = venue.tick(venue.clock.now_ns()).bid_ticks
            assert bid is not None
            placing = venue.place_order(order(number, price=str(LAB.price(bid - below)), type=OrderType.LIMIT))
            asyncio.ensure_future(placing).add_done_callback(lambda done: done.exception())
        await venue.clock.sleep(5)
        listener.cancel()

    at(work, execution=ExecutionConfig(entry_ms=12.3, response_ms=response))
    assert late and set(late) == {0}


def test_funding_is_told_in_time_though_nothing_rests() -> None:
    """A response latency after its time, at the mark, or at the mid that is known then; as a replay has it."""
    times = START + 5_000 * MS + 123, START + 7_400 * MS + 7
    market = Wrapped(LabMarket(1, 60), funding=funding_table([(times[0], 0.001, 2_000), (times[1], 0.001, None)]))
    told: list[tuple[int, Decimal]] = []
    mids: list[int] = []

    async def work(venue: SimulatedVenue) -> None:
        async def listen() -> None:
            async for event in venue.events():
                if isinstance(event, FundingPaid):
                    tick = venue.tick(venue.clock.now_ns())
                    assert tick.bid_ticks is not None and tick.ask_ticks is not None
                    mids.append((tick.bid_ticks + tick.ask_ticks) // 2)
                    told.append((venue.clock.now_ns(), event.amount))

        listener = asyncio.ensure_future(listen())
        await venue.place_order(take(1, Side.BUY))
        await venue.clock.sleep(20)
        listener.cancel()
        paid = sum((amount for _, amount in told), Decimal(0))
        fees = sum((fill.commission for fill in venue.fills), Decimal(0))
        assert (await venue.get_balances())["USDT"].total == Decimal(10**6) + paid - fees

    at(work, market)
    assert [at for at, _ in told] == [time + 20 * MS for time in times]
    rate = Decimal("0.001")
    assert [amount for _, amount in told] == [
        funding_amount(LAB, rate, 2_000, 2), funding_amount(LAB, rate, mids[1], 2)
    ]  # fmt: skip


@pytest.mark.parametrize("queue", ["risk_averse", "power"])
def test_orders_fill_as_the_kernel_alone_fills_them(queue: str) -> None:
    """The same orders at the same times: the same fills, with latencies that are drawn, and the fees of the configuration."""
    market = synthetic_market(seed=3, minutes=1)
    execution = ExecutionConfig(
        queue=queue, entry_table_ms=[5, 10, 40], response_table_ms=[5, 20], seed=3, maker_fee_bps=1, taker_fee_bps=4
    )
    wishes = [(500 + 700 * n, (-1) ** n, n % 7, 5 + n) for n in range(60)]  # ms, side, ticks from the touch, lots
    sent: list[tuple[int, tuple[int, int, int, int, int, int]]] = []

    async def session() -> list[tuple[Any, ...]]:
        async with SimulatedVenue(market, execution=execution) as venue:
            for number, (ms, side, away, lots) in enumerate(wishes, 1):
                await venue.clock.sleep((venue.start_ns + ms * MS - venue.clock.now_ns()) / 1e9)
                tick = venue.tick(venue.clock.now_ns())
                assert tick.bid_ticks is not None and tick.ask_ticks is not None
                ticks = tick.bid_ticks + 1 - away if side > 0 else tick.ask_ticks - 1 + away
                request = OrderRequest(
                    client_order_id=f"web_{number}", level_id="", symbol=market.instrument.symbol,
                    side=Side.BUY if side > 0 else Side.SELL, price=market.instrument.price(ticks),
                    quantity=market.instrument.quantity(lots), type=OrderType.LIMIT,
                )  # fmt: skip
                sent.append((venue.clock.now_ns(), (ex.PLACE, number, side, ticks, lots, ex.LIMIT)))
                asyncio.ensure_future(venue.place_order(request))
                await asyncio.sleep(0)
            await venue.clock.sleep(60)
            return [(f.order_id, f.price, f.quantity, f.ts_ns, f.is_maker, f.commission) for f in venue.fills]

    fills = run_stepped(session())
    kernel = Kernel(kernel_options(execution), market)  # type: ignore[arg-type]
    fees, price, quantity = Fees(market.instrument, execution), market.instrument.price, market.instrument.quantity
    expected = []
    for now, commands in [*((now, [command]) for now, command in sent), (sent[-1][0] + 60_000 * MS, [])]:
        while True:
            reached, responses = kernel.run(now)
            for r in responses:
                if r["type"] == ex.FILLED:
                    paid = fees.commission(r["tick"], r["lots"], maker=bool(r["maker"]))
                    one = f"web_{r['order']}"
                    expected.append((one, price(r["tick"]), quantity(r["lots"]), r["ts"], bool(r["maker"]), paid))
            if reached >= now and not responses:
                break
        kernel.submit(commands, now)
    assert fills == expected and len({fill[0] for fill in fills}) > 10


# --- the account -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("contract", "assets"),
    [
        (Contract.SPOT, {"USDT": Decimal(10**6), "LAB": Decimal(1000)}),
        (Contract.LINEAR, {"USDT": Decimal(10**6)}),
        (Contract.INVERSE, {"LAB": Decimal(10**6)}),
    ],
)
def test_an_account_holds_what_its_kind_settles_in(contract: Contract, assets: dict[str, Decimal]) -> None:
    """A futures account begins with the settlement asset alone, a spot account with both sides of the pair."""

    async def work(venue: SimulatedVenue) -> None:
        assert {asset: one.total for asset, one in (await venue.get_balances()).items()} == assets

    at(work, lab(contract))


def test_open_spot_orders_hold_what_they_may_spend() -> None:
    """`free` is less than `total` by the quote of resting buys and the base of resting sells."""

    async def work(venue: SimulatedVenue) -> None:
        await venue.place_order(order(1, price="150", quantity="2"))
        await venue.place_order(order(2, price="300", quantity="3", side=Side.SELL))
        held = await venue.get_balances()
        assert (held["USDT"].free, held["USDT"].total) == (Decimal(999_700), Decimal(10**6))
        assert (held["LAB"].free, held["LAB"].total) == (Decimal(997), Decimal(1000))
        await venue.cancel_order(cancel(1))
        assert (await venue.get_balances())["USDT"].free == Decimal(10**6)

    at(work, lab(Contract.SPOT), SPOT)


def test_reduce_only_orders_together_never_turn_the_position() -> None:
    """What open reduce-only orders may still close is spoken for; a second order over it is refused."""

    async def work(venue: SimulatedVenue) -> None:
        await venue.place_order(take(1, Side.BUY))
        await venue.clock.sleep(0.2)
        exits = [take(n, Side.SELL, reduce_only=True) for n in (2, 3)]
        first, second = await asyncio.gather(*(venue.place_order(r) for r in exits), return_exceptions=True)
        assert isinstance(first, Order) and isinstance(second, OrderRejectedError)
        assert second.reason == "REDUCE_ONLY_REJECTED"
        await venue.clock.sleep(1)
        assert venue.position == 0

    at(work)


def test_a_request_is_judged_by_what_the_exchange_knows_when_it_is_sent() -> None:
    """Where nobody has been told of a fill yet, its order's id is free again and what it bought can be sold."""
    script = calm().trade(2_000, "sell", 990, 20).depth(9_000, ("buy", 900, 1))

    async def work(venue: SimulatedVenue) -> None:
        bought = asyncio.ensure_future(venue.place_order(order(1, price="99")))
        await venue.clock.sleep(1.5)
        selling = asyncio.ensure_future(
            venue.place_order(order(2, side=Side.SELL, price="101", reduce_only=True, type=OrderType.LIMIT))
        )
        again = asyncio.ensure_future(venue.place_order(order(1, price="98")))
        await venue.clock.sleep(0.1)
        assert not bought.done() and venue.position == Decimal("0.05")
        assert [(await one).state for one in (bought, selling, again)] == [OrderState.OPEN] * 3

    at(work, script.market(LAB), execution=ExecutionConfig(queue="risk_averse", entry_ms=30, response_ms=3_000))


# --- what is refused ---------------------------------------------------------------------------------------------------


def test_nothing_is_done_or_answered_for_an_unknown_symbol() -> None:
    """A cancel under another symbol leaves the order alone, and a question about one is an error, not an empty answer."""

    async def work(venue: SimulatedVenue) -> None:
        await venue.place_order(order())
        asked: list[Callable[[], Awaitable[Any]]] = [
            lambda: venue.cancel_order(cancel(symbol="LABUSD")),
            lambda: venue.amend_order(replace(amend(), symbol="LABUSD")),
            lambda: venue.get_order("LABUSD", client_order_id="web_1"),
            lambda: venue.get_open_orders("LABUSD"),
            lambda: venue.get_fills("LABUSD"),
        ]
        for ask in asked:
            with pytest.raises(OrderRejectedError, match="this venue trades LABUSDT") as error:
                await ask()
            assert error.value.reason == "UNKNOWN_SYMBOL"
        assert len(await venue.get_open_orders(LAB.symbol)) == 1

    at(work)


@pytest.mark.parametrize(
    ("lacking", "wrong"),
    [
        ({"reduce_only": False}, order(side=Side.SELL, price="230", reduce_only=True)),
        ({"post_only": False}, order()),
        ({"ioc": False}, order(type=OrderType.IOC)),
    ],
)
def test_what_a_venue_cannot_do_it_refuses(lacking: dict[str, bool], wrong: OrderRequest) -> None:
    """Its capabilities are the truth: an order of a kind that it lacks is NOT_SUPPORTED."""

    async def work(venue: SimulatedVenue) -> None:
        with pytest.raises(OrderRejectedError) as error:
            await venue.place_order(wrong)
        assert error.value.reason == "NOT_SUPPORTED"

    at(work, capabilities=replace(FUTURES, **lacking))  # type: ignore[arg-type]


def test_an_order_takes_so_many_amends_and_no_more() -> None:
    """USD-M counts the modifications of an order; a refused one does not count, and the order stands."""

    async def work(venue: SimulatedVenue) -> None:
        await venue.place_order(order())
        await venue.amend_order(amend("194"))
        await venue.amend_order(amend("193"))
        with pytest.raises(OrderRejectedError, match="amended 2 times") as error:
            await venue.amend_order(amend("192"))
        assert error.value.reason == "NOT_AMENDED"
        (standing,) = await venue.get_open_orders(LAB.symbol)
        assert standing.price == Decimal(193)

    at(work, capabilities=replace(FUTURES, max_amends=2))


@pytest.mark.parametrize(
    ("limits", "wrong", "reason"),
    [
        ({"min_quantity": Decimal("0.1")}, order(2), "MIN_QUANTITY"),
        ({"max_quantity": Decimal("0.04")}, order(2), "MAX_QUANTITY"),
        ({"min_notional": Decimal(10)}, order(2), "MIN_NOTIONAL"),
        ({"band_down": Decimal("0.9")}, order(2, price="100"), "PRICE_BAND"),
        ({"max_orders": 1}, order(2), "MAX_ORDERS"),
    ],
)
def test_the_instrument_s_limits_are_the_venue_s(limits: dict[str, Any], wrong: OrderRequest, reason: str) -> None:
    """Each filter refuses under its own name, for an order that all the others let pass."""
    market = Wrapped(LabMarket(1, 60), instrument=replace(LAB, **limits))

    async def work(venue: SimulatedVenue) -> None:
        if reason == "MAX_ORDERS":
            await venue.place_order(order())
        with pytest.raises(OrderRejectedError) as error:
            await venue.place_order(wrong)
        assert error.value.reason == reason

    at(work, market)


@pytest.mark.parametrize("rule", list(AmendRule))
def test_an_amend_does_what_the_venue_s_rule_says(rule: AmendRule) -> None:
    """NONE refuses all, REDUCE takes less at the same price and keeps the place, MODIFY loses it."""

    async def work(venue: SimulatedVenue) -> None:
        bid = venue.tick(venue.clock.now_ns()).bid_ticks
        assert bid is not None
        price = str(LAB.price(bid - 3))
        await venue.place_order(order(price=price))
        ahead = venue.queue_ahead("web_1")
        assert ahead is not None
        if rule is AmendRule.NONE:
            with pytest.raises(OrderRejectedError):
                await venue.amend_order(amend(price, "0.03"))
            return
        smaller = await venue.amend_order(amend(price, "0.03"))
        assert (smaller.quantity, smaller.state) == (Decimal("0.03"), OrderState.OPEN)
        now = venue.queue_ahead("web_1")
        assert now == ahead if rule is AmendRule.REDUCE else now == Decimal("0.40")

    # Five lots at every price, and while the order rests 35 more join behind it.
    script = calm().book(0, dict.fromkeys((999, 998, 997, 996), 5), dict.fromkeys((1_001, 1_002, 1_003), 5))
    market = script.depth(1_040, ("buy", 996, 40)).market(LAB)
    at(work, market, replace(FUTURES, amend=rule))


# --- what is forgotten, and what breaks --------------------------------------------------------------------------------


def test_an_open_order_outlives_the_ended_ones_that_had_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forgetting an order that ended long ago does not lose the open one that was given its id."""
    monkeypatch.setattr(exchange_side, "ENDED_KEPT", 2)

    async def work(venue: SimulatedVenue) -> None:
        await venue.place_order(order(1))
        await venue.cancel_order(cancel(1))
        again = await venue.place_order(order(1))
        for number in (2, 3, 4):
            await venue.place_order(order(number))
            await venue.cancel_order(cancel(number))
        found = await venue.get_order(LAB.symbol, client_order_id="web_1")
        assert found is not None and found.order_id == again.order_id
        with pytest.raises(OrderRejectedError):
            await venue.place_order(order(1))
        assert await venue.get_order(LAB.symbol, client_order_id="web_2") is None  # forgotten
        assert (await venue.cancel_order(cancel(1))).state is OrderState.CANCELLED

    at(work)


def test_request_weight_leaves_the_window() -> None:
    """What was used is what the last window holds, also when nobody has asked anything since."""

    async def work(venue: SimulatedVenue) -> None:
        await venue.get_positions()
        assert venue.weight_used == 5
        await venue.clock.sleep(61)
        assert (venue.weight_used, venue.max_weight_used) == (0, 5)

    at(work)


class Broken(LabMarket):
    """A recording whose second half cannot be read."""

    def batches(self, rows: int = 1 << 20) -> Iterator[pl.DataFrame]:
        """Yield the first half."""
        yield self._rows[: len(self._rows) // 2]
        raise DataError("the file is cut off")


def test_a_market_that_breaks_off_is_heard_of_by_all() -> None:
    """Whoever waits for an answer, reads the stream, looks or asks afterwards learns why; nobody waits for ever."""

    async def work(venue: SimulatedVenue) -> None:
        async def read() -> None:
            async for _ in venue.events():
                pass

        reading = asyncio.ensure_future(read())
        waiting = asyncio.ensure_future(venue.place_order(order(price="100")))
        await venue.clock.sleep(40)
        later: list[Callable[[], Awaitable[Any]]] = [
            lambda: reading,
            lambda: waiting,
            lambda: venue.get_open_orders(LAB.symbol),
            lambda: venue.place_order(order(2)),
        ]
        for ask in later:
            with pytest.raises(DataError, match="the file is cut off"):
                await ask()
        with pytest.raises(DataError, match="the file is cut off"):
            venue.tick(venue.clock.now_ns())

    at(work, Broken(1, 60), execution=ExecutionConfig(entry_ms=30, response_ms=60_000))
