"""PositionSyncer: what is drift is told with its size, and what is none (fills under way, dust, a failed question) is not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.errors import ConfigError, ConnectivityError, GrinderError
from grinder_kit.execution.alerts import AlertManager
from grinder_kit.execution.clock import run_stepped
from grinder_kit.execution.fill_tracker import FillTracker
from grinder_kit.execution.port import Balance
from grinder_kit.execution.position_syncer import PositionReportError, PositionSyncer
from grinder_kit.model.fill import Fill, Position, PositionDiff, SyncAction
from grinder_kit.model.instrument import Contract, Instrument
from grinder_kit.model.order import OrderRequest, OrderType, Side
from grinder_kit.venue.simulated import SimulatedVenue
from tests.lab.laboratory import LAB, LabMarket

D = Decimal
S = 1_000_000_000
NOW = 1_700_000_000 * S
PERP = Instrument(
    symbol="BTCUSDT", venue="v", base="BTC", quote="USDT", contract=Contract.LINEAR, tick=D("0.1"), lot=D("0.001")
)
SPOT = replace(PERP, contract=Contract.SPOT)


class Account:
    """An account that says what the test puts into it; `during` happens while it is asked for positions."""

    def __init__(self) -> None:
        self.positions: dict[str, Position] = {}
        self.balances: dict[str, Balance] = {}
        self.fills: list[Fill] = []
        self.failing: set[str] = set()
        self.during: list[Any] = []

    def hold(self, quantity: str | Decimal, symbol: str = "BTCUSDT", **more: Any) -> None:
        """Hold a position."""
        self.positions[symbol] = Position(symbol=symbol, quantity=D(quantity), **more)

    def trade(self, quantity: str | Decimal, **changes: Any) -> Fill:
        """Trade a signed quantity, which the position follows."""
        side, size = (Side.BUY if D(quantity) > 0 else Side.SELL), abs(D(quantity))
        values: dict[str, Any] = {
            "fill_id": f"t{len(self.fills)}", "order_id": "o", "symbol": "BTCUSDT", "side": side, "price": D(60_000),
            "quantity": size, "commission": D(0), "commission_asset": "USDT", "ts_ns": NOW + len(self.fills),
            "is_maker": True, **changes,
        }  # fmt: skip
        fill = Fill(**values)
        self.fills.append(fill)
        held = self.positions.get("BTCUSDT", Position(symbol="BTCUSDT", quantity=D(0)))
        self.positions["BTCUSDT"] = replace(held, quantity=held.quantity + size * side.sign)
        return fill

    def _asked(self, what: str) -> None:
        if what in self.failing:
            raise ConnectivityError(f"{what}: connection refused")

    async def get_positions(self) -> Mapping[str, Position]:
        """Return the positions as they are now; other things happen then."""
        self._asked("positions")
        held = dict(self.positions)
        for do in self.during:
            do()
        return held

    async def get_balances(self) -> Mapping[str, Balance]:
        """Return the balances."""
        self._asked("balances")
        return dict(self.balances)

    async def get_fills(self, symbol: str, *, since_ns: int = 0, order_id: str | None = None) -> tuple[Fill, ...]:
        """Return the trades."""
        self._asked("fills")
        return tuple(fill for fill in self.fills if fill.ts_ns >= since_ns and fill.symbol == symbol)


class Desk:
    """A syncer on an account, and a clock in the hands of the test."""

    def __init__(self, *instruments: Instrument, **options: Any) -> None:
        self.account, self.now = Account(), NOW
        self.alerts = AlertManager(lambda: self.now)
        self.syncer = PositionSyncer(
            self.account,  # type: ignore[arg-type]
            *(instruments or (PERP,)),
            alert_manager=self.alerts, now_ns=lambda: self.now, **options,
        )  # fmt: skip

    def sync(self) -> dict[str, PositionDiff]:
        """Look once, a second later."""
        self.now += S
        return asyncio.run(self.syncer.sync())

    def reconcile(self) -> None:
        """Look once, and reconcile what was found."""
        for diff in self.sync().values():
            asyncio.run(self.syncer.reconcile(diff))

    def local(self, symbol: str = "BTCUSDT") -> Decimal:
        """Return what the syncer believes."""
        return self.syncer.local_positions[symbol].quantity

    @property
    def told(self) -> list[str]:
        """The messages of all alerts."""
        return [alert.message for alert in self.alerts.alerts]


# --- the specification's traps -----------------------------------------------------------------------------------------


def test_a_position_that_only_the_exchange_knows_is_a_difference() -> None:
    """With both quantities, and the sign of what is there and was not expected."""
    desk = Desk()
    desk.account.hold("-0.5", entry_price=D(60_000))
    assert desk.sync() == {
        "BTCUSDT": PositionDiff(
            symbol="BTCUSDT", local_qty=D(0), exchange_qty=D("-0.5"), diff=D("-0.5"), action=SyncAction.RECONCILE,
            notional=D(30_000),
        )
    }  # fmt: skip
    assert desk.syncer.last_sync_ns == desk.now and desk.syncer.last_sync_ts == desk.now // 1_000_000


def test_a_symbol_absent_at_the_exchange_is_flat() -> None:
    """What we believe to hold and the venue does not name is missing there, all of it."""
    desk = Desk()
    desk.account.hold("0.5")
    desk.reconcile()
    desk.account.positions.clear()
    (diff,) = desk.sync().values()
    assert (diff.local_qty, diff.exchange_qty, diff.diff, diff.action) == (D("0.5"), 0, D("-0.5"), "RECONCILE")


def test_the_local_value_stays_until_the_difference_is_reconciled() -> None:
    """However often it is looked at; and then it is the venue's, entry price included."""
    desk = Desk()
    desk.account.hold("0.5", entry_price=D(61_000))
    assert desk.sync() == desk.sync() != {}
    assert "BTCUSDT" not in desk.syncer.local_positions
    desk.reconcile()
    assert desk.syncer.local_positions["BTCUSDT"] == Position(
        symbol="BTCUSDT", quantity=D("0.5"), entry_price=D(61_000)
    )
    assert desk.sync() == {}


@pytest.mark.parametrize(
    ("held", "steps", "notional", "action"),
    [
        ("0.001", 1, "0", "RECONCILE"), ("0.0009", 1, "0", "IGNORE"), ("-0.001", 1, "0", "RECONCILE"),
        ("0.004", 5, "0", "IGNORE"), ("0.005", 5, "0", "RECONCILE"), ("100", 1, "6000000.1", "IGNORE"),
        ("100", 1, "6000000", "RECONCILE"), ("0.005", 5, "301", "IGNORE"), ("0.005", 5, "300", "RECONCILE"),
    ],
)  # fmt: skip
def test_thresholds_are_lots_and_quote(held: str, steps: int, notional: str, action: str) -> None:
    """A difference counts from so many lots, and so much quote, on; no number stands for every coin."""
    desk = Desk(drift_steps=steps, drift_notional=notional, price=lambda symbol: D(60_000))
    desk.account.hold(held)
    (diff,) = desk.sync().values()
    assert diff.action == action and diff.notional == abs(D(held)) * 60_000


def test_without_a_price_a_difference_counts() -> None:
    """What it is worth cannot be known, and is not taken for little."""
    desk = Desk(drift_notional="1000000")
    desk.account.hold("0.001")
    (diff,) = desk.sync().values()
    assert (diff.notional, diff.action) == (None, "RECONCILE")


def test_small_differences_are_not_forgotten_and_count_once_they_add_up() -> None:
    """A drift of one lot at a time is noticed at the fifth; before, nothing of it was taken over."""
    desk = Desk(drift_steps=5)
    actions = []
    for lots in range(1, 7):
        desk.account.hold(PERP.quantity(lots))
        (diff,) = desk.sync().values()
        asyncio.run(desk.syncer.reconcile(diff))
        actions.append((diff.action.value, diff.diff))
    assert actions[:5] == [("IGNORE", PERP.quantity(n)) for n in range(1, 5)] + [("RECONCILE", D("0.005"))]
    assert actions[5] == ("IGNORE", D("0.001")), "from then on the rest"


@pytest.mark.parametrize("instruments", [(PERP,), ()])
def test_zero_rows_are_no_differences(instruments: tuple[Instrument, ...]) -> None:
    """A venue that lists every symbol with a position of zero says that all is flat."""
    desk = Desk(*instruments)
    for symbol in ("BTCUSDT", "ETHUSDT", "XRPUSDT"):
        desk.account.hold("0E-8", symbol)
    assert desk.sync() == {}


def test_without_instruments_every_symbol_of_either_side_is_compared() -> None:
    """And each difference counts, since no step is known."""
    desk = Desk()
    desk.syncer = PositionSyncer(desk.account, now_ns=lambda: desk.now)  # type: ignore[arg-type]
    desk.account.hold("0.0001")
    desk.account.hold("7", "ETHUSDT")
    assert {symbol: (diff.diff, diff.action) for symbol, diff in desk.sync().items()} == {
        "BTCUSDT": (D("0.0001"), "RECONCILE"),
        "ETHUSDT": (D(7), "RECONCILE"),
    }


def test_a_symbol_of_somebody_else_is_passed_over() -> None:
    """A syncer that was given instruments compares them and no others."""
    desk = Desk()
    desk.account.hold("7", "ETHUSDT")
    assert desk.sync() == {}


def test_two_legs_of_a_hedged_position_are_refused_and_not_added_up() -> None:
    """A long of 2 and a short of 2 are not flat: the error names the mode and what to do, and nothing is taken over."""
    desk = Desk()
    for side, quantity in (("LONG", D(2)), ("SHORT", D(-2))):
        desk.account.positions[f"BTCUSDT {side}"] = Position(symbol="BTCUSDT", quantity=quantity)
    with pytest.raises(PositionReportError, match="hedge mode has two legs a symbol.*one-way mode"):
        desk.sync()
    assert desk.syncer.last_sync_ns == 0 and len(desk.told) == 1


@pytest.mark.parametrize(("what", "instrument"), [("positions", PERP), ("fills", PERP), ("balances", SPOT)])
def test_a_failed_question_means_unknown_and_never_flat(what: str, instrument: Instrument) -> None:
    """It raises, is told, and leaves everything as it was: quantity, time of the last comparison, what it found."""
    desk = Desk(instrument)
    desk.account.hold("0.5")
    desk.account.balances["BTC"] = Balance(asset="BTC", free=D("0.5"), total=D("0.5"))
    desk.reconcile()
    before = desk.syncer.last_sync_ns, dict(desk.syncer.local_positions), dict(desk.syncer.diffs)
    desk.account.failing.add(what)
    with pytest.raises(ConnectivityError):
        desk.sync()
    assert (desk.syncer.last_sync_ns, desk.syncer.local_positions, desk.syncer.diffs) == before
    assert desk.told[-1].startswith("positions are not known") and desk.local() == D("0.5")


@given(
    told=st.lists(st.integers(-3, 3).filter(bool), max_size=5),
    silent=st.lists(st.integers(-3, 3).filter(bool), max_size=5),
    meanwhile=st.lists(st.tuples(st.integers(-3, 3).filter(bool), st.booleans()), max_size=5),
)
def test_fills_in_flight_are_no_drift(told: list[int], silent: list[int], meanwhile: list[tuple[int, bool]]) -> None:
    """Whatever was told, was not, or happens while the venue is asked (told in time or not): no difference, all booked."""
    desk = Desk()
    for lots in told:
        desk.syncer.record_fill(desk.account.trade(PERP.quantity(lots)))
    for lots in silent:
        desk.account.trade(PERP.quantity(lots))

    def happen() -> None:
        for lots, is_told in meanwhile:
            fill = desk.account.trade(PERP.quantity(lots))
            if is_told:
                desk.syncer.record_fill(fill)

    desk.account.during.append(happen)
    assert desk.sync() == {}
    total = sum(told) + sum(silent) + sum(lots for lots, _ in meanwhile)
    held = desk.syncer.local_positions.get("BTCUSDT")
    assert (D(0) if held is None else held.quantity) == PERP.quantity(total)


@given(
    lots=st.integers(-5, 5).filter(bool),
    told=st.lists(st.integers(-3, 3).filter(bool), max_size=5),
    silent=st.lists(st.integers(-3, 3).filter(bool), max_size=5),
)
def test_drift_is_found_whole_once_nothing_is_in_flight(lots: int, told: list[int], silent: list[int]) -> None:
    """Fills that were missed in the same time are booked and not counted as drift; the second look is sure."""
    desk = Desk()
    for one in told:
        desk.syncer.record_fill(desk.account.trade(PERP.quantity(one)))
    for one in silent:
        desk.account.trade(PERP.quantity(one))
    held = desk.account.positions.get("BTCUSDT", Position(symbol="BTCUSDT", quantity=D(0)))
    desk.account.hold(held.quantity + PERP.quantity(lots))
    desk.sync()
    (diff,) = desk.sync().values()
    assert diff.diff == PERP.quantity(lots)


def test_spot_is_compared_by_balance_with_what_open_orders_hold() -> None:
    """A balance that an order has locked is still held; no position is asked for."""
    desk = Desk(SPOT)
    desk.account.failing.add("positions")
    desk.account.balances["BTC"] = Balance(asset="BTC", free=D("0.1"), total=D("0.5"))
    desk.reconcile()
    assert desk.local() == D("0.5")
    desk.account.balances["BTC"] = Balance(asset="BTC", free=D(0), total=D("0.5"))
    assert desk.sync() == {}
    desk.account.balances.clear()
    (diff,) = desk.sync().values()
    assert diff.diff == D("-0.5"), "an asset that is not listed is not held"


def test_a_fee_in_the_base_asset_is_no_drift() -> None:
    """On spot a buy adds its quantity less the fee that was taken from it, and a sell takes both."""
    desk = Desk(SPOT)
    fee = {"commission": D("0.0000005"), "commission_asset": "BTC"}
    desk.syncer.record_fill(desk.account.trade("0.002", **fee))
    desk.account.trade("-0.001", **fee)
    desk.account.balances["BTC"] = Balance(asset="BTC", free=D(0), total=D("0.000999"))
    assert desk.sync() == {} and desk.local() == D("0.000999")


def test_missing_fills_are_booked_from_the_venues_trades_once() -> None:
    """Here and, by `on_fill`, in the books of whoever wants to know."""
    tracker = FillTracker(PERP)
    desk = Desk(on_fill=tracker.record_fill)
    desk.account.trade("0.5")
    desk.account.trade("-0.2")
    assert desk.sync() == desk.sync() == {}
    assert tracker.inventory == desk.local() == D("0.3") and len(tracker.fills) == 2
    assert not desk.syncer.record_fill(desk.account.fills[0]) and desk.local() == D("0.3")


def test_trades_from_before_it_was_made_are_not_its_own() -> None:
    """They are in the position that it finds."""
    desk = Desk()
    desk.account.trade("0.5", ts_ns=NOW - 5 * S)
    (diff,) = desk.sync().values()
    assert diff.diff == D("0.5")


def test_reconcile_keeps_what_was_filled_since_the_look() -> None:
    """The difference is taken over, not a quantity that is old by now."""
    desk = Desk()
    desk.account.hold("0.5")
    (diff,) = desk.sync().values()
    desk.syncer.record_fill(desk.account.trade("0.1"))
    asyncio.run(desk.syncer.reconcile(diff))
    assert desk.local() == D("0.6") and desk.sync() == {}


def test_a_difference_is_told_with_both_quantities() -> None:
    """And one that is to be ignored is neither told nor taken over."""
    desk = Desk(price=lambda symbol: D(60_000), drift_steps=2)
    desk.account.hold("0.001")
    desk.reconcile()
    assert desk.told == [] and not desk.syncer.local_positions
    desk.account.hold("0.5")
    desk.reconcile()
    (alert,) = desk.alerts.alerts
    assert alert.message == "Position reconciliation: BTCUSDT" and alert.level == "WARNING"
    assert dict(alert.context) == {"local": "0", "exchange": "0.5", "diff": "+0.5", "notional": "30000"}


def test_it_works_without_an_alert_manager() -> None:
    """Nothing is unset."""
    desk = Desk()
    desk.syncer.alert_manager = None
    desk.account.hold("0.5")
    desk.reconcile()
    assert desk.local() == D("0.5")


# --- bad input -----------------------------------------------------------------------------------------------------------


def test_a_report_of_yesterday_is_refused() -> None:
    """By name, with its age; what was known stays, and a symbol that was flat in between does not help it."""
    desk = Desk()
    desk.account.hold("0.5", ts_ns=NOW)
    desk.reconcile()
    for flat_between in (False, True):
        if flat_between:
            desk.account.positions.clear()
            desk.reconcile()
        held, last = desk.local(), desk.syncer.last_sync_ns
        desk.account.hold("0.9", ts_ns=NOW - 86_400 * S)
        with pytest.raises(PositionReportError, match="86400.000 s older than the one before"):
            desk.sync()
        assert (desk.local(), desk.syncer.last_sync_ns) == (held, last)
    assert "positions are not known: the venue's report cannot be believed" in desk.told


def test_a_clock_that_goes_back_is_told() -> None:
    """The comparison is good all the same, and its time is what the clock says."""
    desk = Desk()
    desk.sync()
    desk.now -= 3600 * S
    assert desk.sync() == {}
    assert desk.told == ["the clock went back"] and desk.syncer.last_sync_ns == desk.now
    assert dict(desk.alerts.alerts[0].context) == {"back_s": "3599.000"}


@pytest.mark.parametrize("quantity", ["NaN", "Infinity"])
def test_a_position_that_is_no_number_is_refused(quantity: str) -> None:
    """By name, and nothing is taken over."""
    desk = Desk()
    desk.account.hold(quantity)
    with pytest.raises(PositionReportError, match="a position of"):
        desk.sync()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"drift_steps": -1}, "drift_steps is -1; write a whole number of lots, 1 or more"),
        ({"drift_steps": 0}, "drift_steps is 0"),
        ({"drift_steps": 0.01}, "drift_steps is 0.01"),
        ({"drift_notional": -1}, "drift_notional is -1; write 0 or more"),
        ({"drift_notional": 0.5}, "drift_notional is a float"),
    ],
)
def test_a_negative_threshold_is_refused(options: Any, words: str) -> None:
    """By its name, with what to write."""
    with pytest.raises(ConfigError) as error:
        Desk(**options)
    assert words in str(error.value)


@pytest.mark.parametrize("instruments", [(PERP, PERP), (SPOT, replace(SPOT, symbol="BTCFDUSD", quote="FDUSD"))])
def test_what_cannot_be_told_apart_is_refused(instruments: tuple[Instrument, ...]) -> None:
    """An instrument given twice; two spot instruments, whose balance is one."""
    with pytest.raises(ConfigError):
        Desk(*instruments)


# --- in a notebook -------------------------------------------------------------------------------------------------------


def test_it_shows_itself() -> None:
    """What is held, whether it differs, and both sides as a frame."""
    desk = Desk()
    assert repr(desk.syncer) == "<PositionSyncer: flat; never compared>" and desk.syncer.to_frame().is_empty()
    desk.syncer.record_fill(desk.account.trade("0.2"))
    desk.account.hold("0.5")
    desk.sync()
    assert repr(desk.syncer) == "<PositionSyncer: 0.2 BTCUSDT; 1 differ>"
    assert desk.syncer.to_frame().rows() == [("BTCUSDT", D("0.2"), D("0.5"), D("0.3"), "RECONCILE")]


def test_alone_on_a_simulated_venue_it_follows_its_trades() -> None:
    """Nothing but a venue is needed: fills are booked as they happen, and by its own trades it never drifts."""

    async def work() -> None:
        async with SimulatedVenue(LabMarket(2, 60)) as venue:
            syncer = PositionSyncer(venue, LAB, now_ns=venue.clock.now_ns)
            await venue.clock.sleep(1)
            for number in range(5):
                side = Side.BUY if number % 2 else Side.SELL
                request = OrderRequest(
                    client_order_id=f"web_{number}", level_id="", symbol=LAB.symbol, side=side,
                    price="400" if number % 2 else "0.1", quantity="0.05", type=OrderType.IOC,
                )  # type: ignore[arg-type]  # fmt: skip
                placing = asyncio.ensure_future(venue.place_order(request))
                assert await syncer.sync() == {}, "while the order is on its way"
                await placing
                assert await syncer.sync() == {}
            assert syncer.local_positions[LAB.symbol].quantity == venue.position != 0

    run_stepped(work())


def test_every_error_is_the_projects() -> None:
    """So that a caller who catches GrinderError catches them."""
    assert issubclass(PositionReportError, GrinderError)
