"""The controls of a grid tuner: what can be set, where each stands, and what is said beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from typing import Any

import ipywidgets as widgets

from grinder_kit.tuning.space import Dimension, word
from grinder_widgets.controls import button, hear_while_busy
from grinder_widgets.tuner_state import LETTERS, METRICS, RULES, SHOWN, TunerState, label, named
from grinder_widgets.tuner_view import Tuned

_COLUMNS = "repeat(auto-fit, minmax(min(100%, 300px), 1fr))"
_WIDTH = "120px"
_TENTH = Decimal("0.1")
HIGHEST_PROB = 0.9


class Controls:
    """The controls as widgets, with the names of the fields of :class:`TunerState` that they set.

    Parameters
    ----------
    tuned : Tuned
    state : TunerState

    Attributes
    ----------
    figures_box, what_if_box, pins_box : Widget
        What stands above the figures, and below them.
    x, y, colour, map_x, map_y, show, hide_floor, rule, rank, compare, table : Widget
    what_if : dict
        A control for each parameter that can be tried, by its name.
    pin : Button
    """

    def __init__(self, tuned: Tuned, state: TunerState) -> None:
        self._setter: int | None = None  # the thread that moves controls itself
        self._tuned = tuned
        parameters = [(label(name), name) for name in tuned.dimensions]
        metrics = [(metric.words, name) for name, metric in METRICS.items()]
        first = next(iter(tuned.dimensions))
        second = next((name for name in tuned.dimensions if name != first), first)
        self.x = _dropdown("x", [*metrics, *parameters], state.x, "What the front gives up")
        self.y = _dropdown("y", metrics, state.y, "What the front gains, and what the map shows")
        self.colour = _dropdown("colour", [*parameters, *metrics], state.colour or first, "Colour of the front's marks")
        self.map_x = _dropdown("map across", parameters, state.map_x or first, "Parameter along the map")
        self.map_y = _dropdown("map up", parameters, state.map_y or second, "Parameter up the map")
        self.rule = _dropdown(
            "pick rule", [(words, rule.value) for rule, words in RULES.items()], state.rule, "How one trial is chosen"
        )
        self.show = widgets.ToggleButtons(
            options=list(SHOWN), value=state.show, description="show",
            style={"button_width": "94px", "description_width": "40px"},
        )  # fmt: skip
        self.hide_floor = widgets.Checkbox(
            state.hide_floor, description="hide inside fee floor", indent=False, layout={"width": "auto"},
            tooltip="Leave out grids whose spacing does not pay the fees of a round trip",
        )  # fmt: skip
        self.rank = widgets.BoundedIntText(
            0, min=0, max=len(tuned.study.complete), description="trial by rank", layout={"width": "220px"},
            style={"description_width": _WIDTH}, tooltip="By the lower end on the test part, the same as clicking a mark; 0 is no trial",
        )  # fmt: skip
        self.table = widgets.ToggleButton(
            state.table, description="Table", tooltip="Show the figures' numbers as tables", layout={"width": "auto"}
        )
        self.compare = widgets.ToggleButton(
            state.compare, description="Compare", tooltip="Show the pins side by side", layout={"width": "auto"}
        )
        self.pin = button("Pin", f"Keep what is tried, at most {len(LETTERS)}", lambda _: self._pinned())
        self.what_if = {name: self._tried(name) for name in tuned.names}
        self._fields = {
            "x": self.x, "y": self.y, "colour": self.colour, "map_x": self.map_x, "map_y": self.map_y, "rule": self.rule,
            "show": self.show, "hide_floor": self.hide_floor, "compare": self.compare, "table": self.table,
        }  # fmt: skip
        self._pinned: Callable[[], None] = lambda: None
        self._unpinned: Callable[[int], None] = lambda _: None
        self.pins_box = widgets.HBox((), layout={"flex_flow": "row wrap", "align_items": "center"})
        self.all = (*self._fields.values(), self.rank, *self.what_if.values())
        for control in (*self.all, self.pin):
            hear_while_busy(control)
        grid = {"grid_template_columns": _COLUMNS, "width": "auto", "align_items": "center"}
        self.figures_box = widgets.GridBox(
            (self.x, self.y, self.colour, self.map_x, self.map_y, self.rule, self.show, self.rank, self.hide_floor),
            layout=grid,
        )
        self.what_if_box = widgets.GridBox(tuple(self.what_if.values()), layout=grid)

    def _tried(self, name: str) -> Any:
        """Return the control of a parameter: as wide as the study's range."""
        look = {
            "description": label(name), "tooltip": f"What if {name} were this", "style": {"description_width": _WIDTH},
            "layout": {"flex": "1 1 auto", "width": "auto", "min_width": "240px"},
        }  # fmt: skip
        one = self._tuned.dimensions.get(name)
        if one is None:
            if name == "size":
                return widgets.Text("", continuous_update=False, **look)
            return widgets.FloatSlider(0.0, min=0, max=HIGHEST_PROB, step=0.01, readout_format=".2f", **look)
        if one.choices:
            choices = [(word(choice), named(name, choice)) for choice in one.choices]
            return widgets.Dropdown(options=choices, **look)
        if isinstance(one.low, int):
            return widgets.IntSlider(one.low, min=one.low, max=one.high, step=one.step, **look)
        step = _step(one)
        digits = max(0, -int(step.normalize().as_tuple().exponent))
        return widgets.FloatSlider(
            float(one.low),
            min=float(one.low),
            max=float(one.high),
            step=float(step),
            readout_format=f".{digits}f",
            **look,
        )

    def settled(self, name: str, value: Any) -> Any:
        """Return what a control says as its parameter: sliders count in steps of a binary fraction."""
        one = self._tuned.dimensions.get(name)
        if one is None:
            return round(value, 2) if isinstance(value, float) else value.strip()
        if one.choices or isinstance(value, int):
            return value
        step, low = _step(one), Decimal(str(one.low))
        exact = low + round((Decimal(repr(value)) - low) / step) * step
        return named(name, type(one.low)(exact))

    def observe(
        self,
        moved: Callable[..., None],
        tried: Callable[[str, Any], None],
        ranked: Callable[[int], None],
        pinned: Callable[[], None],
        unpinned: Callable[[int], None],
    ) -> None:
        """Tell who asks what a person sets: a field of the state, a parameter, a trial by its rank, a pin more or less."""

        def hear(control: Any, tell: Callable[[Any], None]) -> None:
            control.observe(
                lambda change: None if self._setter == threading.get_ident() else tell(change["new"]), "value"
            )

        for name, control in self._fields.items():
            hear(control, lambda new, name=name: moved(**{name: new}))  # type: ignore[misc]
        for name, control in self.what_if.items():
            hear(control, lambda new, name=name: tried(name, self.settled(name, new)))  # type: ignore[misc]
        hear(self.rank, ranked)
        self._pinned, self._unpinned = pinned, unpinned

    def stand(self, state: TunerState, values: Mapping[str, Any], along: tuple[str, str], rank: int) -> None:
        """Let every control stand where its value is; nobody is told. `values` are those of sliders to be moved."""
        with self._silence():
            self.rule.value, self.show.value, self.compare.value = state.rule, state.show, state.compare
            self.map_x.value, self.map_y.value = along
            for name, value in values.items():
                control = self.what_if[name]
                control.value = _stands(control, value) if name in self._tuned.dimensions else value
            self.rank.value = rank

    def show_pins(self, labels: Sequence[str]) -> None:
        """Show the pins, each as a button that takes it away."""
        self.pin.disabled = len(labels) == len(LETTERS)
        shown = [child.description for child in self.pins_box.children]
        if shown == [f"{text} ×" for text in labels]:
            return
        before = self.pins_box.children
        made = [button(f"{text} ×", f"Unpin {LETTERS[at]}", partial(self._unpin, at)) for at, text in enumerate(labels)]
        for one in made:
            hear_while_busy(one)
        self.pins_box.children = tuple(made)
        for old in before:
            for part in (old.layout, old.style, old):
                part.close()

    def _unpin(self, at: int, _button: Any) -> None:
        self._unpinned(at)

    @contextmanager
    def _silence(self) -> Iterator[None]:
        self._setter = threading.get_ident()
        try:
            yield
        finally:
            self._setter = None


def _stands(control: Any, value: Any) -> Any:
    """Return a parameter as its control takes it; one beyond the slider's end stands at it."""
    if hasattr(control, "options"):
        return value
    number = type(control.value)(value)
    return min(max(number, control.min), control.max)


def _step(one: Dimension) -> Decimal:
    """Return how finely a range may be tried: bps by a tenth, anything else as the study did."""
    return _TENTH if one.name.endswith("_bps") else Decimal(str(one.step))


def _dropdown(text: str, options: list[tuple[str, str]], value: str, tooltip: str) -> Any:
    return widgets.Dropdown(
        options=options, value=value, description=text, tooltip=tooltip, style={"description_width": _WIDTH},
        layout={"width": "auto", "height": "auto"},
    )  # fmt: skip
