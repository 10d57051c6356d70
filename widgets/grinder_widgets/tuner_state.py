"""What a person has set in a grid tuner, as a value that can be kept and brought back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from typing import Any, NamedTuple, TypeAlias

from grinder_kit.errors import ConfigError
from grinder_kit.model.config import SECTIONS
from grinder_kit.model.number import plain
from grinder_kit.model.section import did_you_mean
from grinder_kit.tuning.pick import PickRule

TEST, TRAIN, DIFFERENCE = SHOWN = ("test", "train", "difference")
LETTERS = "ABCD"
RULES = {
    PickRule.LOWER_BOUND: "best lower bound",
    PickRule.KNEE: "knee",
    PickRule.PLATEAU: "plateau",
    PickRule.NONE: "none",
}


class Metric(NamedTuple):
    """A number that each trial has on each part: how it is called, in what it is counted, whether more is better."""

    words: str
    unit: str
    more: bool


#: By their names in `Study.table`; {asset} and {base} are the instrument's.
METRICS = {
    "net_per_hour": Metric("net an hour", "{asset}", True),
    "low": Metric("lower end of net an hour", "{asset}", True),
    "round_trips": Metric("round trips", "", True),
    "fills": Metric("fills", "", True),
    "fill_rate": Metric("fills for each order", "", True),
    "fees": Metric("fees", "{asset}", False),
    "drawdown": Metric("drawdown", "{asset}", False),
    "inventory_p95": Metric("inventory (95 %)", "{base}", False),
}

#: Parameters of a configuration by their names in the space, in types that Python code can name; what is not there is as in the pick.
Values: TypeAlias = tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TunerState:
    """What a person has set in a grid tuner.

    Parameters
    ----------
    x, y : str
        Of the front: metrics, `x` also a parameter.
    colour : str or None
        Of the front's marks: a metric or a parameter; None is the first parameter.
    map_x, map_y : str or None
        Parameters along the map; None are the first and the second.
    show : str
        ``test``, ``train`` or ``difference`` (test less train).
    hide_floor : bool
        Leave out grids whose spacing does not pay the fees of a round trip.
    rule : str
        How one trial is picked, see :class:`PickRule`.
    what_if : mapping or tuple of pairs
        What is tried, by parameter; what is not named is as in the pick. ``min_fill_prob`` and ``size`` may always be named.
    pins : sequence of such mappings
        At most four.
    compare : bool
        Whether the pins are compared.
    table : bool
        Whether the figures' numbers stand below them as tables.

    Raises
    ------
    ConfigError
        For a value that no tuner can have.
    """

    x: str = "inventory_p95"
    y: str = "net_per_hour"
    colour: str | None = None
    map_x: str | None = None
    map_y: str | None = None
    show: str = TEST
    hide_floor: bool = True
    rule: str = PickRule.LOWER_BOUND.value
    what_if: Values = ()
    pins: tuple[Values, ...] = ()
    compare: bool = False
    table: bool = False

    def __post_init__(self) -> None:
        for name, known in (("show", SHOWN), ("rule", [str(rule) for rule in PickRule]), ("y", list(METRICS))):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; write one of {', '.join(known)}")
        for name in ("x", "colour", "map_x", "map_y"):
            value = getattr(self, name)
            if not isinstance(value, str) and (value is not None or name == "x"):
                raise ConfigError(f"{name} is {value!r}; write the name of a parameter or of a metric")
        for name in ("hide_floor", "compare", "table"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; write True or False")
        object.__setattr__(self, "rule", str(self.rule))
        object.__setattr__(self, "what_if", pairs("what_if", self.what_if))
        if not isinstance(self.pins, tuple | list) or len(self.pins) > len(LETTERS):
            raise ConfigError(f"pins is {self.pins!r}; write at most {len(LETTERS)} mappings, each as what_if")
        object.__setattr__(self, "pins", tuple(pairs("a pin", pin) for pin in self.pins))

    @classmethod
    def of(cls, given: TunerState | Mapping[str, Any] | None) -> TunerState:
        """Return a state from what was given; unknown keys raise ConfigError."""
        if isinstance(given, TunerState):
            return given
        known = [field.name for field in fields(cls)]
        for name in given or {}:
            if name not in known:
                raise ConfigError(f"a tuner has no {name!r}{did_you_mean(name, known)}; it has {', '.join(known)}")
        return cls(**(given or {}))

    def changed(self) -> dict[str, object]:
        """Return what differs from a new tuner, in types that Python code can name."""
        new = asdict(TunerState())
        found: dict[str, object] = {name: value for name, value in asdict(self).items() if value != new[name]}
        if self.what_if:
            found["what_if"] = dict(self.what_if)
        if self.pins:
            found["pins"] = [dict(pin) for pin in self.pins]
        return found


def pairs(name: str, given: Any) -> Values:
    """Return parameters as pairs, in types that Python code can name.

    Raises
    ------
    ConfigError
        For something that is no mapping.
    """
    try:
        found = dict(given)
    except (TypeError, ValueError):
        raise ConfigError(f"{name} is {given!r}; write a mapping such as {{'spacing_bps': 8.5}}") from None
    return tuple((str(key), named(str(key), value)) for key, value in found.items())


def named(name: str, value: Any) -> Any:
    """Return the value of a parameter as Python code writes it: quantities as text, bps as numbers.

    Examples
    --------
    >>> named("spacing_bps", Decimal("8.50")), named("size", Decimal("0.002")), named("levels", 10)
    (8.5, '0.002', 10)
    """
    if isinstance(value, Decimal):
        section, _, key = full(name).partition(".")
        return float(value) if section in SECTIONS and SECTIONS[section].is_number(key) else plain(value)
    return str(value) if isinstance(value, str) else value


def full(name: str) -> str:
    """Return ``section.key``: a bare name is a key of [grid]."""
    return name if "." in name else f"grid.{name}"


def label(name: str) -> str:
    """Return how a parameter is called beside its control.

    Examples
    --------
    >>> label("spacing_bps"), label("router.order_ttl_s"), label("skew_bps_at_limit"), label("min_fill_prob"), label("levels")
    ('spacing, bps', 'order ttl, s', 'skew at limit, bps', 'min P', 'levels')
    """
    if name == "min_fill_prob":
        return "min P"
    words = name.rpartition(".")[2].split("_")
    unit = next((word for word in words if word in ("bps", "s", "ms", "ticks")), None)
    return " ".join(words) if unit is None else f"{' '.join(word for word in words if word != unit)}, {unit}"
