"""Measure grinder_kit beside its peer, as ratios within one run: `make bench` writes build/bench.json.

Rows are {name, value, unit, peer, peer_value, ratio}. A ratio above 1 means that many times better than the peer. Passes of both
alternate, since a shared machine changes its speed; medians are given. Nothing here is asserted: numbers are for reading.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from explorer import explorer
from fill_models import fill_models
from fills import fills
from labels import labels
from latency import latencies
from replays import replays
from sessions import sessions
from sweep import sweeps
from tuner import tuner

ROUNDS = 5
RAW = "ticks/hftbacktest/usdm_btcusdt_20240808.gz"


def main() -> None:
    """Run every measurement and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/bench.json"))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GRINDER_SHARED_DATA", "../shared/data")))
    arguments = parser.parse_args()
    raw = arguments.data / RAW
    if not raw.exists():
        sys.exit(f"{raw}: no such recording; set GRINDER_SHARED_DATA to the folder of recordings")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder) / "btc.parquet"
        rows += importing(raw, recording)
        rows += replaying(raw, recording)
        rows += replays(row, raw, recording)
        rows += memory(recording)
        rows += sweeps(row, raw, recording)
        rows += labels(row, recording)
        rows += fill_models(row, raw, recording)
        rows += journalling(Path(folder))
    rows += routing()
    rows += fills(row)
    rows += latencies(row)
    rows += start_up()
    rows += sessions(row)
    rows += explorer(row)
    rows += tuner(row)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(rows, indent=1) + "\n")
    for one in rows:
        beside = (
            ""
            if one["peer"] is None
            else f"   {one['peer']}: {one['peer_value']:.4g} {one['unit']}, ratio {one['ratio']:.2f}"
        )
        print(f"{one['name']:<60}{one['value']:>12.4g} {one['unit']}{beside}")


def row(
    name: str,
    value: float,
    unit: str,
    peer: str | None = None,
    peer_value: float | None = None,
    ratio: float | None = None,
) -> dict[str, Any]:
    """Return one line of the table."""
    return {"name": name, "value": value, "unit": unit, "peer": peer, "peer_value": peer_value, "ratio": ratio}


def importing(raw: Path, recording: Path) -> list[dict[str, Any]]:
    """Time the importer: raw lines to a recording, beside the peer's converter."""
    from bench_peer import convert

    from grinder_kit.market.binance_ws import import_binance_ws

    import_binance_ws(raw, recording)  # compiles
    ours, theirs = [], []
    lines = 0
    for _ in range(3):
        start = time.perf_counter()
        lines = import_binance_ws(raw, recording).lines
        ours.append(time.perf_counter() - start)
        start = time.perf_counter()
        convert(raw)
        theirs.append(time.perf_counter() - start)
    mine, peer = statistics.median(ours), statistics.median(theirs)
    return [row("import: raw lines", lines / mine, "lines/s", "hftbacktest converter", lines / peer, peer / mine)]


def replaying(raw: Path, recording: Path) -> list[dict[str, Any]]:
    """Time a replay of the peer's grid: through the engine, through the kernel alone, and decoding apart."""
    from bench_peer import convert, timed_pass

    from grinder_kit.kernel.feed import slices
    from grinder_kit.kernel.options import kernel_options
    from grinder_kit.market.recording import Recording
    from grinder_kit.model.config_file import load_config
    from grinder_kit.simulation.replay import replay

    config = load_config(Path(__file__).parent.parent / "examples" / "hftbacktest_grid.toml")
    config = config.replace(**{"execution.queue": "power"})
    market = Recording.open(recording)
    options = kernel_options(config.execution)
    events = convert(raw)
    timed_pass(events)
    script = recorded_commands(market, config)
    engine, kernel, decoding, peer = [], [], [], []
    for _ in range(ROUNDS):
        peer.append(timed_pass(events)[0])
        start = time.perf_counter()
        stretches = list(slices(market, options.feed))
        decoding.append(time.perf_counter() - start)
        kernel.append(kernel_alone(stretches, options, script))
        start = time.perf_counter()
        result = replay(market, config, engine="event")
        engine.append(time.perf_counter() - start)
    trades = timed_pass(events)[1]
    assert len(result.fills) in (trades, trades - 1), "the two do not trade the same grid"  # lots against doubles
    them = statistics.median(peer)
    name = "hftbacktest 2.4.4, ROIVector, power queue"

    def against(what: str, seconds: float) -> dict[str, Any]:
        return row(what, seconds * 1e3, "ms", name, them * 1e3, them / seconds)

    decode = statistics.median(decoding)
    return [
        against("replay: engine, decoding included", statistics.median(engine)),
        against("replay: kernel alone, decoded, recorded orders", statistics.median(kernel)),
        row("replay: decoding (Parquet to two streams)", decode * 1e3, "ms"),
    ]


def recorded_commands(market: Any, config: Any) -> list[tuple[int, list[tuple[int, ...]]]]:
    """Return what the engine sent in one replay, by time: the kernel alone is given the same orders."""
    from grinder_kit.kernel.simulator import Simulator
    from grinder_kit.simulation.replay import replay

    sent: list[tuple[int, list[tuple[int, ...]]]] = []
    submit = Simulator.submit

    def tapped(self: Simulator, commands: Any, now_ns: int) -> None:
        sent.append((now_ns, list(commands)))
        submit(self, commands, now_ns)

    Simulator.submit = tapped  # type: ignore[method-assign]
    try:
        replay(market, config, engine="event")
    finally:
        Simulator.submit = submit  # type: ignore[method-assign]
    return sent


def kernel_alone(stretches: Any, options: Any, script: list[tuple[int, list[tuple[int, ...]]]]) -> float:
    """Return the seconds of a pass in which nobody decides: recorded orders into the kernel, responses dropped."""
    from grinder_kit.kernel.simulator import Simulator

    simulator = Simulator(options)
    start = time.perf_counter()
    waiting = iter([*script, (1 << 62, [])])
    due, commands = next(waiting)
    for stretch in stretches:
        simulator.load(stretch)
        while True:
            until = min(due, stretch.until_ns)
            while True:
                reached, responses = simulator.run(until)
                if reached >= until and not len(responses):
                    break
            if due > stretch.until_ns or not commands:
                break
            simulator.submit(commands, due)  # type: ignore[arg-type]
            due, commands = next(waiting)
    return time.perf_counter() - start


def memory(recording: Path) -> list[dict[str, Any]]:
    """Return the peak memory of a fresh process that replays one recording."""
    code = (
        "import re, sys; from grinder_kit import Recording, load_config, replay;"
        "replay(Recording.open(sys.argv[1]), load_config('examples/hftbacktest_grid.toml'));"
        # Not ru_maxrss: Linux hands the parent's on to a new process.
        "print(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1])"
    )
    for _ in range(2):  # the first compiles where nothing has, and compiling takes memory of its own
        ran = subprocess.run([sys.executable, "-c", code, str(recording)], check=True, capture_output=True, text=True)
    return [row("replay: peak memory of a fresh process", int(ran.stdout) / 1024, "MiB")]


def routing() -> list[dict[str, Any]]:
    """Time the routing of 200 levels against 200 open orders, and a step of the engine with nothing to do."""
    from decimal import Decimal

    from grinder_kit.decision.grid_manager import Level
    from grinder_kit.decision.routing import Amends, Gates, Rules, route_ladder
    from grinder_kit.execution.engine import ExecutionEngine
    from grinder_kit.execution.own_orders import OwnOrders
    from grinder_kit.model.config import Config, GridConfig
    from grinder_kit.model.event import OrderUpdate, Tick
    from grinder_kit.model.instrument import Contract, Instrument
    from grinder_kit.model.order import OrderState

    levels = [
        Level(f"{'B' if side > 0 else 'S'}{i}", side, 600_000 - side * 50 * i, 20, None)
        for side in (1, -1)
        for i in range(1, 101)
    ]
    rules = Rules(amends=Amends(supported=True))

    def ladder(moved: int) -> float:
        own = OwnOrders("b0")
        for level in levels:
            order = own.add(level.key, level.side, level.ticks + moved, level.lots, 0)
            own.become(order.client_order_id, OrderState.OPEN, 0)
        times = []
        for _ in range(300):
            start = time.perf_counter()
            route_ladder(levels, own.by_key, Gates(), rules)
            times.append(time.perf_counter() - start)
        return statistics.median(times) * 1e6

    tick = Instrument(
        symbol="BTCUSDT", venue="binanceusdm", base="BTC", quote="USDT", contract=Contract.LINEAR,
        tick=Decimal("0.1"), lot=Decimal("0.001"),
    )  # fmt: skip
    config = Config(grid=GridConfig(spacing_bps=2, levels=50, size="0.02", recentre_bps=50))

    def quiet_step(limits: dict[str, Any]) -> float:
        engine = ExecutionEngine(tick, config.replace(**limits))
        for command in engine.step(Tick(bid_ticks=599_999, ask_ticks=600_001), 1):
            engine.step(OrderUpdate(client_order_id=command.client_order_id, state=OrderState.OPEN, ts_ns=2), 2)
        times = []
        for i in range(2_000):
            event = Tick(bid_ticks=599_999 + i % 3, ask_ticks=600_001 + i % 3)
            start = time.perf_counter()
            assert engine.step(event, 3 + i) == ()
            times.append(time.perf_counter() - start)
        return statistics.median(times) * 1e6

    return [
        row("route: 200 levels, 200 orders that stay", ladder(0), "us"),
        row("route: 200 levels, 200 orders to be amended", ladder(7), "us"),
        row("engine: a step, 100 levels, nothing to do", quiet_step({}), "us"),
        row("engine: the same under a limit and a time to live", quiet_step(
            {"limits.max_position": "10", "router.order_ttl_s": 1e6}), "us"),
    ]  # fmt: skip


def journalling(folder: Path) -> list[dict[str, Any]]:
    """Time the journal: intents a second in durable batches, and one durable commit."""
    from grinder_kit.execution.journal import Journal
    from grinder_kit.model.event import Place
    from grinder_kit.model.order import Side

    def place(n: int) -> Place:
        return Place(
            client_order_id=f"gkb0-B{n % 100 + 1}-{n}", level_id=f"BUY_{n % 100 + 1}", side=Side.BUY, price_ticks=599_000 + n,
            quantity_lots=20,
        )  # fmt: skip

    places, rates, single = [place(n) for n in range(20_000)], [], []
    for turn in range(3):
        header = {"symbol": "BTCUSDT", "venue": "bench", "tag": "b0"}
        with Journal.open(folder / f"{turn}.db", header=header) as journal:
            start = time.perf_counter()
            for n, command in enumerate(places, start=1):
                journal.append_intent(command, n)
                if n % 100 == 0:
                    journal.commit()
            rates.append(len(places) / (time.perf_counter() - start))
            for n in range(300):
                journal.append_intent(places[n], n)
                start = time.perf_counter()
                journal.commit()
                single.append(time.perf_counter() - start)
    return [
        row("journal: intents in durable batches of 100", statistics.median(rates), "intents/s"),
        row("journal: one durable commit", statistics.median(single) * 1e3, "ms"),
    ]


def start_up() -> list[dict[str, Any]]:
    """Time `import grinder_kit` in fresh processes, beside an empty interpreter."""

    def once(code: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - start

    once("import grinder_kit")
    pairs = [(once("import grinder_kit"), once("pass")) for _ in range(ROUNDS)]
    value = statistics.median(full - empty for full, empty in pairs)
    return [row("import grinder_kit, interpreter subtracted", value * 1e3, "ms")]


if __name__ == "__main__":
    main()
