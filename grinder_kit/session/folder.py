"""Where a session keeps its files, and the locks that let one alone trade an account's symbol.

    <home>/sessions/<name>/   config.toml, <account>.journal, log.jsonl, card.json, instrument.json, pulse, token, final.json
    <home>/locks/             <account>-<symbol>.lock

`<home>` is ``~/.grinder``, or the folder that GRINDER_HOME names. Locks are the system's: a process that dies lets go of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from grinder_kit.errors import ConfigError, SessionError
from grinder_kit.session.snapshot import Phase

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,30}")


def home() -> Path:
    """Return the folder of all sessions."""
    return Path(os.environ.get("GRINDER_HOME") or Path.home() / ".grinder")


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What others must know to reach a session; written by its runner, and by its supervisor when that is gone.

    `ending` says in words how it ended, and what is left: empty while it runs. `digest` is then that of all the session knew; an engine
    that is rebuilt from the journal has the same.
    """

    name: str
    version: str
    phase: Phase
    mode: str
    account: str
    symbol: str
    venue: str
    market: str
    tag: str
    pid: int
    supervisor_pid: int = 0
    port: int = 0
    started_wall_ns: int = 0
    journal: str = ""
    ending: str = ""
    digest: str = ""
    code: int | None = None


class SessionFolder:
    """The files of one session.

    Parameters
    ----------
    name : str
        Lower-case letters, digits, and ``_.-``; at most 31.

    Raises
    ------
    ConfigError
        For another name.
    """

    def __init__(self, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise ConfigError(f"session name is {name!r}; write small letters, digits, '_', '.' or '-', such as 'btc'")
        self.name = name
        self.path = home() / "sessions" / name
        self.config = self.path / "config.toml"
        self.card = self.path / "card.json"
        self.pulse = self.path / "pulse"
        self.token = self.path / "token"
        self.instrument = self.path / "instrument.json"
        self.final = self.path / "final.json"
        self.log = self.path / "log.jsonl"
        self.errors = self.path / "runner.err"

    @property
    def tag(self) -> str:
        """Tag in the client order ids of this session, the same for every run of it."""
        return "s" + hashlib.sha256(self.name.encode()).hexdigest()[:7]

    def make(self) -> None:
        """Make the folder, for its owner alone."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path.chmod(0o700)

    # --- the card ----------------------------------------------------------------------------------------------------

    def write_card(self, card: Card) -> None:
        """Write the card in one piece."""
        write_whole(self.card, json.dumps(asdict(card), indent=2).encode())

    def read_card(self) -> Card | None:
        """Return the card, None where there has never been such a session, or a card that cannot be read."""
        try:
            found: dict[str, Any] = json.loads(self.card.read_bytes())
            return Card(**{**{k: v for k, v in found.items() if k in _CARD}, "phase": Phase(found["phase"])})
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    # --- the token ---------------------------------------------------------------------------------------------------

    def new_token(self) -> str:
        """Write a fresh token that its owner alone can read, and return it."""
        token = secrets.token_urlsafe(32)
        write_whole(self.token, token.encode(), mode=0o600)
        return token

    def read_token(self) -> str:
        """Return the token.

        Raises
        ------
        SessionError
            Where there is none.
        """
        try:
            return self.token.read_text()
        except FileNotFoundError:
            raise SessionError(f"session '{self.name}' has no token ({self.token}): it does not run") from None

    # --- locks -------------------------------------------------------------------------------------------------------

    def running(self) -> bool:
        """Whether a runner of this name lives, by its lock."""
        if not self.path.is_dir():
            return False
        lock = FileLock(self.path / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        lock.release()
        return False

    def take(self) -> FileLock:
        """Take this name for a runner.

        Raises
        ------
        SessionError
            Where one already runs under it.
        """
        return _take(self.path / "lock", self.name)


def take_account(account: str, symbol: str, name: str) -> FileLock:
    """Take an account's symbol for a session.

    Raises
    ------
    SessionError
        Where another session holds it; the message names it.
    """
    folder = home() / "locks"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return _take(folder / re.sub(r"[^A-Za-z0-9._-]", "_", f"{account}-{symbol}.lock"), name)


def _take(path: Path, name: str) -> FileLock:
    """Take a lock; who holds it stands beside it."""
    holder = path.with_name(path.name + ".holder")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0.5)  # who only looks whether it is held has it for a moment
    except Timeout:
        try:
            held: dict[str, Any] = json.loads(holder.read_bytes())
        except (FileNotFoundError, ValueError):
            held = {"name": name, "pid": "?"}
        raise SessionError(
            f"held by session '{held['name']}' (pid {held['pid']}); attach with gk.Session.attach(\"{held['name']}\"), "
            f"or end it with: grinder stop {held['name']}"
        ) from None
    write_whole(holder, json.dumps({"name": name, "pid": os.getpid()}).encode())
    return lock


def sessions() -> list[str]:
    """Return the names of all sessions that have files here."""
    folder = home() / "sessions"
    return sorted(path.name for path in folder.iterdir() if (path / "card.json").exists()) if folder.is_dir() else []


def write_whole(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Write a file in one piece, readable by its owner alone: who reads it sees the old content or the new."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    number = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(content)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


_CARD = frozenset(one.name for one in fields(Card))
