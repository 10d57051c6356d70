"""Reconciliation: each drift, in each mode, on a simulated venue in stepped time; and the rules one by one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from grinder_kit.errors import ConfigError
from grinder_kit.execution.account import AccountBooks
from grinder_kit.execution.alerts import AlertManager
from grinder_kit.execution.clock import run_stepped
from grinder_kit.execution.engine import ExecutionEngine
from grinder_kit.execution.journal import EntryKind, Journal, entries, journal_header, rebuild
from grinder_kit.execution.own_orders import OwnOrder
from grinder_kit.execution.port import AmendRule, Epoch
from grinder_kit.execution.reconciliation import Known, Mismatch, MismatchKind, Reconciler, known, mismatches
from grinder_kit.execution.shell import Shell, guarded
from grinder_kit.model.config import Config, GridConfig, ReconcileConfig, ReconcileMode
from grinder_kit.model.config_diff import unchangeable
from grinder_kit.model.config_file import format_config, parse_config
from grinder_kit.model.event import Rebased, Reconciled, Restarted, RunState
from grinder_kit.model.fill import Position, PositionDiff, SyncAction
from grinder_kit.model.order import InFlight, Order, OrderRequest, OrderState, Side
from grinder_kit.venue.simulated import SimulatedVenue
from tests.lab.drifting import DriftingPort, stray
from tests.lab.laboratory import CAPABILITIES, LAB, LabMarket

D = Decimal
S = 1_000_000_000
DETECT, PLAN, CANCEL_ALL, FLATTEN = ReconcileMode
KIND = MismatchKind
CONFIG = Config(
    grid=GridConfig(spacing_bps=30, levels=3, size="0.06", recentre_bps=60, position_limit="0.6", step_ms=200)
).replace(**{"reconcile.every_s": 3, "reconcile.grace_s": 2, "retry.max_retries": 1})


@dataclass
class Case:
    """A session on a venue that drifts."""

    shell: Shell
    port: DriftingPort
    venue: SimulatedVenue
    kept: dict[str, Any] = field(default_factory=dict)

    async def until_it_holds(self) -> None:
        """Trade until the session holds a position."""
        while not self.shell.engine.position.lots:
            await self.shell.run(0.2)

    async def unheard_fill(self) -> None:
        """Let an own order trade, and nobody tell."""
        self.port.wrong.deaf = True
        before = len(self.venue.fills)
        while len(self.venue.fills) == before:
            await self.shell.run(0.2)
        await self.shell.run(0.2)
        self.port.wrong.deaf = False

    def an_order(self) -> Order:
        """Return an own order that rests, the one farthest from the market."""
        resting = [order for order in self.venue.orders if order.state is OrderState.OPEN]
        return min(resting, key=lambda order: order.price)

    @property
    def state(self) -> RunState:
        """The session's."""
        return self.shell.engine.state

    @property
    def told(self) -> list[tuple[str, str]]:
        """Level and message of every alert but those that only inform."""
        return [(a.level.value, a.message) for a in self.shell.alerts.alerts if a.level != "INFO"]

    @property
    def by_hand(self) -> Decimal:
        """What others have traded."""
        mine = self.shell.engine.tracker.inventory
        return self.venue.position - mine


Work = Callable[[Case], Awaitable[None]]


def on_a_venue(work: Work, *, journal: Path | None = None, reduce_only: bool = False, **changes: Any) -> None:
    """Run a session and something with it."""
    config = CONFIG.replace(**changes)

    async def main() -> None:
        async with SimulatedVenue(LabMarket(2, 90), execution=config.execution, capabilities=CAPABILITIES) as venue:
            port, epoch = DriftingPort(venue, venue.clock), Epoch()
            engine = ExecutionEngine(
                LAB, config, amend_rule=AmendRule(venue.capabilities.amend), reduce_only=reduce_only
            )
            since = None
            kept = None
            if journal is not None:
                if journal.exists():
                    known_entries = list(entries(journal))
                    rebuild(known_entries, engine)
                    since = known_entries[0].ts_ns
                kept = Journal.open(journal, header=journal_header(LAB, config, "r0"), ts_ns=venue.clock.now_ns())
            guard = guarded(port, venue.clock, config.retry, epoch=epoch, rng=random.Random(1))
            shell = Shell(engine, guard, venue, venue.clock, epoch=epoch, journal=kept, since_ns=since)
            await shell.start()
            await work(Case(shell, port, venue))
            assert shell.failure is None
            await shell.close()
            if kept is not None:
                kept.abandon()

    run_stepped(main())


# --- each drift in each mode -------------------------------------------------------------------------------------------


async def nothing(case: Case) -> None:
    """Let nothing be wrong."""


async def a_fill_hidden(case: Case) -> None:
    """A fill that the stream does not tell."""
    await case.unheard_fill()


async def an_order_cancelled_by_hand(case: Case) -> None:
    """The venue's page has a button for it; the stream tells."""
    case.kept["gone"] = case.an_order().client_order_id
    await case.port.cancel_by_hand(case.kept["gone"])


async def an_order_cancelled_unheard(case: Case) -> None:
    """The same, and the stream does not tell."""
    case.port.wrong.deaf = True
    case.kept["gone"] = case.an_order().client_order_id
    await case.port.cancel_by_hand(case.kept["gone"])
    await case.shell.run(0.2)
    case.port.wrong.deaf = False


async def a_manual_trade(case: Case) -> None:
    """Somebody buys on the account."""
    await case.port.trade_by_hand(Side.BUY, "0.04")


async def a_failed_fetch(case: Case) -> None:
    """Positions cannot be asked for."""
    case.port.wrong.unknown = True


async def an_order_missing(case: Case) -> None:
    """An order that the venue does not list, and says to be open when it is asked for it."""
    missing = case.an_order().client_order_id
    case.port.wrong.listed = lambda orders: tuple(one for one in orders if one.client_order_id != missing)


async def an_order_unexpected(case: Case) -> None:
    """An old order of a level that has another one by now, and the venue does not withdraw it."""
    case.port.wrong.strays = (stray(case.an_order()),)


async def an_order_diverging(case: Case) -> None:
    """An order that the venue lists with another quantity."""
    other = case.an_order().client_order_id

    def listed(orders: tuple[Order, ...]) -> tuple[Order, ...]:
        return tuple(replace(one, quantity=one.quantity + 1) if one.client_order_id == other else one for one in orders)

    case.port.wrong.listed = listed


HEALED = [nothing, a_fill_hidden, an_order_cancelled_by_hand, an_order_cancelled_unheard]
LASTING = {
    a_manual_trade: KIND.POSITION_NONZERO_UNEXPECTED,
    an_order_missing: KIND.ORDER_MISSING_ON_EXCHANGE,
    an_order_unexpected: KIND.ORDER_EXISTS_UNEXPECTED,
    an_order_diverging: KIND.ORDER_STATUS_DIVERGENCE,
}


@pytest.mark.parametrize("mode", ReconcileMode)
@pytest.mark.parametrize("drift", HEALED)
def test_what_recovery_heals_is_no_difference_in_any_mode(drift: Work, mode: ReconcileMode) -> None:
    """The fill is booked, the order known to be gone and its level placed again; nobody is alarmed and nothing is withdrawn."""

    async def work(case: Case) -> None:
        await case.shell.run(2)
        await drift(case)
        await case.shell.run(7)
        engine, venue = case.shell.engine, case.venue
        assert case.state is RunState.RUNNING and case.told == [] and not case.shell.reconciler.judged
        assert engine.tracker.inventory == venue.position and len(engine.tracker.fills) == len(venue.fills)
        assert {o.client_order_id for o in engine.orders} == {
            o.client_order_id for o in venue.orders if o.state in LIVE
        }
        assert case.kept.get("gone") not in engine.orders.by_id and len(engine.orders) >= 5
        assert engine.account.foreign == 0

    on_a_venue(work, **{"reconcile.mode": mode})


LIVE = (OrderState.OPEN, OrderState.PARTIALLY_FILLED, OrderState.PENDING)

SAYS = {
    DETECT: ("WARNING", "session and venue differ"),
    PLAN: ("WARNING", "session and venue differ; planned, and not done"),
    CANCEL_ALL: ("ERROR", "session and venue differ; own orders are withdrawn, and the session is paused"),
    FLATTEN: ("ERROR", "session and venue differ; own orders are withdrawn, and the position is taken out"),
}


@pytest.mark.parametrize("mode", ReconcileMode)
@pytest.mark.parametrize("drift", LASTING)
def test_what_lasts_is_dealt_with_as_the_mode_says(drift: Work, mode: ReconcileMode) -> None:
    """Told; told with a plan; withdrawn and paused; withdrawn, flat and paused. What somebody else holds is never touched."""

    async def work(case: Case) -> None:
        await case.until_it_holds()
        await drift(case)
        await case.shell.run(12)
        engine, venue = case.shell.engine, case.venue
        assert case.told[0] == SAYS[mode] and case.shell.reconciler.judged[0].kind is LASTING[drift]
        alert = next(one for one in case.shell.alerts.alerts if one.message == SAYS[mode][1])
        assert alert.context["1"].startswith(LASTING[drift]) and alert.context["mode"] == mode
        acted = mode in (CANCEL_ALL, FLATTEN)
        assert case.state is (RunState.PAUSED if acted else RunState.RUNNING)
        assert ("plan_1" in alert.context) == (mode is PLAN)
        assert engine.account.this_run == acted
        resting = await venue.get_open_orders(LAB.symbol)
        assert len(resting) == len(engine.orders) == 0 if acted else len(engine.orders) >= 5
        bought = D("0.04") if drift is a_manual_trade else D(0)
        assert engine.account.foreign == case.by_hand == bought
        assert (engine.tracker.inventory == 0) >= (mode is FLATTEN)
        if drift is a_manual_trade:
            assert alert.context["trades_of_others"].endswith("+0.04 in all")

    on_a_venue(work, **{"reconcile.mode": mode})


@pytest.mark.parametrize("mode", ReconcileMode)
def test_a_failed_fetch_is_told_and_nothing_else(mode: ReconcileMode) -> None:
    """What is held is not known, never flat: the session goes on with what it knows, and what it last knew stays."""

    async def work(case: Case) -> None:
        await case.until_it_holds()
        await case.shell.run(4)
        last, held = case.shell.syncer.last_sync_ns, case.shell.engine.account.foreign
        await a_failed_fetch(case)
        await case.shell.run(9)
        assert case.told == [("WARNING", "positions are not known: the venue did not answer")]
        assert (case.shell.syncer.last_sync_ns, case.shell.engine.account.foreign) == (last, held)
        assert case.state is RunState.RUNNING and case.shell.engine.synced
        case.port.wrong.unknown = False
        await case.shell.run(6)
        assert case.shell.syncer.last_sync_ns > last and case.shell.syncer.diffs == {}

    on_a_venue(work, **{"reconcile.mode": mode})


@pytest.mark.parametrize("mode", ReconcileMode)
def test_no_new_risk_before_the_position_is_known(mode: ReconcileMode) -> None:
    """A session that starts, or has lost its stream, quotes only once the venue has said what is held; a stop needs no answer."""

    async def work(case: Case) -> None:
        shell, engine = case.shell, case.shell.engine
        engine.account.foreign = None
        case.port.wrong.unknown = True
        shell._recovery.begin("stream lost")
        await shell.run(3)
        assert not engine.synced and len(engine.orders) == 0
        case.port.wrong.unknown = False
        await shell.run(6)
        assert engine.synced and len(engine.orders) == 6
        case.port.wrong.unknown = True
        shell._recovery.begin("stream lost")
        assert await shell.stop(patience_s=20)

    on_a_venue(work, **{"reconcile.mode": mode})


def of_yesterday(case: Case, held: Any) -> Any:
    """Report a day old, and flat."""
    return {LAB.symbol: Position(symbol=LAB.symbol, quantity=D(0), ts_ns=case.shell.now_ns() - 86_400 * S)}


def two_legs(case: Case, held: Any) -> Any:
    """Report both legs of an account in hedge mode."""
    legs = {"LONG": D(2), "SHORT": D(-2)}
    return {f"{LAB.symbol} {leg}": Position(symbol=LAB.symbol, quantity=quantity) for leg, quantity in legs.items()}


@pytest.mark.parametrize("mode", ReconcileMode)
@pytest.mark.parametrize("report", [of_yesterday, two_legs])
def test_a_report_that_cannot_be_believed_is_told_and_does_nothing(report: Any, mode: ReconcileMode) -> None:
    """A venue's replica that is a day behind must not look like a sale of everything, nor two legs like nothing held."""

    async def work(case: Case) -> None:
        await case.until_it_holds()
        case.port.wrong.report = lambda held: {
            symbol: replace(one, ts_ns=case.shell.now_ns()) for symbol, one in held.items()
        }
        await case.shell.run(4)
        case.port.wrong.report = lambda held: report(case, held)
        await case.shell.run(6)
        assert case.told == [("WARNING", "positions are not known: the venue's report cannot be believed")]
        assert case.state is RunState.RUNNING and case.shell.engine.account.foreign == 0

    on_a_venue(work, **{"reconcile.mode": mode})


@pytest.mark.parametrize("mode", ReconcileMode)
@pytest.mark.parametrize("threshold", [{"reconcile.drift_steps": 5}, {"reconcile.drift_notional": "10"}])
def test_a_difference_below_a_threshold_counts_once_it_has_grown(threshold: Any, mode: ReconcileMode) -> None:
    """Four lots, some 8 USDT, are nothing; eight are, and all eight of them."""

    async def work(case: Case) -> None:
        await a_manual_trade(case)
        await case.shell.run(9)
        assert case.told == [] and case.state is RunState.RUNNING and case.shell.engine.account.foreign == 0
        assert case.shell.syncer.diffs[LAB.symbol].diff == D("0.04")
        await a_manual_trade(case)
        await case.shell.run(9)
        assert case.told[0] == SAYS[mode] and case.shell.engine.account.foreign == D("0.08")

    on_a_venue(work, **threshold, **{"reconcile.mode": mode})


def test_an_order_that_is_being_asked_about_is_no_difference_yet() -> None:
    """However long the venue takes to answer; then it is known, and its level placed again."""

    async def work(case: Case) -> None:
        await case.shell.run(2)
        case.port.wrong.mute = True
        await an_order_cancelled_unheard(case)
        await case.shell.run(12)
        assert case.shell.is_looked_up(case.kept["gone"]) and case.told == [] and case.state is RunState.RUNNING
        case.port.wrong.mute = False
        await case.shell.run(6)
        assert case.kept["gone"] not in case.shell.engine.orders.by_id and len(case.shell.engine.orders) == 6

    on_a_venue(work, **{"reconcile.mode": "cancel_all", "grid.recentre_bps": 5000})


def test_what_others_hold_is_not_read_off_a_look_with_a_fill_in_it() -> None:
    """A report from before a fill that is booked since would be wrong by it: the venue is asked again."""

    async def work(case: Case) -> None:
        await case.shell.run(1)
        await case.unheard_fill()
        engine, old = case.shell.engine, case.shell.engine.tracker.inventory
        reports = iter([old])  # from before the fill, once
        case.port.wrong.report = lambda held: {
            LAB.symbol: Position(symbol=LAB.symbol, quantity=5 + next(reports, case.venue.position))
        }
        engine.account.foreign = None
        case.shell._recovery.begin("the journal lost its end")
        await case.shell.run(4)
        assert old != engine.tracker.inventory and engine.account.foreign == 5 and case.told == []

    on_a_venue(work, **{"reconcile.mode": "flatten", "reconcile.every_s": 20})


def test_a_session_that_flattens_is_not_paused_for_a_difference() -> None:
    """That would leave it with its position."""

    async def work(case: Case) -> None:
        await case.until_it_holds()
        held = case.shell.engine.tracker.inventory
        case.shell.flatten()
        await case.port.trade_by_hand(Side.SELL if held > 0 else Side.BUY, str(abs(held)))
        await case.shell.run(9)
        assert case.state is RunState.FLATTENING
        assert case.told == [("WARNING", "session and venue differ; nothing to be done: the session is FLATTENING")]

    on_a_venue(work, reduce_only=True, **{"reconcile.mode": "cancel_all"})


def test_what_others_have_sold_is_not_sold_again() -> None:
    """A reduce-only exit is refused by the venue: the session stays FLATTENING until somebody stops it."""

    async def work(case: Case) -> None:
        await case.until_it_holds()
        held = case.shell.engine.tracker.inventory
        await case.port.trade_by_hand(Side.SELL if held > 0 else Side.BUY, str(abs(held)))
        while case.state is RunState.RUNNING:
            await case.shell.run(0.2)
        held = case.venue.position
        await case.shell.run(9)
        assert case.state is RunState.FLATTENING and case.venue.position == held
        assert await case.shell.stop()

    on_a_venue(work, reduce_only=True, **{"reconcile.mode": "flatten", "grid.recentre_bps": 5000})


def test_a_position_that_was_there_before_is_left_alone() -> None:
    """It is what others hold: told once, never flattened, and no difference."""

    async def work(case: Case) -> None:
        await case.shell.run(8)
        engine = case.shell.engine
        assert case.told == [] and engine.account.foreign == 5
        case.shell.flatten()
        await case.shell.run(4)
        assert case.state is RunState.PAUSED and engine.account.foreign == 5
        assert engine.tracker.inventory == 0 == case.venue.position

    async def main() -> None:
        config = CONFIG
        async with SimulatedVenue(LabMarket(2, 60), execution=config.execution, capabilities=CAPABILITIES) as venue:
            port = DriftingPort(venue, venue.clock)
            port.wrong.report = lambda held: {LAB.symbol: Position(symbol=LAB.symbol, quantity=venue.position + 5)}
            epoch = Epoch()
            engine = ExecutionEngine(LAB, config, amend_rule=AmendRule.MODIFY)
            shell = Shell(
                engine, guarded(port, venue.clock, config.retry, epoch=epoch), venue, venue.clock, epoch=epoch
            )
            await shell.start()
            (alert,) = shell.alerts.alerts
            assert alert.level == "INFO" and dict(alert.context) == {"quantity": "+5.00"}
            await work(Case(shell, port, venue))
            await shell.close()

    run_stepped(main())


def test_a_difference_that_passes_within_the_grace_is_none() -> None:
    """A venue whose positions lag a moment behind is looked at again, and nobody is told."""

    async def work(case: Case) -> None:
        await case.until_it_holds()
        case.port.wrong.report = lambda held: {}
        looks = 0
        while not case.shell.reconciler.found:
            await case.shell.run(0.2)
        first = case.shell.reconciler.found
        case.port.wrong.report = lambda held: held
        while case.shell.reconciler.found:
            await case.shell.run(0.2)
            looks += 1
        assert first[0].kind is KIND.POSITION_NONZERO_UNEXPECTED and case.told == []
        assert looks <= 2 / 0.2 + 2, "the second look comes when the grace is over, and not with the next period"

    on_a_venue(work, **{"reconcile.mode": "flatten", "reconcile.every_s": 20})


def test_orders_of_others_are_never_touched(tmp_path: Path) -> None:
    """In the mode that withdraws everything, by hand or by another session on the same account."""

    async def work(case: Case) -> None:
        await case.shell.run(1)
        strangers = []
        for name in ("web_1", "gkother-B1-1"):
            request = {"client_order_id": name, "level_id": "", "symbol": LAB.symbol, "side": Side.BUY}
            strangers.append(await case.venue.place_order(OrderRequest(**request, price="100", quantity="1")))  # type: ignore[arg-type]
        await case.shell.run(5)
        assert case.told == [] and not case.shell.reconciler.found
        await a_manual_trade(case)
        await case.shell.run(8)
        assert case.state is RunState.PAUSED
        left = await case.venue.get_open_orders(LAB.symbol)
        assert sorted(one.client_order_id for one in left) == ["gkother-B1-1", "web_1"]

    on_a_venue(work, **{"reconcile.mode": "cancel_all"})


def test_cooldown_and_budget_refuse_and_say_so(tmp_path: Path) -> None:
    """An action that may not be taken is told with the reason, written down, and taken later where the cooldown was all."""
    path = tmp_path / "j"

    async def work(case: Case) -> None:
        def said(words: str) -> bool:
            return any(message.endswith(words) for _, message in case.told)

        for number in (1, 2):
            await a_manual_trade(case)
            while case.shell.engine.account.this_run < number:
                await case.shell.run(0.2)
            assert case.state is RunState.PAUSED
            assert said("nothing is done: cooldown of 8 s after the last action") == (number == 2)
            case.shell.resume()
        await a_manual_trade(case)
        while not said("nothing is done: budget of the run used up: 2 of 2"):
            await case.shell.run(0.2)
        assert case.shell.engine.account.this_run == 2 and case.state is RunState.RUNNING
        assert case.shell.engine.account.foreign == D("0.08"), "what was refused is no settled matter"
        (diff,) = case.shell.syncer.diffs.values()
        assert diff.diff == D("0.04")
        case.shell.commit()
        notes = [entry.body["text"] for entry in entries(path) if entry.kind is EntryKind.NOTE]
        assert {message for _, message in case.told} <= set(notes)

    on_a_venue(
        work, journal=path,
        **{"reconcile.mode": "cancel_all", "reconcile.cooldown_s": 8, "reconcile.max_actions_per_run": 2},
    )  # fmt: skip


def test_the_budget_of_the_day_and_what_others_hold_survive_a_restart(tmp_path: Path) -> None:
    """The journal knows both; the run's own budget begins anew."""
    path = tmp_path / "j"

    async def first(case: Case) -> None:
        await a_manual_trade(case)
        await case.shell.run(6)
        assert case.state is RunState.PAUSED and case.shell.engine.account.foreign == D("0.04")

    on_a_venue(first, journal=path, **{"reconcile.mode": "cancel_all"})
    engine = ExecutionEngine(LAB, CONFIG, amend_rule=AmendRule.MODIFY)
    rebuild(entries(path), engine)
    assert engine.account.foreign == D("0.04")
    assert engine.account.this_run == 1 and engine.account.actions_on(engine.state_since_ns) == 1
    assert engine.state is RunState.PAUSED and engine.state_reason.startswith("reconciliation: POSITION_NONZERO")
    engine.step(Restarted(ts_ns=engine.state_since_ns), engine.state_since_ns)
    assert engine.account.this_run == 0 and engine.account.actions_on(engine.state_since_ns) == 1


def test_the_configuration_may_change_while_it_runs() -> None:
    """The next look goes by the new mode."""
    assert unchangeable(CONFIG, CONFIG.replace(**{"reconcile.mode": "flatten", "reconcile.every_s": 9})) == []

    async def work(case: Case) -> None:
        await case.shell.run(1)
        case.shell.update(case.shell.engine.config.replace(**{"reconcile.mode": "cancel_all"}))
        await a_manual_trade(case)
        await case.shell.run(8)
        assert case.state is RunState.PAUSED

    on_a_venue(work)


# --- the comparison ------------------------------------------------------------------------------------------------------


def own(name: str = "gkr0-B1-1", ticks: int = 1_000, lots: int = 6, filled: int = 0, **more: Any) -> OwnOrder:
    """Return an own order that rests."""
    return OwnOrder(name, name.split("-")[1], 1, ticks, lots, 0, filled=filled, **{"in_flight": None, **more})


def listed(name: str = "gkr0-B1-1", ticks: int = 1_000, lots: int = 6, filled: int = 0, **more: Any) -> Order:
    """Return the same as the venue lists it."""
    values: dict[str, Any] = {"level_id": "", "symbol": LAB.symbol, "side": Side.BUY, "state": OrderState.OPEN, **more}
    return Order(
        client_order_id=name, price=LAB.price(ticks), quantity=LAB.quantity(lots), filled_quantity=LAB.quantity(filled),
        **values,
    )  # fmt: skip


def compare(before: list[OwnOrder], after: list[OwnOrder], venue: list[Order], **more: Any) -> list[MismatchKind]:
    """Return the kinds of what differs."""
    found = mismatches(
        known(before), known(after), venue, more.pop("diffs", {}), instrument=LAB, tag="r0", now_ns=more.pop("now_ns", 0), **more
    )  # fmt: skip
    return [one.kind for one in found]


@pytest.mark.parametrize(
    ("before", "after", "venue", "kinds"),
    [
        ([own()], [own()], [listed()], []),
        ([own()], [own()], [], [KIND.ORDER_MISSING_ON_EXCHANGE]),
        ([], [], [listed()], [KIND.ORDER_EXISTS_UNEXPECTED]),
        ([own()], [own()], [listed(ticks=1_001)], [KIND.ORDER_STATUS_DIVERGENCE]),
        ([own()], [own()], [listed(lots=5)], [KIND.ORDER_STATUS_DIVERGENCE]),
        ([own()], [own()], [listed(filled=2)], [KIND.ORDER_STATUS_DIVERGENCE]),
        ([own(filled=2)], [own(filled=2)], [listed(filled=1)], [KIND.ORDER_STATUS_DIVERGENCE]),
        # what happens meanwhile
        ([], [own()], [], []),
        ([own()], [], [listed()], []),
        ([own()], [], [], []),
        ([own()], [own(filled=2)], [listed(filled=1)], []),
        ([own()], [own(filled=2)], [], []),
        ([own()], [own(ticks=1_001)], [listed()], []),
        # what is under way, or cannot be read
        ([own(in_flight=InFlight.NEW)], [own()], [], []),
        ([own()], [own(in_flight=InFlight.CANCEL)], [], []),
        ([own(in_flight=InFlight.UNKNOWN)], [own(in_flight=InFlight.UNKNOWN)], [listed(lots=5)], []),
        ([own()], [own()], [listed(lots=5, in_flight=InFlight.UNKNOWN, raw="FOO")], []),
        # others
        ([], [], [listed("web_1"), listed("gkother-B1-1")], []),
    ],
)  # fmt: skip
def test_only_what_was_at_rest_is_judged(
    before: list[OwnOrder], after: list[OwnOrder], venue: list[Order], kinds: list[MismatchKind]
) -> None:
    """An order that was placed, amended, filled, cancelled or asked about while the venue was asked is no difference."""
    assert compare(before, after, venue) == kinds


def position(diff: str, action: SyncAction = SyncAction.RECONCILE) -> dict[str, PositionDiff]:
    """Return a difference of the position."""
    one = PositionDiff(symbol=LAB.symbol, local_qty=D(1), exchange_qty=D(1) + D(diff), diff=D(diff), action=action)
    return {LAB.symbol: one}


def test_only_a_position_that_counts_is_a_mismatch() -> None:
    """What the syncer says to ignore is none."""
    assert compare([], [], [], diffs=position("0.5")) == [KIND.POSITION_NONZERO_UNEXPECTED]
    assert compare([], [], [], diffs=position("0.5", SyncAction.IGNORE)) == []


def seen(now_s: float, earlier: tuple[Mismatch, ...], *, lots: int = 5, diff: str = "0.5") -> tuple[Mismatch, ...]:
    """Return an order and a position that differ, at a time."""
    ours = known([own()])
    return mismatches(
        ours, ours, [listed(lots=lots)], position(diff), instrument=LAB, tag="r0", now_ns=round(now_s * S), earlier=earlier
    )  # fmt: skip


def test_a_difference_gets_older_as_long_as_it_is_the_same() -> None:
    """An order that has changed is another difference; a position's may grow; where the clock goes back all is new."""
    first = seen(10, ())
    assert [one.age_s for one in first] == [0, 0]
    assert [one.age_s for one in seen(13, first)] == [3, 3]
    assert [one.age_s for one in seen(13, first, lots=4)] == [0, 3]
    assert [one.age_s for one in seen(13, first, diff="0.7")] == [3, 3]
    assert [one.age_s for one in seen(9, first)] == [0, 0]
    text = str(seen(13, first)[1])
    assert text == "POSITION_NONZERO_UNEXPECTED LABUSDT: ours 1, the venue's 1.5 (+0.5), for 3.0 s"


# --- the reconciler alone ------------------------------------------------------------------------------------------------


class Alone:
    """A reconciler whose actions are only counted."""

    def __init__(self, **config: Any) -> None:
        self.config = ReconcileConfig(**{"mode": "cancel_all", "cooldown_s": 0, **config})
        self.account, self.now, self.done = AccountBooks(), 100 * S, 0
        self.alerts = AlertManager(lambda: self.now)
        self.reconciler = Reconciler(self.alerts, self.account, self.act)

    def act(self, mode: ReconcileMode, reason: str) -> str | None:
        """Count it."""
        self.done += 1
        self.account.apply(Reconciled(state=RunState.PAUSED, ts_ns=self.now, reason=reason))
        return None

    def judge(self, age_s: float = 9.0) -> bool:
        """Judge one difference of an age."""
        age = round(age_s * S)
        one = Mismatch(
            kind=KIND.POSITION_NONZERO_UNEXPECTED, subject="X", ours="0", venues="1", since_ns=self.now - age, age_ns=age
        )  # fmt: skip
        return bool(asyncio.run(self.reconciler.judge([one], self.config, self.now)))


def test_the_grace_is_exact() -> None:
    """A difference counts from five seconds on, and the next look is due then."""
    alone = Alone()
    assert not alone.judge(4.999) and alone.reconciler.next_look_ns(alone.config) == alone.now + 1_000_000
    assert alone.judge(5.0) and alone.reconciler.next_look_ns(alone.config) is None


def test_the_budget_of_a_run_is_exact() -> None:
    """So many actions and no more; then each refusal says the budget."""
    alone = Alone(max_actions_per_run=3)
    assert [alone.judge() for _ in range(5)] == [True] * 3 + [False] * 2 and alone.done == 3
    assert alone.alerts.alerts[-1].message.endswith("nothing is done: budget of the run used up: 3 of 3")


def test_the_budget_of_a_day_is_exact_and_begins_anew_at_midnight() -> None:
    """UTC; and a clock that goes back a day does not give it back."""
    alone = Alone(max_actions_per_run=99, max_actions_per_day=2)
    alone.now = 20_000 * 86_400 * S - 10 * S
    assert [alone.judge() for _ in range(3)] == [True, True, False]
    assert alone.alerts.alerts[-1].message.endswith("budget of the day used up: 2 of 2")
    alone.now += 9 * S
    assert not alone.judge()
    alone.now += 1 * S
    assert [alone.judge() for _ in range(3)] == [True, True, False]
    alone.now -= 2 * 86_400 * S
    assert not alone.judge() and alone.account.actions_on(alone.now) == 4


def test_the_cooldown_is_exact() -> None:
    """Between two actions, to the moment; and a clock that goes back makes it longer, not shorter."""
    alone = Alone(cooldown_s=60)
    assert alone.judge()
    alone.now += 60 * S - 1
    assert not alone.judge()
    alone.now += 1
    assert alone.judge()
    alone.now -= 30 * S
    assert not alone.judge() and alone.done == 2


def test_an_action_that_is_not_needed_costs_nothing() -> None:
    """A session that is paused already is not paused again."""
    alone = Alone()
    alone.reconciler = Reconciler(alone.alerts, alone.account, lambda mode, reason: "the session is PAUSED")
    assert alone.judge() and alone.account.this_run == 0
    assert alone.alerts.alerts[-1].message.endswith("nothing to be done: the session is PAUSED")


def test_it_shows_itself() -> None:
    """In a notebook: what differs, and what has lasted as a frame."""
    alone = Alone()
    assert repr(alone.reconciler) == "<Reconciler: 0 differ now, 0 have lasted>"
    assert alone.reconciler.to_frame().is_empty()
    alone.judge()
    assert repr(alone.reconciler) == "<Reconciler: 1 differ now, 1 have lasted>"
    assert alone.reconciler.to_frame().rows() == [
        ("POSITION_NONZERO_UNEXPECTED", "X", "0", "1", alone.now - 9 * S, 9.0)
    ]


def test_what_others_hold_is_moved_by_events_alone() -> None:
    """So that a journal rebuilds it."""
    engine = ExecutionEngine(LAB, CONFIG)
    assert engine.account.foreign is None
    engine.step(Rebased(foreign=D("-0.5"), ts_ns=1, reason="first look"), 1)
    assert engine.account.foreign == D("-0.5") and engine.account.last_action_ns is None


# --- the configuration ---------------------------------------------------------------------------------------------------


def test_the_section_is_written_and_read() -> None:
    """With a comment on every key, and the same value comes back."""
    config = CONFIG.replace(**{"reconcile.mode": "flatten", "reconcile.drift_notional": "12.5"})
    text = format_config(config)
    assert parse_config(text) == config and 'drift_notional = "12.5"' in text
    section = text.split("[reconcile]")[1].split("\n\n")[0].strip().splitlines()
    assert len(section) == len(ReconcileConfig.model_fields) and all("#" in line for line in section)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("grace_s", -1, "grace_s is -1; write 0 or more"),
        ("cooldown_s", -0.5, "cooldown_s is -0.5; write 0 or more"),
        ("drift_steps", -1, "drift_steps is -1; write 1 or more"),
        ("drift_notional", "-1", "drift_notional is -1; write 0 or more"),
        ("drift_notional", 0.5, "drift_notional is a float"),
        ("max_actions_per_day", -3, "max_actions_per_day is -3; write 0 or more"),
        ("mode", "cancel", "write 'detect', 'plan', 'cancel_all' or 'flatten'"),
        ("every_s", 0, "every_s is 0; write 1 or more"),
    ],
)
def test_a_negative_threshold_is_refused(key: str, value: Any, words: str) -> None:
    """By its name, with what to write."""
    with pytest.raises(ConfigError) as error:
        ReconcileConfig(**{key: value})
    assert words in str(error.value)


def test_known_is_what_rests() -> None:
    """Ids of all orders; values of those without a request under way."""
    assert known([own(), own("gkr0-B2-1", in_flight=InFlight.CANCEL)]) == Known(
        frozenset({"gkr0-B1-1", "gkr0-B2-1"}), {"gkr0-B1-1": (1_000, 6, 0)}
    )
