"""A market's rows as columns in memory, block by block, and the order in which the exchange and the strategy meet them.

What kernel/feed.py makes of batches, for compiled passes: rows are neither copied nor moved. A block keeps the order of its source,
beside it stands in which order its bursts happened; only the few that a later block may still come before are carried on. Most
rows of a market come in bursts, the levels of one diff, and what a burst has in common is looked at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from grinder_kit.errors import DataError
from grinder_kit.kernel import exchange as ex
from grinder_kit.kernel.compiled import compiled
from grinder_kit.kernel.exchange import Ints
from grinder_kit.kernel.feed import FeedOptions

if TYPE_CHECKING:
    import polars as pl

    from grinder_kit.market.source import Market

Bytes = npt.NDArray[np.uint8]

BLOCK_ROWS = 131_072
_AFTER_SNAPSHOT = 8_192  # rows of a block of their own
BUY, SELL, NONE = range(3)  # side, as recordings have it

# settings of a clock
BY_LOCAL, OFFSET, ADVANCE, QUOTES, TRADES_FIRST, CLOCK_SIZE = range(6)
# columns of a burst: rows [START, STOP) behind each other, of one kind and one time
START, STOP, WHEN, BURST_SIZE = range(4)
_STRIDE = 8
LATE, TANGLED, FOUND_SIZE = range(3)  # what `_between` finds

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
    """Rows, and the bursts in which they happened, in that order: (n, BURST_SIZE)."""

    rows: Rows
    bursts: Ints

    @property
    def events(self) -> int:
        """How many rows happened."""
        return int((self.bursts[:, STOP] - self.bursts[:, START]).sum())


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
        del frame  # its columns are copied where it lies in several pieces
        if held is not None:
            rows, seq = join(held, rows), np.concatenate((held_seq, seq))
            held = None
        at = 0
        for start, end in _snapshots(rows.kind, seq):
            yield from _calm(rows, at, start)
            at = end
            if end == len(seq):  # the rest of it may stand in the next batch
                held, held_seq = part(rows, start, end), seq[start:end]
            else:
                yield _with_clears(part(rows, start, end))
        yield from _calm(rows, at, len(seq))
    if held is not None:
        yield _with_clears(held)


def _calm(rows: Rows, start: int, end: int) -> Iterator[Rows]:
    """Yield rows without a snapshot, those that follow one as a short block: the clocks differ about what comes around it."""
    cut = min(start + _AFTER_SNAPSHOT, end) if start else start
    for first, last in ((start, cut), (cut, end)):
        if first < last:
            yield part(rows, first, last)


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
    import polars as pl

    def column(name: str) -> Any:
        return _fixed(frame[name].to_numpy())

    codes = frame.select(pl.col("kind", "side").to_physical())

    def code(name: str) -> Any:
        return _fixed(codes[name].to_numpy().astype(np.uint8, copy=False))

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
    sides = [np.flatnonzero(rows.side == side) for side in (BUY, SELL)]
    starts = [int(own[0]) for own in sides if own.size]
    chosen = np.insert(np.arange(len(rows.kind)), starts, starts)  # the first row of each side twice: once as its clear
    columns = {name: column[chosen] for name, column in zip(Rows._fields, _arrays(rows), strict=True)}
    for own, edge in zip(sides, (np.min, np.max), strict=True):
        if own.size:
            at = int(own[0]) + sum(start < own[0] for start in starts)
            columns["kind"][at], columns["tick"][at], columns["lots"][at] = ex.CLEAR, edge(rows.tick[own]), 0
    return _of(_fixed(column) for column in columns.values())


# --- order ---------------------------------------------------------------------------------------------------------------


@compiled
def _cut(rows: Rows, clock: Ints, out: Ints) -> int:
    """Write the bursts of rows in the order of their source, without those of a dropped kind; return how many there are."""
    stamps = rows.local_ns if clock[BY_LOCAL] else rows.exchange_ns
    offset = clock[OFFSET] if clock[BY_LOCAL] else 0
    dropped = ex.BBO if clock[QUOTES] == 0 else -1
    count, row, end = 0, 0, rows.kind.shape[0]
    while row < end:
        kind, stamp, stop = rows.kind[index(row)], stamps[index(row)], row + 1
        alike = True
        while alike and stop + _STRIDE <= end:  # many at a time, as processors do it
            for near in range(_STRIDE):
                alike &= stamps[index(stop + near)] == stamp and rows.kind[index(stop + near)] == kind
            stop += _STRIDE if alike else 0
        while stop < end and stamps[index(stop)] == stamp and rows.kind[index(stop)] == kind:
            stop += 1
        if kind != dropped:
            burst = out[index(count)]
            burst[START], burst[STOP] = row, stop
            burst[WHEN] = stamp + offset - (clock[ADVANCE] if kind == ex.TRADE else 0)
            count += 1
        row = stop
    return count


def as_they_come(rows: Rows, clock: Ints, room: Ints | None = None) -> Piece:
    """Return rows in the order of their source, with their times by a clock; `room` is written over where it is large enough."""
    if room is None or len(room) < len(rows.kind):
        room = np.empty((len(rows.kind), BURST_SIZE), np.int64)
    return Piece(rows, room[: _cut(rows, clock, room)])


def rows_of(bursts: Ints) -> Ints:
    """Return the rows of bursts, in that order."""
    counts = bursts[:, STOP] - bursts[:, START]
    before = np.cumsum(counts) - counts
    return np.repeat(bursts[:, START] - before, counts) + np.arange(counts.sum())


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
    """

    def __init__(self, settings: Ints, disorder_ns: int) -> None:
        self.settings, self.disorder_ns = settings, disorder_ns
        self.carried: Rows | None = None
        self.tangled = False
        self._taken = self._latest = -ex.FOREVER
        self._room = np.empty((0, BURST_SIZE), np.int64)

    def read(self, rows: Rows) -> int:
        """Look at the next block; return the time up to which (included) nothing can come after it."""
        if len(rows.kind):
            last = part(rows, len(rows.kind) - 1, len(rows.kind))
            stamps, clock = last.local_ns if self.settings[BY_LOCAL] else last.exchange_ns, self.settings
            early = clock[ADVANCE] if last.kind[0] == ex.TRADE else 0
            self._latest = max(self._latest, int(stamps[0] + (clock[OFFSET] if clock[BY_LOCAL] else 0) - early))
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
        if len(self._room) < len(rows.kind):
            self._room = np.empty((len(rows.kind), BURST_SIZE), np.int64)
        block, reach = as_they_come(rows, self.settings, self._room), 0
        if self.carried is not None:  # a small piece of its own, so that the block need not be moved
            carried = as_they_come(self.carried, self.settings).bursts
            seam = min(int(carried[:, WHEN].max()), high)
            early = block.bursts[block.bursts[:, WHEN] <= seam, STOP]
            reach = int(early[-1]) if early.size else 0
            joined = as_they_come(join(self.carried, part(rows, 0, reach)), self.settings)
            pieces.append(self._in_order(joined, 0, low, seam))
            low, self.carried = seam, _picked(self.carried, carried[carried[:, WHEN] > high])
        pieces.append(self._in_order(block, reach, low, high))
        left = _picked(rows, block.bursts[block.bursts[:, WHEN] > high])
        if left is not None:
            self.carried = left if self.carried is None else join(self.carried, left)
        self._taken = high
        return tuple(piece for piece in pieces if len(piece.bursts))

    def _in_order(self, piece: Piece, start: int, low: int, high: int) -> Piece:
        """Return what happened in (low, high], in that order; rows before `start` may be earlier than that."""
        bursts, clock = piece.bursts, self.settings
        when = bursts[:, WHEN].copy()
        if clock[TRADES_FIRST]:
            kind = piece.rows.kind[bursts[:, START]]
            order = np.lexsort((np.where(kind == ex.TRADE, 0, np.where(kind == ex.BBO, 1, 2)), when))
        else:
            order = np.argsort(when, kind="stable")
        out, found = np.empty_like(bursts), np.zeros(FOUND_SIZE, np.int64)
        count = _between(piece.rows.kind, bursts, order, start, low, high, out, found)
        if found[LATE]:
            late = when[(when <= low) & (bursts[:, START] >= start)].min()
            raise DataError(
                f"a row at {late} ns comes after the stream was closed up to {low} ns: the recording is less ordered than "
                "its metadata say; import it again"
            )
        self.tangled |= bool(found[TANGLED])
        return Piece(piece.rows, out[:count])


@compiled
def _between(kinds: Bytes, bursts: Ints, order: Ints, start: int, low: int, high: int, out: Ints, found: Ints) -> int:
    """Write the bursts of (low, high] in an order; return how many there are.

    `found` says whether one came too late (LATE), and whether bursts that move the book passed others that do (TANGLED).
    """
    count, last, first_later = 0, -1, bursts.shape[0]
    for at in range(order.shape[0]):
        source = order[at]
        burst = bursts[source]
        if burst[WHEN] <= low:
            found[LATE] |= burst[START] >= start
            continue
        moves = kinds[burst[START]] != ex.TRADE
        if burst[WHEN] > high:
            first_later = min(first_later, source) if moves else first_later
            continue
        if moves:
            found[TANGLED] |= source < last
            last = max(last, source)
        for column in range(BURST_SIZE):
            out[count, column] = burst[column]
        count += 1
    found[TANGLED] |= first_later < last
    return count


def _picked(rows: Rows, bursts: Ints) -> Rows | None:
    chosen = rows_of(bursts)
    return _of(_fixed(column[chosen]) for column in _arrays(rows)) if chosen.size else None


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
    """Yield the exchange's stream; the last stretch is final and runs to the end of time.

    The next one is read, in a thread, while the last is worked on: compiled code does not hold the interpreter.
    """
    coming = _stretches(market, options)
    with ThreadPoolExecutor(1) as reader:
        reading = reader.submit(next, coming, None)
        while (stretch := reading.result()) is not None:
            reading = reader.submit(next, coming, None)
            yield stretch


def _stretches(market: Market, options: FeedOptions) -> Iterator[Stretch]:
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
