"""What a fill explorer shows, in numbers and as figures: it is what models and labels say, and says where they say nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from grinder_kit.decision.economics import expected_value
from grinder_kit.errors import ConfigError
from grinder_kit.fillprob.first_passage import FirstPassageModel
from grinder_kit.fillprob.heuristic_model import HeuristicModel
from grinder_kit.fillprob.interval import Interval
from grinder_kit.fillprob.kaplan_meier import KaplanMeierModel
from grinder_kit.fillprob.markout import MarkoutModel
from grinder_kit.fillprob.queue_band import QUEUES, fit_queues
from grinder_kit.model.execution_config import ExecutionConfig
from grinder_widgets import explorer_figures as figures
from grinder_widgets import explorer_view as view
from grinder_widgets import explorer_words as words
from grinder_widgets.explorer_evidence import Evidence
from grinder_widgets.explorer_models import Asked, chances, ignored, named, outside
from grinder_widgets.explorer_state import CALIBRATION, HORIZONS_S, LAYERS, QUEUE_WORDS, ExplorerState
from grinder_widgets.session_figures import Spec
from grinder_widgets.theme import DARK, LIGHT, Palette
from tests.widgets.explorers import asked, evidence, fitted, parts


def said(order: Asked | None = None, model: Any = None) -> view.Answer:
    """Return the numbers for an order."""
    return view.answer("first_passage", model or fitted(), evidence(), order or asked())


def drawings(
    order: Asked | None = None, model: Any = None, theme: Palette = LIGHT, layers: tuple[str, ...] = LAYERS
) -> list[Spec]:
    """Return all four figures."""
    model = model or fitted()
    found = said(order, model)
    scores = view.scores({"first_passage": model}, evidence())
    scored = view.calibration(scores, scores.reliability("first_passage"), "first_passage", found.asked.horizon_s)
    return [
        figures.curve(view.curve(found, model, evidence(), layers), theme=theme),
        figures.probability_map(view.probability_map(found, model, evidence()), theme=theme),
        figures.time_to_fill(view.time_to_fill(found, model, evidence(), layers), theme=theme),
        figures.calibration(scored, theme=theme),
    ]


# --- the state --------------------------------------------------------------------------------------------------------


def test_state_refuses_what_no_explorer_can_have() -> None:
    """Unknown keys and wrong values raise, with what to write instead."""
    for given, message in (
        ({"distance": 3}, "an explorer has no 'distance'.*distance_bps"),
        ({"distance_bps": 61}, "distance_bps is 61; write a number from 0 to 60"),
        ({"horizon_s": 3}, "horizon_s is 3; write one of 1, 2, 5, 10, 30, 60"),
        ({"side": "long"}, "side is 'long'; write one of buy, sell"),
        ({"queue": "touch"}, "queue is 'touch'; write one of risk_averse"),
        ({"layers": "model"}, "layers is 'model'; write some of model, heuristic, observed"),
        ({"size_quote": 0.5}, "size_quote is a float"),
        ({"sigma": float("nan")}, "sigma is nan; write a number from 0.1 to 20"),
        ({"table": 1}, "table is 1; write True or False"),
        ({"latency_ms": -1}, "latency_ms is -1; write ms"),
        ({"model": 3}, "model is 3; write a model's name"),
    ):
        with pytest.raises(ConfigError, match=message):
            ExplorerState.of(given)


def test_state_comes_back_from_what_is_copied() -> None:
    """What differs from a new explorer, as Python reads it, is the state again."""
    state = ExplorerState.of(
        {"size_quote": "60000", "distance_bps": 5, "layers": ("observed", "model"), "tab": CALIBRATION}
    )
    assert ExplorerState.of(eval(repr(state.changed()))) == state
    assert ExplorerState().changed() == {}
    assert set(QUEUE_WORDS) == set(QUEUES)


# --- the models -------------------------------------------------------------------------------------------------------


def test_models_are_named() -> None:
    """One, several, a band; twins need names, and what is no model is refused."""
    model, band = fitted(), fit_queues(parts()[0])
    assert named(model) == {"first_passage": model}
    assert named([model, HeuristicModel()]) == {"first_passage": model, "heuristic": HeuristicModel()}
    assert named({"mine": band}) == {"mine": band}
    for wrong, message in (
        ([model, band], 'two models are called "first_passage"'),
        (3, "the model is a int"),
        ({"x": 3}, "x is a int"),
        ([], "no model was given"),
    ):
        with pytest.raises(ConfigError, match=message):
            named(wrong)  # type: ignore[arg-type]


def test_what_a_model_ignores_is_found_by_moving_it() -> None:
    """OFI moves the heuristic alone, the queue acts only at the touch, a curve by distance knows none of them."""
    away, near = asked(), asked(distance_bps=0.0)
    assert ignored(fitted(), away) == {"ofi_z", "queue_s"}
    assert ignored(fitted(), near) == {"ofi_z"}
    assert ignored(HeuristicModel(), away) == {"queue_s", "imb_own"}
    assert ignored(KaplanMeierModel().fit(parts()[0]), away) == {"queue_s", "sigma", "imb_own", "ofi_z"}
    notes = words.notes(said(away))
    assert notes["ofi_z"] == "moves only the heuristic" and notes["queue_s"] == "acts only at the touch"
    assert notes["sigma"] == f"NATR {1.596 * 300**0.5 * away.sigma:.0f} bps"
    assert words.notes(said(near))["queue_s"] == ""


def test_outside_the_data() -> None:
    """Another volatility by a factor of two, farther in its standard deviations than labels, beyond the training's span."""
    model = fitted()
    training = model.training
    assert training is not None
    usual = replace(asked(), sigma=training.sigma)
    assert not outside(model, usual, [0.0, 60.0], 10.0).any()
    for factor in (0.49, 2.01):
        assert outside(model, replace(usual, sigma=training.sigma * factor), 1.0, 10.0)
    assert outside(model, replace(usual, sigma=training.sigma * 0.6), [30.0, 40.0], 10.0).tolist() == [False, True]
    assert outside(model, usual, 1.0, training.span_s + 1)
    assert not outside(FirstPassageModel(), replace(usual, sigma=20.0), 60.0, 60.0), "the prior claims no data"


def test_numbers_are_the_models_own() -> None:
    """Probability and interval are what the model says, whatever stands around them; the band is as wide as its models."""
    order = asked(distance_bps=3.0)
    x = order.inputs()
    low, high = fitted().band(x, 10.0)
    found = said(order)
    assert (found.chance.middle, found.chance.low, found.chance.high) == (fitted().predict(x, 10.0), low, high)
    assert found.heuristic == HeuristicModel().predict(x, 10.0)[0]
    assert words.interval(found.chance) == f"{found.chance.middle[0]:.2f} [{low[0]:.2f}, {high[0]:.2f}]".replace(
        "0.", "."
    )
    band = fit_queues(parts()[0])
    wide = chances(band, "optimistic", x, 10.0)
    assert wide.middle[0] == band.models["optimistic"].predict(x, 10.0)[0]
    assert wide.low is not None and wide.low[0] <= low[0] + 1e-12
    alone = chances(KaplanMeierModel().fit(parts()[0]), "power", x, 10.0)
    assert alone.low is None and "[" not in words.interval(alone)


@pytest.mark.parametrize("distance_bps", [0.0, 3.0])
def test_value_is_what_the_formula_gives(distance_bps: float) -> None:
    """Probability times markout less fee, by the one formula, with a markout that was fitted on the orders shown."""
    order = asked(distance_bps=distance_bps)
    found = said(order)
    markout = MarkoutModel().fit(evidence().labels)
    fee = float(ExecutionConfig().maker_fee_bps)
    after = float(markout.predict(order.inputs())[0])
    worth = found.worth_bps
    assert worth is not None and worth.low is not None and worth.high is not None
    assert worth.value == pytest.approx(expected_value(1e4, float(found.chance.middle[0]), 0.0, fee, after))
    assert worth.low <= worth.value <= worth.high
    low, high = (float(end[0]) for end in markout.band(order.inputs()))
    assert worth.low <= expected_value(1e4, float(found.chance.low[0]), 0.0, fee, low)  # type: ignore[index]
    assert worth.high >= expected_value(1e4, float(found.chance.low[0]), 0.0, fee, high)  # type: ignore[index]


def test_value_says_when_it_is_none() -> None:
    """An interval that holds zero is said to; without later data, with few fills or without an interval, the reason stands there."""
    found = said()
    for low, high, note in ((-0.9, 0.2, "not distinguishable from zero"), (-0.9, -0.2, ""), (0.1, 0.4, "")):
        one = words.expected_value(replace(found, worth_bps=Interval(value=-0.3, low=low, high=high)))
        assert one.note == note and one.value.startswith("−0.3 [") and one.value.endswith("] bps")
    assert (
        words.expected_value(replace(found, worth_bps=Interval(value=0.25))).note
        == "no interval: this model gives none"
    )
    training = fitted().training
    assert training is not None
    own = Evidence.of(parts()[0], (training,), "power")
    few = Evidence.of(replace(parts()[1], frame=parts()[1].frame.head(200)), (training,), "power")
    for one, reason in ((own, "no later data to take the markout from"), (few, "too few fills for a markout (n ")):
        figure = words.expected_value(view.answer("first_passage", fitted(), one, asked()))
        assert figure.value == "–" and figure.note.startswith(reason)


# --- the figures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state", [{}, {"distance_bps": 0.0}, {"sigma": 20.0}, {"distance_bps": 60.0, "horizon_s": 1.0}, {"sigma": 0.1}]
)
@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_figures_are_valid_and_always_have_the_same_traces(state: dict[str, float], theme: Palette) -> None:
    """Plotly accepts each, axes are labelled, and only values differ between them: a live figure is told only these."""
    for first, spec in zip(drawings(), drawings(asked(**state), theme=theme), strict=True):
        go.Figure(spec)
        assert [trace["type"] for trace in spec["data"]] == [trace["type"] for trace in first["data"]]
        assert spec["layout"]["uirevision"] == first["layout"]["uirevision"]
        axes = [axis for name, axis in spec["layout"].items() if name[:5] in ("xaxis", "yaxis")]
        assert all(axis["title"]["text"] for axis in axes) and len(axes) >= 2


def test_curve_stops_where_the_data_do() -> None:
    """Inside the line is solid, beyond it is dotted and says so; together they are the model's line."""
    order = replace(asked(distance_bps=40.0, horizon_s=60.0), sigma=fitted().training.sigma * 0.6)  # type: ignore[union-attr]
    found = view.curve(said(order), fitted(), evidence(), LAYERS)
    spec = figures.curve(found)
    solid, dotted = spec["data"][1]["y"], spec["data"][2]["y"]
    assert np.isfinite(solid).any() and np.isfinite(dotted).any()
    assert np.where(np.isfinite(solid), solid, dotted) == pytest.approx(found.chance.middle, abs=1e-6)
    assert spec["layout"]["annotations"][0]["text"] == figures.OUTSIDE
    assert spec["data"][2]["line"]["dash"] == "dot"
    inside = figures.curve(view.curve(said(), fitted(), evidence(), LAYERS))
    assert not np.isfinite(inside["data"][2]["y"]).any() and inside["layout"]["annotations"] == []


def test_layers_hide_what_they_name() -> None:
    """Each layer's traces follow it, and nothing else does."""
    for layers in ((), ("model",), ("heuristic",), ("observed",)):
        shown = {str(trace.get("name", "")): trace.get("visible", True) for trace in drawings(layers=layers)[0]["data"]}
        assert shown["first passage"] == ("model" in layers)
        assert shown["heuristic"] == ("heuristic" in layers)
        assert shown["observed"] == shown["four queue models at the touch"] == ("observed" in layers)
        assert shown["your order"] is True


def test_a_touch_shows_all_four_queue_models() -> None:
    """By labels for a single model, in order of hope; by its own models for a band."""
    found = view.curve(said(), fitted(), evidence(), LAYERS)
    values = {name: value for name, value, _ in found.queues}
    assert list(values) == list(QUEUES)
    assert values["risk_averse"] <= values["power"] <= values["optimistic"]  # type: ignore[operator]
    band = fit_queues(parts()[0])
    modelled = view.curve(said(model=band), band, evidence(), LAYERS)
    assert {whose for _, _, whose in modelled.queues} == {"model"}
    assert modelled.queues[1][1] == modelled.touch.middle[0]


def test_map_and_its_lines_agree() -> None:
    """On a line of the map the model gives that probability, and half of the orders fill by the time that a cell tells."""
    found = view.probability_map(said(), fitted(), evidence())
    x = asked().inputs(found.distance_bps, np.arange(len(found.distance_bps)) == 0)
    for at, level in enumerate(view.CONTOURS):
        times = found.contours_s[:, at]
        known = np.isfinite(times) & (times < 1e4)
        for place in np.flatnonzero(known)[::10]:
            assert fitted().predict(x[[place]], times[place], extrapolate=True)[0] == pytest.approx(level)
    assert found.chance.shape == (len(found.horizon_s), len(found.distance_bps)) and found.chance.size <= 60 * 60
    assert (found.half_s == found.contours_s[:, view.CONTOURS.index(0.5)]).all()


def test_hover_reads_as_a_sentence() -> None:
    """The order's mark tells model, observed and heuristic; too few orders are words."""
    found = said()
    text = figures.words(found.asked, found.chance, found.observed, found.heuristic)
    assert text.startswith("2.0 bps, 10 s: model .") and "; observed " in text and text.endswith("heuristic .70")
    few = said(asked(sigma=20.0))
    assert "observed too few cases" in figures.words(few.asked, few.chance, few.observed, few.heuristic)
    assert words.observed(few.observed) == ("observed", "–", "too few cases (n 0)")


def test_calibration_counts_what_scoring_counts() -> None:
    """Bins are those of the scores at the nearest scored horizon; the heuristic stands beside the model."""
    scores = view.scores({"first_passage": fitted()}, evidence())
    found = view.calibration(scores, scores.reliability("first_passage"), "first_passage", 2.0)
    assert (found.asked_s, found.horizon_s) == (2.0, 1.0)
    assert {row[0] for row in found.table[1:]} == {"first_passage", "heuristic", "kaplan_meier"}
    assert scores.mean("first_passage") == pytest.approx(fitted().score(parts()[1]).mean("first_passage"))
    assert all(row["low"] is None for row in found.bins.iter_rows(named=True) if row["observed"] in (0.0, 1.0))
    spec = figures.calibration(found)
    assert spec["data"][1]["y"] == pytest.approx(found.bins["observed"].to_numpy(), abs=1e-6)
    assert "nearest to 2 s" in spec["layout"]["title"]["text"]
    why = figures.calibration(None, words.OWN_DATA)
    assert why["layout"]["annotations"][0]["text"] == "Scored on its own training data: not shown. Pass a later market."
    assert not any(trace["visible"] for trace in why["data"])


@pytest.mark.parametrize("horizon_s", HORIZONS_S)
def test_tables_hold_the_figures_numbers(horizon_s: float) -> None:
    """Every tab's table is HTML with a head and rows, and has the model's number in it."""
    order = asked(horizon_s=horizon_s)
    found = said(order)
    curve = view.curve(found, fitted(), evidence(), LAYERS)
    by_time = view.time_to_fill(found, fitted(), evidence(), LAYERS)
    for text, number in (
        (words.curve_table(curve), words.interval(curve.touch)),
        (words.map_table(view.probability_map(found, fitted(), evidence())), "half filled by"),
        (words.time_table(by_time), words.interval(by_time.chance, -1)),
    ):
        assert text.count("<tr>") > 6 and number in text
    empty = view.curve(said(asked(sigma=20.0)), fitted(), evidence(), LAYERS)
    assert words.curve_table(empty).count("<tr>") > 10 and "too few cases" in words.curve_table(empty)
