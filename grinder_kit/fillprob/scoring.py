"""Proper scores of fill models on labels that they have not seen.

A horizon is scored on the orders that were watched so long, filled or not, and lie within `BAND_SIGMAS` sigma root(h) of mid: orders that
are trivially far would flatter every model.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from grinder_kit.errors import DataError
from grinder_kit.fillprob.interval import block_mean
from grinder_kit.fillprob.model import FillModel, Floats
from grinder_kit.fillprob.observations import Observations

HORIZONS_S = (1.0, 5.0, 10.0, 30.0, 60.0)
#: Upper edges of the bands of distance, in sigma root(h); the first holds the orders at the touch.
BANDS = (0.0, 0.5, 1.0, 2.0, 3.0)
BINS = 10
LEAST = 1e-6  # a probability of 0 or 1 that turns out wrong would otherwise cost infinitely much
SHORTEST_BLOCK_S = 10.0

Bools = npt.NDArray[np.bool_]


def log_loss(p: Floats, y: Bools) -> float:
    """Return the mean of -ln(probability of what happened)."""
    right = np.where(y, p, 1 - p)
    return float(-np.mean(np.log(np.maximum(right, LEAST))))


def brier(p: Floats, y: Bools) -> float:
    """Return the mean squared error."""
    return float(np.mean((p - y) ** 2))


def ece(p: Floats, y: Bools) -> float:
    """Return the expected calibration error over `BINS` bins of equal width: the mean of |predicted - observed|."""
    place = np.minimum((p * BINS).astype(np.int64), BINS - 1)
    return float(np.abs(np.bincount(place, p - y, minlength=BINS)).sum() / len(p))


def auc(p: Floats, y: Bools) -> float:
    """Return the probability that an order that filled was given more than one that did not; ties count half."""
    wins, losses = int(y.sum()), int((~y).sum())
    if not wins or not losses:
        return float("nan")
    _, place, counts = np.unique(p, return_inverse=True, return_counts=True)
    rank = np.cumsum(counts) - (counts - 1) / 2
    return float((rank[place][y].sum() - wins * (wins + 1) / 2) / (wins * losses))


def rcll(cumulative: Floats, time_s: Floats, filled: Bools) -> float:
    """Return the right-censored log likelihood per order, over the intervals between `HORIZONS_S`.

    Parameters
    ----------
    cumulative : ndarray
        Probability of a fill by each horizon, (n, m).
    time_s, filled : ndarray
        Time to the fill, or how long the order was watched.
    """
    edges = np.array([0.0, *HORIZONS_S])
    padded = np.concatenate([np.zeros((len(cumulative), 1)), cumulative, np.ones((len(cumulative), 1))], axis=1)
    rows = np.arange(len(cumulative))
    upper = np.clip(np.searchsorted(edges, time_s, side="left"), 1, len(edges))
    reached = np.searchsorted(edges, time_s * (1 + 1e-9), side="right") - 1
    inside = padded[rows, upper] - padded[rows, upper - 1]
    beyond = 1 - padded[rows, reached]
    return float(np.mean(np.log(np.maximum(np.where(filled, inside, beyond), LEAST))))


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Scores:
    """How models did on the same orders.

    Parameters
    ----------
    symbol : str
        The instrument.
    window_ns : tuple of int
        Exchange time of the labels.
    in_sample : bool
        Whether the first model had seen these labels.
    table : polars.DataFrame
        model, horizon_s (null: the mean over horizons), orders, filled (share), log_loss, brier, ece, auc, rcll (only in the mean).
    """

    symbol: str
    window_ns: tuple[int, int]
    in_sample: bool
    table: pl.DataFrame
    _seen: Observations
    _predicted: Mapping[str, Floats]
    _sigma: float

    def mean(self, model: str, score: str = "log_loss") -> float:
        """Return a model's mean over the horizons."""
        row = self.table.filter((pl.col("model") == model) & pl.col("horizon_s").is_null())
        if row.is_empty():
            raise DataError(f'no model "{model}" was scored; there are {", ".join(self._predicted)}')
        return float(row[score][0])

    def by_distance(self) -> pl.DataFrame:
        """Return the scores by model, horizon and band of distance.

        `up_to` is the band's upper edge in sigma root(h), 0 for the touch.
        """
        rows = []
        for name, predicted in self._predicted.items():
            for at, horizon in enumerate(HORIZONS_S):
                band = self._band(horizon)
                watched = self._seen.watched(horizon) & (band < len(BANDS))
                for place, edge in enumerate(BANDS):
                    mine = watched & (band == place)
                    if mine.any():
                        rows.append(
                            (name, horizon, edge, *_scores(predicted[mine, at], self._seen.filled_by(horizon)[mine]))
                        )
        return pl.DataFrame(
            rows, schema={"model": pl.String, "horizon_s": pl.Float64, "up_to": pl.Float64, **_SCORES}, orient="row"
        )

    def reliability(self, model: str) -> pl.DataFrame:
        """Return predicted against observed by horizon, band of distance (null: all of them) and bin of probability.

        The interval (90 %) resamples blocks of `max(10 s, horizon)`; it is null where there are fewer than 5 blocks.
        """
        rows: list[tuple[Any, ...]] = []
        seen, predicted = self._seen, self._predicted[model]
        for at, horizon in enumerate(HORIZONS_S):
            band, y, p = self._band(horizon), seen.filled_by(horizon), predicted[:, at]
            watched = seen.watched(horizon) & (band < len(BANDS))
            length = int(max(SHORTEST_BLOCK_S, horizon) * 1e9)
            block = (seen.ts_ns - seen.ts_ns[0]) // length
            place = np.minimum((p * BINS).astype(np.int64), BINS - 1)
            for edge in (None, *BANDS):
                mine = watched if edge is None else watched & (band == BANDS.index(edge))
                for bin_at in np.unique(place[mine]):
                    rows_in = mine & (place == bin_at)
                    share = block_mean(y[rows_in].astype(np.float64), block[rows_in])
                    rows.append(
                        (
                            horizon,
                            edge,
                            int(rows_in.sum()),
                            float(p[rows_in].mean()),
                            share.value,
                            share.low,
                            share.high,
                        )
                    )
        schema = {
            "horizon_s": pl.Float64, "up_to": pl.Float64, "orders": pl.Int64, "predicted": pl.Float64, "observed": pl.Float64,
            "low": pl.Float64, "high": pl.Float64,
        }  # fmt: skip
        return pl.DataFrame(rows, schema=schema, orient="row")

    def to_json(self) -> dict[str, Any]:
        """Return the table as JSON types: by model, log loss by horizon and the means of the other scores."""
        out: dict[str, Any] = {}
        for name in self._predicted:
            mine = self.table.filter(pl.col("model") == name)
            losses = {
                "mean" if h is None else f"{h:g}": v for h, v in zip(mine["horizon_s"], mine["log_loss"], strict=True)
            }
            out[name] = {"log_loss": losses, **{s: self.mean(name, s) for s in ("brier", "ece", "auc", "rcll")}}
        return out

    def rows(self) -> list[tuple[str, ...]]:
        """Return the table as text: a head, then one line a model."""
        head = ("model", *(f"LL {h:g} s" for h in HORIZONS_S), "mean LL", "Brier", "ECE", "AUC", "RCLL")
        lines: list[tuple[str, ...]] = [head]
        for name in self._predicted:
            mine = self.table.filter((pl.col("model") == name) & pl.col("horizon_s").is_not_null())
            by_horizon = dict(zip(mine["horizon_s"], mine["log_loss"], strict=True))
            losses = tuple(f"{by_horizon[h]:.3f}" if h in by_horizon else "-" for h in HORIZONS_S)
            means = tuple(f"{self.mean(name, s):.3f}" for s in ("log_loss", "brier", "ece", "auc", "rcll"))
            lines.append((name, *losses, *means))
        return lines

    def _band(self, horizon: float) -> npt.NDArray[np.int64]:
        """Return the band of each order; `len(BANDS)` is beyond the last."""
        x = self._seen.x
        place = np.searchsorted(BANDS[1:], x.distance_bps / (self._sigma * np.sqrt(horizon))) + 1
        return np.where((x.at_touch == 1) & (place < len(BANDS)), 0, place)

    def __repr__(self) -> str:
        table = self.rows()
        widths = [max(len(line[at]) for line in table) for at in range(len(table[0]))]
        title = f"{self.symbol}: {len(self._seen):,} orders of {(self.window_ns[1] - self.window_ns[0]) / 1e9:,.0f} s"
        note = ", seen in training" if self.in_sample else ""
        text = [
            "  ".join(
                cell.ljust(w) if at == 0 else cell.rjust(w)
                for at, (cell, w) in enumerate(zip(line, widths, strict=True))
            )
            for line in table
        ]
        return "\n".join([title + note, *text])

    def _repr_html_(self) -> str:
        head, *lines = self.rows()
        cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
        body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in line) + "</tr>" for line in lines)
        return f"<table><tr>{cells}</tr>{body}</table>"


_SCORES = {
    "orders": pl.Int64, "filled": pl.Float64, "log_loss": pl.Float64, "brier": pl.Float64, "ece": pl.Float64, "auc": pl.Float64,
}  # fmt: skip


def score_observations(
    models: Mapping[str, FillModel], seen: Observations, *, sigma: float, symbol: str = "", window_ns: tuple[int, int] | None = None,
    in_sample: bool = False,
) -> Scores:  # fmt: skip
    """Return how models do on orders.

    Parameters
    ----------
    models : mapping
        By the name in the table.
    seen : Observations
        The orders.
    sigma : float
        Volatility of the training, bps per square root of a second, in which the band is measured.
    symbol : str, optional
        The instrument, for the title.
    window_ns : tuple of int, optional
        Of the labels; from the first order to the last unless given.
    in_sample : bool
        Whether a model had seen these orders; it is only said.

    Raises
    ------
    DataError
        Where no order was watched for the shortest horizon inside the band.
    """
    rows: list[tuple[Any, ...]] = []
    predictions = {}
    far = ~seen.in_band(HORIZONS_S[-1], sigma)
    for name, model in models.items():
        p = predictions[name] = model.predict(seen.x, HORIZONS_S, extrapolate=True)
        mine = []
        for at, horizon in enumerate(HORIZONS_S):
            inside = seen.watched(horizon) & seen.in_band(horizon, sigma)
            if inside.any():
                mine.append((name, horizon, *_scores(p[inside, at], seen.filled_by(horizon)[inside]), None))
        if not mine:
            raise DataError(f"no order was watched for {HORIZONS_S[0]:g} s near mid; score on longer data")
        scores = np.array([row[3:8] for row in mine])
        likelihood = rcll(p[~far], seen.time_s[~far], seen.filled[~far])
        rows += [
            *mine,
            (name, None, sum(row[2] for row in mine), *(_known_mean(column) for column in scores.T), likelihood),
        ]
    schema = {"model": pl.String, "horizon_s": pl.Float64, **_SCORES, "rcll": pl.Float64}
    return Scores(
        symbol=symbol,
        window_ns=window_ns or (int(seen.ts_ns[0]), int(seen.ts_ns[-1])),
        in_sample=in_sample,
        table=pl.DataFrame(rows, schema=schema, orient="row"),
        _seen=seen,
        _predicted=predictions,
        _sigma=sigma,
    )


def _scores(p: Floats, y: Bools) -> tuple[int, float, float, float, float, float]:
    return len(y), float(y.mean()), log_loss(p, y), brier(p, y), ece(p, y), auc(p, y)


def _known_mean(values: Floats) -> float:
    """Return the mean without NaN: where all orders filled, or none, there is no area under the curve."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
