"""SessionPanel: what a session is doing with the money now, why, and how to stop it. A remote control and a view, and no rules."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol
from weakref import WeakValueDictionary

import ipywidgets as widgets

from grinder_kit.errors import GrinderError
from grinder_kit.model.number import Exact
from grinder_kit.session.snapshot import Snapshot
from grinder_widgets import panel_html as html
from grinder_widgets import panel_words as words
from grinder_widgets import rung_words
from grinder_widgets import session_ladder as ladder
from grinder_widgets.beacon import Beacon
from grinder_widgets.controls import button, family, hear_while_busy
from grinder_widgets.live_figure import LiveFigure
from grinder_widgets.markup import escape
from grinder_widgets.panel_state import AT_ONCE, TABS, PanelState
from grinder_widgets.panel_tabs import PanelTab, same
from grinder_widgets.repeating import Repeating
from grinder_widgets.theme import DARK, LIGHT, UNKNOWN_ORDERS, utc

log = logging.getLogger(__name__)

#: Seconds between two looks at the session, and between two signs of life for the browser.
EVERY_S, PULSE_S = 0.25, 1.0
#: Looks between two redraws of a tab: its figures hardly differ within a second, and each redraw costs the browser some 50 ms.
TAB_LOOKS = 4

_VIEWS: WeakValueDictionary[str, SessionPanel] = WeakValueDictionary()


class Steered(Protocol):
    """What the panel needs of a session."""

    @property
    def name(self) -> str:
        """Name of the session."""
        ...

    @property
    def latest(self) -> Snapshot | None:
        """The newest snapshot that was heard; asks nobody."""
        ...

    @property
    def link(self) -> str:
        """How it stands with the runner: ``none``, ``connecting``, ``open``, ``lost``, ``closed``."""
        ...

    @property
    def heard_s(self) -> float | None:
        """Seconds since the runner was last heard."""
        ...

    def pause(self) -> Any:
        """Withdraw all orders and keep the position. What it returns is the answer as text, by `str`."""
        ...

    def resume(self) -> Any:
        """Quote again."""
        ...

    def flatten(self, *, twap_s: float | None = None, show: Exact | None = None) -> Any:
        """Withdraw all orders and close the position: at once, over so many seconds, or showing so much at a time."""
        ...

    def kill(self) -> Any:
        """Withdraw all orders and end."""
        ...


class SessionPanel:
    """Show a session and steer it; last in a cell, or by `display`, it appears.

    It only looks at what the session has heard and passes on what is clicked: the session itself runs in a process of its own,
    whatever becomes of the panel. A second panel of the same session closes the first.

    Parameters
    ----------
    session : Steered
        A `gk.Session`.
    state : PanelState or mapping, optional
        What was set in another panel: `panel.state`, or some of its fields.

    Attributes
    ----------
    widget : ipywidgets.VBox
        The panel, to be put into a layout of one's own.
    beacon : Beacon

    Raises
    ------
    ConfigError
        For a state that a panel cannot have.

    Examples
    --------
    >>> panel = SessionPanel(gk.Session.attach("btc"), state={"tab": "Fills"})  # doctest: +SKIP
    >>> panel.state.rows  # doctest: +SKIP
    30
    """

    def __init__(self, session: Steered, *, state: PanelState | Mapping[str, Any] | None = None) -> None:
        self.session = session
        self._state = PanelState.of(state)
        # Callbacks may come on another thread than the timer's. A kill waits for nobody and does not take it.
        self._lock = threading.RLock()
        self._palette = LIGHT
        self._setting = self._closed = False
        self._snapshot: Snapshot | None = None  # what is shown
        self._rows: tuple[ladder.Row, ...] = ()
        self._drawn: tuple[Any, ...] = ()
        self._frozen_at: float | None = None
        self._pulsed = -PULSE_S
        self._looks = 0
        self._word = ""
        self._failure = ""
        self._workers: list[threading.Thread] = []
        self._timer: Repeating | None = None
        self._build()
        if (old := _VIEWS.get(session.name)) is not None:
            old.close()
        _VIEWS[session.name] = self
        self._look()
        self._timer = Repeating.start(EVERY_S, self._look)

    # --- what it is made of ------------------------------------------------------------------------------------------

    def _build(self) -> None:
        self.beacon = Beacon()
        self.beacon.observe(self._themed, "theme")
        self._style = widgets.HTML(html.style(self._palette), layout={"height": "0", "margin": "0"})
        self._banner = widgets.HTML(layout={"flex": "1 1 auto", "min_width": "0", "margin": "0"})
        self.kill = button(
            "KILL",
            "Withdraw all orders at once and end the session; the position stays",
            self._kill,
            style={"button_color": "#B00020", "text_color": "#FFFFFF", "font_weight": "bold"},
            layout={"width": "104px", "height": "auto", "min_height": "44px", "margin": "0 0 0 4px"},
        )
        self.pause = button("Pause", "Withdraw all orders and keep the position", self._pause)
        self.resume = button("Resume", "Quote again", self._resume)
        self.flatten = button(
            "Flatten", "Withdraw all orders and close the position, as chosen beside it", self._flatten
        )
        self.way = widgets.Dropdown(
            options=words.ways(None),
            description="how",
            tooltip="How Flatten closes the position: at once and over time it takes liquidity, an iceberg waits for it",
            style={"description_width": "initial"},
            layout={"width": "auto"},
        )
        self.freeze = widgets.ToggleButton(
            self._state.frozen,
            description="Freeze view",
            tooltip="Let the view stand still; trading continues",
            layout={"width": "auto"},
        )
        self.tables = widgets.ToggleButton(
            self._state.tables,
            description="Tables",
            tooltip="Show the numbers of the figures as tables",
            layout={"width": "auto"},
        )
        self.copy = button("Copy as Python", "Copy the lines that show this panel again", self._copy)
        self.copy_kill = button("Copy the shell's kill command", "Copy it, to be run in a shell", self._copy_kill)
        self._headline = widgets.HTML(layout={"flex": "1 1 auto", "min_width": "0", "margin": "0"})
        self._exit = widgets.HTML(layout={"margin": "0"})
        self._answer = widgets.HTML(layout={"margin": "0"})
        self._still = widgets.HTML(layout={"margin": "0"})
        self._ladder = LiveFigure(self._clicked)
        self.level = widgets.Dropdown(
            options=[("none", "")], description="level", layout={"width": "auto", "margin": "0"}
        )
        self.higher = button("▲ higher", "Pick the row above", lambda _: self._step(-1))
        self.lower = button("▼ lower", "Pick the row below", lambda _: self._step(1))
        self._detail = widgets.HTML(layout={"width": "auto", "margin": "0"})
        self.rows = widgets.IntSlider(
            self._state.rows,
            10,
            ladder.LADDER_ROWS,
            description="rows",
            continuous_update=False,
            layout={"width": "auto", "margin": "0"},
        )
        self._ladder_table = widgets.HTML(layout={"width": "auto"})
        self._tabs = {title: PanelTab(title) for title in TABS}
        self.tabs = widgets.Tab(
            [tab.box for tab in self._tabs.values()],
            titles=TABS,
            selected_index=TABS.index(self._state.tab),
            layout={"width": "auto"},
        )
        side = widgets.VBox(
            (self.level, widgets.HBox((self.higher, self.lower)), self._detail, self.rows),
            layout={"flex": "0 1 250px", "min_width": "220px", "padding": "4px 8px"},
        )
        self._ladder.box.layout.flex = "1 1 520px"
        self._ladder.box.layout.width = "auto"
        self._body = widgets.HBox((self._ladder.box, side), layout={"flex_flow": "row wrap", "width": "auto"})
        self._body.add_class("gk-body")
        # In the order of the tabulator key: how it is, how to stop it, what can be done, and then the rest.
        self.widget = widgets.VBox(
            (
                self._style,
                widgets.HBox((self._banner, self.kill), layout={"align_items": "stretch", "width": "auto"}),
                self.beacon,
                widgets.HBox(
                    (self._headline, widgets.HBox(
                        (self.pause, self.resume, self.flatten, self.way, self.freeze, self.tables, self.copy, self.copy_kill),
                        layout={"flex_flow": "row wrap"})),
                    layout={"flex_flow": "row wrap", "width": "auto", "align_items": "center"}),
                self._exit, self._answer, self._still, self._body, self._ladder_table, self.tabs,
            ),
            layout={"width": "auto"},
        ).add_class("gk-panel")  # fmt: skip
        for control, name in ((self.freeze, "frozen"), (self.tables, "tables"), (self.rows, "rows")):
            control.observe(lambda change, name=name: self._set(**{name: change["new"]}), "value")
        self.level.observe(lambda change: self._set(level=change["new"] or None), "value")
        self.way.observe(lambda change: self._set(way=change["new"]), "value")
        self.tabs.observe(lambda change: self._set(tab=TABS[change["new"] or 0]), "selected_index")
        for control in (
            self.kill, self.pause, self.resume, self.flatten, self.way, self.freeze, self.tables, self.copy, self.copy_kill,
            self.level, self.higher, self.lower, self.rows, self.tabs,
        ):  # fmt: skip
            hear_while_busy(control)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.widget._repr_mimebundle_(**options)

    # --- what is set -------------------------------------------------------------------------------------------------

    @property
    def state(self) -> PanelState:
        """What a person has set; `SessionPanel(session, state=panel.state)` brings it back."""
        return self._state

    def _set(self, **changes: Any) -> None:
        with self._lock:
            if self._setting or self._closed:
                return
            self._state = replace(self._state, **changes)
            self.refresh()

    def _clicked(self, index: int) -> None:
        with self._lock:
            if index < len(self._rows):
                self._set(level=self._rows[index].name)

    def _step(self, by: int) -> None:
        with self._lock:
            names = [row.name for row in self._rows]
            if names:
                now = names.index(self._state.level) + by if self._state.level in names else 0
                self._set(level=names[min(max(now, 0), len(names) - 1)])

    def _themed(self, change: Any) -> None:
        with self._lock:
            self._palette = DARK if change["new"] == "dark" else LIGHT
            self._style.value = html.style(self._palette)
            self.refresh()

    # --- what is steered ---------------------------------------------------------------------------------------------

    def _kill(self, _button: Any) -> None:
        self._ask("KILL", self.session.kill)

    def _pause(self, _button: Any) -> None:
        self._ask("Pause", self.session.pause)

    def _resume(self, _button: Any) -> None:
        self._ask("Resume", self.session.resume)

    def _flatten(self, _button: Any) -> None:
        way, heard = self._state.way, self.session.latest
        self._ask("Flatten", lambda: self.session.flatten(**words.how(way, heard)))

    def _ask(self, what: str, command: Callable[[], Any]) -> None:
        """Give a command, and say what the runner answers; never wait for it here, the kernel's loop may be the caller's."""

        def work() -> None:
            try:
                answer = words.answered(what, str(command()))
            except GrinderError as error:
                answer = words.not_done(what, error, self.session.name)
            except Exception as error:
                log.exception("command failed command=%s session=%s", what, self.session.name)
                answer = words.not_done(what, error, self.session.name)
            self._say(answer)

        # With the caller's context, by which the kernel knows whom a message of a widget belongs to.
        worker = threading.Thread(
            target=contextvars.copy_context().run, args=(work,), name=f"{what} {self.session.name}", daemon=True
        )
        self._workers = [one for one in self._workers if one.is_alive()] + [worker]
        self._say(words.sent(what))
        worker.start()

    def _say(self, text: str) -> None:
        """Show the answer to a command; whatever the browser's side does, the command goes on."""
        try:
            at = utc(time.time_ns(), ms=False)
            self._answer.value = f'<div class="gk-answer"><small>{at}</small> {html.rich(text)}</div>'
            self.beacon.announce(text.replace("`", ""))
        except Exception:
            log.exception("answer not shown text=%s", text)

    def settle(self, timeout_s: float | None = None) -> None:
        """Wait until every command that was given has been answered."""
        for worker in self._workers:
            worker.join(timeout_s)

    def _copy(self, _button: Any) -> None:
        self.beacon.copy(words.as_python(self.session.name, self._state.changed(), self._snapshot))

    def _copy_kill(self, _button: Any) -> None:
        self.beacon.copy(words.kill_command(self.session.name))

    # --- what is shown -----------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Show what the session has told; only what has changed is sent to the browser."""
        self._refresh(tab=True)

    def _refresh(self, *, tab: bool) -> None:
        with self._lock:
            if self._closed:
                return
            heard, link, heard_s = self.session.latest, str(self.session.link), self.session.heard_s
            self._pulse(heard, link)
            self._show_banner(heard, link, heard_s)
            self._freeze(heard)
            # Safety never freezes: the banner and the buttons go on, only the figures stand still.
            if self._frozen_at is None:
                self._snapshot = heard
            self._headline.value = html.headline(words.headline(self._snapshot))
            if self._snapshot is None:
                self._ladder_table.value = f'<p class="gk-note">{escape(words.QUESTION)}</p>'
                return
            self._show_ladder(self._snapshot)
            if tab:
                self._tabs[self._state.tab].show(self._snapshot, self._palette, self._state.tables)

    def _pulse(self, snapshot: Snapshot | None, link: str) -> None:
        now = time.monotonic()
        if now - self._pulsed >= PULSE_S:
            self._pulsed = now
            self.beacon.busy, self.beacon.gone = words.late(snapshot, link, self.session.name)
            self.beacon.pulse()

    def _show_banner(self, snapshot: Snapshot | None, link: str, heard_s: float | None) -> None:
        view = words.banner(snapshot, link, heard_s, self.session.name)
        self._banner.value = html.banner(view, words.facts(snapshot, link))
        if self._word not in ("", view.word):
            self.beacon.announce(f"{view.word}. {view.text.replace('`', '')}")
        self._word = view.word
        can = words.controls(snapshot, link)
        for name in ("kill", "pause", "resume", "flatten"):
            getattr(self, name).disabled = not getattr(can, name)
        self._show_way(snapshot)
        self.copy_kill.layout.display = None if words.must_kill(view) else "none"
        if view.background == UNKNOWN_ORDERS.background:
            self._body.add_class("gk-stale")
        else:
            self._body.remove_class("gk-stale")

    def _show_way(self, snapshot: Snapshot | None) -> None:
        """Show how the position can go out, and how far it has gone; what can be chosen no more becomes at once, in view."""
        options = words.ways(snapshot)
        if self._state.way not in (way for _, way in options):
            self._state = replace(self._state, way=AT_ONCE)
        if options != tuple(self.way.options) or self.way.value != self._state.way:
            self._choose(self.way, options, self._state.way)
        gone = words.way_out(snapshot)
        self._exit.value = "" if gone is None else html.way_out(*gone)

    def _choose(self, picker: Any, options: Any, value: str) -> None:
        """Give a picker other options and a value, without hearing of it as of a person's choice."""
        self._setting = True
        try:
            with picker.hold_sync():
                picker.options = options
                picker.value = value
        finally:
            self._setting = False

    def _freeze(self, heard: Snapshot | None) -> None:
        if not self._state.frozen or (self._frozen_at is None and heard is None):
            self._frozen_at = None
        elif self._frozen_at is None:
            self._frozen_at, self._snapshot = time.monotonic(), heard
        said = "" if self._frozen_at is None else words.frozen(time.monotonic() - self._frozen_at)
        self._still.value = said and f'<div class="gk-still">{escape(said)}</div>'

    def _show_ladder(self, snapshot: Snapshot) -> None:
        about, forecast, mid, state = snapshot.about, snapshot.forecast, ladder.mid_of(snapshot.now), self._state
        seen = (snapshot.ladder, forecast, mid, state.rows, state.level, state.tables, self._palette)
        if same(seen, self._drawn):
            return
        self._rows = rows = ladder.ladder_rows(snapshot.ladder, mid, state.rows)
        self._show_level(rows)
        self._ladder.show(
            ladder.ladder(
                rows, mid, about, forecast, total=len(snapshot.ladder), picked=state.level, theme=self._palette
            )
        )
        picked = next((row.rung for row in rows if row.name == state.level), None)
        self._detail.value = html.detail(rung_words.detail(picked, about, forecast), self._picked_words(picked))
        self._ladder_table.value = html.ladder_table(rows, about, forecast) if state.tables else ""
        self._drawn = seen

    def _picked_words(self, picked: Any) -> str:
        if picked is not None:
            return rung_words.rung_name(picked)
        return (
            "Pick a level, or click a row."
            if self._state.level is None
            else f"{self._state.level} is not on the ladder now."
        )

    def _show_level(self, rows: tuple[ladder.Row, ...]) -> None:
        level = self._state.level
        options = [("none", "")] + [(rung_words.row_name(row.rung), row.name) for row in rows]
        if level is not None and level not in (name for _, name in options):
            options.append((f"{level} (not there now)", level))
        if tuple(options) != tuple(self.level.options) or self.level.value != (level or ""):
            self._choose(self.level, options, level or "")

    # --- time and life -----------------------------------------------------------------------------------------------

    def _look(self) -> None:
        try:
            self._refresh(tab=self._looks % TAB_LOOKS == 0)
            self._failure = ""
        except Exception as error:  # a view that fails must not look as if nothing happened, and its buttons must stay
            if repr(error) != self._failure:
                log.exception("view failed session=%s", self.session.name)
                self._say(f"This view failed ({error!r}); the session runs on. Run the cell again.")
            self._failure = repr(error)
        self._looks += 1

    def close(self) -> None:
        """Take the panel off the page; the session is not touched."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()
            if _VIEWS.get(self.session.name) is self:
                del _VIEWS[self.session.name]
            for widget in list(family(self.widget)):
                widget.close()

    def __repr__(self) -> str:
        return f"SessionPanel({self.session.name!r}{', closed' if self._closed else ''})"
