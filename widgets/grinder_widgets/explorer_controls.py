"""The controls of a fill explorer: what can be set, where each stands, and what is said beside it."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from typing import Any

import ipywidgets as widgets

from grinder_widgets.controls import hear_while_busy
from grinder_widgets.explorer_models import Asked
from grinder_widgets.explorer_state import (
    HORIZONS_S,
    LATENCIES_MS,
    LAYERS,
    QUEUE_WORDS,
    RANGES,
    SIZES_QUOTE,
    ExplorerState,
)
from grinder_widgets.markup import escape
from grinder_widgets.theme import count

_COLUMNS = "repeat(auto-fit, minmax(min(100%, 330px), 1fr))"


class Controls:
    """The controls as widgets, with the names of the fields of :class:`ExplorerState` that they set.

    Parameters
    ----------
    state : ExplorerState
    models : iterable of str
        Names to choose from.
    sizes, latencies : tuple
        Of the labels: those that can be chosen, the first unless the state says otherwise.

    Attributes
    ----------
    box : VBox
        What stands above the figure.
    labels_box : HBox
        What the labels are made of.
    side, horizon, distance, sigma, queue_s, imb_own, ofi_z, model, size, latency, queue, table : Widget
    layers : dict
        A checkbox for each.
    """

    def __init__(
        self,
        state: ExplorerState,
        models: Iterable[str],
        sizes: tuple[Decimal, ...] = SIZES_QUOTE,
        latencies: tuple[float, ...] = LATENCIES_MS,
    ) -> None:
        self._setter: int | None = None  # the thread that moves controls itself
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
        names = list(models)
        self.model = _dropdown(
            "model", [(name.replace("_", " "), name) for name in names], state.model or (names[0] if names else None)
        )
        self.queue = _dropdown("queue model", [(QUEUE_WORDS[name], name) for name in QUEUE_WORDS], state.queue)
        size = sizes[0] if state.size_quote is None else state.size_quote
        self.size = widgets.SelectionSlider(
            options=[(count(int(one)) if one == int(one) else f"{one:f}", one) for one in sorted({*sizes, size})], value=size,
            continuous_update=False, **_slider("size, quote", "Notional of the labels' orders"),
        )  # fmt: skip
        latency = latencies[0] if state.latency_ms is None else state.latency_ms
        self.latency = widgets.SelectionSlider(
            options=[(f"{one:g} ms", one) for one in sorted({*latencies, latency})], value=latency, continuous_update=False,
            **_slider("latency", "From the decision to the queue"),
        )  # fmt: skip
        self.table = widgets.ToggleButton(
            state.table, description="Table", tooltip="Show the figure's numbers as a table", layout={"width": "auto"}
        )
        self.layers = {
            layer: widgets.Checkbox(
                layer in state.layers,
                description=layer,
                indent=False,
                layout={"width": "auto", "margin": "2px 10px 2px 0"},
            )
            for layer in LAYERS
        }
        self._sliders = {
            "distance_bps": self.distance, "sigma": self.sigma, "queue_s": self.queue_s, "imb_own": self.imb_own,
            "ofi_z": self.ofi_z,
        }  # fmt: skip
        self._fields: dict[str, Any] = {
            "side": self.side, "horizon_s": self.horizon, **self._sliders, "model": self.model, "queue": self.queue,
            "table": self.table,
        }  # fmt: skip
        self.notes = {
            name: widgets.HTML(layout={"width": "auto", "margin": "-6px 0 0 104px"}) for name in self._sliders
        }
        self.all = (*self._fields.values(), *self.layers.values(), self.size, self.latency)
        for control in self.all:
            hear_while_busy(control)
        self.box = self._laid_out()
        self.labels_box = widgets.HBox(
            (self.queue, self.size, self.latency), layout={"flex_flow": "row wrap", "width": "auto"}
        )

    def _laid_out(self) -> Any:
        noted = (
            widgets.VBox((slider, self.notes[name]), layout={"width": "auto"}) for name, slider in self._sliders.items()
        )
        grid = widgets.GridBox(
            (self.side, self.horizon, *noted, self.model),
            layout={"grid_template_columns": _COLUMNS, "width": "auto", "align_items": "flex-start"},
        )
        layers = widgets.HBox(
            tuple(self.layers.values()),
            layout={"flex_flow": "row wrap", "align_items": "center", "margin": "4px 0 4px 104px"},
        )
        return widgets.VBox((grid, layers), layout={"width": "auto"})

    def observe(self, moved: Callable[..., None], relabelled: Callable[..., None]) -> None:
        """Tell who asks what a person sets, as a field of the state: of the order, or of the labels."""

        def hear(control: Any, tell: Callable[..., None], name: str, value: Callable[[Any], Any]) -> None:
            def heard(change: Any) -> None:
                if self._setter != threading.get_ident():
                    tell(**{name: value(change["new"])})

            control.observe(heard, "value")

        for name, control in self._fields.items():
            hear(control, moved, name, partial(settled, name))
        for box in self.layers.values():
            hear(box, moved, "layers", lambda _: tuple(layer for layer in LAYERS if self.layers[layer].value))
        hear(self.size, relabelled, "size_quote", lambda new: new)
        hear(self.latency, relabelled, "latency_ms", lambda new: new)

    def enable(self, ready: bool, *, size: bool = True, latency: bool = True) -> None:
        """Let the controls be moved once there is something to ask; those of the labels where the market is known."""
        for control in self.all:
            control.disabled = not ready
        self.size.disabled, self.latency.disabled = not (ready and size), not (ready and latency)

    def stand(self, state: ExplorerState, asked: Asked, model: str) -> None:
        """Let the controls stand where the state is, without hearing of it as of a person's choice.

        A slider whose value is the state's but for rounding stays: sent back while a hand moves it, it would jump.
        """
        values = {
            "side": state.side, "horizon_s": state.horizon_s, "distance_bps": state.distance_bps, "sigma": asked.sigma,
            "queue_s": asked.queue_s, "imb_own": state.imb_own, "ofi_z": state.ofi_z, "model": model, "queue": state.queue,
            "table": state.table,
        }  # fmt: skip
        with self._silence():
            for name, value in values.items():
                control = self._fields[name]
                if value not in (control.value, settled(name, control.value)):
                    control.value = value
            for layer, box in self.layers.items():
                box.value = layer in state.layers

    def stand_at_labels(self, size_quote: Decimal, latency_ms: float) -> None:
        """Let size and latency stand where those of the labels are."""
        with self._silence():
            self.size.value, self.latency.value = size_quote, latency_ms

    def note(self, notes: Mapping[str, str]) -> None:
        """Say something beside sliders, by the names of their fields."""
        for name, note in notes.items():
            self.notes[name].value = f'<span class="gk-small">{escape(note)}</span>'

    @contextmanager
    def _silence(self) -> Iterator[None]:
        self._setter = threading.get_ident()
        try:
            yield
        finally:
            self._setter = None


def settled(name: str, value: Any) -> Any:
    """Return what a control says as its field: sliders count in steps of a binary fraction, and a logarithmic one's ends are rounded.

    Examples
    --------
    >>> settled("distance_bps", 0.30000000000000004), settled("sigma", 20.000000001), settled("side", "buy")
    (0.3, 20.0, 'buy')
    """
    if name not in RANGES:
        return value
    low, high = RANGES[name]
    return min(max(float(f"{value:.4g}"), low), high)


def _slider(text: str, tooltip: str) -> dict[str, Any]:
    return {
        "description": text,
        "tooltip": tooltip,
        "style": {"description_width": "96px"},
        "layout": {"flex": "1 1 auto", "width": "auto", "min_width": "240px"},
    }


def _dropdown(text: str, options: list[tuple[str, str]], value: str | None) -> Any:
    return widgets.Dropdown(
        options=options, value=value, description=text, style={"description_width": "96px"},
        layout={"width": "auto", "height": "auto"},
    )  # fmt: skip
