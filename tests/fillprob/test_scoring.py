"""Scores: equal to their definitions, fair to nobody, and never taken on the training unawares."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from grinder_kit.errors import ConfigError, DataError
from grinder_kit.fillprob import scoring
from grinder_kit.fillprob.first_passage import FirstPassageModel
from grinder_kit.fillprob.labels import LabelSet, label
from grinder_kit.fillprob.model_file import load_model, save_model
from grinder_kit.fillprob.observations import observe
from grinder_kit.market.synthetic import synthetic_market
from tests.fillprob.simulated import START_NS, label_set, orders, passage_times

YES, NO = np.array([True]), np.array([False])


def drawn(steps: int, seed: int, *, start_ns: int = START_NS, symbol: str = "BTCUSDT") -> LabelSet:
    """Return labels drawn from the prior."""
    x = orders(steps, seed)
    return label_set(x, passage_times(x, seed + 1), start_ns=start_ns, symbol=symbol)


def test_scores_are_their_definitions() -> None:
    """By hand: log loss, Brier, calibration error, area under the curve with ties counting half."""
    p, y = np.array([0.9, 0.2, 0.6, 0.6]), np.array([True, False, True, False])
    assert scoring.log_loss(p, y) == pytest.approx(-(math.log(0.9) + math.log(0.8) + math.log(0.6) + math.log(0.4)) / 4)
    assert scoring.brier(p, y) == pytest.approx((0.01 + 0.04 + 0.16 + 0.36) / 4)
    assert scoring.ece(p, y) == pytest.approx((0.1 + 0.2 + 0.2) / 4)
    assert scoring.auc(p, y) == pytest.approx((1 + 1 + 1 + 0.5) / 4)
    assert math.isnan(scoring.auc(p, np.ones(4, bool)))
    assert scoring.log_loss(np.array([0.0]), YES) == pytest.approx(-math.log(scoring.LEAST))


def test_the_censored_likelihood_is_its_definition() -> None:
    """A fill counts the probability of its interval, an order that did not fill that of lasting so long."""
    cumulative = np.array([[0.1, 0.3, 0.4, 0.6, 0.7]])
    assert scoring.rcll(cumulative, np.array([0.5]), YES) == pytest.approx(math.log(0.1))
    assert scoring.rcll(cumulative, np.array([7.0]), YES) == pytest.approx(math.log(0.1))
    assert scoring.rcll(cumulative, np.array([60.0]), YES) == pytest.approx(math.log(0.1))
    assert scoring.rcll(cumulative, np.array([60.0]), NO) == pytest.approx(math.log(0.3))
    assert scoring.rcll(cumulative, np.array([12.0]), NO) == pytest.approx(math.log(0.6))
    assert scoring.rcll(cumulative, np.array([0.5]), NO) == pytest.approx(0.0)


def test_the_truth_scores_best_and_is_calibrated() -> None:
    """The model that drew the labels beats heuristic and Kaplan-Meier, and what it says comes true."""
    train, test = drawn(400, 1), drawn(400, 3, start_ns=START_NS + 10**12)
    scores = FirstPassageModel().fit(train).score(test)
    assert scores.mean("first_passage") < scores.mean("kaplan_meier") < scores.mean("heuristic")
    assert scores.mean("first_passage", "ece") < 0.02
    assert scores.mean("first_passage", "auc") > 0.75
    pair = {"fit": FirstPassageModel().fit(train), "truth": FirstPassageModel()}
    both = scoring.score_observations(pair, observe(test), sigma=1.3)
    assert both.mean("fit") == pytest.approx(both.mean("truth"), abs=0.002)


def test_shuffled_labels_bring_the_area_to_one_half() -> None:
    """Where times belong to no order in particular, no model can rank them."""
    labels = drawn(400, 5)
    mixed = labels.frame.select("filled_power", "time_s_power").sample(fraction=1.0, shuffle=True, seed=6)
    scores = FirstPassageModel().score(replace(labels, frame=labels.frame.with_columns(mixed)))
    for value in scores.table.filter(pl.col("model") == "first_passage")["auc"]:
        assert value == pytest.approx(0.5, abs=0.02)


def test_training_is_refused_unless_told() -> None:
    """Labels that overlap the training in time and instrument are an error; other ones are not; in_sample=True is said."""
    train = drawn(300, 7)
    model = FirstPassageModel().fit(train)
    with pytest.raises(
        ConfigError, match=r"lie in the model's training .*; score on later data.*or pass in_sample=True"
    ):
        model.score(train)
    told = model.score(train, in_sample=True)
    assert told.in_sample and "seen in training" in repr(told)
    assert not model.score(drawn(300, 7, symbol="ETHUSDT")).in_sample
    later = train.window_ns[1]
    assert not model.score(drawn(300, 9, start_ns=later)).in_sample


def test_synthetic_markets_of_other_seeds_are_other_markets(tmp_path: Path) -> None:
    """Markets of one name and time are told apart by their seed, also by a model that was saved; a longer one begins the same."""
    model = FirstPassageModel().fit(synthetic_market(seed=7, minutes=2))
    save_model(model, tmp_path / "model.json")
    other, longer = label(synthetic_market(seed=8, minutes=2)), label(synthetic_market(seed=7, minutes=2.5))
    for one in (model, load_model(tmp_path / "model.json")):
        assert not one.score(other).in_sample
        with pytest.raises(ConfigError, match="lie in the model's training"):
            one.score(longer)


def test_a_training_that_does_not_know_its_seed_is_on_the_safe_side() -> None:
    """A model of before seeds were remembered counts any synthetic market of its name and time as the one that it has seen."""
    labels = drawn(300, 7)
    model = FirstPassageModel().fit(labels)
    seeded = replace(labels, market={"name": "simulated", "seed": 7})
    with pytest.raises(ConfigError, match="lie in the model's training"):
        model.score(seeded)


def test_orders_that_were_not_watched_are_not_scored() -> None:
    """An order cut short counts only for horizons that it was watched for, whether it filled or not."""
    labels = drawn(200, 11)
    short = labels.frame.with_columns(
        watched_s=pl.lit(7.0),
        filled_power=pl.col("time_s_power") <= 7,
        time_s_power=pl.col("time_s_power").clip(upper_bound=7.0),
    )
    scores = FirstPassageModel().score(replace(labels, frame=short))
    assert scores.table.filter(pl.col("model") == "first_passage")["horizon_s"].to_list() == [1.0, 5.0, None]
    with pytest.raises(DataError, match="no order was watched for 1 s"):
        FirstPassageModel().score(replace(labels, frame=short.with_columns(watched_s=pl.lit(0.5))))


def test_far_orders_flatter_nobody() -> None:
    """Orders beyond three sigma root(h) change no score of that horizon."""
    labels = drawn(200, 13)
    near = labels.frame.filter(pl.col("distance_bps") <= 20)
    model = FirstPassageModel().fit(drawn(200, 15, symbol="ETHUSDT"))
    whole, cut = (model.score(replace(labels, frame=frame)).table for frame in (labels.frame, near))
    at_one = (pl.col("horizon_s") == 1) & (pl.col("model") == "first_passage")
    assert whole.filter(at_one).equals(cut.filter(at_one))


def test_reliability_says_what_was_predicted_and_seen() -> None:
    """By horizon, band and bin: the intervals hold what was seen, and the orders of a horizon's bands add up to all of them."""
    scores = FirstPassageModel().score(drawn(800, 17))
    frame = scores.reliability("first_passage")
    known = frame.filter(pl.col("low").is_not_null())
    assert known.height > 50
    assert (known["low"] <= known["observed"]).all() and (known["observed"] <= known["high"]).all()
    whole = frame.filter(pl.col("up_to").is_null()).group_by("horizon_s").agg(pl.col("orders").sum()).sort("horizon_s")
    bands = (
        frame.filter(pl.col("up_to").is_not_null()).group_by("horizon_s").agg(pl.col("orders").sum()).sort("horizon_s")
    )
    assert whole.equals(bands)
    by_distance = scores.by_distance().filter(pl.col("model") == "first_passage")
    assert by_distance.group_by("horizon_s").agg(pl.col("orders").sum()).sort("horizon_s").equals(whole)


def test_where_nothing_fills_there_is_no_area() -> None:
    """Without a single fill the area under the curve is not a number, and the other scores are."""
    labels = drawn(100, 25)
    none = labels.frame.with_columns(filled_power=pl.lit(False), time_s_power=pl.lit(60.0))
    scores = FirstPassageModel().score(replace(labels, frame=none))
    assert math.isnan(scores.mean("first_passage", "auc")) and scores.mean("first_passage") > 0


def test_a_table_speaks_to_people_and_programs() -> None:
    """The same numbers stand in the table, in its text, and in JSON by model and horizon."""
    scores = FirstPassageModel().fit(drawn(200, 19)).score(drawn(200, 21, symbol="ETHUSDT"))
    data = scores.to_json()
    assert list(data) == ["first_passage", "heuristic", "kaplan_meier"]
    assert list(data["first_passage"]["log_loss"]) == ["1", "5", "10", "30", "60", "mean"]
    assert data["first_passage"]["log_loss"]["mean"] == scores.mean("first_passage")
    assert f"{scores.mean('first_passage'):.3f}" in repr(scores)
    assert "kaplan_meier" in scores._repr_html_()
    with pytest.raises(DataError, match='no model "weibull" was scored; there are first_passage'):
        scores.mean("weibull")


def test_a_market_is_labelled_and_scored() -> None:
    """A market instead of labels is labelled first."""
    scores = FirstPassageModel().score(synthetic_market(seed=7, minutes=3))
    assert scores.mean("first_passage") < scores.mean("heuristic")


def test_the_observations_leave_out_what_is_not_known() -> None:
    """Rows of the warm-up, and those at the touch without a known queue, are left out and counted."""
    labels = drawn(10, 23)
    touch = pl.col("at_touch")
    frame = labels.frame.with_columns(queue_s=pl.lit(None, pl.Float64), ofi_z=pl.lit(None, pl.Float64))
    seen = observe(replace(labels, frame=frame))
    assert seen.left_out == labels.frame.filter(touch).height
    assert len(seen) == labels.frame.filter(~touch).height
