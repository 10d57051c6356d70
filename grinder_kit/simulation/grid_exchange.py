"""The exchange of one compiled grid: the kernel's rules, applied only where own orders are.

An order's place in its queue is not followed event by event: it is worked out from the level's history when a trade comes to its
price, which is the only time at which it matters. The rules of the queue are the kernel's own functions.
"""

from __future__ import annotations

from grinder_kit.decision import rules
from grinder_kit.kernel import book as bk
from grinder_kit.kernel import exchange as ex
from grinder_kit.kernel import queue as qu
from grinder_kit.kernel.compiled import compiled, inlined
from grinder_kit.kernel.exchange import Ints
from grinder_kit.simulation import grid_orders as go
from grinder_kit.simulation.grid_orders import Orders
from grinder_kit.simulation.shared_market import (
    AT,
    H_AT,
    H_LOTS,
    H_PRICE,
    H_TS,
    NEW,
    NO_TRADE,
    OLD,
    T_ASK,
    T_AT,
    T_BID,
    Index,
)

# columns of a grid's parameters
(
    P_LATTICE, P_SPACING, P_GEOMETRIC, P_HALF_SPREAD, P_DOWN, P_UP, P_BUYS, P_SELLS, P_LIMIT, P_SKEW, P_RECENTRE, P_RESET,
    P_ROOM, P_TOLERANCE, P_THRESHOLD, P_AMENDS, P_INCREASE, P_MAX_AMENDS, P_TTL, P_SIZES, P_ENTRY, P_RESPONSE, P_QUEUE,
    P_PARTIAL, P_SHARE, P_WHOLE, P_FILTERED, P_WAIT, P_LIMITS,
) = range(29)  # fmt: skip
P_SIZE = P_LIMITS + rules.LIMITS  # the venue's limits come last, as the rules take them
_MOST_GAPS = 32  # that orders which rest no more leave among those that do


@compiled
def seek(values: Ints, start: int, stop: int, value: int) -> int:
    """Return the first position in [start, stop) that holds more than `value`, `stop` where none does; near ones cost least."""
    reach = 1
    low = start
    while low + reach < stop and values[low + reach] <= value:
        low += reach
        reach *= 2
    high = min(low + reach, stop)
    while low < high:
        middle = (low + high) >> 1
        if values[middle] <= value:
            low = middle + 1
        else:
            high = middle
    return low


@inlined
def respond(own: Orders, p: Ints, ts: int, what: int, slot: int, number: int, tick: int, lots: int, cause: int) -> None:
    """Send a response; it is seen after the way back."""
    head = own.head
    size = own.rings.shape[1]
    if head[go.OUT_LAST] - head[go.OUT_FIRST] == size:
        head[go.FULL] = 1
        return
    out = own.rings[go.OUTBOX, head[go.OUT_LAST] & (size - 1)]
    out[go.R_SEEN], out[go.R_TS], out[go.R_TYPE] = ts + p[P_RESPONSE], ts, what
    out[go.R_SLOT], out[go.R_NUMBER], out[go.R_TICK] = slot, number, tick
    out[go.R_LOTS], out[go.R_CAUSE] = lots, cause
    head[go.OUT_LAST] += 1


@compiled
def _extremes(own: Orders) -> None:
    low, high = -bk.NO_ASK, bk.NO_BID
    for at in range(own.head[go.RESTING]):
        price = own.slots[go.QUEUED_AT, at]
        high = max(high, price if price > 0 else bk.NO_BID)
        low = max(low, price if price < 0 else -bk.NO_ASK)
    own.head[go.MIN_SELL], own.head[go.MAX_BUY] = -low, high


@compiled
def _close_ranks(own: Orders) -> None:
    """Let those who still rest stand without gaps, in their order."""
    into = 0
    for at in range(own.head[go.RESTING]):
        if own.slots[go.QUEUED_AT, at] != 0:
            slot = own.slots[go.QUEUED, at]
            own.slots[go.QUEUED, into], own.slots[go.QUEUED_AT, into] = slot, own.slots[go.QUEUED_AT, at]
            own.rows[slot, go.X_AT] = into
            into += 1
    own.head[go.RESTING], own.head[go.GAPS] = into, 0


@compiled
def _remove(own: Orders, slot: int) -> None:
    """Let an order rest no more; it leaves a gap without a price."""
    head, row = own.head, own.rows[slot]
    row[go.X_RESTS] = 0
    own.slots[go.QUEUED_AT, row[go.X_AT]] = 0
    head[go.GAPS] += 1
    if head[go.GAPS] == head[go.RESTING]:
        head[go.RESTING] = head[go.GAPS] = 0
    if row[go.X_TICK] == (head[go.MAX_BUY] if row[go.SIDE] > 0 else head[go.MIN_SELL]):
        _extremes(own)


@inlined
def _fill(own: Orders, p: Ints, slot: int, lots: int, ts: int, cause: int) -> None:
    row = own.rows[slot]
    row[go.X_LEAVES] -= lots
    own.head[go.INVENTORY] += row[go.SIDE] * lots
    respond(own, p, ts, ex.FILLED, slot, row[go.NUMBER], row[go.X_TICK], lots, cause)


@compiled
def _fill_beyond(own: Orders, p: Ints, side: int, limit: int, ts: int, cause: int) -> None:
    """Fill whole, best price first, every own buy at or above `limit` (side +1) or own sell at or below it (side -1)."""
    while own.head[go.MAX_BUY] >= limit if side > 0 else own.head[go.MIN_SELL] <= limit:
        best, price = 0, own.head[go.MAX_BUY] if side > 0 else -own.head[go.MIN_SELL]
        while own.slots[go.QUEUED_AT, best] != price:
            best += 1
        slot = own.slots[go.QUEUED, best]
        _fill(own, p, slot, own.rows[slot, go.X_LEAVES], ts, cause)
        _remove(own, slot)


@inlined
def _catch_up(index: Index, own: Orders, p: Ints, power: float, slot: int, before: int) -> None:
    """Let an order move up by all that has happened at its price before an event."""
    row, state = own.rows[slot], own.queue[slot]
    which = index.list_of[(1 - row[go.SIDE]) >> 1, row[go.X_TICK] - index.base[0]]
    at, stop = row[go.X_NEXT], index.bounds[which + 1]
    if at < 0:  # the first trade since it rests: most orders leave before there is one
        start = index.bounds[which]
        at = seek(index.entries[:, AT], start, stop, -at - 1)
        state[ex.AHEAD] = float(index.entries[at - 1, NEW]) if at > start else 0.0
    while at < stop and index.entries[at, AT] < before:
        if index.entries[at, OLD] >= 0:
            state[ex.AHEAD] = qu.moved_up(
                p[P_WHOLE] != 0, p[P_QUEUE], power, state[ex.AHEAD], state[ex.TRADED], float(index.entries[at, OLD]),
                float(index.entries[at, NEW]),
            )  # fmt: skip
            state[ex.TRADED] = 0.0
        at += 1
    row[go.X_NEXT] = at


@inlined
def _trade(index: Index, own: Orders, p: Ints, power: float, hot: int) -> None:
    """Apply a print: own orders at better prices were traded through, those at its price advance in the queue."""
    price, lots = index.hot[H_PRICE, hot], index.hot[H_LOTS, hot]
    ts, before = index.hot[H_TS, hot], index.hot[H_AT, hot]
    side = -1 if price > 0 else 1
    tick = abs(price)
    if own.head[go.MAX_BUY] > tick if side > 0 else own.head[go.MIN_SELL] < tick:
        _fill_beyond(own, p, side, tick + side, ts, ex.BY_TRADE)
    if tick != (own.head[go.MAX_BUY] if side > 0 else own.head[go.MIN_SELL]):
        return  # nothing rests at the price itself
    volume = lots
    at = 0
    while at < own.head[go.RESTING]:
        if own.slots[go.QUEUED_AT, at] != side * tick:
            at += 1
            continue
        slot = own.slots[go.QUEUED, at]
        row = own.rows[slot]
        _catch_up(index, own, p, power, slot, before)
        state = own.queue[slot]
        state[ex.AHEAD] -= volume
        state[ex.TRADED] += lots
        filled = qu.filled_by_trade(p[P_WHOLE] != 0, p[P_PARTIAL] != 0, state[ex.AHEAD], row[go.X_LEAVES], volume)
        if filled > 0 and volume > 0:
            _fill(own, p, slot, filled, ts, ex.BY_QUEUE)
            if p[P_SHARE]:
                volume -= min(filled, volume)
            if row[go.X_LEAVES] == 0:
                _remove(own, slot)
                at += 1
                continue
            state[ex.AHEAD] = qu.front(p[P_QUEUE])
        at += 1


@inlined
def _match(index: Index, own: Orders, p: Ints, power: float, stop: int) -> None:
    """Let the market fill own orders by its events before `stop`."""
    head = own.head
    at = head[go.HOT]
    head[go.HOT] = stop
    if head[go.RESTING] == 0:
        return
    low, high = head[go.MIN_SELL], -head[go.MAX_BUY]
    while at < stop:
        price = index.hot[H_PRICE, at]
        if price >= low if price > 0 else price >= high:
            if index.hot[H_LOTS, at] == NO_TRADE:
                side = 1 if price > 0 else -1
                _fill_beyond(own, p, -side, abs(price), index.hot[H_TS, at], ex.BY_QUOTE)
            else:
                _trade(index, own, p, power, at)
            low, high = head[go.MIN_SELL], -head[go.MAX_BUY]
        at += 1


# --- arrivals ------------------------------------------------------------------------------------------------------------


@inlined
def _takes(index: Index, own: Orders, side: int, tick: int, before: int) -> bool:
    """Whether an order that arrives before an event would trade at once."""
    head = own.head
    head[go.TOUCH] = seek(index.touch[T_AT], head[go.TOUCH], index.touch.shape[1], before - 1)
    at = head[go.TOUCH] - 1
    if at < 0:
        return False
    return bool(tick >= index.touch[T_ASK, at] if side > 0 else tick <= index.touch[T_BID, at])


@inlined
def _rest(own: Orders, slot: int, tick: int, lots: int, leaves: int, before: int) -> None:
    """Let an order join the back of its queue before an event; how long that is, is asked when a trade comes."""
    head, row = own.head, own.rows[slot]
    if head[go.RESTING] == own.slots.shape[1] or head[go.GAPS] > _MOST_GAPS:
        _close_ranks(own)
    row[go.X_RESTS], row[go.X_TICK], row[go.X_LOTS], row[go.X_LEAVES] = 1, tick, lots, leaves
    row[go.X_NEXT], row[go.X_AT] = -before, head[go.RESTING]
    own.queue[slot, ex.AHEAD] = own.queue[slot, ex.TRADED] = 0.0
    own.slots[go.QUEUED, head[go.RESTING]], own.slots[go.QUEUED_AT, head[go.RESTING]] = slot, row[go.SIDE] * tick
    head[go.RESTING] += 1
    if row[go.SIDE] > 0:
        head[go.MAX_BUY] = max(head[go.MAX_BUY], tick)
    else:
        head[go.MIN_SELL] = min(head[go.MIN_SELL], tick)


@inlined
def _arrive(index: Index, own: Orders, p: Ints, command: Ints, before: int) -> None:
    ts, slot, number = command[go.C_ARRIVAL], command[go.C_SLOT], command[go.C_NUMBER]
    tick, lots = command[go.C_TICK], command[go.C_LOTS]
    row = own.rows[slot]
    if command[go.C_TYPE] == ex.PLACE:
        if _takes(index, own, row[go.SIDE], tick, before):
            respond(own, p, ts, ex.REJECTED, slot, number, tick, 0, 0)
            return
        respond(own, p, ts, ex.ACCEPTED, slot, number, tick, 0, 0)
        _rest(own, slot, tick, lots, lots, before)
        return
    if row[go.NUMBER] != number or not row[go.X_RESTS]:
        refused = ex.CANCEL_REJECTED if command[go.C_TYPE] == ex.CANCEL else ex.AMEND_REJECTED
        respond(own, p, ts, refused, slot, number, tick, 0, 0)
        return
    leaves = lots - (row[go.X_LOTS] - row[go.X_LEAVES])
    if command[go.C_TYPE] == ex.CANCEL or leaves <= 0 or _takes(index, own, row[go.SIDE], tick, before):
        respond(own, p, ts, ex.CANCELLED, slot, number, row[go.X_TICK], 0, 0)
        _remove(own, slot)
        return
    _remove(own, slot)
    respond(own, p, ts, ex.AMENDED, slot, number, tick, lots, 0)
    _rest(own, slot, tick, lots, leaves, before)


@inlined
def felt(index: Index, own: Orders, stop: int) -> bool:
    """Whether anything may happen to own orders until the event `stop` comes."""
    head = own.head
    if head[go.IN_FIRST] < head[go.IN_LAST] or head[go.FUNDED] < index.funding.shape[1]:
        return True
    return bool(head[go.RESTING] > 0 and head[go.HOT] < stop)


@inlined
def answered(own: Orders, until_ns: int) -> bool:
    """Whether a response or an answer is seen up to a time."""
    head, size = own.head, own.rings.shape[1]
    if head[go.ASK_FIRST] < head[go.ASK_LAST]:
        return True
    first = head[go.OUT_FIRST]
    return bool(first < head[go.OUT_LAST] and own.rings[go.OUTBOX, first & (size - 1), go.R_SEEN] <= until_ns)


@inlined
def _first_due(own: Orders, ring: int, first: int, last: int) -> int:
    """Return the time of the first entry of a ring, FOREVER while it is empty."""
    if first == last:
        return ex.FOREVER
    due: int = own.rings[ring, first & (own.rings.shape[1] - 1), 0]
    return due


@inlined
def run_to(index: Index, own: Orders, p: Ints, power: float, until_ns: int, stop: int) -> None:
    """Let the exchange run to a time, that before the event `stop`: at equal times the market comes first, then funding, arrivals."""
    head, size = own.head, own.rings.shape[1]
    while True:
        order_ts = _first_due(own, go.INBOX, head[go.IN_FIRST], head[go.IN_LAST])
        fund_ts = index.funding[0, head[go.FUNDED]] if head[go.FUNDED] < index.funding.shape[1] else ex.FOREVER
        ts = min(order_ts, fund_ts)
        _match(index, own, p, power, stop if ts > until_ns else seek(index.hot[H_TS], head[go.HOT], stop, ts))
        if ts > until_ns:
            return
        if fund_ts == ts:
            if head[go.INVENTORY] != 0:
                respond(own, p, ts, ex.FUNDING, 0, head[go.FUNDED], 0, head[go.INVENTORY], 0)
            head[go.FUNDED] += 1
            continue
        head[go.BURST] = seek(index.ts, head[go.BURST], index.ts.shape[0], ts)
        before = index.first[head[go.BURST]]
        while _first_due(own, go.INBOX, head[go.IN_FIRST], head[go.IN_LAST]) == ts:
            _arrive(index, own, p, own.rings[go.INBOX, head[go.IN_FIRST] & (size - 1)], before)
            head[go.IN_FIRST] += 1
        if head[go.IN_FIRST] == head[go.IN_LAST]:
            head[go.IN_FIRST] = head[go.IN_LAST] = 0


# --- answers -------------------------------------------------------------------------------------------------------------


@inlined
def _booked(own: Orders, trades: Ints, row: Ints, response: Ints) -> None:
    """Book a fill in position and cash, and write it down."""
    head = own.head
    tick, lots, side = response[go.R_TICK], response[go.R_LOTS], row[go.SIDE]
    head[go.FILLS] += 1
    head[go.VOLUME] += lots
    head[go.POSITION] += side * lots
    head[go.CASH] -= side * tick * lots
    head[go.NOTIONAL] += tick * lots
    head[go.BY_CAUSE + response[go.R_CAUSE]] += 1
    if trades.shape[1] > 0:  # otherwise nobody pairs them
        if head[go.FILLS] > trades.shape[1]:
            head[go.FULL] = go.FULL_OF_FILLS
            return
        trades[go.T_TICKS, head[go.FILLS] - 1], trades[go.T_LOTS, head[go.FILLS] - 1] = tick, side * lots
    if own.logs.shape[1] > 0:
        if head[go.FILLS] > own.logs.shape[1]:
            head[go.FULL] = 1
            return
        log = own.logs[go.FILL_LOG, head[go.FILLS] - 1]
        log[go.LF_NUMBER], log[go.LF_TS], log[go.LF_SEEN] = row[go.NUMBER], response[go.R_TS], response[go.R_SEEN]
        log[go.LF_TICKS], log[go.LF_LOTS], log[go.LF_CAUSE] = tick, lots, response[go.R_CAUSE]


@inlined
def _take(own: Orders, trades: Ints, p: Ints, response: Ints, step_ns: int) -> None:
    """Take one response as the engine does; the next decision is at `step_ns`."""
    head = own.head
    what, slot, ts, seen = response[go.R_TYPE], response[go.R_SLOT], response[go.R_TS], response[go.R_SEEN]
    if what == ex.FUNDING:
        if head[go.PAID] == own.paid.shape[0]:
            head[go.FULL] = 1
            return
        log = own.paid[head[go.PAID]]
        log[go.LP_INDEX], log[go.LP_TS], log[go.LP_SEEN] = response[go.R_NUMBER], ts, seen
        log[go.LP_LOTS] = response[go.R_LOTS]
        head[go.PAID] += 1
        return
    row = own.rows[slot]
    if what == ex.CANCEL_REJECTED or row[go.NUMBER] != response[go.R_NUMBER]:
        return  # the order has ended before: nothing is left to change
    if what == ex.FILLED:
        _booked(own, trades, row, response)
        row[go.FILLED] += response[go.R_LOTS]
        if row[go.FILLED] >= row[go.LOTS] and not row[go.WISHED]:
            go.end(own, slot, go.FILLED_WHOLE, ts, step_ns)
        else:  # while an amend may have made it larger, an order that looks full may still rest
            row[go.STATE] = go.PARTIALLY_FILLED
            head[go.DIRTY] |= head[go.WAITING]
    elif what == ex.ACCEPTED:
        row[go.STATE], row[go.FLIGHT] = go.OPEN, go.NOTHING
        if row[go.FITS] != head[go.STAMP] or row[go.AWAITED] or head[go.WAITING]:
            head[go.DIRTY] = 1
    elif what == ex.AMENDED:
        head[go.DIRTY] = 1
        row[go.AMENDS] += 1
        row[go.WISHED], row[go.FLIGHT] = 0, go.NOTHING
        go.moved(own, slot, response[go.R_TICK], response[go.R_LOTS])
        if row[go.FILLED] >= row[go.LOTS]:
            go.end(own, slot, go.FILLED_WHOLE, ts, step_ns)
    elif what == ex.AMEND_REJECTED:  # it filled first: asked at once, and answered after the way there and back
        row[go.FLIGHT] = go.UNKNOWN
        if head[go.ASK_LAST] - head[go.ASK_FIRST] == own.rings.shape[1]:
            head[go.FULL] = 1
            return
        question = own.rings[go.ASKED, head[go.ASK_LAST] & (own.rings.shape[1] - 1)]
        question[go.A_DUE] = seen + p[P_ENTRY] + p[P_RESPONSE]
        question[go.A_SLOT], question[go.A_NUMBER] = slot, row[go.NUMBER]
        head[go.ASK_LAST] += 1
    else:
        go.end(own, slot, go.REJECTED if what == ex.REJECTED else go.CANCELLED, ts, step_ns)


@inlined
def deliver(own: Orders, trades: Ints, p: Ints, until_ns: int) -> None:
    """Deliver what is seen up to a time, that of the next decision, in order."""
    head, size = own.head, own.rings.shape[1]
    while True:
        seen = _first_due(own, go.OUTBOX, head[go.OUT_FIRST], head[go.OUT_LAST])
        due = _first_due(own, go.ASKED, head[go.ASK_FIRST], head[go.ASK_LAST])
        if min(seen, due) > until_ns:
            break
        if seen <= due:
            _take(own, trades, p, own.rings[go.OUTBOX, head[go.OUT_FIRST] & (size - 1)], until_ns)
            head[go.OUT_FIRST] += 1
        else:
            question = own.rings[go.ASKED, head[go.ASK_FIRST] & (size - 1)]
            slot = question[go.A_SLOT]
            if own.rows[slot, go.NUMBER] == question[go.A_NUMBER]:
                go.end(own, slot, go.FILLED_WHOLE, due, until_ns)
            head[go.ASK_FIRST] += 1
    if head[go.OUT_FIRST] == head[go.OUT_LAST]:  # a ring that is empty starts again, where memory is warm
        head[go.OUT_FIRST] = head[go.OUT_LAST] = 0
