"""Whether the account holds what it should: one line of a session's health."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from grinder_kit.execution.reconciliation import MismatchKind
from grinder_kit.model.fill import SyncAction
from grinder_kit.model.number import plain
from grinder_kit.session.snapshot import Account, Check, Verdict


def position_check(account: Account, unit: str, now_ns: int) -> Check:
    """Return whether the venue holds what it should.

    Parameters
    ----------
    account : Account
    unit : str
        Base asset, or contracts.
    now_ns : int
        The session's time, ns UTC.
    """

    def signed(quantity: Decimal) -> str:
        return f"{'+' if quantity > 0 else ''}{plain(quantity)} {unit}"

    def check(verdict: Verdict, text: str) -> Check:
        return Check(name="position", verdict=verdict, text=text)

    if account.foreign is None or not account.last_sync_ns:
        return check(Verdict.WARN, "unknown: the venue has not told it yet; no new risk until it has")
    seconds = max(0, now_ns - account.last_sync_ns) // 1_000_000_000
    if account.diff is None:
        since = f"since {_time(account.last_sync_ns)}, {seconds} s ago"
        return check(Verdict.WARN, f"unknown: the venue did not answer {since}; it should be {signed(account.local)}")
    ago = f"{seconds} s ago"
    if account.foreign:
        ago += f"; {signed(account.foreign)} of it is not this session's, and left alone"
    if account.action == SyncAction.IGNORE:
        return check(Verdict.WARN, f"off by {signed(account.diff)}, below the threshold, {ago}")
    if account.action == SyncAction.RECONCILE:
        return check(Verdict.FAIL, f"off by {signed(account.diff)}: {_done(account)}; looked at {ago}")
    if account.settled is None:
        return check(Verdict.OK, f"agrees, {ago}")
    ours, venues = account.settled.ours, account.settled.venues
    was = f"at {_time(account.settled.since_ns)} ours was {ours}, the venue's {venues}"
    return check(Verdict.WARN, f"agrees, {ago}; {was}: see the journal")


def _done(account: Account) -> str:
    """Say what is done about a difference that is there."""
    ages = [one.age_s for one in account.mismatches if one.kind == MismatchKind.POSITION_NONZERO_UNEXPECTED]
    if max(ages, default=0.0) < account.grace_s:
        return f"it counts once it has lasted {account.grace_s:g} s"
    run = f"{account.actions_of_run} of {account.max_actions_per_run} actions of the run"
    day = f"{account.actions_of_day} of {account.max_actions_per_day} of the day"
    return f"nothing is done about it yet (mode {account.mode}; {run}, {day})"


def _time(ts_ns: int) -> str:
    return f"{datetime.fromtimestamp(ts_ns // 1_000_000_000, UTC):%H:%M:%S} UTC"
