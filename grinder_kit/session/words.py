"""A session in one line, for a person who looks at a shell or the last line of a cell."""

from __future__ import annotations

from grinder_kit.session.folder import Card, SessionFolder
from grinder_kit.session.request import lost_words
from grinder_kit.session.snapshot import Phase, Snapshot, Verdict


def status_line(folder: SessionFolder, snapshot: Snapshot | None) -> str:
    """Say how a session is.

    Parameters
    ----------
    folder : SessionFolder
    snapshot : Snapshot or None
        What was heard of its runner; None: nothing.
    """
    card = folder.read_card()
    if card is None:
        return "not started" if not folder.running() else "starting"
    if card.phase is Phase.ENDED:
        return f"ended: {card.ending}"
    if card.ending:
        return card.ending
    if snapshot is None:
        return (
            "starting: it loads its market"
            if card.phase is Phase.STARTING and folder.running()
            else lost_words(folder, card)
        )
    return running_line(card, snapshot)


def running_line(card: Card, snapshot: Snapshot) -> str:
    """Say how a session is that was heard."""
    status, money, about = snapshot.status, snapshot.money, snapshot.about
    orders = "1 order" if status.open_orders == 1 else f"{status.open_orders} orders"
    equity = "?" if money.equity is None else f"{money.equity:+.2f} {about.settle}"
    why = f" ({status.reason})" if status.reason else ""
    why += f": {status.progress}" if status.progress else ""
    gates = "" if status.synced else "; orders are being compared with the venue"
    gates += "; market data are STALE" if status.stale else ""
    return (
        f"{about.mode.upper()} {status.state.value}{why}: {about.symbol}, {orders}, position {money.position:+f} {about.base}, "
        f"equity {equity}, {snapshot.counts.fills:,} fills{gates} (pid {card.pid})"
    )


def more_lines(snapshot: Snapshot) -> tuple[str, ...]:
    """Say what a person should hear beside that: a position that is not as it should be, and the latest alert."""
    lines = [
        f"{one.name}: {one.verdict} {one.text}"
        for one in snapshot.health
        if one.name == "position" and one.verdict is not Verdict.OK
    ]
    alerts = [one for one in snapshot.notices if one.is_alert and one.level != "INFO"]
    if alerts:
        last = alerts[-1]
        facts = "".join(f" {name}={value}" for name, value in last.context)
        count = "1 alert" if len(alerts) == 1 else f"{len(alerts)} alerts, the last"
        lines.append(f"{count}: {last.level} {last.text}{facts}")
    return tuple(lines)
