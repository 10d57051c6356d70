"""Live figures: what is drawn is what the session told, and what is sent is the difference and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plotly.utils import PlotlyJSONEncoder

from grinder_kit.decision.reason import Reason
from grinder_kit.execution.latency import kaplan_meier
from grinder_kit.model.order import InFlight, OrderState, Side
from grinder_kit.session.snapshot import (
    Counts,
    Forecast,
    Money,
    Ribbon,
    RibbonBin,
    Rung,
    Series,
    Snapshot,
    Trade,
    Trip,
    Waits,
)
from grinder_widgets import session_figures as figures
from grinder_widgets import session_ladder as ladder
from grinder_widgets import theme
from grinder_widgets.panel_html import TABLES
from tests.widgets.sessions import about, changed, judged, played, snapshots

Draw = Callable[[Snapshot, theme.Palette], figures.Spec]


def drawn_ladder(snapshot: Snapshot, palette: theme.Palette = theme.LIGHT, most: int = 30, **more: Any) -> figures.Spec:
    """Return the ladder of a snapshot."""
    mid = ladder.mid_of(snapshot.now)
    rows = ladder.ladder_rows(snapshot.ladder, mid, most)
    return ladder.ladder(
        rows, mid, snapshot.about, snapshot.forecast, total=len(snapshot.ladder), theme=palette, **more
    )


KINDS: dict[str, Draw] = {
    "ladder": drawn_ladder,
    "profit": lambda s, p: figures.profit(s.series, s.money, s.about, theme=p),
    "fills": lambda s, p: figures.fills(s.series, s.fills, s.counts, s.about, theme=p),
    "round trips": lambda s, p: figures.round_trips(s.trips, s.counts, theme=p),
    "ribbon score": lambda s, p: figures.ribbon(s.ribbon, s.forecast, theme=p),
    "latency": lambda s, p: figures.latency(s.latency, theme=p),
}


def picture(spec: figures.Spec | Any) -> Any:
    """Return a figure as plain JSON, for comparison; what is None is not there."""
    figure = spec if isinstance(spec, go.Figure) else go.Figure(spec)
    return _without_none(json.loads(json.dumps(figure.to_plotly_json(), cls=PlotlyJSONEncoder)))


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_none(one) for name, one in value.items() if one is not None and one != {}}
    return [_without_none(one) for one in value] if isinstance(value, list) else value


def trace(spec: figures.Spec, name: str) -> Any:
    """Return the trace whose name starts so."""
    (found,) = [one for one in spec["data"] if one.get("name", "").startswith(name)]
    return found


# --- all of them -----------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.sampled_from(sorted(KINDS)), st.integers(0, 240), st.integers(0, 240), st.booleans())
def test_changes_turn_one_drawing_into_the_other(kind: str, first: int, second: int, dark: bool) -> None:
    """A figure that was told the changes equals one that was drawn anew, from any moment to any other, and in either palette."""
    before = KINDS[kind](played()[first], theme.LIGHT)
    after = KINDS[kind](played()[second], theme.DARK if dark else theme.LIGHT)
    figure = go.Figure(before)
    told = figures.changes(before, after)
    for one, values in zip(figure.data, told.traces, strict=True):
        for path, value in values.items():
            one[path] = value
    for path, value in told.layout.items():
        figure.layout[path] = value
    assert picture(figure) == picture(after)


@settings(max_examples=60)
@given(snapshots(), st.sampled_from(sorted(KINDS)))
def test_any_snapshot_can_be_drawn(snapshot: Snapshot, kind: str) -> None:
    """Whatever another process tells, plotly takes the figure; the same drawn twice differs in nothing."""
    spec = KINDS[kind](snapshot, theme.LIGHT)
    go.Figure(spec)
    assert not figures.changes(spec, KINDS[kind](snapshot, theme.LIGHT))


@pytest.mark.parametrize("kind", KINDS)
def test_every_figure_says_what_it_is_and_keeps_its_zoom(kind: str) -> None:
    """A title, a subtitle and a constant uirevision, whatever is shown; the same traces always."""
    empty, full = (KINDS[kind](snapshot, theme.LIGHT) for snapshot in (played()[0], played()[-1]))
    for spec in (empty, full):
        assert spec["layout"]["title"]["text"] and spec["layout"]["uirevision"] == "grinder"
    assert full["layout"]["title"]["subtitle"]["text"]
    assert [one["type"] for one in empty["data"]] == [one["type"] for one in full["data"]]
    assert not full["layout"].get("shapes")  # shapes went stale in live views


@pytest.mark.parametrize("kind", KINDS)
def test_dark_is_light_with_every_colour_swapped(kind: str) -> None:
    """No colour is written down but by its role."""
    light, dark = (json.dumps(picture(KINDS[kind](played()[-1], palette))) for palette in (theme.LIGHT, theme.DARK))
    for old, new in theme.to_dark().items():
        light = light.replace(old, new)
    assert light == dark


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_are_sent_short(kind: str) -> None:
    """Arrays are float32, or whole counts; no double travels four times a second."""
    for one in KINDS[kind](played()[-1], theme.LIGHT)["data"]:
        for name in ("x", "y", "base"):
            values = one.get(name)
            assert not isinstance(values, np.ndarray) or values.dtype != np.float64 or len(values) <= 45, (kind, name)


def test_nothing_is_drawn_as_words() -> None:
    """Without data a figure says what is missing, at its final size."""
    forecast = Forecast(model="first_passage", horizon_s=60.0)
    start = replace(played()[0], series=Series(), ladder=(), fills=(), trips=(), latency=(), forecast=forecast)
    words = {kind: draw(start, theme.LIGHT)["layout"]["annotations"][0]["text"] for kind, draw in KINDS.items()}
    assert words == {
        "ladder": "no order, and no level that could have one",
        "profit": "no price has been seen yet",
        "fills": "no price has been seen yet",
        "round trips": "no round trip has been completed",
        "ribbon score": "no probability has ten orders yet",
        "latency": "nothing has been asked of the venue yet",
    }
    for kind, draw in KINDS.items():
        if kind != "ladder":  # its height is that of its rows
            assert draw(start, theme.LIGHT)["layout"]["height"] == draw(played()[-1], theme.LIGHT)["layout"]["height"]


# --- the ladder ------------------------------------------------------------------------------------------------------


def order(key: str, price: str, **changes: Any) -> Rung:
    """Return an own order; the key's letter is its side."""
    usual: dict[str, Any] = {
        "key": key, "level_id": key, "side": Side.SELL if key[0] == "S" else Side.BUY, "price": Decimal(price),
        "quantity": Decimal("0.002"), "state": OrderState.OPEN, "queue_ahead": Decimal("0.5"), "age_s": 3.0,
    }  # fmt: skip
    return Rung(**usual | changes)


RUNGS = (
    order(
        "S2",
        "60060",
        refused=True,
        quantity=None,
        state=None,
        reason=Reason.FILL_PROB,
        why="0.09 < 0.20",
        queue_ahead=None,
    ),
    order("S1", "60030", filled=Decimal("0.001")),
    order("B1", "59970", in_flight=InFlight.CANCEL),
    order("B2", "59940", queue_ahead=None),
)


FORECAST = Forecast(model="first_passage", horizon_s=60.0, least=0.2)


def spec_of(
    rungs: tuple[Rung, ...], mid: str | None = "60000", forecast: Forecast = FORECAST, **more: Any
) -> figures.Spec:
    """Return a ladder of these rungs."""
    value = None if mid is None else Decimal(mid)
    rows = ladder.ladder_rows(rungs, value)
    return ladder.ladder(rows, value, about(), forecast, total=len(rungs), **more)


def words_of(spec: figures.Spec) -> list[list[str]]:
    """Return the texts of the columns: own, queue, probability, value; and the mid's."""
    texts = [text.strip("\u2002") for text in spec["data"][6]["text"]]
    n = (len(texts) - 1) // 4
    return [texts[:n], texts[n : 2 * n], texts[2 * n : 3 * n], texts[3 * n : 4 * n], texts[4 * n :]]


def test_ladder_has_sells_above_mid_and_buys_below() -> None:
    """The highest price is on top, mid has a row of its own, and sides differ by letter and colour."""
    spec = spec_of(RUNGS)
    assert spec["data"][0]["y"].tolist() == [4, 3, 1, 0] and spec["data"][7]["y"] == [2, 2]
    assert spec["layout"]["yaxis"]["ticktext"] == ["60,060.0", "60,030.0", "59,970.0", "59,940.0"]
    own, queue, prob, value, mid = words_of(spec)
    assert own == ["S", "S 0.002", "B 0.002", "B 0.002"]
    assert queue == ["REFUSED", "0.5", "PENDING CANCEL", "?"]  # how it is, where it does not just rest; not known
    assert prob == [".09 &lt; .20", "–", "–", "–"] and value == ["–"] * 4
    assert mid == ["<b>mid 60,000.00</b>"]
    colours = spec["data"][1]["marker"]["color"]
    assert colours == [theme.LIGHT.paper, theme.LIGHT.sell, theme.LIGHT.buy, theme.LIGHT.buy], (
        "the refused one is hollow"
    )
    assert spec["data"][2]["x"].tolist() == pytest.approx([0, 0.03, 0, 0]), "half of S1 has filled"
    assert spec["data"][2]["marker"]["pattern"]["shape"] == ["/"] * 4


def test_nothing_foreign_becomes_markup() -> None:
    """plotly.js reads tags in texts: none but our own reach it."""
    spec = spec_of((order("S1", "60030", refused=True, why="<a href='x'>"),), forecast=replace(FORECAST, no_prob="<b>"))
    assert words_of(spec)[2] == ["&lt;a href=&#x27;x&#x27;&gt;"]
    assert spec["layout"]["title"]["subtitle"]["text"].endswith("–: &lt;b&gt;")


def test_ladder_without_a_market_keeps_its_order() -> None:
    """With no mid, sells still stand above buys, and the mid is a question mark."""
    spec = spec_of(RUNGS, None)
    assert spec["data"][7]["y"] == [2, 2] and words_of(spec)[4] == ["<b>mid ?</b>"]


def test_ladder_shows_seconds_of_flow_where_they_are_known() -> None:
    """The axis says whether it counts seconds or quantity, and that it is an estimate; whole decades keep it still."""
    quantity, timed = spec_of(RUNGS), spec_of((*RUNGS[:3], order("B2", "59940", queue_s=4.2)))
    titles = [spec["layout"]["annotations"][1]["text"] for spec in (quantity, timed)]
    assert titles == ["queue ahead (estimate)<br>SYNTH", "queue ahead (estimate)<br>s of flow"]
    assert words_of(timed)[1][3] == "4.2 s"
    ticks, labels = timed["layout"]["xaxis"]["tickvals"][:3], timed["layout"]["xaxis"]["ticktext"][:3]
    assert labels == [".1", "1", "10"] and np.allclose(np.diff(ticks), np.diff(ticks)[0])
    at = float(timed["data"][5]["x"][len(RUNGS) + 3])
    assert ticks[1] < at < ticks[2] and at == pytest.approx(ticks[1] + (ticks[2] - ticks[1]) * np.log10(4.2))


def test_picked_row_is_marked() -> None:
    """One row has the colour of the pick; an order and a refusal of its level are two rows."""
    rungs = (*RUNGS, order("S1", "60031", refused=True, quantity=None))
    rows = ladder.ladder_rows(rungs, Decimal(60000))
    assert [row.name for row in rows] == ["S2", "S1 refused", "S1", "B1", "B2"]
    colours = spec_of(rungs, picked="S1")["data"][0]["marker"]["color"]
    assert [colour == theme.LIGHT.grid for colour in colours] == [False, False, True, False, False]


@given(st.integers(0, 80), st.integers(0, 80), st.integers(-5, 100), st.booleans())
def test_rows_are_the_nearest_to_mid_of_both_sides(sells: int, buys: int, most: int, known: bool) -> None:
    """Never more than asked for or than sixty; the nearest of each side; a side that is short leaves its room to the other."""
    above = [order(f"S{i}", str(1000 + i)) for i in range(1, sells + 1)]
    below = [order(f"B{i}", str(1000 - i)) for i in range(1, buys + 1)]
    rows = ladder.ladder_rows((*below, *above), Decimal(1000) if known else None, most)
    allowed = max(1, min(most, 60))
    assert len(rows) == min(allowed, sells + buys)
    prices = [row.rung.price for row in rows]
    assert prices == sorted(prices, reverse=True)
    shown = {row.rung.key for row in rows}
    for letter, there in (("S", sells), ("B", buys)):
        count = sum(key[0] == letter for key in shown)
        assert shown >= {f"{letter}{i}" for i in range(1, count + 1)}
        assert count >= min(there, allowed // 2)


def test_ladder_says_how_many_rows_are_missing() -> None:
    """Forty orders in ten rows."""
    rungs = tuple(
        order(f"{side}{i}", str(1000 + sign * i)) for side, sign in (("S", 1), ("B", -1)) for i in range(1, 21)
    )
    rows = ladder.ladder_rows(rungs, Decimal(1000), 10)
    spec = ladder.ladder(rows, Decimal(1000), about(), FORECAST, total=40)
    text = spec["layout"]["title"]["subtitle"]["text"]
    assert text.endswith("; 10 of 40 rows, the nearest to mid")


# --- probability and value -------------------------------------------------------------------------------------------

JUDGED = (
    order("S1", "60030", fill_prob=0.25, prob_low=0.2, prob_high=0.31, placed_prob=0.21, value_bps=0.4, value_low=-0.2,
          value_high=1.0),
    order("B1", "59970", fill_prob=0.5, prob_low=0.4, prob_high=0.6, placed_prob=0.5, value_bps=-3.0, value_low=-4.0,
          value_high=-2.0),
    order("B2", "59940", fill_prob=0.75),
)  # fmt: skip


def marks_of(spec: figures.Spec, column: int, rows: int) -> list[float]:
    """Return where the marks of a column are: 0 the ticks at placement, 1 the queue, 2 the probability, 3 the value."""
    found: list[float] = spec["data"][5]["x"][column * rows : (column + 1) * rows].tolist()
    return found


def test_probability_is_a_dot_in_its_band_and_a_tick_for_its_placement() -> None:
    """Each at its place of the axis from 0 to 1; a model that knows no interval has a hollow dot and no band."""
    spec = spec_of(JUDGED)
    left, right = spec["layout"]["xaxis"]["tickvals"][-6], spec["layout"]["xaxis"]["tickvals"][-4]
    assert spec["layout"]["xaxis"]["ticktext"][-6:-3] == ["0", ".5", "1"]

    def share(x: float) -> float:
        return (x - left) / (right - left)

    assert [share(x) for x in marks_of(spec, 2, 3)] == pytest.approx([0.25, 0.5, 0.75], abs=1e-5)
    assert [share(x) for x in marks_of(spec, 0, 3)] == pytest.approx([0.21, 0.5, np.nan], abs=1e-5, nan_ok=True)
    band = spec["data"][4]["x"][:9].tolist()
    assert [share(x) for x in band] == pytest.approx(
        [0.2, 0.31, np.nan, 0.4, 0.6, np.nan, np.nan, np.nan, np.nan], abs=1e-5, nan_ok=True
    )
    colours = spec["data"][5]["marker"]["color"][6:9]
    assert colours == [theme.LIGHT.sell, theme.LIGHT.buy, theme.LIGHT.paper]
    assert words_of(spec)[2] == [".25", ".50", ".75"]


def test_value_says_its_sign_and_whether_it_can_be_told_from_zero() -> None:
    """On an axis around zero whose scale stands still; hollow where the interval holds zero, and in words with its half width."""
    spec = spec_of(JUDGED)
    assert words_of(spec)[3] == ["+0.4 ±.6", "−3.0 ±1.0", "–"]
    assert spec["layout"]["xaxis"]["ticktext"][-3:] == ["−5", "0", "+5"]
    low, zero, high = spec["layout"]["xaxis"]["tickvals"][-3:]
    at = marks_of(spec, 3, 3)
    assert zero < at[0] < high and low < at[1] < zero and np.isnan(at[2])
    assert spec["data"][5]["marker"]["color"][9:] == [theme.LIGHT.paper, theme.LIGHT.loss, theme.LIGHT.paper]


def test_what_is_missing_says_why() -> None:
    """In the subtitle, for both columns or the value alone; the head names the horizon."""
    none = spec_of(JUDGED[2:], forecast=Forecast(no_prob="no fill model", no_value="no fill model"))
    assert none["layout"]["title"]["subtitle"]["text"].endswith("<br>P(fill) and value –: no fill model")
    half = spec_of(JUDGED[2:], forecast=replace(FORECAST, no_value="no markout"))
    assert half["layout"]["title"]["subtitle"]["text"].endswith("<br>Expected value –: no markout")
    heads = [one["text"] for one in half["layout"]["annotations"]]
    assert heads[2:] == ["P(fill 60 s)<br>", "expected value<br>bps"]


def test_a_real_session_shows_its_ribbon() -> None:
    """With a fitted model: orders have dots, bands and values; refused levels have value against threshold and nothing else."""
    last = judged()[-1]
    assert last.forecast.model == "first_passage" and not last.forecast.no_value
    orders, refused = ([rung for rung in last.ladder if rung.refused is one] for one in (False, True))
    assert orders and refused
    for rung in orders:
        assert rung.prob_low is not None and rung.fill_prob is not None and rung.prob_high is not None
        assert rung.prob_low <= rung.fill_prob <= rung.prob_high and rung.placed_prob is not None
        assert rung.value_low is not None and rung.value_bps is not None and rung.value_high is not None
        assert rung.value_low <= rung.value_bps <= rung.value_high
    text = words_of(drawn_ladder(last))[2]
    assert sum(re.fullmatch(r"\.\d\d &lt; \.\d\d", one) is not None for one in text) == sum(
        rung.reason == Reason.FILL_PROB for rung in refused
    )
    assert not np.isfinite(marks_of(drawn_ladder(last), 2, len(last.ladder))).all()


def test_sixty_judged_rows_fit_an_update() -> None:
    """All of them changed at once, in numbers and in words, and no more than half of what may be sent."""

    def rungs(shift: float) -> tuple[Rung, ...]:
        return tuple(
            order(
                f"{side}{i}", str(60_000 + sign * i + int(100 * shift)), fill_prob=shift + i / 100, prob_low=shift, prob_high=shift + 0.5,
                placed_prob=shift + 0.1, value_bps=shift - i / 20, value_low=shift - 2.0, value_high=shift + 2.0,
            )
            for side, sign in (("S", 1), ("B", -1))
            for i in range(1, 31)
        )  # fmt: skip

    told = figures.changes(spec_of(rungs(0.1)), spec_of(rungs(0.2)))
    sent = json.dumps([told.traces, told.layout], default=lambda array: array.tolist())
    assert len(sent) < 64 * 1024 / 2


BINS = (
    RibbonBin(predicted=0.15, observed=0.1, low=0.05, high=0.2, orders=40, filled=4),
    RibbonBin(predicted=0.55, observed=0.3, low=None, high=None, orders=12, filled=2),
)


def test_ribbon_score_is_predicted_against_observed() -> None:
    """With intervals; a bin of which nobody knows the end is hollow, and says at least."""
    spec = figures.ribbon(Ribbon(bins=BINS), FORECAST)
    dots = trace(spec, "own orders")
    assert dots["x"].tolist() == pytest.approx([0.15, 0.55]) and dots["y"].tolist() == pytest.approx([0.1, 0.3])
    assert dots["error_y"]["array"].tolist() == pytest.approx([0.1, 0.0])
    assert dots["marker"]["symbol"] == ["circle", "circle-open"]
    assert dots["text"] == [
        "predicted .15: .10 filled within 60 s<br>4 fills of 40 orders",
        "predicted .55: at least .30 filled within 60 s<br>2 fills of 12 orders",
    ]
    assert "hollow" in spec["layout"]["title"]["subtitle"]["text"]
    assert (
        figures.ribbon(Ribbon(), Forecast(no_prob="no fill model"))["layout"]["annotations"][0]["text"]
        == "no fill model"
    )


# --- money -----------------------------------------------------------------------------------------------------------


def test_profit_parts_add_up() -> None:
    """The lines sum to net at every moment, the bars end where net does, and the residual is printed."""
    snapshot = played()[-1]
    spec = figures.profit(snapshot.series, snapshot.money, snapshot.about)
    assert np.allclose(
        sum(trace(spec, name)["y"] for name in ("grid", "trend", "fees")), trace(spec, "net")["y"], atol=1e-4
    )
    assert trace(spec, "funding")["visible"] is False
    bars = spec["data"][5]
    assert float(sum(bars["y"][:-1])) == pytest.approx(float(bars["y"][-1]), abs=1e-4)
    assert bars["y"][-1] == pytest.approx(float(snapshot.money.equity))
    assert bars["marker"]["pattern"]["shape"] == ["/" if value < 0 else "" for value in bars["y"]], "losses are hatched"
    assert "residual 0 USDT" in spec["layout"]["title"]["subtitle"]["text"]


def test_profit_before_the_first_price_is_what_is_known() -> None:
    """Equity that is not known is the sum of the parts that are, and a residual that is not known says so."""
    money = Money(grid=Decimal(3), commission=Decimal(1))
    spec = figures.profit(played()[-1].series, money, about())
    assert spec["data"][5]["y"].tolist() == [3, 0, -1, 0, 2]
    assert "residual unknown" in spec["layout"]["title"]["subtitle"]["text"]


def test_long_sessions_are_thinned_and_say_so() -> None:
    """Lines keep their extremes within their budget, and the subtitle says how much is drawn."""
    n = 5000
    wave = tuple(np.sin(np.arange(n) / 7).tolist())
    ts = tuple(1_704_067_200_000_000_000 + i * 1_000_000_000 for i in range(n))
    series = Series(
        ts_ns=ts, mid=wave, equity=wave, grid=wave, trend=wave, commission=wave, funding=wave, position=wave
    )
    spec = figures.profit(series, Money(), about())
    assert all(len(one["x"]) <= figures.PROFIT_POINTS for one in spec["data"][:5])
    assert (
        max(trace(spec, "net")["y"]) == pytest.approx(max(wave))
        and "of 5,000 points" in spec["layout"]["title"]["subtitle"]["text"]
    )
    assert trace(spec, "net")["x"][0] == "2024-01-01T00:00:00"
    assert len(figures.fills(series, (), Counts(), about())["data"][0]["x"]) <= figures.POINTS


def test_what_is_not_a_number_is_left_out() -> None:
    """A mid that was not known leaves a gap of time, and neither a zero nor an error."""
    nan = float("nan")
    series = Series(ts_ns=(0, 1_000_000_000, 2_000_000_000), mid=(1.0, nan, 3.0), equity=(nan, nan, nan), grid=(0.0,) * 3,
                    trend=(0.0,) * 3, commission=(0.0,) * 3, funding=(0.0,) * 3, position=(0.0,) * 3)  # fmt: skip
    assert figures.fills(series, (), Counts(), about())["data"][0]["y"].tolist() == [1, 3]
    assert len(trace(figures.profit(series, Money(), about()), "net")["y"]) == 0


def test_fills_point_up_and_down() -> None:
    """Each side has its shape, each fill its words, and the subtitle says that older ones are not here."""
    trades = tuple(
        Trade(fill_id=str(i), ts_ns=1_704_067_200_418_000_000, key=key, side=side, price=Decimal("60000.1"), quantity=Decimal("0.0020"),
              commission=Decimal("0.0120"), commission_asset="USDT", is_maker=side is Side.BUY)
        for i, (key, side) in enumerate((("B3", Side.BUY), ("S1", Side.SELL)))
    )  # fmt: skip
    spec = figures.fills(played()[-1].series, trades, Counts(fills=1500), about())
    buys, sells = trace(spec, "buy (1)"), trace(spec, "sell (1)")
    assert (buys["marker"]["symbol"], sells["marker"]["symbol"]) == ("triangle-up", "triangle-down")
    assert buys["text"] == ["0.002 SYNTH, B3, maker<br>fee 0.012 USDT"] and ", taker<br>" in sells["text"][0]
    assert buys["x"] == ["2024-01-01T00:00:00.418"]
    assert spec["layout"]["title"]["subtitle"]["text"].endswith("2 of 1,500 fills, the latest")


def test_round_trips_are_all_in_the_bars() -> None:
    """Losses and gains meet at zero, and the count of all is said."""
    trips = tuple(
        Trip(
            ts_ns=0,
            entry_price=Decimal(1),
            exit_price=Decimal(1),
            quantity=Decimal(1),
            net_pnl=Decimal(0),
            net_bps=bps,
            hold_s=4.0,
        )
        for bps in np.linspace(-5, 5, 100).tolist()
    )
    spec = figures.round_trips(trips, Counts(round_trips=400))
    assert sum(trace(spec, "loss")["y"]) + sum(trace(spec, "gain")["y"]) == 100
    assert spec["layout"]["title"]["subtitle"]["text"] == "100 of 400 round trips; half were held longer than 4.0 s"


# --- latency ---------------------------------------------------------------------------------------------------------


def waits(operation: str, answered: list[float], given_up: list[float] = [], **more: Any) -> Waits:  # noqa: B006 (read only)
    """Return what a session shows of requests that were answered, and given up, after so many ms."""
    curve = kaplan_meier([*((ms, True) for ms in answered), *((ms, False) for ms in given_up)])
    return Waits(
        operation=operation, count=len(answered), timeouts=len(given_up), ms=tuple(ms for ms, _ in curve),
        share=tuple(share for _, share in curve), censored_ms=tuple(sorted(given_up)), **more,
    )  # fmt: skip


@given(st.lists(st.floats(0.01, 1e3), min_size=1, max_size=200), st.lists(st.floats(2e3, 1e4), max_size=50))
def test_unanswered_requests_are_censored(answered: list[float], given_up: list[float]) -> None:
    """Requests that were given up later than any answer keep the curve below 1 by their share; it goes on to the last of them."""
    x, y = figures.curve(waits("place", answered, given_up))
    assert y[-1] == pytest.approx(len(answered) / (len(answered) + len(given_up)))
    assert x[-1] == pytest.approx(max(given_up or answered)) and np.all(np.diff(y) >= 0) and np.all(np.diff(x) >= 0)


def test_latency_curves_are_told_apart_and_marked_where_they_end() -> None:
    """The busiest operation first, each with its own dash; a censored curve ends in an open triangle, and the subtitle counts."""
    spec = figures.latency((
        waits("cancel", [1.0, 2.0], [4.0, 4.0, 4.0], p50_ms=None),
        waits("place", [5.0] * 4, p50_ms=5.0),
        waits("ask", [], [9.0, 9.0]),
    ))  # fmt: skip
    shown = [one for one in spec["data"] if one["visible"]]
    assert [one["name"] for one in shown] == ["place (4), median 5 ms", "cancel (2), median –"]
    assert len({one["line"]["dash"] for one in shown}) == 2
    assert shown[1]["x"].tolist() == [1, 1, 2, 4] and shown[1]["y"].tolist() == pytest.approx([0, 0.2, 0.4, 0.4])
    assert shown[1]["marker"]["opacity"] == [0, 0, 0, 1] and set(shown[0]["marker"]["opacity"]) == {0.0}
    assert "5 of all never were" in spec["layout"]["title"]["subtitle"]["text"]


def test_legend_of_the_latencies_covers_no_curve() -> None:
    """It lies below the axis, in room that the margin leaves for it."""
    layout = figures.latency(played()[-1].latency)["layout"]
    assert layout["legend"]["y"] < 0 and layout["legend"]["yanchor"] == "top" and layout["margin"]["b"] >= 80


def test_the_table_says_what_is_not_known() -> None:
    """A quantile among the timeouts, and a 99 % quantile of too few, are dashes; the rest stands as it is."""
    one = waits("place", [8.0, 12.0], [5000.0], min_ms=8.0, mean_ms=10.0, p50_ms=12.0, max_ms=12.0)
    listed = TABLES["Latency"][1](replace(played()[-1], latency=(one,)))
    cells = re.findall(r"<td[^>]*>(.*?)</td>", listed)
    assert cells == ["place", "2", "1", "8", "10", "12", "–", "–", "12"] and "99 %, ms (from 100)" in listed


def test_latencies_of_a_session_are_those_of_its_venue() -> None:
    """An order is answered after the way there and back; a 99 % quantile is told from a hundred requests on, and no sooner."""
    for snapshot in played():
        for one in snapshot.latency:
            assert (one.p99_ms is not None) == (one.count + one.timeouts >= 100)
    places = {one.operation: one for one in played()[-1].latency}["place"]
    assert places.min_ms == pytest.approx(17.7) and places.p50_ms == pytest.approx(17.7, rel=0.005)
    assert places.share[-1] == 1 and list(places.share) == sorted(places.share)


def test_the_session_of_the_tests_is_real() -> None:
    """It trades, refuses levels and completes round trips, so that the figures above have something to show."""
    last = played()[-1]
    assert last.counts.fills > 5 and last.counts.round_trips > 2 and any(rung.refused for rung in last.ladder)
    assert any(rung.in_flight for snapshot in played() for rung in snapshot.ladder)
    assert changed(last, status={"stale": True}).status.stale
