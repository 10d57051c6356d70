"""A session in a process of its own: started, attached to, steered, ended; and bad input that touches nothing."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import grinder_kit as gk
from grinder_kit.errors import ConfigError, DataError, SessionError
from grinder_kit.session import client
from grinder_kit.session.client import Session
from grinder_kit.session.facade import Done
from grinder_kit.session.feed import Link
from grinder_kit.session.folder import SessionFolder
from grinder_kit.session.request import Answer
from tests.session.conftest import GRID, MARKET, Make, until


def grinder(*words: str) -> tuple[int, str, str]:
    """Run the command line; return its code, and what it said."""
    done = subprocess.run([sys.executable, "-m", "grinder_kit", *words], capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


def test_life_of_a_session(make: Make) -> None:
    """Start returns at once; it quotes; pause withdraws and keeps the position; resume quotes again; stop leaves nothing."""
    session = make()
    assert session.start() is session and session.link is Link.CONNECTING
    assert "PAPER RUNNING" in session.wait("RUNNING", timeout_s=120).value
    quoting = until(lambda: (s := session.latest) is not None and s.status.open_orders > 5 and s)
    assert {rung.side for rung in quoting.ladder if not rung.refused} == {gk.Side.BUY, gk.Side.SELL}
    assert isinstance(session.pause("a test").value, Answer)
    until(lambda: session.latest is not None and session.latest.status.open_orders == 0)
    assert session.latest is not None
    assert (session.latest.status.state, session.latest.status.reason) == ("PAUSED", "a test")
    session.resume()
    until(lambda: session.latest is not None and session.latest.status.open_orders > 0)
    until(lambda: session.latest is not None and session.latest.counts.fills > 2)
    session.stop("done")
    assert "STOPPED: done; no order is left" in session.wait(timeout_s=60).value
    last = session.latest
    assert last is not None and last.status.open_orders == 0 and session.link is Link.CLOSED
    assert session.fills.height == last.counts.fills and session.round_trips.height == last.counts.round_trips
    assert session.snapshot().value == last
    with pytest.raises(SessionError, match="session 't' has ended: STOPPED: done"):
        session.pause()


def test_second_start_attaches(make: Make) -> None:
    """A cell that runs again, and a second notebook, find the same session; another configuration is said, not applied."""
    session = make().start()
    session.wait("RUNNING", timeout_s=120)
    card = session.folder.read_card()
    assert card is not None
    again = make().start()
    assert again.folder.read_card() == card and client._FEEDS["t"] is again._feed
    other = Session.attach("t")
    assert other.latest is not None and other.latest.about.pid == card.pid
    changed = make(config=GRID.replace(**{"grid.spacing_bps": 7}))
    with pytest.raises(ConfigError, match=r"runs with another configuration \(grid.spacing_bps.*5.*7.*session.update"):
        changed.start()
    assert changed.folder.read_card() == card
    held = f"held by session 't' \\(pid {card.pid}\\); attach with gk.Session.attach\\(\"t\"\\)"
    code, _, said = grinder("run", str(session.folder.config), "--name=t", f"--market={MARKET}")
    assert code == 3 and held.replace("\\", "") in said
    assert changed.folder.read_card() == card


def test_update_is_applied_or_refused_whole(make: Make) -> None:
    """A new spacing moves the grid; one that breaks a limit, or changes what cannot change, leaves all as it was."""
    session = make(config=GRID.replace(**{"limits.max_position": "0.02"})).start()
    session.wait("RUNNING", timeout_s=120)
    wider = session.config.replace(**{"grid.spacing_bps": 8})
    assert "grid.spacing_bps" in str(session.update(wider))
    until(lambda: session.latest is not None and session.latest.counts.amended > 0)
    until(lambda: session.latest is not None and abs(session.latest.money.position) > Decimal("0.001"))
    for change, said in (
        ({"limits.max_position": "0.001"}, "max_position"),
        ({"execution.entry_ms": 99}, "execution"),
        ({"grid.min_fill_prob": 0.2}, "min_fill_prob"),
    ):
        with pytest.raises(ConfigError, match=said):
            session.update(wider.replace(**{**change, "grid.spacing_bps": 11}))
        assert session.config == wider
    code, told, _ = grinder("status", "t", "--json")
    assert code == 0 and json.loads(told)["t"]["snapshot"]["status"]["state"] == "RUNNING"
    session.kill("enough")
    assert "KILLED: enough" in session.wait(timeout_s=60).value


def test_flatten_closes_the_position(make: Make) -> None:
    """Orders go, the position is closed with reduce-only orders, and the session is paused, flat."""
    session = make().start()
    session.wait("RUNNING", timeout_s=120)
    until(lambda: session.latest is not None and session.latest.money.position != 0)
    session.flatten()
    flat = until(lambda: (s := session.latest) is not None and s.status.state == "PAUSED" and s)
    assert flat.money.position == 0 and flat.status.open_orders == 0 and flat.status.reason == "flat"


def test_flatten_over_time_is_paused_and_goes_on(make: Make) -> None:
    """A TWAP and then an iceberg: bad input changes nothing, the status says how far it is, a pause interrupts it; flat at the end."""
    session = make().start()
    session.wait("RUNNING", timeout_s=120)
    until(lambda: session.latest is not None and abs(session.latest.money.position) >= Decimal("0.006"))
    for how, said in (
        ({"twap_s": 60, "show": "0.01"}, "two ways out"),
        ({"twap_s": 600, "slices": 1000}, r"1000 slices of 0 \w+ are below the smallest order of .* write at most"),
        ({"show": "0.0000001"}, "off the lot of"),
    ):
        with pytest.raises(ConfigError, match=said):
            session.flatten(**how)
    code, _, said = grinder("flatten", "t", "--twap-s", "60", "--show", "0.01")
    assert code == 2 and "two ways out" in said
    assert session.latest is not None and session.latest.status.state == "RUNNING"
    code, told, _ = grinder("flatten", "t", "--twap-s", "30", "--slices", "5")
    assert code == 0 and "0 of 5 slices" in told
    under_way = until(lambda: (s := session.latest) is not None and "1 of 5 slices" in s.status.progress and s)
    assert under_way.status.state == "FLATTENING" and under_way.status.progress in session.status
    session.pause("a test")
    paused = until(lambda: (s := session.latest) is not None and s.status.state == "PAUSED" and s)
    assert "of 5 slices" in paused.status.progress and paused.money.position != 0
    session.flatten(show="0.002", seed=1)
    flat = until(lambda: (s := session.latest) is not None and s.status.reason == "flat" and s)
    assert flat.money.position == 0 and flat.status.open_orders == 0 and flat.status.progress == ""
    last = session.fills.filter(session.fills["level_id"].is_in(["BUY_0", "SELL_0"]))
    assert last["is_maker"].to_list() == sorted(last["is_maker"].to_list()), "takers first, then makers"
    assert set(last["is_maker"]) == {False, True}


def test_shell_steers_the_same_session(make: Make) -> None:
    """`grinder status`, `flatten`, `stop` and `kill`; and what they say of a session that is not there."""
    session = make().start()
    session.wait("RUNNING", timeout_s=120)
    code, told, _ = grinder("status")
    assert code == 0 and told.startswith("t: PAPER RUNNING: SYNTH-USDT")
    assert grinder("flatten", "t")[0] == 0
    code, told, _ = grinder("stop", "t")
    assert code == 0 and told.startswith("STOPPED: ")
    session.wait(timeout_s=60)
    code, told, _ = grinder("status", "t")
    assert code == 0 and told.startswith("t: ended: STOPPED: grinder stop; no order is left")
    code, _, said = grinder("stop", "t")
    assert code == 3 and "session 't' has ended" in said
    code, _, said = grinder("kill", "nobody")
    assert code == 3 and "there is no session 'nobody' here" in said


def test_fills_are_those_of_a_replay(make: Make) -> None:
    """A market that is played through the whole program at speed gives the fills of `gk.replay`, to the nanosecond."""
    session = make(market="synthetic seed=7 minutes=4", speed=60.0).start()
    session.wait("ENDED", timeout_s=120)
    columns = ["ts_ns", "level_id", "price_ticks", "quantity_lots", "commission", "is_maker"]
    result = gk.replay(gk.synthetic_market(seed=7, minutes=4), GRID)
    assert result.fills.height > 5
    assert session.fills.select(columns).equals(result.fills.select(columns))


def test_market_may_come_as_a_stream(make: Make) -> None:
    """The same session on a PaperPort that hears the market row by row, as a live feed would come: it quotes, fills and ends."""
    session = make(market="synthetic seed=7 minutes=2", speed=20.0, stream=True).start()
    session.wait("ENDED", timeout_s=120)
    assert session.fills.height > 0 and "no order is left" in session.status


def test_signal_stops_it_cleanly(make: Make) -> None:
    """Ctrl-C in a shell: orders withdrawn and confirmed, the journal closed, 130; SIGTERM the same with 0."""
    for number, code in ((2, 130), (15, 0)):
        session = make(f"s{number}").start()
        session.wait("RUNNING", timeout_s=120)
        process = client._STARTED[session.name]
        process.send_signal(number)
        session.wait(timeout_s=60)
        assert process.wait(30) == code
        card = session.folder.read_card()
        assert card is not None and card.code == code and "no order is left" in card.ending


def test_calls_are_awaited_in_async_code(running: Session) -> None:
    """The same names, awaited; in a script they are finished when they return, and may be awaited as well."""

    async def main() -> Any:
        answer = await running.pause()
        await running.resume()
        return answer

    assert isinstance(asyncio.run(main()), Answer)
    done = running.pause()
    assert isinstance(done, Done)

    async def late() -> Any:
        return await done

    assert asyncio.run(late()) is done.value
    running.resume()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mode": "live"}, "write mode='paper'"),
        ({"market": "synthetic seed=x"}, "write 'synthetic seed=7 minutes=30'"),
        ({"market": "venue 1.2.3.4:80"}, "write 'venue 127.0.0.1:4711'"),
        ({"speed": 0}, "speed is 0"),
        ({"grace_s": -1}, "grace_s is -1"),
        ({"policy": "panic"}, "policy is 'panic'; write 'cancel' or 'run_on'"),
        ({"config": GRID.replace(**{"grid.size": "0.0001"})}, "size"),
    ],
)
def test_bad_input_starts_nothing(home: Path, change: dict[str, Any], said: str) -> None:
    """The reason and what to write instead, before any file or process is made."""
    given: dict[str, Any] = {"config": GRID, "market": MARKET, "name": "t", **change}
    with pytest.raises(ConfigError, match=said.replace("(", r"\(")):
        Session(given.pop("config"), **given)
    assert not home.exists()


def test_market_that_is_missing_is_said(home: Path) -> None:
    """A recording that is not there."""
    with pytest.raises(DataError, match="no such recording"):
        Session(GRID, market=home / "no.parquet", name="t")


def test_runner_of_another_version_can_only_be_ended(running: Session) -> None:
    """Steering it is refused with the command that ends it."""
    folder = running.folder
    card = folder.read_card()
    assert card is not None
    folder.write_card(replace(card, version="9.9.9"))
    try:
        for call in (lambda: Session.attach("r"), running.pause):
            with pytest.raises(SessionError, match="runs grinder_kit 9.9.9, and this is .*grinder stop r"):
                call()
    finally:
        folder.write_card(card)


def test_session_that_never_was(home: Path) -> None:
    """The message says where it was looked for."""
    with pytest.raises(SessionError, match="there is no session 'x' here .*grinder status"):
        Session.attach("x")
    assert SessionFolder("x").read_card() is None


def test_a_thread_may_call_though_nest_asyncio_is_applied(running: Session) -> None:
    """A widget's callback on a thread of its own: what a cell did to asyncio before is no hindrance."""
    code = (
        "import asyncio, threading, nest_asyncio\n"
        "from grinder_kit.session.client import Session\n"
        "async def main():\n"
        "    nest_asyncio.apply()\n"
        "    session, said = Session.attach('r'), []\n"
        "    thread = threading.Thread(target=lambda: said.append(session.snapshot().value.status.state))\n"
        "    thread.start()\n"
        "    thread.join()\n"
        "    while session.latest is None: await asyncio.sleep(.01)\n"
        "    print(said[0], session.link)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("RUNNING open\n", 0), done.stderr


def test_nothing_touches_asyncio_on_import() -> None:
    """nest-asyncio is applied when a cell first needs it, never by an import."""
    code = "import sys, grinder_kit as gk, grinder_widgets; gk.Session; print('nest_asyncio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
