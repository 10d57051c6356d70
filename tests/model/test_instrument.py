"""Instrument: exact steps, rounding that never favours the wrong side, and round trips through JSON."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from grinder_kit.errors import ConfigError
from grinder_kit.model.instrument import Contract, Instrument, round_to_step
from grinder_kit.model.number import plain
from grinder_kit.model.order import Side


def instrument(tick: str = "0.1", lot: str = "0.001", **more: object) -> Instrument:
    """Return an instrument with these steps."""
    return Instrument(
        symbol="BTCUSDT", venue="x", base="BTC", quote="USDT", tick=Decimal(tick), lot=Decimal(lot), **more
    )  # type: ignore[arg-type]


STEP = st.sampled_from(["0.1", "0.01", "0.00001", "1", "5", "0.5", "0.25", "100"])
VALUE = st.decimals(0, 10**7, places=8)


def test_rounding_is_that_of_ccxts_own_vectors(shared_data: Path) -> None:
    """All 63 TICK_SIZE vectors, negative numbers and odd steps included."""
    vectors = json.loads((shared_data / "vectors/ccxt_4.5.90_decimal_to_precision.json").read_text())
    cases = [v for v in vectors if "TICK_SIZE" in v["args"]]
    assert len(cases) == 63
    for case in cases:
        text, mode, step, _, *padding = case["args"]
        got = round_to_step(Decimal(text), Decimal(str(step)), truncate=mode == "TRUNCATE")
        assert got == Decimal(case["expected"]), case
        if not padding:
            assert plain(got) == case["expected"], case


def test_quantities_are_truncated_as_the_vectors_truncate(shared_data: Path) -> None:
    """Instrument floors a quantity as ccxt cuts one with TICK_SIZE, and never gives more than was asked for."""
    vectors = json.loads((shared_data / "vectors/ccxt_4.5.90_decimal_to_precision.json").read_text())
    for case in vectors:
        text, mode, step = case["args"][:3]
        if "TICK_SIZE" in case["args"] and mode == "TRUNCATE" and not text.startswith("-"):
            assert instrument(lot=str(step)).round_quantity(text) == Decimal(case["expected"]), case


@given(STEP, VALUE)
def test_prices_round_to_the_side_that_costs_us_nothing(step: str, value: Decimal) -> None:
    """A buy rounds down, a sell up, by less than a tick; a price on the tick stays."""
    i = instrument(tick=step)
    low, high = i.round_price(value, Side.BUY), i.round_price(value, Side.SELL)
    assert low <= value <= high
    assert high - low in (0, i.tick)
    assert (high == low) == (value % i.tick == 0)
    assert i.round_price(low, Side.SELL) == i.round_price(low, Side.BUY) == low


@given(STEP, st.integers(0, 10**12))
def test_ticks_and_lots_are_exact_both_ways(step: str, n: int) -> None:
    """Integer to Decimal to integer is the identity."""
    i = instrument(tick=step, lot=step)
    assert i.ticks(i.price(n)) == i.lots(i.quantity(n)) == n


@given(STEP, VALUE)
def test_off_the_step_says_what_to_write(step: str, value: Decimal) -> None:
    """The neighbours above zero are named, and each of them passes."""
    i = instrument(tick=step)
    assume(value % i.tick)
    with pytest.raises(ConfigError, match="off the tick of") as error:
        i.ticks(value)
    written = [Decimal(text) for text in re.findall(r'"([^"]+)"', str(error.value))]
    assert written and all(price > 0 and abs(price - value) < i.tick for price in written)
    assert all(i.price(i.ticks(price)) == price for price in written)


def test_floats_are_refused() -> None:
    """The message shows the text to write."""
    with pytest.raises(ConfigError, match='price is a float; write "0.1"'):
        instrument().ticks(0.1)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["tick", "lot", "contract_size"])
@pytest.mark.parametrize("value", ["0", "-1"])
def test_steps_are_above_zero(name: str, value: str) -> None:
    """A step of 0 is a symbol that the venue has not opened."""
    with pytest.raises(ConfigError, match=f"BTCUSDT: {name} is {value}; it must be above zero"):
        instrument(**{name: value})


def test_minimums_are_not_negative() -> None:
    """0 means no minimum."""
    with pytest.raises(ConfigError, match="min_notional is -1; write 0 for no minimum"):
        instrument(min_notional=Decimal(-1))


@pytest.mark.parametrize(
    ("contract", "size", "notional", "settle"),
    [
        (Contract.SPOT, "1", "200", "USDT"),
        (Contract.LINEAR, "10", "2000", "USDT"),
        (Contract.INVERSE, "100", "200", "BTC"),
    ],
)
def test_notional_and_settlement_follow_the_contract(contract: Contract, size: str, notional: str, settle: str) -> None:
    """Two units at 100: price times quantity times size, or contracts times size."""
    i = instrument(contract=contract, contract_size=Decimal(size))
    assert (i.notional(Decimal(100), Decimal(2)), i.settle) == (Decimal(notional), settle)


def test_json_keeps_everything() -> None:
    """What a recording stores of its instrument comes back equal; keys of tomorrow are ignored."""
    i = instrument(contract=Contract.INVERSE, band_up=Decimal("1.05"), max_orders=7, unknown_filters=("A", "B"))
    assert Instrument.from_json(json.loads(json.dumps(i.to_json())) | {"new": 1}) == i
