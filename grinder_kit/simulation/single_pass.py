"""One grid and the kernel's exchange in one compiled pass over a market's columns: the book moves, orders fill, the grid decides.

The exchange is the kernel's own, event for event. Most events only set a level behind the best price where nobody of us rests:
those are dealt with here, all others by the functions that every simulation calls. The grid's decisions are those of grid_rules.py.
"""

from __future__ import annotations

from typing import NamedTuple

from grinder_kit.kernel import book as bk
from grinder_kit.kernel import exchange as ex
from grinder_kit.kernel import observer
from grinder_kit.kernel.accounts import INVENTORY
from grinder_kit.kernel.compiled import compiled, inlined
from grinder_kit.kernel.exchange import Exchange, Floats, Ints
from grinder_kit.simulation import grid_exchange as gx
from grinder_kit.simulation import grid_filter as gf
from grinder_kit.simulation import grid_orders as go
from grinder_kit.simulation import grid_rules as gr
from grinder_kit.simulation.columns import OFFSET, START, STOP, WHEN, Rows, index
from grinder_kit.simulation.grid_orders import Orders
from grinder_kit.simulation.local_book import (
    GAP,
    L_ASK,
    L_BID,
    L_GAP,
    L_TS,
    NEEDS_SIGHT,
    SEEN,
    SEEN_LAST,
    SIGHT_SIZE,
    TOO_EARLY,
    moved,
    note,
    quiet,
)

SAMPLE_NS = 1_000_000_000  # a point of the equity curve as often
SLOTS = 20  # bits of an order's number at the exchange that say its slot

# what must grow before time can go on, beside the kernel's own statuses
NEEDS_INBOX, NEEDS_LOGS, NEEDS_OWN, NEEDS_POINTS = 12, 13, 14, 15

# an amend that the exchange confirmed, and a time at which mid was another
A_NUMBER, A_TS, A_TICKS_BEFORE, A_LOTS_BEFORE, A_TICKS, A_LOTS, A_COLUMNS = range(7)
M_TS, M_MID2, M_COLUMNS = range(3)

# cursor, behind what local_book.py has in it
(
    AT,
    ROW,
    NOW,
    STEP_NS,
    NEXT_SAMPLE,
    LAST_NS,
    WAIT_NS,
    ENDED,
    MOVED,
    MIDS,
    MID2,
    BID,
    ASK,
    LAST_BID,
    LAST_ASK,
    CURSOR_SIZE,
) = range(SIGHT_SIZE, SIGHT_SIZE + 16)  # fmt: skip; BID, ASK: at the last decision; LAST_: after the last answer


class Pass(NamedTuple):
    """A pass under way.

    exchange, own : the venue, and the grid's orders
    trades, p, sizes, looked : no room for fills, parameters of the grid, sizes of its levels, what it looked at last
    f, rule, look : what a fill filter would read
    clock : (CLOCK_SIZE,) of the exchange's stream
    sight : (n, L_COLUMNS) what is seen, by time; rows from cursor[SEEN] on are still to come
    moved : (n, A_COLUMNS) amends that were confirmed
    mids : (n, M_COLUMNS)
    equity : (n, LE_SIZE) points of the equity curve
    paid_touch : (payments, 2) best prices when a payment was seen
    cursor : (CURSOR_SIZE,)
    commands : (n, C_SIZE) room for what is handed to the exchange
    """

    exchange: Exchange
    own: Orders
    trades: Ints
    p: Ints
    f: Floats
    sizes: Ints
    rule: gf.FillRule
    look: Floats
    looked: Ints
    clock: Ints
    sight: Ints
    moved: Ints
    mids: Ints
    equity: Ints
    paid_touch: Ints
    cursor: Ints
    commands: Ints


# --- the market ----------------------------------------------------------------------------------------------------------


@compiled
def _event(exchange: Exchange, ts: int, kind: int, side: int, tick: int, lots: int, id_: int) -> int:
    """Apply an event that own orders feel."""
    if exchange.outbox.shape[0] - exchange.head[ex.OUT_LAST] < exchange.head[ex.RESTING] + ex.SPARE:
        return ex.NEEDS_OUTBOX
    if not bk.ready(exchange.book, tick):
        return ex.NEEDS_BOOK
    ex.apply_event(exchange, ts, kind, side, tick, lots, id_)
    return ex.DONE


@compiled
def _felt(exchange: Exchange, of: int, tick: int, old: int, new: int) -> None:
    """Let own orders move up in the queue of a level that changed."""
    ex.level_changed(exchange, 1 - 2 * of, tick, old, new)


@compiled
def _market(
    exchange: Exchange, clock: Ints, sight: Ints, cursor: Ints, rows: Rows, bursts: Ints, until_ns: int, one_book: bool
) -> int:
    """Let the market move the exchange up to a time (included)."""
    book, head = exchange.book, exchange.head
    levels, own_ticks = book.levels, exchange.own_ticks
    base, bid, ask = book.head[bk.BASE], book.head[bk.BEST_BID], book.head[bk.BEST_ASK]
    low, high, plain = head[ex.MIN_SELL], head[ex.MAX_BUY], exchange.settings[ex.S_FUSED] == 0
    most_far = book.far.shape[2] // 2
    at, row, status = cursor[AT], cursor[ROW], ex.DONE
    while at < bursts.shape[0] and bursts[index(at), WHEN] <= until_ns:
        burst = bursts[index(at)]
        row, stop, ts, kind = max(row, burst[START]), burst[STOP], burst[WHEN], rows.kind[index(burst[START])]
        while row < stop:
            tick, of, lots = rows.tick[index(row)], rows.side[index(row)], rows.lots[index(row)]
            met = own_ticks[index(of & 1), index(tick & (ex.RESIDUES - 1))] != 0
            if kind == ex.DEPTH and quiet(of, tick, lots, bid, ask):
                place = tick - base
                if 0 <= place < bk.WINDOW:
                    if met:
                        _felt(exchange, of, tick, levels[index(of), index(place)], lots)
                    levels[index(of), index(place)] = lots
                    row += 1
                    continue
                if not met and book.head[bk.FAR + of] < most_far:
                    book.head[bk.FAR + of] += bk.far_set(book.far, of, tick, lots)
                    row += 1
                    continue
            reached = low <= tick if of == 0 else high >= tick
            if kind == ex.TRADE and not reached:
                row += 1
                continue
            side = 1 - 2 * of if of < 2 else 0
            if reached or met:
                status = _event(exchange, ts, kind, side, tick, lots, rows.id[row])
            elif kind == ex.DEPTH and plain:
                if bk.ready(book, tick):
                    bk.set_level(book, side, tick, lots)
                else:
                    status = ex.NEEDS_BOOK
            elif not moved(book, head, exchange.settings, kind, side, tick, lots, rows.id[row]):
                status = ex.NEEDS_BOOK
            if status != ex.DONE:
                break
            base, low, high = book.head[bk.BASE], head[ex.MIN_SELL], head[ex.MAX_BUY]
            gap = cursor[GAP]
            if one_book and kind != ex.DEPTH and kind != ex.TRADE:
                if kind == ex.GAP:
                    cursor[GAP] = rows.local_ns[row] + clock[OFFSET]
                elif kind == ex.SNAPSHOT or kind == ex.BBO:
                    cursor[GAP] = 0
            if book.head[bk.BEST_BID] != bid or book.head[bk.BEST_ASK] != ask or cursor[GAP] != gap:
                bid, ask = book.head[bk.BEST_BID], book.head[bk.BEST_ASK]
                if one_book:
                    seen = rows.local_ns[row] + clock[OFFSET]
                    if seen < ts or not note(sight, cursor, seen, bid, ask):
                        status = TOO_EARLY
                    elif cursor[SEEN_LAST] == sight.shape[0]:
                        status = NEEDS_SIGHT
            row += 1
            if status != ex.DONE:
                break
        if status != ex.DONE:
            break
        at += 1
        row = 0
    cursor[AT], cursor[ROW] = at, row
    return status


@inlined
def _exchange(run: Pass, rows: Rows, bursts: Ints, until_ns: int, one_book: bool) -> int:
    """Let the exchange run to a time: at equal times the market comes first, then funding, then arrivals."""
    exchange, head = run.exchange, run.exchange.head
    while True:
        order_ts = (
            exchange.inbox[head[ex.IN_FIRST], ex.C_ARRIVAL] if head[ex.IN_FIRST] < head[ex.IN_LAST] else ex.FOREVER
        )
        fund_ts = exchange.funding[0, head[ex.FUNDED]] if head[ex.FUNDED] < exchange.funding.shape[1] else ex.FOREVER
        ts = min(order_ts, fund_ts)
        status = _market(exchange, run.clock, run.sight, run.cursor, rows, bursts, min(ts, until_ns), one_book)
        if status != ex.DONE or ts > until_ns:
            break
        status = _arrivals(exchange, ts, fund_ts == ts)
        if status != ex.DONE:
            break
    return status


@compiled
def _arrivals(exchange: Exchange, ts: int, funding: bool) -> int:
    """Let funding be paid, or everything arrive that does at a time."""
    head = exchange.head
    if exchange.outbox.shape[0] - head[ex.OUT_LAST] < head[ex.RESTING] + ex.SPARE:
        return ex.NEEDS_OUTBOX
    if funding:
        held = exchange.account[INVENTORY]
        if held != 0:
            ex.respond(
                exchange, ts, ex.FUNDING, head[ex.FUNDED], 1, exchange.funding[1, head[ex.FUNDED]], held, 0, 0, 0
            )
        head[ex.FUNDED] += 1
        return ex.DONE
    while head[ex.IN_FIRST] < head[ex.IN_LAST] and exchange.inbox[head[ex.IN_FIRST], ex.C_ARRIVAL] == ts:
        if exchange.outbox.shape[0] - head[ex.OUT_LAST] < head[ex.RESTING] + ex.SPARE:
            return ex.NEEDS_OUTBOX
        if head[ex.RESTING] == exchange.resting.shape[0]:
            return ex.NEEDS_ORDERS
        status = ex.arrive(exchange, exchange.inbox[head[ex.IN_FIRST]])
        if status != ex.DONE:
            return status
        head[ex.IN_FIRST] += 1
    return ex.DONE


# --- between the exchange and the grid -----------------------------------------------------------------------------------


@inlined
def _deliver(run: Pass, until_ns: int) -> None:
    """Give the grid what it sees up to a time."""
    exchange, own, head, cursor = run.exchange, run.own, run.exchange.head, run.cursor
    size = own.rings.shape[1]
    first, last = head[ex.OUT_FIRST], head[ex.OUT_LAST]
    while first < last and exchange.outbox[first, ex.R_SEEN] <= until_ns:
        response = exchange.outbox[first]
        slot = response[ex.R_ID] & ((1 << SLOTS) - 1)
        if own.head[go.OUT_LAST] - own.head[go.OUT_FIRST] == size:
            own.head[go.FULL] = 1
            break
        out = own.rings[go.OUTBOX, own.head[go.OUT_LAST] & (size - 1)]
        out[go.R_SEEN], out[go.R_TS], out[go.R_TYPE] = response[ex.R_SEEN], response[ex.R_TS], response[ex.R_TYPE]
        out[go.R_SLOT], out[go.R_NUMBER] = slot, response[ex.R_ID] >> SLOTS
        out[go.R_TICK], out[go.R_LOTS], out[go.R_CAUSE] = (
            response[ex.R_TICK], response[ex.R_LOTS], response[ex.R_CAUSE],
        )  # fmt: skip
        if response[ex.R_TYPE] == ex.FUNDING:
            out[go.R_NUMBER] = response[ex.R_ID]
            at = cursor[SEEN]
            while at < cursor[SEEN_LAST] and run.sight[at, L_TS] <= response[ex.R_SEEN]:
                at += 1
            run.paid_touch[response[ex.R_ID], 0] = run.sight[at - 1, L_BID]
            run.paid_touch[response[ex.R_ID], 1] = run.sight[at - 1, L_ASK]
        elif response[ex.R_TYPE] == ex.AMENDED:
            row, note_ = own.rows[slot], run.moved[cursor[MOVED]]
            note_[A_NUMBER], note_[A_TS] = row[go.NUMBER], response[ex.R_TS]
            note_[A_TICKS_BEFORE], note_[A_LOTS_BEFORE] = row[go.TICKS], row[go.LOTS]
            note_[A_TICKS], note_[A_LOTS] = response[ex.R_TICK], response[ex.R_LOTS]
            cursor[MOVED] += 1
        own.head[go.OUT_LAST] += 1
        first += 1
    head[ex.OUT_FIRST] = first
    if first == last:
        head[ex.OUT_FIRST] = head[ex.OUT_LAST] = 0
    if gx.answered(own, until_ns):
        gx.deliver(own, run.trades, run.p, until_ns)


@compiled
def _submit(run: Pass, now_ns: int) -> None:
    """Hand the grid's commands to the exchange."""
    own, commands = run.own, run.commands
    size = own.rings.shape[1]
    first, count = own.head[go.IN_FIRST], own.head[go.IN_LAST] - own.head[go.IN_FIRST]
    for at in range(count):
        sent, out = own.rings[go.INBOX, (first + at) & (size - 1)], commands[at]
        out[ex.C_TYPE], out[ex.C_SIDE] = sent[go.C_TYPE], own.rows[sent[go.C_SLOT], go.SIDE]
        out[ex.C_ID] = (sent[go.C_NUMBER] << SLOTS) | sent[go.C_SLOT]
        out[ex.C_TICK], out[ex.C_LOTS], out[ex.C_KIND] = sent[go.C_TICK], sent[go.C_LOTS], ex.POST_ONLY
    own.head[go.IN_FIRST] = own.head[go.IN_LAST]
    head = run.exchange.head
    if head[ex.IN_FIRST] == head[ex.IN_LAST]:
        head[ex.IN_FIRST] = head[ex.IN_LAST] = 0
    ex.submit(run.exchange, commands[:count], now_ns)


@inlined
def _room(run: Pass) -> int:
    """Return what a step might not have room for, DONE where it has."""
    own, head, cursor = run.own, run.exchange.head, run.cursor
    most = own.rows.shape[0]
    if own.head[go.FULL]:
        return NEEDS_OWN
    if head[ex.IN_LAST] + 2 * most > run.exchange.inbox.shape[0]:
        return NEEDS_INBOX
    logged = max(own.head[go.PLACED], own.head[go.FILLS], own.head[go.AMENDED], cursor[MOVED])
    if logged + head[ex.OUT_LAST] - head[ex.OUT_FIRST] + 2 * most > own.logs.shape[1]:
        return NEEDS_LOGS
    if cursor[MIDS] == run.mids.shape[0] or own.head[go.SAMPLES] + 2 > run.equity.shape[0]:
        return NEEDS_POINTS
    return ex.DONE


@compiled
def sample(run: Pass, now_ns: int, mid2: int) -> None:
    """Write down a point of the equity curve."""
    head = run.own.head
    point = run.equity[head[go.SAMPLES]]
    point[go.LE_NOW], point[go.LE_MID2], point[go.LE_POSITION] = now_ns, mid2, head[go.POSITION]
    point[go.LE_CASH], point[go.LE_NOTIONAL] = head[go.CASH], head[go.NOTIONAL]
    head[go.SAMPLES] += 1


@compiled
def go_on(run: Pass, rows: Rows, bursts: Ints, until_ns: int, one_book: bool) -> int:
    """Run exchange and grid to a time: `bursts` holds all of the market's events up to it that have not happened yet.

    A step happens only while something is still to come after it. Returns DONE, or what must grow before the same call goes on.
    """
    cursor, own, head = run.cursor, run.own, run.exchange.head
    while cursor[ENDED] == 0:
        until = cursor[NOW] + cursor[STEP_NS]
        status = _room(run) if until <= until_ns else ex.DONE
        if status == ex.DONE:
            status = _exchange(run, rows, bursts, min(until, until_ns), one_book)
        if status != ex.DONE or until > until_ns:
            return status
        _deliver(run, until)
        seen = cursor[SEEN]
        while seen < cursor[SEEN_LAST] and run.sight[seen, L_TS] <= until:
            seen += 1
        cursor[SEEN] = seen
        bid, ask, gap = run.sight[seen - 1, L_BID], run.sight[seen - 1, L_ASK], run.sight[seen - 1, L_GAP]
        if until >= cursor[LAST_NS]:
            nothing = head[ex.IN_FIRST] == head[ex.IN_LAST] and head[ex.OUT_FIRST] == head[ex.OUT_LAST]
            if nothing or until > cursor[WAIT_NS]:
                cursor[ENDED] = 1
                cursor[LAST_BID], cursor[LAST_ASK] = bid, ask
                return ex.DONE
        cursor[NOW], cursor[BID], cursor[ASK] = until, bid, ask
        own.head[go.STEPS] += 1
        looked = run.looked
        if bid != bk.NO_BID and ask != bk.NO_ASK:
            stale = gap > 0 and until - gap < observer.SETTLE_NS
            if not (
                not own.head[go.DIRTY]
                and looked[gr.HELD] == own.head[go.POSITION]
                and looked[gr.BID] == bid
                and looked[gr.ASK] == ask
                and looked[gr.QUIET]
                and not stale
            ):
                gr.decide(own, run.p, run.f, run.sizes, run.rule, run.look, looked, bid, ask, stale, until)
                if own.head[go.IN_FIRST] < own.head[go.IN_LAST]:
                    _submit(run, until)
            if bid + ask != cursor[MID2]:
                cursor[MID2] = bid + ask
                run.mids[cursor[MIDS], M_TS], run.mids[cursor[MIDS], M_MID2] = until, bid + ask
                cursor[MIDS] += 1
            if until >= cursor[NEXT_SAMPLE]:
                sample(run, until, bid + ask)
                cursor[NEXT_SAMPLE] = until + SAMPLE_NS
    return ex.DONE
