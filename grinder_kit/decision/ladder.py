"""Where the levels of a grid stand: whole ticks in, whole ticks out.

Plain functions over bounded int64 values; the engine calls them as they are and compiled sweeps compile these very functions. A
centre is given in half ticks (best bid + best ask), a distance in tenths of a bp.
"""

from __future__ import annotations

UNIT = 100_000  # tenths of a bp in 1
FINE = 1 << 12  # further binary digits of a half tick that a geometric ladder keeps from level to level


def skewed_centre(centre2: int, skew_tenths: int) -> int:
    """Return the centre moved by a skew, in half ticks, rounded towards the unmoved centre."""
    if skew_tenths >= 0:
        return centre2 + centre2 * skew_tenths // UNIT
    return centre2 - centre2 * -skew_tenths // UNIT


def skew_at(inventory: int, limit: int, skew_tenths_at_limit: int) -> int:
    """Return the skew in tenths of a bp against a position of `inventory` lots: negative when long, 0 when flat or without a limit.

    A position beyond its limit skews no further than one at the limit.
    """
    if limit <= 0:
        return 0
    held = min(abs(inventory), limit)
    size = skew_tenths_at_limit * held // limit
    return -size if inventory > 0 else size


def linear_level(centre2: int, spacing_tenths: int, number: int, side: int) -> int:
    """Return level `number` (1, 2, ...) at centre * (1 -+ number * spacing): a buy (+1) rounded down, a sell (-1) up."""
    if side > 0:
        return centre2 * (UNIT - number * spacing_tenths) // (2 * UNIT)
    return -(-centre2 * (UNIT + number * spacing_tenths) // (2 * UNIT))


def geometric_level(centre2: int, spacing_tenths: int, number: int, side: int) -> int:
    """Return level `number` at centre * (1 -+ spacing) ** number: a buy rounded down, a sell up, at every step.

    So it is never nearer than the exact power, and before the last rounding less than number / 4096 half ticks further (a sell:
    that times (1 + spacing) ** (number - 1)).
    """
    fine = centre2 * FINE
    if side > 0:
        for _ in range(number):
            fine = fine * (UNIT - spacing_tenths) // UNIT
        return fine // (2 * FINE)
    for _ in range(number):
        fine = -(-fine * (UNIT + spacing_tenths) // UNIT)
    return -(-fine // (2 * FINE))


def lattice_first(centre2: int, spacing_ticks: int, half_spread_ticks: int, side: int) -> int:
    """Return the first level of a lattice: the nearest multiple of the spacing at least half a spread from the centre."""
    if side > 0:
        return (centre2 - 2 * half_spread_ticks) // (2 * spacing_ticks) * spacing_ticks
    return -(-(centre2 + 2 * half_spread_ticks) // (2 * spacing_ticks)) * spacing_ticks


def moved_beyond(centre2: int, mid2: int, recentre_tenths: int) -> bool:
    """Whether mid has left the centre by more than `recentre_tenths`."""
    return abs(mid2 - centre2) * UNIT > recentre_tenths * centre2
