"""The figures of a fill explorer, each in a tab of its own with what stands below it; only the one that is seen is drawn."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import ipywidgets as widgets

from grinder_widgets import explorer_figures as figures
from grinder_widgets import explorer_view as view
from grinder_widgets import explorer_words as words
from grinder_widgets.controls import hear_while_busy
from grinder_widgets.explorer_evidence import Evidence
from grinder_widgets.explorer_models import Explored
from grinder_widgets.explorer_state import CURVE, MAP, TABS, TIME, ExplorerState
from grinder_widgets.live_figure import LiveFigure
from grinder_widgets.markup import escape
from grinder_widgets.theme import Palette

#: Returns the calibration of what is shown; or None, and why there is none.
Calibrated = Callable[[], tuple[view.Calibration | None, str]]


class Tabs:
    """Four figures.

    Attributes
    ----------
    box : Tab
    live : dict
        The figure of each tab.
    below, rows : dict
        How to read it, and its numbers as a table.
    """

    def __init__(self, tab: str) -> None:
        self.live = {title: LiveFigure() for title in TABS}
        self.below = {title: widgets.HTML(layout={"width": "auto"}) for title in TABS}
        self.rows = {title: widgets.HTML(layout={"width": "auto"}) for title in TABS}
        pages = [
            widgets.VBox(
                (self.live[title].box, self.below[title], self.rows[title]),
                layout={"overflow": "hidden", "min_height": f"{figures.HEIGHT}px", "width": "auto"},
            )
            for title in TABS
        ]
        self.box: Any = widgets.Tab(pages, titles=TABS, selected_index=TABS.index(tab), layout={"width": "auto"})
        hear_while_busy(self.box)

    def observe(self, chosen: Callable[..., None]) -> None:
        """Tell who asks which tab a person looks at, as a field of the state."""
        self.box.observe(lambda change: chosen(tab=TABS[change["new"] or 0]), "selected_index")

    def show(
        self,
        said: view.Answer,
        model: Explored,
        evidence: Evidence,
        state: ExplorerState,
        theme: Palette,
        calibrated: Calibrated,
    ) -> None:
        """Draw the tab that is seen; what is hidden stays as it was."""
        tab, layers = state.tab, state.layers
        below = "".join(f'<p class="note">{escape(text)}</p>' for text in words.how_to_read(evidence))
        rows: Callable[[], str]
        if tab == CURVE:
            curve = view.curve(said, model, evidence, layers)
            drawing, rows = figures.curve(curve, theme=theme), partial(words.curve_table, curve)
        elif tab == MAP:
            by_both = view.probability_map(said, model, evidence)
            drawing, rows = figures.probability_map(by_both, theme=theme), partial(words.map_table, by_both)
            below = ""
        elif tab == TIME:
            by_time = view.time_to_fill(said, model, evidence, layers)
            drawing, rows = figures.time_to_fill(by_time, theme=theme), partial(words.time_table, by_time)
        else:
            scored, why = calibrated()
            drawing = figures.calibration(scored, why, theme=theme)
            rows = partial(words.bins_table, scored) if scored is not None else str
            below = "" if scored is None else words.scores_table(scored)
        self.live[tab].show(drawing)
        self.below[tab].value = below
        self.rows[tab].value = rows() if state.table else ""
