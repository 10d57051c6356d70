"""A fitted model decides which levels a replay quotes, by the threshold of the configuration."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import grinder_kit as gk
from grinder_kit.errors import ConfigError
from grinder_kit.execution.engine import ExecutionEngine
from grinder_kit.fillprob.first_passage import FirstPassageModel
from grinder_kit.fillprob.markout import MarkoutModel
from grinder_kit.fillprob.model_file import Fitted, load_fitted, model_sha256, save_model
from grinder_kit.model.config import Config
from grinder_kit.model.grid import GridPlan
from grinder_kit.model.market import Features
from grinder_kit.simulation.replay import replay
from grinder_kit.simulation.sensitivity import fill_sensitivity

MARKET = gk.synthetic_market(seed=7, minutes=6)


def config(min_fill_prob: float, **values: Any) -> Config:
    """Return a grid that reaches from the touch to levels that hardly ever fill."""
    grid = {"spacing_bps": 3, "levels": 12, "size": "0.002", "fill_horizon_s": 10, "fill_prob_hysteresis": 0} | values
    return Config(grid=gk.GridConfig(min_fill_prob=min_fill_prob, **grid))


def quotes(least: float, **values: Any) -> tuple[int, float]:
    """Return how many orders a replay sent, and the seconds in which levels were too unlikely."""
    result = replay(MARKET, config(least, **values), model=FirstPassageModel())
    refused = result.refusals.filter(result.refusals["reason"] == "FILL_PROB")
    return result.summary["submitted_buy"] + result.summary["submitted_sell"], float(refused["seconds"].sum())


def test_a_higher_threshold_quotes_less() -> None:
    """And a model may ask for less than the heuristic's floor."""
    times = [quotes(least)[1] for least in (0.0, 0.01, 0.3)]
    assert times == sorted(times) and times[0] == 0 and times[1] > 0


def test_hysteresis_keeps_what_stands() -> None:
    """A level near the threshold does not come and go: fewer orders are sent."""
    plain, calm = (quotes(0.2, fill_prob_hysteresis=margin)[0] for margin in (0, 0.1))
    assert calm < plain


def test_a_horizon_beyond_the_data_is_refused() -> None:
    """The prior speaks of ten minutes."""
    with pytest.raises(ConfigError, match="fill_horizon_s is 900"):
        replay(MARKET, config(0.2, fill_horizon_s=900), model=FirstPassageModel())


def test_an_update_keeps_the_model() -> None:
    """Another grid is held against the same model, so a threshold below the heuristic's floor stays allowed."""
    engine = ExecutionEngine(MARKET.instrument, config(0.02), model=FirstPassageModel())
    engine.update(config(0.03, spacing_bps=4))
    assert engine.config.grid.min_fill_prob == 0.03
    with pytest.raises(ConfigError, match="heuristic"):
        ExecutionEngine(MARKET.instrument, config(0.2)).update(config(0.03))


# --- a model that the configuration names ----------------------------------------------------------------------------


def test_a_named_model_decides_as_a_given_one(tmp_path: Path) -> None:
    """The same orders and the same digest; another than the heuristic's, and it stands in the result's configuration."""
    path = save_model(FirstPassageModel(), tmp_path / "model.json")
    named = config(0.2).replace(**{"fill_model.file": str(path), "fill_model.sha256": load_fitted(path).sha256})
    by_file, given, plain = (
        replay(MARKET, named),
        replay(MARKET, config(0.2), model=FirstPassageModel()),
        replay(MARKET, config(0.2)),
    )
    assert by_file.digest == given.digest != plain.digest
    assert by_file.orders.equals(given.orders) and not by_file.orders.equals(plain.orders)
    assert given.config.fill_model is not None and given.config.fill_model.sha256 == load_fitted(path).sha256
    assert by_file.fitted == given.fitted and plain.fitted is None and plain.config.fill_model is None
    assert replay(MARKET, given.config, model=FirstPassageModel()).digest == given.digest
    (tmp_path / "model.json").rename(tmp_path / "moved.json")
    with pytest.raises(ConfigError, match="No such file"):
        replay(MARKET, named)
    moved = named.replace(**{"fill_model.file": str(tmp_path / "moved.json")})
    assert replay(MARKET, moved).digest == given.digest


def test_queue_models_are_compared_under_the_model_of_the_result() -> None:
    """And not under the heuristic, unawares."""
    short = gk.synthetic_market(seed=7, minutes=1)
    known = replay(short, config(0.2), model=FirstPassageModel())
    rows = fill_sensitivity(short, known.config, known=known)
    other = replay(short, known.config.replace(**{"execution.queue": "optimistic"}), model=FirstPassageModel())
    assert rows.filter(rows["queue"] == "optimistic")["trades"].item() == other.summary["trades"]


def test_a_markout_changes_what_levels_are_worth_and_no_order() -> None:
    """The levels of an engine carry the fitted markout."""
    markout = MarkoutModel(theta=(-2.0, 0.0, 0.0, 0.0))
    both = Fitted(model=FirstPassageModel(), markout=markout, sha256=model_sha256(FirstPassageModel(), markout))
    short = gk.synthetic_market(seed=7, minutes=1)
    with_it, without = replay(short, config(0.2), model=both), replay(short, config(0.2), model=FirstPassageModel())
    assert with_it.orders.equals(without.orders) and with_it.digest != without.digest
    engine = ExecutionEngine(MARKET.instrument, config(0.2), model=both.model, markout=both.markout)
    plan = GridPlan(
        center_price=Decimal(60_000),
        spacing_bps=Decimal(3),
        levels_up=1,
        levels_down=1,
        size_schedule=(Decimal("0.002"),),
    )
    features = Features(ts_ns=1, mid=60_000.0, spread_bps=0.02, imbalance=0.0, sigma_bps=1.5)
    profits = [level.expected_profit_bps for level in engine.manager.compute_levels(plan, features)]
    assert profits == pytest.approx([3 - 4 - 2 * 1.5] * 2)
