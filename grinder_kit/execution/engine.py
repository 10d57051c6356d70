"""ExecutionEngine: one session's rules, sans I/O. Events go in, commands come out; time is an argument.

Replay, paper and live differ in who executes the commands, never in here. The engine decides at ticks; events of own orders are
booked as they come and acted on at the next tick, so that a replacement is sent only once its cancel is confirmed.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import NamedTuple, Protocol

from grinder_kit.decision.grid_manager import Book, GridManager, Level, Refused, explain_empty, level_id
from grinder_kit.decision.planner import GridPlanner, Plan, planner_for
from grinder_kit.decision.reason import Reason
from grinder_kit.decision.routing import Action, Gates, Standing, Wanted, route_level, route_order
from grinder_kit.errors import ConfigError, DataError
from grinder_kit.execution.fill_tracker import FillTracker
from grinder_kit.execution.ledger import Ledger
from grinder_kit.execution.own_orders import LiveOrders, OwnOrder, OwnOrders, key_of
from grinder_kit.execution.refusals import RefusalLog
from grinder_kit.model.config import Config
from grinder_kit.model.event import (
    Cancel,
    CancelRejected,
    Command,
    Event,
    FundingPaid,
    OrderFilled,
    OrderUpdate,
    Place,
    RunState,
    Tick,
)
from grinder_kit.model.fill import Fill
from grinder_kit.model.grid import ResetAction
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.order import InFlight, Side


class PositionSource(Protocol):
    """The position that side limits are checked against."""

    @property
    def lots(self) -> int:
        """Position in lots, signed."""
        ...

    def book(self, side: int, lots: int) -> None:
        """Book a fill: side +1 bought."""
        ...


class LotPosition:
    """Position in whole lots."""

    def __init__(self) -> None:
        self.lots = 0

    def book(self, side: int, lots: int) -> None:
        """Book a fill: side +1 bought."""
        self.lots += side * lots


class Blocked(NamedTuple):
    """A level that the router did not send."""

    key: str
    side: int
    ticks: int
    reason: Reason
    detail: str


class ExecutionEngine:
    """Decide for one instrument and one grid.

    Parameters
    ----------
    instrument : Instrument
    config : Config
        Its sections grid, router, execution and limits.
    tag : str
        Session tag in client order ids.
    planner, manager, position : optional
        Other planners, a manager with another fill model, another source of the position.

    Attributes
    ----------
    orders : OwnOrders
    tracker : FillTracker
    ledger : Ledger
    refusals : RefusalLog
    decisions : Counter of (Action, Reason)
    state : RunState
    empty_reason : str or None
        Why the grid has no level at the moment, None when it has some.

    Raises
    ------
    ConfigError
        For a limit that this engine does not enforce: a limit is never silently ignored.
    """

    def __init__(
        self,
        instrument: Instrument,
        config: Config,
        *,
        tag: str = "r0",
        planner: GridPlanner | None = None,
        manager: GridManager | None = None,
        position: PositionSource | None = None,
    ) -> None:
        for name in ("max_loss_per_day", "max_orders_per_s"):
            if getattr(config.limits, name) is not None:
                raise ConfigError(f"limits.{name} is not enforced yet; take it out rather than trust it")
        self.instrument = instrument
        self.config = config
        self.planner = planner or planner_for(config.grid, instrument)
        self.manager = manager or GridManager(config.grid, instrument, execution=config.execution)
        self.position = position or LotPosition()
        self.orders = OwnOrders(tag)
        self.manager.orders = LiveOrders(self.orders, instrument, config.grid.order_type)
        self.tracker = FillTracker(instrument)
        self.ledger = Ledger(instrument)
        self.refusals = RefusalLog()
        self.decisions: Counter[tuple[Action, Reason]] = Counter()
        self.state = RunState.RUNNING
        self.empty_reason: str | None = None
        self.needs_features = config.grid.min_fill_prob > 0
        self._tolerance = config.router.price_tolerance_ticks
        limits = config.limits
        self._max_lots = None if limits.max_position is None else instrument.lots(limits.max_position, "max_position")
        self._max_value = limits.max_notional
        self._max_drawdown = limits.max_drawdown
        self._peak = Decimal(0)
        self._plan: Plan | None = None
        self._awaited: set[str] = set()  # orders of an old plan that must be gone before the new one is built
        # What the last tick looked at, while it asked for nothing.
        self._settled: tuple[tuple[Level, ...], tuple[Refused, ...], Gates] | None = None

    # --- the one entrance -------------------------------------------------------------------------------------------

    def step(self, event: Event, now_ns: int) -> tuple[Command, ...]:
        """Take an event at a time (ns, by the local clock); return the commands to execute, in order."""
        if isinstance(event, Tick):
            return self._decide(event, now_ns)
        self._settled = None
        if isinstance(event, OrderFilled):
            self._book_fill(event)
        elif isinstance(event, OrderUpdate):
            self.orders.become(event.client_order_id, event.state, event.ts_ns, event.reason)
            if event.state.terminal:
                self._awaited.discard(event.client_order_id)
        elif isinstance(event, CancelRejected):
            order = self.orders.by_id.get(event.client_order_id)
            if order is not None:
                order.in_flight = None
        elif isinstance(event, FundingPaid):
            self.tracker.record_funding(event.ts_ns, event.amount)
            self.ledger.funding(event.amount)
        else:
            self.state = event.state
        return ()

    def _book_fill(self, event: OrderFilled) -> None:
        order = self.orders.by_id.get(event.client_order_id)
        key = order.key if order is not None else key_of(event.client_order_id)
        if key is None:
            raise DataError(
                f"fill {event.trade_id} is of order {event.client_order_id!r}, which no session of ours has sent"
            )
        side = 1 if key[0] == "B" else -1
        fill = Fill(
            fill_id=event.trade_id,
            order_id=event.client_order_id,
            symbol=self.instrument.symbol,
            side=Side.BUY if side > 0 else Side.SELL,
            price=self.instrument.price(event.price_ticks),
            quantity=self.instrument.quantity(event.quantity_lots),
            commission=event.commission,
            commission_asset=event.commission_asset,
            ts_ns=event.ts_ns,
            is_maker=event.is_maker,
            level_id=level_id(key),
            policy=self.config.grid.planner,
        )
        self.tracker.record_fill(fill)  # first: it refuses the same id with other content, and books nothing then
        if not self.ledger.apply(fill):
            return  # booked before: a repeat after a reconnect
        self.position.book(side, event.quantity_lots)
        ended = self.orders.fill(event.client_order_id, event.quantity_lots, event.ts_ns)
        if ended is not None and ended.state.terminal:
            self._awaited.discard(event.client_order_id)

    # --- deciding ---------------------------------------------------------------------------------------------------

    def _decide(self, tick: Tick, now_ns: int) -> tuple[Command, ...]:
        running = self.state is RunState.RUNNING
        quoted: tuple[Level, ...] = ()
        refused: tuple[Refused, ...] = ()
        if tick.bid_ticks is None or tick.ask_ticks is None:
            # Half a book says nothing about where the grid should stand: what stands stays, unless it must be withdrawn.
            self.empty_reason = Reason.NO_MARKET.text
            return () if running else self._withdraw()
        plan = self.planner.plan(tick.bid_ticks, tick.ask_ticks, self.position.lots)
        if running:
            book = Book(tick.bid_ticks, tick.ask_ticks, tick.features)
            quoted, refused = self.manager.wanted(plan, book, self.position.lots)
            self.empty_reason = None if quoted else self._why_empty(plan, refused)
        gates = Gates(running, tick.stale, self._drawdown_shut(tick.bid_ticks + tick.ask_ticks))
        reset = plan.reset_action if plan is not self._plan else ResetAction.NONE
        self._plan = plan
        if reset is ResetAction.NONE and self._settled is not None:
            last_quoted, last_refused, last_gates = self._settled
            if last_quoted is quoted and last_refused is refused and last_gates == gates:
                return ()
        commands, blocked = self._route(quoted, refused, reset, gates, now_ns)
        self.refusals.update(refused, blocked, now_ns)
        self._settled = (quoted, refused, gates) if not commands and self.manager.config.min_fill_prob == 0 else None
        return commands

    def _withdraw(self) -> tuple[Command, ...]:
        return tuple(self._cancel(order, Reason.NOT_RUNNING) for order in self.orders if order.in_flight is None)

    @staticmethod
    def _why_empty(plan: Plan, refused: tuple[Refused, ...]) -> str:
        return explain_empty(refused) if plan.mode.active else f"mode {plan.mode} quotes nothing"

    def _route(
        self, quoted: tuple[Level, ...], refused: tuple[Refused, ...], reset: ResetAction, gates: Gates, now_ns: int
    ) -> tuple[tuple[Command, ...], list[Blocked]]:
        cancels: list[Command] = []
        places: list[Command] = []
        blocked: list[Blocked] = []
        by_key = {level.key: level for level in quoted}
        # A new order there would take; one that has long rested there is about to fill, or has.
        reached = {item.key: item.ticks for item in refused if item.reason is Reason.WOULD_CROSS}
        for order in list(self.orders):
            level = by_key.get(order.key)
            stays = order.key in reached and abs(reached[order.key] - order.ticks) <= self._tolerance
            off_plan = level is None and not stays
            misfit = off_plan or (level is not None and not self._conforms(order, level))
            if reset is ResetAction.HARD or (reset is ResetAction.SOFT and misfit):
                self._awaited.add(order.client_order_id)
            # An awaited order that is still under way is cancelled later, though the new plan may have come to want it.
            if off_plan or order.client_order_id in self._awaited:
                action, reason = route_order(gates, _standing(order))
                if action is Action.CANCEL:
                    cancels.append(self._cancel(order, Reason.RESET if level is not None else reason))
        for level in quoted:
            own = self.orders.by_key.get(level.key)
            action, reason = route_level(
                gates,
                Wanted(
                    ticks=level.ticks,
                    lots=level.lots,
                    adds_risk=gates.drawdown_shut and self._exposed(level, own) > 0,
                    occupied=self.orders.occupied(level.ticks),
                    refused=self._over_limit(level) if own is None else None,
                ),
                None if own is None else _standing(own),
                tolerance_ticks=self._tolerance,
            )
            if action is Action.PLACE and self._awaited:
                action, reason = Action.BLOCK, Reason.RESET
            self.decisions[action, reason] += 1
            if action is Action.PLACE:
                places.append(self._place(level, now_ns))
            elif action is Action.CANCEL_REPLACE and own is not None:
                cancels.append(self._cancel(own, reason))
            elif action is Action.BLOCK and own is None:  # a standing order is quoted, though it may not be touched
                blocked.append(Blocked(level.key, level.side, level.ticks, reason, reason.text))
        return (*cancels, *places), blocked

    def _conforms(self, order: OwnOrder, level: Level) -> bool:
        return abs(order.ticks - level.ticks) <= self._tolerance and abs(order.lots - level.lots) <= 1

    def _place(self, level: Level, now_ns: int) -> Place:
        order = self.orders.add(level.key, level.side, level.ticks, level.lots, now_ns)
        return Place(
            client_order_id=order.client_order_id,
            level_id=level_id(level.key),
            side=Side.BUY if level.side > 0 else Side.SELL,
            price_ticks=level.ticks,
            quantity_lots=level.lots,
            type=self.config.grid.order_type,
        )

    def _cancel(self, order: OwnOrder, reason: Reason) -> Cancel:
        order.in_flight = InFlight.CANCEL
        self.decisions[Action.CANCEL, reason] += 1
        return Cancel(client_order_id=order.client_order_id)

    # --- limits -----------------------------------------------------------------------------------------------------

    def _exposed(self, level: Level, own: OwnOrder | None) -> int:
        """Return the position, towards the level's side, if every order of that side filled, this level's included."""
        others = (order for order in self.orders if order.side == level.side and order is not own)
        return level.lots + level.side * self.position.lots + sum(order.lots - order.filled for order in others)

    def _over_limit(self, level: Level) -> Reason | None:
        if self._max_lots is None and self._max_value is None:
            return None
        exposed = self._exposed(level, None)
        if self._max_lots is not None and exposed > self._max_lots:
            return Reason.POSITION_LIMIT
        if self._max_value is not None:
            value = self.instrument.notional(self.instrument.price(level.ticks), self.instrument.quantity(exposed))
            if value > self._max_value:
                return Reason.NOTIONAL_LIMIT
        return None

    def _drawdown_shut(self, mid2: int) -> bool:
        if self._max_drawdown is None:
            return False
        equity = self.ledger.equity(self.instrument.tick * mid2 / 2)
        self._peak = max(self._peak, equity)
        return self._peak - equity >= self._max_drawdown


def _standing(order: OwnOrder) -> Standing:
    return Standing(order.ticks, order.lots, order.filled, order.in_flight is not None)
