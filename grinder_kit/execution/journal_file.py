"""The file of a journal: rows in SQLite, chained by checksums, with a mark beside it that says how far it goes.

Every row holds the CRC32 of itself and of all before it, so that a changed, missing or foreign row ends what can be trusted.
A file that lost its end can look whole (SQLite takes a shortened log for an earlier commit): therefore ``<name>.end`` says,
after each commit, which entry is the last. It is not synced, so it may lag behind the rows after a power cut, never run ahead.
"""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from grinder_kit.errors import JournalError

INSERT = "INSERT INTO entry (seq, ts_ns, kind, body, crc) VALUES (?, ?, ?, ?, ?)"
_CREATE = """CREATE TABLE entry (
    seq INTEGER PRIMARY KEY, ts_ns INTEGER NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL, crc INTEGER NOT NULL
)"""
_MAGIC = b"SQLite format 3\0"


class Row(NamedTuple):
    """One row: `crc` covers it and all before it."""

    seq: int
    ts_ns: int
    kind: str
    body: str
    crc: int


class DamagedJournalError(JournalError):
    """A journal that can be trusted up to an entry, and not beyond.

    Parameters
    ----------
    path : Path
    last_good : int
        Number of the last entry that can be trusted; 0 where there is none.
    found : str
        What is wrong after it.
    """

    def __init__(self, path: Path, last_good: int, found: str) -> None:
        kept = f"entries 1 to {last_good} are good" if last_good else "no entry can be read"
        super().__init__(f"{path}: {kept}; after that: {found}" if last_good else f"{path}: {kept}: {found}")
        self.path = path
        self.last_good = last_good
        self.found = found


def chain(row_before_crc: int, seq: int, ts_ns: int, kind: str, body: str) -> int:
    """Return the checksum of a row and of all before it."""
    return zlib.crc32(f"{seq} {ts_ns} {kind} {body}".encode(), row_before_crc)


def connect(path: Path, *, durable: bool) -> sqlite3.Connection:
    """Open the file for writing; `durable`: a commit has reached the disk when it returns."""
    # One writer, though its commits may run in another thread than its appends.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    return connection


def insert(connection: sqlite3.Connection, rows: Iterable[Row]) -> None:
    """Write rows in one transaction: all of them or none."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.executemany(INSERT, rows)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


# --- reading ---------------------------------------------------------------------------------------------------------


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows that can be trusted, one at a time; nothing is written, and a writer may go on meanwhile.

    Raises
    ------
    FileNotFoundError
    JournalError
        For a file that never was a journal.
    DamagedJournalError
        After the last good row, where something is lost or changed.
    """
    promised = read_mark(path)  # first: what is committed meanwhile may exceed it
    if not path.exists():
        if promised == 0:
            raise FileNotFoundError(2, "no such journal", str(path))
        raise DamagedJournalError(path, 0, f"the file is gone, and {mark_of(path).name} says that it had {promised}")
    if promised == 0 and not _is_journal(path):
        raise JournalError(f"{path}: is no journal")
    last, crc, found = 0, 0, ""
    try:
        with closing(_connect_to_read(path)) as connection:
            for raw in connection.execute("SELECT seq, ts_ns, kind, body, crc FROM entry ORDER BY seq"):
                row = _row(raw)
                if row is None or row.seq != last + 1 or row.crc != chain(crc, *row[:4]):
                    found = f"entry {last + 1} is changed or missing"
                    break
                yield row
                last, crc = row.seq, row.crc
    except sqlite3.Error as error:
        found = f"SQLite says: {error}"
    found = found or _unwritable(path)
    if not found and last < promised:
        found = f"entries {last + 1} to {promised} are gone, which {mark_of(path).name} says were written"
    if not found and last == 0:
        found = "it is empty"
    if found:
        raise DamagedJournalError(path, last, found)


def _connect_to_read(path: Path, *, as_far_as_it_goes: bool = True) -> sqlite3.Connection:
    # Without a log nobody writes; then the file is read as it is, and nothing is left beside it.
    how = "mode=ro" if _beside(path, "-wal").exists() else "immutable=1"
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)
    connection.text_factory = bytes  # a damaged text need not be UTF-8
    # With it SQLite reads even a file that was cut off; nothing is written.
    connection.execute(f"PRAGMA writable_schema = {'ON' if as_far_as_it_goes else 'OFF'}")
    return connection


def _unwritable(path: Path) -> str:
    """Say what keeps SQLite from writing on in a file whose rows can all be read; empty where nothing does."""
    with path.open("rb") as file:
        formats = file.read(20)[18:]
    if not set(formats) <= {1, 2}:
        return "SQLite's header is changed"
    try:
        with closing(_connect_to_read(path, as_far_as_it_goes=False)) as connection:
            (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        return f"SQLite says: {error}"
    return "" if said == b"ok" else f"SQLite says: {said.decode(errors='replace')}"


def _row(raw: tuple[object, ...]) -> Row | None:
    match raw:
        case (int(seq), int(ts_ns), bytes(kind), bytes(body), int(crc)):
            try:
                return Row(seq, ts_ns, kind.decode(), body.decode(), crc)
            except UnicodeDecodeError:
                return None
    return None


def _is_journal(path: Path) -> bool:
    """Whether a file without a mark can be taken for a journal: SQLite's, with a table of entries."""
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            return False
    try:
        with closing(_connect_to_read(path)) as connection:
            found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'entry'").fetchone()
    except sqlite3.Error:
        return True  # it may have been
    return found is not None


# --- the mark of the end ---------------------------------------------------------------------------------------------


def mark_of(path: Path) -> Path:
    """Return the name of the mark beside a journal."""
    return _beside(path, ".end")


def mark_text(seq: int) -> bytes:
    """Return what the mark says: the number of the last entry, and a checksum; always of one length."""
    number = b"%020d" % seq
    return b"%b %08x\n" % (number, zlib.crc32(number))


def read_mark(path: Path) -> int:
    """Return the number of the last entry by the mark; 0 where there is none that can be read."""
    try:
        text = mark_of(path).read_bytes()
        seq = int(text[:20])
    except (FileNotFoundError, ValueError):
        return 0
    return seq if text == mark_text(seq) else 0


# --- making and mending ----------------------------------------------------------------------------------------------


def create(path: Path, rows: Iterable[Row]) -> None:
    """Make a journal with rows; it appears under its name when it is whole."""
    draft = _beside(path, ".part")
    _remove(draft)
    connection = connect(draft, durable=True)
    try:
        connection.execute(_CREATE)
        insert(connection, rows)
    finally:
        connection.close()
    # The folder is synced with the first commit: SQLite syncs it when it makes its log there.
    os.replace(draft, path)


def mend(path: Path, rows: Iterable[Row]) -> None:
    """Put a journal with `rows` in the place of a damaged one, which is kept under the name that `aside` gives."""
    create(_beside(path, ".mended"), rows)
    finish_mending(path)


def finish_mending(path: Path) -> None:
    """Exchange the damaged file for the mended one; done again at the next start when a crash came between."""
    mended = _beside(path, ".mended")
    if not mended.exists():
        return
    kept = aside(path)
    # The file itself goes last, so that the free number stays the same until all is done.
    for suffix in ("-shm", "-wal", ".end", ""):
        if _beside(path, suffix).exists():
            os.replace(_beside(path, suffix), _beside(kept, suffix))
    os.replace(mended, path)


def aside(path: Path) -> Path:
    """Return the name that a damaged file will be kept under."""
    number = 1
    while _beside(path, f".damaged-{number}").exists():
        number += 1
    return _beside(path, f".damaged-{number}")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        _beside(path, suffix).unlink(missing_ok=True)
