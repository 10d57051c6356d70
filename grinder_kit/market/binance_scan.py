"""The fast lane of the Binance importer: a compiled scanner of raw lines.

It reads a line only when every byte of it is as expected: key order is free, white space is not. Any other line is left to
the slow lane (binance_lines.py), which reads real JSON and says what is wrong; a test holds both lanes equal. Prices and
quantities never become floats: digits are read as whole units of 1e-8.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from grinder_kit.model.market import KindCode

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int8]
Text = npt.NDArray[np.uint8]

DECIMALS = 8
MAX_DIGITS = 18  # so that no int64 overflows
DEPTH, SNAPSHOT, BBO, TRADE, GAP = (int(code) for code in list(KindCode)[:5])
BUY, SELL, NONE = 0, 1, 2  # positions in EventSide
SLOW, DROPPED = -1, -2  # a line for the slow lane; a line without rows
SPOT, USDM, COINM = 0, 1, 2

# bits of the keys that a line had
_E, _S, _T, _EV, _U1, _U2, _PU, _B, _A, _BQ, _AQ, _P, _Q, _ID, _M, _X, _PS = (1 << i for i in range(17))


class Lines(NamedTuple):
    """What is known of each line, shape (n_lines,)."""

    kind: Codes
    local_ns: Ints
    exchange_ns: Ints
    id: Ints
    first: Ints  # U of a depth message
    previous: Ints  # pu of a depth message, -1 on spot


class Rows(NamedTuple):
    """Rows in the order of the source, shape (n_rows,)."""

    line: Ints
    side: Codes
    price: Ints
    lots: Ints


@njit(cache=True, nogil=True)
def _is(text, at, end, word):  # type: ignore[no-untyped-def]
    """Return the position after `word`, or -1 when something else stands there."""
    if at + word.size > end:
        return -1
    for i in range(word.size):
        if text[at + i] != word[i]:
            return -1
    return at + word.size


@njit(cache=True, nogil=True)
def _integer(text, at, end):  # type: ignore[no-untyped-def]
    """Return (whole number, position after it); -1 when there is none."""
    value = np.int64(0)
    start = at
    while at < end and 48 <= text[at] <= 57:
        value = value * 10 + (text[at] - 48)
        at += 1
    if at == start or at - start > MAX_DIGITS or (text[start] == 48 and at - start > 1):
        return np.int64(0), -1
    return value, at


@njit(cache=True, nogil=True)
def _decimal(text, at, end):  # type: ignore[no-untyped-def]
    """Return (units of 1e-8, position after the closing quote) of a quoted decimal; -1 when it is none, or finer."""
    value = np.int64(0)
    digits = 0
    if at >= end or text[at] != 34:
        return value, -1
    at += 1
    start = at
    while at < end and 48 <= text[at] <= 57:
        value = value * 10 + (text[at] - 48)
        digits += 1
        at += 1
    if at == start or digits > MAX_DIGITS - DECIMALS:
        return value, -1
    places = 0
    if at < end and text[at] == 46:
        at += 1
        while at < end and 48 <= text[at] <= 57:
            if places == DECIMALS:
                return value, -1
            value = value * 10 + (text[at] - 48)
            places += 1
            at += 1
        if places == 0:
            return value, -1
    while places < DECIMALS:
        value *= 10
        places += 1
    if at >= end or text[at] != 34:
        return value, -1
    return value, at + 1


@njit(cache=True, nogil=True)
def _string(text, at, end):  # type: ignore[no-untyped-def]
    """Return the position after a quoted string without escapes, or -1."""
    if at >= end or text[at] != 34:
        return -1
    at += 1
    while at < end and text[at] != 34:
        if text[at] == 92 or text[at] < 32:
            return -1
        at += 1
    return at + 1 if at < end else -1


@njit(cache=True, nogil=True)
def _event(text, at, end, depth, bbo, trade):  # type: ignore[no-untyped-def]
    """Return (kind, position after the quoted name of an event)."""
    after = _is(text, at, end, depth)
    if after >= 0:
        return DEPTH, after
    after = _is(text, at, end, bbo)
    if after >= 0:
        return BBO, after
    return TRADE, _is(text, at, end, trade)


@njit(cache=True, nogil=True)
def _flag(text, at, end, true, false):  # type: ignore[no-untyped-def]
    """Return (value, position after it) of a JSON boolean."""
    after = _is(text, at, end, true)
    if after >= 0:
        return True, after
    return False, _is(text, at, end, false)


@njit(cache=True, nogil=True)
def _lots(units, lot_units, off_lot):  # type: ignore[no-untyped-def]
    """Return whole lots, halves rounded up; `off_lot[0]` counts what was rounded."""
    lots = units // lot_units
    rest = units - lots * lot_units
    if rest:
        off_lot[0] += 1
        if rest >= lot_units - rest:
            lots += 1
    return lots


@njit(cache=True, nogil=True)
def _levels(text, at, end, tick, lot, line, side, rows, n, off_lot):  # type: ignore[no-untyped-def]
    """Read ``[["p","q"],...]`` from its second character on; return (position after it, rows)."""
    if at < end and text[at] == 93:
        return at + 1, n
    while True:
        if at >= end or text[at] != 91:
            return -1, n
        price, at = _decimal(text, at + 1, end)
        if at < 0 or price % tick or at >= end or text[at] != 44:
            return -1, n
        units, at = _decimal(text, at + 1, end)
        if at < 0 or at + 1 >= end or text[at] != 93:
            return -1, n
        rows.line[n], rows.side[n], rows.price[n] = line, side, price // tick
        rows.lots[n] = _lots(units, lot, off_lot)
        n += 1
        at += 1
        if text[at] == 93:
            return at + 1, n
        if text[at] != 44:
            return -1, n
        at += 1


@njit(cache=True, nogil=True)
def scan(text, ends, words, symbol, market, tick, lot, lines, rows, off_lot):  # type: ignore[no-untyped-def]
    """Read the lines that end at `ends` (positions of their newlines); return the number of rows written.

    `words` are the fixed pieces of :func:`words`; `tick` and `lot` are in units of 1e-8; `rows` must have room for one row
    per 10 characters, and two per line.
    """
    open_stream, open_data, close, depth, bbo, trade, market_word, true, false = words
    n = 0
    start = 0
    for i in range(ends.size):
        end = ends[i]
        before, before_off = n, off_lot[0]
        lines.kind[i] = SLOW
        begin, start = start, end + 1
        if end - begin <= 20:
            continue
        local, at = _integer(text, begin, begin + 18)  # 19 digits are one more than it takes: the last one apart
        if at != begin + 18 or not 48 <= text[at] <= 57 or text[at + 1] != 32:
            continue
        local = local * 10 + (text[at] - 48)
        lines.local_ns[i] = local
        at += 2
        at = _is(text, at, end, open_stream)
        if at < 0:
            continue
        while at < end and text[at] != 34:
            at += 1
        at = _is(text, at, end, open_data)
        if at < 0:
            continue
        seen = 0
        kind = BBO  # spot quotes have no event name
        stamp = event_time = ident = first = number = np.int64(0)
        previous = np.int64(-1)
        bid = ask = bid_units = ask_units = price = units = np.int64(0)
        seller = False
        asks_first = False
        while True:
            if at + 4 >= end or text[at] != 34:
                at = -1
                break
            key = text[at + 1]
            bit = 0
            if text[at + 2] == 34:
                if text[at + 3] != 58:
                    at = -1
                    break
                at += 4
                if key == 101:  # e
                    bit = _EV
                    kind, at = _event(text, at, end, depth, bbo, trade)
                elif key == 115:  # s
                    bit = _S
                    at = _is(text, at, end, symbol)
                elif key == 69:  # E
                    bit = _E
                    event_time, at = _integer(text, at, end)
                elif key == 84:  # T
                    bit = _T
                    stamp, at = _integer(text, at, end)
                elif key == 117:  # u
                    bit = _U2
                    ident, at = _integer(text, at, end)
                elif key == 116:  # t
                    bit = _ID
                    ident, at = _integer(text, at, end)
                elif key == 85:  # U
                    bit = _U1
                    first, at = _integer(text, at, end)
                elif key == 98 or key == 97:  # b, a: levels, a price, or (spot trades) an order id
                    bit = _B if key == 98 else _A
                    if text[at] == 91:
                        if key == 97 and not seen & _B:
                            asks_first = True
                        side = BUY if key == 98 else SELL
                        at, n = _levels(text, at + 1, end, tick, lot, i, side, rows, n, off_lot)
                        if kind != DEPTH:
                            at = -1
                    elif text[at] == 34:
                        number, at = _decimal(text, at, end)
                        if number % tick or kind != BBO:
                            at = -1
                        if key == 98:
                            bid = number // tick
                        else:
                            ask = number // tick
                    else:
                        number, at = _integer(text, at, end)
                        if kind != TRADE:
                            at = -1
                elif key == 66:  # B
                    bit = _BQ
                    bid_units, at = _decimal(text, at, end)
                elif key == 65:  # A
                    bit = _AQ
                    ask_units, at = _decimal(text, at, end)
                elif key == 112:  # p
                    bit = _P
                    number, at = _decimal(text, at, end)
                    if number % tick:
                        at = -1
                    price = number // tick
                elif key == 113:  # q
                    bit = _Q
                    units, at = _decimal(text, at, end)
                elif key == 109 or key == 77:  # m, M
                    flag, at = _flag(text, at, end, true, false)
                    if key == 109:
                        bit = _M
                        seller = flag
                elif key == 88:  # X
                    bit = _X
                    at = _is(text, at, end, market_word)
                else:
                    at = -1
            elif key == 112 and text[at + 3] == 34 and text[at + 4] == 58:  # pu, ps
                if text[at + 2] == 117:
                    bit = _PU
                    previous, at = _integer(text, at + 5, end)
                elif text[at + 2] == 115:
                    bit = _PS
                    at = _string(text, at + 5, end)
                else:
                    at = -1
            else:
                at = -1
            if at < 0 or at >= end or seen & bit:
                at = -1
                break
            seen |= bit
            if text[at] == 44:
                at += 1
            else:
                break
        if at >= 0 and _is(text, at, end, close) == end and not asks_first:
            if kind == DEPTH:
                need = _EV | _S | _U1 | _U2 | _B | _A | _E
                need |= 0 if market == SPOT else _T | _PU
            elif kind == BBO:
                need = _S | _U2 | _B | _BQ | _A | _AQ | (0 if market == SPOT else _T | _EV)
            else:
                need = _EV | _S | _T | _ID | _P | _Q | _M
            # a spot message never has these, a COIN-M one always names its pair (but in trades)
            alien = (_PU | _X | _PS) if market == SPOT else 0
            if market == SPOT and kind != TRADE:
                alien |= _T
            if market == USDM:
                alien = _PS
            if market == COINM and kind != TRADE:
                need |= _PS
            if seen & need == need and not seen & alien:
                lines.kind[i] = kind
                lines.id[i], lines.first[i], lines.previous[i] = ident, first, previous
                if market == SPOT and kind == DEPTH:
                    stamp = event_time
                if kind == BBO and market == SPOT:
                    lines.exchange_ns[i] = local
                elif stamp < 100_000_000_000_000:
                    lines.exchange_ns[i] = stamp * 1_000_000
                else:  # spot streams can be asked for microseconds
                    lines.exchange_ns[i] = stamp * 1_000
                if kind == BBO:
                    rows.line[n], rows.side[n], rows.price[n] = i, BUY, bid
                    rows.lots[n] = _lots(bid_units, lot, off_lot)
                    rows.line[n + 1], rows.side[n + 1], rows.price[n + 1] = i, SELL, ask
                    rows.lots[n + 1] = _lots(ask_units, lot, off_lot)
                    n += 2
                elif kind == TRADE:
                    rows.line[n], rows.side[n], rows.price[n] = i, SELL if seller else BUY, price
                    rows.lots[n] = _lots(units, lot, off_lot)
                    n += 1
                continue
        n = before  # nothing of a half-read line stays
        off_lot[0] = before_off
    return n


def words(symbol: str) -> tuple[tuple[Text, ...], Text]:
    """Return the fixed pieces that :func:`scan` compares with, and the quoted symbol."""
    pieces = (
        b'{"stream":"', b'","data":{', b"}}", b'"depthUpdate"', b'"bookTicker"', b'"trade"', b'"MARKET"', b"true", b"false",
    )  # fmt: skip
    return tuple(np.frombuffer(p, np.uint8) for p in pieces), np.frombuffer(f'"{symbol}"'.encode(), np.uint8)


def new_lines(n: int) -> Lines:
    """Return room for `n` lines."""
    return Lines(np.empty(n, np.int8), *(np.zeros(n, np.int64) for _ in range(5)))


def new_rows(n: int) -> Rows:
    """Return room for `n` rows."""
    return Rows(np.empty(n, np.int64), np.empty(n, np.int8), np.empty(n, np.int64), np.empty(n, np.int64))
