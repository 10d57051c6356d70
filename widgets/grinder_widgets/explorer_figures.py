"""Figures of a fill explorer: numbers in, plotly figures out as plain dicts, always with the same traces (see session_figures)."""

from __future__ import annotations

from typing import Any

import numpy as np

from grinder_kit.fillprob.model import Floats
from grinder_widgets.explorer_evidence import FEWEST_ORDERS, Shares
from grinder_widgets.explorer_models import Asked, Bools, Chances
from grinder_widgets.explorer_state import HEURISTIC, MODEL, OBSERVED, QUEUE_WORDS
from grinder_widgets.explorer_view import CONTOURS, LONGEST_S, Calibration, Curve, Map, Time
from grinder_widgets.markup import escape
from grinder_widgets.session_figures import Spec, f32, layout_of, or_words
from grinder_widgets.theme import LIGHT, Palette, count, probability

HEIGHT = 460
OUTSIDE = "dotted: outside the data"
_SECONDS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60)
_BOLD = 2.4
_MARGIN = {"l": 64, "r": 20, "t": 92, "b": 116}
#: Over Cividis, which is dark at 0 and bright at 1.
_ON_DARK, _ON_BRIGHT = "#FFFFFF", "#111111"


def curve(view: Curve, *, theme: Palette = LIGHT) -> Spec:
    """Return the probability by distance."""
    asked, said = view.answer.asked, view.answer
    drawn = {layer: layer in view.layers for layer in (MODEL, HEURISTIC, OBSERVED)}
    inside, dotted = _parts(view.chance.middle, view.beyond)
    x = f32(view.distance_bps)
    hover = f"%{{x:.1f}} bps, {asked.horizon_s:g} s: model %{{y:.2f}}<extra></extra>"
    mark = _choice(asked.distance_bps, said.chance.middle[0], theme)
    # At zero all would lie on each other: the queue models stand left of it.
    queues = sorted((value, name, whose) for name, value, whose in view.queues if value is not None)
    data: list[Spec] = [
        _band(x, view.chance, theme) | {"visible": drawn[MODEL]},
        {"type": "scatter", "mode": "lines", "name": spoken(said.model), "x": x, "y": f32(inside), "visible": drawn[MODEL],
         "line": {"color": theme.accent, "width": _BOLD}, "hovertemplate": hover},
        {"type": "scatter", "mode": "lines", "x": x, "y": f32(dotted), "visible": drawn[MODEL], "showlegend": False,
         "line": {"color": theme.accent, "width": _BOLD, "dash": "dot"}, "hovertemplate": hover},
        {"type": "scatter", "mode": "markers", "x": f32([view.touch_bps]), "y": f32(view.touch.middle), "visible": drawn[MODEL],
         "showlegend": False, "marker": {"symbol": "square", "size": 9, "color": theme.accent},
         "error_y": _bars(view.touch.middle, view.touch.low, view.touch.high, theme.accent),
         "hovertemplate": f"at the touch, {asked.horizon_s:g} s: model %{{y:.2f}}<extra></extra>"},
        {"type": "scatter", "mode": "lines", "name": "heuristic", "x": x, "y": f32(view.heuristic), "visible": drawn[HEURISTIC],
         "line": {"color": theme.muted, "width": 1.8, "dash": "dash", "shape": "hv"},
         "hovertemplate": f"%{{x:.1f}} bps, {asked.horizon_s:g} s: heuristic %{{y:.2f}}<extra></extra>"},
        _dots(view.observed, view.end_bps, theme) | {"name": _observed_name(view.unseen), "visible": drawn[OBSERVED]},
        {"type": "scatter", "mode": "lines+markers", "name": "four queue models at the touch",
         "x": f32([-0.025 * view.end_bps] * len(queues)), "y": f32([value for value, _, _ in queues]), "visible": drawn[OBSERVED],
         "line": {"color": theme.sell, "width": 3},
         "marker": {"symbol": "line-ew", "size": 13, "line": {"color": theme.sell, "width": 2.5}},
         "text": [f"{QUEUE_WORDS[name]}: {probability(value)}, {whose}" for value, name, whose in queues],
         "hovertemplate": "at the touch, %{text}<extra></extra>"},
        mark | {"text": [escape(words(asked, said.chance, said.observed, said.heuristic))]},
    ]  # fmt: skip
    subtitle = "Bars are 90 % intervals; circles are orders like yours, hollow where there is no interval"
    title = f"Does it fill within {asked.horizon_s:g} s? By distance from mid"
    layout = layout_of(theme, title, subtitle, height=HEIGHT) | _look() | {
        "xaxis": {"title": {"text": "distance from mid, bps"}, "range": [-0.045 * view.end_bps, view.end_bps], "zeroline": False},
        "yaxis": _chance_axis("probability of a fill"),
        "annotations": _outside(bool(view.beyond.any()) and drawn[MODEL], theme),
    }  # fmt: skip
    return {"data": data, "layout": layout}


def probability_map(view: Map, *, theme: Palette = LIGHT) -> Spec:
    """Return the probability by distance and horizon."""
    asked = view.answer.asked
    halves = [f"{half:.2g} s" if half <= LONGEST_S else f"> {LONGEST_S:g} s" for half in view.half_s]
    x = f32(view.distance_bps)
    z = view.chance.round(3)  # a matrix goes as text, not as bytes
    data: list[Spec] = [{
        "type": "heatmap", "x": x, "y": f32(view.horizon_s), "z": z, "zmin": 0, "zmax": 1,
        "colorscale": "Cividis", "text": [halves] * len(view.horizon_s),
        "colorbar": {"title": {"text": "P(fill)"}, "tickvals": [0, *CONTOURS, 1], "tickformat": ".2~f", "thickness": 14, "outlinewidth": 0},
        "hovertemplate": "%{x:.1f} bps, %{y:.2~g} s: P %{z:.2f}<br>half of such orders fill in %{text}<extra></extra>",
    }]  # fmt: skip
    low, high = view.horizon_s[0], view.horizon_s[-1]
    inks = [_ON_DARK if level < 0.6 else _ON_BRIGHT for level in CONTOURS]
    labels = []
    for at, ink in enumerate(inks):
        times = np.where(
            (view.contours_s[:, at] >= low) & (view.contours_s[:, at] <= high), view.contours_s[:, at], np.nan
        )
        known = np.flatnonzero(np.isfinite(times))
        if len(known):
            place = known[len(known) * 4 // 5]
            labels.append((x[place], times[place], probability(CONTOURS[at]), ink))
        data.append({
            "type": "scatter", "mode": "lines", "x": x, "y": f32(times), "hoverinfo": "skip", "line": {"color": ink, "width": 1.4},
        })  # fmt: skip
    data.append({
        "type": "scatter", "mode": "text", "x": f32([label[0] for label in labels]), "y": f32([label[1] for label in labels]),
        "text": [label[2] for label in labels], "textposition": "bottom right", "hoverinfo": "skip",
        "textfont": {"color": [label[3] for label in labels], "size": 12},
    })  # fmt: skip
    data.append({
        "type": "scatter", "mode": "markers", "x": f32([asked.distance_bps]), "y": f32([asked.horizon_s]),
        "marker": {"symbol": "cross", "size": 15, "color": _ON_DARK, "line": {"color": _ON_BRIGHT, "width": 2}},
        "cliponaxis": False, "hovertemplate": f"your order: P {probability(view.answer.chance.middle[0])}<extra></extra>",
    })  # fmt: skip
    subtitle = f"{spoken(view.answer.model)} at {asked.sigma:.2f} bps/√s; lines at .10, .25, .50 and .75, the cross is your order"
    layout = layout_of(theme, "How likely, how far, how soon", subtitle, height=HEIGHT) | _look() | {
        "showlegend": False, "margin": _MARGIN | {"b": 56},
        "xaxis": {"title": {"text": "distance from mid, bps"}, "range": [float(x[0]), float(x[-1])], "showgrid": False, "zeroline": False},
        "yaxis": _log_seconds("horizon, s", low, high) | {"showgrid": False},
    }  # fmt: skip
    return {"data": data, "layout": layout}


def time_to_fill(view: Time, *, theme: Palette = LIGHT) -> Spec:
    """Return the probability by time."""
    asked, seen = view.answer.asked, view.observed
    drawn = {layer: layer in view.layers for layer in (MODEL, OBSERVED)}
    enough = seen.orders >= FEWEST_ORDERS
    inside, dotted = _parts(view.chance.middle, view.beyond)
    x = f32(view.time_s)
    hover = "by %{x:.3~g} s: model %{y:.2f}<extra></extra>"
    lost = f"{seen.censored:,} orders censored"
    nothing: Floats = np.empty(0)
    data: list[Spec] = [
        _band(x, view.chance, theme) | {"visible": drawn[MODEL]},
        {"type": "scatter", "mode": "lines", "name": spoken(view.answer.model), "x": x, "y": f32(inside), "visible": drawn[MODEL],
         "line": {"color": theme.accent, "width": _BOLD}, "hovertemplate": hover},
        {"type": "scatter", "mode": "lines", "x": x, "y": f32(dotted), "visible": drawn[MODEL], "showlegend": False,
         "line": {"color": theme.accent, "width": _BOLD, "dash": "dot"}, "hovertemplate": hover},
        {"type": "scatter", "mode": "lines", "name": f"{_observed_name(view.unseen)} (n {count(seen.orders)}), Kaplan-Meier",
         "x": f32(np.maximum(seen.time_s, x[0]) if enough else nothing), "y": f32(seen.share if enough else nothing),
         "visible": drawn[OBSERVED], "line": {"color": theme.text, "width": 1.6, "shape": "hv"},
         "hovertemplate": f"by %{{x:.3~g}} s %{{y:.2f}}; {lost}<extra></extra>"},
        {"type": "scatter", "mode": "markers", "name": f"{lost} here", "x": f32(seen.censored_s if enough else nothing),
         "y": f32(seen.censored_share if enough else nothing), "visible": drawn[OBSERVED],
         "marker": {"symbol": "line-ns", "size": 11, "line": {"color": theme.text, "width": 1.5}},
         "hovertemplate": f"last seen after %{{x:.3~g}} s; {lost}<extra></extra>"},
        _choice(asked.horizon_s, view.answer.chance.middle[0], theme)
        | {"text": [escape(f"by {asked.horizon_s:g} s {probability(view.answer.chance.middle[0])}; {lost}")]},
    ]  # fmt: skip
    where = "at the touch" if asked.at_touch else f"{asked.distance_bps:.1f} bps from mid"
    subtitle = (
        "A tick is where orders were lost from view, unfilled"
        if enough
        else f"Observed: too few cases (n {seen.orders})"
    )
    layout = layout_of(theme, f"How long until it fills, {where}?", subtitle, height=HEIGHT) | _look() | {
        "xaxis": _log_seconds("seconds since it joined its queue", float(x[0]), LONGEST_S * 1.12),
        "yaxis": _chance_axis("share filled"),
        "annotations": _outside(bool(view.beyond.any()) and drawn[MODEL], theme),
    }  # fmt: skip
    return {"data": data, "layout": layout}


def calibration(view: Calibration | None, why: str = "", *, theme: Palette = LIGHT) -> Spec:
    """Return predicted against observed; or, where there is nothing to show, why."""
    empty: Floats = np.empty(0)
    predicted = observed = orders = low = high = empty
    said: list[str] = []
    title, subtitle = "Does what it says come true?", ""
    if view is not None:
        bins = view.bins
        predicted, observed, orders = (
            bins[name].to_numpy().astype(float) for name in ("predicted", "observed", "orders")
        )
        low, high = (bins[name].cast(float).fill_null(np.nan).to_numpy() for name in ("low", "high"))
        said = [_bin_words(*row) for row in zip(predicted, observed, orders, strict=True)]
        near = "" if view.asked_s == view.horizon_s else f", the scored horizon nearest to {view.asked_s:g} s"
        title = f"Does what it says come true within {view.horizon_s:g} s{near}?"
        subtitle = f"{spoken(view.model)}; bars are 90 % intervals over blocks of time, hollow circles have none"
    shares = Shares(predicted, orders.astype(np.int64), np.rint(observed * orders).astype(np.int64), low, high)
    data: list[Spec] = [
        {"type": "scatter", "mode": "lines", "name": "as often as predicted", "x": [0, 1], "y": [0, 1], "hoverinfo": "skip",
         "line": {"color": theme.muted, "width": 1.4, "dash": "dash"}},
        _dots(shares, 1.0, theme) | {"y": f32(observed), "name": "observed", "text": said, "hovertemplate": "%{text}<extra></extra>"},
        {"type": "bar", "x": f32((np.floor(np.minimum(predicted, 0.9999) * 10) + 0.5) / 10), "y": f32(orders), "yaxis": "y2",
         "width": 0.09, "marker": {"color": theme.muted}, "text": said, "textposition": "none", "hovertemplate": "%{text}<extra></extra>",
         "name": "orders (below)"},
    ]  # fmt: skip
    layout = layout_of(theme, title, subtitle, height=HEIGHT) | _look() | {
        "xaxis": _chance_axis("predicted") | {"anchor": "y2"},
        "yaxis": _chance_axis("observed") | {"domain": [0.3, 1.0]},
        "yaxis2": {"title": {"text": "orders"}, "domain": [0.0, 0.2], "nticks": 3, "tickformat": "~s", "rangemode": "tozero"},
    }  # fmt: skip
    return or_words({"data": data, "layout": layout}, why, theme)


def spoken(name: str) -> str:
    """Return a model's name as words, safe to be shown."""
    return escape(name.replace("_", " "))


def words(asked: Asked, chance: Chances, observed: Shares, heuristic: float) -> str:
    """Return what a hand over the order reads: "2.0 bps, 10 s: model .43; observed 87 of 212; heuristic .70"."""
    orders = int(observed.orders[0])
    seen = f"{observed.fills[0]:,} of {orders:,}" if orders >= FEWEST_ORDERS else "too few cases"
    return (
        f"{asked.distance_bps:.1f} bps, {asked.horizon_s:g} s: model {probability(float(chance.middle[0]))}; observed {seen}; "
        f"heuristic {probability(heuristic)}"
    )


# --- what the figures share ------------------------------------------------------------------------------------------


def _parts(values: Floats, beyond: Bools) -> tuple[Floats, Floats]:
    """Return a line inside the data and outside of them; they meet in a point."""
    joined = beyond.copy()
    joined[:-1] |= beyond[1:]
    joined[1:] |= beyond[:-1]
    return np.where(beyond, np.nan, values), np.where(joined & beyond.any(), values, np.nan)


def _band(x: Any, chance: Chances, theme: Palette) -> Spec:
    known = chance.low is not None and chance.high is not None
    low, high = (f32([] if end is None else end) for end in (chance.low, chance.high))
    return {
        "type": "scatter", "mode": "lines", "name": "its 90 % interval", "x": np.concatenate((x, x[::-1])) if known else f32([]),
        "y": np.concatenate((high, low[::-1])), "fill": "toself", "fillcolor": _faint(theme.accent), "line": {"width": 0},
        "hoverinfo": "skip", "showlegend": known,
    }  # fmt: skip


def _dots(shares: Shares, end: float, theme: Palette) -> Spec:
    """Return shares as circles with bars; hollow where no interval could be had."""
    sure = np.isfinite(shares.low)
    inside = shares.distance_bps <= end
    said = [
        f"{d:.1f} bps: observed {fills:,} of {orders:,}{'' if one else '; no interval'}"
        for d, fills, orders, one in zip(shares.distance_bps, shares.fills, shares.orders, sure, strict=True)
    ]
    return {
        "type": "scatter", "mode": "markers", "cliponaxis": False, "x": f32(np.where(inside, shares.distance_bps, np.nan)),
        "y": f32(shares.share),
        "marker": {"symbol": ["circle" if one else "circle-open" for one in sure], "size": 8, "color": theme.text,
                   "line": {"color": theme.text, "width": 1.5}},
        "error_y": _bars(shares.share, shares.low, shares.high, theme.text), "text": said, "hovertemplate": "%{text}<extra></extra>",
    }  # fmt: skip


def _bars(middle: Floats, low: Floats | None, high: Floats | None, ink: str) -> Spec:
    if low is None or high is None:
        low = high = middle
    up, down = (np.maximum(np.nan_to_num(away), 0) for away in (high - middle, middle - low))
    return {"type": "data", "array": f32(up), "arrayminus": f32(down), "color": ink, "thickness": 1.4, "width": 3}


def _choice(x: float, y: float, theme: Palette) -> Spec:
    return {
        "type": "scatter", "mode": "markers", "name": "your order", "x": f32([x]), "y": f32([y]), "cliponaxis": False,
        "marker": {"symbol": "diamond-open", "size": 15, "color": theme.buy, "line": {"width": 2.5}},
        "hovertemplate": "%{text}<extra></extra>",
    }  # fmt: skip


def _bin_words(predicted: float, observed: float, orders: float) -> str:
    at = min(int(predicted * 10), 9) / 10
    return f"predicted {probability(at)} to {probability(at + 0.1)}: {round(observed * orders):,} of {int(orders):,}"


def _observed_name(unseen: bool) -> str:
    return "observed" if unseen else "observed (its own training data)"


def _look() -> Spec:
    return {
        "hovermode": "closest", "showlegend": True, "margin": _MARGIN,
        # Below the axis: wherever it lay inside, some curve would pass under it.
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": -0.22, "yanchor": "top"},
    }  # fmt: skip


def _chance_axis(title: str) -> Spec:
    return {
        "title": {"text": title},
        "range": [-0.02, 1.02],
        "tickvals": [0, 0.2, 0.4, 0.6, 0.8, 1.0],
        "zeroline": False,
    }


def _log_seconds(title: str, low: float, high: float) -> Spec:
    return {
        "type": "log", "title": {"text": title}, "range": [float(np.log10(low)), float(np.log10(high))], "tickvals": list(_SECONDS),
        "ticktext": [f"{tick:g}" for tick in _SECONDS],
    }  # fmt: skip


def _outside(shown: bool, theme: Palette) -> list[Spec]:
    if not shown:
        return []
    return [{"text": OUTSIDE, "xref": "paper", "yref": "paper", "x": 1, "y": 1, "xanchor": "right", "yanchor": "bottom",
             "showarrow": False, "font": {"size": 12, "color": theme.accent}}]  # fmt: skip


def _faint(colour: str) -> str:
    """Return a colour that what lies behind shines through."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.2)"
