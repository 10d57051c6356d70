"""The default model: the time to a first passage, slowed by the queue at the touch and shaped by the imbalance."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from grinder_kit.fillprob import passage
from grinder_kit.fillprob.model import FillModel, Floats, Inputs, horizons, shaped, shares
from grinder_kit.fillprob.observations import Observations, observe
from grinder_kit.fillprob.training import Training, trained_on

if TYPE_CHECKING:
    from grinder_kit.fillprob.labels import LabelSet
    from grinder_kit.market.source import Market

log = logging.getLogger(__name__)

DRAWS = 200


class Tail(StrEnum):
    """Distribution of the formula; see :mod:`~grinder_kit.fillprob.passage`."""

    STUDENT3 = "student3"
    NORMAL = "normal"

    @property
    def code(self) -> int:
        """Its code in compiled functions."""
        return passage.NORMAL if self is Tail.NORMAL else passage.STUDENT3


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """The seven numbers of the formula.

    Parameters
    ----------
    b0 : float
        Log of the time scale, s.
    b1 : float
        Power of distance, above 0; 2 is diffusion.
    lc : float
        Log of the width at mid, root of s.
    ls : float
        Log of the spread of log time; 0 is diffusion.
    g0, g1 : float
        How much sooner the touch fills (logit), and how that fades with the queue; g1 is 0 or more.
    k : float
        Effect of the own side's weight on the width.
    """

    b0: float
    b1: float
    lc: float
    ls: float
    g0: float
    g1: float
    k: float

    def __iter__(self) -> Iterator[float]:
        return iter((self.b0, self.b1, self.lc, self.ls, self.g0, self.g1, self.k))

    @classmethod
    def of(cls, theta: Iterable[float]) -> Parameters:
        """Return the parameters from their values, in order."""
        return cls(**dict(zip(cls.__slots__, map(float, theta), strict=True)))

    def array(self) -> Floats:
        """Return them as the compiled functions take them."""
        return np.array(tuple(self))


#: Before any data: what six recordings of one evening gave, and how far their own fits lay from it.
PRIOR = Parameters(b0=0.56, b1=1.97, lc=0.07, ls=-0.08, g0=-0.11, g1=0.44, k=0.52)
PRIOR_SPREAD = Parameters(b0=0.15, b1=0.12, lc=0.3, ls=0.06, g0=0.5, g1=0.2, k=0.1)
PRIOR_SPAN_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class FirstPassageModel(FillModel):
    """Seven parameters, usable before any fit.

    Parameters
    ----------
    parameters : Parameters
        The prior until it is fitted.
    covariance : tuple of tuple of float
        Of the parameters, in their order.
    tail : Tail
        Distribution of the formula.
    training : Training or None
        What it was fitted on.
    prior, spread : Parameters
        What a fit believes before any data: centre and standard deviation.

    Examples
    --------
    >>> model = FirstPassageModel()
    >>> model
    FirstPassageModel(b0=0.56 b1=1.97 lc=0.07 ls=-0.08 g0=-0.11 g1=0.44 k=0.52; not fitted: the prior)
    >>> near, far = model.predict(Inputs(distance_bps=[1.0, 10.0], sigma=1.3), 10.0)
    >>> bool(near > far)
    True
    """

    parameters: Parameters = PRIOR
    covariance: tuple[tuple[float, ...], ...] = tuple(
        tuple(spread**2 if i == j else 0.0 for j in range(passage.PARAMETERS)) for i, spread in enumerate(PRIOR_SPREAD)
    )
    tail: Tail = Tail.STUDENT3
    training: Training | None = None
    prior: Parameters = PRIOR
    spread: Parameters = PRIOR_SPREAD

    @property
    def name(self) -> str:
        """The model's name in tables and files."""
        return "first_passage"

    @property
    def span_s(self) -> float:
        """Longest horizon that the data speak of, s."""
        return PRIOR_SPAN_S if self.training is None else self.training.span_s

    def __repr__(self) -> str:
        numbers = " ".join(
            f"{name}={value:.2f}" for name, value in zip(Parameters.__slots__, self.parameters, strict=True)
        )
        return f"FirstPassageModel({numbers}; {self.training or 'not fitted: the prior'})"

    def fit(self, data: LabelSet | Market, queue: str = "power") -> Self:
        """Return the model fitted on labels, or on a market that is labelled first; this one's own parameters are where the search starts.

        Too little data is said (a warning in the log, and `training.warning`), not refused: the ridge holds the model.

        Raises
        ------
        DataError
            Where no label has known inputs.
        """
        from grinder_kit.fillprob.labels import as_labels

        labels = as_labels(data)
        seen = observe(labels, queue)
        training = trained_on(labels, seen, queue)
        if training.warning:
            log.warning("fill model has little data symbol=%s: %s", training.symbol, training.warning)
        return replace(self.fit_observations(seen), training=training)

    def fit_observations(self, seen: Observations, *, block_weights: Floats | None = None) -> Self:
        """Return the model fitted on arrays; it does not know where they came from.

        Parameters
        ----------
        seen : Observations
            The orders.
        block_weights : ndarray, optional
            One weight for each block that `seen` has: a bootstrap draws them.
        """
        from grinder_kit.fillprob.fitting import maximise

        found = maximise(
            seen,
            prior=self.prior.array(),
            spread=self.spread.array(),
            tail=self.tail.code,
            start=self.parameters.array(),
            block_weights=block_weights,
        )
        return replace(
            self,
            parameters=Parameters.of(found.theta),
            covariance=tuple(tuple(float(v) for v in row) for row in found.covariance),
        )

    def predict(self, x: Inputs, horizon_s: npt.ArrayLike, *, extrapolate: bool = False) -> Floats:
        """Return probabilities; see :meth:`FillModel.predict`."""
        at = horizons(horizon_s, self.span_s, extrapolate)
        return shaped(self._probabilities(x, at, self.parameters.array()), horizon_s)

    def _probabilities(self, x: Inputs, at: Floats, theta: Floats) -> Floats:
        out = np.empty((len(at), len(x)))
        logs = np.empty(len(x))
        passage.fill_probabilities(
            x.distance_bps, x.at_touch, x.sigma, x.queue_s, x.imb_own, at, theta, self.tail.code, logs, out
        )
        return out.T

    def quantile(self, x: Inputs, p: npt.ArrayLike, *, extrapolate: bool = False) -> Floats:
        """Return times; see :meth:`FillModel.quantile`."""
        from scipy.special import ndtri, stdtrit

        asked = shares(p)
        scale = -(ndtri(asked / 2) if self.tail is Tail.NORMAL else stdtrit(3, asked / 2))
        b0, b1, lc, ls, g0, g1, k = self.parameters
        c = np.exp(lc + k * x.imb_own) / (1 + x.at_touch * math.exp(g0) * (1 + x.queue_s) ** -g1)
        square = (x.distance_bps / x.sigma) ** 2 + c**2
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            mu = b0 + b1 / 2 * np.log(square)
            times = np.exp(mu[:, None] - 2 * math.exp(ls) * np.log(scale))
        times = np.where(square[:, None] == 0, 0.0, times)
        if not extrapolate:
            times = np.where(times > self.span_s, math.inf, times)
        return shaped(times, p)

    def band(
        self, x: Inputs, horizon_s: npt.ArrayLike, *, level: float = 0.9, extrapolate: bool = False
    ) -> tuple[Floats, Floats]:
        """Return (low, high) around :meth:`predict`, from the uncertainty of the parameters.

        The parameters are drawn `DRAWS` times around their estimate, with a fixed seed.
        """
        at = horizons(horizon_s, self.span_s, extrapolate)
        draws = self.draws()
        cube = np.stack([self._probabilities(x, at, theta) for theta in draws])
        low, high = np.quantile(cube, ((1 - level) / 2, (1 + level) / 2), axis=0)
        return shaped(low, horizon_s), shaped(high, horizon_s)

    def draws(self, count: int = DRAWS) -> Floats:
        """Return parameters drawn around the estimate, (count, PARAMETERS)."""
        from grinder_kit.fillprob.fitting import LOWEST

        rng = np.random.default_rng(0)
        values, vectors = np.linalg.eigh(np.array(self.covariance))
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        drawn: Floats = self.parameters.array() + rng.standard_normal((count, passage.PARAMETERS)) @ root.T
        for place, lowest in LOWEST.items():
            drawn[:, place] = np.maximum(drawn[:, place], lowest)
        return drawn
