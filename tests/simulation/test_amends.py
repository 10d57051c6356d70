"""Amends in a replay: what the exchange did with them is what the engine learns, and no level is lost over one."""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from grinder_kit.execution.clock import run_stepped
from grinder_kit.execution.engine import ExecutionEngine
from grinder_kit.execution.port import Capabilities, Epoch
from grinder_kit.execution.shell import Shell, guarded
from grinder_kit.market.synthetic import synthetic_market
from grinder_kit.model.config import Config, ExecutionConfig, GridConfig
from grinder_kit.model.event import Amend, LookedUp, RunState
from grinder_kit.model.instrument import Contract
from grinder_kit.model.order import InFlight, OrderState
from grinder_kit.simulation.replay import _Run
from grinder_kit.venue.simulated import SimulatedVenue
from tests.simulation.markets import CONFIG, MS, START, TOY, MemoryMarket, calm

#: One side, so that the amends of a step leave in one request and a session has nothing to wait for between two.
ONE_SIDED = Config(
    grid=GridConfig(spacing_bps=1, levels=5, size="0.05", recentre_bps="0.5", mode="UNI_LONG", position_limit="50"),
    execution=ExecutionConfig(entry_ms=40.3, response_ms=7.4),  # never due at the very time of a step
)


class Watched(_Run):
    """A replay that keeps what it answered to look-ups, and may be told to amend an order at a time."""

    def __init__(self, market: Any, config: Config, *, at_ms: int = -1, lots: int = 0) -> None:
        super().__init__(market, config, market.instrument, None)
        self.answers: list[tuple[int, LookedUp]] = []
        self._wish = START + at_ms * MS, lots

    def _looked_up(self, client_order_id: str, now: int) -> LookedUp:
        answer = super()._looked_up(client_order_id, now)
        self.answers.append((now, answer))
        return answer

    def _step(self, now: int) -> None:
        super()._step(now)
        if now == self._wish[0]:
            order = self.engine.orders.by_key["B1"]
            order.in_flight, order.wish = InFlight.AMEND, (order.ticks, self._wish[1])
            one = order.client_order_id
            self._execute((Amend(client_order_id=one, price_ticks=order.ticks, quantity_lots=self._wish[1]),), now)


def quoted_market(contract: Contract = Contract.LINEAR) -> MemoryMarket:
    """Return a calm market that trades the whole buy at 990 at 1,005 ms, and lasts 3 s."""
    script = calm().trade(1_005, "sell", 990, 8).depth(3_000, ("buy", 900, 1))
    return script.market(replace(TOY, contract=contract))


def test_an_order_that_fills_under_its_amend_frees_its_level() -> None:
    """The amend finds no order; the look-up says FILLED after another trip, and the level is quoted again."""
    config = CONFIG.replace(**{"execution.entry_ms": 10, "execution.response_ms": 20})
    run = Watched(quoted_market(), config, at_ms=1_000, lots=3)
    result = run.to_the_end(None)
    ((at, answer),) = run.answers
    assert (answer.client_order_id, answer.state, answer.filled_lots) == ("gkr0-B1-1", OrderState.FILLED, 2)
    assert at == START + (1_000 + 30 + 30) * MS  # the amend there and back, and the look-up
    first, second = (order for order in result.orders.rows(named=True) if order["level_id"] == "BUY_1")
    assert (first["state"], first["filled"], second["state"]) == ("FILLED", Decimal("0.02"), "OPEN")
    assert second["sent_ns"] == START + 1_100 * MS


def test_an_amend_that_the_venue_refuses_leaves_the_order_as_it_was() -> None:
    """Spot takes no larger quantity: the order stands with its old one, keeps its place and fills."""
    config = CONFIG.replace(**{"execution.entry_ms": 10, "execution.response_ms": 20})
    run = Watched(quoted_market(Contract.SPOT), config, at_ms=900, lots=3)
    result = run.to_the_end(None)
    ((at, answer),) = run.answers
    assert (answer.state, answer.filled_lots, answer.quantity_lots) == (OrderState.OPEN, 0, 2)
    assert at == START + 960 * MS
    first = next(order for order in result.orders.rows(named=True) if order["level_id"] == "BUY_1")
    assert (first["state"], first["quantity"], first["filled"]) == ("FILLED", Decimal("0.02"), Decimal("0.02"))


@pytest.mark.parametrize("seed", [7, 8])
def test_a_replay_loses_no_level_to_fills_that_overtake_amends(seed: int) -> None:
    """A session on the simulated venue makes the same fills to the nanosecond, where orders fill while amends are under way."""
    market = synthetic_market(seed=seed, minutes=2)
    run = Watched(market, ONE_SIDED)
    result = run.to_the_end(None)
    assert len(run.answers) > 1
    assert all(order.in_flight is not InFlight.AMEND or order.filled < order.lots for order in run.engine.orders)
    can = replace(Capabilities.of(market.instrument), max_batch_amend=1000, max_batch_place=1000, weight_limit=10**9)

    async def session() -> list[tuple[Any, ...]]:
        async with SimulatedVenue(market, execution=ONE_SIDED.execution, capabilities=can) as venue:
            epoch = Epoch()
            engine = ExecutionEngine(market.instrument, ONE_SIDED, amend_rule=can.amend)
            port = guarded(venue, venue.clock, ONE_SIDED.retry, epoch=epoch, rng=random.Random(1))
            shell = Shell(engine, port, venue, venue.clock, epoch=epoch)
            await shell.start()
            await shell.run((result.end_ns - result.start_ns) / 1e9)
            assert shell.failure is None and engine.state is RunState.RUNNING
            await shell.close()
            return [(f.order_id, f.price, f.quantity, f.ts_ns) for f in venue.fills]

    replayed = [(f.order_id, f.price, f.quantity, f.ts_ns) for f in run.engine.tracker.fills]
    assert run_stepped(session()) == replayed and len(replayed) > 10
