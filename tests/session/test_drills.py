"""Drills: what becomes of the orders when a kernel, a runner, a supervisor, or two of them die or hang. All processes are real.

The venue lives in a process of its own, so that orders outlive whoever sent them.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

from grinder_kit.execution.journal import entries
from grinder_kit.model.event import Updated
from grinder_kit.session.client import Session
from grinder_kit.session.feed import Link
from grinder_kit.session.folder import Card
from tests.session.conftest import Make, ServedMarket, until
from tests.session.test_session import grinder

PATIENCE_S = 1.0


@pytest.fixture
def trading(make: Make, venue: ServedMarket) -> Iterator[Session]:
    """Return a session with orders at the venue."""
    session = make("drill", market=venue.name, speed=1.0, patience_s=PATIENCE_S).start()
    session.wait("RUNNING", timeout_s=120)
    until(
        lambda: session.latest is not None and session.latest.status.open_orders >= 8 and session.latest.status.synced
    )
    until(lambda: len(ours(venue, session)) >= 8)  # what a session has decided may still be on its way
    yield session


def card_of(session: Session) -> Card:
    """Return the card of a session."""
    card = session.folder.read_card()
    assert card is not None
    return card


def ours(venue: ServedMarket, session: Session) -> list[str]:
    """Return the ids of a session's open orders, by the venue's word."""
    return [o.client_order_id for o in venue.orders() if o.client_order_id.startswith(f"gk{session.folder.tag}-")]


def supervised(session: Session) -> bool:
    """Whether the supervisor that the card names watches already."""
    log = session.folder.path / "supervisor.jsonl"
    return log.exists() and f"pid={card_of(session).supervisor_pid}" in log.read_text()


def test_dead_runner(trading: Session, venue: ServedMarket) -> None:
    """SIGKILL of the runner: the supervisor withdraws its orders, says so on the card and in the journal, and ends."""
    until(lambda: supervised(trading))
    trading.update(trading.config.replace(**{"grid.spacing_bps": 7}))
    updated, card = trading.config, card_of(trading)
    os.kill(card.pid, signal.SIGKILL)
    until(lambda: not ours(venue, trading), timeout_s=10)
    trading.wait(timeout_s=30)
    assert f"the runner died (pid {card.pid}); its supervisor withdrew" in card_of(trading).ending
    assert trading.link is Link.CLOSED or until(lambda: trading.link is Link.CLOSED)
    until(lambda: "its supervisor withdrew" in str(list(entries(card.journal))[-1].body))
    assert grinder("status", "drill")[1].startswith("drill: ended: the runner died")
    # Started again under its name, it goes on from its journal, with what it is given now, and leaves nothing of the old orders.
    trading.config = trading.config.replace(**{"grid.spacing_bps": 6})
    again = trading.start()
    again.wait("RUNNING", timeout_s=120)
    until(lambda: len(ours(venue, again)) >= 8)
    assert card_of(again).journal == card.journal
    assert [e.body.config for e in entries(card.journal) if isinstance(e.body, Updated)] == [
        updated.canonical(),
        again.config.canonical(),
    ]
    again.stop()
    again.wait(timeout_s=60)
    assert not ours(venue, again)


def test_session_that_is_started_again_at_once(trading: Session, venue: ServedMarket) -> None:
    """The supervisor of the dead runner leaves the orders of the new one alone, and its card."""
    until(lambda: supervised(trading))
    os.kill(card_of(trading).pid, signal.SIGKILL)
    until(lambda: not trading.folder.running())
    trading.start()
    trading.wait("RUNNING", timeout_s=120)
    until(lambda: len(ours(venue, trading)) >= 8)
    pid = card_of(trading).pid
    end = time.monotonic() + 6  # longer than the old supervisor would watch
    while time.monotonic() < end:
        assert len(ours(venue, trading)) >= 3
        assert card_of(trading).pid == pid and card_of(trading).ending == ""
        time.sleep(0.2)


def test_dead_supervisor(trading: Session, venue: ServedMarket) -> None:
    """SIGKILL of the supervisor: another takes its place, and withdraws the orders when the runner dies then."""
    until(lambda: supervised(trading))
    first = card_of(trading).supervisor_pid
    os.kill(first, signal.SIGKILL)
    until(lambda: card_of(trading).supervisor_pid != first and supervised(trading))
    assert trading.latest is not None and trading.latest.status.state == "RUNNING"
    os.kill(card_of(trading).pid, signal.SIGKILL)
    until(lambda: not ours(venue, trading), timeout_s=10)


def test_both_dead_is_said_to_be_uncovered(trading: Session, venue: ServedMarket) -> None:
    """Nobody is left: the orders live on, the status says so and what to run, and that withdraws them."""
    card = card_of(trading)
    os.kill(card.supervisor_pid, signal.SIGSTOP)  # so that it does not act in between
    os.kill(card.pid, signal.SIGKILL)
    os.kill(card.supervisor_pid, signal.SIGKILL)
    until(lambda: trading.link is Link.LOST)
    until(lambda: "UNCOVERED" in trading.status)
    assert "has died" in trading.status and "Run: grinder kill drill" in trading.status
    assert len(ours(venue, trading)) >= 8
    code, told, _ = grinder("kill", "drill")
    assert code == 0 and "orders were withdrawn, none is left" in told
    assert not ours(venue, trading)
    assert "ended: grinder kill: killed from outside" in trading.status


def test_hung_runner_wakes_up(trading: Session, venue: ServedMarket) -> None:
    """SIGSTOP past the supervisor's patience: orders go. Woken, it sends nothing before it agrees with the venue, and is paused."""
    until(lambda: supervised(trading))
    card = card_of(trading)
    os.kill(card.pid, signal.SIGSTOP)
    until(lambda: not ours(venue, trading), timeout_s=10)
    until(lambda: trading.link is Link.LOST)
    assert "hangs, and its supervisor" in trading.status
    os.kill(card.pid, signal.SIGCONT)
    until(lambda: trading.link is Link.OPEN and trading.latest is not None and trading.latest.status.state == "PAUSED")
    assert trading.latest is not None and "supervisor took over" in trading.latest.status.reason
    until(
        lambda: trading.latest is not None and trading.latest.status.synced and trading.latest.status.open_orders == 0
    )
    assert not ours(venue, trading)
    events = list(entries(card.journal))
    lost = max(i for i, e in enumerate(events) if type(e.body).__name__ == "StreamLost")
    synced = max(i for i, e in enumerate(events) if type(e.body).__name__ == "Resynced")
    assert synced > lost
    assert not [e for e in events[lost:] if type(e.body).__name__ in ("Place", "Amend")]
    trading.resume()
    until(lambda: len(ours(venue, trading)) >= 8)
    time.sleep(1.0)  # the supervisor does not go on withdrawing what the woken runner sends
    assert len(ours(venue, trading)) >= 5


def test_second_session_on_the_same_account_is_refused(trading: Session, venue: ServedMarket, make: Make) -> None:
    """Another name, the same venue and symbol: it ends at once and names the holder, whose orders go on."""
    other = make("other", market=venue.name, speed=1.0).start()
    with pytest.raises(
        Exception, match=r"held by session 'drill' \(pid \d+\); attach with gk.Session.attach\(\"drill\"\)"
    ):
        other.wait("RUNNING", timeout_s=60)
    assert len(ours(venue, trading)) >= 5


# --- kernels -------------------------------------------------------------------------------------------------------------

START = """
import grinder_kit as gk
session = gk.Session(gk.load_config({config!r}), market={market!r}, name="drill", grace_s={grace}, patience_s=2.0)
session.start()
session.wait("RUNNING", timeout_s=120)
"""
HOLD_GIL = "import ctypes; ctypes.PyDLL(None).usleep({us})"


class Kernel:
    """A notebook's kernel without a notebook."""

    def __init__(self, home: Path) -> None:
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(env={**os.environ, "GRINDER_HOME": str(home)}, cwd=str(home.parent))
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    @property
    def pid(self) -> int:
        """Its process."""
        assert self.manager.provisioner is not None
        return int(self.manager.provisioner.pid)  # type: ignore[attr-defined]

    def run(self, code: str, timeout_s: float = 180) -> str:
        """Run a cell to its end; return what it printed."""
        said: list[str] = []

        def hear(message: dict[str, Any]) -> None:
            if message["msg_type"] == "stream":
                said.append(message["content"]["text"])

        reply = self.client.execute_interactive(code, timeout=timeout_s, output_hook=hear)
        while reply["content"]["status"] == "aborted":  # a cell before it was interrupted, and took this one with it
            reply = self.client.execute_interactive(code, timeout=timeout_s, output_hook=hear)
        assert reply["content"]["status"] == "ok", "\n".join(reply["content"].get("traceback", []))
        return "".join(said)

    def begin(self, code: str) -> None:
        """Begin a cell and do not wait for it."""
        self.client.execute(code)

    def kill(self) -> None:
        """SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Let go of it."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


@pytest.fixture
def kernel(home: Path, make: Make) -> Iterator[Callable[[], Kernel]]:
    """Return a maker of kernels."""
    kernels: list[Kernel] = []
    home.mkdir()

    def start() -> Kernel:
        kernels.append(Kernel(home))
        return kernels[-1]

    yield start
    for one in kernels:
        one.close()


def start_cell(venue: ServedMarket, folder: Path, *, grace_s: float) -> str:
    """Return the cell that starts the session."""
    from grinder_kit.model.config_file import save_config
    from tests.session.conftest import GRID

    save_config(GRID, folder / "grid.toml")
    return START.format(config=str(folder / "grid.toml"), market=venue.name, grace=grace_s)


def test_kernel_dies_while_it_holds_its_interpreter(
    kernel: Callable[[], Kernel], venue: ServedMarket, tmp_path: Path
) -> None:
    """SIGKILL during a long C call: the orders go after the grace, and the session watches on, paused."""
    notebook = kernel()
    notebook.run(start_cell(venue, tmp_path, grace_s=2.0))
    watcher = Session.attach("drill")
    until(lambda: len(ours(venue, watcher)) >= 8)
    watcher.close()
    notebook.begin(HOLD_GIL.format(us=60_000_000))
    time.sleep(0.5)
    notebook.kill()
    until(lambda: not ours(venue, watcher), timeout_s=20)
    until(lambda: "no client for 2 s" in grinder("status", "drill")[1])
    assert json.loads(grinder("status", "drill", "--json")[1])["drill"]["snapshot"]["status"]["state"] == "PAUSED"


def busy_kernel_keeps_its_orders(
    kernel: Callable[[], Kernel], venue: ServedMarket, folder: Path, *, busy_s: float, grace_s: float
) -> None:
    """A call that holds the interpreter for longer than the grace is no death: the orders stay."""
    notebook = kernel()
    notebook.run(start_cell(venue, folder, grace_s=grace_s))
    notebook.begin(HOLD_GIL.format(us=round(busy_s * 1e6)))
    watcher = Session.attach("drill")
    until(lambda: watcher.latest is not None and watcher.latest.status.open_orders >= 8)
    watcher.close()
    end = time.monotonic() + busy_s + 1
    while time.monotonic() < end:
        assert ours(venue, watcher)
        time.sleep(0.2)
    assert "RUNNING" in notebook.run("print(session.latest.status.state)")


def test_kernel_that_is_busy_lives(kernel: Callable[[], Kernel], venue: ServedMarket, tmp_path: Path) -> None:
    """Holding the interpreter for three times the grace."""
    busy_kernel_keeps_its_orders(kernel, venue, tmp_path, busy_s=6, grace_s=2.0)


@pytest.mark.slow
def test_kernel_that_is_busy_for_a_minute_lives(
    kernel: Callable[[], Kernel], venue: ServedMarket, tmp_path: Path
) -> None:
    """Holding the interpreter for a minute, with the grace of 30 s that is the default."""
    busy_kernel_keeps_its_orders(kernel, venue, tmp_path, busy_s=60, grace_s=30.0)


def test_interrupt_restart_and_second_kernel_leave_one_session(
    kernel: Callable[[], Kernel], venue: ServedMarket, tmp_path: Path
) -> None:
    """An interrupted cell, a cell that runs twice, another kernel, a restart within the grace: the same runner, and it quotes."""
    first, cell = kernel(), start_cell(venue, tmp_path, grace_s=20.0)
    first.run(cell)
    pid = first.run("print(session.latest.about.pid)")
    first.begin("import time; time.sleep(60)")
    time.sleep(0.3)
    first.manager.interrupt_kernel()
    assert first.run(cell + "print(session.latest.about.pid)") == pid
    second = kernel()
    assert second.run(cell + "print(session.latest.about.pid)") == pid
    assert first.run("import threading; print(sum(t.name == 'session drill' for t in threading.enumerate()))") == "1\n"
    first.kill()
    until(lambda: second.run("print(session.latest.status.clients)") == "1\n")
    assert second.run("print(session.latest.status.state)") == "RUNNING\n"
    second.kill()
    third = kernel()
    assert (
        third.run(cell + "print(session.latest.about.pid, session.latest.status.state)") == f"{pid.strip()} RUNNING\n"
    )
    assert third.run("print(await session.pause(), (await session.resume()).state)").endswith(
        "the position is kept RUNNING\n"
    )
    metrics = third.run(
        "from grinder_kit.session import request; print(request.ask(session.folder, 'GET', '/metrics').decode())"
    )
    assert metrics.count("# TYPE grinder_execution_orders_placed_total counter") == 1
    third.run("session.stop(); print(session.wait(timeout_s=60))")
