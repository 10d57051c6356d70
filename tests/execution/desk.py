"""A desk for the engine's tests: an engine, a venue in the hands of the test, and everything on its way between them."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from typing import Any

from grinder_kit.execution.engine import ExecutionEngine
from grinder_kit.execution.port import AmendRule
from grinder_kit.model.config import Config, GridConfig, Limits
from grinder_kit.model.event import (
    Amend,
    Amended,
    AmendRejected,
    Cancel,
    CancelRejected,
    Command,
    Event,
    LookedUp,
    LookUp,
    OrderFilled,
    OrderUpdate,
    Place,
    RunState,
    Tick,
)
from grinder_kit.model.instrument import Contract, Instrument
from grinder_kit.model.order import OrderState, OrderType, Side

INSTRUMENT = Instrument(
    symbol="TOY",
    venue="v",
    base="TOY",
    quote="USDT",
    contract=Contract.LINEAR,
    tick=Decimal("0.1"),
    lot=Decimal("0.01"),
)
GRID = GridConfig(spacing_bps=50, levels=3, size="0.04", recentre_bps=20)  # 5 ticks apart at 1,000 ticks
MID = 1_000


class Venue:
    """An engine, a venue in the hands of the test, and everything that is on its way between them."""

    def __init__(self, config: Config, instrument: Instrument = INSTRUMENT, *, reduce_only: bool = True) -> None:
        self.engine = ExecutionEngine(instrument, config, amend_rule=AmendRule.MODIFY, reduce_only=reduce_only)
        self.reduce_only = reduce_only
        self.depth = 3  # lots that an IOC order finds
        self.now = 0
        self.step_ns = 100
        self.sent: list[Command] = []  # on the way to the venue
        self.answers: list[Event] = []  # on the way to the engine
        self.delivered: list[Event] = []
        self.resting: dict[str, int] = {}  # lots left at the venue
        self.alive: dict[str, Place] = {}  # sent, and no end of it was delivered
        self.acknowledged: set[str] = set()
        self.cancelling: set[str] = set()
        self.filled: dict[str, int] = {}  # delivered, by order
        self.traded: dict[str, int] = {}  # at the venue, by order
        self.trades_of: dict[str, list[OrderFilled]] = {}
        self.told: dict[
            str, int
        ] = {}  # ended by the venue's word with so many lots filled, not all of which were delivered
        self.booked: set[str] = set()
        self.position = 0
        self.trades = 0

    # --- the engine's turn -----------------------------------------------------------------------------------------

    def tick(
        self, mid: int = MID, half_spread: int = 1, *, stale: bool = False, half_book: bool = False
    ) -> list[Command]:
        """Let the engine decide, do what its limits call for, and check every command the moment it is given."""
        self.now += self.step_ns
        tick = Tick(bid_ticks=mid - half_spread, ask_ticks=None if half_book else mid + half_spread, stale=stale)
        commands = self.engine.step(tick, self.now)
        kinds = [type(command) for command in commands]
        order = [Cancel, LookUp, Amend, Place]
        assert kinds == sorted(kinds, key=order.index), "cancels leave first, new orders last"
        for command in commands:
            if isinstance(command, Place):
                self._check_place(command, tick)
                self.alive[command.client_order_id] = command
        self._take(commands)
        due = self.engine.due
        if due is not None:
            self.step(due)
        if self.engine.breach is not None:
            assert kinds == [Cancel] * len(kinds), "once a limit is broken nothing is added"
            assert self.engine.state in (RunState.KILLED, RunState.STOPPED), "and the session ends within the step"
        return list(commands)

    def _take(self, commands: tuple[Command, ...]) -> None:
        for command in commands:
            order = command.client_order_id
            if isinstance(command, Cancel | Amend):
                assert order in self.alive, "touches only what lives"
                assert order in self.acknowledged, "an order under way is not touched"
                assert order not in self.cancelling, "never two requests under way"
                self.cancelling.add(order)
        self.sent += commands

    def _check_place(self, place: Place, tick: Tick) -> None:
        if self.engine.state is RunState.FLATTENING:
            return self._check_exit(place, tick)
        assert self.engine.state is RunState.RUNNING, "only a running session adds orders"
        assert (place.type, place.reduce_only) == (OrderType.POST_ONLY, False)
        assert not tick.stale and tick.ask_ticks is not None and tick.bid_ticks is not None, "never on data like these"
        others = self.alive.values()
        assert place.level_id not in {other.level_id for other in others}, "one order per key, always"
        assert place.price_ticks not in {other.price_ticks for other in others}, "one order per price"
        if place.side is Side.BUY:
            assert place.price_ticks < tick.ask_ticks
        else:
            assert place.price_ticks > tick.bid_ticks

    def _check_exit(self, place: Place, tick: Tick) -> None:
        held, engine = self.engine.position.lots, self.engine
        assert not self.alive and not self.resting, "an exit is alone"
        assert engine.synced and not tick.stale, "and leaves when everything is known"
        assert (place.type, place.reduce_only) == (OrderType.IOC, self.reduce_only)
        assert place.side.sign * held < 0 and place.quantity_lots <= abs(held), "it cannot turn the position round"
        assert place.price_ticks == (tick.bid_ticks if held > 0 else tick.ask_ticks), "it takes what stands there"
        assert place.epoch == engine.epoch and place.level_id == ("SELL_0" if held > 0 else "BUY_0")

    def step(self, event: Event) -> None:
        """Deliver an event; only ticks make the engine add anything."""
        commands = self.engine.step(event, self.now)
        assert all(isinstance(command, Cancel | LookUp) for command in commands)
        self._take(commands)

    # --- the venue's turn ------------------------------------------------------------------------------------------

    def arrive(self, index: int = 0, *, accept: bool = True) -> None:
        """Let a command reach the venue."""
        command = self.sent.pop(index % len(self.sent))
        order = command.client_order_id
        if isinstance(command, Place) and command.type is OrderType.IOC:
            self._take_at_once(command, self.depth if accept else 0)
        elif isinstance(command, Place):
            state = OrderState.OPEN if accept else OrderState.REJECTED
            if accept:
                self.resting[order] = command.quantity_lots
            self.answers.append(OrderUpdate(client_order_id=order, state=state, ts_ns=self.now))
        elif isinstance(command, LookUp):
            self.answers += [*self.trades_of.get(order, ()), self._look(order)]
        elif isinstance(command, Amend):
            self._amend(command)
        elif self.resting.pop(order, None) is None:
            self.answers.append(CancelRejected(client_order_id=order, ts_ns=self.now))
        else:
            self.answers.append(OrderUpdate(client_order_id=order, state=OrderState.CANCELLED, ts_ns=self.now))

    def _take_at_once(self, command: Place, depth: int) -> None:
        order = command.client_order_id
        self.answers.append(OrderUpdate(client_order_id=order, state=OrderState.OPEN, ts_ns=self.now))
        self.resting[order] = command.quantity_lots
        if depth:
            self.trade(order, depth)
        if self.resting.pop(order, 0):
            filled = self.traded.get(order, 0)
            self.answers.append(
                OrderUpdate(client_order_id=order, state=OrderState.EXPIRED, ts_ns=self.now, filled_lots=filled)
            )

    def _amend(self, command: Amend) -> None:
        order = command.client_order_id
        left = command.quantity_lots - self.traded.get(order, 0)
        if order not in self.resting:
            self.answers.append(AmendRejected(client_order_id=order, ts_ns=self.now))
        elif left <= 0:
            del self.resting[order]
            self.answers.append(OrderUpdate(client_order_id=order, state=OrderState.CANCELLED, ts_ns=self.now))
        else:
            self.resting[order] = left
            price, lots = command.price_ticks, command.quantity_lots
            self.answers.append(Amended(client_order_id=order, price_ticks=price, quantity_lots=lots, ts_ns=self.now))

    def _look(self, order: str) -> LookedUp:
        ended = OrderState.EXPIRED if order.split("-")[1] in ("B0", "S0") else OrderState.CANCELLED
        state = OrderState.OPEN if order in self.resting else ended
        return LookedUp(client_order_id=order, ts_ns=self.now, state=state, filled_lots=self.traded.get(order, 0))

    def trade(self, order: str, lots: int) -> None:
        """Fill a resting order, wholly or in part."""
        lots = min(lots, self.resting[order])
        self.traded[order] = self.traded.get(order, 0) + lots
        self.resting[order] -= lots
        if not self.resting[order]:
            del self.resting[order]
        self.trades += 1
        self.answers.append(self.fill_event(order, lots, f"t{self.trades}"))
        self.trades_of.setdefault(order, []).append(self.answers[-1])  # type: ignore[arg-type]

    def fill_event(self, order: str, lots: int, trade_id: str) -> OrderFilled:
        """Return the event of a fill."""
        known = self.alive.get(order)
        return OrderFilled(
            client_order_id=order, trade_id=trade_id, price_ticks=known.price_ticks if known else MID, quantity_lots=lots,
            commission=Decimal("0.01"), commission_asset="USDT", ts_ns=self.now, is_maker=True,
        )  # fmt: skip

    def deliver(self, index: int = 0) -> None:
        """Let an answer reach the engine, and keep our own books of it."""
        event = self.answers.pop(index % len(self.answers))
        self.delivered.append(event)
        order = event.client_order_id  # type: ignore[union-attr]
        # Our own books first: what the event makes the engine ask for is checked against them.
        if isinstance(event, CancelRejected | AmendRejected | Amended | LookedUp):
            self.cancelling.discard(order)
        self.acknowledged.add(order)
        if isinstance(event, Amended) and order in self.alive:
            self.alive[order] = dataclasses.replace(
                self.alive[order], price_ticks=event.price_ticks, quantity_lots=event.quantity_lots
            )
        if isinstance(event, OrderFilled) and event.trade_id not in self.booked:
            side = 1 if order.split("-")[1][0] == "B" else -1
            self.position += side * event.quantity_lots
            self.booked.add(event.trade_id)
            self.filled[order] = self.filled.get(order, 0) + event.quantity_lots
        elif isinstance(event, OrderUpdate | LookedUp) and event.state is not None and event.state.terminal:
            self.told[order] = event.filled_lots or 0
        self.step(event)
        filled = self.filled.get(order, 0)
        if order in self.alive and (
            filled >= self.told.get(order, 1 << 60) or filled >= self._whole(order) and order not in self.resting
        ):
            self._ended(order)

    def _whole(self, order: str) -> int:
        """Lots at which the engine is sure that the order is full: never while an amend may have made it larger."""
        own = self.engine.orders.by_id.get(order)
        return 1 << 60 if own is not None and own.wish is not None else self.alive[order].quantity_lots

    def _ended(self, order: str) -> None:
        self.alive.pop(order, None)
        self.cancelling.discard(order)

    def flush(self) -> None:
        """Let everything arrive, in order."""
        while self.sent:
            self.arrive()
        while self.answers:
            self.deliver()

    def settle(self, mid: int = MID, half_spread: int = 1) -> None:
        """Tick until the engine asks for nothing any more."""
        for _ in range(30):
            self.flush()
            if not self.tick(mid, half_spread) and not self.sent:
                return
        raise AssertionError("the engine never comes to rest")

    # --- looking ---------------------------------------------------------------------------------------------------

    def levels(self) -> dict[str, int]:
        """Return the price of every live order by level."""
        return {place.level_id: place.price_ticks for place in self.alive.values()}

    def order_at(self, level: str) -> str:
        """Return the id of the live order of a level."""
        return next(order for order, place in self.alive.items() if place.level_id == level)


def venue(grid: GridConfig = GRID, **limits: Any) -> Venue:
    """Return a venue with an engine that has not seen anything yet."""
    return Venue(Config(grid=grid, limits=Limits(**limits)))
