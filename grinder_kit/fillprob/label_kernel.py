"""Thousands of orders at rest at once, which nobody else sees, filled under every queue model by the kernel's own rules.

The exchange of kernel/ keeps few orders and looks at each; here they are listed by side and price, so that an event costs what
it touches. What moves the book, who is reached, what a trade fills and how a queue moves up is asked of kernel/ (`move_book`,
`filled_by_trade`, `moved_up`): nothing of it is written here again. Each order sees all of the market's volume.

Orders live in a ring, in the order of their decision: decided, joined (their arrival), gone (the end of their watch), and at last
taken out by whoever reads them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from grinder_kit.fillprob import traded_rate
from grinder_kit.kernel import book as bk
from grinder_kit.kernel import exchange as ex
from grinder_kit.kernel import queue as qu
from grinder_kit.kernel.book import Book
from grinder_kit.kernel.compiled import compiled, inlined
from grinder_kit.kernel.exchange import Stream
from grinder_kit.kernel.observer import SETTLE_NS

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MODELS = 5  # of the kernel's codes: risk-averse, power, pro-rata, optimistic, touch
ALL_OPEN = (1 << MODELS) - 1
BUCKETS = 1 << 14
NO_ORDER = -1
MARK_NS = (1_000_000_000, 10_000_000_000)

# an order's integers; FILLED and LEAVES are followed by those of the other models
SIDE, TICK, LOTS, AT_TOUCH, JOINED, UNTIL, OPEN, NEXT, BEFORE, FILLED, LEAVES = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9 + MODELS
I_SIZE = LEAVES + MODELS
# an order's floats; AHEAD and MARK are followed by those of the other models and horizons. MARK: mid2, NaN unknown
AHEAD, TRADED, MID2, SPREAD2, SIGMA, OFI_Z, QUEUE_S, IMB_OWN, MARK = 0, 5, 6, 7, 8, 9, 10, 11, 12
F_SIZE = MARK + len(MARK_NS)
# head: LIVE, BEST and MARKED are followed by those of the other side or horizon. BEST: no live order has a better price
NOW, GAP_NS, DEPTH_NS, TRADES, REFUSED = 0, 1, 2, 3, 4
N_TAKEN, N_GONE, N_JOINED, N_DECIDED, N_FILLED, MARKED, LIVE, BEST, HEAD_SIZE = 5, 6, 7, 8, 9, 10, 12, 14, 16

_restart = compiled(traded_rate.restart)
_on_trade = compiled(traded_rate.on_trade)
_rate = compiled(traded_rate.rate)


class Field(NamedTuple):
    """The orders, the book they wait in, and what is counted.

    ints, floats : (capacity, I_SIZE), (capacity, F_SIZE) by slot; capacity is a power of two
    first : (2, BUCKETS) first order by side and price modulo BUCKETS
    filled : (capacity,) slots in the order of their fills under the power model
    """

    book: Book
    ints: Ints
    floats: Floats
    first: Ints
    filled: Ints
    head: Ints
    exchange_head: Ints  # of the kernel's exchange, for its memory of quotes
    settings: Ints  # of the kernel's exchange
    rate_f: Floats
    rate_i: Ints
    power: float
    window_ns: int
    silence_ns: int


def new_field(
    capacity: int, exchange_head: Ints, settings: Ints, power: float, window_ns: int, silence_ns: int
) -> Field:
    """Return a field without orders and with an empty book; `capacity` orders at most are decided and not taken out."""
    head = np.zeros(HEAD_SIZE, np.int64)
    head[BEST], head[BEST + 1] = bk.NO_BID, bk.NO_ASK
    return Field(
        book=bk.new_book(),
        ints=np.zeros((capacity, I_SIZE), np.int64),
        floats=np.zeros((capacity, F_SIZE)),
        first=np.full((2, BUCKETS), NO_ORDER, np.int64),
        filled=np.zeros(capacity, np.int64),
        head=head,
        exchange_head=exchange_head,
        settings=settings,
        rate_f=np.zeros(traded_rate.F_SIZE),
        rate_i=np.zeros(traded_rate.I_SIZE, np.int64),
        power=power,
        window_ns=window_ns,
        silence_ns=silence_ns,
    )


# --- the lists ---------------------------------------------------------------------------------------------------------


@compiled
def _link(field: Field, slot: int) -> None:
    order = field.ints[slot]
    row, bucket = (1 - order[SIDE]) >> 1, order[TICK] & (BUCKETS - 1)
    follower = field.first[row, bucket]
    order[BEFORE], order[NEXT] = NO_ORDER, follower
    if follower != NO_ORDER:
        field.ints[follower, BEFORE] = slot
    field.first[row, bucket] = slot
    field.head[LIVE + row] += 1
    if (order[TICK] - field.head[BEST + row]) * order[SIDE] > 0:
        field.head[BEST + row] = order[TICK]


@compiled
def _unlink(field: Field, slot: int) -> None:
    order = field.ints[slot]
    row = (1 - order[SIDE]) >> 1
    if order[BEFORE] == NO_ORDER:
        field.first[row, order[TICK] & (BUCKETS - 1)] = order[NEXT]
    else:
        field.ints[order[BEFORE], NEXT] = order[NEXT]
    if order[NEXT] != NO_ORDER:
        field.ints[order[NEXT], BEFORE] = order[BEFORE]
    order[OPEN] = 0
    field.head[LIVE + row] -= 1
    if field.head[LIVE + row] == 0:
        field.head[BEST + row] = bk.NO_BID if row == 0 else bk.NO_ASK


@compiled
def _fill(field: Field, slot: int, model: int, ts: int) -> None:
    """Note that an order has filled whole under a model; the caller unlinks it when no model has it open."""
    order = field.ints[slot]
    order[FILLED + model] = ts
    order[OPEN] &= ~(1 << model)
    if model == qu.POWER:
        field.filled[field.head[N_FILLED] & (field.filled.shape[0] - 1)] = slot
        field.head[N_FILLED] += 1


# --- market events -----------------------------------------------------------------------------------------------------


@compiled
def _fill_beyond(field: Field, side: int, limit: int, ts: int) -> None:
    """Fill every buy at or above `limit` (side +1) or every sell at or below it (side -1), under each model."""
    row = (1 - side) >> 1
    while (field.head[BEST + row] - limit) * side >= 0:
        tick = field.head[BEST + row]
        slot = field.first[row, tick & (BUCKETS - 1)]
        while slot != NO_ORDER:
            follower = field.ints[slot, NEXT]
            if field.ints[slot, TICK] == tick:
                for model in range(MODELS):
                    if field.ints[slot, OPEN] >> model & 1:
                        _fill(field, slot, model, ts)
                _unlink(field, slot)
            slot = follower
        if field.head[LIVE + row] == 0:
            return
        field.head[BEST + row] = tick - side


@compiled
def _trade(field: Field, aggressor: int, tick: int, lots: int, ts: int) -> None:
    """Apply a print: orders at better prices were traded through, those at its price advance in the queue."""
    side = -aggressor
    _fill_beyond(field, side, tick + side, ts)
    whole, partial = field.settings[ex.S_WHOLE] != 0, field.settings[ex.S_PARTIAL] != 0
    slot = field.first[(1 - side) >> 1, tick & (BUCKETS - 1)]
    while slot != NO_ORDER:
        order, queue = field.ints[slot], field.floats[slot]
        follower = order[NEXT]
        if order[TICK] == tick:
            queue[TRADED] += lots
            for model in range(MODELS):
                if order[OPEN] >> model & 1 == 0:
                    continue
                queue[AHEAD + model] -= lots
                filled = qu.filled_by_trade(whole, partial, queue[AHEAD + model], order[LEAVES + model], lots)
                if filled > 0:
                    order[LEAVES + model] -= filled
                    queue[AHEAD + model] = qu.front(model)
                    if order[LEAVES + model] == 0:
                        _fill(field, slot, model, ts)
            if order[OPEN] == 0:
                _unlink(field, slot)
        slot = follower


@compiled
def _level_changed(field: Field, side: int, tick: int, old: int, new: int) -> None:
    whole = field.settings[ex.S_WHOLE] != 0
    slot = field.first[(1 - side) >> 1, tick & (BUCKETS - 1)]
    while slot != NO_ORDER:
        order, queue = field.ints[slot], field.floats[slot]
        if order[TICK] == tick:
            for model in range(MODELS):
                if order[OPEN] >> model & 1:
                    queue[AHEAD + model] = qu.moved_up(
                        whole, model, field.power, queue[AHEAD + model], queue[TRADED], float(old), float(new)
                    )
            queue[TRADED] = 0.0
        slot = order[NEXT]


@inlined
def _event(field: Field, ts: int, kind: int, side: int, tick: int, lots: int, id_: int) -> None:
    head = field.head
    if kind == ex.TRADE:
        head[TRADES] += 1
        _on_trade(field.rate_f, field.rate_i, side, lots, ts)
        _trade(field, side, tick, lots, ts)
        return
    if kind in (ex.SNAPSHOT, ex.BBO):
        head[GAP_NS] = 0  # as observer.py does: the book is anchored again
    if kind in (ex.DEPTH, ex.SNAPSHOT):
        head[DEPTH_NS] = ts
    old, reaches = ex.move_book(field.book, field.exchange_head, field.settings, kind, side, tick, lots, id_)
    if old >= 0:
        _level_changed(field, side, tick, old, lots)
    if reaches:
        _fill_beyond(field, -side, tick, ts)


@compiled
def _gap(field: Field, ts: int, end_ns: int) -> None:
    """End every watch at `end_ns`, when the market was known for the last time, and take back what was noted since."""
    head, mask = field.head, field.ints.shape[0] - 1
    for number in range(head[N_TAKEN], head[N_DECIDED]):
        order = field.ints[number & mask]
        order[UNTIL] = min(order[UNTIL], end_ns)
        if order[OPEN]:
            _unlink(field, number & mask)
        for horizon in range(len(MARK_NS)):
            if order[FILLED + qu.POWER] + MARK_NS[horizon] > end_ns:
                field.floats[number & mask, MARK + horizon] = math.nan
        for model in range(MODELS):
            if order[FILLED + model] > end_ns:
                order[FILLED + model] = 0
    head[N_GONE] = head[N_JOINED] = head[N_DECIDED]  # what was on its way does not arrive
    for horizon in range(len(MARK_NS)):
        head[MARKED + horizon] = head[N_FILLED]
    head[GAP_NS] = ts
    _restart(field.rate_f, field.rate_i, ts)


@compiled
def _time_passes(field: Field, ts: int) -> None:
    """Do what falls due before `ts`: mids after fills, and the ends of watches."""
    head, mask = field.head, field.ints.shape[0] - 1
    mid2 = _mid2(field)
    for horizon in range(len(MARK_NS)):
        while head[MARKED + horizon] < head[N_FILLED]:
            slot = field.filled[head[MARKED + horizon] & mask]
            if field.ints[slot, FILLED + qu.POWER] + MARK_NS[horizon] >= ts:
                break
            field.floats[slot, MARK + horizon] = mid2
            head[MARKED + horizon] += 1
    while head[N_GONE] < head[N_JOINED]:
        order = field.ints[head[N_GONE] & mask]
        if order[UNTIL] >= ts:
            break
        if order[OPEN]:
            _unlink(field, head[N_GONE] & mask)
        head[N_GONE] += 1


@compiled
def _mid2(field: Field) -> float:
    """Return bid + ask in ticks, NaN while a side is empty."""
    bid, ask = field.book.head[bk.BEST_BID], field.book.head[bk.BEST_ASK]
    return float(bid + ask) if bid != bk.NO_BID and ask != bk.NO_ASK else math.nan


@compiled
def advance(field: Field, stream: Stream, start: int, until_ns: int) -> tuple[int, int]:
    """Apply events up to `until_ns` (included); return (status, next position). NEEDS_BOOK asks for a larger book."""
    head = field.head
    at, n = start, stream.ts.shape[0]
    while at < n and stream.ts[at] <= until_ns:
        ts, kind = stream.ts[at], stream.kind[at]
        if not bk.ready(field.book, stream.tick[at]):
            return ex.NEEDS_BOOK, at
        if head[NOW] == 0:
            _restart(field.rate_f, field.rate_i, ts)
        elif ts > head[NOW]:
            _time_passes(field, ts)
            if ts - head[NOW] > field.silence_ns:
                _gap(field, ts, head[NOW])
        if kind == ex.GAP:
            # Something between two diffs was lost. Trades and quotes of after it may stand before it: clocks differ a little.
            _gap(field, ts, head[DEPTH_NS] if head[DEPTH_NS] > 0 else head[NOW])
        head[NOW] = ts
        _event(field, ts, kind, stream.side[at], stream.tick[at], stream.lots[at], stream.id[at])
        at += 1
    return ex.DONE, at


# --- orders ------------------------------------------------------------------------------------------------------------


@compiled
def trusted(field: Field, now_ns: int) -> bool:
    """Whether the book has both sides and was anchored since the feed last lost something."""
    gap = field.head[GAP_NS]
    return not math.isnan(_mid2(field)) and (gap == 0 or now_ns - gap >= SETTLE_NS)


@compiled
def decide(field: Field, side: int, ticks: Ints, lots: Ints, now_ns: int, sigma: float, ofi_z: float) -> None:
    """Decide on orders of one side, one for each price and quantity (n,), and note what is known of each now."""
    head, book = field.head, field.book
    bid, ask = book.head[bk.BEST_BID], book.head[bk.BEST_ASK]
    bid_lots, ask_lots = bk.quantity(book, 1, bid), bk.quantity(book, -1, ask)
    per_s = _rate(field.rate_f, field.rate_i, -side, now_ns)
    for at in range(ticks.shape[0]):
        slot = head[N_DECIDED] & (field.ints.shape[0] - 1)
        order, known = field.ints[slot], field.floats[slot]
        order[:] = 0
        order[SIDE], order[TICK], order[LOTS] = side, ticks[at], lots[at]
        order[AT_TOUCH] = ticks[at] == (bid if side > 0 else ask)
        known[:] = math.nan
        known[MID2], known[SPREAD2], known[SIGMA], known[OFI_Z] = float(bid + ask), 2.0 * (ask - bid), sigma, ofi_z
        known[IMB_OWN] = side * (bid_lots - ask_lots) / (bid_lots + ask_lots)
        ahead = ex.quantity_ahead(book, field.settings[ex.S_NEIGHBOURS] != 0, side, ticks[at])
        known[QUEUE_S] = ahead / per_s
        head[N_DECIDED] += 1


@compiled
def join(field: Field, upto: int, now_ns: int) -> None:
    """Let the orders decided up to number `upto` (not included) arrive; what would take at once is refused."""
    head, mask = field.head, field.ints.shape[0] - 1
    while head[N_JOINED] < upto:
        slot = head[N_JOINED] & mask
        order, queue = field.ints[slot], field.floats[slot]
        head[N_JOINED] += 1
        order[UNTIL] = now_ns + field.window_ns
        if bk.takes(field.book, order[SIDE], order[TICK]):
            head[REFUSED] += 1
            continue
        order[JOINED], order[OPEN] = now_ns, ALL_OPEN
        ahead = ex.quantity_ahead(field.book, field.settings[ex.S_NEIGHBOURS] != 0, order[SIDE], order[TICK])
        for model in range(MODELS):
            order[LEAVES + model] = order[LOTS]
            queue[AHEAD + model] = qu.front(model) if model == qu.TOUCH else ahead
        queue[TRADED] = 0.0
        _link(field, slot)


@compiled
def close(field: Field, end_ns: int) -> None:
    """End every watch at the end of the data."""
    _time_passes(field, end_ns + 1)
    field.head[NOW] = end_ns
    for number in range(field.head[N_TAKEN], field.head[N_DECIDED]):
        order = field.ints[number & (field.ints.shape[0] - 1)]
        order[UNTIL] = min(order[UNTIL], end_ns)
