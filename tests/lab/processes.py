"""A venue and a session in processes of their own, so that one can be killed while the other lives."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import random
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from grinder_kit.execution.engine import ExecutionEngine
from grinder_kit.execution.journal import Journal, entries, journal_header, rebuild
from grinder_kit.execution.own_orders import key_of
from grinder_kit.execution.port import AmendRule, Epoch
from grinder_kit.execution.shell import Shell, guarded
from grinder_kit.execution.translate import is_ours
from grinder_kit.model.config import Config, GridConfig
from grinder_kit.model.order import Order
from grinder_kit.venue.simulated import SimulatedVenue
from grinder_kit.venue.socket_port import SocketPort
from tests.lab.laboratory import CAPABILITIES, LAB, TAG, LabMarket
from tests.lab.truth import Truth

SPEED = 20.0
CONFIG = Config(
    grid=GridConfig(spacing_bps=20, levels=3, size="0.06", recentre_bps=10, position_limit="0.6", step_ms=200)
).replace(**{"execution.entry_ms": 40, "execution.response_ms": 40, "retry.timeout_s": 10})

# One server that has loaded everything; a process is forked from it in a few milliseconds, without threads.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.lab.processes"])


def two_under_one_key(orders: Iterable[Order]) -> Iterable[str]:
    """Say where two own orders live under one level key."""
    keys = [key_of(order.client_order_id) for order in orders if is_ours(order.client_order_id, TAG)]
    return [f"two live orders under {key}" for key in sorted({key for key in keys if key and keys.count(key) > 1})]


def serve(pipe: Connection) -> None:
    """Run a venue until it is asked to stop; its port number goes into the pipe."""

    async def main() -> None:
        async with SimulatedVenue(
            LabMarket(3, 2_400), execution=CONFIG.execution, capabilities=CAPABILITIES, speed=SPEED
        ) as venue:
            truth = Truth(venue, LAB, venue.clock, watch=two_under_one_key, known=lambda: venue.orders)
            served = truth.serve(venue, speed=SPEED, tick_every_s=0.1)
            pipe.send(await served.start())
            await served.stopped.wait()
            await served.close()

    asyncio.run(main())


@contextmanager
def a_venue() -> Iterator[int]:
    """Give the port number of a venue that lives meanwhile."""
    here, there = PROCESSES.Pipe()
    process = PROCESSES.Process(target=serve, args=(there,), daemon=True)
    process.start()
    try:
        assert here.poll(120), "the venue did not start"
        yield int(here.recv())
    finally:
        process.kill()
        process.join()
        for end in (here, there):
            end.close()


def trade(number: int, path: Path, run: int, kill_at: tuple[int, str] | None, seconds: float) -> None:
    """Run a session from its journal; it is killed at a write of the journal, or stops after some of the venue's seconds."""
    logging.disable(logging.CRITICAL)

    def write(count: int, when: str) -> None:
        if kill_at == (count, when):
            os.kill(os.getpid(), signal.SIGKILL)

    async def main() -> None:
        port = await SocketPort.connect(number)
        clock = await port.clock()
        engine = ExecutionEngine(
            LAB, CONFIG, tag=TAG, first_generation=1000 * run, amend_rule=AmendRule(port.capabilities.amend)
        )
        since = None
        if path.exists():
            known = list(entries(path))
            rebuild(known, engine)
            since = known[0].ts_ns
        journal = Journal.open(path, header=journal_header(LAB, CONFIG, TAG), ts_ns=clock.now_ns(), on_write=write)
        epoch = Epoch(engine.epoch)
        guard = guarded(port, clock, CONFIG.retry, epoch=epoch, rng=random.Random(run))
        shell = Shell(engine, guard, port, clock, epoch=epoch, journal=journal, since_ns=since)
        await shell.start()
        await shell.run(seconds)
        if kill_at is None:
            assert await shell.stop()
        await shell.close()
        journal.close()
        await port.close()

    asyncio.run(main())


def run_session(
    number: int, path: Path, run: int, kill_at: tuple[int, str] | None = None, seconds: float = 60.0
) -> int:
    """Run a session in a process of its own; return its exit code, -9 where it was killed."""
    process = PROCESSES.Process(target=trade, args=(number, path, run, kill_at, seconds))
    process.start()
    process.join(60)
    code = process.exitcode
    process.kill()
    assert code is not None, "the session hangs"
    return code
