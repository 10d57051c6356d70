"""The compiled path beside one pass of the peer: a grid after the market has been read, many grids by core, both cores.

Run alone (`python bench/sweep.py RAW RECORDING`), or as rows of `make bench`. All rounds alternate with passes of the peer: only ratios
within a run mean something on a shared machine.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = Callable[..., dict[str, Any]]

ROUNDS = 5
GRIDS = 192  # of a round; what one costs does not depend on how many there are
PEER = "hftbacktest 2.4.4, ROIVector, power queue"


def sweeps(row: Row, raw: Path, recording: Path) -> list[dict[str, Any]]:
    """Time the compiled path on a recording."""
    from bench_peer import convert, timed_pass
    from sweep_scale import scales

    from grinder_kit.fillprob.first_passage import FirstPassageModel
    from grinder_kit.market.recording import Recording
    from grinder_kit.model.config_file import load_config
    from grinder_kit.simulation.sweep import compiled_pass, run_grid, share, sweep

    config = load_config(Path(__file__).parent.parent / "examples" / "hftbacktest_grid.toml")
    config = config.replace(**{"execution.queue": "power"})
    market = Recording.open(recording)
    shared = share(market, config)
    grids = [drawn(config, seed) for seed in range(GRIDS)]
    one = compiled_pass(shared, [config])
    many = compiled_pass(shared, grids)
    chosen = [filtered(grid, seed) for seed, grid in enumerate(grids)]
    passage, steps = compiled_pass(shared, chosen, FirstPassageModel()), compiled_pass(shared, chosen)
    one(), many(), passage(), steps(), run_grid(shared, config), sweep(shared, grids[:32])
    events = convert(raw)
    timed_pass(events)
    took: dict[str, list[float]] = {}

    def timed(name: str, run: Callable[[], Any]) -> None:
        start = time.perf_counter()
        run()
        took.setdefault(name, []).append(time.perf_counter() - start)

    for _ in range(ROUNDS):
        took.setdefault("peer", []).append(timed_pass(events)[0])
        timed("decode", lambda: share(market, config))
        timed("one", one)
        timed("kept", lambda: run_grid(shared, config))
        timed("many", many)
        timed("passage", passage)
        timed("steps", steps)
        timed("sweep 1", lambda: sweep(shared, grids, threads=1))
        timed("sweep 2", lambda: sweep(shared, grids, threads=2))
    median = {name: statistics.median(values) for name, values in took.items()}
    threads = statistics.median(a / b for a, b in zip(took["sweep 1"], took["sweep 2"], strict=True))

    def against(what: str, name: str, count: int = 1) -> dict[str, Any]:
        ratio = statistics.median(them / (us / count) for them, us in zip(took["peer"], took[name], strict=True))
        return row(what, median[name] / count * 1e3, "ms", PEER, median["peer"] * 1e3, ratio)

    return [
        against("sweep: read the market for sharing (Parquet to index)", "decode"),
        against("sweep: one grid after that", "one"),
        against("sweep: the same, every order and fill kept", "kept"),
        against("sweep: different grids, compiled code alone, each", "many", GRIDS),
        against("sweep: levels filtered by a first passage at each step, each", "passage", GRIDS),
        against("sweep: levels filtered by the heuristic at each step, each", "steps", GRIDS),
        against("sweep: different grids with checks and table, one thread, each", "sweep 1", GRIDS),
        against("sweep: the same, two threads, each", "sweep 2", GRIDS),
        row("sweep: two threads against one", threads, "times"),
        row("sweep: the shared index", shared.nbytes / 2**20, "MiB"),
        *scales(row, recording),
    ]


def drawn(config: Any, seed: int) -> Any:
    """Return a plain grid unlike the others."""
    rng = random.Random(seed)
    return config.replace(
        **{
            "grid.spacing_ticks": rng.choice((5, 10, 20, 50)), "grid.half_spread_ticks": rng.choice((10, 20, 40, 80)),
            "grid.levels": rng.choice((5, 10, 20)), "grid.position_limit": rng.choice(("1", "2", "5")),
            "grid.size": rng.choice(("0.05", "0.1", "0.2")),
            "execution.queue": rng.choice(("risk_averse", "power", "pro_rata", "optimistic")),
        }
    )  # fmt: skip


def filtered(config: Any, seed: int) -> Any:
    """Return a grid with a fill filter that acts: some of its levels are likely enough, and which ones changes."""
    rng = random.Random(seed)
    return config.replace(
        **{
            "grid.min_fill_prob": rng.uniform(0.1, 0.8), "grid.fill_prob_hysteresis": rng.choice((0, 0.05)),
            "grid.fill_horizon_s": rng.choice((5, 20, 60)),
        }
    )  # fmt: skip


def main() -> None:
    """Print the rows for a raw file and its recording."""
    from run import row

    for one in sweeps(row, Path(sys.argv[1]), Path(sys.argv[2])):
        beside = (
            "" if one["ratio"] is None else f"   peer {one['peer_value']:.4g} {one['unit']}, ratio {one['ratio']:.2f}"
        )
        print(f"{one['name']:<66}{one['value']:>10.4g} {one['unit']}{beside}")


if __name__ == "__main__":
    main()
