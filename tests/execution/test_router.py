"""SmartOrderRouter: each trap of the specification's sketch, against a real simulated venue."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from grinder_kit.errors import ConfigError
from grinder_kit.execution.clock import run_stepped
from grinder_kit.execution.port import FUTURES, SPOT, Capabilities, ExchangePort, Operation
from grinder_kit.execution.router import SmartOrderRouter
from grinder_kit.model.config import ExecutionConfig, RouterConfig
from grinder_kit.model.grid import GridPlan
from grinder_kit.model.order import AmendRequest, CancelRequest, Order, OrderRequest, OrderResult, OrderState, Side
from grinder_kit.venue.fault_schedule import Schedule, ScriptedSchedule
from grinder_kit.venue.faults import Fate, Fault, FaultKind
from grinder_kit.venue.faulty import FaultyPort
from grinder_kit.venue.simulated import SimulatedVenue
from tests.lab.laboratory import LAB, LabMarket

EXECUTION = ExecutionConfig(entry_ms=10, response_ms=10)


class Recorded:
    """A port that writes down every request, and when it was answered."""

    def __init__(self, port: ExchangePort, venue: SimulatedVenue) -> None:
        self._port, self._venue = port, venue
        self.calls: list[tuple[str, list[str]]] = []
        self.log: list[tuple[int, str, str]] = []
        self.most_at_once = self._now = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)

    async def _call(self, name: str, requests: list[Any], work: Awaitable[Any]) -> Any:
        self.calls.append((name, [request.level_id for request in requests]))
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        for request in requests:
            self.log.append((self._venue.clock.monotonic_ns(), f"{name} sent", request.level_id))
        try:
            return await work
        finally:
            self._now -= 1
            for request in requests:
                self.log.append((self._venue.clock.monotonic_ns(), f"{name} answered", request.level_id))

    async def place_order(self, request: OrderRequest) -> Order:
        """Place."""
        return await self._call("place", [request], self._port.place_order(request))  # type: ignore[no-any-return]

    async def cancel_order(self, request: CancelRequest) -> Order:
        """Cancel."""
        return await self._call("cancel", [request], self._port.cancel_order(request))  # type: ignore[no-any-return]

    async def amend_order(self, request: AmendRequest) -> Order:
        """Amend."""
        return await self._call("amend", [request], self._port.amend_order(request))  # type: ignore[no-any-return]

    async def batch_place(self, requests: list[OrderRequest]) -> list[OrderResult]:
        """Place several."""
        return await self._call("batch_place", list(requests), self._port.batch_place(requests))  # type: ignore[no-any-return]

    async def batch_cancel(self, requests: list[CancelRequest]) -> list[OrderResult]:
        """Cancel several."""
        return await self._call("batch_cancel", list(requests), self._port.batch_cancel(requests))  # type: ignore[no-any-return]

    async def batch_amend(self, requests: list[AmendRequest]) -> list[OrderResult]:
        """Amend several."""
        return await self._call("batch_amend", list(requests), self._port.batch_amend(requests))  # type: ignore[no-any-return]


def plan(centre: str = "200", *, levels: int = 3, spacing: int = 40, size: str = "0.05", **more: Any) -> GridPlan:
    """Return a plan around the lab's market, which moves around 200."""
    values: dict[str, Any] = {"levels_up": levels, "levels_down": levels} | more
    return GridPlan(
        center_price=Decimal(centre), spacing_bps=Decimal(spacing), size_schedule=(Decimal(size),), **values
    )


Desk = tuple[SmartOrderRouter, Recorded, SimulatedVenue]


def at_a_desk(
    work: Callable[[SmartOrderRouter, Recorded, SimulatedVenue], Awaitable[None]],
    *,
    schedule: Schedule | None = None,
    capabilities: Capabilities = FUTURES,
    config: RouterConfig | None = None,
) -> None:
    """Run something with a router on a venue in stepped time."""

    async def main() -> None:
        async with SimulatedVenue(LabMarket(1, 60), execution=EXECUTION, capabilities=capabilities) as venue:
            await venue.clock.sleep(1)
            port: ExchangePort = venue if schedule is None else FaultyPort(venue, schedule, venue.clock)
            recorded = Recorded(port, venue)
            await work(SmartOrderRouter(recorded, LAB, router=config), recorded, venue)

    run_stepped(main())


async def open_orders(venue: SimulatedVenue) -> list[Order]:
    """Return what is open."""
    return list(await venue.get_open_orders(LAB.symbol))


def test_trap_10_twelve_places_on_usdm_go_as_five_five_and_two() -> None:
    """Batches are cut to the venue's size, with one result per level in the order of the levels."""

    async def work(router: SmartOrderRouter, port: Recorded, venue: SimulatedVenue) -> None:
        results = await router.place_grid_orders(plan(levels=6), [])
        assert [(name, len(levels)) for name, levels in port.calls] == [
            ("batch_place", 5), ("batch_place", 5), ("batch_place", 2),
        ]  # fmt: skip
        assert [r.level_id for r in results] == [f"SELL_{i}" for i in range(1, 7)] + [f"BUY_{i}" for i in range(1, 7)]
        assert all(r.ok and r.order is not None and r.order.state is OrderState.OPEN for r in results)
        assert len(await open_orders(venue)) == 12

    at_a_desk(work)


def test_trap_9_an_item_that_fails_fails_alone_and_is_no_exception_in_the_list() -> None:
    """Item 3 of a batch is refused: its result says why, the other eleven rest."""
    fates = (Fate.DONE, Fate.DONE, Fate.REJECTED, Fate.DONE, Fate.DONE)
    script = ScriptedSchedule(
        [(Operation.BATCH_PLACE, Fault(kind=FaultKind.PARTIAL, items=fates, reason="MIN_NOTIONAL"))]
    )

    async def work(router: SmartOrderRouter, port: Recorded, venue: SimulatedVenue) -> None:
        results = await router.place_grid_orders(plan(levels=6), [])
        assert [r.ok for r in results] == [True, True, False] + [True] * 9
        assert results[2].level_id == "SELL_3" and results[2].reason == "MIN_NOTIONAL"
        assert all(isinstance(r, OrderResult) for r in results)
        assert len(await open_orders(venue)) == 11

    at_a_desk(work, schedule=script)


def test_trap_2_orders_off_the_plan_are_cancelled() -> None:
    """What no level wants any more is withdrawn."""

    async def work(router: SmartOrderRouter, port: Recorded, venue: SimulatedVenue) -> None:
        await router.place_grid_orders(plan(levels=3), [])
        results = await router.place_grid_orders(plan(levels=2), await open_orders(venue))
        assert {r.level_id: r.action for r in results} == {
            "SELL_3": "CANCEL", "BUY_3": "CANCEL", "SELL_1": "NOOP", "SELL_2": "NOOP", "BUY_1": "NOOP", "BUY_2": "NOOP",
        }  # fmt: skip
        assert len(await open_orders(venue)) == 4

    at_a_desk(work)


@pytest.mark.parametrize(("moved", "action"), [("200.02", "NOOP"), ("200.3", "AMEND"), ("201", "CANCEL_REPLACE")])
def test_traps_1_and_7_a_move_is_measured_in_bps_of_the_old_price_on_the_tick(moved: str, action: str) -> None:
    """Within a tick nothing is done, up to 20 bps the order is amended, beyond it is replaced."""

    async def work(router: SmartOrderRouter, port: Recorded, venue: SimulatedVenue) -> None:
        first = {r.level_id: r for r in await router.place_grid_orders(plan(), [])}
        port.calls.clear()
        results = {r.level_id: r for r in await router.place_grid_orders(plan(moved), await open_orders(venue))}
        sent = [name for name, _ in port.calls]
        if action == "NOOP":
            assert sent == [] and all(r.reason == "CONFORMS" for r in results.values())
        elif action == "AMEND":
            assert set(sent) <= {"amend", "batch_amend"}
            assert {one.client_order_id for one in results.values()} == {one.client_order_id for one in first.values()}
        else:
            assert set(sent) <= {"cancel", "batch_cancel", "place", "batch_place"}
            assert not {one.client_order_id for one in results.values()} & {
                one.client_order_id for one in first.values()
            }
        assert all(r.ok for r in results.values())
        prices = {r.level_id: r.order.price for r in results.values() if r.order is not None}
        assert all(price % LAB.tick == 0 for price in prices.values())
        assert len(await open_orders(venue)) == 6

    at_a_desk(work)


def test_trap_4_a_change_of_quantity_alone_is_an_amend() -> None:
    """Another size at the same price is amended."""

    async def work(router: SmartOrderRouter, port: Recorded, venue: SimulatedVenue) -> None:
        await router.place_grid_orders(plan(), [])
        results = await router.place_grid_orders(plan(size="0.09"), await open_orders(venue))
        assert [r.action for r in results] == ["AMEND"] * 6
        assert {order.quantity for order in await open_orders(venue)} == {Decimal("0.09")}

    at_a_desk(work)


def test_trap_14_spot_is_amended_only_to_a_smaller_quantity() -> None:
    """On spot a larger order is cancelled and placed again, a smaller one amended in place."""

    async def work(router: SmartOrderRouter, port: Recorded, venue: SimulatedVenue) -> None:
        await router.place_grid_orders(plan(levels=1), [])
        smaller = await router.place_grid_orders(plan(levels=1, size="0.03"), await open_orders(venue))
        assert [r.action for r in smaller] == ["AMEND"] * 2
        port.calls.clear()
        larger = await router.place_grid_orders(plan(levels=1, size="0.08"), await open_orders(venue))
        assert [r.action for r in larger] == ["PLACE"] * 2
        assert sorted(name for name, _ in port.calls) == ["cancel", "cancel", "place", "place"]

    at_a_desk(work, capabilities=SPOT)


def test_trap_8_a_replacement_waits_for_its_cancel() -> None:
    """Under one key the new order leaves only after the answer to the cancel of the old one."""

    async def work(router: SmartOrderRouter, port: Recorded, venue: SimulatedVenue) -> None:
        await router.place_grid_orders(plan(levels=1), [])
        port.log.clear()
        await router.place_grid_orders(plan("201", levels=1), await open_orders(venue))
        for level in ("BUY_1", "SELL_1"):
            own = [(at, what) for at, what, which in port.log if which == level]
            assert [what for _, what in own] == ["cancel sent", "cancel answered", "place sent", "place answered"]

    at_a_desk(work)


@pytest.mark.parametrize("kind", [FaultKind.REJECTED, FaultKind.UNREACHABLE, FaultKind.TIMED_OUT])
def test_trap_8_no_replacement_when_the_cancel_failed(kind: FaultKind) -> None:
    """Where the cancel is not confirmed the level keeps its old order, and the result says so."""
    script = ScriptedSchedule([(Operation.CANCEL, Fault(kind=kind))])

    async def work(router: SmartOrderRouter, port: Recorded, venue: SimulatedVenue) -> None:
        await router.place_grid_orders(plan(levels=1), [])
        results = await router.place_grid_orders(plan("201", levels=1), await open_orders(venue))
        failed = [r for r in results if not r.ok]
        assert [r.reason for r in failed] == ["CANCEL_NOT_CONFIRMED"]
        per_key = [order.level_id for order in await open_orders(venue)]
        assert len(per_key) == len(set(per_key)), "never two orders under one key"

    at_a_desk(work, schedule=script)


def test_trap_8_no_replacement_when_the_order_filled_meanwhile() -> None:
    """A cancel that comes back with more fills than were known lets the caller decide anew."""

    async def work(router: SmartOrderRouter, port: Recorded, venue: SimulatedVenue) -> None:
        await router.place_grid_orders(plan(levels=1, spacing=15, size="0.5"), [])
        before = await open_orders(venue)
        for _ in range(400):  # until one of the two has traded a little since we looked
            await venue.clock.sleep(0.1)
            now = {order.client_order_id: order for order in await open_orders(venue)}
            touched = [o for o in before if o.client_order_id in now and now[o.client_order_id].filled_quantity > 0]
            if touched:
                break
        assert touched, "the market never came"
        key = touched[0].level_id
        far = "190" if touched[0].side is Side.BUY else "210"
        results = {r.level_id: r for r in await router.place_grid_orders(plan(far, levels=1), before)}
        assert results[key].reason in ("FILLED_MEANWHILE", "CANCEL_NOT_CONFIRMED") and not results[key].ok

    at_a_desk(work)


def test_trap_15_a_shifting_ladder_never_crosses_itself() -> None:
    """Shifted by more than its spread, up or down, the side that makes room leaves first and nothing trades with itself."""

    async def work(router: SmartOrderRouter, port: Recorded, venue: SimulatedVenue) -> None:
        away = replace(LAB)  # prices far from the market, so that nothing fills
        assert away.tick == LAB.tick
        for centre in ("150", "150.3", "149.9", "150.2"):
            for _ in range(3):  # an amend that has to wait for another is sent in the next round
                results = await router.place_grid_orders(
                    plan(centre, levels=2, spacing=10, levels_up=0), await open_orders(venue)
                )
                assert all(r.ok or r.reason in ("OWN_CROSS", "PRICE_OCCUPIED") for r in results)
            wanted = [level.price for level in (r.order for r in results) if level is not None]
            assert sorted(order.price for order in await open_orders(venue)) == sorted(wanted)

    at_a_desk(work)


def test_trap_12_single_flight_a_level_under_way_is_left_alone() -> None:
    """Two overlapping calls place each level once."""

    async def work(router: SmartOrderRouter, port: Recorded, venue: SimulatedVenue) -> None:
        first, second = await asyncio.gather(router.place_grid_orders(plan(), []), router.place_grid_orders(plan(), []))
        assert all(r.ok for r in first)
        assert {r.reason for r in second} == {"IN_FLIGHT"}
        assert len(await open_orders(venue)) == 6

    at_a_desk(work)


def test_trap_10_at_most_so_many_requests_at_once() -> None:
    """Where the venue has no batches, a bounded number of requests is under way."""

    async def work(router: SmartOrderRouter, port: Recorded, venue: SimulatedVenue) -> None:
        results = await router.place_grid_orders(plan(levels=6), [])
        assert all(r.ok for r in results)
        assert {name for name, _ in port.calls} == {"place"} and port.most_at_once == 3

    at_a_desk(work, capabilities=SPOT, config=RouterConfig(max_concurrent=3))


def test_orders_of_others_are_left_alone() -> None:
    """An open order whose id is not ours is neither cancelled nor counted."""

    async def work(router: SmartOrderRouter, port: Recorded, venue: SimulatedVenue) -> None:
        await venue.place_order(
            OrderRequest(
                client_order_id="web_1", level_id="", symbol=LAB.symbol, side=Side.BUY, price="150", quantity=1
            )  # type: ignore[arg-type]
        )
        await router.place_grid_orders(plan(levels=1), await open_orders(venue))
        await router.place_grid_orders(plan(levels=0), await open_orders(venue))
        assert [order.client_order_id for order in await open_orders(venue)] == ["web_1"]

    at_a_desk(work)


def test_two_orders_under_one_key_are_refused_by_name() -> None:
    """What should never be is named, and nothing is sent."""

    async def work(router: SmartOrderRouter, port: Recorded, venue: SimulatedVenue) -> None:
        await router.place_grid_orders(plan(levels=1), [])
        orders = await open_orders(venue)
        twin = replace(orders[0], client_order_id=orders[0].client_order_id.rpartition("-")[0] + "-zz")
        port.calls.clear()
        with pytest.raises(ConfigError, match="two open orders have the level key"):
            await router.place_grid_orders(plan(levels=1), [*orders, twin])
        assert port.calls == []

    at_a_desk(work)


def test_traps_3_5_and_6_every_level_of_a_plan_meets_one_order_by_its_key() -> None:
    """Levels come from the plan, and each finds its own order again: by key, however far the price has moved."""

    async def work(router: SmartOrderRouter, port: Recorded, venue: SimulatedVenue) -> None:
        for centre in ("200", "200.3", "199.8", "200.4"):
            results = await router.place_grid_orders(plan(centre, spacing=60), await open_orders(venue))
            orders = await open_orders(venue)
            assert sorted(r.level_id for r in results) == sorted(o.level_id for o in orders)
            assert len({r.level_id for r in results}) == len(results) == 6

    at_a_desk(work)


def test_trap_13_a_modify_counts_what_has_filled_and_is_not_sent_for_less() -> None:
    """The quantity of an amend is the whole order's; one that has filled as much as is wanted is replaced instead."""

    async def work(router: SmartOrderRouter, port: Recorded, venue: SimulatedVenue) -> None:
        await router.place_grid_orders(plan(levels=1, size="0.50"), [])
        orders = [replace(o, filled_quantity=Decimal("0.20")) for o in await open_orders(venue)]
        port.calls.clear()
        smaller = await router.place_grid_orders(plan(levels=1, size="0.20"), orders)
        assert all(name != "amend" for name, _ in port.calls) and len(smaller) == 2
        port.calls.clear()
        await router.place_grid_orders(plan(levels=1, size="0.90"), await open_orders(venue))
        assert {order.quantity for order in await open_orders(venue)} == {Decimal("0.90")}

    at_a_desk(work)


def test_trap_16_every_request_carries_client_id_and_symbol() -> None:
    """Ours by their ids, each with its level and generation; cancels name the symbol."""

    async def work(router: SmartOrderRouter, port: Recorded, venue: SimulatedVenue) -> None:
        for centre in ("200", "203"):
            results = await router.place_grid_orders(plan(centre, levels=1), await open_orders(venue))
        assert [r.client_order_id for r in results] == ["gknb-S1-2", "gknb-B1-2"]
        assert {order.symbol for order in venue.orders} == {LAB.symbol}

    at_a_desk(work)
