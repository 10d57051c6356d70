"""Crossed books: after how many messages of a recording the best bid stands at or above the best ask.

A book that crosses is a sign of lost messages or of a snapshot older than the diffs before it. Only which prices hold a quantity
matters here, so a byte a tick in a window around the market is enough. Prices outside the window (8 % away for BTC at a tick
of .01, more at coarser ticks) are not watched: they could become the best only when the whole window is empty.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from grinder_kit.model.market import EventSide, KindCode

WINDOW = 1 << 20  # ticks
_DEPTH, _SNAPSHOT, _GAP = int(KindCode.DEPTH), int(KindCode.SNAPSHOT), int(KindCode.GAP)
_BUY = list(EventSide).index(EventSide.BUY)
_BASE, _BEST, _HELD = 0, 1, 3  # head: first tick of the window, best of each side, prices held by each side
_NONE = -1


class CrossedBooks:
    """Counts over the columns of a recording, given in whole messages."""

    def __init__(self) -> None:
        self.count = 0
        self._holds = np.zeros((2, WINDOW), np.bool_)
        self._head = np.array([_NONE, _NONE, _NONE, 0, 0], np.int64)

    def add(self, columns: dict[str, npt.NDArray[Any]]) -> None:
        """Apply the next rows: kind, seq, side, price, quantity as codes and integers, shape (n_rows,)."""
        kind, seq, side = columns["kind"], columns["seq"], columns["side"]
        self.count += _count(kind, seq, side, columns["price"], columns["quantity"], self._holds, self._head)


@njit(cache=True, nogil=True)
def _next_best(holds, head, side, start):  # type: ignore[no-untyped-def]
    """Move the best of a side to the next price that holds something, from `start` away from the market."""
    if head[_HELD + side] == 0:
        head[_BEST + side] = _NONE
        return
    step = -1 if side == _BUY else 1
    at = start
    while 0 <= at < WINDOW and not holds[side, at]:
        at += step
    head[_BEST + side] = at if 0 <= at < WINDOW else _NONE


@njit(cache=True, nogil=True)
def _recentre(holds, head, price):  # type: ignore[no-untyped-def]
    """Move the window so that `price` is in its middle."""
    base = max(0, price - WINDOW // 2)
    shift = base - head[_BASE] if head[_BASE] != _NONE else WINDOW
    head[_BASE] = base
    for side in range(2):
        held = 0
        forward = shift >= 0  # plain loops: slices take Numba seconds to compile
        for i in range(WINDOW):
            at = i if forward else WINDOW - 1 - i
            holds[side, at] = 0 <= at + shift < WINDOW and holds[side, at + shift]
            held += holds[side, at]
        head[_HELD + side] = held
        _next_best(holds, head, side, WINDOW - 1 if side == _BUY else 0)


@njit(cache=True, nogil=True)
def _clear(holds, head, side, edge):  # type: ignore[no-untyped-def]
    """Empty a side from its best up to `edge`, included."""
    low, high = (max(edge, 0), WINDOW) if side == _BUY else (0, min(edge + 1, WINDOW))
    for at in range(low, high):
        if holds[side, at]:
            holds[side, at] = False
            head[_HELD + side] -= 1
    _next_best(holds, head, side, low - 1 if side == _BUY else high)


@njit(cache=True, nogil=True)
def _count(kind, seq, side, price, lots, holds, head):  # type: ignore[no-untyped-def]
    crossed = 0
    cleared = np.int64(_NONE)  # 2 * seq + side of the snapshot whose range was emptied last
    for r in range(kind.size):
        k, s, p = kind[r], side[r], price[r]
        if k == _GAP:
            _clear(holds, head, 0, 0)
            _clear(holds, head, 1, WINDOW)
            continue
        if k != _DEPTH and k != _SNAPSHOT:
            continue
        if head[_BASE] == _NONE:
            _recentre(holds, head, p)
        if k == _SNAPSHOT and cleared != 2 * seq[r] + s:
            if r == 0 or seq[r - 1] != seq[r]:
                _recentre(holds, head, p)  # its first row is the best bid
            cleared = 2 * seq[r] + s
            edge = p
            j = r
            while j < kind.size and seq[j] == seq[r]:
                if side[j] == s:
                    edge = min(edge, price[j]) if s == _BUY else max(edge, price[j])
                j += 1
            _clear(holds, head, s, edge - head[_BASE])
        at = p - head[_BASE]
        if 0 <= at < WINDOW:
            best = head[_BEST + s]
            if lots[r] > 0:
                head[_HELD + s] += not holds[s, at]
                holds[s, at] = True
                if best == _NONE or (at > best if s == _BUY else at < best):
                    head[_BEST + s] = at
            elif holds[s, at]:
                holds[s, at] = False
                head[_HELD + s] -= 1
                if at == best:
                    _next_best(holds, head, s, at)
        if r + 1 == kind.size or seq[r + 1] != seq[r]:
            bid, ask = head[_BEST], head[_BEST + 1]
            if bid != _NONE and ask != _NONE:
                crossed += bid >= ask
                if min(bid, WINDOW - bid) < WINDOW // 8 and head[_BASE] + bid > WINDOW // 2:
                    _recentre(holds, head, head[_BASE] + bid)
    return crossed
