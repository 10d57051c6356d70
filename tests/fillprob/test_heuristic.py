"""The specification's fill heuristic: equal to its text in every bit, pinned by a table, and strict about bad input."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.errors import ConfigError
from grinder_kit.fillprob.heuristic import estimate_fill_probability, expected_move_bps, step_probability
from grinder_kit.model.market import Features
from grinder_kit.model.order import Side

GOLDEN = Path(__file__).with_name("heuristic_golden.csv")
COLUMNS = ["mid", "price", "side", "horizon_s", "natr_14_5m", "ofi_zscore", "probability"]


# --- the oracle: the function of SPEC 9.4, word for word but for its docstring --------------------------------------------


def specification(order_price: Decimal, side: str, features: dict[str, Any], horizon_s: float = 60) -> float:
    """Return what the specification's own text returns."""
    mid = features["mid"]

    # Distance in bps
    if side == "BUY":
        distance_bps = (mid - float(order_price)) / mid * 10000
    else:
        distance_bps = (float(order_price) - mid) / mid * 10000

    # Expected move from volatility
    expected_move_bps = features["natr_14_5m"] * 10000 * np.sqrt(horizon_s / 300)

    # Base probability from distance vs expected move
    if distance_bps <= 0:
        base_prob = 0.9  # Already through mid
    elif distance_bps < expected_move_bps * 0.5:
        base_prob = 0.7
    elif distance_bps < expected_move_bps:
        base_prob = 0.5
    elif distance_bps < expected_move_bps * 1.5:
        base_prob = 0.3
    else:
        base_prob = 0.1

    # Adjust for order flow
    ofi = features.get("ofi_zscore", 0)
    if side == "BUY" and ofi < -1:
        base_prob *= 1.3  # Selling pressure helps buys
    elif side == "SELL" and ofi > 1:
        base_prob *= 1.3
    elif side == "BUY" and ofi > 1:
        base_prob *= 0.7  # Buying pressure hurts buys (competition)
    elif side == "SELL" and ofi < -1:
        base_prob *= 0.7

    return float(np.clip(base_prob, 0.05, 0.95))


def cases() -> Iterator[tuple[str, str, str, str, str, str]]:
    """Yield the inputs of the table: each step and its edges, both sides, horizons, order flow, and real prices."""
    # mid 100: a distance in bps is hundredths. natr .002 and 75 s: a move of 10 bps, so the edges are 0, 5, 10 and 15.
    for side, ofi in itertools.product(("BUY", "SELL"), ("-1.0000001", "-1", "0", "1", "1.0000001")):
        sign = -1 if side == "BUY" else 1
        for bps in ("-3", "0", "0.01", "4.99", "5", "5.01", "9.99", "10", "10.01", "14.99", "15", "40"):
            yield "100", str(100 + sign * Decimal(bps) / 100), side, "75", "0.002", ofi
    for side, horizon in itertools.product(("BUY", "SELL"), ("1", "10", "60", "300", "3600")):
        sign = -1 if side == "BUY" else 1
        for bps in ("2", "8", "25", "80"):
            price = Decimal("61803.4") * (1 + sign * Decimal(bps) / 10_000)
            yield "61803.45", str(price.quantize(Decimal("0.1"))), side, horizon, "0.0031", "2.5"
    for natr, ofi in itertools.product(("0", "0.0004", "0.01"), ("-5", "0", "5")):
        for side, price in (("BUY", "2431.17"), ("SELL", "2434.02"), ("BUY", "2433.0"), ("SELL", "2400")):
            yield "2432.665", price, side, "60", natr, ofi


def golden() -> list[dict[str, str]]:
    """Return the pinned table."""
    with GOLDEN.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def inputs(row: dict[str, str]) -> tuple[Decimal, str, dict[str, float], float]:
    """Return a row as arguments."""
    features = {key: float(row[key]) for key in ("mid", "natr_14_5m", "ofi_zscore")}
    return Decimal(row["price"]), row["side"], features, float(row["horizon_s"])


def test_the_table_is_the_specifications() -> None:
    """The pinned table holds the inputs above, with each step under each order flow, and the specification's answers."""
    rows = golden()
    assert [tuple(row[key] for key in COLUMNS[:-1]) for row in rows] == list(cases())
    assert [row["probability"] for row in rows] == [repr(specification(*inputs(row))) for row in rows]
    assert len(rows) > 190
    assert {round(float(row["probability"]), 6) for row in rows} == {
        0.07, 0.1, 0.13, 0.21, 0.3, 0.39, 0.35, 0.5, 0.65, 0.49, 0.7, 0.91, 0.63, 0.9, 0.95,
    }  # fmt: skip


@pytest.mark.parametrize("row", golden(), ids=lambda row: "-".join(row[key] for key in COLUMNS[:-1]))
def test_every_row_of_the_table(row: dict[str, str]) -> None:
    """The function gives the pinned value to the last bit."""
    assert repr(estimate_fill_probability(*inputs(row))) == row["probability"]


@given(
    mid=st.floats(1e-6, 1e6),
    away=st.floats(-0.02, 0.02),
    side=st.sampled_from(["BUY", "SELL"]),
    natr=st.floats(0, 0.1),
    ofi=st.floats(-5, 5),
    horizon=st.floats(0.1, 86_400),
)
def test_it_is_the_specification_everywhere(
    mid: float, away: float, side: str, natr: float, ofi: float, horizon: float
) -> None:
    """Over all inputs, not only those of the table, not a bit differs from the specification's text."""
    price = Decimal(mid * (1 + away))
    features = {"mid": mid, "natr_14_5m": natr, "ofi_zscore": ofi}
    assert estimate_fill_probability(price, side, features, horizon) == specification(price, side, features, horizon)


@given(st.floats(-100, 100), st.floats(0, 100), st.floats(-5, 5))
def test_both_sides_are_mirrors(distance: float, move: float, ofi: float) -> None:
    """A buy under some order flow is as likely as a sell at the same distance under the opposite flow."""
    assert step_probability(1, distance, move, ofi) == step_probability(-1, distance, move, -ofi)


@given(st.floats(0, 100), st.floats(0, 100), st.floats(0, 100), st.floats(-5, 5))
def test_nearer_is_never_less_likely(near: float, far: float, move: float, ofi: float) -> None:
    """Price priority: of two orders on a side, the closer one is at least as likely to fill."""
    near, far = sorted((near, far))
    assert step_probability(1, near, move, ofi) >= step_probability(1, far, move, ofi)


def test_the_move_grows_with_the_root_of_time() -> None:
    """The expected move is the ATR of five minutes at five minutes, and half of it at a quarter of the time."""
    assert expected_move_bps(0.004, 300) == 40
    assert expected_move_bps(0.004, 75) == 20


def test_order_flow_may_be_left_out() -> None:
    """Without ofi_zscore, or with NaN for it, order flow counts as neutral, as in the specification."""
    for features in (
        {"mid": 100.0, "natr_14_5m": 0.002},
        {"mid": 100.0, "natr_14_5m": 0.002, "ofi_zscore": None},
        {"mid": 100.0, "natr_14_5m": 0.002, "ofi_zscore": math.nan},
    ):
        assert estimate_fill_probability(Decimal("99.99"), "BUY", features) == 0.7


def test_features_are_read_as_a_mapping_is() -> None:
    """A Features value serves as well as a mapping; the stated proxy stands in for volatility in warm-up."""
    known = Features(ts_ns=0, mid=100.0, natr_14_5m=0.002, natr_proxy=0.5, ofi_zscore=-2.0)
    mapping = {"mid": 100.0, "natr_14_5m": 0.002, "ofi_zscore": -2.0}
    price = Decimal("99.92")
    assert estimate_fill_probability(price, "BUY", known) == estimate_fill_probability(price, "BUY", mapping) == 0.65
    proxy = Features(ts_ns=0, mid=100.0, natr_proxy=0.002)
    assert estimate_fill_probability(price, Side.BUY, proxy) == 0.5


def test_the_horizon_is_one_minute_unless_given() -> None:
    """The specification's default of 60 s."""
    features = {"mid": 100.0, "natr_14_5m": 0.002}
    price = Decimal("99.95")
    assert estimate_fill_probability(price, "BUY", features) == estimate_fill_probability(price, "BUY", features, 60)
    assert estimate_fill_probability(price, "BUY", features, 600) == 0.7


GOOD = {"mid": 100.0, "natr_14_5m": 0.002, "ofi_zscore": 0.0}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"side": "buy"}, 'side is \'buy\'; write "BUY" or "SELL"'),
        ({"side": "LONG"}, "side is 'LONG'"),
        ({"mid": None}, "mid is nan; a fill probability needs a mid above zero"),
        ({"mid": 0.0}, "mid is 0.0"),
        ({"mid": -1.0}, "mid is -1.0"),
        ({"mid": math.nan}, "mid is nan"),
        ({"natr_14_5m": None}, r"needs the volatility \(still warming up\?\)"),
        ({"natr_14_5m": math.nan}, "natr_14_5m is nan"),
        ({"natr_14_5m": math.inf}, "natr_14_5m is inf"),
        ({"natr_14_5m": -0.001}, "natr_14_5m is -0.001"),
        ({"price": Decimal("NaN")}, "order_price is NaN; write a price above zero"),
        ({"price": Decimal(0)}, "order_price is 0"),
        ({"horizon_s": 0}, "horizon_s is 0; write seconds above zero"),
        ({"horizon_s": -60}, "horizon_s is -60"),
        ({"horizon_s": math.nan}, "horizon_s is nan"),
        ({"horizon_s": math.inf}, "horizon_s is inf"),
    ],
)
def test_bad_input_is_refused_by_name(changes: dict[str, Any], text: str) -> None:
    """No probability is made up: each input that cannot be used is named."""
    features = {key: changes.get(key, value) for key, value in GOOD.items()}
    with pytest.raises(ConfigError, match=text):
        estimate_fill_probability(
            changes.get("price", Decimal("99.9")), changes.get("side", "BUY"), features, changes.get("horizon_s", 60)
        )


def test_it_compiles_to_the_same_bits() -> None:
    """The step function that decides a level is compiled as it stands."""
    numba = pytest.importorskip("numba")
    compiled = numba.njit(step_probability)
    for side, distance, ofi in itertools.product(
        (1, -1), (-1.0, 0.0, 4.9, 5.0, 9.9, 10.0, 15.0, 20.0), (-2.0, -1.0, 1.0, 2.0)
    ):
        assert compiled(side, distance, 10.0, ofi) == step_probability(side, distance, 10.0, ofi)


def write_golden() -> None:
    """Write the table anew; only for a change of the specification: ``python tests/fillprob/test_heuristic.py``."""
    rows = [dict(zip(COLUMNS, (*case, ""), strict=True)) for case in cases()]
    with GOLDEN.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(row | {"probability": repr(specification(*inputs(row)))})


if __name__ == "__main__":
    write_golden()
