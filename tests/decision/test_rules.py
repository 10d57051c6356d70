"""The rules in whole numbers: what each says at its edges, and that compiled they say the same."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.decision import rules

LIMITS = (
    3,
    10,
    100,
    9_000,
    2_000,
    0,
    95,
    100,
    105,
    100,
)  # lots 3 to 10, ticks 100 to 9,000, value 2,000, 5 % around mid

RULES: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("venue_refuses", (1_000, 5, 2_000, LIMITS)),
    ("venue_refuses", (1_051, 5, 2_000, LIMITS)),
    ("crosses", (1, 1_000, 999, 1_001)),
    ("level_refuses", (1_000, 999, False, 3, 3)),
    ("side_full", (-1, -7, 7)),
    ("distance_bps", (-1, 601_237, 1_202_001)),
    ("least_probability", (0.3, 0.1, True)),
    ("expired", (5, 12, 7)),
    ("standing", (1_000, 5, 1_003, 4, 1, 1, 200, True, False)),
    ("amend_waits", (1, 1_001, 1_000, 1_001, 900, False)),
    ("towards", (-1, 999, 1_000)),
    ("turn", (-1, 999, True)),
)


@pytest.mark.parametrize(("name", "args"), RULES)
def test_rules_compile_as_they_stand(name: str, args: tuple[Any, ...]) -> None:
    """Each is a function of numbers alone, and says the same when it is compiled."""
    numba = pytest.importorskip("numba")
    rule = getattr(rules, name)
    assert numba.njit(rule)(*args) == rule(*args)


@pytest.mark.parametrize(
    ("ticks", "lots", "code"),
    [
        (1_000, 3, rules.FINE),
        (0, 3, rules.NOT_POSITIVE),
        (99, 3, rules.OUT_OF_RANGE),
        (9_001, 3, rules.OUT_OF_RANGE),
        (950, 3, rules.FINE),  # the band itself is allowed
        (949, 3, rules.BELOW_BAND),
        (1_050, 3, rules.FINE),
        (1_051, 3, rules.ABOVE_BAND),
        (1_000, 2, rules.TOO_SMALL),
        (1_000, 11, rules.TOO_LARGE),
    ],
)
def test_a_venue_takes_what_lies_within_its_limits(ticks: int, lots: int, code: int) -> None:
    """Every limit is inclusive, and the first that is broken is named; mid stands at 1,000."""
    assert rules.venue_refuses(ticks, lots, 2_000, LIMITS) == code


def test_the_smallest_value_counts_in_tick_lots_or_in_lots() -> None:
    """A linear order is worth its price times its lots, an inverse one its lots."""
    limits = list(LIMITS)
    limits[rules.MIN_VALUE] = 4_000
    assert rules.venue_refuses(1_000, 4, 2_000, limits) == rules.FINE
    assert rules.venue_refuses(999, 4, 2_000, limits) == rules.TOO_CHEAP
    limits[rules.MIN_VALUE], limits[rules.VALUE_IN_LOTS] = 5, 1
    assert rules.venue_refuses(999, 4, 2_000, limits) == rules.TOO_CHEAP
    assert rules.venue_refuses(999, 5, 2_000, limits) == rules.FINE


def test_why_a_level_is_not_quoted_comes_in_order() -> None:
    """The same price as the last one stands before a price that takes, that before too little room."""
    assert rules.level_refuses(1_000, 1_000, True, 9, 9) == rules.SAME_PRICE
    assert rules.level_refuses(1_000, 999, True, 9, 9) == rules.CROSSES
    assert rules.level_refuses(1_000, 999, False, 9, 9) == rules.NO_ROOM
    assert rules.level_refuses(1_000, 999, False, 8, 9) == rules.FINE


@given(st.integers(-20, 20), st.integers(0, 10))
def test_a_side_is_full_at_its_limit(position: int, limit: int) -> None:
    """Long positions shut buys, short ones sells; without a limit neither is ever shut."""
    assert rules.side_full(1, position, limit) == (position >= limit)
    assert rules.side_full(-1, position, limit) == (-position >= limit)
    assert not rules.side_full(1, position, -1)


@given(st.sampled_from((1, -1)), st.integers(1, 2_000_000), st.integers(2, 4_000_000))
def test_distance_is_the_share_of_mid(side: int, ticks: int, mid2: int) -> None:
    """Towards the own side it is above 0, and right to the last bits of a double."""
    exact = (Fraction(mid2, 2) - ticks) * side / Fraction(mid2, 2) * 10_000
    assert rules.distance_bps(side, ticks, mid2) == pytest.approx(float(exact), rel=1e-15, abs=1e-300)


def test_an_order_lives_to_the_end_of_its_time() -> None:
    """At its time to live it expires; below 0 it never does."""
    assert [rules.expired(10, now, 5) for now in (14, 15, 16)] == [False, True, True]
    assert not rules.expired(10, 1 << 60, -1)


def test_an_amend_waits_for_whom_it_would_meet_or_cover() -> None:
    """A buy waits at or above the lowest sell on its way, a sell at or below the highest buy; a held price is not taken."""
    assert rules.amend_waits(1, 1_001, 990, 1_001, 0, False) == rules.OWN_CROSS
    assert rules.amend_waits(1, 1_000, 990, 1_001, 0, True) == rules.OCCUPIED
    assert rules.amend_waits(1, 1_000, 1_000, 1_001, 0, True) == rules.FINE
    assert rules.amend_waits(-1, 1_000, 1_010, 9_999, 1_000, False) == rules.OWN_CROSS
    assert rules.amend_waits(-1, 1_000, 1_010, 9_999, 999, False) == rules.FINE
