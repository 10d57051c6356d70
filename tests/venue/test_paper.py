"""PaperPort: fills simulated on a market that is heard as it happens; the same as on one that is played, as far as it can know."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grinder_kit.errors import DataError
from grinder_kit.execution.clock import Clock, LoopClock, run_stepped
from grinder_kit.execution.engine import ExecutionEngine
from grinder_kit.execution.port import FUTURES, AccountEvent, AmendRule, Epoch, ExchangePort, MarketView
from grinder_kit.execution.shell import Shell, guarded
from grinder_kit.market.recording import Recording
from grinder_kit.market.schema import COLUMNS
from grinder_kit.market.source import Market
from grinder_kit.market.synthetic import synthetic_market
from grinder_kit.model.config import Config, ExecutionConfig, GridConfig
from grinder_kit.model.event import FundingPaid, StreamLost
from grinder_kit.model.fill import Fill
from grinder_kit.model.order import CancelRequest, Order, OrderState, OrderType, Side
from grinder_kit.simulation.replay import replay
from grinder_kit.venue.faulty import JumpingClock
from grinder_kit.venue.paper import PaperPort, local_start_ns, open_played, played
from grinder_kit.venue.simulated import SimulatedVenue
from tests.lab.laboratory import LAB, LabMarket
from tests.simulation.markets import MemoryMarket, Script, calm, funding_table
from tests.venue.test_simulated import EXECUTION, MS, order

START = 1_700_000_000_000 * MS
WIDE = replace(FUTURES, max_batch_place=1000, max_batch_cancel=1000, max_batch_amend=1000, weight_limit=10**9)
LADDER = GridConfig(spacing_bps=3, levels=8, size="0.05", recentre_bps=4, position_limit="0.5", skew_bps_at_limit=1)
FAR = GridConfig(spacing_bps=30, levels=3, size="0.06", recentre_bps=10, position_limit="0.6", step_ms=1500)
Work = Callable[[PaperPort], Awaitable[None]]
Row = tuple[Any, ...]


def config(grid: GridConfig, response_ms: float, **more: Any) -> Config:
    """Return a configuration whose answers are never due at the very time of a step."""
    return Config(grid=grid).replace(**{"execution.entry_ms": 10.3, "execution.response_ms": response_ms, **more})


def rows_of(fills: Any) -> list[Row]:
    """Return fills as they are compared."""
    return [(f.order_id, f.price, f.quantity, f.ts_ns, f.commission, f.is_maker) for f in fills]


def at(work: Work, market: Any, **options: Any) -> None:
    """Run something at a PaperPort on a played market, each message at its own time, in stepped time."""

    async def main() -> None:
        values: dict[str, Any] = {"execution": EXECUTION, "batch_s": 0} | options
        async with open_played(market, **values) as paper:
            await work(paper)

    run_stepped(main())


def heard(
    work: Work, stream: Callable[[Clock], AsyncIterator[pl.DataFrame]], clock: Clock | None = None, **options: Any
) -> None:
    """Run something at a PaperPort on any stream, from START on."""

    async def main() -> None:
        local = clock or LoopClock(START)
        async with PaperPort(stream(local), LAB, execution=EXECUTION, clock=local, **options) as paper:
            await work(paper)

    run_stepped(main())


async def listened(paper: PaperPort, told: list[tuple[int, AccountEvent]]) -> None:
    """Note what is told, and when (ns after START)."""
    async for event in paper.events():
        told.append((paper.clock.now_ns() - START, event))


def ticking(
    *, feed_ms: int = 0, seconds: int = 20, also: Mapping[int, Callable[[Script, int], Script]] | None = None
) -> Script:
    """Return a calm market that says something far away every 100 ms, and something `also` at a time between them."""
    script, left = calm(feed_ms=feed_ms), dict(also or {})
    for ms in range(100, 1000 * seconds, 100):
        for before in [one for one in left if one < ms]:
            left.pop(before)(script, before)
        script.depth(ms, ("buy", 900, 1 + ms % 7))
    return script


# --- the same fills ------------------------------------------------------------------------------------------------------


def session(opened: Callable[[], Any], whole: Config, end_ns: int) -> tuple[list[Row], list[Row]]:
    """Run a session on a venue in stepped time; return fills and orders."""

    async def main() -> tuple[list[Row], list[Row]]:
        async with opened() as venue:
            epoch = Epoch()
            engine = ExecutionEngine(venue.instrument, whole, amend_rule=AmendRule.MODIFY)
            guard = guarded(venue, venue.clock, whole.retry, epoch=epoch)
            shell = Shell(engine, guard, venue, venue.clock, epoch=epoch)
            await shell.start()
            await shell.run((end_ns - venue.clock.now_ns()) / 1e9)
            await venue.clock.sleep(2)  # what has happened by now is known
            assert shell.failure is None and getattr(venue, "late_rows", 0) == 0
            orders = [(o.client_order_id, o.price, o.quantity, o.filled_quantity) for o in venue.orders]
            await shell.close()
            return rows_of(venue.fills), sorted(orders)

    return run_stepped(main())


def on_paper(market: Market, whole: Config, end_ns: int) -> list[Row]:
    """Run a session on paper and return its fills; its orders and fills are those of a session on a market that is played."""
    heard_market = session(lambda: open_played(market, whole.execution, capabilities=WIDE, batch_s=0), whole, end_ns)
    assert heard_market == session(
        lambda: SimulatedVenue(market, execution=whole.execution, capabilities=WIDE), whole, end_ns
    )
    return heard_market[0]


def check_replay(market: Market, whole: Config, *, fills: int) -> None:
    """Compare a session on paper with `replay`."""
    result = replay(market, whole)
    told = on_paper(market, whole, result.end_ns)
    assert told == rows_of(result._engine.tracker.fills) and len(told) >= fills


@pytest.mark.parametrize("seed", [3, 5, 8])
@pytest.mark.parametrize("amend", [False, True])
def test_a_session_on_paper_does_what_one_on_a_played_market_does(seed: int, amend: bool) -> None:
    """With answers that take longer than the market needs to come here: every order and fill, to the nanosecond."""
    market = LabMarket(seed, 120)
    whole = config(FAR, 470.4, **{"router.amend": amend})
    assert len(on_paper(market, whole, START + 120_000 * MS)) >= 3


def test_a_session_on_paper_does_what_a_replay_does_on_a_busy_market() -> None:
    """Likewise on the synthetic market, with answers in 70 ms."""
    check_replay(synthetic_market(seed=7, minutes=0.7), config(LADDER, 70.3), fills=5)


@pytest.mark.parametrize(
    ("name", "size", "response_ms", "amend"),
    [("btc_recording", "0.01", 300.0, False), ("coin_recording", "1", 400.0, True)],
)
def test_a_session_on_paper_does_what_a_replay_does_on_a_recording(
    name: str, size: str, response_ms: float, amend: bool, request: pytest.FixtureRequest
) -> None:
    """Likewise on recordings, whose rows come out of order by up to 110 ms, on a local clock that is behind by 1.27 s."""
    recording: Recording = request.getfixturevalue(name)
    first = recording.span_ns[0]
    market = recording.window(first + 10 * 10**9, first + 40 * 10**9)
    assert market.clock_offset_ns > 10**9 and market.disorder_ns[0] > 30 * MS
    grid = GridConfig(spacing_bps="0.5", levels=5, size=size, recentre_bps=1, step_ms=2500)
    check_replay(market, config(grid, response_ms, **{"router.amend": amend}), fills=4)


@settings(max_examples=15, deadline=None)
@given(
    batch_s=st.sampled_from([0.0, 0.013, 0.3]),
    disorder_ms=st.sampled_from([0, 3, 150]),
    response_ms=st.sampled_from([1.0, 40.0, 700.0]),
    wishes=st.lists(st.tuples(st.integers(0, 1500), st.integers(-1, 4), st.booleans()), min_size=1, max_size=25),
)
def test_the_same_orders_fill_as_on_a_market_that_is_played(
    batch_s: float, disorder_ms: int, response_ms: float, wishes: list[tuple[int, int, bool]]
) -> None:
    """However the rows are cut, however long they are waited for and however late we are told."""
    market = LabMarket(4, 60)
    execution = ExecutionConfig(entry_ms=7.7, response_ms=response_ms)

    async def trade(port: ExchangePort, view: MarketView, clock: Clock) -> None:
        began, sent = clock.now_ns(), 1_000 * MS
        for number, (wait_ms, away, buys) in enumerate(wishes):
            sent += wait_ms * MS
            await clock.sleep((began + sent - clock.now_ns()) / 1e9)
            ticks = 2_000 - away if buys else 2_000 + away
            placing = port.place_order(
                order(number, price=str(LAB.price(ticks)), side=Side.BUY if buys else Side.SELL, type=OrderType.LIMIT)
            )
            asyncio.ensure_future(placing).add_done_callback(lambda done: done.exception())
            await asyncio.sleep(0)
        await clock.sleep((began + 62_000 * MS - clock.now_ns()) / 1e9)

    async def heard_fills() -> list[Row]:
        async with open_played(market, execution, batch_s=batch_s) as paper:
            paper._heard._disorder_ns = disorder_ms * MS
            await trade(paper, paper, paper.clock)
            assert paper.ended and paper.late_rows == 0
            return rows_of(paper.fills)

    async def played_fills() -> list[Row]:
        async with SimulatedVenue(market, execution=execution) as venue:
            await trade(venue, venue, venue.clock)
            return rows_of(venue.fills)

    assert run_stepped(heard_fills()) == run_stepped(played_fills())


# --- what can be known, and when -----------------------------------------------------------------------------------------


def test_an_answer_waits_for_the_market() -> None:
    """Due 50 ms after it was sent, it is told when a row says that the exchange's time has passed its arrival."""
    told: list[tuple[int, AccountEvent]] = []

    async def work(paper: PaperPort) -> None:
        listener = asyncio.ensure_future(listened(paper, told))
        await paper.clock.sleep(1)
        await paper.place_order(order(price="99"))
        # It arrived at 1,030 ms; the row of 1,100 ms comes 250 ms later, and tells that nothing before 1,099 ms is missing.
        assert paper.clock.now_ns() - START == 1_350 * MS
        assert paper.orders[0].updated_ns - START == 1_030 * MS
        await paper.clock.sleep(3)
        listener.cancel()

    sold = {2_010: lambda script, ms: script.trade(ms, "sell", 990, 50)}
    at(work, ticking(feed_ms=250, also=sold).market(LAB))
    kinds = [(at_ns // MS, type(event)) for at_ns, event in told]
    assert kinds == [(1_350, Order), (2_350, Fill)]
    fill = told[1][1]
    assert isinstance(fill, Fill) and fill.ts_ns - START == 2_010 * MS


def test_an_answer_is_not_early_either() -> None:
    """Where the market got there first, it comes when it is due, to the nanosecond."""

    async def work(paper: PaperPort) -> None:
        await paper.clock.sleep(1)
        await paper.place_order(order(price="99"))
        assert paper.clock.now_ns() - START == 1_000 * MS + 430 * MS + 123

    execution = ExecutionConfig(entry_ms=30, response_ms=400.000123)
    at(work, ticking(feed_ms=250).market(LAB), execution=execution)


def test_a_question_is_answered_from_the_time_at_which_it_arrived() -> None:
    """An order that arrived before it is never unknown, though the market had not come so far when it was asked."""

    async def work(paper: PaperPort) -> None:
        await paper.clock.sleep(1)
        placing = asyncio.ensure_future(paper.place_order(order(price="99")))
        await paper.clock.sleep(0.001)
        found = await paper.get_order(LAB.symbol, client_order_id="web_1")
        assert found is not None and found.state is OrderState.OPEN
        assert paper.clock.now_ns() - START == 1_350 * MS
        await placing

    at(work, ticking(feed_ms=250).market(LAB))


def test_our_side_sees_every_row_as_it_arrives() -> None:
    """The best prices do not wait for the exchange's side, whatever the promised disorder."""

    async def work(paper: PaperPort) -> None:
        assert paper.tick(paper.clock.now_ns()).stale, "nothing was heard yet"
        await paper.clock.sleep(0.251)
        tick = paper.tick(paper.clock.now_ns())
        assert (tick.bid_ticks, tick.ask_ticks, tick.stale) == (999, 1_001, False)
        await paper.clock.sleep(1)
        assert paper.tick(paper.clock.now_ns()).bid_ticks == 1_000

    better = {950: lambda script, ms: script.depth(ms, ("buy", 1_000, 3))}
    at(work, ticking(feed_ms=250, also=better).market(LAB))


def test_rows_that_come_too_late_are_moved_and_counted() -> None:
    """A trade from before what was promised happens when it is heard, and fills what rests then; nothing fails."""
    told: list[tuple[int, AccountEvent]] = []

    async def stream(clock: Clock) -> AsyncIterator[pl.DataFrame]:
        frames = ticking(seconds=4).market(LAB).rows
        late = calm().trade(1_500, "sell", 990, 50).market(LAB).rows[-1:]
        yield frames.filter(pl.col("exchange_ns") <= START)
        await clock.sleep(1)
        yield frames.filter(pl.col("exchange_ns").is_between(START + 1, START + 1_000 * MS))
        await clock.sleep(1)
        yield frames.filter(pl.col("exchange_ns").is_between(START + 1_001 * MS, START + 2_000 * MS))
        yield late
        yield pl.DataFrame(schema=COLUMNS)
        await clock.sleep(1)
        yield frames.filter(pl.col("exchange_ns") > START + 2_000 * MS)
        await asyncio.Event().wait()

    async def work(paper: PaperPort) -> None:
        listener = asyncio.ensure_future(listened(paper, told))
        await paper.clock.sleep(0.5)
        await paper.place_order(order(price="99"))
        await paper.clock.sleep(3)
        assert paper.late_rows == 1 and paper.failure is None
        assert [fill.ts_ns - START for fill in paper.fills] == [1_950 * MS]
        listener.cancel()

    heard(work, stream)


@pytest.mark.parametrize("anchored", [False, True])
def test_a_gap_is_stale_until_the_book_can_be_trusted(anchored: bool) -> None:
    """As in a replay: five seconds, or a snapshot."""
    also: dict[int, Callable[[Script, int], Script]] = {1_005: lambda script, ms: script.gap(ms)}
    if anchored:
        also[2_005] = lambda script, ms: script.book(ms, {999: 5}, {1_001: 5})

    async def work(paper: PaperPort) -> None:
        stale = []
        for _ in range(8):
            await paper.clock.sleep(1)
            stale.append(paper.tick(paper.clock.now_ns()).stale)
        assert stale == [False, True, not anchored, not anchored, not anchored, not anchored, False, False]

    at(work, ticking(also=also).market(LAB))


def test_funding_is_paid_on_paper_too() -> None:
    """At the mark, when the market got there."""
    market = ticking().market(LAB, funding=funding_table([(START + 5_000 * MS, 0.001, 1_000)]))
    told: list[tuple[int, AccountEvent]] = []

    async def work(paper: PaperPort) -> None:
        listener = asyncio.ensure_future(listened(paper, told))
        await paper.clock.sleep(1)
        await paper.place_order(order(price="101", quantity="0.05", type=OrderType.LIMIT))
        await paper.clock.sleep(6)
        listener.cancel()
        (fill,) = paper.fills
        assert (await paper.get_balances())["USDT"].total == Decimal(10**6) - Decimal("0.005") - fill.commission

    at(work, market, execution=ExecutionConfig(entry_ms=30, response_ms=20, taker_fee_bps=4))
    assert [(at_ns // MS, event.amount) for at_ns, event in told if isinstance(event, FundingPaid)] == [
        (5_100, Decimal("-0.005"))
    ]


# --- silence and the end -------------------------------------------------------------------------------------------------


def silent_after(
    seconds: float, then: Callable[[Clock], Awaitable[None]]
) -> Callable[[Clock], AsyncIterator[pl.DataFrame]]:
    """Return a stream that plays for a while, and then does something else."""

    async def stream(clock: Clock) -> AsyncIterator[pl.DataFrame]:
        async for rows in played(ticking().market(LAB), clock, batch_s=0):
            if clock.now_ns() > START + seconds * 1e9:
                break
            yield rows
        await then(clock)

    return stream


async def hang(clock: Clock) -> None:
    """Say nothing for ever."""
    await asyncio.Event().wait()


async def fail(clock: Clock) -> None:
    """Lose the connection for good."""
    raise OSError("no route to host")


async def end(clock: Clock) -> None:
    """End."""


def test_a_feed_that_is_silent_is_stale_and_orders_can_still_be_withdrawn() -> None:
    """After two seconds; the exchange then goes on without it, and no answer waits for ever."""

    async def work(paper: PaperPort) -> None:
        await paper.clock.sleep(0.5)
        await paper.place_order(order(price="99"))
        await paper.clock.sleep(START / 1e9 + 3.4 - paper.clock.now_ns() / 1e9)
        assert not paper.tick(paper.clock.now_ns()).stale and 0 < paper.feed_age_s < 2
        await paper.clock.sleep(0.7)
        assert paper.tick(paper.clock.now_ns()).stale and paper.feed_age_s > 2
        began = paper.clock.now_ns()
        ended = await paper.cancel_order(CancelRequest(client_order_id="web_1", symbol=LAB.symbol))
        assert ended.state is OrderState.CANCELLED
        assert 1.9e9 < paper.clock.now_ns() - began < 2.2e9
        assert await paper.get_open_orders(LAB.symbol) == ()
        assert (paper.ended, paper.failure) == (False, None)

    heard(work, silent_after(2, hang))


def test_a_frame_without_rows_says_that_the_feed_lives() -> None:
    """Nothing happened: that is no silence."""

    async def breathe(clock: Clock) -> AsyncIterator[pl.DataFrame]:
        yield calm().market(LAB).rows
        while True:
            await clock.sleep(1)
            yield pl.DataFrame(schema=COLUMNS)

    async def work(paper: PaperPort) -> None:
        await paper.clock.sleep(9)
        assert not paper.tick(paper.clock.now_ns()).stale

    heard(work, breathe)


@pytest.mark.parametrize(
    ("then", "words"), [(end, "the market's stream has ended"), (fail, "OSError: no route to host")]
)
def test_when_the_stream_is_over_orders_stay_and_everybody_knows(
    then: Callable[[Clock], Awaitable[None]], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Ticks are stale, the account's stream says that something is missing, and orders are withdrawn as ever."""
    told: list[tuple[int, AccountEvent]] = []

    async def work(paper: PaperPort) -> None:
        listener = asyncio.ensure_future(listened(paper, told))
        await paper.clock.sleep(0.5)
        await paper.place_order(order(price="99"))
        await paper.clock.sleep(2)
        assert (paper.ended, paper.failure) == ((True, None) if then is end else (False, words))
        assert paper.tick(paper.clock.now_ns()).stale
        assert [one.client_order_id for one in await paper.get_open_orders(LAB.symbol)] == ["web_1"]
        began = paper.clock.now_ns()
        await paper.cancel_order(CancelRequest(client_order_id="web_1", symbol=LAB.symbol))
        assert paper.clock.now_ns() - began == 50 * MS
        listener.cancel()

    heard(work, silent_after(2, then))
    lost = [event for _, event in told if isinstance(event, StreamLost)]
    assert [event.reason for event in lost] == [words]
    assert "stream is over" in caplog.text


def test_rows_that_are_none_are_the_end_of_the_stream(caplog: pytest.LogCaptureFixture) -> None:
    """What has not the columns of a recording is a failure of the feed, not of the port."""

    async def stream(clock: Clock) -> AsyncIterator[pl.DataFrame]:
        yield calm().market(LAB).rows.drop("price")

    async def work(paper: PaperPort) -> None:
        await paper.clock.sleep(1)
        assert paper.failure is not None and "price" in paper.failure
        assert await paper.get_open_orders(LAB.symbol) == ()

    heard(work, stream)


def test_a_clock_that_jumps_moves_nothing() -> None:
    """The machine's clock is set back an hour: the market goes on, and is not taken for silent."""

    async def main() -> None:
        local = LoopClock(START)
        machine = JumpingClock(local)
        market = played(ticking().market(LAB), local, batch_s=0)
        async with PaperPort(market, LAB, execution=EXECUTION, clock=machine) as paper:
            await paper.clock.sleep(1)
            machine.jump(-3600)
            await paper.clock.sleep(1)
            assert paper.clock.now_ns() == START + 2_000 * MS
            assert not paper.tick(paper.clock.now_ns()).stale
            assert (await paper.place_order(order(price="99"))).state is OrderState.OPEN

    run_stepped(main())


# --- what it is not ------------------------------------------------------------------------------------------------------


def test_paper_holds_no_credentials_and_has_no_way_to_a_venue() -> None:
    """Neither a library of exchanges nor one of connections is loaded by it."""
    code = "import sys, grinder_kit.venue.paper; print([n for n in ('ccxt', 'aiohttp', 'ssl', 'http') if n in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "ccxt" not in run.stdout and "aiohttp" not in run.stdout


# --- played --------------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(
    batch_s=st.sampled_from([0.0, 0.02, 1.0]),
    batch=st.sampled_from([1, 7, 1000]),
    jitter=st.lists(st.integers(0, 400), min_size=30, max_size=30),
)
def test_played_gives_every_row_once_when_it_was_heard(batch_s: float, batch: int, jitter: list[int]) -> None:
    """Whole messages in order of local time, none before its time, and late by no more than a frame."""
    rows = ticking(seconds=3).market(LAB).rows
    delays = pl.Series([jitter[n % 30] * MS for n in rows["seq"].to_list()])
    market = MemoryMarket(rows.with_columns(local_ns=pl.col("local_ns") + delays), LAB, batch=batch)

    async def main() -> list[tuple[int, pl.DataFrame]]:
        clock = LoopClock(local_start_ns(market))
        return [(clock.now_ns(), frame) async for frame in played(market, clock, batch_s=batch_s)]

    frames = run_stepped(main())
    assert pl.concat([frame for _, frame in frames]).equals(market.rows.sort("local_ns", maintain_order=True))
    for now, frame in frames:
        assert now - round(batch_s * 1e9) <= frame["local_ns"].min() and frame["local_ns"].max() <= now
    seqs = [set(frame["seq"].to_list()) for _, frame in frames]
    assert sum(map(len, seqs)) == len(set().union(*seqs))


def test_a_played_market_begins_where_a_replay_of_it_begins() -> None:
    """The port's clock stands at the first event, whatever the offset of the local clock; without events there is none."""
    market = LabMarket(1, 5)

    async def starts() -> tuple[int, int]:
        async with SimulatedVenue(market) as venue, open_played(market) as paper:
            return venue.start_ns, paper.clock.now_ns()

    assert len(set(run_stepped(starts()))) == 1
    market.clock_offset_ns = -7_000 * MS
    assert local_start_ns(market) == run_stepped(starts())[0] + 7_000 * MS
    with pytest.raises(DataError, match="the market has no events"):
        local_start_ns(MemoryMarket(pl.DataFrame(schema=COLUMNS), LAB))


def test_features_are_those_of_our_side() -> None:
    """Ticks carry them where they are asked for."""

    async def work(paper: PaperPort) -> None:
        await paper.clock.sleep(5)
        features = paper.tick(paper.clock.now_ns()).features
        assert features is not None and features.mid == 1_000.0 * float(LAB.tick)

    at(work, ticking(feed_ms=3).market(LAB), with_features=True)
