"""FillTracker and its three views, against the exchange, against sums done by hand, and what it refuses."""

from __future__ import annotations

import csv
import pickle
from dataclasses import replace
from decimal import ROUND_DOWN, Decimal
from pathlib import Path

import polars as pl
import pytest

from grinder_kit.errors import DataError
from grinder_kit.execution.fill_tracker import FillConflictError, FillTracker
from grinder_kit.execution.frames import fills_frame, round_trips_frame
from grinder_kit.execution.money import EXACT
from grinder_kit.model.fill import Fill, PairingView
from grinder_kit.model.instrument import Contract, Instrument
from grinder_kit.model.order import Side
from tests.execution.fills import INVERSE, LINEAR, D, make_fill, record

# --- the exchange as oracle ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exchange_fills(shared_data: Path) -> list[tuple[Fill, Decimal]]:
    """Return the 197 fills of the testnet account, each with the exchange's own realizedPnl."""
    path = shared_data / "fills" / "binance_usdm_btcusdt_fills_realizedpnl_20250621.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        (
            make_fill(
                row["side"],
                row["price"],
                row["qty"],
                row["commission"],
                fill_id=row["id"],
                order_id=row["orderId"],
                ts_ns=int(row["time"]) * 1_000_000,
                is_maker=row["maker"] == "True",
            ),
            D(row["realizedPnl"]),
        )
        for row in rows
    ]


def realised_by_fill(exchange_fills: list[tuple[Fill, Decimal]], view: PairingView) -> list[Decimal]:
    """Return what each fill realised in a view, which its round trips must add up to."""
    tracker = FillTracker(LINEAR, view=view)
    book = {"average": tracker.average, "fifo": tracker.fifo, "level": tracker.level}[view]
    profits = []
    for fill, _ in exchange_fills:
        before = book.realised
        trips = tracker.record_fill(fill)
        profits.append(EXACT.subtract(book.realised, before))
        assert sum(trip.gross_pnl for trip in trips) == profits[-1]
    return profits


_PRINTED = D("1e-8")


def test_average_view_equals_the_exchange_on_all_197_fills(exchange_fills: list[tuple[Fill, Decimal]]) -> None:
    """Each realizedPnl is ours to its eighth decimal; the exchange cuts digits off, and once it cuts a double.

    The exception is 0.0003 in decimals, which is 0.00029999999... as a difference of two doubles.
    """
    profits = realised_by_fill(exchange_fills, PairingView.AVERAGE)
    assert len(profits) == 197
    assert all(abs(ours - theirs) <= _PRINTED for ours, (_, theirs) in zip(profits, exchange_fills, strict=True))
    cut = [
        (fill.fill_id, ours, theirs)
        for ours, (fill, theirs) in zip(profits, exchange_fills, strict=True)
        if ours.quantize(_PRINTED, ROUND_DOWN) != theirs
    ]
    assert cut == [("359312039", D("0.0003"), D("0.00029999"))]


def test_fifo_is_another_view_and_agrees_on_107_fills_only(exchange_fills: list[tuple[Fill, Decimal]]) -> None:
    """The views differ on purpose: FIFO gives the exchange's figure for 107 of the 197 fills."""
    profits = realised_by_fill(exchange_fills, PairingView.FIFO)
    assert sum(abs(ours - t) <= _PRINTED for ours, (_, t) in zip(profits, exchange_fills, strict=True)) == 107


def test_all_views_agree_on_what_the_account_is_worth(exchange_fills: list[tuple[Fill, Decimal]]) -> None:
    """Realised plus unrealised is the same in every view, whatever was paired with what."""
    tracker = FillTracker(LINEAR)
    record(tracker, *(fill for fill, _ in exchange_fills))
    views = (tracker.average, tracker.fifo, tracker.level)
    average, fifo, level = (EXACT.add(view.realised, view.unrealised("103500.05")) for view in views)
    assert tracker.inventory == D("-0.011")
    assert average == fifo == level
    assert tracker.commission == sum(fill.commission for fill, _ in exchange_fills)


# --- by hand -------------------------------------------------------------------------------------------------------


def test_a_first_fill_is_an_entry_and_completes_nothing() -> None:
    """One buy: no round trip, one pending entry, one open lot in each view."""
    tracker, fill = FillTracker(LINEAR), make_fill("BUY", "100", "2")
    assert tracker.record_fill(fill) == ()
    assert tracker.pending_entries == {"BTCUSDT": [fill]}
    for book in (tracker.average, tracker.fifo, tracker.level):
        (lot,) = book.open_lots
        assert (lot.side, lot.price, lot.quantity, lot.level_id) == (Side.BUY, 100, 2, fill.level_id)
        assert (book.realised, book.unrealised("101.55")) == (0, D("3.1"))


def test_one_exit_closes_several_entries_oldest_first() -> None:
    """A sell of 3 closes 1 at 100 and 2 of 4 at 102; the remaining 2 stay open with their share of the commission."""
    tracker = FillTracker(LINEAR)
    first, second = make_fill("BUY", "100", "1", "0.1"), make_fill("BUY", "102", "4", "0.4", policy="GRID")
    leaving = make_fill("SELL", "103", "3", "0.6")
    trips = record(tracker, first, second, leaving)
    assert [(t.quantity, t.gross_pnl, t.commission, t.net_pnl) for t in trips] == [
        (1, 3, D("0.3"), D("2.7")),
        (2, 2, D("0.6"), D("1.4")),
    ]
    assert [t.rt_id for t in trips] == [f"{e.fill_id}-{leaving.fill_id}" for e in (first, second)]
    assert trips[0].entry_fill is first
    assert trips[1].entry_fill == replace(second, quantity=D(2), commission=D("0.2"))
    assert trips[1].exit_fill == replace(leaving, quantity=D(2), commission=D("0.4"))
    assert (trips[0].policy, trips[1].policy) == ("UNKNOWN", "GRID")
    assert trips[1].hold_time_ms == leaving.ts - second.ts == 1
    assert tracker.pending_entries == {"BTCUSDT": [replace(second, quantity=D(2), commission=D("0.2"))]}
    assert list(tracker.round_trips) == trips


def test_a_flip_closes_first_and_opens_with_the_rest() -> None:
    """Long 1, then a sell of 3: one round trip of 1, and a short of 2 that a later buy closes."""
    tracker = FillTracker(LINEAR)
    trips = record(tracker, make_fill("BUY", "100"), make_fill("SELL", "110", "3", "0.3"))
    assert [(t.quantity, t.net_pnl) for t in trips] == [(1, D("9.9"))]
    assert tracker.inventory == -2
    (entry,) = tracker.pending_entries["BTCUSDT"]
    assert (entry.side, entry.quantity, entry.commission) == (Side.SELL, 2, D("0.2"))
    (trip,) = tracker.record_fill(make_fill("BUY", "104", "2"))
    assert (trip.entry_fill.side, trip.gross_pnl, trip.net_pnl) == (Side.SELL, 12, D("11.8"))
    assert tracker.average.realised == tracker.fifo.realised == tracker.level.realised == 22


def test_a_rebate_adds_to_profit() -> None:
    """Commission is positive when paid: a negative one is received."""
    tracker = FillTracker(LINEAR)
    (trip,) = record(tracker, make_fill("BUY", "100", "1", "-0.02"), make_fill("SELL", "101", "1", "0.05"))
    assert (trip.gross_pnl, trip.commission, trip.net_pnl) == (1, D("0.03"), D("0.97"))
    assert tracker.commission == D("0.03")


def test_the_views_give_three_figures_for_the_same_fills() -> None:
    """Bought at 100 and 104, one sold at 103: average earns 1, FIFO 3, level 3 from the buy below; then a loss differs."""
    tracker = FillTracker(LINEAR)
    record(tracker, make_fill("BUY", "100"), make_fill("BUY", "104"), make_fill("SELL", "103"))
    assert (tracker.average.realised, tracker.fifo.realised, tracker.level.realised) == (1, 3, 3)
    record(tracker, make_fill("SELL", "102"))
    assert (tracker.average.realised, tracker.fifo.realised, tracker.level.realised) == (1, 1, 3)
    assert (tracker.average.open_lots, tracker.fifo.open_lots) == ((), ())
    assert [(lot.side, lot.price) for lot in tracker.level.open_lots] == [(Side.BUY, 104), (Side.SELL, 102)]
    assert (tracker.level.inventory, tracker.level.unrealised("90"), tracker.level.unrealised("900")) == (0, -2, -2)


def test_level_pairing_takes_the_nearest_profitable_price_and_the_oldest_fill_there() -> None:
    """A sell at 105 closes 104 before 101, skips 105 and 107, and leaves the rest open as a sell."""
    tracker = FillTracker(LINEAR, view=PairingView.LEVEL)
    buys = [make_fill("BUY", price) for price in ("101", "107", "104", "105", "104")]
    record(tracker, *buys)
    trips = record(tracker, make_fill("SELL", "105", "4"))
    assert [t.entry_fill.fill_id for t in trips] == [buys[2].fill_id, buys[4].fill_id, buys[0].fill_id]
    assert all(t.view is PairingView.LEVEL and t.gross_pnl > 0 for t in trips)
    assert [(lot.side, lot.price) for lot in tracker.level.open_lots] == [
        (Side.BUY, 107),
        (Side.BUY, 105),
        (Side.SELL, 105),
    ]
    (trip,) = record(tracker, make_fill("BUY", "104.9"))
    assert (trip.entry_fill.price, trip.gross_pnl) == (105, D("0.1"))


def test_average_round_trips_enter_at_the_mean_price() -> None:
    """Bought 1 at 100 and 2 at 103: an exit of 2 at 105 earns 2 * (105 - 102), and its entry is the position's."""
    tracker = FillTracker(LINEAR, view=PairingView.AVERAGE)
    first = make_fill("BUY", "100", "1", "0.1")
    (trip,) = record(tracker, first, make_fill("BUY", "103", "2", "0.2"), make_fill("SELL", "105", "2"))
    assert (trip.entry_fill.fill_id, trip.entry_fill.price, trip.entry_fill.quantity) == (first.fill_id, 102, 2)
    assert (trip.gross_pnl, trip.commission) == (6, D("0.2"))
    assert [(e.price, e.quantity, e.commission) for e in tracker.pending_entries["BTCUSDT"]] == [(102, 1, D("0.1"))]


def test_inverse_contracts_earn_base() -> None:
    """3 contracts of 100 USD from 50,000 to 40,000 lose 300 * (1/50,000 - 1/40,000) BTC, and the short earns it."""
    for entry, leaving, profit in (("BUY", "SELL", "-0.0015"), ("SELL", "BUY", "0.0015")):
        tracker = FillTracker(INVERSE)
        (trip,) = record(
            tracker,
            make_fill(entry, "50000", "3", "0.0001", symbol="BTCUSD_PERP", commission_asset="BTC"),
            make_fill(leaving, "40000", "3", symbol="BTCUSD_PERP", commission_asset="BTC"),
        )
        assert (trip.gross_pnl, trip.net_pnl) == (D(profit), D(profit) - D("0.0001"))
        assert tracker.fifo.realised == tracker.average.realised == D(profit)
    tracker = FillTracker(INVERSE)
    record(tracker, *(make_fill("BUY", p, symbol="BTCUSD_PERP") for p in ("30000", "60000")))
    (lot,) = tracker.average.open_lots
    assert lot.price == 40000  # harmonic: 200 USD for 1/300 + 1/600 BTC
    assert tracker.average.unrealised("80000") == D("0.0025")


def test_contract_size_multiplies_linear_profit() -> None:
    """A linear contract of 10 base units earns ten times the difference."""
    tracker = FillTracker(replace(LINEAR, contract=Contract.LINEAR, contract_size=D(10)))
    (trip,) = record(tracker, make_fill("BUY", "100", "0.5"), make_fill("SELL", "101", "0.5"))
    assert trip.gross_pnl == 5


def test_funding_accumulates_with_its_sign() -> None:
    """Received funding is positive; profit of the views does not move."""
    tracker = FillTracker(LINEAR)
    tracker.record_funding(1, "0.5")
    tracker.record_funding(2, D("-0.125"))
    assert tracker.funding == D("0.375")
    assert list(tracker.funding_payments) == [(1, D("0.5")), (2, D("-0.125"))]
    assert tracker.fifo.realised == 0


# --- what is refused -----------------------------------------------------------------------------------------------


def test_a_fill_that_comes_twice_is_booked_once() -> None:
    """After a reconnect the venue sends it again, and our own notes on it may be missing."""
    tracker, fill = FillTracker(LINEAR), make_fill("BUY", "100", "1", "0.1", policy="GRID")
    for again in (fill, replace(fill), replace(fill, price=D("100.0"), level_id="", policy="UNKNOWN")):
        assert tracker.record_fill(again) == ()
    assert (list(tracker.fills), tracker.inventory, tracker.commission) == ([fill], 1, D("0.1"))


def test_the_same_id_with_other_content_is_refused_and_both_are_kept() -> None:
    """The error names what differs, carries both fills and survives pickling; nothing is booked."""
    tracker, fill = FillTracker(LINEAR), make_fill("BUY", "100")
    tracker.record_fill(fill)
    other = replace(fill, price=D("100.5"), quantity=D(2))
    with pytest.raises(FillConflictError, match=r"price was 100, is 100\.5; quantity was 1, is 2") as caught:
        tracker.record_fill(other)
    assert isinstance(caught.value, DataError)
    assert (caught.value.recorded, caught.value.given) == (fill, other)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.recorded, copy.given, str(copy)) == (fill, other, str(caught.value))
    assert (list(tracker.fills), tracker.inventory) == ([fill], 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fill_id": ""}, "no fill_id"),
        ({"symbol": "ETHUSDT"}, "is of ETHUSDT, these books are of BTCUSDT"),
        ({"side": "LONG"}, "side is 'LONG'; write BUY or SELL"),
        ({"price": 100.5}, r"price is 100\.5; write a finite Decimal"),
        ({"quantity": D("NaN")}, "quantity is .*NaN.*; write a finite Decimal"),
        ({"quantity": D("-1")}, "quantity -1; both must be above zero"),
        ({"price": D(0)}, "price is 0"),
        ({"price": D("100.05")}, r'off the tick of 0\.1 of BTCUSDT; write "100" or "100\.1"'),
        ({"quantity": D("0.0005")}, r"off the lot of 0\.001"),
        ({"commission": D("0.1"), "commission_asset": ""}, r"commission of 0\.1 is paid in an unnamed asset; name it"),
        ({"commission": D("NaN"), "commission_asset": "BNB"}, "commission is .*NaN.*; write a finite Decimal"),
        (
            {"commission_rate": D(0), "commission_asset": "BNB"},
            "commission_rate is .*; write a finite Decimal above zero",
        ),
        ({"commission_rate": 612.4, "commission_asset": "BNB"}, r"commission_rate is 612\.4; write a finite Decimal"),
        ({"commission_rate": D(2)}, "commission_rate is 2 for a fee that is paid in USDT itself; write None"),
    ],
)
def test_a_fill_that_cannot_be_booked_changes_nothing(changes: dict[str, object], message: str) -> None:
    """Each refusal is a DataError that says what is wrong, and the books stay as they were."""
    tracker = FillTracker(LINEAR)
    with pytest.raises(DataError, match=message):
        tracker.record_fill(replace(make_fill("BUY", "100"), **changes))  # type: ignore[arg-type]
    assert (list(tracker.fills), tracker.inventory, tracker.commission) == ([], 0, 0)
    assert [book.open_lots for book in (tracker.average, tracker.fifo, tracker.level)] == [()] * 3


def test_a_fee_of_zero_may_name_any_asset() -> None:
    """Some venues name their own coin, or nothing, where no fee was taken."""
    tracker = FillTracker(LINEAR)
    tracker.record_fill(make_fill("BUY", "100", commission_asset="BNB"))
    assert tracker.inventory == 1


def test_the_repr_tells_the_story() -> None:
    """Counts, inventory, profit in each view, commission and funding, in plain numbers."""
    tracker = FillTracker(LINEAR)
    record(tracker, make_fill("BUY", "100", "1", "0.10"), make_fill("SELL", "101", "1", "0.10"))
    assert repr(tracker) == (
        "FillTracker(BTCUSDT: 2 fills, 1 round trips by fifo, inventory 0; "
        "realised average 1, fifo 1, level 1; commission 0.2, funding 0 USDT)"
    )
    assert repr(tracker.level) == "ProfitView(level: realised 1 USDT, inventory 0)"


# --- what it costs ---------------------------------------------------------------------------------------------------


def test_level_view_holds_prices_and_not_fills() -> None:
    """20,000 buys at 50 prices that nothing closes: 50 lots in the level view, unless round trips need the fills."""
    fills = [make_fill("BUY", str(100 + n % 50)) for n in range(20_000)]
    aside, main = FillTracker(LINEAR), FillTracker(LINEAR, view=PairingView.LEVEL)
    record(aside, *fills)
    record(main, *fills)
    assert (len(aside.level.open_lots), len(main.level.open_lots)) == (50, 20_000)
    closing = make_fill("SELL", "120", "5000")
    aside.record_fill(closing)
    assert len(main.record_fill(closing)) == 5000
    assert aside.level.realised == main.level.realised > 0
    assert aside.level.unrealised("99.95") == main.level.unrealised("99.95")


def test_the_cache_of_conversions_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is emptied when it is full, and the books do not notice."""
    monkeypatch.setattr("grinder_kit.execution.money._CACHED", 10)
    tracker = FillTracker(LINEAR)
    for n in range(95):
        tracker.record_fill(make_fill("BUY", str(LINEAR.price(1 + n % 50))))
    assert tracker.inventory == 95
    assert tracker.fifo.unrealised("0.1") == -(sum(range(50)) + sum(range(45))) * D("0.1")


# --- frames --------------------------------------------------------------------------------------------------------


def test_frames_keep_decimals_and_sum_exactly() -> None:
    """Scales come from tick and lot; a column's sum is the sum of the Decimals."""
    tracker = FillTracker(LINEAR)
    trips = record(
        tracker,
        make_fill("BUY", "100.5", "0.003", "0.10000001", level_id="B1"),
        make_fill("SELL", "100.6", "0.001", "0.00000001", level_id="S1"),
        make_fill("SELL", "101.5", "0.002", "-0.3", level_id="S2", is_maker=False),
    )
    fills = fills_frame(tracker.fills, LINEAR)
    assert fills.schema == {
        "fill_id": pl.String,
        "client_order_id": pl.String,
        "level_id": pl.String,
        "ts_ns": pl.Int64,
        "side": pl.Enum(["BUY", "SELL"]),
        "price": pl.Decimal(38, 1),
        "quantity": pl.Decimal(38, 3),
        "price_ticks": pl.Int64,
        "quantity_lots": pl.Int64,
        "commission": pl.Decimal(38, 12),
        "commission_asset": pl.String,
        "commission_settled": pl.Decimal(38, 12),
        "is_maker": pl.Boolean,
        "policy": pl.String,
    }
    assert fills["price_ticks"].to_list() == [1005, 1006, 1015]
    assert fills["quantity_lots"].to_list() == [3, 1, 2]
    assert fills["price"].to_list() == [fill.price for fill in tracker.fills]
    assert fills["client_order_id"].to_list() == [fill.order_id for fill in tracker.fills]
    assert fills["commission"].sum() == tracker.commission

    frame = round_trips_frame(trips, LINEAR)
    assert frame.columns == [
        "rt_id", "side", "entry_ts_ns", "exit_ts_ns", "hold_time_ms", "entry_price", "exit_price", "quantity",
        "gross_pnl", "commission", "net_pnl", "net_bps", "entry_level", "exit_level",
        "policy", "view", "fees_known",
    ]  # fmt: skip
    assert frame["gross_pnl"].sum() == tracker.fifo.realised == D("0.0021")
    assert frame["commission"].sum() == tracker.commission
    assert frame["net_pnl"].to_list() == [trip.net_pnl for trip in trips]
    assert frame["side"].to_list() == ["BUY", "BUY"]
    assert frame["view"].to_list() == ["fifo", "fifo"]
    assert frame["hold_time_ms"].to_list() == [1, 2]
    assert frame["exit_level"].to_list() == ["S1", "S2"]
    value = trips[1].entry_fill.price * trips[1].quantity
    assert frame["net_bps"][1] == pytest.approx(float(trips[1].net_pnl / value * 10_000), rel=1e-15)


def test_inverse_frames_have_18_decimals() -> None:
    """Base profit is rounded half to even at 18 decimals, and net_bps is relative to the entry's value in base."""
    tracker = FillTracker(INVERSE)
    trips = record(
        tracker,
        *(
            make_fill(side, p, symbol="BTCUSD_PERP", commission_asset="BTC")
            for side, p in (("BUY", "3"), ("SELL", "7"))
        ),
    )
    frame = round_trips_frame(trips, INVERSE)
    assert frame.schema["net_pnl"] == pl.Decimal(38, 18)
    assert frame["net_pnl"].to_list() == [D("19.047619047619047619")]
    assert frame["net_bps"][0] == pytest.approx((1 - 3 / 7) * 10_000)
    assert fills_frame(tracker.fills, INVERSE).schema["quantity"] == pl.Decimal(38, 0)


@pytest.mark.parametrize("instrument", [LINEAR, INVERSE])
def test_empty_frames_keep_their_columns(instrument: Instrument) -> None:
    """Nothing traded: no rows, the same schema, so that a concat works."""
    fill = make_fill("BUY", "100", "1", symbol=instrument.symbol)
    tracker = FillTracker(instrument)
    trips = record(tracker, fill, replace(fill, fill_id="x", side=Side.SELL, price=D(101)))
    for empty, full in (
        (fills_frame([], instrument), fills_frame([fill], instrument)),
        (round_trips_frame([], instrument), round_trips_frame(trips, instrument)),
    ):
        assert empty.is_empty()
        assert empty.schema == full.schema
        assert pl.concat([empty, full]).height == 1
