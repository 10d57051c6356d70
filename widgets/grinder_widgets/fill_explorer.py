"""FillExplorer: how likely an order is to fill in time, and how far the number can be trusted."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any
from weakref import WeakValueDictionary

import ipywidgets as widgets

from grinder_kit.errors import GrinderError
from grinder_kit.fillprob.labels import LabelSet
from grinder_kit.market.source import Market
from grinder_widgets import explorer_view as view
from grinder_widgets import explorer_words as words
from grinder_widgets.beacon import Beacon
from grinder_widgets.controls import button, family, hear_while_busy, look
from grinder_widgets.explorer_controls import Controls
from grinder_widgets.explorer_data import Data
from grinder_widgets.explorer_evidence import Evidence
from grinder_widgets.explorer_models import Explored
from grinder_widgets.explorer_state import ExplorerState
from grinder_widgets.explorer_tabs import Tabs
from grinder_widgets.explorer_work import Work
from grinder_widgets.markup import escape, headline
from grinder_widgets.repeating import Repeating
from grinder_widgets.theme import DARK, LIGHT, Palette

log = logging.getLogger(__name__)

#: Seconds between two signs of life for the browser, and how late one may be.
PULSE_S, LATE_S = 1.0, 5.0

# What went wrong stands beside what was moved: the controls above the figure, or those of the labels.
_VIEW, _LABELS = "view", "labels"

_VIEWS: WeakValueDictionary[str, FillExplorer] = WeakValueDictionary()


class FillExplorer:
    """Ask fitted models about an order, beside what labels show; last in a cell, or by `display`, it appears.

    Observed shares, calibration and the markout come from labels that are later than every model's training, where there are such. A
    second explorer of the same models on the same data closes the first.

    Parameters
    ----------
    model : FillModel, QueueBand, mapping or iterable of them, optional
        Fitted models; a mapping names them.
    data : LabelSet or Market, optional
        Labels; or a market, which is labelled here, and again for another size or latency.
    state : ExplorerState or mapping, optional
        What was set in another explorer: `explorer.state`, or some of its fields.

    Attributes
    ----------
    widget : ipywidgets.VBox
        The explorer, to be put into a layout of one's own.
    controls : Controls
        What a person moves; setting the `value` of one does the same.
    beacon : Beacon

    Raises
    ------
    ConfigError
        For a state that an explorer of these models and labels cannot have, and for something that is no model or no market.

    Examples
    --------
    >>> explorer = FillExplorer(model, test, state={"distance_bps": 5})  # doctest: +SKIP
    >>> explorer.state.horizon_s  # doctest: +SKIP
    10.0
    """

    def __init__(
        self,
        model: Explored | Mapping[str, Explored] | Iterable[Explored] | None = None,
        data: LabelSet | Market | None = None,
        *,
        state: ExplorerState | Mapping[str, Any] | None = None,
    ) -> None:
        self._state = ExplorerState.of(state)
        self._data = Data(model, data, self._state)
        self._lock = threading.RLock()  # callbacks and computations come on threads of their own
        self._palette: Palette = LIGHT
        self._closed = False
        self._details = ""
        self._timer: Repeating | None = None
        self._build()
        self._key = self._data.key
        if (old := _VIEWS.get(self._key)) is not None:
            old.close()
        _VIEWS[self._key] = self
        if self._data.market is not None and self._data.models:
            self._relabel()
        self.refresh()
        self._timer = Repeating.start(PULSE_S, self.beacon.pulse)

    def _build(self) -> None:
        self.beacon = Beacon(late_s=LATE_S, busy="Controls may answer late.", gone="Run the cell again.")
        self.beacon.observe(self._themed, "theme")
        self.controls = Controls(self._state, self._data.models, self._data.sizes, self._data.latencies)
        self.controls.observe(self._set, self._ask_labels)
        self.tabs = Tabs(self._state.tab)
        self.tabs.observe(self._set)
        self._work = Work(self._lock, self.beacon.announce, self.tabs.box)
        self._style = widgets.HTML(look(self._palette), layout={"height": "0", "margin": "0"})
        self._header, self._numbers, self._labels_note = (
            widgets.HTML(layout={"width": "auto", "margin": "0"}) for _ in range(3)
        )
        self.reset = button("Reset to medians", "Volatility and queue as in the labels, a balanced book", self._reset)
        self.copy = button("Copy as Python", "Copy the lines that show this explorer again", self._copy)
        self.copy_details = button("Copy details", "Copy what went wrong, for a report", self._copy_details)
        self._wrong = {place: widgets.HTML(layout={"flex": "1 1 auto", "margin": "0"}) for place in (_VIEW, _LABELS)}
        self._errors = {
            place: widgets.HBox((text, self.copy_details), layout={"display": "none", "align_items": "center"})
            for place, text in self._wrong.items()
        }
        of_labels = widgets.VBox((self.controls.labels_box, self._labels_note, self._errors[_LABELS]))
        self.of_labels = widgets.Accordion([of_labels], titles=["Labels"], selected_index=None)
        self._empty = widgets.HTML(layout={"width": "auto", "margin": "8px"})
        self._body = widgets.VBox(
            (
                self._header, self._numbers, self.controls.box, self._work.box, self._errors[_VIEW], self.tabs.box, self.of_labels,
                widgets.HBox((self.copy, self.controls.table, self.reset), layout={"flex_flow": "row wrap"}),
            ),
            layout={"width": "auto"},
        )  # fmt: skip
        self.widget = widgets.VBox(
            (self._style, self.beacon, self._empty, self._body), layout={"width": "auto"}
        ).add_class("gk-panel")
        for pressed in (self.reset, self.copy, self.copy_details, self._work.cancel):
            hear_while_busy(pressed)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.widget._repr_mimebundle_(**options)

    # --- what is set -------------------------------------------------------------------------------------------------

    @property
    def state(self) -> ExplorerState:
        """What a person has set; `FillExplorer(model, data, state=explorer.state)` brings it back."""
        return self._state

    def _set(self, **changes: Any) -> None:
        with self._lock:
            if not self._closed:
                self._state = replace(self._state, **changes)
                self.refresh()

    def _reset(self, _button: Any) -> None:
        self._set(sigma=None, queue_s=None, imb_own=0.0, ofi_z=0.0)

    def _ask_labels(self, **changes: Any) -> None:
        """Take another size or latency: labels of a market are built anew, and until then the old ones are shown."""
        with self._lock:
            if self._closed:
                return
            self._state = replace(self._state, **changes)
            if self._data.market is not None:
                self._relabel()
            else:
                self._data.forget()
            self.refresh()

    def _themed(self, change: Any) -> None:
        with self._lock:
            self._palette = DARK if change["new"] == "dark" else LIGHT
            self._style.value = look(self._palette)
            self.refresh()

    def _copy(self, _button: Any) -> None:
        evidence = self._data.evidence(self._state)
        if evidence is not None:
            self.beacon.copy(words.as_python(evidence.labels, self._data.models, self._state.changed()))

    def _copy_details(self, _button: Any) -> None:
        self.beacon.copy(self._details)

    # --- what takes a while ------------------------------------------------------------------------------------------

    def _relabel(self) -> None:
        """Label the market with the size and latency that are set; if that fails, those before stay."""
        data = self._data
        market, kept = data.market, data.labels
        assert market is not None  # the caller has looked
        size, latency = self.controls.size.value, self.controls.latency.value
        what = f"Computing labels for size {size:f} {market.instrument.quote}, latency {latency:g} ms"

        def done(labels: LabelSet) -> None:
            data.relabelled(labels)
            self.refresh()

        def undone(error: Exception | None) -> None:
            if kept is not None:
                before = kept.options
                self._state = replace(self._state, size_quote=before.sizes_quote[0], latency_ms=before.latency_ms)
            self._unfinished(what, error, _LABELS)

        self._details = ""
        self._work.begin(what, data.labelling(size, latency), done, undone, market.describe().get("rows"))

    def _score(self, queue: str, evidence: Evidence) -> None:
        """Score all models on the evidence."""
        data = self._data
        what = f"Scoring {len(evidence.seen):,} orders"

        def done(found: Any) -> None:
            data.scored(queue, found)
            self.refresh()

        def undone(error: Exception | None) -> None:
            data.unscored[queue] = "not scored; choose another queue model, or run the cell again"
            self._unfinished(what, error, _VIEW)

        self._details = ""
        self._work.begin(what, data.scoring(evidence), done, undone)

    def _unfinished(self, what: str, error: Exception | None, place: str) -> None:
        if error is not None:
            self._fail(what, error, place)
        self.refresh(keep_error=error is not None)

    def settle(self, timeout_s: float | None = None) -> None:
        """Wait until what was begun has been computed."""
        self._work.settle(timeout_s)

    def _fail(self, what: str, error: Exception, place: str) -> None:
        """Say what went wrong, what was kept and what to do, and keep the last good figure."""
        self._details = "".join(traceback.format_exception(error))
        kept = "Nothing can be shown yet." if self._data.labels is None else "The figure is the last good one."
        cause = str(error) if isinstance(error, GrinderError) else repr(error)
        text = f"<b>{escape(what)}</b>: {escape(cause)}. {escape(kept)}"
        self._wrong[place].value = f'<div class="gk-answer">{text}</div>'
        self._errors[place].layout.display = "flex"
        self.beacon.announce(f"{what}: {cause}. {kept}")

    # --- what is shown -----------------------------------------------------------------------------------------------

    def refresh(self, *, keep_error: bool = False) -> None:
        """Show what is set; only what has changed is sent to the browser, and nothing for hidden tabs."""
        with self._lock:
            if self._closed:
                return
            try:
                self._show()
            except Exception as error:  # a view that fails must not look as if nothing had happened
                log.exception("view failed state=%s", self._state)
                self._fail("This view failed", error, _VIEW)
            else:
                if not keep_error:
                    for box in self._errors.values():
                        box.layout.display = "none"

    def _show(self) -> None:
        data, state = self._data, self._state
        evidence = data.evidence(state)
        self._enable(evidence is not None)
        known = data.labels or data.market
        lacking = not data.models or known is None
        self._empty.value = words.missing(data.models or None, known) if lacking else ""
        self._empty.layout.display = None if lacking else "none"
        self._body.layout.display = "none" if lacking else None
        self._show_labels()
        if evidence is None:
            if not lacking:
                self._header.value = f"<b>FillExplorer</b> {escape(words.QUESTION)}"
            return
        name = data.name(state)
        model = data.models[name]
        said = view.answer(name, model, evidence, view.asked_by(state, evidence))
        # The figure first: it is what the browser takes longest to draw.
        self.tabs.show(said, model, evidence, state, self._palette, lambda: self._calibration(evidence))
        self._numbers.value = headline(words.numbers(said))
        self._header.value = f"<b>FillExplorer</b> {escape(words.header(name, model, evidence))}"
        self.controls.note(words.notes(said))
        self.controls.stand(state, said.asked, name)
        if data.labels is not None and not self._work.running:
            self.controls.stand_at_labels(data.size(state), data.labels.options.latency_ms)

    def _enable(self, ready: bool) -> None:
        given = self._data.given
        self.controls.enable(ready, size=given is None or len(self._data.sizes) > 1, latency=given is None)
        self.reset.disabled = self.copy.disabled = not ready

    def _show_labels(self) -> None:
        """Say what the labels are, and why their controls cannot move where they cannot."""
        data, note = self._data, ""
        if data.given is not None:
            note = words.NO_MARKET
        elif data.labels is not None and data.trained(self._state):
            note = words.FITTED_BEFORE
        if data.labels is not None:
            title = words.labels_title(data.labels, data.size(self._state), self._state.queue)
            self.of_labels.set_title(0, title)
        elif data.market is not None:
            self.of_labels.set_title(0, f"Labels of {data.market.instrument.symbol}")
        self._labels_note.value = f'<span class="gk-small">{escape(note)}</span>'

    def _calibration(self, evidence: Evidence) -> tuple[view.Calibration | None, str]:
        """Return the calibration of the model that is shown, or why there is none."""
        queue = self._state.queue
        if not evidence.unseen:
            return None, words.OWN_DATA
        if queue in self._data.unscored:
            return None, self._data.unscored[queue]
        found = self._data.calibration(self._state)
        if found is None and not self._work.running:
            self._score(queue, evidence)
        return found, "computing" if found is None else ""

    # --- time and life -----------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Take the explorer off the page, and give up what is being computed."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._work.stop()
            if self._timer is not None:
                self._timer.cancel()
            if _VIEWS.get(self._key) is self:
                del _VIEWS[self._key]
            for widget in list(family(self.widget)):
                widget.close()

    def __repr__(self) -> str:
        return f"FillExplorer({', '.join(self._data.models) or 'no model'}{', closed' if self._closed else ''})"
