"""The compiled heart of the synthetic market: orders arrive, eat queues and move prices; rows of a recording come out.

Everything is whole ticks, lots and nanoseconds, and every random number comes from the generator in `rng`, so the same
seed gives the same rows. The state stays in a few arrays between calls, which is what makes the market streamable.

The model, in words (queue-reactive in the sense of Huang, Lehalle, Rosenbaum 2015):
- Market orders are a Hawkes process of two time scales with Pareto sizes and persistent signs; they lean to the thinner queue.
- The best levels get limit orders and lose cancellations at rates that depend on their own queue and on the opposite one: an
  empty queue refills, a thin one beside a thick one is given up.
- An exhausted best level opens the spread. About a millisecond later it closes: most often the other side follows, else
  the level comes back. A followed move often runs on through the thin levels close to the market before a new queue settles.
- Levels behind the best wander around a profile of their distance: few and small within a basis point, then plenty.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]

DEPTH, SNAPSHOT, BBO, TRADE = 0, 1, 2, 3
BUY, SELL = 0, 1
SLOTS = 1 << 14  # ticks a side, addressed modulo
EDGE = 6_000  # ticks from the best to the deepest order: 100 bps at 600,000 ticks
COLUMNS = 8  # exchange_ns, local_ns, seq, kind, side, price, quantity, id
ROOM = 1 << 15  # rows that one step may write at most, with a margin

# i: integer state; names with two places hold bid and ask
BEST, OUT, SEQ, UPDATE, TRADE_ID, MS, LOCAL_NS = 0, 2, 3, 4, 5, 6, 7
RUN, DIRECTION, WALL, META, TARGET, REF, COUNT, QUOTE = 8, 9, 10, 11, 12, 14, 16, 18
I_SIZE = QUOTE + 4
# f: float state
TIME, FAST, SLOW, RUN_AT, F_SIZE = 0, 1, 2, 3, 4
# i[RUN]
CALM, OPEN, CHASE = 0, 1, 2


class Physics(NamedTuple):
    """Parameters; rates per second, sizes in lots, distances in ticks."""

    start: float = 600_000.0  # first mid
    base: float = 2.0  # market orders nobody triggered
    fast: float = 0.46  # offspring within some ms, per market order
    fast_decay: float = 58.0
    slow: float = 0.315  # offspring within some s
    slow_decay: float = 1.6
    size: float = 7.0  # smallest market order
    tail: float = 1.12  # Pareto index of their sizes
    largest: float = 20_000.0
    shy: float = 0.3  # share of market orders that take no more than the best level
    stubborn: float = 0.45  # how strongly signs follow the running metaorder
    lean: float = 0.5  # how strongly they follow the thinner queue
    turn: float = 0.06  # metaorders that end, per market order
    queue: float = 375.0  # median of the size the best level tends to
    queue_spread: float = 0.8  # its sigma of the logarithm
    follow: float = 1.4  # how much larger the queue behind a move becomes, and how much smaller the one ahead
    limit_rate: float = 15.0
    cancel_rate: float = 15.0
    refill: float = 2.0  # how much faster an empty queue is joined
    order: float = 12.0  # mean limit order
    thin: float = 0.8  # own queue over the opposite one at which it is given up
    flight: float = 4.0
    repair_ms: float = 1.6
    chase_ms: float = 3.0
    accept: float = 0.92  # share of opened spreads that the other side closes
    settle: float = 0.33  # share of moves that end after a step
    levels: float = 0.155  # 1 / mean number of levels a chase takes
    taken: float = 0.4  # share of chases that trade; the others are cancellations
    near: float = 60.0  # reach of the thin zone
    near_filled: float = 0.05
    near_size: float = 80.0
    far_filled: float = 0.5
    far_size: float = 60.0
    deep: float = 600.0
    deep_filled: float = 0.15
    reform: float = 0.7  # share of the levels near the market that are placed anew after a move
    near_rate: float = 2.0  # visits per level
    far_rate: float = 0.12
    deep_rate: float = 6.0  # visits in all
    delay_ms: float = 2.0  # fixed part of the feed delay
    jitter_ms: float = 1.0


Function = TypeVar("Function", bound=Callable[..., Any])


def _jit(function: Function) -> Function:
    return cast("Function", numba.njit(cache=True, nogil=True)(function))


def new_state(seed: int) -> tuple[Words, Ints, Floats, Ints, Ints]:
    """Return (rng, i, f, book, pending) before the first call; splitmix64 spreads the seed."""
    words = []
    mask = (1 << 64) - 1
    x = seed & mask
    for _ in range(4):
        x = (x + 0x9E3779B97F4A7C15) & mask
        z = x
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        words.append(z ^ (z >> 31))
    return (
        np.array(words, np.uint64),
        np.zeros(I_SIZE, np.int64),
        np.zeros(F_SIZE, np.float64),
        np.zeros((2, SLOTS), np.int64),
        np.zeros((4, SLOTS), np.int64),  # ticks by side, then marks by side
    )


@_jit
def _uniform(rng: Words) -> float:
    """Return a double in (0, 1): xoshiro256++."""
    total = rng[0] + rng[3]
    word = ((total << np.uint64(23)) | (total >> np.uint64(41))) + rng[0]
    shifted = rng[1] << np.uint64(17)
    rng[2] ^= rng[0]
    rng[3] ^= rng[1]
    rng[1] ^= rng[2]
    rng[0] ^= rng[3]
    rng[2] ^= shifted
    rng[3] = (rng[3] << np.uint64(45)) | (rng[3] >> np.uint64(19))
    return (float(word >> np.uint64(11)) + 0.5) * (1.0 / 9007199254740992.0)


@_jit
def _exponential(rng: Words) -> float:
    return -float(np.log(_uniform(rng)))


@_jit
def _lognormal(rng: Words, sigma: float) -> float:
    """Return a draw with median 1."""
    return float(np.exp(sigma * np.sqrt(2.0 * _exponential(rng)) * np.cos(2.0 * np.pi * _uniform(rng))))


@_jit
def _profile(rng: Words, p: Physics, distance: int) -> int:
    """Return lots for a level so far behind the best; mostly none close to it."""
    if distance < p.near:
        filled, size = p.near_filled, p.near_size
    elif distance < p.deep:
        filled, size = p.far_filled, p.far_size
    else:
        filled, size = p.deep_filled, p.far_size
    if _uniform(rng) >= filled:
        return 0
    return 1 + int(size * _lognormal(rng, 1.0))


@_jit
def _write(i: Ints, out: Ints, kind: int, side: int, price: int, quantity: int, number: int) -> None:
    row = out[i[OUT]]
    row[0] = i[MS] * 1_000_000
    row[1] = i[LOCAL_NS]
    row[2] = i[SEQ]
    row[3] = kind
    row[4] = side
    row[5] = price
    row[6] = quantity
    row[7] = number
    i[OUT] += 1


@_jit
def _message(rng: Words, i: Ints, p: Physics) -> None:
    """Begin a source message: the next seq, and its arrival after the feed delay, never before an earlier one."""
    i[SEQ] += 1
    arrival = i[MS] * 1_000_000 + int(1e6 * (p.delay_ms + p.jitter_ms * _exponential(rng)))
    i[LOCAL_NS] = max(i[LOCAL_NS], arrival)


@_jit
def _set(i: Ints, book: Ints, pending: Ints, side: int, tick: int, lots: int) -> None:
    """Let a level hold `lots`, keep the best price, and note the change for the next depth message."""
    slot = tick & (SLOTS - 1)
    if book[side, slot] == lots:
        return
    book[side, slot] = lots
    if pending[2 + side, slot] == 0:
        pending[2 + side, slot] = 1
        pending[side, i[COUNT + side]] = tick
        i[COUNT + side] += 1
    step = -1 if side == BUY else 1
    if lots > 0:
        if (i[BEST + side] - tick) * step > 0:
            i[BEST + side] = tick
    elif tick == i[BEST + side]:
        for _ in range(SLOTS - 1):
            tick += step
            if book[side, tick & (SLOTS - 1)] > 0:
                break
        i[BEST + side] = tick


@_jit
def _flush(rng: Words, i: Ints, book: Ints, pending: Ints, p: Physics, out: Ints) -> None:
    """Write the noted changes: the best prices when they changed, then one depth message."""
    if i[COUNT] + i[COUNT + 1] == 0:
        return
    i[UPDATE] += 1
    bid, ask = i[BEST], i[BEST + 1]
    bid_lots, ask_lots = book[0, bid & (SLOTS - 1)], book[1, ask & (SLOTS - 1)]
    if i[QUOTE] != bid or i[QUOTE + 1] != bid_lots or i[QUOTE + 2] != ask or i[QUOTE + 3] != ask_lots:
        i[QUOTE], i[QUOTE + 1], i[QUOTE + 2], i[QUOTE + 3] = bid, bid_lots, ask, ask_lots
        _message(rng, i, p)
        _write(i, out, BBO, BUY, bid, bid_lots, i[UPDATE])
        _write(i, out, BBO, SELL, ask, ask_lots, i[UPDATE])
    _message(rng, i, p)
    for side in range(2):
        for at in range(i[COUNT + side]):
            tick = pending[side, at]
            slot = tick & (SLOTS - 1)
            pending[2 + side, slot] = 0
            _write(i, out, DEPTH, side, tick, book[side, slot], i[UPDATE])
        i[COUNT + side] = 0


@_jit
def _open(rng: Words, i: Ints, f: Floats, p: Physics, side: int, other_best: int) -> None:
    """Note that the best level of `side` is exhausted: the spread stays open until somebody closes it."""
    if i[RUN] == CALM or i[DIRECTION] != side:
        i[WALL] = other_best
    i[RUN] = OPEN
    i[DIRECTION] = side
    f[RUN_AT] = f[TIME] + 1e-3 * p.repair_ms * _exponential(rng)


@_jit
def _market_order(
    rng: Words, i: Ints, f: Floats, book: Ints, pending: Ints, p: Physics, out: Ints, taker: int, lots: int
) -> None:
    """Let an order take liquidity: one trade row a level, then the depth that it left."""
    _flush(rng, i, book, pending, p, out)
    side = 1 - taker
    first = i[BEST + side]
    limit = first + (EDGE // 2 if side == SELL else -EDGE // 2)
    while lots > 0 and (limit - i[BEST + side]) * (1 if side == SELL else -1) > 0:
        tick = i[BEST + side]
        here = book[side, tick & (SLOTS - 1)]
        traded = min(here, lots)
        _message(rng, i, p)
        i[TRADE_ID] += 1
        _write(i, out, TRADE, taker, tick, traded, i[TRADE_ID])
        _set(i, book, pending, side, tick, here - traded)
        lots -= traded
    _flush(rng, i, book, pending, p, out)
    f[FAST] += p.fast * p.fast_decay
    f[SLOW] += p.slow * p.slow_decay
    if i[BEST + side] != first:
        _open(rng, i, f, p, side, i[BEST + taker])


@_jit
def _target(rng: Words, i: Ints, p: Physics, side: int, factor: float) -> int:
    """Draw the size that the best level of a side tends to from now on, and how much of it stands there at once."""
    i[TARGET + side] = 1 + int(p.queue * factor * _lognormal(rng, p.queue_spread))
    return 1 + int(i[TARGET + side] * (0.3 + 0.7 * _uniform(rng)))


@_jit
def _settle(rng: Words, i: Ints, book: Ints, pending: Ints, p: Physics, ahead: int) -> None:
    """End a move: queues form at the new best levels, smaller on the side `ahead`, and the depth follows the market."""
    i[RUN] = CALM
    for side in range(2):
        step = -1 if side == BUY else 1
        best = i[BEST + side]
        lots = _target(rng, i, p, side, 1.0 / p.follow if side == ahead else p.follow)
        if lots > book[side, best & (SLOTS - 1)]:
            _set(i, book, pending, side, best, lots)
        moved = (best - i[REF + side]) * step  # above 0: away from the other side, so that the far end comes into reach
        for at in range(moved):
            tick = i[REF + side] + step * (EDGE + 1 + at)
            if book[side, tick & (SLOTS - 1)] == 0:
                _set(i, book, pending, side, tick, _profile(rng, p, EDGE))
        for at in range(-moved):
            _set(i, book, pending, side, i[REF + side] + step * (EDGE - at), 0)
        i[REF + side] = best
        # Orders near the market follow it; without that every move would be braked by dense levels ahead, and thrown back
        # through the void that it left behind.
        for distance in range(1, int(p.near) + min(abs(moved), 300)):
            if _uniform(rng) < p.reform:
                _set(i, book, pending, side, best + step * distance, _profile(rng, p, distance))


@_jit
def _continue_run(rng: Words, i: Ints, f: Floats, book: Ints, pending: Ints, p: Physics, out: Ints) -> None:
    """Do what is due in a move: close the spread, or take the thin levels ahead."""
    side = i[DIRECTION]  # whose level was exhausted: SELL in a rise
    other = 1 - side
    step = -1 if side == BUY else 1
    if i[RUN] == OPEN:
        if _uniform(rng) >= p.accept:
            _set(i, book, pending, side, i[BEST + other] + step, 1 + int(p.order * _exponential(rng)))
            _settle(rng, i, book, pending, p, other)
            return
        follower = 1 + int(p.order * _exponential(rng))
        if i[BEST + other] != i[BEST + side] - step:
            _set(i, book, pending, other, i[BEST + side] - step, follower)
        if _uniform(rng) < p.settle:
            # The queue that stood before the move comes after it.
            left = book[other, i[WALL] & (SLOTS - 1)]
            if i[WALL] != i[BEST + other] and left > 0:
                _set(i, book, pending, other, i[WALL], min(left, _profile(rng, p, 1)))
            _settle(rng, i, book, pending, p, side)
            return
        i[RUN] = CHASE
        f[RUN_AT] = f[TIME] + 1e-3 * p.chase_ms * _exponential(rng)
        return
    lots = 0
    tick = i[BEST + side]
    while True:
        lots += book[side, tick & (SLOTS - 1)]
        if _uniform(rng) < p.levels:
            break
        for _ in range(EDGE):
            tick += step
            if book[side, tick & (SLOTS - 1)] > 0:
                break
    if _uniform(rng) < p.taken:
        _market_order(rng, i, f, book, pending, p, out, other, lots)
    else:
        while (tick - i[BEST + side]) * step >= 0:
            _set(i, book, pending, side, i[BEST + side], 0)
        _open(rng, i, f, p, side, i[BEST + other])


@_jit
def _visit(rng: Words, i: Ints, book: Ints, pending: Ints, p: Physics, side: int, distance: int) -> None:
    """Let a level behind the best drift towards its profile: an order joins, or some of it is cancelled."""
    step = -1 if side == BUY else 1
    tick = i[BEST + side] + step * distance
    if (tick - i[REF + side]) * step > EDGE:
        return  # beyond the far end, which follows the market only between moves
    here = book[side, tick & (SLOTS - 1)]
    wanted = _profile(rng, p, distance)
    if here > wanted:
        wanted = here - int(np.ceil((here - wanted) * _uniform(rng) ** 0.5))
    _set(i, book, pending, side, tick, wanted)


@_jit
def generate(
    rng: Words, i: Ints, f: Floats, book: Ints, pending: Ints, p: Physics, start_ms: int, seconds: float, out: Ints
) -> bool:
    """Write rows into `out` (capacity, COLUMNS) until it is nearly full or the market ends; return whether it ended.

    `i[OUT]` is the number of rows written.
    """
    i[OUT] = 0
    if i[SEQ] == 0:
        i[MS] = start_ms
        i[BEST], i[BEST + 1] = int(p.start), int(p.start) + 1
        i[META] = BUY if _uniform(rng) < 0.5 else SELL
        i[UPDATE] = 1
        _message(rng, i, p)
        for side in range(2):
            i[REF + side] = i[BEST + side]
            for distance in range(EDGE + 1):
                lots = _target(rng, i, p, side, 1.0) if distance == 0 else _profile(rng, p, distance)
                if lots > 0:
                    tick = i[BEST + side] + (-distance if side == BUY else distance)
                    book[side, tick & (SLOTS - 1)] = lots
                    _write(i, out, SNAPSHOT, side, tick, lots, i[UPDATE])
    near_visits = 2.0 * p.near * p.near_rate
    far_visits = 2.0 * (p.deep - p.near) * p.far_rate
    while i[OUT] + ROOM < out.shape[0]:
        bid_lots = book[0, i[BEST] & (SLOTS - 1)]
        ask_lots = book[1, i[BEST + 1] & (SLOTS - 1)]
        market = p.base + f[FAST] + f[SLOW]
        total = market + near_visits + far_visits + p.deep_rate
        joins_bid = p.limit_rate * (1.0 + p.refill * max(0.0, 1.0 - bid_lots / i[TARGET]))
        joins_ask = p.limit_rate * (1.0 + p.refill * max(0.0, 1.0 - ask_lots / i[TARGET + 1]))
        leaves_bid = p.cancel_rate * bid_lots / i[TARGET]
        leaves_ask = p.cancel_rate * ask_lots / i[TARGET + 1]
        calm = 1.0 if i[RUN] == CALM else 0.0
        flees_bid = calm * p.flight * max(0.0, 1.0 - bid_lots / (p.thin * ask_lots))
        flees_ask = calm * p.flight * max(0.0, 1.0 - ask_lots / (p.thin * bid_lots))
        total += joins_bid + joins_ask + leaves_bid + leaves_ask + flees_bid + flees_ask
        wait = _exponential(rng) / total
        due = i[RUN] != CALM and f[RUN_AT] < f[TIME] + wait
        if due:
            wait = max(f[RUN_AT] - f[TIME], 0.0)
        if f[TIME] + wait >= seconds:
            _flush(rng, i, book, pending, p, out)
            return True
        f[TIME] += wait
        ms = start_ms + int(f[TIME] * 1e3)
        if ms != i[MS]:
            _flush(rng, i, book, pending, p, out)
            i[MS] = ms
        f[FAST] *= np.exp(-p.fast_decay * wait)
        f[SLOW] *= np.exp(-p.slow_decay * wait)
        if due:
            _continue_run(rng, i, f, book, pending, p, out)
            continue
        u = _uniform(rng) * total
        if u < market:
            if u >= p.base + f[FAST] + f[SLOW]:
                continue  # thinned: the intensity has decayed while we waited
            if _uniform(rng) < p.turn:
                i[META] = BUY if _uniform(rng) < 0.5 else SELL
            sign = 1.0 if i[META] == BUY else -1.0
            imbalance = (bid_lots - ask_lots) / (bid_lots + ask_lots)
            taker = BUY if _uniform(rng) < 0.5 * (1.0 + p.stubborn * sign + p.lean * imbalance) else SELL
            lots = int(min(p.size * _uniform(rng) ** (-1.0 / p.tail), p.largest))
            best = ask_lots if taker == BUY else bid_lots
            if lots > best and _uniform(rng) < p.shy:
                lots = best
            _market_order(rng, i, f, book, pending, p, out, taker, lots)
            continue
        u -= market
        if u < near_visits + far_visits + p.deep_rate:
            side = BUY if _uniform(rng) < 0.5 else SELL
            if u < near_visits:
                distance = 1 + int((p.near - 1.0) * _uniform(rng))
            elif u < near_visits + far_visits:
                distance = int(p.near + (p.deep - p.near) * _uniform(rng))
            else:
                distance = int(p.deep + (EDGE - 200 - p.deep) * _uniform(rng))
            _visit(rng, i, book, pending, p, side, distance)
            continue
        u -= near_visits + far_visits + p.deep_rate
        if u < joins_bid + joins_ask:
            side = BUY if u < joins_bid else SELL
            here = bid_lots if side == BUY else ask_lots
            _set(i, book, pending, side, i[BEST + side], here + 1 + int(p.order * _exponential(rng)))
            continue
        u -= joins_bid + joins_ask
        fled = u >= leaves_bid + leaves_ask
        if fled:
            side = BUY if u - leaves_bid - leaves_ask < flees_bid else SELL
        else:
            side = BUY if u < leaves_bid else SELL
        here = bid_lots if side == BUY else ask_lots
        gone = here if fled else min(here, 1 + int(p.order * _exponential(rng)))
        _set(i, book, pending, side, i[BEST + side], here - gone)
        if gone == here:
            _open(rng, i, f, p, side, i[BEST + 1 - side])
    return False
