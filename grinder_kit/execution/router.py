"""SmartOrderRouter (SPEC 9.3): sends what was decided, in an order in which nothing can go wrong, and answers for every level.

What is decided stands in decision/routing.py. Here it becomes requests: batches of the venue's sizes, otherwise a bounded number
at once; cancels first, a replacement only when its cancel is confirmed and the order had not filled meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from grinder_kit.decision.grid_manager import GridManager, level_id
from grinder_kit.decision.reason import Reason
from grinder_kit.decision.routing import Action, Decision, Gates, in_steps, meets
from grinder_kit.errors import InvalidRequestError, VenueError
from grinder_kit.execution.outcome import result_of
from grinder_kit.execution.own_orders import OwnOrders
from grinder_kit.execution.port import Capabilities, ExchangePort
from grinder_kit.execution.standing import StandingOrder, WantedLevel, decide, key_of_level, standing_orders
from grinder_kit.model.config import GridConfig, RouterConfig
from grinder_kit.model.grid import GridPlan
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.market import Features
from grinder_kit.model.order import AmendRequest, CancelRequest, Order, OrderRequest, OrderResult, OrderType, Side

Request = TypeVar("Request", OrderRequest, CancelRequest, AmendRequest)
OnResult = Callable[[OrderResult], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """An order on its way out: what a new order must not meet, and how much it had filled when that was decided."""

    side: int
    ticks: int
    filled_lots: int
    key: str = ""


class SmartOrderRouter:
    """Send cancels, amends and new orders of one instrument.

    Parameters
    ----------
    port : ExchangePort
        Best an IdempotentPort over a RetryingPort: nothing here is tried twice.
    instrument : Instrument
    router : RouterConfig, optional
        Tolerance and thresholds, when batches are used, and how many requests may be under way at once.
    manager : GridManager, optional
        Computes the levels of a plan in `place_grid_orders`; by default one without a fill filter.
    tag : str
        Session tag of the client order ids that `place_grid_orders` gives.
    first_generation : int
        Generations of these ids start above it; the time in ms makes them unique for ever.
    order_type : OrderType

    Examples
    --------
    >>> results = await router.place_grid_orders(plan, await port.get_open_orders("BTCUSDT"))  # doctest: +SKIP
    """

    def __init__(
        self,
        port: ExchangePort,
        instrument: Instrument,
        *,
        router: RouterConfig | None = None,
        manager: GridManager | None = None,
        tag: str = "nb",
        first_generation: int = 0,
        order_type: OrderType = OrderType.POST_ONLY,
    ) -> None:
        self.port = port
        self.instrument = instrument
        self.config = router or RouterConfig()
        self.order_type = order_type
        self._manager = manager
        self._ids = OwnOrders(tag, first_generation=first_generation)
        self._room = asyncio.Semaphore(self.config.max_concurrent)
        self._busy: set[str] = set()  # levels with a request of `place_grid_orders` under way

    @property
    def capabilities(self) -> Capabilities:
        """What the venue can do."""
        return self.port.capabilities

    def __repr__(self) -> str:
        return f"SmartOrderRouter({self.instrument.symbol}, {len(self._busy)} levels under way)"

    # --- the specification's form ------------------------------------------------------------------------------------

    async def place_grid_orders(
        self, plan: GridPlan, current_orders: Sequence[Order], *, features: Features | None = None
    ) -> list[OrderResult]:
        """Bring the open orders to where a plan wants them.

        Parameters
        ----------
        plan : GridPlan
        current_orders : sequence of Order
            Open orders of the instrument. Orders that are not ours, by their client order ids, are left alone.
        features : Features, optional
            Where a fill filter or the touch is to be respected.

        Returns
        -------
        list of OrderResult
            First the orders that were withdrawn, then one result for each level of the plan, in the order of the levels (sells
            first, nearest first). A level that was left as it is has `action` NOOP or BLOCK.

        Raises
        ------
        ConfigError
            For a plan without sizes, or with two levels under one key; nothing has been sent then.
        """
        manager = self._manager or GridManager(
            GridConfig(spacing_bps=plan.spacing_bps, size=self.instrument.lot), self.instrument
        )
        levels = [WantedLevel.of(level, self.instrument) for level in manager.compute_levels(plan, features)]
        orders = standing_orders(current_orders, self.instrument, busy=self._busy)
        decisions = decide(levels, orders, Gates(), self.config, self.capabilities)
        return await self._carry_out(decisions, orders)

    async def _carry_out(self, decisions: Sequence[Decision], orders: Mapping[str, StandingOrder]) -> list[OrderResult]:
        by_key: dict[str, OrderResult] = {}
        replaced = {d.key: d for d in decisions if d.action is Action.CANCEL_REPLACE}
        cancels, away, towards, places = in_steps(decisions)
        busy = {level_id(d.key) for d in (*cancels, *away, *towards, *places)}
        # Single flight: another call that overlaps finds these levels busy and leaves them alone.
        taken = busy & self._busy
        self._busy |= busy

        def free(items: Sequence[Decision]) -> list[Decision]:
            return [d for d in items if level_id(d.key) not in taken]

        def note(result: OrderResult) -> None:
            key = key_of_level(result.level_id)
            if result.action == Action.CANCEL and key in replaced and result.ok:
                return  # the replacement answers for the level
            by_key[key] = result

        try:
            await self.send(
                cancels=[_cancel(d, orders[d.key].order) for d in free(cancels)],
                away=[self._amend(d, orders[d.key].order) for d in free(away)],
                towards=[self._amend(d, orders[d.key].order) for d in free(towards)],
                places=[self._place(d) for d in free([*places, *replaced.values()])],
                leaving={
                    orders[d.key].order.client_order_id: Leaving(
                        side=own.side, ticks=own.ticks, filled_lots=own.filled, key=d.key if d.key in replaced else ""
                    )
                    for d in free(cancels)
                    if (own := orders[d.key])
                },
                on_result=note,
            )
        finally:
            self._busy -= busy - taken
        results: list[OrderResult] = []
        for d in decisions:
            if level_id(d.key) in taken:
                results.append(_left(d, Reason.IN_FLIGHT))
            elif d.action in (Action.NOOP, Action.BLOCK):
                results.append(_left(d, d.reason))
            else:
                results.append(by_key[d.key])
        return results

    def _place(self, d: Decision) -> OrderRequest:
        return OrderRequest(
            client_order_id=self._ids.next_id(d.key),
            level_id=level_id(d.key),
            symbol=self.instrument.symbol,
            side=Side.BUY if d.side > 0 else Side.SELL,
            price=self.instrument.price(d.ticks),
            quantity=self.instrument.quantity(d.lots),
            type=self.order_type,
        )

    def _amend(self, d: Decision, order: Order) -> AmendRequest:
        return AmendRequest(
            client_order_id=order.client_order_id,
            level_id=level_id(d.key),
            symbol=order.symbol,
            side=order.side,
            price=self.instrument.price(d.ticks),
            quantity=self.instrument.quantity(d.lots),
            order_id=order.order_id,
        )

    # --- sending -----------------------------------------------------------------------------------------------------

    async def send(
        self,
        *,
        cancels: Sequence[CancelRequest] = (),
        away: Sequence[AmendRequest] = (),
        towards: Sequence[AmendRequest] = (),
        places: Sequence[OrderRequest] = (),
        leaving: Mapping[str, Leaving] | None = None,
        on_result: OnResult,
    ) -> None:
        """Send requests; `on_result` is called for each as its outcome is known, and no exception comes out of here.

        Cancels and new orders leave at once. Amends that make room (`away`) wait for the cancels, those that take it (`towards`)
        for both. A new order that would meet one of the orders in `leaving` (by client order id of their cancel), or takes its
        key, waits until that cancel is confirmed; where it is not, or the order has filled meanwhile, it is not sent.
        """
        gone = leaving or {}
        held = {
            request.client_order_id: [one for one, order in gone.items() if self._waits(request, order)]
            for request in places
        }
        confirmed: dict[str, str] = {}  # client order id of a cancel to "" or the reason why it does not count

        def cancelled(result: OrderResult) -> None:
            confirmed[result.client_order_id] = self._unconfirmed(result, gone.get(result.client_order_id))
            on_result(result)

        async def in_order() -> None:
            await self._cancel_all(cancels, cancelled)
            await self._amend_all(away, on_result)
            await self._amend_all(towards, on_result)
            ready = []
            for request in places:
                why = [confirmed.get(one, "CANCEL_NOT_CONFIRMED") for one in held[request.client_order_id]]
                if any(why):
                    on_result(_not_sent(request, next(filter(None, why))))
                elif why:
                    ready.append(request)
            await self._place_all(ready, on_result)

        await asyncio.gather(in_order(), self._place_all([r for r in places if not held[r.client_order_id]], on_result))

    def _waits(self, request: OrderRequest, order: Leaving) -> bool:
        ticks = self.instrument.ticks(request.price, "price")
        return (
            order.key == key_of_level(request.level_id)
            or ticks == order.ticks
            or meets(request.side.sign, ticks, order.side, order.ticks)
        )

    def _unconfirmed(self, result: OrderResult, order: Leaving | None) -> str:
        if not result.ok or result.order is None or not result.order.state.terminal:
            return "CANCEL_NOT_CONFIRMED"
        filled = self.instrument.lots(result.order.filled_quantity, "filled_quantity")
        return "FILLED_MEANWHILE" if order is not None and filled > order.filled_lots else ""

    async def _cancel_all(self, requests: Sequence[CancelRequest], on_result: OnResult) -> None:
        can, port = self.capabilities, self.port
        batch = can.supports_batch_cancel and len(requests) > self.config.batch_cancel_above
        size = can.max_batch_cancel if batch else 0
        await self._all(requests, Action.CANCEL, port.cancel_order, port.batch_cancel, size, on_result)

    async def _amend_all(self, requests: Sequence[AmendRequest], on_result: OnResult) -> None:
        can, port = self.capabilities, self.port
        batch = can.supports_batch_amend and len(requests) > self.config.batch_place_above
        size = can.max_batch_amend if batch else 0
        await self._all(requests, Action.AMEND, port.amend_order, port.batch_amend, size, on_result)

    async def _place_all(self, requests: Sequence[OrderRequest], on_result: OnResult) -> None:
        can, port = self.capabilities, self.port
        batch = can.supports_batch_place and len(requests) > self.config.batch_place_above
        size = can.max_batch_place if batch else 0
        await self._all(requests, Action.PLACE, port.place_order, port.batch_place, size, on_result)

    async def _all(
        self,
        requests: Sequence[Request],
        action: Action,
        one: Callable[[Request], Awaitable[Order]],
        many: Callable[[Sequence[Request]], Awaitable[list[OrderResult]]],
        batch: int,
        on_result: OnResult,
    ) -> None:
        """Send requests in batches, or one by one where `batch` is 0; at most `max_concurrent` calls at once."""

        async def single(request: Request) -> None:
            async with self._room:
                try:
                    result = result_of(request, await one(request), action)
                except (VenueError, InvalidRequestError) as error:
                    result = result_of(request, error, action)
            on_result(result)

        async def several(chunk: Sequence[Request]) -> None:
            async with self._room:
                try:
                    results = await many(chunk)
                except (VenueError, InvalidRequestError) as error:
                    results = [result_of(request, error, action) for request in chunk]
            for request, result in zip(chunk, results, strict=True):
                on_result(
                    replace(result, level_id=request.level_id, client_order_id=request.client_order_id, action=action)
                )

        if batch:
            jobs: Iterable[Awaitable[None]] = [
                several(requests[at : at + batch]) for at in range(0, len(requests), batch)
            ]
        else:
            jobs = [single(request) for request in requests]
        await asyncio.gather(*jobs)


def _cancel(d: Decision, order: Order) -> CancelRequest:
    return CancelRequest(
        client_order_id=order.client_order_id, symbol=order.symbol, level_id=level_id(d.key), order_id=order.order_id
    )


def _left(d: Decision, reason: Reason) -> OrderResult:
    order = getattr(d.order, "order", None)
    ok = reason is Reason.CONFORMS
    action = Action.BLOCK if d.action is Action.BLOCK else Action.NOOP
    return OrderResult(
        level_id=level_id(d.key),
        client_order_id="" if order is None else order.client_order_id,
        ok=ok,
        order=order,
        reason=reason,
        detail=reason.text,
        action=action,
    )


def _not_sent(request: OrderRequest, reason: str) -> OrderResult:
    words = {
        "CANCEL_NOT_CONFIRMED": "the order it would replace or meet is not confirmed to be gone",
        "FILLED_MEANWHILE": "the order it would replace has filled meanwhile: decide anew",
    }
    return OrderResult(
        level_id=request.level_id,
        client_order_id=request.client_order_id,
        ok=False,
        reason=reason,
        detail=words[reason],
        action=Action.PLACE,
    )
