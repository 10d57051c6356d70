"""Limits that trip the kill switch: each of them by its own fact, within the step, in words, and after a restart too."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grinder_kit.execution.engine import ExecutionEngine
from grinder_kit.execution.journal import Journal, entries, rebuild
from grinder_kit.execution.ledger import Ledger
from grinder_kit.execution.watch import RiskWatch
from grinder_kit.model.config import Config, Limits
from grinder_kit.model.event import Amend, Cancel, FundingPaid, OrderUpdate, Place, RunState, SetState, Tick
from grinder_kit.model.fill import Fill
from grinder_kit.model.instrument import Contract, Instrument
from grinder_kit.model.order import OrderState, Side
from tests.execution.desk import GRID, INSTRUMENT, MID, Venue, venue

SECOND = 1_000_000_000
DAY = 86_400 * SECOND


def killed_by(desk: Venue) -> str | None:
    """Return why a session was killed, None where it was not."""
    return desk.engine.state_reason if desk.engine.state is RunState.KILLED else None


def bought(lots: int, **limits: Any) -> Venue:
    """Return a desk that holds a position, and stands."""
    desk = venue(GRID.replace(levels=1, recentre_bps=5_000), **limits)
    desk.settle()
    desk.step(desk.fill_event("gkr0-B7-1", lots, "t1"))  # at 1,000 ticks, of an order that was not known
    desk.position, desk.booked = lots, {"t1"}
    return desk


# --- each limit by its own fact ------------------------------------------------------------------------------------------


def test_a_position_over_its_limit_kills_though_the_gate_stood() -> None:
    """A fill of an order that nobody knew of is no reason to keep on."""
    desk = bought(4, max_position="0.04")
    desk.tick()
    assert killed_by(desk) is None, "the limit itself is allowed"
    desk.step(desk.fill_event("gkr0-B7-1", 1, "t2"))
    desk.tick()
    assert killed_by(desk) == "position 0.05 TOY is above max_position 0.04 TOY"


def test_a_short_position_has_the_same_limit() -> None:
    """Either way."""
    desk = venue(max_position="0.04")
    desk.step(desk.fill_event("gkr0-S7-1", 5, "t1"))
    desk.tick()
    assert killed_by(desk) == "short position 0.05 TOY is above max_position 0.04 TOY"


def test_the_position_is_looked_at_without_a_market_too() -> None:
    """Half a book values nothing, but what is held is held."""
    desk = venue(max_position="0.04", max_notional=1, max_drawdown="0.001", max_loss_per_day="0.001")
    desk.step(desk.fill_event("gkr0-B7-1", 4, "t1"))
    desk.tick(half_book=True)
    assert killed_by(desk) is None
    desk.step(desk.fill_event("gkr0-B7-1", 1, "t2"))
    desk.tick(half_book=True)
    assert killed_by(desk) == "position 0.05 TOY is above max_position 0.04 TOY"


def test_a_market_that_rises_kills_by_the_value_of_what_is_held() -> None:
    """max_notional is on the position at mid: .04 at 100.1 is 4.004."""
    desk = bought(4, max_notional=4)
    desk.tick(1_000)
    assert killed_by(desk) is None
    desk.tick(1_001)
    assert killed_by(desk) == "position's value 4.004 USDT is above max_notional 4 USDT"


def test_a_drawdown_is_counted_from_the_highest_equity() -> None:
    """A profit that melts away is a loss like any other."""
    desk = bought(4, max_drawdown="0.1")
    desk.tick(1_100)
    assert desk.engine.watch.marks.peak == Decimal("0.39")
    desk.tick(1_076)
    assert killed_by(desk) is None
    desk.tick(1_075)
    assert killed_by(desk) == "drawdown 0.10 USDT is not below max_drawdown 0.1 USDT"


def test_funding_is_a_loss_like_any_other() -> None:
    """What a position pays counts at the next step."""
    desk = bought(4, max_drawdown="0.1")
    desk.tick()
    desk.step(FundingPaid(ts_ns=1, amount=Decimal("-0.09")))
    desk.tick()
    assert killed_by(desk) == "drawdown 0.10 USDT is not below max_drawdown 0.1 USDT"


def test_a_loss_is_counted_from_midnight_by_the_time_of_the_step() -> None:
    """Yesterday's loss is forgiven, today's is not: .08 and .08 are no .1, and one more is."""
    desk = bought(4, max_loss_per_day="0.1")
    desk.tick(982)  # .01 of fees and .072
    desk.now = DAY - desk.step_ns
    desk.tick(982)
    assert desk.engine.watch.marks.day == 1 and killed_by(desk) is None
    desk.tick(960)
    assert killed_by(desk) is None, ".17 since the start, .088 since 00:00"
    desk.tick(957)
    assert killed_by(desk) == "loss since 00:00 UTC 0.10 USDT is not below max_loss_per_day 0.1 USDT"


def test_an_order_rate_is_the_mean_of_ten_seconds() -> None:
    """New orders and amends count, cancels do not; what is older than 10 s is forgotten."""
    config = Config(grid=GRID.replace(recentre_bps="0.1"), limits=Limits(max_orders_per_s="1.7"))
    desk = Venue(config.replace(**{"router.amend_threshold_bps": 100}))
    desk.step_ns = SECOND
    desk.settle()  # six
    assert len(desk.tick(998)) == 6  # twelve
    desk.flush()
    desk.tick(996)
    desk.flush()
    assert killed_by(desk) is None
    desk.tick(996)
    assert killed_by(desk) == "order rate 1.8 a second is above max_orders_per_s 1.7 a second"
    calm = Venue(config)
    calm.step_ns = 4 * SECOND
    calm.settle()
    for mid in (998, 996, 994, 992, 990):
        calm.tick(mid)
        calm.settle(mid)
    assert killed_by(calm) is None


def test_the_order_rate_is_looked_at_without_a_market_too() -> None:
    """A runaway is one without a mid as well."""
    desk = venue(max_orders_per_s="0.5")
    assert len(desk.tick()) == 6
    desk.tick(half_book=True)
    assert killed_by(desk) == "order rate 0.6 a second is above max_orders_per_s 0.5 a second"


def test_a_pause_is_no_shelter() -> None:
    """A paused session keeps its position, and its limits."""
    desk = bought(4, max_drawdown="0.1")
    desk.step(SetState(state=RunState.PAUSED))
    desk.flush()
    desk.tick(900)
    assert killed_by(desk) == "drawdown 0.41 USDT is not below max_drawdown 0.1 USDT"


def test_a_breach_is_not_taken_back() -> None:
    """Whoever does not feed the kill gets nothing sent, whatever the market does."""
    engine = ExecutionEngine(INSTRUMENT, Config(grid=GRID, limits=Limits(max_position="0.04")))
    desk = venue()
    engine.step(desk.fill_event("gkr0-B7-1", 5, "t1"), 1)
    assert engine.step(Tick(bid_ticks=999, ask_ticks=1_001), 2) == () and engine.breach is not None
    due = engine.due
    assert due == SetState(state=RunState.KILLED, reason="position 0.05 TOY is above max_position 0.04 TOY")
    engine.step(desk.fill_event("gkr0-S7-1", 5, "t2"), 3)
    assert engine.position.lots == 0
    assert engine.step(Tick(bid_ticks=999, ask_ticks=1_001), 4) == () and engine.due == due
    engine.step(due, 4)
    assert engine.due is None and engine.state is RunState.KILLED


@pytest.mark.parametrize("contract", list(Contract))
@settings(max_examples=30)
@given(
    story=st.lists(
        st.tuples(st.sampled_from(["buy", "sell", "funding", "mid", "mid"]), st.integers(1, 400)),
        min_size=1,
        max_size=30,
    )
)
def test_the_watch_values_as_the_ledger_does(contract: Contract, story: list[tuple[str, int]]) -> None:
    """At every mid, between any bookings, to the last digit."""
    instrument = Instrument(
        symbol="TOY", venue="v", base="TOY", quote="USDT", contract=contract, tick=Decimal("0.1"), lot=Decimal("0.01"),
        contract_size=Decimal(1) if contract is Contract.SPOT else Decimal("0.5"),
    )  # fmt: skip
    ledger = Ledger(instrument)
    watch = RiskWatch(instrument, ledger, Limits())
    mids: list[Decimal] = [Decimal(0)]
    for number, (what, amount) in enumerate(story):
        if what == "mid":
            watch.take(1_000 + amount, number)
            equity = ledger.equity(instrument.tick * (1_000 + amount) / 2)
            assert watch.marks.equity == equity
            mids.append(equity)
            assert watch.marks.peak == max(mids)
            continue
        if what == "funding":
            ledger.funding(Decimal(amount - 200) / 1000)
        else:
            ledger.apply(
                Fill(
                    fill_id=str(number), order_id="o", symbol="TOY", side=Side.BUY if what == "buy" else Side.SELL,
                    price=instrument.price(500 + amount), quantity=instrument.quantity(amount), commission=Decimal("0.001"),
                    commission_asset=instrument.settle, ts_ns=number, is_maker=True,
                )
            )  # fmt: skip
        watch.booked()


# --- restarts --------------------------------------------------------------------------------------------------------


def test_a_restart_forgets_neither_the_peak_nor_the_day_nor_the_rate(tmp_path: Path) -> None:
    """What losses are counted from is kept in the journal, and so is what was sent; a restart is no way round a limit."""
    config = Config(grid=GRID.replace(recentre_bps=5_000), limits=Limits(max_drawdown=9, max_loss_per_day=9))
    first = ExecutionEngine(INSTRUMENT, config)
    path, now = tmp_path / "r0.journal", 5 * DAY
    with Journal.open(path, header={"symbol": "TOY", "venue": "v", "tag": "r0"}, durable=False) as journal:
        for mid in (1_000, 1_200, 1_100):
            now += SECOND
            commands = first.step(Tick(bid_ticks=mid - 1, ask_ticks=mid + 1), now)
            kept = first.state_to_keep()
            if kept is not None:
                journal.append_state(kept, now)
            for command in commands:
                journal.append_intent(command, now)
            if mid == 1_000:
                fill = venue().fill_event("gkr0-B7-1", 4, "t1")
                first.step(fill, now)
                journal.append_event(fill, now)
    again = ExecutionEngine(INSTRUMENT, config)
    rebuild(entries(path), again)
    assert again.state_to_keep() == {"centre2": 2_000, "peak": "0.7900", "day": 5, "day_start": "0", "epoch": 0}
    tick = Tick(bid_ticks=1_099, ask_ticks=1_101)
    first.step(tick, now + SECOND)
    again.step(tick, now + SECOND)
    assert again.watch.facts(4) == first.watch.facts(4)
    assert (again.watch.marks.drawdown, again.watch.marks.day_loss) == (Decimal("0.4"), Decimal("-0.39"))
    assert again.watch.facts(4).sent == 6


# --- whatever happens --------------------------------------------------------------------------------------------------


@given(
    limits=st.fixed_dictionaries(
        {},
        optional={
            "max_position": st.sampled_from(["0.04", "0.09"]),
            "max_notional": st.sampled_from(["4", "9"]),
            "max_drawdown": st.sampled_from(["0.02", "0.2"]),
            "max_loss_per_day": st.sampled_from(["0.02", "0.2"]),
            "max_orders_per_s": st.sampled_from(["0.5", "2"]),
        },
    ),
    story=st.lists(
        st.tuples(st.sampled_from(["tick", "tick", "half", "stale", "trade", "other's", "flush"]), st.integers(0, 40)),
        max_size=30,
    ),
)
def test_after_a_breach_nothing_is_ever_added(limits: dict[str, str], story: list[tuple[str, int]]) -> None:
    """Whatever the market and the venue do, facts beyond a limit end the session at the next look, and for good.

    The desk checks every tick for what it adds; here the facts are held against the limits a second time.
    """
    desk = venue(GRID, **limits)
    desk.step_ns = SECOND // 2
    mid, over = MID, False
    for number, (what, amount) in enumerate(story):
        if what == "trade" and desk.resting:
            desk.trade(list(desk.resting)[amount % len(desk.resting)], 1 + amount % 4)
        elif what == "other's":
            desk.step(desk.fill_event("gkr0-B7-1", 1 + amount % 3, f"x{number}"))
        elif what == "flush":
            desk.flush()
        elif what in ("tick", "half", "stale"):
            mid = max(900, mid + amount - 20)
            commands = desk.tick(mid, stale=what == "stale", half_book=what == "half")
            assert not over or not [c for c in commands if isinstance(c, Place | Amend)]
            held = INSTRUMENT.quantity(abs(desk.engine.position.lots))
            wrong = "max_position" in limits and held > Decimal(limits["max_position"])
            if what != "half":
                value, equity = held * mid / 10, desk.engine.ledger.equity(Decimal(mid) / 10)
                wrong |= "max_notional" in limits and value > Decimal(limits["max_notional"])
                wrong |= "max_drawdown" in limits and -equity >= Decimal(limits["max_drawdown"])
                wrong |= "max_loss_per_day" in limits and -equity >= Decimal(limits["max_loss_per_day"])
            over = over or wrong
            assert not over or desk.engine.state is RunState.KILLED
            assert (desk.engine.breach is not None) == (desk.engine.state is RunState.KILLED)
    desk.settle(mid)
    if desk.engine.state is RunState.KILLED:
        assert desk.alive == {} and not desk.resting and desk.engine.state_reason == desk.engine.breach.text  # type: ignore[union-attr]


def test_cancels_leave_with_the_kill_and_those_under_way_follow() -> None:
    """An order that was not confirmed when the limit broke is withdrawn as soon as it is known."""
    desk = venue(max_orders_per_s="0.5")
    desk.tick()
    desk.tick()
    assert killed_by(desk) is not None and [type(command) for command in desk.sent] == [Place] * 6
    desk.arrive()
    desk.deliver()
    assert [type(command) for command in desk.sent] == [Place] * 5 + [Cancel]
    desk.settle()
    assert desk.alive == {} and not desk.resting
    late = OrderUpdate(client_order_id="gkr0-B1-1", state=OrderState.OPEN, ts_ns=1)
    desk.step(late)
    assert desk.sent == []
