"""From a running session to its snapshot: reads, and changes nothing."""

from __future__ import annotations

import hashlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import TypeVar

from grinder_kit.decision.grid_manager import level_id
from grinder_kit.decision.risk import RATE_WINDOW_S
from grinder_kit.execution.alerts import Alert
from grinder_kit.execution.budget import WeightBudget
from grinder_kit.execution.frames import net_bps
from grinder_kit.execution.latency import LatencyMonitor
from grinder_kit.execution.money import EXACT, ZERO
from grinder_kit.execution.own_orders import OwnOrder, key_of
from grinder_kit.execution.reconciliation import Mismatch, MismatchKind
from grinder_kit.execution.shell import Shell
from grinder_kit.execution.way_out import amount
from grinder_kit.model.config import Config
from grinder_kit.model.event import RunState, Tick
from grinder_kit.model.fill import Fill, RoundTrip
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.order import InFlight, OrderState, Side
from grinder_kit.session.forecasts import Chance, Forecasts
from grinder_kit.session.health import position_check
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

Value = TypeVar("Value")

ROWS, LATEST, POINTS = 200, 200, 1000
#: Points of a latency curve.
SHOWN = 200
#: Letters of a notice.
LONGEST = 500
#: A look at the venue that comes so much later than it is due has not been answered.
OVERDUE_NS = 10_000_000_000


class Curve:
    """Equity and its parts over time in bounded memory: when it is full, every other point goes and half as many come.

    Parameters
    ----------
    every_ns : int
        Time between two points at first.
    """

    def __init__(self, every_ns: int = 1_000_000_000) -> None:
        self.generation = 0
        self.points: list[tuple[int, float, float, float, float, float, float, float]] = []
        self._every_ns, self._next_ns = every_ns, 0

    def due(self, now_ns: int) -> bool:
        """Whether a point is wanted at this time."""
        return now_ns >= self._next_ns

    def add(self, now_ns: int, mid: float, money: Money) -> None:
        """Take a point."""
        self._next_ns = max(self._next_ns + self._every_ns, now_ns + 1)
        values = (money.position, money.equity, money.grid, money.trend, money.commission, money.funding)
        self.points.append((now_ns, mid, *(float(value or 0) for value in values)))  # type: ignore[arg-type]
        if len(self.points) >= POINTS:
            self.points = self.points[::2]
            self._every_ns *= 2
            self._next_ns = self.points[-1][0] + self._every_ns
            self.generation += 1

    def series(self) -> Series:
        """Return the points as columns."""
        if not self.points:
            return Series(generation=self.generation)
        ts, mid, position, equity, grid, trend, commission, funding = zip(*self.points, strict=True)
        return Series(
            generation=self.generation,
            ts_ns=ts, mid=mid, position=position, equity=equity, grid=grid, trend=trend, commission=commission,
            funding=funding,
        )  # fmt: skip


class Notices(logging.Handler):
    """The latest warnings, errors and alerts of the log, and what the session wants to tell."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        super().__init__(logging.INFO)
        self._now_ns = now_ns
        self.latest: deque[Notice] = deque(maxlen=LATEST)

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record of the log; of those that only inform, alerts."""
        what = record.args[0] if isinstance(record.args, tuple) and record.args else None
        if isinstance(what, Alert):
            self.latest.append(_told(what))
        elif record.levelno >= logging.WARNING:
            self.tell(record.levelname, record.getMessage())

    def tell(self, level: str, text: str) -> None:
        """Take what a person should read."""
        self.latest.append(Notice(ts_ns=self._now_ns(), level=level, text=text[:LONGEST]))


@dataclass(slots=True, kw_only=True)
class Facts:
    """What a view is told by the runner: the process around the session."""

    phase: Phase = Phase.STARTING
    to_end: int = 0
    unconfirmed: bool = False
    clients: int = 0
    grace_until_wall_ns: int | None = None
    unsupervised: str = ""
    behind_s: float = 0.0
    longest_gap_ms: float = 0.0
    market_ended: bool = False
    feed_age_s: float | None = None


class View:
    """Make snapshots of a session.

    Parameters
    ----------
    about : About
    shell : Shell
    latency : LatencyMonitor
    budget : WeightBudget
    notices : Notices
    queue_ahead : callable, optional
        Quantity ahead of an order by its client order id, where the venue can tell.
    forecasts : Forecasts, optional
        What the session expects of its orders.
    """

    def __init__(
        self,
        about: About,
        shell: Shell,
        latency: LatencyMonitor,
        budget: WeightBudget,
        notices: Notices,
        *,
        queue_ahead: Callable[[str], Decimal | None] | None = None,
        forecasts: Forecasts | None = None,
    ) -> None:
        self.about, self.shell, self.facts = about, shell, Facts()
        self.notices = notices
        self._latency, self._budget, self._queue_ahead = latency, budget, queue_ahead
        self._forecasts = forecasts
        self._curve = Curve()
        self._mid: Decimal | None = None

    # --- over time ---------------------------------------------------------------------------------------------------

    def sample(self) -> None:
        """Take a point of the equity curve where one is due, and forget the orders that have ended."""
        now = self.shell.now_ns()
        self.shell.engine.orders.collect()
        tick = self.shell.market.tick(now)
        mid = self._mid_of(tick)
        if mid is None:
            return
        self._mid = mid
        if self._curve.due(now):
            self._curve.add(now, float(mid), self._money())

    def _mid_of(self, tick: Tick) -> Decimal | None:
        if tick.bid_ticks is None or tick.ask_ticks is None:
            return None
        return self.shell.engine.instrument.tick * (tick.bid_ticks + tick.ask_ticks) / 2

    # --- the parts ---------------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Return the session as it is."""
        now, instrument = self.shell.now_ns(), self.shell.engine.instrument
        tick = self.shell.market.tick(now)
        self._mid = self._mid_of(tick) or self._mid
        bid, ask = (None if t is None else instrument.price(t) for t in (tick.bid_ticks, tick.ask_ticks))
        money, account = self._money(), self._account(now)
        tracker = self.shell.engine.tracker
        return Snapshot(
            about=self.about,
            status=self._status(tick.stale),
            now=Now(
                now_ns=now,
                wall_ns=time.time_ns(),
                bid=bid,
                ask=ask,
                feed_age_s=self.facts.feed_age_s,
                market_ended=self.facts.market_ended,
            ),
            exit=self._exit(),
            ladder=self._ladder(now),
            forecast=Forecast() if self._forecasts is None else self._forecasts.forecast(),
            ribbon=Ribbon() if self._forecasts is None else self._forecasts.ribbon(),
            money=money,
            views=self._views(),
            account=account,
            limits=self._limits(),
            counts=self._counts(),
            health=tuple(self._health(tick.stale, account, now)),
            latency=tuple(_waits(self._latency, one) for one in self._latency.operations),
            series=self._curve.series(),
            fills=tuple(_trade(fill) for fill in tracker.fills[-LATEST:]),
            trips=tuple(_trip(trip, instrument) for trip in tracker.round_trips[-LATEST:]),
            notices=tuple(self.notices.latest),
        )

    def _status(self, stale: bool) -> Status:
        engine, facts = self.shell.engine, self.facts
        orders = list(engine.orders)
        return Status(
            phase=facts.phase,
            state=engine.state,
            reason=engine.state_reason,
            since_ns=engine.state_since_ns or self.shell.started_ns,
            epoch=engine.epoch,
            synced=engine.synced,
            stale=stale,
            open_orders=len(orders),
            unknown_orders=sum(order.in_flight is InFlight.UNKNOWN for order in orders),
            to_end=facts.to_end,
            unconfirmed=facts.unconfirmed,
            failure="" if self.shell.failure is None else f"{type(self.shell.failure).__name__}: {self.shell.failure}",
            empty_reason=engine.empty_reason or "" if engine.state is RunState.RUNNING else "",
            config_digest=digest_of(engine.config),
            clients=facts.clients,
            grace_until_wall_ns=facts.grace_until_wall_ns,
            unsupervised=facts.unsupervised,
            progress=self._progress(),
            order_size=max(engine.config.grid.sizes),
        )

    def _progress(self) -> str:
        engine = self.shell.engine
        way_out, progress, instrument = engine.way_out, engine.exit_progress, engine.instrument
        if way_out is None or progress is None:
            return ""
        if engine.state is RunState.PAUSED:  # its time stands still
            progress = replace(progress, wait_ns=None)
        asked = way_out.asked
        how = (
            f"over {_span(asked.duration_ns)}"
            if asked.duration_ns
            else f"{amount(instrument, asked.shown_lots or 0)} shown"
        )
        return f"{how}: {progress.text(partial(amount, instrument))}"

    def _exit(self) -> Exit | None:
        engine = self.shell.engine
        way_out, progress, quantity = engine.way_out, engine.exit_progress, engine.instrument.quantity
        if way_out is None or progress is None:
            return None
        asked = way_out.asked
        return Exit(
            done=quantity(progress.done_lots),
            total=quantity(progress.total_lots),
            over_s=None if asked.duration_ns is None else asked.duration_ns / 1e9,
            shown=None if asked.shown_lots is None else quantity(asked.shown_lots),
        )

    def _ladder(self, now: int) -> tuple[Rung, ...]:
        engine = self.shell.engine
        orders = list(engine.orders)
        chances = [Chance()] * len(orders)
        if self._forecasts is not None:
            chances = self._forecasts.chances([(order.side, order.ticks) for order in orders])
        shown = [self._rung(order, now, chance) for order, chance in zip(orders, chances, strict=True)]
        standing = {rung.key for rung in shown}
        for (key, side, reason), count in engine.refusals.now():
            if key not in standing and engine.state is RunState.RUNNING and key_of(f"gk-{key}-1") is not None:
                shown.append(
                    Rung(
                        key=key,
                        level_id=level_id(key),
                        side=Side.BUY if side > 0 else Side.SELL,
                        price=engine.instrument.price(count.ticks),
                        refused=True,
                        reason=reason,
                        why=count.detail,
                    )
                )
        shown.sort(key=lambda rung: (-rung.price, rung.key))
        if len(shown) > ROWS and self._mid is not None:
            mid = self._mid
            nearest = sorted(shown, key=lambda rung: abs(rung.price - mid))[:ROWS]
            shown = sorted(nearest, key=lambda rung: (-rung.price, rung.key))
        return tuple(shown)

    def _rung(self, order: OwnOrder, now: int, chance: Chance) -> Rung:
        instrument = self.shell.engine.instrument
        ahead = self._queue_ahead(order.client_order_id) if self._queue_ahead is not None else None
        placed = None if self._forecasts is None else self._forecasts.placed(order.client_order_id)
        return Rung(
            key=order.key,
            level_id=level_id(order.key),
            side=Side.BUY if order.side > 0 else Side.SELL,
            price=instrument.price(order.ticks),
            quantity=instrument.quantity(order.lots),
            filled=instrument.quantity(order.filled),
            state=order.state,
            in_flight=order.in_flight,
            reason=order.reason,
            client_order_id=order.client_order_id,
            generation=int(order.client_order_id.rpartition("-")[2], 36),
            amends=order.amends,
            age_s=round((now - order.sent_ns) / 1e9, 1),
            queue_ahead=ahead,
            fill_prob=None if chance.prob is None else _short(chance.prob.value, 3),
            prob_low=None if chance.prob is None else _short(chance.prob.low, 3),
            prob_high=None if chance.prob is None else _short(chance.prob.high, 3),
            placed_prob=_short(placed, 3),
            value_bps=None if chance.value is None else _short(chance.value.value, 2),
            value_low=None if chance.value is None else _short(chance.value.low, 2),
            value_high=None if chance.value is None else _short(chance.value.high, 2),
            profit_bps=None if chance.profit is None else _short(chance.profit.value, 2),
        )

    def _money(self) -> Money:
        engine = self.shell.engine
        tracker, mark = engine.tracker, self._mid
        grid, funding, commission = tracker.level.realised, tracker.funding, tracker.commission
        plain = Money(position=tracker.inventory, grid=grid, funding=funding, commission=commission)
        if mark is None:
            return plain
        trend, equity = tracker.level.unrealised(mark), engine.ledger.equity(mark)
        explained = EXACT.subtract(EXACT.add(EXACT.add(grid, trend), funding), commission)
        return replace(
            plain,
            mark=mark,
            equity=equity,
            trend=trend,
            residual=EXACT.subtract(explained, equity),
            drawdown=engine.watch.marks.drawdown or Decimal(0),
            day_loss=engine.watch.marks.day_loss or Decimal(0),
        )

    def _views(self) -> Views:
        tracker, mark = self.shell.engine.tracker, self._mid
        return Views(
            profits=tuple(
                Profit(
                    view=one.kind,
                    realised=one.realised,
                    unrealised=None if mark is None else one.unrealised(mark),
                    inventory=one.inventory,
                    open_lots=one.open_count,
                )
                for one in (tracker.average, tracker.fifo, tracker.level)
            ),
            unconverted=tuple(sorted(tracker.unconverted.items())),
            late=tracker.late,
        )

    def _account(self, now: int) -> Account:
        shell, books, config = self.shell, self.shell.engine.account, self.shell.engine.config.reconcile
        syncer, reconciler = shell.syncer, shell.reconciler
        foreign = books.foreign
        asked_ns = syncer.last_sync_ns
        known = foreign is not None and asked_ns > 0 and now <= asked_ns + shell.resync_ns + OVERDUE_NS
        found = syncer.diffs.get(self.about.symbol) if known else None
        local = EXACT.add(shell.engine.tracker.inventory, foreign or ZERO)
        diff = ZERO if found is None else found.diff
        positions = (one for one in reversed(reconciler.judged) if one.kind is MismatchKind.POSITION_NONZERO_UNEXPECTED)
        settled = next(positions, None)
        return Account(
            local=local,
            foreign=foreign,
            exchange=EXACT.add(local, diff) if known else None,
            diff=diff if known else None,
            action="" if found is None else found.action.value,
            known=known,
            last_sync_ns=asked_ns,
            mismatches=tuple(_differs(one) for one in reconciler.found),
            settled=None if settled is None else _differs(settled),
            mode=config.mode.value,
            grace_s=config.grace_s,
            actions_of_run=books.this_run,
            max_actions_per_run=config.max_actions_per_run,
            actions_of_day=books.actions_on(now),
            max_actions_per_day=config.max_actions_per_day,
        )

    def _limits(self) -> tuple[Limit, ...]:
        engine = self.shell.engine
        facts = engine.watch.facts(engine.position.lots, valued=self._mid is not None)
        used = {
            "max_position": abs(facts.position),
            "max_notional": facts.notional,
            "max_drawdown": facts.drawdown,
            "max_loss_per_day": facts.day_loss,
            "max_orders_per_s": Decimal(facts.sent) / RATE_WINDOW_S,
        }
        return tuple(
            Limit(name=name, used=value, limit=limit)
            for name, value in used.items()
            if (limit := getattr(engine.config.limits, name)) is not None
        )

    def _counts(self) -> Counts:
        engine, totals = self.shell.engine, self.shell.engine.orders.totals
        return Counts(
            placed=totals.placed,
            amended=totals.amended,
            filled=totals.ended[OrderState.FILLED],
            cancelled=totals.ended[OrderState.CANCELLED],
            expired=totals.ended[OrderState.EXPIRED],
            rejected=totals.ended[OrderState.REJECTED],
            fills=engine.tracker.fill_count,
            round_trips=engine.tracker.round_trip_count,
            decisions=tuple((a.value, str(r), n) for (a, r), n in sorted(engine.decisions.items()) if n),
        )

    def _health(self, stale: bool, account: Account, now: int) -> Iterator[Check]:
        engine, facts, budget = self.shell.engine, self.facts, self._budget

        def check(name: str, verdict: Verdict, text: str) -> Check:
            return Check(name=name, verdict=verdict, text=text)

        orders = [one for one in account.mismatches if one.kind != MismatchKind.POSITION_NONZERO_UNEXPECTED]

        age = "" if facts.feed_age_s is None else f", heard {facts.feed_age_s:.1f} s ago"
        if facts.market_ended:
            yield check("market", Verdict.WARN, "the market has been played to its end")
        elif stale:
            yield check("market", Verdict.FAIL, f"stale{age}: no new risk until it is whole again")
        else:
            yield check("market", Verdict.OK, f"fresh{age}")
        if not engine.synced:
            yield check("own orders", Verdict.FAIL, "being compared with the venue: no new risk until that is done")
        elif orders:
            first = f"{orders[0].subject}: ours {orders[0].ours}, the venue's {orders[0].venues}"
            differ = "1 differs" if len(orders) == 1 else f"{len(orders)} differ"
            yield check("own orders", Verdict.WARN, f"{differ} from the venue's; {first}")
        else:
            yield check("own orders", Verdict.OK, "agree with the venue")
        yield position_check(account, "contracts" if engine.instrument.inverse else engine.instrument.base, now)
        share = budget.used / budget.limit
        verdict = Verdict.OK if share < 0.8 else Verdict.WARN
        yield check("request weight", verdict, f"{budget.used:,} of {budget.limit:,} a minute")
        if self.shell.journal is None:
            yield check("journal", Verdict.FAIL, "cannot be written")
        else:
            yield check("journal", Verdict.OK, f"{self.shell.journal.last_seq:,} entries")
        gap = facts.longest_gap_ms
        yield check(
            "heartbeat", Verdict.OK if gap < 250 else Verdict.WARN, f"longest gap of the last minute {gap:.0f} ms"
        )
        if facts.behind_s > 1:
            yield check(
                "pace", Verdict.WARN, f"{facts.behind_s:.1f} s behind: the machine cannot keep up with the speed"
            )
        if facts.unsupervised:
            yield check("supervisor", Verdict.FAIL, facts.unsupervised)
        else:
            yield check("supervisor", Verdict.OK, "watches")


def _short(value: float | None, digits: int) -> float | None:
    """Return a number as it is sent: what nobody sees does not make a row differ."""
    return None if value is None else round(value, digits)


def digest_of(config: Config) -> str:
    """Return a name for what a configuration means: equal for equal meaning, 16 hex digits."""
    return hashlib.sha256(config.canonical().encode()).hexdigest()[:16]


def _told(alert: Alert) -> Notice:
    """Return an alert as a notice; so much of its context as there is room for."""
    text, context = alert.message[:LONGEST], []
    room = LONGEST - len(text)
    for name, value in alert.context.items():
        room -= len(name)
        if room <= 0:
            break
        context.append((name, value[:room]))
        room -= len(value)
    return Notice(ts_ns=alert.ts_ns, level=alert.level.value, text=text, is_alert=True, context=tuple(context))


def _differs(one: Mismatch) -> Differs:
    return Differs(
        kind=one.kind.value,
        subject=one.subject,
        ours=one.ours,
        venues=one.venues,
        since_ns=one.since_ns,
        age_s=round(one.age_s, 1),
    )


def _span(time_ns: int) -> str:
    seconds = time_ns / 1e9
    return (
        f"{seconds:g} s"
        if seconds < 120
        else f"{seconds / 60:.3g} min"
        if seconds < 7200
        else f"{seconds / 3600:.3g} h"
    )


def _trade(fill: Fill) -> Trade:
    return Trade(
        fill_id=fill.fill_id,
        ts_ns=fill.ts_ns,
        key=key_of(fill.order_id) or "",
        side=fill.side,
        price=fill.price,
        quantity=fill.quantity,
        commission=fill.commission,
        commission_asset=fill.commission_asset,
        is_maker=fill.is_maker,
    )


def _trip(trip: RoundTrip, instrument: Instrument) -> Trip:
    return Trip(
        ts_ns=trip.exit_fill.ts_ns,
        entry_price=trip.entry_fill.price,
        exit_price=trip.exit_fill.price,
        quantity=trip.quantity,
        net_pnl=trip.net_pnl,
        net_bps=net_bps(trip, instrument),
        hold_s=trip.hold_ns / 1e9,
    )


def _waits(latency: LatencyMonitor, operation: str) -> Waits:
    stats, curve = latency.get_stats(operation), _thin(latency.ecdf(operation))

    def ms(name: str) -> float | None:
        value = stats[name]
        return None if value is None else round(value, 3)

    return Waits(
        operation=operation,
        count=int(stats["count"] or 0),
        timeouts=int(stats["timeouts"] or 0),
        min_ms=ms("min"),
        max_ms=ms("max"),
        mean_ms=ms("mean"),
        p50_ms=ms("p50"),
        p95_ms=ms("p95"),
        p99_ms=ms("p99"),
        ms=tuple(round(time, 3) for time, _ in curve),
        share=tuple(round(share, 5) for _, share in curve),
        censored_ms=tuple(round(age, 3) for age in _thin(latency.censored_ms(operation))),
    )


def _thin(values: Sequence[Value]) -> Sequence[Value]:
    """Return at most `SHOWN` values, evenly, the first and the last among them."""
    last = len(values) - 1
    return values if last < SHOWN else [values[round(i * last / (SHOWN - 1))] for i in range(SHOWN)]
