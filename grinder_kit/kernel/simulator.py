"""Simulator: the compiled exchange and the local book behind one Python object, with arrays that grow when they must."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from grinder_kit.errors import DataError
from grinder_kit.kernel import accounts, observer
from grinder_kit.kernel import book as bk
from grinder_kit.kernel import exchange as ex
from grinder_kit.kernel.compiled import compiled
from grinder_kit.kernel.feed import FeedOptions, Slice
from grinder_kit.kernel.queue import OPTIMISTIC, POWER, PRO_RATA, RISK_AVERSE, TOUCH
from grinder_kit.market import features
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.market import Features

QUEUE_MODELS = {
    "risk_averse": RISK_AVERSE, "power": POWER, "pro_rata": PRO_RATA, "optimistic": OPTIMISTIC, "touch": TOUCH,
}  # fmt: skip
AMEND_RULES = {"none": ex.NO_AMENDS, "reduce": ex.REDUCE, "modify": ex.MODIFY}
_NO_RESPONSES = np.zeros((0, ex.R_SIZE), np.int64)
_advance = compiled(features.advance)
_read = compiled(features.read)


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelOptions:
    """The assumptions under which orders fill.

    Parameters
    ----------
    queue : str
        risk_averse, power, pro_rata or optimistic: where cancellations in our level's queue happen. touch has no queue at
        all (any trade at the price fills): the rule that back-tests should not use, kept to show what it overstates.
    power : float
        Exponent of the power model.
    entry_ns, response_ns : tuple of int
        Latency to and from the exchange, ns: one value is constant, several are drawn from with `seed`.
    partial_fills : bool
        Fill what a trade leaves for us instead of the whole order at once.
    share_volume : bool
        Own orders at one price share a trade's volume; otherwise each sees all of it.
    whole_size : bool
        A queue fill needs the whole own size past the queue; otherwise half a lot.
    fused : bool
        Depth and quotes make one book; otherwise depth alone.
    by_quote : bool
        A bbo at or through the price fills; otherwise the best of the depth book does when it moves there.
    neighbours : bool
        At an unknown level, assume the mean quantity of the known ones within 25 ticks; otherwise none.
    amend : str
        modify: price and quantity, losing the place in the queue (USD-M). reduce: only a smaller quantity at the same price,
        keeping it (spot). none.
    feed : FeedOptions
        How rows become the exchange's stream.
    """

    queue: str = "power"
    power: float = 2.0
    entry_ns: tuple[int, ...] = (10_000_000,)
    response_ns: tuple[int, ...] = (10_000_000,)
    partial_fills: bool = True
    share_volume: bool = True
    whole_size: bool = False
    fused: bool = False
    by_quote: bool = False
    neighbours: bool = False
    seed: int = 0
    amend: str = "modify"
    feed: FeedOptions = field(default_factory=FeedOptions)


class Simulator:
    """One market, one account, orders in and responses out.

    Parameters
    ----------
    options : KernelOptions
    funding : ndarray of int64, shape (2, n), optional
        Funding times (ns) and mark prices (ticks, 0 unknown), in order of time.

    Examples
    --------
    Feed it stretches of a market (`load`), let time run (`run`), hand it commands (`submit`). `run` stops whenever a response is
    due, so that whoever decides sees each response before anything later happens.
    """

    def __init__(self, options: KernelOptions, funding: ex.Ints | None = None) -> None:
        settings = np.zeros(ex.S_SIZE, np.int64)
        settings[ex.S_QUEUE] = QUEUE_MODELS[options.queue]
        settings[ex.S_PARTIAL] = options.partial_fills
        settings[ex.S_SHARE] = options.share_volume
        settings[ex.S_WHOLE] = options.whole_size
        settings[ex.S_FUSED] = options.fused
        settings[ex.S_BY_QUOTE] = options.by_quote
        settings[ex.S_NEIGHBOURS] = options.neighbours
        settings[ex.S_SEED] = options.seed
        settings[ex.S_AMEND] = AMEND_RULES[options.amend]
        head = np.zeros(ex.H_SIZE, np.int64)
        head[ex.MIN_SELL], head[ex.MAX_BUY], head[ex.QUOTE_ID] = bk.NO_ASK, bk.NO_BID, -1
        account, inverse = accounts.new_accounts()
        self.options = options
        self.exchange = ex.Exchange(
            book=bk.new_book(),
            resting=np.zeros((256, ex.O_SIZE), np.int64),
            queue=np.zeros((256, ex.F_SIZE)),
            inbox=np.zeros((1024, ex.C_SIZE), np.int64),
            outbox=np.zeros((2048, ex.R_SIZE), np.int64),
            head=head,
            prices=np.zeros(256, np.int64),
            own_ticks=np.zeros((2, ex.RESIDUES), np.int32),
            settings=settings,
            power=float(options.power),
            entry_ns=np.array(options.entry_ns, np.int64),
            response_ns=np.array(options.response_ns, np.int64),
            funding=np.zeros((2, 0), np.int64) if funding is None else funding,
            account=account,
            inverse=inverse,
        )
        self.eyes = observer.Eyes(bk.new_book(), np.zeros(observer.STATE_SIZE, np.int64), *features.init_state())
        self._slice: Slice | None = None
        self._at = self._local_at = 0

    # --- market ---------------------------------------------------------------------------------------------------------

    def load(self, stretch: Slice) -> None:
        """Take the next stretch of the market; the last one must have been used up."""
        if self._slice is not None and (
            self._at < len(self._slice.exchange.ts) or self._local_at < len(self._slice.local.ts)
        ):
            raise DataError(
                "a stretch of market was replaced before it was used up"
            )  # a bug of the caller, never silent
        self._slice, self._at, self._local_at = stretch, 0, 0

    @property
    def more(self) -> bool:
        """Whether anything is still to come: the rest of the stretch, orders under way, responses under way."""
        head, stretch = self.exchange.head, self._slice
        return bool(
            head[ex.IN_FIRST] < head[ex.IN_LAST]
            or head[ex.OUT_FIRST] < head[ex.OUT_LAST]
            or (stretch is not None and (self._at < len(stretch.exchange.ts) or self._local_at < len(stretch.local.ts)))
        )

    def run(self, until_ns: int) -> tuple[int, ex.Ints]:
        """Let time run to `until_ns`, or to the next responses if they come first.

        Returns
        -------
        time : int
            Time reached, ns.
        responses : ndarray, shape (n, R_SIZE)
            Every response that is delivered at that time, in order; empty when none was due.
        """
        if self._slice is None:
            raise DataError("no market has been loaded")
        while True:
            status, self._at, reached = ex.advance(self.exchange, self._slice.exchange, self._at, until_ns)
            if status == ex.DONE:
                break
            self._make_room(status)
        while True:
            status, self._local_at = observer.observe(
                self.eyes, self.options.fused, self._slice.local, self._local_at, reached
            )
            if status == ex.DONE:
                break
            self.eyes = self.eyes._replace(book=bk.with_room(self.eyes.book))
        head = self.exchange.head
        first, last = int(head[ex.OUT_FIRST]), int(head[ex.OUT_LAST])
        if first == last or self.exchange.outbox[first, ex.R_SEEN] > reached:
            return reached, _NO_RESPONSES
        due = first + int(np.searchsorted(self.exchange.outbox[first:last, ex.R_SEEN], reached, side="right"))
        responses = self.exchange.outbox[first:due].copy()
        if due == last:
            head[ex.OUT_FIRST] = head[ex.OUT_LAST] = 0
        else:
            head[ex.OUT_FIRST] = due
        return reached, responses

    def under_way(self) -> ex.Ints:
        """Return the responses that the exchange has sent and that were not delivered yet, shape (n, R_SIZE), in order."""
        head = self.exchange.head
        return self.exchange.outbox[head[ex.OUT_FIRST] : head[ex.OUT_LAST]].copy()

    @property
    def next_arrival_ns(self) -> int | None:
        """Time at which the next command reaches the exchange, None while none is under way."""
        head = self.exchange.head
        if head[ex.IN_FIRST] == head[ex.IN_LAST]:
            return None
        return int(self.exchange.inbox[head[ex.IN_FIRST], ex.C_ARRIVAL])

    @property
    def next_funding_ns(self) -> int | None:
        """Time at which the exchange pays funding next, None when it does not any more."""
        times, paid = self.exchange.funding[0], int(self.exchange.head[ex.FUNDED])
        return int(times[paid]) if paid < len(times) else None

    @property
    def best(self) -> tuple[int | None, int | None]:
        """Best bid and ask of the local book in ticks; None for an empty side."""
        head = self.eyes.book.head
        bid, ask = int(head[bk.BEST_BID]), int(head[bk.BEST_ASK])
        return (None if bid == bk.NO_BID else bid), (None if ask == bk.NO_ASK else ask)

    def stale(self, now_ns: int) -> bool:
        """Whether the feed lost something and the book has not been anchored since."""
        gap = int(self.eyes.state[observer.GAP_NS])
        return gap > 0 and now_ns - gap < observer.SETTLE_NS

    def features(self, now_ns: int, instrument: Instrument) -> Features:
        """Return the features as known at a local time."""
        eyes = self.eyes
        out = np.empty(features.FEATURES)
        _advance(eyes.floats, eyes.ints, eyes.ring, now_ns)
        _read(eyes.floats, eyes.ints, eyes.ring, float(instrument.tick), out)
        return features.as_features(int(eyes.ints[features.LAST_NS]), out)

    # --- orders ---------------------------------------------------------------------------------------------------------

    def submit(self, commands: Sequence[tuple[int, int, int, int, int, int]], now_ns: int) -> None:
        """Send commands, each (type, order id, side, tick, lots, kind); they arrive in this order after the entry latency."""
        if not commands:
            return
        rows = np.zeros((len(commands), ex.C_SIZE), np.int64)
        rows[:, 1:] = commands
        head = self.exchange.head
        if head[ex.IN_FIRST] == head[ex.IN_LAST]:
            head[ex.IN_FIRST] = head[ex.IN_LAST] = 0
        while int(head[ex.IN_LAST]) + len(rows) > len(self.exchange.inbox):
            self.exchange = self._roomier("inbox", ex.IN_FIRST, ex.IN_LAST)
        ex.submit(self.exchange, rows, now_ns)

    def queue_ahead(self, order_id: int) -> float | None:
        """Return the lots ahead of a resting order, None when it does not rest."""
        rows = self.exchange.resting[: self.exchange.head[ex.RESTING], ex.ID]
        found = np.flatnonzero(rows == order_id)
        return float(self.exchange.queue[found[0], ex.AHEAD]) if found.size else None

    # --- room -----------------------------------------------------------------------------------------------------------

    def _roomier(self, name: Literal["inbox", "outbox"], first: int, last: int) -> ex.Exchange:
        """Move what waits to the front, of an array twice as large where that would not free half of it."""
        head, old = self.exchange.head, getattr(self.exchange, name)
        waiting = old[head[first] : head[last]]
        larger = head[first] == 0 or 2 * len(waiting) > len(old)
        new = np.zeros((len(old) * (2 if larger else 1), old.shape[1]), np.int64)
        new[: len(waiting)] = waiting
        head[first], head[last] = 0, len(waiting)
        if name == "inbox":
            return self.exchange._replace(inbox=new)
        return self.exchange._replace(outbox=new)

    def _make_room(self, status: int) -> None:
        exchange = self.exchange
        if status == ex.NEEDS_BOOK:
            self.exchange = exchange._replace(book=bk.with_room(exchange.book))
        elif status == ex.NEEDS_ORDERS:
            self.exchange = exchange._replace(
                resting=np.concatenate((exchange.resting, np.zeros_like(exchange.resting))),
                queue=np.concatenate((exchange.queue, np.zeros_like(exchange.queue))),
                prices=np.concatenate((exchange.prices, np.zeros_like(exchange.prices))),
            )
        else:
            self.exchange = self._roomier("outbox", ex.OUT_FIRST, ex.OUT_LAST)
