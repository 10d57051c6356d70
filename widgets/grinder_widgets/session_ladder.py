"""The ladder of a running session: own orders by price, the queue ahead of each, how likely each fills, and what it is worth.

One axis of prices, and all columns on one axis from 0 to 1: every subplot less is a redraw that the browser need not make, and a
ladder is redrawn as often as the market moves. For the same reason the mid is a text among the others and not a tick.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np

from grinder_kit.model.order import Side
from grinder_kit.session.snapshot import About, Forecast, Now, Rung
from grinder_widgets.figures import marker
from grinder_widgets.markup import escape
from grinder_widgets.rung_words import bps_short, price, prob_words, rung_short, unit
from grinder_widgets.session_figures import Spec, f32, layout_of, or_words
from grinder_widgets.theme import LIGHT, Palette

LADDER_ROWS = 60
#: Where bars of own quantity, and the axes of the queue, the probability and the value begin and end, as shares of the width.
_OWN, _QUEUE, _PROB, _VALUE = (0.0, 0.06), (0.18, 0.28), (0.41, 0.57), (0.665, 0.79)
_PROB_WORDS, _VALUE_WORDS = 0.57, 0.80
_MID = 0.28  # where the line of mid begins: its text stands before it
_SCALES_BPS = (1, 2, 5, 10, 20, 50, 100)
_SHORTEST_S = 0.1


class Row(NamedTuple):
    """A row of the ladder under the name by which it is picked."""

    name: str
    rung: Rung


def ladder_rows(rungs: Sequence[Rung], mid: Decimal | None, most: int = 30) -> tuple[Row, ...]:
    """Return the rows that are shown, the highest price first: those nearest to mid, half of them on either side."""
    most = max(1, min(most, LADDER_ROWS))
    above = [rung for rung in rungs if rung.side is Side.SELL]
    below = [rung for rung in rungs if rung.side is Side.BUY]
    if len(rungs) > most:
        centre = mid if mid is not None else _between(above, below)
        above.sort(key=lambda rung: abs(rung.price - centre))
        below.sort(key=lambda rung: abs(rung.price - centre))
        half = most // 2
        room = max(half, most - len(below))
        above, below = above[:room], below[: most - min(room, len(above))]
    rows: dict[str, Row] = {}
    standing = {rung.key for rung in rungs if not rung.refused}
    # At one price a sell stands above a buy.
    for rung in sorted((*above, *below), key=lambda rung: (-rung.price, rung.side is Side.BUY, rung.key)):
        # A pick follows its level from order to refusal and back.
        name = f"{rung.key} refused" if rung.refused and rung.key in standing else rung.key
        rows.setdefault(name, Row(name, rung))
    return tuple(rows.values())


def _between(above: list[Rung], below: list[Rung]) -> Decimal:
    prices = [min((rung.price for rung in above), default=None), max((rung.price for rung in below), default=None)]
    known = [price for price in prices if price is not None]
    return sum(known, Decimal(0)) / len(known)


def mid_of(now: Now) -> Decimal | None:
    """Return the mid of the market as last seen."""
    return None if now.bid is None or now.ask is None else (now.bid + now.ask) / 2


def ladder(
    rows: Sequence[Row],
    mid: Decimal | None,
    about: About,
    forecast: Forecast,
    *,
    total: int,
    picked: str | None = None,
    theme: Palette = LIGHT,
) -> Spec:
    """Return own orders by price: quantity and queue ahead, probability of a fill, expected value; levels not quoted are hollow.

    Parameters
    ----------
    rows : sequence of Row
        `ladder_rows`; a click on the first trace tells the index of the row.
    mid : Decimal, optional
    about : About
    forecast : Forecast
        By what the rows are judged and valued.
    total : int
        How many rungs there are, shown or not.
    picked : str, optional
        Name of the row that is marked.
    theme : Palette
    """
    n = len(rows)
    rungs = [row.rung for row in rows]
    above = sum(rung.side is Side.SELL if mid is None else rung.price >= mid for rung in rungs)
    # Mid has a row of its own, between those above and those below.
    at = f32([n - i if i < above else n - i - 1 for i in range(n)])
    largest = max((float(rung.quantity) for rung in rungs if rung.quantity), default=1.0)
    # A level that is not quoted has no quantity: its bar is as long as the longest, and hollow.
    own = f32([_OWN[1] * float(largest if rung.quantity is None else rung.quantity) / largest for rung in rungs])
    filled = f32([0.0 if rung.refused else min(_OWN[1], _OWN[1] * float(rung.filled) / largest) for rung in rungs])
    colours = [theme.sell if rung.side is Side.SELL else theme.buy for rung in rungs]
    ink = [theme.muted if rung.refused else colour for rung, colour in zip(rungs, colours, strict=True)]
    queue, value = _queue(rungs, about), _value(rungs, theme)
    prob, placed = (_place(_PROB, [getattr(rung, name) for rung in rungs]) for name in ("fill_prob", "placed_prob"))
    ends = [_place(_PROB, [getattr(rung, name) for rung in rungs]) for name in ("prob_low", "prob_high")]
    dashes = np.stack((np.full(n, _QUEUE[0], np.float32), queue.x, np.full(n, np.nan, np.float32)), axis=1).ravel()
    words = [_own_words(rung) for rung in rungs] + queue.words + [prob_words(rung) for rung in rungs] + value.words
    words_x = np.concatenate((
        own, np.nan_to_num(queue.x, nan=_QUEUE[0] - 0.01),
        f32([_PROB_WORDS if rung.fill_prob is not None else _PROB[0] - 0.01 for rung in rungs]), np.full(n, _VALUE_WORDS, np.float32),
        f32([0]),
    ))  # fmt: skip
    mid_at = n - above
    # A model that knows no interval, and a value that may be zero, are hollow.
    sure = [colour if rung.prob_low is not None else theme.paper for rung, colour in zip(rungs, colours, strict=True)]
    data: list[Spec] = [
        # What is clicked, and what shows the pick: a bar over the whole row.
        {"type": "bar", "orientation": "h", "x": np.ones(n, np.float32), "y": at, "width": 1, "hoverinfo": "none",
         "marker": {"color": [theme.grid if row.name == picked else "rgba(0,0,0,0)" for row in rows], "line": {"width": 0}}},
        {"type": "bar", "orientation": "h", "x": own, "y": at, "width": 0.6, "hoverinfo": "skip",
         "marker": {"color": [theme.paper if rung.refused else colour for rung, colour in zip(rungs, colours, strict=True)],
                    "line": {"color": ink, "width": 1}}},
        {"type": "bar", "orientation": "h", "x": filled, "y": at, "width": 0.6, "hoverinfo": "skip",
         "marker": marker(colours, hatched=[True] * n, theme=theme) | {"line": {"width": 0}}},  # no edge where nothing has filled
        {"type": "scatter", "mode": "lines", "x": dashes, "y": np.repeat(at, 3), "hoverinfo": "skip",
         "line": {"color": theme.muted, "width": 1.5, "dash": "dot"}},
        {"type": "scatter", "mode": "lines", "x": np.concatenate((_spans(ends), _spans(value.ends))), "hoverinfo": "skip",
         "y": np.concatenate((np.repeat(at, 3), np.repeat(at, 3))), "line": {"color": theme.line, "width": 5}},
        {"type": "scatter", "mode": "markers", "x": np.concatenate((placed, queue.x, prob, value.x)), "hoverinfo": "skip",
         "y": np.concatenate((at, at, at, at)),
         "marker": {"symbol": ["line-ns-open"] * n + ["circle"] * n * 2 + ["diamond"] * n, "size": [14] * n + [8] * n * 3,
                    "color": [theme.text] * n + [theme.paper] * n + sure + value.colours,
                    "line": {"color": [theme.text] * 2 * n + colours + value.ink, "width": 1.5}}},
        {"type": "scatter", "mode": "text", "x": words_x, "y": np.concatenate((at, at, at, at, f32([mid_at]))), "hoverinfo": "skip",
         "text": [*(f"\u2002{escape(one)}" for one in words), f"<b>mid {price(mid, about, finer=1)}</b>"], "textposition": "middle right",
         "textfont": {"size": 12, "color": [*ink, *[theme.muted if rung.refused else theme.text for rung in rungs] * 3, theme.text]},
         "cliponaxis": True},
        {"type": "scatter", "mode": "lines", "x": [_MID, 1.0], "y": [mid_at, mid_at], "hoverinfo": "skip",
         "line": {"color": theme.text, "width": 1, "dash": "dash"}},
    ]  # fmt: skip
    bare = {
        "fixedrange": True,
        "zeroline": False,
        "ticks": "",
        "showline": False,
        "automargin": False,
        "title": {"text": ""},
    }
    heads = (
        (_OWN[0], f"own<br>{escape(unit(about))}"),
        (_QUEUE[0], queue.title),
        (_PROB[0], f"P(fill {forecast.horizon_s:g} s)<br>" if forecast.horizon_s else "P(fill)<br>"),
        (_VALUE[0], "expected value<br>bps"),
    )
    ticks = [*queue.ticks, *(_PROB[0] + (_PROB[1] - _PROB[0]) * share for share in (0, 0.5, 1)), *value.ticks]
    missing = _missing(forecast)
    row_px = 22 if n <= 40 else 17
    top = 120 + 16 * bool(missing)
    layout = layout_of(theme, "Own orders", _subtitle(n, total) + missing, height=16 + top + row_px * max(n + 1, 7)) | {
        "barmode": "overlay", "dragmode": False, "hovermode": "closest", "showlegend": False,
        "margin": {"l": 76, "r": 4, "t": top, "b": 8},
        "xaxis": bare | {"side": "top", "range": [0.0, 1.0], "tickvals": ticks, "ticktext": [*queue.labels, "0", ".5", "1", *value.labels],
                         "tickangle": 0, "tickfont": {"size": 10}},
        "yaxis": bare | {"range": [-0.6, n + 0.6], "tickvals": at.tolist(), "ticktext": [price(rung.price, about) for rung in rungs],
                         "showgrid": False},
        "annotations": [
            {"text": text, "x": x, "xref": "x", "xanchor": "left", "y": 1, "yref": "paper", "yanchor": "bottom", "yshift": 16,
             "align": "left", "showarrow": False, "font": {"size": 12, "color": theme.muted}}
            for x, text in heads
        ],
    }  # fmt: skip
    return or_words({"data": data, "layout": layout}, "" if n else "no order, and no level that could have one", theme)


def _subtitle(n: int, total: int) -> str:
    some = "" if n >= total else f"; {n} of {total} rows, the nearest to mid"
    return f"Sells above mid, buys below; hatched: filled; hollow: not quoted{some}"


def _missing(forecast: Forecast) -> str:
    """Return why a column is empty."""
    if forecast.no_prob:
        return f"<br>P(fill) and value –: {escape(forecast.no_prob)}"
    return f"<br>Expected value –: {escape(forecast.no_value)}" if forecast.no_value else ""


def _own_words(rung: Rung) -> str:
    quantity = "" if rung.quantity is None else f" {rung.quantity.normalize():f}"
    return f"{rung.side.letter}{quantity}"


def _place(axis: tuple[float, float], shares: Iterable[float | None]) -> Any:
    """Return where shares of an axis lie; NaN where there is none."""
    return f32([np.nan if one is None else axis[0] + (axis[1] - axis[0]) * min(max(one, 0.0), 1.0) for one in shares])


def _spans(ends: Sequence[Any]) -> Any:
    """Return lines from the one end to the other, apart from each other."""
    return np.stack((*ends, np.full(len(ends[0]), np.nan, np.float32)), axis=1).ravel()


class _Value(NamedTuple):
    """The expected value of each row on an axis around zero, whose scale stands still."""

    x: Any
    ends: tuple[Any, Any]
    words: list[str]
    colours: list[str]
    ink: list[str]
    ticks: list[float]
    labels: list[str]


def _value(rungs: list[Rung], theme: Palette) -> _Value:
    columns = [[_finite(getattr(rung, name)) for rung in rungs] for name in ("value_bps", "value_low", "value_high")]
    most = max((abs(one) for column in columns for one in column if one is not None), default=0.0)
    scale = next((one for one in _SCALES_BPS if one >= most), _SCALES_BPS[-1])
    x, low, high = (
        _place(_VALUE, [None if one is None else 0.5 + one / scale / 2 for one in column]) for column in columns
    )
    # Each is told by its place, and by its colour only where its interval excludes zero.
    sure = [
        rung.value_low is not None and rung.value_high is not None and (rung.value_low > 0 or rung.value_high < 0)
        for rung in rungs
    ]
    ink = [
        theme.muted if not one else theme.gain if (value or 0) > 0 else theme.loss
        for one, value in zip(sure, columns[0], strict=True)
    ]
    return _Value(
        x, (low, high), [bps_short(rung) for rung in rungs],
        [colour if one else theme.paper for one, colour in zip(sure, ink, strict=True)], ink,
        [_VALUE[0], (_VALUE[0] + _VALUE[1]) / 2, _VALUE[1]], [f"−{scale}", "0", f"+{scale}"],
    )  # fmt: skip


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None


class _Queue(NamedTuple):
    """The queue ahead of each row on a logarithmic axis: seconds where they are known, and else the quantity."""

    x: Any
    words: list[str]
    title: str
    ticks: list[float]
    labels: list[str]


def _queue(rungs: list[Rung], about: About) -> _Queue:
    timed = any(rung.queue_s is not None for rung in rungs)
    values = [None if rung.refused else rung.queue_s if timed else rung.queue_ahead for rung in rungs]
    least = _SHORTEST_S if timed else float(about.lot)
    most = max([least * 10, *(float(value) for value in values if value is not None)])
    decades = int(np.ceil(np.log10(most / least)))  # whole ones, so that the axis stands still
    step = (_QUEUE[1] - _QUEUE[0]) / decades
    x = [
        np.nan if value is None else _QUEUE[0] + step * float(np.log10(max(float(value), least) / least))
        for value in values
    ]
    words = [rung_short(rung, value) for rung, value in zip(rungs, values, strict=True)]
    shown = range(0, decades + 1, -(-decades // 4))
    title = f"queue ahead (estimate)<br>{'s of flow' if timed else escape(unit(about))}"
    return _Queue(f32(x), words, title, [_QUEUE[0] + step * i for i in shown], [_short(least * 10.0**i) for i in shown])


def _short(value: float) -> str:
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}".removeprefix("0")
