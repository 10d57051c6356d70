"""What a person has set in a fill explorer, as a value that can be kept and brought back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from typing import Any

from grinder_kit.errors import ConfigError
from grinder_kit.model.number import exact
from grinder_kit.model.section import did_you_mean

CURVE, MAP, TIME, CALIBRATION = TABS = ("Curve", "Map", "Time", "Calibration")
MODEL, HEURISTIC, OBSERVED = LAYERS = ("model", "heuristic", "observed")
SIDES = ("buy", "sell")
QUEUE_WORDS = {"risk_averse": "risk-averse", "power": "power 2", "pro_rata": "pro-rata", "optimistic": "optimistic"}
HORIZONS_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)  # labels are watched for 60 s
SIZES_QUOTE = tuple(Decimal(size) for size in (120, 1_000, 10_000, 60_000, 300_000))
LATENCIES_MS = (0.0, 10.0, 35.0, 100.0)
#: Lowest and highest value of each slider.
RANGES = {
    "distance_bps": (0.0, 60.0),
    "queue_s": (0.01, 300.0),
    "sigma": (0.1, 20.0),
    "imb_own": (-1.0, 1.0),
    "ofi_z": (-5.0, 5.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplorerState:
    """What a person has set in a fill explorer.

    Parameters
    ----------
    side : str
        ``buy`` or ``sell``.
    distance_bps : float
        From mid to the order, 0 to 60; up to half the spread it stands at the touch.
    horizon_s : float
        One of `HORIZONS_S`.
    queue_s : float or None
        Quantity ahead over the traded rate, .01 to 300 s; None is the median at the touch.
    sigma : float or None
        Volatility, .1 to 20 bps per square root of a second; None is the median.
    imb_own : float
        Imbalance, -1 to 1; above 0 the own side is heavier.
    ofi_z : float
        z-score of order flow, -5 to 5; above 0 buyers press.
    model : str or None
        Name of the model; None is the first.
    layers : tuple of str
        Which of `LAYERS` are drawn.
    size_quote : Decimal or None
        Notional of the labels' orders, quote; None is that of the labels.
    latency_ms : float or None
        Of the labels' orders; None is that of the labels.
    queue : str
        Queue model that fills the labels.
    tab : str
        One of `TABS`.
    table : bool
        Whether the figure's numbers stand below it as a table.

    Raises
    ------
    ConfigError
        For a value that an explorer cannot have.
    """

    side: str = SIDES[0]
    distance_bps: float = 2.0
    horizon_s: float = 10.0
    queue_s: float | None = None
    sigma: float | None = None
    imb_own: float = 0.0
    ofi_z: float = 0.0
    model: str | None = None
    layers: tuple[str, ...] = LAYERS
    size_quote: Decimal | None = None
    latency_ms: float | None = None
    queue: str = "power"
    tab: str = CURVE
    table: bool = False

    def __post_init__(self) -> None:
        for name, known in (("side", SIDES), ("queue", QUEUE_WORDS), ("tab", TABS)):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; write one of {', '.join(known)}")
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if value is None and name in ("queue_s", "sigma"):
                continue
            if not _is_number(value) or not low <= value <= high:
                raise ConfigError(f"{name} is {value!r}; write a number from {low:g} to {high:g}")
            object.__setattr__(self, name, float(value))
        if not _is_number(self.horizon_s) or self.horizon_s not in HORIZONS_S:
            raise ConfigError(
                f"horizon_s is {self.horizon_s!r}; write one of {', '.join(f'{h:g}' for h in HORIZONS_S)} seconds"
            )
        object.__setattr__(self, "horizon_s", float(self.horizon_s))
        layers: object = self.layers
        if not isinstance(layers, tuple | list) or not set(layers) <= set(LAYERS):
            raise ConfigError(f"layers is {self.layers!r}; write some of {', '.join(LAYERS)}, as a tuple")
        object.__setattr__(self, "layers", tuple(layer for layer in LAYERS if layer in self.layers))
        if self.size_quote is not None:
            object.__setattr__(self, "size_quote", exact(self.size_quote, "size_quote"))
            if self.size_quote <= 0:
                raise ConfigError(f"size_quote is {self.size_quote}; write a notional above 0, such as 120")
        if self.latency_ms is not None:
            if not _is_number(self.latency_ms) or not 0 <= self.latency_ms <= 60_000:
                raise ConfigError(f"latency_ms is {self.latency_ms!r}; write ms from 0 to 60,000")
            object.__setattr__(self, "latency_ms", float(self.latency_ms))
        if self.model is not None and not isinstance(self.model, str):
            raise ConfigError(f"model is {self.model!r}; write a model's name, or None for the first")
        if not isinstance(self.table, bool):
            raise ConfigError(f"table is {self.table!r}; write True or False")

    @classmethod
    def of(cls, given: ExplorerState | Mapping[str, Any] | None) -> ExplorerState:
        """Return a state from what was given; unknown keys raise ConfigError."""
        if isinstance(given, ExplorerState):
            return given
        known = [field.name for field in fields(cls)]
        for name in given or {}:
            if name not in known:
                raise ConfigError(f"an explorer has no {name!r}{did_you_mean(name, known)}; it has {', '.join(known)}")
        return cls(**(given or {}))

    def changed(self) -> dict[str, object]:
        """Return what differs from a new explorer, in types that Python code can name."""
        new = asdict(ExplorerState())
        found = {name: value for name, value in asdict(self).items() if value != new[name]}
        return {
            name: f"{value.normalize():f}" if isinstance(value, Decimal) else value for name, value in found.items()
        }


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
