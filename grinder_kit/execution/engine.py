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
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from grinder_kit.decision import rules
from grinder_kit.decision.constraints import Constraints
from grinder_kit.decision.exit import Exit, exit_order
from grinder_kit.decision.grid_manager import (
    Book,
    GridManager,
    Level,
    Refused,
    check_fill_prob,
    explain_empty,
    level_id,
)
from grinder_kit.decision.planner import CentredPlanner, GridPlanner, Plan, planner_for
from grinder_kit.decision.reason import Reason
from grinder_kit.decision.risk import Breach, RiskLimits, RiskRefused, RiskView, assess, breaches
from grinder_kit.decision.routing import (
    Action,
    Decision,
    Gates,
    LevelLike,
    OrderLike,
    Rules,
    in_steps,
    route_ladder,
    route_standing,
)
from grinder_kit.decision.slicing import Progress
from grinder_kit.errors import ConfigError, DataError
from grinder_kit.execution.account import AccountBooks
from grinder_kit.execution.fill_tracker import FillTracker
from grinder_kit.execution.ledger import Ledger
from grinder_kit.execution.own_orders import LiveOrders, OwnOrder, OwnOrders, key_of
from grinder_kit.execution.port import AmendRule, amends_of
from grinder_kit.execution.refusals import RefusalLog
from grinder_kit.execution.repegs import WOULD_TAKE, Repegs
from grinder_kit.execution.watch import RiskWatch
from grinder_kit.execution.way_out import WayOut, amount
from grinder_kit.fillprob.heuristic import step_probability
from grinder_kit.fillprob.model import FillModel
from grinder_kit.model.config import Config
from grinder_kit.model.config_check import check_against
from grinder_kit.model.config_diff import Difference, differences, unchangeable
from grinder_kit.model.event import (
    Amend,
    Cancel,
    Command,
    Event,
    Flatten,
    FundingPaid,
    LookUp,
    OrderFilled,
    OrderUpdate,
    Place,
    Rebased,
    Reconciled,
    Restarted,
    Resynced,
    RunState,
    SetState,
    StreamLost,
    Tick,
    Updated,
)
from grinder_kit.model.fill import Fill
from grinder_kit.model.grid import ResetAction
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.order import InFlight, OrderState, OrderType, Side
from grinder_kit.model.section import InvalidConfigError, Problem

if TYPE_CHECKING:
    from grinder_kit.fillprob.markout import MarkoutModel

#: States in which a broken limit kills. While a session flattens none does: that would leave it with its position.
_WATCHED = (RunState.RUNNING, RunState.PAUSED)
#: The keys of exits; no level of a plan has them.
_BUY_OUT, _SELL_OUT = "B0", "S0"
_EXITS = (_BUY_OUT, _SELL_OUT)
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
    reduce_only : bool
        Whether the venue can be told that an order may only reduce the position.
    keep : int, optional
        Fills and round trips that are held in memory (see FillTracker); None holds all.
    model : FillModel, optional
        What `grid.min_fill_prob` is held against; the specification's heuristic by default.
    markout : MarkoutModel, optional
        What a fill costs beyond fees; it enters what levels are worth, not what is done.
    planner, manager, position : optional
        Another planner, another manager, another source of the position.

    Attributes
    ----------
    orders : OwnOrders
    tracker : FillTracker
    ledger : Ledger
    refusals : RefusalLog
    account : AccountBooks
    decisions : Counter of (Action, Reason)
    last_decisions : list of Decision
        Those of the last tick that looked at the ladder.
    state : RunState
    state_reason : str
        Why it is in that state.
    state_since_ns : int
        Since when.
    epoch : int
        Rises whenever the state changes; what was decided in an older one must not be sent.
    synced : bool
        Whether orders and fills are known to agree with the venue; nothing that adds risk is sent otherwise.
    empty_reason : str or None
        Why the grid has no level at the moment, None when it has some.
    flattened : str or None
        Why there is nothing to flatten any more: all is sold or bought back, or what remains is too small. None until then.
    way_out : WayOut or None
        The schedule by which the position is taken out, though it be paused; None: at once, or not at all.
    watch : RiskWatch
        What the session has lost and sent, and the limit that it broke.

    Raises
    ------
    ConfigError
        For a limit off the lot; for a configuration that names a fitted model, where none is given.
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
        reduce_only: bool = False,
        keep: int | None = None,
        model: FillModel | None = None,
        markout: MarkoutModel | None = None,
        planner: GridPlanner | None = None,
        manager: GridManager | None = None,
        position: PositionSource | None = None,
    ) -> None:
        self.instrument = instrument
        self.position = position or LotPosition()
        self.orders = OwnOrders(tag, first_generation=first_generation)
        self.tracker = FillTracker(instrument, keep=keep)
        self.ledger = Ledger(instrument, remember=keep is None)
        self.watch = RiskWatch(instrument, self.ledger, config.limits)
        self.refusals = RefusalLog()
        self.account = AccountBooks()
        self.decisions: Counter[tuple[Action, Reason]] = Counter()
        self.last_decisions: list[Decision] = []
        self.state = RunState.RUNNING
        self.state_reason = ""
        self.state_since_ns = 0
        self.epoch = 0
        self.synced = True
        self.empty_reason: str | None = None
        self.flattened: str | None = None
        self.way_out: WayOut | None = None
        self._amend_rule, self._max_amends = amend_rule, max_amends
        self._reduce_only = reduce_only
        self._constraints = Constraints.of(instrument)
        self._plan: Plan | None = None
        self._awaited: set[str] = set()  # orders of an old plan that must be gone before the new one is built
        self._pauses: dict[str, tuple[int, int]] = {}  # level key to (refusals in a row, ns until which it waits)
        self._repegs = Repegs(self._constraints)
        self._kept: tuple[object, ...] = ()  # what `state_to_keep` returned last
        # What the last tick looked at, while it asked for nothing.
        self._settled: tuple[tuple[Level, ...], tuple[Refused, ...], Gates] | None = None
        self._recheck = False  # limits may have become too tight for what rests
        self._taken_lots = 0  # whole lots that fees in base have taken out of the position
        self._made_here = planner is None and manager is None
        if config.fill_model is not None and model is None:
            raise ConfigError(
                "the configuration names a fill model; give what fitted_for(config) returns, or take it out"
            )
        self._model, self._markout = model, markout
        self.planner = planner or planner_for(config.grid, instrument)
        self.manager = manager or self._new_manager(config)
        self.manager.orders = LiveOrders(self.orders, instrument)
        self._configure(config)

    # --- configuration ----------------------------------------------------------------------------------------------

    def _configure(self, config: Config) -> None:
        """Take all of a configuration but its grid, which planner and manager have taken."""
        self.config = config
        self.needs_features = config.grid.min_fill_prob > 0
        rule = self._amend_rule if config.router.amend else AmendRule.NONE
        self._rules = Rules(
            tolerance_ticks=config.router.price_tolerance_ticks,
            amend_threshold_tenths=config.router.amend_threshold_tenths,
            amends=amends_of(rule, self._max_amends),
        )
        ttl = config.router.order_ttl_s
        self._ttl_ns = None if ttl is None else round(ttl * 1_000_000_000)
        limits = self.watch.limits = config.limits
        self._limits = RiskLimits(
            None if limits.max_position is None else self.instrument.lots(limits.max_position, "max_position"),
            None if limits.max_notional is None else self._too_dear,
        )

    def _new_manager(self, config: Config) -> GridManager:
        model = self._model or step_probability
        return GridManager(
            config.grid, self.instrument, execution=config.execution, fill_probability=model, markout=self._markout
        )

    def check_update(self, config: Config) -> None:
        """Refuse a configuration that this session cannot take while it runs.

        Raises
        ------
        InvalidConfigError
            Everything that is wrong at once: what cannot change while a session runs, what does not fit the instrument, limits
            that are broken already.
        ConfigError
            For a session that is over.
        """
        if self.state.final:
            raise ConfigError(f"the session is {self.state} for good and takes no configuration; start a new one")
        problems = unchangeable(self.config, config)
        if not self._made_here and config.grid != self.config.grid:
            text = "the grid of a session with a planner or manager of its own cannot change: stop it and start again"
            problems.append(Problem(path=("grid",), text=text))
        try:
            check_against(config, self.instrument, self.watch.mid)
        except InvalidConfigError as error:
            problems += error.problems
        try:
            if self._model is None:
                check_fill_prob(config.grid)
        except ConfigError as error:
            problems.append(Problem(path=("grid", "min_fill_prob"), text=str(error)))
        facts = self.watch.facts(self.position.lots)
        problems += [
            Problem(path=("limits", broken.limit), text=broken.refusal)
            for broken in breaches(facts, config.limits, self.instrument)
        ]
        if problems:
            raise InvalidConfigError(problems)

    def update(self, config: Config) -> tuple[Difference, ...]:
        """Take another configuration, and return what changes. Orders, fills and state stay; the next tick routes to the new grid.

        Raises
        ------
        ConfigError
            As :meth:`check_update`; nothing has changed then.
        """
        self.check_update(config)
        changes = differences(self.config, config)
        self._take_over(config)
        return changes

    def _take_over(self, config: Config) -> None:
        if self._made_here and config.grid != self.config.grid:
            old, self.planner = self.planner, planner_for(config.grid, self.instrument)
            if isinstance(old, CentredPlanner) and isinstance(self.planner, CentredPlanner):
                self.planner.centre2 = old.centre2  # it stays until price has left it
            self.manager = self._new_manager(config)
            self.manager.orders = LiveOrders(self.orders, self.instrument)
        self._configure(config)
        self._settled, self._recheck = None, True

    # --- the one entrance -------------------------------------------------------------------------------------------

    def step(self, event: Event, now_ns: int) -> tuple[Command, ...]:
        """Take an event at a time (ns, by the local clock); return the commands to execute, in order."""
        if isinstance(event, Tick):
            return self._decide(event, now_ns)
        self._settled = None
        if isinstance(event, OrderFilled):
            self._take_fill(event, now_ns)
            return self._after(event.client_order_id)
        if isinstance(event, FundingPaid):
            self.tracker.record_funding(event.ts_ns, event.amount)
            self.ledger.funding(event.amount)
            self.watch.booked()
        elif isinstance(event, SetState | Flatten):
            return self._set_state(event, now_ns)
        elif isinstance(event, StreamLost | Restarted):
            self.synced = False
            if isinstance(event, Restarted):
                self.orders.lose_track()
                self.account.restarted()
        elif isinstance(event, Resynced):
            self.synced = True
        elif isinstance(event, Rebased | Reconciled):
            self.account.apply(event)
        elif isinstance(event, Updated):
            self._take_over(Config.from_canonical(event.config))  # it was checked before it became an event
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
        elif order.in_flight is None and self.state is not RunState.RUNNING and order is not self._clip:
            return (self._cancel(order, Reason.NOT_RUNNING),)
        return ()

    def _set_state(self, event: SetState | Flatten, now_ns: int) -> tuple[Command, ...]:
        new = RunState.FLATTENING if isinstance(event, Flatten) else event.state
        self.check_state(new)
        way_out = self._way_out(event, now_ns)
        if new is self.state and way_out is self.way_out:
            return ()
        self.state, self.state_reason, self.state_since_ns = new, event.reason, now_ns
        self.epoch += 1
        self.way_out = way_out
        self._repegs.clear()
        if new in (RunState.RUNNING, RunState.FLATTENING):
            self.flattened = None
        return () if new is RunState.RUNNING else self._withdraw()

    def _way_out(self, event: SetState | Flatten, now_ns: int) -> WayOut | None:
        """Return the schedule that holds after a change of state: a pause keeps one, and the same one goes on where it stood."""
        known = self.way_out
        if isinstance(event, Flatten):
            if known is None or not known.is_for(event):
                return WayOut(event, now_ns)
            known.go_on(now_ns)
            return known
        if event.state is not RunState.PAUSED or known is None or not self.position.lots:
            return None
        known.stand_still(now_ns)
        return known

    def check_state(self, new: RunState) -> None:
        """Refuse a state that may not follow the present one.

        Raises
        ------
        ConfigError
            It says what to do first.
        """
        if new is self.state or self.state.may_become(new):
            return
        if self.state.final:
            raise ConfigError(f"the session is {self.state} for good ({new} refused); start a new one")
        raise ConfigError(f"the session is {self.state} ({new} refused); pause it first")

    def _count_refusal(self, event: OrderUpdate, now_ns: int) -> None:
        """Let a level wait longer after each refusal, so that a venue that says no is not asked at every step."""
        key = key_of(event.client_order_id)
        order = self.orders.by_id.get(event.client_order_id)
        if key is None or order is None:
            return
        if event.state is not OrderState.REJECTED or event.reason == "":
            self._pauses.pop(key, None)
            self._repegs.accepted(key)
            return
        if event.reason == WOULD_TAKE:
            most = self.config.router.max_repegs if self.state is RunState.RUNNING else 0
            if not most:
                self._pauses.pop(key, None)
            if not most or self._repegs.refused(order, most):
                return
        refused = self._pauses.get(key, (0, 0))[0] + 1
        self._pauses[key] = refused, now_ns + min(MAX_PAUSE_NS, 1_000_000_000 << min(refused - 1, 6))

    def _take_fill(self, event: OrderFilled, now_ns: int) -> None:
        held, way_out = abs(self.position.lots), self.way_out
        if way_out is not None:
            way_out.see(held, now_ns)
        self._book_fill(event)
        if way_out is not None and key_of(event.client_order_id) in _EXITS:
            way_out.booked(max(0, held - abs(self.position.lots)))

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
            policy="UNKNOWN" if order is None else order.policy,
            commission_rate=event.commission_rate,
        )
        booked = self.tracker.fill_count
        self.tracker.record_fill(fill)  # first: it refuses the same id with other content, and books nothing then
        if self.tracker.fill_count == booked:
            return  # booked before: a repeat after a reconnect
        self.ledger.apply(fill)
        self.watch.booked()
        self.position.book(side, event.quantity_lots)
        if (taken := self.tracker.taken_lots) != self._taken_lots:
            self.position.book(-1 if taken > self._taken_lots else 1, abs(taken - self._taken_lots))
            self._taken_lots = taken
        self.orders.fill(event.client_order_id, event.quantity_lots, event.ts_ns)

    # --- deciding ---------------------------------------------------------------------------------------------------

    def _decide(self, tick: Tick, now_ns: int) -> tuple[Command, ...]:
        running = self.state is RunState.RUNNING
        mid2 = None if tick.bid_ticks is None or tick.ask_ticks is None else tick.bid_ticks + tick.ask_ticks
        self.watch.take(mid2, now_ns)
        if self.state in _WATCHED and self.watch.find(self.position.lots, valued=mid2 is not None) is not None:
            return ()
        if self.state is RunState.FLATTENING:
            return self._flatten(tick, now_ns)
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
            if self._repegs:
                quoted, refused = self._repegs.levels(quoted, refused, book, self.orders, self.manager.order_room)
            self.empty_reason = None if quoted else self._why_empty(plan, refused)
        gates = Gates(running, tick.stale)
        reset = plan.reset_action if plan is not self._plan else ResetAction.NONE
        self._plan = plan
        if reset is ResetAction.NONE and self._settled is not None:
            last_quoted, last_refused, last_gates = self._settled
            if last_quoted is quoted and last_refused is refused and last_gates == gates:
                return ()
        commands, blocked = self._route(quoted, refused, reset, gates, now_ns)
        self.refusals.update(refused, blocked, now_ns)
        repeatable = (
            not (commands or self._pauses or self._recheck or self._repegs)
            and self._ttl_ns is None
            and self.manager.config.min_fill_prob == 0
        )
        self._settled = (quoted, refused, gates) if repeatable else None
        return commands

    def _withdraw(self, keep: OwnOrder | None = None) -> tuple[Command, ...]:
        """Cancel what rests, but `keep`, and ask about what should have ended by itself."""
        commands: list[Command] = []
        for order in self.orders:
            if order.in_flight is None and order is not keep:
                commands.append(self._cancel(order, Reason.NOT_RUNNING))
            elif order.in_flight is InFlight.UNKNOWN and order.type is OrderType.IOC:
                commands.append(LookUp(client_order_id=order.client_order_id, reason="its end was not told"))
        return tuple(commands)

    # --- the way out ------------------------------------------------------------------------------------------------

    @property
    def exit_progress(self) -> Progress | None:
        """How far the schedule has come by which the position is taken out, though it be paused; None where there is none."""
        return None if self.way_out is None else self.way_out.progress(abs(self.position.lots))

    @property
    def _clip(self) -> OwnOrder | None:
        """The order that an iceberg shows."""
        held = self.position.lots
        if self.state is not RunState.FLATTENING or self.way_out is None or not self.way_out.iceberg or not held:
            return None
        own = self.orders.by_key.get(_SELL_OUT if held > 0 else _BUY_OUT)
        return None if own is None or own.type is OrderType.IOC else own

    def _flatten(self, tick: Tick, now_ns: int) -> tuple[Command, ...]:
        """Withdraw own orders; once none is left, take the position out: at what the market shows, or as the schedule says."""
        self.refusals.update((), (), now_ns)
        held, way_out, clip = self.position.lots, self.way_out, self._clip
        commands = self._withdraw(clip)
        if way_out is not None:
            way_out.see(abs(held), now_ns)
        alone = len(self.orders) == (0 if clip is None else 1)
        if not alone or not self.synced:
            return commands
        if not held:
            self.flattened = "flat"
            return ()
        bid, ask = tick.bid_ticks, tick.ask_ticks
        if bid is None or ask is None or tick.stale:
            return ()
        out = exit_order(held, bid, ask, self._constraints)
        kind = OrderType.IOC
        if clip is None and out is None:
            self.flattened = self._remainder(bid if held > 0 else ask)
            return ()
        if way_out is not None:
            due = way_out.due(abs(held), self._constraints.least_lots(bid if held > 0 else ask))
            own_best = max(ask, bid + 1) if held > 0 else min(bid, ask - 1)
            if clip is not None:
                return self._tend(clip, Exit(clip.side, own_best, due), way_out, bid + ask, now_ns)
            out = exit_order(due if held > 0 else -due, bid, ask, self._constraints) if due else None
            if out is not None and way_out.iceberg:
                out, kind = out._replace(ticks=own_best), OrderType.POST_ONLY
        key = _SELL_OUT if held > 0 else _BUY_OUT
        if out is None or now_ns < self._pauses.get(key, (0, 0))[1] or not self._may_leave(out, out.lots, bid + ask):
            return ()
        if way_out is not None and way_out.iceberg:
            if not way_out.may_follow(now_ns):
                return ()
            way_out.shown(now_ns)
        decision = Decision(key, *out, Action.PLACE, Reason.EXIT, None)
        self.decisions[decision.action, decision.reason] += 1
        return (self._place(decision, now_ns, kind, reduce_only=self._reduce_only),)

    def _tend(self, clip: OwnOrder, wanted: Exit, way_out: WayOut, mid2: int, now_ns: int) -> tuple[Command, ...]:
        """Let the clip that stands follow its side's best price."""
        if clip.in_flight is not None:
            return ()
        if clip.open_lots > wanted.lots:
            return (self._cancel(clip, Reason.QUANTITY_CHANGED),)
        supported, increase, left = self._rules.amends
        action, reason = route_standing(
            wanted.ticks, clip.lots, clip.ticks, clip.lots, clip.filled,
            self._rules.tolerance_ticks, self._rules.amend_threshold_tenths, supported and clip.amends < left, increase,
        )  # fmt: skip
        moved = wanted._replace(lots=clip.lots)
        if action is Action.NOOP or not way_out.may_follow(now_ns) or not self._may_leave(moved, 0, mid2):
            return ()
        if action is not Action.AMEND:
            return (self._cancel(clip, reason),)
        way_out.shown(now_ns)
        self.decisions[action, reason] += 1
        return (self._amend(clip, Decision(clip.key, *moved, action, reason, clip), now_ns),)

    def _may_leave(self, out: Exit, added: int, mid2: int) -> bool:
        """Whether venue, pace and gates let an exit through."""
        if self._constraints.refuse(out.ticks, out.lots, mid2) is not None or not self.watch.may_send:
            return False
        answer = assess(self._view(Gates(False)), self._limits, out.side, out.ticks, added, reduce_only=True)
        return not isinstance(answer, RiskRefused)

    def _remainder(self, ticks: int) -> str:
        least = self._constraints.least_lots(ticks)
        rest = amount(self.instrument, self.position.lots)
        return f"{rest} remain: below the smallest order of {amount(self.instrument, least)}"

    @staticmethod
    def _why_empty(plan: Plan, refused: tuple[Refused, ...]) -> str:
        return explain_empty(refused) if plan.mode.active else f"mode {plan.mode} quotes nothing"

    def _route(
        self, quoted: tuple[Level, ...], refused: tuple[Refused, ...], reset: ResetAction, gates: Gates, now_ns: int
    ) -> tuple[tuple[Command, ...], list[Blocked]]:
        withdraw, stays = self._leaving(quoted, refused, reset, now_ns)
        view = self._view(gates)
        if self._recheck:
            withdraw |= self._excess(view)
        gated = self._any_gate(view)
        trusted = gates.running and not gates.stale and self.synced

        def refuse(level: LevelLike, own: OrderLike | None) -> Reason | None:
            if own is None:
                if level.key in self._pauses and now_ns < self._pauses[level.key][1]:
                    return Reason.COOLING_DOWN
                added = level.lots
            elif trusted and level.lots <= own.lots:
                return None  # nothing would be added: most of a ladder, at most ticks
            else:
                added = max(0, level.lots - own.filled) - max(0, own.lots - own.filled)
            answer = assess(view, self._limits, level.side, level.ticks, added)
            return answer.reason if isinstance(answer, RiskRefused) else None

        decisions = route_ladder(
            quoted, self.orders.by_key, gates, self._rules,
            withdraw=withdraw, stays=stays, rebuilding=bool(self._awaited), refuse=refuse if gated else None,
        )  # fmt: skip
        if self._repegs:
            decisions = self._repegs.named(decisions)
        self.last_decisions = decisions
        blocked: list[Blocked] = []
        for decision in decisions:
            if decision.order is None or decision.action is not Action.CANCEL:
                self.decisions[decision.action, decision.reason] += 1
            if decision.action is Action.BLOCK and decision.order is None:
                # A standing order is quoted, though it may not be touched.
                reason = decision.reason
                blocked.append(Blocked(decision.key, decision.side, decision.ticks, reason, reason.text))
        return self._commands(decisions, view if gated else None, now_ns), blocked

    def _leaving(
        self, quoted: tuple[Level, ...], refused: tuple[Refused, ...], reset: ResetAction, now_ns: int
    ) -> tuple[dict[str, Reason], set[str]]:
        """Return the orders that must go whatever the plan says, and those off the plan that stay."""
        # A new order there would take; one that has long rested there is about to fill, or has.
        reached = {item.key: item.ticks for item in refused if item.reason is Reason.WOULD_CROSS}
        withdraw: dict[str, Reason] = {}
        stays: set[str] = set()
        if not reached and reset is ResetAction.NONE and not self._awaited:
            if self._ttl_ns is not None:
                ttl_ns, expired = self._ttl_ns, rules.expired
                withdraw = {o.key: Reason.TTL_EXPIRED for o in self.orders if expired(o.sent_ns, now_ns, ttl_ns)}
            return withdraw, stays
        by_key = {level.key: level for level in quoted}
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
            elif self._expired(order, now_ns):
                withdraw[order.key] = Reason.TTL_EXPIRED
        return withdraw, stays

    def _expired(self, order: OwnOrder, now_ns: int) -> bool:
        return self._ttl_ns is not None and rules.expired(order.sent_ns, now_ns, self._ttl_ns)

    def _conforms(self, order: OwnOrder, level: Level) -> bool:
        tolerance = self._rules.tolerance_ticks
        code = rules.standing(
            level.ticks, level.lots, order.ticks, order.lots, order.filled, tolerance, 0, False, False
        )
        return code == rules.CONFORMS

    # --- from decisions to commands ---------------------------------------------------------------------------------

    def _commands(self, decisions: list[Decision], view: RiskView | None, now_ns: int) -> tuple[Command, ...]:
        """Return what is to be sent. The gates of `view` are asked again, as the orders before one in this step count as well."""
        cancels, away, towards, places = in_steps(decisions)
        commands: list[Command] = []
        for decision in cancels:
            own = self.orders.by_key[decision.key]
            own.expires = decision.reason is Reason.TTL_EXPIRED
            commands.append(self._cancel(own, decision.reason))
        for decision in (*away, *towards):
            own = self.orders.by_key[decision.key]
            added = max(0, decision.lots - own.filled) - own.open_lots
            if view is None or self._approved(view, decision, added):
                commands.append(self._amend(own, decision, now_ns))
                view = view and view.opened(decision.side, max(0, added))
        for decision in places:
            if view is None or self._approved(view, decision, decision.lots):
                commands.append(self._place(decision, now_ns, self.config.grid.order_type))
                if decision.reason is Reason.REPEGGED:
                    self._repegs.stands_aside(commands[-1].client_order_id)
                view = view and view.opened(decision.side, decision.lots)
        return tuple(commands)

    def _approved(self, view: RiskView, decision: Decision, added: int) -> bool:
        answer = assess(view, self._limits, decision.side, decision.ticks, added)
        if not isinstance(answer, RiskRefused):
            return True
        self.decisions[decision.action, decision.reason] -= 1
        self.decisions[Action.BLOCK, answer.reason] += 1
        return False

    def _place(self, decision: Decision, now_ns: int, type: OrderType, *, reduce_only: bool = False) -> Place:
        policy = Reason.EXIT.value if decision.reason is Reason.EXIT else self.config.grid.planner
        order = self.orders.add(
            decision.key, decision.side, decision.ticks, decision.lots, now_ns,
            reduce_only=reduce_only, type=type, policy=policy,
        )  # fmt: skip
        self.watch.sent(now_ns)
        return Place(
            client_order_id=order.client_order_id,
            level_id=level_id(decision.key),
            side=Side.BUY if decision.side > 0 else Side.SELL,
            price_ticks=decision.ticks,
            quantity_lots=decision.lots,
            type=type,
            reduce_only=reduce_only,
            epoch=self.epoch,
            reason=decision.reason,
            policy=policy,
        )

    def _amend(self, order: OwnOrder, decision: Decision, now_ns: int) -> Amend:
        self.watch.sent(now_ns)
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

    @property
    def breach(self) -> Breach | None:
        """The limit that the session broke; from then on nothing is added. None while all is within the limits."""
        return self.watch.breach

    @property
    def due(self) -> SetState | None:
        """The change of state that the last tick calls for: whoever gave the tick feeds it, as an event like any other."""
        if self.breach is not None and not self.state.final:
            return SetState(state=RunState.KILLED, reason=self.breach.text)
        if self.flattened is not None and self.state is RunState.FLATTENING:
            return SetState(state=RunState.PAUSED, reason=self.flattened)
        return None

    def _view(self, gates: Gates) -> RiskView:
        buys = sells = 0
        if self._limits.any:
            for order in self.orders:
                if order.side > 0:
                    buys += order.open_lots
                else:
                    sells += order.open_lots
        return RiskView(self.state, gates.stale, self.synced, self.position.lots, buys, sells)

    def _excess(self, view: RiskView) -> dict[str, Reason]:
        """Return the outermost orders that would not be sent under the present limits, until none of them rests any more."""
        excess: dict[str, Reason] = {}
        view = view._replace(state=RunState.RUNNING, stale=False, position_known=True)
        for order in sorted(self.orders, key=lambda order: order.side * order.ticks):
            without = view.opened(order.side, -order.open_lots)
            answer = assess(without, self._limits, order.side, order.ticks, order.open_lots)
            if isinstance(answer, RiskRefused):
                excess[order.key], view = answer.reason, without
        self._recheck = bool(excess)
        return excess

    def _any_gate(self, view: RiskView) -> bool:
        """Whether any gate could refuse anything."""
        return not view.position_known or view.state is not RunState.RUNNING or self._limits.any or bool(self._pauses)

    def _too_dear(self, lots: int, ticks: int) -> bool:
        limit = self.config.limits.max_notional
        value = self.instrument.notional(self.instrument.price(ticks), self.instrument.quantity(lots))
        return limit is not None and value > limit

    # --- what outlives the process ----------------------------------------------------------------------------------

    def state_to_keep(self) -> dict[str, Any] | None:
        """Return what no event tells and a restart must know, where it has changed since the last call; None otherwise."""
        centre2 = self.planner.centre2 if isinstance(self.planner, CentredPlanner) else None
        marks = self.watch.marks
        now = (centre2, marks.peak, marks.day, marks.day_start, self.epoch)
        if now == self._kept:
            return None
        self._kept = now
        return {
            "centre2": centre2,
            "peak": str(marks.peak),
            "day": marks.day,
            "day_start": str(marks.day_start),
            "epoch": self.epoch,
        }

    def sent(self, command: Command, ts_ns: int) -> None:
        """Take a command as sent at `ts_ns`: by the journal's word, not our own."""
        self.orders.sent(command, ts_ns)
        if isinstance(command, Place | Amend):
            self.watch.sent(ts_ns)
        if isinstance(command, Place) and command.reason == Reason.REPEGGED:
            self._repegs.stands_aside(command.client_order_id)

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Take what `state_to_keep` returned."""
        if isinstance(self.planner, CentredPlanner) and kept.get("centre2") is not None:
            self.planner.centre2 = int(kept["centre2"])
        self.watch.marks.restore(
            Decimal(kept.get("peak", "0")), int(kept.get("day", -1)), Decimal(kept.get("day_start", "0"))
        )
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
            "fills": [self.tracker.fill_count, self.tracker.fingerprint],
            "position": self.position.lots,
            "money": [
                format(value.normalize(), "f")
                for value in (self.ledger.cash, self.ledger.inventory, self.ledger.commission, self.ledger.received)
            ],
        }
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
