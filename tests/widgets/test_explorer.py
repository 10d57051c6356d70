"""FillExplorer: its controls move what they name, it sends little, draws nothing that is hidden, and keeps what was good."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from ipywidgets.widgets.widget import _instances

import grinder_kit as gk
from grinder_kit.errors import ConfigError, DataError
from grinder_kit.fillprob.first_passage import FirstPassageModel
from grinder_kit.fillprob.heuristic_model import HeuristicModel
from grinder_kit.fillprob.queue_band import fit_queues
from grinder_widgets import explorer_data as data_module
from grinder_widgets import explorer_words as words
from grinder_widgets import fill_explorer as module
from grinder_widgets.explorer_state import TABS, ExplorerState
from grinder_widgets.fill_explorer import FillExplorer
from tests.widgets.explorers import fitted, parts
from tests.widgets.messages import note_messages, text_within

UPDATE, FIRST = 64 * 1024, 512 * 1024


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """Close what a test leaves open; after that no widget of an explorer lives on."""
    before = set(_instances)
    yield
    for explorer in list(module._VIEWS.values()):
        explorer.close()
    assert set(_instances) <= before


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, dict[str, Any]]]:
    """Return what is sent to a browser that is not there: bytes and state of each message."""
    messages: list[tuple[int, dict[str, Any]]] = []

    note_messages(monkeypatch, lambda _, size, state: messages.append((size, state)))
    return messages


def opened(data: Any = None, model: Any = None, **state: Any) -> FillExplorer:
    """Return an explorer."""
    return FillExplorer(model or fitted(), data or parts()[1], state=state)


def text_of(explorer: FillExplorer) -> str:
    """Return all that the explorer says in HTML, as text."""
    return text_within(explorer.widget)


def number(explorer: FillExplorer) -> str:
    """Return the probability in the header."""
    return explorer._numbers.value.split("<b>")[1].split("</b>")[0]


# --- what it shows ----------------------------------------------------------------------------------------------------


def test_header_says_what_is_shown() -> None:
    """Instrument, part, time with its zone, model and whose data; the numbers with their intervals; the value with its reason."""
    text = text_of(opened())
    assert "SYNTH-USDT · test part 00:04:" in text and "UTC · model first passage (own data)" in text
    assert "<span>P(fill)</span><b>." in text and "<span>n " in text
    assert re.search(r"<span>EV</span><b>[+−]?\d+\.\d \[[+−\d., ]+\] bps</b>", text)
    assert "EV: P(fill) × (markout − maker fee of 2 bps)" in text
    own = text_of(opened(data=parts()[0]))
    assert "<span>EV</span><b>–</b><span>no later data to take the markout from" in own and "EV: P(fill)" not in own
    assert "never fitted" in text_of(opened(model=FirstPassageModel()))


def test_every_control_moves_the_state_and_what_it_names() -> None:
    """A control sets its field; where the model heeds it, the probability in the header follows."""
    explorer = opened()
    for control, value, name, heeded in (
        (explorer.controls.distance, 5.0, "distance_bps", True),
        (explorer.controls.horizon, 60.0, "horizon_s", True),
        (explorer.controls.sigma, 2.5, "sigma", True),
        (explorer.controls.imb_own, 0.5, "imb_own", True),
        (explorer.controls.queue_s, 3.0, "queue_s", False),
        (explorer.controls.ofi_z, -2.0, "ofi_z", False),
        (explorer.controls.side, "sell", "side", False),
    ):
        before = number(explorer)
        control.value = value
        assert getattr(explorer.state, name) == value
        assert (number(explorer) != before) == heeded, name
    explorer.controls.distance.value = 0.0
    before = number(explorer)
    explorer.controls.queue_s.value = 0.02
    assert number(explorer) != before, "at the touch the queue acts"
    explorer.controls.layers["heuristic"].value = False
    assert explorer.state.layers == ("model", "observed")
    explorer.controls.queue.value = "optimistic"
    explorer.controls.table.value = True
    assert (explorer.state.queue, explorer.state.table) == ("optimistic", True)


def test_a_slider_in_motion_is_not_sent_back(sent: list[tuple[int, dict[str, Any]]]) -> None:
    """The state holds four digits of what a slider says; a slider that was sent these would jump under the hand."""
    explorer = opened()
    sent.clear()
    explorer.controls.sigma.set_state({"value": 1.2589254117941673})
    assert explorer.state.sigma == 1.259 and explorer.controls.sigma.value == 1.2589254117941673
    assert 1.259 not in [state.get("value") for _, state in sent]


def test_reset_brings_the_medians_back() -> None:
    """Volatility, queue, imbalance and order flow; the order itself stays."""
    explorer = opened(sigma=5.0, queue_s=30.0, imb_own=0.4, ofi_z=2.0, distance_bps=4.0)
    explorer.reset.click()
    assert explorer.state == ExplorerState(distance_bps=4.0)
    evidence = explorer._data.evidence(explorer.state)
    assert evidence is not None
    assert (explorer.controls.sigma.value, explorer.controls.queue_s.value) == (evidence.sigma, evidence.queue_s)


def test_ignored_sliders_say_so() -> None:
    """Beside the slider, and gone where it acts."""
    explorer = opened()
    assert "acts only at the touch" in explorer.controls.notes["queue_s"].value
    assert "moves only the heuristic" in explorer.controls.notes["ofi_z"].value
    explorer.controls.distance.value = 0.0
    assert "acts only" not in explorer.controls.notes["queue_s"].value
    assert "at the touch" in explorer.controls.notes["distance_bps"].value


def test_hidden_tabs_draw_nothing() -> None:
    """A figure is made when its tab is first looked at, and moves only while it is seen."""
    explorer = opened()
    assert [title for title in TABS if explorer.tabs.live[title].figure is not None] == ["Curve"]
    explorer.tabs.box.selected_index = TABS.index("Map")
    curve = explorer.tabs.live["Curve"]._spec
    explorer.controls.distance.value = 7.0
    assert explorer.tabs.live["Curve"]._spec is curve
    explorer.tabs.box.selected_index = 0
    assert explorer.tabs.live["Curve"]._spec["data"][-1]["x"] == 7.0
    assert explorer.tabs.live["Time"].figure is None


def test_calibration_is_scored_once_and_only_on_what_is_unseen() -> None:
    """It comes from a thread, with the scores of all models; on the training's own data it is not shown."""
    explorer = opened(tab="Calibration")
    explorer.settle(60)
    assert "log loss, 10 s" in text_of(explorer) and "kaplan meier" in text_of(explorer)
    scores = explorer._data._scores["power"]
    explorer.controls.horizon.value = 60.0
    assert explorer._data._scores["power"] is scores and "log loss, 60 s" in text_of(explorer)
    own = opened(data=parts()[0], tab="Calibration")
    assert own.tabs.live["Calibration"]._spec["layout"]["annotations"][0]["text"] == words.OWN_DATA
    assert "its own training data" in text_of(own) and not own._data._scores


def test_several_models_share_an_explorer() -> None:
    """The first is shown, another is chosen; scores hold all; a name that is none is refused."""
    models = {"single": fitted(), "band": fit_queues(parts()[0]), "steps": HeuristicModel()}
    explorer = opened(model=models, tab="Calibration")
    explorer.settle(60)
    assert "model single" in text_of(explorer)
    for name in models:
        explorer.controls.model.value = name
        assert f"model {name}" in text_of(explorer) and explorer._errors["view"].layout.display == "none"
    assert all(f">{name}<" in explorer.tabs.below["Calibration"].value for name in models)
    with pytest.raises(ConfigError, match='there is no model "other"; there are single, band, steps'):
        FillExplorer(models, parts()[1], state={"model": "other"})


def test_table_stands_below_the_figure() -> None:
    """Off it is empty, on it has the numbers of the tab that is seen."""
    explorer = opened()
    assert explorer.tabs.rows["Curve"].value == ""
    explorer.controls.table.value = True
    assert "queue model, at the touch" in explorer.tabs.rows["Curve"].value and explorer.tabs.rows["Map"].value == ""


# --- states -----------------------------------------------------------------------------------------------------------


def test_empty_says_what_is_missing_and_how_to_get_it() -> None:
    """The question, what lacks, and lines that supply it; nothing can be moved."""
    for explorer, lacks in (
        (FillExplorer(), "a fitted model and labels of a market"),
        (FillExplorer(fitted()), "labels of a market"),
    ):
        text = text_of(explorer)
        assert words.QUESTION in text and f"Missing: {lacks}." in text and "labels.split(0.6)" in text
        assert explorer._body.layout.display == "none" and explorer.controls.distance.disabled
        explorer.close()
    with pytest.raises(ConfigError, match="the data are a str"):
        FillExplorer(fitted(), "btc.parquet")  # type: ignore[arg-type]


def test_labels_hold_only_what_they_were_made_with() -> None:
    """Without the market, size and latency stand still and say why; a state that asks for others is refused."""
    explorer = opened()
    assert (
        explorer.controls.size.disabled and explorer.controls.latency.disabled and words.NO_MARKET in text_of(explorer)
    )
    assert explorer.of_labels.titles[0] == "Labels: size 120 USDT · latency 0 ms · queue power 2"
    for state in ({"size_quote": 1000}, {"latency_ms": 35}):
        with pytest.raises(ConfigError, match="pass the market instead"):
            opened(**state)


def test_a_market_is_labelled_and_labelled_again() -> None:
    """Another size or latency is another label set; the other of the two stays as it was set."""
    explorer = FillExplorer(fitted(), gk.synthetic_market(seed=7, minutes=6))
    explorer.settle(60)
    assert explorer._data.labels is not None and not explorer.controls.distance.disabled
    explorer.controls.size.value = explorer.controls.size.options[2][1]
    explorer.settle(60)
    assert str(explorer._data.labels.options.sizes_quote[0]) == "10000" and explorer.state.size_quote == 10_000
    assert "Labels: size 10000 USDT" in explorer.of_labels.titles[0]
    assert explorer._work.box.layout.display == "none"
    explorer.controls.latency.value = 35.0
    explorer.settle(60)
    assert explorer._data.labels.options.latency_ms == 35.0 and explorer._data.labels.options.sizes_quote[0] == 10_000


def test_a_failed_or_cancelled_computation_keeps_what_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels, state and figure are those before; the cause stands beside the field, with details to copy."""
    explorer = FillExplorer(fitted(), gk.synthetic_market(seed=7, minutes=6))
    explorer.settle(60)
    labels, spec = explorer._data.labels, explorer.tabs.live["Curve"]._spec

    def fail(*args: Any, **options: Any) -> Any:
        raise DataError("the file is gone; put it back")

    monkeypatch.setattr(data_module, "label", fail)
    explorer.controls.size.value = explorer.controls.size.options[1][1]
    explorer.settle(60)
    assert explorer._data.labels is labels and explorer.tabs.live["Curve"]._spec["data"][1]["y"] is not None
    assert explorer.state.size_quote == explorer.controls.size.value == 120
    text = text_of(explorer)
    assert "the file is gone; put it back" in text and "The figure is the last good one." in text
    assert (explorer._errors["labels"].layout.display, explorer._errors["view"].layout.display) == ("flex", "none")
    explorer.copy_details.click()
    assert "DataError" in explorer.beacon.copied["text"]
    begun, go_on = threading.Event(), threading.Event()

    def wait(*args: Any, progress: Any, **options: Any) -> Any:
        begun.set()
        go_on.wait(60)
        progress(1)  # this is where it learns that nobody waits any more

    monkeypatch.setattr(data_module, "label", wait)
    explorer.controls.size.value = explorer.controls.size.options[1][1]
    assert begun.wait(60) and explorer._work.box.layout.display == "flex"
    assert "Computing labels for size 1000 USDT" in text_of(explorer)
    explorer._work.cancel.click()
    go_on.set()
    explorer.settle(60)
    assert (
        explorer._data.labels is labels
        and explorer.state.size_quote == 120
        and explorer._work.box.layout.display == "none"
    )
    assert explorer.tabs.live["Curve"]._spec["data"][5]["y"] == pytest.approx(spec["data"][5]["y"], nan_ok=True)


def test_a_view_that_fails_says_so_and_recovers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A model that raises takes neither figure nor controls away; the next good answer clears the message."""
    explorer = opened()
    spec = explorer.tabs.live["Curve"]._spec
    with monkeypatch.context() as patch:
        patch.setattr(module.view, "answer", lambda *args: 1 / 0)
        explorer.controls.distance.value = 9.0
        assert explorer.tabs.live["Curve"]._spec is spec and "ZeroDivisionError" in text_of(explorer)
        assert explorer._errors["view"].layout.display == "flex" and not explorer.controls.distance.disabled
    assert "view failed" in caplog.text
    explorer.controls.distance.value = 8.0
    assert explorer._errors["view"].layout.display == "none" and explorer.tabs.live["Curve"]._spec is not spec


# --- what it costs ----------------------------------------------------------------------------------------------------


def test_what_is_sent_is_small(sent: list[tuple[int, dict[str, Any]]]) -> None:
    """The first drawing and every move of every slider on every tab stay within their budgets."""
    explorer = opened()
    assert sum(size for size, _ in sent) < FIRST
    for tab in TABS:
        explorer.tabs.box.selected_index = TABS.index(tab)
        explorer.settle(60)
        for control, values in (
            (explorer.controls.distance, (0.0, 1.0, 30.0)),
            (explorer.controls.sigma, (0.5, 1.5, 3.0)),
            (explorer.controls.horizon, (1.0, 60.0)),
            (explorer.controls.queue_s, (0.1, 10.0)),
        ):
            for value in values:
                sent.clear()
                control.value = value
                assert sum(size for size, _ in sent) < UPDATE, (tab, value)


def test_a_slider_that_changes_nothing_sends_no_figure(sent: list[tuple[int, dict[str, Any]]]) -> None:
    """Where neither model nor labels heed it, the traces stay where they are."""
    explorer = opened(tab="Map")
    sent.clear()
    explorer.controls.ofi_z.value = 0.5
    assert not [state for _, state in sent if "_py2js_update" in state]


# --- state and life ---------------------------------------------------------------------------------------------------


def test_state_restores() -> None:
    """What one explorer has been set to, another begins with: controls and figure."""
    first = opened()
    first.controls.distance.value, first.controls.horizon.value, first.controls.sigma.value = 12.0, 30.0, 3.0
    first.controls.side.value, first.controls.queue.value = "sell", "risk_averse"
    first.tabs.box.selected_index = TABS.index("Time")
    state, spec = first.state, first.tabs.live["Time"]._spec
    second = FillExplorer(fitted(), parts()[1], state=state)
    assert (
        second.state == state
        and second.controls.distance.value == 12.0
        and second.tabs.box.selected_index == TABS.index("Time")
    )
    assert second.tabs.live["Time"]._spec["layout"]["title"] == spec["layout"]["title"]
    with pytest.raises(ConfigError, match="an explorer has no 'spacing'"):
        opened(spacing=3)


def test_copied_lines_show_the_same_again() -> None:
    """The lines run as they are, and what they show has the same numbers."""
    explorer = opened(distance_bps=3.5, imb_own=0.2, layers=("model",))
    explorer.copy.click()
    lines = explorer.beacon.copied["text"]
    assert "# market: synthetic market, seed 7" in lines and "labels.split(0.6)" in lines
    *body, last = lines.splitlines()
    names: dict[str, Any] = {}
    exec("\n".join([*body, f"again = {last}"]), names)
    again = names["again"]
    assert again.state == explorer.state and again._numbers.value == explorer._numbers.value
    assert again._header.value == explorer._header.value


def test_a_second_explorer_of_the_same_closes_the_first() -> None:
    """As when a cell is run again; a closed one says so and moves no more."""
    first = opened()
    second = opened()
    assert repr(first) == "FillExplorer(first_passage, closed)" and repr(second) == "FillExplorer(first_passage)"
    first.refresh()
    second.close()
    second.close()


def test_it_shows_itself_last_in_a_cell() -> None:
    """Jupyter is given the widget."""
    explorer = opened()
    assert "application/vnd.jupyter.widget-view+json" in explorer._repr_mimebundle_()


def test_theme_follows_the_page() -> None:
    """Dark pages get the dark palette, in the style and in the figure."""
    explorer = opened()
    light = explorer.tabs.live["Curve"]._spec["layout"]["template"]
    explorer.beacon.theme = "dark"
    assert explorer.tabs.live["Curve"]._spec["layout"]["template"] != light and "#111111" in explorer._style.value
