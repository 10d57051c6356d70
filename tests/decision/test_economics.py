"""Economics of a level: the formula as written, intervals that hold what they claim, and words that do not promise."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.decision.economics import LevelEconomics, RoundTripEconomics, expected_value, profit_bps
from grinder_kit.errors import ConfigError
from grinder_kit.fillprob.interval import Interval

bps = st.floats(-100, 100)
probability = st.floats(0, 1)
sizes = st.floats(0, 1e6)


@st.composite
def intervals(draw: st.DrawFn, values: st.SearchStrategy[float]) -> Interval:
    """Any interval over some values."""
    low, value, high = sorted(draw(st.tuples(values, values, values)))
    return Interval(value=value, low=low, high=high)


def exact(value: float) -> Interval:
    """Return a value that is known."""
    return Interval(value=value, low=value, high=value)


def inside(value: float, interval: Interval) -> bool:
    """Whether a value lies in an interval, rounding aside."""
    assert interval.low is not None and interval.high is not None
    slack = 1e-9 * max(1.0, abs(interval.low), abs(interval.high))
    return interval.low - slack <= value <= interval.high + slack


def level(**changes: object) -> LevelEconomics:
    """Return a level with some values changed."""
    plain = {
        "size": 1000.0, "fill_prob": exact(0.5), "horizon_s": 60.0, "edge_bps": 8.0, "fees_bps": 4.0, "markout_bps": exact(-1.0),
    }  # fmt: skip
    return LevelEconomics(**(plain | changes))  # type: ignore[arg-type]


def trip(**changes: object) -> RoundTripEconomics:
    """Return a round trip with some values changed."""
    plain = {
        "size": 1000.0, "entry_prob": exact(0.5), "exit_prob": exact(0.6), "horizon_s": 60.0, "edge_bps": 8.0, "fees_bps": 4.0,
        "left_bps": exact(-5.0),
    }  # fmt: skip
    return RoundTripEconomics(**(plain | changes))  # type: ignore[arg-type]


@given(size=sizes, chance=probability, edge=bps, fees=bps, markout=bps)
def test_the_formula(size: float, chance: float, edge: float, fees: float, markout: float) -> None:
    """Expected value is size * P(fill) * (edge - fees + markout), alone and in a level, and an hour has 3,600 / h tries."""
    value = size * chance * (edge - fees + markout) / 10_000
    assert expected_value(size, chance, edge, fees, markout) == pytest.approx(value, abs=1e-9)
    whole = level(
        size=size, fill_prob=exact(chance), edge_bps=edge, fees_bps=fees, markout_bps=exact(markout), horizon_s=30
    )
    assert whole.value.value == pytest.approx(value, abs=1e-6)
    assert whole.per_hour.value == pytest.approx(value * 120, abs=1e-4)
    assert whole.profit_bps.value == pytest.approx(profit_bps(edge, fees, markout), abs=1e-9)
    assert whole.value_bps.value == pytest.approx(chance * profit_bps(edge, fees, markout), abs=1e-9)


@given(chance=intervals(probability), markout=intervals(bps), share=probability, cost=bps)
def test_the_interval_holds_every_pair(chance: Interval, markout: Interval, share: float, cost: float) -> None:
    """Whatever probability and markout in their intervals come true, the value of a level lies in its own."""
    assert chance.low is not None and chance.high is not None and markout.low is not None and markout.high is not None
    p = chance.low + share * (chance.high - chance.low)
    m = markout.low + share**2 * (markout.high - markout.low)
    whole = level(fill_prob=chance, markout_bps=markout, fees_bps=cost)
    assert inside(expected_value(1000, p, 8, cost, m), whole.value)
    assert inside(whole.value.value, whole.value)


@given(entry=intervals(probability), out=intervals(probability), left=intervals(bps), share=probability)
def test_the_interval_of_a_round_trip_holds_every_triple(
    entry: Interval, out: Interval, left: Interval, share: float
) -> None:
    """As for a level; and a round trip is completed with P(entry) * P(exit | entry)."""

    def at(of: Interval, part: float) -> float:
        assert of.low is not None and of.high is not None
        return of.low + part * (of.high - of.low)

    p, q, x = at(entry, share), at(out, 1 - share), at(left, share**2)
    whole = trip(entry_prob=entry, exit_prob=out, left_bps=left)
    assert inside(1000 * p * (q * (8 - 4) + (1 - q) * (x - 4)) / 10_000, whole.value)
    assert inside(p * q, whole.completed)


@given(markout=bps, edge=st.floats(0.1, 50), share=st.floats(0.01, 0.99))
def test_no_exit_beats_a_fair_market(markout: float, edge: float, share: float) -> None:
    """Where mid is a martingale after the fill, a round trip earns the markout less fees, wherever its exit stands."""
    left = (markout - share * edge) / (1 - share)
    whole = trip(exit_prob=exact(share), edge_bps=edge, left_bps=exact(left))
    assert whole.profit_bps.value == pytest.approx(markout - 4, abs=1e-6)


def test_an_exit_that_is_sure_is_the_product() -> None:
    """With P(exit | entry) = 1 nothing is left, and the value is that of a level without markout."""
    whole = trip(exit_prob=exact(1.0), left_bps=exact(-50.0))
    assert whole.value.value == pytest.approx(level(markout_bps=exact(0.0)).value.value)


def test_what_cannot_be_told_from_zero_is_said() -> None:
    """The words say so where the interval holds zero, where it does not, and where there is none."""
    unsure = level(markout_bps=Interval(value=-3.0, low=-5.0, high=0.5))
    assert unsure.text == "+3.00 USDT per hour [-3.00, +13.50], not distinguishable from zero"
    assert not unsure.per_hour.distinguishable
    losing = level(markout_bps=Interval(value=-6.0, low=-7.0, high=-5.0))
    assert losing.text == "-6.00 USDT per hour [-9.00, -3.00]" and losing.per_hour.distinguishable
    unknown = level(markout_bps=Interval(value=-1.0))
    assert unknown.text == "+9.00 USDT per hour; too few data for an interval" and not unknown.per_hour.distinguishable
    assert level(fill_prob=Interval(value=0.5)).text == "+9.00 USDT per hour; too few data for an interval"
    assert trip(left_bps=Interval(value=-5.0)).text.endswith("too few data for an interval")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": -1.0}, "size is -1.0; write a notional of 0 or more"),
        ({"size": math.nan}, "size is nan"),
        ({"horizon_s": 0.0}, "horizon_s is 0.0; write seconds above 0"),
        ({"fill_prob": exact(1.2)}, "fill_prob is 1.2"),
        ({"fill_prob": Interval(value=0.5, low=-0.1, high=0.6)}, "write probabilities from 0 to 1"),
        ({"markout_bps": exact(math.nan)}, "markout_bps is nan; write finite bps"),
        ({"edge_bps": math.inf}, "edge_bps is inf"),
    ],
)
def test_what_is_no_level_is_refused(changes: dict[str, object], message: str) -> None:
    """A size, a probability, a horizon or bps that cannot be are refused by name."""
    with pytest.raises(ConfigError, match=message):
        level(**changes)


@pytest.mark.parametrize("name", ["entry_prob", "exit_prob"])
def test_what_is_no_round_trip_is_refused(name: str) -> None:
    """Both probabilities of a round trip are checked."""
    with pytest.raises(ConfigError, match=f"{name} is -0.1"):
        trip(**{name: exact(-0.1)})
