"""IdempotentPort at its edges: each was once wrong."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from grinder_kit.execution.budget import WeightBudget
from grinder_kit.execution.clock import LoopClock, run_stepped
from grinder_kit.execution.idempotent import IdempotentPort
from grinder_kit.execution.retry import OrderRetryPolicy, RetryingPort
from grinder_kit.model.order import OrderState
from tests.execution.test_idempotent_scripted import FRESH, Venue, amend, cancel, on, place


def test_d1_a_repeat_after_an_unreadable_answer_is_looked_up_not_sent() -> None:
    """An order whose status could not be read has arrived: a repeat sends nothing."""

    @on("FOO")
    async def _(port: Any, venue: Venue) -> None:
        await port.place_order(place())
        await port.place_order(place())
        assert venue.sent.count("place") == 1


def test_d2_a_wrong_item_hides_no_orders_that_were_sent() -> None:
    """One item with a used id is that item's result; the others are answered for."""

    @on()
    async def _(port: Any, venue: Venue) -> None:
        await port.place_order(place(1))
        results = await port.batch_place([place(2), place(1, price=50)])
        assert [(r.ok, r.reason) for r in results] == [(True, None), (False, "INVALID_REQUEST")]


def test_d3_an_item_that_stands_twice_in_a_batch_is_sent_once() -> None:
    """The second is a repeat of the first."""

    @on()
    async def _(port: Any, venue: Venue) -> None:
        assert [r.ok for r in await port.batch_place([place(1), place(1)])] == [True, True]
        assert len(venue.orders["gkt-B1-1"]) == 1


def test_d4_a_cancel_whose_every_answer_was_lost_is_looked_up() -> None:
    """The retrying port has used its attempts up: what may have been done is looked up."""

    async def main() -> None:
        clock = LoopClock()
        venue: Any = Venue(clock, "ok", "lost", "vanished", "vanished")
        policy = OrderRetryPolicy(FRESH, clock, rng=random.Random(1))
        port = IdempotentPort(RetryingPort(venue, policy, WeightBudget(1000, 60, clock)), clock, config=FRESH)
        await port.place_order(place())
        assert (await port.cancel_order(cancel())).state is OrderState.CANCELLED

    run_stepped(main())


def test_d5_an_amend_of_an_order_that_has_filled_returns_the_fill() -> None:
    """OrderNotFoundError on an amend: look it up."""

    @on()
    async def _(port: Any, venue: Venue) -> None:
        venue.after = lambda order: replace(order, state=OrderState.FILLED, filled_quantity=order.quantity)
        await port.place_order(place())
        assert (await port.amend_order(amend())).state is OrderState.FILLED


def test_d6_an_item_of_which_nothing_was_done_may_be_sent_later() -> None:
    """CONNECTIVITY of an item is no rejection for good."""

    @on("ok", "down")
    async def _(port: Any, venue: Venue) -> None:
        assert [r.reason for r in await port.batch_place([place(1)])] == ["CONNECTIVITY"]
        assert (await port.place_order(place(1))).state is OrderState.OPEN
