"""The routing table: one test for each row, and the table as a whole against a second writing of it."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.decision.reason import Reason
from grinder_kit.decision.routing import (
    Action,
    Amends,
    Gates,
    LevelLike,
    OrderLike,
    Rules,
    route_ladder,
)

RUNNING = Gates()


class Wanted(NamedTuple):
    """A level, and what the gates say about it."""

    ticks: int = 1_000
    lots: int = 10
    adds_risk: bool = True
    occupied: bool = False
    refused: Reason | None = None
    key: str = "B1"
    side: int = 1


class Standing(NamedTuple):
    """An own order."""

    ticks: int = 1_000
    lots: int = 10
    filled: int = 0
    in_flight: bool = False
    amends: int = 0
    key: str = "B1"
    side: int = 1


WANTED = Wanted()
ORDER = Standing()
AMENDS = Amends(supported=True)


def level(
    wanted: Wanted = WANTED,
    order: Standing | None = ORDER,
    gates: Gates = RUNNING,
    *,
    shut: bool = False,
    tolerance: int = 1,
    amends: Amends = AMENDS,
) -> tuple[Action, Reason]:
    """Route a level with everything in order but what the test is about."""

    def refuse(level: LevelLike, own: OrderLike | None) -> Reason | None:
        return Reason.POSITION_UNKNOWN if shut and wanted.adds_risk else wanted.refused

    orders = {} if order is None else {order.key: order}
    if wanted.occupied:
        orders["S9"] = Standing(key="S9", side=-1, ticks=wanted.ticks)
    decisions = route_ladder(
        [wanted], orders, gates, Rules(tolerance_ticks=tolerance, amends=amends), refuse=refuse, stays={"S9"}
    )
    return decisions[-1].action, decisions[-1].reason


def off_plan(gates: Gates, order: Standing) -> tuple[Action, Reason]:
    """Route an order that no level wants."""
    (decision,) = route_ladder([], {order.key: order}, gates)
    return decision.action, decision.reason


def test_row_1_not_running_withdraws_own_orders() -> None:
    """Paused, stopped or killed: an own order is cancelled, on the plan or off it."""
    stopped = Gates(running=False)
    assert level(gates=stopped) == (Action.CANCEL, Reason.NOT_RUNNING)
    assert off_plan(stopped, ORDER) == (Action.CANCEL, Reason.NOT_RUNNING)


def test_row_1_not_running_sends_nothing_else() -> None:
    """Paused, stopped or killed: a level without an order stays empty."""
    assert level(order=None, gates=Gates(running=False)) == (Action.BLOCK, Reason.NOT_RUNNING)


@pytest.mark.parametrize("order", [None, ORDER, ORDER._replace(ticks=500)])
def test_row_1_stale_data_block_anything_but_a_cancel(order: Standing | None) -> None:
    """With stale data no level is placed, amended or replaced."""
    assert level(order=order, gates=Gates(stale=True)) == (Action.BLOCK, Reason.STALE_MARKET)


def test_row_1_stale_data_let_cancels_through() -> None:
    """With stale data an order that is off the plan is still cancelled."""
    assert off_plan(Gates(stale=True), ORDER) == (Action.CANCEL, Reason.OFF_PLAN)


@pytest.mark.parametrize("shut", [False, True])
@pytest.mark.parametrize("gates", [RUNNING, Gates(running=False), Gates(stale=True)])
def test_row_2_order_in_flight_is_left_alone(gates: Gates, shut: bool) -> None:
    """An order with a request under way gets no second one, whatever the gates say."""
    busy = ORDER._replace(in_flight=True, ticks=500)
    assert off_plan(gates, busy) == (Action.NOOP, Reason.IN_FLIGHT)
    if not gates.stale:
        assert level(order=busy, gates=gates, shut=shut) == (Action.NOOP, Reason.IN_FLIGHT)


def test_row_3_order_off_the_plan_is_cancelled() -> None:
    """An own order that no level wants is cancelled."""
    assert off_plan(RUNNING, ORDER) == (Action.CANCEL, Reason.OFF_PLAN)


@pytest.mark.parametrize("order", [None, ORDER._replace(ticks=500)])
def test_row_4_shut_risk_gate_blocks_what_adds_risk(order: Standing | None) -> None:
    """With a risk gate shut nothing that adds risk is sent, and what reduces it is."""
    assert level(order=order, shut=True) == (Action.BLOCK, Reason.POSITION_UNKNOWN)
    assert level(WANTED._replace(adds_risk=False), None, shut=True) == (Action.PLACE, Reason.NEW_LEVEL)


@pytest.mark.parametrize("order", [None, ORDER])
def test_row_5_violated_constraint_blocks_and_the_order_stays(order: Standing | None) -> None:
    """A level that violates a limit is not sent; a standing order is not touched."""
    assert level(WANTED._replace(refused=Reason.POSITION_LIMIT), order) == (Action.BLOCK, Reason.POSITION_LIMIT)


def test_row_6_no_order_places_one() -> None:
    """A level without an order gets one."""
    assert level(order=None) == (Action.PLACE, Reason.NEW_LEVEL)


def test_row_6_not_where_another_own_order_lives() -> None:
    """A level without an order waits while an own order, of either side, lives at its price."""
    assert level(WANTED._replace(occupied=True), None) == (Action.BLOCK, Reason.PRICE_OCCUPIED)


@pytest.mark.parametrize(("ticks", "lots"), [(1_000, 10), (1_001, 10), (999, 11), (1_001, 9)])
def test_row_7_within_tolerance_and_one_step_nothing_is_done(ticks: int, lots: int) -> None:
    """An order within the price tolerance and one step of quantity stays and keeps its place in the queue."""
    assert level(order=ORDER._replace(ticks=ticks, lots=lots)) == (Action.NOOP, Reason.CONFORMS)


def test_row_7_tolerance_of_zero_means_the_very_price() -> None:
    """Under the oracle's tolerance of 0 an order one tick off does not conform."""
    assert level(order=ORDER._replace(ticks=1_001), tolerance=0)[0] is not Action.NOOP


@pytest.mark.parametrize(
    ("why", "wanted", "order", "amends"),
    [
        ("the venue amends nothing", WANTED, ORDER._replace(ticks=990), Amends(supported=False)),
        ("the edits are used up", WANTED, ORDER._replace(ticks=990), Amends(supported=True, left=0)),
        ("as much has executed as is wanted", WANTED, ORDER._replace(ticks=990, lots=20, filled=10), AMENDS),
        ("spot: larger", WANTED._replace(lots=12), ORDER, Amends(supported=True, increase=False)),
        ("spot: another price", WANTED, ORDER._replace(ticks=990), Amends(supported=True, increase=False)),
    ],
)
def test_row_8_amend_unsupported_or_unsafe_is_cancelled_and_replaced(
    why: str, wanted: Wanted, order: Standing, amends: Amends
) -> None:
    """What cannot be amended, or not safely, is cancelled and placed again."""
    answer = level(wanted, order, amends=amends)
    assert answer == (Action.CANCEL_REPLACE, Reason.AMEND_UNSAFE), why


def test_row_9_quantity_alone_is_amended() -> None:
    """At the same price another quantity is an amend, on spot too when it is smaller."""
    assert level(WANTED._replace(lots=15)) == (Action.AMEND, Reason.QUANTITY_CHANGED)
    smaller = level(WANTED._replace(lots=5), amends=Amends(supported=True, increase=False))
    assert smaller == (Action.AMEND, Reason.QUANTITY_CHANGED)


def test_row_10_small_move_is_amended_at_the_threshold_too() -> None:
    """A price that moved at most 20 bps of the old price is amended."""
    assert level(WANTED._replace(ticks=1_002), ORDER) == (Action.AMEND, Reason.SMALL_MOVE)  # 20 bps to the tick
    assert level(WANTED._replace(ticks=998), ORDER) == (Action.AMEND, Reason.SMALL_MOVE)


def test_row_10_does_not_amend_onto_an_own_order() -> None:
    """A price at which an own order lives is blocked to an amend as it is to a new order."""
    assert level(WANTED._replace(ticks=1_002, occupied=True), ORDER) == (Action.BLOCK, Reason.PRICE_OCCUPIED)


def test_row_11_large_move_is_cancelled_and_replaced() -> None:
    """A price that moved further is cancelled and placed again; the delta is taken from the old price."""
    assert level(WANTED._replace(ticks=1_003), ORDER) == (Action.CANCEL_REPLACE, Reason.LARGE_MOVE)
    assert level(WANTED, ORDER._replace(ticks=1_002)) == (Action.AMEND, Reason.SMALL_MOVE)  # 19.96 bps
    assert level(WANTED, ORDER._replace(ticks=998)) == (Action.CANCEL_REPLACE, Reason.LARGE_MOVE)  # 20.04 bps


wanted_levels = st.builds(
    Wanted,
    ticks=st.integers(990, 1_010),
    lots=st.integers(1, 20),
    adds_risk=st.booleans(),
    occupied=st.booleans(),
    refused=st.sampled_from([None, None, None, Reason.MIN_NOTIONAL]),
    key=st.just("B1"),
    side=st.just(1),
)
orders = st.none() | st.builds(
    Standing,
    ticks=st.integers(990, 1_010),
    lots=st.integers(1, 20),
    filled=st.sampled_from([0, 0, 5]),
    in_flight=st.sampled_from([False, False, True]),
    amends=st.just(0),
    key=st.just("B1"),
    side=st.just(1),
)
gates_in_any_state = st.builds(
    Gates,
    running=st.sampled_from([True, True, False]),
    stale=st.sampled_from([False, False, True]),
)
venues = st.builds(Amends, supported=st.booleans(), increase=st.booleans(), left=st.integers(0, 2))


@given(gates_in_any_state, st.booleans(), wanted_levels, orders, st.integers(0, 2), venues)
def test_the_first_row_that_matches_wins(
    gates: Gates, shut: bool, wanted: Wanted, order: Standing | None, tolerance: int, amends: Amends
) -> None:
    """Over all states at once the router answers as the table does, read from the top."""
    old = order or Standing(wanted.ticks, wanted.lots)
    moved_bps = abs(wanted.ticks - old.ticks) * 10_000 / old.ticks
    conforms = abs(wanted.ticks - old.ticks) <= tolerance and abs(wanted.lots - old.lots) <= 1
    grows_on_spot = not amends.increase and (wanted.lots > old.lots or wanted.ticks != old.ticks)
    unsafe = not amends.supported or not amends.left or wanted.lots <= old.filled or grows_on_spot
    table = [
        (not gates.running and order is None, (Action.BLOCK, Reason.NOT_RUNNING)),
        (not gates.running and not old.in_flight, (Action.CANCEL, Reason.NOT_RUNNING)),
        (gates.running and gates.stale, (Action.BLOCK, Reason.STALE_MARKET)),
        (old.in_flight, (Action.NOOP, Reason.IN_FLIGHT)),
        (shut and wanted.adds_risk, (Action.BLOCK, Reason.POSITION_UNKNOWN)),
        (wanted.refused is not None, (Action.BLOCK, wanted.refused)),
        (order is None and wanted.occupied, (Action.BLOCK, Reason.PRICE_OCCUPIED)),
        (order is None, (Action.PLACE, Reason.NEW_LEVEL)),
        (conforms, (Action.NOOP, Reason.CONFORMS)),
        (unsafe, (Action.CANCEL_REPLACE, Reason.AMEND_UNSAFE)),
        (wanted.ticks == old.ticks, (Action.AMEND, Reason.QUANTITY_CHANGED)),
        (moved_bps <= 20 and wanted.occupied, (Action.BLOCK, Reason.PRICE_OCCUPIED)),
        (moved_bps <= 20, (Action.AMEND, Reason.SMALL_MOVE)),
        (True, (Action.CANCEL_REPLACE, Reason.LARGE_MOVE)),
    ]
    expected = next(answer for applies, answer in table if applies)
    assert level(wanted, order, gates, shut=shut, tolerance=tolerance, amends=amends) == expected


@given(gates_in_any_state, st.booleans(), wanted_levels, orders, st.integers(0, 2), venues)
def test_nothing_but_cancels_while_not_running_or_stale(
    gates: Gates, shut: bool, wanted: Wanted, order: Standing | None, tolerance: int, amends: Amends
) -> None:
    """Whatever else holds, a session that is not running, or sees stale data, never sends an order."""
    action, _ = level(wanted, order, gates, shut=shut, tolerance=tolerance, amends=amends)
    if not gates.running or gates.stale:
        assert action in (Action.CANCEL, Action.BLOCK, Action.NOOP)


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_says_itself_in_words(reason: Reason) -> None:
    """Each code has a text for people that is more than the code."""
    assert reason.text and reason.text != reason.value and reason.text[0].islower()
