"""The empirical model: how many orders at about this distance had filled by then, with censored orders in their place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from grinder_kit.errors import ConfigError
from grinder_kit.fillprob.model import FillModel, Floats, Inputs, horizons, shaped
from grinder_kit.fillprob.observations import Observations, observe
from grinder_kit.fillprob.training import Training, trained_on

if TYPE_CHECKING:
    from grinder_kit.fillprob.labels import LabelSet
    from grinder_kit.market.source import Market

#: Upper edges of the distances that share a curve, bps; the last curve goes on beyond.
DISTANCES_BPS = (0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 60)
TIMES_S = tuple(float(f"{t:.4g}") for t in np.geomspace(0.05, 60.0, 48))


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class KaplanMeierModel(FillModel):
    """Kaplan-Meier curves by distance.

    A distance with few orders would now and then lie above a closer one; each curve is therefore at least as high as those farther
    out (the cumulative maximum from the far end).

    Parameters
    ----------
    curves : tuple of tuple of float
        By distance of `DISTANCES_BPS`, the share that had filled by each of `TIMES_S`. Empty before a fit.
    training : Training or None
        What it was fitted on.
    """

    curves: tuple[tuple[float, ...], ...] = ()
    training: Training | None = None

    def __repr__(self) -> str:
        return f"KaplanMeierModel({self.training or ('fitted' if self.curves else 'not fitted')})"

    @property
    def name(self) -> str:
        """The model's name in tables and files."""
        return "kaplan_meier"

    @property
    def span_s(self) -> float:
        """Where the curves end, s."""
        return TIMES_S[-1]

    def fit(self, data: LabelSet | Market, queue: str = "power") -> Self:
        """Return the model fitted on labels, or on a market that is labelled first.

        Raises
        ------
        DataError
            Where no label has known inputs.
        """
        from grinder_kit.fillprob.labels import as_labels

        labels = as_labels(data)
        seen = observe(labels, queue)
        return replace(self.fit_observations(seen), training=trained_on(labels, seen, queue))

    def fit_observations(self, seen: Observations) -> Self:
        """Return the model fitted on arrays; it does not know where they came from."""
        group = np.minimum(np.searchsorted(DISTANCES_BPS, seen.x.distance_bps), len(DISTANCES_BPS) - 1)
        times = np.array(TIMES_S)
        curves = np.zeros((len(DISTANCES_BPS), len(times)))
        for at in range(len(DISTANCES_BPS)):
            mine = group == at
            curves[at] = _filled_by(times, seen.time_s[mine], seen.filled[mine])
        ordered = np.maximum.accumulate(curves[::-1])[::-1]
        return replace(self, curves=tuple(tuple(float(v) for v in row) for row in ordered))

    def predict(self, x: Inputs, horizon_s: npt.ArrayLike, *, extrapolate: bool = False) -> Floats:
        """Return probabilities; see :meth:`FillModel.predict`. Beyond the last time they stay what they were.

        Raises
        ------
        ConfigError
            Before a fit as well.
        """
        if not self.curves:
            raise ConfigError("Kaplan-Meier knows nothing before a fit; write KaplanMeierModel().fit(labels)")
        at = horizons(horizon_s, self.span_s, extrapolate)
        group = np.minimum(np.searchsorted(DISTANCES_BPS, x.distance_bps), len(DISTANCES_BPS) - 1)
        by_group = np.array([np.interp(at, (0.0, *TIMES_S), (0.0, *curve)) for curve in self.curves])
        return shaped(by_group[group], horizon_s)


def _filled_by(times: Floats, time_s: Floats, filled: npt.NDArray[np.bool_]) -> Floats:
    """Return 1 minus the product-limit estimate at `times`; those censored inside an interval count half."""
    edges = np.concatenate(([0.0], times))
    place = np.clip(
        np.searchsorted(edges, time_s * (1 - 1e-9), side="left"), 1, len(edges)
    )  # the interval that ends at edges[place]
    fills = np.bincount(place[filled], minlength=len(edges) + 1)[1 : len(edges)]
    lost = np.bincount(place[~filled], minlength=len(edges) + 1)[1 : len(edges)]
    # An order watched to the end of the last interval was at risk all through it.
    lost[-1] = int(np.sum(~filled & (place == len(times)) & (time_s < times[-1] * (1 - 1e-9))))
    gone = np.concatenate(([0], np.cumsum(fills + lost)[:-1]))
    at_risk = len(time_s) - gone - lost / 2
    share = np.divide(fills, at_risk, out=np.zeros(len(times)), where=at_risk > 0)
    return np.asarray(1.0 - np.cumprod(1.0 - np.minimum(share, 1.0)))
