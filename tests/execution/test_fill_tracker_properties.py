"""FillTracker under random fills: against a slow reference, and what must hold whatever was traded."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.execution.fill_tracker import FillTracker
from grinder_kit.execution.money import EXACT, split
from grinder_kit.model.fill import Fill, PairingView, RoundTrip
from grinder_kit.model.instrument import Contract, Instrument
from grinder_kit.model.order import Side
from tests.execution.fills import INVERSE, LINEAR, D, make_fill, record

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
