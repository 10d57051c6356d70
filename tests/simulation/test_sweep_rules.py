"""What a compiled grid works out in its own way, beside the rule it stands for: pairs of fills, and how many levels are likely."""

from __future__ import annotations

import math
import random
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.decision import rules
from grinder_kit.execution.fill_tracker import FillTracker
from grinder_kit.fillprob import passage
from grinder_kit.fillprob.first_passage import PRIOR, FirstPassageModel, Tail
from grinder_kit.fillprob.heuristic import expected_move_bps, step_probability
from grinder_kit.fillprob.level import of_model
from grinder_kit.fillprob.level_kernel import passage_at_level
from grinder_kit.market.synthetic import synthetic_market
from grinder_kit.model.fill import Fill
from grinder_kit.model.market import Features
from grinder_kit.model.order import Side
from grinder_kit.simulation import grid_filter as gf
from grinder_kit.simulation import grid_orders as go
from grinder_kit.simulation.grid_pairing import settle
from grinder_kit.simulation.grid_pass import new_trades
from grinder_kit.simulation.sweep import run_grid, share
from tests.simulation.markets import CONFIG, TOY

FILLS = st.lists(st.tuples(st.sampled_from((1, -1)), st.integers(990, 1_010), st.integers(1, 4)), max_size=60)


@given(FILLS)
def test_fills_are_paired_as_the_tracker_pairs_them(fills: list[tuple[int, int, int]]) -> None:
    """Round trips first in first out, and the profit of the nearest level first, are the tracker's."""
    tracker, trades, head = FillTracker(TOY), new_trades(64), np.zeros(go.HEAD_SIZE, np.int64)
    for number, (side, ticks, lots) in enumerate(fills):
        tracker.record_fill(
            Fill(
                fill_id=str(number), order_id=str(number), symbol=TOY.symbol, side=Side.BUY if side > 0 else Side.SELL,
                price=TOY.price(ticks), quantity=TOY.quantity(lots), commission=Decimal(0), commission_asset=TOY.settle,
                ts_ns=number, is_maker=True,
            )
        )  # fmt: skip
        trades[go.T_TICKS, number], trades[go.T_LOTS, number] = ticks, side * lots
    head[go.FILLS] = len(fills)
    settle(head, trades)
    assert head[go.ROUND_TRIPS] == tracker.round_trip_count
    assert TOY.tick * TOY.lot * int(head[go.LEVEL_PROFIT]) == tracker.level.realised


def look(rng: random.Random) -> np.ndarray:
    """Return what may be known at a step."""
    out = np.empty(gf.LOOKS)
    out[gf.NATR], out[gf.OFI] = rng.choice((0.0003, 0.001, 0.02)) * rng.random(), rng.uniform(-3, 3)
    out[gf.SIGMA], out[gf.IMBALANCE], out[gf.CHANGED] = 10 ** rng.uniform(-1, 1.5), rng.uniform(-1, 1), 1.0
    return out


@pytest.mark.parametrize("tail", [None, *Tail])
def test_as_many_levels_are_likely_as_the_probability_says(tail: Tail | None) -> None:
    """Wherever the search begins, it ends where the probability of each level, asked one by one, falls below the threshold."""
    rng = random.Random(7)
    rule = gf.heuristic_rule() if tail is None else gf.passage_rule(FirstPassageModel().parameters.array(), tail.code)
    for _ in range(400):
        known, mid2, side = look(rng), rng.randrange(1_000_000, 1_400_000), rng.choice((1, -1))
        spacing, first = rng.choice((1, 3, 10, 100, 2_000)), rng.randrange(-20, 50)
        prices = np.array([mid2 // 2 - side * (first + spacing * at) for at in range(20)], np.int64)
        f = np.zeros(gf.F_SIZE)
        f[gf.F_HYSTERESIS], f[gf.F_HORIZON] = rng.choice((0.0, 0.05, 0.3)), rng.choice((1, 10, 60))

        def chance(
            ticks: int, known: np.ndarray = known, mid2: int = mid2, side: int = side, f: np.ndarray = f
        ) -> float:
            distance, horizon_s = rules.distance_bps(side, ticks, mid2), float(f[gf.F_HORIZON])
            if tail is None:
                return step_probability(side, distance, expected_move_bps(known[gf.NATR], horizon_s), known[gf.OFI])
            return passage.fill_probability(
                max(0.0, distance), 0.0, known[gf.SIGMA], 0.0, known[gf.IMBALANCE] * side, horizon_s, *PRIOR, tail.code
            )

        # Often the very probability of a level, so that the last bit decides.
        f[gf.F_LEAST] = rng.choice((rng.uniform(0.06, 0.9), chance(int(prices[rng.randrange(20)]))))
        gf.prepare(rule, f)
        for stands in (False, True):
            least = rules.least_probability(f[gf.F_LEAST], f[gf.F_HYSTERESIS], stands)
            expected = next((at for at in range(20) if chance(int(prices[at])) < least), 20)
            for before in (0, 7, 20):
                assert gf.likely(rule, known, f, stands, prices, 20, side, mid2, before) == expected


@given(
    st.sampled_from((1, -1)), st.floats(-50, 500), st.floats(0.01, 100), st.floats(-1, 1), st.floats(0.1, 600),
    st.sampled_from(list(Tail)),
)  # fmt: skip
def test_the_engine_is_given_the_compiled_probability(
    side: int, distance: float, sigma: float, imbalance: float, horizon_s: float, tail: Tail
) -> None:
    """What decides a level in the engine is the compiled function, and that is the formula in every bit."""
    compiled = passage_at_level(side, distance, sigma, imbalance, horizon_s, *PRIOR, tail.code)
    features = Features(ts_ns=0, mid=100.0, sigma_bps=sigma, imbalance=imbalance)
    assert of_model(FirstPassageModel(tail=tail))(features, side, distance, horizon_s) == compiled
    formula = passage.fill_probability(
        max(0.0, distance), 0.0, sigma, 0.0, imbalance * side, horizon_s, *PRIOR, tail.code
    )
    assert formula == compiled


def test_nothing_is_likely_before_the_market_is_known() -> None:
    """In warm-up no level is quoted, by either model."""
    unknown = np.full(gf.LOOKS, math.nan)
    for rule in (gf.heuristic_rule(), gf.passage_rule(FirstPassageModel().parameters.array(), 0)):
        f = np.array([2.0, 0.1, 0.0, 10.0, 0.0, 0.0])
        assert gf.likely(rule, unknown, f, False, np.array([990], np.int64), 1, 1, 2_000, 1) == 0


def test_what_is_known_is_read_once_for_all_grids() -> None:
    """The features of a step are those of a replay, and are kept with the market."""
    market = synthetic_market(seed=5, minutes=0.5)
    config = CONFIG.replace(**{"grid.min_fill_prob": 0.3})
    shared = share(market, config)
    run_grid(shared, config)
    from grinder_kit.simulation.grid_setup import _KNOWN

    (kept,) = _KNOWN[shared].values()
    run_grid(shared, config.replace(**{"grid.levels": 3}))
    assert next(iter(_KNOWN[shared].values())) is kept
