"""Small markets in memory, a way to run a script of orders through one, and how Hypothesis draws both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import polars as pl
from hypothesis import strategies as st

from grinder_kit.kernel import exchange as ex
from grinder_kit.kernel.feed import FeedOptions, slices
from grinder_kit.kernel.simulator import KernelOptions, Simulator
from grinder_kit.market.schema import COLUMNS

MS = 1_000_000
START = 1_700_000_000_000 * MS
NAMES = ("seen", "ts", "type", "order", "side", "tick", "lots", "leaves", "maker", "cause")
Command = tuple[int, int, int, int, int, int]
Response = dict[str, int]
Message = tuple[int, int, str, int, list[tuple[str, int, int]]]


class MemoryMarket:
    """Rows held in memory, cut into batches of any size; says of itself what is true of its rows."""

    def __init__(self, rows: pl.DataFrame, *, batch: int = 131_072, offset: int = 0) -> None:
        self.rows, self.batch, self.clock_offset_ns = rows, batch, offset
        self.disorder_ns = tuple(int((rows[c].cum_max() - rows[c]).max() or 0) for c in ("exchange_ns", "local_ns"))

    def batches(self, rows: int = 0) -> Iterator[pl.DataFrame]:
        """Yield the rows."""
        for start in range(0, len(self.rows), self.batch):
            yield self.rows[start : start + self.batch]


def rows_of(messages: Sequence[Message]) -> pl.DataFrame:
    """Return a recording of messages (exchange_ns, local_ns, kind, id, [(side, tick, lots), ...])."""
    rows = [
        (exchange_ns, local_ns, seq, kind, side, tick, lots, id_)
        for seq, (exchange_ns, local_ns, kind, id_, levels) in enumerate(messages)
        for side, tick, lots in levels
    ]
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")


class Exchange(Protocol):
    """What a script needs of the kernel, or of the reference."""

    def run(self, until: int, /) -> tuple[int, list[Response]]: ...  # noqa: D102
    def submit(self, commands: Sequence[Command], now: int, /) -> None: ...  # noqa: D102
    def queue_ahead(self, order_id: int, /) -> float | None: ...  # noqa: D102


class Kernel:
    """The compiled kernel over a market, stretch after stretch; responses by name."""

    def __init__(self, options: KernelOptions, market: MemoryMarket, funding: Sequence[tuple[int, int]] = ()) -> None:
        times = np.array(funding, np.int64).reshape(-1, 2).T.copy()
        self.simulator = Simulator(options, times)
        self.responses: list[Response] = []
        self._stretches = slices(market, options.feed)
        self._stretch = next(self._stretches)
        self.simulator.load(self._stretch)

    def run(self, until: int) -> tuple[int, list[Response]]:
        """Run to `until`, or to the next response."""
        while True:
            reached, responses = self.simulator.run(min(until, self._stretch.until_ns))
            if len(responses) or reached >= until:
                return reached, [dict(zip(NAMES, row, strict=True)) for row in responses.tolist()]
            self._stretch = next(self._stretches)
            self.simulator.load(self._stretch)

    def submit(self, commands: Sequence[Command], now: int) -> None:
        """Send commands."""
        self.simulator.submit(commands, now)

    def queue_ahead(self, order_id: int) -> float | None:
        """Return the lots ahead of a resting order."""
        return self.simulator.queue_ahead(order_id)


def play(
    exchange: Exchange,
    script: Sequence[tuple[int, list[Command]]],
    until: int,
    *,
    reactions: Sequence[list[Command]] = (),
    watch: Callable[[int], Any] = lambda now: None,
) -> tuple[list[Response], list[Any]]:
    """Send commands at their times, and `reactions` upon the first responses; return all responses and what was watched."""
    responses: list[Response] = []
    watched: list[Any] = []
    waiting = list(reactions)
    for now, commands in [*script, (until, [])]:
        while True:
            reached, new = exchange.run(now)
            for response in new:
                responses.append(response)
                if waiting:
                    exchange.submit(waiting.pop(0), reached)
            watched.append(watch(reached))
            if reached >= now and not new:
                break
        if commands:
            exchange.submit(commands, now)
    return responses, watched


# --- what Hypothesis draws ------------------------------------------------------------------------------------------------

# Ten levels, so that each changes often and own orders share them; `scale` spreads them over millions of ticks. Bids live at
# 1 to 7 and asks at 4 to 10: mostly apart, so that queues last, and at times crossed; most happens at 4 and 7. One draw a
# thing: drawing is what costs.
BIDS, ASKS = (1, 2, 3, 3, 4, 4, 4, 4, 5, 6, 7), (10, 9, 8, 8, 7, 7, 7, 7, 6, 5, 4)
LOTS = (1, 1, 2, 3, 5, 8, 13)
LEVELS = {"buy": BIDS, "sell": ASKS}
PRINTS = {"sell": (3, 4, 4, 4, 4, 5), "buy": (8, 7, 7, 7, 7, 6)}
ORDERS = {1: (2, 3, 4, 4, 4, 4, 5, 6), -1: (9, 8, 7, 7, 7, 7, 6, 5)}
LEVEL = st.sampled_from([(side, tick, lots) for side in LEVELS for tick in LEVELS[side] for lots in (0, 4, *LOTS)])
PRINT = st.sampled_from([(side, tick, lots) for side in PRINTS for tick in PRINTS[side] for lots in LOTS])
QUOTE = st.sampled_from([(bid, bid + gap, a, b) for bid in BIDS for gap in (1, 2, 3) for a in (1, 5) for b in (2, 8)])
SNAPSHOT = st.sampled_from([(bids, asks, n) for bids in range(4) for asks in range(3) for n in LOTS if bids + asks])
STEP = st.sampled_from(
    [(kind, later, delay) for kind in range(16) for later in (-1, 0, 0, 1, 1, 2) for delay in range(4)]
)


@st.composite
def markets(draw: st.DrawFn, *, scale: int = 1) -> MemoryMarket:
    """Draw a short market: ties of time, clocks that run backwards, snapshots, stale diffs, trades at any price."""
    now, local, last_id = START, START, 1_000
    first = [("buy", 4, 5), ("buy", 3, 4), ("buy", 2, 40), ("sell", 7, 6), ("sell", 8, 5)]
    messages: list[Message] = [(now, now, "snapshot", last_id, first)]
    for what, later, delay in draw(st.lists(STEP, min_size=20, max_size=80)):
        now += later * MS
        local = max(local, now + delay * MS)
        last_id += 2
        if what <= 6:
            id_ = last_id + draw(st.sampled_from([0, 0, -9, 5]))
            levels = sorted(draw(LEVEL) for _ in range(1 + what // 5))
            messages.append((now, local, "depth", id_, levels))
        elif what <= 12:
            messages.append((now, local, "trade", last_id, [draw(PRINT)]))
        elif what <= 14:
            bid, ask, bid_lots, ask_lots = draw(QUOTE)
            messages.append((now, local, "bbo", last_id, [("buy", bid, bid_lots), ("sell", ask, ask_lots)]))
        else:
            bids, asks, lots = draw(SNAPSHOT)
            levels = [("buy", t, lots) for t in (5, 4, 2)[:bids]] + [("sell", t, lots) for t in (6, 8)[:asks]]
            messages.append((now, local, "snapshot", last_id, levels))
    spread = [
        (a, b, kind, id_, [(side, t * scale, n) for side, t, n in levels]) for a, b, kind, id_, levels in messages
    ]
    return MemoryMarket(rows_of(spread), offset=draw(st.sampled_from([0, 5 * MS])))


ORDER = st.sampled_from(
    [
        (side, tick, lots, kind)
        for side in ORDERS
        for tick in ORDERS[side]
        for lots in LOTS
        for kind in (0, 0, 0, 0, 1, 2)
    ]
)


@st.composite
def commands(draw: st.DrawFn, number: int, *, scale: int = 1) -> Command:
    """Draw a new order of this number, or the withdrawal or change of an earlier one."""
    what = draw(st.integers(0, 9)) if number > 1 else 9
    if what == 0:
        return (ex.CANCEL, draw(st.integers(1, number - 1)), 1, 5, 1, 0)
    if what <= 2:
        _, tick, lots, _ = draw(ORDER)
        return (ex.AMEND, draw(st.integers(1, number - 1)), 1, tick * scale, lots, 0)
    side, tick, lots, kind = draw(ORDER)
    return (ex.PLACE, number, side, tick * scale, lots, (ex.POST_ONLY, ex.LIMIT, ex.IOC)[kind])


@st.composite
def scripts(draw: st.DrawFn, *, scale: int = 1) -> tuple[list[tuple[int, list[Command]]], list[list[Command]]]:
    """Draw (commands by time, commands by response)."""
    number = 0

    def some(most: int) -> list[Command]:
        nonlocal number
        out = []
        for _ in range(draw(st.integers(1, most))):
            number += 1
            out.append(draw(commands(number, scale=scale)))
        return out

    now, timed = START, []
    for _ in range(draw(st.integers(1, 5))):
        timed.append((now, some(6)))
        now += draw(st.integers(0, 20)) * MS
    return timed, [some(1) for _ in range(draw(st.integers(0, 4)))]


feeds = st.builds(
    FeedOptions,
    quotes=st.booleans(),
    by_local_time=st.booleans(),
    trades_first=st.booleans(),
    trade_advance_ns=st.sampled_from([0, 2 * MS]),
)


def options(**fixed: Any) -> st.SearchStrategy[KernelOptions]:
    """Draw the assumptions of a kernel: every combination."""
    return st.builds(
        KernelOptions,
        queue=fixed.get("queue", st.sampled_from(["risk_averse", "power", "pro_rata", "optimistic", "touch"])),
        power=st.sampled_from([1.0, 1.5, 2.0, 3.0]),
        entry_ns=st.sampled_from([(0,), (2 * MS,), (3 * MS + 1,)]),
        response_ns=st.sampled_from([(0,), (1 * MS,), (4 * MS,)]),
        partial_fills=st.booleans(),
        share_volume=st.booleans(),
        whole_size=st.booleans(),
        fused=st.booleans(),
        by_quote=st.booleans(),
        neighbours=st.booleans(),
        amend=st.sampled_from(["modify", "modify", "reduce", "none"]),
        feed=feeds,
    )
