"""Risk gates: what is not known counts against an order, and every refusal has a reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.decision.reason import Reason
from grinder_kit.decision.risk import APPROVED, RiskLimits, RiskRefused, RiskView, assess
from grinder_kit.model.event import RunState

OPEN = RiskView(RunState.RUNNING, False, True, False, position=0, open_buys=0, open_sells=0)
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
        (OPEN._replace(drawdown_shut=True), Reason.DRAWDOWN),
        (OPEN._replace(open_buys=8), Reason.POSITION_LIMIT),
        (OPEN._replace(position=6), Reason.NOTIONAL_LIMIT),
    ],
)
def test_each_gate_refuses_with_its_reason(view: RiskView, reason: Reason) -> None:
    """Three more lots at 110 ticks."""
    assert assess(view, LIMITS, 1, 110, 3) == RiskRefused(reason)
    assert assess(OPEN, LIMITS, 1, 110, 3) is APPROVED


def test_what_takes_risk_away_passes_a_shut_drawdown_gate() -> None:
    """A sell out of a long position."""
    assert assess(OPEN._replace(drawdown_shut=True, position=5), LIMITS, -1, 110, 5) is APPROVED
    assert assess(OPEN._replace(drawdown_shut=True, position=5), LIMITS, -1, 110, 6) == RiskRefused(Reason.DRAWDOWN)


def test_flattening_lets_only_reduce_only_orders_through() -> None:
    """The venue itself holds them to it."""
    view = OPEN._replace(state=RunState.FLATTENING, position=5)
    assert assess(view, LIMITS, -1, 110, 5) == RiskRefused(Reason.NOT_REDUCING)
    assert assess(view, LIMITS, -1, 110, 5, reduce_only=True) is APPROVED


@given(
    st.sampled_from(list(RunState)), st.booleans(), st.booleans(), st.booleans(), st.integers(-20, 20), st.integers(0, 20),
    st.integers(0, 20), st.sampled_from([1, -1]), st.integers(1, 200), st.integers(1, 20),
)  # fmt: skip
def test_nothing_approved_exceeds_a_limit(
    state: RunState,
    stale: bool,
    known: bool,
    shut: bool,
    position: int,
    buys: int,
    sells: int,
    side: int,
    ticks: int,
    lots: int,
) -> None:
    """Whatever else holds: an approved order cannot bring the position over its limits, nor leave a session that is not running."""
    view = RiskView(state, stale, known, shut, position, buys, sells)
    if assess(view, LIMITS, side, ticks, lots) is APPROVED:
        exposed = view.exposed(side, lots)
        assert state is RunState.RUNNING and known and not stale
        assert exposed <= 10 and (exposed <= 0 or exposed * ticks <= 900)
        assert not shut or exposed <= 0
