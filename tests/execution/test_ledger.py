"""The ledger and the identity: two independent sums of one profit."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.errors import DataError, IdentityError
from grinder_kit.execution.fill_tracker import FillTracker
from grinder_kit.execution.ledger import Identity, Ledger, check_identity
from grinder_kit.execution.money import EXACT
from grinder_kit.model.fill import Fill, PairingView
from grinder_kit.model.instrument import Contract, Instrument
from grinder_kit.model.order import Side

D = Decimal
LINEAR = Instrument(symbol="BTCUSDT", venue="binanceusdm", base="BTC", quote="USDT", tick=D("0.1"), lot=D("0.001"))
INVERSE = replace(LINEAR, symbol="BTCUSD_PERP", quote="USD", lot=D(1), contract=Contract.INVERSE, contract_size=D(100))
_ids = count(1)


def make_fill(
    side: str, price: str, quantity: str = "1", commission: str = "0", *, instrument: Instrument = LINEAR
) -> Fill:
    """Return a fill of its own id."""
    number = next(_ids)
    return Fill(
        fill_id=f"f{number}",
        order_id=f"o{number}",
        symbol=instrument.symbol,
        side=Side(side),
        price=D(price),
        quantity=D(quantity),
        commission=D(commission),
        commission_asset=instrument.settle,
        ts_ns=number,
        is_maker=True,
    )


def both(instrument: Instrument, *fills: Fill, view: PairingView = PairingView.FIFO) -> tuple[FillTracker, Ledger]:
    """Book fills in both."""
    tracker, ledger = FillTracker(instrument, view=view), Ledger(instrument)
    for fill in fills:
        tracker.record_fill(fill)
        ledger.apply(fill)
    return tracker, ledger


def test_linear_cash_and_inventory_by_hand() -> None:
    """Buy 2 at 100 for 0.1, sell 1 at 103, receive 0.5: at 101 that is worth 200 less paid, 103 in, 101 held."""
    _, ledger = both(LINEAR, make_fill("BUY", "100", "2", "0.1"), make_fill("SELL", "103"))
    ledger.funding("0.5")
    assert (ledger.cash, ledger.inventory, ledger.commission, ledger.received) == (-97, 1, D("0.1"), D("0.5"))
    assert ledger.equity("101") == D("4.4")


def test_inverse_cash_is_base() -> None:
    """5 contracts of 100 USD bought at 50,000 are worth 500 * (1/50,000 - 1/40,000) BTC at 40,000."""
    _, ledger = both(INVERSE, make_fill("BUY", "50000", "5", instrument=INVERSE))
    assert (ledger.cash, ledger.inventory) == (D("0.01"), 5)
    assert ledger.equity("40000") == D("-0.0025")


def test_contract_size_counts_in_both_books() -> None:
    """A linear contract of 0.01 base: the identity holds and equity is a hundredth."""
    instrument = replace(LINEAR, contract=Contract.LINEAR, contract_size=D("0.01"))
    tracker, ledger = both(instrument, make_fill("BUY", "100"))
    assert check_identity(tracker, ledger, "103").equity_change == D("0.03")


def test_the_identity_says_where_the_money_came_from() -> None:
    """Grid profit is what was paired at a profit, trend what the open lots have gained; nothing is left over."""
    tracker, ledger = both(
        LINEAR,
        make_fill("BUY", "100", "1", "0.04"),
        make_fill("BUY", "99", "1", "0.04"),
        make_fill("SELL", "100", "1", "0.04"),
    )
    tracker.record_funding(1, "-0.01")
    ledger.funding("-0.01")
    identity = check_identity(tracker, ledger, "97.55")
    assert identity == Identity(
        grid=D(1),
        trend=D("-2.45"),
        funding=D("-0.01"),
        commission=D("0.12"),
        equity_change=D("-1.58"),
        residual=D(0),
    )
    assert str(identity) == "grid 1 + trend -2.45 + funding -0.01 - commission 0.12 = -1.58"


def test_open_buys_and_open_sells_that_net_to_nothing_still_carry_trend() -> None:
    """Bought at 104 and sold at 102: no pair at a profit, no inventory, and 2 lost at any mark."""
    tracker, ledger = both(LINEAR, make_fill("BUY", "104"), make_fill("SELL", "102"))
    for mark in ("50", "5000"):
        identity = check_identity(tracker, ledger, mark)
        assert (identity.grid, identity.trend, identity.equity_change) == (0, -2, -2)


def test_doubling_one_fee_in_one_ledger_breaks_the_identity() -> None:
    """The message names both commissions, the terms and the residual."""
    fills = [make_fill("BUY", "100", "1", "0.04"), make_fill("SELL", "101", "1", "0.05")]
    tracker, ledger = FillTracker(LINEAR), Ledger(LINEAR)
    for fill in fills:
        tracker.record_fill(fill)
    ledger.apply(replace(fills[0], commission=D("0.08")))
    ledger.apply(fills[1])
    with pytest.raises(IdentityError) as caught:
        check_identity(tracker, ledger, "100")
    text = str(caught.value)
    for part in ("grid 1 + trend 0 + funding 0 - commission 0.09 = 0.91", "equity changed by 0.87 USDT",
                 "residual 0.04", "the ledger 0.13, 0, 0"):  # fmt: skip
        assert part in text


@pytest.mark.parametrize("instrument", [LINEAR, INVERSE])
@pytest.mark.parametrize("loss", ["fill", "price", "quantity", "funding", "side"])
def test_any_difference_between_the_books_breaks_the_identity(instrument: Instrument, loss: str) -> None:
    """A fill, a tick, a lot, a payment or a sign that one ledger has and the other has not is found."""
    tracker, ledger = both(instrument, make_fill("BUY", "60000", "2", instrument=instrument))
    fill = make_fill("SELL", "60000.1", "1", instrument=instrument)
    tracker.record_fill(fill)
    tracker.record_funding(1, "0.00000001")
    if loss != "funding":
        ledger.funding("0.00000001")
    changed = {
        "fill": None,
        "price": replace(fill, price=fill.price + instrument.tick),
        "quantity": replace(fill, quantity=fill.quantity + instrument.lot),
        "funding": fill,
        "side": replace(fill, side=Side.BUY),
    }[loss]
    if changed is not None:
        ledger.apply(changed)
    with pytest.raises(IdentityError):
        check_identity(tracker, ledger, "59000")


def test_a_ledger_books_an_id_once() -> None:
    """A fill repeated after a reconnect changes neither cash nor commission, and the caller is told."""
    ledger, fill = Ledger(LINEAR), make_fill("BUY", "100", "1", "0.1")
    assert [ledger.apply(fill), ledger.apply(fill)] == [True, False]
    assert (ledger.cash, ledger.inventory, ledger.commission) == (-100, 1, D("0.1"))
    assert repr(ledger) == "Ledger(BTCUSDT: cash -100, inventory 1, commission 0.1, funding 0)"


def test_a_ledger_refuses_what_it_cannot_count() -> None:
    """A fee in an unnamed asset, another symbol and a mark of zero are named errors, and nothing is booked."""
    ledger, fill = Ledger(LINEAR), make_fill("BUY", "100", "1", "0.1")
    with pytest.raises(DataError, match="paid in an unnamed asset"):
        ledger.apply(replace(fill, commission_asset=""))
    with pytest.raises(DataError, match="is of ETHUSDT"):
        ledger.apply(replace(fill, symbol="ETHUSDT"))
    with pytest.raises(DataError, match="mark is 0; it must be above zero"):
        ledger.equity(0)
    assert (ledger.cash, ledger.inventory, ledger.commission) == (0, 0, 0)


def test_cash_of_more_than_28_digits_stays_exact() -> None:
    """Where Python's default decimal context would round, the books do not: the residual is still nothing at all."""
    fine = replace(LINEAR, tick=D("1e-8"), lot=D("1e-8"))
    fills = [
        make_fill("BUY", "98765432.10000001", "123456789.00000001", "0.0000000000000001"),
        make_fill("SELL", "98765432.10000002", "123456788.00000003", "1000000000000"),
    ]
    tracker, ledger = both(fine, *fills)
    assert len(ledger.cash.as_tuple().digits) > 16
    identity = check_identity(tracker, ledger, "98765433.123456789123")
    assert identity.residual == 0
    assert tracker.level.realised == D("1.2345678800000003")


def test_inverse_books_close_far_inside_their_tolerance_after_many_fills() -> None:
    """5,000 fills at prices whose reciprocals never end: the residual stays below 1e-30."""
    fills = [
        make_fill(side, str(30000 + n % 977 + D(n % 7) / 10), str(1 + n % 3), "0.00000123", instrument=INVERSE)
        for n in range(2_500)
        for side in ("BUY", "SELL")
    ]
    tracker, ledger = both(INVERSE, *fills)
    assert abs(check_identity(tracker, ledger, "31234.56789").residual) < D("1e-30")


_fills = st.lists(
    st.tuples(
        st.sampled_from(["BUY", "SELL"]), st.integers(1, 10**7), st.integers(1, 10**6), st.integers(-(10**6), 10**9)
    ),
    max_size=30,
)
_marks = st.decimals("0.000001", "1000000", places=6)


@given(_fills, _marks, st.lists(st.decimals(-1000, 1000, places=8), max_size=3), st.sampled_from(PairingView))
def test_the_identity_is_exact_for_linear(
    sequence: list[tuple[str, int, int, int]], mark: Decimal, payments: list[Decimal], view: PairingView
) -> None:
    """Random fills, any mark on or off the tick, any main view: the residual is zero."""
    fills = [
        make_fill(side, str(LINEAR.price(ticks)), str(LINEAR.quantity(lots)), str(D(fee).scaleb(-8)))
        for side, ticks, lots, fee in sequence
    ]
    tracker, ledger = both(LINEAR, *fills, view=view)
    for payment in payments:
        tracker.record_funding(0, payment)
        ledger.funding(payment)
    identity = check_identity(tracker, ledger, mark)
    assert identity.residual == 0
    assert identity.equity_change == ledger.equity(mark)
    assert tracker.inventory == ledger.inventory


@given(_fills, _marks, st.sampled_from(PairingView))
def test_the_identity_holds_within_1e_18_for_inverse(
    sequence: list[tuple[str, int, int, int]], mark: Decimal, view: PairingView
) -> None:
    """Reciprocals are rounded, so two sums may differ, but never by as much as 1e-18 base."""
    fills = [
        make_fill(side, str(INVERSE.price(ticks)), str(lots), str(D(fee).scaleb(-8)), instrument=INVERSE)
        for side, ticks, lots, fee in sequence
    ]
    identity = check_identity(*both(INVERSE, *fills, view=view), mark)
    assert abs(identity.residual) <= D("1e-18")


@given(_fills, _marks)
def test_every_view_tells_the_same_equity(sequence: list[tuple[str, int, int, int]], mark: Decimal) -> None:
    """Cash is conserved: realised plus unrealised less commission is the ledger's equity in each view."""
    fills = [
        make_fill(side, str(LINEAR.price(ticks)), str(LINEAR.quantity(lots)), str(D(fee).scaleb(-8)))
        for side, ticks, lots, fee in sequence
    ]
    tracker, ledger = both(LINEAR, *fills)
    for view in (tracker.average, tracker.fifo, tracker.level):
        profit = EXACT.add(view.realised, view.unrealised(mark))
        assert EXACT.subtract(profit, tracker.commission) == ledger.equity(mark)
