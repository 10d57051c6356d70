"""A fitted model decides which levels a replay quotes, by the threshold of the configuration."""

from __future__ import annotations

from typing import Any

import pytest

import grinder_kit as gk
from grinder_kit.errors import ConfigError
from grinder_kit.execution.engine import ExecutionEngine
from grinder_kit.fillprob.first_passage import FirstPassageModel
from grinder_kit.model.config import Config
from grinder_kit.simulation.replay import replay

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
