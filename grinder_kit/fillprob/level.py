"""A fill model asked about one level at a time, as decisions do, with what they know: the features, not the queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from grinder_kit.fillprob.heuristic import expected_move_bps
from grinder_kit.fillprob.model import FillModel, Inputs
from grinder_kit.model.market import Features

#: The specification's form: side (+1 buy), distance in bps, expected move in bps, OFI z-score.
StepProbability: TypeAlias = Callable[[int, float, float, float], float]
#: Features, side (+1 buy), distance from mid in bps, horizon in s; None while the market is not known (warm-up).
LevelProbability: TypeAlias = Callable[[Features, int, float, float], float | None]


def of_steps(step: StepProbability) -> LevelProbability:
    """Return a function of the specification's form, such as its heuristic, as decisions ask it."""

    def probability(features: Features, side: int, distance_bps: float, horizon_s: float) -> float | None:
        natr = features.natr_14_5m if features.natr_14_5m is not None else features.natr_proxy
        if natr is None or features.mid is None:
            return None
        return step(side, distance_bps, expected_move_bps(natr, horizon_s), features.ofi_zscore or 0.0)

    return probability


def of_model(model: FillModel) -> LevelProbability:
    """Return a model as decisions ask it.

    Nobody knows the queue at a level without an order, so a level at the touch is taken to stand behind all of it: its probability
    is the same as a little further out, and never too high. The first-passage model is asked by its scalar formula (some us), any
    other by its arrays (some 100 us).
    """
    # A grid without a model must not wait for the compiler.
    from grinder_kit.fillprob import passage
    from grinder_kit.fillprob.first_passage import FirstPassageModel

    def known(features: Features) -> tuple[float, float] | None:
        sigma, imbalance = features.sigma_bps, features.imbalance
        if features.mid is None or not sigma or imbalance is None:
            return None
        return sigma, imbalance

    def by_arrays(features: Features, side: int, distance_bps: float, horizon_s: float) -> float | None:
        if known(features) is None:
            return None
        x = Inputs.from_features(features, side, [max(0.0, distance_bps)])
        return float(model.predict(x, horizon_s)[0])

    if not isinstance(model, FirstPassageModel):
        return by_arrays
    b0, b1, lc, ls, g0, g1, k = model.parameters
    tail = model.tail.code

    def by_formula(features: Features, side: int, distance_bps: float, horizon_s: float) -> float | None:
        market = known(features)
        if market is None:
            return None
        sigma, imbalance = market
        return passage.fill_probability(
            max(0.0, distance_bps), 0.0, sigma, 0.0, imbalance * side, horizon_s, b0, b1, lc, ls, g0, g1, k, tail
        )

    return by_formula
