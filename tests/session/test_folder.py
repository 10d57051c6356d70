"""Files and locks of sessions: whole or not at all, for their owner alone, and never held by the dead."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from grinder_kit.errors import ConfigError, SessionError
from grinder_kit.session.folder import Card, SessionFolder, sessions, take_account
from grinder_kit.session.snapshot import Phase

CARD = Card(
    name="btc", version="1", phase=Phase.RUNNING, mode="paper", account="a", symbol="BTCUSDT", venue="v", market="m",
    tag="t", pid=1,
)  # fmt: skip


@pytest.mark.parametrize("name", ["", "BTC", "../x", ".x", "a b", "x" * 32, "ü"])
def test_names_cannot_leave_their_folder(home: Path, name: str) -> None:
    """A name is a small word; the message says which letters."""
    with pytest.raises(ConfigError, match="write small letters"):
        SessionFolder(name)


def test_card_comes_back(home: Path) -> None:
    """What was written is read; half a card, or one of a later version with more in it, is no crash."""
    folder = SessionFolder("btc")
    assert folder.read_card() is None and not folder.running() and sessions() == []
    folder.make()
    folder.write_card(CARD)
    assert folder.read_card() == CARD and sessions() == ["btc"]
    text = folder.card.read_text()
    folder.card.write_text(text.replace('"name"', '"later": 1, "name"'))
    assert folder.read_card() == CARD
    folder.card.write_text(text[:40])
    assert folder.read_card() is None


def test_only_the_owner_reads_the_token(home: Path) -> None:
    """Folder and token are closed to everybody else, and each run has another token."""
    folder = SessionFolder("btc")
    folder.make()
    first = folder.new_token()
    assert stat.S_IMODE(folder.token.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert folder.read_token() == first
    assert folder.new_token() != first
    folder.token.unlink()
    with pytest.raises(SessionError, match="it does not run"):
        folder.read_token()


def test_tag_is_the_names_and_fits(home: Path) -> None:
    """A session finds its orders again by its name; another's are not taken for its own."""
    assert SessionFolder("btc").tag == SessionFolder("btc").tag != SessionFolder("btc2").tag
    assert len(SessionFolder("btc").tag) <= 12


def test_one_session_an_account_and_symbol(home: Path) -> None:
    """The second is refused with the name of the first; another symbol is free."""
    held = take_account("sim-1", "BTCUSDT", "btc")
    with pytest.raises(
        SessionError, match=r"held by session 'btc' \(pid \d+\); attach with gk.Session.attach\(\"btc\"\)"
    ):
        take_account("sim-1", "BTCUSDT", "other")
    take_account("sim-1", "ETHUSDT", "other").release()
    held.release()
    take_account("sim-1", "BTCUSDT", "other").release()


def test_the_dead_hold_nothing(home: Path) -> None:
    """A process that was killed has let go of its locks, though its files still name it."""
    folder = SessionFolder("btc")
    folder.make()
    code = "import sys; from grinder_kit.session.folder import *; l = SessionFolder('btc').take(); print(1, flush=True); sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdin is not None
    assert process.stdout.readline() == b"1\n"
    assert folder.running()
    with pytest.raises(SessionError, match=rf"pid {process.pid}"):
        folder.take()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    process.stdin.close()
    assert not folder.running()
    folder.take().release()
