"""Requests to a session's local API, and what to do when its runner does not answer."""

from __future__ import annotations

import http.client
import io
import json
import os
import signal
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from grinder_kit import __version__, errors
from grinder_kit.errors import SessionError, SessionLostError
from grinder_kit.session.facade import run_alone
from grinder_kit.session.folder import Card, SessionFolder
from grinder_kit.session.pulse import Pulse
from grinder_kit.session.snapshot import Phase

if TYPE_CHECKING:
    import polars as pl

HOST = "127.0.0.1"
TIMEOUT_S, ATTEMPTS = 5.0, 3
#: Commands that any version may give: ending a session must always work.
_ENDING = ("kill", "stop")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the runner said to a command."""

    command: str
    text: str
    state: str = ""

    def __str__(self) -> str:
        return self.text


def card_of(folder: SessionFolder) -> Card:
    """Return the card of a session that runs.

    Raises
    ------
    SessionError
        Where it does not; the message says how it ended.
    """
    card = folder.read_card()
    if card is None:
        raise SessionError(f"there is no session '{folder.name}' here ({folder.path})")
    if card.phase is Phase.ENDED:
        raise SessionError(f"session '{folder.name}' has ended: {card.ending}")
    return card


def ask(folder: SessionFolder, method: str, path: str, body: bytes = b"", *, timeout_s: float = TIMEOUT_S) -> bytes:
    """Ask a running session; return the body of its answer.

    Raises
    ------
    SessionError, ConfigError
        What the runner refused, in its words.
    SessionLostError
        Where nobody answers.
    """
    card = card_of(folder)
    for attempt in range(ATTEMPTS):
        connection = http.client.HTTPConnection(HOST, card.port, timeout=timeout_s)
        try:
            headers = {"Authorization": f"Bearer {folder.read_token()}"}
            connection.request(method, path, body=body or None, headers=headers)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            if attempt == ATTEMPTS - 1 or isinstance(error, TimeoutError):
                raise SessionLostError(lost_words(folder, card)) from error
            time.sleep(0.1)
            card = card_of(folder)
            continue
        finally:
            connection.close()
        if response.status in (200, 409):
            return content
        raise _refused(content)
    raise AssertionError  # the loop returns or raises


def _refused(content: bytes) -> errors.GrinderError:
    try:
        told = json.loads(content)
        kind = getattr(errors, str(told.get("error")), SessionError)
        if not (isinstance(kind, type) and issubclass(kind, errors.GrinderError)) or issubclass(
            kind, errors.VenueError
        ):
            kind = SessionError
        return kind(str(told["text"]))
    except (ValueError, KeyError, AttributeError):
        return SessionError(f"the session answered {content[:200]!r}")


def lost_words(folder: SessionFolder, card: Card) -> str:
    """Say what is known of a runner that does not answer, and what to do."""
    runs = folder.running()
    how = "hangs" if runs else "has died"
    supervisor = _alive(card.supervisor_pid)
    cover = (
        f"its supervisor (pid {card.supervisor_pid}) withdraws its orders"
        if supervisor
        else "its supervisor is gone too: its orders are UNCOVERED and may still be open"
    )
    return (
        f"session '{folder.name}' does not answer: its runner (pid {card.pid}) {how}, and {cover}. "
        f"Run: grinder kill {folder.name}"
    )


def _alive(pid: int) -> bool:
    if not pid:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def command(folder: SessionFolder, name: str, **facts: Any) -> Answer:
    """Give a command; it is carried out once, however often it has to be sent.

    Raises
    ------
    SessionError, SessionLostError, ConfigError
        As :func:`ask`; for a runner of another version, all commands but `stop` and `kill`.
    """
    card = card_of(folder)
    if card.version != __version__ and name not in _ENDING:
        raise SessionError(
            f"session '{folder.name}' runs grinder_kit {card.version}, and this is {__version__}: steer it from there, or end it "
            f"with: grinder stop {folder.name}"
        )
    body = json.dumps({"id": uuid.uuid4().hex, "command": name, **facts}).encode()
    told = json.loads(ask(folder, "POST", "/command", body))
    if not told.get("accepted"):
        raise _refused(json.dumps(told).encode())
    return Answer(command=name, text=told["text"], state=told.get("state", ""))


def kill(folder: SessionFolder, reason: str, *, answer_s: float = 2.0) -> Answer:
    """Kill a session: through its runner, or past it where it does not answer.

    Past it means: its door is shut, its process is killed, and its orders are withdrawn from here.
    """
    card = folder.read_card()
    if card is None:
        raise SessionError(f"there is no session '{folder.name}' here ({folder.path})")
    if card.phase is not Phase.ENDED:
        body = json.dumps({"id": uuid.uuid4().hex, "command": "kill", "reason": reason}).encode()
        try:
            told = json.loads(ask(folder, "POST", "/command", body, timeout_s=answer_s))
            if told.get("accepted"):
                return Answer(command="kill", text=told["text"], state=told.get("state", ""))
        except SessionError:
            pass  # it hangs, has died, or its token is another one: then it goes without asking
    # Not before: beside a busy cell an import takes seconds, and the runner is to be told at once.
    from grinder_kit.session.supervisor import sweep

    with suppress(FileNotFoundError), Pulse(folder.pulse) as pulse:
        pulse.take_over()
    if folder.running():
        with suppress(ProcessLookupError):
            os.kill(card.pid, signal.SIGKILL)
    swept = run_alone(sweep(card)) if card.symbol else None
    if swept is None or swept.clean:
        words = f"killed from outside; {swept.withdrawn if swept else 0} orders were withdrawn, none is left"
        if not folder.running():
            folder.write_card(replace(card, phase=Phase.ENDED, ending=f"{reason}: {words}", code=1))
        return Answer(command="kill", text=words)
    raise SessionLostError(
        f"session '{folder.name}': {swept.withdrawn} orders were withdrawn, and then the venue did not answer. Orders may be open: "
        "look at the venue itself"
    )


def frame(folder: SessionFolder, name: str) -> pl.DataFrame:
    """Fetch `fills` or `round_trips`, all of them."""
    import polars as pl

    return pl.read_ipc(io.BytesIO(ask(folder, "GET", f"/frames/{name}")))
