"""The 352 orders at rest of the oracle: no grid, no cancels to get wrong, only the queue and the fill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from grinder_kit.kernel import exchange as ex
from grinder_kit.kernel.simulator import KernelOptions
from grinder_kit.market.recording import Recording
from tests.kernel.markets import Command, Kernel

MS, SECOND = 1_000_000, 1_000_000_000
LOTS = 100  # .1
CAUSES = {"queue": ex.BY_QUEUE, "through": ex.BY_TRADE, "cross": ex.BY_QUOTE}


@pytest.fixture(scope="module")
def vectors(shared_data: Path) -> list[dict[str, Any]]:
    """Return the runs: two recordings, two queue models each."""
    text = (shared_data / "vectors" / "hftbacktest_static_orders_20240808.json").read_text(encoding="utf-8")
    runs: list[dict[str, Any]] = json.loads(text)["runs"]
    return runs


@pytest.mark.parametrize("number", range(4))
def test_orders_at_rest(
    vectors: list[dict[str, Any]], number: int, btc_recording: Recording, eth_recording: Recording
) -> None:
    """Each order is accepted or refused, waits behind the same quantity in every second, and fills at the same time for the same cause."""
    run = vectors[number]
    market = {"BTCUSDT": btc_recording, "ETHUSDT": eth_recording}[run["symbol"]]
    queue = {"risk_adverse": "risk_averse", "power_prob2": "power"}[run["queue"]]
    kernel = Kernel(KernelOptions(queue=queue, partial_fills=False, share_volume=False), market)

    orders = [(p["time_ns"], order) for p in run["placements"] for order in p["orders"]]
    agenda: list[tuple[int, int, int, Command | None]] = []  # time, rank, number of the order, command or a look
    for n, (placed, order) in enumerate(orders):
        side = 1 if order["side"] == "buy" else -1
        command = (n, side, order["tick"], LOTS, ex.POST_ONLY)
        agenda.append((placed, 1, n, (ex.PLACE, *command)))
        agenda += [(placed + 10 * MS + k * SECOND, 0, n, None) for k in range(11)]
        agenda.append((placed + 10 * SECOND + 1, 1, n, (ex.CANCEL, *command)))
    assert len(orders) == 88

    found: list[dict[str, Any]] = [{"queue": []} for _ in orders]
    for time_ns, _, n, command in sorted(agenda, key=lambda entry: entry[:3]):
        while True:
            reached, responses = kernel.run(time_ns)
            for r in responses:
                if r["type"] == ex.FILLED:
                    after_ms = (r["ts"] - orders[r["order"]][0]) / MS
                    found[r["order"]] |= {"filled_after_ms": after_ms, "cause": r["cause"]}
                elif r["type"] == ex.REJECTED:
                    found[r["order"]]["rejected"] = True
            if reached >= time_ns and not responses:
                break
        if command is not None:
            kernel.submit([command], time_ns)
        elif (ahead := kernel.queue_ahead(n)) is not None:
            found[n]["queue"].append(ahead / 1000)

    for (placed, order), mine in zip(orders, found, strict=True):
        assert mine.get("rejected", False) == order.get("rejected", False), (placed, order)
        assert mine.get("filled_after_ms") == order.get("filled_after_ms"), (placed, order)
        assert mine.get("cause") == CAUSES.get(order.get("cause")), (placed, order)
        expected = [order["queue_at_accept"], *order["queue_by_second"]] if mine["queue"] else []
        assert mine["queue"] == pytest.approx(expected, abs=1e-9), (placed, order)
        assert mine["queue"] or not order.get("queue_by_second")
