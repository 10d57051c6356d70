"""What a level is worth: one formula, from a probability to quote per hour.

    profit given a fill (bps)  = edge - fees + markout
    expected value (quote)     = size * P(fill) * profit
    round trip (quote)         = size * P(entry) * (P(exit | entry) * (edge - fees) + P(no exit | entry) * (left - fees))

`edge` is what the plan earns over the level's own price: the spacing of a grid whose exit stands one level further, 0 for an
order that is valued at mid. `markout` is how far mid has gone from the fill's price after a while, in the order's favour: below
zero, for who trades with a resting order knows something. It is measured given the fill, and so is P(exit | entry); a model that
takes exits to be as likely as without the fill promises too much. `left` is what a position that found no exit is worth at the
end of the horizon, against its entry. Leaving it out, as the product P(entry) * P(exit | entry) * profit does, counts winners only.

Estimates are floats and carry their interval; no money is booked from them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from grinder_kit.errors import ConfigError
from grinder_kit.fillprob.interval import Interval

HOUR_S = 3600.0


def profit_bps(edge_bps: float, fees_bps: float, markout_bps: float = 0.0) -> float:
    """Return what a fill earns, bps of its notional: edge less fees, plus the markout given the fill."""
    return edge_bps - fees_bps + markout_bps


def expected_value(size: float, fill_prob: float, edge_bps: float, fees_bps: float, markout_bps: float = 0.0) -> float:
    """Return the expected value of a level in the unit of its size (notional).

    Examples
    --------
    >>> round(expected_value(1000, 0.4, edge_bps=8, fees_bps=4, markout_bps=-1), 3)
    0.12
    """
    return size * fill_prob * profit_bps(edge_bps, fees_bps, markout_bps) / 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelEconomics:
    """A level that is quoted again and again, and what that is worth.

    Parameters
    ----------
    size : float
        Notional of the order, in `asset`.
    fill_prob : Interval
        Probability of a fill within `horizon_s`.
    horizon_s : float
        Seconds of one try; above 0.
    edge_bps, fees_bps : float
        What the plan earns, and all fees that this takes (both sides of a round trip, where edge is a spacing).
    markout_bps : Interval
        Given the fill.
    asset : str
        Unit of `size`.

    Raises
    ------
    ConfigError
        For a size below 0, a probability that is none, a horizon that is not above 0, a number that is not finite.

    Examples
    --------
    >>> sure = Interval(value=0.4, low=0.35, high=0.45)
    >>> level = LevelEconomics(
    ...     size=1000, fill_prob=sure, horizon_s=60, edge_bps=4, fees_bps=4, markout_bps=Interval(value=-1, low=-2, high=0.5)
    ... )
    >>> level.text
    '-2.40 USDT per hour [-5.40, +1.35], not distinguishable from zero'
    """

    size: float
    fill_prob: Interval
    horizon_s: float
    edge_bps: float
    fees_bps: float
    markout_bps: Interval
    asset: str = "USDT"

    def __post_init__(self) -> None:
        _check(self, probabilities=("fill_prob",), estimate="markout_bps")

    @property
    def profit_bps(self) -> Interval:
        """Profit given a fill, bps."""
        return self.markout_bps.line(1.0, profit_bps(self.edge_bps, self.fees_bps))

    @property
    def value_bps(self) -> Interval:
        """Expected value of one try, bps of its notional."""
        return self.fill_prob.times(self.profit_bps)

    @property
    def value(self) -> Interval:
        """Expected value of one try, in `asset`."""
        return self.value_bps.line(self.size / 10_000)

    @property
    def per_hour(self) -> Interval:
        """Expected value of an hour in which the level is quoted afresh every `horizon_s`, in `asset`."""
        return self.value.line(HOUR_S / self.horizon_s)

    @property
    def text(self) -> str:
        """Profit per hour in words."""
        return self.per_hour.words(f"{self.asset} per hour")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTripEconomics:
    """An entry, and an exit whose probability is conditional on the entry having filled.

    Parameters
    ----------
    size : float
        Notional of the entry, in `asset`.
    entry_prob : Interval
        Probability that the entry fills within `horizon_s`.
    exit_prob : Interval
        Probability that the exit fills within `horizon_s` of the entry's fill, given that fill.
    horizon_s : float
        Seconds that either is given; above 0.
    edge_bps, fees_bps : float
        Distance from entry to exit, and the fees of both.
    left_bps : Interval
        What an entry without exit is worth after `horizon_s`, bps against its price.
    asset : str
        Unit of `size`.

    Raises
    ------
    ConfigError
        As :class:`LevelEconomics`.
    """

    size: float
    entry_prob: Interval
    exit_prob: Interval
    horizon_s: float
    edge_bps: float
    fees_bps: float
    left_bps: Interval
    asset: str = "USDT"

    def __post_init__(self) -> None:
        _check(self, probabilities=("entry_prob", "exit_prob"), estimate="left_bps")

    @property
    def completed(self) -> Interval:
        """Probability of a whole round trip: P(entry) * P(exit | entry)."""
        return self.entry_prob.times(self.exit_prob)

    @property
    def profit_bps(self) -> Interval:
        """Profit given the entry, bps: of those that found their exit and of those that did not.

        Linear in each of its two inputs, so its ends lie at their corners.
        """
        value = self._profit(self.exit_prob.value, self.left_bps.value)
        exits, left = self.exit_prob, self.left_bps
        if exits.low is None or exits.high is None or left.low is None or left.high is None:
            return Interval(value=value)
        corners = [self._profit(p, x) for p in (exits.low, exits.high) for x in (left.low, left.high)]
        return Interval(value=value, low=min(corners), high=max(corners))

    def _profit(self, exit_prob: float, left_bps: float) -> float:
        return exit_prob * self.edge_bps + (1 - exit_prob) * left_bps - self.fees_bps

    @property
    def value(self) -> Interval:
        """Expected value of one try, in `asset`."""
        return self.entry_prob.times(self.profit_bps).line(self.size / 10_000)

    @property
    def per_hour(self) -> Interval:
        """Expected value of an hour of tries that begin every `horizon_s`, in `asset`."""
        return self.value.line(HOUR_S / self.horizon_s)

    @property
    def text(self) -> str:
        """Profit per hour in words."""
        return self.per_hour.words(f"{self.asset} per hour")


def _check(given: LevelEconomics | RoundTripEconomics, *, probabilities: tuple[str, ...], estimate: str) -> None:
    """Refuse what cannot be: a size, a horizon, probabilities by their names, and bps, of which `estimate` has an interval."""
    if not 0 <= given.size < math.inf:
        raise ConfigError(f"size is {given.size}; write a notional of 0 or more")
    if not 0 < given.horizon_s < math.inf:
        raise ConfigError(f"horizon_s is {given.horizon_s}; write seconds above 0")
    for name in probabilities:
        chance: Interval = getattr(given, name)
        if not all(0 <= value <= 1 for value in (chance.low, chance.value, chance.high) if value is not None):
            raise ConfigError(
                f"{name} is {chance.value} ({chance.low} to {chance.high}); write probabilities from 0 to 1"
            )
    bps = {"edge_bps": given.edge_bps, "fees_bps": given.fees_bps, estimate: getattr(given, estimate).value}
    for name, value in bps.items():
        if not math.isfinite(value):
            raise ConfigError(f"{name} is {value}; write finite bps")
