"""The Binance importer: exact rows, everything found is reported, and bad input gets one clear message."""

from __future__ import annotations

import gzip
import json
import lzma
import random
import re
from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grinder_kit.errors import ConfigError, DataError
from grinder_kit.market.binance_ws import import_binance_ws
from grinder_kit.market.crossed import CrossedBooks
from grinder_kit.market.info import recording_info
from grinder_kit.market.recording import Recording
from grinder_kit.market.schema import COLUMNS
from grinder_kit.model.instrument import Instrument

T0 = 1_723_161_255_000
Levels = list[tuple[str, str]]


def line(event: dict[str, Any], *, ms: int, separators: tuple[str, str] = (",", ":"), behind_ms: int = 1000) -> str:
    """Return one raw line; local time is `behind_ms` behind the exchange's."""
    value = event if "lastUpdateId" in event else {"stream": "s@x", "data": event}
    return f"{(T0 + ms - behind_ms) * 1_000_000} {json.dumps(value, separators=separators)}"


def depth(u: int, *, pu: int, bids: Levels = (), asks: Levels = (), ms: int = 0, s: str = "BTCUSDT") -> dict[str, Any]:
    """Return a USD-M depth message."""
    out = {"e": "depthUpdate", "E": T0 + ms + 1, "T": T0 + ms, "s": s, "U": pu + 1, "u": u, "pu": pu}
    return out | {"b": [list(level) for level in bids], "a": [list(level) for level in asks]}


def trade(t: int, p: str = "100.10", q: str = "0.006", *, m: bool = False, ms: int = 0, **more: Any) -> dict[str, Any]:
    """Return a USD-M trade."""
    return {
        "e": "trade",
        "E": T0 + ms,
        "T": T0 + ms,
        "s": "BTCUSDT",
        "t": t,
        "p": p,
        "q": q,
        "X": "MARKET",
        "m": m,
    } | more


def quote(u: int, bid: tuple[str, str], ask: tuple[str, str], *, ms: int = 0) -> dict[str, Any]:
    """Return a USD-M book ticker."""
    prices = {"b": bid[0], "B": bid[1], "a": ask[0], "A": ask[1]}
    return {"e": "bookTicker", "u": u, "s": "BTCUSDT"} | prices | {"T": T0 + ms, "E": T0 + ms}


def snapshot(u: int, *, bids: Levels, asks: Levels, ms: int = 0) -> dict[str, Any]:
    """Return the answer of a USD-M REST depth request."""
    return {"lastUpdateId": u, "E": T0 + ms, "T": T0 + ms, "bids": bids, "asks": asks}


def write(path: Path, lines: Iterable[str]) -> Path:
    """Write raw lines, compressed as the name says."""
    text = "".join(f"{one}\n" for one in lines).encode()
    openers: dict[str, Any] = {".gz": gzip.open, ".xz": lzma.open}
    with openers.get(path.suffix, open)(path, "wb") as file:
        file.write(text)
    return path


def rows_of(path: Path) -> pl.DataFrame:
    """Return all rows of a recording."""
    return pl.concat([pl.DataFrame(schema=COLUMNS), *Recording.open(path).batches()])


def imported(tmp_path: Path, lines: Iterable[str], **options: Any) -> tuple[Any, pl.DataFrame]:
    """Import lines; return the report and the rows."""
    report = import_binance_ws(write(tmp_path / "x.gz", lines), tmp_path / "x.parquet", **options)
    return report, rows_of(tmp_path / "x.parquet")


def refusal(tmp_path: Path, source: Path, **options: Any) -> str:
    """Return the message of a refused import, which leaves no file behind."""
    before = set(tmp_path.iterdir())
    with pytest.raises(DataError) as error:
        import_binance_ws(source, tmp_path / "out" / "x.parquet", **options)
    left = set(tmp_path.iterdir()) - before
    assert all(not list(folder.iterdir()) for folder in left)
    return str(error.value)


# --- the real recordings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "rows", "offset_ns"),
    [("usdm_btcusdt_20240808", 466_836 - 2, 1_272_156_851), ("usdm_ethusdt_20240808", 444_740 - 2, 1_272_228_703)],
)
def test_the_oracles_events_are_all_there(
    name: str, rows: int, offset_ns: int, shared_data: Path, tmp_path: Path
) -> None:
    """Depth, trades and snapshot count what the oracle counts (less its two clears), with its clock offset."""
    report = import_binance_ws(shared_data / f"ticks/hftbacktest/{name}.gz", tmp_path / "x.parquet")
    counts = report.metadata["counts"]
    assert counts["depth"] + counts["trade"] + counts["snapshot"] == rows
    assert report.metadata["clock_offset_ns"] == Recording.open(tmp_path / "x.parquet").clock_offset_ns == offset_ns
    assert report.metadata["gaps"] == [] and report.metadata["issues"]["clock_steps"] == 0


def _plain_rows(path: Path, instrument: Instrument) -> list[tuple[int, int, str, str, int, int, int]]:
    """Read a recording the slow, obvious way: (exchange, local, kind, side, ticks, lots, id)."""
    out: list[tuple[int, int, str, str, int, int, int]] = []
    spot = instrument.venue == "binance"
    ticks = cache(instrument.ticks)
    lots = cache(lambda quantity: int((Decimal(quantity) / instrument.lot).to_integral_value(rounding=ROUND_HALF_UP)))
    with gzip.open(path, "rt") as file:
        for raw in file:
            stamp, text = raw.split(" ", 1)
            event, local = json.loads(text), int(stamp)
            event = event.get("data", event)
            kind = {"depthUpdate": "depth", "trade": "trade"}.get(event.get("e", ""), "bbo")
            kind = "snapshot" if "lastUpdateId" in event else kind
            exchange = event.get("E" if spot and kind == "depth" else "T")
            ns = local if exchange is None else exchange * 1_000_000
            if kind == "trade":
                levels = [("sell" if event["m"] else "buy", event["p"], event["q"])]
            elif kind == "bbo":
                levels = [("buy", event["b"], event["B"]), ("sell", event["a"], event["A"])]
            else:
                bids, asks = ("bids", "asks") if kind == "snapshot" else ("b", "a")
                levels = [("buy", *x) for x in event[bids]] + [("sell", *x) for x in event[asks]]
            ident = event["t"] if kind == "trade" else event.get("u", event.get("lastUpdateId"))
            for side, price, quantity in levels:
                out.append((ns, local, kind, side, ticks(price), lots(quantity), ident))
    return out


@pytest.mark.parametrize(
    "name", [f"{m}_{d}" for m in ("usdm_btcusdt", "usdm_ethusdt") for d in ("20240808",)]
    + [f"{m}_{d}" for m in ("spot_btcusdt", "spot_ethusdt", "cm_btcusd_perp") for d in ("20240808", "20240809")],
)  # fmt: skip
def test_every_recording_imports_exactly(name: str, shared_data: Path, tmp_path: Path) -> None:
    """All eight recordings give, row for row, what plain Decimal arithmetic on plain JSON gives."""
    source = shared_data / f"ticks/hftbacktest/{name}.gz"
    report = import_binance_ws(source, tmp_path / "x.parquet")
    want = _plain_rows(source, report.instrument)
    got = rows_of(tmp_path / "x.parquet")
    columns = ("local_ns", "kind", "side", "price", "quantity", "id")
    frame = pl.DataFrame(want, schema=["exchange_ns", *columns], orient="row")
    assert got.select(*columns).with_columns(pl.col("kind", "side").cast(pl.String)).equals(frame.select(*columns))
    shifted = got.with_columns(
        pl.when(pl.col("kind").cast(pl.String).is_in(report.metadata["exchange_time_is_local"]))
        .then(pl.col("exchange_ns") - report.metadata["clock_offset_ns"])
        .otherwise("exchange_ns")
        .alias("exchange_ns")
    )
    assert shifted["exchange_ns"].equals(frame["exchange_ns"])
    assert report.warnings == ()


@pytest.mark.parametrize("name", ["spot_btcusdt", "cm_btcusd_perp"])
def test_contiguous_days_become_one_recording(name: str, shared_data: Path, tmp_path: Path) -> None:
    """Two files that follow each other import together without a gap between them."""
    days = [shared_data / f"ticks/hftbacktest/{name}_2024080{day}.gz" for day in (8, 9)]
    report = import_binance_ws(days, tmp_path / "x.parquet")
    assert report.metadata["gaps"] == []
    assert [source["name"] for source in report.metadata["source"]] == [day.name for day in days]
    assert rows_of(tmp_path / "x.parquet")["seq"].is_sorted()


def test_days_in_the_wrong_order_are_refused(shared_data: Path, tmp_path: Path) -> None:
    """A later day before an earlier one is local time that runs back."""
    days = [shared_data / f"ticks/hftbacktest/spot_ethusdt_2024080{day}.gz" for day in (9, 8)]
    with pytest.raises(DataError, match=r"spot_ethusdt_20240808.gz: line 1: local time runs back by \d+"):
        import_binance_ws(days, tmp_path / "x.parquet")


@pytest.mark.parametrize("name", ["BINANCE_FUTURES.ws.1.0.xz", "BINANCE_DELIVERY.ws.1.0.xz", "COINBASE.ws.28.0.xz"])
def test_another_recorders_files_are_named(name: str, shared_data: Path, tmp_path: Path) -> None:
    """A cryptofeed file is recognised and the expected format is shown."""
    message = refusal(tmp_path, shared_data / "ticks/cryptofeed_30s" / name)
    assert message.startswith(f"{name}: line 1 is a header of cryptofeed (`wss://")
    assert "19 digits> <json>" in message


# --- rows -----------------------------------------------------------------------------------------------------------


def test_a_usdm_file_becomes_rows_in_message_order(tmp_path: Path) -> None:
    """Bids in message order, then asks; a trade's side is the aggressor's; rows of a message share one seq."""
    report, rows = imported(
        tmp_path,
        [
            line(depth(10, pu=9, bids=[("100.00", "1.000"), ("100.10", "0")], asks=[("100.30", "0.002")]), ms=0),
            line(snapshot(9, bids=[("100.10", "2")], asks=[("100.20", "3")], ms=1), ms=1),
            line(quote(11, ("100.10", "2.000"), ("100.20", "3.000"), ms=2), ms=2),
            line(trade(7, m=True, ms=3), ms=3),
        ],
    )  # fmt: skip
    assert rows.select("seq", "kind", "side", "price", "quantity", "id").rows() == [
        (0, "depth", "buy", 1000, 1000, 10),
        (0, "depth", "buy", 1001, 0, 10),
        (0, "depth", "sell", 1003, 2, 10),
        (1, "snapshot", "buy", 1001, 2000, 9),
        (1, "snapshot", "sell", 1002, 3000, 9),
        (2, "bbo", "buy", 1001, 2000, 11),
        (2, "bbo", "sell", 1002, 3000, 11),
        (3, "trade", "sell", 1001, 6, 7),
    ]
    assert rows["exchange_ns"].to_list()[-1] == (T0 + 3) * 1_000_000
    assert report.metadata["clock_offset_ns"] == 1_000_000_000
    assert report.metadata["messages"] == {"depth": 1, "snapshot": 1, "bbo": 1, "trade": 1, "gap": 0}
    assert report.metadata["issues"]["stale_snapshots"] == 1  # id 9 behind update 10


def test_spot_quotes_take_the_shifted_local_time(tmp_path: Path) -> None:
    """A spot bbo and snapshot carry no exchange time: they stand at local time plus the offset, and the metadata say so."""
    report, rows = imported(
        tmp_path,
        [
            line({"e": "depthUpdate", "E": T0, "s": "BTCUSDT", "U": 5, "u": 6, "b": [["100.01", "0.00001"]], "a": []}, ms=0),
            line({"lastUpdateId": 6, "bids": [["100.01", "1"]], "asks": []}, ms=2),
            line({"u": 7, "s": "BTCUSDT", "b": "100.01", "B": "1", "a": "100.02", "A": "1"}, ms=5),
            line({"e": "trade", "E": T0 + 9, "s": "BTCUSDT", "t": 1, "p": "100.02", "q": "1", "T": T0 + 8, "m": False, "M": True}, ms=9),
        ],
    )  # fmt: skip
    assert rows["exchange_ns"].to_list() == [(T0 + ms) * 1_000_000 for ms in (0, 2, 5, 5, 8)]
    assert rows["local_ns"].to_list() == [(T0 + ms - 1000) * 1_000_000 for ms in (0, 2, 5, 5, 9)]
    assert report.metadata["exchange_time_is_local"] == ["snapshot", "bbo"]
    assert Recording.open(tmp_path / "x.parquet").instrument.venue == "binance"


def test_a_coinm_file_counts_contracts(tmp_path: Path) -> None:
    """COIN-M is known by its pair; its instrument is inverse, 100 USD a contract."""
    event = depth(10, pu=9, bids=[("61773.6", "1001")], s="BTCUSD_PERP") | {"ps": "BTCUSD"}
    report, rows = imported(tmp_path, [line(event, ms=0)])
    assert (report.instrument.venue, report.instrument.inverse) == ("binancecoinm", True)
    assert rows.select("price", "quantity").row(0) == (617736, 1001)


def test_only_market_trades_are_kept_and_unknown_events_are_counted(tmp_path: Path) -> None:
    """Trades of the insurance fund, other streams and acknowledgements are left out by name."""
    lines = [trade(1), trade(2, X="INSURANCE_FUND"), {"e": "aggTrade", "s": "BTCUSDT"}, trade(3)]
    report, rows = imported(
        tmp_path, [*(line(event, ms=i) for i, event in enumerate(lines)), f"{T0 + 9}000000 " + '{"result":null,"id":1}']
    )
    assert rows["id"].to_list() == [1, 3]
    assert report.metadata["left_out"] == {"trade X=INSURANCE_FUND": 1, "aggTrade": 1, "result": 1}
    assert "left out: 1 aggTrade" in str(report)


def test_quantities_off_the_lot_are_rounded_half_up_and_counted(tmp_path: Path) -> None:
    """.0015 becomes two lots of .001, .0014 one."""
    report, rows = imported(tmp_path, [line(trade(i, q=q), ms=i) for i, q in enumerate(("0.0015", "0.0014", "0.002"))])
    assert rows["quantity"].to_list() == [2, 1, 2]
    assert report.metadata["issues"]["off_lot"] == 2


PRICE = st.integers(1, 10**9).map(lambda n: f"{Decimal(n) / 10:.{n % 3 + 1}f}")
QUANTITY = st.integers(0, 10**9).map(lambda n: f"{Decimal(n) / 10**4:.{n % 5 + 4}f}")
LEVELS = st.lists(st.tuples(PRICE, QUANTITY), max_size=4)


EVENTS = st.one_of(
    st.tuples(st.just("depth"), LEVELS, LEVELS),
    st.tuples(st.just("trade"), PRICE, QUANTITY),
    st.tuples(st.just("snapshot"), LEVELS, LEVELS),
)


@settings(max_examples=25)
@given(
    events=st.lists(EVENTS, min_size=1, max_size=12).filter(lambda events: any(e[0] != "snapshot" for e in events)),
    data=st.data(),
)
def test_both_lanes_read_the_same(
    events: list[tuple[str, Any, Any]], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """White space sends a line down the slow lane: the recording is the same, whichever lines took it."""
    folder = tmp_path_factory.mktemp("lanes", numbered=True)
    texts: list[list[str]] = [[], []]
    for i, (kind, a, b) in enumerate(events):
        if kind == "depth":
            event = depth(i + 1, pu=i, bids=a, asks=b, ms=i)
        elif kind == "trade":
            event = trade(i, a, b, m=i % 2 == 0, ms=i)
        else:
            event = snapshot(
                i, bids=sorted(a, key=lambda x: -Decimal(x[0])), asks=sorted(b, key=lambda x: Decimal(x[0])), ms=i
            )
        texts[0].append(line(event, ms=i))
        texts[1].append(line(event, ms=i, separators=data.draw(st.sampled_from([(", ", ": "), (",", ":")]))))
    found = []
    for name, lines in zip("fs", texts, strict=True):
        report = import_binance_ws(write(folder / f"{name}.txt", lines), folder / f"{name}.parquet")
        found.append((rows_of(folder / f"{name}.parquet"), report.metadata["issues"], report.metadata["gaps"]))
    assert found[0][0].equals(found[1][0])
    assert found[0][1:] == found[1][1:]


@pytest.mark.parametrize(
    "text",
    ['"p":"1e2"', '"p":"-100.1"', '"p":"100.123456789"', '"p":100.1', '"p":"1234567890123456789.1"', '"p":""', '"p":"100.1","p":"100.1"'],
)  # fmt: skip
def test_the_fast_lane_leaves_what_it_does_not_know(text: str, tmp_path: Path) -> None:
    """An odd number is read exactly by the slow lane or refused by it; it never becomes another number."""
    raw = line(trade(1), ms=0).replace('"p":"100.10"', text)
    assert text in raw
    source = write(tmp_path / "x.txt", [line(trade(0), ms=0), raw])
    try:
        import_binance_ws(source, tmp_path / "x.parquet")
    except DataError as error:
        assert "x.txt: line 2" in str(error)
    else:
        assert (
            rows_of(tmp_path / "x.parquet")["price"].to_list()[1]
            == Decimal(json.loads(raw.split(" ")[1])["data"]["p"]) * 10
        )


# --- what is reported -----------------------------------------------------------------------------------------------


def test_a_break_of_update_ids_becomes_a_gap_row(tmp_path: Path) -> None:
    """The gap stands before the message that shows it, with the first missing id; the snapshot is no break."""
    level = [("100.00", "1.000")]
    report, rows = imported(
        tmp_path,
        [
            line(depth(10, pu=3, bids=level), ms=0),  # the first: nothing can be missing
            line(snapshot(500, bids=level, asks=[], ms=1), ms=1),
            line(depth(20, pu=10, bids=level, ms=2), ms=2),
            line(depth(30, pu=24, bids=level, ms=3), ms=3),
        ],
    )
    assert rows.select("seq", "kind", "side", "price", "quantity", "id").rows()[2:] == [
        (2, "depth", "buy", 1000, 1000, 20),
        (3, "gap", "none", 0, 0, 21),
        (4, "depth", "buy", 1000, 1000, 30),
    ]
    assert report.metadata["gaps"] == [{"seq": 3, "from_id": 21, "to_id": 24, "local_ns": (T0 + 3 - 1000) * 1_000_000}]
    assert "1 gaps" in str(report)


def test_spot_continuity_is_u_after_u(tmp_path: Path) -> None:
    """On spot the next message starts one after the last update id."""
    events = [{"e": "depthUpdate", "E": T0 + i, "s": "BTCUSDT", "U": first, "u": last, "b": [["100.01", "1"]], "a": []}
              for i, (first, last) in enumerate([(1, 5), (6, 9), (11, 12)])]  # fmt: skip
    report, rows = imported(tmp_path, [line(e, ms=i) for i, e in enumerate(events)])
    assert [(g["from_id"], g["to_id"]) for g in report.metadata["gaps"]] == [(10, 10)]
    assert rows.filter(pl.col("kind") == "gap")["id"].to_list() == [10]


def test_crossed_books_and_small_clock_steps_are_counted(tmp_path: Path) -> None:
    """Both are reported and neither stops the import."""
    lines = [
        line(depth(1, pu=0, bids=[("100.00", "1")], asks=[("100.10", "1")]), ms=100),
        line(depth(2, pu=1, bids=[("100.10", "1")], ms=1), ms=99),  # crossed, and 1 ms back
        line(depth(3, pu=2, asks=[("100.10", "0")], ms=2), ms=101),
    ]
    report, _ = imported(tmp_path, lines)
    assert report.metadata["issues"]["crossed"] == 1
    assert report.metadata["issues"]["clock_steps"] == 1
    assert report.metadata["disorder_ns"]["local"] == 1_000_000
    assert "1 crossed, 1 clock steps" in str(report)


_EVENT = st.one_of(
    st.tuples(st.just(0), st.lists(st.tuples(st.integers(0, 1), st.integers(90, 110), st.integers(0, 1)), min_size=1, max_size=4)),
    st.tuples(st.just(1), st.lists(st.tuples(st.integers(0, 1), st.integers(90, 110), st.just(1)), min_size=1, max_size=6)),
    st.tuples(st.just(4), st.just([(2, 0, 0)])),
)  # fmt: skip


@settings(max_examples=40)
@given(st.lists(_EVENT, max_size=30), st.integers(0, 3_000_000))
def test_crossings_are_those_of_a_plain_book(messages: list[tuple[int, list[tuple[int, int, int]]]], far: int) -> None:
    """The windowed count equals two dictionaries', wherever the prices lie."""
    book: tuple[set[int], set[int]] = (set(), set())
    want, rows = 0, []
    for seq, (kind, levels) in enumerate(messages):
        levels = sorted(levels, key=lambda x: (x[0], -x[1] if x[0] == 0 else x[1])) if kind == 1 else levels
        if kind == 4:
            book = (set(), set())
        elif kind == 1:
            bids, asks = ([p for s, p, _ in levels if s == side] for side in (0, 1))
            book = (
                {p for p in book[0] if not bids or p < min(bids)},
                {p for p in book[1] if not asks or p > max(asks)},
            )
        for side, price, lots in levels:
            if kind != 4:
                (book[side].add if lots else book[side].discard)(price)
            rows.append((kind, seq, side, price + far, lots))
        want += kind != 4 and bool(book[0] and book[1]) and max(book[0], default=0) >= min(book[1], default=0)
    found = CrossedBooks()
    columns = np.array(rows, np.int64).reshape(-1, 5).T
    kind, seq, side, price, lots = columns
    found.add(
        {"kind": kind.astype(np.int8), "seq": seq, "side": side.astype(np.int8), "price": price, "quantity": lots}
    )
    assert found.count == want


def test_the_same_file_twice_is_the_same_recording(tmp_path: Path) -> None:
    """Importing is deterministic to the byte."""
    source = write(tmp_path / "x.gz", [line(trade(i, ms=i), ms=i) for i in range(500)])
    for name in "ab":
        import_binance_ws(source, tmp_path / f"{name}.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


@pytest.mark.parametrize("name", ["x.gz", "x.xz", "x.txt", "misnamed.log"])
def test_plain_gzip_and_xz_are_read(name: str, tmp_path: Path) -> None:
    """Compression is told by the first bytes; progress ends at the file's size."""
    source = write(tmp_path / name, [line(trade(i, ms=i), ms=i) for i in range(3)])
    seen: list[tuple[int, int]] = []
    report = import_binance_ws(source, tmp_path / "x.parquet", progress=lambda done, total: seen.append((done, total)))
    assert (report.lines, report.metadata["rows"]) == (3, 3)
    assert seen[-1] == (source.stat().st_size, source.stat().st_size)


# --- the instrument -------------------------------------------------------------------------------------------------


def test_an_unknown_symbol_is_inferred_with_a_warning(tmp_path: Path) -> None:
    """Tick and lot are the coarsest powers of ten, at most 1, that hold every number seen; trailing zeros do not count."""
    lines = [
        line(trade(i, p, q, s="FOOUSDT", ms=i), ms=i) for i, (p, q) in enumerate([("1.2300", "5.0"), ("1.2000", "70")])
    ]
    report, rows = imported(tmp_path, lines)
    i = report.instrument
    assert (str(i.tick), str(i.lot), i.base, i.quote) == ("0.01", "1", "FOO", "USDT")
    assert rows["price"].to_list() == [123, 120]
    assert "--instrument" in report.warnings[0] and "inferred" in str(report)


def test_a_given_instrument_is_used_and_must_fit(shared_data: Path, tmp_path: Path) -> None:
    """An exchangeInfo file gives the filters of its day; another symbol's instrument is refused."""
    info = shared_data / "meta/binance_usdm_exchangeInfo_20251224.json.xz"
    report, _ = imported(tmp_path, [line(trade(1), ms=0)], instrument=info)
    assert str(report.instrument.band_up) == "1.0500"
    assert Recording.open(tmp_path / "x.parquet").instrument == report.instrument
    with pytest.raises(ConfigError, match="no symbol FOOUSDT"):
        imported(tmp_path, [line(trade(1, s="FOOUSDT"), ms=0)], instrument=info)
    with pytest.raises(ConfigError, match="the file holds FOOUSDT of binanceusdm"):
        imported(tmp_path, [line(trade(1, s="FOOUSDT"), ms=0)], instrument=report.instrument)


# --- bad input ------------------------------------------------------------------------------------------------------


def _cut(tmp_path: Path, *, keep: float = 0.7) -> tuple[Path, int]:
    """Return a truncated gzip and how many whole lines it still holds."""
    rng = random.Random(1)
    lines = [line(trade(i, f"{rng.randint(1000, 9999) / 10}0", ms=i), ms=i) for i in range(20_000)]
    whole = write(tmp_path / "whole.gz", lines).read_bytes()
    source = tmp_path / "x.gz"
    source.write_bytes(whole[: int(len(whole) * keep)])
    text = b""
    with gzip.open(source) as file:
        try:
            while chunk := file.read1(1 << 12):  # type: ignore[union-attr]
                text += chunk
        except EOFError:
            pass
    return source, text.count(b"\n")


def test_a_truncated_gzip_says_after_which_line(tmp_path: Path) -> None:
    """The message names the last whole line and both ways out."""
    source, n = _cut(tmp_path)
    assert refusal(tmp_path, source) == f"x.gz: truncated after line {n:,}; download it again, or pass --allow-partial"


def test_allow_partial_keeps_what_precedes_and_says_so(tmp_path: Path) -> None:
    """The metadata and the report name the cut."""
    source, n = _cut(tmp_path)
    report = import_binance_ws(source, tmp_path / "x.parquet", allow_partial=True)
    assert report.metadata["rows"] == n
    assert report.metadata["partial"] == [{"name": "x.gz", "after_line": n}]
    assert f"x.gz is cut off after line {n:,}" in str(report)
    assert f"x.gz after line {n:,}" in str(recording_info(Recording.open(tmp_path / "x.parquet")))


def test_a_plain_file_that_ends_in_half_a_line_is_truncated_too(tmp_path: Path) -> None:
    """Half a line without an end is a cut; a whole last line without a newline is none."""
    source = tmp_path / "x.txt"
    source.write_text(line(trade(1), ms=0) + "\n" + line(trade(2), ms=1)[:-5])
    assert refusal(tmp_path, source).startswith("x.txt: truncated after line 1;")
    assert import_binance_ws(source, tmp_path / "x.parquet", allow_partial=True).metadata["rows"] == 1
    source.write_text(line(trade(1), ms=0) + "\n" + line(trade(2), ms=1))
    assert import_binance_ws(source, tmp_path / "x.parquet").metadata["rows"] == 2


def test_a_damaged_gzip_is_named(tmp_path: Path) -> None:
    """A broken stream is told apart from one that was cut off."""
    source = write(tmp_path / "x.gz", [line(trade(i, ms=i), ms=i) for i in range(5000)])
    content = bytearray(source.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 40] = b"\xff" * 40
    source.write_bytes(content)
    assert "x.gz: the compressed stream is damaged" in refusal(tmp_path, source)


@pytest.mark.parametrize("at", [0, 1, 2500])
def test_a_line_that_is_not_json_is_shown(at: int, tmp_path: Path) -> None:
    """File, line number and an excerpt."""
    lines = [line(trade(i, ms=i), ms=i) for i in range(3000)]
    lines[at] = f'{T0}000000 {{"stream":"oops'
    message = refusal(tmp_path, write(tmp_path / "x.gz", lines))
    assert message.startswith(f'x.gz: line {at + 1:,} is not JSON: `{{"stream":"oops`;')


@pytest.mark.parametrize("junk", ["hello", "1723161255.5: {}", "", "\x00\x01"])
def test_a_line_of_another_format_is_shown(junk: str, tmp_path: Path) -> None:
    """What does not start with a local time of 19 digits is refused; empty lines are only counted."""
    source = write(tmp_path / "x.gz", [line(trade(1), ms=0), junk, line(trade(2), ms=1)])
    if junk:
        assert "x.gz: line 2 does not start with a local time of 19 digits" in refusal(tmp_path, source)
    else:
        assert import_binance_ws(source, tmp_path / "x.parquet").metadata["left_out"] == {"empty line": 1}


def test_json_of_another_venue_is_refused(tmp_path: Path) -> None:
    """A file in which nothing is Binance's says what was found instead."""
    source = write(
        tmp_path / "x.gz", [f'{T0 + i}000000 {{"type":"l2update","product_id":"BTC-USD"}}' for i in range(3)]
    )
    assert "x.gz: no depthUpdate, bookTicker or trade of Binance in it (found: 3 l2update)" in refusal(tmp_path, source)


def test_two_symbols_in_one_file_are_refused(tmp_path: Path) -> None:
    """The line and both symbols are named."""
    source = write(tmp_path / "x.gz", [line(trade(1), ms=0), line(trade(2, s="ETHUSDT"), ms=1)])
    assert refusal(tmp_path, source).startswith("x.gz: line 2 is of ETHUSDT, the lines before it of BTCUSDT")


def test_two_markets_in_one_file_are_refused(tmp_path: Path) -> None:
    """Spot lines between USD-M lines of the same symbol do not pass as USD-M."""
    spot = {"e": "depthUpdate", "E": T0, "s": "BTCUSDT", "U": 5, "u": 6, "b": [], "a": []}
    source = write(tmp_path / "x.gz", [line(trade(1), ms=0), line(spot, ms=1)])
    assert refusal(tmp_path, source).startswith("x.gz: line 2 is a spot depthUpdate, the lines before it are USD-M")


@pytest.mark.parametrize("gap_ms", [10, 2000])
def test_shuffled_lines_are_refused(gap_ms: int, tmp_path: Path) -> None:
    """Local time that runs back by more than a second, or all the time, is no clock step."""
    lines = [line(trade(i, ms=i * gap_ms), ms=i * gap_ms) for i in range(60)]
    random.Random(3).shuffle(lines)
    message = refusal(tmp_path, write(tmp_path / "x.gz", lines))
    assert re.match(r"x\.gz: line \d+", message)
    assert "the lines are shuffled" in message and "sort" in message


@pytest.mark.parametrize("name", ["x.gz", "x.txt"])
def test_an_empty_file_is_refused(name: str, tmp_path: Path) -> None:
    """Nothing at all, and a gzip of nothing."""
    (tmp_path / "x.txt").write_bytes(b"")
    write(tmp_path / "x.gz", [])
    assert "nothing to import" in refusal(tmp_path, tmp_path / name) or "found: no lines" in refusal(
        tmp_path, tmp_path / name
    )


def test_a_missing_source_and_a_folder_are_refused(tmp_path: Path) -> None:
    """The path is named."""
    assert "no.gz: no such file" in refusal(tmp_path, tmp_path / "no.gz")
    assert "is a folder" in refusal(tmp_path, tmp_path)


def test_a_price_off_the_tick_is_refused(tmp_path: Path) -> None:
    """Line, price and tick, and where to name another instrument."""
    source = write(tmp_path / "x.gz", [line(trade(1), ms=0), line(trade(2, "100.15"), ms=1)])
    message = refusal(tmp_path, source)
    assert message.startswith("x.gz: line 2: price 100.15 is off the tick of 0.1 of BTCUSDT")
    assert "--instrument" in message


def test_a_message_without_a_key_is_refused(tmp_path: Path) -> None:
    """A recorder that drops fields is caught by name."""
    event = trade(2)
    del event["t"]
    assert "x.gz: line 2 is a trade of USD-M without 't'" in refusal(
        tmp_path, write(tmp_path / "x.gz", [line(trade(1), ms=0), line(event, ms=1)])
    )


def test_a_failed_import_leaves_the_old_recording(tmp_path: Path) -> None:
    """The target is replaced only by a whole file."""
    target = tmp_path / "x.parquet"
    import_binance_ws(write(tmp_path / "good.gz", [line(trade(1), ms=0)]), target)
    before = target.read_bytes()
    with pytest.raises(DataError):
        import_binance_ws(write(tmp_path / "bad.gz", [line(trade(1), ms=0), "oops"]), target)
    assert target.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.gz", "good.gz", "x.parquet"]
