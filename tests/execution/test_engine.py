"""ExecutionEngine: one order per level under any order of events, limits that hold, and nothing sent that must not be."""

from __future__ import annotations

import dataclasses
from decimal import Decimal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from grinder_kit.decision.grid_manager import Book, level_id
from grinder_kit.decision.reason import Reason
from grinder_kit.decision.routing import Action
from grinder_kit.errors import ConfigError, DataError
from grinder_kit.execution.engine import ExecutionEngine
from grinder_kit.execution.fill_tracker import FillConflictError
from grinder_kit.execution.ledger import check_identity
from grinder_kit.model.config import Config, GridConfig, Limits
from grinder_kit.model.event import (
    Cancel,
    FundingPaid,
    OrderFilled,
    OrderUpdate,
    Place,
    RunState,
    SetState,
    Tick,
)
from grinder_kit.model.market import Features
from grinder_kit.model.order import InFlight, OrderState, Side
from tests.execution.desk import GRID, INSTRUMENT, MID, Venue, venue

# --- anything that can happen, in any order --------------------------------------------------------------------------------

CONFIGS = [
    GRID,
    GRID.replace(reset_action="SOFT"),
    GRID.replace(reset_action="HARD"),
    GRID.replace(
        spacing_bps=20, recentre_bps=10, levels=4, reset_action="SOFT", position_limit="0.1", skew_bps_at_limit=40
    ),
    GRID.replace(position_limit="0.08", size=None, size_schedule=("0.04", "0.01"), max_orders=4),
    GridConfig(planner="lattice", spacing_ticks=5, half_spread_ticks=4, levels=3, size="0.04", position_limit="0.12"),
    GridConfig(planner="lattice", spacing_ticks=2, half_spread_ticks=0, levels=3, size="0.04"),
]


#: None of them is a gate: a session either does what it would do without, or has ended.
LIMITS = [Limits(), Limits(), Limits(max_drawdown="0.1"), Limits(max_loss_per_day="0.2"), Limits(max_orders_per_s=2)]


class AnyOrderOfEvents(RuleBasedStateMachine):
    """Ticks, answers, fills and repeats in any order and with any delay."""

    @initialize(grid=st.sampled_from(CONFIGS), limits=st.sampled_from(LIMITS))
    def begin(self, grid: GridConfig, limits: Limits) -> None:
        """Start with one of the grids."""
        self.venue = Venue(Config(grid=grid, limits=limits))
        self.mid = MID
        self.held: int | None = None

    @rule(move=st.integers(-6, 6), half_spread=st.integers(1, 4), stale=st.booleans() | st.just(False))
    def tick(self, move: int, half_spread: int, stale: bool) -> None:
        """The market moves, and the engine decides; sometimes on stale data."""
        self.mid = max(800, self.mid + move)
        self.venue.tick(self.mid, half_spread, stale=stale)

    @rule()
    def tick_of_half_a_book(self) -> None:
        """The ask side is empty for a moment."""
        self.venue.tick(self.mid, half_book=True)

    @precondition(lambda self: self.venue.sent)
    @rule(index=st.integers(0, 50), accept=st.integers(0, 4))
    def arrive(self, index: int, accept: int) -> None:
        """Some command reaches the venue, which may refuse an order."""
        self.venue.arrive(index, accept=accept > 0)

    @precondition(lambda self: self.venue.answers)
    @rule(index=st.integers(0, 50))
    def deliver(self, index: int) -> None:
        """Some answer reaches the engine."""
        self.venue.deliver(index)

    @rule()
    def catch_up(self) -> None:
        """Everything under way arrives."""
        self.venue.flush()

    @precondition(lambda self: self.venue.resting)
    @rule(index=st.integers(0, 50), lots=st.integers(1, 5))
    def trade(self, index: int, lots: int) -> None:
        """A resting order fills, wholly or in part."""
        self.venue.trade(list(self.venue.resting)[index % len(self.venue.resting)], lots)

    @precondition(lambda self: self.venue.delivered)
    @rule(index=st.integers(0, 500))
    def repeat(self, index: int) -> None:
        """After a reconnect the venue says again what it said before."""
        event = self.venue.delivered[index % len(self.venue.delivered)]
        if isinstance(event, OrderUpdate | OrderFilled):
            self.venue.step(event)

    @rule(
        state=st.sampled_from([*[RunState.RUNNING] * 8, *[RunState.PAUSED] * 6, *[RunState.FLATTENING] * 4, *RunState])
    )
    def set_state(self, state: RunState) -> None:
        """The operator changes the state; nothing leads back from the end, and from flattening only a pause does."""
        final, now = (RunState.STOPPED, RunState.KILLED), self.venue.engine.state
        if now in final and state not in final:
            with pytest.raises(ConfigError, match="for good"):
                self.venue.step(SetState(state=state))
        elif (now, state) == (RunState.FLATTENING, RunState.RUNNING):
            with pytest.raises(ConfigError, match="the session is FLATTENING .RUNNING refused.; pause it first"):
                self.venue.step(SetState(state=state))
        else:
            self.venue.step(SetState(state=state))

    @rule()
    def come_to_rest(self) -> None:
        """When all is delivered and the market stands still, the orders are the plan's levels, or none."""
        here = self.venue
        engine = here.engine
        flattens = engine.state is RunState.FLATTENING and engine.watch.limits.max_orders_per_s is None
        here.depth = 1_000
        here.settle(self.mid)
        if flattens:
            assert (engine.state, engine.state_reason, engine.position.lots) == (RunState.PAUSED, "flat", 0)
        here.depth = 3
        if engine.state is not RunState.RUNNING:
            assert not here.alive
            return
        plan = engine.planner.plan(self.mid - 1, self.mid + 1, engine.position.lots)
        quoted, refused = engine.manager.wanted(plan, Book(self.mid - 1, self.mid + 1), engine.position.lots)
        reached = {level_id(item.key) for item in refused if item.reason is Reason.WOULD_CROSS}
        standing = here.levels()
        taken = set()
        for level in quoted:  # where two levels fall on one price only one can stand
            if level.ticks in taken or level_id(level.key) not in standing:
                assert level.ticks in {*taken, *standing.values()}
            else:
                assert abs(standing[level_id(level.key)] - level.ticks) <= engine.config.router.price_tolerance_ticks
            taken.add(level.ticks)
        assert set(standing) - reached <= {level_id(level.key) for level in quoted}, "what is off the plan is gone"

    @invariant()
    def the_engine_knows_what_lives(self) -> None:
        """The engine's live orders are those that were sent and whose end it was not told; no two at a price."""
        own = self.venue.engine.orders
        assert set(own.by_id) == set(self.venue.alive)
        assert {order.client_order_id for order in own} == set(own.by_id)
        assert len({order.ticks for order in own}) == len(own.by_id)
        busy = InFlight.CANCEL, InFlight.AMEND, InFlight.UNKNOWN
        assert {o for o in own.by_id if own.by_id[o].in_flight in busy} >= self.venue.cancelling

    @invariant()
    def flattening_only_ever_reduces(self) -> None:
        """From the moment at which no order is left, what is held becomes less at the venue, and never changes its sign."""
        here = self.venue
        pending = [a for a in here.answers if isinstance(a, OrderFilled) and a.trade_id not in here.booked]
        sides = {
            a.trade_id: a.quantity_lots * (1 if a.client_order_id.split("-")[1][0] == "B" else -1) for a in pending
        }
        held = here.position + sum(sides.values())
        alone = here.engine.state is RunState.FLATTENING and not [p for p in here.alive.values() if p.type != "IOC"]
        if alone and self.held is not None:
            assert held * self.held >= 0 and abs(held) <= abs(self.held)
        self.held = held if alone else None

    @invariant()
    def the_position_is_the_sum_of_the_fills(self) -> None:
        """Position, ledger and tracker hold each delivered fill once."""
        engine = self.venue.engine
        assert engine.position.lots == self.venue.position
        assert engine.ledger.inventory == engine.tracker.inventory == INSTRUMENT.quantity(self.venue.position)
        assert len(engine.tracker.fills) == len(self.venue.booked)
        assert engine.tracker.commission == Decimal("0.01") * len(self.venue.booked)

    @invariant()
    def what_has_ended_stays_as_it_was(self) -> None:
        """An ended order is terminal, has no request under way and was collected once."""
        ended = self.venue.engine.orders.ended
        assert all(order.state.terminal and order.in_flight is None for order in ended)
        assert len({order.client_order_id for order in ended}) == len(ended)

    def teardown(self) -> None:
        """Whatever happened, it comes to rest."""
        self.come_to_rest()


AnyOrderOfEvents.TestCase.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)
TestAnyOrderOfEvents = AnyOrderOfEvents.TestCase


# --- placing and replacing -------------------------------------------------------------------------------------------------


def test_the_grid_is_built_in_one_step_and_then_left_alone() -> None:
    """All levels are placed at the first tick; while the market is quiet nothing more is sent."""
    desk = venue()
    assert len(desk.tick()) == 6
    assert desk.levels() == {"BUY_1": 995, "BUY_2": 990, "BUY_3": 985, "SELL_1": 1005, "SELL_2": 1010, "SELL_3": 1015}
    for _ in range(3):
        assert desk.tick() == []  # in flight
    desk.flush()
    for _ in range(3):
        assert desk.tick() == []  # resting
    assert desk.engine.empty_reason is None


def test_a_replacement_is_sent_only_after_its_cancel_is_confirmed() -> None:
    """When the centre moves, orders are cancelled first; a key gets its new order once its own cancel is confirmed."""
    desk = venue()
    desk.settle()
    moved = desk.tick(1_003)
    assert {type(command) for command in moved} == {Cancel} and len(moved) == 6
    assert desk.tick(1_003) == []
    first = desk.order_at("BUY_1")
    desk.arrive(next(i for i, command in enumerate(desk.sent) if command.client_order_id == first))
    assert desk.tick(1_003) == []  # the venue has cancelled; we do not know it yet
    desk.deliver()
    placed = desk.tick(1_003)
    assert [(p.level_id, p.price_ticks) for p in placed if isinstance(p, Place)] == [("BUY_1", 997)]
    assert len(placed) == 1, "other keys do not wait, and this one does not wait for them"
    desk.settle(1_003)
    assert desk.levels() == {"BUY_1": 997, "BUY_2": 992, "BUY_3": 987, "SELL_1": 1009, "SELL_2": 1014, "SELL_3": 1019}


def test_a_cancel_that_is_too_late_is_followed_by_the_fill() -> None:
    """An order that filled before its cancel arrived is booked, and its level is quoted anew."""
    desk = venue()
    desk.settle()
    desk.tick(1_003)
    desk.trade(desk.order_at("BUY_1"), 4)
    desk.flush()
    assert desk.engine.position.lots == 4
    desk.settle(1_003)
    assert desk.levels()["BUY_1"] == 997


def test_a_rejected_order_is_tried_again_at_the_next_tick() -> None:
    """After a post-only reject the level is not lost."""
    desk = venue()
    desk.tick()
    desk.arrive(0, accept=False)
    desk.deliver()
    again = desk.tick()
    assert [(place.level_id, place.client_order_id) for place in again if isinstance(place, Place)] == [
        ("BUY_1", "gkr0-B1-2")
    ]


def test_within_the_tolerance_an_order_keeps_its_place_in_the_queue() -> None:
    """A level that moves by at most price_tolerance_ticks costs no queue position."""
    desk = Venue(Config(grid=GRID.replace(recentre_bps="0.1")).replace(**{"router.price_tolerance_ticks": 1}))
    desk.settle()
    assert desk.tick(999) == []
    assert len(desk.tick(998)) == 6


def test_a_price_where_an_own_order_lives_is_blocked_for_both_sides() -> None:
    """A level waits while another own order stands at its price, and is counted as blocked."""
    grid = GridConfig(planner="lattice", spacing_ticks=5, half_spread_ticks=0, levels=1, size="0.04")
    desk = venue(grid)
    desk.tick(1_000)  # first buy and first sell are both 1,000
    assert desk.levels() == {"BUY_200": 1_000}
    assert desk.engine.decisions[Action.BLOCK, Reason.PRICE_OCCUPIED] == 1
    counted = {(key.key, key.reason) for key in desk.engine.refusals.counts}
    assert counted == {("S200", Reason.PRICE_OCCUPIED)}


def test_an_order_where_a_new_one_would_cross_is_left_to_fill() -> None:
    """When the market reaches a level its order stays: it is about to fill, and a cancel could only come too late."""
    desk = venue(GRID.replace(recentre_bps=200))
    desk.settle()
    assert desk.tick(1_006) == []  # 1,005 / 1,007: SELL_1 at 1,005 is at the bid
    assert set(desk.engine.refusals.counts) == {("S1", -1, Reason.WOULD_CROSS)}
    desk.trade(desk.order_at("SELL_1"), 4)
    desk.flush()
    assert desk.tick(1_006) == []
    assert [place.level_id for place in desk.tick(1_000) if isinstance(place, Place)] == ["SELL_1"]


def test_an_order_elsewhere_than_its_crossing_level_is_cancelled() -> None:
    """Only an order at its level's price is left there; one that should move is withdrawn."""
    desk = venue(GRID.replace(skew_bps_at_limit=80, position_limit="0.08", recentre_bps=500))
    desk.settle()
    desk.trade(desk.order_at("BUY_1"), 4)  # half a position: the centre moves down by 40 bps
    desk.flush()
    cancelled = {command.client_order_id for command in desk.tick(1_002) if isinstance(command, Cancel)}
    assert desk.order_at("SELL_1") in cancelled  # it rests at 1,005; its level at 1,001 would cross


def test_a_reset_withdraws_an_order_where_a_new_one_would_cross() -> None:
    """HARD cancels everything, that order too."""
    desk = venue(GRID.replace(reset_action="HARD", recentre_bps=20, spacing_bps=10))
    desk.settle()
    assert len(desk.tick(1_003, half_spread=5)) == len(desk.alive)


def test_orders_off_the_plan_are_cancelled() -> None:
    """An order whose level the plan no longer has is withdrawn, whatever happens to the others."""
    grid = GridConfig(planner="lattice", spacing_ticks=5, half_spread_ticks=5, levels=2, size="0.04")
    desk = venue(grid)
    desk.settle(1_000)
    gone = desk.order_at("BUY_198")
    commands = desk.tick(1_005)
    cancelled = [command.client_order_id for command in commands if isinstance(command, Cancel)]
    assert cancelled == [gone, desk.order_at("SELL_201")]
    assert [command.level_id for command in commands if isinstance(command, Place)] == ["BUY_200", "SELL_203"]
    desk.settle(1_005)
    assert desk.levels() == {"BUY_200": 1_000, "BUY_199": 995, "SELL_202": 1_010, "SELL_203": 1_015}


# --- states and gates ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [RunState.PAUSED, RunState.STOPPED, RunState.KILLED])
def test_not_running_withdraws_everything_and_sends_nothing(state: RunState) -> None:
    """Own orders are cancelled, those under way as soon as they are known; no order is added."""
    desk = venue()
    desk.settle()
    desk.trade(desk.order_at("BUY_1"), 4)
    desk.flush()
    desk.tick()  # BUY_1 is on its way again
    desk.step(SetState(state=state))
    assert [type(command) for command in desk.sent] == [Place] + [Cancel] * 5
    desk.arrive()
    desk.deliver()
    assert [type(command) for command in desk.sent] == [Cancel] * 6, "cancelled the moment it is known"
    desk.settle()
    assert desk.alive == {} and desk.engine.position.lots == 4
    if state is RunState.PAUSED:
        desk.step(SetState(state=RunState.RUNNING))
        desk.settle()
        assert len(desk.alive) == 6


def test_not_running_withdraws_even_without_a_market() -> None:
    """Half a book is no reason to leave orders in it."""
    desk = venue()
    desk.settle()
    desk.step(SetState(state=RunState.KILLED))
    assert len(desk.sent) == 6
    assert desk.tick(half_book=True) == []


def test_half_a_book_moves_nothing_while_running() -> None:
    """Without a bid or an ask nobody knows where the grid should stand: nothing is sent, and the reason is given."""
    desk = venue()
    assert desk.tick(half_book=True) == []
    assert desk.engine.empty_reason == "the book has no bid or no ask"
    desk.settle()
    assert desk.tick(2_000, half_book=True) == []
    assert len(desk.alive) == 6


def test_stale_data_block_new_orders_but_not_cancels() -> None:
    """With stale data off-plan orders are cancelled, nothing is placed or replaced, and the block is counted."""
    grid = GridConfig(planner="lattice", spacing_ticks=5, half_spread_ticks=5, levels=2, size="0.04")
    desk = venue(grid)
    desk.settle(1_000)
    commands = desk.tick(1_005, stale=True)
    assert {type(command) for command in commands} == {Cancel} and len(commands) == 2
    desk.flush()
    assert desk.tick(1_005, stale=True) == []
    assert {key.reason for key in desk.engine.refusals.counts} == {Reason.STALE_MARKET}
    desk.settle(1_005)
    assert len(desk.alive) == 4


def test_stale_data_replace_nothing() -> None:
    """With stale data an order at the old price of its level stays, and counts as quoted."""
    desk = venue()
    desk.settle()
    assert desk.tick(1_003, stale=True) == []
    assert desk.engine.refusals.counts == {}
    assert len(desk.tick(1_003)) == 6


@pytest.mark.parametrize("mode", ["PAUSE", "EMERGENCY"])
def test_an_idle_mode_is_empty_and_says_so(mode: str) -> None:
    """A mode without levels sends nothing and is named as the reason."""
    desk = venue(GRID.replace(mode=mode))
    assert desk.tick() == []
    assert desk.engine.empty_reason == f"mode {mode} quotes nothing"


# --- resets ----------------------------------------------------------------------------------------------------------------


def test_a_soft_reset_waits_until_all_that_does_not_conform_is_gone() -> None:
    """SOFT cancels what does not conform, and builds the new plan once the last of it is confirmed."""
    desk = venue(GRID.replace(reset_action="SOFT"))
    desk.settle()
    assert len(desk.tick(1_003)) == 6
    while desk.sent:
        desk.arrive()
    while len(desk.answers) > 1:
        desk.deliver()
    assert desk.tick(1_003) == []
    assert Reason.RESET in {key.reason for key in desk.engine.refusals.counts}
    desk.deliver()
    assert len(desk.tick(1_003)) == 6


def test_a_soft_reset_keeps_what_conforms() -> None:
    """SOFT leaves an order that is within the tolerance of its new level."""
    grid = GRID.replace(reset_action="SOFT", recentre_bps="0.1", spacing_bps=50)
    desk = Venue(Config(grid=grid).replace(**{"router.price_tolerance_ticks": 1}))
    desk.settle()
    before = dict(desk.levels())
    assert desk.tick(999) == []
    assert desk.levels() == before


def test_a_hard_reset_cancels_everything_and_rebuilds() -> None:
    """HARD also withdraws what conforms; the new plan is built when all of it is gone."""
    grid = GRID.replace(reset_action="HARD", recentre_bps="0.1")
    desk = Venue(Config(grid=grid).replace(**{"router.price_tolerance_ticks": 1}))
    desk.settle()
    old = set(desk.alive)
    assert len(desk.tick(999)) == 6
    desk.settle(999)
    assert len(desk.alive) == 6 and not old & set(desk.alive)


def test_a_hard_reset_takes_effect_though_the_ladder_looks_the_same() -> None:
    """A new centre whose levels fall on the same ticks still resets."""
    desk = venue(
        GridConfig(spacing_bps=5_000, levels=1, levels_up=0, size="0.04", recentre_bps="0.1", reset_action="HARD")
    )
    desk.settle(100)
    first = desk.order_at("BUY_1")
    assert desk.levels() == {"BUY_1": 50}
    assert [command.client_order_id for command in desk.tick(101)] == [first]
    desk.settle(101)
    assert desk.levels() == {"BUY_1": 50} and desk.order_at("BUY_1") != first


@pytest.mark.parametrize("reset", ["SOFT", "HARD"])
def test_a_reset_does_not_wait_for_ever_on_an_order_that_was_under_way(reset: str) -> None:
    """An order in flight at the reset is cancelled once it is known, even where the next plan would have wanted it."""
    desk = venue(GRID.replace(reset_action=reset))
    desk.tick()  # all six under way
    assert desk.tick(1_003) == []  # reset: nothing can be cancelled yet
    assert desk.tick(1_000) == []  # reset again: the orders would conform now
    desk.settle(1_000)
    assert desk.levels() == {"BUY_1": 995, "BUY_2": 990, "BUY_3": 985, "SELL_1": 1005, "SELL_2": 1010, "SELL_3": 1015}
    desk.trade(desk.order_at("BUY_1"), 4)
    desk.settle(1_000)
    assert len(desk.alive) == 6, "nothing is waited for any more"


# --- fills -----------------------------------------------------------------------------------------------------------------


def test_a_fill_is_booked_once_however_often_it_is_told() -> None:
    """A repeat after a reconnect changes neither position nor money."""
    desk = venue()
    desk.settle()
    fill = desk.fill_event(desk.order_at("BUY_1"), 4, "t1")
    for _ in range(3):
        desk.step(fill)
    assert desk.engine.position.lots == 4
    assert len(desk.engine.tracker.fills) == 1
    assert desk.engine.ledger.commission == Decimal("0.01")


def test_a_fill_id_with_other_content_is_refused_and_nothing_is_booked() -> None:
    """One trade cannot have two quantities: the second telling is an error, not a silent repeat."""
    desk = venue()
    desk.settle()
    order = desk.order_at("BUY_1")
    desk.step(desk.fill_event(order, 4, "t1"))
    with pytest.raises(FillConflictError, match="t1"):
        desk.step(desk.fill_event(order, 5, "t1"))
    assert desk.engine.position.lots == 4
    assert desk.engine.ledger.inventory == desk.engine.tracker.inventory == Decimal("0.04")


def test_a_fill_of_an_order_that_has_ended_is_still_booked_once() -> None:
    """A cancel that arrives before the fill it lost against does not lose the fill; the order stays cancelled."""
    desk = venue()
    desk.settle()
    order = desk.order_at("SELL_2")
    fill = desk.fill_event(order, 3, "t1")
    desk.step(OrderUpdate(client_order_id=order, state=OrderState.CANCELLED, ts_ns=1))
    desk.step(fill)
    desk.step(fill)
    engine = desk.engine
    assert engine.position.lots == -3
    assert engine.ledger.inventory == engine.tracker.inventory == Decimal("-0.03")
    assert engine.tracker.fills[0].side is Side.SELL and engine.tracker.fills[0].level_id == "SELL_2"
    (ended,) = engine.orders.collect()
    assert (ended.state, ended.filled) == (OrderState.CANCELLED, 0)
    assert order not in engine.orders.by_id and engine.orders.late_events == 1


@pytest.mark.parametrize(("order", "side", "lots"), [("gkr0-B7-1", Side.BUY, 2), ("gkx-B-S7-z", Side.SELL, -2)])
def test_a_fill_of_an_order_of_ours_that_is_not_known_is_booked_once(order: str, side: Side, lots: int) -> None:
    """With everything else lost, the side and the level of a fill are read from our client order id."""
    desk = venue()
    for _ in range(2):
        desk.step(desk.fill_event(order, 2, "t1"))
    assert desk.engine.position.lots == lots
    assert [fill.side for fill in desk.engine.tracker.fills] == [side]


def test_a_fill_of_a_foreign_order_is_refused_by_name() -> None:
    """A fill of an order that no session of ours sent is never guessed a side; nothing is booked."""
    desk = venue()
    with pytest.raises(DataError, match="fill t1 is of order 'web_4711', which no session of ours has sent"):
        desk.step(desk.fill_event("web_4711", 2, "t1"))
    assert desk.engine.position.lots == 0 and not desk.engine.tracker.fills


def test_partial_fills_do_not_replace_the_order() -> None:
    """An order that is partly filled keeps its place; its level is quoted anew when it is full."""
    desk = venue()
    desk.settle()
    order = desk.order_at("BUY_1")
    desk.trade(order, 1)
    desk.flush()
    assert desk.tick() == []
    desk.trade(order, 3)
    desk.flush()
    assert [place.level_id for place in desk.tick() if isinstance(place, Place)] == ["BUY_1"]


def test_funding_goes_into_both_books() -> None:
    """A funding payment enters the tracker and the ledger, and the identity still closes."""
    desk = venue()
    desk.settle()
    desk.trade(desk.order_at("BUY_1"), 4)
    desk.flush()
    desk.step(FundingPaid(ts_ns=5, amount=Decimal("-0.0123")))
    engine = desk.engine
    assert engine.tracker.funding == engine.ledger.received == Decimal("-0.0123")
    assert check_identity(engine.tracker, engine.ledger, "100").residual == 0


# --- limits ----------------------------------------------------------------------------------------------------------------


def test_position_limit_switches_a_side_off_and_on_again() -> None:
    """At position_limit the buys are withdrawn; after a sale they return. The refusals are counted."""
    desk = venue(GRID.replace(position_limit="0.04"))
    desk.settle()
    desk.trade(desk.order_at("BUY_1"), 4)
    desk.settle()
    assert set(desk.levels()) == {"SELL_1", "SELL_2", "SELL_3"}
    assert {(key.side, key.reason) for key in desk.engine.refusals.counts} == {(1, Reason.POSITION_LIMIT)}
    desk.trade(desk.order_at("SELL_1"), 1)
    desk.settle()
    assert set(desk.levels()) >= {"BUY_1", "BUY_2", "BUY_3"}


def test_max_position_counts_the_orders_that_rest() -> None:
    """The position could not pass max_position even if every resting order of a side filled."""
    desk = venue(max_position="0.09")  # two orders of 4 lots a side, not three
    desk.settle()
    assert set(desk.levels()) == {"BUY_1", "BUY_2", "SELL_1", "SELL_2"}
    assert {(key.key, key.reason) for key in desk.engine.refusals.counts} == {
        ("B3", Reason.POSITION_LIMIT), ("S3", Reason.POSITION_LIMIT),
    }  # fmt: skip
    desk.trade(desk.order_at("BUY_1"), 4)
    desk.settle()
    held = desk.engine.position.lots
    buys = sum(4 for level in desk.levels() if level.startswith("BUY"))
    sells = sum(4 for level in desk.levels() if level.startswith("SELL"))
    assert (held, buys, sells) == (4, 4, 12)
    assert held + buys <= 9 and sells - held <= 9


def test_max_position_counts_only_what_a_partly_filled_order_has_left() -> None:
    """What has filled is in the position already and is not counted twice."""
    desk = venue(GRID.replace(size=None, size_schedule=("0.04", "0.04", "0.02")), max_position="0.1")
    desk.settle()
    assert len(desk.alive) == 6
    desk.trade(desk.order_at("BUY_1"), 2)
    desk.trade(desk.order_at("BUY_3"), 2)
    desk.settle()
    assert set(desk.levels()) == {"BUY_1", "BUY_2", "SELL_1", "SELL_2", "SELL_3"}  # 4 held + 2 + 4 are 10
    desk.trade(desk.order_at("SELL_3"), 2)
    desk.settle()
    assert "BUY_3" in desk.levels()  # 2 held + 2 + 4 + 2


def test_max_notional_is_the_value_of_the_whole_side() -> None:
    """The limit is on what the position would be worth at the level's price, resting orders included."""
    desk = venue(max_notional="8")  # 100 USDT a unit: .08 units
    desk.settle()
    assert set(desk.levels()) == {"BUY_1", "BUY_2", "SELL_1"}  # .08 at 101.0 is 8.08
    assert {key.reason for key in desk.engine.refusals.counts} == {Reason.NOTIONAL_LIMIT}


def test_a_drawdown_kills_within_the_step_in_which_it_is_seen() -> None:
    """From max_drawdown on nothing is sent any more: all orders are withdrawn, the position is kept, and the reason is said."""
    grid = GridConfig(planner="lattice", spacing_ticks=5, half_spread_ticks=5, levels=2, size="0.04")
    desk = venue(grid, max_drawdown="0.1")
    desk.settle()
    desk.trade(desk.order_at("BUY_199"), 4)  # .04 at 99.5
    desk.settle()
    standing = len(desk.alive)
    assert desk.tick(960) == [], "3.5 * .04 and .01 of fees are lost, from a peak of .01"
    engine = desk.engine
    assert engine.state is RunState.KILLED and engine.epoch == 1 and engine.state_since_ns == desk.now
    assert engine.state_reason == "drawdown 0.16 USDT is not below max_drawdown 0.1 USDT"
    assert [type(command) for command in desk.sent] == [Cancel] * standing
    desk.settle(960)
    assert desk.levels() == {} and engine.position.lots == 4


def test_a_killed_session_stays_so_when_equity_has_recovered() -> None:
    """No market opens again what a limit has ended."""
    desk = venue(GRID.replace(recentre_bps=2_000), max_drawdown="0.1")
    desk.settle()
    desk.trade(desk.order_at("BUY_1"), 4)
    desk.flush()
    assert desk.tick(970) == []
    desk.flush()
    assert desk.tick(1_000) == [] and desk.tick(1_100) == []
    assert desk.alive == {} and desk.engine.state is RunState.KILLED
    with pytest.raises(ConfigError, match="KILLED for good"):
        desk.step(SetState(state=RunState.RUNNING))


def test_a_limit_off_the_lot_is_refused_at_the_start() -> None:
    """max_position is a whole number of lots."""
    with pytest.raises(ConfigError, match="max_position is 0.005, off the lot"):
        venue(max_position="0.005")


# --- refusals over time ----------------------------------------------------------------------------------------------------


def test_refusals_count_episodes_and_time() -> None:
    """A level that is refused twice has two episodes, and the time is that between refusal and return."""
    engine = ExecutionEngine(INSTRUMENT, Config(grid=GRID))
    calm, wide = Tick(bid_ticks=999, ask_ticks=1_001), Tick(bid_ticks=1_006, ask_ticks=1_007)
    plan = engine.planner.plan(999, 1_001, 0)
    engine.planner = type("Fixed", (), {"plan": lambda self, bid, ask, inventory: plan})()
    for now, tick in enumerate((calm, wide, wide, calm, wide, calm)):
        engine.step(tick, now * 100)
    engine.refusals.close(600)
    counted = {key: (count.episodes, count.total_ns) for key, count in engine.refusals.counts.items()}
    assert counted == {("S1", -1, Reason.WOULD_CROSS): (2, 300)}


def test_an_empty_grid_whose_reason_changes_is_looked_at_again() -> None:
    """That no level is quoted twice in a row does not mean that nothing changed: each reason has its own time."""
    banded = dataclasses.replace(INSTRUMENT, band_up=Decimal("1.02"), band_down=Decimal("0.98"))
    engine = ExecutionEngine(banded, Config(grid=GRID.replace(levels=1, levels_down=0, recentre_bps=5_000)))
    engine.step(Tick(bid_ticks=999, ask_ticks=1_001), 0)
    engine.step(OrderUpdate(client_order_id="gkr0-S1-1", state=OrderState.REJECTED, ts_ns=1), 1)
    engine.step(Tick(bid_ticks=1_006, ask_ticks=1_008), 100)  # SELL_1 at 1,005 would cross
    engine.step(Tick(bid_ticks=1_100, ask_ticks=1_102), 200)  # and lies 8.7 % under mid
    engine.refusals.close(300)
    assert {key.reason: count.total_ns for key, count in engine.refusals.counts.items()} == {
        Reason.WOULD_CROSS: 100, Reason.PRICE_BAND: 100,
    }  # fmt: skip


def test_features_reach_the_fill_filter() -> None:
    """With min_fill_prob the engine asks for features, and refuses levels while volatility is unknown."""
    engine = ExecutionEngine(INSTRUMENT, Config(grid=GRID.replace(min_fill_prob=0.4)))
    assert engine.needs_features
    assert engine.step(Tick(bid_ticks=999, ask_ticks=1_001, features=Features(ts_ns=0, mid=100.0)), 0) == ()
    assert "volatility is not known yet (warm-up) (FEATURE_WARMUP)" in str(engine.empty_reason)
    known = Features(ts_ns=0, mid=100.0, natr_14_5m=0.02)
    assert len(engine.step(Tick(bid_ticks=999, ask_ticks=1_001, features=known), 1)) == 2  # move 89 bps: 50 yes, 100 no
