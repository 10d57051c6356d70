"""Own orders: one per key, ids that are never reused, and events that come late, twice or out of order."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.execution.own_orders import LiveOrders, OwnOrders, base36, key_of
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.order import InFlight, OrderState, Side

BTC = Instrument(symbol="BTCUSDT", venue="v", base="BTC", quote="USDT", tick=Decimal("0.1"), lot=Decimal("0.001"))


def orders() -> OwnOrders:
    """Return an empty register."""
    return OwnOrders("r0")


def test_client_order_ids_carry_level_and_generation() -> None:
    """Placing a key again gives another id: tag, level and a generation in base 36."""
    own = orders()
    ids = []
    for _ in range(37):
        order = own.add("B3", 1, 100, 5, 0)
        ids.append(order.client_order_id)
        own.become(order.client_order_id, OrderState.REJECTED, 1)
    assert (ids[0], ids[9], ids[35], ids[36]) == ("gkr0-B3-1", "gkr0-B3-a", "gkr0-B3-10", "gkr0-B3-11")
    assert len(set(ids)) == 37
    assert own.add("S12", -1, 200, 5, 0).client_order_id == "gkr0-S12-1"


@given(st.integers(0, 10**12))
def test_base36_reads_back(number: int) -> None:
    """The generation is a plain base-36 number."""
    assert int(base36(number), 36) == number


@given(st.from_regex(r"\A[A-Za-z0-9_]{1,12}\Z"), st.sampled_from("BS"), st.integers(1, 10**6), st.integers(1, 10**6))
def test_the_level_is_read_from_an_id_with_everything_else_lost(
    tag: str, side: str, number: int, generation: int
) -> None:
    """Whatever the tag, even one that looks like a level, the key of one of our ids is found again."""
    own = OwnOrders(tag)
    own._generation[f"{side}{number}"] = generation - 1
    order = own.add(f"{side}{number}", 1, 100, 5, 0)
    assert key_of(order.client_order_id) == f"{side}{number}"
    assert re.fullmatch(r"[A-Za-z0-9_-]+", order.client_order_id)


@pytest.mark.parametrize(
    "foreign", ["", "web_4711", "gk", "x-gkr0-B3-1", "gkr0-X3-1", "gkr0-B3", "gkr0-B3-1 ", "electron_B3"]
)
def test_foreign_ids_are_not_ours(foreign: str) -> None:
    """An id that another client made has no level."""
    assert key_of(foreign) is None


def test_a_second_order_under_a_key_is_a_bug() -> None:
    """One order per key, always: the register stops a caller that forgot."""
    own = orders()
    own.add("B1", 1, 100, 5, 0)
    with pytest.raises(AssertionError, match="a second order under B1"):
        own.add("B1", 1, 101, 5, 0)


def test_a_new_order_is_in_flight_until_the_venue_answers() -> None:
    """PENDING and in flight from the moment it is sent; an acknowledgement ends that."""
    own = orders()
    order = own.add("B1", 1, 100, 5, 7)
    assert (order.state, order.in_flight, order.sent_ns, order.filled) == (OrderState.PENDING, InFlight.NEW, 7, 0)
    own.become(order.client_order_id, OrderState.OPEN, 8)
    assert (order.state, order.in_flight) == (OrderState.OPEN, None)


@pytest.mark.parametrize("end", [state for state in OrderState if state.terminal and state is not OrderState.FILLED])
def test_a_terminal_state_frees_the_key(end: OrderState) -> None:
    """An order that ended is collected once and its key is not taken any more."""
    own = orders()
    order = own.add("B1", 1, 100, 5, 0)
    own.become(order.client_order_id, end, 9, "because")
    assert (order.state, order.ended_ns, order.reason, order.in_flight) == (end, 9, "because", None)
    assert len(own) == 0
    assert own.collect() == [order] and own.collect() == []
    own.add("B1", 1, 100, 5, 10)


def test_fills_add_up_to_the_end_of_the_order() -> None:
    """Partial fills keep the order alive, the last one ends it."""
    own = orders()
    order = own.add("B1", 1, 100, 5, 0)
    own.become(order.client_order_id, OrderState.OPEN, 1)
    assert own.fill(order.client_order_id, 2, 2) is order
    assert (order.state, order.filled) == (OrderState.PARTIALLY_FILLED, 2)
    own.fill(order.client_order_id, 3, 3)
    assert (order.state, order.filled, order.ended_ns) == (OrderState.FILLED, 5, 3)
    assert own.collect() == [order]


def test_a_fill_may_overtake_its_acknowledgement() -> None:
    """A fill that comes before the acknowledgement counts, and the late acknowledgement changes nothing."""
    own = orders()
    order = own.add("B1", 1, 100, 5, 0)
    own.fill(order.client_order_id, 2, 1)
    assert (order.state, order.in_flight) == (OrderState.PARTIALLY_FILLED, None)
    assert own.become(order.client_order_id, OrderState.OPEN, 2) is None
    assert (order.state, own.late_events) == (OrderState.PARTIALLY_FILLED, 1)


def test_a_partial_fill_leaves_a_cancel_under_way() -> None:
    """While a cancel is under way a fill does not end that request."""
    own = orders()
    order = own.add("B1", 1, 100, 5, 0)
    own.become(order.client_order_id, OrderState.OPEN, 1)
    order.in_flight = InFlight.CANCEL
    own.fill(order.client_order_id, 2, 2)
    assert order.in_flight is InFlight.CANCEL
    own.become(order.client_order_id, OrderState.CANCELLED, 3)
    assert (order.state, order.filled) == (OrderState.CANCELLED, 2)


events = st.lists(
    st.tuples(st.sampled_from([*OrderState, None]), st.integers(1, 4)), min_size=1, max_size=12
)  # None is a fill


@given(events)
def test_no_event_revives_an_order_that_has_ended(history: list[tuple[OrderState | None, int]]) -> None:
    """After a terminal state nothing moves: not the state, not the quantity, not the time; every late event is counted."""
    own = orders()
    order = own.add("B1", 1, 100, 6, 0)
    seen = None
    for now, (state, lots) in enumerate(history, start=1):
        before = own.late_events
        if state is None:
            own.fill(order.client_order_id, lots, now)
        else:
            own.become(order.client_order_id, state, now)
        if seen is not None:
            assert (order.state, order.filled, order.ended_ns) == seen
            assert own.late_events == before + 1
        elif order.state.terminal:
            seen = order.state, order.filled, order.ended_ns
    assert (len(own) == 0) == (seen is not None) == order.state.terminal
    assert len(own.collect()) == (seen is not None)


def test_events_of_unknown_orders_are_counted_and_change_nothing() -> None:
    """An id that was never sent is a late event, not an error."""
    own = orders()
    assert own.become("gkr0-B9-1", OrderState.OPEN, 1) is None
    assert own.fill("gkr0-B9-1", 1, 1) is None
    assert (own.late_events, len(own)) == (2, 0)


def test_live_orders_are_shown_as_values() -> None:
    """The view by level id shows Decimals and follows the register."""
    own = orders()
    view = LiveOrders(own, BTC)
    assert len(view) == 0 and "SELL_12" not in view
    order = own.add("S12", -1, 600_001, 20, 3)
    own.fill(order.client_order_id, 5, 4)
    assert list(view) == ["SELL_12"]
    shown = view["SELL_12"]
    assert (shown.client_order_id, shown.side, shown.price) == ("gkr0-S12-1", Side.SELL, Decimal("60000.1"))
    assert (shown.quantity, shown.filled_quantity, shown.remaining) == (
        Decimal("0.020"),
        Decimal("0.005"),
        Decimal("0.015"),
    )
    own.become(order.client_order_id, OrderState.CANCELLED, 5)
    assert dict(view) == {}
    with pytest.raises(KeyError):
        view["SELL_12"]
