"""The exchange: orders in, events out, filled by the market's own events.

Time runs in `advance`: the exchange's stream (matching) up to the next decision, then the local stream (the book that the
strategy sees). At equal times the order is: local market data, order responses, exchange market data, order arrivals.
Everything is integer ticks, lots and ns; see queue.py for the one float, the quantity ahead.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from grinder_kit.kernel import book as bk
from grinder_kit.kernel import queue as qu
from grinder_kit.kernel.accounts import INVENTORY, book_fill
from grinder_kit.kernel.book import Book
from grinder_kit.kernel.compiled import compiled, inlined
from grinder_kit.model.market import KindCode

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int32]

DEPTH, SNAPSHOT, BBO, TRADE, GAP, CLEAR = (int(k) for k in KindCode)
FOREVER = 1 << 62

# columns of a resting order, a command under way, a response under way
ID, SIDE, TICK, LOTS, LEAVES, KIND, O_SIZE = 0, 1, 2, 3, 4, 5, 6
C_ARRIVAL, C_TYPE, C_ID, C_SIDE, C_TICK, C_LOTS, C_KIND, C_SIZE = 0, 1, 2, 3, 4, 5, 6, 7
R_SEEN, R_TS, R_TYPE, R_ID, R_SIDE, R_TICK, R_LOTS, R_LEAVES, R_MAKER, R_CAUSE, R_SIZE = range(11)
AHEAD, TRADED, F_SIZE = 0, 1, 2

PLACE, CANCEL, AMEND = 0, 1, 2  # C_TYPE; the lots of an amend are the whole order's
POST_ONLY, LIMIT, IOC = 0, 1, 2  # C_KIND
# R_TYPE
ACCEPTED, REJECTED, FILLED, CANCELLED, CANCEL_REJECTED, EXPIRED, FUNDING, AMENDED, AMEND_REJECTED = range(9)
NO_AMENDS, REDUCE, MODIFY = 0, 1, 2  # S_AMEND
BY_QUEUE, BY_TRADE, BY_QUOTE, BY_TAKING = 0, 1, 2, 3  # R_CAUSE: queue used up, traded through, quote reached it, took

# head
RESTING, IN_FIRST, IN_LAST, OUT_FIRST, OUT_LAST, LAST_ARRIVAL, LAST_SEEN, DRAWS, FUNDED = 0, 1, 2, 3, 4, 5, 6, 7, 8
QUOTE_ID, MIN_SELL, MAX_BUY, H_SIZE = 9, 10, 11, 12

# settings
S_QUEUE, S_PARTIAL, S_SHARE, S_WHOLE, S_FUSED, S_BY_QUOTE, S_NEIGHBOURS, S_SEED, S_AMEND, S_SIZE = range(10)

DONE, NEEDS_BOOK, NEEDS_ORDERS, NEEDS_OUTBOX = 0, 1, 2, 3  # what must grow before time can go on
SPARE = 8  # responses that one event may send beside one for each resting order or level taken
NEIGHBOUR_TICKS = 25
RESIDUES = 1 << 11  # of prices: few enough to stay in the nearest cache


class Stream(NamedTuple):
    """Events in the order of one clock; every array is (n,).

    `last` marks the last row of a message: the strategy's features are read there and not between the levels of one diff.
    """

    ts: Ints
    kind: npt.NDArray[np.int8]
    side: npt.NDArray[np.int8]
    tick: Ints
    lots: Ints
    id: Ints
    last: npt.NDArray[np.bool_]


class Exchange(NamedTuple):
    """Everything that the exchange remembers; arrays are replaced by larger ones when they fill up."""

    book: Book
    resting: Ints  # (capacity, O_SIZE) in time priority
    queue: Floats  # (capacity, F_SIZE)
    inbox: Ints  # (capacity, C_SIZE)
    outbox: Ints  # (capacity, R_SIZE)
    head: Ints  # (H_SIZE,)
    prices: Ints  # (capacity,) price of each resting order in ticks, of sells below zero
    own_ticks: Counts  # (2, RESIDUES) own orders by side and residue: a filter that is never wrong about none
    settings: Ints  # (S_SIZE,)
    power: float
    entry_ns: Ints  # latencies to draw from; one entry means constant
    response_ns: Ints
    funding: Ints  # (2, n) ts_ns, mark ticks (0 unknown)
    account: Ints
    inverse: Floats


@compiled
def _draw(exchange: Exchange, table: Ints) -> int:
    """Return a latency from a table: constant when it holds one, else a draw that depends on the seed and the count alone."""
    if table.shape[0] == 1:
        return table[0]
    exchange.head[DRAWS] += 1
    x = np.uint64(exchange.settings[S_SEED]) + np.uint64(exchange.head[DRAWS]) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x = x ^ (x >> np.uint64(31))
    return table[np.int64(x % np.uint64(table.shape[0]))]


@compiled
def submit(exchange: Exchange, commands: Ints, now_ns: int) -> None:
    """Send commands, rows of (C_SIZE,) whose arrival is set here. Arrivals keep their order, as on one connection."""
    head = exchange.head
    for row in range(commands.shape[0]):
        arrival = max(now_ns + _draw(exchange, exchange.entry_ns), head[LAST_ARRIVAL])
        head[LAST_ARRIVAL] = arrival
        for column in range(C_SIZE):
            exchange.inbox[head[IN_LAST], column] = commands[row, column]
        exchange.inbox[head[IN_LAST], C_ARRIVAL] = arrival
        head[IN_LAST] += 1


@compiled
def respond(
    exchange: Exchange,
    ts: int,
    what: int,
    order: int,
    side: int,
    tick: int,
    lots: int,
    leaves: int,
    maker: int,
    cause: int,
) -> None:
    """Send a response (R_TYPE `what`) that leaves the exchange at `ts`; it is seen after the way back, and never before an earlier one."""
    head = exchange.head
    seen = max(ts + _draw(exchange, exchange.response_ns), head[LAST_SEEN])
    head[LAST_SEEN] = seen
    out = exchange.outbox[head[OUT_LAST]]
    out[R_SEEN], out[R_TS], out[R_TYPE], out[R_ID], out[R_SIDE] = seen, ts, what, order, side
    out[R_TICK], out[R_LOTS], out[R_LEAVES], out[R_MAKER], out[R_CAUSE] = tick, lots, leaves, maker, cause
    head[OUT_LAST] += 1


# --- own orders --------------------------------------------------------------------------------------------------------


@compiled
def _extremes(exchange: Exchange) -> None:
    low, high = -bk.NO_ASK, bk.NO_BID
    for row in range(exchange.head[RESTING]):
        price = exchange.prices[row]
        high = max(high, price if price > 0 else bk.NO_BID)
        low = max(low, price if price < 0 else -bk.NO_ASK)
    exchange.head[MIN_SELL], exchange.head[MAX_BUY] = -low, high


@compiled
def _remove(exchange: Exchange, row: int) -> None:
    order, price = exchange.resting[row], exchange.prices[row]
    exchange.own_ticks[0 if order[SIDE] > 0 else 1, order[TICK] & (RESIDUES - 1)] -= 1
    for at in range(row, exchange.head[RESTING] - 1):
        for column in range(O_SIZE):
            exchange.resting[at, column] = exchange.resting[at + 1, column]
        for column in range(F_SIZE):
            exchange.queue[at, column] = exchange.queue[at + 1, column]
        exchange.prices[at] = exchange.prices[at + 1]
    exchange.head[RESTING] -= 1
    if price == exchange.head[MAX_BUY] or -price == exchange.head[MIN_SELL]:
        _extremes(exchange)


@compiled
def _fill(exchange: Exchange, row: int, lots: int, ts: int, cause: int) -> None:
    """Fill `lots` of a resting order at its own price as maker; the caller removes it when nothing is left."""
    order = exchange.resting[row]
    order[LEAVES] -= lots
    book_fill(exchange.account, exchange.inverse, order[SIDE], order[TICK], lots, 1)
    respond(exchange, ts, FILLED, order[ID], order[SIDE], order[TICK], lots, order[LEAVES], 1, cause)


@compiled
def _fill_beyond(exchange: Exchange, side: int, limit: int, ts: int, cause: int) -> None:
    """Fill whole, best price first, every own buy at or above `limit` (side +1) or own sell at or below it (side -1)."""
    while exchange.head[MAX_BUY] >= limit if side > 0 else exchange.head[MIN_SELL] <= limit:
        best, price = 0, exchange.head[MAX_BUY] if side > 0 else -exchange.head[MIN_SELL]
        while exchange.prices[best] != price:
            best += 1
        _fill(exchange, best, exchange.resting[best, LEAVES], ts, cause)
        _remove(exchange, best)


@compiled
def _trade(exchange: Exchange, aggressor: int, tick: int, lots: int, ts: int) -> None:
    """Apply a print: own orders at better prices were traded through, those at its price advance in the queue."""
    side = -aggressor
    if exchange.head[MAX_BUY] > tick if side > 0 else exchange.head[MIN_SELL] < tick:
        _fill_beyond(exchange, side, tick + side, ts, BY_TRADE)
    volume = lots
    row = 0
    while row < exchange.head[RESTING]:
        if exchange.prices[row] != side * tick:
            row += 1
            continue
        order, state = exchange.resting[row], exchange.queue[row]
        state[AHEAD] -= volume
        state[TRADED] += lots
        filled = qu.filled_by_trade(
            exchange.settings[S_WHOLE] != 0, exchange.settings[S_PARTIAL] != 0, state[AHEAD], order[LEAVES], volume
        )
        if filled > 0 and volume > 0:
            _fill(exchange, row, filled, ts, BY_QUEUE)
            if exchange.settings[S_SHARE]:
                volume -= min(filled, volume)
            if order[LEAVES] == 0:
                _remove(exchange, row)
                continue
            state[AHEAD] = qu.front(exchange.settings[S_QUEUE])
        row += 1


@inlined
def level_changed(exchange: Exchange, side: int, tick: int, old: int, new: int) -> None:
    """Let own orders at a level move up, as it goes from `old` to `new` lots."""
    if exchange.own_ticks[0 if side > 0 else 1, tick & (RESIDUES - 1)] == 0:
        return
    for row in range(exchange.head[RESTING]):
        if exchange.prices[row] == side * tick:
            state = exchange.queue[row]
            state[AHEAD] = qu.moved_up(
                exchange.settings[S_WHOLE] != 0,
                exchange.settings[S_QUEUE],
                exchange.power,
                state[AHEAD],
                state[TRADED],
                float(old),
                float(new),
            )
            state[TRADED] = 0.0


# --- market events -------------------------------------------------------------------------------------------------------


@inlined
def move_book(
    book: Book, head: Ints, settings: Ints, kind: int, side: int, tick: int, lots: int, id_: int
) -> tuple[int, bool]:
    """Let a depth, snapshot, bbo or clear row move the book.

    Returns
    -------
    old : int
        What the level held before, so that queues there can move up; -1 where no level was set.
    reaches : bool
        Whether it fills the orders of the other side that rest at the price or beyond.
    """
    if kind in (DEPTH, SNAPSHOT):
        better = lots > 0 and bk.betters(book, side, tick)
        if better and settings[S_FUSED] and kind == DEPTH and id_ < head[QUOTE_ID]:
            return -1, False  # an older diff cannot put quantity inside a newer quote
        old = bk.quantity(book, side, tick)
        bk.set_level(book, side, tick, lots)
        return old, better and settings[S_BY_QUOTE] == 0
    if kind == BBO:
        old = -1
        if settings[S_FUSED]:
            old = bk.quantity(book, side, tick)
            bk.set_quote(book, side, tick, lots)
            head[QUOTE_ID] = id_
        return old, lots > 0 and settings[S_BY_QUOTE] != 0
    if kind == CLEAR:
        bk.clear_outside(book, side, tick)
    return -1, False


@inlined
def apply_event(exchange: Exchange, ts: int, kind: int, side: int, tick: int, lots: int, id_: int) -> None:
    """Let an event of the market move the book, and fill the own orders that it reaches."""
    head = exchange.head
    reached = head[MIN_SELL] <= tick if side > 0 else head[MAX_BUY] >= tick  # an own order of the other side
    if kind == TRADE:
        if reached:
            _trade(exchange, side, tick, lots, ts)
        return
    old, reaches = move_book(exchange.book, head, exchange.settings, kind, side, tick, lots, id_)
    if old >= 0:
        level_changed(exchange, side, tick, old, lots)
    if reaches and reached:
        _fill_beyond(exchange, -side, tick, ts, BY_QUOTE)


# --- arrivals ------------------------------------------------------------------------------------------------------------


@compiled
def quantity_ahead(book: Book, neighbours: bool, side: int, tick: int) -> float:
    """Return the displayed quantity that a new order joins behind; at an unknown level 0 or the mean of its known neighbours."""
    known = bk.quantity(book, side, tick)
    if known > 0 or not neighbours:
        return float(known)
    if bk.betters(book, side, tick):
        return 0.0  # inside the spread there is nobody
    total, levels = 0, 0
    for near in range(tick - NEIGHBOUR_TICKS, tick + NEIGHBOUR_TICKS + 1):
        lots = bk.quantity(book, side, near)
        total += lots
        levels += lots > 0
    return total / levels if levels > 0 else 0.0


@compiled
def _take(exchange: Exchange, order: int, side: int, limit: int, lots: int, ts: int, really: bool) -> int:
    """Fill against displayed levels up to a limit; return what is left. The recorded market does not feel it.

    Not `really`: only return how many levels that is.
    """
    levels = 0
    tick = exchange.book.head[bk.BEST_ASK if side > 0 else bk.BEST_BID]
    while lots > 0 and (limit - tick) * side >= 0:
        filled = min(lots, bk.quantity(exchange.book, -side, tick))
        lots -= filled
        levels += 1
        if really:
            book_fill(exchange.account, exchange.inverse, side, tick, filled, 0)
            respond(exchange, ts, FILLED, order, side, tick, filled, lots, 0, BY_TAKING)
        tick = bk.next_level(exchange.book, -side, tick)
    return lots if really else levels


@compiled
def _row_of(exchange: Exchange, order: int) -> int:
    """Return the row of a resting order, -1 where it does not rest."""
    for row in range(exchange.head[RESTING]):
        if exchange.resting[row, ID] == order:
            return row
    return -1


@compiled
def _rest(exchange: Exchange, order: int, side: int, tick: int, lots: int, leaves: int, kind: int) -> None:
    """Let an order join the back of its queue."""
    head = exchange.head
    row = head[RESTING]
    new = exchange.resting[row]
    new[ID], new[SIDE], new[TICK], new[LOTS], new[LEAVES], new[KIND] = order, side, tick, lots, leaves, kind
    if exchange.settings[S_QUEUE] == qu.TOUCH:
        exchange.queue[row, AHEAD] = qu.front(qu.TOUCH)
    else:
        exchange.queue[row, AHEAD] = quantity_ahead(exchange.book, exchange.settings[S_NEIGHBOURS] != 0, side, tick)
    exchange.queue[row, TRADED] = 0.0
    exchange.prices[row] = side * tick
    head[RESTING] += 1
    exchange.own_ticks[0 if side > 0 else 1, tick & (RESIDUES - 1)] += 1
    if side > 0:
        head[MAX_BUY] = max(head[MAX_BUY], tick)
    else:
        head[MIN_SELL] = min(head[MIN_SELL], tick)


@compiled
def _amend(exchange: Exchange, row: int, tick: int, lots: int, ts: int) -> int:
    """Amend a resting order as the venue does.

    REDUCE (spot): only a smaller quantity at the same price; the order keeps its place. MODIFY (USD-M): it joins the back of the
    queue, and is cancelled when the new quantity is at most what has executed, or when it is post-only and would take.
    """
    own = exchange.resting[row]
    order, side, kind = own[ID], own[SIDE], own[KIND]
    leaves = lots - (own[LOTS] - own[LEAVES])
    rule = exchange.settings[S_AMEND]
    if rule == NO_AMENDS or (rule == REDUCE and (tick != own[TICK] or lots >= own[LOTS] or leaves <= 0)):
        respond(exchange, ts, AMEND_REJECTED, order, side, tick, lots, own[LEAVES], 1, 0)
        return DONE
    if rule == REDUCE:
        own[LOTS], own[LEAVES] = lots, leaves
        respond(exchange, ts, AMENDED, order, side, tick, lots, leaves, 1, 0)
        return DONE
    crosses = bk.takes(exchange.book, side, tick)
    if leaves <= 0 or (crosses and kind == POST_ONLY):
        respond(exchange, ts, CANCELLED, order, side, own[TICK], 0, own[LEAVES], 1, 0)
        _remove(exchange, row)
        return DONE
    if crosses:
        levels = _take(exchange, order, side, tick, leaves, ts, False)
        if exchange.outbox.shape[0] - exchange.head[OUT_LAST] < levels + SPARE:
            return NEEDS_OUTBOX
    _remove(exchange, row)
    respond(exchange, ts, AMENDED, order, side, tick, lots, leaves, 1, 0)
    left = _take(exchange, order, side, tick, leaves, ts, True) if crosses else leaves
    if left > 0:
        _rest(exchange, order, side, tick, lots, left, kind)
    return DONE


@inlined
def arrive(exchange: Exchange, command: Ints) -> int:
    """Let a command arrive; return DONE, or what must grow first (nothing has happened then)."""
    ts, order, side = command[C_ARRIVAL], command[C_ID], command[C_SIDE]
    tick, lots, kind = command[C_TICK], command[C_LOTS], command[C_KIND]
    head = exchange.head
    if command[C_TYPE] != PLACE:
        row = _row_of(exchange, order)
        if row < 0:
            refused = CANCEL_REJECTED if command[C_TYPE] == CANCEL else AMEND_REJECTED
            respond(exchange, ts, refused, order, side, tick, 0, 0, 1, 0)
            return DONE
        if command[C_TYPE] == AMEND:
            return _amend(exchange, row, tick, lots, ts)
        left = exchange.resting[row]
        respond(exchange, ts, CANCELLED, order, left[SIDE], left[TICK], 0, left[LEAVES], 1, 0)
        _remove(exchange, row)
        return DONE
    crosses = bk.takes(exchange.book, side, tick)
    if crosses and kind == POST_ONLY:
        respond(exchange, ts, REJECTED, order, side, tick, 0, lots, 1, 0)
        return DONE
    if crosses:
        levels = _take(exchange, order, side, tick, lots, ts, False)
        if exchange.outbox.shape[0] - head[OUT_LAST] < levels + SPARE:
            return NEEDS_OUTBOX
    respond(exchange, ts, ACCEPTED, order, side, tick, 0, lots, 1, 0)
    left_lots = _take(exchange, order, side, tick, lots, ts, True) if crosses else lots
    if left_lots == 0:
        return DONE
    if kind == IOC:
        respond(exchange, ts, EXPIRED, order, side, tick, 0, left_lots, 0, 0)
        return DONE
    _rest(exchange, order, side, tick, lots, left_lots, kind)
    return DONE


# --- the clock -------------------------------------------------------------------------------------------------------------


@compiled
def advance(exchange: Exchange, stream: Stream, start: int, until_ns: int) -> tuple[int, int, int]:
    """Run the exchange to `until_ns` (included), or to just before the next response is delivered if that comes first.

    Returns (status, next position in the stream, time reached). The time reached is that of the response when one is due;
    the caller delivers responses up to it, sends what they cause, and calls again. Another status asks for a larger array.
    """
    head = exchange.head
    at = start
    n = stream.ts.shape[0]
    while True:
        market_ts = stream.ts[at] if at < n else FOREVER
        order_ts = exchange.inbox[head[IN_FIRST], C_ARRIVAL] if head[IN_FIRST] < head[IN_LAST] else FOREVER
        fund_ts = exchange.funding[0, head[FUNDED]] if head[FUNDED] < exchange.funding.shape[1] else FOREVER
        ts = min(market_ts, order_ts, fund_ts)
        due = exchange.outbox[head[OUT_FIRST], R_SEEN] if head[OUT_FIRST] < head[OUT_LAST] else FOREVER
        if due <= until_ns and due <= ts:
            return DONE, at, due
        if ts > until_ns:
            return DONE, at, until_ns
        if exchange.outbox.shape[0] - head[OUT_LAST] < head[RESTING] + SPARE:
            return NEEDS_OUTBOX, at, until_ns
        if market_ts == ts:
            if not bk.ready(exchange.book, stream.tick[at]):
                return NEEDS_BOOK, at, until_ns
            apply_event(exchange, ts, stream.kind[at], stream.side[at], stream.tick[at], stream.lots[at], stream.id[at])
            at += 1
        elif fund_ts == ts:
            held = exchange.account[INVENTORY]
            if held != 0:
                respond(exchange, ts, FUNDING, head[FUNDED], 1, exchange.funding[1, head[FUNDED]], held, 0, 0, 0)
            head[FUNDED] += 1
        else:
            if head[RESTING] == exchange.resting.shape[0]:
                return NEEDS_ORDERS, at, until_ns
            status = arrive(exchange, exchange.inbox[head[IN_FIRST]])
            if status != DONE:
                return status, at, until_ns
            head[IN_FIRST] += 1
