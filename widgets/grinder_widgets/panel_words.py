"""What the panel of a session says: a snapshot, the link to the runner and an age in, words out.

All of it is pure, so that every state can be tested as text. The wording: what happened, what is still at risk, what to do. Words
between backticks are code.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from grinder_kit.errors import SessionError
from grinder_kit.model.event import RunState
from grinder_kit.model.fill import SyncAction
from grinder_kit.model.number import plain
from grinder_kit.session.snapshot import RESOLVED, About, Forecast, Phase, Ribbon, Snapshot
from grinder_widgets import theme
from grinder_widgets.panel_state import AT_ONCE, GO_ON, ICEBERG, OVER_TIME, WAYS
from grinder_widgets.rung_words import decimals, reason_words, unit
from grinder_widgets.theme import UNKNOWN, Banner, count, duration, money, number, utc

QUESTION = "What is it doing with my money now, why, and how do I stop it?"
#: How long the panel's way out over time takes.
OVER_S = 300.0
EXPECTED = "operator"  # the reason of a command that somebody gave: it goes without saying


@dataclass(frozen=True, slots=True, kw_only=True)
class BannerView(Banner):
    """A banner with what stands after its word."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """Which buttons can do anything."""

    kill: bool
    pause: bool
    resume: bool
    flatten: bool


# --- the banner ------------------------------------------------------------------------------------------------------


def banner(snapshot: Snapshot | None, link: str, heard_s: float | None, name: str) -> BannerView:
    """Return how a session is.

    Parameters
    ----------
    snapshot : Snapshot or None
        The newest that was heard.
    link : str
        ``none``, ``connecting``, ``open``, ``lost``, ``closed``; anything else counts as lost.
    heard_s : float or None
        Seconds since the runner was last heard.
    name : str
        The session's name.
    """
    if snapshot is None:
        look, text = _unheard(link, heard_s, name)
        return _view(look, text)
    if snapshot.status.phase is Phase.ENDED or link in ("closed", "none"):
        look, text = _over(snapshot, name)
    elif link in ("open", "connecting"):
        look, text = _alive(snapshot, name)
        if link == "connecting":
            text += f" Connecting again; last heard {_ago(heard_s)}."
    else:
        look, text = _lost(snapshot, heard_s, name)
    # The border tells paper from money, whatever else has happened.
    return _view(replace(look, border=_mode(snapshot.about).border), text)


def _view(look: Banner, text: str) -> BannerView:
    return BannerView(
        word=look.word, icon=look.icon, background=look.background, ink=look.ink, border=look.border, text=text
    )


def _named(look: Banner, word: str) -> Banner:
    return replace(look, word=word)


def _mode(about: About) -> Banner:
    return theme.PAPER if about.mode == "paper" else theme.LIVE  # what is not known to be paper counts as money


def _unheard(link: str, heard_s: float | None, name: str) -> tuple[Banner, str]:
    if link == "none":
        return theme.NO_SESSION, "`session.start()` starts its own process."
    if link in ("connecting", "open"):
        return theme.STARTING, "The runner loads its market; nothing has been sent."
    if link == "closed":
        return _named(theme.STOPPED, "ENDED"), "It ended before it had anything to show: `session.status` says how."
    return theme.UNKNOWN_ORDERS, f"Last heard {_ago(heard_s)}; orders unknown. Run {kill_code(name)}."


def _lost(snapshot: Snapshot, heard_s: float | None, name: str) -> tuple[Banner, str]:
    status = snapshot.status
    was = (
        ""
        if status.state is RunState.RUNNING
        else f" It was {status.state}: {reason_words(status.reason) or 'no reason given'}."
    )
    cover = (
        "Its supervisor withdraws them."
        if not status.unsupervised
        else f"No supervisor watches it ({status.unsupervised})."
    )
    return (
        theme.UNKNOWN_ORDERS,
        f"The runner was last heard {_ago(heard_s)}. Orders unknown: {_orders(status.open_orders)} open then. {cover}{was} "
        f"{_held(snapshot, 'Position then')} If in doubt, run {kill_code(name)}.",
    )


def _alive(snapshot: Snapshot, name: str) -> tuple[Banner, str]:
    status = snapshot.status
    if status.state in (RunState.KILLED, RunState.STOPPED):
        look, text = _ending(snapshot, name)
    elif status.phase is Phase.STARTING:
        look, text = (
            theme.STARTING,
            "Reads its journal and asks the venue; nothing is sent before orders and fills agree.",
        )
        if status.open_orders:
            text = f"Reconciling: {_own(status.open_orders)} found. " + text
    else:
        look, text = _trading(snapshot)
    return look, " ".join((text, *_besides(snapshot)))


def _trading(snapshot: Snapshot) -> tuple[Banner, str]:
    status, now = snapshot.status, snapshot.now
    if status.state is RunState.PAUSED:
        return theme.PAUSED, (
            f"since {utc(status.since_ns, ms=False)}: {_orders(status.open_orders)}, {_position_open(snapshot)}."
            f"{_reason(status.reason)}{_unfinished(status.progress)}"
        )
    if status.state is RunState.FLATTENING:
        waits = " It waits: the market data are stale." if status.stale else ""
        progress = f"{status.progress}; " if status.progress else ""
        return theme.FLATTENING, (
            f"{progress}since {utc(status.since_ns, ms=False)}: {_position_open(snapshot)}, {_orders(status.open_orders)} left."
            f"{waits}{_reason(status.reason)}"
        )
    if now.market_ended:
        return _named(theme.STALE, "MARKET ENDED"), (
            f"Nothing trades any more: {_orders(status.open_orders)}, {_position_open(snapshot)}."
        )
    if status.grace_until_wall_ns is not None:
        return theme.UNATTENDED, _grace(snapshot)
    if status.stale:
        age = "" if now.feed_age_s is None else f"{duration(now.feed_age_s)}: "
        return _named(theme.STALE, "STALE BOOK"), f"{age}no new risk until resynchronised."
    if not status.synced:
        return _named(theme.STALE, "COMPARING"), "No new risk until orders and fills agree with the venue."
    mode = _mode(snapshot.about)
    text = "simulated fills, no credentials loaded." if mode is theme.PAPER else "orders go to the venue."
    if status.empty_reason:
        text += f" No level is quoted: {status.empty_reason}."
    return mode, text


def _unfinished(progress: str) -> str:
    return progress and (
        f" The way out is unfinished, {progress}. Flatten “{GO_ON}” takes it up again, “{AT_ONCE}” closes the rest now, Resume drops it."
    )


def _grace(snapshot: Snapshot) -> str:
    at = utc(snapshot.status.grace_until_wall_ns, ms=False)
    if snapshot.about.policy == "run_on":
        return "No notebook is attached: the session runs on."
    return f"No notebook is attached: all orders are cancelled at {at}."


def _besides(snapshot: Snapshot) -> Iterator[str]:
    """Say what is wrong beside the state itself."""
    status = snapshot.status
    if status.grace_until_wall_ns is not None and status.state is not RunState.RUNNING:
        yield _grace(snapshot)
    if snapshot.account.action == SyncAction.RECONCILE:
        yield f"POSITION DIFFERS: the venue's is {_signed(snapshot.account.diff, snapshot.about)} off ours, see Health."
    if status.unsupervised:
        yield f"UNSUPERVISED: {status.unsupervised.rstrip('.')}."
    if status.failure:
        yield f"Failure: {status.failure.rstrip('.')}."
    if status.unknown_orders and status.state in (RunState.RUNNING, RunState.PAUSED, RunState.FLATTENING):
        yield f"{_orders(status.unknown_orders)} UNKNOWN: asked about until the venue answers."


def _ending(snapshot: Snapshot, name: str) -> tuple[Banner, str]:
    """Say how far a stop or a kill has come."""
    status = snapshot.status
    killed = status.state is RunState.KILLED
    left = max(status.open_orders, status.unknown_orders)
    total = max(status.to_end, left)
    if left and (status.unconfirmed or status.phase is Phase.ENDED):
        look = _named(theme.UNKNOWN_ORDERS, "KILL NOT CONFIRMED" if killed else "STOP NOT CONFIRMED")
        return look, (
            f"{_orders(left)} unknown, {total - left} of {total} gone. Run {kill_code(name)}, then check the venue. "
            f"{_held(snapshot)}{_reason(status.reason)}"
        )
    if left:
        look = _named(theme.KILLED, "KILLING") if killed else _named(theme.STOPPED, "STOPPING")
        wall_s = (snapshot.now.now_ns - status.since_ns) / 1e9 / (snapshot.about.speed or 1)
        return look, (
            f"{total - left} of {total} cancels confirmed, {duration(max(0.0, wall_s))}. {_held(snapshot)}{_reason(status.reason)}"
        )
    gone = f"{total} of {total} gone" if total else "no order is left"
    return theme.KILLED if killed else theme.STOPPED, (
        f"{utc(status.since_ns, ms=False)}: {gone}. {_held(snapshot)}{_reason(status.reason)}"
    )


def _over(snapshot: Snapshot, name: str) -> tuple[Banner, str]:
    """Say how a session ended."""
    status = snapshot.status
    failed = f" Failure: {status.failure.rstrip('.')}." if status.failure else ""
    if status.phase is not Phase.ENDED and (
        status.open_orders or status.state not in (RunState.STOPPED, RunState.KILLED)
    ):
        was = f" It was {status.state}." if status.state is not RunState.RUNNING else ""
        return _named(theme.UNKNOWN_ORDERS, "ENDED"), (
            f"It left without a last word: {_orders(status.open_orders)} open when last heard.{was} {_held(snapshot, 'Position then')} "
            f"Read `session.status`; if in doubt, run {kill_code(name)}.{failed}"
        )
    if status.state in (RunState.STOPPED, RunState.KILLED):
        look, text = _ending(snapshot, name)
        return look, text + failed
    if status.open_orders:
        look = _named(theme.UNKNOWN_ORDERS, "ENDED")
        return (
            look,
            f"{_orders(status.open_orders)} may still be open. Run {kill_code(name)}. {_held(snapshot)}{failed}",
        )
    return _named(theme.STOPPED, "FAILED" if failed else "ENDED"), f"No order is left. {_held(snapshot)}{failed}"


def kill_code(name: str) -> str:
    """Return the shell's way to stop a session, as code."""
    return f"`{kill_command(name)}`"


def kill_command(name: str) -> str:
    """Return the line for a shell that kills a session.

    Examples
    --------
    >>> kill_command("btc"), kill_command("my btc")
    ('grinder kill btc', "grinder kill 'my btc'")
    """
    return f"grinder kill {shlex.quote(name)}"


def must_kill(view: BannerView) -> bool:
    """Whether what is open at the venue is not known, so that the shell's way to stop should be at hand."""
    return view.background == theme.UNKNOWN_ORDERS.background and "grinder kill" in view.text


def _ago(heard_s: float | None) -> str:
    return "never" if heard_s is None else f"{duration(max(0.0, heard_s))} ago"


def _orders(number_of: int) -> str:
    return "1 order" if number_of == 1 else f"{number_of:,} orders"


def _own(number_of: int) -> str:
    return "1 own order" if number_of == 1 else f"{number_of:,} own orders"


def _held(snapshot: Snapshot, what: str = "Position") -> str:
    if not snapshot.money.position:
        return f"{what}: flat."
    remains = " REMAINS" if what == "Position" else ""
    return f"{what} {position(snapshot)}{remains}."


def _position_open(snapshot: Snapshot) -> str:
    return f"position {position(snapshot)} open" if snapshot.money.position else "position flat"


def _reason(reason: str) -> str:
    return "" if reason in ("", EXPECTED) else f" Reason: {reason_words(reason).rstrip('.')}."


# --- around the banner -----------------------------------------------------------------------------------------------


def facts(snapshot: Snapshot | None, link: str) -> tuple[str, ...]:
    """Return what stands beside the banner's word: symbol, venue, mode, time, age of the data, what a dead kernel does."""
    if snapshot is None:
        return ()
    about, now = snapshot.about, snapshot.now
    heard = link == "open" and snapshot.status.phase is not Phase.ENDED
    age = duration(now.feed_age_s) if heard and now.feed_age_s is not None else UNKNOWN
    said = [about.symbol, about.venue, about.mode, clock((now.wall_ns - about.started_wall_ns) / 1e9)]
    if about.speed != 1:
        said.append(f"{about.speed:g}× speed")
    if snapshot.status.phase is not Phase.ENDED and link != "closed":
        said.append(f"data {age}")
        said.append(
            f"if the kernel dies: {'runs on' if about.policy == 'run_on' else f'cancels all after {about.grace_s:g} s'}"
        )
    return tuple(filter(None, said))


def clock(seconds: float) -> str:
    """Return a running time.

    Examples
    --------
    >>> clock(2467.9), clock(100_000)
    ('00:41:07', '27:46:40')
    """
    whole = max(0, int(seconds))
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def headline(snapshot: Snapshot | None) -> tuple[tuple[str, str], ...]:
    """Return the few numbers that are always in view, each with its name."""
    if snapshot is None:
        return tuple((name, UNKNOWN) for name in ("Position", "Equity change", "Open orders", "Fills"))
    status, counts = snapshot.status, snapshot.counts
    unknown = f", {status.unknown_orders} unknown" if status.unknown_orders else ""
    refused = sum(rung.refused for rung in snapshot.ladder)
    return (
        ("Position", position(snapshot)),
        ("Equity change", money(snapshot.money.equity, snapshot.about.settle)),
        ("Open orders", f"{status.open_orders}{unknown}"),
        ("Not quoted", f"{refused}"),
        ("Fills", count(counts.fills)),
        ("Round trips", count(counts.round_trips)),
    )


def ribbon_lines(told: Ribbon, forecast: Forecast) -> tuple[str, ...]:
    """Return how the probabilities of own orders came out: the verdict, what is behind it, and what to do.

    Parameters
    ----------
    told : Ribbon
    forecast : Forecast
        By which model, within which time.
    """
    if not forecast.model:
        return (f"Nothing to score: {forecast.no_prob}.",) if forecast.no_prob else ()
    span = f"{forecast.horizon_s:g} s"
    withdrawn = told.orders - told.filled - told.stood
    counts = (
        f"Of {_orders(told.orders)}, {told.filled:,} filled within {span}, {told.stood:,} rested for so long, and {withdrawn:,} "
        "were withdrawn or moved before (censored)."
    )
    lines = [f"{told.text} n = {_orders(told.orders)}."] if told.text else []
    if told.disagrees:
        lines.append("Model and market disagree: refit, or raise min P.")
    lines.append(counts if told.text else f"{counts} Fewer than {RESOLVED} are resolved: counts only.")
    if told.text:
        likelihood = "" if told.rcll is None else f"; log likelihood {number(told.rcll, 3)} a spell"
        lines.append(f"Range (90 %): {number(told.low, 1)} to {number(told.high, 1)} fills{likelihood}.")
    if told.bins:
        lines.append(
            "What is withdrawn is mostly what price has left, so the shares in the figure lean high. The fills expected allow for "
            "that: every order is asked about anew while it rests."
        )
    if told.left_out:
        lines.append(f"{told.left_out:,} spells are left out: nothing was known of their market.")
    if told.in_sample:
        lines.append("These orders may lie in the model's own training: the score flatters it.")
    lines.append(
        f"Model: {forecast.model.replace('_', ' ')}. It is only watched here: the score never changes an order."
    )
    return tuple(lines)


def position(snapshot: Snapshot) -> str:
    """Return what is held, with its sign and unit."""
    return _signed(snapshot.money.position, snapshot.about)


def _signed(held: Decimal | None, about: About) -> str:
    return f"{number(held, decimals(about.lot), sign=True) if held else '0'} {unit(about)}"


def controls(snapshot: Snapshot | None, link: str) -> Controls:
    """Return which buttons can do anything; killing is possible as long as there is anything to kill."""
    ended = link == "closed" or (snapshot is not None and snapshot.status.phase is Phase.ENDED)
    unsure = snapshot is not None and snapshot.status.open_orders > 0
    kill = link != "none" and (not ended or unsure)
    if snapshot is None or ended or link != "open":
        return Controls(kill=kill, pause=False, resume=False, flatten=False)
    state, running = snapshot.status.state, snapshot.status.phase is Phase.RUNNING
    flattens = state in (RunState.RUNNING, RunState.PAUSED) or (
        state is RunState.FLATTENING and snapshot.exit is not None
    )
    paper = snapshot.about.mode == "paper"  # with money, flattening takes more than a click
    return Controls(
        kill=kill,
        pause=running and state in (RunState.RUNNING, RunState.FLATTENING),
        resume=running and state is RunState.PAUSED,
        flatten=running and paper and bool(snapshot.money.position) and flattens,
    )


# --- the way out -----------------------------------------------------------------------------------------------------


def ways(snapshot: Snapshot | None) -> tuple[tuple[str, str], ...]:
    """Return how the position can be taken out, each with its name; going on only with what was begun."""
    if snapshot is None:
        return tuple((way, way) for way in WAYS)
    clip = _clip(snapshot)
    found = [
        (AT_ONCE, AT_ONCE),
        (OVER_TIME, OVER_TIME),
        (f"{ICEBERG}, {plain(clip)} shown" if clip else ICEBERG, ICEBERG),
    ]
    if snapshot.exit is not None:
        found.append((f"{GO_ON}, {snapshot.status.progress.partition(':')[0]}", GO_ON))
    return tuple(found)


def how(way: str, snapshot: Snapshot | None) -> dict[str, Any]:
    """Return what `flatten` is to be told for a way out.

    Raises
    ------
    SessionError
        Where it cannot be gone any more.
    """
    begun = None if snapshot is None else snapshot.exit
    if way == AT_ONCE:
        return {}
    if way == OVER_TIME:
        return {"twap_s": OVER_S}
    if way == ICEBERG and snapshot is not None and (clip := _clip(snapshot)):
        return {"show": clip}
    if way == GO_ON and begun is not None:
        return {"twap_s": begun.over_s} if begun.over_s is not None else {"show": begun.shown}
    raise SessionError(f"there is no way out “{way}” now; choose another one")


def _clip(snapshot: Snapshot) -> Decimal:
    """Return what an iceberg shows: as much as an order of the grid, or all that is held, in whole lots."""
    lot = snapshot.about.lot
    return min(snapshot.status.order_size, abs(snapshot.money.position)) // lot * lot


def way_out(snapshot: Snapshot | None) -> tuple[float, str] | None:
    """Return which share of the position is out, and that in words; None where no schedule was begun."""
    if snapshot is None or snapshot.exit is None:
        return None
    done, total = snapshot.exit.done, snapshot.exit.total
    share = min(1.0, max(0.0, float(done / total))) if total else 1.0
    return share, f"{100 * share:.0f} % out: {plain(done)} of {plain(total)} {unit(snapshot.about)}"


def frozen(seconds: float) -> str:
    """Return what a frozen view says."""
    return f"View frozen {duration(max(0.0, seconds)) if seconds >= 120 else f'{max(0, int(seconds))} s'}. Trading continues."


def late(snapshot: Snapshot | None, link: str, name: str) -> tuple[str, str]:
    """Return what the browser adds when the kernel has gone silent: for the first seconds, and for later."""
    if snapshot is None or link in ("none", "closed") or snapshot.status.phase is Phase.ENDED:
        return "No session runs.", "No session runs."
    if snapshot.about.policy == "run_on":
        gone = "if it is gone, the session runs on"
    else:
        gone = f"if it is gone, all orders are cancelled {snapshot.about.grace_s:g} s later"
    return (
        "The session runs by itself.",
        f"The session runs by itself; {gone}. To stop it now, in a shell: {kill_code(name)}",
    )


# --- buttons ---------------------------------------------------------------------------------------------------------


def sent(what: str) -> str:
    """Return what a button says between the click and the answer."""
    return f"{what}: sent…"


def answered(what: str, text: str) -> str:
    """Return the runner's answer."""
    return f"{what}: {text or 'done'}"


def not_done(what: str, error: BaseException, name: str) -> str:
    """Return why a command was not carried out, and what to do about a kill that was not."""
    text = f"{what} was NOT done: {str(error) or type(error).__name__}"
    if what == "KILL" and "grinder kill" not in text:
        text = f"{text.rstrip('.')}. Run {kill_code(name)}."
    return text


def as_python(name: str, state: dict[str, object], snapshot: Snapshot | None) -> str:
    """Return lines that show this panel again, with what its session trades."""
    about = (
        []
        if snapshot is None
        else [f"# market: {snapshot.about.market}", f"# configuration: {snapshot.status.config_digest}"]
    )
    # A name from outside must not become code.
    notes = ["".join(letter for letter in line if letter.isprintable()) for line in about]
    given = f", state={state!r}" if state else ""
    return "\n".join(
        (*notes, "import grinder_kit as gk", "import grinder_widgets as gw", "", f"session = gk.Session.attach({name!r})",
         f"gw.SessionPanel(session{given})")
    )  # fmt: skip
