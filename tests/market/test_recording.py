"""Recordings: streamed the same however they are cut, checked when opened, never half-written."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grinder_kit.errors import ConfigError, DataError
from grinder_kit.market.recording import Recording, RecordingWriter
from grinder_kit.market.schema import COLUMNS, METADATA_KEY, SCHEMA_VERSION
from grinder_kit.market.source import Market
from grinder_kit.market.window import Window
from grinder_kit.model.instrument import Instrument

INSTRUMENT = Instrument(
    symbol="BTCUSDT", venue="binanceusdm", base="BTC", quote="USDT", tick=Decimal("0.1"), lot=Decimal("0.001")
)
Row = tuple[int, int, int, str, str, int, int, int]


def frame(rows: Iterable[Row]) -> pl.DataFrame:
    """Return rows as a frame."""
    return pl.DataFrame(list(rows), schema=COLUMNS, orient="row")


def depth_rows(n: int, *, start_ns: int = 1_000, seq: int = 0) -> pl.DataFrame:
    """Return `n` depth rows, three a message, one tick and ten ns apart."""
    return frame(
        (
            start_ns + 10 * (i // 3),
            start_ns + 10 * (i // 3) + 4,
            seq + i // 3,
            "depth",
            "buy" if i % 2 else "sell",
            1000 + i,
            5,
            i // 3,
        )
        for i in range(n)
    )


def write(path: Path, rows: pl.DataFrame, *, instrument: Instrument = INSTRUMENT, **options: Any) -> Recording:
    """Write rows and open them."""
    with RecordingWriter(path, instrument) as writer:
        writer.write(rows)
        writer.finish(**options)
    return Recording.open(path)


def read(recording: Recording, rows: int = 131_072) -> pl.DataFrame:
    """Return all rows."""
    return pl.concat([pl.DataFrame(schema=COLUMNS), *recording.batches(rows)])


def rewrite(path: Path, **changes: Any) -> None:
    """Change a recording's metadata."""
    metadata = json.loads(pl.read_parquet_metadata(path)[METADATA_KEY]) | changes
    pl.read_parquet(path).write_parquet(path, metadata={METADATA_KEY: json.dumps(metadata)})


# --- reading --------------------------------------------------------------------------------------------------------


def test_a_recording_is_a_market(tmp_path: Path) -> None:
    """Replays read it through the Market protocol."""
    recording = write(tmp_path / "a.parquet", depth_rows(9))
    assert isinstance(recording, Market)
    assert recording.instrument == INSTRUMENT


@pytest.mark.parametrize("group", [1, 7, 1_000, 10**9])
def test_row_groups_do_not_show(group: int, tmp_path: Path) -> None:
    """The same batches come from one row group or many."""
    rows = depth_rows(5_000)
    recording = write(tmp_path / "a.parquet", rows)
    metadata = pl.read_parquet_metadata(tmp_path / "a.parquet")
    rows.write_parquet(
        tmp_path / "b.parquet", row_group_size=max(group, 50), metadata={METADATA_KEY: metadata[METADATA_KEY]}
    )
    again = Recording.open(tmp_path / "b.parquet")
    batches = list(recording.batches(777))
    assert [b.height for b in batches] == [777] * 6 + [5_000 - 6 * 777]
    assert all(a.equals(b) for a, b in zip(batches, again.batches(777), strict=True))
    assert read(again).equals(rows)


def test_each_call_of_batches_starts_again(tmp_path: Path) -> None:
    """Two iterators do not disturb each other; one that is dropped early harms nothing."""
    recording = write(tmp_path / "a.parquet", depth_rows(90))
    first, second = recording.batches(30), recording.batches(30)
    assert next(first).equals(next(second))
    next(first)
    assert read(recording, 30).height == 90


def test_large_recordings_are_written_and_read_in_pieces(tmp_path: Path) -> None:
    """Several row groups, several reads, any size of batch: the rows are the same."""
    rows = depth_rows(300_000)
    with RecordingWriter(tmp_path / "a.parquet", INSTRUMENT) as writer:
        for at in range(0, rows.height, 70_001):
            writer.write(rows[at : at + 70_001])
        metadata = writer.finish()
    recording = Recording.open(tmp_path / "a.parquet")
    assert metadata["rows"] == recording.rows == 300_000
    assert read(recording, 400_000).equals(rows) and read(recording, 9_999).equals(rows)


def test_opening_reads_metadata_only(tmp_path: Path) -> None:
    """A file whose rows are gone still opens and describes itself."""
    write(tmp_path / "a.parquet", depth_rows(3000), source=[{"name": "x.gz", "sha256": "00", "bytes": 1, "lines": 2}])
    content = bytearray((tmp_path / "a.parquet").read_bytes())
    content[4:200] = bytes(196)
    (tmp_path / "a.parquet").write_bytes(content)
    facts = Recording.open(tmp_path / "a.parquet").describe()
    assert (facts["name"], facts["rows"], facts["symbol"], facts["source"][0]["name"]) == (
        "a.parquet",
        3000,
        "BTCUSDT",
        "x.gz",
    )
    assert json.loads(json.dumps(facts)) == facts


def test_rows_must_be_positive(tmp_path: Path) -> None:
    """A batch of no rows would never end."""
    with pytest.raises(ConfigError, match="rows is 0; write 1 or more"):
        next(write(tmp_path / "a.parquet", depth_rows(3)).batches(0))


# --- metadata -------------------------------------------------------------------------------------------------------


def test_the_writer_counts_what_it_writes(tmp_path: Path) -> None:
    """Rows and messages by kind, spans, and how far back each clock ran."""
    rows = frame(
        [
            (100, 50, 0, "depth", "buy", 10, 1, 1),
            (100, 50, 0, "depth", "sell", 12, 1, 1),
            (70, 60, 1, "trade", "buy", 12, 1, 5),
            (110, 45, 2, "trade", "buy", 12, 1, 6),
        ]
    )
    recording = write(tmp_path / "a.parquet", rows, clock_offset_ns=50)
    metadata = recording.parts[0].metadata
    assert metadata["schema"] == SCHEMA_VERSION
    assert metadata["counts"] == {"depth": 2, "snapshot": 0, "bbo": 0, "trade": 2, "gap": 0}
    assert metadata["messages"] == {"depth": 1, "snapshot": 0, "bbo": 0, "trade": 2, "gap": 0}
    assert (metadata["span_ns"], metadata["local_span_ns"]) == ([70, 110], [45, 60])
    assert recording.disorder_ns == (30, 15)
    assert recording.clock_offset_ns == 50


@settings(max_examples=15)
@given(times=st.lists(st.integers(0, 1000), min_size=1, max_size=30), cut=st.integers(1, 29))
def test_disorder_is_how_far_back_a_later_row_lies(
    times: list[int], cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No row lies further back than the metadata promise, and one lies exactly there; batches of writing do not matter."""
    rows = frame((t, 2 * t, i, "trade", "buy", 10, 1, i) for i, t in enumerate(times))
    path = tmp_path_factory.mktemp("disorder") / "a.parquet"
    with RecordingWriter(path, INSTRUMENT) as writer:
        writer.write(rows[:cut])
        writer.write(rows[cut:])
        writer.finish()
    worst = max(max(times[: i + 1]) - t for i, t in enumerate(times))
    assert Recording.open(path).disorder_ns == (worst, 2 * worst)


def test_kinds_without_exchange_time_stand_on_the_shifted_local_clock(tmp_path: Path) -> None:
    """Their exchange time is local time plus the offset, which is known only at the end."""
    rows = frame([(0, 100, 0, "bbo", "buy", 10, 1, 1), (140, 90, 1, "trade", "buy", 10, 1, 1)])
    recording = write(tmp_path / "a.parquet", rows, clock_offset_ns=50, exchange_time_is_local=["bbo"])
    assert read(recording)["exchange_ns"].to_list() == [150, 140]
    assert recording.disorder_ns == (10, 10)


# --- the writer -----------------------------------------------------------------------------------------------------


def test_nothing_is_left_when_writing_fails(tmp_path: Path) -> None:
    """An exception inside the block, or no finish, leaves the folder as it was."""
    with pytest.raises(RuntimeError), RecordingWriter(tmp_path / "a.parquet", INSTRUMENT) as writer:
        writer.write(depth_rows(200_000))
        raise RuntimeError
    with RecordingWriter(tmp_path / "a.parquet", INSTRUMENT) as writer:
        writer.write(depth_rows(3))
    assert list(tmp_path.iterdir()) == []


def test_rows_out_of_order_or_of_another_shape_are_refused(tmp_path: Path) -> None:
    """The sequence of the source decides ties, so it never falls."""
    with RecordingWriter(tmp_path / "a.parquet", INSTRUMENT) as writer:
        writer.write(depth_rows(9))
        with pytest.raises(DataError, match="row 9: seq 0 comes after a higher one"):
            writer.write(depth_rows(3))
        with pytest.raises(DataError, match="rows have the columns"):
            writer.write(depth_rows(3).drop("id"))


def test_the_target_is_no_folder(tmp_path: Path) -> None:
    """A folder as target says what to write instead."""
    with pytest.raises(DataError, match="is a folder; write the name of a file in it"):
        RecordingWriter(tmp_path, INSTRUMENT)


def test_funding_lies_beside_the_recording(tmp_path: Path) -> None:
    """The small second table is written, found, cut to the window; without it there are no rows."""
    table = pl.DataFrame({"ts_ns": [1_000, 1_500], "rate": [0.0001, -0.0002], "mark": [10, None]})
    recording = write(tmp_path / "a.parquet", depth_rows(300), funding=table)
    assert recording.funding().equals(table)
    assert recording.window(1_200, None).funding()["ts_ns"].to_list() == [1_500]
    assert write(tmp_path / "sub" / "b.parquet", depth_rows(3)).funding().is_empty()
    assert len(Recording.open(tmp_path).parts) == 1


# --- folders --------------------------------------------------------------------------------------------------------


def test_a_folder_of_files_is_one_recording(tmp_path: Path) -> None:
    """Files follow by name, seq goes on, and the offset is the largest."""
    for day, start in (("b", 5_000), ("a", 1_000)):
        write(tmp_path / f"{day}.parquet", depth_rows(30, start_ns=start), clock_offset_ns=start // 1000)
    recording = Recording.open(tmp_path)
    rows = read(recording, 7)
    assert rows["seq"].to_list() == [i // 3 for i in range(60)]
    assert rows["exchange_ns"].is_sorted()
    assert (recording.clock_offset_ns, recording.rows, recording.span_ns) == (5, 60, (1_000, 5_090))


def test_files_with_their_own_offsets_share_one_axis(tmp_path: Path) -> None:
    """Kinds without exchange time move to the common offset, and the promised order still holds."""
    for day, (start, offset) in {"a": (1_000, 40), "b": (2_000, 90)}.items():
        rows = frame([(start, start - 30, 0, "trade", "buy", 1, 1, 1), (0, start - 25, 1, "bbo", "buy", 1, 1, 1),
                      (start + 9, start - 20, 2, "trade", "buy", 1, 1, 1)])  # fmt: skip
        write(tmp_path / f"{day}.parquet", rows, clock_offset_ns=offset, exchange_time_is_local=["bbo"])
    recording = Recording.open(tmp_path)
    rows = read(recording)
    times = rows["exchange_ns"].to_list()
    assert times == [1_000, 1_065, 1_009, 2_000, 2_065, 2_009]
    assert max(max(times[: i + 1]) - t for i, t in enumerate(times)) <= recording.disorder_ns[0]


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    """Another symbol, and a file that starts before the last one ends."""
    write(tmp_path / "a.parquet", depth_rows(30))
    write(tmp_path / "b.parquet", depth_rows(30))
    with pytest.raises(DataError, match=r"b.parquet starts before a.parquet ends; name the files"):
        Recording.open(tmp_path)
    write(tmp_path / "b.parquet", depth_rows(3, start_ns=9_000), instrument=replace(INSTRUMENT, symbol="ETHUSDT"))
    with pytest.raises(DataError, match=r"b.parquet holds ETHUSDT of binanceusdm, a.parquet holds BTCUSDT"):
        Recording.open(tmp_path)


# --- windows --------------------------------------------------------------------------------------------------------


def test_split_cuts_by_exchange_time(tmp_path: Path) -> None:
    """Train ends where test begins, or `purge_ns` before; both are recordings again."""
    recording = write(tmp_path / "a.parquet", depth_rows(303))  # 1,000 to 2,000 ns
    train, test = recording.split(0.6)
    assert (train.span_ns, test.span_ns) == ((1_000, 1_600), (1_600, 2_000))
    assert read(train).equals(read(recording).filter(pl.col("exchange_ns") < 1_600))
    tail = read(recording).filter(pl.col("exchange_ns") >= 1_600)
    assert read(test)[-tail.height :].equals(tail)
    assert recording.split(0.6, purge_ns=100)[1].span_ns == (1_700, 2_000)
    assert test.rows is None and test.describe()["window"]
    assert train.split(0.5)[1].span_ns == (1_300, 1_600)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 60])
def test_a_split_needs_a_fraction(fraction: float, tmp_path: Path) -> None:
    """0 and 1 leave one side empty."""
    with pytest.raises(ConfigError, match="write a number between 0 and 1"):
        write(tmp_path / "a.parquet", depth_rows(30)).split(fraction)


def test_a_window_outside_is_refused(tmp_path: Path) -> None:
    """An empty window is a mistake, not a market."""
    recording = write(tmp_path / "a.parquet", depth_rows(30))
    for start, end in ((5_000, None), (None, 500), (1_050, 1_050)):
        with pytest.raises(ConfigError, match="leaves nothing of"):
            recording.window(start, end)


def _book(rows: pl.DataFrame) -> dict[tuple[str, int], int]:
    """Return the book after all rows: (side, price) to lots."""
    book: dict[tuple[str, int], int] = {}
    for (seq,), message in rows.group_by("seq", maintain_order=True):
        del seq
        if message["kind"][0] == "gap":
            book = {}
        if message["kind"][0] == "snapshot":
            bids = message.filter(pl.col("side") == "buy")["price"].to_list()
            asks = message.filter(pl.col("side") == "sell")["price"].to_list()
            book = {
                (side, price): lots
                for (side, price), lots in book.items()
                if not (bids and price >= min(bids) if side == "buy" else asks and price <= max(asks))
            }
        for side, price, lots in (
            message.filter(pl.col("kind").is_in(["depth", "snapshot"])).select("side", "price", "quantity").iter_rows()
        ):
            book[side, price] = lots
    return {key: lots for key, lots in book.items() if lots}


_MESSAGE = st.tuples(
    st.sampled_from(["depth", "depth", "depth", "snapshot", "trade", "gap"]),
    st.lists(st.tuples(st.booleans(), st.integers(0, 20), st.integers(0, 3)), min_size=1, max_size=4),
    st.integers(-15, 0),
)


@settings(max_examples=25)
@given(messages=st.lists(_MESSAGE, min_size=2, max_size=25), cut=st.integers(1, 240), chunk=st.sampled_from([7, 30]))
def test_a_later_window_opens_with_the_book_of_its_time(
    messages: list[tuple[str, list[tuple[bool, int, int]], int]],
    cut: int,
    chunk: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Rows of the window are untouched; before them stands the book that the rows before it leave."""
    rows: list[Row] = []
    for seq, (kind, levels, late) in enumerate(messages):
        ns = 1_000 + 10 * seq + (late if kind == "trade" else 0)  # trades run backwards a little, as they do
        if kind == "gap":
            levels = [(True, 0, 0)]
        if kind == "snapshot":
            once = {(buy, price): (buy, price, 1) for buy, price, _ in levels}
            levels = sorted(once.values(), key=lambda x: (not x[0], -x[1] if x[0] else x[1]))  # best first
        for buy, price, lots in levels:
            side = "none" if kind == "gap" else "buy" if buy else "sell"
            rows.append((ns, ns - 7, seq, kind, side, price if buy else price + 100, lots, seq))
    recording = write(tmp_path_factory.mktemp("window") / "a.parquet", frame(rows), clock_offset_ns=7)
    start = 1_000 + cut
    everything = read(recording)
    own = everything.filter(pl.col("exchange_ns") >= start)
    if own.is_empty():
        return
    blocks = (everything[at : at + chunk] for at in range(0, everything.height, chunk))
    cut = Window(start).rows(blocks, clock_offset_ns=recording.clock_offset_ns, disorder_ns=recording.disorder_ns[0])
    got = pl.concat([pl.DataFrame(schema=COLUMNS), *cut])
    opening = got[: got.height - own.height]
    assert got[opening.height :].equals(own)
    before = everything.filter(pl.col("exchange_ns") < start)
    assert _book(opening) == _book(before)
    assert got["seq"].is_sorted() and set(opening["exchange_ns"]) <= {start} and set(opening["local_ns"]) <= {start - 7}
    marks = before.filter(pl.col("kind").is_in(["gap", "snapshot"]))["kind"].to_list()
    assert ("gap" in opening["kind"].to_list()) == (bool(marks) and marks[-1] == "gap")
    anchored = bool(marks) and marks[-1] == "snapshot"
    assert set(opening["kind"]) <= {"gap", "snapshot" if anchored else "depth"}


def test_a_window_does_not_open_crossed(tmp_path: Path) -> None:
    """Of two levels that cross, the older is stale: a snapshot older than the diffs before it brings such levels back."""
    rows = frame(
        [
            (1_000, 1_000, 0, "snapshot", "buy", 12, 1, 5),
            (1_000, 1_000, 0, "snapshot", "buy", 9, 1, 5),
            (1_000, 1_000, 0, "snapshot", "sell", 14, 1, 5),
            (1_010, 1_010, 1, "depth", "sell", 11, 1, 6),
            (1_020, 1_020, 2, "trade", "buy", 11, 1, 1),
        ]
    )
    opening = read(write(tmp_path / "a.parquet", rows).window(1_015, None))[:-1]
    assert opening.select("kind", "side", "price").rows() == [
        ("snapshot", "buy", 9),
        ("snapshot", "sell", 11),
        ("snapshot", "sell", 14),
    ]


# --- bad input ------------------------------------------------------------------------------------------------------


def test_a_missing_recording_says_how_to_make_one(tmp_path: Path) -> None:
    """File, empty folder: what to type instead."""
    with pytest.raises(DataError, match=r"no.parquet: no such recording; make one with `grinder import"):
        Recording.open(tmp_path / "no.parquet")
    with pytest.raises(DataError, match="no recording in this folder; make one"):
        Recording.open(tmp_path)


def test_a_later_schema_version_is_refused(tmp_path: Path) -> None:
    """A file of a later grinder_kit is not guessed at."""
    write(tmp_path / "a.parquet", depth_rows(3))
    rewrite(tmp_path / "a.parquet", schema=SCHEMA_VERSION + 1)
    with pytest.raises(DataError, match=r"a.parquet has schema version 2, this grinder_kit reads up to 1; upgrade"):
        Recording.open(tmp_path / "a.parquet")


def test_other_files_are_refused(tmp_path: Path) -> None:
    """No Parquet, Parquet without the metadata, metadata that are broken or incomplete."""
    path = tmp_path / "a.parquet"
    path.write_text("1723161255088176367 {}")
    with pytest.raises(DataError, match="a.parquet is not a Parquet file"):
        Recording.open(path)
    depth_rows(3).write_parquet(path)
    with pytest.raises(DataError, match="without the metadata of a recording"):
        Recording.open(path)
    depth_rows(3).write_parquet(path, metadata={METADATA_KEY: "{"})
    with pytest.raises(DataError, match="metadata cannot be read"):
        Recording.open(path)
    depth_rows(3).write_parquet(path, metadata={METADATA_KEY: '{"schema": 1}'})
    with pytest.raises(DataError, match="its metadata lack instrument, venue"):
        Recording.open(path)


def test_a_writer_that_gives_up_leaves_nothing_behind_not_even_later(tmp_path: Path) -> None:
    """Its file is closed when `abort` returns: nothing opens it afterwards."""
    for i in range(50):
        with RecordingWriter(tmp_path / f"{i}.parquet", INSTRUMENT) as writer:
            if i % 2:
                writer.write(depth_rows(3))
    assert not list(tmp_path.iterdir())
