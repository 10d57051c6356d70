"""The journal of a session: what was meant to be done, before it was, and what came of it.

An append-only SQLite file (WAL, one commit a batch). An intent stands in it before it is sent; so whatever happens to the
process, nothing of ours is at the venue that the journal does not know. Replayed into a fresh engine it gives the same state.

What stands in it is the model's values and plain facts; a key or a password never reaches it.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from grinder_kit.errors import JournalError
from grinder_kit.execution import journal_file
from grinder_kit.execution.journal_codec import encode, encode_facts
from grinder_kit.execution.journal_entry import (
    IDENTITY,
    SCHEMA,
    Entry,
    EntryKind,
    Rebuilt,
    body_of_header,
    check_header,
    entries,
    rebuild,
)
from grinder_kit.execution.journal_file import DamagedJournalError, Row, chain, read_rows
from grinder_kit.model.event import Command, Event
from grinder_kit.model.number import plain

if TYPE_CHECKING:
    from grinder_kit.model.config import Config
    from grinder_kit.model.instrument import Instrument

__all__ = ["DamagedJournalError", "Entry", "EntryKind", "Journal", "Rebuilt", "entries", "journal_header", "rebuild"]

#: Called before and after each commit with its number from 1 (the one that makes the file is 0), and "before" or "after".
OnWrite: TypeAlias = Callable[[int, str], None]


def journal_header(instrument: Instrument, config: Config, tag: str) -> dict[str, Any]:
    """Return what the first entry of a session's journal says: whose it is, and the SHA-256 of its configuration."""
    return {
        "symbol": instrument.symbol,
        "venue": instrument.venue,
        "tag": tag,
        "tick": plain(instrument.tick),
        "lot": plain(instrument.lot),
        "config": hashlib.sha256(config.canonical().encode()).hexdigest(),
    }


class Journal:
    """A journal that is being written; made by :meth:`open`.

    Appends wait in memory until `commit` writes them in one transaction. One thread appends; commits may run in another, one
    at a time.

    Attributes
    ----------
    path : Path
    last_seq : int
        Number of the last entry, written or waiting.

    Examples
    --------
    >>> from grinder_kit.model.event import Cancel
    >>> folder = getfixture("tmp_path")
    >>> whose = {"symbol": "BTCUSDT", "venue": "paper", "tag": "r0"}
    >>> with Journal.open(folder / "r0.journal", header=whose, ts_ns=0) as journal:
    ...     journal.append_intent(Cancel(client_order_id="gkr0-B3-1", reason="OFF_PLAN"), 5)
    ...     journal.commit()
    >>> [(entry.seq, entry.ts_ns, entry.kind.value) for entry in entries(folder / "r0.journal")]
    [(1, 0, 'header'), (2, 5, 'intent')]
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, last: Row, on_write: OnWrite | None) -> None:
        self.path = path
        self.last_seq = last.seq
        self._crc = last.crc
        self._connection: sqlite3.Connection | None = connection
        self._waiting: list[Row] = []
        self._on_write = on_write
        self._commits = 0
        self._mark = journal_file.mark_of(path).open("wb", buffering=0)
        self._say_end(last.seq)

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        header: Mapping[str, Any] | None = None,
        durable: bool = True,
        ts_ns: int | None = None,
        on_write: OnWrite | None = None,
    ) -> Self:
        """Open a journal to go on with it, or make it, folders included.

        A damaged journal is kept as ``<name>.damaged-<n>``; what precedes the damage goes on under its name, with a note.

        Parameters
        ----------
        path : path
        header : mapping, optional
            Whose journal it is: symbol, venue, tag, config (see :func:`journal_header`). None opens only what exists.
        durable : bool
            A commit has reached the disk when it returns. False leaves that to the system: a power cut may take the last
            commits, a crash of the process takes none.
        ts_ns : int, optional
            Time of what opening itself writes; by default the machine's.
        on_write : callable, optional
            Called before and after each commit.

        Raises
        ------
        JournalError
            For a journal of another symbol, venue, tag or schema, and for a file that is none.
        """
        path = Path(path)
        now = time.time_ns() if ts_ns is None else ts_ns
        whole = None if header is None else {"schema": SCHEMA, "version": version("grinder-kit"), **header}
        journal_file.finish_mending(path)
        try:
            first, last, damage = _survey(path)
        except FileNotFoundError:
            first, last, damage = None, Row(0, 0, "", "", 0), None
        if first is not None:
            check_header(path, first, whole)
        if first is None or damage is not None:
            last = _make(path, first, last, whole, damage, now, on_write)
        journal = cls(path, journal_file.connect(path, durable=durable), last, on_write)
        if first is not None and whole is not None and first.get("config") != whole.get("config"):
            journal.append_note("the configuration is another one than at the start", now, config=whole.get("config"))
        return journal

    @staticmethod
    def read(path: str | Path) -> Iterator[Entry]:
        """Yield what a journal holds, as :func:`entries`."""
        return entries(path)

    # --- appending ---------------------------------------------------------------------------------------------------

    def append_intent(self, command: Command, ts_ns: int) -> None:
        """Take a command that is about to be sent; commit before it is."""
        self._append(EntryKind.INTENT, encode(command), ts_ns)

    def append_event(self, event: Event, ts_ns: int) -> None:
        """Take what the engine was told, after it took it; any event but a tick."""
        self._append(EntryKind.EVENT, encode(event), ts_ns)

    def append_decision(self, key: str, action: str, reason: str, ts_ns: int, *, text: str = "") -> None:
        """Take what was decided about a level, and why."""
        body = {"key": key, "action": action, "reason": reason, "text": text}
        self._append(EntryKind.DECISION, encode_facts(body), ts_ns)

    def append_state(self, kept: Mapping[str, Any], ts_ns: int) -> None:
        """Take what the engine wants to have again after a restart."""
        self._append(EntryKind.STATE, encode_facts(kept), ts_ns)

    def append_note(self, text: str, ts_ns: int, /, **facts: Any) -> None:
        """Take something that a person should read."""
        self._append(EntryKind.NOTE, encode_facts({"text": text, "facts": facts}), ts_ns)

    def _append(self, kind: EntryKind, body: str, ts_ns: int) -> None:
        if self._connection is None:
            raise JournalError(f"{self.path}: is closed")
        seq = self.last_seq + 1
        row = Row(seq, ts_ns, kind.value, body, chain(self._crc, seq, ts_ns, kind.value, body))
        self._waiting.append(row)
        self.last_seq, self._crc = seq, row.crc

    # --- writing -----------------------------------------------------------------------------------------------------

    def commit(self) -> None:
        """Write what waits in one transaction: all of it or nothing.

        Raises
        ------
        JournalError
            Where it could not be written (the disk is full, another writer has the file). It waits on: commit again, or give up.
        """
        if self._connection is None:
            raise JournalError(f"{self.path}: is closed")
        if not self._waiting:
            return
        self._commits += 1
        self._tell("before")
        batch, self._waiting = self._waiting, []
        try:
            journal_file.insert(self._connection, batch)
        except BaseException as error:
            self._waiting = batch + self._waiting
            if not isinstance(error, sqlite3.Error):
                raise
            raise JournalError(
                f"{self.path}: entries {batch[0].seq} to {batch[-1].seq} could not be written: {error}"
            ) from error
        self._say_end(batch[-1].seq)
        self._tell("after")

    def close(self) -> None:
        """Write what waits and close the file; a second time does nothing."""
        if self._connection is None:
            return
        try:
            self.commit()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close the file without writing what waits: when a commit has failed for good, or as a crash would."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._mark.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _tell(self, when: str) -> None:
        if self._on_write is not None:
            self._on_write(self._commits, when)

    def _say_end(self, seq: int) -> None:
        self._mark.seek(0)
        self._mark.write(journal_file.mark_text(seq))


# --- opening ---------------------------------------------------------------------------------------------------------


def _survey(path: Path) -> tuple[dict[str, Any] | None, Row, DamagedJournalError | None]:
    """Return header, last good row and damage of a file."""
    first: dict[str, Any] | None = None
    last, damage = Row(0, 0, "", "", 0), None
    try:
        for row in read_rows(path):
            if first is None:
                first = body_of_header(path, row)
            last = row
    except DamagedJournalError as error:
        damage = error
    return first, last, damage


def _make(
    path: Path,
    first: Mapping[str, Any] | None,
    last: Row,
    header: Mapping[str, Any] | None,
    damage: DamagedJournalError | None,
    now: int,
    on_write: OnWrite | None,
) -> Row:
    """Make a new file, of the good part of a damaged one where there is one; return its last row."""
    own: list[Row] = []

    def add(kind: EntryKind, facts: Mapping[str, Any]) -> None:
        before, body = own[-1] if own else last, encode_facts(facts)
        seq = before.seq + 1
        own.append(Row(seq, now, kind.value, body, chain(before.crc, seq, now, kind.value, body)))

    if first is None:
        if header is None:
            raise damage or JournalError(f"{path}: no such journal; give a header to begin one")
        missing = [name for name in IDENTITY if header.get(name) is None]
        if missing:
            raise JournalError(f"{path}: the header of a journal must say {', '.join(missing)}")
        add(EntryKind.HEADER, header)
    path.parent.mkdir(parents=True, exist_ok=True)
    if on_write is not None:
        on_write(0, "before")
    if damage is None:
        journal_file.create(path, own)
    else:
        aside = journal_file.aside(path)
        facts = {"last_good": damage.last_good, "found": damage.found, "kept": aside.name}
        add(EntryKind.NOTE, {"text": "the journal was damaged; what precedes the damage is kept here", "facts": facts})
        journal_file.mend(path, _good_part(path, last.seq, own))
    if on_write is not None:
        on_write(0, "after")
    return own[-1]


def _good_part(path: Path, last_good: int, own: Iterable[Row]) -> Iterator[Row]:
    rows = read_rows(path)
    for _ in range(last_good):
        yield next(rows)
    yield from own
