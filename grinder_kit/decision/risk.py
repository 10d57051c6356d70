"""Risk: gates that every order passes before it is sent, and limits whose breach ends the session. Pure.

A gate looks ahead: what would break a limit if everything open filled is not sent. A breach is a fact: a limit is broken although
the gates stood, and the kill switch is what is left. What is not known counts against.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import ROUND_UP, Decimal
from typing import NamedTuple, TypeAlias

from grinder_kit.decision.constraints import DAY_NS
from grinder_kit.decision.reason import Reason
from grinder_kit.model.config import Limits
from grinder_kit.model.event import RunState
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.number import plain

#: Orders a second are counted over so long.
RATE_WINDOW_S = 10
_ZERO = Decimal(0)
_SHOWN = Decimal("1e-8")

# --- gates -----------------------------------------------------------------------------------------------------------


class RiskApproved(NamedTuple):
    """The order may be sent."""


class RiskRefused(NamedTuple):
    """The order may not be sent."""

    reason: Reason


RiskAnswer: TypeAlias = RiskApproved | RiskRefused

APPROVED = RiskApproved()


class RiskLimits(NamedTuple):
    """What must never be exceeded, either way; None sets no limit. `too_dear` says whether a position is over its notional."""

    max_lots: int | None = None
    too_dear: Callable[[int, int], bool] | None = None  # (lots, ticks)

    @property
    def any(self) -> bool:
        """Whether there is a limit at all."""
        return self.max_lots is not None or self.too_dear is not None


class RiskView(NamedTuple):
    """What the gates look at: state, trust in the market and in the own position, lots held and lots that may fill."""

    state: RunState
    stale: bool
    position_known: bool
    position: int
    open_buys: int
    open_sells: int

    def exposed(self, side: int, lots: int) -> int:
        """Return the position towards `side` if everything open on it filled, and `lots` more."""
        return side * self.position + (self.open_buys if side > 0 else self.open_sells) + lots

    def opened(self, side: int, lots: int) -> RiskView:
        """Return the view once `lots` more are open on a side."""
        if side > 0:
            return self._replace(open_buys=self.open_buys + lots)
        return self._replace(open_sells=self.open_sells + lots)


def assess(
    view: RiskView, limits: RiskLimits, side: int, ticks: int, lots: int, *, reduce_only: bool = False
) -> RiskAnswer:
    """Decide about an order, or the part that an amend adds to one. The first check that refuses, the severest, gives the reason.

    Parameters
    ----------
    view, limits
    side : int
        +1 for a buy.
    ticks, lots : int
        Price, and what would be added to the open lots of this side (0 for an amend that adds nothing).
    reduce_only : bool
        The order is to reduce the position and nothing else.
    """
    if view.state is not RunState.RUNNING and not (view.state is RunState.FLATTENING and reduce_only):
        return RiskRefused(Reason.NOT_REDUCING if view.state is RunState.FLATTENING else Reason.NOT_RUNNING)
    if view.stale:
        return RiskRefused(Reason.STALE_MARKET)
    if not view.position_known:
        return RiskRefused(Reason.POSITION_UNKNOWN)
    exposed = view.exposed(side, lots)
    if reduce_only:
        return APPROVED if exposed <= 0 else RiskRefused(Reason.NOT_REDUCING)
    if lots <= 0:
        return APPROVED
    if limits.max_lots is not None and exposed > limits.max_lots:
        return RiskRefused(Reason.POSITION_LIMIT)
    if limits.too_dear is not None and exposed > 0 and limits.too_dear(exposed, ticks):
        return RiskRefused(Reason.NOTIONAL_LIMIT)
    return APPROVED


# --- limits that kill ------------------------------------------------------------------------------------------------


class RiskFacts(NamedTuple):
    """How things are at a step; None is not known.

    `position` in base or contracts, signed; `notional` in quote, at mid; `drawdown` from the highest equity and `day_loss` since
    00:00 UTC in the settlement asset (negative: a gain); `sent` new orders and amends of the last 10 s.
    """

    position: Decimal = _ZERO
    notional: Decimal | None = None
    drawdown: Decimal | None = None
    day_loss: Decimal | None = None
    sent: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """A limit that the facts break.

    Attributes
    ----------
    limit : str
        Its key in the section limits.
    value, allowed : Decimal
        What is, and what the limit says.
    subject, unit : str
        What `value` is of, and its unit.
    inclusive : bool
        The value need only reach the limit to break it: the limit is on a loss.
    """

    limit: str
    value: Decimal
    allowed: Decimal
    subject: str
    unit: str
    inclusive: bool = False

    @property
    def text(self) -> str:
        """The breach in words.

        Examples
        --------
        >>> loss = Breach(limit="max_drawdown", value=Decimal("12.4"), allowed=Decimal(10), subject="drawdown", unit="USDT",
        ...               inclusive=True)
        >>> loss.text
        'drawdown 12.40 USDT is not below max_drawdown 10 USDT'
        """
        relation = "is not below" if self.inclusive else "is above"
        return f"{self.subject} {self.shown} {self.unit} {relation} {self.limit} {plain(self.allowed)} {self.unit}"

    @property
    def shown(self) -> str:
        """The value for people: never less than it is; money with two decimals at least."""
        value = plain(self.value.quantize(_SHOWN, rounding=ROUND_UP))
        places = len(value.partition(".")[2])
        return value if self.limit in ("max_position", "max_orders_per_s") or places >= 2 else f"{Decimal(value):.2f}"

    @property
    def refusal(self) -> str:
        """Why a limit cannot be set where the facts break it already, and what to do instead."""
        cure = {
            "max_position": "flatten first, or ",
            "max_notional": "flatten first, or ",
            "max_orders_per_s": "wait, or ",
        }
        relation, instead = ("not above", "more than") if self.inclusive else ("below", "at least")
        return (
            f"{self.limit} {plain(self.allowed)} is {relation} the {self.subject} of {self.shown} {self.unit}: "
            f"{cure.get(self.limit, '')}write {instead} {self.shown}"
        )


def breaches(facts: RiskFacts, limits: Limits, instrument: Instrument) -> Iterator[Breach]:
    """Yield every limit that the facts break, in the order of the section; what is not known breaks none."""
    held = "contracts" if instrument.inverse else instrument.base
    rate = Decimal(facts.sent) / RATE_WINDOW_S
    known: tuple[tuple[str, Decimal | None, str, str, bool], ...] = (
        ("max_position", abs(facts.position), "short position" if facts.position < 0 else "position", held, False),
        ("max_notional", facts.notional, "position's value", instrument.quote, False),
        ("max_drawdown", facts.drawdown, "drawdown", instrument.settle, True),
        ("max_loss_per_day", facts.day_loss, "loss since 00:00 UTC", instrument.settle, True),
        ("max_orders_per_s", rate, "order rate", "a second", False),
    )
    for name, value, subject, unit, inclusive in known:
        allowed: Decimal | None = getattr(limits, name)
        if allowed is not None and value is not None and (value >= allowed if inclusive else value > allowed):
            yield Breach(limit=name, value=value, allowed=allowed, subject=subject, unit=unit, inclusive=inclusive)


def find_breach(facts: RiskFacts, limits: Limits, instrument: Instrument) -> Breach | None:
    """Return the first limit that the facts break, or None."""
    return next(breaches(facts, limits, instrument), None)


class EquityMarks:
    """What losses are counted from: the highest equity, and that at the start of the UTC day. Starts at an equity of 0.

    Attributes
    ----------
    equity : Decimal or None
        The latest; None after a restart, until there is one.
    peak, day_start : Decimal
    day : int
        Days since 1970 of `day_start`. It only grows: a clock that is set back makes no loss forgotten.
    """

    def __init__(self) -> None:
        self.equity: Decimal | None = _ZERO
        self.peak = self.day_start = _ZERO
        self.day = -1

    def take(self, equity: Decimal, now_ns: int) -> None:
        """Take equity at a time. A day starts with what was last known before it."""
        day = now_ns // DAY_NS
        if day > self.day:
            self.day, self.day_start = day, equity if self.equity is None else self.equity
        self.equity = equity
        if equity > self.peak:
            self.peak = equity

    def restore(self, peak: Decimal, day: int, day_start: Decimal) -> None:
        """Take what was kept of an earlier run."""
        self.equity, self.peak, self.day, self.day_start = None, peak, day, day_start

    @property
    def drawdown(self) -> Decimal | None:
        """What has been lost from the highest equity."""
        return None if self.equity is None else self.peak - self.equity

    @property
    def day_loss(self) -> Decimal | None:
        """What has been lost since 00:00 UTC; negative for a gain."""
        return None if self.equity is None else self.day_start - self.equity
