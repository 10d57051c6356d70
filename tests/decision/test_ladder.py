"""Where levels stand: exact rounding, order, skew, and the first levels of the oracle at every step."""

from __future__ import annotations

import itertools
import json
import math
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from grinder_kit.decision import ladder
from grinder_kit.decision.ladder import (
    FINE,
    UNIT,
    geometric_level,
    lattice_first,
    linear_level,
    moved_beyond,
    skew_at,
    skewed_centre,
)

centres = st.integers(2, 4_000_000)
spacings = st.integers(1, 2_000)
numbers = st.integers(1, 60)


def floor_or_ceil(ticks: Fraction, side: int) -> int:
    """Return whole ticks, no worse for us: down for a buy, up for a sell."""
    return math.floor(ticks) if side > 0 else math.ceil(ticks)


@given(centres, spacings, numbers, st.sampled_from((1, -1)))
def test_linear_buys_round_down_and_sells_up(centre2: int, spacing: int, number: int, side: int) -> None:
    """A linear level is centre (1 -+ i s) in exact arithmetic, floored for a buy and ceiled for a sell."""
    exact = Fraction(centre2, 2) * (1 - side * Fraction(number * spacing, UNIT))
    assert linear_level(centre2, spacing, number, side) == floor_or_ceil(exact, side)


@given(centres, spacings, numbers, st.sampled_from((1, -1)))
def test_geometric_is_within_its_stated_bound(centre2: int, spacing: int, number: int, side: int) -> None:
    """A geometric level is centre (1 -+ s) ** i, rounded the same way, off by what its docstring allows and never to our cost."""
    factor = 1 - side * Fraction(spacing, UNIT)
    exact = Fraction(centre2, 2) * factor**number
    slack = number * max(Fraction(1), factor ** (number - 1)) / (2 * FINE)
    level = geometric_level(centre2, spacing, number, side)
    assert floor_or_ceil(exact - side * slack, side) * side <= level * side <= floor_or_ceil(exact, side) * side


@pytest.mark.parametrize("rule", [linear_level, geometric_level])
@given(centre2=centres, spacing=spacings, side=st.sampled_from((1, -1)))
def test_ladders_lead_away_from_the_centre(rule: object, centre2: int, spacing: int, side: int) -> None:
    """No level is nearer to the centre than the one before it, and the first lies on its own side of the centre."""
    levels = [rule(centre2, spacing, number, side) for number in range(1, 30)]  # type: ignore[operator]
    assert all(side * far <= side * near for near, far in itertools.pairwise(levels))
    assert side * 2 * levels[0] <= side * centre2


@given(centres, spacings, numbers)
def test_geometric_lies_above_linear(centre2: int, spacing: int, number: int) -> None:
    """Compounding shrinks buys ever less and grows sells ever more: both lie at or above the linear ladder, but for one tick."""
    assert geometric_level(centre2, spacing, number, 1) >= linear_level(centre2, spacing, number, 1) - 1
    assert geometric_level(centre2, spacing, number, -1) >= linear_level(centre2, spacing, number, -1)


@given(centres, st.integers(1, 500), st.integers(0, 500), st.sampled_from((1, -1)))
def test_lattice_starts_at_the_nearest_multiple_outside_the_half_spread(
    centre2: int, spacing: int, half: int, side: int
) -> None:
    """The first level is a multiple of the spacing, at least half a spread from the centre, and the next one in is not."""
    first = lattice_first(centre2, spacing, half, side)
    assert first % spacing == 0
    assert side * (centre2 - 2 * first) >= 2 * half
    assert side * (centre2 - 2 * (first + side * spacing)) < 2 * half


@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT"])
def test_lattice_equals_the_doubles_of_the_source_at_every_step(shared_data: Path, symbol: str) -> None:
    """Whole ticks give the first levels that the oracle's source computes in doubles, at all 3,448 steps."""
    vectors = json.loads((shared_data / "vectors" / "hftbacktest_grid_fills_20240808.json").read_text())
    coded, tick = vectors["touch"][symbol], vectors["parameters"]["tick_size"][symbol]
    names = ("best_bid", "best_ask", "first_buy_level", "first_sell_level")
    bids, asks, buys, sells = (list(itertools.accumulate(coded[name])) for name in names)
    assert len(bids) == 3448
    for bid, ask, buy, sell in zip(bids, asks, buys, sells, strict=True):
        assert lattice_first(bid + ask, 10, 20, 1) == buy
        assert lattice_first(bid + ask, 10, 20, -1) == sell
        mid, interval = (bid * tick + ask * tick) / 2, 10 * tick
        assert round(math.floor((mid - 20 * tick) / interval) * interval / tick) == buy
        assert round(math.ceil((mid + 20 * tick) / interval) * interval / tick) == sell


@given(centres, st.integers(-20_000, 20_000))
def test_skew_moves_the_centre_by_its_share_and_never_further(centre2: int, skew: int) -> None:
    """The centre moves in the direction of the skew, by the exact share rounded towards where it was."""
    moved = skewed_centre(centre2, skew) - centre2
    assert moved == int(Fraction(centre2 * skew, UNIT))  # int() cuts towards zero


@given(st.integers(-500, 500), st.integers(1, 200), st.integers(0, 2_000))
def test_long_inventory_skews_down_and_short_up(inventory: int, limit: int, at_limit: int) -> None:
    """Skew has the opposite sign of the position, is in proportion to it, and is full at the limit and beyond."""
    skew = skew_at(inventory, limit, at_limit)
    assert skew * inventory <= 0
    assert skew == -skew_at(-inventory, limit, at_limit)
    assert abs(skew) == (
        at_limit if abs(inventory) >= limit else math.floor(Fraction(at_limit * abs(inventory), limit))
    )


@given(centres, st.integers(-50_000, 50_000), st.integers(0, 1_000))
def test_the_centre_is_left_when_mid_is_further_than_recentre(centre2: int, away: int, recentre: int) -> None:
    """Exactly at the threshold the centre stays; beyond it, it is left."""
    assume(centre2 + away > 0)
    assert moved_beyond(centre2, centre2 + away, recentre) == (Fraction(abs(away), centre2) > Fraction(recentre, UNIT))


def test_rules_are_plain_integers() -> None:
    """The rules compile as they stand, because they are functions of integers alone, and give the same levels compiled."""
    numba = pytest.importorskip("numba")
    for name, args in (
        ("linear_level", (1_236_001, 80, 7, -1)),
        ("geometric_level", (1_236_001, 80, 7, -1)),
        ("lattice_first", (1_236_001, 10, 20, 1)),
        ("skewed_centre", (1_236_001, -35)),
        ("skew_at", (-17, 20, 35)),
        ("moved_beyond", (1_236_001, 1_236_100, 4)),
    ):
        rule = getattr(ladder, name)
        compiled = numba.njit(rule)
        assert compiled(*args) == rule(*args), name
