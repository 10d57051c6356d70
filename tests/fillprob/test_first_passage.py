"""The first-passage formula: equal in plain and compiled code, equal to the textbook, with a band that knows what it is made of."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from grinder_kit.fillprob import passage
from grinder_kit.fillprob.first_passage import PRIOR, FirstPassageModel, Parameters, Tail
from grinder_kit.fillprob.model import Inputs
from tests.fillprob.simulated import normal_model

SCALARS = ("distance_bps", "at_touch", "sigma", "queue_s", "imb_own")


def some_orders(n: int, seed: int = 0) -> Inputs:
    """Return orders of all kinds."""
    rng = np.random.default_rng(seed)
    return Inputs(
        distance_bps=rng.exponential(5, n),
        sigma=np.exp(rng.normal(0, 0.5, n)),
        at_touch=(rng.random(n) < 0.3) * 1.0,
        queue_s=np.where(rng.random(n) < 0.1, np.inf, rng.exponential(3, n)),
        imb_own=rng.uniform(-1, 1, n),
    )


@pytest.mark.parametrize("tail", list(Tail))
def test_no_bit_differs_between_a_decision_and_compiled_code(tail: Tail) -> None:
    """The plain function of floats, which decisions call, and the compiled loop agree in every bit."""
    x = some_orders(2_000)
    horizons = np.array([0.0, 1e-9, 0.05, 1.0, 10.0, 60.0, 1e6])
    model = FirstPassageModel(tail=tail)
    p = model.predict(x, horizons, extrapolate=True)
    for i in range(len(x)):
        numbers = [float(getattr(x, name)[i]) for name in SCALARS]
        plain = [passage.fill_probability(*numbers, float(h), *PRIOR, tail.code) for h in horizons]
        assert plain == p[i].tolist()


def test_the_formula_is_the_one_of_the_text() -> None:
    """P = 2 F3(-exp(-(ln h - mu) / (2 s))), with F3 from a library of statistics."""
    x = some_orders(500)
    b0, b1, lc, ls, g0, g1, k = PRIOR
    sigmoid = 1 / (1 + np.exp(-(g0 - g1 * np.log(1 + x.queue_s))))
    c = np.exp(lc + k * x.imb_own) * (1 - x.at_touch * sigmoid)
    mu = b0 + b1 * np.log(np.sqrt((x.distance_bps / x.sigma) ** 2 + c**2))
    for horizon in (0.1, 1.0, 10.0, 60.0):
        wanted = 2 * stats.t.cdf(-np.exp(-(math.log(horizon) - mu) / (2 * math.exp(ls))), 3)
        assert FirstPassageModel().predict(x, horizon) == pytest.approx(wanted, rel=1e-11)


def test_its_limit_is_the_reflection_principle() -> None:
    """With the normal distribution, b0 = 0, b1 = 2, s = 1 and c = 0 it is 2 Phi(-d / (sigma sqrt(h)))."""
    x = some_orders(500)
    for horizon in (0.1, 1.0, 60.0):
        wanted = 2 * stats.norm.cdf(-x.distance_bps / (x.sigma * math.sqrt(horizon)))
        assert normal_model().predict(x, horizon) == pytest.approx(wanted, rel=1e-9, abs=1e-300)


@given(w=st.floats(-200, 60), step=st.floats(1e-9, 1))
def test_the_far_tail_neither_falls_nor_goes_below_0(w: float, step: float) -> None:
    """Where arctan u and u / (1 + u^2) are nearly equal, their difference is a series: positive, and rising."""
    low, high = passage.chance(w, passage.STUDENT3), passage.chance(w + step, passage.STUDENT3)
    assert 0 <= low <= high <= 1


@pytest.mark.parametrize("tail", list(Tail))
def test_slopes_of_the_likelihood_are_its_derivatives(tail: Tail) -> None:
    """The slopes that the fit follows are those of finite differences."""
    x = some_orders(3_000, seed=4)
    rng = np.random.default_rng(5)
    low = rng.choice([0.0, 1.0, 5.0], len(x))
    high = np.where(rng.random(len(x)) < 0.4, np.inf, low + 4)
    weight, group = rng.random(len(x)), rng.integers(0, 3, len(x))
    theta = PRIOR.array() + rng.normal(0, 0.1, passage.PARAMETERS)

    def value(
        at: np.ndarray[tuple[int], np.dtype[np.float64]],
    ) -> tuple[float, np.ndarray[tuple[int], np.dtype[np.float64]]]:
        slopes = np.zeros((3, passage.PARAMETERS))
        columns = (x.distance_bps, x.at_touch, x.sigma, x.queue_s, x.imb_own, low, high, weight, group)
        return passage.log_likelihood(*columns, at, tail.code, slopes), slopes.sum(axis=0)

    steps = 1e-5 * np.eye(passage.PARAMETERS)
    wanted = [(value(theta + step)[0] - value(theta - step)[0]) / 2e-5 for step in steps]
    assert value(theta)[1] == pytest.approx(wanted, rel=1e-5)


def test_a_longer_queue_and_a_heavier_own_side_take_longer() -> None:
    """At the touch the probability falls with the queue, anywhere with the own side's weight; off the touch the queue is nothing."""
    queues = Inputs(distance_bps=[0.1] * 4, sigma=1.0, at_touch=1.0, queue_s=[0.0, 1.0, 10.0, np.inf])
    assert (np.diff(FirstPassageModel().predict(queues, 1.0)) < 0).all()
    weights = Inputs(distance_bps=[1.0] * 3, sigma=1.0, imb_own=[-1.0, 0.0, 1.0])
    assert (np.diff(FirstPassageModel().predict(weights, 1.0)) < 0).all()
    away = Inputs(distance_bps=[1.0] * 2, sigma=1.0, queue_s=[0.0, 1e6])
    assert len(set(FirstPassageModel().predict(away, 1.0).tolist())) == 1


def test_the_band_holds_the_estimate_and_is_the_same_each_time() -> None:
    """Low <= estimate <= high, wider at a higher level; the draws have a fixed seed."""
    x = some_orders(200)
    model = FirstPassageModel()
    p = model.predict(x, [1.0, 10.0])
    low, high = model.band(x, [1.0, 10.0])
    assert low.shape == high.shape == p.shape
    assert ((low <= p) & (p <= high)).mean() > 0.99
    wide_low, wide_high = model.band(x, [1.0, 10.0], level=0.99)
    assert (wide_low <= low).all() and (wide_high >= high).all()
    assert (model.band(x, [1.0, 10.0])[0] == low).all()


def test_parameters_know_their_order() -> None:
    """An array of parameters and the named ones are the same."""
    assert Parameters.of(PRIOR.array()) == PRIOR
