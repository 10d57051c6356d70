"""ExecutionEngine: one session's rules, sans I/O. Events go in, commands come out; time is an argument.

Replay, paper and live differ in who executes the commands, never in here. The engine adds orders at ticks only; events of own
orders are booked as they come and acted on at the next tick, so that a replacement is sent only once its cancel is confirmed.
What cannot wait is asked for at once: a look-up of an order whose state is unknown, a cancel when the session has stopped.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple, Protocol

from grinder_kit.decision.grid_manager import Book, GridManager, Level, Refused, explain_empty, level_id
from grinder_kit.decision.planner import CentredPlanner, GridPlanner, Plan, planner_for
from grinder_kit.decision.reason import Reason
from grinder_kit.decision.risk import RiskLimits, RiskRefused, RiskView, assess
from grinder_kit.decision.routing import (
    Action,
    Decision,
    Gates,
    LevelLike,
    OrderLike,
    Rules,
    in_steps,
    route_ladder,
)
from grinder_kit.errors import ConfigError, DataError
from grinder_kit.execution.fill_tracker import FillTracker
from grinder_kit.execution.ledger import Ledger
from grinder_kit.execution.own_orders import LiveOrders, OwnOrder, OwnOrders, key_of
from grinder_kit.execution.port import AmendRule, amends_of
from grinder_kit.execution.refusals import RefusalLog
from grinder_kit.model.config import Config
from grinder_kit.model.event import (
    Amend,
    Cancel,
    Command,
    Event,
    FundingPaid,
    LookUp,
    OrderFilled,
    OrderUpdate,
    Place,
    Restarted,
    Resynced,
    RunState,
    SetState,
    StreamLost,
    Tick,
)
from grinder_kit.model.fill import Fill
from grinder_kit.model.grid import ResetAction
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.order import InFlight, OrderState, Side

_FINAL = (RunState.STOPPED, RunState.KILLED)
#: A level that the venue refused, other than as a post-only that would take, waits 1, 2, 4, ... s, at most this long.
MAX_PAUSE_NS = 60_000_000_000


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
    first_generation : int
        Generations of client order ids start above it (see OwnOrders).
    amend_rule : AmendRule
        What the venue can amend; `router.amend` can only narrow it.
    max_amends : int
        Amends that one order may take.
    planner, manager, position : optional
        Other planners, a manager with another fill model, another source of the position.

    Attributes
    ----------
    orders : OwnOrders
    tracker : FillTracker
    ledger : Ledger
    refusals : RefusalLog
    decisions : Counter of (Action, Reason)
    last_decisions : list of Decision
        Those of the last tick that looked at the ladder.
    state : RunState
    epoch : int
        Rises whenever the state changes; what was decided in an older one must not be sent.
    synced : bool
        Whether orders and fills are known to agree with the venue; nothing that adds risk is sent otherwise.
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
        first_generation: int = 0,
        amend_rule: AmendRule = AmendRule.NONE,
        max_amends: int = 10_000,
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
        self.orders = OwnOrders(tag, first_generation=first_generation)
        self.manager.orders = LiveOrders(self.orders, instrument, config.grid.order_type)
        self.tracker = FillTracker(instrument)
        self.ledger = Ledger(instrument)
        self.refusals = RefusalLog()
        self.decisions: Counter[tuple[Action, Reason]] = Counter()
        self.last_decisions: list[Decision] = []
        self.state = RunState.RUNNING
        self.epoch = 0
        self.synced = True
        self.empty_reason: str | None = None
        self.needs_features = config.grid.min_fill_prob > 0
        rule = amend_rule if config.router.amend else AmendRule.NONE
        self._rules = Rules(
            tolerance_ticks=config.router.price_tolerance_ticks,
            amend_threshold_tenths=config.router.amend_threshold_tenths,
            amends=amends_of(rule, max_amends),
        )
        ttl = config.router.order_ttl_s
        self._ttl_ns = None if ttl is None else round(ttl * 1_000_000_000)
        limits = config.limits
        self._limits = RiskLimits(
            None if limits.max_position is None else instrument.lots(limits.max_position, "max_position"),
            None if limits.max_notional is None else self._too_dear,
        )
        self._max_drawdown = limits.max_drawdown
        self._peak = Decimal(0)
        self._plan: Plan | None = None
        self._awaited: set[str] = set()  # orders of an old plan that must be gone before the new one is built
        self._pauses: dict[str, tuple[int, int]] = {}  # level key to (refusals in a row, ns until which it waits)
        self._kept: tuple[object, ...] = ()  # what `state_to_keep` returned last
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
            return self._after(event.client_order_id)
        if isinstance(event, FundingPaid):
            self.tracker.record_funding(event.ts_ns, event.amount)
            self.ledger.funding(event.amount)
        elif isinstance(event, SetState):
            return self._set_state(event)
        elif isinstance(event, StreamLost | Restarted):
            self.synced = False
            if isinstance(event, Restarted):
                self.orders.lose_track()
        elif isinstance(event, Resynced):
            self.synced = True
        else:
            if isinstance(event, OrderUpdate):
                self._count_refusal(event, now_ns)
            look_up = self.orders.apply(event)
            return self._after(event.client_order_id, look_up=look_up)
        return ()

    def _after(self, client_order_id: str, *, look_up: bool = False) -> tuple[Command, ...]:
        """Return what an event of an order asks for at once."""
        order = self.orders.by_id.get(client_order_id)
        if order is None:
            self._awaited.discard(client_order_id)
        elif look_up:
            return (LookUp(client_order_id=client_order_id, reason=order.reason),)
        elif order.in_flight is None and self.state is not RunState.RUNNING:
            return (self._cancel(order, Reason.NOT_RUNNING),)
        return ()

    def _set_state(self, event: SetState) -> tuple[Command, ...]:
        if event.state is self.state:
            return ()
        if self.state in _FINAL and event.state not in _FINAL:
            raise ConfigError(f"the session is {self.state} for good ({event.state} refused); start a new one")
        self.state = event.state
        self.epoch += 1
        return () if event.state is RunState.RUNNING else self._withdraw()

    def _count_refusal(self, event: OrderUpdate, now_ns: int) -> None:
        """Let a level wait longer after each refusal, so that a venue that says no is not asked at every step."""
        key = key_of(event.client_order_id)
        if key is None or event.client_order_id not in self.orders.by_id:
            return
        if event.state is not OrderState.REJECTED or event.reason in ("", "POST_ONLY_WOULD_TAKE"):
            self._pauses.pop(key, None)
            return
        refused = self._pauses.get(key, (0, 0))[0] + 1
        self._pauses[key] = refused, now_ns + min(MAX_PAUSE_NS, 1_000_000_000 << min(refused - 1, 6))

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
        self.orders.fill(event.client_order_id, event.quantity_lots, event.ts_ns)

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
        repeatable = (
            not commands and not self._pauses and self._ttl_ns is None and self.manager.config.min_fill_prob == 0
        )
        self._settled = (quoted, refused, gates) if repeatable else None
        return commands

    def _withdraw(self) -> tuple[Command, ...]:
        return tuple(self._cancel(order, Reason.NOT_RUNNING) for order in self.orders if order.in_flight is None)

    @staticmethod
    def _why_empty(plan: Plan, refused: tuple[Refused, ...]) -> str:
        return explain_empty(refused) if plan.mode.active else f"mode {plan.mode} quotes nothing"

    def _route(
        self, quoted: tuple[Level, ...], refused: tuple[Refused, ...], reset: ResetAction, gates: Gates, now_ns: int
    ) -> tuple[tuple[Command, ...], list[Blocked]]:
        withdraw, stays = self._leaving(quoted, refused, reset, now_ns)
        view = self._view(gates)

        def refuse(level: LevelLike, own: OrderLike | None) -> Reason | None:
            if own is None:
                if level.key in self._pauses and now_ns < self._pauses[level.key][1]:
                    return Reason.COOLING_DOWN
                added = level.lots
            else:
                added = max(0, level.lots - own.filled) - max(0, own.lots - own.filled)
            answer = assess(view, self._limits, level.side, level.ticks, added)
            return answer.reason if isinstance(answer, RiskRefused) else None

        # A standing order that nothing would be added to is not asked about: most of a ladder, at most ticks.
        asked = refuse if self._any_gate(view) else None
        decisions = route_ladder(
            quoted, self.orders.by_key, gates, self._rules,
            withdraw=withdraw, stays=stays, rebuilding=bool(self._awaited), refuse=asked,
        )  # fmt: skip
        self.last_decisions = decisions
        blocked: list[Blocked] = []
        for decision in decisions:
            if decision.order is None or decision.action is not Action.CANCEL:
                self.decisions[decision.action, decision.reason] += 1
            if decision.action is Action.BLOCK and decision.order is None:
                # A standing order is quoted, though it may not be touched.
                reason = decision.reason
                blocked.append(Blocked(decision.key, decision.side, decision.ticks, reason, reason.text))
        return self._commands(decisions, gates, now_ns), blocked

    def _leaving(
        self, quoted: tuple[Level, ...], refused: tuple[Refused, ...], reset: ResetAction, now_ns: int
    ) -> tuple[dict[str, Reason], set[str]]:
        """Return the orders that must go whatever the plan says, and those off the plan that stay."""
        # A new order there would take; one that has long rested there is about to fill, or has.
        reached = {item.key: item.ticks for item in refused if item.reason is Reason.WOULD_CROSS}
        if not reached and reset is ResetAction.NONE and not self._awaited and self._ttl_ns is None:
            return {}, set()
        by_key = {level.key: level for level in quoted}
        withdraw: dict[str, Reason] = {}
        stays: set[str] = set()
        tolerance = self._rules.tolerance_ticks
        for order in self.orders:
            level = by_key.get(order.key)
            if level is None and order.key in reached and abs(reached[order.key] - order.ticks) <= tolerance:
                stays.add(order.key)
            misfit = not self._conforms(order, level) if level is not None else order.key not in stays
            if reset is ResetAction.HARD or (reset is ResetAction.SOFT and misfit):
                self._awaited.add(order.client_order_id)
            # An awaited order that is still under way is cancelled later, though the new plan may have come to want it.
            if order.client_order_id in self._awaited:
                withdraw[order.key] = Reason.RESET if level is not None else Reason.OFF_PLAN
            elif self._ttl_ns is not None and now_ns - order.sent_ns >= self._ttl_ns:
                withdraw[order.key] = Reason.TTL_EXPIRED
        return withdraw, stays

    def _conforms(self, order: OwnOrder, level: Level) -> bool:
        return abs(order.ticks - level.ticks) <= self._rules.tolerance_ticks and abs(order.lots - level.lots) <= 1

    # --- from decisions to commands ---------------------------------------------------------------------------------

    def _commands(self, decisions: list[Decision], gates: Gates, now_ns: int) -> tuple[Command, ...]:
        cancels, away, towards, places = in_steps(decisions)
        commands: list[Command] = []
        for decision in cancels:
            own = self.orders.by_key[decision.key]
            own.expires = decision.reason is Reason.TTL_EXPIRED
            commands.append(self._cancel(own, decision.reason))
        for decision in (*away, *towards):
            own = self.orders.by_key[decision.key]
            added = max(0, decision.lots - own.filled) - own.open_lots
            if self._approved(gates, decision, added):
                commands.append(self._amend(own, decision))
        for decision in places:
            if self._approved(gates, decision, decision.lots):
                commands.append(self._place(decision, now_ns))
        return tuple(commands)

    def _approved(self, gates: Gates, decision: Decision, added: int) -> bool:
        """Ask the gates again, now that the orders before this one in the same step count as well."""
        if not self._any_gate(self._view_of_state(gates)):
            return True
        answer = assess(self._view(gates), self._limits, decision.side, decision.ticks, added)
        if not isinstance(answer, RiskRefused):
            return True
        self.decisions[decision.action, decision.reason] -= 1
        self.decisions[Action.BLOCK, answer.reason] += 1
        return False

    def _place(self, decision: Decision, now_ns: int) -> Place:
        order = self.orders.add(decision.key, decision.side, decision.ticks, decision.lots, now_ns)
        return Place(
            client_order_id=order.client_order_id,
            level_id=level_id(decision.key),
            side=Side.BUY if decision.side > 0 else Side.SELL,
            price_ticks=decision.ticks,
            quantity_lots=decision.lots,
            type=self.config.grid.order_type,
            epoch=self.epoch,
            reason=decision.reason,
        )

    def _amend(self, order: OwnOrder, decision: Decision) -> Amend:
        order.in_flight, order.wish = InFlight.AMEND, (decision.ticks, decision.lots)
        return Amend(
            client_order_id=order.client_order_id,
            price_ticks=decision.ticks,
            quantity_lots=decision.lots,
            epoch=self.epoch,
            reason=decision.reason,
        )

    def _cancel(self, order: OwnOrder, reason: Reason) -> Cancel:
        order.in_flight = InFlight.CANCEL
        self.decisions[Action.CANCEL, reason] += 1
        return Cancel(client_order_id=order.client_order_id, reason=reason)

    # --- limits -----------------------------------------------------------------------------------------------------

    def _view_of_state(self, gates: Gates) -> RiskView:
        return RiskView(self.state, gates.stale, self.synced, gates.drawdown_shut, 0, 0, 0)

    def _view(self, gates: Gates) -> RiskView:
        view = self._view_of_state(gates)
        if not self._any_gate(view):
            return view
        buys = sum(order.open_lots for order in self.orders if order.side > 0)
        sells = sum(order.open_lots for order in self.orders if order.side < 0)
        return view._replace(position=self.position.lots, open_buys=buys, open_sells=sells)

    def _any_gate(self, view: RiskView) -> bool:
        """Whether any gate could refuse anything."""
        return (
            view.drawdown_shut
            or not view.position_known
            or view.state is not RunState.RUNNING
            or self._limits.max_lots is not None
            or self._limits.too_dear is not None
            or bool(self._pauses)
        )

    def _too_dear(self, lots: int, ticks: int) -> bool:
        limit = self.config.limits.max_notional
        value = self.instrument.notional(self.instrument.price(ticks), self.instrument.quantity(lots))
        return limit is not None and value > limit

    def _drawdown_shut(self, mid2: int) -> bool:
        if self._max_drawdown is None:
            return False
        equity = self.ledger.equity(self.instrument.tick * mid2 / 2)
        self._peak = max(self._peak, equity)
        return self._peak - equity >= self._max_drawdown

    # --- what outlives the process ----------------------------------------------------------------------------------

    def state_to_keep(self) -> dict[str, Any] | None:
        """Return what no event tells and a restart must know, where it has changed since the last call; None otherwise."""
        centre2 = self.planner.centre2 if isinstance(self.planner, CentredPlanner) else None
        now = (centre2, self._peak, self.epoch)
        if now == self._kept:
            return None
        self._kept = now
        return {"centre2": centre2, "peak": str(self._peak), "epoch": self.epoch}

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Take what `state_to_keep` returned."""
        if isinstance(self.planner, CentredPlanner) and kept.get("centre2") is not None:
            self.planner.centre2 = int(kept["centre2"])
        self._peak = Decimal(kept.get("peak", "0"))
        self.epoch = max(self.epoch, int(kept.get("epoch", 0)))

    def digest(self) -> str:
        """Return a SHA-256 over state, orders, fills and money: equal for sessions that know the same."""
        known = {
            "state": self.state,
            "epoch": self.epoch,
            "orders": sorted(
                [o.client_order_id, o.ticks, o.lots, o.filled, o.state, o.in_flight or "", list(o.wish or ())]
                for o in self.orders
            ),
            "fills": sorted(fill.fill_id for fill in self.tracker.fills),
            "position": self.position.lots,
            "money": [
                format(value.normalize(), "f")
                for value in (self.ledger.cash, self.ledger.inventory, self.ledger.commission, self.ledger.received)
            ],
        }
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
