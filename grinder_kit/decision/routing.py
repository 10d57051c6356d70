"""The routing table: what to do about one level or one order. Pure, over integers; the first row that matches wins.

| # | when | then |
|---|---|---|
| 1 | not running: own orders are withdrawn, nothing else is sent; stale data: only cancels are | CANCEL, BLOCK |
| 2 | a request for the order is under way, or its state is unknown | NOOP |
| 3 | the order is off the plan | CANCEL |
| 4 | drawdown gate shut and the order would add risk | BLOCK |
| 5 | constraints violated (an existing order stays, unless it violates them itself: then it is off the plan) | BLOCK |
| 6 | the level has no order | PLACE |
| 7 | price within the tolerance and quantity within one step | NOOP |
| 8 | amend unsupported or unsafe | CANCEL_REPLACE |
| 9 | quantity only | AMEND |
| 10 | price moved at most the amend threshold | AMEND |
| 11 | otherwise | CANCEL_REPLACE |

Row 2 stands before row 3, other than in the specification's table: an order whose placement is not confirmed cannot be
cancelled safely, and one whose cancel is under way needs no second one.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from grinder_kit.decision.ladder import UNIT
from grinder_kit.decision.reason import Reason


class Action(StrEnum):
    """What the router does."""

    PLACE = "PLACE"
    CANCEL = "CANCEL"
    AMEND = "AMEND"
    CANCEL_REPLACE = "CANCEL_REPLACE"
    NOOP = "NOOP"
    BLOCK = "BLOCK"


class Gates(NamedTuple):
    """What holds for every level of one step."""

    running: bool = True
    stale: bool = False
    drawdown_shut: bool = False


class Standing(NamedTuple):
    """An own order as routing sees it: prices in ticks, quantities in lots."""

    ticks: int
    lots: int
    filled: int
    in_flight: bool


class Wanted(NamedTuple):
    """A level as routing sees it; `refused` is the constraint it violates."""

    ticks: int
    lots: int
    adds_risk: bool
    occupied: bool
    refused: Reason | None = None


class Amends(NamedTuple):
    """What the venue can amend."""

    supported: bool = False
    increase: bool = True  # False on spot: only smaller
    left: int = 10_000  # edits this order may still take


def route_order(gates: Gates, order: Standing) -> tuple[Action, Reason]:
    """Decide about an own order that no level wants."""
    if order.in_flight:
        return Action.NOOP, Reason.IN_FLIGHT
    return Action.CANCEL, Reason.OFF_PLAN if gates.running else Reason.NOT_RUNNING


def route_level(
    gates: Gates,
    wanted: Wanted,
    order: Standing | None,
    *,
    tolerance_ticks: int,
    amend_threshold_tenths: int = 200,
    amends: Amends = Amends(),  # noqa: B008 - an immutable tuple
    would_cross: bool = False,
) -> tuple[Action, Reason]:
    """Decide about a level of the plan and the order under its key, if there is one."""
    if not gates.running:
        if order is None:
            return Action.BLOCK, Reason.NOT_RUNNING
        return route_order(gates, order)
    if gates.stale:
        return Action.BLOCK, Reason.STALE_MARKET
    if order is not None and order.in_flight:
        return Action.NOOP, Reason.IN_FLIGHT
    if gates.drawdown_shut and wanted.adds_risk:
        return Action.BLOCK, Reason.DRAWDOWN
    if wanted.refused is not None:
        return Action.BLOCK, wanted.refused
    if order is None:
        if wanted.occupied:
            return Action.BLOCK, Reason.PRICE_OCCUPIED
        return Action.PLACE, Reason.NEW_LEVEL
    moved = abs(wanted.ticks - order.ticks)
    resized = abs(wanted.lots - order.lots)
    if moved <= tolerance_ticks and resized <= 1:
        return Action.NOOP, Reason.CONFORMS
    if (
        not amends.supported
        or amends.left <= 0
        or would_cross
        or wanted.lots <= order.filled
        or (not amends.increase and (wanted.lots > order.lots or moved > 0))
    ):
        return Action.CANCEL_REPLACE, Reason.AMEND_UNSAFE
    if moved == 0:
        return Action.AMEND, Reason.QUANTITY_CHANGED
    if moved * UNIT <= amend_threshold_tenths * order.ticks:
        return Action.AMEND, Reason.SMALL_MOVE
    return Action.CANCEL_REPLACE, Reason.LARGE_MOVE
