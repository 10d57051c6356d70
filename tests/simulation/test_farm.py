"""A sweep on the workers of a cluster: the rows of a sweep, whatever happens to a worker, and what is refused before it starts."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from grinder_kit.errors import ConfigError, DataError, GrinderError
from grinder_kit.market.recording import Recording
from grinder_kit.market.synthetic import synthetic_market
from grinder_kit.market.writer import RecordingWriter
from grinder_kit.model.config import Config, ExecutionConfig, GridConfig
from grinder_kit.simulation.farm import PLAN, sweep_far
from grinder_kit.simulation.sweep import sweep
from tests.compiled import compile_once
from tests.simulation.markets import round_trip

distributed = pytest.importorskip("distributed", reason="Dask is not installed: pip install .[dask]")

GRIDS = [
    GridConfig(spacing_bps=Decimal(spacing) / 10, levels=levels, size="0.01")
    for spacing in range(5, 45, 5)
    for levels in (2, 5, 9)
]


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Return the client of a cluster of two processes, which find everything compiled."""
    compile_once()
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as connected,
    ):
        yield connected


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return two recordings."""
    folder = tmp_path_factory.mktemp("shared")
    paths = folder / "one.parquet", folder / "two.parquet"
    for seed, path in enumerate(paths):
        market = synthetic_market(seed=seed, minutes=3)
        with RecordingWriter(path, market.instrument) as writer:
            for rows in market.batches():
                writer.write(rows)
            writer.finish(source=[])
    return paths


def expected(markets: list[Any], grids: list[Any] = GRIDS, **options: Any) -> pl.DataFrame:
    """Return what `sweep` says of each market."""
    tables = [sweep(market, grids, **options) for market in markets]
    return pl.concat(
        [table.select(pl.lit(number, pl.Int64).alias("market"), pl.all()) for number, table in enumerate(tables)]
    )


def eventually(holds: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something holds."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.005)


def test_it_is_a_sweep_though_a_worker_is_killed(client: Any, recordings: tuple[Path, Path], tmp_path: Path) -> None:
    """A worker killed while it runs a part loses nothing and doubles nothing: the rows are those of `sweep`, one file a part."""
    markets = [Recording.open(path) for path in recordings]
    windows = [*markets[0].split(0.5), markets[1]]
    before, done = client.run(os.getpid), []
    running = threading.Thread(
        target=lambda: done.append(sweep_far(windows, GRIDS, client, to=tmp_path, block_s=10, grids_a_part=2))
    )
    running.start()
    eventually(lambda: len(list(tmp_path.glob("0*.parquet"))) >= 3)
    victim = next(pid for worker, pid in before.items() if client.processing()[worker])
    os.kill(victim, signal.SIGKILL)
    assert len(list(tmp_path.glob("0*.parquet"))) < 36
    running.join()
    assert_frame_equal(done[0], expected(windows, block_s=10))
    assert len(list(tmp_path.glob("0*.parquet"))) == 36
    assert {path.name for path in tmp_path.iterdir() if path.suffix != ".parquet"} == {PLAN}
    assert not list(tmp_path.glob(".*"))
    eventually(lambda: len(client.nthreads()) == 2)
    assert victim not in client.run(os.getpid).values()


def test_it_goes_on_from_the_parts_that_are_there(client: Any, recordings: tuple[Path, Path], tmp_path: Path) -> None:
    """A part that was written is not run again; with all of them there no cluster is asked. Another sweep is refused the folder."""
    first = sweep_far(recordings, GRIDS[:5], client, to=tmp_path, grids_a_part=3)
    assert_frame_equal(first, expected([Recording.open(path) for path in recordings], GRIDS[:5]))
    kept, lost = tmp_path / "00000-0000000.parquet", tmp_path / "00001-0000003.parquet"
    marked = first.filter(pl.col("market") == 0)[:3].with_columns(steps=pl.lit(-1, pl.Int64))
    marked.write_parquet(kept)
    lost.unlink()
    again = sweep_far(recordings, GRIDS[:5], client, to=tmp_path, grids_a_part=3)
    assert again["steps"].to_list()[:3] == [-1] * 3
    assert_frame_equal(again[3:], first[3:])
    assert_frame_equal(sweep_far(recordings, GRIDS[:5], "tcp://nobody:1", to=tmp_path, grids_a_part=3), again)
    for change, said in (({"grids_a_part": 4}, "grids_a_part"), ({"block_s": 30}, "block_s")):
        with pytest.raises(ConfigError, match=rf"holds another sweep \(it differs in {said}\); choose another folder"):
            sweep_far(recordings, GRIDS[:5], client, to=tmp_path, **{"grids_a_part": 3} | change)
    with pytest.raises(ConfigError, match="differs in markets or grids"):
        sweep_far(recordings[::-1], GRIDS[:5], client, to=tmp_path, grids_a_part=3)
    (tmp_path / PLAN).write_text("{")
    with pytest.raises(ConfigError, match="holds another sweep"):
        sweep_far(recordings, GRIDS[:5], client, to=tmp_path, grids_a_part=3)


def test_a_worker_that_cannot_see_the_data_is_named_before_anything_runs(
    client: Any, recordings: tuple[Path, Path], tmp_path: Path
) -> None:
    """Where one worker finds nothing, or something else, under a path: its address, the path, and no part is written."""
    blind = next(iter(client.run(os.getpid)))
    one, two = map(str, recordings)

    def elsewhere(leads_to: str) -> None:
        from grinder_kit.market import recording

        seen = recording.Recording.open
        recording.Recording.usual = seen  # type: ignore[attr-defined]
        recording.Recording.open = lambda path: seen(leads_to if str(path) == one else path)  # type: ignore[method-assign]

    def home() -> None:
        from grinder_kit.market import recording

        recording.Recording.open = recording.Recording.usual  # type: ignore[attr-defined, method-assign]

    for leads_to, said in (("/nowhere", "cannot see"), (two, "sees another recording at")):
        client.run(elsewhere, leads_to, workers=[blind])
        try:
            with pytest.raises(DataError, match=f"worker {blind} {said} {one}"):
                sweep_far(recordings, GRIDS, client, to=tmp_path)
        finally:
            client.run(home, workers=[blind])
    assert [path.name for path in tmp_path.iterdir()] == [PLAN]


def test_a_grid_that_cannot_run_is_named(client: Any, recordings: tuple[Path, Path], tmp_path: Path) -> None:
    """What the instrument alone refuses is refused before; what needs a price comes back with its market, and the rest is kept."""
    bad = GridConfig(spacing_bps=2, levels=2, size="0.0015")
    with pytest.raises(ConfigError, match="grid 24: size is 0.0015"):
        sweep_far(recordings, [*GRIDS, bad], client, to=tmp_path / "a")
    mixed = Config(grid=GRIDS[0], execution=ExecutionConfig(cross_by="quote"))
    with pytest.raises(ConfigError, match="grid 24: it has other rules of time and crossing"):
        sweep_far(recordings, [*GRIDS, mixed], client, to=tmp_path / "a")
    assert not (tmp_path / "a").exists()
    deep = GridConfig(spacing_bps=900, levels=20, size="0.01")
    with pytest.raises(ConfigError, match="market [01]: grid 4: levels is 20"):
        sweep_far(recordings, [*GRIDS[:4], deep], client, to=tmp_path / "b", grids_a_part=4)


def test_bad_calls_are_refused(recordings: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A market in memory, nothing to run, a recording that is not there, no Dask, no scheduler."""
    for markets, grids, options, error in (
        ([round_trip().market()], GRIDS, {}, "a MemoryMarket cannot travel to a worker; give recordings by their path"),
        ([], GRIDS, {}, "there is nothing to run"),
        (recordings, [], {}, "there is nothing to run"),
        (recordings, GRIDS, {"block_s": 0}, "block_s is 0; write seconds above 0"),
        (recordings, GRIDS, {"grids_a_part": 0}, "grids_a_part is 0; write 1 or more"),
    ):
        with pytest.raises(ConfigError, match=error):
            sweep_far(markets, grids, "tcp://nobody:1", to=tmp_path, **options)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no such recording"):
        sweep_far([tmp_path / "none.parquet"], GRIDS, "tcp://nobody:1", to=tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(GrinderError, match="no scheduler answers at nonsense://1"):
        sweep_far(recordings, GRIDS, "nonsense://1", to=tmp_path / "a")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"install the extra: pip install 'grinder-kit\[dask\]'"):
        sweep_far(recordings, GRIDS, "tcp://nobody:1", to=tmp_path / "a")
    assert json.loads((tmp_path / "a" / PLAN).read_text())["grids"] == len(GRIDS)


def test_synthetic_markets_travel_too(client: Any, tmp_path: Path) -> None:
    """A synthetic market and its window are computed where they are needed."""
    market = synthetic_market(seed=5, minutes=2)
    windows = [market, market.split(0.5)[1]]
    assert_frame_equal(sweep_far(windows, GRIDS[:3], client, to=tmp_path), expected(windows, GRIDS[:3]))
