"""The way out of a position: at what stands there, never more than is held, never less than the venue takes."""

from __future__ import annotations

from decimal import Decimal as D

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.decision.constraints import Constraints
from grinder_kit.decision.exit import Exit, exit_order
from grinder_kit.model.instrument import Contract, Instrument


def limits(contract: Contract = Contract.LINEAR, **values: D) -> Constraints:
    """Return the constraints of an instrument with a tick of .1 and a lot of .01."""
    return Constraints.of(
        Instrument(
            symbol="T", venue="v", base="T", quote="U", contract=contract, tick=D("0.1"), lot=D("0.01"), **values
        )
    )


@pytest.mark.parametrize(
    ("position", "constraints", "expected"),
    [
        (7, limits(), Exit(-1, 999, 7)),
        (-7, limits(), Exit(1, 1_001, 7)),
        (7, limits(max_quantity=D("0.05")), Exit(-1, 999, 5)),
        (7, limits(min_quantity=D("0.08")), None),
        (8, limits(min_quantity=D("0.08")), Exit(-1, 999, 8)),
        (7, limits(min_notional=D("7")), None),  # .07 at 99.9 is 6.993
        (-7, limits(min_notional=D("7")), Exit(1, 1_001, 7)),  # and at 100.1 7.007
        (700, limits(Contract.INVERSE, min_notional=D("7")), Exit(-1, 999, 700)),
        (699, limits(Contract.INVERSE, min_notional=D("7")), None),
        (7, limits(max_quantity=D("0.05"), min_quantity=D("0.03")), Exit(-1, 999, 4)),  # and then the other 3
        (5, limits(max_quantity=D("0.04"), min_quantity=D("0.03")), Exit(-1, 999, 4)),  # 1 remains either way
    ],
)
def test_an_exit_takes_what_stands_there(position: int, constraints: Constraints, expected: Exit | None) -> None:
    """A sell at the bid, a buy at the ask, as large as may be; no rest that could not be sent is left without need."""
    assert exit_order(position, 999, 1_001, constraints) == expected


@given(
    st.integers(-2_000, 2_000).filter(bool),
    st.integers(1, 2_000),
    st.integers(1, 100),
    st.none() | st.integers(1, 500),
    st.integers(0, 500),
)
def test_an_exit_reduces_and_is_taken_by_the_venue(
    position: int, bid: int, least: int, most: int | None, notional: int
) -> None:
    """It is on the other side of the position, no larger, and within the venue's limits; where there is none, none could be."""
    constraints = limits(
        min_quantity=D(least) / 100, max_quantity=None if most is None else D(most) / 100, min_notional=D(notional)
    )
    out = exit_order(position, bid, bid + 2, constraints)
    side, ticks = (-1, bid) if position > 0 else (1, bid + 2)
    fitting = [n for n in range(1, abs(position) + 1) if constraints.refuse(ticks, n, 2 * ticks) is None]
    if out is None:
        assert not fitting
        return
    assert (out.side, out.ticks) == (side, ticks) and out.lots in fitting
    rest = abs(position) - out.lots
    if 0 < rest < constraints.least_lots(ticks):
        assert out.lots == max(fitting), "a rest that stays is as small as may be"


@given(st.integers(1, 3_000), st.integers(1, 100), st.integers(0, 500), st.sampled_from(list(Contract)))
def test_the_least_order_is_the_smallest_that_passes(ticks: int, least: int, notional: int, contract: Contract) -> None:
    """`least_lots` and `refuse` say the same."""
    constraints = limits(contract, min_quantity=D(least) / 100, min_notional=D(notional))
    smallest = constraints.least_lots(ticks)
    assert constraints.refuse(ticks, smallest, 2 * ticks) is None
    assert smallest == 1 or constraints.refuse(ticks, smallest - 1, 2 * ticks) is not None
