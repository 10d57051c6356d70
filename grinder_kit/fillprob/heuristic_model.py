"""The specification's step heuristic as a model, shown beside those that are fitted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from grinder_kit.fillprob.heuristic import expected_move_bps, step_probability
from grinder_kit.fillprob.model import FillModel, Floats, Inputs, horizons, shaped
from grinder_kit.kernel.compiled import compiled

if TYPE_CHECKING:
    from grinder_kit.fillprob.labels import LabelSet
    from grinder_kit.fillprob.observations import Observations
    from grinder_kit.market.source import Market

_step = compiled(step_probability)


@compiled
def _steps(side: Floats, distance_bps: Floats, move_bps: Floats, ofi_z: Floats, out: Floats) -> None:
    for i in range(side.size):
        out[i] = _step(int(side[i]), distance_bps[i], move_bps[i], ofi_z[i])


@dataclass(frozen=True, slots=True, kw_only=True)
class HeuristicModel(FillModel):
    """:func:`~grinder_kit.fillprob.heuristic.step_probability` for arrays; it learns nothing from data."""

    @property
    def name(self) -> str:
        """The model's name in tables and files."""
        return "heuristic"

    @property
    def span_s(self) -> float:
        """Infinite: no data limit what it claims."""
        return math.inf

    @property
    def training(self) -> None:
        """None: it learns nothing."""
        return None

    def fit(self, data: LabelSet | Market, queue: str = "power") -> Self:
        """Return the same model."""
        return self

    def fit_observations(self, seen: Observations) -> Self:
        """Return the same model."""
        return self

    def predict(self, x: Inputs, horizon_s: npt.ArrayLike, *, extrapolate: bool = False) -> Floats:
        """Return probabilities; see :meth:`FillModel.predict`. `natr_bps` must be known."""
        natr = x.require_natr()
        at = horizons(horizon_s, self.span_s, extrapolate)
        out = np.empty((len(at), len(x)))
        for row, horizon in zip(out, at, strict=True):
            _steps(x.side, x.distance_bps, natr / 10_000 * expected_move_bps(1.0, horizon), x.ofi_z, row)
        return shaped(np.ascontiguousarray(out.T), horizon_s)
