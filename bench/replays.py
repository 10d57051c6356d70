"""One replay beside one pass of the peer: in compiled code with decoding, after decoding, whole with its books, and by the engine.

Columns lie in memory as the file has them, as the peer's events do; reading Parquet is a row of its own. Run alone
(`python bench/replays.py RAW RECORDING [--long]`), or as rows of `make bench`. Rounds alternate with passes of the peer.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Row = Callable[..., dict[str, Any]]

ROUNDS = 5
PEER = "hftbacktest 2.4.4, ROIVector, power queue"


class InMemory:
    """A market whose frames lie in memory; `times` of it behind each other."""

    def __init__(self, market: Any, times: int = 1) -> None:
        from grinder_kit.simulation.columns import BLOCK_ROWS

        self.frames = [frame.rechunk() for frame in market.batches(BLOCK_ROWS)]
        self.instrument, self.disorder_ns = market.instrument, market.disorder_ns
        self.clock_offset_ns, self.funding, self.describe = market.clock_offset_ns, market.funding, market.describe
        self.times = times
        first, last = self.frames[0], self.frames[-1]
        self._span_ns = int(last["local_ns"][-1] - first["local_ns"][0]) + 1_000_000_000
        self._messages = int(last["seq"][-1]) + 1

    def batches(self, rows: int = 0) -> Iterator[Any]:
        """Yield the frames, each repetition later than the one before."""
        for turn in range(self.times):
            for frame in self.frames:
                if not turn:
                    yield frame
                    continue
                later = [frame[name] + turn * self._span_ns for name in ("exchange_ns", "local_ns")]
                yield frame.with_columns(*later, frame["seq"] + turn * self._messages)


def replays(row: Row, raw: Path, recording: Path) -> list[dict[str, Any]]:
    """Time one replay of the peer's grid on every path."""
    from bench_peer import convert, timed_pass

    from grinder_kit.execution.fees import FundingTable
    from grinder_kit.kernel.options import kernel_options
    from grinder_kit.market.recording import Recording
    from grinder_kit.model.config_file import load_config
    from grinder_kit.simulation.compiled_run import run_compiled
    from grinder_kit.simulation.replay import replay
    from grinder_kit.simulation.sweep import compiled_pass, share

    config = load_config(Path(__file__).parent.parent / "examples" / "hftbacktest_grid.toml")
    config = config.replace(**{"execution.queue": "power"})
    market = Recording.open(recording)
    held: Any = InMemory(market)
    options, funding = kernel_options(config.execution), FundingTable(market.instrument, market.funding())
    after = compiled_pass(share(market, config), [config])
    events = convert(raw)
    works: dict[str, Callable[[], Any]] = {
        "one compiled pass, decoding included": lambda: run_compiled(held, config, market.instrument, options, funding),
        "decoding for many grids": lambda: share(held, config),
        "one grid after decoding": after,
        "gk.replay, from memory, books and identity included": lambda: replay(held, config),
        "gk.replay, from Parquet": lambda: replay(market, config),
        "reading Parquet": lambda: list(market.batches()),
        "the engine's own steps": lambda: replay(held, config, engine="event"),
    }
    for work in works.values():
        work()
    timed_pass(events)
    took: dict[str, list[float]] = {name: [] for name in ("peer", *works)}
    for _ in range(ROUNDS):
        for name, work in works.items():
            took["peer"].append(timed_pass(events)[0])
            start = time.perf_counter()
            work()
            took[name].append(time.perf_counter() - start)
    peer = statistics.median(took["peer"])
    rows = []
    for number, name in enumerate(works):
        beside = took["peer"][number :: len(works)]
        ratio = statistics.median(them / us for them, us in zip(beside, took[name], strict=True))
        rows.append(row(f"replay: {name}", statistics.median(took[name]) * 1e3, "ms", PEER, peer * 1e3, ratio))
    return rows


def longer(row: Row, recording: Path, repeats: tuple[int, ...]) -> list[dict[str, Any]]:
    """Time a pass and the decoding at so many times the events, in CPU time without making the events; linear is 1 beside 1."""
    from grinder_kit.execution.fees import FundingTable
    from grinder_kit.kernel.options import kernel_options
    from grinder_kit.market.recording import Recording
    from grinder_kit.model.config_file import load_config
    from grinder_kit.simulation.compiled_run import run_compiled
    from grinder_kit.simulation.sweep import share

    config = load_config(Path(__file__).parent.parent / "examples" / "hftbacktest_grid.toml")
    market = Recording.open(recording)
    options, funding = kernel_options(config.execution), FundingTable(market.instrument, market.funding())
    rows, once = [], {}
    for repeat in repeats:
        held: Any = InMemory(market, repeat)
        works = {
            "one compiled pass": lambda held=held: (
                run_compiled(held, config, market.instrument, options, funding).events
            ),
            "decoding for many grids": lambda held=held: share(held, config).nbytes,
        }
        for name, work in works.items():
            work() if repeat == 1 else None
            making = cpu(lambda held=held: sum(frame.height for frame in held.batches()))
            each = (cpu(work) - making) / repeat
            once.setdefault(name, each)
            rows.append(row(f"replay: {name}, {repeat} times the events, per time", each * 1e3, "ms", "once", once[name] * 1e3,
                            once[name] / each))  # fmt: skip
    return rows


def cpu(work: Callable[[], Any]) -> float:
    """Return the CPU seconds of this thread."""
    start = time.thread_time()
    work()
    return time.thread_time() - start


def main() -> None:
    """Print the rows for a raw file and its recording."""
    from run import row

    raw, recording = Path(sys.argv[1]), Path(sys.argv[2])
    repeats = (1, 10, 100) if "--long" in sys.argv else (1, 4, 16)
    for one in (*replays(row, raw, recording), *longer(row, recording, repeats)):
        beside = (
            ""
            if one["ratio"] is None
            else f"   {one['peer']}: {one['peer_value']:.4g} {one['unit']}, ratio {one['ratio']:.2f}"
        )
        print(f"{one['name']:<72}{one['value']:>10.4g} {one['unit']}{beside}")


if __name__ == "__main__":
    main()
