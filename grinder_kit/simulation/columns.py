"""A market's rows as columns in memory, block by block, and the order in which the exchange and the strategy meet them.

What kernel/feed.py makes of batches, for compiled passes: rows are neither copied nor moved. A block keeps the order of its source,
beside it stands in which order its rows happened; only the few that a later block may still come before are carried on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from grinder_kit.errors import DataError
from grinder_kit.kernel import exchange as ex
from grinder_kit.kernel.compiled import compiled, inlined
from grinder_kit.kernel.exchange import Ints
from grinder_kit.kernel.feed import FeedOptions

if TYPE_CHECKING:
    import polars as pl

    from grinder_kit.market.source import Market

Bytes = npt.NDArray[np.uint8]
Order = npt.NDArray[np.int32]

BLOCK_ROWS = 65_536
BUY, SELL, NONE = range(3)  # side, as recordings have it

# settings of a clock
BY_LOCAL, OFFSET, ADVANCE, QUOTES, TRADES_FIRST, CLOCK_SIZE = range(6)
# what `in_order` says
COUNT, TANGLED, LATER, LATE, FOUND_SIZE = range(5)
_LONGEST_SHIFT = 100  # rows that one row passes on average; beyond that a real sort is faster


#: A position that is known not to be below zero: compiled code need not ask whether it counts from the end.
index: Any = np.uint64


class Rows(NamedTuple):
    """Rows in the order of their source; every array is (n,). `kind` may also be CLEAR: of a side from its best to `tick`."""

    exchange_ns: Ints
    local_ns: Ints
    kind: Bytes
    side: Bytes
    tick: Ints
    lots: Ints
    id: Ints


class Piece(NamedTuple):
    """Rows, and which of them happened, in that order."""

    rows: Rows
    order: Order


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """The next stretch of the exchange's stream.

    Attributes
    ----------
    pieces : tuple of Piece
        Every event up to `until_ns` (included) that came in no earlier stretch, and nothing later.
    rows : Rows
        The block that was read for it.
    before, after : Rows or None
        What was carried on to it, and what it carries on.
    tangled : bool
        Whether events that move the book happened in another order than that of the rows.
    until_ns : int
        Time up to which both streams are known.
    final : bool
    """

    pieces: tuple[Piece, ...]
    rows: Rows
    before: Rows | None
    after: Rows | None
    tangled: bool
    until_ns: int
    final: bool


# --- blocks --------------------------------------------------------------------------------------------------------------


def blocks(market: Market) -> Iterator[Rows]:
    """Yield a market's rows; a snapshot is a block of its own, with a clear of each side before its levels."""
    held: Rows | None = None
    held_seq: Ints = np.zeros(0, np.int64)
    for frame in market.batches(BLOCK_ROWS):
        if not frame.height:
            continue
        rows, seq = _columns(frame)
        if held is not None:
            rows, seq = join(held, rows), np.concatenate((held_seq, seq))
            held = None
        at = 0
        for start, end in _snapshots(rows.kind, seq):
            if at < start:
                yield part(rows, at, start)
            at = end
            if end == len(seq):  # the rest of it may stand in the next batch
                held, held_seq = part(rows, start, end), seq[start:end]
            else:
                yield _with_clears(part(rows, start, end))
        if at < len(seq):
            yield part(rows, at, len(seq))
    if held is not None:
        yield _with_clears(held)


def _snapshots(kind: Bytes, seq: Ints) -> list[tuple[int, int]]:
    """Return [start, end) of each snapshot."""
    rows = np.flatnonzero(kind == ex.SNAPSHOT)
    if not rows.size:
        return []
    cuts = np.flatnonzero((np.diff(seq[rows]) != 0) | (np.diff(rows) != 1))
    starts, ends = rows[np.append(0, cuts + 1)], rows[np.append(cuts, len(rows) - 1)] + 1
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def _columns(frame: pl.DataFrame) -> tuple[Rows, Ints]:
    """Return a frame's columns, uncopied where they lie in one piece."""

    def column(name: str) -> Any:
        return _fixed(frame[name].to_numpy())

    def code(name: str) -> Any:
        return _fixed(frame[name].to_physical().to_numpy().astype(np.uint8, copy=False))

    rows = Rows(
        column("exchange_ns"), column("local_ns"), code("kind"), code("side"), column("price"), column("quantity"),
        column("id"),
    )  # fmt: skip
    return rows, frame["seq"].to_numpy()


def _fixed(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an array as compiled code is made for: in one piece and read-only, as Polars gives them."""
    array = np.ascontiguousarray(array)
    if array.flags.writeable:
        array = array.view()
        array.flags.writeable = False
    return array


def part(rows: Rows, start: int, end: int) -> Rows:
    """Return rows [start, end)."""
    return _of(column[start:end] for column in rows)


def _of(columns: Iterable[Any]) -> Rows:
    return Rows(*columns)


def _arrays(rows: Rows) -> tuple[npt.NDArray[Any], ...]:
    return rows


def join(first: Rows, second: Rows) -> Rows:
    """Return rows behind each other."""
    return _of(_fixed(np.concatenate((a, b))) for a, b in zip(_arrays(first), _arrays(second), strict=True))


def _with_clears(rows: Rows) -> Rows:
    """Return a snapshot with a clear of the bids down to its lowest, directly before its bids, and likewise for the asks."""
    out = rows
    for side, edge in ((SELL, np.max), (BUY, np.min)):  # from the back, so that positions hold
        own = np.flatnonzero(rows.side == side)
        if not own.size:
            continue
        at = int(own[0])
        row = {"kind": ex.CLEAR, "tick": int(edge(rows.tick[own])), "lots": 0}
        values = (row.get(name, column[at]) for name, column in zip(Rows._fields, _arrays(out), strict=True))
        out = _of(_fixed(np.insert(column, at, value)) for column, value in zip(_arrays(out), values, strict=True))
    return out


# --- order ---------------------------------------------------------------------------------------------------------------


@inlined
def time_of(rows: Rows, clock: Ints, row: int) -> int:
    """Return when a row happened by a clock."""
    ts: int = rows.local_ns[row] + clock[OFFSET] if clock[BY_LOCAL] else rows.exchange_ns[row]
    return ts - int(clock[ADVANCE]) if rows.kind[row] == ex.TRADE else ts


@inlined
def _rank(clock: Ints, kind: int) -> int:
    if not clock[TRADES_FIRST]:
        return 0
    return 0 if kind == ex.TRADE else 1 if kind == ex.BBO else 2


@compiled
def _place(rows: Rows, clock: Ints, order: Order, count: int, row: int) -> int:
    """Return where a row belongs among those in order before it: most often near the end."""
    ts, rank = time_of(rows, clock, row), _rank(clock, rows.kind[row])
    reach, high = 1, count
    while reach <= high and _after(rows, clock, order[high - reach], ts, rank):
        high -= reach
        reach *= 2
    low = max(0, high - reach)
    while low < high:
        middle = (low + high) >> 1
        if _after(rows, clock, order[middle], ts, rank):
            high = middle
        else:
            low = middle + 1
    return low


@inlined
def _after(rows: Rows, clock: Ints, row: int, ts: int, rank: int) -> bool:
    there = time_of(rows, clock, row)
    return there > ts or (there == ts and _rank(clock, rows.kind[row]) > rank)


@compiled
def in_order(rows: Rows, clock: Ints, start: int, low: int, high: int, order: Order, found: Ints) -> bool:
    """Write which rows happened in (low, high], in that order; False: they are too far from it for this.

    Rows before `start` may be earlier than that. `found` says how many there are (COUNT), whether rows that move the book passed
    others that do (TANGLED), the first row that is later (LATER) and whether one came too late (LATE).
    """
    rest = rows.kind.shape[0]
    found[:] = 0
    found[LATER] = rest
    stamps = rows.local_ns if clock[BY_LOCAL] else rows.exchange_ns
    offset = clock[OFFSET] if clock[BY_LOCAL] else 0
    dropped = ex.BBO if clock[QUOTES] == 0 else -1
    plain = clock[TRADES_FIRST] == 0 and clock[ADVANCE] == 0
    first, last = low - offset, high - offset
    count, latest, shifts, skipped, row = 0, first + 1, 0, False, 0
    while row < rest:
        kind = rows.kind[index(row)]
        if kind == dropped:
            row += 1
            continue
        ts = stamps[index(row)] if plain else time_of(rows, clock, row) - offset
        if ts >= latest and ts <= last and plain and not skipped:
            order[index(count)] = row
            count += 1
            row += 1
            latest = ts
            continue
        if ts > last:
            found[LATER] = min(found[LATER], row)
            skipped |= kind != ex.TRADE
            row += 1
            continue
        if ts <= first:
            found[LATE] |= row >= start
            row += 1
            continue
        at, stop, more, moves = _place(rows, clock, order, count, row), row + 1, 1, kind != ex.TRADE
        while (
            plain and stop < rest and (rows.kind[stop] == dropped or (rows.kind[stop] == kind and stamps[stop] == ts))
        ):
            more += rows.kind[stop] != dropped  # a message has many rows of one time
            stop += 1
        found[TANGLED] |= moves and skipped
        for back in range(count - 1, at - 1, -1):
            found[TANGLED] |= moves and rows.kind[order[back]] != ex.TRADE
            order[back + more] = order[back]
        shifts += count - at
        for late in range(row, stop):
            if rows.kind[late] != dropped:
                order[at] = late
                at += 1
        count += more
        latest = max(latest, ts)
        row = stop
        if shifts > _LONGEST_SHIFT * (row + 1024):
            return False
    found[COUNT] = count
    return True


@compiled
def times(rows: Rows, clock: Ints, start: int, out: Ints) -> None:
    """Write when the rows from `start` on happened."""
    for row in range(out.shape[0]):
        out[row] = time_of(rows, clock, start + row)


@compiled
def _reach(rows: Rows, clock: Ints, until: int, disorder: int) -> int:
    """Return how many of the first rows hold all that happened up to a time."""
    reach = 0
    for row in range(rows.kind.shape[0]):
        ts = time_of(rows, clock, row)
        if ts <= until:
            reach = row + 1
        elif ts > until + disorder:
            break
    return reach


class Clock:
    """One clock's order of a market's rows.

    Parameters
    ----------
    settings : ndarray of int64, shape (CLOCK_SIZE,)
    disorder_ns : int
        How far back a later row may lie.

    Attributes
    ----------
    carried : Rows or None
        What a later block may still come before.
    tangled : bool
        Whether rows of the last stretch that move the book passed others that do.
    last_ns : int
        Time of the last event that was taken.
    """

    def __init__(self, settings: Ints, disorder_ns: int) -> None:
        self.settings, self.disorder_ns = settings, disorder_ns
        self.carried: Rows | None = None
        self.tangled = False
        self.last_ns = self._taken = self._latest = -ex.FOREVER
        self._orders = [np.empty(0, np.int32), np.empty(0, np.int32)]
        self._found = np.zeros(FOUND_SIZE, np.int64)

    def read(self, rows: Rows) -> int:
        """Look at the next block; return the time up to which (included) nothing can come after it."""
        if len(rows.kind):
            self._latest = max(self._latest, int(self._times(rows, len(rows.kind) - 1)[0]))
        return self._latest - self.disorder_ns - 1

    def take(self, rows: Rows, until_ns: int) -> tuple[Piece, ...]:
        """Return what of the block, and of what was carried to it, happened up to a time.

        Raises
        ------
        DataError
            For a row that comes after its time was closed.
        """
        self.tangled, pieces = False, []
        low, high = self._taken, max(self._taken, until_ns)
        reach = 0
        if self.carried is not None:  # a small piece of its own, so that the block need not be moved
            carried = self._times(self.carried)
            seam = min(int(carried.max()), high)
            reach = _reach(rows, self.settings, seam, self.disorder_ns)
            pieces.append(self._piece(join(self.carried, part(rows, 0, reach)), 0, low, seam, 0))
            low, self.carried = seam, _where(self.carried, carried > high)
        pieces.append(self._piece(rows, reach, low, high, 1))
        later = int(self._found[LATER])
        if later < len(rows.kind):
            tail = part(rows, later, len(rows.kind))
            left = _where(tail, self._times(tail) > high)
            self.carried = left if self.carried is None or left is None else join(self.carried, left)
        self._taken = high
        pieces = [piece for piece in pieces if len(piece.order)]
        if pieces:
            self.last_ns = int(self._times(pieces[-1].rows, int(pieces[-1].order[-1]), 1)[0])
        return tuple(pieces)

    def _piece(self, rows: Rows, start: int, low: int, high: int, buffer: int) -> Piece:
        if len(self._orders[buffer]) < len(rows.kind):
            self._orders[buffer] = np.empty(len(rows.kind), np.int32)
        order = self._orders[buffer]
        sorted_here = in_order(rows, self.settings, start, low, high, order, self._found)
        if self._found[LATE]:
            late = self._times(rows, start)
            raise DataError(
                f"a row at {late.min()} ns comes after the stream was closed up to {low} ns: the recording is less ordered than "
                "its metadata say; import it again"
            )
        self.tangled |= bool(self._found[TANGLED])
        return Piece(rows, order[: self._found[COUNT]] if sorted_here else self._sorted(rows, low, high))

    def _sorted(self, rows: Rows, low: int, high: int) -> Order:
        """Return the order of rows that are far from it."""
        ts, clock = self._times(rows), self.settings
        rank = np.where(rows.kind == ex.TRADE, 0, np.where(rows.kind == ex.BBO, 1, 2)) if clock[TRADES_FIRST] else ts
        order = np.lexsort((rank, ts))
        kept = (ts > low) & (ts <= high) & ((rows.kind != ex.BBO) | bool(clock[QUOTES]))
        self._found[LATER] = 0
        self.tangled = True
        out: Order = order[kept[order]].astype(np.int32)
        return out

    def _times(self, rows: Rows, start: int = 0, count: int | None = None) -> Ints:
        out = np.empty(len(rows.kind) - start if count is None else count, np.int64)
        times(rows, self.settings, start, out)
        return out


def _where(rows: Rows, chosen: npt.NDArray[np.bool_]) -> Rows | None:
    return _of(_fixed(column[chosen]) for column in _arrays(rows)) if chosen.any() else None


_KINDS = (np.int64, np.int64, np.uint8, np.uint8, np.int64, np.int64, np.int64)
_NOTHING = _of(_fixed(np.zeros(0, kind)) for kind in _KINDS)


def clock_settings(market: Market, options: FeedOptions) -> Ints:
    """Return the settings of the exchange's clock."""
    settings = np.zeros(CLOCK_SIZE, np.int64)
    settings[[BY_LOCAL, OFFSET, ADVANCE, QUOTES, TRADES_FIRST]] = (
        options.by_local_time, market.clock_offset_ns, options.trade_advance_ns, options.quotes, options.trades_first,
    )  # fmt: skip
    return settings


def stretches(market: Market, options: FeedOptions) -> Iterator[Stretch]:
    """Yield the exchange's stream; the last stretch is final and runs to the end of time."""
    settings = clock_settings(market, options)
    disorder_exchange, disorder_local = market.disorder_ns
    disorder = disorder_local if options.by_local_time else disorder_exchange
    clock = Clock(settings, disorder + options.trade_advance_ns)
    seen = Clock(local_settings(settings), disorder_local)
    for rows in blocks(market):
        before = clock.carried
        until = min(clock.read(rows), seen.read(rows))
        pieces = clock.take(rows, until)
        yield Stretch(
            pieces=pieces, rows=rows, before=before, after=clock.carried, tangled=clock.tangled, until_ns=until, final=False
        )  # fmt: skip
    before = clock.carried
    pieces = clock.take(_NOTHING, ex.FOREVER)
    yield Stretch(
        pieces=pieces, rows=_NOTHING, before=before, after=None, tangled=clock.tangled, until_ns=ex.FOREVER, final=True
    )  # fmt: skip


def last_local_ns(rows: Rows, clock: Ints, disorder_ns: int) -> int:
    """Return the latest local time of a block's events."""
    count = len(rows.kind)
    if disorder_ns:
        kept = rows.local_ns[(rows.kind != ex.BBO) | bool(clock[QUOTES])]
        return int(kept.max() + clock[OFFSET]) if kept.size else -ex.FOREVER
    while count and rows.kind[count - 1] == ex.BBO and not clock[QUOTES]:
        count -= 1
    return int(rows.local_ns[count - 1] + clock[OFFSET]) if count else -ex.FOREVER


def no_rows() -> Rows:
    """Return a block without rows."""
    return _NOTHING


def local_settings(settings: Ints) -> Ints:
    """Return the settings of the local clock beside those of the exchange's."""
    out = settings.copy()
    out[[BY_LOCAL, ADVANCE, TRADES_FIRST]] = 1, 0, 0
    return out
