"""What the fills of a compiled grid come to: round trips first in first out, and grid profit paired by level.

The rules are those of execution/pairing.py, for whole lots without commission; they are run once a grid is over.
"""

from __future__ import annotations

from grinder_kit.kernel.compiled import compiled, inlined
from grinder_kit.kernel.exchange import Ints
from grinder_kit.simulation import grid_orders as go


@compiled
def _round_trips(trades: Ints, count: int, queue: Ints) -> int:
    """Return how many parts of entries were closed, the oldest first; `queue` (n,) is room for what is open."""
    first = last = trips = 0  # the open entries: signed lots, all of one side
    for at in range(count):
        lots = trades[go.T_LOTS, at]
        while lots != 0 and first < last and (queue[first] > 0) != (lots > 0):
            if abs(queue[first]) > abs(lots):
                queue[first] += lots
                lots = 0
            else:
                lots += queue[first]
                first += 1
            trips += 1
        if lots != 0:
            if first == last:
                first = last = 0
            queue[last] = lots
            last += 1
    return trips


@inlined
def _close(prices: Ints, lots: Ints, open_prices: int, ticks: int, side: int, left: int) -> tuple[int, int, int]:
    """Close the nearest entries of the other side that are better than a price; return (open prices, lots left, tick-lots earned).

    `prices` holds the other side's entries times its sign, rising: the next to close is the last one below.
    """
    end = 0
    high = open_prices
    while end < high:
        middle = (end + high) >> 1
        if prices[middle] < -side * ticks:
            end = middle + 1
        else:
            high = middle
    at, earned = end, 0
    while left > 0 and at > 0:
        taken = min(left, lots[at - 1])
        earned += taken * (-side * ticks - prices[at - 1])
        left -= taken
        if taken < lots[at - 1]:
            lots[at - 1] -= taken
            break
        at -= 1
    if at < end:
        for later in range(end, open_prices):
            prices[at + later - end], lots[at + later - end] = prices[later], lots[later]
    return open_prices - (end - at), left, earned


@inlined
def _open(prices: Ints, lots: Ints, open_prices: int, key: int, left: int) -> int:
    """Add an entry under its price times its sign; return how many prices are open."""
    at = open_prices
    while at > 0 and prices[at - 1] > key:
        at -= 1
    if at > 0 and prices[at - 1] == key:
        lots[at - 1] += left
        return open_prices
    for later in range(open_prices, at, -1):
        prices[later], lots[later] = prices[later - 1], lots[later - 1]
    prices[at], lots[at] = key, left
    return open_prices + 1


@compiled
def _level_profit(trades: Ints, count: int, work: Ints) -> int:
    """Return what was paired at a profit, in tick-lots; `work` (4, n) is room for prices and lots of buys and of sells."""
    buys = sells = profit = 0
    for at in range(count):
        ticks, lots = trades[go.T_TICKS, at], trades[go.T_LOTS, at]
        if lots > 0:
            sells, left, earned = _close(work[2], work[3], sells, ticks, 1, lots)
            if left > 0:
                buys = _open(work[0], work[1], buys, ticks, left)
        else:
            buys, left, earned = _close(work[0], work[1], buys, ticks, -1, -lots)
            if left > 0:
                sells = _open(work[2], work[3], sells, -ticks, left)
        profit += earned
    return profit


@compiled
def settle(head: Ints, trades: Ints) -> None:
    """Count what the fills of a grid come to."""
    count, work = head[go.FILLS], trades[go.T_WORK :]
    head[go.ROUND_TRIPS] = _round_trips(trades, count, work[0])
    head[go.LEVEL_PROFIT] = _level_profit(trades, count, work)
