"""Risk: gates that refuse with a reason, what is not known counting against an order; limits that are broken, in words."""

from __future__ import annotations

from decimal import Decimal as D

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.decision.reason import Reason
from grinder_kit.decision.risk import (
    APPROVED,
    EquityMarks,
    RiskFacts,
    RiskLimits,
    RiskRefused,
    RiskView,
    assess,
    breaches,
    find_breach,
)
from grinder_kit.model.config import Limits
from grinder_kit.model.event import RunState
from grinder_kit.model.instrument import Contract, Instrument

OPEN = RiskView(RunState.RUNNING, False, True, position=0, open_buys=0, open_sells=0)
LIMITS = RiskLimits(max_lots=10, too_dear=lambda lots, ticks: lots * ticks > 900)


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        (OPEN._replace(state=RunState.PAUSED), Reason.NOT_RUNNING),
        (OPEN._replace(state=RunState.STOPPED), Reason.NOT_RUNNING),
        (OPEN._replace(state=RunState.KILLED), Reason.NOT_RUNNING),
        (OPEN._replace(state=RunState.FLATTENING), Reason.NOT_REDUCING),
        (OPEN._replace(stale=True), Reason.STALE_MARKET),
        (OPEN._replace(position_known=False), Reason.POSITION_UNKNOWN),
        (OPEN._replace(open_buys=8), Reason.POSITION_LIMIT),
        (OPEN._replace(position=6), Reason.NOTIONAL_LIMIT),
    ],
)
def test_each_gate_refuses_with_its_reason(view: RiskView, reason: Reason) -> None:
    """Three more lots at 110 ticks."""
    assert assess(view, LIMITS, 1, 110, 3) == RiskRefused(reason)
    assert assess(OPEN, LIMITS, 1, 110, 3) is APPROVED


def test_flattening_lets_only_reduce_only_orders_through() -> None:
    """And these only where they do reduce: on the other side of the position, with what is open no larger than it."""
    view = OPEN._replace(state=RunState.FLATTENING, position=5)
    refused = RiskRefused(Reason.NOT_REDUCING)
    assert assess(view, LIMITS, -1, 110, 5) == refused
    assert assess(view, LIMITS, -1, 110, 5, reduce_only=True) is APPROVED
    assert assess(view, LIMITS, -1, 110, 6, reduce_only=True) == refused
    assert assess(view._replace(open_sells=1), LIMITS, -1, 110, 5, reduce_only=True) == refused
    assert assess(view, LIMITS, 1, 110, 1, reduce_only=True) == refused
    assert assess(view._replace(stale=True), LIMITS, -1, 110, 5, reduce_only=True) == RiskRefused(Reason.STALE_MARKET)
    unknown = view._replace(position_known=False)
    assert assess(unknown, LIMITS, -1, 110, 5, reduce_only=True) == RiskRefused(Reason.POSITION_UNKNOWN)


@given(
    st.sampled_from(list(RunState)), st.booleans(), st.booleans(), st.integers(-20, 20), st.integers(0, 20),
    st.integers(0, 20), st.sampled_from([1, -1]), st.integers(1, 200), st.integers(1, 20), st.booleans(),
)  # fmt: skip
def test_nothing_approved_exceeds_a_limit(
    state: RunState,
    stale: bool,
    known: bool,
    position: int,
    buys: int,
    sells: int,
    side: int,
    ticks: int,
    lots: int,
    reduce_only: bool,
) -> None:
    """Whatever else holds: an approved order cannot bring the position over its limits, nor leave a session that is not running.

    One that is to reduce may leave a session that flattens, and cannot turn the position round.
    """
    view = RiskView(state, stale, known, position, buys, sells)
    if assess(view, LIMITS, side, ticks, lots, reduce_only=reduce_only) is APPROVED:
        exposed = view.exposed(side, lots)
        assert known and not stale
        assert exposed <= 10 and (exposed <= 0 or exposed * ticks <= 900)
        if reduce_only:
            assert state in (RunState.RUNNING, RunState.FLATTENING)
            assert side * position < 0 and lots <= abs(position)
        else:
            assert state is RunState.RUNNING


# --- limits that are broken ------------------------------------------------------------------------------------------

TOY = Instrument(symbol="TOY", venue="v", base="TOY", quote="USDT", contract=Contract.LINEAR, tick="0.1", lot="0.01")
COIN = Instrument(symbol="COIN", venue="v", base="BTC", quote="USD", contract=Contract.INVERSE, tick="0.1", lot="1")


@pytest.mark.parametrize(
    ("facts", "limits", "words"),
    [
        (
            RiskFacts(position=D("0.05")),
            Limits(max_position="0.04"),
            "position 0.05 TOY is above max_position 0.04 TOY",
        ),
        (
            RiskFacts(position=D("-0.05")),
            Limits(max_position="0.04"),
            "short position 0.05 TOY is above max_position 0.04 TOY",
        ),
        (
            RiskFacts(notional=D("812.5")),
            Limits(max_notional=800),
            "position's value 812.50 USDT is above max_notional 800 USDT",
        ),
        (
            RiskFacts(drawdown=D("12.4")),
            Limits(max_drawdown=10),
            "drawdown 12.40 USDT is not below max_drawdown 10 USDT",
        ),
        (RiskFacts(drawdown=D(10)), Limits(max_drawdown=10), "drawdown 10.00 USDT is not below max_drawdown 10 USDT"),
        (
            RiskFacts(day_loss=D("3.00000000001")),
            Limits(max_loss_per_day=3),
            "loss since 00:00 UTC 3.00000001 USDT is not below max_loss_per_day 3 USDT",
        ),
        (
            RiskFacts(sent=52),
            Limits(max_orders_per_s=5),
            "order rate 5.2 a second is above max_orders_per_s 5 a second",
        ),
    ],
)
def test_a_broken_limit_says_which_by_how_much_and_in_what(facts: RiskFacts, limits: Limits, words: str) -> None:
    """Limits on what is held or sent allow their own value; those on a loss are broken by it."""
    broken = find_breach(facts, limits, TOY)
    assert broken is not None and broken.text == words
    assert broken.allowed == getattr(limits, broken.limit)
    assert find_breach(RiskFacts(), limits, TOY) is None, "nothing has happened yet"


def test_an_inverse_contract_is_counted_in_contracts_and_coins() -> None:
    """Its position is in contracts, its losses are in base."""
    facts = RiskFacts(position=D(7), drawdown=D("0.0012"))
    words = [one.text for one in breaches(facts, Limits(max_position=6, max_drawdown="0.001"), COIN)]
    assert words == [
        "position 7 contracts is above max_position 6 contracts",
        "drawdown 0.0012 BTC is not below max_drawdown 0.001 BTC",
    ]


def test_a_limit_that_is_broken_already_cannot_be_set() -> None:
    """It says what is, and what can be written instead."""
    facts = RiskFacts(D("0.02"), D("1200.123456789"), D("12.4"), D("12.4"), 42)
    limits = Limits(
        max_position="0.01", max_notional=1000, max_drawdown="12.4", max_loss_per_day=10, max_orders_per_s=2
    )
    assert [one.refusal for one in breaches(facts, limits, TOY)] == [
        "max_position 0.01 is below the position of 0.02 TOY: flatten first, or write at least 0.02",
        "max_notional 1000 is below the position's value of 1200.12345679 USDT: flatten first, or write at least 1200.12345679",
        "max_drawdown 12.4 is not above the drawdown of 12.40 USDT: write more than 12.40",
        "max_loss_per_day 10 is not above the loss since 00:00 UTC of 12.40 USDT: write more than 12.40",
        "max_orders_per_s 2 is below the order rate of 4.2 a second: wait, or write at least 4.2",
    ]


amounts = st.none() | st.decimals(-1000, 1000, places=4)
limit_values = st.none() | st.decimals("0.0001", 1000, places=4)


@given(
    st.builds(
        RiskFacts, st.decimals(-1000, 1000, places=4), st.none() | st.decimals(0, 1000, places=4), amounts, amounts,
        st.integers(0, 10_000),
    ),
    st.builds(
        Limits, max_position=limit_values, max_notional=limit_values, max_drawdown=limit_values,
        max_loss_per_day=limit_values, max_orders_per_s=limit_values,
    ),
)  # fmt: skip
def test_every_broken_limit_is_found_and_no_other(facts: RiskFacts, limits: Limits) -> None:
    """Against a second writing of the rules; the words name the value and the limit."""
    wrong = set()
    if limits.max_position is not None and abs(facts.position) > limits.max_position:
        wrong.add("max_position")
    if limits.max_notional is not None and facts.notional is not None and facts.notional > limits.max_notional:
        wrong.add("max_notional")
    if limits.max_drawdown is not None and facts.drawdown is not None and facts.drawdown >= limits.max_drawdown:
        wrong.add("max_drawdown")
    if limits.max_loss_per_day is not None and facts.day_loss is not None and facts.day_loss >= limits.max_loss_per_day:
        wrong.add("max_loss_per_day")
    if limits.max_orders_per_s is not None and facts.sent > 10 * limits.max_orders_per_s:
        wrong.add("max_orders_per_s")
    found = list(breaches(facts, limits, TOY))
    assert {one.limit for one in found} == wrong
    assert find_breach(facts, limits, TOY) == (found[0] if found else None)
    assert all(one.limit in one.text and one.shown in one.text and one.shown in one.refusal for one in found)


# --- what losses are counted from ------------------------------------------------------------------------------------

DAY = 86_400_000_000_000


def test_the_peak_is_the_highest_equity_and_never_below_the_start() -> None:
    """A session that only loses has drawn down from nothing."""
    marks = EquityMarks()
    marks.take(D(-3), 0)
    assert marks.drawdown == marks.day_loss == 3
    marks.take(D(5), 1)
    marks.take(D(1), 2)
    assert (marks.peak, marks.drawdown, marks.day_loss) == (5, 4, -1)


def test_a_day_starts_with_what_was_last_known_before_it() -> None:
    """What is lost between the last look of a day and the first of the next is lost on the next."""
    marks = EquityMarks()
    marks.take(D(10), DAY - 1)
    assert marks.day_loss == -10
    marks.take(D(4), DAY)
    assert (marks.day, marks.day_start, marks.day_loss) == (1, 10, 6)
    marks.take(D(12), 2 * DAY - 1)
    assert marks.day_loss == -2


def test_a_clock_that_is_set_back_makes_no_loss_forgotten() -> None:
    """Only a later day than any before is a new one."""
    marks = EquityMarks()
    marks.take(D(10), DAY)
    marks.take(D(4), DAY - 1)
    marks.take(D(3), DAY)
    assert (marks.day, marks.day_start, marks.day_loss) == (1, 0, -3)


def test_marks_survive_a_restart_of_the_same_day_and_begin_anew_on_a_later_one() -> None:
    """What happened between the end of one run and midnight is not known: the day starts with the first look."""
    kept = (D(20), 1, D(15))
    same, later = EquityMarks(), EquityMarks()
    for marks in (same, later):
        marks.restore(*kept)
        assert marks.drawdown is None and marks.day_loss is None
    same.take(D(9), 2 * DAY - 1)
    assert (same.drawdown, same.day_loss) == (11, 6)
    later.take(D(9), 2 * DAY)
    assert (later.drawdown, later.day_loss) == (11, 0)
