"""Fits: they find what the labels were drawn from, say when data are few, and never look ahead."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from grinder_kit.errors import ConfigError, DataError
from grinder_kit.fillprob.calibration import KNOTS, CalibratedModel
from grinder_kit.fillprob.first_passage import PRIOR, FirstPassageModel, Parameters, Tail
from grinder_kit.fillprob.fitting import EDGES_S, intervals
from grinder_kit.fillprob.kaplan_meier import DISTANCES_BPS, TIMES_S, KaplanMeierModel
from grinder_kit.fillprob.model import Inputs
from grinder_kit.fillprob.observations import Observations, observe
from grinder_kit.fillprob.passage import B0, B1, LS, K
from grinder_kit.fillprob.queue_band import QUEUES, fit_queues
from grinder_kit.fillprob.rolling import roll
from tests.fillprob.simulated import NOTHING, START_NS, brownian_times, label_set, normal_model, orders, passage_times

SECOND_NS = 1_000_000_000
OTHER = Parameters(b0=0.4, b1=1.85, lc=0.3, ls=-0.14, g0=-0.3, g1=0.5, k=0.4)


def test_the_fit_finds_the_parameters_that_drew_the_labels() -> None:
    """From half an hour of labels a fit without a prior finds the law they were drawn from."""
    x = orders(1_800, seed=1)
    fitted = FirstPassageModel(spread=NOTHING).fit(
        label_set(x, passage_times(x, seed=2, parameters=OTHER), step_ms=1_000)
    )
    wrong = fitted.predict(x[:2_000], [1, 5, 10, 30, 60]) - FirstPassageModel(parameters=OTHER).predict(
        x[:2_000], [1, 5, 10, 30, 60]
    )
    assert np.abs(wrong).max() < 0.03
    assert np.abs(wrong).mean() < 0.01


def test_under_brownian_motion_it_recovers_the_reflection_principle() -> None:
    """Labels of Brownian motion bring a fit without a prior to 2 Phi(-d / (sigma sqrt(h))): b1 = 2, s = 1, no width at mid."""
    x = orders(1_800, seed=3)
    fitted = FirstPassageModel(tail=Tail.NORMAL, spread=NOTHING).fit(
        label_set(x, brownian_times(x, seed=4), step_ms=1_000)
    )
    asked = Inputs(distance_bps=np.repeat([1.0, 3.0, 6.0, 10.0], 3), sigma=np.tile([0.8, 1.2, 1.8], 4))
    wrong = fitted.predict(asked, [1, 10, 60]) - normal_model().predict(asked, [1, 10, 60])
    assert np.abs(wrong).max() < 0.02
    assert fitted.parameters.b0 == pytest.approx(0.0, abs=0.1)
    assert fitted.parameters.b1 == pytest.approx(2.0, abs=0.05)
    assert fitted.parameters.ls == pytest.approx(0.0, abs=0.05)
    assert fitted.parameters.lc < -2


def test_intervals_hold_their_times() -> None:
    """A fill lies in (low, high]; an order that did not fill is known to have lasted to the last edge before its end."""
    x = orders(20, seed=5)
    times = np.concatenate([[0.0, 0.25, 0.2500001, 60.0], np.random.default_rng(6).uniform(0, 70, len(x) - 4)])
    seen = observe(label_set(x, times))
    low, high = intervals(seen)
    filled = seen.filled
    assert ((low < seen.time_s) | (seen.time_s == 0))[filled].all()
    assert (seen.time_s <= high)[filled].all()
    assert np.isin(low, (0.0, *EDGES_S)).all()
    assert (low[~filled] == 60).all() and np.isinf(high[~filled]).all()


def test_thirty_seconds_of_data_do_not_degenerate() -> None:
    """A fit on 30 s stays near the prior, keeps b1 above 0 and g1 at 0 or more, and scores nearly as well as the truth."""
    x = orders(120, seed=7)
    fitted = FirstPassageModel().fit(label_set(x, passage_times(x, seed=8)))
    assert fitted.parameters.b1 > 1.5 and fitted.parameters.g1 >= 0
    test = orders(400, seed=9)
    assert np.abs(fitted.predict(test, 10.0) - FirstPassageModel().predict(test, 10.0)).mean() < 0.03


@pytest.mark.parametrize("filled", [True, False])
def test_labels_that_all_say_the_same_keep_the_bounds(filled: bool) -> None:
    """Where every order fills at once, or none ever, the ridge holds the parameters finite and inside their bounds."""
    x = orders(400, seed=10)
    times = np.full(len(x), 0.01 if filled else 1e9)
    fitted = FirstPassageModel().fit(label_set(x, times))
    values = fitted.parameters.array()
    assert np.isfinite(values).all()
    assert fitted.parameters.b1 > 0 and fitted.parameters.g1 >= 0
    assert np.isfinite(np.array(fitted.covariance)).all()


def test_too_little_data_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """A fit on a few orders warns, in the log and on the model; one on enough does not."""
    x = orders(3, seed=11)
    with caplog.at_level(logging.WARNING):
        few = FirstPassageModel().fit(label_set(x, passage_times(x, seed=12) * 50))
    assert few.training is not None and few.training.warning is not None
    assert "too little data: the model is mostly its prior" in few.training.warning
    assert few.training.warning in caplog.text
    enough = orders(400, seed=11)
    fitted = FirstPassageModel().fit(label_set(enough, passage_times(enough, seed=12)))
    assert fitted.training is not None and fitted.training.warning is None


def test_more_data_make_the_band_narrower() -> None:
    """The uncertainty falls with the data, and never exceeds the prior's."""
    widths = []
    asked = orders(4, seed=13)
    for steps in (0, 240, 2_400):
        model = FirstPassageModel()
        if steps:
            x = orders(steps, seed=14)
            model = model.fit(label_set(x, passage_times(x, seed=15), step_ms=1_000))
        low, high = model.band(asked, 10.0)
        widths.append(float((high - low).mean()))
    assert widths[0] > widths[1] > widths[2]


def test_the_covariance_is_what_a_block_bootstrap_gives() -> None:
    """Refits on resampled blocks spread as the covariance says."""
    x = orders(400, seed=16)
    # Blocks share a mood, so that they differ more than independent orders would.
    mood = np.repeat(np.exp(np.random.default_rng(17).normal(0, 0.4, 20)), len(x) // 20)
    labels = label_set(x, passage_times(x, seed=18) * mood, step_ms=3_000)
    fitted = FirstPassageModel(spread=NOTHING).fit(labels)
    seen = observe(labels)
    rng = np.random.default_rng(19)
    refits = np.array(
        [
            fitted.fit_observations(seen, block_weights=rng.multinomial(20, [1 / 20] * 20).astype(float)).parameters.array()
            for _ in range(40)
        ]
    )  # fmt: skip
    claimed = np.sqrt(np.diag(np.array(fitted.covariance)))
    for at in (B0, B1, LS, K):
        assert refits[:, at].std() / claimed[at] == pytest.approx(1, abs=0.4)


def test_labels_without_known_inputs_are_refused() -> None:
    """Before the warm-up, and where mid never moved, there is nothing to fit: an error says so."""
    x = orders(4, seed=20)
    labels = label_set(x, passage_times(x, seed=21))
    for sigma in (None, 0.0):
        broken = replace(labels, frame=labels.frame.with_columns(sigma=pl.lit(sigma, pl.Float64)))
        with pytest.raises(DataError, match="none of 120 labels has known inputs"):
            FirstPassageModel().fit(broken)
    with pytest.raises(ConfigError, match='queue is "fifo"; write one of risk_averse'):
        FirstPassageModel().fit(labels, "fifo")


def test_a_rolling_fit_never_looks_ahead() -> None:
    """What comes after a refit changes nothing in it: later labels may be anything."""
    x = orders(480, seed=22)
    times = passage_times(x, seed=23)
    labels = label_set(x, times)
    start = START_NS + 60 * SECOND_NS
    whole = roll(labels, start_ns=start, every_s=20)
    assert len(whole.models) == 3
    cut = whole.from_ns[1]
    age = (cut - labels.frame["ts_ns"].to_numpy()) / 1e9
    other = np.where(times > age, 1e9, times)  # every fill after the cut is taken back
    altered = roll(label_set(x, other), start_ns=start, every_s=20)
    assert altered.models[:2] == whole.models[:2]
    assert altered.models[2] != whole.models[2]
    assert whole.at(cut - 1) is whole.models[0] and whole.at(cut) is whole.models[1]
    later = observe(labels)
    later = later.rows(later.ts_ns >= start)
    for horizon, p in zip((1.0, 10.0), whole.predict(later.x, later.ts_ns, (1.0, 10.0)).T, strict=True):
        assert p[-1] == whole.models[-1].predict(later.x[-1:], horizon, extrapolate=True)[0]
    with pytest.raises(ConfigError, match="the first refit was at"):
        whole.at(start - 1)
    with pytest.raises(ConfigError, match="every_s is 0"):
        roll(labels, start_ns=start, every_s=0)


def test_the_past_knows_open_orders_as_open() -> None:
    """At a time, an order that fills later was still open, and its watch was as long as its age."""
    x = orders(240, seed=24)
    seen = observe(label_set(x, passage_times(x, seed=25)))
    now = START_NS + 30 * SECOND_NS
    past = seen.known_by(now, window_s=20.0)
    age = (now - past.ts_ns) / 1e9
    assert (past.ts_ns < now).all() and (age <= 20).all()
    assert (past.time_s <= age).all() and (past.watched_s <= age).all()
    assert not past.filled[past.time_s >= age].any()


def test_the_queue_band_holds_every_queue_model() -> None:
    """The band reaches from the lowest to the highest end over the queue models."""
    x = orders(300, seed=26)
    band = fit_queues(label_set(x, passage_times(x, seed=27)))
    assert tuple(band.models) == QUEUES
    asked = orders(3, seed=28)
    low, middle, high = band.predict(asked, 1.0)
    for model in band.models.values():
        own = model.band(asked, 1.0)
        assert (low <= own[0]).all() and (own[1] <= high).all()
    assert (middle == band.models["power"].predict(asked, 1.0)).all()


def _seen(distance: list[float], times: list[float], filled: list[bool]) -> Observations:
    n = len(times)
    return Observations(
        x=Inputs(distance_bps=distance, sigma=1.0, natr_bps=30.0), ts_ns=np.arange(n), time_s=np.array(times),
        filled=np.array(filled), watched_s=np.full(n, 60.0), block=np.zeros(n, np.int64), left_out=0,
    )  # fmt: skip


def test_kaplan_meier_is_the_product_limit() -> None:
    """The curve is 1 minus the product of the shares that survived, an order that was lost counting half at its time."""
    # Ten at risk, two fill at 1 s; one is lost at 5 s; of seven two fill at 10 s.
    times = [1.0, 1.0, 5.0, 10.0, 10.0, *[60.0] * 5]
    filled = [True, True, False, True, True, *[False] * 5]
    model = KaplanMeierModel().fit_observations(_seen([1.0] * 10, times, filled))
    asked = Inputs(distance_bps=[1.0], sigma=1.0)
    assert model.predict(asked, [0.5, 2.0, 20.0, 60.0])[0] == pytest.approx(
        [0.0, 0.2, 1 - 0.8 * (1 - 2 / 7), 1 - 0.8 * (1 - 2 / 7)]
    )
    assert len(model.curves) == len(DISTANCES_BPS) and len(model.curves[0]) == len(TIMES_S)


def test_kaplan_meier_keeps_price_priority() -> None:
    """A closer curve that came out lower is lifted to the farther one."""
    times, filled = [60.0] * 5 + [1.0] * 5, [False] * 5 + [True] * 5
    model = KaplanMeierModel().fit_observations(_seen([1.0] * 5 + [5.0] * 5, times, filled))
    near, far = model.predict(Inputs(distance_bps=[1.0, 5.0], sigma=1.0), 10.0)
    assert near == far == 1.0
    with pytest.raises(ConfigError, match="knows nothing before a fit"):
        KaplanMeierModel().predict(Inputs(distance_bps=[1.0], sigma=1.0), 1.0)


def test_calibration_puts_a_model_right() -> None:
    """A model of the wrong law, calibrated on much data, says what comes true; its map is monotone and goes through 0."""
    x = orders(1_500, seed=29)
    seen = observe(label_set(x, passage_times(x, seed=30)))
    wrong = FirstPassageModel(parameters=Parameters(b0=1.6, b1=1.97, lc=0.07, ls=-0.08, g0=-0.11, g1=0.44, k=0.52))
    right = CalibratedModel(inner=wrong, prior_orders=10.0).calibrate(wrong, seen)
    assert right.values[0] == 0 and list(right.values) == sorted(right.values) and len(right.values) == len(KNOTS)
    asked = orders(300, seed=31)
    truth = FirstPassageModel(parameters=PRIOR).predict(asked, 10.0)
    before, after = (np.abs(model.predict(asked, 10.0) - truth).mean() for model in (wrong, right))
    assert after < before / 3
