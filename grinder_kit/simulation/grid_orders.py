"""The own orders of one compiled grid: as the strategy knows them and as they rest, in tables of whole numbers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from grinder_kit.kernel import book as bk
from grinder_kit.kernel import exchange as ex
from grinder_kit.kernel.compiled import compiled, inlined
from grinder_kit.kernel.exchange import Floats, Ints

# columns of an order: what a decision asks of each, in as few cache lines as may be: its level, whether a request is under way, and the
# latest decision in which it was wanted, had to move, was where it should be while a request for it was under way ...
KEY, TICKS, LOTS, FLIGHT, WANTED, MOVES, FITS, NUMBER = range(8)
# ... what else the strategy knows; whether a reset waits for its end, and the latest decision in which it stayed though off the plan ...
SIDE, FILLED, STATE, SENT, AMENDS, WISHED, EXPIRES, AWAITED, STAYS = range(8, 17)
# ... and how it rests: a tick of its own, since an amend is known later than it happens
X_RESTS, X_TICK, X_LOTS, X_LEAVES, X_AT, X_NEXT, ORDER_SIZE = range(17, 24)

NOTHING, NEW, AMENDING, CANCELLING, UNKNOWN = range(5)  # FLIGHT
PENDING, OPEN, PARTIALLY_FILLED, FILLED_WHOLE, CANCELLED, REJECTED, EXPIRED, STATES = range(8)  # STATE

# a command and a response under way, a question about an order
C_ARRIVAL, C_TYPE, C_SLOT, C_NUMBER, C_TICK, C_LOTS, C_SIZE = range(7)
R_SEEN, R_TS, R_TYPE, R_SLOT, R_NUMBER, R_TICK, R_LOTS, R_CAUSE, R_SIZE = range(9)
A_DUE, A_SLOT, A_NUMBER, A_SIZE = range(4)

# what a log holds of an order, a fill, an amend, a funding payment, a point of the equity curve
LO_KEY, LO_SIDE, LO_TICKS, LO_LOTS, LO_FILLED, LO_STATE, LO_SENT, LO_ENDED, LO_STEP, LO_TURN, LO_SIZE = range(11)
LF_NUMBER, LF_TS, LF_SEEN, LF_TICKS, LF_LOTS, LF_CAUSE, LF_SIZE = range(7)
LA_NOW, LA_SIDE, LA_TICKS, LA_LOTS, LA_SIZE = range(5)
LP_INDEX, LP_TS, LP_SEEN, LP_LOTS, LP_SIZE = range(5)
LE_NOW, LE_MID2, LE_POSITION, LE_CASH, LE_NOTIONAL, LE_SIZE = range(6)
# rows of `trades`: price of a fill, lots with the sign of its side, and room to pair them
T_TICKS, T_LOTS, T_WORK, T_SIZE = 0, 1, 2, 6

# head: counts and cursors; DIRTY: something has happened that a decision may answer, WAITING: the last one left something undone
(
    LIVE, RESTING, FREE, IN_FIRST, IN_LAST, OUT_FIRST, OUT_LAST, ASK_FIRST, ASK_LAST, MIN_SELL, MAX_BUY, INVENTORY, FUNDED,
    HOT, TOUCH, PLACED, ENDED, STAMP, AWAITING, FULL, POSITION, CASH, NOTIONAL, FILLS, VOLUME, SENT_BUY, SENT_SELL, CANCEL_BUY,
    CANCEL_SELL, AMENDED, PAID, SAMPLES, STEPS, STAYING, ROUND_TRIPS, LEVEL_PROFIT, DIRTY, WAITING, BURST, GAPS, DEAD, BY_CAUSE,
    BY_STATE, HEAD_SIZE,
) = (*range(42), 47, 55)  # fmt: skip

FULL_OF_FILLS, FULL_OF_STEPS = 2, 3  # FULL where not orders are what there was no room for

# lists of `slots`, rings of `rings`, tables of `tables`, rows of `plan`, logs of `logs`
LIVING, QUEUED, QUEUED_AT, UNUSED, TO_CANCEL, TO_SORT, TO_AMEND, TO_PLACE, SLOT_LISTS = range(9)
INBOX, OUTBOX, ASKED = range(3)
KEY_COUNT, KEY_SLOT, TICK_COUNT = 0, 2, 4  # the first two followed by the same of the sells
Q_KEY, Q_SIDE, Q_TICKS, Q_LOTS, Q_SLOT, Q_SIZE = 2, 3, 4, 5, 6, 5
ORDER_LOG, FILL_LOG, AMEND_LOG = range(3)

MASK = 1023  # own keys and prices are looked up modulo so many


class Orders(NamedTuple):
    """All that one grid remembers; taken again for the next one. Few arrays, for each one makes every call dearer.

    rows, queue : (capacity, ORDER_SIZE), (capacity, 2) an order, and the quantity ahead of it with what traded since
    slots : (SLOT_LISTS, capacity) lists of orders: live ones by placement, resting ones by time priority (and their prices, those
        of sells below zero), unused ones, and what a decision does
    tables : (5, MASK + 1) by residue: how many live buys, sells have such a key, the slot of one of them; how many live orders
        stand at such a price
    rings : (3, 4 * capacity, R_SIZE) commands, responses and questions under way
    plan : (2 + Q_SIZE, 2 * most) prices of both sides, nearest first; the levels that may be quoted, by column
    head : (HEAD_SIZE,)
    logs : (3, n, LO_SIZE) orders, fills and amends; empty where nobody reads them
    paid : (payments, LP_SIZE)
    """

    rows: Ints
    queue: Floats
    slots: Ints
    tables: npt.NDArray[np.int32]
    rings: Ints
    plan: Ints
    head: Ints
    logs: Ints
    paid: Ints


def new_orders(capacity: int, levels: int, *, logged: int, paid: int) -> Orders:
    """Return room for `capacity` orders at once (a power of two), `levels` a side, and so many logged orders, fills, amends."""

    def ints(*shape: int) -> npt.NDArray[np.int64]:
        return np.zeros(shape, np.int64)

    return Orders(
        rows=ints(capacity, ORDER_SIZE), queue=np.zeros((capacity, ex.F_SIZE)), slots=ints(SLOT_LISTS, capacity),
        tables=np.zeros((5, MASK + 1), np.int32), rings=ints(3, 4 * capacity, R_SIZE), plan=ints(2 + Q_SIZE, 2 * max(1, levels)),
        head=ints(HEAD_SIZE), logs=ints(3, logged, LO_SIZE), paid=ints(paid, LP_SIZE),
    )  # fmt: skip


@compiled
def clear(own: Orders) -> None:
    """Forget everything: another grid begins."""
    head = own.head
    head[:] = 0
    head[MIN_SELL], head[MAX_BUY], head[DIRTY] = bk.NO_ASK, bk.NO_BID, 1
    own.tables[:] = 0
    count = own.rows.shape[0]
    head[FREE] = count
    for slot in range(count):
        own.slots[UNUSED, slot] = count - 1 - slot


@inlined
def find(own: Orders, side: int, key: int) -> int:
    """Return the slot of the live order under a key, -1 where there is none."""
    row = (1 - side) >> 1
    if own.tables[KEY_COUNT + row, key & MASK] == 0:
        return -1
    slot: int = own.tables[KEY_SLOT + row, key & MASK]
    if own.rows[slot, KEY] == key:
        return slot
    for at in range(own.head[LIVE]):
        slot = own.slots[LIVING, at]
        if own.rows[slot, KEY] == key and own.rows[slot, SIDE] == side:
            return slot
    return -1


@inlined
def occupied(own: Orders, tick: int) -> bool:
    """Whether a live order stands at a price, as far as the strategy knows."""
    if own.tables[TICK_COUNT, tick & MASK] == 0:
        return False
    found = False
    for at in range(own.head[LIVE]):
        found |= own.rows[own.slots[LIVING, at], TICKS] == tick
    return found


@inlined
def add(own: Orders, key: int, side: int, tick: int, lots: int, now_ns: int) -> int:
    """Register an order that is about to be sent; return its slot, -1 where there is no room."""
    head = own.head
    if head[FREE] == 0:
        return -1
    head[FREE] -= 1
    slot: int = own.slots[UNUSED, head[FREE]]
    row = own.rows[slot]
    row[:] = 0
    head[PLACED] += 1
    row[NUMBER], row[KEY], row[SIDE], row[TICKS], row[LOTS] = head[PLACED], key, side, tick, lots
    row[FLIGHT], row[SENT] = NEW, now_ns
    row[WANTED] = row[FITS] = head[STAMP]
    own.slots[LIVING, head[LIVE]] = slot
    head[LIVE] += 1
    table = (1 - side) >> 1
    own.tables[KEY_COUNT + table, key & MASK] += 1
    own.tables[KEY_SLOT + table, key & MASK] = slot
    own.tables[TICK_COUNT, tick & MASK] += 1
    if own.logs.shape[1] > 0:
        if head[PLACED] > own.logs.shape[1]:
            head[FULL] = 1
        else:
            write(own, slot, 0, 0)
    return slot


@compiled
def write(own: Orders, slot: int, ended_ns: int, step_ns: int) -> None:
    """Write an order down as it is now known."""
    row = own.rows[slot]
    log = own.logs[ORDER_LOG, row[NUMBER] - 1]
    log[LO_KEY], log[LO_SIDE], log[LO_TICKS], log[LO_LOTS] = row[KEY], row[SIDE], row[TICKS], row[LOTS]
    log[LO_FILLED], log[LO_STATE], log[LO_SENT] = row[FILLED], row[STATE], row[SENT]
    log[LO_ENDED], log[LO_STEP], log[LO_TURN] = ended_ns, step_ns, own.head[ENDED]


def write_resting(own: Orders) -> None:
    """Write down what rests when a market has ended, as it stands."""
    bury(own)
    for slot in own.slots[LIVING, : own.head[LIVE]]:
        write(own, slot, 0, 0)
        own.logs[ORDER_LOG, own.rows[slot, NUMBER] - 1, LO_TURN] = 0


@inlined
def moved(own: Orders, slot: int, tick: int, lots: int) -> None:
    """Take note that an amend has gone through."""
    row = own.rows[slot]
    own.tables[TICK_COUNT, row[TICKS] & MASK] -= 1
    own.tables[TICK_COUNT, tick & MASK] += 1
    row[TICKS], row[LOTS] = tick, lots


@compiled
def end(own: Orders, slot: int, state: int, ended_ns: int, step_ns: int) -> None:
    """Let an order end: at `ended_ns` by the exchange's word, which the decision at `step_ns` is the first to know."""
    head, row = own.head, own.rows[slot]
    if row[EXPIRES] and state == CANCELLED:
        state = EXPIRED
    row[STATE] = state
    head[ENDED] += 1
    head[BY_STATE + state] += 1
    if own.logs.shape[1] > 0 and row[NUMBER] <= own.logs.shape[1]:
        write(own, slot, ended_ns, step_ns)
    # The end of an order that no level wants changes nothing, unless something waits for it.
    if row[WANTED] == head[STAMP] or head[WAITING] or row[AWAITED]:
        head[DIRTY] = 1
    if row[AWAITED]:
        head[AWAITING] -= 1
    own.tables[TICK_COUNT, row[TICKS] & MASK] -= 1
    residue = row[KEY] & MASK
    table = (1 - row[SIDE]) >> 1
    own.tables[KEY_COUNT + table, residue] -= 1
    row[NUMBER] = row[SIDE] = row[TICKS] = 0  # of no side and no price: nobody finds it
    head[DEAD] += 1
    if own.tables[KEY_COUNT + table, residue] > 0 and own.tables[KEY_SLOT + table, residue] == slot:
        for other in range(head[LIVE]):
            rival = own.slots[LIVING, other]
            if own.rows[rival, SIDE] == 1 - 2 * table and own.rows[rival, KEY] & MASK == residue:
                own.tables[KEY_SLOT + table, residue] = rival


@compiled
def bury(own: Orders) -> None:
    """Take the orders that have ended from the list of live ones, all at once, and free their slots."""
    head, into = own.head, 0
    for at in range(head[LIVE]):
        slot = own.slots[LIVING, at]
        if own.rows[slot, NUMBER] == 0:
            own.slots[UNUSED, head[FREE]] = slot
            head[FREE] += 1
        else:
            own.slots[LIVING, into] = slot
            into += 1
    head[LIVE], head[DEAD] = into, 0
