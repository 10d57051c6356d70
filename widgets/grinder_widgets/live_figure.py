"""A figure that lives in a notebook: drawn anew as a dict each time, and told only what differs from the last one."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets
import plotly.graph_objects as go
import traitlets

from grinder_widgets.session_figures import Spec, changes

_EXPORTED = re.compile(r"export\{(\w+) as FigureModel,(\w+) as FigureView,(\w+) as default\};")
# After each change it compares all of a figure with what was sent, and sends the differences: half of the time that a change takes.
_DELTAS = re.compile(r"this\._send(?:TraceDeltas|LayoutDelta)\([\w.]+\)")
_LETTING_GO = r"""
export default () => {
  const widget = \3(), heard = [];
  return {
    initialize({ model }) {
      widget.initialize({ model: { ...model, on: (name, call) => { heard.push(() => model.off(name, call)); model.on(name, call); } } });
    },
    render({ el }) {
      const before = heard.length, close = widget.render({ el }), mine = heard.splice(before);
      // Drawn before it has a place in the page it has guessed its width; being `responsive`, it hears of a resize.
      const placed = new ResizeObserver(() => { if (el.clientWidth) { placed.disconnect(); dispatchEvent(new Event("resize")); } });
      placed.observe(el);
      return () => { placed.disconnect(); mine.forEach(off => off()); close(); };
    },
  };
};
"""


class _Figure(go.FigureWidget):  # type: ignore[misc]
    """A figure whose views let go of it when they are taken away, and that does not listen to what the browser makes of it.

    A view of plotly's that was taken away goes on listening: it draws into nothing and raises, and the views after it do not hear.

    plotly.py takes the defaults that the browser has filled in, and drops what it holds itself where both have a value. While
    updates follow each other that races: it raises on an array, or removes one that was just sent. Here nothing reads the defaults.
    """

    _esm = _DELTAS.sub("void 0", _EXPORTED.sub(_LETTING_GO, str(go.FigureWidget._esm)))

    _js2py_traceDeltas = traitlets.Dict(allow_none=True)
    _js2py_layoutDelta = traitlets.Dict(allow_none=True)


class LiveFigure:
    """A FigureWidget that is built once, when it is first shown, and then told only what changes.

    Parameters
    ----------
    on_click : callable, optional
        Told the index of the point of the first trace that was clicked.
    """

    def __init__(self, on_click: Callable[[int], None] | None = None) -> None:
        self.box = widgets.Box(layout={"width": "auto", "min_width": "0", "overflow": "hidden", "display": "block"})
        self.figure: Any = None
        self._on_click = on_click
        self._spec: Spec = {}

    def show(self, spec: Spec) -> None:
        """Show a drawing."""
        if self.figure is None:
            self.figure = _Figure(spec)
            self.figure._config = self.figure._config | {
                "displaylogo": False,
                "displayModeBar": False,
                "responsive": True,
            }
            if self._on_click is not None:
                self.figure.data[0].on_click(self._clicked)
            self.box.children = (self.figure,)
        elif found := changes(self._spec, spec):
            with self.figure.batch_update():
                for trace, values in zip(self.figure.data, found.traces, strict=True):
                    for path, value in values.items():
                        trace[path] = value
                for path, value in found.layout.items():
                    self.figure.layout[path] = value
        self._spec = spec

    def _clicked(self, _trace: Any, points: Any, _state: Any) -> None:
        if self._on_click is not None and points.point_inds:
            self._on_click(points.point_inds[0])
