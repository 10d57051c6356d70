"""Sessions for tests: files in a folder of their own, and no process left behind."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from grinder_kit.model.config import Config, GridConfig
from grinder_kit.model.order import Order
from grinder_kit.session import client
from grinder_kit.session.client import Session
from grinder_kit.session.folder import SessionFolder, sessions
from grinder_kit.venue.socket_port import SocketPort

GRID = Config(grid=GridConfig(spacing_bps=5, levels=5, size="0.002", position_limit="0.02"))
MARKET = "synthetic seed=7 minutes=600"


Make = Callable[..., Session]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the files of all sessions in a folder of this test."""
    monkeypatch.setenv("GRINDER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def make(home: Path) -> Iterator[Make]:
    """Return a maker of sessions; whatever still runs at the end is killed."""
    yield a_session
    kill_all()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """Return one session that runs, and soon has a round trip, for all tests of a module that do not end it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRINDER_HOME", str(tmp_path_factory.mktemp("home")))
        session = a_session("r", GRID.replace(**{"grid.spacing_bps": 2}), speed=20.0).start()
        session.wait("RUNNING", timeout_s=120)
        yield session
        kill_all()


def a_session(name: str = "t", config: Config = GRID, *, market: str = MARKET, **options: Any) -> Session:
    """Make a session that is not started."""
    return Session(config, market=market, name=name, **{"speed": 10.0, **options})


def kill_all() -> None:
    """Kill the processes of every session, and follow none any more."""
    for name in sessions():
        card = SessionFolder(name).read_card()
        for pid in () if card is None else (card.pid, card.supervisor_pid):
            end(pid)
        Session.attach(name).close()
        until(lambda: not client._runs_here(name))  # noqa: B023 (asked at once)


class ServedMarket:
    """A venue in a process of its own, as the tests see it.

    Attributes
    ----------
    name : str
        What a session calls it.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.process, self.name = process, process.stdout.readline().strip()
        self.number = int(self.name.rpartition(":")[2])

    def orders(self) -> list[Order]:
        """Return the open orders of everybody."""

        async def ask() -> list[Order]:
            port = await SocketPort.connect(self.number)
            try:
                return list(await port.get_open_orders("SYNTH-USDT"))
            finally:
                await port.close()

        return asyncio.run(ask())


@pytest.fixture(scope="module")
def venue() -> Iterator[ServedMarket]:
    """Return a venue that outlives the sessions that trade on it."""
    words = [sys.executable, "-m", "grinder_kit", "venue", f"--market={MARKET}", "--speed=2"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        yield ServedMarket(process)
        process.kill()


def end(pid: int) -> None:
    """Kill a process of ours that may be gone already."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if any("grinder_kit" in word for word in process.cmdline()):
            process.kill()


def until(what: Callable[[], Any], *, timeout_s: float = 60.0) -> Any:
    """Wait until something holds, and return it."""
    end_s = time.monotonic() + timeout_s
    while not (found := what()):
        assert time.monotonic() < end_s, f"not within {timeout_s:g} s"
        time.sleep(0.02)
    return found
