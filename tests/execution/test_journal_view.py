"""A journal for people: every value has words, on one line, and the live orders are those of the engine."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import pytest

from grinder_kit.execution.journal import Entry, EntryKind, Journal
from grinder_kit.execution.journal_view import Summary, show
from grinder_kit.execution.journal_words import Units, json_line, level_of, text_line, utc
from grinder_kit.model.event import (
    Amend,
    Amended,
    AmendRejected,
    Cancel,
    CancelRejected,
    Command,
    Event,
    Flatten,
    FundingPaid,
    LookedUp,
    LookUp,
    OrderFilled,
    OrderUpdate,
    OutcomeUnknown,
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
from grinder_kit.model.order import OrderState, OrderType, Side

ORDER = "gkr0-B3-1"
PLACE = Place(
    client_order_id=ORDER, level_id="BUY_3", side=Side.BUY, price_ticks=10_005, quantity_lots=40, type=OrderType.IOC,
    reduce_only=True, reason="TTL_EXPIRED",
)  # fmt: skip
FILL = OrderFilled(
    client_order_id=ORDER, trade_id="t1", price_ticks=10_005, quantity_lots=15, commission=Decimal("-0.0010"),
    commission_asset="BNB", ts_ns=1, is_maker=False,
)  # fmt: skip

WORDS: list[tuple[Any, str, str]] = [
    (PLACE, "place BUY 0.4 at 1,000.5, IOC, reduce-only", "the order's time to live has passed"),
    (Amend(client_order_id=ORDER, price_ticks=10_000, quantity_lots=30), "amend to 0.3 at 1,000.0", ""),
    (Cancel(client_order_id=ORDER, reason="by hand"), "cancel", "by hand"),
    (LookUp(client_order_id=ORDER), "look up", ""),
    (OrderUpdate(client_order_id=ORDER, state=OrderState.OPEN, ts_ns=1), "OPEN", ""),
    (
        OrderUpdate(client_order_id=ORDER, state=OrderState.CANCELLED, ts_ns=1, filled_lots=10),
        "CANCELLED, 0.1 filled",
        "",
    ),
    (Amended(client_order_id=ORDER, price_ticks=10_000, quantity_lots=30, ts_ns=1), "amended to 0.3 at 1,000.0", ""),
    (AmendRejected(client_order_id=ORDER, ts_ns=1, reason="x"), "not amended", "x"),
    (CancelRejected(client_order_id=ORDER, ts_ns=1, reason="x"), "nothing to cancel", "x"),
    (OutcomeUnknown(client_order_id=ORDER, ts_ns=1, reason="x", raw="FOO"), "outcome unknown", "x FOO"),
    (LookedUp(client_order_id=ORDER, ts_ns=1), "looked up: no such order", ""),
    (LookedUp(client_order_id=ORDER, ts_ns=1, state=OrderState.OPEN), "looked up: OPEN, 0 filled", ""),
    (FILL, "filled 0.15 at 1,000.5", "fee -0.001 BNB, taker, trade t1"),
    (FundingPaid(ts_ns=1, amount=Decimal("-0.5")), "funding paid 0.5", ""),
    (FundingPaid(ts_ns=1, amount=Decimal("0.5")), "funding received 0.5", ""),
    (StreamLost(ts_ns=1, reason="socket"), "the stream of own orders was lost", "socket"),
    (Restarted(ts_ns=1), "a new process took over; what was under way is unknown", ""),
    (Resynced(ts_ns=1), "orders and fills agree with the venue", ""),
    (SetState(state=RunState.KILLED, reason="operator"), "the session is KILLED", "operator"),
    (
        Flatten(total_lots=12, least_lots=1, duration_ns=600_000_000_000, slices=4, reason="operator"),
        "the session is FLATTENING: 0.12 in 4 slices over 600 s",
        "operator",
    ),
    (
        Flatten(total_lots=12, least_lots=1, shown_lots=3, reason="operator"),
        "the session is FLATTENING: 0.12, 0.03 shown at a time",
        "operator",
    ),
    (
        Rebased(foreign=Decimal("-0.50"), ts_ns=1, reason="first look"),
        "held beside the session's own fills: -0.5",
        "first look",
    ),
    (Reconciled(state=RunState.PAUSED, ts_ns=1, reason="x"), "reconciliation: the session is PAUSED", "x"),
    (Updated(config="{}", ts_ns=1), "the session takes another configuration", "44136fa355b3"),
]


def entry(value: Any) -> Entry:
    """Return a value as an entry."""
    kind = EntryKind.INTENT if isinstance(value, get_args(Command)) else EntryKind.EVENT
    return Entry(seq=7, ts_ns=0, kind=kind, body=value)


@pytest.mark.parametrize(("value", "what", "why"), WORDS)
def test_every_value_has_words(value: Any, what: str, why: str) -> None:
    """A line says what happened and why, with prices and quantities where tick and lot are known."""
    line = text_line(entry(value), Units(Decimal("0.1"), Decimal("0.01")))
    kind, level = entry(value).kind, level_of(entry(value)) or ""
    expected = f"1970-01-01 00:00:00.000        7  {kind:<8}  {level:<4}  {what:<44}  {why}".rstrip()
    assert line == expected + (f"  [{ORDER}]" if level else "")


def test_words_cover_every_type() -> None:
    """No event or command that a journal can hold is left out above."""
    assert {type(value) for value, _, _ in WORDS} | {Tick} == {*get_args(Event), *get_args(Command)}


def test_without_a_tick_ticks_are_shown() -> None:
    """Where the header does not know tick and lot, whole ticks and lots are said as such."""
    assert "place BUY 40 lots at 10,005 ticks, IOC" in text_line(entry(PLACE), Units())


def test_hostile_words_stay_on_their_line() -> None:
    """A line break, a terminal command or half a character in a venue's words is escaped; JSON keeps it exactly."""
    value = entry(OutcomeUnknown(client_order_id="web_1", ts_ns=1, raw="a\nb\x1b[2J\ud800 \u00e9"))
    line = text_line(value, Units())
    assert r"a\nb\x1b[2J\ud800 " + "\u00e9" in line
    assert line.encode() and line.isprintable()
    assert json_line(value).isascii() and "\n" not in json_line(value)


def test_time_beyond_the_calendar_is_shown_in_ns() -> None:
    """A time that no calendar knows does not end the reading."""
    assert utc(2**63 - 1).startswith("2262-")
    assert utc(10**30) == f"{10**30} ns"


def test_live_orders_follow_the_rules_of_the_engine() -> None:
    """An end that reports more than was booked waits for its fills; a repeated fill counts once; a late event revives nothing."""
    summary = Summary()

    def after(*values: Any) -> list[str]:
        for value in values:
            summary.take(entry(value))
        return [order.client_order_id for order in summary.orders]

    end = OrderUpdate(client_order_id=ORDER, state=OrderState.CANCELLED, ts_ns=1, filled_lots=15)
    assert after(PLACE) == [ORDER]
    assert after(Amend(client_order_id=ORDER, price_ticks=10_000, quantity_lots=30)) == [ORDER]
    assert after(Amended(client_order_id=ORDER, price_ticks=10_000, quantity_lots=30, ts_ns=1), end) == [ORDER]
    assert after(FILL, FILL) == []
    assert after(OrderUpdate(client_order_id=ORDER, state=OrderState.OPEN, ts_ns=1)) == []
    assert summary.traded == {Side.BUY: 15, Side.SELL: 0}
    text = summary.text(8, None)
    assert "fills         1: bought 15 lots, sold 0 lots" in text
    assert "live orders   0\n" in text


def test_restart_makes_what_was_under_way_unknown() -> None:
    """After a restart nobody waits for the cancel any more, and the summary says so."""
    summary = Summary()
    for value in (PLACE, OrderUpdate(client_order_id=ORDER, state=OrderState.OPEN, ts_ns=1)):
        summary.take(entry(value))
    summary.take(entry(Cancel(client_order_id=ORDER)))
    assert "a cancel is under way" in summary.text(3, None)
    summary.take(entry(Restarted(ts_ns=2)))
    assert "its state is unknown" in summary.text(4, None)


def test_order_of_others_is_shown_and_not_followed() -> None:
    """An intent whose id is not one of ours, which no session writes, does not stop the reading."""
    summary = Summary()
    summary.take(entry(Place(client_order_id="web_1", level_id="", side=Side.BUY, price_ticks=1, quantity_lots=1)))
    assert len(summary.orders) == 0


def test_lines_come_as_they_are_read(tmp_path: Path) -> None:
    """A long journal is said while it is read, not after."""
    path = tmp_path / "r0.journal"
    with Journal.open(path, header={"symbol": "TOY", "venue": "v", "tag": "r0"}) as journal:
        for number in range(100):
            journal.append_intent(PLACE, number)
    said: list[str] = []

    def enough(line: str) -> None:
        said.append(line)
        if len(said) == 3:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        show(path, enough)
    assert len(said) == 3
