"""The life of an order where a venue and its answers disagree in time: fills are never lost, the dead stay dead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.decision.reason import Reason
from grinder_kit.errors import ConfigError, InvalidRequestError
from grinder_kit.execution.engine import ExecutionEngine
from grinder_kit.execution.own_orders import OwnOrder, OwnOrders
from grinder_kit.execution.port import AmendRule
from grinder_kit.model.config import Config, GridConfig
from grinder_kit.model.event import (
    Amended,
    AmendRejected,
    Cancel,
    CancelRejected,
    LookedUp,
    LookUp,
    OrderUpdate,
    OutcomeUnknown,
    Place,
    Resynced,
    RunState,
    SetState,
    StreamLost,
    Tick,
)
from grinder_kit.model.order import InFlight, OrderState
from tests.lab.laboratory import LAB


def resting(lots: int = 10) -> tuple[OwnOrders, OwnOrder]:
    """Return own orders with one that rests."""
    own = OwnOrders("t0")
    order = own.add("B1", 1, 100, lots, 0)
    own.become(order.client_order_id, OrderState.OPEN, 1)
    return own, order


def update(order: OwnOrder, state: OrderState, filled: int | None = None) -> OrderUpdate:
    """Return what a venue says about an order."""
    return OrderUpdate(client_order_id=order.client_order_id, state=state, ts_ns=5, filled_lots=filled)


def test_a_cancel_that_arrives_with_fills_waits_until_they_are_booked() -> None:
    """The order does not end, and its level is not free, before what it filled is known."""
    own, order = resting()
    order.in_flight = InFlight.CANCEL
    assert own.apply(update(order, OrderState.CANCELLED, filled=4)), "it must be looked up"
    assert order.in_flight is InFlight.UNKNOWN and "B1" in own.by_key
    own.fill(order.client_order_id, 3, 6)
    assert "B1" in own.by_key
    own.fill(order.client_order_id, 1, 7)
    assert (order.state, order.filled, len(own)) == (OrderState.CANCELLED, 4, 0)


def test_a_full_fill_ends_a_cancel_under_way() -> None:
    """The order filled first: the late word that it was not found changes nothing."""
    own, order = resting()
    order.in_flight = InFlight.CANCEL
    own.fill(order.client_order_id, 10, 6)
    assert order.state is OrderState.FILLED
    assert not own.apply(CancelRejected(client_order_id=order.client_order_id, ts_ns=7))
    assert own.late_events == 1


def test_a_cancel_of_an_unknown_order_means_look_it_up() -> None:
    """Neither gone nor there: the level waits for the answer."""
    own, order = resting()
    order.in_flight = InFlight.CANCEL
    assert own.apply(CancelRejected(client_order_id=order.client_order_id, ts_ns=7))
    assert order.in_flight is InFlight.UNKNOWN
    assert not own.apply(LookedUp(client_order_id=order.client_order_id, ts_ns=8, state=OrderState.OPEN))
    assert order.in_flight is None and order.state is OrderState.OPEN


def test_an_order_that_an_amend_may_have_made_larger_is_not_taken_for_full() -> None:
    """Filled to its old quantity while an amend is under way, it may still rest."""
    own, order = resting()
    order.in_flight, order.wish = InFlight.AMEND, (101, 15)
    own.fill(order.client_order_id, 10, 6)
    assert order.state is OrderState.PARTIALLY_FILLED and order.open_lots == 5
    own.apply(Amended(client_order_id=order.client_order_id, price_ticks=101, quantity_lots=15, ts_ns=7))
    assert (order.ticks, order.lots, order.in_flight, order.amends) == (101, 15, None, 1)
    own.fill(order.client_order_id, 5, 8)
    assert order.state is OrderState.FILLED


def test_a_refused_amend_is_looked_up() -> None:
    """The order stands as it was, or has ended; only the venue knows."""
    own, order = resting()
    order.in_flight, order.wish = InFlight.AMEND, (101, 15)
    assert own.apply(AmendRejected(client_order_id=order.client_order_id, ts_ns=7))
    looked_up = LookedUp(
        client_order_id=order.client_order_id, ts_ns=8, state=OrderState.OPEN, price_ticks=100, quantity_lots=10
    )
    assert not own.apply(looked_up)
    assert (order.ticks, order.lots, order.wish, order.in_flight) == (100, 10, None, None)


def test_an_order_that_the_venue_never_knew_is_rejected_and_one_that_rested_cancelled() -> None:
    """No such order, finally: its level is free."""
    own = OwnOrders("t0")
    sent = own.add("B1", 1, 100, 10, 0)
    own.apply(OutcomeUnknown(client_order_id=sent.client_order_id, ts_ns=2, raw="FOO"))
    assert (sent.in_flight, sent.reason) == (InFlight.UNKNOWN, "FOO")
    own.apply(LookedUp(client_order_id=sent.client_order_id, ts_ns=3))
    assert sent.state is OrderState.REJECTED
    own, order = resting()
    own.apply(LookedUp(client_order_id=order.client_order_id, ts_ns=3))
    assert order.state is OrderState.CANCELLED


def test_a_request_under_way_knows_more_than_an_older_answer() -> None:
    """A look-up that was asked before an amend was sent does not end the wait for it."""
    own, order = resting()
    order.in_flight, order.wish = InFlight.AMEND, (101, 15)
    own.apply(
        LookedUp(
            client_order_id=order.client_order_id, ts_ns=8, state=OrderState.OPEN, price_ticks=100, quantity_lots=10
        )
    )
    assert order.in_flight is InFlight.AMEND and order.wish == (101, 15)


EVENTS = st.sampled_from(
    [
        *(("update", state, filled) for state in OrderState for filled in (None, 0, 4, 10)),
        *(("looked up", state, filled) for state in [*OrderState, None] for filled in (0, 4, 10)),
        *(("fill", None, lots) for lots in (1, 4, 5)),
        ("amended", None, 12), ("amend refused", None, None), ("cancel refused", None, None), ("unknown", None, None),
    ]
)  # fmt: skip


@given(
    st.lists(EVENTS, max_size=12),
    st.sampled_from([None, InFlight.CANCEL, InFlight.AMEND, InFlight.UNKNOWN]),
)
def test_no_order_of_events_revives_an_order_or_loses_a_fill(
    events: list[tuple[str, OrderState | None, int]], busy: InFlight | None
) -> None:
    """Late, repeated and reordered: what has ended stays as it was, and every fill of a live order is counted."""
    own, order = resting()
    order.in_flight = busy
    one, filled, ended = order.client_order_id, 0, None
    for what, state, number in events:
        live = one in own.by_id
        if what == "fill":
            own.fill(one, number, 9)
            filled += number if live else 0
        elif what == "update" and state is not None:
            own.apply(update(order, state, number))
        elif what == "looked up":
            own.apply(LookedUp(client_order_id=one, ts_ns=9, state=state, filled_lots=number))
        elif what == "amended":
            own.apply(Amended(client_order_id=one, price_ticks=101, quantity_lots=number, ts_ns=9))
        elif what == "amend refused":
            own.apply(AmendRejected(client_order_id=one, ts_ns=9))
        elif what == "cancel refused":
            own.apply(CancelRejected(client_order_id=one, ts_ns=9))
        else:
            own.apply(OutcomeUnknown(client_order_id=one, ts_ns=9))
        assert order.filled == filled
        if ended is not None:
            assert order.state is ended and one not in own.by_id and "B1" not in own.by_key
        elif order.state.terminal:
            ended = order.state
            assert order.in_flight is None
    assert [gone.client_order_id for gone in own.collect()] == ([one] if ended else [])


# --- the engine's side ---------------------------------------------------------------------------------------------------

GRID = GridConfig(spacing_bps=50, levels=2, size="0.05")
TICK = Tick(bid_ticks=1_999, ask_ticks=2_001)


def engine(**changes: object) -> ExecutionEngine:
    """Return an engine whose four orders rest."""
    made = ExecutionEngine(LAB, Config(grid=GRID).replace(**changes), amend_rule=AmendRule.MODIFY)
    for command in made.step(TICK, 0):
        made.step(OrderUpdate(client_order_id=command.client_order_id, state=OrderState.OPEN, ts_ns=1), 1)
    return made


def test_a_time_to_live_ends_an_order_as_expired_and_its_level_is_placed_anew() -> None:
    """EXPIRED is the specification's word for it; the new order has a new id."""
    made = engine(**{"router.order_ttl_s": 10})
    assert made.step(TICK, 9_999_999_999) == ()
    commands = made.step(TICK, 10_000_000_000)
    assert [type(c) for c in commands] == [Cancel] * 4 and {c.reason for c in commands} == {Reason.TTL_EXPIRED}  # type: ignore[union-attr]
    for command in commands:
        made.step(
            OrderUpdate(client_order_id=command.client_order_id, state=OrderState.CANCELLED, ts_ns=11, filled_lots=0),
            11,
        )
    assert {own.state for own in made.orders.collect()} == {OrderState.EXPIRED}
    again = made.step(TICK, 10_100_000_000)
    assert [type(c) for c in again] == [Place] * 4
    assert all(c.client_order_id.endswith("-2") for c in again)


def test_a_refused_level_waits_longer_each_time() -> None:
    """Insufficient funds and the like: 1, 2, 4 s and so on, and not at every step; a post-only that would take at once."""
    made = ExecutionEngine(LAB, Config(grid=GRID))
    now, pauses = 0, []
    for _ in range(5):
        began = now
        while not (places := [c for c in made.step(TICK, now) if isinstance(c, Place)]):
            now += 100_000_000
        pauses.append((now - began) / 1e9)
        for place in places:
            refused = OrderUpdate(
                client_order_id=place.client_order_id, state=OrderState.REJECTED, ts_ns=now, reason="INSUFFICIENT_FUNDS"
            )
            made.step(refused, now)
    assert pauses == [0, 1, 2, 4, 8]
    assert made.refusals.counts and {key.reason for key in made.refusals.counts} == {Reason.COOLING_DOWN}


def test_a_gap_in_the_stream_lets_only_cancels_through() -> None:
    """Nothing is placed while the position is not known; what is off the plan is still withdrawn."""
    made = engine()
    made.step(StreamLost(ts_ns=2), 2)
    moved = Tick(bid_ticks=2_099, ask_ticks=2_101)
    assert all(isinstance(c, Cancel) for c in made.step(moved, 3))
    assert (made.last_decisions and {d.reason for d in made.last_decisions}) == {Reason.POSITION_UNKNOWN}
    made.step(Resynced(ts_ns=4), 4)
    assert made.step(moved, 5)


def test_the_epoch_rises_with_every_change_of_state() -> None:
    """What was decided before a stop carries an older epoch than the door asks for."""
    made = engine()
    made.step(SetState(state=RunState.PAUSED), 2)
    made.step(SetState(state=RunState.PAUSED), 3)
    made.step(SetState(state=RunState.RUNNING), 4)
    assert made.epoch == 2
    made.step(SetState(state=RunState.KILLED), 5)
    with pytest.raises(ConfigError, match="KILLED for good"):
        made.step(SetState(state=RunState.RUNNING), 6)


def test_an_unknown_outcome_asks_at_once() -> None:
    """The engine does not wait for the next step to ask."""
    made = engine()
    one = next(iter(made.orders)).client_order_id
    assert made.step(OutcomeUnknown(client_order_id=one, ts_ns=2, reason="no answer"), 2) == (
        LookUp(client_order_id=one, reason="no answer"),
    )


@pytest.mark.parametrize("key", ["X3", "B", "BUY_3", "B3-1", "B" + "9" * 40])
def test_a_level_key_that_cannot_become_a_client_order_id_is_named(key: str) -> None:
    """With what to write instead, and the key attached."""
    with pytest.raises(InvalidRequestError, match="cannot become a client order id") as error:
        OwnOrders("t0").next_id(key)
    assert error.value.request == key


def test_generations_start_above_the_time_so_that_no_id_is_used_twice() -> None:
    """With the journal lost, the next run's ids are still new."""
    first = OwnOrders("t0", first_generation=1_700_000_000_000).next_id("B1")
    second = OwnOrders("t0", first_generation=1_700_000_060_000).next_id("B1")
    assert first != second and len(second) <= 36


@pytest.mark.parametrize("tag", ["", "a-b", "thirteenchars", "ü"])
def test_a_tag_that_cannot_stand_in_an_id_is_refused(tag: str) -> None:
    """Letters, digits and _, at most 12."""
    with pytest.raises(ConfigError, match="session tag"):
        OwnOrders(tag)


@pytest.mark.parametrize("reset", ["SOFT", "HARD"])
def test_router_trap_17_a_reset_action_is_obeyed(reset: str) -> None:
    """The old orders go first, and nothing of the new plan is placed before they have gone."""
    made = engine(**{"grid.reset_action": reset, "grid.recentre_bps": 10, "router.amend": False})
    moved = Tick(bid_ticks=2_019, ask_ticks=2_021)
    commands = made.step(moved, 10)
    assert commands and all(isinstance(command, Cancel) for command in commands)
    *most, last = commands
    for command in most:
        made.step(OrderUpdate(client_order_id=command.client_order_id, state=OrderState.CANCELLED, ts_ns=11), 11)
    assert made.step(moved, 12) == ()
    made.step(OrderUpdate(client_order_id=last.client_order_id, state=OrderState.CANCELLED, ts_ns=13), 13)
    assert [type(command) for command in made.step(moved, 14)] == [Place] * 4


def test_router_trap_11_kill_stale_data_and_mode_let_nothing_new_through() -> None:
    """Each gate alone is enough."""
    for event, tick in (
        (SetState(state=RunState.KILLED), TICK),
        (None, Tick(bid_ticks=1_999, ask_ticks=2_001, stale=True)),
    ):
        made = ExecutionEngine(LAB, Config(grid=GRID))
        if event is not None:
            made.step(event, 1)
        assert made.step(tick, 2) == ()
    paused = ExecutionEngine(LAB, Config(grid=GRID.replace(mode="PAUSE")))
    assert paused.step(TICK, 2) == ()
