"""Figures of a grid tuner: numbers in, plotly figures out as plain dicts, always with the same traces (see session_figures)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from grinder_kit.fillprob.interval import Floats
from grinder_kit.tuning.space import told, word
from grinder_kit.tuning.trial import Trial
from grinder_widgets.figures import marker
from grinder_widgets.markup import escape
from grinder_widgets.points import thin
from grinder_widgets.session_figures import Spec, f32, layout_of, or_words
from grinder_widgets.theme import LIGHT, Palette, interval, money_digits, number
from grinder_widgets.tuner_state import DIFFERENCE, LETTERS, METRICS, TEST, TRAIN, label
from grinder_widgets.tuner_view import Axis, Compared, Front, Map, Tried, Tuned

HEIGHT, COMPARED_HEIGHT = 460, 420
CURVE_POINTS = 400
_MARGIN = {"l": 60, "r": 12, "t": 76, "b": 92}
_DASHES = ("solid", "dash", "dot", "dashdot")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up")
_SAID = {TEST: "test part", TRAIN: "train part", DIFFERENCE: "test less train"}


def front(view: Front, *, theme: Palette = LIGHT) -> Spec:
    """Return the trials as points with the front, the pick, what is tried and the pins."""
    tuned, (x, y, shade) = view.tuned, view.values
    trials, texts = tuned.study.complete, all_words(tuned)
    joined_x, joined_y, symbols, letters = _joined_pins(view)
    tried = (_at(view.tried, view.x.name, view), view.tried.metric(view.y.name, view.show))
    pick_x, pick_y, pick_bars = _pick(view)
    data: list[Spec] = [
        {"type": "scatter", "mode": "markers", "name": f"trials, {_SAID[view.show]}", "x": f32(x), "y": f32(y),
         "marker": {"size": 7, "color": f32(shade), "colorscale": "Cividis", "line": {"width": 0.8, "color": theme.muted},
                    "symbol": "circle-open" if view.show == TRAIN else "circle",
                    "colorbar": _scale(axis_words(tuned, view.colour)) | _places(view.colour)},
         "text": [texts[row] for row in view.rows], "hovertemplate": "%{text}<extra></extra>"},
        {"type": "scatter", "mode": "lines", "name": "front: none beats these in both", "x": f32(view.line[0]),
         "y": f32(view.line[1]), "line": {"color": theme.text, "width": 1.4, "shape": "linear"}, "hoverinfo": "skip"},
        {"type": "scatter", "mode": "lines+markers", "name": "pins, test filled and train hollow", "x": joined_x, "y": joined_y,
         "marker": {"size": 11, "symbol": symbols, "color": theme.accent, "line": {"width": 1.6, "color": theme.accent}},
         "line": {"color": theme.accent, "width": 1, "dash": "dot"}, "hoverinfo": "skip", "showlegend": bool(letters)},
        {"type": "scatter", "mode": "text", "x": f32([at for at, _, _ in letters]), "y": f32([at for _, at, _ in letters]),
         "text": [name for _, _, name in letters], "textposition": "top center", "textfont": {"color": theme.accent, "size": 14},
         "hoverinfo": "skip", "showlegend": False},
        {"type": "scatter", "mode": "markers", "name": "pick", "x": f32(pick_x), "y": f32(pick_y), "cliponaxis": False,
         "marker": {"symbol": "star", "size": 17, "color": theme.sell, "line": {"color": theme.paper, "width": 1}},
         "error_y": pick_bars | {"color": theme.sell, "thickness": 1.6, "width": 4},
         "text": [] if view.picked is None else [texts[tuned.row(view.picked.pick.trial)]],
         "hovertemplate": "pick: %{text}<extra></extra>", "showlegend": bool(len(pick_x))},
        {"type": "scatter", "mode": "markers", "name": "what if", "x": f32([tried[0]]), "y": f32([tried[1]]), "cliponaxis": False,
         "marker": {"symbol": "diamond-open", "size": 15, "color": theme.buy, "line": {"width": 2.5}},
         "error_y": _bars(view.tried, view, theme), "text": [escape(told(view.tried.values))],
         "hovertemplate": "what if %{text}<extra></extra>"},
    ]  # fmt: skip
    hidden = f"; {view.hidden:,} inside the fee floor hidden" if view.hidden else ""
    asked = f"{len(trials):,} trials, {_SAID[view.show]}{hidden}"
    layout = layout_of(theme, "What do I give up?", asked, height=HEIGHT) | _look() | {
        "xaxis": {"title": {"text": axis_words(tuned, view.x)}, **_places(view.x)},
        "yaxis": {"title": {"text": axis_words(tuned, view.y, view.show)}, "zeroline": True},
    }  # fmt: skip
    nothing = "" if np.isfinite(y).any() else "no trial to show: all lie inside the fee floor, or have no such number"
    return or_words({"data": data, "layout": layout}, nothing, theme)


def heat_map(view: Map, *, theme: Palette = LIGHT) -> Spec:
    """Return medians by two parameters; the first trace has a mark in the middle of each cell, which can be clicked."""
    tuned, metric = view.tuned, METRICS[view.metric]
    x, y = np.meshgrid(view.x_at, view.y_at)
    signed = view.metric in ("net_per_hour", "low") or view.show == DIFFERENCE
    widest = float(np.nanmax(np.abs(view.value))) if np.isfinite(view.value).any() else 1.0
    scale: Spec = {"colorscale": "Cividis"}
    if signed:
        scale = {
            "colorscale": [[0, theme.sell], [0.5, theme.paper], [1, theme.buy]],
            "zmin": -(widest or 1.0),
            "zmax": widest or 1.0,
        }
    marks = {
        "cells": np.ones(x.shape, np.bool_) & (view.middle >= 0),
        "unsure": view.unsure & ~view.floor,
        "floor": view.floor,
        "plateau": view.plateau,
    }
    at = {name: (f32(x[where]), f32(y[where])) for name, where in marks.items()}
    size = max(8, min(26, round(240 / max(len(view.x_at), len(view.y_at)))))
    hover = [cell_words(view, row, column) for row, column in zip(*np.nonzero(marks["cells"]), strict=True)]
    here = _on_map(view, view.tried)
    star = None if view.picked is None else _on_map(view, view.picked.pick.trial)
    data: list[Spec] = [
        {"type": "scatter", "mode": "markers", "x": at["cells"][0], "y": at["cells"][1], "text": hover,
         "marker": {"size": size, "symbol": "square", "color": "rgba(0,0,0,0)"}, "hovertemplate": "%{text}<extra></extra>",
         "showlegend": False},
        {"type": "heatmap", "x": f32(view.x_at), "y": f32(view.y_at), "z": np.round(view.value, 4), "hoverinfo": "skip", **scale,
         "colorbar": _scale(axis_words(tuned, Axis(name=view.metric), view.show)), "xgap": 1, "ygap": 1, "showlegend": False},
        {"type": "scatter", "mode": "markers", "name": "not distinguishable from zero", "x": at["unsure"][0], "y": at["unsure"][1],
         "marker": {"symbol": "line-ne", "size": size * 0.7, "line": {"color": theme.muted, "width": 1.2}}, "hoverinfo": "skip",
         "showlegend": bool(view.unsure.any())},
        {"type": "scatter", "mode": "text", "name": "below the fee floor", "x": at["floor"][0], "y": at["floor"][1],
         "text": ["////"] * len(at["floor"][0]), "textfont": {"color": theme.loss, "size": 12}, "hoverinfo": "skip",
         "showlegend": False},
        {"type": "scatter", "mode": "markers", "name": "plateau of the pick", "x": at["plateau"][0], "y": at["plateau"][1],
         "marker": {"symbol": "square-open", "size": size, "color": theme.text, "line": {"width": 2}}, "hoverinfo": "skip",
         "showlegend": bool(view.plateau.any())},
        {"type": "scatter", "mode": "markers", "name": "pick", "x": f32([] if star is None else [star[0]]),
         "y": f32([] if star is None else [star[1]]), "hoverinfo": "skip", "showlegend": star is not None,
         "marker": {"symbol": "star", "size": 16, "color": theme.text, "line": {"color": theme.paper, "width": 1.5}}},
        {"type": "scatter", "mode": "markers", "name": "what if", "x": f32([here[0]]), "y": f32([here[1]]), "hoverinfo": "skip",
         "marker": {"symbol": "diamond-open", "size": 14, "color": theme.text, "line": {"width": 2.5}}},
    ]  # fmt: skip
    floor = "; //// pays no round trip's fees" if view.floor.any() else ""
    rest = "median of the trials in a cell" if len(tuned.dimensions) > 1 else "one parameter was varied"
    title = f"Where is it good? {metric.words.capitalize()}"
    layout = layout_of(theme, title, f"{rest}, {_SAID[view.show]}{floor}", height=HEIGHT) | _look() | {
        "xaxis": {"title": {"text": axis_words(tuned, view.x)}, "showgrid": False, "zeroline": False, **_places(view.x)},
        "yaxis": {"title": {"text": "" if view.y is None else axis_words(tuned, view.y)}, "showgrid": False, "zeroline": False,
                  **({"showticklabels": False} if view.y is None else _places(view.y))},
    }  # fmt: skip
    nothing = (
        "" if (view.middle >= 0).any() else "no trial to show: all lie inside the fee floor, or have no such number"
    )
    return or_words({"data": data, "layout": layout}, nothing, theme)


def compared(view: Compared | None, why: str = "", *, theme: Palette = LIGHT) -> Spec:
    """Return pins side by side: net over time, parts of it, and what each earns more than the first; or why there is nothing."""
    runs, asset = () if view is None else view.runs, "" if view is None else view.asset
    colours = (theme.text, theme.buy, theme.sell, theme.accent)
    digits = money_digits(*(float(one.equity) for one in runs)) if runs else 2
    data: list[Spec] = []
    for at, colour in enumerate(colours):
        one = runs[at] if at < len(runs) else None
        kept = thin(one.ts_ns / 1e6, one.net, CURVE_POINTS) if one is not None else np.empty(0, np.int64)
        times = (
            [] if one is None else np.datetime_as_string(one.ts_ns[kept].astype("datetime64[ns]"), unit="s").tolist()
        )
        name = "" if view is None or one is None else view.labels[at]
        data.append({
            "type": "scatter", "mode": "lines", "name": escape(name), "x": times, "y": f32([] if one is None else one.net[kept]),
            "line": {"color": colour, "width": 2, "dash": _DASHES[at]}, "visible": one is not None,
            "hovertemplate": f"{LETTERS[at]} %{{y:+,.{digits}f}} {asset}<extra></extra>",
        })  # fmt: skip
    for at, colour in enumerate(colours):
        one = runs[at] if at < len(runs) else None
        values = {} if one is None else one.parts | {"net": one.equity}
        data.append({
            "type": "bar", "xaxis": "x2", "yaxis": "y2", "x": list(values), "y": f32([float(value) for value in values.values()]),
            "marker": marker([colour] * len(values), hatched=[value < 0 for value in values.values()], theme=theme),
            "text": [f"{LETTERS[at]} {name}: {number(value, digits, sign=True)} {asset}" for name, value in values.items()],
            "textposition": "none", "hovertemplate": "%{text}<extra></extra>", "showlegend": False, "visible": one is not None,
        })  # fmt: skip
    less = (
        [(LETTERS[at], score) for at, score in enumerate(view.less_first) if score is not None]
        if view is not None
        else []
    )
    means = np.array([score.per_hour for _, score in less])
    low, high = (np.array([_or_nan(getattr(score, end)) for _, score in less]) for end in ("low", "high"))
    data.append({
        "type": "scatter", "mode": "markers", "xaxis": "x3", "yaxis": "y3", "x": [name for name, _ in less], "y": f32(means),
        "marker": {"size": 11, "color": theme.text, "symbol": ["circle" if score.distinguishable else "circle-open" for _, score in less],
                   "line": {"width": 2, "color": theme.text}},
        "error_y": _error(means, low, high) | {"color": theme.text, "thickness": 1.6, "width": 6}, "showlegend": False,
        "text": [f"{name} less A: {score.text}" for name, score in less], "hovertemplate": "%{text}<extra></extra>",
    })  # fmt: skip
    subtitle = "Test part; hollow: not distinguishable from A, block by block; losses are hatched"
    layout = layout_of(theme, "Pins side by side", subtitle, height=COMPARED_HEIGHT) | _look() | {
        "barmode": "group", "hovermode": "closest",
        "xaxis": {"type": "date", "title": {"text": "time, UTC"}, "domain": [0.0, 0.42]},
        "yaxis": {"title": {"text": f"net, {asset}"}},
        "xaxis2": {"title": {"text": "parts of net"}, "domain": [0.51, 0.8], "anchor": "y2", "showgrid": False},
        "yaxis2": {"title": {"text": asset}, "anchor": "x2", "zeroline": True},
        "xaxis3": {"title": {"text": "less A, an hour"}, "domain": [0.89, 1.0], "anchor": "y3", "showgrid": False, "type": "category"},
        "yaxis3": {"title": {"text": asset}, "anchor": "x3", "zeroline": True},
    }  # fmt: skip
    drawn = [one["visible"] for one in data[:8]]
    spec = or_words({"data": data, "layout": layout}, why, theme)
    if not why:
        for trace, seen in zip(data[:8], drawn, strict=True):
            trace["visible"] = seen
    return spec


# --- words -------------------------------------------------------------------------------------------------------------


def axis_words(tuned: Tuned, one: Axis, show: str = TEST) -> str:
    """Return what stands along an axis: a metric with its unit, or a parameter."""
    if one.name not in METRICS:
        return label(one.name)
    metric = METRICS[one.name]
    instrument = tuned.study.market.instrument
    unit = metric.unit.format(asset=tuned.study.asset, base="contracts" if instrument.inverse else instrument.base)
    less = ", test less train" if show == DIFFERENCE else ""
    return f"{metric.words}{less}{f', {unit}' if unit else ''}"


@lru_cache(maxsize=2)
def all_words(tuned: Tuned) -> tuple[str, ...]:
    """Return what a hand over each trial reads; the same as long as the study is."""
    return tuple(trial_words(tuned, trial) for trial in tuned.study.complete)


def trial_words(tuned: Tuned, trial: Trial) -> str:
    """Return what a hand over a trial reads."""
    test, train = trial.test, trial.train
    assert test is not None and train is not None  # it is complete
    score, asset = tuned.study.score(trial), tuned.study.asset
    digits = money_digits(score.per_hour, score.low, score.high)
    between = interval(score.low, score.high, digits)
    return escape(
        f"trial {trial.number}: {told(trial.parameters)}"
    ) + (
        f"<br>test {number(score.per_hour, digits, sign=True)} {between}, train {number(train.net_per_hour, digits, sign=True)} {asset}/h"
        f"<br>{test.round_trips:,} round trips, fees {number(test.fees, digits)}, drawdown {number(test.drawdown, digits)}"
    )  # fmt: skip


def cell_words(view: Map, row: int, column: int) -> str:
    """Return what a hand over a cell of the map reads."""
    tuned = view.tuned
    where = [f"{label(view.x.name)} {_place_words(view.x, view.x_at[column])}"]
    if view.y is not None:
        where.append(f"{label(view.y.name)} {_place_words(view.y, view.y_at[row])}")
    value = number(float(view.value[row, column]), 2, sign=True)
    trials = int(view.count[row, column])
    said = f"{', '.join(where)}<br>{METRICS[view.metric].words} {value}, median of {trials} trial{'s' if trials > 1 else ''}"
    if view.floor[row, column]:
        said += "<br>its spacing does not pay the fees of a round trip"
    elif view.unsure[row, column]:
        said += "<br>not distinguishable from zero"
    return f"{said}<br>click: trial {tuned.study.complete[view.middle[row, column]].number}"


# --- what the figures share --------------------------------------------------------------------------------------------


def _place_words(one: Axis, at: float) -> str:
    return escape(word(one.choices[int(at)])) if one.choices else f"{at:.3g}"


def _scale(title: str) -> Spec:
    return {
        "title": {"text": title, "side": "right", "font": {"size": 12}},
        "tickfont": {"size": 12},
        "thickness": 12,
        "outlinewidth": 0,
    }


def _places(one: Axis) -> Spec:
    """Return the ticks of a choice; plotly's own for a number."""
    if not one.choices:
        return {}
    return {"tickvals": list(range(len(one.choices))), "ticktext": [escape(word(choice)) for choice in one.choices]}


def _at(tried: Tried, name: str, view: Front) -> float:
    """Return where a configuration stands along an axis."""
    if name in METRICS:
        return tried.metric(name, TRAIN if view.show == TRAIN else TEST)
    return _parameter(view.tuned, name, tried.values[name])


def _parameter(tuned: Tuned, name: str, value: Any) -> float:
    one = tuned.dimensions[name]
    return float(one.nearest(value)) if one.choices else float(value)


def _on_map(view: Map, of: Tried | Trial) -> tuple[float, float]:
    """Return where a configuration stands on the map."""
    given = of.parameters if isinstance(of, Trial) else of.values
    y = 0.0 if view.y is None else _parameter(view.tuned, view.y.name, given[view.y.name])
    return _parameter(view.tuned, view.x.name, given[view.x.name]), y


def _pick(view: Front) -> tuple[Floats, Floats, Spec]:
    nothing: Floats = np.empty(0)
    if view.picked is None:
        return nothing, nothing, _error(nothing, nothing, nothing)
    trial, score = view.picked.pick.trial, view.picked.pick.score
    row = view.tuned.row(trial)
    x = view.tuned.column(view.x.name, TRAIN if view.show == TRAIN else TEST)[row]
    y = view.tuned.column(view.y.name, view.show)[row]
    sure = view.y.name == "net_per_hour" and view.show == TEST
    ends = [np.array([_or_nan(end if sure else None)]) for end in (score.low, score.high)]
    return np.array([x]), np.array([y]), _error(np.array([y]), *ends)


def _bars(tried: Tried, view: Front, theme: Palette) -> Spec:
    sure = view.y.name == "net_per_hour" and view.show == TEST
    ends = [np.array([_or_nan(end if sure else None)]) for end in (tried.score.low, tried.score.high)]
    bars = _error(np.array([tried.score.per_hour]), *ends)
    return bars | {"color": theme.buy, "thickness": 1.6, "width": 4}


def _error(middle: Floats, low: Floats, high: Floats) -> Spec:
    up, down = (np.maximum(np.nan_to_num(away), 0) for away in (high - middle, middle - low))
    return {"type": "data", "array": f32(up), "arrayminus": f32(down)}


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value


def _joined_pins(view: Front) -> tuple[Any, Any, list[str], list[tuple[float, float, str]]]:
    """Return test and train of each pin with a gap after them, how each is marked, and where the letters stand."""
    x: list[float] = []
    y: list[float] = []
    symbols: list[str] = []
    letters: list[tuple[float, float, str]] = []
    for at, pin in enumerate(view.pins):
        here = _at(pin, view.x.name, view)
        test, train = pin.metric(view.y.name, TEST), pin.metric(view.y.name, TRAIN)
        if view.show == DIFFERENCE:
            test, train = test - train, np.nan
        there = pin.metric(view.x.name, TRAIN) if view.x.name in METRICS else here
        x += [here, there, np.nan]
        y += [test, train, np.nan]
        symbols += [_SYMBOLS[at], f"{_SYMBOLS[at]}-open", "circle"]
        letters.append((here, test, LETTERS[at] if pin.instead is None else f"~{LETTERS[at]}"))
    return f32(x), f32(y), symbols, letters


def _look() -> Spec:
    return {
        "hovermode": "closest", "showlegend": True, "margin": _MARGIN,
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": -0.2, "yanchor": "top"},
    }  # fmt: skip
