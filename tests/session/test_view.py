"""View: what a session shows of its account, its profit and its way out, on a simulated venue in stepped time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal

import pytest

from grinder_kit.execution.clock import run_stepped
from grinder_kit.model.event import RunState
from grinder_kit.model.fill import PairingView
from grinder_kit.model.order import Side
from grinder_kit.session.health import position_check
from grinder_kit.session.snapshot import Account, Check, Differs, Notice, Snapshot, Verdict
from grinder_kit.session.view import LONGEST, Notices
from grinder_kit.session.words import more_lines
from tests.lab.drifting import DriftingPort
from tests.widgets.sessions import CONFIG, Viewed, changed, played, viewed

D = Decimal
S = 1_000_000_000
AT = 1_723_125_802 * S  # 14:03:22 UTC
DRIFTING = CONFIG.replace(**{"reconcile.every_s": 3, "reconcile.grace_s": 2, "retry.max_retries": 1})


async def until_it_holds(one: Viewed) -> None:
    """Trade until the session holds something."""
    await one.shell.start()
    while abs(one.shell.engine.position.lots) < 100:
        await one.shell.run(0.5)


@contextmanager
def heard(notices: Notices) -> Iterator[None]:
    """Let notices hear the log, as the runner does."""
    logger = logging.getLogger("grinder_kit")
    level = logger.level
    logger.addHandler(notices)
    logger.setLevel(logging.INFO)
    yield
    logger.setLevel(level)
    logger.removeHandler(notices)


def position(snapshot: Snapshot) -> Check:
    """Return what health says of the position."""
    return next(check for check in snapshot.health if check.name == "position")


# --- profit ----------------------------------------------------------------------------------------------------------


def test_views_are_those_of_the_tracker() -> None:
    """All three hold the same position; the level view is the one that `money` shows; JSON brings them back."""
    last = played()[-1]
    average, fifo, level = last.views.profits
    assert [one.view for one in last.views.profits] == list(PairingView)
    assert {one.inventory for one in last.views.profits} == {last.money.position}
    assert (level.realised, level.unrealised) == (last.money.grid, last.money.trend)
    assert average.open_lots <= 1 and fifo.open_lots and (last.views.unconverted, last.views.late) == ((), 0)
    together = {one.realised + one.unrealised for one in (fifo, level) if one.unrealised is not None}
    assert len(together) == 1
    assert Snapshot.from_json(last.to_json()) == last


# --- the account -----------------------------------------------------------------------------------------------------


def test_account_agrees_differs_and_is_taken_for_granted() -> None:
    """Trades of somebody else: what is held is off at the next look, told once with its context, and foreign after that."""

    async def main() -> None:
        async with viewed(DRIFTING, port_of=lambda venue: DriftingPort(venue, venue.clock)) as one:
            with heard(one.view.notices):
                assert position(one.view.snapshot()).text.startswith("unknown: the venue has not told it yet")
                await until_it_holds(one)
                agreed = one.view.snapshot()
                assert (agreed.account.diff, agreed.account.foreign, agreed.account.known) == (0, 0, True)
                assert agreed.account.local == agreed.account.exchange == agreed.money.position
                assert position(agreed).verdict is Verdict.OK and "agrees" in position(agreed).text
                await one.port.trade_by_hand(Side.BUY, "0.004")
                while not (off := one.view.snapshot()).account.diff:
                    await one.shell.run(0.5)
                assert off.account.diff == D("0.004") and off.account.action == "RECONCILE"
                assert off.account.exchange == off.account.local + D("0.004")
                assert [m.kind for m in off.account.mismatches] == ["POSITION_NONZERO_UNEXPECTED"]
                assert (
                    position(off).verdict is Verdict.FAIL and "it counts once it has lasted 2 s" in position(off).text
                )
                assert "position: FAIL off by +0.004" in "\n".join(more_lines(off))
                while (later := one.view.snapshot()).account.diff:
                    await one.shell.run(0.5)
                assert later.account.foreign == D("0.004") and later.account.settled is not None
                assert position(later).verdict is Verdict.WARN and "(+0.004): see the journal" in position(later).text
                (alert,) = [one for one in later.notices if "session and venue differ" in one.text]
                assert alert.is_alert and alert.level == "WARNING" and ("mode", "detect") in alert.context
                assert more_lines(later)[-1].startswith("1 alert: WARNING session and venue differ 1=POSITION_NONZERO")

    run_stepped(main())


def test_an_order_that_the_venue_does_not_list_is_told_until_it_does() -> None:
    """Health names the first such order, with both sides; the position is another matter."""

    async def main() -> None:
        async with viewed(DRIFTING, port_of=lambda venue: DriftingPort(venue, venue.clock)) as one:
            await until_it_holds(one)
            one.port.wrong.listed = lambda orders: orders[1:]
            while not (seen := one.view.snapshot()).account.mismatches:
                await one.shell.run(0.5)
            orders = next(check for check in seen.health if check.name == "own orders")
            first = seen.account.mismatches[0]
            assert first.kind == "ORDER_MISSING_ON_EXCHANGE" and orders.verdict is Verdict.WARN
            assert (
                orders.text
                == f"1 differs from the venue's; {first.subject}: ours {first.ours}, the venue's no open order"
            )
            assert position(seen).verdict is Verdict.OK
            one.port.wrong.listed = lambda orders: orders
            while one.view.snapshot().account.mismatches:
                await one.shell.run(0.5)

    run_stepped(main())


def test_position_is_unknown_once_the_venue_does_not_answer_for_longer_than_it_is_asked() -> None:
    """No number is shown then; the session's own fills are."""

    async def main() -> None:
        async with viewed(DRIFTING, port_of=lambda venue: DriftingPort(venue, venue.clock)) as one:
            await until_it_holds(one)
            one.port.wrong.unknown = True
            await one.shell.run(20)
            lost = one.view.snapshot()
            assert (lost.account.known, lost.account.exchange, lost.account.diff) == (False, None, None)
            assert lost.account.local == lost.money.position
            assert "unknown: the venue did not answer since" in position(lost).text
            one.port.wrong.unknown = False
            await one.shell.run(10)
            assert position(one.view.snapshot()).verdict is Verdict.OK

    run_stepped(main())


DIFFERS = Differs(
    kind="POSITION_NONZERO_UNEXPECTED", subject="BTCUSDT", ours="0.006", venues="0.01 (+0.004)", since_ns=AT, age_s=6.0
)
KNOWN = Account(
    local=D("0.006"), foreign=D(0), exchange=D("0.006"), diff=D(0), known=True, last_sync_ns=AT, mode="flatten",
    grace_s=5.0, max_actions_per_run=3, max_actions_per_day=5,
)  # fmt: skip
OFF = replace(KNOWN, exchange=D("0.01"), diff=D("0.004"), action="RECONCILE", mismatches=(DIFFERS,))


@pytest.mark.parametrize(
    ("account", "verdict", "text"),
    [
        (Account(), "WARN", "unknown: the venue has not told it yet; no new risk until it has"),
        (replace(KNOWN, last_sync_ns=0), "WARN", "unknown: the venue has not told it yet; no new risk until it has"),
        (
            replace(KNOWN, diff=None, exchange=None, known=False), "WARN",
            "unknown: the venue did not answer since 14:03:22 UTC, 3 s ago; it should be +0.006 BTC",
        ),
        (KNOWN, "OK", "agrees, 3 s ago"),
        (
            replace(KNOWN, foreign=D("-0.5")), "OK",
            "agrees, 3 s ago; -0.5 BTC of it is not this session's, and left alone",
        ),
        (
            replace(KNOWN, settled=DIFFERS), "WARN",
            "agrees, 3 s ago; at 14:03:22 UTC ours was 0.006, the venue's 0.01 (+0.004): see the journal",
        ),
        (
            replace(OFF, action="IGNORE", mismatches=()), "WARN", "off by +0.004 BTC, below the threshold, 3 s ago",
        ),
        (
            replace(OFF, grace_s=7.0), "FAIL",
            "off by +0.004 BTC: it counts once it has lasted 7 s; looked at 3 s ago",
        ),
        (
            replace(OFF, actions_of_run=3, actions_of_day=4), "FAIL",
            "off by +0.004 BTC: nothing is done about it yet (mode flatten; 3 of 3 actions of the run, 4 of 5 of the day); "
            "looked at 3 s ago",
        ),
    ],
)  # fmt: skip
def test_position_in_words(account: Account, verdict: str, text: str) -> None:
    """What the venue says against what it should, how old that is, and what is done about a difference."""
    assert position_check(account, "BTC", AT + 3 * S) == Check(name="position", verdict=Verdict(verdict), text=text)


# --- the way out -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "said"), [({"twap_s": 10, "slices": 5}, "over 10 s: "), ({"show": "0.03"}, "0.03 SYNTH shown: ")]
)
def test_way_out_is_told_from_beginning_to_end(how: dict[str, object], said: str) -> None:
    """How, how far, and when the next slice comes; a pause leaves the time out; gone once the position is."""

    async def main() -> None:
        async with viewed() as one:
            await until_it_holds(one)
            assert one.view.snapshot().exit is None
            one.shell.flatten(**how)  # type: ignore[arg-type]
            await one.shell.run(3)
            under_way = one.view.snapshot()
            assert under_way.exit is not None and under_way.status.progress.startswith(said)
            assert ("next in" in under_way.status.progress) is ("twap_s" in how)
            assert under_way.exit.total - under_way.exit.done == abs(under_way.money.position)
            assert Snapshot.from_json(under_way.to_json()) == under_way
            one.shell.pause()
            await one.shell.run(1)
            paused = one.view.snapshot()
            assert paused.status.progress.startswith(said) and "next in" not in paused.status.progress
            assert paused.exit is not None and paused.status.state is RunState.PAUSED
            one.shell.flatten()
            await one.shell.run(3)
            flat = one.view.snapshot()
            assert (flat.exit, flat.status.progress, flat.money.position) == (None, "", 0)

    run_stepped(main())


# --- notices ---------------------------------------------------------------------------------------------------------


def test_notices_are_warnings_and_all_alerts_each_once() -> None:
    """Of what only informs, alerts are shown, with a context that is cut to the room there is."""

    async def main() -> None:
        async with viewed() as one:
            notices, log = one.view.notices, logging.getLogger("grinder_kit.test")
            with heard(notices):
                log.info("opened %s", "a file")
                log.warning("slow by=%d", 3)
                await one.shell.alerts.send_alert(
                    "INFO", "fills were booked", {"fills": "x" * 2 * LONGEST, "more": "y"}
                )
            found = [replace(notice, ts_ns=0) for notice in notices.latest]
            assert found[0] == Notice(ts_ns=0, level="WARNING", text="slow by=3")
            (alert,) = found[1:]
            assert (alert.level, alert.text, alert.is_alert) == ("INFO", "fills were booked", True)
            assert len(alert.text) + sum(len(name) + len(text) for name, text in alert.context) == LONGEST

    run_stepped(main())


def test_status_has_further_lines_only_where_there_is_something_to_tell() -> None:
    """Nothing of a position that agrees, and of alerts that only inform."""
    informed = Notice(ts_ns=AT, level="INFO", text="fills were booked", is_alert=True)
    logged = Notice(ts_ns=AT, level="WARNING", text="slow")
    fine = replace(changed(played()[-1]), notices=(informed, logged))
    assert more_lines(fine) == ()
    alerts = tuple(replace(logged, text=text, is_alert=True, context=(("a", "1"),)) for text in ("first", "second"))
    assert more_lines(replace(fine, notices=alerts)) == ("2 alerts, the last: WARNING second a=1",)
