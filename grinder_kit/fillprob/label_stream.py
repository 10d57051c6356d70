"""Labels as a stream: a market is read once, in bounded memory, and its hypothetical orders come out as their watches end."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from grinder_kit.errors import DataError
from grinder_kit.fillprob import label_kernel as lk
from grinder_kit.fillprob.label_options import SECOND_NS, LabelOptions
from grinder_kit.kernel import book as bk
from grinder_kit.kernel import exchange as ex
from grinder_kit.kernel.feed import Slice, slices
from grinder_kit.kernel.options import kernel_options
from grinder_kit.kernel.simulator import QUEUE_MODELS, Simulator
from grinder_kit.market.features import PROXY

if TYPE_CHECKING:
    from grinder_kit.market.source import Market

BLOCK_NS = 60 * SECOND_NS
SCHEMA = pl.Schema(
    {
        "ts_ns": pl.Int64,
        "side": pl.Int8,
        "distance_bps": pl.Float64,
        "at_touch": pl.Boolean,
        "ticks": pl.Int64,
        "lots": pl.Int64,
        "size_quote": pl.Float64,
        "sigma": pl.Float64,
        "queue_s": pl.Float64,
        "imb_own": pl.Float64,
        "ofi_z": pl.Float64,
        "natr_bps": pl.Float64,
        "spread_bps": pl.Float64,
        "mid": pl.Float64,
        **{f"{what}_{queue}": kind for queue in QUEUE_MODELS for what, kind in (("filled", pl.Boolean), ("time_s", pl.Float64))},
        "markout_1s_bps": pl.Float64,
        "markout_10s_bps": pl.Float64,
        "watched_s": pl.Float64,
        "block": pl.Int32,
    }
)  # fmt: skip


class LabelStream:
    """One pass over a market; iterate :meth:`frames` to its end, then read the rest.

    Attributes
    ----------
    start_ns, end_ns : int
        Exchange time of the first and the last event.
    skipped : Counter
        Steps of time without orders, by reason: a side of the book is empty, or the feed lost something.
    refused : int
        Orders that would have taken at their arrival.
    trades, quotes : int
        Trades and best quotes in the market.
    moved : bool
        Whether the mid changed between two steps of time.
    """

    def __init__(self, market: Market, options: LabelOptions) -> None:
        self.market, self.options = market, options
        self.instrument = market.instrument
        kernel = kernel_options(options.rules(self.instrument))
        self._feed = kernel.feed
        self._eyes = Simulator(kernel)  # without orders: what our side knows of the market, by local time
        self._every_ns = options.every_ms * 1_000_000
        self._done_ns = options.latency_ns + options.window_ns + max(lk.MARK_NS)  # an order is final this long after
        # Nobody follows a market that is silent for longer than a watch; and so the ring below cannot run full.
        self._silence_ns = min(round(options.silence_s * SECOND_NS), options.window_ns)
        per_step = 2 * (len(options.ticks) + len(options.distances_bps)) * len(options.sizes_quote)
        # Twice what can be under way, so that finished orders come out in large frames.
        most = 2 * per_step * (self._done_ns // self._every_ns + 2)
        self._field = lk.new_field(
            1 << int(most - 1).bit_length(),
            self._eyes.exchange.head,
            self._eyes.exchange.settings,
            self._eyes.exchange.power,
            options.window_ns,
            self._silence_ns,
        )
        self._per_step = per_step
        self._deciding: deque[tuple[int, int]] = deque()  # arrival, and the number of the first order after these
        self._watching: deque[tuple[int, int]] = deque()  # when they are final, and the same number
        self._prices: tuple[tuple[int, int], tuple[lk.Ints, lk.Ints], tuple[lk.Ints, lk.Ints]] | None = None
        self._at = 0
        self._mid2 = 0
        self.start_ns = self.end_ns = 0
        self.skipped: Counter[str] = Counter()
        self.moved = False
        self.quotes = 0

    @property
    def refused(self) -> int:
        """Orders that would have taken at their arrival."""
        return int(self._field.head[lk.REFUSED])

    @property
    def trades(self) -> int:
        """Trades in the market."""
        return int(self._field.head[lk.TRADES])

    def frames(self, progress: Callable[[int], None] | None = None) -> Iterator[pl.DataFrame]:
        """Yield labels in the order of their insertion, in frames of any size.

        Parameters
        ----------
        progress : callable, optional
            Called after each stretch of the market with the number of its events.

        Raises
        ------
        DataError
            For a market without events, and as :func:`~grinder_kit.kernel.feed.slices`.
        """
        due = 0
        for stretch in slices(self.market, self._feed):
            events = stretch.exchange
            self._eyes.load(stretch)
            self._at = 0
            self.quotes += int(np.count_nonzero(events.kind == ex.BBO))
            if len(events.ts):
                self.end_ns = int(events.ts[-1])
                if not self.start_ns:
                    self.start_ns = int(events.ts[0])
                    due = self.start_ns + self._every_ns
            # Beyond the last event nothing can be learned of an order.
            limit = self.end_ns - 1 if stretch.final else stretch.until_ns
            while self.start_ns and min(due, self._arrival_ns) <= limit:
                if self._arrival_ns < due:  # at one time, a new decision comes first
                    self._join(stretch)
                    continue
                self._run(stretch, due)
                self._decide(due)
                due += self._every_ns
                if self._full:
                    yield self._take(finished=True)
            self._run(stretch, stretch.until_ns)
            if progress is not None:
                progress(len(events.ts))
        if not self.start_ns:
            raise DataError("the market has no events; import it again, or choose another window")
        lk.close(self._field, self.end_ns)
        yield self._take(finished=False)

    # --- time ------------------------------------------------------------------------------------------------------

    @property
    def _arrival_ns(self) -> int:
        return self._deciding[0][0] if self._deciding else ex.FOREVER

    def _run(self, stretch: Slice, until_ns: int) -> None:
        """Let the market run to a time, at the exchange and before our eyes."""
        while True:
            status, self._at = lk.advance(self._field, stretch.exchange, self._at, until_ns)
            if status == ex.DONE:
                break
            self._field = self._field._replace(book=bk.with_room(self._field.book))
        self._eyes.run(until_ns)

    # --- orders ----------------------------------------------------------------------------------------------------

    def _decide(self, now_ns: int) -> None:
        """Decide on the orders of one step."""
        field = self._field
        bid, ask = int(field.book.head[bk.BEST_BID]), int(field.book.head[bk.BEST_ASK])
        if bid == bk.NO_BID or ask == bk.NO_ASK:
            self.skipped["no asks" if bid != bk.NO_BID else "no bids"] += 1
            return
        if now_ns - field.head[lk.NOW] > self._silence_ns or not lk.trusted(field, now_ns):
            self.skipped["a gap"] += 1
            return
        self.moved |= self._mid2 not in (0, bid + ask)
        self._mid2 = bid + ask
        if self._prices is None or self._prices[0] != (bid, ask):
            self._prices = ((bid, ask), self._orders(1, bid, bid + ask), self._orders(-1, ask, bid + ask))
        seen = self._eyes.features(now_ns, self.instrument)
        sigma = np.nan if seen.sigma_bps is None else seen.sigma_bps
        ofi_z = np.nan if seen.ofi_zscore is None else seen.ofi_zscore
        for side, (ticks, lots) in zip((1, -1), self._prices[1:], strict=True):
            lk.decide(field, side, ticks, lots, now_ns, sigma, ofi_z)
        upto = int(field.head[lk.N_DECIDED])
        self._deciding.append((now_ns + self.options.latency_ns, upto))
        self._watching.append((now_ns + self._done_ns, upto))

    def _orders(self, side: int, best: int, mid2: int) -> tuple[lk.Ints, lk.Ints]:
        """Return prices (ticks) and quantities (lots) of one side's orders, the closest first."""
        bps = np.array(self.options.distances_bps)
        away = mid2 / 2 * (1 - side * bps / 1e4)
        away = np.minimum(np.floor(away), best) if side > 0 else np.maximum(np.ceil(away), best)
        near = best - side * np.array(self.options.ticks, np.int64)
        ticks = np.unique(np.concatenate((near, away.astype(np.int64))) * -side) * -side
        ticks = ticks[ticks > 0]
        sizes = np.array([float(size) for size in self.options.sizes_quote])
        lots = np.floor(sizes[:, None] / self._lot_quote(ticks)[None, :]).astype(np.int64)
        return np.tile(ticks, len(sizes)), np.maximum(lots, 1).ravel()

    def _lot_quote(self, ticks: lk.Ints) -> lk.Floats:
        """Return the notional of one lot at each price, quote."""
        one = self.instrument
        unit = float(one.lot * one.contract_size)
        return (
            np.full(len(ticks), unit) if one.inverse else np.multiply(ticks, unit * float(one.tick), dtype=np.float64)
        )

    def _join(self, stretch: Slice) -> None:
        """Let the orders that were decided first arrive."""
        arrival, upto = self._deciding.popleft()
        self._run(stretch, arrival)
        lk.join(self._field, upto, arrival)

    # --- rows ------------------------------------------------------------------------------------------------------

    @property
    def _full(self) -> bool:
        head, capacity = self._field.head, len(self._field.ints)
        return int(head[lk.N_DECIDED] - head[lk.N_TAKEN]) + self._per_step > capacity

    def _take(self, *, finished: bool) -> pl.DataFrame:
        """Take out the orders that are final, or all that there are."""
        head = self._field.head
        upto = int(head[lk.N_TAKEN if finished else lk.N_DECIDED])
        while finished and self._watching and self._watching[0][0] < head[lk.NOW]:
            upto = self._watching.popleft()[1]
        slots = np.arange(int(head[lk.N_TAKEN]), upto) & (len(self._field.ints) - 1)
        head[lk.N_TAKEN] = upto
        ints, floats = self._field.ints[slots], self._field.floats[slots]
        # Refused, lost in a gap before they arrived, or never seen by a later event: nothing is known of these.
        known = (ints[:, lk.JOINED] > 0) & (ints[:, lk.UNTIL] > ints[:, lk.JOINED])
        return self._frame(ints[known].T, floats[known].T)

    def _frame(self, ints: lk.Ints, floats: lk.Floats) -> pl.DataFrame:
        ticks, lots, joined, side = ints[lk.TICK], ints[lk.LOTS], ints[lk.JOINED], ints[lk.SIDE]
        mid = floats[lk.MID2] / 2
        columns: dict[str, npt.NDArray[Any]] = {
            "ts_ns": joined,
            "side": side,
            "distance_bps": side * (mid - ticks) / mid * 1e4,
            "at_touch": ints[lk.AT_TOUCH] == 1,
            "ticks": ticks,
            "lots": lots,
            "size_quote": lots * self._lot_quote(ticks),
            "sigma": floats[lk.SIGMA],
            "queue_s": floats[lk.QUEUE_S],
            "imb_own": floats[lk.IMB_OWN],
            "ofi_z": floats[lk.OFI_Z],
            "natr_bps": PROXY * floats[lk.SIGMA],
            "spread_bps": floats[lk.SPREAD2] / floats[lk.MID2] * 1e4,
            "mid": mid * float(self.instrument.tick),
        }
        for queue, code in QUEUE_MODELS.items():
            at = ints[lk.FILLED + code]
            columns[f"filled_{queue}"] = at > 0
            columns[f"time_s_{queue}"] = (np.where(at > 0, at, ints[lk.UNTIL]) - joined) / SECOND_NS
        for horizon, ns in enumerate(lk.MARK_NS):
            later = floats[lk.MARK + horizon] / 2
            columns[f"markout_{ns // SECOND_NS}s_bps"] = side * (later - ticks) / ticks * 1e4
        columns["watched_s"] = (ints[lk.UNTIL] - joined) / SECOND_NS
        columns["block"] = (joined - self.start_ns) // BLOCK_NS
        series = [pl.Series(name, columns[name], nan_to_null=True).cast(kind) for name, kind in SCHEMA.items()]
        return pl.DataFrame(series)
