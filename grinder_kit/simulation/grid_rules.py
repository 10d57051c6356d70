"""One decision of a compiled grid: planner, levels and routing over the tables of its own orders.

Every rule is a function of decision/ladder.py or decision/rules.py, compiled: the engine calls the very same ones. What is here walks
levels and orders in the engine's order; the tests hold it to the engine, order for order.
"""

from __future__ import annotations

from grinder_kit.decision import ladder, rules
from grinder_kit.kernel import book as bk
from grinder_kit.kernel import exchange as ex
from grinder_kit.kernel.compiled import compiled, inlined
from grinder_kit.kernel.exchange import Floats, Ints
from grinder_kit.simulation import grid_exchange as gx
from grinder_kit.simulation import grid_filter as gf
from grinder_kit.simulation import grid_orders as go
from grinder_kit.simulation.grid_orders import Orders

# what was looked at last (ANCHOR2: where a centred ladder stands, half ticks), and whether anything may differ now
(
    CENTRE2, SKEW, KNOWN, ANCHOR2, FIRST_BUY, FIRST_SELL, OFF_BUY, OFF_SELL, CROSS_BUY, CROSS_SELL, LIKELY_BUY, LIKELY_SELL,
    KEPT_BUY, KEPT_SELL, HELD, WAS_STALE, BID, ASK, QUIET, LOOKED_SIZE,
) = range(20)  # fmt: skip
NO_RESET, SOFT, HARD = 0, 1, 2  # P_RESET

_skewed_centre = compiled(ladder.skewed_centre)
_skew_at = compiled(ladder.skew_at)
_linear_level = compiled(ladder.linear_level)
_geometric_level = compiled(ladder.geometric_level)
_lattice_first = compiled(ladder.lattice_first)
_moved_beyond = compiled(ladder.moved_beyond)
_venue_refuses = compiled(rules.venue_refuses)
_crosses = compiled(rules.crosses)
_level_refuses = compiled(rules.level_refuses)
_side_full = compiled(rules.side_full)
_expired = compiled(rules.expired)
_standing = compiled(rules.standing)
_amend_waits = compiled(rules.amend_waits)
_towards = compiled(rules.towards)
_turn = compiled(rules.turn)


@compiled
def _set_prices(own: Orders, p: Ints, seen: Ints, centre2: int, skew: int) -> bool:
    """Let the plan stand at a centre with a skew; return whether any price may have changed."""
    if seen[KNOWN] and seen[CENTRE2] == centre2 and seen[SKEW] == skew:
        return False
    centre = _skewed_centre(centre2, skew)
    same = seen[KNOWN] != 0
    seen[KNOWN], seen[CENTRE2], seen[SKEW] = 1, centre2, skew
    if p[gx.P_LATTICE]:
        spacing, half = p[gx.P_SPACING], p[gx.P_HALF_SPREAD]
        buy, sell = _lattice_first(centre, spacing, half, 1), _lattice_first(centre, spacing, half, -1)
        if same and seen[FIRST_BUY] == buy and seen[FIRST_SELL] == sell:
            return False
        seen[FIRST_BUY], seen[FIRST_SELL] = buy, sell
        for number in range(p[gx.P_DOWN]):
            own.plan[0, number] = buy - spacing * number
        for number in range(p[gx.P_UP]):
            own.plan[1, number] = sell + spacing * number
        return True
    for row in range(2):
        side, count = 1 - 2 * row, p[gx.P_DOWN] if row == 0 else p[gx.P_UP]
        for number in range(count):
            if p[gx.P_GEOMETRIC]:
                own.plan[row, number] = _geometric_level(centre, p[gx.P_SPACING], number + 1, side)
            else:
                own.plan[row, number] = _linear_level(centre, p[gx.P_SPACING], number + 1, side)
    return True


@inlined
def _crossing(own: Orders, row: int, count: int, bid: int, ask: int) -> int:
    """Return how many of the nearest levels cross."""
    at = 0
    while at < count and _crosses(1 - 2 * row, own.plan[row, at], bid, ask):
        at += 1
    return at


@compiled
def _quote(own: Orders, p: Ints, sizes: Ints, seen: Ints, bid: int, ask: int) -> int:
    """Write the levels that may be quoted, and mark their orders; return how many there are.

    An order off the plan stays where a new one would take: it is about to fill.
    """
    stamp, room, tolerance, lattice = own.head[go.STAMP], p[gx.P_ROOM], p[gx.P_TOLERANCE], p[gx.P_LATTICE] != 0
    limits, mid2, quoted = p[gx.P_LIMITS :], bid + ask, 0
    for row in range(2):
        if seen[OFF_BUY + row]:
            continue
        side, count, last = 1 - 2 * row, p[gx.P_DOWN] if row == 0 else p[gx.P_UP], 0
        first = own.plan[row, 0] // p[gx.P_SPACING]
        # What the venue refuses of equal sizes, it refuses from the outermost or the nearest level on.
        fine = count > 0 and p[gx.P_SIZES] == 1
        for end in (0, count - 1):
            fine = fine and _venue_refuses(own.plan[row, end], sizes[0], mid2, limits) == rules.FINE
        for number in range(count):
            ticks, lots = own.plan[row, number], sizes[min(number, p[gx.P_SIZES] - 1)]
            if not fine and _venue_refuses(ticks, lots, mid2, limits) != rules.FINE:
                continue
            why = _level_refuses(ticks, last, _crosses(side, ticks, bid, ask), quoted, room)
            if why == rules.SAME_PRICE or why == rules.NO_ROOM:
                continue
            key = first - side * number if lattice else number + 1
            slot = go.find(own, side, key)
            if why == rules.CROSSES:
                if slot >= 0 and abs(ticks - own.rows[slot, go.TICKS]) <= tolerance:
                    own.rows[slot, go.STAYS] = stamp
                continue
            if p[gx.P_FILTERED] and number >= seen[(KEPT_BUY if slot >= 0 else LIKELY_BUY) + row]:
                continue
            last = ticks
            own.plan[go.Q_KEY, quoted], own.plan[go.Q_SIDE, quoted], own.plan[go.Q_TICKS, quoted] = key, side, ticks
            own.plan[go.Q_LOTS, quoted], own.plan[go.Q_SLOT, quoted] = lots, slot
            if slot >= 0:
                own.rows[slot, go.WANTED] = stamp
            quoted += 1
    return quoted


@inlined
def _answer(own: Orders, p: Ints, level: Ints) -> int:
    """Return what is done about a level and the order that stands under its key."""
    row = own.rows[level[go.Q_SLOT]]
    if level[go.Q_TICKS] == row[go.TICKS] and level[go.Q_LOTS] == row[go.LOTS]:  # as most levels of most steps
        return rules.CONFORMS
    may_amend = p[gx.P_AMENDS] != 0 and row[go.AMENDS] < p[gx.P_MAX_AMENDS]
    return _standing(
        level[go.Q_TICKS], level[go.Q_LOTS], row[go.TICKS], row[go.LOTS], row[go.FILLED], p[gx.P_TOLERANCE],
        p[gx.P_THRESHOLD], may_amend, p[gx.P_INCREASE] != 0,
    )  # fmt: skip


@compiled
def _reset(own: Orders, p: Ints, quoted: int) -> None:
    """Mark the orders that must be gone before the new plan is built."""
    head, stamp = own.head, own.head[go.STAMP]
    for at in range(quoted):  # an order that conforms carries the stamp, negative
        level = own.plan[:, at]
        if level[go.Q_SLOT] >= 0 and _answer(own, p, level) == rules.CONFORMS:
            own.rows[level[go.Q_SLOT], go.WANTED] = -stamp
    for at in range(head[go.LIVE]):
        row = own.rows[own.slots[go.LIVING, at]]
        fits = row[go.WANTED] == -stamp or (row[go.WANTED] != stamp and row[go.STAYS] == stamp)
        if (p[gx.P_RESET] == HARD or not fits) and not row[go.AWAITED]:
            row[go.AWAITED] = 1
            head[go.AWAITING] += 1
        if row[go.WANTED] == -stamp:
            row[go.WANTED] = stamp


@inlined
def _send(own: Orders, p: Ints, what: int, slot: int, ticks: int, lots: int, now_ns: int) -> None:
    head, row = own.head, own.rows[slot]
    size = own.rings.shape[1]
    if head[go.IN_LAST] - head[go.IN_FIRST] == size:
        head[go.FULL] = 1
        return
    command = own.rings[go.INBOX, head[go.IN_LAST] & (size - 1)]
    command[go.C_ARRIVAL], command[go.C_TYPE], command[go.C_SLOT] = now_ns + p[gx.P_ENTRY], what, slot
    command[go.C_NUMBER], command[go.C_TICK], command[go.C_LOTS] = row[go.NUMBER], ticks, lots
    head[go.IN_LAST] += 1


@compiled
def _blocked(own: Orders, slot: int, ticks: int) -> bool:
    """Whether an amend must wait: its price lies beyond an own order that is on its way, or is held by one that stays."""
    head, row = own.head, own.rows[slot]
    lowest_sell, highest_buy, kept, leaving = bk.NO_ASK, bk.NO_BID, False, False
    for at in range(head[go.LIVE]):
        other = own.rows[own.slots[go.LIVING, at]]
        if other[go.NUMBER] > head[go.STAYING]:
            break  # placed in this very step
        if other[go.FLIGHT] != go.NOTHING or other[go.MOVES] == head[go.STAMP]:
            if other[go.SIDE] < 0:
                lowest_sell = min(lowest_sell, other[go.TICKS])
            else:
                highest_buy = max(highest_buy, other[go.TICKS])
            leaving |= other[go.TICKS] == ticks
        else:
            kept |= other[go.TICKS] == ticks
    why = _amend_waits(row[go.SIDE], ticks, row[go.TICKS], lowest_sell, highest_buy, kept and not leaving)
    return bool(why != rules.FINE)


@compiled
def _amend(own: Orders, p: Ints, amends: int, now_ns: int) -> None:
    """Send amends: away from the market's other side first, the outermost before the others; then towards it, nearest first."""
    head = own.head
    for towards in (False, True):
        count = 0
        for at in range(amends):
            level = own.plan[:, own.slots[go.TO_AMEND, at]]
            row = own.rows[level[go.Q_SLOT]]
            if _towards(level[go.Q_SIDE], level[go.Q_TICKS], row[go.TICKS]) != towards:
                continue
            rank = _turn(level[go.Q_SIDE], level[go.Q_TICKS], towards)
            into = count
            while into > 0:
                before = own.plan[:, own.slots[go.TO_SORT, into - 1]]
                if _turn(before[go.Q_SIDE], before[go.Q_TICKS], towards) <= rank:
                    break
                own.slots[go.TO_SORT, into] = own.slots[go.TO_SORT, into - 1]
                into -= 1
            own.slots[go.TO_SORT, into] = own.slots[go.TO_AMEND, at]
            count += 1
        for at in range(count):
            level = own.plan[:, own.slots[go.TO_SORT, at]]
            _send(own, p, ex.AMEND, level[go.Q_SLOT], level[go.Q_TICKS], level[go.Q_LOTS], now_ns)
            head[go.AMENDED] += 1
            if own.logs.shape[1] > 0:
                if head[go.AMENDED] > own.logs.shape[1]:
                    head[go.FULL] = 1
                else:
                    log = own.logs[go.AMEND_LOG, head[go.AMENDED] - 1]
                    log[go.LA_NOW], log[go.LA_SIDE] = now_ns, level[go.Q_SIDE]
                    log[go.LA_TICKS], log[go.LA_LOTS] = level[go.Q_TICKS], level[go.Q_LOTS]
    for at in range(amends):  # afterwards, since the order of sending looks at where they stood
        row = own.rows[own.plan[go.Q_SLOT, own.slots[go.TO_AMEND, at]]]
        row[go.FLIGHT], row[go.WISHED] = go.AMENDING, 1


@compiled
def _route(own: Orders, p: Ints, quoted: int, stale: bool, now_ns: int) -> None:
    """Send what makes own orders those of the plan, and note whether a level has to wait for another order."""
    head, stamp, ttl = own.head, own.head[go.STAMP], p[gx.P_TTL]
    cancels = amends = places = 0
    lasting = ttl < 0 and head[go.AWAITING] == 0
    wanted = 0
    for at in range(quoted):
        wanted += own.plan[go.Q_SLOT, at] >= 0
    # Where the plan wants every order, as after a fill, none has to leave.
    for at in range(0 if lasting and wanted == head[go.LIVE] else head[go.LIVE]):
        slot = own.slots[go.LIVING, at]
        row = own.rows[slot]
        if row[go.WANTED] == stamp and lasting:
            continue
        expired = _expired(row[go.SENT], now_ns, ttl) and not row[go.AWAITED]
        if (row[go.WANTED] == stamp or row[go.STAYS] == stamp) and not expired and not row[go.AWAITED]:
            continue
        if row[go.FLIGHT] == go.NOTHING:
            row[go.EXPIRES], row[go.MOVES] = expired, stamp
            own.slots[go.TO_CANCEL, cancels] = slot
            cancels += 1
    head[go.STAYING] = head[go.PLACED]
    head[go.WAITING] = 0
    for at in range(0 if stale else quoted):
        level = own.plan[:, at]
        slot, ticks, lots = level[go.Q_SLOT], level[go.Q_TICKS], level[go.Q_LOTS]
        if slot < 0:
            if go.occupied(own, ticks) or head[go.AWAITING] > 0:
                head[go.WAITING] = 1
                continue
            slot = go.add(own, level[go.Q_KEY], level[go.Q_SIDE], ticks, lots, now_ns)
            if slot < 0:
                head[go.FULL] = 1
                return
            own.slots[go.TO_PLACE, places] = slot
            places += 1
            continue
        row = own.rows[slot]
        if row[go.MOVES] == stamp:
            continue
        answer = _answer(own, p, level)
        if answer == rules.CONFORMS:
            row[go.FITS] = stamp
            continue
        if row[go.FLIGHT] != go.NOTHING:
            continue
        row[go.MOVES] = stamp
        if answer == rules.QUANTITY_CHANGED or answer == rules.SMALL_MOVE:
            own.slots[go.TO_AMEND, amends] = at
            amends += 1
        else:
            row[go.EXPIRES] = 0
            own.slots[go.TO_CANCEL, cancels] = slot
            cancels += 1
    kept = 0
    for at in range(amends):
        level = own.plan[:, own.slots[go.TO_AMEND, at]]
        if not _blocked(own, level[go.Q_SLOT], level[go.Q_TICKS]):
            own.slots[go.TO_AMEND, kept] = own.slots[go.TO_AMEND, at]
            kept += 1
    if kept < amends:
        head[go.WAITING] = 1
    amends = kept
    for at in range(cancels):
        slot = own.slots[go.TO_CANCEL, at]
        row = own.rows[slot]
        row[go.FLIGHT] = go.CANCELLING
        _send(own, p, ex.CANCEL, slot, row[go.TICKS], row[go.LOTS], now_ns)
        head[go.CANCEL_BUY if row[go.SIDE] > 0 else go.CANCEL_SELL] += 1
    _amend(own, p, amends, now_ns)
    for at in range(places):
        slot = own.slots[go.TO_PLACE, at]
        row = own.rows[slot]
        _send(own, p, ex.PLACE, slot, row[go.TICKS], row[go.LOTS], now_ns)
        head[go.SENT_BUY if row[go.SIDE] > 0 else go.SENT_SELL] += 1


@inlined
def _filter(own: Orders, p: Ints, f: Floats, rule: gf.FillRule, look: Floats, seen: Ints, mid2: int) -> bool:
    """Note how many levels of each side are likely enough; return whether that has changed."""
    changed = False
    for row in range(2):
        side, count, prices = 1 - 2 * row, p[gx.P_DOWN] if row == 0 else p[gx.P_UP], own.plan[row]
        near = gf.likely(rule, look, f, False, prices, count, side, mid2, seen[LIKELY_BUY + row])
        far = near
        if f[gf.F_HYSTERESIS] > 0.0:
            far = gf.likely(rule, look, f, True, prices, count, side, mid2, seen[KEPT_BUY + row])
        changed = changed or near != seen[LIKELY_BUY + row] or far != seen[KEPT_BUY + row]
        seen[LIKELY_BUY + row], seen[KEPT_BUY + row] = near, far
    return changed


@inlined
def decide(
    own: Orders, p: Ints, f: Floats, sizes: Ints, rule: gf.FillRule, look: Floats, seen: Ints, bid: int, ask: int,
    stale: bool, now_ns: int,
) -> None:  # fmt: skip
    """Decide at a time with both sides of the book known. What cannot have changed since the last time is not looked at again.

    A decision that is made twice sends nothing the second time: all that it has changed is then under way.
    """
    head = own.head
    seen[BID], seen[ASK], seen[HELD] = bid, ask, head[go.POSITION]
    mid2, position, limit = bid + ask, head[go.POSITION], p[gx.P_LIMIT]
    fresh = False
    if p[gx.P_LATTICE]:
        centre2 = mid2
    else:
        centre2 = seen[ANCHOR2]
        if centre2 == 0 or _moved_beyond(centre2, mid2, p[gx.P_RECENTRE]):
            fresh = centre2 != 0
            centre2 = seen[ANCHOR2] = mid2
    skew = _skew_at(position, limit, p[gx.P_SKEW]) if p[gx.P_SKEW] else 0
    changed = _set_prices(own, p, seen, centre2, skew) or fresh
    for row in range(2):
        off = not p[gx.P_BUYS + row] or _side_full(1 - 2 * row, position, limit)
        crossing = _crossing(own, row, p[gx.P_DOWN] if row == 0 else p[gx.P_UP], bid, ask)
        changed = changed or seen[OFF_BUY + row] != off or seen[CROSS_BUY + row] != crossing
        seen[OFF_BUY + row], seen[CROSS_BUY + row] = off, crossing
    if p[gx.P_FILTERED]:
        changed = _filter(own, p, f, rule, look, seen, mid2) or changed
    if head[go.DEAD] > 0:
        go.bury(own)
    oldest = own.slots[go.LIVING, 0]
    ageing = head[go.LIVE] > 0 and _expired(own.rows[oldest, go.SENT], now_ns, p[gx.P_TTL])
    banded = p[gx.P_LIMITS + rules.BAND_DOWN_OF] != 0 or p[gx.P_LIMITS + rules.BAND_UP_OF] != 0
    if not (head[go.DIRTY] or changed or ageing or banded or stale or seen[WAS_STALE]):
        return
    head[go.DIRTY] = 0
    head[go.STAMP] += 1
    quoted = _quote(own, p, sizes, seen, bid, ask)
    if fresh and p[gx.P_RESET] != NO_RESET:
        _reset(own, p, quoted)
    seen[WAS_STALE] = stale
    seen[QUIET] = p[gx.P_TTL] < 0 and not stale  # time alone changes nothing
    _route(own, p, quoted, stale, now_ns)
