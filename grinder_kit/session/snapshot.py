"""What a session shows of itself: one frozen value in parts, so that a view takes only what has changed.

Times are ns UTC. `_ns` of the market and of orders are the session's time, which a simulated market may play faster than the
clock on the wall; what belongs to the process (start, grace) is wall time and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from enum import StrEnum
from functools import cache
from typing import Any, Self

from pydantic import TypeAdapter

from grinder_kit.model.event import RunState
from grinder_kit.model.fill import PairingView
from grinder_kit.model.order import InFlight, OrderState, Side

#: Resolved orders from which a ribbon's score says more than counts.
RESOLVED = 30


class Phase(StrEnum):
    """Where the process of a session stands."""

    STARTING = "STARTING"  # loads, compiles, agrees with the venue
    RUNNING = "RUNNING"
    ENDED = "ENDED"  # nothing of it is left at the venue, or it could not be confirmed and the status says so


class Verdict(StrEnum):
    """How a check of the session's health came out."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What stays the same while the process lives.

    `account` names whose orders these are: one session per account and symbol. `policy` is what happens when the last client
    is gone for `grace_s`: ``cancel`` or ``run_on``.
    """

    name: str
    mode: str
    symbol: str
    venue: str
    account: str
    market: str
    base: str
    quote: str
    settle: str
    tick: Decimal
    lot: Decimal
    tag: str
    pid: int
    version: str
    started_wall_ns: int
    speed: float
    policy: str
    grace_s: float
    folder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How the session is.

    `to_end` is how many own orders stood when the end was asked for (stop, kill): `to_end - open_orders` are gone.
    `unsupervised` says why no supervisor watches, empty while one does. `progress` says how far a schedule has come by which the
    position is taken out, empty where there is none. `grace_until_wall_ns`: the policy acts then, unless a
    client comes. `order_size` is the quantity of the grid's orders, the largest where they differ.
    """

    phase: Phase
    state: RunState
    reason: str
    since_ns: int
    epoch: int
    synced: bool
    stale: bool
    open_orders: int
    unknown_orders: int
    to_end: int = 0
    unconfirmed: bool = False
    failure: str = ""
    empty_reason: str = ""
    config_digest: str = ""
    clients: int = 0
    grace_until_wall_ns: int | None = None
    unsupervised: str = ""
    progress: str = ""
    order_size: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """A schedule by which the position is taken out, and what is out; `Status.progress` says it in words.

    Either `over_s` is set (slices over so many seconds), or `shown` (post-only orders of that quantity, one at a time).
    """

    done: Decimal
    total: Decimal
    over_s: float | None = None
    shown: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """The market as last seen, and the time: `now_ns` is the session's, `wall_ns` the machine's."""

    now_ns: int
    wall_ns: int
    bid: Decimal | None = None
    ask: Decimal | None = None
    feed_age_s: float | None = None
    market_ended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One row of the ladder: an own order, or a level that is not quoted (`refused`), with its reason.

    `queue_ahead` is the quantity in front of it (None: not known), `queue_s` the time in which so much has traded lately.
    `fill_prob` is the probability of a fill within the planner's horizon, with its interval, and `placed_prob` what it was when
    the order came to its price. `value_bps` is what a try is worth in bps of its notional, `profit_bps` what a fill of it earns.
    """

    key: str
    level_id: str
    side: Side
    price: Decimal
    quantity: Decimal | None = None
    filled: Decimal = Decimal(0)
    state: OrderState | None = None
    in_flight: InFlight | None = None
    refused: bool = False
    reason: str = ""
    why: str = ""
    client_order_id: str = ""
    generation: int = 0
    amends: int = 0
    age_s: float | None = None
    queue_ahead: Decimal | None = None
    queue_s: float | None = None
    fill_prob: float | None = None
    prob_low: float | None = None
    prob_high: float | None = None
    placed_prob: float | None = None
    value_bps: float | None = None
    value_low: float | None = None
    value_high: float | None = None
    profit_bps: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """By what levels are judged and valued.

    `model` is its name (empty: none), `fitted` on what, `sha256` the beginning of its hash. Probabilities are for fills within
    `horizon_s`; levels below `least` are refused. `no_prob` and `no_value` say why there is none, empty where there is.
    """

    model: str = ""
    fitted: str = ""
    sha256: str = ""
    horizon_s: float = 0.0
    least: float = 0.0
    no_prob: str = ""
    no_value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RibbonBin:
    """Orders of about one probability at placement: the mean of it, and the share that filled within the horizon (90 %)."""

    predicted: float
    observed: float
    low: float | None
    high: float | None
    orders: int
    filled: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ribbon:
    """Each own order's probability at placement against what happened.

    `orders` have ended or moved; `filled` of them filled within the horizon and `stood` rested for so long, the others were
    withdrawn before and are censored. `seen` and `expected` fills are those of all time at rest, `low` and `high` the 90 % range;
    `left_out` spells had no known market. `text` is empty while too few are resolved, `disagrees` whether the fills lie outside
    99 %, `in_sample` whether the orders may lie in the model's training.
    """

    orders: int = 0
    filled: int = 0
    stood: int = 0
    left_out: int = 0
    seen: int = 0
    expected: float = 0.0
    low: float = 0.0
    high: float = 0.0
    rcll: float | None = None
    text: str = ""
    disagrees: bool = False
    in_sample: bool = False
    bins: tuple[RibbonBin, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """What the session has earned, in the settlement asset: ``grid + trend + funding - commission = equity``.

    `drawdown` is from the highest equity, `day_loss` what was lost since 00:00 UTC (0 where something was gained).
    """

    position: Decimal = Decimal(0)
    mark: Decimal | None = None
    equity: Decimal | None = None
    grid: Decimal = Decimal(0)
    trend: Decimal | None = None
    funding: Decimal = Decimal(0)
    commission: Decimal = Decimal(0)
    residual: Decimal | None = None
    drawdown: Decimal = Decimal(0)
    day_loss: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profit:
    """Profit by one pairing rule, before fees, in the settlement asset; `unrealised` at `Money.mark`, None without one."""

    view: PairingView
    realised: Decimal
    unrealised: Decimal | None
    inventory: Decimal
    open_lots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """The three views of profit: average, first in first out, level pairing.

    `unconverted` are fees as (asset, amount) whose rate nobody knew: no figure holds them. `late` fills came after one with a later
    time.
    """

    profits: tuple[Profit, ...] = ()
    unconverted: tuple[tuple[str, Decimal], ...] = ()
    late: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Differs:
    """One difference between session and venue: `subject` is an order or a symbol, `since_ns` when it was first seen."""

    kind: str
    subject: str
    ours: str
    venues: str
    since_ns: int
    age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What the account should hold, and what the venue says it does: ``exchange - local = diff``, in base or contracts.

    `local` is what own fills come to, and `foreign`: what the account holds beside them (None until it was first seen). `diff` is
    that of the last look, own fills since then added on both sides. It and `exchange` are None while the position is not `known`,
    because the venue has not told it, or not for longer than it is asked. `action` is what a difference calls for: RECONCILE, or
    IGNORE below the threshold. `mismatches` are open, those of orders too; `settled` was the last of a position that lasted.
    """

    local: Decimal = Decimal(0)
    foreign: Decimal | None = None
    exchange: Decimal | None = None
    diff: Decimal | None = None
    action: str = ""
    known: bool = False
    last_sync_ns: int = 0
    mismatches: tuple[Differs, ...] = ()
    settled: Differs | None = None
    mode: str = ""
    grace_s: float = 0.0
    actions_of_run: int = 0
    max_actions_per_run: int = 0
    actions_of_day: int = 0
    max_actions_per_day: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A limit and how much of it is used; `used` None where it is not known."""

    name: str
    used: Decimal | None
    limit: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How often: orders sent, amends confirmed, orders by how they ended. `decisions` are (action, reason, times)."""

    placed: int = 0
    amended: int = 0
    filled: int = 0
    cancelled: int = 0
    expired: int = 0
    rejected: int = 0
    fills: int = 0
    round_trips: int = 0
    decisions: tuple[tuple[str, str, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of the session's health."""

    name: str
    verdict: Verdict
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """How long the venue took to answer one kind of request, ms.

    `count` were answered, `timeouts` never in time. A quantile is of all of them and None where it falls among the timeouts, or
    where they are too few for it; `min_ms`, `max_ms` and `mean_ms` are of the answered. `share` had been answered within `ms`,
    among the latest; `censored_ms` are the ages at which some of those were given up.
    """

    operation: str
    count: int
    timeouts: int
    min_ms: float | None = None
    max_ms: float | None = None
    mean_ms: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    ms: tuple[float, ...] = ()
    share: tuple[float, ...] = ()
    censored_ms: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Equity and its parts over session time, thinned evenly; columns of one length.

    `generation` rises when points were thinned out; within one generation points are only added.
    """

    generation: int = 0
    ts_ns: tuple[int, ...] = ()
    mid: tuple[float, ...] = ()
    position: tuple[float, ...] = ()
    equity: tuple[float, ...] = ()
    grid: tuple[float, ...] = ()
    trend: tuple[float, ...] = ()
    commission: tuple[float, ...] = ()
    funding: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """A fill, as a table shows it."""

    fill_id: str
    ts_ns: int
    key: str
    side: Side
    price: Decimal
    quantity: Decimal
    commission: Decimal
    commission_asset: str
    is_maker: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Trip:
    """A round trip, as a table shows it."""

    ts_ns: int
    entry_price: Decimal
    exit_price: Decimal
    quantity: Decimal
    net_pnl: Decimal
    net_bps: float
    hold_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that a person should read; `level` is that of the log. An alert has a context: names and texts."""

    ts_ns: int
    level: str
    text: str
    is_alert: bool = False
    context: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A session at one moment. `fills`, `trips` and `notices` hold the latest; `Session.fills` has all."""

    about: About
    status: Status
    now: Now
    exit: Exit | None = None
    ladder: tuple[Rung, ...] = ()
    forecast: Forecast = field(default_factory=Forecast)
    ribbon: Ribbon = field(default_factory=Ribbon)
    money: Money = field(default_factory=Money)
    views: Views = field(default_factory=Views)
    account: Account = field(default_factory=Account)
    limits: tuple[Limit, ...] = ()
    counts: Counts = field(default_factory=Counts)
    health: tuple[Check, ...] = ()
    latency: tuple[Waits, ...] = ()
    series: Series = field(default_factory=Series)
    fills: tuple[Trade, ...] = ()
    trips: tuple[Trip, ...] = ()
    notices: tuple[Notice, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the parts as JSON types; prices and money are texts."""
        return {part: dump(part, getattr(self, part)) for part in PARTS}

    @classmethod
    def from_json(cls, parts: Mapping[str, Any]) -> Self:
        """Return what :meth:`to_json` wrote."""
        return cls(**{part: load(part, value) for part, value in parts.items()})

    def with_parts(self, parts: Mapping[str, Any]) -> Self:
        """Return this snapshot with some parts, given as JSON types, in place of its own."""
        return replace(self, **{part: load(part, value) for part, value in parts.items()})


#: The names of the parts, in the order of the fields.
PARTS: tuple[str, ...] = tuple(one.name for one in fields(Snapshot))

_TYPES: Mapping[str, Any] = {
    "about": About,
    "status": Status,
    "now": Now,
    "exit": Exit | None,
    "ladder": tuple[Rung, ...],
    "forecast": Forecast,
    "ribbon": Ribbon,
    "money": Money,
    "views": Views,
    "account": Account,
    "limits": tuple[Limit, ...],
    "counts": Counts,
    "health": tuple[Check, ...],
    "latency": tuple[Waits, ...],
    "series": Series,
    "fills": tuple[Trade, ...],
    "trips": tuple[Trip, ...],
    "notices": tuple[Notice, ...],
}


@cache
def _adapter(part: str) -> TypeAdapter[Any]:
    return TypeAdapter(_TYPES[part])


def dump(part: str, value: Any) -> Any:
    """Return one part as JSON types."""
    return _adapter(part).dump_python(value, mode="json")


def load(part: str, value: Any) -> Any:
    """Return one part from JSON types.

    Raises
    ------
    pydantic.ValidationError
        For what another version wrote.
    """
    return _adapter(part).validate_python(value)
