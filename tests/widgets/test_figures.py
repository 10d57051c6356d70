"""Figures: what is drawn is what was given, thinned without losing peaks, with units and a second cue beside each colour."""

from __future__ import annotations

import dataclasses
import functools
from decimal import Decimal
from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.decision.reason import Reason
from grinder_kit.execution.ledger import Identity
from grinder_kit.model.instrument import Instrument
from grinder_widgets import figures, points, theme
from grinder_widgets.live_figure import _DELTAS, _EXPORTED, _Figure

START = 1_704_067_200_000_000_000
SECOND = 1_000_000_000
BTC = Instrument(symbol="BTCUSDT", venue="paper", base="BTC", quote="USDT", tick=Decimal("0.1"), lot=Decimal("0.001"))


def equity_frame(rows: int) -> pl.DataFrame:
    """Return an equity curve of `rows` seconds."""
    wave = np.sin(np.arange(rows) / 50)
    return pl.DataFrame(
        {
            "ts_ns": START + np.arange(rows) * SECOND,
            "equity": wave - 0.5,
            "grid": np.zeros(rows),
            "trend": wave,
            "funding": np.zeros(rows),
            "commission": np.full(rows, 0.5),
        }
    )


def fills_frame(sides: list[str]) -> pl.DataFrame:
    """Return one fill a second."""
    n = len(sides)
    return pl.DataFrame(
        {
            "fill_id": [str(i) for i in range(n)],
            "ts_ns": [START + i * SECOND for i in range(n)],
            "side": sides,
            "price": [Decimal("60000.1")] * n,
            "quantity": [Decimal("0.002")] * n,
            "cause": ["queue"] * n,
        },
        schema_overrides={"side": pl.Enum(["BUY", "SELL"]), "cause": pl.String, "ts_ns": pl.Int64},
    )


def mids_frame(rows: int) -> pl.DataFrame:
    """Return a mid a tenth of a second apart."""
    return pl.DataFrame(
        {"ts_ns": START + np.arange(rows) * (SECOND // 10), "mid": 60_000 + np.cumsum(np.resize([0.5, -0.4], rows))}
    )


def identity(grid: str, trend: str, fees: str) -> Identity:
    """Return an identity that closes."""
    g, t, c = Decimal(grid), Decimal(trend), Decimal(fees)
    return Identity(grid=g, trend=t, funding=Decimal(0), commission=c, equity_change=g + t - c, residual=Decimal(0))


def markouts() -> pl.DataFrame:
    """Return a markout summary in which sells lack an interval."""
    return pl.DataFrame(
        {
            "side": ["ALL", "ALL", "BUY", "SELL"],
            "horizon_s": [1.0, 10.0, 1.0, 1.0],
            "mean_bps": [-0.5, -1.0, 0.25, None],
            "low_bps": [-1.0, -3.0, None, None],
            "high_bps": [0.5, 2.0, None, None],
            "fills": [20, 18, 2, 0],
        }
    )


def refusal_frame() -> pl.DataFrame:
    """Return refusals of two reasons."""
    return pl.DataFrame(
        {
            "level": ["BUY_1", "BUY_2", "SELL_1"],
            "side": ["BUY", "BUY", "SELL"],
            "reason": ["POSITION_LIMIT", "POSITION_LIMIT", "FILL_PROB"],
            "episodes": [2, 3, 1],
            "seconds": [10.0, 30.0, 5.0],
            "detail": ["", "", ""],
        }
    )


def queue_frame(touch: int = 90) -> pl.DataFrame:
    """Return a comparison of queue models."""
    return pl.DataFrame(
        {
            "queue": ["risk_averse", "power", "touch"],
            "chosen": [False, True, False],
            "trades": [50, 60, touch],
            "round_trips": [20, 25, 40],
            "net": [-1.0, -0.5, 3.0],
            "net_per_hour": [-2.0, -1.0, 6.0],
            "low": [-5.0, -4.0, 1.0],
            "high": [1.0, 2.0, 9.0],
            "markout_bps": [-0.5, -0.4, 0.3],
        }
    )


def trips(values: list[float]) -> pl.DataFrame:
    """Return round trips with these results."""
    return pl.DataFrame(
        {"net_bps": values, "hold_time_ms": [2000] * len(values)},
        schema={"net_bps": pl.Float64, "hold_time_ms": pl.Int64},
    )


@functools.cache  # nobody changes them
def every_figure(palette: theme.Palette = theme.LIGHT) -> dict[str, Any]:
    """Return one figure of each kind."""
    fills = fills_frame(["BUY", "SELL", "BUY"])
    return {
        "equity": figures.equity(equity_frame(100), "USDT", theme=palette),
        "waterfall": figures.waterfall(identity("4", "-3", "0.5"), "USDT", theme=palette),
        "price": figures.price_with_fills(mids_frame(100), fills, BTC, theme=palette),
        "round_trips": figures.round_trips(trips([-3.0, 1.0, 2.0]), theme=palette),
        "markout": figures.markout(markouts(), theme=palette),
        "inventory": figures.inventory(fills, START, START + 9 * SECOND, "BTC", limit=Decimal("0.02"), theme=palette),
        "refusals": figures.refusals(refusal_frame(), theme=palette),
        "queue_models": figures.queue_models(queue_frame(), "USDT", theme=palette),
    }


def trace(figure: Any, name: str) -> Any:
    """Return the trace whose name starts so."""
    (found,) = [trace for trace in figure.data if (trace.name or "").startswith(name)]
    return found


# --- all of them -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", every_figure())
def test_every_figure_says_what_it_is_and_keeps_its_zoom(name: str) -> None:
    """A title, a subtitle and a constant uirevision stand on each figure."""
    layout = every_figure()[name].layout
    assert layout.title.text and layout.title.subtitle.text
    assert layout.uirevision == "grinder"


@pytest.mark.parametrize("name", sorted(every_figure().keys() - {"waterfall", "refusals", "queue_models"}))
def test_axes_carry_units(name: str) -> None:
    """Both axes are titled; what is measured has its unit there."""
    layout = every_figure()[name].layout
    units = ("UTC", "USDT", "BTC", "bps", " s", "round trips")
    for axis in (layout.xaxis, layout.yaxis):
        assert any(unit in axis.title.text for unit in units), axis.title.text


def test_categories_need_no_unit_but_values_do() -> None:
    """Where one axis holds names, the other holds the unit."""
    drawn = every_figure()
    assert drawn["waterfall"].layout.yaxis.title.text == "USDT"
    assert drawn["refusals"].layout.xaxis.title.text == "time not quoted, s"
    assert "USDT an hour" in drawn["queue_models"].layout.xaxis2.title.text


@pytest.mark.parametrize("name", every_figure())
def test_dark_is_light_with_every_colour_swapped(name: str) -> None:
    """Swapping colours in a light figure gives the dark one, which is what the report does without Python."""
    light, dark = every_figure()[name].to_json(), every_figure(theme.DARK)[name].to_json()
    for old, new in theme.to_dark().items():
        light = light.replace(old, new)
    assert light == dark


def test_every_colour_has_its_own_dark_one() -> None:
    """No two roles share a colour, so that the swap is unambiguous."""
    for palette in (theme.LIGHT, theme.DARK):
        colours = dataclasses.astuple(palette)
        assert len(set(colours)) == len(colours)


@pytest.mark.parametrize("palette", [theme.LIGHT, theme.DARK], ids=["light", "dark"])
def test_colours_can_be_read(palette: theme.Palette) -> None:
    """Every role that carries meaning has a contrast of 4.5 or more on its background."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    paper = luminance(palette.paper)
    for role in ("buy", "sell", "text", "muted", "gain", "loss", "accent"):
        bright, dim = sorted((luminance(getattr(palette, role)), paper), reverse=True)
        assert (bright + 0.05) / (dim + 0.05) >= 4.5, role


# --- one by one ------------------------------------------------------------------------------------------------------


def test_equity_parts_add_up_to_net() -> None:
    """The drawn parts sum to the drawn net, fees below zero; funding is left out while it is zero."""
    figure = figures.equity(equity_frame(100), "USDT")
    total = sum(np.asarray(trace(figure, name).y) for name in ("grid", "trend", "fees"))
    assert np.allclose(total, trace(figure, "net").y)
    assert not [line for line in figure.data if line.name == "funding"]


def test_waterfall_ends_where_it_began_plus_net() -> None:
    """Each bar starts where the last ended; losses are hatched and carry a minus; the residual is printed."""
    figure = figures.waterfall(identity("4.2", "-3", "0.5"), "USDT")
    bars = {bar.name: bar for bar in figure.data if bar.type == "bar"}
    assert [bars[name].base[0] for name in ("grid", "trend", "fees", "net")] == pytest.approx([0, 4.2, 1.2, 0])
    assert bars["net"].y[0] == pytest.approx(0.7)
    assert bars["trend"].marker.pattern.shape == "/" and bars["grid"].marker.pattern.shape is None
    labels = next(t.text for t in figure.data if t.type == "scatter" and t.mode == "text")
    assert labels == ("+4.20", "−3.00", "−0.50", "0.00", "+0.70")
    assert "ledger: 0 USDT" in figure.layout.title.subtitle.text


def test_price_figure_thins_the_mid_and_marks_sides_by_shape() -> None:
    """Long markets say how much is drawn; buys point up and sells down, each with its words under the pointer."""
    marked = fills_frame(["BUY", "SELL"]).select("fill_id", "ts_ns", "side", "price")
    marked = marked.with_columns(pl.Series("markout_1s_bps", [-0.42, None]), pl.Series("markout_10s_bps", [1.0, None]))
    figure = figures.price_with_fills(mids_frame(100_000), fills_frame(["BUY", "SELL"]), BTC, markout=marked)
    assert figure.layout.title.subtitle.text == "Mid: 2,000 of 100k points; all 2 fills"
    assert len(trace(figure, "mid").x) == 2000
    buys, sells = trace(figure, "buy"), trace(figure, "sell")
    assert (buys.marker.symbol, sells.marker.symbol) == ("triangle-up", "triangle-down")
    assert buys.text[0].startswith("Buy 0.002 BTC at 60,000.1<br>the queue ahead was used up")
    assert "−0.4 bps in 1 s, +1.0 bps in 10 s" in buys.text[0]
    assert "– in 1 s" in sells.text[0]


def test_fills_beyond_the_budget_are_spread_out() -> None:
    """At most 5,000 fills are drawn, and the subtitle says so."""
    figure = figures.price_with_fills(mids_frame(10), fills_frame(["BUY", "SELL"] * 6000), BTC)
    assert len(trace(figure, "buy").x) + len(trace(figure, "sell").x) == 5000
    assert figure.layout.title.subtitle.text.endswith("5,000 of 12k fills")


def test_round_trips_are_all_in_the_bars() -> None:
    """No trip is lost at the edges; losses and gains meet at zero and differ by hatch."""
    figure = figures.round_trips(trips([-500.0, *np.linspace(-5, 5, 300).tolist()]))
    loss, gain = trace(figure, "loss"), trace(figure, "gain")
    assert sum(loss.y) + sum(gain.y) == 301
    assert max(edge for _, edge in loss.customdata) <= 0 <= min(edge for edge, _ in gain.customdata)
    assert loss.marker.pattern.shape == "/" and gain.marker.pattern.shape is None
    assert "outer bars hold 1 from beyond the axis" in figure.layout.title.subtitle.text


def test_markout_says_when_there_is_no_interval() -> None:
    """A mean without interval is drawn, and says why; a missing mean is not drawn."""
    figure = figures.markout(markouts())
    assert trace(figure, "buys").text == ("buys, 1 s after: +0.2 bps (interval –: too few blocks)<br>2 fills",)
    assert trace(figure, "all").text[1] == "all fills, 10 s after: −1.0 bps [−3.0, +2.0]<br>18 fills"
    assert len(trace(figure, "sells").y) == 0


def test_inventory_steps_and_shows_its_limits() -> None:
    """The position starts at zero, steps at each fill, ends exactly, and its limits are dashed lines."""
    figure = figures.inventory(
        fills_frame(["BUY"] * 3 + ["SELL"] * 3), START, START + 9 * SECOND, "BTC", limit=Decimal("0.02")
    )
    line = trace(figure, "position")
    assert list(line.y) == [0, 0.002, 0.004, 0.006, 0.004, 0.002, 0, 0]
    assert line.line.shape == "hv"
    limits = [t for t in figure.data if (t.name or "").startswith("limit")]
    assert sorted(t.y[0] for t in limits) == [-0.02, 0.02] and all(t.line.dash == "dash" for t in limits)
    assert not figure.layout.shapes  # shapes went stale in live views


def test_refusals_are_summed_by_reason_in_words() -> None:
    """Bars are hollow, hatched by side, and named in plain words."""
    figure = figures.refusals(refusal_frame())
    buys = trace(figure, "buy levels")
    assert dict(zip(buys.y, buys.x, strict=True)) == {"the position has reached<br>its limit on this side": 40.0}
    assert buys.marker.color == theme.LIGHT.paper
    assert buys.marker.pattern.shape != trace(figure, "sell levels").marker.pattern.shape


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_fits_two_lines(reason: Reason) -> None:
    """Reasons are words, at most two lines of forty characters."""
    lines = figures.reason_text(reason.value).split("<br>")
    assert len(lines) <= 2 and max(map(len, lines)) <= 40
    assert figures.reason_text("SOMETHING_NEW") == "SOMETHING_NEW"


def test_touch_rule_is_hollow_and_its_excess_is_said() -> None:
    """The rule without a queue cannot be mistaken for a model, and the subtitle says what it overstates."""
    figure = figures.queue_models(queue_frame(), "USDT")
    bars, dots = figure.data[0], figure.data[1]
    assert bars.y[0] == "touch rule (no queue)" and bars.marker.color[0] == theme.LIGHT.paper
    assert dots.marker.symbol[0] == "circle-open" and dots.marker.symbol[1] == "circle"
    assert bars.y[1] == "power (this run)"
    assert (
        figure.layout.title.subtitle.text
        == "50 to 60 fills by queue model; the touch rule claims 1.50 times those of this run"
    )
    close = figures.queue_models(queue_frame(touch=60), "USDT").layout.title.subtitle.text
    assert close.endswith("60 under the touch rule: the queue hardly matters to this grid")


def test_nothing_is_drawn_as_words() -> None:
    """Without data a figure says what is missing instead of showing an empty frame."""
    none = fills_frame([])
    empty = [
        figures.round_trips(trips([])),
        figures.markout(markouts().with_columns(mean_bps=pl.lit(None, pl.Float64))),
        figures.refusals(refusal_frame().clear()),
        figures.price_with_fills(mids_frame(10).clear(), none, BTC),
    ]
    assert [figure.layout.annotations[0].text for figure in empty] == [
        "no round trip was completed",
        "no fill",
        "every planned level was quoted at all times",
        "no mid was known at any decision",
    ]
    assert list(trace(figures.inventory(none, START, START + SECOND, "BTC"), "position").y) == [0, 0]


# --- points ----------------------------------------------------------------------------------------------------------


@given(
    y=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400), points_=st.integers(4, 60), seed=st.integers(0, 2**32 - 1)
)  # fmt: skip
def test_thinning_keeps_ends_and_extremes(y: list[float], points_: int, seed: int) -> None:
    """At most so many points stay, in order, with the first, the last, the highest and the lowest among them."""
    values = np.array(y)
    x = np.sort(np.random.default_rng(seed).uniform(0, 1, len(values)))
    kept = points.thin(x, values, points_)
    assert len(kept) <= max(points_, 1)
    assert (np.diff(kept) > 0).all()
    assert kept[0] == 0 and kept[-1] == len(values) - 1
    assert values[kept].max() == values.max() and values[kept].min() == values.min()


@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=200))
def test_bins_hold_every_value_and_zero_is_an_edge(values: list[float]) -> None:
    """Histograms lose nothing, stay within about forty bins, and never mix gains with losses."""
    data = np.array(values)
    edges = points.bins(data)
    assert points.counts(data, edges)[0].sum() == len(data)
    assert 0.0 in np.round(edges / (edges[1] - edges[0]))
    assert len(edges) <= 45


def test_numbers_are_written_one_way() -> None:
    """A typographic minus, no signed zero, a dash for what is missing and a question mark for what is unknown."""
    assert theme.money(Decimal("-1.125"), "USDT") == "−1.12 USDT"
    assert theme.number(-0.0001, 2, sign=True) == "0.00"
    assert theme.number(float("nan"), 1) == theme.bps(None) == theme.interval(None, 1.0, 1) == "–"
    assert theme.utc(None) == theme.count(None) == "?"
    assert theme.interval(-0.1, 0.95, 2) == "[−0.10, +0.95]"


def test_the_parts_of_plotlys_view_that_are_changed_are_found() -> None:
    """What a live figure changes in plotly's view stands there: another release of plotly that moves it is noticed here."""
    theirs, ours = str(go.FigureWidget._esm), str(_Figure._esm)
    assert _EXPORTED.search(theirs) and len(_DELTAS.findall(theirs)) == 5
    assert "ResizeObserver" in ours and not _DELTAS.search(ours)
