"""Reconciliation: what still differs between a session and its venue after recovery has healed what it can, and what is done then.

A comparison is made of what was known before the venue was asked and after it answered, so that what changed meanwhile is no
difference; and a difference counts only when it has lasted. Only own orders are compared: those of others are never touched.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from grinder_kit.execution.account import AccountBooks
from grinder_kit.execution.alerts import NOTHING, AlertLevel, AlertManager
from grinder_kit.execution.own_orders import OwnOrder
from grinder_kit.execution.translate import is_ours
from grinder_kit.model.fill import PositionDiff, SyncAction
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.number import plain
from grinder_kit.model.order import InFlight, Order, Side
from grinder_kit.model.reconcile_config import ReconcileConfig, ReconcileMode

if TYPE_CHECKING:
    import polars as pl


class MismatchKind(StrEnum):
    """What differs."""

    ORDER_MISSING_ON_EXCHANGE = "ORDER_MISSING_ON_EXCHANGE"
    ORDER_EXISTS_UNEXPECTED = "ORDER_EXISTS_UNEXPECTED"
    ORDER_STATUS_DIVERGENCE = "ORDER_STATUS_DIVERGENCE"
    POSITION_NONZERO_UNEXPECTED = "POSITION_NONZERO_UNEXPECTED"


#: What would be done about each, one by one.
_PLANS: Mapping[MismatchKind, str] = {
    MismatchKind.ORDER_MISSING_ON_EXCHANGE: "look the order up, and place its level again once it is known to have ended",
    MismatchKind.ORDER_EXISTS_UNEXPECTED: "withdraw the order",
    MismatchKind.ORDER_STATUS_DIVERGENCE: "take the order as the venue shows it",
    MismatchKind.POSITION_NONZERO_UNEXPECTED: "take the difference for somebody else's, and leave it alone",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """One difference.

    Parameters
    ----------
    kind : MismatchKind
    subject : str
        Client order id, or symbol.
    ours, venues : str
        Both sides in words.
    since_ns : int
        When it was first seen, ns UTC.
    age_ns : int
        For how long it has been seen since.
    """

    kind: MismatchKind
    subject: str
    ours: str
    venues: str
    since_ns: int
    age_ns: int = 0

    @property
    def age_s(self) -> float:
        """For how long it has been seen, s."""
        return self.age_ns / 1e9

    def __str__(self) -> str:
        """Return the difference in one line."""
        return f"{self.kind} {self.subject}: ours {self.ours}, the venue's {self.venues}, for {self.age_s:.1f} s"

    def _is(self, other: Mismatch) -> bool:
        """Whether both are one difference. A position's may grow as it lasts; an order that has changed is another one."""
        if (self.kind, self.subject) != (other.kind, other.subject):
            return False
        return self.kind is MismatchKind.POSITION_NONZERO_UNEXPECTED or (self.ours, self.venues) == (
            other.ours,
            other.venues,
        )


class Known(NamedTuple):
    """What was known of own orders at one moment: all ids, and ticks, lots and filled lots of those without a request under way."""

    ids: frozenset[str]
    at_rest: Mapping[str, tuple[int, int, int]]


def known(orders: Iterable[OwnOrder]) -> Known:
    """Return what is known of own orders now."""
    listed = list(orders)
    return Known(
        frozenset(one.client_order_id for one in listed),
        {one.client_order_id: (one.ticks, one.lots, one.filled) for one in listed if one.in_flight is None},
    )


def mismatches(
    before: Known,
    after: Known,
    venue: Iterable[Order],
    diffs: Mapping[str, PositionDiff],
    *,
    instrument: Instrument,
    tag: str,
    now_ns: int,
    earlier: Sequence[Mismatch] = (),
) -> tuple[Mismatch, ...]:
    """Return what differs between a session and its venue.

    Parameters
    ----------
    before, after : Known
        Own orders before the venue was asked and after it answered. What was under way, or has changed meanwhile, is not judged.
    venue : iterable of Order
        Open orders of the account; those of others are passed over.
    diffs : mapping of str to PositionDiff
        What :meth:`PositionSyncer.compare` found; what is to be ignored is passed over.
    instrument : Instrument
    tag : str
        The session's.
    now_ns : int
        ns UTC.
    earlier : sequence of Mismatch
        What the last comparison returned: what was seen then is older.

    Examples
    --------
    >>> from decimal import Decimal as D
    >>> btc = Instrument(symbol="BTCUSDT", venue="paper", base="BTC", quote="USDT", tick=D("0.1"), lot=D("0.001"))
    >>> ours = known([OwnOrder("gkr0-B1-1", "B1", 1, 599_900, 4, 0, in_flight=None)])
    >>> (one,) = mismatches(ours, ours, [], {}, instrument=btc, tag="r0", now_ns=0)
    >>> (late,) = mismatches(ours, ours, [], {}, instrument=btc, tag="r0", now_ns=6_000_000_000, earlier=[one])
    >>> print(late)
    ORDER_MISSING_ON_EXCHANGE gkr0-B1-1: ours BUY 0.004 at 59990, 0 filled, the venue's no open order, for 6.0 s
    """
    found: list[Mismatch] = []

    def add(kind: MismatchKind, subject: str, ours: str, venues: str) -> None:
        fresh = Mismatch(kind=kind, subject=subject, ours=ours, venues=venues, since_ns=now_ns)
        old = next((one for one in earlier if one._is(fresh)), None)
        # Where the clock went back it is as if it were new.
        if old is not None and old.since_ns <= now_ns:
            fresh = replace(fresh, since_ns=old.since_ns, age_ns=now_ns - old.since_ns)
        found.append(fresh)

    open_now = {one.client_order_id: one for one in venue if is_ours(one.client_order_id, tag)}
    for name, (ticks, lots, filled) in after.at_rest.items():
        if name not in before.at_rest or before.at_rest[name][:2] != (ticks, lots):
            continue
        order, was_filled = open_now.get(name), before.at_rest[name][2]
        ours = f"{_side(name)} {_words(instrument, ticks, lots, filled)}"
        if order is None:
            if was_filled == filled:
                add(MismatchKind.ORDER_MISSING_ON_EXCHANGE, name, ours, "no open order")
        elif order.in_flight is not InFlight.UNKNOWN and (
            (order.price, order.quantity) != (instrument.price(ticks), instrument.quantity(lots))
            or not instrument.quantity(was_filled) <= order.filled_quantity <= instrument.quantity(filled)
        ):
            add(MismatchKind.ORDER_STATUS_DIVERGENCE, name, ours, _shown(order))
    for name in sorted(open_now.keys() - before.ids - after.ids):
        add(MismatchKind.ORDER_EXISTS_UNEXPECTED, name, "no such order", _shown(open_now[name]))
    for diff in diffs.values():
        if diff.action is SyncAction.RECONCILE:
            add(
                MismatchKind.POSITION_NONZERO_UNEXPECTED,
                diff.symbol,
                plain(diff.local_qty),
                f"{plain(diff.exchange_qty)} ({diff.diff:+f})",
            )
    return tuple(found)


def _side(client_order_id: str) -> Side:
    return Side.BUY if client_order_id.rsplit("-", 2)[1].startswith("B") else Side.SELL


def _words(instrument: Instrument, ticks: int, lots: int, filled: int) -> str:
    quantity = instrument.quantity
    return f"{plain(quantity(lots))} at {plain(instrument.price(ticks))}, {plain(quantity(filled))} filled"


def _shown(order: Order) -> str:
    return f"{order.side} {plain(order.quantity)} at {plain(order.price)}, {plain(order.filled_quantity)} filled"


class Reconciler:
    """Says what lasts, and does what the configuration asks for about it, within its budgets.

    Parameters
    ----------
    alerts : AlertManager
    account : AccountBooks
        Knows the actions of this run and this day.
    act : callable
        Called with the mode (`CANCEL_ALL` or `FLATTEN`) and the reason; does it, counts it in `account`, and returns None. Where
        there is nothing to do it returns why.

    Attributes
    ----------
    found : tuple of Mismatch
        What the last comparison found, what has not lasted yet included.
    judged : sequence of Mismatch
        The latest that had lasted, oldest first.

    Examples
    --------
    >>> import asyncio
    >>> account, done = AccountBooks(), []
    >>> reconciler = Reconciler(AlertManager(), account, lambda mode, reason: done.append(mode.value))
    >>> lasting = Mismatch(kind=MismatchKind.ORDER_MISSING_ON_EXCHANGE, subject="gkr0-B1-1", ours="open", venues="none",
    ...                    since_ns=0, age_ns=6_000_000_000)
    >>> dealt = asyncio.run(reconciler.judge([lasting], ReconcileConfig(mode="cancel_all"), now_ns=6_000_000_000))
    >>> done, reconciler
    (['cancel_all'], <Reconciler: 1 differ now, 1 have lasted>)
    """

    def __init__(
        self, alerts: AlertManager, account: AccountBooks, act: Callable[[ReconcileMode, str], str | None]
    ) -> None:
        self.found: tuple[Mismatch, ...] = ()
        self.judged: deque[Mismatch] = deque(maxlen=1000)
        self._alerts, self._account, self._act = alerts, account, act

    def next_look_ns(self, config: ReconcileConfig) -> int | None:
        """Return when what was found will have lasted; None where nothing waits for that."""
        young = [one.since_ns + config.grace_ns for one in self.found if one.age_ns < config.grace_ns]
        return min(young, default=None)

    async def judge(
        self,
        found: Sequence[Mismatch],
        config: ReconcileConfig,
        now_ns: int,
        context: Mapping[str, str] = NOTHING,
    ) -> tuple[Mismatch, ...]:
        """Take what a comparison found; return what has lasted and was dealt with as the mode says.

        `context` is told with it.

        What was to be acted on and was not, for the cooldown or a budget, is not among it: it comes up again.
        """
        self.found = tuple(found)
        lasting = tuple(one for one in self.found if one.age_ns >= config.grace_ns)
        if not lasting:
            return ()
        self.judged.extend(lasting)
        facts = {str(n): str(one) for n, one in enumerate(lasting, start=1)}
        facts |= {"mode": config.mode.value, **context}
        tell = self._alerts.send_alert
        if config.mode is ReconcileMode.DETECT:
            await tell(AlertLevel.WARNING, "session and venue differ", facts)
            return lasting
        if config.mode is ReconcileMode.PLAN:
            plans = {f"plan_{n}": _PLANS[one.kind] for n, one in enumerate(lasting, start=1)}
            await tell(AlertLevel.WARNING, "session and venue differ; planned, and not done", facts | plans)
            return lasting
        refusal = self._refusal(config, now_ns)
        if refusal is not None:
            await tell(AlertLevel.ERROR, f"session and venue differ; nothing is done: {refusal}", facts)
            return ()
        reason = f"reconciliation: {lasting[0]}" + (f", and {len(lasting) - 1} more" if lasting[1:] else "")
        needless = self._act(config.mode, reason)
        if needless is not None:
            await tell(AlertLevel.WARNING, f"session and venue differ; nothing to be done: {needless}", facts)
            return lasting
        used = {
            "actions_of_run": f"{self._account.this_run} of {config.max_actions_per_run}",
            "actions_of_day": f"{self._account.actions_on(now_ns)} of {config.max_actions_per_day}",
        }
        await tell(AlertLevel.ERROR, f"session and venue differ; {_DONE[config.mode]}", facts | used)
        return lasting

    def _refusal(self, config: ReconcileConfig, now_ns: int) -> str | None:
        """Return why nothing may be done now."""
        run, day, last = self._account.this_run, self._account.actions_on(now_ns), self._account.last_action_ns
        if run >= config.max_actions_per_run:
            return f"budget of the run used up: {run} of {config.max_actions_per_run}"
        if day >= config.max_actions_per_day:
            return f"budget of the day used up: {day} of {config.max_actions_per_day}"
        if last is not None and now_ns < last + config.cooldown_ns:
            return f"cooldown of {config.cooldown_s:g} s after the last action"
        return None

    def to_frame(self) -> pl.DataFrame:
        """Return what has lasted as a Polars frame, one row each, oldest first."""
        import polars as pl

        from grinder_kit.execution.frames import rows_frame

        schema = {
            "kind": pl.Enum([kind.value for kind in MismatchKind]), "subject": pl.String, "ours": pl.String,
            "venues": pl.String, "since_ns": pl.Int64, "age_s": pl.Float64,
        }  # fmt: skip
        rows = [(m.kind.value, m.subject, m.ours, m.venues, m.since_ns, m.age_s) for m in self.judged]
        return rows_frame(rows, schema)

    def __repr__(self) -> str:
        return f"<Reconciler: {len(self.found)} differ now, {len(self.judged)} have lasted>"


_DONE: Mapping[ReconcileMode, str] = {
    ReconcileMode.CANCEL_ALL: "own orders are withdrawn, and the session is paused",
    ReconcileMode.FLATTEN: "own orders are withdrawn, and the position is taken out",
}
