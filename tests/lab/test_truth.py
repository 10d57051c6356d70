"""The truth of a served venue: what the laboratory judges sessions by."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from grinder_kit.errors import OutcomeUnknownError
from grinder_kit.execution.clock import LoopClock
from grinder_kit.market.synthetic import SYNTHETIC_INSTRUMENT
from grinder_kit.model.fill import Fill
from grinder_kit.model.order import Order, OrderState
from grinder_kit.venue.socket_port import SocketPort
from tests.lab.memory_port import MemoryPort, cancel_request, order_request
from tests.lab.truth import Truth, truth_of
from tests.venue.test_served import ID, START, attached, until


def two(orders: tuple[Order, ...]) -> list[str]:
    """Say that more than one order is open."""
    return [f"{len(orders)} open"] if len(orders) > 1 else []


def play(scene: Callable[[SocketPort, MemoryPort, Truth], Any], *, directly: bool = False) -> None:
    """Run a scene against a served venue whose truth is kept."""

    async def main() -> None:
        clock = LoopClock(START, speed=4.0)
        venue = MemoryPort(clock)
        truth = Truth(
            venue, SYNTHETIC_INSTRUMENT, clock, watch=two, known=(lambda: venue.orders.values()) if directly else None
        )
        served = truth.serve(venue, speed=4.0)
        async with attached(await served.start()) as port:
            await asyncio.wait_for(scene(port, venue, truth), 20)
        await served.close()

    asyncio.run(main())


@pytest.mark.parametrize("directly", [False, True])
def test_watch_looks_at_what_the_exchange_knows(directly: bool) -> None:
    """What `watch` says is kept once, though nobody asked; truth tells all that was seen and asked."""

    async def scene(port: SocketPort, venue: MemoryPort, truth: Truth) -> None:
        await port.place_order(order_request())
        await port.batch_place([order_request("gkr0-B2-1")])
        venue.trade(ID, "0.004")
        await port.cancel_order(cancel_request("gkr0-B2-1"))
        await until(lambda: len(truth.fills) == 1)
        told = await truth_of(port)
        assert told["violations"] == ["2 open"]
        assert {name: order.state for name, order in told["orders"].items()} == {
            ID: OrderState.FILLED,
            "gkr0-B2-1": OrderState.CANCELLED,
        }
        assert told["open_orders"] == [] and [type(fill) for fill in told["fills"]] == [Fill]
        assert [(call, ids) for _, call, ids in told["requests"]] == [
            ("place_order", [ID]),
            ("batch_place", ["gkr0-B2-1"]),
            ("cancel_order", ["gkr0-B2-1"]),
        ]

    play(scene, directly=directly)


def test_a_bug_behind_the_venue_is_a_violation() -> None:
    """What nobody foresaw is not only an unknown outcome for a session: the laboratory must see it."""

    async def scene(port: SocketPort, venue: MemoryPort, truth: Truth) -> None:
        with pytest.raises(OutcomeUnknownError, match="AttributeError"):
            await port.ask("place_order", "no order at all")
        assert "AttributeError" in (await truth_of(port))["violations"][0]

    play(scene)
