"""What every fill model is: fitted on labels, asked with inputs, answering with probabilities and times.

Whatever a model is made of, this must hold (tests/fillprob/test_contract.py): a probability lies in [0, 1], goes to 0 with the
horizon, never falls as the horizon grows, is the same for both sides under mirrored inputs, and a closer order never has a lower
one than a farther order of the same side. What is not known (NaN, no mid) is refused, not guessed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from grinder_kit.errors import ConfigError

if TYPE_CHECKING:
    import polars as pl

    from grinder_kit.fillprob.labels import LabelSet
    from grinder_kit.fillprob.observations import Observations
    from grinder_kit.fillprob.scoring import Scores
    from grinder_kit.fillprob.training import Training
    from grinder_kit.market.source import Market
    from grinder_kit.model.market import Features

Floats: TypeAlias = npt.NDArray[np.float64]

#: Times between which a quantile is searched, s.
SHORTEST_S, LONGEST_S = 1e-3, 1e6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Inputs:
    """What a model may know about n orders; every field (n,) float64, finite unless said otherwise.

    Parameters
    ----------
    distance_bps : array_like
        From mid to the order's price, bps, 0 or more.
    sigma : array_like
        Volatility of mid, bps per square root of a second, above 0.
    at_touch : array_like, optional
        1 where the order stands at the best price of its side.
    queue_s : array_like, optional
        Quantity ahead over the traded rate of what hits the side, s; inf where nothing trades. 0: nobody is ahead.
    imb_own : array_like, optional
        Imbalance of the best levels in [-1, 1]; above 0, the order's own side is heavier.
    side : array_like, optional
        +1 buy, -1 sell.
    natr_bps : array_like, optional
        Range of five minutes, bps; read by the heuristic alone, which refuses NaN.
    ofi_z : array_like, optional
        z-score of order flow; above 0, buyers press.

    Raises
    ------
    ConfigError
        For lengths that differ, and for a value that is missing or outside its range: which field, at which row.
    """

    distance_bps: Floats
    sigma: Floats
    at_touch: Floats = 0.0  # type: ignore[assignment]
    queue_s: Floats = 0.0  # type: ignore[assignment]
    imb_own: Floats = 0.0  # type: ignore[assignment]
    side: Floats = 1.0  # type: ignore[assignment]
    natr_bps: Floats = math.nan  # type: ignore[assignment]
    ofi_z: Floats = 0.0  # type: ignore[assignment]

    def __post_init__(self) -> None:
        columns = {name: np.asarray(getattr(self, name), np.float64) for name in self.__slots__}
        n = max(column.size for column in columns.values())
        for name, column in columns.items():
            if column.ndim > 1 or column.size not in (1, n):
                lengths = {name: column.shape for name, column in columns.items()}
                raise ConfigError(f"lengths differ: {lengths}; give every field one value, or one for each order")
            whole = column if column.shape == (n,) else np.full(n, column)
            object.__setattr__(self, name, np.ascontiguousarray(whole))
        for name, (right, words) in _RULES.items():
            self._check(name, right(getattr(self, name)), words)

    def __len__(self) -> int:
        return len(self.distance_bps)

    def __getitem__(self, rows: Any) -> Inputs:
        """Return some of the orders: a slice, a mask or an array of row numbers."""
        return Inputs(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def _check(self, name: str, right: npt.NDArray[np.bool_], words: str) -> None:
        if not right.all():
            row = int(np.argmin(right))
            raise ConfigError(f"{name} is {getattr(self, name)[row]:g} at row {row}; {words}")

    def require_natr(self) -> Floats:
        """Return `natr_bps`, for a model that needs it.

        Raises
        ------
        ConfigError
            Where it is missing or below 0.
        """
        natr = self.natr_bps
        self._check("natr_bps", (natr >= 0) & (natr < math.inf), "the heuristic needs it (still warming up?)")
        return natr

    @classmethod
    def from_frame(cls, frame: pl.DataFrame) -> Inputs:
        """Return the inputs of a frame of labels, whose rows must be known (see :func:`known`)."""
        return cls(**{field.name: frame[field.name].cast(float).to_numpy() for field in fields(cls)})

    @classmethod
    def from_features(
        cls,
        features: Features | Mapping[str, Any],
        side: int,
        distance_bps: npt.ArrayLike,
        *,
        at_touch: npt.ArrayLike = False,
        queue_s: npt.ArrayLike = 0.0,
    ) -> Inputs:
        """Return the inputs of one side's levels in a market.

        Parameters
        ----------
        features : Features or mapping
            `mid`, `sigma_bps` and `imbalance` must be known.
        side : int
            +1 buy, -1 sell.
        distance_bps, at_touch, queue_s : array_like
            One value, or one for each level.

        Raises
        ------
        ConfigError
            Where mid, volatility or imbalance is missing, and as :class:`Inputs`.
        """
        get = features.get if isinstance(features, Mapping) else lambda name: getattr(features, name)
        mid, sigma, imbalance = get("mid"), get("sigma_bps"), get("imbalance")
        if mid is None or not 0 < mid < math.inf:
            raise ConfigError(f"mid is {mid}; a fill probability needs a mid above zero (is a side of the book empty?)")
        if sigma is None:
            raise ConfigError("sigma_bps is None; a fill probability needs the volatility (still warming up?)")
        if imbalance is None:
            raise ConfigError("imbalance is None; a fill probability needs both best quantities")
        natr, ofi = get("natr_bps"), get("ofi_zscore")
        return cls(
            distance_bps=np.asarray(distance_bps, np.float64),
            sigma=np.float64(sigma),  # type: ignore[arg-type]
            at_touch=np.asarray(at_touch, np.float64),
            queue_s=np.asarray(queue_s, np.float64),
            imb_own=np.float64(imbalance * side),  # type: ignore[arg-type]
            side=np.float64(side),  # type: ignore[arg-type]
            natr_bps=np.float64(math.nan if natr is None else natr),  # type: ignore[arg-type]
            ofi_z=np.float64(0.0 if ofi is None else ofi),  # type: ignore[arg-type]
        )


_RULES: dict[str, tuple[Any, str]] = {
    "distance_bps": (
        lambda v: (v >= 0) & (v < math.inf),
        "write bps from mid, 0 or more (NaN: is there a mid? below 0: the order would not rest)",
    ),
    "sigma": (
        lambda v: (v > 0) & (v < math.inf),
        "write bps per square root of a second, above 0 (NaN: still warming up? 0: mid did not move)",
    ),
    "at_touch": (lambda v: (v == 0) | (v == 1), "write 1 at the best price of the side, else 0"),
    "queue_s": (lambda v: v >= 0, "write seconds, 0 or more; inf where nothing trades"),
    "imb_own": (lambda v: (v >= -1) & (v <= 1), "write a number from -1 to 1"),
    "side": (lambda v: (v == 1) | (v == -1), "write 1 (buy) or -1 (sell)"),
    "ofi_z": (lambda v: np.isfinite(v), "write a finite number; 0 where it is not known"),
}


@runtime_checkable
class FillModel(Protocol):
    """The probability that a resting order fills within a horizon. Models inherit what is written out here."""

    @property
    def name(self) -> str:
        """The model's name in tables and files."""
        ...

    @property
    def span_s(self) -> float:
        """Longest horizon that its data speak of, s."""
        ...

    @property
    def training(self) -> Training | None:
        """What it was fitted on; None where on nothing."""
        ...

    def fit(self, data: LabelSet | Market, queue: str = "power") -> Self:
        """Return the model fitted on labels, or on a market that is labelled first, as the queue model `queue` filled them.

        Raises
        ------
        DataError
            Where no label has known inputs.
        """
        ...

    def fit_observations(self, seen: Observations) -> Self:
        """Return the model fitted on arrays; it does not know where they came from."""
        ...

    def predict(self, x: Inputs, horizon_s: npt.ArrayLike, *, extrapolate: bool = False) -> Floats:
        """Return probabilities: (n,) for one horizon, (n, m) for m of them.

        Raises
        ------
        ConfigError
            For a horizon that is NaN, below 0, or beyond the span of the data unless `extrapolate`.
        """
        ...

    def quantile(self, x: Inputs, p: npt.ArrayLike, *, extrapolate: bool = False) -> Floats:
        """Return the time by which an order has filled with probability `p`, s: (n,) for one, (n, m) for m of them.

        Infinite where that is never, or beyond the span of the data unless `extrapolate`. Found here on a grid of 1 %.
        """
        asked = shares(p)
        top = min(self.span_s, LONGEST_S) if not extrapolate else LONGEST_S
        times = np.concatenate(([0.0], np.geomspace(SHORTEST_S, top, round(math.log(top / SHORTEST_S) * 100))))
        reached = self.predict(x, times, extrapolate=True)
        out = np.empty((len(x), len(asked)))
        for at, share in enumerate(asked):
            first = np.argmax(reached >= share, axis=1)
            out[:, at] = np.where(reached[:, -1] >= share, times[first], math.inf)
        return shaped(out, p)

    def score(self, data: LabelSet | Market, *, queue: str = "power", in_sample: bool = False) -> Scores:
        """Score on labels, or on a market that is labelled first, beside heuristic and Kaplan-Meier.

        Raises
        ------
        ConfigError
            For data that lie in the model's training, unless `in_sample` accepts them.
        """
        from grinder_kit.fillprob.beside import score

        return score(self, data, queue=queue, in_sample=in_sample)


def horizons(horizon_s: npt.ArrayLike, span_s: float, extrapolate: bool) -> Floats:
    """Return horizons as (m,) float64.

    Raises
    ------
    ConfigError
        As :meth:`FillModel.predict`.
    """
    values = np.array(horizon_s, np.float64, ndmin=1)
    if values.ndim != 1 or not values.size:
        raise ConfigError(f"horizon_s has the shape {values.shape}; write seconds, or a list of them")
    for value in values.tolist():
        if not 0 <= value < math.inf:
            raise ConfigError(f"horizon_s is {value:g}; write seconds, 0 or more")
        if value > span_s and not extrapolate:
            raise ConfigError(
                f"horizon {value:,g} s exceeds the span of {span_s:,.0f} s; pass extrapolate=True to accept"
            )
    return values


def shares(p: npt.ArrayLike) -> Floats:
    """Return probabilities as (m,) float64.

    Raises
    ------
    ConfigError
        Outside [0, 1].
    """
    values = np.atleast_1d(np.asarray(p, np.float64))
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise ConfigError(f"p is {p!r}; write a probability from 0 to 1, or a list of them")
    return values


def shaped(values: Floats, asked: npt.ArrayLike) -> Floats:
    """Return (n, m) as (n,) where one number was asked for."""
    # numpy takes longer to look at a float than to compute a ladder's tail
    return values[:, 0] if isinstance(asked, float | int) or np.ndim(asked) == 0 else values
