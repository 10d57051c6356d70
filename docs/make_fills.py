"""Make docs/fills.png: how likely orders fill by distance, whether what the models say comes true, and how they score.

    .venv/bin/python docs/make_fills.py [FOLDER [PICTURE]]

It needs Chromium. FOLDER holds raw recordings (`usdm_btcusdt*.gz` and the like); without one it takes a synthetic market. Of each
recording the first 60 % of the time trains and the rest tests. Curve and reliability are of the longest one, scores are the mean
of all.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots
from render import save

import grinder_kit as gk
from grinder_kit.fillprob.labels import LabelSet
from grinder_kit.fillprob.model import Floats
from grinder_kit.fillprob.scoring import HORIZONS_S, Scores
from grinder_kit.market.binance_ws import import_binance_ws
from grinder_widgets import explorer_view as view
from grinder_widgets import theme
from grinder_widgets.explorer_evidence import FEWEST_ORDERS, Evidence
from grinder_widgets.explorer_state import LAYERS, ExplorerState

ROOT = Path(__file__).resolve().parent.parent
WIDTH, HEIGHT = 1200, 560
NAMES = ("usdm_btcusdt", "usdm_ethusdt", "spot_btcusdt", "spot_ethusdt", "cm_btcusd_perp")
HORIZON_S = 10.0
MODELS = {"first_passage": "first passage", "kaplan_meier": "Kaplan-Meier", "heuristic": "heuristic"}


class Part(NamedTuple):
    """A recording's test part, the model that its train part gave, and the scores of all models."""

    model: gk.FirstPassageModel
    evidence: Evidence
    scores: Scores


def labelled(folder: Path | None) -> Iterator[LabelSet]:
    """Yield the labels of each recording."""
    if folder is None:
        yield gk.label(gk.synthetic_market(seed=7, minutes=20))
        return
    with tempfile.TemporaryDirectory() as work:
        for name in NAMES:
            raw = sorted(folder.glob(f"{name}*.gz"))
            if raw:
                target = Path(work) / f"{name}.parquet"
                import_binance_ws(raw, target)
                yield gk.label(gk.Recording.open(target))


def judged(labels: LabelSet) -> Part:
    """Fit on the first part, and score on the last."""
    train, test = labels.split(0.6)
    model = gk.FirstPassageModel().fit(train)
    assert model.training is not None
    evidence = Evidence.of(test, (model.training,), "power")
    return Part(model, evidence, view.scores({"first_passage": model}, evidence))


def looks(palette: theme.Palette) -> dict[str, dict[str, Any]]:
    """Return how each model is drawn: line and mark."""
    return {
        "first_passage": {"line": {"color": palette.accent, "width": 2.4}, "marker": {"symbol": "circle", "size": 9}},
        "kaplan_meier": {"line": {"color": palette.buy, "width": 1.8, "dash": "dot"}, "marker": {"symbol": "square", "size": 8}},
        "heuristic": {"line": {"color": palette.muted, "width": 1.8, "dash": "dash"}, "marker": {"symbol": "diamond", "size": 8}},
    }  # fmt: skip


def figure(parts: list[Part]) -> go.Figure:
    """Draw curve, reliability and scores."""
    palette, longest = theme.LIGHT, max(parts, key=lambda part: part.evidence.labels.span_s)
    titles = (f"Within {HORIZON_S:g} s, by distance", "Does what is said come true?", "Log loss: less is better")
    drawn = make_subplots(rows=1, cols=3, column_titles=list(titles), horizontal_spacing=0.075)
    by_distance(drawn, longest, palette)
    reliability(drawn, longest, palette)
    losses(drawn, parts, palette)
    names = theme.words([called(part.evidence.labels) for part in parts])
    drawn.update_layout(
        template=theme.template(palette), width=WIDTH, height=HEIGHT, margin={"l": 64, "t": 128, "b": 132, "r": 24},
        title={
            "text": "How likely an order fills in time: the model, and what it must beat",
            "subtitle": {"text": (
                f"Fitted on the first 60 % of a recording, judged on the rest. Left and middle {called(longest.evidence.labels)}, "
                f"{len(longest.evidence.seen):,} orders; right the mean of {len(parts)}"
            )},
        },
        legend={"orientation": "h", "x": 0, "y": -0.17, "yanchor": "top", "font": {"size": 13}},
        annotations=[*drawn.layout.annotations, {
            "text": (
                f"Left: buys in median volatility; the shade is the model's 90 % interval. Bars: 90 %, blocks of time. "
                f"Hollow: too few for an interval.<br>Right: {names}."
            ),
            "x": -0.047, "y": -0.29, "xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "top", "align": "left",
            "showarrow": False, "font": {"size": 12, "color": palette.muted},
        }],
    )  # fmt: skip
    return drawn


def by_distance(drawn: go.Figure, part: Part, palette: theme.Palette) -> None:
    """Draw the probability by distance, beside what was observed."""
    state = ExplorerState(horizon_s=HORIZON_S)
    said = view.answer("first_passage", part.model, part.evidence, view.asked_by(state, part.evidence))
    curve = view.curve(said, part.model, part.evidence, LAYERS)
    x, band = curve.distance_bps, curve.chance
    assert band.low is not None and band.high is not None and part.model.training is not None
    plain = part.model.training.kaplan_meier
    assert plain is not None
    lines = {
        "first_passage": band.middle,
        "kaplan_meier": plain.predict(said.asked.inputs(x), HORIZON_S, extrapolate=True),
        "heuristic": curve.heuristic,
    }
    drawn.add_scatter(
        x=np.concatenate((x, x[::-1])), y=np.concatenate((band.high, band.low[::-1])), fill="toself", line={"width": 0},
        fillcolor="rgba(106,61,124,0.2)", mode="lines", showlegend=False, row=1, col=1,
    )  # fmt: skip
    for name, look in looks(palette).items():
        drawn.add_scatter(
            x=x, y=lines[name], mode="lines", line=look["line"], name=MODELS[name], legendgroup=name, row=1, col=1
        )
    seen = curve.observed
    drawn.add_scatter(
        x=seen.distance_bps, y=seen.share, mode="markers", name="observed", row=1, col=1, cliponaxis=False,
        marker=marks("circle", palette.text, 7, seen.low), error_y=bars(seen.share, seen.low, seen.high, palette.text),
    )  # fmt: skip
    drawn.update_xaxes(title_text="distance from mid, bps", range=[-0.03 * curve.end_bps, curve.end_bps], row=1, col=1)
    drawn.update_yaxes(title_text="probability of a fill", range=[-0.02, 1.02], row=1, col=1)


def reliability(drawn: go.Figure, part: Part, palette: theme.Palette) -> None:
    """Draw how often orders filled, by what was said of them."""
    drawn.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", line={"color": palette.line, "width": 1.2}, showlegend=False, row=1, col=2
    )
    for name, look in reversed(looks(palette).items()):
        bins = part.scores.reliability(name).filter(
            (pl.col("horizon_s") == HORIZON_S) & pl.col("up_to").is_null() & (pl.col("orders") >= FEWEST_ORDERS)
        )
        predicted, observed = bins["predicted"].to_numpy(), bins["observed"].to_numpy()
        low, high = (bins[end].cast(float).fill_null(np.nan).to_numpy() for end in ("low", "high"))
        ink = look["line"]["color"]
        drawn.add_scatter(
            x=predicted, y=observed, mode="lines+markers", line=look["line"] | {"width": 1.4},
            marker=marks(look["marker"]["symbol"], ink, look["marker"]["size"], low), showlegend=False, legendgroup=name,
            error_y=bars(observed, low, high, ink), row=1, col=2, cliponaxis=False,
        )  # fmt: skip
    drawn.update_xaxes(title_text=f"said, {HORIZON_S:g} s", range=[-0.02, 1.02], row=1, col=2)
    drawn.update_yaxes(title_text="came true", range=[-0.02, 1.02], row=1, col=2)


def losses(drawn: go.Figure, parts: list[Part], palette: theme.Palette) -> None:
    """Draw the mean log loss by horizon."""
    for name, look in looks(palette).items():
        means = [float(np.mean([loss(part.scores.table, name, horizon) for part in parts])) for horizon in HORIZONS_S]
        ink = look["line"]["color"]
        drawn.add_scatter(
            x=[f"{horizon:g}" for horizon in HORIZONS_S], y=means, mode="lines+markers", line=look["line"],
            marker=look["marker"] | {"color": ink}, showlegend=False, legendgroup=name, row=1, col=3,
        )  # fmt: skip
    drawn.update_xaxes(title_text="horizon, s", type="category", row=1, col=3)
    drawn.update_yaxes(title_text="log loss on the test part", rangemode="tozero", row=1, col=3)


def loss(scores: pl.DataFrame, model: str, horizon_s: float) -> float:
    """Return the log loss of a model at a horizon."""
    return float(scores.filter((pl.col("model") == model) & (pl.col("horizon_s") == horizon_s))["log_loss"].item())


def called(labels: LabelSet) -> str:
    """Return a recording's name."""
    return str(labels.market["name"]).removesuffix(".parquet").replace("_", " ")


def marks(symbol: str, ink: str, size: int, low: Floats) -> dict[str, Any]:
    """Return marks that are hollow where there is no interval."""
    symbols = [symbol if np.isfinite(end) else f"{symbol}-open" for end in low]
    return {"symbol": symbols, "color": ink, "size": size, "line": {"width": 1.5, "color": ink}}


def bars(middle: Floats, low: Floats, high: Floats, ink: str) -> dict[str, Any]:
    """Return error bars, none where there is no interval."""
    up, down = (np.maximum(np.nan_to_num(away), 0) for away in (high - middle, middle - low))
    return {"type": "data", "array": up, "arrayminus": down, "color": ink, "thickness": 1.2, "width": 3}


def main(folder: Path | None, target: Path) -> None:
    """Measure, say the numbers, and draw."""
    parts = [judged(labels) for labels in labelled(folder)]
    if not parts:
        sys.exit(f"{folder}: no recordings such as {NAMES[0]}*.gz")
    for name, words in MODELS.items():
        mean = np.mean([part.scores.mean(name) for part in parts])
        sys.stdout.write(f"{words:<16}mean log loss {mean:.3f} of {len(parts)}\n")
    save(figure(parts), target)


if __name__ == "__main__":
    given = [Path(argument) for argument in sys.argv[1:]]
    main(given[0] if given else None, given[1] if len(given) > 1 else ROOT / "docs" / "fills.png")
