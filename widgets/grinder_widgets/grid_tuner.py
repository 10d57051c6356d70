"""GridTuner: which grid earns after fees, whether it would have earned later, and what one gives up."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakValueDictionary

import ipywidgets as widgets

from grinder_kit.errors import ConfigError, DataError, GrinderError
from grinder_kit.model.config import Config, GridConfig
from grinder_kit.model.config_file import load_config
from grinder_kit.tuning.export import export
from grinder_kit.tuning.space import Space
from grinder_kit.tuning.study import Study
from grinder_kit.tuning.trial import Trial
from grinder_widgets import tuner_figures as figures
from grinder_widgets import tuner_view as view
from grinder_widgets import tuner_words as words
from grinder_widgets.beacon import Beacon
from grinder_widgets.controls import button, family, hear_while_busy, look
from grinder_widgets.explorer_work import Progress, Work
from grinder_widgets.live_figure import LiveFigure
from grinder_widgets.markup import escape, headline
from grinder_widgets.repeating import Repeating
from grinder_widgets.theme import DARK, LIGHT, Palette, number
from grinder_widgets.tuner_controls import Controls
from grinder_widgets.tuner_process import StudyProcess
from grinder_widgets.tuner_state import LETTERS, TunerState, Values, pairs

if TYPE_CHECKING:
    from grinder_kit.fillprob.model import FillModel
    from grinder_kit.fillprob.model_file import Fitted
    from grinder_kit.tuning.part import Splittable

log = logging.getLogger(__name__)

#: Seconds between two signs of life for the browser, and how late one may be.
PULSE_S, LATE_S = 1.0, 5.0
#: Seconds between two looks at a study in a process of its own.
LOOK_S = 0.2
#: A slider that has rested so long, s, is run where a pass takes too long for every value on the way.
REST_S = 0.25

# What went wrong stands beside what was done.
_STUDY, _VIEW, _WHAT_IF, _PINS, _EXPORT = PLACES = ("study", "view", "what_if", "pins", "export")

_VIEWS: WeakValueDictionary[str, GridTuner] = WeakValueDictionary()


class GridTuner:
    """Look into a study, try configurations on its test part, and export one; last in a cell, or by `display`, it appears.

    What is tried runs through the kernel, as a replay would. A second tuner of the same study closes the first.

    Parameters
    ----------
    study : Study, Path or str, optional
        A study; or the file of one, which may still be running in a process of its own.
    market : Recording or SyntheticMarket, optional
        What the study of a file was made on.
    model : FillModel or Fitted, optional
        The fill model it was made with, where its configuration does not name the file.
    state : TunerState or mapping, optional
        What was set in another tuner: `tuner.state`, or some of its fields.

    Attributes
    ----------
    widget : ipywidgets.VBox
        The tuner, to be put into a layout of one's own.
    study : Study or None
    controls : Controls or None
        What a person moves, once there is a study; setting the `value` of one does the same.
    beacon : Beacon

    Raises
    ------
    ConfigError
        For a state that a tuner of this study cannot have, a file without its market, and something that is no study.
    DataError
        For a file that is no study, or one of another market.

    Examples
    --------
    >>> tuner = GridTuner(study, state={"x": "drawdown"})  # doctest: +SKIP
    >>> tuner.config  # doctest: +SKIP
    Config(grid=GridConfig(spacing_bps=12, levels=8, size='0.002'))
    """

    def __init__(
        self,
        study: Study | Path | str | None = None,
        market: Splittable | None = None,
        *,
        model: FillModel | Fitted | None = None,
        state: TunerState | Mapping[str, Any] | None = None,
    ) -> None:
        self._state = TunerState.of(state)
        self._market, self._model = market, model
        self._process: StudyProcess | None = None
        self._lock = threading.RLock()  # callbacks and computations come on threads of their own
        self._palette: Palette = LIGHT
        self._closed = False
        self._details = ""
        self._timer: Repeating | None = None
        self.study: Study | None = None
        self.controls: Controls | None = None
        self._tuned: view.Tuned | None = None
        self._now: view.Tried | None = None
        if isinstance(study, str | Path):
            self._process = StudyProcess(study)
            self._key = str(self._process.storage)
            opened = self._opened()
        else:
            if study is not None and not isinstance(study, Study):
                raise ConfigError(f"the study is a {type(study).__name__}; pass what gk.tune returned, or its file")
            opened = study
            self._key = "none" if study is None else _key(study)
        if opened is not None and opened.complete:
            view.Tuned(opened).check(self._state)
        self._build()
        if (old := _VIEWS.get(self._key)) is not None:
            old.close()
        _VIEWS[self._key] = self
        self._adopt(opened)
        if self._process is not None and self._process.running():
            self._watch()
        elif self._process is not None:
            self._say_how_it_ended()
        self._timer = Repeating.start(PULSE_S, self.beacon.pulse)

    @classmethod
    def run(
        cls,
        market: Splittable,
        grid: GridConfig | Config,
        space: Space,
        *,
        storage: Path | str,
        model: FillModel | Fitted | None = None,
        state: TunerState | Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Self:
        """Run a study in a process of its own, and look into it when it has ended.

        The notebook stays free. What is done is in `storage`: after a restart of the kernel, `GridTuner(storage, market)` finds the
        study, whether it is still running or not, and the same call goes on where it stopped.

        Parameters
        ----------
        market, grid, space, model
            As `gk.tune` takes them.
        storage : Path or str
            The study's file.
        state : TunerState or mapping, optional
        **options
            What else `gk.tune` takes: trials, objective, seed, design, test, ...

        Raises
        ------
        ConfigError, DataError
            As for GridTuner; what `gk.tune` refuses is said in the tuner.
        """
        process = StudyProcess(storage)
        process.start(market=market, grid=grid, space=space, model=model, **options)
        return cls(process.storage, market, model=model, state=state)

    # --- building ----------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        self.beacon = Beacon(late_s=LATE_S, busy="Controls may answer late.", gone="Run the cell again.")
        self.beacon.observe(self._themed, "theme")
        self._style = widgets.HTML(look(self._palette), layout={"height": "0", "margin": "0"})
        self._header, self._picked, self._tried_line, self._warnings, self._exported = (
            widgets.HTML(layout={"width": "auto", "margin": "0"}) for _ in range(5)
        )
        self._empty = widgets.HTML(layout={"width": "auto", "margin": "8px"})
        self.front, self.map, self.compared = (
            LiveFigure(self._clicked_front),
            LiveFigure(self._clicked_map),
            LiveFigure(),
        )
        self._rows = {name: widgets.HTML(layout={"width": "auto"}) for name in ("front", "map", "compared")}
        half = {"width": "auto", "min_width": "0", "overflow": "hidden"}
        sides = ((self.front.box, self._rows["front"]), (self.map.box, self._rows["map"]))
        self._figures = widgets.GridBox(
            tuple(widgets.VBox(side, layout=half) for side in sides),
            layout={
                "grid_template_columns": "repeat(auto-fit, minmax(min(100%, 400px), 1fr))", "width": "auto",
                "min_height": f"{figures.HEIGHT}px", "align_items": "flex-start",
            },
        )  # fmt: skip
        self._side_by_side = widgets.VBox(
            (self.compared.box, self._rows["compared"]), layout={"width": "auto", "display": "none"}
        )
        nothing = widgets.HTML(layout={"display": "none"})  # an export dims no figure
        said = self.beacon.announce
        self._studying, self._trying = Work(self._lock, said, self._figures), Work(self._lock, said, self._figures)
        self._comparing, self._writing = Work(self._lock, said, self._side_by_side), Work(self._lock, said, nothing)
        self.copy = button("Copy as Python", "Copy the lines that show this tuner again", self._copy)
        self.back = button("Back to the pick", "Try what the rule has picked", self._back)
        self.path = widgets.Text(
            "", placeholder="deploy/btc.toml", description="file", continuous_update=False, tooltip="Where the configuration goes",
            layout={"width": "320px"}, style={"description_width": "30px"},
        )  # fmt: skip
        self.overwrite = widgets.Checkbox(
            False, description="replace another configuration", indent=False, layout={"width": "auto"}
        )
        self.export = button("Export TOML", "Write what is tried as a file that `grinder run` takes", self._export)
        self.copy_details = {
            place: button("Copy details", "Copy what went wrong, for a report", self._copy_details) for place in PLACES
        }
        self._wrong = {place: widgets.HTML(layout={"flex": "1 1 auto", "margin": "0"}) for place in PLACES}
        self._errors = {
            place: widgets.HBox((text, self.copy_details[place]), layout={"display": "none", "align_items": "center"})
            for place, text in self._wrong.items()
        }
        self._of_figures, self._of_what_if, self._of_pins = (
            widgets.VBox((), layout={"width": "auto"}) for _ in range(3)
        )
        row = {"flex_flow": "row wrap", "align_items": "center"}
        self._body = widgets.VBox(
            (
                self._header, self._picked, self._of_figures, self._errors[_VIEW], self._figures,
                widgets.HTML("<b>What if</b>", layout={"margin": "4px 4px 0"}), self._of_what_if, self._trying.box,
                self._errors[_WHAT_IF], self._tried_line,
                self._of_pins, self._comparing.box, self._errors[_PINS], self._side_by_side,
                widgets.HBox((self.export, self.path, self.overwrite, self.back, self.copy), layout=row),
                self._writing.box, self._errors[_EXPORT], self._exported, self._warnings, nothing,
            ),
            layout={"width": "auto"},
        )  # fmt: skip
        self.widget = widgets.VBox(
            (self._style, self.beacon, self._empty, self._studying.box, self._errors[_STUDY], self._body),
            layout={"width": "auto"},
        ).add_class("gk-panel")
        pressed = (self.copy, self.back, self.export, self.path, self.overwrite, *self.copy_details.values())
        for control in (
            *pressed,
            *(work.cancel for work in (self._studying, self._trying, self._comparing, self._writing)),
        ):
            hear_while_busy(control)

    def _adopt(self, study: Study | None) -> None:
        """Show a study; controls are made anew, since they depend on what it varied."""
        if study is not None and not study.complete:
            self._empty.value = words.missing(study)
            study = None
        elif study is None and self._process is not None and self._process.running():
            self._empty.value = words.coming(self._process.storage)
        elif study is None:
            self._empty.value = words.missing(None, None if self._process is None else self._process.storage)
        self._empty.layout.display = None if study is None else "none"
        self._body.layout.display = "none" if study is None else None
        if study is None:
            return
        tuned = view.Tuned(study)
        self.study, self._tuned, self._what_if = study, tuned, view.WhatIf(tuned)
        self._found: dict[str, view.Picked | None] = {}
        self._runs: dict[Values, view.Run] = {}
        self._asked: Values | None = None  # what is being computed, or was given up
        self._good: Values = ()  # what was last tried and known
        self._now = None
        by_number = {trial.number: trial for trial in study.complete}
        ranked = study.top(len(study.trials))["trial"].to_list()
        self._by_rank = [by_number[number] for number in ranked if number in by_number]
        self._rank = {trial.number: rank for rank, trial in enumerate(self._by_rank, 1)}
        before = self.controls
        self.controls = Controls(tuned, self._state)
        self.controls.observe(self._set, self._try, self._choose_rank, self._pin, self._unpin)
        pins = (self.controls.pin, self.controls.compare, self.controls.table, self.controls.pins_box)
        self._of_figures.children = (self.controls.figures_box,)
        self._of_what_if.children = (self.controls.what_if_box,)
        self._of_pins.children = (widgets.HBox(pins, layout={"flex_flow": "row wrap", "align_items": "center"}),)
        if before is not None:
            for box in (
                before.figures_box,
                before.what_if_box,
                before.pins_box,
                before.pin,
                before.compare,
                before.table,
            ):
                for widget in list(family(box)):
                    widget.close()
        if not self.path.value:
            self.path.value = f"deploy/{study.about.instrument.symbol.lower()}.toml"
        self.refresh(move=True)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.widget._repr_mimebundle_(**options)

    # --- what is set -------------------------------------------------------------------------------------------------

    @property
    def state(self) -> TunerState:
        """What a person has set; `GridTuner(study, state=tuner.state)` brings it back."""
        return self._state

    @property
    def config(self) -> Config:
        """The configuration that is tried: at first what the rule has picked.

        Raises
        ------
        DataError
            While there is no study.
        """
        if self._now is None:
            raise DataError("there is no study yet; wait for it, or pass one")
        return self._now.config

    def _set(self, **changes: Any) -> None:
        with self._lock:
            if self._closed:
                return
            if "rule" in changes:
                changes["what_if"] = ()  # another rule is asked in order to see its pick
            self._state = replace(self._state, **changes)
            self.refresh(move="what_if" in changes)

    def _try(self, name: str, value: Any) -> None:
        """Try another value of a parameter; one that does not fit is refused, and what was shown stays."""
        with self._lock:
            if self._closed or self._tuned is None:
                return
            values = tuple((dict(self._state.what_if) | {name: value}).items())
            whole = self._all(values)
            try:
                if not self._known(whole) and self._what_if.fast(whole):
                    self._what_if.run(whole)
                else:
                    self._tuned.config(whole)
            except GrinderError as error:
                self._fail(f"What if {name} were {value}", error, _WHAT_IF)
                return
            self._state = replace(self._state, what_if=values)
            self.refresh()

    def _choose(self, trial: Trial) -> None:
        assert self._tuned is not None  # only a trial of a study can be chosen
        self._set(what_if=pairs("what_if", self._tuned.values(trial)))

    def _choose_rank(self, rank: int) -> None:
        if rank:
            self._choose(self._by_rank[rank - 1])

    def _clicked_front(self, at: int) -> None:
        assert self.study is not None  # what is clicked is drawn
        self._choose(self.study.complete[self._front_view.rows[at]])

    def _clicked_map(self, at: int) -> None:
        assert self.study is not None  # what is clicked is drawn
        middle = self._map_view.middle
        self._choose(self.study.complete[middle[middle >= 0][at]])

    def _back(self, _button: Any) -> None:
        self._set(what_if=())

    def _pin(self) -> None:
        with self._lock:
            now = self._now
            if now is None or len(self._state.pins) == len(LETTERS):
                return
            pin = tuple(now.values.items())
            if pin not in self._state.pins:
                self._set(pins=(*self._state.pins, pin))

    def _unpin(self, at: int) -> None:
        with self._lock:
            self._set(pins=self._state.pins[:at] + self._state.pins[at + 1 :])

    def _themed(self, change: Any) -> None:
        with self._lock:
            self._palette = DARK if change["new"] == "dark" else LIGHT
            self._style.value = look(self._palette)
            self.refresh()

    def _copy(self, _button: Any) -> None:
        if self.study is not None and self._now is not None:
            self.beacon.copy(words.as_python(self.study, self._now, self._state.changed()))

    def _copy_details(self, _button: Any) -> None:
        self.beacon.copy(self._details)

    # --- a study in a process of its own -----------------------------------------------------------------------------

    def _opened(self) -> Study | None:
        """Return what is in the study's file; None before there is anything."""
        assert self._process is not None  # the caller has looked
        if self._market is None:
            raise ConfigError(
                f"pass the market that {self._process.storage} was made on, as in GridTuner(file, market)"
            )
        if not self._process.storage.exists():
            return None
        return Study.open(self._process.storage, self._market, model=self._model)

    def _watch(self, what: str = "Tuning in a process of its own") -> None:
        """Wait for the process on a thread, and say how far it is."""
        process = self._process
        assert process is not None  # the caller has looked

        def work(progress: Progress) -> Study | None:
            since, first = time.monotonic(), None
            while process.running():
                told = process.progress()
                progress(0)
                if told is not None and told.wanted:
                    first = told.done if first is None else first
                    rate = (told.done - first) / max(time.monotonic() - since, 1e-9)
                    pace = f", {number(rate, 1)} a second" if told.done > first else ""
                    progress(told.done, told.wanted, f" of {told.wanted:,}{pace}, best {told.best}")
                time.sleep(LOOK_S)
            told = process.progress()
            if told is not None and told.error:
                raise DataError(told.error)
            if told is not None or process.said():
                last = process.said().strip().rpartition("\n")[2]
                raise DataError(
                    f"the process has ended without a word{f' ({last})' if last else ''}; the same call goes on from its file"
                )
            return self._opened()

        def done(study: Study | None) -> None:
            self._say("")
            self._adopt(study)
            self.beacon.announce("The study has ended." if study is None else words.header(study))

        def undone(error: Exception | None) -> None:
            if error is None:
                process.cancel()
                self._watch("Stopping after the trials that are under way; what is done is kept")
                return
            try:
                if self.study is None:
                    self._adopt(self._opened())
            except GrinderError:
                log.info("study cannot be opened storage=%s", process.storage)
            self._fail("The study", error, _STUDY, process)

        self._studying.begin(what, work, done, undone, unit="trials")

    def _say_how_it_ended(self) -> None:
        """Say why a study that is no longer running came to no end, where it did not."""
        assert self._process is not None  # the caller has looked
        told = self._process.progress()
        if told is not None:
            why = (
                told.error
                or "the process has ended without a word; GridTuner.run with the same arguments goes on from its file"
            )
            self._fail("The study", DataError(why), _STUDY, self._process)

    # --- what takes a while ------------------------------------------------------------------------------------------

    def _all(self, values: Values) -> dict[str, Any]:
        """Return all parameters of what is tried."""
        assert self._tuned is not None and self.study is not None  # the caller has looked
        found = self._picked_by(self._state.rule)
        trial = self.study.best.trial if found is None else found.pick.trial
        return view.as_values(values, self._tuned.values(trial))

    def _known(self, whole: Mapping[str, Any]) -> view.Tried | None:
        return self._what_if.known(whole)

    def _tried(self, whole: dict[str, Any]) -> view.Tried:
        """Return what a configuration does: at once where that is fast, else the nearest trial until it has been computed."""
        known = self._known(whole)
        if known is not None:
            self._trying.stop()
            self._asked = None
            return known
        if self._what_if.fast(whole):
            self._trying.stop()
            return self._what_if.run(whole)
        wanted = tuple(whole.items())
        if self._asked != wanted:
            self._asked = wanted
            self._compute(whole)
        return self._what_if.nearest(whole)

    def _pinned(self, whole: dict[str, Any]) -> view.Tried:
        """Return what a pin does; of one that was not tried here and cannot be run at once, the nearest trial."""
        known = self._known(whole)
        if known is not None:
            return known
        return self._what_if.run(whole) if self._what_if.fast(whole) else self._what_if.nearest(whole)

    def _compute(self, whole: dict[str, Any]) -> None:
        assert self._tuned is not None  # the caller has looked
        config = self._tuned.config(whole)
        kept_out = self._what_if.part.kept_out(config)
        slowly = "" if kept_out is None else f" step by step, since the compiled path does not cover {kept_out}"
        what = f"Computing for {words.told_short(whole)}{slowly}"

        def work(progress: Progress) -> view.Tried:
            time.sleep(REST_S)
            progress(0)  # the slider has moved on: nobody waits any more
            return self._what_if.run(whole)

        def undone(error: Exception | None) -> None:
            if error is not None:
                self._state = replace(self._state, what_if=self._good)
                self._fail(what, error, _WHAT_IF)
            self.refresh(keep_error=error is not None, move=error is not None)

        self._trying.begin(what, work, lambda _: self.refresh(), undone)

    def _compare(self) -> view.Compared | None:
        """Return the pins side by side; None while they are computed."""
        assert self._tuned is not None  # the caller has looked
        tuned, pins = self._tuned, self._state.pins
        if all(pin in self._runs for pin in pins):
            labels = [words.pin_label(at, tuple(tuned.dimensions), dict(pin)) for at, pin in enumerate(pins)]
            return view.compared(tuned, labels, [self._runs[pin] for pin in pins])
        if not self._comparing.running:
            lacking = [pin for pin in pins if pin not in self._runs]

            def work(progress: Progress) -> dict[Values, view.Run]:
                found = {}
                for pin in lacking:
                    progress(0)
                    found[pin] = view.run(self._what_if.part, tuned.config(self._all(pin)))
                return found

            def done(found: dict[Values, view.Run]) -> None:
                self._runs |= found
                self.refresh()

            def undone(error: Exception | None) -> None:
                self._state = replace(self._state, compare=False)
                if error is not None:
                    self._fail("Comparing the pins", error, _PINS)
                self.refresh(keep_error=error is not None)

            self._comparing.begin(f"Computing {len(lacking)} pins", work, done, undone)
        return None

    def _export(self, _button: Any) -> None:
        """Write what is tried; it is replayed on the test part, so that the file knows its digest."""
        with self._lock:
            now, tuned = self._now, self._tuned
            if self._closed or now is None or tuned is None:
                return
            path, part, overwrite = Path(self.path.value.strip()), self._what_if.part, self.overwrite.value
            source = view.chosen(tuned, now, self._picked_by(self._state.rule))
            if now.instead is not None:
                self._fail(
                    "Exporting",
                    ConfigError("the numbers of this configuration are still being computed; wait for them"),
                    _EXPORT,
                )
                return

            def work(progress: Progress) -> Config:
                progress(0)
                return load_config(export(source, path, market=part.market, model=part.model, overwrite=overwrite))

            def done(config: Config) -> None:
                self._exported.value = words.exported(path, config)
                self._errors[_EXPORT].layout.display = "none"
                self.beacon.announce(f"Written to {path}")

            def undone(error: Exception | None) -> None:
                if error is not None:
                    self._exported.value = ""
                    self._fail(f"Exporting to {path}", error, _EXPORT)

            self._writing.begin(f"Replaying the test part for {path}", work, done, undone)

    def settle(self, timeout_s: float | None = None) -> None:
        """Wait until what was begun has been computed."""
        for work in (self._studying, self._trying, self._comparing, self._writing):
            work.settle(timeout_s)

    def _fail(self, what: str, error: Exception, place: str, process: StudyProcess | None = None) -> None:
        """Say what went wrong, what was kept and what to do, and keep the last good figure."""
        told = None if process is None else process.progress()
        self._details = "".join(traceback.format_exception(error)) if told is None or not told.details else told.details
        kept = "Nothing can be shown yet." if self._now is None else "The figures are the last good ones."
        cause = str(error) if isinstance(error, GrinderError) else repr(error)
        self._say(f"<b>{escape(what)}</b>: {escape(cause)}. {escape(kept)}", place)
        self.beacon.announce(f"{what}: {cause}. {kept}")

    def _say(self, text: str, place: str = _STUDY) -> None:
        self._wrong[place].value = f'<div class="gk-answer">{text}</div>'
        self._errors[place].layout.display = "flex" if text else "none"

    # --- what is shown -----------------------------------------------------------------------------------------------

    def refresh(self, *, keep_error: bool = False, move: bool = False) -> None:
        """Show what is set; only what has changed is sent to the browser.

        Parameters
        ----------
        keep_error : bool
            Leave what went wrong where it stands.
        move : bool
            Let the sliders stand where the state is. Not while a hand moves one: what comes from a thread is older than the hand.
        """
        with self._lock:
            if self._closed or self._tuned is None:
                return
            try:
                self._show(move)
            except Exception as error:  # a view that fails must not look as if nothing had happened
                log.exception("view failed state=%s", self._state)
                self._fail("This view failed", error, _VIEW)
            else:
                for place in () if keep_error else (_VIEW, _WHAT_IF, _PINS):
                    self._errors[place].layout.display = "none"

    def _picked_by(self, rule: str) -> view.Picked | None:
        assert self._tuned is not None  # the caller has looked
        if rule not in self._found:
            self._found[rule] = view.picked(self._tuned, rule)
        return self._found[rule]

    def _show(self, move: bool) -> None:
        tuned, study, controls, state = self._tuned, self.study, self.controls, self._state
        assert tuned is not None and study is not None and controls is not None  # the caller has looked
        found, whole = self._picked_by(state.rule), self._all(state.what_if)
        now = self._tried(whole)
        pins = [self._pinned(self._all(pin)) for pin in state.pins]
        self._front_view = view.points(tuned, state, found, now, pins)
        self._map_view = view.heat_map(tuned, state, found, now)
        # The figures first: they are what the browser takes longest to draw.
        self.front.show(figures.front(self._front_view, theme=self._palette))
        self.map.show(figures.heat_map(self._map_view, theme=self._palette))
        self._now = now
        if now.instead is None:
            self._good = state.what_if
        self._tried_line.value = headline(words.what_if(now, study))
        self._picked.value = headline(words.picked(found, study))
        self._header.value = f"<b>GridTuner</b> {escape(words.header(study))}"
        self._warnings.value = words.warnings(study)
        self._rows["front"].value = words.trials_table(tuned) if state.table else ""
        self._rows["map"].value = words.map_table(self._map_view) if state.table else ""
        self._show_pins(controls, state)
        trial = tuned.trial(whole)
        along = (self._map_view.x.name, (self._map_view.y or self._map_view.x).name)
        controls.stand(state, whole if move else {}, along, 0 if trial is None else self._rank[trial.number])
        self.back.disabled = found is None or now.config == found.pick.config

    def _show_pins(self, controls: Controls, state: TunerState) -> None:
        assert self._tuned is not None  # the caller has looked
        names = tuple(self._tuned.dimensions)
        controls.show_pins([words.pin_label(at, names, dict(pin)) for at, pin in enumerate(state.pins)])
        self._side_by_side.layout.display = None if state.compare else "none"
        if not state.compare:
            return
        found = self._compare() if state.pins else None
        why = "" if found is not None else "computing" if state.pins else "nothing is pinned: press Pin"
        self.compared.show(figures.compared(found, why, theme=self._palette))
        self._rows["compared"].value = "" if found is None else words.compared_table(found)

    # --- time and life -----------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Take the tuner off the page, and give up what is being computed; a study in a process of its own goes on."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for work in (self._studying, self._trying, self._comparing, self._writing):
                work.stop()
            if self._timer is not None:
                self._timer.cancel()
            if _VIEWS.get(self._key) is self:
                del _VIEWS[self._key]
            for widget in list(family(self.widget)):
                widget.close()

    def __repr__(self) -> str:
        what = "no study" if self.study is None else f"{len(self.study.trials):,} trials"
        return f"GridTuner({what}{', closed' if self._closed else ''})"


def _key(study: Study) -> str:
    """Return what is the same for the same study."""
    if study.storage is not None:
        return str(study.storage.absolute())
    return hashlib.sha256(json.dumps(study.about.to_json(), sort_keys=True).encode()).hexdigest()
