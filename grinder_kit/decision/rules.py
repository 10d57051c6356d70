"""The rules of a grid in whole numbers: which levels may be quoted, and what is done about an order that stands.

Plain functions over bounded int64 values, each complete in itself; the engine calls them as they are and compiled sweeps compile
these very functions. An answer is a code: 0 where nothing stands in the way. Prices stand in ladder.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grinder_kit.decision.ladder import UNIT

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    Numbers = Sequence[int] | npt.NDArray[np.int64]

NO_LIMIT = 1 << 60

# what a venue accepts, as `venue_refuses` takes it; bands are fractions of mid, over 0 where there is none
(
    MIN_LOTS, MAX_LOTS, MIN_TICKS, MAX_TICKS, MIN_VALUE, VALUE_IN_LOTS, BAND_DOWN, BAND_DOWN_OF, BAND_UP, BAND_UP_OF, LIMITS,
) = range(11)  # fmt: skip

FINE = 0
# why a venue would refuse an order
NOT_POSITIVE, OUT_OF_RANGE, BELOW_BAND, ABOVE_BAND, TOO_SMALL, TOO_LARGE, TOO_CHEAP = range(1, 8)
# why a level is not quoted
SAME_PRICE, CROSSES, NO_ROOM = 8, 9, 10
# what is done about an order that stands: rows 7 to 11 of the routing table
CONFORMS, AMEND_UNSAFE, QUANTITY_CHANGED, SMALL_MOVE, LARGE_MOVE = range(5)
# why an amend waits
OWN_CROSS, OCCUPIED = 1, 2


def venue_refuses(ticks: int, lots: int, mid2: int, limits: Numbers) -> int:
    """Return why a venue would refuse an order at `ticks` for `lots`; `mid2` is mid in half ticks."""
    if ticks <= 0:
        return NOT_POSITIVE
    if ticks < limits[MIN_TICKS] or ticks > limits[MAX_TICKS]:
        return OUT_OF_RANGE
    if limits[BAND_DOWN_OF] and ticks * 2 * limits[BAND_DOWN_OF] < mid2 * limits[BAND_DOWN]:
        return BELOW_BAND
    if limits[BAND_UP_OF] and ticks * 2 * limits[BAND_UP_OF] > mid2 * limits[BAND_UP]:
        return ABOVE_BAND
    if lots < limits[MIN_LOTS]:
        return TOO_SMALL
    if lots > limits[MAX_LOTS]:
        return TOO_LARGE
    if (lots if limits[VALUE_IN_LOTS] else ticks * lots) < limits[MIN_VALUE]:
        return TOO_CHEAP
    return FINE


def crosses(side: int, ticks: int, bid: int, ask: int) -> bool:
    """Whether an order would take."""
    return ticks >= ask if side > 0 else ticks <= bid


def level_refuses(ticks: int, last: int, taking: bool, quoted: int, room: int) -> int:
    """Return why a level is not quoted though the venue would take it.

    Parameters
    ----------
    ticks, last : int
        Its price, and that of the level of its side that was quoted last, 0 for none.
    taking : bool
        Whether it :func:`crosses`.
    quoted, room : int
        Levels quoted so far, and how many may be.
    """
    if ticks == last:
        return SAME_PRICE
    if taking:
        return CROSSES
    return NO_ROOM if quoted >= room else FINE


def side_full(side: int, position: int, limit: int) -> bool:
    """Whether a position in lots has reached its limit on a side; a limit below 0 is none."""
    return limit >= 0 and side * position >= limit


def distance_bps(side: int, ticks: int, mid2: int) -> float:
    """Return how far a level stands from mid, bps; below 0 beyond it."""
    return (mid2 - 2 * ticks) * side / mid2 * 10_000


def least_probability(least: float, hysteresis: float, stands: bool) -> float:
    """Return the probability below which a level is refused; one that has an order is kept a little longer."""
    return least - hysteresis if stands else least


def expired(sent_ns: int, now_ns: int, ttl_ns: int) -> bool:
    """Whether an order has lived its time; a time to live below 0 has no end."""
    return 0 <= ttl_ns <= now_ns - sent_ns


def standing(
    ticks: int,
    lots: int,
    own_ticks: int,
    own_lots: int,
    own_filled: int,
    tolerance_ticks: int,
    threshold_tenths: int,
    may_amend: bool,
    may_increase: bool,
) -> int:
    """Return what is done about a level and the order under its key, where nothing stands in the way."""
    moved = abs(ticks - own_ticks)
    if moved <= tolerance_ticks and abs(lots - own_lots) <= 1:
        return CONFORMS
    if not may_amend or lots <= own_filled or (not may_increase and (lots > own_lots or moved > 0)):
        return AMEND_UNSAFE
    if moved == 0:
        return QUANTITY_CHANGED
    return SMALL_MOVE if moved * UNIT <= threshold_tenths * own_ticks else LARGE_MOVE


def amend_waits(side: int, ticks: int, own_ticks: int, lowest_sell: int, highest_buy: int, held: bool) -> int:
    """Return why an amend to `ticks` waits: it would meet an own order on its way, or one that stays holds the price (`held`)."""
    if ticks >= lowest_sell if side > 0 else ticks <= highest_buy:
        return OWN_CROSS
    return OCCUPIED if held and ticks != own_ticks else FINE


def towards(side: int, ticks: int, own_ticks: int) -> bool:
    """Whether an amend goes towards the market's other side."""
    return (ticks - own_ticks) * side > 0


def turn(side: int, ticks: int, is_towards: bool) -> int:
    """Return the rank of an amend: the outermost leaves first, towards the other side the nearest, and none steps onto the next."""
    return -side * ticks if is_towards else side * ticks
