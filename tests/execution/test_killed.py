"""A session is killed with SIGKILL between every two writes of its journal, and the next one takes over."""

from __future__ import annotations

import asyncio
import signal
from decimal import Decimal
from pathlib import Path
from typing import Any

from grinder_kit.execution.engine import ExecutionEngine
from grinder_kit.execution.journal import entries, rebuild
from grinder_kit.execution.translate import is_ours
from grinder_kit.venue.socket_port import SocketPort
from tests.lab.laboratory import LAB, TAG
from tests.lab.processes import CONFIG, a_venue, run_session
from tests.lab.truth import truth_of

WRITES = 20


def truth_at(number: int) -> dict[str, Any]:
    """Return everything that the venue knows."""

    async def ask() -> dict[str, Any]:
        port = await SocketPort.connect(number)
        try:
            return await truth_of(port)
        finally:
            await port.close()

    return asyncio.run(ask())


def test_a_session_killed_between_any_two_writes_recovers(tmp_path: Path) -> None:
    """After 40 kills, each at another write, nothing is doubled, orphaned or lost: venue and journal agree."""
    path = tmp_path / "session.db"
    with a_venue() as number:
        run = 0
        for write in range(1, WRITES + 1):
            for when in ("before", "after"):
                run += 1
                assert run_session(number, path, run, kill_at=(write, when)) == -signal.SIGKILL
        assert run_session(number, path, run + 1, seconds=5.0) == 0
        truth = truth_at(number)
    engine = ExecutionEngine(LAB, CONFIG, tag=TAG)
    rebuild(entries(path), engine)
    assert truth["violations"] == []
    assert [order for order in truth["open_orders"] if is_ours(order.client_order_id, TAG)] == []
    assert len(engine.orders) == 0
    fills = {fill.fill_id: fill for fill in truth["fills"]}
    assert sorted(fill.fill_id for fill in engine.tracker.fills) == sorted(fills), "every fill is booked once"
    assert len(fills) > 10, "it did trade meanwhile"
    held = sum((fill.quantity * fill.side.sign for fill in fills.values()), Decimal(0))
    assert LAB.quantity(engine.position.lots) == engine.ledger.inventory == held
