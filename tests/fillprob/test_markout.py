"""Markouts given fills, and exits given entries: known laws are found again, and real recordings give the measured numbers."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest

from grinder_kit.errors import ConfigError, DataError
from grinder_kit.fillprob.exits import exit_observations, exits, fit_exits, mid_at
from grinder_kit.fillprob.label_options import SECOND_NS
from grinder_kit.fillprob.labels import LabelSet, label
from grinder_kit.fillprob.markout import PRIOR, PRIOR_SPREAD, MarkoutModel, marked_fills, mean_markout, value_per_try
from grinder_kit.fillprob.model import Floats, Inputs
from grinder_kit.market.recording import Recording
from grinder_kit.market.synthetic import synthetic_market
from tests.fillprob import simulated

TRUTH = np.array([-1.2, 0.4, -0.3, 0.15])


def design(x: Inputs) -> Floats:
    """Return the formula's terms, written again."""
    queue = np.log(1 + np.minimum(x.queue_s, 60))
    return np.stack([np.ones(len(x)), x.at_touch, x.at_touch * queue, np.log(1 + x.distance_bps / x.sigma)], axis=1)


def with_markouts(steps: int, seed: int, noise: float, theta: Floats = TRUTH) -> LabelSet:
    """Return simulated labels whose markouts follow the formula."""
    x = simulated.orders(steps, seed)
    labels = simulated.label_set(x, simulated.passage_times(x, seed + 1))
    moved = x.sigma * (design(x) @ theta + np.random.default_rng(seed).normal(0, noise, len(x)))
    marks = pl.Series(moved)
    frame = labels.frame.with_columns(
        pl.when(pl.col("filled_power")).then(marks).alias(f"markout_{s}s_bps") for s in (1, 10)
    )
    return dataclasses.replace(labels, frame=frame)


@pytest.fixture(scope="module")
def small() -> LabelSet:
    """Return labels of a synthetic market of three minutes."""
    return label(synthetic_market(seed=7, minutes=3))


@pytest.fixture(scope="module")
def btc(btc_recording: Recording) -> LabelSet:
    """Return labels of a real recording."""
    return label(btc_recording)


# --- the model ---------------------------------------------------------------------------------------------------------


def test_the_formula_is_found_again() -> None:
    """With an hour of fills the fit finds the law they follow, within three of its own standard deviations."""
    model = MarkoutModel().fit(with_markouts(3_600, 3, noise=0.5))
    spread = np.sqrt(np.diag(np.array(model.covariance)))
    assert (np.abs(np.array(model.theta) - TRUTH) < 3 * spread).all()
    assert (np.abs(np.array(model.theta) - TRUTH) < np.abs(np.array(PRIOR) - TRUTH)).all()


def test_the_band_holds_the_truth() -> None:
    """Where the truth lies as far from the prior as the prior believes, nine in ten bands of the mean hold it, or nearly."""
    x = Inputs(distance_bps=[0.01, 0.01, 2.0, 8.0], sigma=1.2, at_touch=[1, 1, 0, 0], queue_s=[0, 10, 0, 0])
    rng = np.random.default_rng(2)
    held = []
    for seed in range(60):
        theta = np.array(PRIOR) + rng.normal(0, 1, 4) * PRIOR_SPREAD
        low, high = MarkoutModel().fit(with_markouts(120, seed, noise=3.0, theta=theta)).band(x)
        truth = x.sigma * (design(x) @ theta)
        held.append((low <= truth) & (truth <= high))
    assert 0.8 <= np.mean(held) <= 1.0


def test_little_data_is_the_prior() -> None:
    """From a few seconds of fills little is learned: the model stays within half a standard deviation of what was believed."""
    model = MarkoutModel().fit(with_markouts(12, 4, noise=3.0))
    assert (np.abs(np.array(model.theta) - PRIOR) < 0.5 * np.array(PRIOR_SPREAD)).all()
    spread = np.sqrt(np.diag(np.array(model.covariance)))
    assert (spread > 0.8 * np.array(PRIOR_SPREAD)).all()


def test_twice_the_fills_of_one_second_are_no_new_data() -> None:
    """Labels of one market at one time are one piece of news: taking every row twice changes neither estimate nor spread."""
    once = with_markouts(600, 5, noise=2.0)
    twice = dataclasses.replace(once, frame=pl.concat([once.frame, once.frame]).sort("ts_ns", maintain_order=True))
    first, second = MarkoutModel().fit(once), MarkoutModel().fit(twice)
    assert np.allclose(first.theta, second.theta) and np.allclose(first.covariance, second.covariance)


def test_interval_and_mean_agree() -> None:
    """The interval of one order is its band, and that of several lies around their mean."""
    model = MarkoutModel()
    x = Inputs(distance_bps=[1.0, 3.0], sigma=[1.0, 2.0])
    low, high = model.band(x[:1])
    one = model.interval(x[:1])
    assert (one.value, one.low, one.high) == pytest.approx((model.predict(x)[0], low[0], high[0]))
    assert model.interval(x).value == pytest.approx(model.predict(x).mean())


def test_without_fills_there_is_no_fit(small: LabelSet) -> None:
    """Labels that never filled, or whose market ends with the fill, are refused in words."""
    never = dataclasses.replace(small, frame=small.frame.with_columns(pl.lit(False).alias("filled_power")))
    for call in (
        lambda: MarkoutModel().fit(never),
        lambda: mean_markout(never),
        lambda: exits(never, 4.0),
        lambda: fit_exits(never),
    ):
        with pytest.raises(DataError, match="use more data"):
            call()
    with pytest.raises(ConfigError, match="horizon_s is 5"):
        MarkoutModel(horizon_s=5)
    with pytest.raises(DataError, match="watched for 500 s"):
        value_per_try(small, horizon_s=500, edge_bps=1, fees_bps=0)


def test_the_value_of_a_try_is_what_came_of_it(small: LabelSet) -> None:
    """Every order counts: nothing where it did not fill in time, edge less fees and its markout where it did."""
    rows = small.frame.filter(pl.col("distance_bps").is_between(1, 3) & (pl.col("watched_s") >= 10)).to_dicts()
    values = []
    for row in rows:
        if not row["filled_power"] or row["time_s_power"] > 10:
            values.append(0.0)
        elif row["markout_10s_bps"] is not None:
            values.append(5 - 2 + row["markout_10s_bps"])
    found = value_per_try(small, horizon_s=10, edge_bps=5, fees_bps=2, nearest_bps=1, farthest_bps=3)
    assert found.value == pytest.approx(np.mean(values))


# --- exits -------------------------------------------------------------------------------------------------------------


def test_exits_are_those_after_their_entries(small: LabelSet) -> None:
    """Counted by hand: for each entry the first orders of the other side after its fill, those around the target in proportion."""
    frame = small.frame
    tick = float(small.instrument.tick)
    steps = frame["ts_ns"].unique().sort().to_list()
    mids = dict(frame.select("ts_ns", "mid").iter_rows())
    by_step = frame.partition_by("ts_ns", "side", as_dict=True)
    outcomes, lefts = [], []
    for row in frame.filter(pl.col("at_touch") & pl.col("filled_power")).iter_rows(named=True):
        fill = row["ts_ns"] + round(row["time_s_power"] * 1e9)
        step = next((s for s in steps if s >= fill), None)
        if step is None or step - fill > 500_000_000 or (step, -row["side"]) not in by_step:
            continue
        ways = []
        for way in by_step[step, -row["side"]].iter_rows(named=True):
            beyond = row["side"] * (way["ticks"] - row["ticks"]) / row["ticks"] * 1e4
            if (step - fill) / 1e9 + way["watched_s"] >= 30:
                out = way["filled_power"] and (step - fill) / 1e9 + way["time_s_power"] <= 30
                ways.append((beyond, float(out)))
        near = max((w for w in ways if w[0] <= 3), default=None, key=lambda w: w[0])
        far = min((w for w in ways if w[0] >= 3), default=None, key=lambda w: w[0])
        if near is None or far is None:
            continue
        part = 0.0 if far[0] == near[0] else (3 - near[0]) / (far[0] - near[0])
        outcome = near[1] * (1 - part) + far[1] * part
        outcomes.append(outcome)
        end = fill + 30 * SECOND_NS
        last = max((s for s in steps if s <= end), default=None)
        if outcome < 1 and last is not None and end - last <= 500_000_000:
            price = row["ticks"] * tick
            lefts.append((row["side"] * (mids[last] - price) / price * 1e4, 1 - outcome))
    found = exits(small, 3.0, horizon_s=30)
    assert found.entries == len(outcomes) > 100
    assert found.exit_prob.value == pytest.approx(np.mean(outcomes))
    assert found.left_bps.value == pytest.approx(np.average([v for v, _ in lefts], weights=[w for _, w in lefts]))


def test_exits_fall_with_the_target_and_rise_with_time(small: LabelSet) -> None:
    """A farther exit fills less often, a longer wait more often."""
    shares = [exits(small, target, horizon_s=30).exit_prob.value for target in (1.0, 3.0, 8.0)]
    assert shares == sorted(shares, reverse=True)
    longer = [exits(small, 3.0, horizon_s=h).exit_prob.value for h in (5.0, 15.0, 45.0)]
    assert longer == sorted(longer)


def test_exit_observations_are_the_other_side(small: LabelSet) -> None:
    """Each stands beyond its entry, fills no sooner than its entry, and knows the volatility of before it."""
    seen = exit_observations(small)
    assert len(seen) > 1_000 and (seen.x.distance_bps > 0).all() and (seen.x.distance_bps <= 30).all()
    assert (seen.time_s > 0).all() and (seen.time_s <= seen.watched_s + 1e-9).all()
    assert len(np.unique(seen.ts_ns)) == len(np.unique(seen.ts_ns // SECOND_NS))
    known = dict(small.frame.select("ts_ns", "sigma").iter_rows())
    assert all(known[ts] == sigma for ts, sigma in zip(seen.ts_ns.tolist(), seen.x.sigma.tolist(), strict=True))


def test_mid_is_the_last_one_known(small: LabelSet) -> None:
    """At a step it is that step's, before the first and long after the last it is not known."""
    first, last = small.frame["ts_ns"].min(), small.frame["ts_ns"].max()
    assert isinstance(first, int) and isinstance(last, int)
    found = mid_at(small, np.array([first - 1, first, first + 1, last, last + 10 * SECOND_NS]))
    opening = small.frame["mid"][0]
    assert found[1] == found[2] == opening and found[3] == small.frame["mid"][-1]
    assert np.isnan(found[[0, 4]]).all()


# --- real recordings ---------------------------------------------------------------------------------------------------


def test_the_measured_markout_and_exits(btc: LabelSet) -> None:
    """BTCUSDT perpetual: -.69 bps ten seconds after a fill at the touch; exits at +4 bps in .43 to .58 of cases, not .65."""
    marked = mean_markout(btc)
    assert marked.value == pytest.approx(-0.69, abs=0.1) and marked.distinguishable
    found = exits(btc, 4.0)
    assert 0.43 <= found.exit_prob.value <= 0.58
    assert found.left_bps.value < -4
    # What the exits that worked bring, those that did not take away: an entry comes to its markout, with less certainty.
    assert found.gross_bps.low is not None and found.gross_bps.high is not None
    assert found.gross_bps.low < marked.value < found.gross_bps.high


def test_the_model_says_what_was_seen(btc: LabelSet) -> None:
    """Fitted on a recording, its mean over the fills is theirs within its interval, and it is below zero."""
    model = MarkoutModel().fit(btc)
    rows = marked_fills(btc).filter("at_touch")
    mean = model.interval(Inputs.from_frame(rows))
    assert mean.low is not None and mean.high is not None
    assert mean.low < rows["markout_10s_bps"].mean() < mean.high < 0  # type: ignore[operator]


def test_the_model_of_exits_says_what_was_seen(btc: LabelSet) -> None:
    """Exits 3 to 5 bps beyond their entries fill within a minute about as often as the fitted model says."""
    seen = exit_observations(btc)
    model = fit_exits(btc)
    near = (abs(seen.x.distance_bps - 4) < 1) & (seen.watched_s >= 59.9)
    said = model.predict(seen.x[near], 60.0).mean()
    assert said == pytest.approx((seen.filled & (seen.time_s <= 60))[near].mean(), abs=0.05)
    assert model.training is not None and model.training.symbol == btc.symbol
