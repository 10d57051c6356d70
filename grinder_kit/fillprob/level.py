"""A fill model asked about one level at a time, as decisions do, with what they know: the features, not the queue."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from grinder_kit.fillprob.heuristic import expected_move_bps
from grinder_kit.fillprob.model import FillModel, Floats, Inputs
from grinder_kit.model.market import Features

#: The specification's form: side (+1 buy), distance in bps, expected move in bps, OFI z-score.
StepProbability: TypeAlias = Callable[[int, float, float, float], float]
#: Features, side (+1 buy), distance from mid in bps, horizon in s; None while the market is not known (warm-up).
LevelProbability: TypeAlias = Callable[[Features, int, float, float], float | None]


@runtime_checkable
class Banded(Protocol):
    """A model that knows how sure its probabilities are."""

    def band(self, x: Inputs, horizon_s: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Return the lower and upper end of the 90 % around its probabilities."""
        ...


def level_inputs(features: Features, side: npt.ArrayLike, distance_bps: npt.ArrayLike) -> Inputs | None:
    """Return what decisions know of levels, None while the market is not known (warm-up).

    Parameters
    ----------
    features : Features
    side, distance_bps : array_like
        (n,) +1 buy; from mid to the level's price, bps; a level that mid has passed counts as one at mid.
    """
    sigma, imbalance = features.sigma_bps, features.imbalance
    if features.mid is None or not sigma or imbalance is None:
        return None
    sides = np.asarray(side, np.float64)
    natr = features.natr_14_5m if features.natr_14_5m is not None else features.natr_proxy
    return Inputs(
        distance_bps=np.maximum(0.0, np.asarray(distance_bps, np.float64)),
        sigma=np.float64(sigma),  # type: ignore[arg-type]
        imb_own=imbalance * sides,
        side=sides,
        natr_bps=np.float64(math.nan if natr is None else natr * 10_000),  # type: ignore[arg-type]
        ofi_z=np.float64(features.ofi_zscore or 0.0),  # type: ignore[arg-type]
    )


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
    from grinder_kit.fillprob.first_passage import FirstPassageModel
    from grinder_kit.fillprob.level_kernel import passage_at_level

    def known(features: Features) -> tuple[float, float] | None:
        sigma, imbalance = features.sigma_bps, features.imbalance
        if features.mid is None or not sigma or imbalance is None:
            return None
        return sigma, imbalance

    def by_arrays(features: Features, side: int, distance_bps: float, horizon_s: float) -> float | None:
        x = level_inputs(features, [side], [distance_bps])
        return None if x is None else float(model.predict(x, horizon_s)[0])

    if not isinstance(model, FirstPassageModel):
        return by_arrays
    b0, b1, lc, ls, g0, g1, k = model.parameters
    tail = model.tail.code

    def by_formula(features: Features, side: int, distance_bps: float, horizon_s: float) -> float | None:
        market = known(features)
        if market is None:
            return None
        sigma, imbalance = market
        return passage_at_level(side, distance_bps, sigma, imbalance, horizon_s, b0, b1, lc, ls, g0, g1, k, tail)

    return by_formula
