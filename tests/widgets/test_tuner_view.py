"""What a grid tuner shows, in numbers and as figures: it is what the study and the kernel say, and says where they say nothing."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

import grinder_kit as gk
from grinder_kit.errors import ConfigError
from grinder_kit.simulation.replay import replay
from grinder_kit.tuning.pick import PickRule
from grinder_widgets import tuner_figures as figures
from grinder_widgets import tuner_view as view
from grinder_widgets import tuner_words as words
from grinder_widgets.session_figures import Spec, changes
from grinder_widgets.theme import DARK, LIGHT, Palette
from grinder_widgets.tuner_state import DIFFERENCE, METRICS, RULES, TEST, TRAIN, TunerState
from tests.widgets.tuners import GRID, market, study, tuned


def tried(**values: Any) -> view.Tried:
    """Return what a configuration does, run through the kernel."""
    return view.WhatIf(tuned()).run(tuned().values(study().best.trial) | values)


def drawn(theme: Palette = LIGHT, pins: tuple[view.Tried, ...] = (), **state: Any) -> tuple[Spec, Spec]:
    """Return both figures."""
    set_to = TunerState.of(state)
    found = view.picked(tuned(), set_to.rule)
    now = tried(spacing_bps=9.3)
    front = view.points(tuned(), set_to, found, now, pins)
    return figures.front(front, theme=theme), figures.heat_map(view.heat_map(tuned(), set_to, found, now), theme=theme)


# --- the state ---------------------------------------------------------------------------------------------------------


def test_state_refuses_what_no_tuner_can_have() -> None:
    """Unknown keys and wrong values raise, with what to write instead."""
    for given, message in (
        ({"rules": "knee"}, "a tuner has no 'rules'; did you mean 'rule'"),
        ({"rule": "best"}, "rule is 'best'; write one of lower_bound, knee, plateau, none"),
        ({"show": "all"}, "show is 'all'; write one of test, train, difference"),
        ({"y": "spacing_bps"}, "y is 'spacing_bps'; write one of net_per_hour"),
        ({"x": None}, "x is None; write the name of a parameter or of a metric"),
        ({"what_if": 3}, "what_if is 3; write a mapping"),
        ({"pins": [{}] * 5}, "write at most 4 mappings"),
        ({"table": 1}, "table is 1; write True or False"),
    ):
        with pytest.raises(ConfigError, match=message):
            TunerState.of(given)


def test_state_comes_back_from_what_is_copied() -> None:
    """What differs from a new tuner, as Python reads it, is the state again."""
    state = TunerState.of(
        {"what_if": {"spacing_bps": Decimal("8.5")}, "pins": [{"levels": 4, "size": Decimal("0.003")}], "x": "fees"}
    )
    assert TunerState.of(eval(repr(state.changed()))) == state
    assert TunerState().changed() == {} and set(RULES) == set(PickRule)


def test_names_that_the_study_has_not_are_refused() -> None:
    """Metrics and parameters are checked against the study, with the nearest name."""
    for given, message in (
        ({"x": "drawdwn"}, "there is no 'drawdwn'; did you mean 'drawdown'"),
        ({"map_x": "spacing"}, "unknown parameter 'spacing'; did you mean 'spacing_bps'"),
        ({"what_if": {"skew_bps_at_limit": 2}}, "unknown parameter 'skew_bps_at_limit'"),
        ({"pins": [{"levels": 0}]}, "levels is 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            tuned().check(TunerState.of(given))


# --- numbers -----------------------------------------------------------------------------------------------------------


def test_every_metric_is_the_studys() -> None:
    """Columns are those of the study's table, and the difference is test less train."""
    table = study().table
    for name in METRICS:
        test, train = (table[f"{name}_{part}"].cast(float).fill_null(np.nan).to_numpy() for part in (TEST, TRAIN))
        np.testing.assert_array_equal(tuned().column(name, TEST), test)
        np.testing.assert_array_equal(tuned().column(name, DIFFERENCE), test - train)


def test_what_if_is_a_replay() -> None:
    """What is tried between the trials does what the engine does on the test part, to the last digit; a trial's numbers are its own."""
    now = tried(spacing_bps=9.3, levels=7, size="0.003")
    summary = replay(study().part("test").market, now.config).summary
    assert (now.outcome.net, now.outcome.fees, now.outcome.fills) == (
        summary["equity"],
        summary["fee"],
        summary["trades"],
    )
    trial = study().complete[3]
    known = view.WhatIf(tuned()).known(tuned().values(trial))
    assert known is not None and known.outcome == trial.test and known.train == trial.train
    assert view.WhatIf(tuned()).run(tuned().values(trial)).outcome == trial.test


def test_a_configuration_is_a_trial_only_where_all_is_the_same() -> None:
    """Another size, a value between steps, or beyond the range, is none; the nearest trial is near."""
    trial = study().complete[5]
    values = tuned().values(trial)
    assert tuned().trial(values) == trial and tuned().nearest(values) == trial
    for name, value in (("size", "0.003"), ("min_fill_prob", 0.1), ("spacing_bps", values["spacing_bps"] + 0.1)):
        assert tuned().trial(values | {name: value}) is None
    assert tuned().nearest(values | {"spacing_bps": values["spacing_bps"] + 0.1}).places == trial.places


def test_the_map_holds_every_trial_once() -> None:
    """Counts add up, a cell's value is the median of its trials, and a click gives one of them."""
    state = TunerState.of({"hide_floor": False})
    found = view.heat_map(tuned(), state, None, tried())
    assert found.count.sum() == len(study().complete)
    x, y = (tuned().column(name) for name in ("spacing_bps", "levels"))
    wide, high = (np.diff(at).mean() / 2 if len(at) > 1 else np.inf for at in (found.x_at, found.y_at))
    for row, column in zip(*np.nonzero(found.count), strict=True):
        middle = found.middle[row, column]
        assert abs(x[middle] - found.x_at[column]) <= wide + 1e-9 and abs(y[middle] - found.y_at[row]) <= high + 1e-9
    assert np.isnan(found.value[found.count == 0]).all()


def test_the_fee_floor_is_where_a_round_trip_pays_nothing() -> None:
    """Twice the maker fee; hidden trials are in neither figure, and the front never holds them."""
    fee = 2 * float(gk.Config(grid=GRID).execution.maker_fee_bps)
    spacing = tuned().column("spacing_bps")
    np.testing.assert_array_equal(tuned().inside_floor, spacing <= fee)
    shown = view.points(tuned(), TunerState(), None, tried(), ())
    assert np.isnan(shown.values[1][tuned().inside_floor[shown.rows]]).all()
    assert shown.hidden == int(tuned().inside_floor.sum()) > 0
    assert not tuned().inside_floor[list(shown.front)].any()


@pytest.mark.parametrize(
    ("x", "y"), [("inventory_p95", "net_per_hour"), ("fills", "net_per_hour"), ("net_per_hour", "drawdown")]
)
def test_no_trial_beats_the_front(x: str, y: str) -> None:
    """Whatever is better along an axis, nobody is better in both than a trial of the front."""
    state = TunerState.of({"x": x, "y": y, "hide_floor": False})
    found = view.points(tuned(), state, None, tried(), ())
    good = [tuned().column(name) * (1 if METRICS[name].more else -1) for name in (x, y)]
    for at in found.front:
        assert not ((good[0] > good[0][at]) & (good[1] > good[1][at])).any()
    assert (np.diff(found.line[0]) >= 0).all() and len(found.line[0]) == len(found.front) > 1


def test_pins_add_up_and_are_compared_block_by_block() -> None:
    """The parts are the change of equity, exactly; against itself a pin is not distinguishable; a step-by-step run has the same curve."""
    part = study().part("test")
    runs = [view.run(part, tried(spacing_bps=spacing).config) for spacing in (9.3, 9.3, 14.2)]
    for one in runs:
        assert sum(one.parts.values()) == one.equity
        assert one.net[-1] == pytest.approx(float(one.equity))
    found = view.compared(tuned(), ("A", "B", "C"), runs)
    same, other = found.less_first[1:]
    assert same is not None and same.per_hour == 0 and not same.distinguishable
    less = (runs[2].blocks - runs[0].blocks).mean() * 3600 / study().about.block_s
    assert other is not None and other.per_hour == pytest.approx(less)
    slow = replay(part.market, tried(spacing_bps=14.2).config)
    assert runs[2].net == pytest.approx(slow.equity["equity"].cast(float).to_numpy())


# --- figures and words -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", [LIGHT, DARK])
@pytest.mark.parametrize(
    "state",
    [{}, {"show": TRAIN}, {"show": DIFFERENCE, "x": "levels"}, {"y": "drawdown", "colour": "fees"}, {"map_x": "levels", "rule": "none"},
     {"rule": "plateau", "hide_floor": False}, {"map_y": "spacing_bps"}],
)  # fmt: skip
def test_figures_are_valid_and_always_have_the_same_traces(state: dict[str, Any], theme: Palette) -> None:
    """Plotly accepts each, axes are labelled, and only values differ between them: a live figure is told only these."""
    pin = tried(levels=4)
    for first, spec in zip(drawn(), drawn(theme, (pin, tried(levels=5)), **state), strict=True):
        go.Figure(spec)
        changes(first, spec)
        assert [trace["type"] for trace in spec["data"]] == [trace["type"] for trace in first["data"]]
        assert spec["layout"]["xaxis"]["title"]["text"]


def test_the_first_trace_can_be_clicked() -> None:
    """Marks of the front are the trials in their order; marks of the map stand in the middle of each cell that has one."""
    state = TunerState()
    now = tried()
    front, cells = view.points(tuned(), state, None, now, ()), view.heat_map(tuned(), state, None, now)
    spec = figures.front(front)["data"][0]
    assert len(spec["x"]) == len(front.rows) == len(spec["text"])
    assert spec["text"][2].startswith(f"trial {study().complete[front.rows[2]].number}: ")
    marks = figures.heat_map(cells)["data"][0]
    assert marks["marker"]["color"] == "rgba(0,0,0,0)" and len(marks["x"]) == int((cells.middle >= 0).sum())
    assert f"click: trial {study().complete[cells.middle[cells.middle >= 0][1]].number}" in marks["text"][1]


def test_a_space_of_one_parameter_has_a_map_of_one_row() -> None:
    """And choices stand along an axis by their words."""
    space = gk.Space(**{"execution.queue": ["power", "optimistic"], "spacing_bps": (6, 12, 2)})
    of_choice = gk.tune(market(), GRID, space, design="grid", progress=False)
    one = view.Tuned(of_choice)
    now = view.WhatIf(one).run(one.values(of_choice.best.trial))
    state = TunerState()
    found = view.heat_map(one, state, view.picked(one, "lower_bound"), now)
    assert found.x.choices and figures.heat_map(found)["layout"]["xaxis"]["ticktext"] == ["power", "optimistic"]
    narrow = view.Tuned(gk.tune(market(), GRID, gk.Space(spacing_bps=(6, 20, 2)), progress=False, design="grid"))
    lone = view.heat_map(narrow, state, None, view.WhatIf(narrow).run(narrow.values(narrow.study.best.trial)))
    assert lone.y is None and lone.value.shape == (1, 8)
    go.Figure(figures.heat_map(lone))


def test_pins_are_filled_for_test_and_hollow_for_train() -> None:
    """Joined in pairs, with a letter; what is no trial has no train part."""
    trial = study().complete[3]
    pin = view.WhatIf(tuned()).known(tuned().values(trial))
    assert pin is not None and trial.test is not None and trial.train is not None
    joined, letters = drawn(pins=(pin, tried(spacing_bps=9.3)))[0]["data"][2:4]
    assert joined["y"][:2] == pytest.approx([trial.test.net_per_hour, trial.train.net_per_hour], rel=1e-6)
    assert joined["marker"]["symbol"][:2] == ["circle", "circle-open"] and np.isnan(joined["y"][4])
    assert letters["text"] == ["A", "B"]


def test_words_say_what_is_luck() -> None:
    """Beside the pick stand its train part, what is left after the search, and whether it stands alone."""
    found = view.picked(tuned(), "lower_bound")
    assert found is not None and found.luck is not None
    shown = {one.name: one for one in words.picked(found, study())}
    assert f"trial {found.pick.trial.number}" in shown["pick: best lower bound"].note
    assert "luck looks as good in" in shown["after the search of 80"].note
    assert shown["around it"].value in ("fragile", "plateau", "alone")
    assert words.picked(None, study())[0].value == "–"
    near = view.WhatIf(tuned()).nearest(tuned().values(study().best.trial) | {"spacing_bps": 9.3})
    assert all(one.value.startswith("~") for one in words.what_if(near, study()))
    assert "nearest trial" in words.what_if(near, study())[0].name


def test_what_a_figure_sends_is_small() -> None:
    """The first drawing of both within 512 KB, as text and as bytes."""
    size = sum(len(json.dumps(spec, default=lambda array: array.tolist())) for spec in drawn())
    assert size < 512 * 1024
