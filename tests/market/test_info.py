"""What `grinder info` says of a recording."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import polars as pl

from grinder_kit.market.info import recording_info
from grinder_kit.market.recording import Recording, RecordingWriter
from grinder_kit.market.schema import COLUMNS
from grinder_kit.model.instrument import Instrument

INSTRUMENT = Instrument(
    symbol="BTCUSDT", venue="binance", base="BTC", quote="USDT", tick=Decimal("0.10"), lot=Decimal("0.001")
)
NS = 1_723_161_256_298_000_000


def _write(path: Path, start_ns: int) -> None:
    rows = [
        (start_ns, start_ns - 9, 0, "depth", "buy", 1000, 1, 1),
        (start_ns, start_ns - 9, 0, "depth", "sell", 1001, 1, 1),
        (start_ns + 1_500_000_000, start_ns + 1_499_999_991, 1, "trade", "buy", 1001, 1, 1),
        (start_ns + 1_500_000_000, start_ns + 1_499_999_992, 2, "gap", "none", 0, 0, 2),
    ]
    with RecordingWriter(path, INSTRUMENT) as writer:
        writer.write(pl.DataFrame(rows, schema=COLUMNS, orient="row"))
        writer.finish(
            source=[{"name": "x.gz", "sha256": "ab" * 32, "bytes": 10, "lines": 3}],
            clock_offset_ns=9,
            gaps=[{"seq": 2, "from_id": 2, "to_id": 5, "local_ns": start_ns}],
            issues={"crossed": 2, "clock_steps": 1, "off_lot": 0, "novelty": 3},
            extra={"left_out": {"aggTrade": 4}},
        )


def test_json_counts_events_by_kind(tmp_path: Path) -> None:
    """`events` counts rows by kind, every kind named; what was found stands beside it, as JSON types."""
    _write(tmp_path / "a.parquet", NS)
    facts = recording_info(Recording.open(tmp_path / "a.parquet")).to_json()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["events"] == {"depth": 2, "snapshot": 0, "bbo": 0, "trade": 1, "gap": 1}
    assert facts["messages"]["depth"] == 1
    assert (facts["span_ns"], facts["duration_s"]) == ([NS, NS + 1_500_000_000], 1.5)
    assert facts["clock_offset_ns"] == 9
    assert facts["gaps"][0]["from_id"] == 2
    assert facts["issues"]["crossed"] == 2 and facts["issues"]["crossed_quotes"] == 0


def test_text_says_the_same_in_words(tmp_path: Path) -> None:
    """Counts, span, gaps, offset, crossings and clock steps can be read."""
    _write(tmp_path / "a.parquet", NS)
    text = str(recording_info(Recording.open(tmp_path / "a.parquet")))
    for part in (
        "a.parquet", "BTCUSDT at binance, tick 0.1, lot 0.001", "2024-08-08 23:54:16.298 to 2024-08-08 23:54:17.798 UTC, 1.5 s",
        "2 in 1 messages", "9 ns, added to local time", "update ids 2 to 5 missing", "crossed", "local clock steps backwards",
        "novelty", "left out: aggTrade", "x.gz, 3 lines",
    ):  # fmt: skip
        assert part in text
    assert "rounded half up" not in text  # what was not found is not listed


def test_a_folder_is_summed(tmp_path: Path) -> None:
    """Counts, issues, gaps and sources of all files."""
    _write(tmp_path / "a.parquet", NS)
    _write(tmp_path / "b.parquet", NS + 10**10)
    info = recording_info(Recording.open(tmp_path))
    assert (info.files, info.rows, info.events["trade"], info.issues["crossed"], len(info.gaps)) == (2, 8, 2, 4, 2)
    assert "(2 files)" in str(info)


def test_an_empty_recording_has_zeros(tmp_path: Path) -> None:
    """No rows is a recording too."""
    with RecordingWriter(tmp_path / "a.parquet", INSTRUMENT) as writer:
        writer.finish()
    recording = Recording.open(tmp_path / "a.parquet")
    assert recording_info(recording).to_json()["events"]["trade"] == 0
    assert list(recording.batches()) == []
    assert "rows" in str(recording_info(recording))
