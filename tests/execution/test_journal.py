"""The journal: exact, whole to the last commit whatever kills the process, and honest about every damage."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from grinder_kit.decision.reason import Reason
from grinder_kit.errors import DataError, JournalError
from grinder_kit.execution import journal_file
from grinder_kit.execution.engine import ExecutionEngine
from grinder_kit.execution.journal import (
    DamagedJournalError,
    Entry,
    EntryKind,
    Journal,
    entries,
    journal_header,
    rebuild,
)
from grinder_kit.execution.journal_codec import COMMANDS, EVENTS, decode, encode, encode_facts, parse
from grinder_kit.execution.port import AmendRule
from grinder_kit.model.config import Config, GridConfig
from grinder_kit.model.event import (
    Amend,
    Amended,
    AmendRejected,
    Cancel,
    CancelRejected,
    Command,
    Event,
    FundingPaid,
    LookedUp,
    OrderFilled,
    OrderUpdate,
    OutcomeUnknown,
    Place,
    Resynced,
    RunState,
    SetState,
    StreamLost,
    Tick,
)
from grinder_kit.model.instrument import Contract, Instrument
from grinder_kit.model.order import OrderState, Side

WHOSE = {"symbol": "TOY", "venue": "v", "tag": "r0", "config": "c0"}
CANCEL = Cancel(client_order_id="gkr0-B3-1", reason="OFF_PLAN")
PLACE = Place(client_order_id="gkr0-B3-1", level_id="BUY_3", side=Side.BUY, price_ticks=995, quantity_lots=4)


def read(path: Path) -> tuple[list[Entry], JournalError | None]:
    """Return what can be read of a journal, and what ended the reading early."""
    found: list[Entry] = []
    try:
        for entry in entries(path):
            found.append(entry)
    except JournalError as error:
        return found, error
    return found, None


def write(path: Path, count: int, *, batch: int = 10) -> Journal:
    """Write so many intents in batches; the journal stays open."""
    journal = Journal.open(path, header=WHOSE, ts_ns=0)
    for number in range(1, count + 1):
        journal.append_intent(dataclasses.replace(CANCEL, client_order_id=f"gkr0-B{number}-1"), number)
        if number % batch == 0:
            journal.commit()
    return journal


# --- values and JSON -------------------------------------------------------------------------------------------------

# Halves of characters and numbers of more than 64 bits are included: a venue may say anything.
_BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(st.characters()),
    int: st.integers(),
    bool: st.booleans(),
    Decimal: st.decimals(allow_nan=False, allow_infinity=False),
    NoneType: st.none(),
}


def _any_of(hint: Any) -> st.SearchStrategy[Any]:
    kinds = get_args(hint) or (hint,)
    return st.one_of(*(st.sampled_from(k) if issubclass(k, StrEnum) else _BY_TYPE[k] for k in kinds))


def values() -> st.SearchStrategy[Any]:
    """Return every event and command there can be, a tick apart."""
    kinds = [*EVENTS.values(), *COMMANDS.values()]
    return st.one_of(
        *(st.builds(kind, **{name: _any_of(hint) for name, hint in get_type_hints(kind).items()}) for kind in kinds)
    )


@given(value=values())
def test_every_event_and_command_comes_back_exactly(value: Any) -> None:
    """A value read from its JSON is equal, field by field and type by type."""
    back = decode(parse(encode(value)))
    assert back == value
    assert str(back) == str(value)
    for field in dataclasses.fields(value):
        assert type(getattr(back, field.name)) is type(getattr(value, field.name))


def test_reason_of_a_decision_comes_back_as_its_text() -> None:
    """An enum in a field of text is written as its value, and compares equal."""
    back = decode(parse(encode(dataclasses.replace(CANCEL, reason=Reason.TTL_EXPIRED))))
    assert isinstance(back, Cancel)
    assert back.reason == Reason.TTL_EXPIRED


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (Tick(bid_ticks=1, ask_ticks=2), "a Tick has no place in a journal"),
        ("text", "a str has no place in a journal"),
        (dataclasses.replace(PLACE, price_ticks=1.5), "Place.price_ticks is 1.5, a float"),  # type: ignore[arg-type]
        (dataclasses.replace(PLACE, epoch=True), "Place.epoch is True, a bool"),
        (dataclasses.replace(PLACE, side="BUY"), "Place.side is 'BUY', a str"),  # type: ignore[arg-type]
    ],
)
def test_what_could_not_be_read_again_is_not_written(value: Any, said: str) -> None:
    """A value of another type, or with a field of another type, is refused by name."""
    with pytest.raises(DataError, match=said):
        encode(value)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"what": "Bribe"}, "unknown type 'Bribe'"),
        ({}, "unknown type None"),
        ({"what": "Tick", "bid_ticks": 1, "ask_ticks": 2}, "unknown type 'Tick'"),
        ({"what": "Cancel"}, "Cancel.client_order_id is missing"),
        ({"what": "Cancel", "client_order_id": 7}, "Cancel.client_order_id is 7"),
        ({"what": "Cancel", "client_order_id": "x", "haste": 1}, "Cancel has no field haste"),
        ({"what": "SetState", "state": "FOO"}, "SetState.state is 'FOO'"),
        ({"what": "FundingPaid", "ts_ns": 1, "amount": "much"}, "FundingPaid.amount is 'much'"),
        ({"what": "FundingPaid", "ts_ns": True, "amount": "1"}, "FundingPaid.ts_ns is True"),
    ],
)
def test_unknown_bodies_are_refused_by_name(body: dict[str, Any], said: str) -> None:
    """A type or field that this version does not know is said, never guessed."""
    with pytest.raises(DataError, match=said):
        decode(body)


def test_field_with_a_default_may_be_missing() -> None:
    """A journal of an earlier version, in which a field did not exist yet, can be read."""
    assert decode({"what": "Cancel", "client_order_id": "gkr0-B3-1"}) == Cancel(client_order_id="gkr0-B3-1")


def test_facts_are_plain_and_exact() -> None:
    """Decimals become text, enums their value; what has no exact JSON form is refused with its place."""
    facts = {"peak": Decimal("1.50"), "state": RunState.PAUSED, "of": (1, None, True), "huge": 2**70, "half": "\ud800"}
    assert parse(encode_facts(facts)) == {
        "peak": "1.50", "state": "PAUSED", "of": [1, None, True], "huge": 2**70, "half": "\ud800",
    }  # fmt: skip
    with pytest.raises(DataError, match=r"it\.a\[1\] is nan"):
        encode_facts({"a": [1, float("nan")]})
    with pytest.raises(DataError, match=r"it is \{1: 2\}"):
        encode_facts({1: 2})  # type: ignore[dict-item]


# --- writing and reading ---------------------------------------------------------------------------------------------


def test_entries_come_back_in_order(tmp_path: Path) -> None:
    """Each kind of entry is read as it was written, numbered from 1, the header first."""
    path = tmp_path / "deep" / "r0.journal"
    filled = OrderUpdate(client_order_id="gkr0-B3-1", state=OrderState.OPEN, ts_ns=3)
    with Journal.open(path, header=WHOSE, ts_ns=1) as journal:
        journal.append_intent(PLACE, 2)
        journal.append_event(filled, 3)
        journal.append_decision("B3", "BLOCK", Reason.IN_FLIGHT, 4, text="under way")
        journal.append_state({"peak": "1.5"}, 5)
        journal.append_note("adopted", 6, text="a fact of that name", order="gkr0-B3-1")
        assert journal.last_seq == 6
    header, *rest = Journal.read(path)
    assert (header.seq, header.ts_ns, header.kind) == (1, 1, EntryKind.HEADER)
    assert isinstance(header.body, dict) and header.body.items() >= (WHOSE | {"schema": 1}).items()
    assert [(e.seq, e.ts_ns, e.kind.value, e.body) for e in rest] == [
        (2, 2, "intent", PLACE),
        (3, 3, "event", filled),
        (4, 4, "decision", {"key": "B3", "action": "BLOCK", "reason": "IN_FLIGHT", "text": "under way"}),
        (5, 5, "state", {"peak": "1.5"}),
        (6, 6, "note", {"text": "adopted", "facts": {"text": "a fact of that name", "order": "gkr0-B3-1"}}),
    ]


def test_header_of_a_session_names_it() -> None:
    """The header holds who, what and the hash of the configuration, and changes with it."""
    config = Config(grid=GRID)
    header = journal_header(INSTRUMENT, config, "r0")
    assert header | {"config": ""} == WHOSE | {"tick": "0.1", "lot": "0.01", "config": ""}
    other = Config(grid=GRID.replace(levels=4))
    assert journal_header(INSTRUMENT, other, "r0")["config"] != header["config"]


def test_appends_wait_for_the_commit(tmp_path: Path) -> None:
    """Nothing is in the file before the commit, and all of the batch after it."""
    path = tmp_path / "r0.journal"
    said: list[tuple[int, str]] = []
    with Journal.open(path, header=WHOSE, on_write=lambda *what: said.append(what)) as journal:
        journal.append_intent(CANCEL, 1)
        journal.append_intent(CANCEL, 2)
        assert len(list(entries(path))) == 1
        journal.commit()
        assert len(list(entries(path))) == 3
        journal.commit()  # nothing waits: no write
    assert said == [(0, "before"), (0, "after"), (1, "before"), (1, "after")]


@pytest.mark.parametrize(("durable", "synchronous"), [(True, 2), (False, 1)])
def test_commits_are_durable_unless_asked_otherwise(tmp_path: Path, durable: bool, synchronous: int) -> None:
    """SQLite syncs its write-ahead log at every commit (FULL), or leaves that to the system (NORMAL)."""
    with Journal.open(tmp_path / "r0.journal", header=WHOSE, durable=durable) as journal:
        connection = journal._connection
        assert connection is not None
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (synchronous,)


def test_journal_is_continued(tmp_path: Path) -> None:
    """Opened again, numbers and checksums go on; a header is needed only for a new one."""
    path = tmp_path / "r0.journal"
    write(path, 5).close()
    with Journal.open(path) as journal:
        journal.append_intent(CANCEL, 9)
    found, damage = read(path)
    assert ([e.seq for e in found], damage) == ([1, 2, 3, 4, 5, 6, 7], None)
    with pytest.raises(JournalError, match="no such journal; give a header"):
        Journal.open(tmp_path / "other.journal")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r0.journal", "r0.journal.end"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"symbol": "BTCUSDT"}, "is the journal of symbol TOY, not of BTCUSDT; name another file"),
        ({"venue": "w"}, "is the journal of venue v, not of w"),
        ({"tag": "r1"}, "is the journal of tag r0, not of r1"),
    ],
)
def test_journal_of_somebody_else_is_refused(tmp_path: Path, change: dict[str, str], said: str) -> None:
    """A journal of another symbol, venue or tag is not continued, and not touched, though it be damaged."""
    path = tmp_path / "r0.journal"
    write(path, 200).close()
    for cut in (0, 100):
        before = path.read_bytes()[: path.stat().st_size - cut]
        path.write_bytes(before)
        with pytest.raises(JournalError, match=said):
            Journal.open(path, header=WHOSE | change)
        assert path.read_bytes() == before


def test_journal_of_another_schema_is_refused(tmp_path: Path) -> None:
    """Neither read nor continued."""
    path = tmp_path / "r0.journal"
    with Journal.open(path, header=WHOSE | {"schema": 2}):
        pass
    for use in (lambda: Journal.open(path, header=WHOSE), lambda: list(entries(path))):
        with pytest.raises(JournalError, match="has schema 2; this version reads 1"):
            use()


def test_header_must_say_whose_it_is(tmp_path: Path) -> None:
    """A header without tag is refused, and no file appears."""
    with pytest.raises(JournalError, match="must say tag"):
        Journal.open(tmp_path / "deep" / "r0.journal", header={"symbol": "TOY", "venue": "v"})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("what", ["text", "empty", "database"])
def test_file_that_is_no_journal_is_left_alone(tmp_path: Path, what: str) -> None:
    """A file that never was a journal is neither read, nor renamed, nor written."""
    path = tmp_path / "grid.toml"
    path.write_text("[grid]\n" if what == "text" else "")
    if what == "database":
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE other (x)")
        connection.close()
    before = path.read_bytes()
    for use in (lambda: Journal.open(path, header=WHOSE), lambda: list(entries(path))):
        with pytest.raises(JournalError, match="is no journal"):
            use()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_missing_journal_is_a_missing_file(tmp_path: Path) -> None:
    """Reading what does not exist says so."""
    with pytest.raises(FileNotFoundError, match="no such journal"):
        list(entries(tmp_path / "r0.journal"))


def test_another_configuration_is_noted(tmp_path: Path) -> None:
    """A session that goes on with another configuration says so in its journal."""
    path = tmp_path / "r0.journal"
    write(path, 1).close()
    Journal.open(path, header=WHOSE | {"config": "c1"}, ts_ns=7).close()
    *_, note = entries(path)
    assert (note.kind, note.ts_ns, note.body) == (
        EntryKind.NOTE, 7, {"text": "the configuration is another one than at the start", "facts": {"config": "c1"}},
    )  # fmt: skip


def test_closed_journal_takes_nothing(tmp_path: Path) -> None:
    """Closing writes what waits, may be repeated, and is final."""
    journal = write(tmp_path / "r0.journal", 3)
    journal.close()
    journal.close()
    assert len(list(entries(tmp_path / "r0.journal"))) == 4
    with pytest.raises(JournalError, match="is closed"):
        journal.append_intent(CANCEL, 1)
    with pytest.raises(JournalError, match="is closed"):
        journal.commit()


def test_abandoned_journal_keeps_what_was_committed(tmp_path: Path) -> None:
    """Abandoned, a journal is closed as it stands: what waited is not in it."""
    path = tmp_path / "r0.journal"
    journal = write(path, 13)
    journal.abandon()
    journal.close()
    found, damage = read(path)
    assert ([e.seq for e in found], damage) == (list(range(1, 12)), None)


def test_full_disk_writes_nothing_and_loses_nothing(tmp_path: Path) -> None:
    """A batch that does not fit is refused whole, waits on, and is written when there is room."""
    path = tmp_path / "r0.journal"
    with write(path, 10) as journal:
        connection = journal._connection
        assert connection is not None
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        for number in range(100):
            journal.append_intent(CANCEL, number)
        with pytest.raises(JournalError, match="entries 12 to 111 could not be written: database or disk is full"):
            journal.commit()
        assert [e.seq for e in read(path)[0]] == list(range(1, 12))
        connection.execute("PRAGMA max_page_count = 1000000")
        journal.commit()
    found, damage = read(path)
    assert ([e.seq for e in found], damage) == (list(range(1, 112)), None)


def test_second_writer_is_found_out(tmp_path: Path) -> None:
    """Two writers cannot mix their entries: the later one is refused."""
    path = tmp_path / "r0.journal"
    one, two = write(path, 1), Journal.open(path, header=WHOSE)
    one.commit()
    two.append_intent(CANCEL, 1)
    with pytest.raises(JournalError, match="UNIQUE constraint failed"):
        two.commit()
    one.close()
    two.abandon()


def test_reader_sees_commits_while_the_writer_goes_on(tmp_path: Path) -> None:
    """A reading shows what was committed when it began, and does not hold up the writer."""
    path = tmp_path / "r0.journal"
    with write(path, 20) as journal:
        early = entries(path)
        assert next(early).seq == 1
        for number in range(3_000):  # more than one checkpoint of the log
            journal.append_intent(CANCEL, number)
            if number % 100 == 99:
                journal.commit()
                now = read(path) if number % 500 == 499 else None
                assert now is None or (now[0][-1].seq, now[1]) == (journal.last_seq, None)
        assert [e.seq for e in early] == list(range(2, 22))


def test_commit_may_run_in_another_thread(tmp_path: Path) -> None:
    """What is appended meanwhile waits for the next commit."""
    path = tmp_path / "r0.journal"
    with write(path, 5) as journal:
        thread = threading.Thread(target=journal.commit)
        thread.start()
        journal.append_intent(CANCEL, 6)
        thread.join()
    found, damage = read(path)
    assert ([e.seq for e in found], damage) == (list(range(1, 8)), None)


# --- killed ----------------------------------------------------------------------------------------------------------

_WRITER = """
import os, signal, sys
from grinder_kit.execution.journal import Journal
from grinder_kit.model.event import Cancel

path, number, when = sys.argv[1], int(sys.argv[2]), sys.argv[3]

def die(commit, moment):
    if (commit, moment) == (number, when):
        os.kill(os.getpid(), signal.SIGKILL)

header = {"symbol": "TOY", "venue": "v", "tag": "r0", "config": "c0"}
journal = Journal.open(path, header=header, on_write=die, ts_ns=0)
while True:
    for _ in range(7):
        journal.append_intent(Cancel(client_order_id=f"gkr0-B{journal.last_seq}-1"), journal.last_seq)
    journal.commit()
    print(journal.last_seq, flush=True)
"""


@pytest.mark.parametrize(
    ("number", "when", "kept"),
    [(0, "before", 0), (0, "after", 1), (1, "before", 1), (3, "before", 15), (3, "after", 22)],
)
def test_killed_between_writes_keeps_whole_batches(tmp_path: Path, number: int, when: str, kept: int) -> None:
    """After SIGKILL before or after a commit every committed batch is there, no half one, and the journal goes on."""
    path = tmp_path / "r0.journal"
    run = subprocess.run([sys.executable, "-c", _WRITER, path, str(number), when], capture_output=True, check=False)
    assert run.returncode == -signal.SIGKILL
    if kept:
        found, damage = read(path)
        assert ([e.seq for e in found], damage) == (list(range(1, kept + 1)), None)
    with Journal.open(path, header=WHOSE) as journal:
        assert journal.last_seq == max(1, kept)
    assert not list(tmp_path.glob("*damaged*"))


def test_killed_at_any_time_keeps_what_was_committed(tmp_path: Path) -> None:
    """However the process is killed, what it was told to be committed is there, in whole batches."""
    for run, lines in enumerate((1, 7, 40)):
        path = tmp_path / f"{run}.journal"
        with subprocess.Popen([sys.executable, "-c", _WRITER, path, "-1", ""], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            told = [int(process.stdout.readline()) for _ in range(lines)]
            process.kill()
            told += map(int, process.stdout.read().split())
        found, damage = read(path)
        assert damage is None
        assert len(found) >= told[-1] and len(found) % 7 == 1
        Journal.open(path, header=WHOSE).close()
        assert len(list(entries(path))) == len(found)


# --- damage ----------------------------------------------------------------------------------------------------------


class Specimen:
    """A journal as it lies on the disk, to be damaged again and again: closed, or as a killed process left it."""

    def __init__(self, folder: Path, *, closed: bool) -> None:
        self.folder = folder
        self.path = folder / "copy" / "r0.journal"
        made = folder / "made.journal"
        journal = write(made, 400 if closed else 150, batch=5)
        if closed:
            journal.close()
        self.files = {
            suffix: (folder / f"made.journal{suffix}").read_bytes()
            for suffix in ("", "-wal", ".end")
            if (folder / f"made.journal{suffix}").exists()
        }
        journal.close()
        self.entries = list(entries(made))
        assert closed is ("-wal" not in self.files)

    def lay_out(self, suffix: str = "", content: bytes | None = None) -> None:
        """Put the files where they are read, one of them with another content."""
        shutil.rmtree(self.path.parent, ignore_errors=True)
        self.path.parent.mkdir()
        for name, whole in self.files.items():
            given = content if content is not None and name == suffix else whole
            self.path.with_name(self.path.name + name).write_bytes(given)

    def check(self) -> int:
        """Read: a prefix of what was written, and a damage unless it is all. Mend: the same prefix, and a note of it."""
        found, damage = read(self.path)
        assert found == self.entries[: len(found)]
        if len(found) < len(self.entries):
            assert isinstance(damage, DamagedJournalError)
            assert damage.last_good == len(found)
        before = self.path.read_bytes()
        Journal.open(self.path, header=WHOSE, ts_ns=0).close()
        again, nothing = read(self.path)
        assert nothing is None
        aside = self.path.with_name("r0.journal.damaged-1")
        if damage is None:
            assert again == found and not aside.exists()
            return len(found)
        assert aside.read_bytes() == before
        good = found or again[:1]  # where nothing was left, a new header begins
        assert again[:-1] == good
        assert again[-1].kind is EntryKind.NOTE and isinstance(again[-1].body, dict)
        assert again[-1].body["facts"].items() >= {"last_good": len(found), "kept": aside.name}.items()
        return len(found)


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Specimen:
    """Return a journal that was closed: one file and the mark of its end."""
    return Specimen(tmp_path_factory.mktemp("closed"), closed=True)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Specimen:
    """Return a journal whose entries still stand in SQLite's log."""
    return Specimen(tmp_path_factory.mktemp("killed"), closed=False)


def _cuts(size: int) -> Iterator[int]:
    yield from {0, 1, 15, 16, 99, 100, size - 1}
    for page in range(0, size, 4096):
        yield from (page, page + 1, page + 2000)


def test_truncated_file_gives_its_good_part(closed: Specimen) -> None:
    """Wherever a file is cut off, what can be read is a prefix of what was written, and the loss is said."""
    size = len(closed.files[""])
    kept = []
    for cut in filter(lambda cut: cut < size, sorted(set(_cuts(size)))):
        closed.lay_out("", closed.files[""][:cut])
        kept.append(closed.check())
    assert kept == sorted(kept) and len(set(kept)) > 3 and kept[-1] < len(closed.entries)


def test_log_that_lost_its_end_is_found_out(killed: Specimen) -> None:
    """SQLite takes a shortened log for an earlier commit; the mark beside the journal knows better."""
    kept = set()
    for share in range(24):
        killed.lay_out("-wal", killed.files["-wal"][: len(killed.files["-wal"]) * share // 24])
        kept.add(killed.check())
    assert len(kept) > 10 and max(kept) < len(killed.entries)


def test_log_that_was_not_copied_is_found_out(killed: Specimen) -> None:
    """A copy without SQLite's log lacks entries, and says so."""
    killed.lay_out()
    killed.path.with_name("r0.journal-wal").unlink()
    assert killed.check() < len(killed.entries)


def test_whole_files_show_no_damage(closed: Specimen, killed: Specimen) -> None:
    """Neither a closed journal nor that of a killed process is called damaged."""
    for specimen in (closed, killed):
        specimen.lay_out()
        assert specimen.check() == len(specimen.entries)


_FLIPS = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@_FLIPS
@given(at=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
@example(at=0.0, flip=1)
def test_changed_byte_in_the_file_never_passes(closed: Specimen, at: float, flip: int) -> None:
    """Whatever byte is changed, every entry that is read is as it was written, and a loss is said."""
    whole = bytearray(closed.files[""])
    whole[int(at * len(whole))] ^= flip
    closed.lay_out("", bytes(whole))
    closed.check()


def test_changed_header_never_passes(closed: Specimen) -> None:
    """The same for each byte of SQLite's header: a file that can be read but not written goes on all the same."""
    for at in range(100):
        for flip in (1, 2, 128, 255):
            whole = bytearray(closed.files[""])
            whole[at] ^= flip
            closed.lay_out("", bytes(whole))
            closed.check()


@_FLIPS
@given(at=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_changed_byte_in_the_log_never_passes(killed: Specimen, at: float, flip: int) -> None:
    """The same for a byte of SQLite's log."""
    whole = bytearray(killed.files["-wal"])
    whole[int(at * len(whole))] ^= flip
    killed.lay_out("-wal", bytes(whole))
    killed.check()


def test_changed_or_missing_row_ends_what_is_trusted(tmp_path: Path) -> None:
    """A row that somebody edits or deletes through SQLite breaks the chain; so does one whose successors were made to fit."""
    for number, change in enumerate(
        (
            "UPDATE entry SET ts_ns = 0 WHERE seq = 8",
            "DELETE FROM entry WHERE seq = 8",
            "UPDATE entry SET body = 7 WHERE seq = 8",
        )
    ):
        path = tmp_path / f"{number}.journal"
        write(path, 20).close()
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute(change)
        connection.close()
        found, damage = read(path)
        assert len(found) == 7
        assert str(damage) == f"{path}: entries 1 to 7 are good; after that: entry 8 is changed or missing"


def test_damaged_mark_accuses_nobody(closed: Specimen) -> None:
    """A mark that cannot be read says nothing about the journal."""
    for mark in (b"", b"x" * 30, b"%020d 00000000\n" % 999):
        closed.lay_out(".end", mark)
        assert closed.check() == len(closed.entries)


def test_journal_that_is_gone_is_found_out(closed: Specimen) -> None:
    """A mark without its journal is a loss, not a fresh start."""
    closed.lay_out()
    closed.path.unlink()
    assert str(read(closed.path)[1]).endswith("the file is gone, and r0.journal.end says that it had 401")
    Journal.open(closed.path, header=WHOSE, ts_ns=0).close()
    assert [e.kind.value for e in entries(closed.path)] == ["header", "note"]


@pytest.mark.parametrize("done", range(5))
def test_mending_survives_a_crash(killed: Specimen, monkeypatch: pytest.MonkeyPatch, done: int) -> None:
    """A crash at any time while a damaged journal is put aside is made good at the next start."""
    killed.lay_out("-wal", killed.files["-wal"][: len(killed.files["-wal"]) // 2])
    found, _ = read(killed.path)
    replace, calls = os.replace, iter(range(done))

    def crash(source: Path, target: Path) -> None:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", crash)
        Journal.open(killed.path, header=WHOSE, ts_ns=0)
    Journal.open(killed.path, header=WHOSE, ts_ns=0).close()
    again, damage = read(killed.path)
    assert damage is None
    assert again[:-1] == found and again[-1].kind is EntryKind.NOTE
    assert (killed.path.parent / "r0.journal.damaged-1").exists()
    assert not (killed.path.parent / "r0.journal.damaged-2").exists()


def test_second_damage_keeps_the_first(closed: Specimen) -> None:
    """Damaged files are numbered, and none is ever overwritten."""
    closed.lay_out("", closed.files[""][:5000])
    for _ in range(2):
        Journal.open(closed.path, header=WHOSE, ts_ns=0).close()
        whole = closed.path.read_bytes()
        closed.path.write_bytes(whole[:-1])
    Journal.open(closed.path, header=WHOSE, ts_ns=0).close()
    assert {p.name for p in closed.path.parent.glob("*.damaged-?")} == {f"r0.journal.damaged-{n}" for n in (1, 2, 3)}


def test_entry_of_a_later_version_is_said(tmp_path: Path) -> None:
    """An entry that is whole, and of a type that this version does not know, ends the reading with its number."""
    path = tmp_path / "r0.journal"
    with Journal.open(path, header=WHOSE) as journal:
        journal._append(EntryKind.INTENT, '{"what":"Teleport"}', 1)
    found, error = read(path)
    assert len(found) == 1
    assert "entry 2 is whole, and cannot be read: unknown type 'Teleport' of intent" in str(error)


# --- rebuilding ------------------------------------------------------------------------------------------------------

INSTRUMENT = Instrument(
    symbol="TOY", venue="v", base="TOY", quote="USDT", contract=Contract.LINEAR, tick=Decimal("0.1"), lot=Decimal("0.01")
)  # fmt: skip
GRID = GridConfig(spacing_bps=50, levels=3, size="0.04", recentre_bps=20)


def fresh() -> ExecutionEngine:
    """Return an engine that knows nothing."""
    return ExecutionEngine(INSTRUMENT, Config(grid=GRID), amend_rule=AmendRule.MODIFY)


class Session:
    """An engine that is told anything at all about its orders, and keeps a journal as a session does."""

    def __init__(self, journal: Journal) -> None:
        self.engine = fresh()
        self.journal = journal
        self.now = 0
        self.sent: list[Place] = []
        self.amends: dict[str, Amend] = {}
        self.digests: dict[int, str] = {}

    def take(self, event: Event) -> None:
        """Take an event, and write it and what follows from it."""
        self.now += 1_000
        commands: tuple[Command, ...] = self.engine.step(event, self.now)
        if not isinstance(event, Tick):
            self.journal.append_event(event, self.now)
        kept = self.engine.state_to_keep()
        if kept is not None:
            self.journal.append_state(kept, self.now)
        for command in commands:
            self.journal.append_intent(command, self.now)
            if isinstance(command, Place):
                self.sent.append(command)
            elif isinstance(command, Amend):
                self.amends[command.client_order_id] = command
        self.journal.commit()
        self.digests[self.journal.last_seq] = self.engine.digest()

    def happen(self, what: str, which: int, lots: int) -> None:
        """Let something happen to one of the orders ever sent, sensible or not."""
        now = self.now
        if what == "tick":
            mid = 1_000 + which - 3
            return self.take(Tick(bid_ticks=mid - 1, ask_ticks=mid + 1))
        if what in list(RunState):
            return self.take(SetState(state=RunState(what)))
        if what == "funding":
            return self.take(FundingPaid(ts_ns=now, amount=Decimal(which - 3) / 100))
        if what in ("lost", "resynced"):
            return self.take(StreamLost(ts_ns=now) if what == "lost" else Resynced(ts_ns=now))
        if not self.sent:
            return None
        place = self.sent[-1 - which % len(self.sent)]
        order = place.client_order_id
        if what == "fill":
            return self.take(
                OrderFilled(
                    client_order_id=order, trade_id=f"t{now}", price_ticks=place.price_ticks, quantity_lots=lots,
                    commission=Decimal("0.001") * lots, commission_asset="USDT", ts_ns=now, is_maker=True,
                )
            )  # fmt: skip
        if what == "amended":
            amend = self.amends.get(order)
            to = (place.price_ticks, lots) if amend is None else (amend.price_ticks, amend.quantity_lots)
            return self.take(Amended(client_order_id=order, price_ticks=to[0], quantity_lots=to[1], ts_ns=now))
        if what == "looked up":
            state = [None, OrderState.OPEN, OrderState.CANCELLED, OrderState.FILLED][which % 4]
            return self.take(LookedUp(client_order_id=order, ts_ns=now, state=state, filled_lots=lots))
        simple: dict[str, Event] = {
            "amend rejected": AmendRejected(client_order_id=order, ts_ns=now),
            "cancel rejected": CancelRejected(client_order_id=order, ts_ns=now),
            "unknown": OutcomeUnknown(client_order_id=order, ts_ns=now, raw="FOO"),
        }
        if what in simple:
            return self.take(simple[what])
        reason = "MIN_NOTIONAL" if what == OrderState.REJECTED else ""
        return self.take(OrderUpdate(client_order_id=order, state=OrderState(what), ts_ns=now, reason=reason))


_ORDER = ["tick", "tick", "fill", "fill", "amended", "looked up", "amend rejected", "cancel rejected", "unknown"]
_HAPPENINGS = [
    *_ORDER,
    *OrderState,
    OrderState.OPEN,
    OrderState.OPEN,
    OrderState.CANCELLED,
    "funding",
    "lost",
    "resynced",
]


@settings(max_examples=50)
@given(
    story=st.lists(st.tuples(st.sampled_from(_HAPPENINGS), st.integers(0, 6), st.integers(1, 4)), max_size=40),
    end=st.sampled_from([None, RunState.PAUSED, RunState.KILLED]),
)
def test_journal_rebuilds_the_engine(
    tmp_path_factory: pytest.TempPathFactory, story: list[tuple[str, int, int]], end: RunState | None
) -> None:
    """A fresh engine that replays a journal, or the part of it up to any commit, has the digest of the one that wrote it."""
    path = tmp_path_factory.mktemp("rebuilt") / "r0.journal"
    with Journal.open(path, header=WHOSE, durable=False) as journal:
        session = Session(journal)
        for happening in [("tick", 3, 1), *story]:
            session.happen(*happening)
        if end is not None:
            session.happen(end, 0, 1)
    written = list(entries(path))
    for last_seq, digest in session.digests.items():
        engine = fresh()
        assert rebuild(written[:last_seq], engine) == last_seq
        assert engine.digest() == digest
    again = fresh()
    rebuild(entries(path), again)
    assert again.digest() == session.engine.digest()
    for key in {order.level_id[0] + order.level_id.rpartition("_")[2] for order in session.sent}:
        assert again.orders.next_id(key) == session.engine.orders.next_id(key), "no client order id is used twice"


def test_rebuilding_keeps_the_good_part_of_a_damaged_journal(tmp_path: Path) -> None:
    """What precedes the damage has been replayed when the damage is said."""
    path = tmp_path / "r0.journal"
    with Journal.open(path, header=WHOSE) as journal:
        session = Session(journal)
        session.happen("tick", 3, 1)
        known = session.engine.digest()
    journal_file.mark_of(path).write_bytes(journal_file.mark_text(99))
    engine = fresh()
    with pytest.raises(DamagedJournalError, match="are gone"):
        rebuild(entries(path), engine)
    assert engine.digest() == known
