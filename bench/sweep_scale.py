"""What a sweep costs as it grows: time and peak memory by number of configurations, and by length of the market.

Rows of `make bench`; run alone with `python bench/sweep_scale.py RECORDING [--long]`, where --long adds 100 times the events. Each
figure is that of a fresh process, as a shared machine allows; rows are streamed to Parquet.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Row = Callable[..., dict[str, Any]]

CONFIGURATIONS = (10, 100, 1_000, 10_000)
TIMES = (1, 10)
LONG = 100
GRIDS_OF_LONG = 100


class Repeated:
    """A market that comes again and again, each time after the one before."""

    def __init__(self, market: Any, times: int) -> None:
        self._market, self._times = market, times
        self.instrument, self.clock_offset_ns = market.instrument, market.clock_offset_ns
        self.disorder_ns = market.disorder_ns
        first, last = market.span_ns
        self._every_ns = last - first + 1_000_000_000

    def batches(self, rows: int = 131_072) -> Iterator[Any]:
        """Yield the rows, with the time and the order in which they come."""
        import polars as pl

        seq = 0
        for turn in range(self._times):
            last = seq
            for batch in self._market.batches(rows):
                batch = batch.with_columns(
                    pl.col("exchange_ns", "local_ns") + turn * self._every_ns, pl.col("seq", "id") + seq
                )
                last = max(last, int(batch["seq"].max()))
                yield batch
            seq = last + 1

    def funding(self) -> Any:
        """Return no funding."""
        return self._market.funding().head(0)

    def describe(self) -> dict[str, Any]:
        """Return what the market says."""
        return dict(self._market.describe())


def run(recording: Path, times: int, configurations: int) -> None:
    """Sweep in this process, and print what it took."""
    from sweep import drawn

    from grinder_kit.market.recording import Recording
    from grinder_kit.model.config_file import load_config
    from grinder_kit.simulation.sweep import share, sweep

    config = load_config(Path(__file__).parent.parent / "examples" / "hftbacktest_grid.toml")
    market = Recording.open(recording)
    shared = share(market if times == 1 else Repeated(market, times), config)
    with tempfile.TemporaryDirectory() as folder:
        sweep(shared, [drawn(config, 0)])  # loads what was compiled
        start = time.process_time()
        sweep(shared, (drawn(config, seed) for seed in range(configurations)), to=Path(folder))
        seconds = time.process_time() - start
    peak = re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())
    assert peak is not None
    print(json.dumps({"seconds": seconds, "peak_mib": int(peak[1]) / 1024, "events": shared.events}))


def fresh(recording: Path, times: int, configurations: int) -> dict[str, Any]:
    """Return what a fresh process printed."""
    arguments = [str(recording), "--times", str(times), "--configurations", str(configurations)]
    ran = subprocess.run(
        [sys.executable, __file__, *arguments], check=True, capture_output=True, text=True, cwd=Path(__file__).parent
    )
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def scales(row: Row, recording: Path, *, long: bool = False) -> list[dict[str, Any]]:
    """Return cost and peak memory by number of configurations, and by length of the market."""
    rows, peaks = [], []
    for count in CONFIGURATIONS:
        one = fresh(recording, 1, count)
        peaks.append(one["peak_mib"])
        rows.append(row(f"sweep: CPU time of {count:,} grids, each", one["seconds"] / count * 1e3, "ms"))
        rows.append(row(f"sweep: peak memory with {count:,} grids", one["peak_mib"], "MiB"))
    rows.append(row("sweep: peak memory, 10,000 grids over 10", peaks[-1] / peaks[0], "times"))
    for times in (*TIMES, LONG) if long else TIMES:
        one = fresh(recording, times, GRIDS_OF_LONG)
        rows.append(
            row(f"sweep: CPU time of a grid and {times} times the events", one["seconds"] / GRIDS_OF_LONG * 1e3, "ms")
        )
        rows.append(row(f"sweep: peak memory with {times} times the events", one["peak_mib"], "MiB"))
    return rows


def main() -> None:
    """Print the rows, or what one process is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--long", action="store_true", help="100 times the events as well")
    parser.add_argument("--times", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--configurations", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.times:
        run(arguments.recording, arguments.times, arguments.configurations)
        return
    from run import row

    for one in scales(row, arguments.recording, long=arguments.long):
        print(f"{one['name']:<66}{one['value']:>10.4g} {one['unit']}")


if __name__ == "__main__":
    main()
