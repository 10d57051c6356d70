"""What the panel says: every state that a session on paper can be in, in words, whatever snapshot comes."""

from __future__ import annotations

import ast
import re
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.decision.reason import Reason
from grinder_kit.errors import SessionError
from grinder_kit.model.event import RunState
from grinder_kit.model.fill import PairingView
from grinder_kit.model.order import InFlight, OrderState, Side
from grinder_kit.session.snapshot import (
    Check,
    Differs,
    Forecast,
    Notice,
    Phase,
    Profit,
    Ribbon,
    RibbonBin,
    Rung,
    Snapshot,
    Verdict,
)
from grinder_widgets import panel_html, panel_words, rung_words, theme
from grinder_widgets.session_ladder import ladder_rows, mid_of
from tests.widgets.sessions import WALL_NS, about, changed, played, snapshots

LINKS = ("none", "connecting", "open", "lost", "closed", "something new")
SECOND = 1_000_000_000
AT = 1_723_125_802 * SECOND  # 14:03:22 UTC
CONFIRMED, UNSURE = (theme.KILLED.background, theme.UNKNOWN_ORDERS.background)


def snapshot(**parts: dict[str, Any]) -> Snapshot:
    """Return a running session on paper with a position, some parts of it changed."""
    usual: dict[str, dict[str, Any]] = {
        "status": {"since_ns": AT, "open_orders": 14, "unknown_orders": 0},
        "now": {"now_ns": AT + 1_200_000_000, "wall_ns": WALL_NS + 2467 * SECOND, "feed_age_s": 0.2},
        "money": {"position": Decimal("0.006"), "equity": Decimal("-1.12")},
    }
    if "exit" in parts:
        parts["exit"] = {"done": Decimal(0), "total": Decimal("0.012"), "over_s": 600.0} | parts["exit"]
    return changed(played()[-1], **{part: usual.get(part, {}) | parts.get(part, {}) for part in {*usual, *parts}})


def said(link: str = "open", heard_s: float | None = 0.1, **parts: dict[str, Any]) -> panel_words.BannerView:
    """Return the banner of such a session."""
    return panel_words.banner(snapshot(**parts), link, heard_s, "btc")


# --- every state -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("link", "word", "text"),
    [
        ("none", "NO SESSION", "`session.start()` starts its own process."),
        ("connecting", "STARTING", "The runner loads its market; nothing has been sent."),
        ("open", "STARTING", "The runner loads its market; nothing has been sent."),
        ("closed", "ENDED", "It ended before it had anything to show: `session.status` says how."),
        ("lost", "NOT ANSWERING", "Last heard 8.0 s ago; orders unknown. Run `grinder kill btc`."),
    ],
)
def test_before_anything_was_heard(link: str, word: str, text: str) -> None:
    """Without a snapshot the banner says what is missing, and what to do."""
    view = panel_words.banner(None, link, 8.0, "btc")
    assert (view.word, view.text) == (word, text)


FLAT = {"position": Decimal(0)}
KILLED = {"state": RunState.KILLED, "to_end": 14}
STATES: list[tuple[str, dict[str, dict[str, Any]], str, str]] = [
    ("paper", {}, "PAPER", "simulated fills, no credentials loaded."),
    (
        "nothing to quote", {"status": {"empty_reason": "the book has no bid"}}, "PAPER",
        "simulated fills, no credentials loaded. No level is quoted: the book has no bid.",
    ),
    (
        "starting", {"status": {"phase": Phase.STARTING, "open_orders": 3}}, "STARTING",
        "Reconciling: 3 own orders found. Reads its journal and asks the venue; nothing is sent before orders and fills agree.",
    ),
    ("comparing", {"status": {"synced": False}}, "COMPARING", "No new risk until orders and fills agree with the venue."),
    (
        "paused", {"status": {"state": RunState.PAUSED, "open_orders": 0, "reason": "operator"}}, "PAUSED",
        "since 14:03:22 UTC: 0 orders, position +0.006 SYNTH open.",
    ),
    (
        "paused by a rule", {"status": {"state": RunState.PAUSED, "open_orders": 1, "reason": "no client for 30 s"}}, "PAUSED",
        "since 14:03:22 UTC: 1 order, position +0.006 SYNTH open. Reason: no client for 30 s.",
    ),
    (
        "flattening", {"status": {"state": RunState.FLATTENING, "open_orders": 2}}, "FLATTENING",
        "since 14:03:22 UTC: position +0.006 SYNTH open, 2 orders left.",
    ),
    (
        "flattening over time",
        {
            "status": {"state": RunState.FLATTENING, "open_orders": 0,
                       "progress": "over 10 min: 3 of 10 slices, 0.004 of 0.012 SYNTH out, next in 12 s"},
            "exit": {"done": Decimal("0.004")},
        },
        "FLATTENING",
        "over 10 min: 3 of 10 slices, 0.004 of 0.012 SYNTH out, next in 12 s; "
        "since 14:03:22 UTC: position +0.006 SYNTH open, 0 orders left.",
    ),
    (
        "paused on the way out",
        {"status": {"state": RunState.PAUSED, "open_orders": 0, "progress": "0.01 SYNTH shown: 1 of 3 slices, 0.01 of 0.03 SYNTH out"}},
        "PAUSED",
        "since 14:03:22 UTC: 0 orders, position +0.006 SYNTH open. The way out is unfinished, 0.01 SYNTH shown: 1 of 3 slices, "
        "0.01 of 0.03 SYNTH out. Flatten “go on” takes it up again, “at once” closes the rest now, Resume drops it.",
    ),
    (
        "position differs", {"account": {"diff": Decimal("0.004"), "action": "RECONCILE"}}, "PAPER",
        "simulated fills, no credentials loaded. POSITION DIFFERS: the venue's is +0.004 SYNTH off ours, see Health.",
    ),
    (
        "flattening waits", {"status": {"state": RunState.FLATTENING, "open_orders": 0, "stale": True}}, "FLATTENING",
        "since 14:03:22 UTC: position +0.006 SYNTH open, 0 orders left. It waits: the market data are stale.",
    ),
    (
        "stale", {"status": {"stale": True}, "now": {"feed_age_s": 3.1}}, "STALE BOOK",
        "3.1 s: no new risk until resynchronised.",
    ),
    ("stale, age unknown", {"status": {"stale": True}, "now": {"feed_age_s": None}}, "STALE BOOK", "no new risk until resynchronised."),
    (
        "market ended", {"now": {"market_ended": True}}, "MARKET ENDED",
        "Nothing trades any more: 14 orders, position +0.006 SYNTH open.",
    ),
    (
        "unsupervised", {"status": {"unsupervised": "no supervisor can be started"}}, "PAPER",
        "simulated fills, no credentials loaded. UNSUPERVISED: no supervisor can be started.",
    ),
    (
        "unattended", {"status": {"grace_until_wall_ns": AT + 30 * SECOND}}, "UNATTENDED",
        "No notebook is attached: all orders are cancelled at 14:03:52 UTC.",
    ),
    (
        "unattended, runs on", {"status": {"grace_until_wall_ns": AT}, "about": {"policy": "run_on"}}, "UNATTENDED",
        "No notebook is attached: the session runs on.",
    ),
    (
        "unknown orders", {"status": {"unknown_orders": 2}}, "PAPER",
        "simulated fills, no credentials loaded. 2 orders UNKNOWN: asked about until the venue answers.",
    ),
    ("stopping", {"status": {"state": RunState.STOPPED, "to_end": 14, "open_orders": 5}}, "STOPPING",
     "9 of 14 cancels confirmed, 1.2 s. Position +0.006 SYNTH REMAINS."),
    ("killing", {"status": KILLED | {"open_orders": 5}}, "KILLING", "9 of 14 cancels confirmed, 1.2 s. Position +0.006 SYNTH REMAINS."),
    (
        "killed", {"status": KILLED | {"phase": Phase.ENDED, "open_orders": 0, "reason": "button"}}, "KILLED",
        "14:03:22 UTC: 14 of 14 gone. Position +0.006 SYNTH REMAINS. Reason: button.",
    ),
    (
        "killed by a failure",
        {"status": KILLED | {"phase": Phase.ENDED, "open_orders": 0, "failure": "JournalError: disk full"}, "money": FLAT},
        "KILLED", "14:03:22 UTC: 14 of 14 gone. Position: flat. Failure: JournalError: disk full.",
    ),
    (
        "kill not confirmed", {"status": KILLED | {"open_orders": 2, "unknown_orders": 2, "unconfirmed": True}}, "KILL NOT CONFIRMED",
        "2 orders unknown, 12 of 14 gone. Run `grinder kill btc`, then check the venue. Position +0.006 SYNTH REMAINS.",
    ),
    (
        "kill never confirmed", {"status": KILLED | {"phase": Phase.ENDED, "open_orders": 1}}, "KILL NOT CONFIRMED",
        "1 order unknown, 13 of 14 gone. Run `grinder kill btc`, then check the venue. Position +0.006 SYNTH REMAINS.",
    ),
    (
        "stopped at the market's end",
        {"status": {"phase": Phase.ENDED, "state": RunState.STOPPED, "open_orders": 0, "to_end": 1, "reason": "the market is over"}},
        "STOPPED", "14:03:22 UTC: 1 of 1 gone. Position +0.006 SYNTH REMAINS. Reason: the market is over.",
    ),
    (
        "never began", {"status": {"phase": Phase.ENDED, "open_orders": 0, "failure": "ConfigError: no such market"}, "money": FLAT},
        "FAILED", "No order is left. Position: flat. Failure: ConfigError: no such market.",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("parts", "word", "text"), [one[1:] for one in STATES], ids=[one[0] for one in STATES])
def test_state_in_words(parts: dict[str, dict[str, Any]], word: str, text: str) -> None:
    """What has happened, what is still at risk, and what to do."""
    view = said(**parts)
    assert (view.word, view.text) == (word, text)
    assert view.border == "dotted", "paper is told by its border, whatever has happened"


def test_a_lost_runner() -> None:
    """How long it is silent, that its orders are unknown, who covers them, and the line for the shell."""
    view = said("lost", 12.0)
    assert view.word == "NOT ANSWERING"
    assert view.text == (
        "The runner was last heard 12.0 s ago. Orders unknown: 14 orders open then. Its supervisor withdraws them. "
        "Position then +0.006 SYNTH. If in doubt, run `grinder kill btc`."
    )
    alone = said("lost", 12.0, status={"unsupervised": "none started", "state": RunState.PAUSED, "reason": "operator"})
    assert "No supervisor watches it (none started). It was PAUSED: operator." in alone.text
    assert panel_words.must_kill(view) and panel_words.must_kill(alone) and not panel_words.must_kill(said())


def test_a_session_that_left_without_a_word() -> None:
    """A connection that ended while orders stood is no ending."""
    view = said("closed")
    assert view.word == "ENDED" and "without a last word: 14 orders open when last heard" in view.text
    assert panel_words.must_kill(view)


def test_connecting_again_keeps_the_state() -> None:
    """A short silence leaves the last state, and says that it is the last one."""
    view = said("connecting", 2.0)
    assert view.word == "PAPER" and view.text.endswith("Connecting again; last heard 2.0 s ago.")


def test_what_is_not_known_to_be_paper_counts_as_money() -> None:
    """Any other mode has the look of a live session, and is not flattened by one click."""
    for mode in ("live", "LIVE", "test"):
        view = said(about={"mode": mode})
        assert (view.word, view.background, view.border) == ("LIVE", "#B00020", "double")
        assert not panel_words.controls(snapshot(about={"mode": mode}), "open").flatten
    assert said(about={"mode": "live"}, status={"state": RunState.PAUSED}).border == "double"


@given(snapshots() | st.none(), st.sampled_from(LINKS), st.none() | st.floats(0, 1e6))
def test_no_snapshot_makes_it_raise(given_: Snapshot | None, link: str, heard_s: float | None) -> None:
    """Whatever another process tells, there is a banner with a word, an icon and a text, and the rest is said too."""
    view = panel_words.banner(given_, link, heard_s, "btc")
    assert view.word and view.icon and view.text and view.border
    panel_words.facts(given_, link)
    panel_words.headline(given_)
    panel_words.late(given_, link, "btc")
    can = panel_words.controls(given_, link)
    assert can.kill or not (can.pause or can.resume or can.flatten)
    ast.parse(panel_words.as_python("btc", {}, given_))
    if given_ is not None:
        for rung in given_.ladder:
            assert rung_words.rung_state(rung) and rung_words.rung_short(rung, rung.queue_ahead)
            assert rung_words.prob_words(rung) and rung_words.bps_short(rung)
            rung_words.detail(rung, given_.about, given_.forecast)
        panel_html.ladder_table(ladder_rows(given_.ladder, mid_of(given_.now)), given_.about, given_.forecast)
        for _, draw in (*panel_html.TABLES.values(), *panel_html.BELOW.values()):
            draw(given_)
        for _, way in panel_words.ways(given_):
            with suppress(SessionError):
                panel_words.how(way, given_)
        if (gone := panel_words.way_out(given_)) is not None:
            assert 0 <= gone[0] <= 1 and panel_html.way_out(*gone)


@given(snapshots(), st.sampled_from(LINKS))
def test_killed_never_looks_fine(given_: Snapshot, link: str) -> None:
    """A killed session is black when that is confirmed or under way and red otherwise, and the kill is named."""
    view = panel_words.banner(changed(given_, status={"state": RunState.KILLED}), link, 1.0, "btc")
    assert view.background in (CONFIRMED, UNSURE)
    assert "KILL" in view.word + view.text
    left = max(given_.status.open_orders, given_.status.unknown_orders)
    if left and given_.status.phase is Phase.ENDED:
        assert view.background == UNSURE and "grinder kill btc" in view.text


@given(snapshots(), st.sampled_from(LINKS))
def test_only_an_answering_runner_is_fine(given_: Snapshot, link: str) -> None:
    """The look of a session at work needs an open link, a running phase and state, data to trust and agreement."""
    view = panel_words.banner(given_, link, 1.0, "btc")
    if view.word in ("PAPER", "LIVE"):
        status = given_.status
        assert link in ("open", "connecting") and status.phase is Phase.RUNNING and status.state is RunState.RUNNING
        assert status.synced and not status.stale and not given_.now.market_ended


@pytest.mark.parametrize("name", [name for name, value in vars(theme).items() if isinstance(value, theme.Banner)])
def test_banners_can_be_read(name: str) -> None:
    """Ink on background has a contrast of 4.5 or more."""
    look = getattr(theme, name)

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    bright, dim = sorted((luminance(look.ink), luminance(look.background)), reverse=True)
    assert (bright + 0.05) / (dim + 0.05) >= 4.5


# --- around it -------------------------------------------------------------------------------------------------------


def test_facts_beside_the_word() -> None:
    """Symbol, venue, mode, running time, age of the data, and what a dead kernel does; unknown is a question mark."""
    symbol, venue = about().symbol, about().venue
    kernel = "if the kernel dies: cancels all after 30 s"
    assert panel_words.facts(snapshot(), "open") == (symbol, venue, "paper", "00:41:07", "data 0.2 s", kernel)
    assert "data ?" in panel_words.facts(snapshot(now={"feed_age_s": None}), "open")
    assert "data ?" in panel_words.facts(snapshot(), "lost")
    fast = panel_words.facts(snapshot(about={"speed": 20.0, "policy": "run_on"}), "open")
    assert "20× speed" in fast and "if the kernel dies: runs on" in fast
    assert panel_words.facts(snapshot(status={"phase": Phase.ENDED}), "closed") == (symbol, venue, "paper", "00:41:07")


def test_headline_numbers() -> None:
    """Position by the lot with its sign, equity with its asset; what is not known is a question mark."""
    shown = dict(panel_words.headline(snapshot(status={"unknown_orders": 2})))
    assert shown["Position"] == "+0.006 SYNTH" and shown["Equity change"] == "−1.12 USDT"
    assert shown["Open orders"] == "14, 2 unknown"
    assert set(dict(panel_words.headline(None)).values()) == {"?"}
    inverse = snapshot(about={"base": "BTC", "settle": "BTC"})
    assert dict(panel_words.headline(inverse))["Position"] == "+0.006 contracts"


@pytest.mark.parametrize(
    ("parts", "link", "can"),
    [
        ({}, "open", "kill pause flatten"),
        ({"status": {"state": RunState.PAUSED}}, "open", "kill resume flatten"),
        ({"status": {"state": RunState.PAUSED}, "money": FLAT}, "open", "kill resume"),
        ({"status": {"state": RunState.FLATTENING}}, "open", "kill pause"),
        ({"status": {"state": RunState.FLATTENING}, "exit": {}}, "open", "kill pause flatten"),
        ({"status": {"state": RunState.KILLED}}, "open", "kill"),
        ({"status": {"phase": Phase.STARTING}}, "open", "kill"),
        ({}, "lost", "kill"),
        ({}, "connecting", "kill"),
        ({"status": {"phase": Phase.ENDED, "open_orders": 0}}, "closed", ""),
        ({"status": {"phase": Phase.ENDED, "open_orders": 2}}, "closed", "kill"),
    ],
)
def test_buttons_that_can_do_anything(parts: dict[str, dict[str, Any]], link: str, can: str) -> None:
    """A kill is possible as long as there is anything to kill; the others need a runner that answers."""
    found = panel_words.controls(snapshot(**parts), link)
    assert " ".join(name for name in ("kill", "pause", "resume", "flatten") if getattr(found, name)) == can


def test_ways_out() -> None:
    """At once, over time, an iceberg of an order's quantity or less; and on with what was begun, as long as that is there."""
    flat = snapshot(status={"order_size": Decimal("0.002")}, money=FLAT)
    assert panel_words.ways(flat) == (("at once", "at once"), ("over 5 min", "over 5 min"), ("iceberg", "iceberg"))
    held = snapshot(status={"order_size": Decimal("0.002")})
    assert panel_words.ways(held)[2] == ("iceberg, 0.002 shown", "iceberg")
    assert [panel_words.how(way, held) for _, way in panel_words.ways(held)] == [
        {}, {"twap_s": 300.0}, {"show": Decimal("0.002")}
    ]  # fmt: skip
    assert panel_words.how("iceberg", snapshot(status={"order_size": Decimal(1)})) == {"show": Decimal("0.006")}
    for way, one in (("iceberg", flat), ("go on", held), ("go on", None)):
        with pytest.raises(SessionError, match=f"there is no way out “{way}” now"):
            panel_words.how(way, one)
    begun = snapshot(status={"progress": "over 10 min: 3 of 10 slices"}, exit={})
    assert panel_words.ways(begun)[-1] == ("go on, over 10 min", "go on")
    assert panel_words.how("go on", begun) == {"twap_s": 600.0}
    shown = snapshot(exit={"over_s": None, "shown": Decimal("0.01")})
    assert panel_words.how("go on", shown) == {"show": Decimal("0.01")}


def test_the_way_out_is_a_share_and_words() -> None:
    """How much of it is out; nothing where no schedule was begun."""
    assert panel_words.way_out(snapshot()) is None
    share, text = panel_words.way_out(snapshot(exit={"done": Decimal("0.003")})) or (0, "")
    assert (share, text) == (0.25, "25 % out: 0.003 of 0.012 SYNTH")
    bar = panel_html.way_out(share, text)
    assert 'role="progressbar"' in bar and 'aria-valuenow="25"' in bar and 'aria-valuetext="25 % out' in bar


def test_three_views_of_profit_side_by_side() -> None:
    """A column each, realised and unrealised; what no figure holds is said below, and only where there is something."""
    profits = tuple(
        Profit(view=view, realised=Decimal(realised), unrealised=Decimal(-2), inventory=Decimal("-0.006"), open_lots=n)
        for n, (view, realised) in enumerate(zip(PairingView, ("1.5", "1.25", "3"), strict=True), start=1)
    )
    told = snapshot(views={"profits": profits, "unconverted": (), "late": 0}, money={"mark": Decimal("60012.25")})
    _, below = panel_html.BELOW["P&L"]
    rows = [re.findall(r"<t[hd][^>]*>([^<]*)<", row) for row in below(told).split("<tr>")[1:]]
    assert rows == [
        ["profit before fees, USDT", "average price", "first in, first out", "grid levels"],
        ["realised", "+1.50", "+1.25", "+3.00"],
        ["unrealised at 60,012.25", "−2.00", "−2.00", "−2.00"],
        ["together", "−0.50", "−0.75", "+1.00"],
        ["held, SYNTH", "−0.006", "−0.006", "−0.006"],
        ["open lots", "1", "2", "3"],
    ]
    assert 'class="note"' not in below(told)
    more = changed(told, views={"unconverted": (("BNB", Decimal("0.0012")),), "late": 1})
    assert "Fees of 0.0012 BNB could not be converted: no figure holds them." in below(more)
    assert "1 fill came late" in below(more)


def test_levels_and_verdicts_are_words_with_a_sign_and_a_colour() -> None:
    """An alert stands there with its context, line by line."""
    alert = Notice(
        ts_ns=AT, level="ERROR", text="session and venue differ", is_alert=True, context=(("mode", "flatten"),)
    )
    journal = panel_html.TABLES["Journal"][1](replace(snapshot(), notices=(alert,)))
    assert (
        '<td class="words gk-fail">✕ ERROR</td>' in journal
        and "session and venue differ\nmode: flatten</td>" in journal
    )
    check = Check(name="position", verdict=Verdict.WARN, text="off by +0.004 SYNTH")
    health = panel_html.TABLES["Health"][1](replace(snapshot(), health=(check,)))
    assert '<td class="words gk-warn">! WARN</td>' in health


def test_health_holds_the_account_against_the_venue() -> None:
    """Both sides and what differs, an unknown position as a question mark."""
    differs = Differs(
        kind="ORDER_MISSING_ON_EXCHANGE",
        subject="gkr0-B1-1",
        ours="BUY",
        venues="no open order",
        since_ns=AT,
        age_s=2.5,
    )
    account = {
        "local": Decimal("0.01"),
        "foreign": Decimal("0.004"),
        "exchange": Decimal("-0.1"),
        "diff": Decimal("-0.11"),
    }
    health = panel_html.TABLES["Health"][1]
    told = health(snapshot(account=account | {"mismatches": (differs,), "last_sync_ns": AT}))
    for cell in ("+0.01", "+0.004", "−0.1", "−0.11", "14:03:22 UTC", "order missing on exchange", "2.5 s"):
        assert f">{cell}</td>" in told
    unknown = health(snapshot(account=account | {"exchange": None, "diff": None, "mismatches": ()}))
    assert unknown.count(">?</td>") == 2 and "order missing" not in unknown


def test_the_browser_is_told_what_a_silent_kernel_means() -> None:
    """While it is busy the session runs by itself; should it be gone, the policy is said, and the line for the shell."""
    busy, gone = panel_words.late(snapshot(), "open", "btc")
    assert busy == "The session runs by itself."
    assert "all orders are cancelled 30 s later" in gone and "`grinder kill btc`" in gone
    assert "the session runs on" in panel_words.late(snapshot(about={"policy": "run_on"}), "open", "btc")[1]
    assert panel_words.late(None, "none", "btc") == ("No session runs.", "No session runs.")


def test_frozen_view_says_that_trading_goes_on() -> None:
    """Whole seconds, later minutes."""
    assert panel_words.frozen(12.9) == "View frozen 12 s. Trading continues."
    assert panel_words.frozen(300) == "View frozen 5.0 min. Trading continues."


def test_answers_and_refusals() -> None:
    """Between click and answer a button says sent; a refusal says why; a kill that was not done says how to do it."""
    assert panel_words.sent("Pause") == "Pause: sent…"
    assert (
        panel_words.answered("Pause", "paused: 14 orders are being withdrawn")
        == "Pause: paused: 14 orders are being withdrawn"
    )
    assert panel_words.not_done("Pause", ValueError("it is over"), "btc") == "Pause was NOT done: it is over"
    assert panel_words.not_done("KILL", OSError(), "btc") == "KILL was NOT done: OSError. Run `grinder kill btc`."
    assert panel_words.not_done("KILL", ValueError("run: grinder kill btc"), "btc").count("grinder kill") == 1


@given(st.text(max_size=20), st.text(max_size=30))
def test_copied_lines_are_python_whatever_the_names_hold(name: str, market: str) -> None:
    """The lines parse, attach by the very name, and a market's name stays a comment."""
    code = panel_words.as_python(name, {"rows": 40}, snapshot(about={"market": market}))
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    assert len(calls) == 2
    attach, panel = sorted(calls, key=lambda call: call.lineno)
    assert ast.literal_eval(attach.args[0]) == name and ast.literal_eval(panel.keywords[0].value) == {"rows": 40}


def test_shell_line_is_quoted() -> None:
    """A name that a shell would take apart is quoted."""
    assert panel_words.kill_command("a; rm b") == "grinder kill 'a; rm b'"


# --- rungs -----------------------------------------------------------------------------------------------------------


def rung(**changes: Any) -> Rung:
    """Return an own order."""
    usual: dict[str, Any] = {
        "key": "S2", "level_id": "SELL_2", "side": Side.SELL, "price": Decimal("60060"), "quantity": Decimal("0.002"),
        "state": OrderState.OPEN, "age_s": 38.24, "client_order_id": "gkr0-S2-7", "generation": 7,
        "queue_ahead": Decimal("1.35"), "queue_s": 4.2,
    }  # fmt: skip
    return Rung(**usual | changes)


def test_requests_under_way_are_words() -> None:
    """In capitals, before the state; an unknown outcome is UNKNOWN."""
    found = [rung_words.rung_state(rung(in_flight=one)) for one in (None, *InFlight)]
    assert found == ["open", "PENDING NEW", "PENDING AMEND", "PENDING CANCEL", "UNKNOWN"]
    assert rung_words.rung_state(rung(state=OrderState.PARTIALLY_FILLED)) == "partly filled"
    assert [rung_words.rung_short(rung(), ahead) for ahead in (Decimal("1.350"), 4.2, None)] == ["1.35", "4.2 s", "?"]
    assert rung_words.rung_short(rung(in_flight=InFlight.CANCEL), 4.2) == "PENDING CANCEL"


def test_a_refused_level_says_rule_and_number() -> None:
    """The rule in words and the value against its threshold; where there is little room, the numbers."""
    refused = rung(refused=True, quantity=None, state=None, reason=Reason.FILL_PROB, why="0.09 < 0.20")
    assert rung_words.rung_why(refused) == "too unlikely to fill within the horizon (.09 < .20)"
    assert (rung_words.rung_short(refused, None), rung_words.prob_words(refused)) == ("REFUSED", ".09 < .20")
    long = replace(refused, reason="a reason that nobody could write into so narrow a column")
    assert rung_words.prob_words(long).endswith("…") and len(rung_words.prob_words(long)) == rung_words.SHORT
    assert rung_words.row_name(refused) == "SELL 2 (not quoted)"


def test_detail_of_an_order() -> None:
    """What is known; of probability and value, why they are not."""
    none = Forecast(no_prob="no fill model", no_value="no fill model")
    shown = dict(rung_words.detail(rung(filled=Decimal("0.001"), amends=1), about(), none))
    assert shown["price"] == "60,060.0 USDT" and shown["quantity"] == "0.002 SYNTH, 0.001 filled"
    assert shown["queue ahead"] == "1.35 SYNTH, 4.2 s of flow (estimate)"
    assert shown["amended"] == "once" and shown["P(fill)"] == "– (no fill model)" and "expected value" not in shown
    assert dict(rung_words.detail(rung(queue_ahead=None, queue_s=None), about(), none))["queue ahead"] == "?"


def test_detail_of_a_judged_order() -> None:
    """Probability now and at placement, what a try is worth and what a fill earns, and by which model."""
    by = Forecast(model="first_passage", fitted="BTCUSDT, 3.4 min", horizon_s=60.0)
    judged = rung(
        fill_prob=0.431, prob_low=0.38, prob_high=0.49, placed_prob=0.4, value_bps=0.4, value_low=-0.2, value_high=1.0
    )
    shown = dict(rung_words.detail(replace(judged, profit_bps=1.0), about(), by))
    assert shown["P(fill 60 s)"] == ".43 [.38, .49]" and shown["at placement"] == ".40"
    assert shown["expected value"] == "+0.4 bps [−0.2, +1.0], not distinguishable from zero"
    assert shown["a fill earns"] == "+1.0 bps" and shown["judged by"] == "first passage (BTCUSDT, 3.4 min)"
    sure = dict(rung_words.detail(replace(judged, value_low=0.1), about(), by))
    assert sure["expected value"] == "+0.4 bps [+0.1, +1.0]"
    plain = rung(fill_prob=0.25)
    shown = dict(rung_words.detail(plain, about(), replace(by, model="heuristic", fitted="", no_value="no markout")))
    assert (shown["P(fill 60 s)"], shown["expected value"], shown["judged by"]) == (
        ".25",
        "– (no markout)",
        "heuristic",
    )


# --- the ribbon's score ----------------------------------------------------------------------------------------------

BY = Forecast(model="first_passage", horizon_s=60.0)
SCORED = Ribbon(
    orders=96, filled=37, stood=4, seen=37, expected=41.2, low=30.6, high=51.8, rcll=-0.3207,
    text="Fills seen 37 of 41.2 expected; inside the range.",
)  # fmt: skip


def test_ribbon_score_in_words() -> None:
    """The verdict with its number of orders, what became of them, and the range; it says that it changes nothing."""
    lines = panel_words.ribbon_lines(SCORED, BY)
    assert lines == (
        "Fills seen 37 of 41.2 expected; inside the range. n = 96 orders.",
        "Of 96 orders, 37 filled within 60 s, 4 rested for so long, and 55 were withdrawn or moved before (censored).",
        "Range (90 %): 30.6 to 51.8 fills; log likelihood −0.321 a spell.",
        "Model: first passage. It is only watched here: the score never changes an order.",
    )


def test_ribbon_score_of_few_orders_is_counts() -> None:
    """Below thirty resolved orders nothing is judged."""
    binned = replace(SCORED, bins=(RibbonBin(predicted=0.2, observed=0.5, low=None, high=None, orders=10, filled=3),))
    assert "lean high" in panel_words.ribbon_lines(binned, BY)[3]
    few = replace(SCORED, orders=20, filled=7, stood=1, text="", left_out=3)
    lines = panel_words.ribbon_lines(few, BY)
    assert lines[0].endswith("12 were withdrawn or moved before (censored). Fewer than 30 are resolved: counts only.")
    assert lines[1] == "3 spells are left out: nothing was known of their market." and len(lines) == 3


def test_ribbon_score_says_when_it_disagrees_and_when_it_flatters() -> None:
    """Outside 99 % it says what to do; on the model's own training it says so; without a model there is nothing to score."""
    lines = panel_words.ribbon_lines(replace(SCORED, disagrees=True, in_sample=True), BY)
    assert lines[1] == "Model and market disagree: refit, or raise min P."
    assert "These orders may lie in the model's own training: the score flatters it." in lines
    assert panel_words.ribbon_lines(Ribbon(), Forecast(no_prob="no fill model")) == (
        "Nothing to score: no fill model.",
    )
