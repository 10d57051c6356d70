"""The way out of a position: one order at a time, at what stands on the market's other side. Pure, over integers."""

from __future__ import annotations

from typing import NamedTuple

from grinder_kit.decision.constraints import Constraints


class Exit(NamedTuple):
    """An order that takes (part of) a position out: side +1 buys, price in ticks, quantity in lots."""

    side: int
    ticks: int
    lots: int


def exit_order(position: int, bid: int, ask: int, constraints: Constraints) -> Exit | None:
    """Return the largest order that the venue takes, at the best price of the other side; None where the rest is too small.

    Parameters
    ----------
    position : int
        Lots held, signed, not 0.
    bid, ask : int
        Best prices, ticks.
    constraints : Constraints
        A part that would leave less than the smallest order behind is made smaller where it can be.
    """
    side, ticks = (-1, bid) if position > 0 else (1, ask)
    held, least = abs(position), constraints.least_lots(ticks)
    most = held if constraints.max_lots is None else min(held, constraints.max_lots)
    lots = held - least if 0 < held - most < least <= held - least else most
    return Exit(side, ticks, lots) if lots >= least else None
