"""Rolling refits: at each time the model that could have been fitted then, on what had become known."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from grinder_kit.errors import ConfigError
from grinder_kit.fillprob.first_passage import FirstPassageModel
from grinder_kit.fillprob.model import Floats, Inputs
from grinder_kit.fillprob.observations import Observations, observe
from grinder_kit.fillprob.scoring import HORIZONS_S

if TYPE_CHECKING:
    from grinder_kit.fillprob.labels import LabelSet

EVERY_S, WINDOW_S = 20.0, 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rolling:
    """Models by the time from which each was known.

    Parameters
    ----------
    from_ns : tuple of int
        Exchange time, ascending.
    models : tuple of FirstPassageModel
        One for each.
    """

    from_ns: tuple[int, ...]
    models: tuple[FirstPassageModel, ...]

    def at(self, ts_ns: int) -> FirstPassageModel:
        """Return the latest model that was known at a time.

        Raises
        ------
        ConfigError
            Before the first.
        """
        place = bisect_right(self.from_ns, ts_ns) - 1
        if place < 0:
            raise ConfigError(f"ts_ns is {ts_ns}; the first refit was at {self.from_ns[0]}: ask for a later time")
        return self.models[place]

    def predict(self, x: Inputs, ts_ns: npt.NDArray[np.int64], horizons_s: npt.ArrayLike = HORIZONS_S) -> Floats:
        """Return probabilities (n, m) of orders, each by the model that was known when it was inserted."""
        horizons = np.atleast_1d(np.asarray(horizons_s, np.float64))
        out = np.empty((len(x), len(horizons)))
        place = np.searchsorted(self.from_ns, ts_ns, side="right") - 1
        if len(place) and place.min() < 0:
            self.at(int(ts_ns.min()))
        for at in np.unique(place):
            rows = place == at
            out[rows] = self.models[at].predict(x[rows], horizons, extrapolate=True)
        return out


def roll(
    data: LabelSet | Observations, *, start_ns: int, model: FirstPassageModel | None = None, every_s: float = EVERY_S,
    window_s: float = WINDOW_S, queue: str = "power",
) -> Rolling:  # fmt: skip
    """Refit a model every `every_s` from `start_ns` to the end of the labels.

    Each fit reads the orders of the last `window_s`; those that had not filled by then are censored then, so that nothing later
    than the fit is in it.

    Parameters
    ----------
    data : LabelSet or Observations
        The orders, those before `start_ns` too.
    start_ns : int
        Exchange time of the first fit.
    model : FirstPassageModel, optional
        Where the first search starts; each further one starts from the last.
    every_s, window_s : float
        Seconds, above 0.
    queue : str
        Queue model that fills the labels.

    Raises
    ------
    ConfigError
        For seconds that are not above 0, and a start after the last order.
    """
    if not (every_s > 0 and window_s > 0):
        raise ConfigError(f"every_s is {every_s}, window_s is {window_s}; write seconds above 0")
    seen = data if isinstance(data, Observations) else observe(data, queue)
    end_ns = int(seen.ts_ns[-1])
    if start_ns > end_ns:
        raise ConfigError(f"start_ns is {start_ns}, the last order is of {end_ns}; write an earlier time")
    model = model or FirstPassageModel()
    times, models = [], []
    for now_ns in range(start_ns, end_ns + 1, round(every_s * 1e9)):
        model = model.fit_observations(seen.known_by(now_ns, window_s))
        times.append(now_ns)
        models.append(model)
    return Rolling(from_ns=tuple(times), models=tuple(models))
