"""Figures: values in, plotly figure out. Used by the notebook and by the report, so no figure knows where it is shown.

Every figure has a title that says what is shown and a subtitle that says how to read it; units stand on every axis, and what a
colour says, a shape, a hatch or a sign says again.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from grinder_kit.decision.reason import Reason
from grinder_widgets.points import Floats, bins, counts, shown, spread, thin
from grinder_widgets.theme import LIGHT, MISSING, Palette, bps, count, duration, money_digits, number, template

if TYPE_CHECKING:
    from grinder_kit.execution.ledger import Identity
    from grinder_kit.model.instrument import Instrument

CAUSES = {
    "queue": "the queue ahead was used up",
    "through": "a trade went through the price",
    "quote": "the opposite best reached the price",
    "taken": "it took liquidity",
}
QUEUE_NAMES = {
    "risk_averse": "risk-averse",
    "power": "power",
    "pro_rata": "pro rata",
    "optimistic": "optimistic",
    "touch": "touch rule (no queue)",
}


# --- money -----------------------------------------------------------------------------------------------------------


def equity(frame: pl.DataFrame, asset: str, *, theme: Palette = LIGHT) -> Any:
    """Return net profit over time with the parts that add up to it.

    Parameters
    ----------
    frame : DataFrame
        ts_ns, equity, grid, trend, funding, commission: `Result.equity`.
    asset : str
        What they are counted in.
    theme : Palette
    """
    at = _ms(frame["ts_ns"])
    net = _floats(frame["equity"])
    fees, funding = -_floats(frame["commission"]), _floats(frame["funding"])
    digits = money_digits(*net, *fees)
    parts = {
        "grid": _floats(frame["grid"]),
        "trend": _floats(frame["trend"]),
        "fees": fees,
        "funding": funding,
        "net": net,
    }
    if not funding.any():
        del parts["funding"]
    lines = [(name, parts[part], line) for part, (name, line) in profit_lines(theme).items() if part in parts]
    figure = new_figure(theme, "Net profit and what it is made of", "", height=360)
    drawn = 0
    for name, values, line in lines:
        kept = thin(at, values)
        drawn = len(kept)
        figure.add_scatter(
            x=at[kept], y=values[kept], name=name, mode="lines", line=line,
            hovertemplate=f"%{{y:+,.{digits}f}} {asset}",
        )  # fmt: skip
    figure.update_layout(hovermode="x unified", title_subtitle_text=f"Parts add up to net; {shown(drawn, len(at))}")
    _time_axis(figure)
    figure.update_yaxes(title_text=f"since the start, {asset}")
    return figure


def profit_lines(theme: Palette) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the name and look of each line of a profit; the parts, and then their sum."""
    return {
        "grid": ("grid (paired fills)", {"color": theme.gain, "width": 1.3}),
        "trend": ("trend (open lots)", {"color": theme.accent, "width": 1.3, "dash": "dot"}),
        "fees": ("fees", {"color": theme.loss, "width": 1.3, "dash": "dashdot"}),
        "funding": ("funding", {"color": theme.buy, "width": 1.3, "dash": "longdash"}),
        "net": ("net", {"color": theme.text, "width": 2.4}),
    }


def waterfall(identity: Identity, asset: str, *, theme: Palette = LIGHT) -> Any:
    """Return where the money came from: grid, trend, fees, funding, and their sum.

    Parameters
    ----------
    identity : Identity
        The parts and the change of equity, from two independent sums; what is left over stands in the subtitle.
    asset : str
    theme : Palette
    """
    parts = [
        ("grid", float(identity.grid)),
        ("trend", float(identity.trend)),
        ("fees", -float(identity.commission)),
        ("funding", float(identity.funding)),
    ]
    net = float(identity.equity_change)
    digits = money_digits(net, *(value for _, value in parts))
    residual = "0" if not identity.residual else f"{identity.residual:.1E}"
    figure = new_figure(
        theme,
        "Where the money came from",
        f"Residual of the identity, checked against a second ledger: {residual} {asset}",
        height=360,
    )
    bars = waterfall_steps(parts, net)
    ends = [start + value for _, start, value in bars]
    figure.add_scatter(
        x=[x for i in range(len(bars) - 1) for x in (i + 0.36, i + 0.64, None)],
        y=[y for end in ends[:-1] for y in (end, end, None)],
        mode="lines", line={"color": theme.line, "width": 1}, hoverinfo="skip", showlegend=False,
    )  # fmt: skip
    for i, (name, start, value) in enumerate(bars):
        colour = theme.text if name == "net" else theme.loss if value < 0 else theme.gain
        figure.add_bar(
            x=[i], y=[value], base=[start], width=0.72, name=name, showlegend=False,
            marker=marker(colour, hatched=value < 0, theme=theme),
            hovertemplate=f"{name}: {number(value, digits, sign=True)} {asset}<extra></extra>",
        )  # fmt: skip
    low, high = min(0.0, *ends), max(0.0, *ends)
    room = (high - low or 1.0) * 0.12
    # Labels stand off the end that a bar reaches, in whole units where cents would make them run into each other.
    coarse = 0 if max(abs(value) for *_, value in bars) >= 1000 else digits
    figure.add_scatter(
        x=list(range(len(bars))), y=[start + value - room * 0.15 * (value < 0) for _, start, value in bars],
        text=[number(value, coarse, sign=True) for *_, value in bars], mode="text",
        textposition=["bottom center" if value < 0 else "top center" for *_, value in bars],
        textfont={"size": 13}, cliponaxis=False, hoverinfo="skip", showlegend=False,
    )  # fmt: skip
    figure.update_xaxes(
        tickvals=list(range(len(bars))), ticktext=[name for name, *_ in bars], range=[-0.5, len(bars) - 0.5]
    )
    figure.update_xaxes(showgrid=False, zeroline=False, ticks="")
    figure.update_yaxes(title_text=asset, range=[low - room * 1.2 * (low < 0), high + room])
    return figure


def waterfall_steps(parts: list[tuple[str, float]], net: float) -> list[tuple[str, float, float]]:
    """Return the bars of a waterfall as name, start and value: each part begins where the last ended, and net at zero."""
    starts = np.cumsum([0.0, *(value for _, value in parts)])
    return [
        *((name, float(start), value) for (name, value), start in zip(parts, starts, strict=False)),
        ("net", 0.0, net),
    ]


# --- market and fills ------------------------------------------------------------------------------------------------


def price_with_fills(
    mids: pl.DataFrame,
    fills: pl.DataFrame,
    instrument: Instrument,
    *,
    markout: pl.DataFrame | None = None,
    theme: Palette = LIGHT,
) -> Any:
    """Return the mid line with every fill as a triangle: up for buys, down for sells.

    Parameters
    ----------
    mids : DataFrame
        ts_ns, mid: `Result.mids`.
    fills : DataFrame
        ts_ns, side, price, quantity, cause: `Result.fills`.
    instrument : Instrument
    markout : DataFrame, optional
        fill_id, markout_1s_bps, markout_10s_bps: `Result.markout()`; adds them to what a fill says under the pointer.
    theme : Palette
    """
    at, mid = _ms(mids["ts_ns"]), _floats(mids["mid"])
    kept = thin(at, mid)
    marks = fills if markout is None else fills.join(markout.drop("ts_ns", "side", "price"), on="fill_id", how="left")
    marks = marks[spread(len(marks))]
    said = f"Mid: {shown(len(kept), len(at))}; {shown(len(marks), len(fills), 'fills')}"
    figure = new_figure(theme, "Price and fills", said, height=440)
    tick = max(0, -_exponent(instrument.tick))
    figure.add_scatter(
        x=at[kept], y=mid[kept], mode="lines", name="mid", line={"color": theme.text, "width": 1.2, "shape": "hv"},
        hovertemplate=f"mid %{{y:,.{tick + 1}f}}<br>%{{x|%H:%M:%S.%L}} UTC<extra></extra>",
    )  # fmt: skip
    size = 10 if len(marks) <= 400 else 7
    for side, word, symbol, colour in fill_marks(theme):
        part = marks.filter(pl.col("side") == side)
        figure.add_scatter(
            x=_ms(part["ts_ns"]), y=_floats(part["price"]), mode="markers", name=f"{word.lower()} ({count(len(part))})",
            marker={"symbol": symbol, "size": size, "color": colour, "line": {"width": 0.5, "color": theme.paper}},
            text=_fill_words(part, word, instrument),
            hovertemplate="%{text}<br>%{x|%H:%M:%S.%L} UTC<extra></extra>",
        )  # fmt: skip
    _time_axis(figure)
    figure.update_yaxes(title_text=f"price, {instrument.quote}", tickformat=",")
    if not len(at):
        _nothing(figure, "no mid was known at any decision", theme)
    return figure


def fill_marks(theme: Palette) -> tuple[tuple[str, str, str, str], ...]:
    """Return how fills of each side are marked: side, word, symbol, colour."""
    return ("BUY", "Buy", "triangle-up", theme.buy), ("SELL", "Sell", "triangle-down", theme.sell)


def _fill_words(part: pl.DataFrame, word: str, instrument: Instrument) -> list[str]:
    unit = "contracts" if instrument.inverse else instrument.base
    after = [name for name in ("markout_1s_bps", "markout_10s_bps") if name in part.columns]
    words = []
    for row in part.iter_rows(named=True):
        text = f"{word} {row['quantity']} {unit} at {row['price']:,}<br>{CAUSES.get(str(row['cause']), row['cause'])}"
        if after:
            text += "<br>mid afterwards: " + ", ".join(
                f"{bps(row[name])} in {name.split('_')[1][:-1]} s" for name in after
            )
        words.append(text)
    return words


def round_trips(frame: pl.DataFrame, *, theme: Palette = LIGHT) -> Any:
    """Return the histogram of net profit a round trip, in bps of the entry's value; losses are hatched.

    Parameters
    ----------
    frame : DataFrame
        net_bps, hold_time_ms: `Result.round_trips` (first in, first out).
    theme : Palette
    """
    values = _floats(frame["net_bps"])
    figure = new_figure(theme, "Net profit of a round trip", "", height=340)
    figure.update_xaxes(title_text="net of fees, bps of the entry's value")
    figure.update_yaxes(title_text="round trips", rangemode="tozero")
    if not len(values):
        _nothing(figure, "no round trip was completed", theme)
        return figure
    traces, outside = trip_bars(values, theme)
    figure.add_traces(traces)
    held = float(frame["hold_time_ms"].median() or 0) / 1000  # type: ignore[arg-type]
    said = f"{count(len(values))} round trips, first in first out; half were held longer than {duration(held)}"
    if outside:
        said += f"; the outer bars hold {count(outside)} from beyond the axis"
    figure.update_layout(title_subtitle_text=said, bargap=0)
    return figure


def trip_bars(values: Floats, theme: Palette) -> tuple[list[dict[str, Any]], int]:
    """Return the traces of a histogram of profits in bps (losses, gains, median), and how many lay beyond its axis."""
    edges = bins(values)
    number_in, outside = counts(values, edges)
    middle, width = (edges[:-1] + edges[1:]) / 2, edges[1] - edges[0]
    digits = max(1, int(np.ceil(-np.log10(width))))
    traces: list[dict[str, Any]] = []
    for name, chosen, colour in (("loss", middle < 0, theme.loss), ("gain", middle > 0, theme.gain)):
        chosen = chosen & (number_in > 0)  # an empty bar would still draw its outline
        traces.append({
            "type": "bar", "x": middle[chosen], "y": number_in[chosen], "width": width * 0.94,
            "name": f"{name} ({count(int(number_in[chosen].sum()))})", "marker": marker(colour, hatched=name == "loss", theme=theme),
            "customdata": np.stack((edges[:-1][chosen], edges[1:][chosen]), axis=1),
            "hovertemplate": f"%{{customdata[0]:+.{digits}f}} to %{{customdata[1]:+.{digits}f}} bps: %{{y:,}} round trips<extra></extra>",
        })  # fmt: skip
    median, top = float(np.median(values)), float(number_in.max())
    traces.append({
        "type": "scatter", "x": [median, median], "y": [0, top * 1.05], "mode": "lines", "name": f"median {bps(median)}",
        "line": {"color": theme.text, "width": 2, "dash": "dot"}, "hoverinfo": "skip",
    })  # fmt: skip
    return traces, outside


def markout(frame: pl.DataFrame, *, theme: Palette = LIGHT) -> Any:
    """Return how far mid had moved after a fill, by horizon, with 90 % intervals; below zero it went against us.

    Parameters
    ----------
    frame : DataFrame
        side, horizon_s, mean_bps, low_bps, high_bps, fills: `markout_summary(result)`.
    theme : Palette
    """
    sure = "Mean; too few blocks of 60 s had fills for intervals"
    if not frame["low_bps"].is_null().all():
        sure = "Mean with 90 % intervals from blocks of 60 s"
    figure = new_figure(
        theme, "Markout: where mid stood after a fill", f"{sure}; below zero mid moved against us", height=360
    )
    looks = (
        ("ALL", "all fills", "circle", theme.text, 1.0),
        ("BUY", "buys", "triangle-up", theme.buy, 0.93),
        ("SELL", "sells", "triangle-down", theme.sell, 1.075),
    )
    for side, name, symbol, colour, shift in looks:
        part = frame.filter((pl.col("side") == side) & pl.col("mean_bps").is_not_null())
        mean = _floats(part["mean_bps"])
        low, high = _floats(part["low_bps"]), _floats(part["high_bps"])
        words = [
            f"{name}, {row['horizon_s']:g} s after: {bps(row['mean_bps'])}"
            + (
                f" [{number(row['low_bps'], 1, sign=True)}, {number(row['high_bps'], 1, sign=True)}]"
                if row["low_bps"] is not None
                else f" (interval {MISSING}: too few blocks)"
            )
            + f"<br>{row['fills']:,} fills"
            for row in part.iter_rows(named=True)
        ]
        figure.add_scatter(
            x=_floats(part["horizon_s"]) * shift, y=mean, mode="lines+markers", name=name, text=words,
            marker={"symbol": symbol, "size": 9, "color": colour}, line={"width": 1, "color": colour},
            error_y={"type": "data", "array": np.nan_to_num(high - mean), "arrayminus": np.nan_to_num(mean - low),
                     "color": colour, "thickness": 1.4, "width": 3},
            hovertemplate="%{text}<extra></extra>",
        )  # fmt: skip
    ticks = frame["horizon_s"].unique().sort().to_list()
    figure.update_xaxes(
        type="log", title_text="time after the fill, s", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks]
    )
    figure.update_yaxes(title_text="mid against fill price, bps", zeroline=True, tickformat=".1f")
    if frame["mean_bps"].is_null().all():
        _nothing(figure, "no fill", theme)
    return figure


def inventory(
    fills: pl.DataFrame,
    start_ns: int,
    end_ns: int,
    unit: str,
    *,
    limit: Decimal | None = None,
    theme: Palette = LIGHT,
) -> Any:
    """Return the position over time, step by step, with its limit as dashed lines.

    Parameters
    ----------
    fills : DataFrame
        ts_ns, side, quantity: `Result.fills`.
    start_ns, end_ns : int
        First and last time, ns UTC; the position starts at zero.
    unit : str
        What it is counted in.
    limit : Decimal, optional
        `position_limit` of the grid.
    theme : Palette
    """
    signed = np.where(fills["side"].cast(pl.String).to_numpy() == "BUY", 1.0, -1.0) * _floats(fills["quantity"])
    # From integers of the lot, a sum of floats would end at 1e-17 instead of 0.
    position = np.r_[0.0, np.round(np.cumsum(signed), 12)]
    at = np.r_[start_ns, fills["ts_ns"].to_numpy(), end_ns] / 1e6
    position = np.r_[position, position[-1]]
    order = np.argsort(at, kind="stable")
    at, position = at[order], position[order]
    kept = thin(at, position)
    figure = new_figure(theme, "Position", f"After each fill; {shown(len(kept), len(at))}", height=300)
    figure.add_scatter(
        x=at[kept], y=position[kept], mode="lines", name="position",
        line={"color": theme.text, "width": 1.6, "shape": "hv"},
        hovertemplate=f"%{{y:+,.6~f}} {unit}<br>%{{x|%H:%M:%S.%L}} UTC<extra></extra>",
    )  # fmt: skip
    if limit is not None:
        for sign in (1, -1):
            figure.add_scatter(
                x=[at[0], at[-1]], y=[sign * float(limit)] * 2, mode="lines", name=f"limit ±{limit.normalize():f}",
                showlegend=sign > 0, line={"color": theme.muted, "width": 1.4, "dash": "dash"},
                hovertemplate=f"limit {'+' if sign > 0 else '−'}{limit.normalize():f} {unit}<extra></extra>",
            )  # fmt: skip
    _time_axis(figure)
    figure.update_yaxes(title_text=f"position, {unit}", zeroline=True, tickformat=",~f")
    return figure


# --- why not, and how sure -------------------------------------------------------------------------------------------


def refusals(frame: pl.DataFrame, *, theme: Palette = LIGHT) -> Any:
    """Return how long levels were not quoted, by reason; hollow bars, since nothing was sent.

    Parameters
    ----------
    frame : DataFrame
        side, reason, episodes, seconds: `Result.refusals`.
    theme : Palette
    """
    by = (
        frame.group_by("reason", "side")
        .agg(pl.col("seconds").sum(), pl.col("episodes").sum(), pl.len().alias("levels"))
        .sort("reason", "side")
    )
    order = by.group_by("reason").agg(pl.col("seconds").sum()).sort("seconds", "reason")["reason"].to_list()
    figure = new_figure(
        theme, "Levels that were not quoted", "Seconds are added up over levels: ten levels for one second are ten",
        height=150 + 44 * max(1, len(order)),
    )  # fmt: skip
    if not order:
        _nothing(figure, "every planned level was quoted at all times", theme)
        return figure
    for side, word, colour, shape in (("BUY", "buy levels", theme.buy, "/"), ("SELL", "sell levels", theme.sell, "\\")):
        part = by.filter(pl.col("side") == side)
        figure.add_bar(
            x=_floats(part["seconds"]), y=[reason_text(code) for code in part["reason"]], orientation="h", name=word,
            marker={"color": theme.paper, "line": {"color": colour, "width": 1.6},
                    "pattern": {"shape": shape, "fgcolor": colour, "solidity": 0.12, "size": 8}},
            customdata=np.stack((part["episodes"].to_numpy(), part["levels"].to_numpy()), axis=1),
            hovertemplate=f"%{{y}}<br>{word}: %{{x:,.1f}} s, %{{customdata[0]:,}} times, %{{customdata[1]:,}} levels<extra></extra>",
        )  # fmt: skip
    figure.update_layout(barmode="stack", legend_traceorder="normal", showlegend=True)
    figure.update_xaxes(title_text="time not quoted, s", rangemode="tozero", tickformat=",")
    figure.update_yaxes(
        categoryorder="array", categoryarray=[reason_text(code) for code in order], showgrid=False, ticks=""
    )
    return figure


def reason_text(code: str) -> str:
    """Return a reason code in words, broken into two lines where it is long."""
    text = Reason(code).text if code in Reason.__members__ else code
    if len(text) > 28:
        middle = min((i for i, c in enumerate(text) if c == " "), key=lambda i: abs(i - len(text) / 2), default=None)
        if middle is not None:
            text = f"{text[:middle]}<br>{text[middle + 1 :]}"
    return text


def queue_models(frame: pl.DataFrame, asset: str, *, theme: Palette = LIGHT) -> Any:
    """Return fills and net profit under each queue model, and under the touch rule, which is hollow.

    Parameters
    ----------
    frame : DataFrame
        `fill_sensitivity(market, config)`.
    asset : str
    theme : Palette
    """
    rows = list(frame.iter_rows(named=True))[::-1]  # plotly draws the first at the bottom
    names = [QUEUE_NAMES.get(row["queue"], row["queue"]) + (" (this run)" if row["chosen"] else "") for row in rows]
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.06, column_widths=[0.42, 0.58])
    _dress(figure, theme, "The same grid under other queues", _spread_words(frame), height=340)
    digits = money_digits(*frame["net_per_hour"], *frame["low"], *frame["high"])
    hollow = [row["queue"] == "touch" for row in rows]
    figure.add_bar(
        x=[row["trades"] for row in rows], y=names, orientation="h", width=0.6, showlegend=False,
        marker={"color": [theme.paper if h else theme.text if r["chosen"] else theme.muted for r, h in zip(rows, hollow, strict=True)],
                "line": {"color": [theme.text if row["chosen"] else theme.muted for row in rows], "width": 1.6}},
        text=[f"{row['trades']:,}" for row in rows], textposition="inside", insidetextanchor="end",
        hovertemplate="%{y}: %{x:,} fills<extra></extra>", row=1, col=1,
    )  # fmt: skip
    net = np.array([row["net_per_hour"] for row in rows])
    low, high = (np.array([row[k] if row[k] is not None else np.nan for row in rows]) for k in ("low", "high"))
    words = [
        f"{name}: {number(row['net_per_hour'], digits, sign=True)} {asset} per hour<br>"
        f"{row['trades']:,} fills, mid {bps(row['markout_bps'])} after 10 s"
        for name, row in zip(names, rows, strict=True)
    ]
    figure.add_scatter(
        x=net, y=names, mode="markers", showlegend=False, text=words, hovertemplate="%{text}<extra></extra>",
        marker={"size": 11, "symbol": ["circle-open" if h else "circle" for h in hollow],
                "color": [theme.text if row["chosen"] else theme.muted for row in rows], "line": {"width": 2}},
        error_x={"type": "data", "array": np.nan_to_num(high - net), "arrayminus": np.nan_to_num(net - low),
                 "color": theme.muted, "thickness": 1.4, "width": 4},
        row=1, col=2,
    )  # fmt: skip
    figure.add_scatter(
        x=[0, 0], y=[names[0], names[-1]], mode="lines", line={"color": theme.line, "width": 1}, showlegend=False,
        hoverinfo="skip", row=1, col=2,
    )  # fmt: skip
    figure.update_xaxes(title_text="fills", rangemode="tozero", tickformat=",", nticks=4, row=1, col=1)
    figure.update_xaxes(title_text=f"net, {asset} an hour", row=1, col=2, nticks=5)
    figure.update_yaxes(showgrid=False, ticks="")
    return figure


def _spread_words(frame: pl.DataFrame) -> str:
    models = frame.filter(pl.col("queue") != "touch")
    chosen, touch = frame.filter("chosen"), frame.filter(pl.col("queue") == "touch")
    if models.is_empty() or chosen.is_empty() or touch.is_empty() or not chosen["trades"][0]:
        return "Everything else is the same"
    trades = models["trades"].to_list()
    low, high = min(trades), max(trades)
    said = (
        f"{count(low)} fills under each queue model"
        if low == high
        else f"{count(low)} to {count(high)} fills by queue model"
    )
    ratio = touch["trades"][0] / chosen["trades"][0]
    if abs(ratio - 1) < 0.02:
        return f"{said}, {count(touch['trades'][0])} under the touch rule: the queue hardly matters to this grid"
    return f"{said}; the touch rule claims {ratio:.2f} times those of this run"


# --- what figures share ----------------------------------------------------------------------------------------------


def new_figure(theme: Palette, title: str, subtitle: str, *, height: int) -> Any:
    """Return an empty figure with title, subtitle and template."""
    figure = go.Figure()
    _dress(figure, theme, title, subtitle, height=height)
    return figure


def _dress(figure: Any, theme: Palette, title: str, subtitle: str, *, height: int) -> None:
    figure.layout.template = template(theme)  # set, not updated: that would merge it into plotly's own
    figure.update_layout(title_text=title, title_subtitle_text=subtitle, height=height, uirevision="grinder")


def marker(colour: str | list[str], *, hatched: bool | list[bool], theme: Palette) -> dict[str, Any]:
    """Return the look of bars, for all of them or for each; losses are hatched."""
    look: dict[str, Any] = {"color": colour, "line": {"color": colour, "width": 1}}
    if hatched:
        shape = ["/" if one else "" for one in hatched] if isinstance(hatched, list) else "/"
        look["pattern"] = {"shape": shape, "fgcolor": theme.paper, "solidity": 0.22, "size": 7, "fillmode": "overlay"}
    return look


def _nothing(figure: Any, text: str, theme: Palette) -> None:
    """Say what is missing instead of drawing axes of a scale that nothing has set."""
    figure.add_annotation(
        text=text, xref="paper", yref="paper", x=0.5, y=0.5, showarrow=False, font={"size": 14, "color": theme.muted}
    )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    figure.update_layout(height=200, showlegend=False)


def _time_axis(figure: Any) -> None:
    figure.update_xaxes(type="date", title_text="time, UTC")


def _ms(ts_ns: pl.Series) -> Floats:
    """Return times as plotly takes them without text: ms since 1970, UTC."""
    return ts_ns.to_numpy() / 1e6


def _floats(values: pl.Series) -> Floats:
    return values.cast(pl.Float64).to_numpy()


def _exponent(step: Decimal) -> int:
    exponent = step.normalize().as_tuple().exponent
    assert isinstance(exponent, int)  # steps are finite
    return exponent
