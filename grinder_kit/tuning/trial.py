"""One trial of a study, and what it did on each part of the market."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

from grinder_kit.errors import ConfigError
from grinder_kit.model.config import Config
from grinder_kit.model.section import did_you_mean
from grinder_kit.tuning.space import told


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one configuration did on one part of the market; money in the settlement asset.

    Attributes
    ----------
    hours : float
        Length of the part.
    net, fees, funding : Decimal
        Profit after fees at the last mid; fees paid; funding received.
    fills, round_trips, orders : int
        Round trips are paired first in first out; orders are those that were sent.
    drawdown : float
        Largest fall of equity from its highest point.
    inventory_p95 : float
        Position that was exceeded a twentieth of the time, either way; base or contracts.
    blocks : array of float
        Net profit of each block of market time; they add up to `net`.
    kept_out : str or None
        Key that the compiled path does not cover, so that the trial was replayed step by step; None: it was compiled.
    """

    hours: float
    net: Decimal
    fees: Decimal
    funding: Decimal
    fills: int
    round_trips: int
    orders: int
    drawdown: float
    inventory_p95: float
    blocks: array[float] = field(repr=False)
    kept_out: str | None = None

    @property
    def net_per_hour(self) -> float:
        """Profit after fees an hour."""
        return float(self.net) / self.hours

    @property
    def fill_rate(self) -> float:
        """Fills for each order sent; an order that fills in parts counts more than once."""
        return self.fills / self.orders if self.orders else 0.0


class Objective(StrEnum):
    """What a study looks for, on the train part."""

    NET = "net"  # profit an hour after fees: more is better
    DRAWDOWN = "drawdown"  # largest fall of equity: less is better
    INVENTORY = "inventory"  # position exceeded a twentieth of the time: less is better
    FILL_RATE = "fill_rate"  # fills for each order sent: more is better

    @property
    def maximise(self) -> bool:
        """Whether more is better."""
        return self in (Objective.NET, Objective.FILL_RATE)

    def of(self, outcome: Outcome) -> float:
        """Return its value for an outcome."""
        values = {
            Objective.NET: outcome.net_per_hour,
            Objective.DRAWDOWN: outcome.drawdown,
            Objective.INVENTORY: outcome.inventory_p95,
            Objective.FILL_RATE: outcome.fill_rate,
        }
        return values[self]

    @classmethod
    def read(cls, given: str | Iterable[str]) -> tuple[Objective, ...]:
        """Return one or several objectives from their names.

        Raises
        ------
        ConfigError
            For a name that does not exist, none at all, or one that is given twice.
        """
        names = [given] if isinstance(given, str) else list(given)
        known = [one.value for one in cls]
        for name in names:
            if name not in known:
                raise ConfigError(
                    f"unknown objective '{name}'{did_you_mean(str(name), known)}; write one or more of {', '.join(known)}"
                )
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"objective is {given!r}; write each once, such as 'net' or ('net', 'inventory')")
        return tuple(cls(name) for name in names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One configuration of a study.

    Attributes
    ----------
    number : int
        In the order in which they were drawn, from 0.
    places : tuple of int
        Its place along each dimension of the space.
    parameters : mapping
        Name to value.
    config : Config
    test, train : Outcome or None
        None where the trial was pruned.
    pruned_at : float or None
        Share of the train part after which it was given up.
    glimpse : Outcome or None
        What it did on that share.
    """

    number: int
    places: tuple[int, ...]
    parameters: Mapping[str, Any]
    config: Config = field(repr=False)
    test: Outcome | None = None
    train: Outcome | None = None
    pruned_at: float | None = None
    glimpse: Outcome | None = field(default=None, repr=False)

    @property
    def complete(self) -> bool:
        """Whether it saw both parts."""
        return self.test is not None and self.train is not None

    @property
    def words(self) -> str:
        """The trial by number and parameters."""
        return f"trial {self.number} ({told(self.parameters)})"


def cell(value: Any) -> Any:
    """Return a parameter as a column holds it: numbers as floats, names as text."""
    if value is None or isinstance(value, bool | int):
        return value
    return str(value) if isinstance(value, str) else float(value)
