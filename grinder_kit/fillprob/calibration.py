"""An isotonic recalibration: one monotone map through 0 around another model, so that what it says comes true as often."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from grinder_kit.fillprob.model import FillModel, Floats, Inputs, shaped, shares
from grinder_kit.fillprob.observations import Observations, observe
from grinder_kit.fillprob.scoring import HORIZONS_S
from grinder_kit.fillprob.training import Training

if TYPE_CHECKING:
    from grinder_kit.fillprob.labels import LabelSet
    from grinder_kit.market.source import Market

KNOTS = tuple(i / 20 for i in range(21))
HELD_OUT = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibratedModel(FillModel):
    """A model, and the map that its probabilities go through.

    The map is monotone and goes through 0, so whatever holds of the model's probabilities in the contract holds of these.

    Parameters
    ----------
    inner : FillModel
        The model; must remember its training.
    values : tuple of float
        What each of `KNOTS` becomes, straight between them; the first is 0.
    prior_orders : float
        Labels at each knot that say the map is the identity; overlapping as they are, as many as some forty seconds give.
    """

    inner: FillModel
    values: tuple[float, ...] = KNOTS
    prior_orders: float = 4_000.0

    @property
    def name(self) -> str:
        """The model's name in tables and files."""
        return f"{self.inner.name}_calibrated"

    @property
    def span_s(self) -> float:
        """That of the model."""
        return self.inner.span_s

    @property
    def training(self) -> Training | None:
        """That of the model."""
        return self.inner.training

    def fit(self, data: LabelSet | Market, queue: str = "power") -> Self:
        """Return model and map fitted on labels, or on a market that is labelled first.

        The map is fitted on the last part of the labels, by a model that has seen only what was known before it; the model
        is then fitted on all.
        """
        from grinder_kit.fillprob.labels import as_labels

        labels = as_labels(data)
        seen = observe(labels, queue)
        return replace(self.fit_observations(seen), inner=self.inner.fit(labels, queue))

    def fit_observations(self, seen: Observations) -> Self:
        """Return model and map fitted on arrays; see :meth:`fit`."""
        start, end = int(seen.ts_ns[0]), int(seen.ts_ns[-1])
        cut = start + int((end - start) * (1 - HELD_OUT))
        early = self.inner.fit_observations(seen.known_by(cut))
        after = self.calibrate(early, seen.rows(seen.ts_ns >= cut))
        return replace(after, inner=self.inner.fit_observations(seen))

    def calibrate(self, model: FillModel, seen: Observations) -> Self:
        """Return this model with the map that puts `model` right on the orders seen."""
        horizons = np.array(HORIZONS_S)
        predicted = model.predict(seen.x, horizons, extrapolate=True)
        sigma = seen.sigma
        counts, sums, fills = np.zeros(len(KNOTS)), np.zeros(len(KNOTS)), np.zeros(len(KNOTS))
        for at, horizon in enumerate(HORIZONS_S):
            rows = seen.watched(horizon) & seen.in_band(horizon, sigma)
            place = np.rint(predicted[rows, at] * (len(KNOTS) - 1)).astype(np.int64)
            counts += np.bincount(place, minlength=len(KNOTS))
            sums += np.bincount(place, predicted[rows, at], minlength=len(KNOTS))
            fills += np.bincount(place, seen.filled_by(horizon)[rows], minlength=len(KNOTS))
        return replace(self, values=_map(counts, sums, fills, self.prior_orders))

    def predict(self, x: Inputs, horizon_s: npt.ArrayLike, *, extrapolate: bool = False) -> Floats:
        """Return probabilities; see :meth:`FillModel.predict`."""
        return np.interp(self.inner.predict(x, horizon_s, extrapolate=extrapolate), KNOTS, self.values)

    def quantile(self, x: Inputs, p: npt.ArrayLike, *, extrapolate: bool = False) -> Floats:
        """Return times; see :meth:`FillModel.quantile`."""
        asked = shares(p)
        values = np.array(self.values)
        above = np.clip(np.searchsorted(values, asked, side="left"), 1, len(values) - 1)
        rise = values[above] - values[above - 1]
        part = np.divide(asked - values[above - 1], rise, out=np.zeros(len(asked)), where=rise > 0)
        before = np.clip((above - 1 + part) / (len(KNOTS) - 1), 0.0, 1.0)
        times = self.inner.quantile(x, before, extrapolate=extrapolate)
        times[:, asked > values[-1]] = np.inf
        return shaped(times, p)


def _map(counts: Floats, sums: Floats, fills: Floats, prior_orders: float) -> tuple[float, ...]:
    """Return the monotone map: what came true around each knot, leaning on the identity where orders are few."""
    from scipy.optimize import isotonic_regression

    knots = np.array(KNOTS)
    # Around a knot the predictions' mean is not the knot: what is learnt is the difference.
    wrong = np.divide(fills - sums, counts + prior_orders, out=np.zeros(len(knots)), where=counts + prior_orders > 0)
    wanted = np.clip(knots + wrong, 0.0, 1.0)
    fitted = isotonic_regression(wanted, weights=counts + prior_orders).x
    return (0.0, *(float(v) for v in fitted[1:-1]), max(1.0, float(fitted[-1])))
