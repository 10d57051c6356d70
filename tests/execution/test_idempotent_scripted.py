"""IdempotentPort: one effect and one outcome for each request, whatever is lost or late between us and the venue."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.errors import (
    ConnectivityError,
    InvalidRequestError,
    OrderFailedError,
    OrderNotFoundError,
    OrderRejectedError,
    OutcomeUnknownError,
    RateLimitError,
    VenueError,
)
from grinder_kit.execution.budget import WeightBudget
from grinder_kit.execution.clock import LoopClock, run_stepped
from grinder_kit.execution.idempotent import IdempotentPort
from grinder_kit.execution.outcome import result_of
from grinder_kit.execution.port import AmendRule, Capabilities
from grinder_kit.execution.retry import OrderRetryPolicy, RetryingPort
from grinder_kit.model.config import RetryConfig
from grinder_kit.model.order import (
    AmendRequest,
    CancelRequest,
    InFlight,
    Order,
    OrderRequest,
    OrderResult,
    OrderState,
    Side,
)

WINDOW_S = 1.0
FRESH, STALE = RetryConfig(stale_after_s=100), RetryConfig(stale_after_s=0.5)


def place(n: int = 1, price: int = 100) -> OrderRequest:
    """Return an order of level n."""
    return OrderRequest(
        client_order_id=f"gkt-B{n}-1",
        level_id=f"BUY_{n}",
        symbol="TOY",
        side=Side.BUY,
        price=Decimal(price),
        quantity=Decimal(1),
    )


def cancel(n: int = 1) -> CancelRequest:
    """Return the cancel of that order."""
    return CancelRequest(client_order_id=f"gkt-B{n}-1", symbol="TOY", level_id=f"BUY_{n}")


def amend(n: int = 1, price: int = 99) -> AmendRequest:
    """Return an amend of that order."""
    return AmendRequest(
        client_order_id=f"gkt-B{n}-1",
        level_id=f"BUY_{n}",
        symbol="TOY",
        side=Side.BUY,
        price=Decimal(price),
        quantity=Decimal(1),
    )


class Venue:
    """A small venue whose wire the test holds: each call takes the next word of the script, and ``ok`` when it has ended.

    ``lost``: carried out, unanswered. ``vanished``: not carried out, unanswered. ``late``: unanswered, arrives .9 s later.
    ``down``: refused connection. ``429``. ``FOO``: carried out, the status cannot be read. Ids may be used again: nothing but the
    port stands between a repeat and a second order.
    """

    def __init__(self, clock: LoopClock, *script: str) -> None:
        self.clock = clock
        self.script = list(script)
        self.sent: list[str] = []
        self.orders: dict[str, list[Order]] = {}
        self.after: Callable[[Order], Order] = lambda order: order  # what happens to an order right after it arrived
        self.tasks: set[asyncio.Task[Any]] = set()
        self.capabilities = Capabilities(
            supports_batch_place=True,
            supports_batch_cancel=True,
            supports_batch_amend=True,
            amend=AmendRule.MODIFY,
            receive_window_s=WINDOW_S,
        )

    async def _ask(self, what: str, request: Any, act: Callable[[], Any]) -> Any:
        self.sent.append(what)
        word = self.script.pop(0) if self.script else "ok"
        await self.clock.sleep(0.01)
        if word == "down":
            raise ConnectivityError("refused", request=request)
        if word == "429":
            raise RateLimitError("429", retry_after=0.1, request=request)
        if word == "vanished":
            raise OutcomeUnknownError("no answer", request=request)
        if word == "late":

            async def later() -> None:
                await self.clock.sleep(0.9)
                with contextlib.suppress(VenueError):
                    act()

            self.tasks.add(asyncio.create_task(later()))
            raise OutcomeUnknownError("no answer", request=request)
        try:
            answer = act()
        except VenueError:
            if word == "lost":
                raise OutcomeUnknownError("no answer", request=request) from None
            raise
        if word == "lost":
            raise OutcomeUnknownError("no answer", request=request)
        if word == "FOO" and isinstance(answer, Order):
            return replace(answer, state=OrderState.PENDING, in_flight=InFlight.UNKNOWN, raw="FOO")
        return answer

    def _arrive(self, request: OrderRequest) -> Order:
        if request.price > 1000:
            raise OrderRejectedError("would take", reason="POST_ONLY_WOULD_TAKE", request=request)
        order = Order(
            client_order_id=request.client_order_id,
            level_id=request.level_id,
            symbol=request.symbol,
            side=request.side,
            price=request.price,
            quantity=request.quantity,
            state=OrderState.OPEN,
        )
        self.orders.setdefault(request.client_order_id, []).append(self.after(order))
        return order

    def _open(self, request: CancelRequest | AmendRequest) -> Order:
        orders = self.orders.get(request.client_order_id, [])
        if not orders or orders[-1].state.terminal:
            raise OrderNotFoundError("no such open order", request=request)
        return orders[-1]

    def _change(self, request: CancelRequest | AmendRequest) -> Order:
        order = self._open(request)
        if isinstance(request, CancelRequest):
            order = replace(order, state=OrderState.CANCELLED)
        else:
            order = replace(order, price=request.price, quantity=request.quantity)
        self.orders[request.client_order_id][-1] = order
        return order

    async def place_order(self, request: OrderRequest) -> Order:
        """Take an order."""
        order: Order = await self._ask("place", request, lambda: self._arrive(request))
        return order

    async def cancel_order(self, request: CancelRequest) -> Order:
        """Withdraw an order."""
        order: Order = await self._ask("cancel", request, lambda: self._change(request))
        return order

    async def amend_order(self, request: AmendRequest) -> Order:
        """Change an order."""
        order: Order = await self._ask("amend", request, lambda: self._change(request))
        return order

    async def _each(self, what: str, requests: Sequence[Any], one: Callable[[Any], Awaitable[Order]]) -> Any:
        """Answer a batch: the script has one word for the whole and one for each item; what is not ok is the item's result."""
        self.sent.append(f"{what} {len(requests)}")
        word = self.script.pop(0) if self.script else "ok"
        if word == "down":
            raise ConnectivityError("refused")
        results = []
        for request in requests:
            try:
                order = await one(request)
                results.append(
                    OrderResult(
                        level_id=request.level_id, client_order_id=request.client_order_id, ok=True, order=order
                    )
                )
            except VenueError as error:
                results.append(result_of(request, error))
        if word == "lost":
            raise OutcomeUnknownError("no answer")
        return results

    async def batch_place(self, requests: Sequence[OrderRequest]) -> list[OrderResult]:
        """Take several."""
        results: list[OrderResult] = await self._each("batch_place", requests, self.place_order)
        return results

    async def batch_cancel(self, requests: Sequence[CancelRequest]) -> list[OrderResult]:
        """Withdraw several."""
        results: list[OrderResult] = await self._each("batch_cancel", requests, self.cancel_order)
        return results

    async def batch_amend(self, requests: Sequence[AmendRequest]) -> list[OrderResult]:
        """Change several."""
        results: list[OrderResult] = await self._each("batch_amend", requests, self.amend_order)
        return results

    async def get_order(
        self, symbol: str, *, client_order_id: str | None = None, order_id: str | None = None
    ) -> Order | None:
        """Answer what is known under an id."""
        order: Order | None = await self._ask(
            "look up", client_order_id, lambda: next(iter(self.orders.get(client_order_id or "", [])[-1:]), None)
        )
        return order


def on(*script: str, config: RetryConfig = FRESH) -> Callable[[Callable[[Any, Venue], Awaitable[None]]], None]:
    """Run a story in stepped time on a port over such a venue."""

    def run(story: Callable[[Any, Venue], Awaitable[None]]) -> None:
        async def main() -> None:
            clock = LoopClock()
            venue = Venue(clock, *script)
            port: Any = venue
            await story(IdempotentPort(port, clock, config=config), venue)

        run_stepped(main())

    return run


def test_a_repeated_request_returns_the_first_outcome_and_sends_nothing() -> None:
    """The same order, or the same rejection, however often it is asked for."""

    @on()
    async def _(port: Any, venue: Venue) -> None:
        assert await port.place_order(place()) is await port.place_order(place())
        for _ in range(2):
            with pytest.raises(OrderRejectedError) as refused:
                await port.place_order(place(2, price=2000))
            assert refused.value.reason == "POST_ONLY_WOULD_TAKE"
        assert venue.sent == ["place", "place"]


def test_a_repeat_while_the_first_is_under_way_waits_for_it() -> None:
    """Single flight: two callers, one order; the first may go away meanwhile."""

    @on()
    async def _(port: Any, venue: Venue) -> None:
        first = asyncio.create_task(port.place_order(place()))
        second = asyncio.create_task(port.place_order(place()))
        await asyncio.sleep(0.001)
        first.cancel()
        assert (await second).state is OrderState.OPEN
        assert venue.sent == ["place"]


def test_an_id_is_not_used_for_two_orders() -> None:
    """Other content under the same id is refused, before and after the first has been answered."""

    @on()
    async def _(port: Any, venue: Venue) -> None:
        first = asyncio.create_task(port.place_order(place()))
        await asyncio.sleep(0.001)
        for _ in range(2):
            with pytest.raises(InvalidRequestError, match="used for another order"):
                await port.place_order(place(price=101))
            await first
        assert venue.sent == ["place"]


def test_an_unanswered_order_is_looked_up_before_anything_is_sent() -> None:
    """Found: that is the outcome. Not found at first, as it arrives late: it is looked for until the window is over."""
    for word in ("lost", "late"):

        @on(word)
        async def _(port: Any, venue: Venue) -> None:
            assert (await port.place_order(place())).state is OrderState.OPEN
            assert venue.sent.count("place") == 1
            assert len(venue.orders["gkt-B1-1"]) == 1


def test_look_ups_that_fail_are_tried_again() -> None:
    """Connectivity, rate limits and unanswered questions do not end the search."""

    @on("lost", "down", "429", "vanished", "lost")
    async def _(port: Any, venue: Venue) -> None:
        assert (await port.place_order(place())).state is OrderState.OPEN
        assert venue.sent == ["place", *["look up"] * 5]


def test_what_surely_never_arrived_is_sent_again_only_while_its_price_is_fresh() -> None:
    """After the receive window: once more under the same id, or an error that says the price is stale, each time."""

    @on("vanished")
    async def _(port: Any, venue: Venue) -> None:
        await port.place_order(place())
        assert venue.sent.count("place") == 2
        assert venue.clock.monotonic_ns() > WINDOW_S * 1e9

    @on("vanished", config=STALE)
    async def _(port: Any, venue: Venue) -> None:
        for _ in range(2):
            with pytest.raises(OrderFailedError, match="never arrived; its price is stale"):
                await port.place_order(place())
        assert venue.sent.count("place") == 1


def test_patience_with_a_venue_that_answers_nothing_ends_and_a_later_call_asks_first() -> None:
    """Unknown stays unknown: nothing is remembered, and nothing is sent by the next call before a look-up."""

    @on("lost", *["down"] * 150)
    async def _(port: Any, venue: Venue) -> None:
        with pytest.raises(OutcomeUnknownError):
            await port.place_order(place())
        assert 60 <= venue.clock.monotonic_ns() / 1e9 < 62
        assert (await port.place_order(place())).state is OrderState.OPEN
        assert venue.sent.count("place") == 1


def test_a_cancel_waits_for_the_placement_under_way_and_is_shared() -> None:
    """An unconfirmed order is not cancelled before its outcome is known; two cancels are one request."""

    @on("late")
    async def _(port: Any, venue: Venue) -> None:
        placing = asyncio.create_task(port.place_order(place()))
        await asyncio.sleep(0.001)
        ended = await asyncio.gather(port.cancel_order(cancel()), port.cancel_order(cancel()))
        await placing
        assert [order.state for order in ended] == [OrderState.CANCELLED] * 2
        assert venue.sent.count("cancel") == 1


@pytest.mark.parametrize("word", ["lost", "vanished", "late"])
def test_an_unanswered_cancel_is_looked_up_and_repeated_until_the_order_has_ended(word: str) -> None:
    """Whatever became of the first cancel, the order is gone when the call returns."""

    @on("ok", word)
    async def _(port: Any, venue: Venue) -> None:
        await port.place_order(place())
        assert (await port.cancel_order(cancel())).state is OrderState.CANCELLED
        assert venue.orders["gkt-B1-1"][-1].state is OrderState.CANCELLED


def test_a_cancel_of_an_order_that_has_filled_returns_the_fill() -> None:
    """Trap: cancel of an unknown order means "look it up"."""

    @on()
    async def _(port: Any, venue: Venue) -> None:
        venue.after = lambda order: replace(order, state=OrderState.FILLED, filled_quantity=order.quantity)
        await port.place_order(place())
        assert (await port.cancel_order(cancel())).filled_quantity == 1
        with pytest.raises(OrderNotFoundError):
            await port.cancel_order(cancel(7))


def test_an_unanswered_amend_is_looked_up() -> None:
    """As wanted: done, though late. Otherwise, once the window is over: NOT_AMENDED."""
    for word in ("lost", "late"):

        @on("ok", word)
        async def _(port: Any, venue: Venue) -> None:
            await port.place_order(place())
            assert (await port.amend_order(amend())).price == 99

    @on("ok", "vanished")
    async def _(port: Any, venue: Venue) -> None:
        await port.place_order(place())
        with pytest.raises(OrderRejectedError, match="it stands at 100") as refused:
            await port.amend_order(amend())
        assert refused.value.reason == "NOT_AMENDED"
        assert venue.clock.monotonic_ns() > WINDOW_S * 1e9


def test_items_of_a_batch_are_answered_from_memory_and_looked_up_one_by_one() -> None:
    """One result per item, in order: known ones are not sent again, unknown ones are found out, refused ones say why."""

    @on("ok", "ok", "lost", "ok", "down")
    async def _(port: Any, venue: Venue) -> None:
        await port.place_order(place(1))
        results = await port.batch_place([place(1), place(2), place(3, price=2000), place(4)])
        assert [(r.client_order_id, r.ok, r.reason) for r in results] == [
            ("gkt-B1-1", True, None),
            ("gkt-B2-1", True, None),
            ("gkt-B3-1", False, "POST_ONLY_WOULD_TAKE"),
            ("gkt-B4-1", False, "CONNECTIVITY"),
        ]
        assert venue.sent[1] == "batch_place 3"
        assert {one: len(orders) for one, orders in venue.orders.items()} == {"gkt-B1-1": 1, "gkt-B2-1": 1}


def test_a_batch_that_fails_as_a_whole_has_results_and_no_exceptions() -> None:
    """Nothing done: every item says so. Unknown: every item is found out."""

    @on("down")
    async def _(port: Any, venue: Venue) -> None:
        assert [r.reason for r in await port.batch_place([place(1), place(2)])] == ["CONNECTIVITY"] * 2
        venue.script = ["lost"]
        assert all(r.ok for r in await port.batch_place([place(1), place(2)]))
        venue.script = ["lost"]
        assert [r.order.state for r in await port.batch_cancel([cancel(1), cancel(2)])] == [OrderState.CANCELLED] * 2
        with pytest.raises(InvalidRequestError, match="6 items in one batch; the venue takes 5"):
            await port.batch_place([place(n) for n in range(1, 7)])


WORDS = st.lists(st.sampled_from(["ok", "lost", "vanished", "late", "down", "429"]), max_size=12)
ACTS = st.lists(
    st.tuples(st.sampled_from(["place", "cancel", "amend", "batch"]), st.integers(1, 3), st.integers(0, 2000)),
    min_size=1,
    max_size=10,
)


@given(WORDS, ACTS, st.booleans())
def test_no_sequence_of_faults_makes_two_orders_of_one_id(words: list[str], acts: list[Any], stale: bool) -> None:
    """Whatever is lost or late: an id has at most one order ever, and once faults stop outcomes are the venue's truth."""

    async def main() -> None:
        clock = LoopClock()
        venue = Venue(clock, *words)
        inner: Any = venue
        config = (STALE if stale else FRESH).replace(base_delay_ms=10)
        policy = OrderRetryPolicy(config, clock, rng=random.Random(1))
        port = IdempotentPort(RetryingPort(inner, policy, WeightBudget(10_000, 60, clock)), clock, config=config)

        async def act(what: str, n: int, after_ms: int) -> None:
            await clock.sleep(after_ms / 1e3)
            try:
                if what == "place":
                    assert (await port.place_order(place(n))).client_order_id in venue.orders
                elif what == "cancel":
                    ended = await port.cancel_order(cancel(n))
                    assert ended == venue.orders[ended.client_order_id][-1]
                elif what == "amend":
                    await port.amend_order(amend(n))
                else:
                    results = await port.batch_place([place(n), place(4)])
                    assert [r.client_order_id for r in results] == [f"gkt-B{n}-1", "gkt-B4-1"]
                    assert all(not r.ok or r.client_order_id in venue.orders for r in results)
            except VenueError:
                pass

        await asyncio.gather(*(act(*one) for one in acts))
        venue.script.clear()
        await clock.sleep(2 * WINDOW_S)
        for one, orders in venue.orders.items():
            assert len(orders) == 1, one
        for n in (1, 2, 3, 4):
            there = venue.orders.get(f"gkt-B{n}-1")
            try:
                assert (await port.place_order(place(n))).client_order_id in venue.orders
            except (OrderFailedError, OrderRejectedError):
                assert there is None
            if f"gkt-B{n}-1" in venue.orders:
                assert len(venue.orders[f"gkt-B{n}-1"]) == 1
                assert (await port.cancel_order(cancel(n))) == venue.orders[f"gkt-B{n}-1"][-1]

    run_stepped(main())
