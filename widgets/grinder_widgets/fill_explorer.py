"""FillExplorer: how likely an order is to fill in time, and how far the number can be trusted."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any
from weakref import WeakValueDictionary

import ipywidgets as widgets
import polars as pl

from grinder_kit.errors import ConfigError, GrinderError
from grinder_kit.fillprob.labels import LabelOptions, LabelSet, label
from grinder_kit.fillprob.scoring import Scores
from grinder_kit.market.source import Market
from grinder_widgets import explorer_figures as figures
from grinder_widgets import explorer_view as view
from grinder_widgets import explorer_words as words
from grinder_widgets import panel_html
from grinder_widgets.beacon import Beacon
from grinder_widgets.controls import button, family, hear_while_busy
from grinder_widgets.explorer_evidence import Evidence, of_size
from grinder_widgets.explorer_models import Explored, named, training_of
from grinder_widgets.explorer_state import (
    CURVE,
    HORIZONS_S,
    LATENCIES_MS,
    LAYERS,
    MAP,
    QUEUE_WORDS,
    RANGES,
    SIZES_QUOTE,
    TABS,
    TIME,
    ExplorerState,
)
from grinder_widgets.live_figure import LiveFigure
from grinder_widgets.markup import escape
from grinder_widgets.theme import DARK, LIGHT, Palette, count

log = logging.getLogger(__name__)

#: Seconds between two signs of life for the browser, and how late one may be.
PULSE_S, LATE_S = 1.0, 5.0
#: Seconds between two words on how far a computation is.
PROGRESS_S = 0.25

_VIEW, _LABELS = "view", "labels"
_COLUMNS = "repeat(auto-fit, minmax(min(100%, 330px), 1fr))"

_VIEWS: WeakValueDictionary[str, FillExplorer] = WeakValueDictionary()


class _Cancelled(Exception):
    """Nobody waits for this computation any more."""


class FillExplorer:
    """Ask fitted models about an order, beside what labels show; last in a cell, or by `display`, it appears.

    Observed shares and calibration come from labels that are later than every model's training, where there are such. A second
    explorer of the same models on the same data closes the first.

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
        self.models = {} if model is None else named(model)
        if data is not None and not isinstance(data, LabelSet) and not hasattr(data, "describe"):
            raise ConfigError(f"the data are a {type(data).__name__}; pass labels, label(market), or a market")
        self._market = None if isinstance(data, LabelSet) else data
        self._given = data if isinstance(data, LabelSet) else None
        self._check(self._state)
        self._lock = threading.RLock()  # callbacks and computations come on threads of their own
        self._palette: Palette = LIGHT
        self._setting = self._closed = False
        self._labels: LabelSet | None = None
        self._evidence: dict[str, Evidence] = {}
        self._scores: dict[str, Scores] = {}
        self._bins: dict[tuple[str, str], pl.DataFrame] = {}
        self._unscored: dict[str, str] = {}
        self._details = ""
        self._job = 0
        self._worker: threading.Thread | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._build()
        self._key = "" if data is None else f"{_about(data)} {sorted(self.models)}"
        if (old := _VIEWS.get(self._key)) is not None:
            old.close()
        _VIEWS[self._key] = self
        if self._given is not None:
            self._labels = self._given
        elif self._market is not None and self.models:
            self._relabel()
        self.refresh()
        self._start()

    def _check(self, state: ExplorerState) -> None:
        if state.model is not None and self.models and state.model not in self.models:
            raise ConfigError(f'there is no model "{state.model}"; there are {", ".join(self.models)}')
        if self._given is not None:
            options = self._given.options
            if state.size_quote is not None and state.size_quote not in options.sizes_quote:
                sizes = ", ".join(f"{size:f}" for size in options.sizes_quote)
                raise ConfigError(
                    f"size_quote is {state.size_quote}; these labels hold {sizes}: pass the market instead"
                )
            if state.latency_ms not in (None, options.latency_ms):
                raise ConfigError(
                    f"latency_ms is {state.latency_ms:g}; these labels hold {options.latency_ms:g}: pass the market instead"
                )

    # --- what it is made of ------------------------------------------------------------------------------------------

    def _build(self) -> None:
        state = self._state
        self.beacon = Beacon(late_s=LATE_S, busy="Controls may answer late.", gone="Run the cell again.")
        self.beacon.observe(self._themed, "theme")
        self._style = widgets.HTML(_style(self._palette), layout={"height": "0", "margin": "0"})
        self._header = widgets.HTML(layout={"width": "auto", "margin": "0"})
        self._numbers = widgets.HTML(layout={"width": "auto", "margin": "0"})
        self.side = widgets.ToggleButtons(
            options=[("Buy", "buy"), ("Sell", "sell")], value=state.side, description="side",
            style={"button_width": "72px", "description_width": "96px"},
        )  # fmt: skip
        self.horizon = widgets.SelectionSlider(
            options=[(f"{h:g} s", h) for h in HORIZONS_S], value=state.horizon_s, **_slider("horizon", "Time to fill")
        )
        self.distance = widgets.FloatSlider(
            state.distance_bps, min=0, max=RANGES["distance_bps"][1], step=0.1, readout_format=".1f",
            **_slider("distance, bps", "From mid to the order's price"),
        )  # fmt: skip
        self.sigma = widgets.FloatLogSlider(
            1.0, min=-1, max=math.log10(RANGES["sigma"][1]), step=0.01, readout_format=".2f",
            **_slider("vol., bps/√s", "Volatility of mid, bps per square root of a second"),
        )  # fmt: skip
        self.queue_s = widgets.FloatLogSlider(
            1.0, min=-2, max=math.log10(RANGES["queue_s"][1]), step=0.02, readout_format=".2f",
            **_slider("queue, s", "Quantity ahead over what trades on that side in a second"),
        )  # fmt: skip
        self.imb_own = widgets.FloatSlider(
            state.imb_own, min=-1, max=1, step=0.05, readout_format=".2f",
            **_slider("imbalance", "Of the best levels; above 0 the own side is heavier"),
        )  # fmt: skip
        self.ofi_z = widgets.FloatSlider(
            state.ofi_z, min=-5, max=5, step=0.1, readout_format=".1f",
            **_slider("OFI z", "z-score of order flow; above 0 buyers press"),
        )  # fmt: skip
        sliders = {
            "distance_bps": self.distance, "sigma": self.sigma, "queue_s": self.queue_s, "imb_own": self.imb_own,
            "ofi_z": self.ofi_z,
        }  # fmt: skip
        self._notes = {name: widgets.HTML(layout={"width": "auto", "margin": "-6px 0 0 104px"}) for name in sliders}
        names = list(self.models)
        self.model = widgets.Dropdown(
            options=[(name.replace("_", " "), name) for name in names], value=state.model or (names[0] if names else None),
            description="model", style={"description_width": "96px"}, layout={"width": "auto", "height": "auto"},
        )  # fmt: skip
        self.layers = {
            layer: widgets.Checkbox(
                layer in state.layers,
                description=layer,
                indent=False,
                layout={"width": "auto", "margin": "2px 10px 2px 0"},
            )
            for layer in LAYERS
        }
        grid = widgets.GridBox(
            (
                self.side, self.horizon,
                *(widgets.VBox((slider, self._notes[name]), layout={"width": "auto"}) for name, slider in sliders.items()),
                self.model,
            ),
            layout={"grid_template_columns": _COLUMNS, "width": "auto", "align_items": "flex-start"},
        )  # fmt: skip
        layers = widgets.HBox(
            tuple(self.layers.values()),
            layout={"flex_flow": "row wrap", "align_items": "center", "margin": "4px 0 4px 104px"},
        )
        self.reset = button("Reset to medians", "Volatility and queue as in the labels, a balanced book", self._reset)
        self.table = widgets.ToggleButton(
            state.table, description="Table", tooltip="Show the figure's numbers as a table", layout={"width": "auto"}
        )
        self.copy = button("Copy as Python", "Copy the lines that show this explorer again", self._copy)
        self.copy_details = button("Copy details", "Copy what went wrong, for a report", self._copy_details)
        self.cancel = button("Cancel", "Stop the computation; what was shown stays", self._cancel)
        self._doing = widgets.HTML(layout={"margin": "0 8px"})
        self._bar = widgets.FloatProgress(0.0, min=0, max=1, layout={"width": "160px"})
        self._busy = widgets.HBox(
            (self._doing, self._bar, self.cancel), layout={"display": "none", "align_items": "center"}
        )
        # What went wrong stands beside what was moved: the controls above the figure, or those of the labels.
        self._wrong = {place: widgets.HTML(layout={"flex": "1 1 auto", "margin": "0"}) for place in (_VIEW, _LABELS)}
        self._errors = {
            place: widgets.HBox((text, self.copy_details), layout={"display": "none", "align_items": "center"})
            for place, text in self._wrong.items()
        }
        self._live = {title: LiveFigure() for title in TABS}
        self._below = {title: widgets.HTML(layout={"width": "auto"}) for title in TABS}
        self._rows = {title: widgets.HTML(layout={"width": "auto"}) for title in TABS}
        boxes = [
            widgets.VBox(
                (self._live[title].box, self._below[title], self._rows[title]),
                layout={"overflow": "hidden", "min_height": f"{figures.HEIGHT}px", "width": "auto"},
            )
            for title in TABS
        ]
        self.tabs = widgets.Tab(boxes, titles=TABS, selected_index=TABS.index(state.tab), layout={"width": "auto"})
        self._build_labels()
        self._empty = widgets.HTML(layout={"width": "auto", "margin": "8px"})
        self._body = widgets.VBox(
            (
                self._header, self._numbers, grid, layers, self._busy, self._errors[_VIEW], self.tabs, self.of_labels,
                widgets.HBox((self.copy, self.table, self.reset), layout={"flex_flow": "row wrap"}),
            ),
            layout={"width": "auto"},
        )  # fmt: skip
        self.widget = widgets.VBox(
            (self._style, self.beacon, self._empty, self._body), layout={"width": "auto"}
        ).add_class("gk-panel")
        for name, control in (
            ("side", self.side), ("horizon_s", self.horizon), *sliders.items(), ("model", self.model), ("table", self.table),
            ("queue", self.queue),
        ):  # fmt: skip
            control.observe(lambda change, name=name: self._moved(name, change["new"]), "value")
        for box in self.layers.values():
            box.observe(lambda _: self._set(layers=tuple(n for n in LAYERS if self.layers[n].value)), "value")
        self.size.observe(lambda change: self._ask_labels(size_quote=change["new"]), "value")
        self.latency.observe(lambda change: self._ask_labels(latency_ms=change["new"]), "value")
        self.tabs.observe(lambda change: self._set(tab=TABS[change["new"] or 0]), "selected_index")
        self._controls = (
            self.side, self.horizon, *sliders.values(), self.model, *self.layers.values(), self.queue, self.size, self.latency,
            self.reset, self.table, self.copy,
        )  # fmt: skip
        for control in (*self._controls, self.tabs, self.cancel, self.copy_details):
            hear_while_busy(control)

    def _build_labels(self) -> None:
        """Build the controls of the labels: what hypothetical orders they are, and how these fill."""
        state, options = self._state, LabelOptions() if self._given is None else self._given.options
        sizes = SIZES_QUOTE if self._given is None else options.sizes_quote
        latencies = LATENCIES_MS if self._given is None else (options.latency_ms,)
        size = sizes[0] if state.size_quote is None else state.size_quote
        latency = latencies[0] if state.latency_ms is None else state.latency_ms
        self.size = widgets.SelectionSlider(
            options=[(count(int(one)) if one == int(one) else f"{one:f}", one) for one in sorted({*sizes, size})], value=size,
            continuous_update=False, **_slider("size, quote", "Notional of the labels' orders"),
        )  # fmt: skip
        self.latency = widgets.SelectionSlider(
            options=[(f"{one:g} ms", one) for one in sorted({*latencies, latency})], value=latency, continuous_update=False,
            **_slider("latency", "From the decision to the queue"),
        )  # fmt: skip
        self.queue = widgets.Dropdown(
            options=[(QUEUE_WORDS[name], name) for name in QUEUE_WORDS], value=state.queue, description="queue model",
            style={"description_width": "96px"}, layout={"width": "auto", "height": "auto"},
        )  # fmt: skip
        self._of_labels_note = widgets.HTML(layout={"width": "auto", "margin": "0"})
        inside = widgets.VBox(
            (
                widgets.HBox((self.queue, self.size, self.latency), layout={"flex_flow": "row wrap", "width": "auto"}),
                self._of_labels_note,
                self._errors[_LABELS],
            )
        )
        self.of_labels = widgets.Accordion([inside], titles=["Labels"], selected_index=None)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.widget._repr_mimebundle_(**options)

    # --- what is set -------------------------------------------------------------------------------------------------

    @property
    def state(self) -> ExplorerState:
        """What a person has set; `FillExplorer(model, data, state=explorer.state)` brings it back."""
        return self._state

    def _moved(self, name: str, value: Any) -> None:
        if name in RANGES:  # sliders count in steps of a binary fraction, and a logarithmic one's ends are rounded
            low, high = RANGES[name]
            value = min(max(float(f"{value:.4g}"), low), high)
        self._set(**{name: value})

    def _set(self, **changes: Any) -> None:
        with self._lock:
            if not self._setting and not self._closed:
                self._state = replace(self._state, **changes)
                self.refresh()

    def _reset(self, _button: Any) -> None:
        self._set(sigma=None, queue_s=None, imb_own=0.0, ofi_z=0.0)

    def _ask_labels(self, **changes: Any) -> None:
        """Take another size or latency: labels of a market are built anew, and until then the old ones are shown."""
        with self._lock:
            if self._setting or self._closed:
                return
            self._state = replace(self._state, **changes)
            if self._market is not None:
                self._relabel()
            else:
                self._forget()
            self.refresh()

    def _themed(self, change: Any) -> None:
        with self._lock:
            self._palette = DARK if change["new"] == "dark" else LIGHT
            self._style.value = _style(self._palette)
            self.refresh()

    def _copy(self, _button: Any) -> None:
        evidence = self._known()
        if evidence is not None:
            self.beacon.copy(words.as_python(evidence.labels, self.models, self._state.changed()))

    def _copy_details(self, _button: Any) -> None:
        self.beacon.copy(self._details)

    # --- computations that take a while ------------------------------------------------------------------------------

    def _relabel(self) -> None:
        """Label the market with the size and latency that are set; if that fails, those before stay."""
        market, kept = self._market, self._labels
        assert market is not None  # the caller has looked
        size, latency = self.size.value, self.latency.value
        options = LabelOptions(sizes_quote=(size,), latency_ms=latency)
        rows = market.describe().get("rows")

        def work(progress: Callable[[int], None]) -> LabelSet:
            read = 0

            def more(events: int) -> None:
                nonlocal read
                read += events
                progress(read)

            return label(market, options=options, progress=more)

        def done(labels: LabelSet) -> None:
            self._labels = labels
            self._forget()

        def undone() -> None:
            if kept is not None:
                self._state = replace(
                    self._state, size_quote=kept.options.sizes_quote[0], latency_ms=kept.options.latency_ms
                )

        what = f"Computing labels for size {size:f} {market.instrument.quote}, latency {latency:g} ms"
        self._begin(what, work, done, undone, _LABELS, rows)

    def _score(self, queue: str, evidence: Evidence) -> None:
        """Score all models on the evidence."""
        models = dict(self.models)

        def work(progress: Callable[[int], None]) -> tuple[Scores, dict[str, pl.DataFrame]]:
            found = view.scores(models, evidence)
            bins = {}
            for name in models:
                progress(0)
                bins[name] = found.reliability(name)
            return found, bins

        def done(result: tuple[Scores, dict[str, pl.DataFrame]]) -> None:
            self._scores[queue], bins = result
            self._bins |= {(queue, name): frame for name, frame in bins.items()}

        def undone() -> None:
            self._unscored[queue] = "not scored; choose another queue model, or run the cell again"

        self._begin(f"Scoring {len(evidence.seen):,} orders", work, done, undone, _VIEW)

    def _begin(
        self,
        what: str,
        work: Callable[[Callable[[int], None]], Any],
        done: Callable[[Any], None],
        undone: Callable[[], None],
        place: str,
        rows: int | None = None,
    ) -> None:
        """Compute on a thread; the latest computation wins, the one before is given up.

        Parameters
        ----------
        what : str
            Said meanwhile.
        work : callable
            Computes; calls what it is given with the number of events read, which raises where nobody waits any more.
        done, undone : callable
            Told the result; or called where it failed or was cancelled.
        place : str
            Where an error is shown.
        rows : int, optional
            Events in all, where that is known.
        """
        self._job += 1
        mine = self._job
        self._undone = undone
        self._details = ""
        self._doing.value = escape(what)
        self._bar.value = 0.0
        self._bar.layout.display = None if rows else "none"
        self._busy.layout.display = "flex"
        self.tabs.add_class("gk-computing")
        self.beacon.announce(what)
        said = time.monotonic()

        def progress(events: int) -> None:
            nonlocal said
            if self._job != mine:
                raise _Cancelled
            now = time.monotonic()
            if events and now - said >= PROGRESS_S:
                said = now
                self._doing.value = escape(f"{what}: {count(events)} events")
                if rows:
                    self._bar.value = min(1.0, events / rows)

        def run() -> None:
            try:
                result = work(progress)
            except _Cancelled:
                return
            except Exception as error:
                if not isinstance(error, GrinderError):
                    log.exception("computation failed what=%s", what)
                with self._lock:
                    if self._job == mine and not self._closed:
                        self._idle()
                        undone()
                        self._fail(what, error, place)
                        self.refresh(keep_error=True)
                return
            with self._lock:
                if self._job == mine and not self._closed:
                    self._idle()
                    done(result)
                    self.refresh()

        # With the caller's context, by which the kernel knows whom a message of a widget belongs to.
        self._worker = threading.Thread(
            target=contextvars.copy_context().run, args=(run,), name="fill explorer", daemon=True
        )
        self._worker.start()

    def _idle(self) -> None:
        self._job += 1
        self._busy.layout.display = "none"
        self.tabs.remove_class("gk-computing")

    def _cancel(self, _button: Any) -> None:
        with self._lock:
            if self._busy.layout.display != "none" and not self._closed:
                self._idle()
                self._undone()
                self.refresh()

    def settle(self, timeout_s: float | None = None) -> None:
        """Wait until what was begun has been computed."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while (worker := self._worker) is not None and worker.is_alive():
            worker.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if worker.is_alive():
                return

    def _fail(self, what: str, error: Exception, place: str) -> None:
        """Say what went wrong, what was kept and what to do, and keep the last good figure."""
        self._details = "".join(traceback.format_exception(error))
        kept = "The figure is the last good one." if self._labels is not None else "Nothing can be shown yet."
        cause = str(error) if isinstance(error, GrinderError) else repr(error)
        self._wrong[
            place
        ].value = f'<div class="gk-answer"><b>{escape(what)}</b>: {escape(cause)}. {escape(kept)}</div>'
        self._errors[place].layout.display = "flex"
        self.beacon.announce(f"{what}: {cause}. {kept}")

    # --- what is shown -----------------------------------------------------------------------------------------------

    def _forget(self) -> None:
        """Forget what was made of other labels."""
        self._evidence, self._scores, self._bins, self._unscored = {}, {}, {}, {}

    def _known(self) -> Evidence | None:
        """Return the labels as they are asked, None before there are any."""
        if self._labels is None or not self.models:
            return None
        queue = self._state.queue
        if queue not in self._evidence:
            trainings = [training_of(model, queue) for model in self.models.values()]
            labels = of_size(self._labels, self._size)
            self._evidence[queue] = Evidence.of(labels, tuple(one for one in trainings if one is not None), queue)
        return self._evidence[queue]

    @property
    def _size(self) -> Decimal:
        """Notional of the orders that are shown."""
        assert self._labels is not None  # the caller has looked
        sizes = self._labels.options.sizes_quote
        return self._state.size_quote if self._state.size_quote in sizes else sizes[0]

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
        evidence = self._known()
        ready = evidence is not None
        for control in self._controls:
            control.disabled = not ready
        lacking = not self.models or (self._labels is None and self._market is None)
        self._empty.value = words.missing(self.models or None, self._labels or self._market) if lacking else ""
        self._empty.layout.display = None if lacking else "none"
        self._body.layout.display = "none" if lacking else None
        self._show_labels()
        if evidence is None:
            if not lacking:
                self._header.value = f"<b>FillExplorer</b> {escape(words.QUESTION)}"
            return
        state, name = self._state, self._state.model or next(iter(self.models))
        model = self.models[name]
        asked = view.asked_by(state, evidence)
        said = view.answer(name, model, evidence, asked)
        self._sync(said, name)
        self._header.value = f"<b>FillExplorer</b> {escape(words.header(name, model, evidence))}"
        self._numbers.value = _numbers(words.numbers(said))
        for input_name, note in words.notes(said).items():
            self._notes[input_name].value = f'<span class="gk-small">{escape(note)}</span>'
        self._show_tab(said, model, evidence)

    def _show_tab(self, said: view.Answer, model: Explored, evidence: Evidence) -> None:
        tab, layers, theme = self._state.tab, self._state.layers, self._palette
        below = f'<p class="note">{escape(words.LIKE)}</p>' if tab in (CURVE, TIME) else ""
        if tab == CURVE:
            curve = view.curve(said, model, evidence, layers)
            drawing, rows = figures.curve(curve, theme=theme), words.curve_table(curve)
        elif tab == MAP:
            by_both = view.probability_map(said, model, evidence)
            drawing, rows = figures.probability_map(by_both, theme=theme), words.map_table(by_both)
        elif tab == TIME:
            by_time = view.time_to_fill(said, model, evidence, layers)
            drawing, rows = figures.time_to_fill(by_time, theme=theme), words.time_table(by_time)
        else:
            scored, why = self._calibration(said, evidence)
            drawing, rows = (
                figures.calibration(scored, why, theme=theme),
                "" if scored is None else words.bins_table(scored),
            )
            below = "" if scored is None else words.scores_table(scored)
        self._live[tab].show(drawing)
        self._below[tab].value = below
        self._rows[tab].value = rows if self._state.table else ""

    def _calibration(self, said: view.Answer, evidence: Evidence) -> tuple[view.Calibration | None, str]:
        """Return the calibration of the model that is shown, or why there is none."""
        queue = self._state.queue
        if not evidence.unseen:
            return None, words.OWN_DATA
        if queue in self._unscored:
            return None, self._unscored[queue]
        if queue not in self._scores:
            if self._busy.layout.display == "none":
                self._score(queue, evidence)
            return None, "computing"
        bins = self._bins[queue, said.model]
        return view.calibration(self._scores[queue], bins, said.model, said.asked.horizon_s), ""

    def _show_labels(self) -> None:
        """Say what the labels are, and why their controls cannot move where they cannot."""
        instrument = None if self._market is None else self._market.instrument
        alone = self._given is not None
        self.size.disabled = self.size.disabled or (alone and len(self.size.options) < 2)
        self.latency.disabled = self.latency.disabled or alone
        note = words.NO_MARKET if alone else ""
        if self._labels is not None:
            self.of_labels.set_title(0, words.labels_title(self._labels, self._size, self._state.queue))
            if any(training_of(model, self._state.queue) is not None for model in self.models.values()) and not alone:
                note = "The models stay as they were fitted; what is observed, and the scores, follow size and latency."
        elif instrument is not None:
            self.of_labels.set_title(0, f"Labels of {instrument.symbol}")
        self._of_labels_note.value = f'<span class="gk-small">{escape(note)}</span>'

    def _sync(self, said: view.Answer, name: str) -> None:
        """Let the controls stand where the state is, without hearing of it as of a person's choice."""
        state = self._state
        self._setting = True
        try:
            for control, value in (
                (self.side, state.side), (self.horizon, state.horizon_s), (self.distance, state.distance_bps),
                (self.sigma, said.asked.sigma), (self.queue_s, said.asked.queue_s), (self.imb_own, state.imb_own),
                (self.ofi_z, state.ofi_z), (self.model, name), (self.queue, state.queue), (self.table, state.table),
                *((box, layer in state.layers) for layer, box in self.layers.items()),
            ):  # fmt: skip
                if control.value != value:
                    control.value = value
            if self._busy.layout.display == "none" and self._labels is not None:
                self.size.value, self.latency.value = self._size, self._labels.options.latency_ms
        finally:
            self._setting = False

    # --- time and life -----------------------------------------------------------------------------------------------

    def _start(self) -> None:
        """Give the browser a sign of life once a second, where there is a loop to do it on."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._timer = loop.call_later(PULSE_S, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._closed:
            self.beacon.pulse()
            self._timer = loop.call_later(PULSE_S, self._tick, loop)

    def close(self) -> None:
        """Take the explorer off the page, and give up what is being computed."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._job += 1
            if self._timer is not None:
                self._timer.cancel()
            if _VIEWS.get(self._key) is self:
                del _VIEWS[self._key]
            for widget in list(family(self.widget)):
                widget.close()

    def __repr__(self) -> str:
        return f"FillExplorer({', '.join(self.models) or 'no model'}{', closed' if self._closed else ''})"


def _about(data: LabelSet | Market) -> str:
    about = data.market if isinstance(data, LabelSet) else data.describe()
    return f"{about.get('name')} {data.instrument.symbol}"


def _slider(text: str, tooltip: str) -> dict[str, Any]:
    return {
        "description": text,
        "tooltip": tooltip,
        "style": {"description_width": "96px"},
        "layout": {"flex": "1 1 auto", "width": "auto", "min_width": "240px"},
    }


def _numbers(shown: Iterable[words.Figure]) -> str:
    cells = "".join(
        f"<div><span>{escape(one.name)}</span><b>{escape(one.value)}</b><span>{escape(one.note)}&nbsp;</span></div>"
        for one in shown
    )
    return f'<div class="gk-headline">{cells}</div>'


def _style(palette: Palette) -> str:
    return panel_html.style(palette) + (
        "<style>.gk-computing .js-plotly-plot { opacity:.5; } .gk-small { color:var(--gk-muted); font-size:11px; } "
        ".gk-panel .widget-toggle-buttons { display:flex; flex-flow:row; align-items:center; }</style>"
    )
