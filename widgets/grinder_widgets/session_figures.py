"""Figures of a running session: parts of a snapshot in, plotly figures out as plain dicts.

A live figure is drawn anew as a dict each time, which costs next to nothing, and only what differs from the last dict is sent:
`changes` finds it. Each figure therefore has the same traces whatever it shows; what has nothing to show is empty or hidden.

Numbers are float32: a figure of a few hundred pixels shows no more. Times are text, since plotly.js forgets that an axis shows
dates as soon as new numbers come (`clearAxisTypes` in its plot_api/helpers.js).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from grinder_kit.session.snapshot import About, Counts, Forecast, Money, Ribbon, RibbonBin, Series, Trade, Trip, Waits
from grinder_widgets.figures import fill_marks, marker, profit_lines, trip_bars, waterfall_steps
from grinder_widgets.markup import escape
from grinder_widgets.points import Floats, Ints, shown, thin
from grinder_widgets.rung_words import decimals, unit
from grinder_widgets.theme import (
    LIGHT,
    MISSING,
    Palette,
    count,
    duration,
    money_digits,
    number,
    probability,
    template,
)

Spec = dict[str, Any]

#: Points of a line, and of each of the five lines of a profit: together they fit one update.
POINTS, PROFIT_POINTS = 400, 300
#: Operations of which a latency curve is drawn, the most frequent ones.
OPERATIONS = 4
_DASHES = ("solid", "dash", "dot", "dashdot")
_MS_TICKS = [digit * 10.0**power for power in range(-2, 5) for digit in (1, 2, 5)]


@dataclass(frozen=True, slots=True)
class Changes:
    """What differs between two drawings of a figure: by trace and for the layout, path (``marker.color``) to value."""

    traces: tuple[dict[str, Any], ...]
    layout: dict[str, Any]

    def __bool__(self) -> bool:
        return bool(self.layout) or any(self.traces)


def changes(before: Spec, after: Spec) -> Changes:
    """Return what must be assigned to turn one drawing of a figure into another; what is gone becomes None."""
    return Changes(
        tuple(_differences(old, new) for old, new in zip(before["data"], after["data"], strict=True)),
        _differences(before["layout"], after["layout"]),
    )


def _differences(before: Spec, after: Spec) -> dict[str, Any]:
    old, new = dict(_leaves(before)), dict(_leaves(after))
    found = {path: value for path, value in new.items() if path not in old or not _equal(old[path], value)}
    return found | {path: None for path in old if path not in new}


def _leaves(spec: Spec, above: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in spec.items():
        path = f"{above}{name}"
        # A template is set whole: in pieces it would be mixed with the one before.
        if isinstance(value, dict) and name != "template":
            found += _leaves(value, f"{path}.")
        else:
            found.append((path, value))
    return found


def _equal(old: Any, new: Any) -> bool:
    if isinstance(old, np.ndarray) or isinstance(new, np.ndarray):
        same_kind = isinstance(old, np.ndarray) and isinstance(new, np.ndarray) and old.shape == new.shape
        return same_kind and bool(((old == new) | ((old != old) & (new != new))).all())
    return bool(old == new)


# --- money -----------------------------------------------------------------------------------------------------------


def profit(series: Series, money: Money, about: About, *, theme: Palette = LIGHT) -> Spec:
    """Return net profit over time with its parts, and beside it the parts as a waterfall."""
    at = _at(series.ts_ns)
    values = {
        "grid": _floats(series.grid),
        "trend": _floats(series.trend),
        "fees": -_floats(series.commission),
        "funding": _floats(series.funding),
        "net": _floats(series.equity),
    }
    parts = [
        ("grid", float(money.grid)), ("trend", float(money.trend or 0)), ("fees", -float(money.commission)),
        ("funding", float(money.funding)),
    ]  # fmt: skip
    net = float(money.equity if money.equity is not None else sum(value for _, value in parts))
    digits = money_digits(net, *(value for _, value in parts))
    data: list[Spec] = []
    drawn = 0
    for part, (name, line) in profit_lines(theme).items():
        x, y = _line(at, values[part], PROFIT_POINTS)
        drawn = len(x)
        data.append({
            "type": "scatter", "mode": "lines", "name": name.split(" (")[0], "x": x, "y": y, "line": line,
            "visible": part != "funding" or bool(values["funding"].any()),
            "hovertemplate": f"%{{y:+,.{digits}f}} {about.settle}",
        })  # fmt: skip
    bars = waterfall_steps(parts, net)
    ends = [start + value for _, start, value in bars]
    low, high = min(0.0, *ends), max(0.0, *ends)
    room = (high - low or 1.0) * 0.16
    labels_at = [end - room * 0.2 * (value < 0) for end, (_, _, value) in zip(ends, bars, strict=True)]  # off the bars
    colours = [theme.text if name == "net" else theme.loss if value < 0 else theme.gain for name, _, value in bars]
    coarse = 0 if max(abs(value) for *_, value in bars) >= 1000 else digits
    data += [
        {"type": "bar", "xaxis": "x2", "yaxis": "y2", "x": list(range(len(bars))), "y": f32([value for *_, value in bars]),
         "base": f32([start for _, start, _ in bars]), "width": 0.72, "showlegend": False,
         "marker": marker(colours, hatched=[value < 0 for *_, value in bars], theme=theme),
         "text": [f"{name}: {number(value, digits, sign=True)} {about.settle}" for name, _, value in bars], "textposition": "none",
         "hovertemplate": "%{text}<extra></extra>"},
        {"type": "scatter", "mode": "text", "xaxis": "x2", "yaxis": "y2", "x": list(range(len(bars))), "y": f32(labels_at),
         "text": [number(value, coarse, sign=True) for *_, value in bars], "textfont": {"size": 12}, "cliponaxis": False,
         "textposition": ["bottom center" if value < 0 else "top center" for *_, value in bars], "hoverinfo": "skip",
         "showlegend": False},
    ]  # fmt: skip
    residual = "unknown" if money.residual is None else f"{money.residual:.1E}" if money.residual else "0"
    said = f"Parts add up to net; residual {residual} {about.settle}, against a second ledger; {shown(drawn, len(at))}"
    layout = layout_of(theme, "Net profit and what it is made of", said, height=340) | {
        "hovermode": "x unified", "margin": {"l": 64, "r": 16, "t": 92, "b": 44},
        "xaxis": _time_axis() | {"domain": [0.0, 0.56]},
        "yaxis": {"title": {"text": f"since the start, {about.settle}"}},
        "xaxis2": {"domain": [0.68, 1.0], "anchor": "y2", "tickvals": list(range(len(bars))), "ticktext": [name for name, *_ in bars],
                   "range": [-0.5, len(bars) - 0.5], "showgrid": False, "zeroline": False, "ticks": "", "fixedrange": True},
        "yaxis2": {"anchor": "x2", "title": {"text": about.settle}, "range": [low - room, high + room], "fixedrange": True},
    }  # fmt: skip
    return or_words({"data": data, "layout": layout}, "" if len(at) else "no price has been seen yet", theme)


def fills(series: Series, trades: Sequence[Trade], counts: Counts, about: About, *, theme: Palette = LIGHT) -> Spec:
    """Return the mid line with the latest fills as triangles: up for buys, down for sells."""
    at = _at(series.ts_ns)
    x, y = _line(at, _floats(series.mid), POINTS)
    tick = decimals(about.tick)
    data: list[Spec] = [{
        "type": "scatter", "mode": "lines", "name": "mid", "x": x, "y": y, "line": {"color": theme.text, "width": 1.2, "shape": "hv"},
        "hovertemplate": f"mid %{{y:,.{tick + 1}f}}<br>%{{x|%H:%M:%S.%L}} UTC<extra></extra>",
    }]  # fmt: skip
    for side, word, symbol, colour in fill_marks(theme):
        part = [trade for trade in trades if trade.side == side]
        data.append({
            "type": "scatter", "mode": "markers", "name": f"{word.lower()} ({len(part)})",
            "x": _times(_at([trade.ts_ns for trade in part]), "ms"), "y": f32([float(trade.price) for trade in part]),
            "marker": {"symbol": symbol, "size": 10, "color": colour, "line": {"width": 0.5, "color": theme.paper}},
            "text": [_fill_words(trade, about) for trade in part],
            "hovertemplate": f"{word} %{{text}}<br>at %{{y:,.{tick}f}}, %{{x|%H:%M:%S.%L}} UTC<extra></extra>",
        })  # fmt: skip
    said = f"Mid: {shown(len(x), len(at))}; {shown(len(trades), max(counts.fills, len(trades)), 'fills, the latest')}"
    if len(trades) >= counts.fills:
        said = f"Mid: {shown(len(x), len(at))}; {shown(len(trades), len(trades), 'fills')}"
    layout = layout_of(theme, "Price and fills", said, height=360) | {
        "hovermode": "closest",
        "xaxis": _time_axis(),
        "yaxis": {"title": {"text": f"price, {about.quote}"}, "tickformat": ","},
    }
    return or_words({"data": data, "layout": layout}, "" if len(at) or trades else "no price has been seen yet", theme)


def _fill_words(trade: Trade, about: About) -> str:
    how = "maker" if trade.is_maker else "taker"
    what = f"{trade.quantity.normalize():f} {unit(about)}, {trade.key}, {how}"
    return f"{escape(what)}<br>fee {trade.commission.normalize():f} {escape(trade.commission_asset)}"


def round_trips(trips: Sequence[Trip], counts: Counts, *, theme: Palette = LIGHT) -> Spec:
    """Return the histogram of net profit of the latest round trips, in bps of the entry's value; losses are hatched."""
    values = _floats([trip.net_bps for trip in trips])
    values = values[np.isfinite(values)]
    said = ""
    if len(values):
        data, outside = trip_bars(values, theme)
        held = float(np.median([trip.hold_s for trip in trips]))
        said = f"{shown(len(values), max(counts.round_trips, len(values)), 'round trips')}; half were held longer than {duration(held)}"
        if outside:
            said += f"; the outer bars hold {count(outside)} from beyond the axis"
    else:
        data, _ = trip_bars(np.zeros(1), theme)
        for trace in data:
            trace["visible"] = False
    layout = layout_of(theme, "Net profit of a round trip", said, height=320) | {
        "bargap": 0, "barmode": "overlay",
        "xaxis": {"title": {"text": "net of fees, bps of the entry's value"}},
        "yaxis": {"title": {"text": "round trips"}, "rangemode": "tozero"},
    }  # fmt: skip
    return or_words({"data": data, "layout": layout}, "" if len(values) else "no round trip has been completed", theme)


# --- probabilities ---------------------------------------------------------------------------------------------------


def ribbon(told: Ribbon, forecast: Forecast, *, theme: Palette = LIGHT) -> Spec:
    """Return each own order's probability at placement against what happened, in bins of a tenth.

    Orders that were withdrawn before the horizon are censored. A bin of which none rested for so long is hollow: what it shows is
    the least that can be said.
    """
    bins = told.bins
    sure = [one.low is not None for one in bins]
    x, y = f32([one.predicted for one in bins]), f32([one.observed for one in bins])
    up = f32([0.0 if one.high is None else max(0.0, one.high - one.observed) for one in bins])
    down = f32([0.0 if one.low is None else max(0.0, one.observed - one.low) for one in bins])
    data: list[Spec] = [
        {"type": "scatter", "mode": "lines", "name": "as often as predicted", "x": [0, 1], "y": [0, 1], "hoverinfo": "skip",
         "line": {"color": theme.muted, "width": 1.4, "dash": "dash"}},
        {"type": "scatter", "mode": "markers", "name": "own orders", "x": x, "y": y,
         "marker": {"symbol": ["circle" if one else "circle-open" for one in sure], "color": theme.text, "size": 9},
         "error_y": {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "color": theme.text, "thickness": 1.3,
                     "width": 4},
         "text": [_bin_words(one, forecast) for one in bins], "hovertemplate": "%{text}<extra></extra>"},
    ]  # fmt: skip
    axis = {
        "range": [-0.02, 1.04],
        "tickvals": [0, 0.2, 0.4, 0.6, 0.8, 1],
        "ticktext": ["0", ".2", ".4", ".6", ".8", "1"],
    }
    hollow = "" if all(sure) else "; hollow: none rested so long, so at least so many"
    layout = layout_of(theme, "Did the probabilities come true?", f"Bars are 90 % intervals{hollow}", height=360) | {
        "hovermode": "closest",
        "xaxis": axis | {"title": {"text": "probability at placement"}},
        "yaxis": axis | {"title": {"text": f"share filled within {forecast.horizon_s:g} s"}},
    }  # fmt: skip
    why = forecast.no_prob if not forecast.model else "" if bins else "no probability has ten orders yet"
    return or_words({"data": data, "layout": layout}, why, theme)


def _bin_words(one: RibbonBin, forecast: Forecast) -> str:
    least = "" if one.low is not None else "at least "
    return (
        f"predicted {probability(one.predicted)}: {least}{probability(one.observed)} filled within {forecast.horizon_s:g} s<br>"
        f"{one.filled:,} fills of {one.orders:,} orders"
    )


# --- latency ---------------------------------------------------------------------------------------------------------


def latency(waits: Sequence[Waits], *, theme: Palette = LIGHT) -> Spec:
    """Return how long the venue took to answer, by operation: the share of the latest requests answered within a time.

    A request that was never answered is censored at the age at which it was given up. A curve that ends below 1 goes on to the
    last such age, and has an open triangle there.
    """
    drawn = [one for one in sorted(waits, key=lambda one: (-one.count, one.operation)) if one.ms][:OPERATIONS]
    colours = (theme.text, theme.buy, theme.sell, theme.gain)
    data: list[Spec] = []
    for i in range(OPERATIONS):
        one = drawn[i] if i < len(drawn) else None
        x, y = curve(one) if one is not None else (f32([]), f32([]))
        ends_open = one is not None and one.share[-1] < 0.99999
        data.append({
            "type": "scatter", "mode": "lines+markers", "x": x, "y": y, "visible": one is not None,
            "name": "" if one is None else latency_name(one),
            "line": {"color": colours[i], "width": 1.8, "dash": _DASHES[i], "shape": "hv"},
            # Only the end of a censored curve is marked.
            "marker": {"symbol": "triangle-right-open", "color": colours[i], "size": 11,
                       "opacity": [0.0] * (len(x) - 1) + [float(ends_open)] if len(x) else []},
            "hovertemplate": "%{y:.0%} within %{x:.3~g} ms<extra></extra>",
        })  # fmt: skip
    lost_of_all = sum(one.timeouts for one in waits)
    said = "Share of the latest requests answered within a time"
    said += f"; {lost_of_all:,} of all never were" if lost_of_all else "; none was left without an answer"
    layout = layout_of(theme, "How long the venue takes", said, height=340) | {
        "hovermode": "closest", "showlegend": True, "margin": {"l": 64, "r": 16, "t": 64, "b": 84},
        # Below the axis: wherever it lay inside, some curve would pass under it.
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": -0.26, "yanchor": "top"},
        "xaxis": {"type": "log", "title": {"text": "time to the answer, ms"}, "tickvals": _MS_TICKS,
                  "ticktext": [f"{tick:g}" for tick in _MS_TICKS]},
        "yaxis": {"title": {"text": "share answered"}, "range": [0.0, 1.03], "tickformat": ".0%"},
    }  # fmt: skip
    return or_words({"data": data, "layout": layout}, "" if drawn else "nothing has been asked of the venue yet", theme)


def curve(one: Waits) -> tuple[Any, Any]:
    """Return the steps of a distribution: times in ms, and the share of the latest requests answered by then."""
    if not one.ms:
        return f32([]), f32([])
    times, shares = f32((one.ms[0], *one.ms)), f32((0.0, *one.share))
    if one.censored_ms and one.censored_ms[-1] > one.ms[-1]:  # as far as something is known
        times, shares = np.append(times, np.float32(one.censored_ms[-1])), np.append(shares, shares[-1])
    return np.maximum(times, np.float32(1e-3)), shares


def latency_name(one: Waits) -> str:
    """Return a curve's name: operation, how many, median."""
    median = MISSING if one.p50_ms is None else f"{one.p50_ms:.3g} ms"
    return f"{escape(one.operation)} ({count(one.count)}), median {median}"


# --- what figures share ----------------------------------------------------------------------------------------------


def layout_of(theme: Palette, title: str, subtitle: str, *, height: int) -> Spec:
    """Return what every live figure has in its layout."""
    return {
        "template": template(theme),
        "title": {"text": title, "subtitle": {"text": subtitle}},
        "height": height,
        "uirevision": "grinder",
        "annotations": [],
        "autosize": True,
    }


def or_words(spec: Spec, words: str, theme: Palette) -> Spec:
    """Say what is missing instead of drawing axes of a scale that nothing has set; the frame keeps its size."""
    layout = spec["layout"]
    for name in ("xaxis", "xaxis2", "xaxis3", "yaxis", "yaxis2"):
        if name in layout:
            layout[name] = layout[name] | {"visible": not words}
    if words:
        layout["annotations"] = [{
            "text": words, "xref": "paper", "yref": "paper", "x": 0.5, "y": 0.5, "showarrow": False,
            "font": {"size": 14, "color": theme.muted},
        }]  # fmt: skip
        for trace in spec["data"]:
            trace["visible"] = False
    else:
        for trace in spec["data"]:
            trace.setdefault("visible", True)
    return spec


def _time_axis() -> Spec:
    return {"type": "date", "title": {"text": "time, UTC"}}


def _at(ts_ns: Sequence[int]) -> Ints:
    return np.array(ts_ns, np.int64)


def _times(at: Ints, unit: Literal["s", "ms"]) -> list[str]:
    texts: list[str] = np.datetime_as_string(at.astype("datetime64[ns]"), unit=unit).tolist()
    return texts


def _floats(values: Sequence[float]) -> Floats:
    return np.array(values, np.float64)


def f32(values: npt.ArrayLike) -> Any:
    """Return numbers as they are sent."""
    return np.array(values, np.float32)


def _line(at: Ints, values: Floats, points: int) -> tuple[list[str], Any]:
    """Return a thinned line; what is not a finite number is left out."""
    known = np.isfinite(values)
    x, y = at[known], values[known]
    kept = thin(x / 1e6, y, points)
    return _times(x[kept], "s"), y[kept].astype(np.float32)
