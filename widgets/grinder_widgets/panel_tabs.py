"""The tabs of the panel: which parts of a snapshot each shows, and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ipywidgets as widgets

from grinder_kit.session.snapshot import Snapshot
from grinder_widgets import session_figures as figures
from grinder_widgets.live_figure import LiveFigure
from grinder_widgets.panel_html import BELOW, TABLES
from grinder_widgets.theme import Palette


@dataclass(frozen=True, slots=True)
class _Drawing:
    """A figure of a tab: the parts of the snapshot that it shows, and how."""

    parts: tuple[str, ...]
    draw: Callable[[Snapshot, Palette], figures.Spec]


_DRAWINGS = {
    "P&L": _Drawing(("series", "money"), lambda s, p: figures.profit(s.series, s.money, s.about, theme=p)),
    "Fills": _Drawing(("series", "fills", "counts"), lambda s, p: figures.fills(s.series, s.fills, s.counts, s.about, theme=p)),
    "Round trips": _Drawing(("trips", "counts"), lambda s, p: figures.round_trips(s.trips, s.counts, theme=p)),
    "Ribbon score": _Drawing(("ribbon", "forecast"), lambda s, p: figures.ribbon(s.ribbon, s.forecast, theme=p)),
    "Latency": _Drawing(("latency",), lambda s, p: figures.latency(s.latency, theme=p)),
}  # fmt: skip


class PanelTab:
    """One tab: a figure where it has one, what always stands below it, and a table; none is touched while it is hidden."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.drawing = _DRAWINGS.get(title)
        self.live = LiveFigure() if self.drawing is not None else None
        self.below = widgets.HTML(layout={"width": "auto"})
        self.rows = widgets.HTML(layout={"width": "auto"})
        figure = () if self.live is None else (self.live.box,)
        self.box = widgets.VBox(
            (*figure, self.below, self.rows), layout={"overflow": "hidden", "min_height": "340px", "width": "auto"}
        )
        self._drawn: tuple[Any, ...] = ()
        self._stood: tuple[Any, ...] = ()
        self._listed: tuple[Any, ...] = ()

    def show(self, snapshot: Snapshot, palette: Palette, tables: bool) -> None:
        """Bring it up to date: what shows the same parts as before is left alone."""
        if self.drawing is not None and self.live is not None:
            seen = (palette, *(getattr(snapshot, part) for part in self.drawing.parts))
            if not same(seen, self._drawn):
                self.live.show(self.drawing.draw(snapshot, palette))
                self._drawn = seen
        if self.title in BELOW:
            parts, always = BELOW[self.title]
            seen = tuple(getattr(snapshot, part) for part in parts)
            if not same(seen, self._stood):
                self.below.value = always(snapshot)
                self._stood = seen
        parts, listed = TABLES[self.title]
        wanted = tables or self.drawing is None
        seen = (wanted, *(getattr(snapshot, part) for part in parts if wanted))
        if not same(seen, self._listed):
            self.rows.value = listed(snapshot) if wanted else ""
            self._listed = seen


def same(now: tuple[Any, ...], before: tuple[Any, ...]) -> bool:
    """Whether the same was shown before; what is the same object need not be compared."""
    return len(now) == len(before) and all(new is old or new == old for new, old in zip(now, before, strict=True))
