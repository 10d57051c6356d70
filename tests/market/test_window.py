"""A part of a synthetic market is what the same part of its recording is; and every part has a name."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from grinder_kit.errors import ConfigError
from grinder_kit.market.naming import market_name, open_market
from grinder_kit.market.recording import Recording, RecordingWriter
from grinder_kit.market.synthetic import START_NS, SyntheticMarket, synthetic_market

SECOND_NS = 1_000_000_000


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Return 90 s of the synthetic market as a recording."""
    market = synthetic_market(seed=3, minutes=1.5)
    path = tmp_path_factory.mktemp("window") / "synthetic.parquet"
    with RecordingWriter(path, market.instrument) as writer:
        for batch in market.batches():
            writer.write(batch)
        writer.finish()
    return Recording.open(path)


@pytest.mark.parametrize(("start", "end"), [(None, 20), (20, None), (20, 45), (0, 90)])
def test_it_is_the_part_of_its_recording(recorded: Recording, start: int | None, end: int | None) -> None:
    """Row for row, with the book as it stood where the part opens, in batches of any size."""
    window = tuple(None if at is None else START_NS + at * SECOND_NS for at in (start, end))
    part = synthetic_market(seed=3, minutes=1.5).window(*window)
    expected = pl.concat(recorded.window(*window).batches())
    assert pl.concat(part.batches()).equals(expected)
    assert pl.concat(part.batches(777)).equals(expected)
    assert part.describe()["span_ns"] == list(part.span_ns)


def test_a_split_leaves_out_what_is_purged() -> None:
    """The first part ends at the cut, the second begins after the purge; a window can be split again."""
    train, test = synthetic_market(seed=3, minutes=1).split(0.5, purge_ns=10 * SECOND_NS)
    assert train.span_ns == (START_NS, START_NS + 30 * SECOND_NS)
    assert test.span_ns == (START_NS + 40 * SECOND_NS, START_NS + 60 * SECOND_NS)
    first, _ = test.split(0.5)
    assert first.span_ns == (START_NS + 40 * SECOND_NS, START_NS + 50 * SECOND_NS)


def test_a_part_has_a_name() -> None:
    """By which another process opens the same."""
    market = synthetic_market(seed=3, minutes=1)
    odd = synthetic_market(seed=3, minutes=1 / 3)
    for part in (market, odd, *market.split(0.5), market.window(START_NS + 1, START_NS + SECOND_NS)):
        assert open_market(market_name(part)) == part
        assert part.describe()["opens_as"] == market_name(part)
    renamed = synthetic_market(seed=3, minutes=1, instrument=replace(market.instrument, symbol="OTHER"))
    assert renamed.describe()["opens_as"] is None  # no name says that
    assert isinstance(open_market("synthetic start_ns=1704067201000000000"), SyntheticMarket)
    with pytest.raises(ConfigError, match="write 'synthetic seed=7 minutes=30'"):
        open_market("synthetic sed=3 end_ns=1704067201000000000")


def test_a_recording_is_named_in_its_folder(recorded: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its file, without the folder; from there the name opens the same part."""
    monkeypatch.chdir(recorded.path.parent)
    for part in (recorded, *recorded.split(0.5)):
        name = part.describe()["opens_as"]
        assert name.split()[0] == recorded.path.name
        assert pl.concat(open_market(name).batches()).equals(pl.concat(part.batches()))


def test_a_part_of_nothing_is_refused() -> None:
    """Times outside, a purge that leaves no test, and a share that is none."""
    market = synthetic_market(seed=3, minutes=1)
    with pytest.raises(ConfigError, match="leaves nothing"):
        market.window(START_NS + 61 * SECOND_NS)
    with pytest.raises(ConfigError, match="leaves nothing"):
        market.split(0.5, purge_ns=31 * SECOND_NS)
    with pytest.raises(ConfigError, match=r"write a number between 0 and 1, such as 0\.6"):
        market.split(60)
