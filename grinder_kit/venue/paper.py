"""PaperPort: fills simulated on a market that is heard as it happens. It holds no credentials and constructs no private client.

A simulated exchange can only know what has arrived. Its time follows the newest exchange time that is safe, so its answers come when
they are due or when the market got there, whichever is later. Our own side of the market is a book of its own, which sees every
row as it arrives.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from grinder_kit.errors import DataError
from grinder_kit.execution.clock import Clock, LoopClock, SystemClock
from grinder_kit.execution.port import Capabilities
from grinder_kit.kernel.exchange import FOREVER, TRADE, Stream
from grinder_kit.kernel.feed import Slice, _decode, _Sorter, slices
from grinder_kit.kernel.options import kernel_options
from grinder_kit.kernel.simulator import Simulator
from grinder_kit.market.schema import COLUMNS, FUNDING_COLUMNS
from grinder_kit.model.config import ExecutionConfig
from grinder_kit.model.event import StreamLost, Tick
from grinder_kit.model.instrument import Instrument
from grinder_kit.venue.exchange_side import ExchangeSide, Told, Watch
from grinder_kit.venue.simulated_port import LOOK_NS, SimulatedPort, look

if TYPE_CHECKING:
    from grinder_kit.market.source import Market

log = logging.getLogger(__name__)


class PaperPort(SimulatedPort):
    """An ExchangePort and MarketView over a stream of market events, with simulated fills.

    Parameters
    ----------
    stream : AsyncIterator of DataFrame
        Rows with the columns of a recording (market/schema.py) as they arrive, whole messages in each frame; an empty frame says
        that the feed lives. It reconnects by itself, and says by a row of kind gap that something was lost.
    instrument : Instrument
        The steps of `price` and `quantity`.
    execution : ExecutionConfig, optional
        Queue, latency and fees.
    capabilities : Capabilities, optional
        By default those of Binance for the instrument's kind of market.
    balances : mapping of str to Decimal, optional
        As of a SimulatedVenue.
    funding : DataFrame, optional
        Funding that will be paid: `ts_ns`, `rate`, `mark` in ticks; by default none.
    clock : Clock, optional
        The one that `local_ns` is read from; by default the machine's.
    clock_offset_ns : int
        Local time plus this is the exchange's; the port's own `clock` shows that.
    disorder_ns : int
        How far back by the exchange's clock a later row may lie. Rows that come later still are moved to the time that was reached.
    silence_s : float
        A feed that says nothing for so long is stale, and the exchange goes on without it, so that orders can be withdrawn.
    with_features : bool
        Whether ticks carry features.
    watch : callable, optional
        Told of every change at the exchange as it is known.

    Examples
    --------
    >>> async with PaperPort(played(market, clock), market.instrument, clock=clock) as paper:  # doctest: +SKIP
    ...     order = await paper.place_order(request)
    """

    def __init__(
        self,
        stream: AsyncIterator[pl.DataFrame],
        instrument: Instrument,
        *,
        execution: ExecutionConfig | None = None,
        capabilities: Capabilities | None = None,
        balances: Mapping[str, Decimal] | None = None,
        funding: pl.DataFrame | None = None,
        clock: Clock | None = None,
        clock_offset_ns: int = 0,
        disorder_ns: int = 50_000_000,
        silence_s: float = 2.0,
        with_features: bool = False,
        watch: Watch | None = None,
    ) -> None:
        side = ExchangeSide(instrument, execution=execution, capabilities=capabilities, balances=balances, watch=watch)
        self._heard = _Heard(stream, side, clock or SystemClock(), clock_offset_ns, disorder_ns, silence_s, funding)
        super().__init__(side, self._heard, with_features=with_features)

    @property
    def ended(self) -> bool:
        """Whether the stream has ended; orders stay, can be placed and withdrawn, and nothing trades."""
        return self._heard.ended

    @property
    def failure(self) -> str | None:
        """What the stream failed with, in words; the rest is as when it has ended."""
        return self._heard.failure

    @property
    def late_rows(self) -> int:
        """Rows that came later than `disorder_ns` promises."""
        return self._heard.late_rows

    @property
    def feed_age_s(self) -> float:
        """How long ago the feed was last heard, s."""
        return self._heard.age_ns(self.clock.now_ns()) / 1e9


class _Heard:
    """A market that is heard frame by frame (a Source): the exchange is known up to the newest time that is safe."""

    def __init__(
        self,
        stream: AsyncIterator[pl.DataFrame],
        side: ExchangeSide,
        clock: Clock,
        offset_ns: int,
        disorder_ns: int,
        silence_s: float,
        funding: pl.DataFrame | None,
    ) -> None:
        self.known_ns = -FOREVER
        self.ended = False
        self.failure: str | None = None
        self.late_rows = 0
        self.speed = clock.speed if isinstance(clock, LoopClock) else 1.0
        self._stream, self._side = stream, side
        self._clock = _Steady(clock, offset_ns)
        self._offset_ns = offset_ns
        self._disorder_ns, self._silence_ns = disorder_ns, round(silence_s * 1e9)
        self._funding = pl.DataFrame(schema=FUNDING_COLUMNS) if funding is None else funding
        self._feed = side.options.feed
        self._held = _Sorter(0, self._feed.trades_first)  # what the exchange's time has not come to
        self._nothing = self._held.take(0)
        self._newest_ns = -FOREVER  # by the exchange's clock
        self._seen_ns = -FOREVER  # by the local clock: what our side has looked at
        self._news: deque[StreamLost] = deque()

    def begin(self, wake: Callable[[], None]) -> Clock:
        self._side.begin(self._funding, eyes=Simulator(self._side.options))
        for simulator in (self._side.simulator, self._side.eyes):
            simulator.load(self._slice())
        self._heard_ns = self._clock.now_ns()
        self._reader = asyncio.create_task(self._read(wake))
        return self._clock

    async def end(self) -> None:
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self, wake: Callable[[], None]) -> None:
        try:
            async for rows in self._stream:
                self._hear(rows)
                wake()
            self.ended = True
        except Exception as error:  # whatever a feed may raise: its orders must still be withdrawn
            self.failure = f"{type(error).__name__}: {error}"
        log.warning("the market's stream is over failure=%s", self.failure)
        self._news.append(
            StreamLost(ts_ns=self._clock.now_ns(), reason=self.failure or "the market's stream has ended")
        )
        wake()

    # --- rows in -----------------------------------------------------------------------------------------------------

    def _hear(self, rows: pl.DataFrame) -> None:
        """Show a frame to our side at once, and keep it for the exchange's."""
        now, feed = self._clock.now_ns(), self._feed
        self._heard_ns = now
        if rows.is_empty():
            return
        newest: int = rows["local_ns" if feed.by_local_time else "exchange_ns"].max()  # type: ignore[assignment]
        self._newest_ns = max(self._newest_ns, newest + (self._offset_ns if feed.by_local_time else 0))
        columns = _decode(rows, feed.quotes)
        local, at = columns.pop("local_ns") + self._offset_ns, columns.pop("exchange_ns")
        at = local if feed.by_local_time else at
        if feed.trade_advance_ns:
            at = at - np.where(columns["kind"] == TRADE, feed.trade_advance_ns, 0)
        late = at <= self.known_ns
        if late.any():
            self.late_rows += int(late.sum())
            at = np.where(late, self.known_ns + 1, at)
        self._held.add({"ts": at, **columns})
        # It has arrived, so it is known now; what we have looked at already does not change any more.
        seen = np.clip(local, min(self._seen_ns, now), now)
        order = np.argsort(seen, kind="stable")
        self._side.eyes.load(self._slice(local=Stream(seen[order], **{k: v[order] for k, v in columns.items()})))
        self._side.eyes.run(now)
        self._seen_ns = max(self._seen_ns, now)

    def _slice(self, *, exchange: Stream | None = None, local: Stream | None = None) -> Slice:
        nothing = self._nothing
        return Slice(exchange=exchange or nothing, local=local or nothing, until_ns=FOREVER, final=False)

    def play(self, now_ns: int) -> Iterator[Told]:
        until = min(now_ns, self._safe_ns(now_ns))
        if until > self.known_ns:
            self._run(until)
        while self._news:
            yield Told(now_ns, self._news.popleft())
        yield from self._side.due(now_ns)

    def _run(self, until_ns: int) -> None:
        market = self._held.take(until_ns)
        if len(market.ts):
            self._side.simulator.load(self._slice(exchange=market))
        reached, more = self._side.run(until_ns)
        while more or reached < until_ns:
            reached, more = self._side.run(until_ns)
        self.known_ns = until_ns

    # --- time --------------------------------------------------------------------------------------------------------

    def age_ns(self, now_ns: int) -> int:
        return now_ns - self._heard_ns

    @property
    def _over(self) -> bool:
        return self.ended or self.failure is not None

    def _safe_ns(self, now_ns: int) -> int:
        """Return the time before which nothing more is waited for."""
        if self._over:
            return now_ns
        if self.age_ns(now_ns) > self._silence_ns:
            return now_ns - self._silence_ns
        return self._newest_ns - self._disorder_ns - self._feed.trade_advance_ns - 1

    def wake_ns(self, now_ns: int, waiting_ns: int | None) -> int:
        """Return when something is told, or when the exchange gets to what waits for it without hearing more."""
        side, simulator = self._side, self._side.simulator
        due = now_ns + LOOK_NS if side.next_due_ns is None else min(now_ns + LOOK_NS, side.next_due_ns)
        for at in (waiting_ns, simulator.next_arrival_ns, simulator.next_funding_ns):
            if at is None:
                continue
            if self._over or at <= self._safe_ns(now_ns):
                due = min(due, at)
            else:
                due = min(due, max(at, self._heard_ns + 1) + self._silence_ns)
        return due

    def tick(self, now_ns: int, *, with_features: bool) -> Tick:
        self._seen_ns = max(self._seen_ns, now_ns)
        tick = look(self._side, now_ns, with_features=with_features)
        unheard = self._newest_ns == -FOREVER or self._over or self.age_ns(self._clock.now_ns()) > self._silence_ns
        return replace(tick, stale=True) if unheard else tick


class _Steady:
    """The exchange's time by a local clock: set once, and steady from there, though the machine's clock may jump."""

    def __init__(self, clock: Clock, offset_ns: int) -> None:
        self._clock = clock
        self._origin_ns = clock.now_ns() + offset_ns - clock.monotonic_ns()

    def now_ns(self) -> int:
        return self._origin_ns + self._clock.monotonic_ns()

    def monotonic_ns(self) -> int:
        return self._clock.monotonic_ns()

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)


# --- a recording as a stream ---------------------------------------------------------------------------------------------


async def played(market: Market, clock: Clock, *, batch_s: float = 0.02) -> AsyncIterator[pl.DataFrame]:
    """Play a market as a live feed would bring it: its rows by their local time.

    Parameters
    ----------
    market : Market
    clock : Clock
        Local time; begin it at :func:`local_start_ns`.
    batch_s : float
        Time between two frames, by `clock`; 0 gives each message at its own time.
    """
    for rows in _by_local_time(market):
        times, at = rows["local_ns"].to_numpy(), 0
        while at < len(times):
            now = clock.now_ns()
            if times[at] > now:
                await clock.sleep(max(batch_s, (int(times[at]) - now) / 1e9))
                continue
            end = int(np.searchsorted(times, now, side="right"))
            yield rows[at:end]
            at = end


def _by_local_time(market: Market) -> Iterator[pl.DataFrame]:
    """Yield whole messages in stable order of local time, holding back what others may still overtake."""
    disorder, held, latest = market.disorder_ns[1], pl.DataFrame(schema=COLUMNS), -FOREVER
    for batch in market.batches():
        if batch.is_empty():
            continue
        rows = pl.concat((held, batch)).sort("local_ns", maintain_order=True)
        latest = max(latest, int(rows["local_ns"][-1]))
        cut = int(rows["local_ns"].search_sorted(latest - disorder, side="left"))
        held = rows[cut:]
        yield rows[:cut]
    yield held


def local_start_ns(market: Market, execution: ExecutionConfig | None = None) -> int:
    """Return the local time at which a market's first event happens: where a replay of it begins.

    Raises
    ------
    DataError
        For a market without events.
    """
    for stretch in slices(market, kernel_options(execution or ExecutionConfig()).feed):
        if len(stretch.exchange.ts):
            return int(stretch.exchange.ts[0]) - market.clock_offset_ns
    raise DataError("the market has no events; import it again, or choose another window")


@asynccontextmanager
async def open_played(
    market: Market,
    execution: ExecutionConfig | None = None,
    *,
    speed: float = 1.0,
    batch_s: float = 0.02,
    **options: Any,
) -> AsyncIterator[PaperPort]:
    """Open a PaperPort on a market that is played from its start; further options are those of PaperPort."""
    clock = LoopClock(local_start_ns(market, execution), speed=speed)
    async with PaperPort(
        played(market, clock, batch_s=batch_s),
        market.instrument,
        execution=execution,
        funding=market.funding(),
        clock=clock,
        clock_offset_ns=market.clock_offset_ns,
        disorder_ns=market.disorder_ns[0],
        **options,
    ) as paper:
        yield paper
