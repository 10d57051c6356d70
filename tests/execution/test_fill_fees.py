"""Fees in base, quote and third assets: what they cost, what they leave of the position, and that the books close to the last digit."""

from __future__ import annotations

import logging
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.errors import IdentityError
from grinder_kit.execution.clock import run_stepped
from grinder_kit.execution.engine import ExecutionEngine
from grinder_kit.execution.fill_tracker import FillTracker
from grinder_kit.execution.frames import fills_frame
from grinder_kit.execution.journal import Journal, entries, journal_header, rebuild
from grinder_kit.execution.ledger import Ledger, check_identity
from grinder_kit.execution.money import EXACT, settled
from grinder_kit.execution.port import Epoch
from grinder_kit.execution.shell import Shell, guarded
from grinder_kit.model.config import Config, GridConfig
from grinder_kit.model.event import OrderFilled, Place, RunState, SetState, Tick
from grinder_kit.model.fill import Fill, PairingView
from grinder_kit.model.instrument import Contract, Instrument
from grinder_kit.model.order import Side
from grinder_kit.venue.simulated import SimulatedVenue
from tests.execution.fills import INVERSE, LINEAR, SPOT, D, make_fill, record
from tests.lab.laboratory import CAPABILITIES, LAB, LabMarket

CONFIG = Config(grid=GridConfig(spacing_bps=30, levels=3, size="0.06", recentre_bps=10))


def books(instrument: Instrument, *fills: Fill, view: PairingView = PairingView.FIFO) -> tuple[FillTracker, Ledger]:
    """Book fills in a tracker and in a ledger."""
    tracker, ledger = FillTracker(instrument, view=view), Ledger(instrument)
    for fill in fills:
        tracker.record_fill(fill)
        assert ledger.apply(fill)
    return tracker, ledger


# --- in the base of a spot instrument --------------------------------------------------------------------------------


def test_a_fee_in_base_is_commission_and_less_is_held() -> None:
    """0.1 % of 1 BTC at 100: 0.1 USDT of commission, and 0.999 BTC held; selling those leaves nothing, and 9.78011 earned."""
    tracker, ledger = books(SPOT, make_fill("BUY", "100", "1", "0.001", commission_asset="BTC"))
    assert (tracker.commission, tracker.inventory, ledger.inventory) == (D("0.1"), D("0.999"), D("0.999"))
    assert (ledger.cash, ledger.commission, tracker.taken_lots) == (-100, 0, 1)
    identity = check_identity(tracker, ledger, "110")
    # Ten won on the lot that was traded, and 0.11 - 0.1 missed on what the fee took of it.
    assert (identity.grid, identity.trend, identity.commission, identity.equity_change) == (
        0, D("9.99"), D("0.1"), D("9.89"),
    )  # fmt: skip
    leaving = make_fill("SELL", "110", "0.999", "0.10989")
    (trip,) = tracker.record_fill(leaving)
    ledger.apply(leaving)
    assert (trip.gross_pnl, trip.commission, trip.net_pnl) == (D("9.99"), D("0.20979"), D("9.78021"))
    assert (trip.entry_fill.commission, trip.entry_fill.commission_asset) == (D("0.0999"), "USDT")
    assert tracker.inventory == ledger.inventory == 0
    for mark in ("110", "5", "70000.05"):
        assert check_identity(tracker, ledger, mark).equity_change == D("9.78011"), "nothing is held: no mark moves it"


def test_dust_below_the_lot_is_held_and_cannot_be_sold() -> None:
    """0.1 % of one lot: 0.000999 BTC, which is no whole lot."""
    tracker, ledger = books(SPOT, make_fill("BUY", "100", "0.001", "0.000001", commission_asset="BTC"))
    assert (tracker.inventory, tracker.taken_lots) == (D("0.000999"), 1)
    assert tracker.fifo.open_lots[0].quantity == D("0.001"), "pairing goes on in whole lots"
    assert check_identity(tracker, ledger, "50").residual == 0


def test_a_rebate_in_base_adds_to_what_is_held() -> None:
    """A negative fee: a thousandth more is held, and commission is below zero."""
    tracker, ledger = books(SPOT, make_fill("BUY", "100", "1", "-0.001", commission_asset="BTC"))
    assert (tracker.commission, tracker.inventory, tracker.taken_lots) == (D("-0.1"), D("1.001"), -1)
    identity = check_identity(tracker, ledger, "110")
    assert (identity.trend, identity.equity_change) == (D("10.01"), D("10.11"))


def test_fees_in_base_that_cancel_out_leave_their_price_behind() -> None:
    """0.001 BTC paid at 100 and given back at 120: nothing is missing, and the fees came to 0.02 received."""
    tracker, ledger = books(
        SPOT,
        make_fill("BUY", "100", "1", "0.001", commission_asset="BTC"),
        make_fill("SELL", "120", "1", "-0.001", commission_asset="BTC"),
    )
    assert (tracker.commission, tracker.inventory) == (D("-0.02"), 0)
    assert check_identity(tracker, ledger, "77").equity_change == 20


def test_base_is_a_third_asset_for_a_linear_contract() -> None:
    """A contract holds no base of which a fee could be taken."""
    tracker, _ = books(LINEAR, make_fill("BUY", "100", "1", "0.001", commission_asset="BTC"))
    assert (tracker.inventory, tracker.commission, dict(tracker.unconverted)) == (1, 0, {"BTC": D("0.001")})


# --- in a third asset ------------------------------------------------------------------------------------------------


def test_commissions_of_several_assets_are_converted_and_never_added() -> None:
    """0.01 USDT and 0.001 BNB at 612.4 are 0.6224 USDT; the rate stands on the fill."""
    tracker, ledger = books(
        LINEAR,
        make_fill("BUY", "100", "1", "0.001", commission_asset="BNB", commission_rate=D("612.4")),
        make_fill("SELL", "101", "1", "0.01"),
    )
    assert tracker.commission == ledger.commission == D("0.6224")
    (trip,) = tracker.round_trips
    assert (trip.commission, trip.net_pnl, trip.fees_known) == (D("0.6224"), D("0.3776"), True)
    assert trip.commission == trip.entry_fill.commission + trip.exit_fill.commission
    assert (tracker.fills[0].commission, tracker.fills[0].commission_rate) == (D("0.001"), D("612.4"))
    assert check_identity(tracker, ledger, "101").equity_change == D("0.3776")
    frame = tracker.to_frame()
    assert frame["commission_asset"].to_list() == ["BNB", "USDT"]
    assert frame["commission_settled"].to_list() == [D("0.6124"), D("0.01")]


def test_a_converted_fee_is_rounded_to_the_scale_of_money() -> None:
    """12 decimals, and 18 for inverse contracts, halves to even: both books use the same figure."""
    third = {"commission_asset": "BNB", "commission_rate": D("0.0102030405060708091")}
    assert settled(make_fill("BUY", "100", "1", "0.001", **third), LINEAR) == D("0.000010203041")
    assert settled(make_fill("BUY", "100", "1", "0.001", **third), INVERSE) == D("0.000010203040506071")


def test_a_fee_that_nobody_can_convert_is_kept_apart_and_said() -> None:
    """The fill is booked, for it happened; the amount stands by its asset, and only the trips concerned say so."""
    tracker, ledger = books(
        LINEAR,
        make_fill("BUY", "100", "2", "0.001", commission_asset="BNB"),
        make_fill("SELL", "101", "1", "0.0005", commission_asset="BNB"),
        make_fill("SELL", "101", "1", "0.25", commission_asset="XYZ"),
        make_fill("BUY", "100", "1", "0.02"),
        make_fill("SELL", "101", "1", "0.03"),
    )
    assert dict(tracker.unconverted) == {"BNB": D("0.0015"), "XYZ": D("0.25")}
    assert tracker.commission == ledger.commission == D("0.05")
    assert [(trip.fees_known, trip.net_pnl) for trip in tracker.round_trips] == [
        (False, 1), (False, 1), (True, D("0.95")),
    ]  # fmt: skip
    assert "; fee of 0.0015 BNB not converted; fee of 0.25 XYZ not converted)" in repr(tracker)
    assert tracker.round_trips_frame()["fees_known"].to_list() == [False, False, True]
    assert fills_frame(tracker.fills, LINEAR)["commission_settled"].to_list()[:3] == [None] * 3
    assert check_identity(tracker, ledger, "101").residual == 0


def test_a_merged_position_remembers_that_a_fee_of_it_is_unknown() -> None:
    """By average cost, every exit of a position with such an entry says that it does not hold all."""
    tracker = FillTracker(LINEAR, view=PairingView.AVERAGE)
    trips = record(
        tracker,
        make_fill("BUY", "100", "1", "0.1"),
        make_fill("BUY", "100", "1", "0.001", commission_asset="BNB"),
        make_fill("SELL", "101"),
    )
    assert [(trip.fees_known, trip.commission) for trip in trips] == [(False, D("0.05"))]


def test_a_repeat_may_carry_another_rate() -> None:
    """The rate is ours, of the time of booking; what the venue says is the same."""
    fill = make_fill("BUY", "100", "1", "0.001", commission_asset="BNB", commission_rate=D("612.4"))
    tracker = FillTracker(LINEAR)
    tracker.record_fill(fill)
    assert tracker.record_fill(replace(fill, commission_rate=D(600))) == ()
    assert tracker.record_fill(replace(fill, commission_rate=None)) == ()
    assert tracker.commission == D("0.6124")


@pytest.mark.parametrize("asset", ["USDT", "BTC", "BNB"])
def test_a_fee_that_one_book_has_and_the_other_has_not_is_found(asset: str) -> None:
    """The ledger sums for itself: a fee that was forgotten there breaks the identity, whatever it was paid in."""
    fill = make_fill(
        "BUY", "100", "1", "0.001", commission_asset=asset, commission_rate=D(612) if asset == "BNB" else None
    )
    tracker, ledger = FillTracker(SPOT), Ledger(SPOT)
    tracker.record_fill(fill)
    ledger.apply(replace(fill, commission=D(0)))
    with pytest.raises(IdentityError):
        check_identity(tracker, ledger, "99")


# --- conservation ----------------------------------------------------------------------------------------------------

_fee = st.sampled_from(["settle", "base", "BNB", "BNB without a rate"])
_traded = st.tuples(
    st.sampled_from(Side), st.integers(1, 10**6), st.integers(1, 10**4), st.integers(-(10**5), 10**6), _fee
)
_instrument = st.sampled_from([SPOT, LINEAR, INVERSE, replace(LINEAR, contract_size=D("0.01"))])


def drawn(sequence: list[tuple[Side, int, int, int, str]], instrument: Instrument) -> list[Fill]:
    """Return drawn (side, ticks, lots, fee in 1e-8, what it is paid in) as fills."""
    return [
        make_fill(
            side, str(instrument.price(ticks)), str(instrument.quantity(lots)), str(D(fee).scaleb(-8)),
            symbol=instrument.symbol,
            commission_asset={"settle": instrument.settle, "base": instrument.base}.get(asset, "BNB"),
            commission_rate=D("612.345678") if asset == "BNB" else None,
        )
        for side, ticks, lots, fee, asset in sequence
    ]  # fmt: skip


@given(st.lists(_traded, max_size=30), _instrument, st.sampled_from(PairingView), st.decimals("0.01", 10**6, places=4))
def test_quantity_and_cash_are_conserved_whatever_fees_are_paid_in(
    sequence: list[tuple[Side, int, int, int, str]], instrument: Instrument, view: PairingView, mark: Decimal
) -> None:
    """Inventory is what was traded less what fees took; the identity holds, exactly or to 1e-18 (inverse), in every view."""
    fills = drawn(sequence, instrument)
    tracker, ledger = books(instrument, *fills, view=view)
    spot = instrument.contract is Contract.SPOT
    taken = sum((fill.commission for fill in fills if spot and fill.commission_asset == "BTC"), D(0))
    traded = sum((fill.quantity * fill.side.sign for fill in fills), D(0))
    assert tracker.inventory == ledger.inventory == traded - taken
    assert tracker.taken_lots == int(traded / instrument.lot) - int((traded - taken) / instrument.lot)

    tolerance = D("1e-18") if instrument.inverse else 0
    equity = check_identity(tracker, ledger, mark).equity_change
    for book in (tracker.average, tracker.fifo, tracker.level):
        profit = EXACT.add(book.realised, book.unrealised(mark))
        # A mean price has no finite decimal: in that view a cost may be a rounded one, of 24 decimals of a tick-lot.
        slack = D("1e-20") if book is tracker.average else 0
        assert abs(EXACT.subtract(EXACT.subtract(profit, tracker.commission), equity)) <= max(tolerance, slack)
    lost = sum((fill.commission for fill in fills if settled(fill, instrument) is None), D(0))
    assert sum(tracker.unconverted.values(), D(0)) == lost


@given(st.lists(_traded, max_size=30), _instrument, st.sampled_from(PairingView))
def test_every_fee_stands_in_one_round_trip_or_is_pending(
    sequence: list[tuple[Side, int, int, int, str]], instrument: Instrument, view: PairingView
) -> None:
    """Commission of the trips and of what is pending is all that could be converted, and so says each part."""
    tracker, _ = books(instrument, *drawn(sequence, instrument), view=view)
    pending = tracker.pending_entries[instrument.symbol]
    paid = D(0)
    for trip in tracker.round_trips:
        assert trip.commission == EXACT.add(trip.entry_fill.commission, trip.exit_fill.commission)
        assert trip.net_pnl == EXACT.subtract(trip.gross_pnl, trip.commission)
        paid = EXACT.add(paid, trip.commission)
    for entry in pending:
        paid = EXACT.add(paid, entry.commission)
    assert paid == tracker.commission


# --- in an engine and a session --------------------------------------------------------------------------------------


def test_exits_sell_no_more_than_fees_have_left() -> None:
    """Two buys of 10 lots, each less 0.1 %: 19 whole lots are held, and the way out sells those."""
    engine = ExecutionEngine(SPOT, Config(grid=GridConfig(spacing_bps=50, levels=3, size="0.010")))

    def filled(level: str, price: str, quantity: str, fee: str, asset: str) -> OrderFilled:
        return OrderFilled(
            client_order_id=f"gkr0-{level}-1", trade_id=level, price_ticks=SPOT.ticks(price), quantity_lots=SPOT.lots(quantity),
            commission=D(fee), commission_asset=asset, ts_ns=1, is_maker=True,
        )  # fmt: skip

    held = []
    for event in (
        filled("B1", "100", "0.010", "0.00001", "BTC"),
        filled("B2", "99", "0.010", "0.00001", "BTC"),
        filled("B2", "99", "0.010", "0.00001", "BTC"),  # it came twice
    ):
        engine.step(event, 1)
        held.append(engine.position.lots)
    assert held == [9, 19, 19] and engine.tracker.inventory == engine.ledger.inventory == D("0.01998")
    engine.step(SetState(state=RunState.FLATTENING), 2)
    (leaving,) = engine.step(Tick(bid_ticks=1000, ask_ticks=1001), 3)
    assert isinstance(leaving, Place)
    assert (leaving.quantity_lots, leaving.side, leaving.policy) == (19, Side.SELL, "EXIT")
    engine.step(replace(filled("S0", "100", "0.019", "0.0019", "USDT"), client_order_id=leaving.client_order_id), 4)
    assert (engine.position.lots, engine.tracker.inventory) == (0, D("0.00098"))
    assert check_identity(engine.tracker, engine.ledger, "100").residual == 0


def test_a_session_converts_fees_and_its_journal_keeps_the_rate(tmp_path: Path) -> None:
    """BNB at the rate of the moment; what has no rate is told once; a rebuilt engine has the same books to the last digit."""
    rates = {"BNB": D("612.4")}
    fill = make_fill(
        "BUY",
        str(LAB.price(900)),
        str(LAB.lot),
        "0.001",
        symbol=LAB.symbol,
        order_id="gkr0-B3-1",
        commission_asset="BNB",
    )

    async def session() -> ExecutionEngine:
        async with SimulatedVenue(LabMarket(2, 60), execution=CONFIG.execution, capabilities=CAPABILITIES) as venue:
            epoch, engine = Epoch(), ExecutionEngine(LAB, CONFIG)
            header = journal_header(LAB, CONFIG, "r0")
            with Journal.open(tmp_path / "r0.journal", header=header, ts_ns=venue.clock.now_ns()) as journal:
                port = guarded(venue, venue.clock, CONFIG.retry, epoch=epoch)
                shell = Shell(engine, port, venue, venue.clock, epoch=epoch, journal=journal, rates=rates.get)
                shell.hear(fill)
                rates["BNB"] = D(600)
                shell.hear(fill)  # it comes again, at another rate
                shell.hear(replace(fill, fill_id="second"))
                for number in range(3):
                    shell.hear(replace(fill, fill_id=f"xyz{number}", commission_asset="XYZ"))
                await shell.close()
            return engine

    engine = run_stepped(session())
    tracker = engine.tracker
    assert [one.commission_rate for one in tracker.fills] == [D("612.4"), D(600), None, None, None]
    assert (tracker.commission, dict(tracker.unconverted)) == (D("1.2124"), {"XYZ": D("0.003")})
    again = ExecutionEngine(LAB, CONFIG)
    rebuild(entries(tmp_path / "r0.journal"), again)
    assert again.digest() == engine.digest() and list(again.tracker.fills) == list(tracker.fills)
    assert again.tracker.commission == tracker.commission


@pytest.mark.parametrize(
    ("rates", "words"),
    [
        (None, "its rate is unknown:"),
        ({}.get, "its rate is unknown:"),
        ({"BNB": D(0), "XYZ": D(-1)}.get, "its rate is unknown (the rate is "),
        ({"BNB": 612.4, "XYZ": D("NaN")}.get, "its rate is unknown (ConfigError: "),
        (lambda asset: {}[asset], "its rate is unknown (KeyError: "),
    ],
)
def test_a_rate_that_is_missing_is_told_once_and_the_fill_is_booked(
    rates: Any, words: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No source, no rate, no number, a source that fails: one warning an asset, in log and journal, not one a fill."""
    fill = make_fill("BUY", str(LAB.price(900)), str(LAB.lot), "1", symbol=LAB.symbol, order_id="gkr0-B3-1")

    async def session() -> None:
        async with SimulatedVenue(LabMarket(2, 60), execution=CONFIG.execution, capabilities=CAPABILITIES) as venue:
            epoch, engine = Epoch(), ExecutionEngine(LAB, CONFIG)
            header = journal_header(LAB, CONFIG, "r0")
            with Journal.open(tmp_path / "r0.journal", header=header, ts_ns=venue.clock.now_ns()) as journal:
                port = guarded(venue, venue.clock, CONFIG.retry, epoch=epoch)
                shell = Shell(engine, port, venue, venue.clock, epoch=epoch, journal=journal, rates=rates)
                for number, asset in enumerate(("BNB", "BNB", "XYZ", "BNB", LAB.settle)):
                    shell.hear(replace(fill, fill_id=str(number), commission_asset=asset))
                await shell.close()
            assert shell.failure is None
            assert dict(engine.tracker.unconverted) == {"BNB": 3, "XYZ": 1} and engine.tracker.fill_count == 5

    with caplog.at_level(logging.WARNING):
        run_stepped(session())
    told = [record.getMessage() for record in caplog.records if words in record.getMessage()]
    assert [text.split(",")[0] for text in told] == ["fees are paid in BNB", "fees are paid in XYZ"]
    notes = [str(entry.body) for entry in entries(tmp_path / "r0.journal") if entry.kind == "note"]
    assert sum("its rate is unknown" in note for note in notes) == 2
