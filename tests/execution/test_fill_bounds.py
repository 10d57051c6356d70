"""FillTracker in a long session: bounded memory, fills that come again or late, and who decided an order."""

from __future__ import annotations

import logging
import random
from dataclasses import replace
from itertools import pairwise

import polars as pl
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.errors import ConfigError, DataError
from grinder_kit.execution.engine import ExecutionEngine
from grinder_kit.execution.fill_archive import FillArchive
from grinder_kit.execution.fill_tracker import FillConflictError, FillTracker
from grinder_kit.execution.journal_codec import decode, encode, parse
from grinder_kit.execution.ledger import Ledger, check_identity
from grinder_kit.model.config import Config, GridConfig
from grinder_kit.model.event import Event, OrderFilled, Place, RunState, SetState, Tick
from grinder_kit.model.fill import Fill, PairingView
from grinder_kit.model.order import Side
from tests.execution.fills import LINEAR, SPOT, D, make_fill, record

CONFIG = Config(grid=GridConfig(spacing_bps=50, levels=3, size="0.004", recentre_bps=20))

# --- bounded memory --------------------------------------------------------------------------------------------------

_traded = st.tuples(st.sampled_from(Side), st.integers(1, 40), st.integers(1, 7))


@given(st.lists(_traded, max_size=40), st.integers(1, 12), st.sampled_from(PairingView), st.data())
def test_a_bound_changes_what_is_held_and_no_figure(
    sequence: list[tuple[Side, int, int]], keep: int, view: PairingView, data: st.DataObject
) -> None:
    """The same round trips, sums and counts as without a bound, though any fill comes again; the latest are held."""
    fills = [make_fill(side, str(LINEAR.price(t)), str(LINEAR.quantity(n)), "0.01") for side, t, n in sequence]
    whole, bound = FillTracker(LINEAR, view=view), FillTracker(LINEAR, view=view, keep=keep)
    for index, fill in enumerate(fills):
        assert bound.record_fill(fill) == whole.record_fill(fill)
        for tracker in (whole, bound):
            tracker.record_funding(index, "0.5")
        assert bound.record_fill(replace(fills[data.draw(st.integers(0, index))])) == ()
    assert repr(bound) == repr(whole)
    assert (bound.fill_count, bound.round_trip_count) == (len(whole.fills), len(whole.round_trips))
    assert (bound.funding, bound.fingerprint, bound.late) == (whole.funding, whole.fingerprint, whole.late)
    assert bound.pending_entries == whole.pending_entries
    for few, everything in (
        (bound.fills, whole.fills),
        (bound.round_trips, whole.round_trips),
        (bound.funding_payments, whole.funding_payments),
    ):
        assert min(keep, len(everything)) <= len(few) <= keep + keep // 8
        assert list(few) == list(everything)[len(everything) - len(few) :]
    assert all(bound.has(fill.fill_id) for fill in fills) and not bound.has("never")


def test_a_fill_that_is_no_longer_held_is_known_with_all_its_content() -> None:
    """Other content under its id is refused loudly, and the error carries both, as it would at once."""
    first = make_fill("BUY", "100", "1", "-0.001", commission_asset="BNB", commission_rate=D("612.4"), policy="centred")
    tracker = FillTracker(LINEAR, keep=2)
    record(tracker, first, *(make_fill("BUY", "100") for _ in range(9)))
    assert first not in tracker.fills and tracker.record_fill(first) == ()
    other = replace(first, ts_ns=first.ts_ns + 10**12)
    with pytest.raises(FillConflictError, match="ts_ns was") as caught:
        tracker.record_fill(other)
    assert (caught.value.recorded, caught.value.given) == (first, other)
    assert (tracker.fill_count, tracker.inventory) == (10, 10)


def test_an_archive_gives_back_what_it_was_given() -> None:
    """Every field of a fill, with its type; Decimals to the last digit and with their trailing zeros."""
    archive = FillArchive()
    fills = [
        make_fill("SELL", "60000.10", "0.100", "1e-18", is_maker=False, level_id=""),
        make_fill("BUY", "1", "1", "-0.5", fill_id="ünï", commission_rate=D("1.50"), policy="EXIT"),
    ]
    archive.add(fills)
    assert [archive.find(fill.fill_id) for fill in fills] == fills
    assert str(archive.find(fills[0].fill_id)) == str(fills[0])
    assert archive.find("another") is None


def test_a_full_disk_costs_memory_and_no_fill(caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be put away is held, which is told once; what was put away before is still known."""
    fills = [make_fill("BUY", "100") for _ in range(400)]
    tracker = FillTracker(LINEAR, keep=8)
    record(tracker, *fills[:100])
    tracker._archive._file.execute("PRAGMA max_page_count = 1")  # type: ignore[union-attr]
    record(tracker, *fills[100:])
    assert (tracker.fill_count, tracker.inventory) == (400, 400)
    assert 250 <= len(tracker.fills) < 400, "a page that was begun takes some more"
    assert list(tracker.fills) == fills[-len(tracker.fills) :]
    assert record(tracker, *fills) == [] and tracker.fill_count == 400
    (told,) = [record.getMessage() for record in caplog.records]
    assert told == "all fills are held from now on symbol=BTCUSDT error=database or disk is full"


@pytest.mark.parametrize("keep", [0, -1])
def test_a_bound_that_holds_nothing_is_refused(keep: int) -> None:
    """It says what to write."""
    with pytest.raises(ConfigError, match=f"keep is {keep}; write how many fills to hold, at least 1, or None for all"):
        FillTracker(LINEAR, keep=keep)


def _random_fills(count: int, seed: int) -> list[Fill]:
    draw = random.Random(seed)
    return [
        make_fill(draw.choice(("BUY", "SELL")), str(LINEAR.price(draw.randint(6_000, 6_200))),
                  str(LINEAR.quantity(draw.randint(1, 5))), "0.0123")
        for _ in range(count)
    ]  # fmt: skip


@pytest.mark.slow
def test_a_million_fills_take_no_more_memory_than_a_hundred_thousand() -> None:
    """The identity holds at every hundred thousand, and the process stays as large as it was."""
    tracker, ledger = FillTracker(LINEAR, keep=5_000), Ledger(LINEAR, remember=False)
    sizes = []
    for part in range(10):
        for _ in range(10):
            for fill in _random_fills(10_000, seed=part):
                tracker.record_fill(fill)
                ledger.apply(fill)
        check_identity(tracker, ledger, "610.05")
        sizes.append(psutil.Process().memory_info().rss / 2**20)
    assert tracker.fill_count == 1_000_000
    assert sizes[-1] - sizes[0] < 10, sizes


def test_an_engine_with_a_bound_books_once_and_has_the_digest_of_one_without() -> None:
    """Repeats of fills that are no longer held change neither book; the order in which fills came is no part of the digest."""

    def filled(number: int) -> OrderFilled:
        return OrderFilled(
            client_order_id=f"gkr0-{'BS'[number % 2]}1-{number:x}", trade_id=str(number), price_ticks=1_000 + number % 7,
            quantity_lots=4, commission=D("0.01"), commission_asset="USDT", ts_ns=number, is_maker=True,
        )  # fmt: skip

    events = [filled(number) for number in range(200)]
    bound, whole = ExecutionEngine(LINEAR, CONFIG, keep=10), ExecutionEngine(LINEAR, CONFIG)
    for event in events:
        bound.step(event, 1)
        bound.step(events[event.ts_ns // 2], 1)
    for event in reversed(events):
        whole.step(event, 1)
    assert len(bound.tracker.fills) <= 11 and bound.tracker.fill_count == 200
    assert bound.digest() == whole.digest()
    assert (bound.ledger.cash, bound.ledger.commission) == (whole.ledger.cash, 2)
    whole.step(filled(200), 1)
    assert bound.digest() != whole.digest()


# --- times that go back ----------------------------------------------------------------------------------------------


def test_out_of_order_times_are_booked_as_they_come_counted_and_told(caplog: pytest.LogCaptureFixture) -> None:
    """A fill that is older than the latest closes what is open then; the log tells the first, not all of 50."""
    tracker = FillTracker(LINEAR)
    leaving, entry = make_fill("SELL", "110", ts_ns=5_000_000_000), make_fill("BUY", "100", ts_ns=7_000_000_000)
    with caplog.at_level(logging.WARNING):
        (trip,) = record(tracker, entry, leaving)
        assert (tracker.late, trip.gross_pnl) == (1, 10)
        record(tracker, *(make_fill("BUY", "100", ts_ns=6_000_000_000 + n) for n in range(49)))
    assert tracker.late == 50
    (told,) = [record.getMessage() for record in caplog.records]
    assert told == f"fill older than the latest symbol=BTCUSDT id={leaving.fill_id} by_s=2.000 count=1"
    record(tracker, make_fill("BUY", "100", ts_ns=7_000_000_000))
    assert tracker.late == 50, "the same time is not older"


def test_a_hold_time_is_never_negative() -> None:
    """Where the venue's times say that the exit came first it is 0; the times themselves stand in the fills."""
    tracker = FillTracker(LINEAR)
    (trip,) = record(tracker, make_fill("BUY", "100", ts_ns=9_000_000), make_fill("SELL", "101", ts_ns=2_000_000))
    assert (trip.hold_ns, trip.hold_time_ms) == (0, 0)
    assert (trip.entry_fill.ts, trip.exit_fill.ts) == (9, 2)
    assert tracker.round_trips_frame()["hold_time_ms"].to_list() == [0]


# --- traps -----------------------------------------------------------------------------------------------------------


def test_profit_is_that_of_the_quantity_that_both_share() -> None:
    """An exit of 1 from an entry of 4 earns on 1, and three more such exits on the rest."""
    tracker = FillTracker(LINEAR)
    trips = record(
        tracker, make_fill("BUY", "100", "4", "0.4"), *(make_fill("SELL", "103", "1", "0.1") for _ in range(4))
    )
    assert [(trip.quantity, trip.gross_pnl, trip.commission) for trip in trips] == [(1, 3, D("0.2"))] * 4
    assert tracker.pending_entries == {"BTCUSDT": []}


def test_a_position_that_flips_back_and_forth_closes_before_it_opens() -> None:
    """+1 at 100, -3 at 110, +5 at 104, -3 at 100: 10, then 2 x 6, then 3 x -4; flat in the end."""
    for view in (PairingView.FIFO, PairingView.AVERAGE):
        tracker = FillTracker(LINEAR, view=view)
        trips = record(
            tracker,
            make_fill("BUY", "100"),
            make_fill("SELL", "110", "3"),
            make_fill("BUY", "104", "5"),
            make_fill("SELL", "100", "3"),
        )
        assert [(trip.quantity, trip.gross_pnl) for trip in trips] == [(1, 10), (2, 12), (3, -12)]
        assert (tracker.inventory, tracker.fifo.realised) == (0, 10)
        assert all(one.exit_fill.side is two.entry_fill.side for one, two in pairwise(trips))


def test_the_policy_is_that_of_what_decided_the_order() -> None:
    """Place, own order, fill, round trip: the planner's name for the grid, EXIT for the way out; the journal keeps it."""
    engine = ExecutionEngine(SPOT, CONFIG)
    again = ExecutionEngine(SPOT, CONFIG)
    written: list[tuple[str, str]] = []

    def filled(order: Place) -> OrderFilled:
        return OrderFilled(
            client_order_id=order.client_order_id, trade_id=order.client_order_id, price_ticks=order.price_ticks,
            quantity_lots=order.quantity_lots, commission=D(0), commission_asset="USDT", ts_ns=1, is_maker=True,
        )  # fmt: skip

    def step(event: Event) -> list[Place]:
        placed = [command for command in engine.step(event, 1) if isinstance(command, Place)]
        written.extend([] if isinstance(event, Tick) else [("event", encode(event))])
        written.extend(("intent", encode(command)) for command in placed)
        return placed

    grid = step(Tick(bid_ticks=999, ask_ticks=1_001))
    assert {order.policy for order in grid} == {"centred"}
    assert {order.policy for order in engine.orders} == {"centred"}
    buy = next(order for order in grid if order.side is Side.BUY)
    step(filled(buy))
    for order in list(engine.orders):
        engine.orders.by_key.pop(order.key)
        engine.orders.by_id.pop(order.client_order_id)
    step(SetState(state=RunState.FLATTENING))
    (out,) = step(Tick(bid_ticks=999, ask_ticks=1_001))
    step(filled(out))
    assert [fill.policy for fill in engine.tracker.fills] == ["centred", "EXIT"]
    assert [trip.policy for trip in engine.tracker.round_trips] == ["centred"]
    assert engine.tracker.round_trips_frame()["policy"].to_list() == ["centred"]
    for kind, text in written:
        value = decode(parse(text))
        again.sent(value, 1) if kind == "intent" else again.step(value, 1)  # type: ignore[arg-type]
    assert list(again.tracker.fills) == list(engine.tracker.fills)


def test_a_journal_from_before_policies_and_rates_can_be_read() -> None:
    """What it does not say is unknown."""
    place = parse(
        encode(Place(client_order_id="gkr0-B1-1", level_id="BUY_1", side=Side.BUY, price_ticks=9, quantity_lots=1))
    )
    del place["policy"]
    assert decode(place).policy == "UNKNOWN"  # type: ignore[union-attr]
    fill = parse(encode(OrderFilled(
        client_order_id="gkr0-B1-1", trade_id="1", price_ticks=9, quantity_lots=1, commission=D(1), commission_asset="BNB",
        ts_ns=1, is_maker=True,
    )))  # fmt: skip
    del fill["commission_rate"]
    assert decode(fill).commission_rate is None  # type: ignore[union-attr]


# --- side by side ----------------------------------------------------------------------------------------------------


def test_the_three_views_stand_side_by_side() -> None:
    """Bought at 100 and 104, sold at 103 and 102: one row a view, with what is open of it at a mark."""
    tracker = FillTracker(LINEAR)
    record(tracker, *(make_fill(side, price) for side, price in (("BUY", "100"), ("BUY", "104"), ("SELL", "103"))))
    record(tracker, make_fill("SELL", "102"))
    frame = tracker.views("90")
    assert frame.rows() == [("average", 1, 0, 0, 0), ("fifo", 1, 0, 0, 0), ("level", 3, -2, 0, 2)]
    assert frame.columns == ["view", "realised", "unrealised", "inventory", "open_lots"]
    assert frame.schema["realised"] == pl.Decimal(38, 12)
    assert (frame["realised"] + frame["unrealised"]).to_list() == [D(1)] * 3
    assert tracker.views()["unrealised"].to_list() == [None] * 3
    with pytest.raises(DataError, match="mark is 0; it must be above zero"):
        tracker.views(0)
    assert tracker.to_frame().height == 4 and tracker.round_trips_frame().height == 2
    assert FillTracker(LINEAR).views(1).schema == frame.schema
