"""Risk gates: the last word on every order and amend, as a value. Pure, over integers; what is not known counts against.

The order of the checks is that of their severity: the first that refuses gives the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from grinder_kit.decision.reason import Reason
from grinder_kit.model.event import RunState


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


class RiskView(NamedTuple):
    """What the gates look at: state, trust in the market and in the own position, drawdown, lots held and lots that may fill."""

    state: RunState
    stale: bool
    position_known: bool
    drawdown_shut: bool
    position: int
    open_buys: int
    open_sells: int

    def exposed(self, side: int, lots: int) -> int:
        """Return the position towards `side` if everything open on it filled, and `lots` more."""
        return side * self.position + (self.open_buys if side > 0 else self.open_sells) + lots


def assess(
    view: RiskView, limits: RiskLimits, side: int, ticks: int, lots: int, *, reduce_only: bool = False
) -> RiskAnswer:
    """Decide about an order, or the part that an amend adds to one.

    Parameters
    ----------
    view, limits
    side : int
        +1 for a buy.
    ticks, lots : int
        Price, and what would be added to the open lots of this side (0 for an amend that adds nothing).
    reduce_only : bool
        The venue itself lets the order only reduce the position.
    """
    if view.state is not RunState.RUNNING and not (view.state is RunState.FLATTENING and reduce_only):
        return RiskRefused(Reason.NOT_REDUCING if view.state is RunState.FLATTENING else Reason.NOT_RUNNING)
    if view.stale:
        return RiskRefused(Reason.STALE_MARKET)
    if not view.position_known:
        return RiskRefused(Reason.POSITION_UNKNOWN)
    if reduce_only:
        return APPROVED
    exposed = view.exposed(side, lots)
    if view.drawdown_shut and exposed > 0:
        return RiskRefused(Reason.DRAWDOWN)
    if lots <= 0:
        return APPROVED
    if limits.max_lots is not None and exposed > limits.max_lots:
        return RiskRefused(Reason.POSITION_LIMIT)
    if limits.too_dear is not None and exposed > 0 and limits.too_dear(exposed, ticks):
        return RiskRefused(Reason.NOTIONAL_LIMIT)
    return APPROVED
