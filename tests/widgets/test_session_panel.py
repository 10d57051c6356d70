"""SessionPanel: it shows what the session tells, steers it from any thread, sends little, and keeps nothing."""

from __future__ import annotations

import asyncio
import gc
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import ipywidgets
import numpy as np
import pytest
from ipywidgets.widgets.widget import _instances

import grinder_widgets as gw
from grinder_kit.errors import ConfigError, SessionError
from grinder_kit.execution.latency import OPERATIONS
from grinder_kit.model.event import RunState
from grinder_kit.model.order import Side
from grinder_kit.session.snapshot import Phase, Snapshot
from grinder_widgets import session_panel, theme
from grinder_widgets.controls import family
from grinder_widgets.panel_state import TABS, PanelState
from grinder_widgets.session_panel import SessionPanel
from tests.widgets.messages import note_messages
from tests.widgets.sessions import HeldSession, changed, played

UPDATE, FIRST = 64 * 1024, 512 * 1024


class Wire:
    """What was sent to the browser: messages as (what, size in bytes, data)."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, int, Any]] = []

    @property
    def bytes(self) -> int:
        """How much was sent since the last `clear`."""
        return sum(size for _, size, _ in self.messages)

    def names(self) -> set[str]:
        """Return the names of the traits that were sent since the last `clear`."""
        return {name for _, _, state in self.messages for name in state}

    def clear(self) -> None:
        """Forget what was sent."""
        self.messages.clear()


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    """Return the wire to a browser that is not there."""
    found = Wire()
    note_messages(monkeypatch, lambda *message: found.messages.append(message))
    return found


@pytest.fixture(autouse=True)
def _no_panel_is_left() -> Iterator[None]:
    """Close what a test leaves open; after that no widget of a panel lives on."""
    before = set(_instances)
    yield
    for panel in list(session_panel._VIEWS.values()):
        panel.close()
    assert set(_instances) <= before


def shown(panel: SessionPanel) -> str:
    """Return all that the panel says in HTML."""
    pieces = [one.value for one in family(panel.widget) if isinstance(one, ipywidgets.HTML)]
    return " ".join(piece for piece in pieces if "<style>" not in piece)


def held(**parts: dict[str, Any]) -> HeldSession:
    """Return a session that holds the last snapshot, some parts of it changed."""
    return HeldSession(changed(played()[-1], **parts))


# --- one view, one state ---------------------------------------------------------------------------------------------


def test_a_second_panel_of_a_session_closes_the_first() -> None:
    """Re-running a cell leaves one view, and not a widget more than there was; another session keeps its own."""
    session, other = held(), HeldSession(played()[-1], name="eth")
    first, apart = SessionPanel(session), SessionPanel(other)
    count = len(_instances)
    for _ in range(3):
        newest = SessionPanel(session)
        assert len(_instances) == count
    assert repr(first) == "SessionPanel('btc', closed)" and repr(newest) == "SessionPanel('btc')"
    apart.refresh()
    assert repr(apart) == "SessionPanel('eth')"
    first.refresh()
    first.close()
    assert session.asked == [] and "PAPER" in shown(newest)


def test_state_is_a_value_that_restores() -> None:
    """What was set in one panel is set in the next that is given its state; mappings do, and fields that are missing are new."""
    panel = SessionPanel(held(), state={"rows": 12, "tab": "Latency"})
    panel.level.value, panel.tables.value = panel.level.options[3][1], True
    assert panel.state == PanelState(level=panel.level.value, rows=12, tab="Latency", tables=True)
    again = SessionPanel(held(), state=panel.state)
    assert again.state == panel.state
    assert (again.rows.value, again.tabs.selected_index, again.tables.value) == (12, TABS.index("Latency"), True)
    assert again.level.value == panel.state.level


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"row": 30}, "a panel has no 'row'; did you mean 'rows'"),
        ({"rows": 9}, "rows is 9; write a whole number from 10 to 60"),
        ({"rows": 30.0}, "rows is 30.0"),
        ({"tab": "Profit"}, "tab is 'Profit'; write one of P&L, Fills"),
        ({"frozen": "yes"}, "frozen is 'yes'; write True or False"),
        ({"level": 3}, "level is 3"),
        ({"way": "slowly"}, "way is 'slowly'; write one of at once, over 5 min"),
    ],
)
def test_a_state_that_cannot_be_is_refused(state: dict[str, Any], words: str) -> None:
    """By key and value, with what to write instead; the panel that is there stays."""
    panel = SessionPanel(held())
    with pytest.raises(ConfigError, match=words):
        SessionPanel(held(), state=state)
    assert repr(panel) == "SessionPanel('btc')"


def test_kill_is_the_first_thing_that_takes_focus() -> None:
    """Banner, kill, controls, figure, detail, tabs: in this order they stand on the page."""
    panel = SessionPanel(held())
    controls = (ipywidgets.Button, ipywidgets.ToggleButton, ipywidgets.Dropdown, ipywidgets.IntSlider, ipywidgets.Tab)
    order = [one for one in family(panel.widget) if isinstance(one, controls)]
    assert order[:4] == [panel.kill, panel.pause, panel.resume, panel.flatten]
    assert order.index(panel.copy) < order.index(panel.level) < order.index(panel.tabs)


def test_panel_appears_as_a_widget() -> None:
    """As the last line of a cell it is a view, and in a layout of one's own it is `widget`."""
    panel = SessionPanel(held())
    (data, *_) = (panel._repr_mimebundle_(include=None, exclude=None),)
    assert "application/vnd.jupyter.widget-view+json" in (data[0] if isinstance(data, tuple) else data)
    assert isinstance(panel.widget, ipywidgets.VBox)


# --- what is shown ---------------------------------------------------------------------------------------------------


def test_without_a_session_the_panel_says_how_to_get_one() -> None:
    """The question, what is missing, and the line that supplies it; nothing can be clicked."""
    panel = SessionPanel(HeldSession())
    assert "how do I stop it?" in shown(panel) and "<code>session.start()</code>" in shown(panel)
    assert all(button.disabled for button in (panel.kill, panel.pause, panel.resume, panel.flatten))


def test_picker_arrows_and_click_pick_the_same_row() -> None:
    """Whichever way a row is picked, it is marked in the figure and told in the detail."""
    panel = SessionPanel(held())
    names = [row.name for row in panel._rows]

    def picked() -> tuple[Any, ...]:
        colours = panel._ladder.figure.data[0].marker.color
        return panel.state.level, panel.level.value, names[[c == theme.LIGHT.grid for c in colours].index(True)]

    panel.level.value = names[2]
    assert picked() == (names[2],) * 3
    panel.lower.click()
    assert picked() == (names[3],) * 3 and "gkr0-" not in names[3]
    panel.higher.click()
    panel.higher.click()
    assert picked() == (names[1],) * 3
    panel._ladder._clicked(None, type("Points", (), {"point_inds": [4]}), None)
    assert picked() == (names[4],) * 3
    for _ in range(100):
        panel.lower.click()
    assert picked() == (names[-1],) * 3
    assert played()[-1].ladder[-1].client_order_id in shown(panel)
    panel.level.value = ""
    assert panel.state.level is None and "Pick a level" in shown(panel)


def test_a_picked_level_that_goes_is_missed() -> None:
    """An order that filled leaves its name in the picker and says so; it is picked again when it comes back."""
    session = held()
    panel = SessionPanel(session)
    key = next(row.name for row in panel._rows if not row.rung.refused)
    panel.level.value = key
    before = played()[-1]
    session.latest = replace(before, ladder=())
    panel.refresh()
    assert panel.state.level == panel.level.value == key and f"{key} is not on the ladder now." in shown(panel)
    session.latest = before
    panel.refresh()
    assert panel.state.level == key and "is not on the ladder" not in shown(panel)


def test_tables_say_what_the_figures_say() -> None:
    """The toggle shows real tables of the ladder and of the tab; health and journal are tables always."""
    panel = SessionPanel(held())
    assert shown(panel).count("<table><thead>") == 1 and "first in, first out" in shown(panel)
    panel.tabs.selected_index = TABS.index("Fills")
    panel.tables.value = True
    assert shown(panel).count("<table><thead>") == 3 and "<th scope=" in shown(panel)
    assert f'<td class="">{played()[-1].ladder[0].price:,.1f}</td>' in shown(panel)
    panel.tables.value = False
    assert shown(panel).count("<table><thead>") == 1, "the views of profit, on the tab that is hidden"
    panel.tabs.selected_index = TABS.index("Health")
    assert "request weight" in shown(panel) and "✓ OK" in shown(panel)
    panel.tabs.selected_index = TABS.index("Journal")
    assert "the session runs" in shown(panel)


def test_everything_foreign_is_escaped() -> None:
    """No name, reason or notice from another process becomes markup."""
    evil = "<img src=x onerror=alert(1)>`<b>`"
    about = dict.fromkeys(("symbol", "venue", "market", "account", "folder", "base"), evil)
    session = held(
        about=about, status={"failure": evil, "reason": evil, "unsupervised": evil, "state": RunState.PAUSED}
    )
    panel = SessionPanel(session, state={"tables": True})
    for index in range(len(TABS)):
        panel.tabs.selected_index = index
    assert "&lt;img src=x" in shown(panel) and "<img" not in shown(panel)


def test_frozen_view_stands_still_and_kill_stays() -> None:
    """Figures and numbers keep the moment; banner and kill go on, and the panel says that trading continues."""
    session = held()
    panel = SessionPanel(session)
    panel.freeze.value = True
    assert "View frozen 0 s. Trading continues." in shown(panel) and panel.state.frozen
    figure, ladder = panel._tabs["P&L"].live.figure, panel._ladder.figure
    before = [list(ladder.data[6].text), list(figure.data[4].y), panel._headline.value]
    session.latest = changed(played()[60], status={"stale": True})
    panel.refresh()
    assert before == [list(ladder.data[6].text), list(figure.data[4].y), panel._headline.value]
    assert "STALE BOOK" in shown(panel)
    panel.tabs.selected_index = TABS.index("Fills")  # another tab shows the same moment
    assert len(panel._tabs["Fills"].live.figure.data[1].x) == sum(fill.side == "BUY" for fill in played()[-1].fills)
    panel.kill.click()
    panel.settle()
    assert session.asked == ["kill"]
    panel.freeze.value = False
    assert "frozen" not in shown(panel) and list(ladder.data[6].text) != before[0]


def test_a_panel_that_is_frozen_from_the_start_waits_for_something_to_show() -> None:
    """The first snapshot is the one that stays."""
    session = HeldSession()
    panel = SessionPanel(session, state={"frozen": True})
    assert "frozen" not in shown(panel)
    session.latest, session.link = played()[100], "open"
    panel.refresh()
    session.latest = played()[200]
    panel.refresh()
    assert "View frozen" in shown(panel) and panel._snapshot is played()[100]


@pytest.mark.parametrize(
    ("link", "parts", "offered"),
    [
        ("open", {}, False),
        ("lost", {}, True),
        ("closed", {}, True),
        ("open", {"status": {"state": RunState.KILLED, "unconfirmed": True}}, True),
        ("closed", {"status": {"state": RunState.KILLED, "phase": Phase.ENDED, "open_orders": 0}}, False),
    ],
)
def test_shell_line_is_at_hand_when_orders_are_unknown(link: str, parts: dict[str, Any], offered: bool) -> None:
    """Then, and only then, a button copies it, and the figures have a grey border."""
    session = held(**parts)
    session.link = link
    panel = SessionPanel(session)
    assert (panel.copy_kill.layout.display is None) is offered
    assert ("gk-stale" in panel._body._dom_classes) is offered
    panel.copy_kill.click()
    assert panel.beacon.copied["text"] == "grinder kill btc"


def test_copied_lines_bring_the_panel_back() -> None:
    """They name the session, and what was set and is not as in a new panel."""
    panel = SessionPanel(held(), state={"rows": 12})
    panel.copy.click()
    code = panel.beacon.copied["text"]
    assert "session = gk.Session.attach('btc')\ngw.SessionPanel(session, state={'rows': 12})" in code
    compile(code, "copied", "exec")
    panel.copy.click()
    assert panel.beacon.copied["number"] == 2, "the same text can be copied twice"


def test_theme_follows_the_page() -> None:
    """What the browser reports colours figures and page, also those tabs that are shown later."""
    panel = SessionPanel(held())
    panel.beacon.theme = "dark"
    paper = theme.DARK.paper
    assert panel._ladder.figure.layout.template.layout.paper_bgcolor == paper
    assert panel._tabs["P&L"].live.figure.layout.template.layout.paper_bgcolor == paper and paper in panel._style.value
    panel.tabs.selected_index = TABS.index("Latency")
    assert panel._tabs["Latency"].live.figure.layout.template.layout.paper_bgcolor == paper
    panel.beacon.theme = "light"
    panel.tabs.selected_index = 0
    assert panel._tabs["P&L"].live.figure.layout.template.layout.paper_bgcolor == theme.LIGHT.paper


def test_changes_of_state_are_announced_once() -> None:
    """Who cannot see the banner hears its word when it changes, and not at every look."""
    session = held()
    panel = SessionPanel(session)
    assert panel.beacon.said == {}
    session.latest = changed(session.latest, status={"state": RunState.PAUSED})
    panel.refresh()
    panel.refresh()
    assert panel.beacon.said["number"] == 1 and panel.beacon.said["text"].startswith("PAUSED. since")


def test_a_view_that_fails_says_so_and_keeps_its_buttons() -> None:
    """A fault of the view is told in words; the session can be killed all the same."""
    session = held(about={"tick": "not a number"})
    panel = SessionPanel(session)
    assert "This view failed" in shown(panel) and "the session runs on" in shown(panel)
    panel.kill.click()
    panel.settle()
    assert session.asked == ["kill"] and not panel.kill.disabled


# --- steering --------------------------------------------------------------------------------------------------------


def test_each_button_gives_its_command_in_one_click() -> None:
    """Between click and answer the panel says sent, and then what the runner said, never that it is done."""
    began, go_on = threading.Event(), threading.Event()

    def slow(command: str) -> str:
        began.set()
        assert go_on.wait(30)
        return f"{command}: 14 orders are being withdrawn"

    session = HeldSession(played()[-1], slow)
    panel = SessionPanel(session)
    panel.pause.click()
    assert began.wait(30) and "Pause: sent…" in panel._answer.value
    go_on.set()
    panel.settle()
    assert "Pause: pause: 14 orders are being withdrawn" in panel._answer.value
    assert panel.beacon.said["text"] == "Pause: pause: 14 orders are being withdrawn"
    for button in (panel.resume, panel.flatten, panel.kill):
        button.click()
        panel.settle()
    assert session.asked == ["pause", "resume", "flatten", "kill"]


def test_flatten_takes_the_way_that_is_chosen() -> None:
    """At once unless another way is chosen; going on with a schedule is offered while there is one, and then no more."""
    session = held(status={"order_size": Decimal("0.002")}, money={"position": Decimal("0.006")})
    panel = SessionPanel(session, state={"way": "iceberg"})
    for way in ("iceberg", "over 5 min", "at once"):
        panel.way.value = way
        panel.flatten.click()
        panel.settle()
    assert session.asked == ["flatten show=0.002", "flatten twap_s=300.0", "flatten"]
    begun, progress = (
        {"done": Decimal("0.001"), "total": Decimal("0.004"), "over_s": 600.0},
        "over 10 min: 1 of 4 slices",
    )
    before = session.latest
    session.latest = changed(before, status={"state": RunState.PAUSED, "progress": progress}, exit=begun)
    panel.refresh()
    assert 'aria-valuenow="25"' in shown(panel) and "The way out is unfinished, over 10 min" in shown(panel)
    panel.way.value = "go on"
    panel.flatten.click()
    panel.settle()
    assert session.asked[-1] == "flatten twap_s=600.0"
    session.latest = before
    panel.refresh()
    assert panel.state.way == panel.way.value == "at once" and "progressbar" not in shown(panel)


def test_an_iceberg_stays_chosen_while_the_position_is_flat() -> None:
    """What was chosen does not become at once because a position went through zero."""
    session = held(status={"order_size": Decimal("0.002")}, money={"position": Decimal(0)})
    panel = SessionPanel(session, state={"way": "iceberg"})
    session.latest = changed(session.latest, money={"position": Decimal("0.006")})
    panel.refresh()
    assert panel.way.value == panel.state.way == "iceberg" and panel.way.label == "iceberg, 0.002 shown"


def test_refusals_are_told_in_words() -> None:
    """What a runner refuses stands there with its reason; a kill that failed names the shell's way; a bug is no silence."""

    def no(command: str) -> str:
        if command == "pause":
            raise SessionError("the session is KILLED for good; start it again")
        raise OSError("no route")

    panel = SessionPanel(HeldSession(played()[-1], no))
    panel.pause.click()
    panel.settle()
    assert "Pause was NOT done: the session is KILLED for good; start it again" in panel._answer.value
    panel.kill.click()
    panel.settle()
    assert "KILL was NOT done: no route. Run <code>grinder kill btc</code>." in panel._answer.value


def test_kill_waits_for_nothing() -> None:
    """From another thread, while the view is held up for as long as it likes."""
    done = threading.Event()
    session = HeldSession(played()[-1], lambda command: done.set() or "killed")  # type: ignore[func-returns-value]
    panel = SessionPanel(session)
    with panel._lock:
        clicker = threading.Thread(target=panel.kill.click)
        clicker.start()
        assert done.wait(30)
        clicker.join(30)
        assert not clicker.is_alive()
    panel.settle()
    assert session.asked == ["kill"]


def test_kill_works_though_nothing_can_be_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the browser's side is broken the command goes out all the same."""
    session = held()
    panel = SessionPanel(session)
    monkeypatch.setattr(panel, "_answer", None)
    panel.kill.click()
    panel.settle()
    assert session.asked == ["kill"]


def test_callbacks_of_many_threads_leave_a_whole_panel() -> None:
    """Looks, picks and tabs from several threads at once: nothing raises, and the last value stands everywhere."""
    session = held()
    panel = SessionPanel(session)
    names = [row.name for row in panel._rows if not row.rung.refused]
    errors: list[BaseException] = []

    def many(does: Callable[[int], None]) -> threading.Thread:
        def run() -> None:
            try:
                for i in range(30):
                    does(i)
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def look(i: int) -> None:
        session.latest = played()[100 + i]
        panel.refresh()

    threads = [
        many(look),
        many(lambda i: setattr(panel.level, "value", names[i % len(names)]) if i % 2 else panel.lower.click()),
        many(lambda i: setattr(panel.tabs, "selected_index", i % len(TABS))),
    ]
    for thread in threads:
        thread.join(60)
    assert errors == []
    panel.refresh()
    assert panel.level.value == (panel.state.level or "") and TABS[panel.tabs.selected_index] == panel.state.tab


# --- how much is sent ------------------------------------------------------------------------------------------------


def test_what_has_not_changed_is_not_sent(wire: Wire) -> None:
    """A look at the same snapshot sends nothing; one part that changes sends its own figure alone."""
    session = held()
    panel = SessionPanel(session)
    panel._pulsed = float("inf")  # no sign of life in between
    wire.clear()
    panel.refresh()
    assert wire.messages == []
    session.latest = changed(session.latest, status={"open_orders": 3})
    panel.refresh()
    assert wire.names() <= {"value", "disabled"}
    wire.clear()
    session.latest = changed(session.latest, money={"grid": Decimal(7)})
    panel.refresh()
    (update,) = [state["_py2js_update"] for _, _, state in wire.messages if state.get("_py2js_update")]
    assert set(update["style_data"]) <= {
        "y",
        "base",
        "text",
        "marker.color",
        "marker.line.color",
        "marker.pattern.shape",
        "textposition",
    }
    assert 5 in update["style_traces"] and not {0, 1, 2, 3, 4} & set(update["style_traces"]), "the bars, and no line"


def test_hidden_tabs_are_left_alone_and_brought_up_when_shown(wire: Wire) -> None:
    """No figure is built before it is shown; then it shows the newest, and nothing is sent to it once it is hidden again."""
    session = HeldSession(played()[100])
    panel = SessionPanel(session)
    assert [title for title, tab in panel._tabs.items() if tab.live is not None and tab.live.figure is not None] == [
        "P&L"
    ]
    panel.tabs.selected_index = TABS.index("Fills")
    fills, profit = panel._tabs["Fills"].live.figure, panel._tabs["P&L"].live.figure
    before = len(profit.data[4].x)
    wire.clear()
    session.latest = played()[240]
    panel.refresh()
    assert len(profit.data[4].x) == before and len(fills.data[0].x) > before
    assert sum(state.get("_py2js_update") is not None for _, _, state in wire.messages) == 2, "the ladder and this tab"
    panel.tabs.selected_index = 0
    assert len(profit.data[4].x) > before


def test_updates_and_first_draw_stay_within_their_budgets(wire: Wire) -> None:
    """Sixty rows, the longest curve, every tab with its table: 64 KB an update, 512 KB at first, plotly.js apart."""
    one, other = long_session()
    session = HeldSession(one)
    panel = SessionPanel(session, state={"rows": 60, "tables": True})
    assert wire.bytes < FIRST
    assert len(panel._rows) == 60
    worst = {}
    for title in TABS:
        panel.tabs.selected_index = TABS.index(title)
        session.latest = one
        panel.refresh()
        wire.clear()
        session.latest = other
        panel.refresh()
        worst[title] = wire.bytes
    assert max(worst.values()) < UPDATE, worst


def long_session() -> tuple[Snapshot, Snapshot]:
    """Return two snapshots that differ in everything and hold as much as a session tells."""
    return _long(0), _long(1)


def _long(shift: int) -> Snapshot:
    first = played()[-1]
    order = next(rung for rung in first.ladder if not rung.refused)
    wave = tuple((np.random.default_rng(shift).normal(size=1000).cumsum() + 60_000).tolist())
    minute = 60_000_000_000
    ts = tuple(1_704_067_200_000_000_000 + (shift + i) * minute for i in range(1000))
    series = replace(
        first.series,
        ts_ns=ts,
        mid=wave,
        position=wave,
        equity=wave,
        grid=wave,
        trend=wave,
        commission=wave,
        funding=wave,
    )
    ladder = tuple(
        replace(
            order, key=f"{side.letter}{i}", level_id=f"{side}_{i}", side=side, price=Decimal("60400.5") - 4 * i + shift,
            age_s=10.0 + shift, queue_ahead=Decimal("0.125") + shift, queue_s=4.5 + shift, client_order_id=f"gkse40605e-{i}-mww{shift}",
        )
        for i in range(200)
        for side in (Side.SELL if i < 100 else Side.BUY,)
    )  # fmt: skip
    whole = replace(
        first,
        series=series,
        ladder=ladder,
        fills=tuple(replace(first.fills[i % len(first.fills)], ts_ns=ts[i]) for i in range(200)),
        trips=tuple(
            replace(first.trips[i % len(first.trips)], ts_ns=ts[i], net_bps=wave[i] - 60_000) for i in range(200)
        ),
        notices=tuple(
            replace(first.notices[0], ts_ns=ts[i], text="something happened " * 8, context=(("mode", "detect" * 55),))
            for i in range(200)
        ),
        latency=tuple(
            replace(
                one,
                operation=operation,
                count=500,
                timeouts=5,
                ms=tuple((10 + shift + np.arange(200) / 7).tolist()),
                share=tuple((np.arange(200) / 205).tolist()),
                censored_ms=(5_000.0 + shift,) * 5,
            )
            for one in first.latency[:1]
            for operation in OPERATIONS
        ),
    )
    parts = {"money": {"grid": Decimal(shift + 1)}, "status": {"epoch": shift}, "counts": {"fills": 5000 + shift}}
    return changed(whole, **parts)


def redraw(panel: SessionPanel, session: HeldSession, times: int) -> None:
    """Draw so many snapshots, each another than the last, tab after tab."""
    snapshots = played()
    for i in range(times):
        session.latest = snapshots[1 + i % (len(snapshots) - 1)]
        if i % 10 == 0:
            panel.tabs.selected_index = (i // 10) % len(TABS)
        panel.refresh()


def grown(times: int) -> float:
    """Return by how much memory grows (bytes) in so many redraws, after everything has been drawn before."""
    session = HeldSession(played()[-1])
    panel = SessionPanel(session)
    redraw(panel, session, 60)
    tracemalloc.start()
    redraw(panel, session, 120)  # and once more, now that it is watched
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    redraw(panel, session, times)
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return after - before


#: What plotly keeps in caches and drops again, seen from one moment to another; a drawing that is kept each time would be megabytes.
CACHES = 500_000


def test_redraws_keep_nothing() -> None:
    """After some redraws there is no more than there was."""
    assert grown(240) < CACHES


@pytest.mark.slow
def test_ten_thousand_redraws_keep_nothing() -> None:
    """And after many neither: memory is flat."""
    assert grown(10_080) < CACHES


# --- time and life ---------------------------------------------------------------------------------------------------


def test_panel_follows_by_itself_until_it_is_closed() -> None:
    """On a running loop it looks at the session of its own accord, tells the browser that it lives, and stops when closed."""
    session = HeldSession(played()[100])

    async def main() -> None:
        panel = SessionPanel(session)
        session.latest = played()[200]
        async with asyncio.timeout(30):
            while panel._snapshot is not played()[200] or panel.beacon.beat < 2:
                await asyncio.sleep(0.01)
        panel.close()
        assert panel._timer is not None and panel._timer.cancelled()

    asyncio.run(main())


def test_a_look_that_fails_is_not_the_last() -> None:
    """What raises once is told, and the next look shows again what there is."""
    session = held()

    async def main() -> None:
        panel = SessionPanel(session)
        good, session.latest = session.latest, 1  # type: ignore[assignment]
        async with asyncio.timeout(30):
            while "This view failed" not in shown(panel):
                await asyncio.sleep(0.01)
            session.latest = played()[50]
            while panel._snapshot is not played()[50]:
                await asyncio.sleep(0.01)
        assert good is not None
        panel.close()

    asyncio.run(main())


def test_beacon_has_what_the_browser_needs() -> None:
    """Its module has no import and reaches nothing outside the page."""
    beacon = gw.Beacon(late_s=2.0, busy="busy", gone="gone")
    beat = beacon.beat
    beacon.pulse()
    assert beacon.beat == beat + 1 and beacon.sent_ms > 1.7e12
    assert (beacon.late_s, beacon.busy, beacon.gone, beacon.theme) == (2.0, "busy", "gone", "")
    assert "import " not in beacon._esm and "http" not in beacon._esm and "innerHTML" not in beacon._esm
    for one in list(family(beacon)):
        one.close()
