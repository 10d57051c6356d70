"""What a journal holds, one entry at a time; and a session built again from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, cast

from grinder_kit.errors import DataError, JournalError
from grinder_kit.execution.journal_codec import COMMANDS, EVENTS, WHAT, decode, parse
from grinder_kit.execution.journal_file import Row, read_rows
from grinder_kit.model.event import Command, Event

SCHEMA = 1
#: What a journal is of: another one is not continued.
IDENTITY = ("schema", "symbol", "venue", "tag")


class EntryKind(StrEnum):
    """What an entry is."""

    HEADER = "header"  # the first: whose journal it is
    INTENT = "intent"  # a command, before it is sent
    EVENT = "event"  # what the engine was told, ticks apart
    DECISION = "decision"  # why something was done about a level, or not
    STATE = "state"  # what no event tells and a restart must know
    NOTE = "note"  # something that a person should read


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry: `body` is the command of an intent, the event of an event, a mapping of plain values otherwise."""

    seq: int
    ts_ns: int
    kind: EntryKind
    body: Command | Event | Mapping[str, Any]


# --- reading ---------------------------------------------------------------------------------------------------------


def entries(path: str | Path) -> Iterator[Entry]:
    """Yield what a journal holds, one entry at a time; nothing is written, and its session may go on meanwhile.

    Raises
    ------
    FileNotFoundError
    JournalError
        For a file that is no journal, or one of another version.
    DamagedJournalError
        After the last good entry, where something is lost or changed: which is the last one, and what was found.
    """
    path = Path(path)
    with closing(cast("Any", read_rows(path))) as rows:
        for row in rows:
            if row.seq == 1:
                check_header(path, body_of_header(path, row))
            try:
                yield _entry(row)
            except DataError as error:
                raise JournalError(f"{path}: entry {row.seq} is whole, and cannot be read: {error}") from error


def _entry(row: Row) -> Entry:
    try:
        kind = EntryKind(row.kind)
    except ValueError:
        raise DataError(f"unknown kind {row.kind!r}; this version knows {', '.join(EntryKind)}") from None
    body: Any = parse(row.body)
    if kind in _TYPES:
        if body.get(WHAT) not in _TYPES[kind]:
            raise DataError(f"unknown type {body.get(WHAT)!r} of {kind}; this version knows {', '.join(_TYPES[kind])}")
        body = decode(body)
    return Entry(seq=row.seq, ts_ns=row.ts_ns, kind=kind, body=body)


_TYPES: Mapping[EntryKind, Mapping[str, type]] = {EntryKind.INTENT: COMMANDS, EntryKind.EVENT: EVENTS}


def body_of_header(path: Path, row: Row) -> dict[str, Any]:
    """Return the facts of a first row."""
    if row.kind != EntryKind.HEADER:
        raise JournalError(f"{path}: begins with an entry of kind {row.kind}, not with a header: is no journal")
    return parse(row.body)


def check_header(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any] | None = None) -> None:
    """Refuse a journal of another schema, or of somebody else than `wanted`."""
    if found.get("schema") != SCHEMA:
        raise JournalError(f"{path}: has schema {found.get('schema')}; this version reads {SCHEMA}")
    if wanted is None:
        return
    for name in IDENTITY:
        if found.get(name) != wanted.get(name):
            raise JournalError(
                f"{path}: is the journal of {name} {found.get(name)}, not of {wanted.get(name)}; name another file"
            )


# --- rebuilding ------------------------------------------------------------------------------------------------------


class Rebuilt(Protocol):
    """What a journal can be replayed into: an ExecutionEngine."""

    def sent(self, command: Command, ts_ns: int) -> None:
        """Take a command as sent."""
        ...

    def step(self, event: Event, now_ns: int) -> tuple[Command, ...]:
        """Take an event."""
        ...

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Take what was kept."""
        ...


def rebuild(journal: Iterable[Entry], engine: Rebuilt) -> int:
    """Replay a journal into a fresh engine, client order ids included; return the number of entries.

    What the engine asks for meanwhile is dropped: it was asked for then, and stands in the journal if it was.

    Raises
    ------
    JournalError
        At damage; what precedes it has been replayed.
    """
    count = 0
    for count, entry in enumerate(journal, start=1):  # noqa: B007 (the last count is returned)
        match entry.kind:
            case EntryKind.INTENT:
                engine.sent(cast("Command", entry.body), entry.ts_ns)
            case EntryKind.EVENT:
                engine.step(cast("Event", entry.body), entry.ts_ns)
            case EntryKind.STATE:
                engine.restore(cast("Mapping[str, Any]", entry.body))
    return count
