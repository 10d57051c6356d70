"""Sessions for the tests of views: real snapshots of a real shell on the simulated venue, played in stepped time."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from typing import Any

from hypothesis import strategies as st

from grinder_kit.decision.reason import Reason
from grinder_kit.execution.budget import WeightBudget
from grinder_kit.execution.clock import run_stepped
from grinder_kit.execution.engine import ExecutionEngine
from grinder_kit.execution.latency import LatencyMonitor
from grinder_kit.execution.port import AmendRule, Epoch
from grinder_kit.execution.shell import Shell, guarded
from grinder_kit.fillprob.first_passage import FirstPassageModel
from grinder_kit.fillprob.labels import label
from grinder_kit.fillprob.markout import MarkoutModel
from grinder_kit.fillprob.model_file import Fitted, model_sha256
from grinder_kit.fillprob.training import Origin
from grinder_kit.market.synthetic import synthetic_market
from grinder_kit.model.config import Config, GridConfig
from grinder_kit.model.event import RunState
from grinder_kit.model.fill import PairingView, SyncAction
from grinder_kit.model.order import InFlight, OrderState, Side
from grinder_kit.session.forecasts import Forecasts
from grinder_kit.session.snapshot import (
    About,
    Account,
    Check,
    Counts,
    Differs,
    Exit,
    Forecast,
    Limit,
    Money,
    Notice,
    Now,
    Phase,
    Profit,
    Ribbon,
    RibbonBin,
    Rung,
    Series,
    Snapshot,
    Status,
    Trade,
    Trip,
    Verdict,
    Views,
    Waits,
)
from grinder_kit.session.venues import needs_features
from grinder_kit.session.view import Notices, View
from grinder_kit.venue.simulated import SimulatedVenue

GRID = GridConfig(spacing_bps=3, levels=8, size="0.05", recentre_bps=4, position_limit="0.2", skew_bps_at_limit=1)
CONFIG = Config(grid=GRID).replace(**{"execution.entry_ms": 10.3, "execution.response_ms": 7.4})
WALL_NS = 1_760_000_000_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewed:
    """A session on the synthetic market, what is between it and its venue, and its view."""

    shell: Shell
    view: View
    port: Any
    forecasts: Forecasts


@asynccontextmanager
async def viewed(
    config: Config = CONFIG,
    *,
    minutes: float = 3.0,
    seed: int = 7,
    port_of: Callable[[SimulatedVenue], Any] = lambda venue: venue,
    fitted: Fitted | None = None,
) -> AsyncIterator[Viewed]:
    """Give a session that is not started; `port_of` may put something between it and its venue."""
    market = synthetic_market(seed=seed, minutes=minutes)
    if fitted is not None:
        config = config.replace(**{"fill_model.sha256": fitted.sha256})
    async with SimulatedVenue(market, execution=config.execution, with_features=needs_features(config)) as venue:
        clock, epoch, latency = venue.clock, Epoch(), LatencyMonitor()
        engine = ExecutionEngine(
            market.instrument, config, amend_rule=AmendRule(venue.capabilities.amend),
            model=None if fitted is None else fitted.model, markout=None if fitted is None else fitted.markout,
        )  # fmt: skip
        budget, between = WeightBudget.of(venue.capabilities, clock), port_of(venue)
        port = guarded(
            latency.timed(between, clock), clock, config.retry, epoch=epoch, budget=budget, rng=random.Random(1)
        )
        shell = Shell(engine, port, venue, clock, epoch=epoch)
        forecasts = Forecasts(engine, fitted, Origin.of(market.instrument, market.describe()))
        shell.on_step = forecasts.take
        view = View(
            about(), shell, latency, budget, Notices(shell.now_ns), queue_ahead=venue.queue_ahead, forecasts=forecasts
        )
        yield Viewed(shell=shell, view=view, port=between, forecasts=forecasts)
        await shell.close()


@cache
def fitted() -> Fitted:
    """Return a fill model and a markout that were fitted on another synthetic market."""
    labels = label(synthetic_market(seed=3, minutes=4))
    model, markout = FirstPassageModel().fit(labels), MarkoutModel().fit(labels)
    return Fitted(model=model, markout=markout, sha256=model_sha256(model, markout))


@cache
def judged(seconds: float = 240.0) -> tuple[Snapshot, ...]:
    """Return what a session shows whose levels are judged by a fitted model, every two seconds."""
    config = CONFIG.replace(**{"grid.min_fill_prob": 0.3, "grid.levels": 12})
    return played(seconds, 2.0, config=config, fitted=fitted())


@cache
def played(
    seconds: float = 120.0, every_s: float = 0.5, seed: int = 7, config: Config = CONFIG, fitted: Fitted | None = None
) -> tuple[Snapshot, ...]:
    """Return what a session on the synthetic market shows of itself, every so often; wall time is the session's."""

    async def session() -> tuple[Snapshot, ...]:
        async with viewed(config, minutes=seconds / 60 + 1, seed=seed, fitted=fitted) as found:
            shell, view = found.shell, found.view
            taken = [_at(view.snapshot(), shell)]
            await shell.start()
            view.facts.phase = Phase.RUNNING
            view.notices.tell("INFO", "the session runs")
            for _ in range(round(seconds / every_s)):
                await shell.run(every_s)
                view.facts.feed_age_s = 0.2
                view.sample()
                taken.append(_at(view.snapshot(), shell))
            return tuple(taken)

    return run_stepped(session())


def about(**changes: Any) -> About:
    """Return what stays the same of a paper session."""
    instrument = synthetic_market().instrument
    return replace(
        About(
            name="btc", mode="paper", symbol=instrument.symbol, venue=instrument.venue, account="paper-btc",
            market="synthetic seed=7 minutes=3", base=instrument.base, quote=instrument.quote, settle=instrument.settle,
            tick=instrument.tick, lot=instrument.lot, tag="r0", pid=4711, version="0", started_wall_ns=WALL_NS, speed=1.0,
            policy="cancel", grace_s=30.0, folder="sessions/btc",
        ),
        **changes,
    )  # fmt: skip


def _at(snapshot: Snapshot, shell: Shell) -> Snapshot:
    wall = WALL_NS + shell.now_ns() - shell.started_ns
    return replace(snapshot, now=replace(snapshot.now, wall_ns=wall))


def changed(snapshot: Snapshot, **parts: dict[str, Any]) -> Snapshot:
    """Return a snapshot with some fields of some parts replaced: ``changed(s, status={"stale": True})``."""
    new = {part: getattr(snapshot, part) for part in parts}
    return replace(
        snapshot,
        **{part: Exit(**parts[part]) if old is None else replace(old, **parts[part]) for part, old in new.items()},
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """What a runner says to a command."""

    text: str

    def __str__(self) -> str:
        return self.text


class HeldSession:
    """A session that a panel can steer: it holds a snapshot, and notes what was asked of it.

    Parameters
    ----------
    latest : Snapshot, optional
    answers : callable, optional
        Given the command; what it returns or raises is the answer.
    """

    def __init__(
        self, latest: Snapshot | None = None, answers: Callable[[str], str] | None = None, name: str = "btc"
    ) -> None:
        self.name = name
        self.latest = latest
        self.link = "none" if latest is None else "open"
        self.heard_s: float | None = None if latest is None else 0.1
        self.asked: list[str] = []
        self._answers = answers or (lambda command: f"{command} accepted")

    def _ask(self, command: str) -> Answer:
        self.asked.append(command)
        return Answer(self._answers(command))

    def pause(self) -> Answer:
        """Pause."""
        return self._ask("pause")

    def resume(self) -> Answer:
        """Resume."""
        return self._ask("resume")

    def flatten(self, **how: Any) -> Answer:
        """Flatten, as asked for: ``flatten twap_s=300.0``."""
        return self._ask(" ".join(("flatten", *(f"{name}={value}" for name, value in how.items()))))

    def kill(self) -> Answer:
        """Kill."""
        return self._ask("kill")

    def stop(self) -> Answer:
        """Stop."""
        return self._ask("stop")


# --- any snapshot at all ---------------------------------------------------------------------------------------------

_TEXT = st.text(max_size=30)
_TIME = st.integers(-(2**62), 2**62)
_NUMBER = st.integers(0, 10**9)
_MONEY = st.decimals(-(10**9), 10**9, places=8)
_PRICE = st.decimals("0.00000001", 10**9, places=8)
_FLOAT = st.floats(-1e12, 1e12) | st.just(float("nan"))
_STEP = st.sampled_from([Decimal(text) for text in ("0.1", "0.00001", "1", "10", "1E+2")])


def _maybe(of: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | of


_RUNG = st.builds(
    Rung,
    key=_TEXT, level_id=_TEXT, side=st.sampled_from(Side), price=_PRICE, quantity=_maybe(_PRICE), filled=_PRICE,
    state=_maybe(st.sampled_from(OrderState)), in_flight=_maybe(st.sampled_from(InFlight)), refused=st.booleans(),
    reason=st.sampled_from(Reason) | _TEXT, why=_TEXT, client_order_id=_TEXT, amends=_NUMBER, age_s=_maybe(st.floats(0, 1e9)),
    queue_ahead=_maybe(st.decimals(0, 10**6, places=3)), queue_s=_maybe(st.floats(0, 1e9)), fill_prob=_maybe(st.floats(0, 1)),
    prob_low=_maybe(st.floats(0, 1)), prob_high=_maybe(st.floats(0, 1)), placed_prob=_maybe(st.floats(0, 1)),
    value_bps=_maybe(_FLOAT), value_low=_maybe(_FLOAT), value_high=_maybe(_FLOAT), profit_bps=_maybe(_FLOAT),
)  # fmt: skip
_FORECAST = st.builds(
    Forecast,
    model=_TEXT, fitted=_TEXT, sha256=_TEXT, horizon_s=st.floats(0, 1e6), least=st.floats(0, 1), no_prob=_TEXT, no_value=_TEXT,
)  # fmt: skip
_RIBBON = st.builds(
    Ribbon,
    orders=_NUMBER, filled=_NUMBER, stood=_NUMBER, left_out=_NUMBER, seen=_NUMBER, expected=st.floats(0, 1e6),
    low=st.floats(0, 1e6), high=st.floats(0, 1e6), rcll=_maybe(_FLOAT), text=_TEXT, disagrees=st.booleans(), in_sample=st.booleans(),
    bins=st.lists(
        st.builds(
            RibbonBin, predicted=st.floats(0, 1), observed=st.floats(0, 1), low=_maybe(st.floats(0, 1)),
            high=_maybe(st.floats(0, 1)), orders=_NUMBER, filled=_NUMBER,
        ),
        max_size=10,
    ).map(tuple),
)  # fmt: skip
_ABOUT = st.builds(
    About,
    name=_TEXT, mode=st.sampled_from(["paper", "live"]) | _TEXT, symbol=_TEXT, venue=_TEXT, account=_TEXT, market=_TEXT,
    base=st.sampled_from(["BTC", "USDT"]), quote=st.just("USDT"), settle=st.sampled_from(["BTC", "USDT"]), tick=_STEP, lot=_STEP,
    tag=_TEXT, pid=_NUMBER, version=_TEXT, started_wall_ns=_TIME, speed=st.floats(1e-3, 1e3),
    policy=st.sampled_from(["cancel", "run_on"]), grace_s=st.floats(0, 1e6), folder=_TEXT,
)  # fmt: skip
_STATUS = st.builds(
    Status,
    phase=st.sampled_from(Phase), state=st.sampled_from(RunState), reason=_TEXT | st.sampled_from(Reason), since_ns=_TIME,
    epoch=_NUMBER, synced=st.booleans(), stale=st.booleans(), open_orders=st.integers(0, 20), unknown_orders=st.integers(0, 20),
    to_end=st.integers(0, 20), unconfirmed=st.booleans(), failure=_TEXT, empty_reason=_TEXT, config_digest=_TEXT, clients=_NUMBER,
    grace_until_wall_ns=_maybe(_TIME), unsupervised=_TEXT, progress=_TEXT, order_size=_PRICE,
)  # fmt: skip
_EXIT = st.builds(Exit, done=_MONEY, total=_MONEY, over_s=_maybe(st.floats(0, 1e6)), shown=_maybe(_PRICE))
_DIFFERS = st.builds(
    Differs, kind=_TEXT, subject=_TEXT, ours=_TEXT, venues=_TEXT, since_ns=_TIME, age_s=st.floats(0, 1e9)
)
_VIEWS = st.builds(
    Views,
    profits=st.tuples(*(
        st.builds(
            Profit, view=st.just(view), realised=_MONEY, unrealised=_maybe(_MONEY), inventory=_MONEY, open_lots=_NUMBER
        )
        for view in PairingView
    )),
    unconverted=st.lists(st.tuples(_TEXT, _MONEY), max_size=3).map(tuple), late=_NUMBER,
)  # fmt: skip
_ACCOUNT = st.builds(
    Account,
    local=_MONEY, foreign=_maybe(_MONEY), exchange=_maybe(_MONEY), diff=_maybe(_MONEY), action=st.sampled_from(["", *SyncAction]),
    known=st.booleans(), last_sync_ns=_TIME, mismatches=st.lists(_DIFFERS, max_size=3).map(tuple), settled=_maybe(_DIFFERS),
    mode=_TEXT, grace_s=st.floats(0, 1e6), actions_of_run=_NUMBER, max_actions_per_run=_NUMBER, actions_of_day=_NUMBER,
    max_actions_per_day=_NUMBER,
)  # fmt: skip


@st.composite
def _series(draw: st.DrawFn) -> Series:
    ts = sorted(draw(st.lists(_TIME, max_size=5)))
    columns = {
        name: tuple(draw(st.lists(_FLOAT, min_size=len(ts), max_size=len(ts))))
        for name in ("mid", "position", "equity", "grid", "trend", "commission", "funding")
    }
    return Series(ts_ns=tuple(ts), **columns)


@st.composite
def _waits(draw: st.DrawFn) -> Waits:
    times = st.lists(st.floats(0, 1e6), max_size=5).map(lambda times: tuple(sorted(times)))
    ms = draw(times)
    share = tuple(sorted(draw(st.lists(st.floats(0, 1), min_size=len(ms), max_size=len(ms)))))
    known = _maybe(st.floats(0, 1e6))
    return Waits(
        operation=draw(_TEXT), count=draw(_NUMBER), timeouts=draw(_NUMBER), min_ms=draw(known), max_ms=draw(known),
        mean_ms=draw(known), p50_ms=draw(known), p95_ms=draw(known), p99_ms=draw(known), ms=ms, share=share, censored_ms=draw(times),
    )  # fmt: skip


def snapshots() -> st.SearchStrategy[Snapshot]:
    """Return any snapshot that could be read from another process, sensible or not."""

    def several(one: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.lists(one, max_size=4).map(tuple)

    return st.builds(
        Snapshot,
        about=_ABOUT,
        status=_STATUS,
        now=st.builds(
            Now, now_ns=_TIME, wall_ns=_TIME, bid=_maybe(_PRICE), ask=_maybe(_PRICE), feed_age_s=_maybe(st.floats(0, 1e9)),
            market_ended=st.booleans(),
        ),
        exit=_maybe(_EXIT),
        ladder=several(_RUNG),
        forecast=_FORECAST,
        ribbon=_RIBBON,
        views=_VIEWS,
        account=_ACCOUNT,
        money=st.builds(
            Money, position=_MONEY, mark=_maybe(_PRICE), equity=_maybe(_MONEY), grid=_MONEY, trend=_maybe(_MONEY), funding=_MONEY,
            commission=_MONEY, residual=_maybe(_MONEY), drawdown=_MONEY, day_loss=_MONEY,
        ),
        limits=several(st.builds(Limit, name=_TEXT, used=_maybe(_MONEY), limit=_MONEY)),
        counts=st.builds(Counts, placed=_NUMBER, fills=_NUMBER, round_trips=_NUMBER),
        health=several(st.builds(Check, name=_TEXT, verdict=st.sampled_from(Verdict), text=_TEXT)),
        latency=several(_waits()),
        series=_series(),
        fills=several(
            st.builds(
                Trade, fill_id=_TEXT, ts_ns=_TIME, key=_TEXT, side=st.sampled_from(Side), price=_PRICE, quantity=_PRICE,
                commission=_MONEY, commission_asset=_TEXT, is_maker=st.booleans(),
            )
        ),
        trips=several(
            st.builds(
                Trip, ts_ns=_TIME, entry_price=_PRICE, exit_price=_PRICE, quantity=_PRICE, net_pnl=_MONEY,
                net_bps=st.floats(-1e6, 1e6), hold_s=st.floats(0, 1e9),
            )
        ),
        notices=several(
            st.builds(
                Notice, ts_ns=_TIME, level=_TEXT, text=_TEXT, is_alert=st.booleans(),
                context=st.lists(st.tuples(_TEXT, _TEXT), max_size=3).map(tuple),
            )
        ),
    )  # fmt: skip
