"""FillTracker and its three views, against the exchange, against sums done by hand, and against a slow reference."""

from __future__ import annotations

import csv
import pickle
from collections import defaultdict
from dataclasses import replace
from decimal import ROUND_DOWN, Decimal
from fractions import Fraction
from itertools import count
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.errors import DataError
from grinder_kit.execution.fill_tracker import FillConflictError, FillTracker
from grinder_kit.execution.frames import fills_frame, round_trips_frame
from grinder_kit.execution.money import EXACT, split
from grinder_kit.model.fill import Fill, PairingView, RoundTrip
from grinder_kit.model.instrument import Contract, Instrument
from grinder_kit.model.order import Side

D = Decimal
LINEAR = Instrument(symbol="BTCUSDT", venue="binanceusdm", base="BTC", quote="USDT", tick=D("0.1"), lot=D("0.001"))
INVERSE = Instrument(
    symbol="BTCUSD_PERP",
    venue="binancecoinm",
    base="BTC",
    quote="USD",
    tick=D("0.1"),
    lot=D(1),
    contract=Contract.INVERSE,
    contract_size=D(100),
)
_ids = count(1)


def make_fill(side: str, price: str, quantity: str = "1", commission: str = "0", **changes: object) -> Fill:
    """Return a fill of its own id, one millisecond after the last one."""
    number = next(_ids)
    values: dict[str, object] = {
        "fill_id": f"f{number}",
        "order_id": f"o{number}",
        "symbol": "BTCUSDT",
        "side": Side(side),
        "price": D(price),
        "quantity": D(quantity),
        "commission": D(commission),
        "commission_asset": "USDT",
        "ts_ns": number * 1_000_000,
        "is_maker": True,
        "level_id": f"{side[0]}{number}",
    }
    return Fill(**(values | changes))  # type: ignore[arg-type]


def record(tracker: FillTracker, *fills: Fill) -> list[RoundTrip]:
    """Book fills and return all round trips."""
    return [trip for fill in fills for trip in tracker.record_fill(fill)]


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
        ({"commission": D("0.1"), "commission_asset": "BNB"}, "paid in BNB, and profit of BTCUSDT is counted in USDT"),
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


# --- properties ----------------------------------------------------------------------------------------------------

_fill = st.tuples(
    st.sampled_from([Side.BUY, Side.SELL]), st.integers(1, 40), st.integers(1, 7), st.integers(-(10**6), 10**8)
)
_sequences = st.lists(_fill, max_size=40)
_instruments = st.sampled_from([LINEAR, INVERSE, replace(LINEAR, contract=Contract.LINEAR, contract_size=D("0.01"))])


def fills_of(sequence: list[tuple[Side, int, int, int]], instrument: Instrument) -> list[Fill]:
    """Return drawn (side, ticks, lots, fee in 1e-8) as fills."""
    return [
        make_fill(
            side,
            str(instrument.price(ticks)),
            str(instrument.quantity(lots)),
            str(D(fee).scaleb(-8)),
            symbol=instrument.symbol,
            commission_asset=instrument.settle,
        )
        for side, ticks, lots, fee in sequence
    ]


def reference(fills: list[Fill], instrument: Instrument) -> dict[str, Fraction]:
    """Return realised profit per view: slow lists and fractions, straight from the words of the rules."""

    def unit(fill: Fill) -> Fraction:
        price, size = Fraction(fill.price), Fraction(instrument.contract_size)
        return -size / price if instrument.inverse else size * price

    realised = {"average": Fraction(0), "fifo": Fraction(0), "level": Fraction(0)}
    position, cost = Fraction(0), Fraction(0)
    queues: dict[str, list[list[Fraction]]] = {"fifo": [], "level": []}  # each entry: sign, unit, quantity
    for fill in fills:
        sign, at, quantity = Fraction(fill.side.sign), unit(fill), Fraction(fill.quantity)
        closing = min(quantity, abs(position)) if position * sign < 0 else Fraction(0)
        if closing:
            mean = cost / position
            realised["average"] += -sign * closing * (at - mean)
            cost += sign * closing * mean
        position += sign * quantity
        cost += sign * (quantity - closing) * at
        for name, queue in queues.items():
            left = quantity
            entries = [entry for entry in queue if entry[0] == -sign]
            if name == "level":
                profitable = [entry for entry in entries if -sign * (at - entry[1]) > 0]
                entries = sorted(profitable, key=lambda entry: sign * entry[1])
            for entry in entries:
                taken = min(left, entry[2])
                realised[name] += taken * entry[0] * (at - entry[1])
                entry[2] -= taken
                left -= taken
            queue[:] = [entry for entry in queue if entry[2]]
            if left:
                queue.append([sign, at, left])
    return realised


@given(_sequences, _instruments, st.sampled_from(PairingView))
def test_every_view_earns_what_the_slow_reference_says(
    sequence: list[tuple[Side, int, int, int]], instrument: Instrument, view: PairingView
) -> None:
    """FIFO and level are exact for linear, average to 1e-20; inverse to 1e-30; whatever the main view."""
    fills = fills_of(sequence, instrument)
    tracker = FillTracker(instrument, view=view)
    record(tracker, *fills)
    expected = reference(fills, instrument)
    for name, book in (("average", tracker.average), ("fifo", tracker.fifo), ("level", tracker.level)):
        error = abs(Fraction(book.realised) - expected[name])
        if instrument.inverse:
            assert error < Fraction(1, 10**30)
        else:
            assert error <= (Fraction(1, 10**20) if name == "average" else 0)


@given(_sequences, _instruments, st.sampled_from([PairingView.FIFO, PairingView.LEVEL]))
def test_parts_of_a_fill_add_up_to_it(
    sequence: list[tuple[Side, int, int, int]], instrument: Instrument, view: PairingView
) -> None:
    """Quantity and commission of each fill are the sums over its round trips and what is pending, to the last digit."""
    fills = fills_of(sequence, instrument)
    tracker = FillTracker(instrument, view=view)
    trips = record(tracker, *fills)
    quantity: defaultdict[str, Decimal] = defaultdict(Decimal)
    commission: defaultdict[str, Decimal] = defaultdict(Decimal)
    parts = [part for trip in trips for part in (trip.entry_fill, trip.exit_fill)]
    for part in parts + tracker.pending_entries[instrument.symbol]:
        quantity[part.fill_id] += part.quantity
        commission[part.fill_id] += part.commission
    assert quantity == {fill.fill_id: fill.quantity for fill in fills}
    assert commission == {fill.fill_id: fill.commission for fill in fills}
    assert all(trip.entry_fill.quantity == trip.exit_fill.quantity for trip in trips)
    assert all(trip.entry_fill.side is trip.exit_fill.side.opposite for trip in trips)
    assert len({trip.rt_id for trip in trips}) == len(trips)


@given(_sequences, _instruments, st.sampled_from(PairingView))
def test_round_trips_carry_all_profit_and_all_commission(
    sequence: list[tuple[Side, int, int, int]], instrument: Instrument, view: PairingView
) -> None:
    """Gross profit of the round trips is what the view realised; their commission and that of pending entries is all of it."""
    fills = fills_of(sequence, instrument)
    tracker = FillTracker(instrument, view=view)
    trips = record(tracker, *fills)
    book = {"average": tracker.average, "fifo": tracker.fifo, "level": tracker.level}[view]
    gross = commission = net = D(0)
    for trip in trips:
        gross, commission = EXACT.add(gross, trip.gross_pnl), EXACT.add(commission, trip.commission)
        net = EXACT.add(net, trip.net_pnl)
    assert gross == book.realised
    assert EXACT.subtract(gross, commission) == net
    pending = tracker.pending_entries[instrument.symbol]
    assert EXACT.add(commission, sum((e.commission for e in pending), D(0))) == tracker.commission
    held = sum((e.quantity * e.side.sign for e in pending), D(0))
    assert held == tracker.inventory == sum((f.quantity * f.side.sign for f in fills), D(0))


@given(_sequences, _instruments)
def test_the_running_sums_are_those_of_the_open_lots(
    sequence: list[tuple[Side, int, int, int]], instrument: Instrument
) -> None:
    """Inventory and unrealised profit, kept as running sums, are what a count of the open lots gives."""
    tracker = FillTracker(instrument)
    record(tracker, *fills_of(sequence, instrument))
    mark, size = Fraction("3.33"), Fraction(instrument.contract_size)
    for book in (tracker.fifo, tracker.level):
        lots = [(lot.side.sign * Fraction(lot.quantity), Fraction(lot.price)) for lot in book.open_lots]
        assert sum(quantity for quantity, _ in lots) == Fraction(book.inventory)
        if instrument.inverse:
            worth = sum(quantity * size * (1 / price - 1 / mark) for quantity, price in lots)
        else:
            worth = sum(quantity * size * (mark - price) for quantity, price in lots)
        assert abs(worth - Fraction(book.unrealised("3.33"))) <= (Fraction(1, 10**30) if instrument.inverse else 0)


@given(_sequences, st.data())
def test_repeats_anywhere_change_nothing(sequence: list[tuple[Side, int, int, int]], data: st.DataObject) -> None:
    """A stream with repeated fills gives the same books as the stream without them."""
    fills = fills_of(sequence, LINEAR)
    plain, noisy = FillTracker(LINEAR), FillTracker(LINEAR)
    trips = record(plain, *fills)
    again: list[RoundTrip] = []
    for index, fill in enumerate(fills):
        again += noisy.record_fill(fill)
        repeated = data.draw(st.integers(0, index))
        assert noisy.record_fill(replace(fills[repeated])) == ()
    assert again == trips
    assert repr(noisy) == repr(plain)


@given(_sequences, _instruments)
def test_level_pairing_never_realises_a_loss(
    sequence: list[tuple[Side, int, int, int]], instrument: Instrument
) -> None:
    """Every round trip by level earns before commission, and nothing that could still be paired at a profit stays open."""
    tracker = FillTracker(instrument, view=PairingView.LEVEL)
    assert all(trip.gross_pnl > 0 for trip in record(tracker, *fills_of(sequence, instrument)))
    buys = [lot.price for lot in tracker.level.open_lots if lot.side is Side.BUY]
    sells = [lot.price for lot in tracker.level.open_lots if lot.side is Side.SELL]
    assert buys == sorted(buys, reverse=True)
    assert sells == sorted(sells)
    assert not buys or not sells or min(buys) >= max(sells)


@given(st.integers(-(10**12), 10**12), st.lists(st.integers(1, 1000), min_size=1, max_size=20))
def test_a_commission_is_split_without_loss(units: int, parts: list[int]) -> None:
    """Parts lie on the quantum, near their share, and the last one makes the sum exact even if the fee is finer."""
    commission, quantum = D(units).scaleb(-14), D("1e-12")
    left, lots, shares = commission, sum(parts), []
    for part in parts:
        share = split(left, part, lots, quantum)
        shares.append(share)
        left, lots = left - share, lots - part
    assert sum(shares) == commission
    assert all(
        abs(Fraction(share) - Fraction(commission) * part / sum(parts)) <= len(parts) * Fraction(quantum)
        for share, part in zip(shares, parts, strict=True)
    )


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
        "is_maker": pl.Boolean,
    }
    assert fills["price_ticks"].to_list() == [1005, 1006, 1015]
    assert fills["quantity_lots"].to_list() == [3, 1, 2]
    assert fills["price"].to_list() == [fill.price for fill in tracker.fills]
    assert fills["client_order_id"].to_list() == [fill.order_id for fill in tracker.fills]
    assert fills["commission"].sum() == tracker.commission

    frame = round_trips_frame(trips, LINEAR)
    assert frame.columns == [
        "rt_id", "side", "entry_ts_ns", "exit_ts_ns", "hold_time_ms", "entry_price", "exit_price", "quantity",
        "gross_pnl", "commission", "net_pnl", "net_bps", "entry_level", "exit_level", "view",
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
