"""GridTuner: its controls replay the market, marks and ranks select, pins are compared, what is exported is what was tried."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ipywidgets.widgets.widget import _instances

import grinder_kit as gk
from grinder_kit.errors import ConfigError, DataError
from grinder_kit.model.config_file import load_config
from grinder_kit.simulation.replay import replay
from grinder_widgets import grid_tuner as module
from grinder_widgets import tuner_process as process_module
from grinder_widgets import tuner_view as view
from grinder_widgets import tuner_words as words
from grinder_widgets.grid_tuner import GridTuner
from grinder_widgets.session_figures import changes
from grinder_widgets.tuner_process import StudyProcess
from tests.session.conftest import until
from tests.widgets.messages import note_messages, text_within
from tests.widgets.tuners import GRID, SPACE, market, study

UPDATE, FIRST = 64 * 1024, 512 * 1024


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """Close what a test leaves open; after that no widget of a tuner lives on."""
    before = set(_instances)
    yield
    for tuner in list(module._VIEWS.values()):
        tuner.close()
    assert set(_instances) <= before


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the bytes of each message to a browser that is not there."""
    sizes: list[int] = []

    note_messages(monkeypatch, lambda _, size, state: sizes.append(size))
    return sizes


def opened(**state: Any) -> GridTuner:
    """Return a tuner that has read the market, so that every pass is fast."""
    tuner = GridTuner(study(), state=state)
    tuner._what_if.run(tuner._all(()))
    tuner._what_if._took_s = 0.0  # a machine under load must not decide which way a test takes
    return tuner


def text_of(tuner: GridTuner) -> str:
    """Return all that the tuner says in HTML, as text."""
    return text_within(tuner.widget)


def mark(tuner: GridTuner) -> tuple[float, float]:
    """Return where what is tried stands in the front."""
    trace = tuner.front._spec["data"][-1]
    return float(trace["x"][0]), float(trace["y"][0])


def controls(tuner: GridTuner) -> Any:
    """Return the controls of a tuner that has a study."""
    assert tuner.controls is not None
    return tuner.controls


# --- what it shows -----------------------------------------------------------------------------------------------------


def test_it_opens_at_the_pick() -> None:
    """The configuration is the pick's; header, luck and warnings stand beside it; nothing had to be run."""
    tuner = GridTuner(study())
    assert tuner.config == study().best.config and not tuner._trying.running
    text = text_of(tuner)
    assert "SYNTH-USDT · 80 trials · trained on the first 60 %, judged on 00:03:" in text
    assert "after the search of 80" in text and "net/h, train" in text
    assert all(warning in text for warning in study().warnings)
    assert "application/vnd.jupyter.widget-view+json" in tuner._repr_mimebundle_()


def test_a_slider_replays_the_market_while_it_moves() -> None:
    """Each value between the trials is a pass of the kernel: marks, numbers and configuration are those of a replay."""
    tuner = opened()
    slider = controls(tuner).what_if["spacing_bps"]
    for value in (9.3, 9.4, 14.2):
        slider.value = value
        assert float(tuner.config.grid.spacing_bps or 0) == value
        result = replay(study().part("test").market, tuner.config)
        assert tuner._now is not None and tuner._now.outcome.net == result.summary["equity"]
        assert mark(tuner)[1] == pytest.approx(tuner._now.outcome.net_per_hour, rel=1e-6)
    assert "what if: net/h, test" in tuner._tried_line.value
    tuner.back.click()
    assert tuner.config == study().best.config and slider.value == float(study().best.config.grid.spacing_bps or 0)


def test_a_long_pass_waits_until_the_slider_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it has been computed the nearest trial stands there, marked; of several values only the last is run."""
    tuner = opened()
    tuner._what_if._took_s = 10.0
    run, ran = tuner._what_if.run, []
    monkeypatch.setattr(tuner._what_if, "run", lambda whole: (ran.append(whole["spacing_bps"]), run(whole))[1])
    for value in (9.3, 9.4, 9.6):
        controls(tuner).what_if["spacing_bps"].value = value
    assert tuner._now is not None and tuner._now.instead is not None and "<b>~" in tuner._tried_line.value
    assert "Computing for spacing, bps 9.6" in text_of(tuner)
    tuner.settle(30)
    assert ran == [9.6] and tuner._now.instead is None and "<b>~" not in tuner._tried_line.value


def test_every_control_moves_the_state_and_what_it_names() -> None:
    """A control sets its field, and the figures follow."""
    tuner = opened()
    for name, value in (
        ("x", "drawdown"), ("y", "fees"), ("colour", "fills"), ("map_x", "levels"), ("map_y", "levels"), ("show", "train"),
        ("hide_floor", False), ("table", True),
    ):  # fmt: skip
        before, rows = (tuner.front._spec, tuner.map._spec), tuner._rows["front"].value
        getattr(controls(tuner), name).value = value
        assert getattr(tuner.state, name) == value
        moved = [changes(old, new) for old, new in zip(before, (tuner.front._spec, tuner.map._spec), strict=True)]
        assert any(moved) or tuner._rows["front"].value != rows, name
        assert tuner._errors["view"].layout.display == "none"
    controls(tuner).rule.value = "knee"
    knee = study().pick("knee")
    assert knee is not None and tuner.config == knee.config
    controls(tuner).rule.value = "none"
    assert tuner.config == study().best.config and "the rule is none" in text_of(tuner)


def test_marks_and_ranks_select_a_trial() -> None:
    """A click on either figure and the picker set the sliders; the picker stands at the rank of what is tried."""
    tuner = opened()
    tuner._clicked_front(3)
    trial = study().complete[tuner._front_view.rows[3]]
    assert tuner.config == trial.config and controls(tuner).what_if["levels"].value == trial.parameters["levels"]
    tuner._clicked_map(2)
    middle = tuner._map_view.middle
    assert tuner.config == study().complete[middle[middle >= 0][2]].config
    lower = study().score(tuner._by_rank[1]).low, study().score(tuner._by_rank[0]).low
    assert lower[0] is not None and lower[1] is not None and lower[0] <= lower[1]
    controls(tuner).rank.value = 2
    assert tuner.config == tuner._by_rank[1].config
    controls(tuner).what_if["spacing_bps"].value = 9.3
    assert controls(tuner).rank.value == 0, "no trial"
    tuner.back.click()
    assert controls(tuner).rank.value == 1


def test_pins_are_kept_and_compared() -> None:
    """Up to four, each taken away by its button; their parts add up in the table, and none is compared with nothing."""
    tuner = opened(compare=True)
    assert tuner.compared._spec["layout"]["annotations"][0]["text"] == "nothing is pinned: press Pin"
    for levels in (2, 3, 4, 5):
        controls(tuner).what_if["levels"].value = levels
        controls(tuner).pin.click()
    controls(tuner).pin.click()
    assert len(tuner.state.pins) == 4 and controls(tuner).pin.disabled
    tuner.settle(30)
    assert "grid + trend + fees + funding is net, exactly" in text_of(tuner)
    assert [trace["visible"] for trace in tuner.compared._spec["data"][:8]] == [True] * 8
    controls(tuner).pins_box.children[0].click()
    assert [dict(pin)["levels"] for pin in tuner.state.pins] == [3, 4, 5] and not controls(tuner).pin.disabled
    assert [child.description[:1] for child in controls(tuner).pins_box.children] == ["A", "B", "C"]


def test_a_pin_stays_what_it_was() -> None:
    """Whatever is tried after it, its mark stands where its own numbers are; one that cannot be run at once says so."""
    tuner = opened()
    controls(tuner).what_if["spacing_bps"].value = 9.3
    at = mark(tuner)
    controls(tuner).pin.click()
    for value in (9.4, 14.2, 9.6):
        controls(tuner).what_if["spacing_bps"].value = value
    joined, letters = tuner.front._spec["data"][2:4]
    assert (joined["x"][0], joined["y"][0]) == at and letters["text"] == ["A"]
    pin = tuner.state.pins
    restored = GridTuner(study(), state={"pins": pin})
    assert restored.front._spec["data"][3]["text"] == ["~A"]


# --- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "message"), [("0.00001", "off the lot of 0.001"), ("abc", "which is no number"), ("", "no number")]
)
def test_a_size_that_does_not_fit_is_refused_beside_its_field(size: str, message: str) -> None:
    """The message says what to write; figures and configuration stay, and the next good value clears it."""
    tuner = opened()
    config, spec = tuner.config, tuner.front._spec
    controls(tuner).what_if["size"].value = size
    assert message in text_of(tuner) and tuner._errors["what_if"].layout.display == "flex"
    assert tuner.config == config and tuner.front._spec is spec
    tuner.copy_details["what_if"].click()
    assert "ConfigError" in tuner.beacon.copied["text"]
    controls(tuner).what_if["size"].value = "0.003"
    assert tuner._errors["what_if"].layout.display == "none" and str(tuner.config.grid.size) == "0.003"


def test_what_fails_while_it_is_computed_goes_back_to_what_was_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cause stands beside the sliders, and those stand where the last known numbers are."""
    tuner = opened()
    controls(tuner).what_if["spacing_bps"].value = 9.3
    tuner._what_if._took_s = 10.0

    def fail(whole: Any) -> Any:
        raise DataError("the file is gone; put it back")

    monkeypatch.setattr(tuner._what_if, "run", fail)
    controls(tuner).what_if["spacing_bps"].value = 14.2
    tuner.settle(30)
    assert "the file is gone; put it back" in text_of(tuner) and tuner._errors["what_if"].layout.display == "flex"
    assert dict(tuner.state.what_if) == {"spacing_bps": 9.3} and controls(tuner).what_if["spacing_bps"].value == 9.3
    assert tuner._now is not None and tuner._now.instead is None and not tuner._trying.running


def test_empty_says_what_is_missing_and_how_to_get_it() -> None:
    """The question and the lines that supply it; there is no configuration; what is no study is refused."""
    tuner = GridTuner()
    assert (
        words.QUESTION in text_of(tuner)
        and "Missing: a study." in text_of(tuner)
        and "gk.tune(market" in text_of(tuner)
    )
    assert tuner._body.layout.display == "none" and repr(tuner) == "GridTuner(no study)"
    with pytest.raises(DataError, match="there is no study yet"):
        _ = tuner.config
    with pytest.raises(ConfigError, match="the study is a int"):
        GridTuner(3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="pass the market that .*some.study was made on"):
        GridTuner("some.study")
    with pytest.raises(ConfigError, match="there is no 'speed'"):
        GridTuner(study(), state={"x": "speed"})


def test_a_view_that_fails_says_so_and_recovers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither figure nor controls go away; the next good drawing clears the message."""
    tuner = opened()
    spec = tuner.front._spec
    with monkeypatch.context() as patch:
        patch.setattr(module.view, "points", lambda *args: 1 / 0)
        controls(tuner).x.value = "fees"
        assert tuner.front._spec is spec and "ZeroDivisionError" in text_of(tuner)
    controls(tuner).x.value = "drawdown"
    assert tuner._errors["view"].layout.display == "none" and "view failed" in caplog.text


# --- export, state, life -----------------------------------------------------------------------------------------------


def test_export_writes_what_is_tried(tmp_path: Path) -> None:
    """The file has the configuration and the digest of its replay on the test part; another is not replaced unasked."""
    tuner = opened()
    controls(tuner).what_if["spacing_bps"].value = 9.3
    path = tmp_path / "deploy" / "btc.toml"
    tuner.path.value = str(path)
    tuner.export.click()
    tuner.settle(60)
    written = load_config(path)
    assert written.grid == tuner.config.grid
    assert written.provenance.digest == replay(study().part("test").market, tuner.config).digest
    assert "tried by hand, after a study of 80 trials, seed 0" in (written.provenance.note or "")
    text = text_of(tuner)
    assert (
        f"grinder run {path}" in text
        and written.provenance.digest in text
        and (written.provenance.window_utc or "?") in text
    )
    controls(tuner).what_if["spacing_bps"].value = 9.4
    tuner.export.click()
    tuner.settle(60)
    assert "holds another configuration" in text_of(tuner) and tuner._errors["export"].layout.display == "flex"
    tuner.overwrite.value = True
    tuner.export.click()
    tuner.settle(60)
    assert load_config(path).grid == tuner.config.grid and tuner._errors["export"].layout.display == "none"


def test_the_pick_is_exported_as_the_study_has_it(tmp_path: Path) -> None:
    """With its score and note, as `gk.export(study.best, ...)` would."""
    tuner = opened()
    assert (
        view.chosen(tuner._tuned, tuner._now, tuner._picked_by("lower_bound")) is tuner._picked_by("lower_bound").pick
    )  # type: ignore[arg-type,union-attr]


def test_state_restores() -> None:
    """What one tuner has been set to, another begins with: controls, configuration and pins."""
    first = opened()
    controls(first).what_if["spacing_bps"].value, controls(first).x.value = 9.3, "drawdown"
    controls(first).pin.click()
    controls(first).show.value = "train"
    state, config = first.state, first.config
    second = GridTuner(study(), state=state.changed())
    second.settle(30)
    assert second.state == state and second.config == config and controls(second).what_if["spacing_bps"].value == 9.3
    assert repr(first) == "GridTuner(80 trials, closed)" and repr(second) == "GridTuner(80 trials)"


def test_copied_lines_show_the_same_again() -> None:
    """The lines run as they are, and what they show has the same numbers."""
    tuner = opened()
    controls(tuner).what_if["spacing_bps"].value = 9.3
    tuner.copy.click()
    lines = tuner.beacon.copied["text"]
    assert f"# sha256: {study().about.recording}" in lines and "open_market('synthetic seed=7 minutes=6')" in lines
    *body, last = lines.replace("prune=False)", "prune=False, progress=False)").splitlines()
    names: dict[str, Any] = {}
    exec("\n".join([*body, f"again = {last}"]), names)
    again = names["again"]
    again.settle(30)
    assert again.state == tuner.state and again._tried_line.value == tuner._tried_line.value
    assert again._picked.value == tuner._picked.value


def test_what_is_sent_is_small(sent: list[int]) -> None:
    """The first drawing and every move of a slider stay within their budgets; closed it moves no more."""
    tuner = opened()
    assert sum(sent) < FIRST
    for value in (9.3, 20.1):
        sent.clear()
        controls(tuner).what_if["spacing_bps"].value = value
        assert 0 < sum(sent) < UPDATE
    for name, value in (("show", "train"), ("x", "fees"), ("y", "drawdown")):
        sent.clear()
        getattr(controls(tuner), name).value = value
        assert sum(sent) < UPDATE, name
    tuner.close()
    sent.clear()
    tuner.refresh()
    assert not sent


def test_theme_follows_the_page() -> None:
    """Dark pages get the dark palette, in the style and in the figures."""
    tuner = opened()
    tuner.beacon.theme = "dark"
    assert (
        "#111111" in tuner._style.value
        and tuner.front._spec["layout"]["template"]["layout"]["paper_bgcolor"] == "#111111"
    )


# --- a study in a process of its own -----------------------------------------------------------------------------------


def test_a_study_in_a_process_of_its_own_is_the_same(tmp_path: Path) -> None:
    """It has a session of its own, a second tuner finds it by its file, and what comes of it is what this process finds."""
    storage = tmp_path / "deep" / "a.study"
    tuner = GridTuner.run(market(), GRID, SPACE, storage=storage, trials=80, design="random")
    assert tuner._studying.running and "is kept in a.study" in text_of(tuner)
    told = until(lambda: StudyProcess(storage).progress())
    assert os.getsid(told.pid) == told.pid != os.getsid(0)
    handle = process_module._STARTED.pop(storage)  # as in a kernel that was restarted
    second = GridTuner(storage, market())
    assert repr(tuner).endswith("closed)")
    second.settle(60)
    handle.wait()
    assert second.study is not None and second.study.trials == study().trials and second.config == study().best.config
    assert sorted(path.name for path in storage.parent.iterdir()) == ["a.study"]
    assert not StudyProcess(storage).running()


def test_a_study_is_cancelled_and_goes_on(tmp_path: Path) -> None:
    """Cancel ends it after the trials under way, with what is done on the page; the same call ends with what was asked."""
    storage = tmp_path / "a.study"
    wide = gk.Space(spacing_bps=(2, 30), levels=(2, 40))
    tuner = GridTuner.run(market(), GRID, wide, storage=storage, trials=4_000, design="random")
    until(lambda: (told := StudyProcess(storage).progress()) is not None and told.done > 0)
    until(lambda: re_found(text_of(tuner)))
    tuner._studying.cancel.click()
    tuner.settle(60)
    assert tuner.study is not None and tuner.study.interrupted and 0 < len(tuner.study.trials) < 4_000
    assert "of 4,000, stopped" in text_of(tuner) and not tuner._studying.running


def re_found(text: str) -> bool:
    """Whether a text tells how many trials are done."""
    return " trials of 4,000" in text and "best net" in text


def test_a_process_that_is_killed_is_told_and_found_again(tmp_path: Path) -> None:
    """A kernel that comes back says that it ended without a word, shows what is done, and the same call goes on."""
    storage = tmp_path / "a.study"
    wide = gk.Space(spacing_bps=(2, 30), levels=(2, 40))
    tuner = GridTuner.run(market(), GRID, wide, storage=storage, trials=4_000, design="random")
    told = until(lambda: (far := StudyProcess(storage).progress()) is not None and far.done > 0 and far)
    os.kill(told.pid, signal.SIGKILL)
    tuner.settle(60)
    assert "has ended without a word" in text_of(tuner) and tuner._errors["study"].layout.display == "flex"
    assert tuner.study is not None and 0 < len(tuner.study.trials) < 4_000
    again = GridTuner(storage, market())
    assert "goes on from its file" in text_of(again) and again.study is not None


def test_what_tune_refuses_is_said_in_the_tuner(tmp_path: Path) -> None:
    """Before any trial: another recording than the file's, more trials than combinations; what is in the file is still shown."""
    storage = tmp_path / "a.study"
    gk.tune(market(), GRID, SPACE, trials=8, design="random", storage=storage, progress=False)
    tuner = GridTuner.run(market(), GRID, SPACE, storage=storage, trials=10_000, design="random")
    tuner.settle(60)
    assert "trials is 10,000, and the space has 627 combinations" in text_of(tuner)
    assert tuner.study is not None and "The figures are the last good ones." in text_of(tuner)
    tuner.copy_details["study"].click()
    assert "ConfigError" in tuner.beacon.copied["text"]
    with pytest.raises(ConfigError, match="cannot go to another process .*define it in a module"):
        GridTuner.run(market(), GRID, SPACE, storage=storage, model=lambda: None)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="study was made on recording sha256"):
        GridTuner(storage, gk.synthetic_market(seed=8, minutes=6))
