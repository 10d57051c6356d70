"""Pieces that views with controls share: buttons, who hears them, and what goes when a view goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import ipywidgets as widgets

from grinder_widgets import panel_html
from grinder_widgets.theme import Palette


def button(text: str, tooltip: str, does: Callable[[Any], None], **looks: Any) -> Any:
    """Return a button that does something."""
    made = widgets.Button(description=text, tooltip=tooltip, **({"layout": {"width": "auto"}} | looks))
    made.on_click(does)
    return made


def hear_while_busy(control: Any) -> None:
    """Let the browser choose where the kernel hears of a control.

    JupyterLab chooses a subshell, a thread of its own that no cell keeps busy. ipykernel 7.4 overrules it: it hears a widget where
    it last wrote to it, which is behind the cell (`BaseComm._reply_subshell_for`). Other versions have no such method.
    """
    if control.comm is not None:
        control.comm._reply_subshell_for = lambda _data, chosen: chosen


def family(widget: Any) -> Iterator[Any]:
    """Yield a widget and all that belongs to it, looks too: each has a model of its own in the browser."""
    for child in getattr(widget, "children", ()):
        yield from family(child)
    for name in ("layout", "style"):
        if isinstance(look := getattr(widget, name, None), widgets.Widget):
            yield look
    yield widget


def look(palette: Palette) -> str:
    """Return the style sheet of a view with controls and figures."""
    return panel_html.style(palette) + (
        "<style>.gk-computing .js-plotly-plot { opacity:.5; } .gk-small { color:var(--gk-muted); font-size:11px; } "
        ".gk-panel .widget-toggle-buttons { display:flex; flex-flow:row; align-items:center; }</style>"
    )
