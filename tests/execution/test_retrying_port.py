"""RetryingPort: each attempt spends weight, cancels get through, and nothing waits to be sent after it was given up."""

from __future__ import annotations

import asyncio
import random
from decimal import Decimal
from typing import Any

import pytest

from grinder_kit.errors import OrderFailedError, OutcomeUnknownError, RateLimitError
from grinder_kit.execution.budget import WeightBudget
from grinder_kit.execution.clock import LoopClock, run_stepped
from grinder_kit.execution.port import FUTURES
from grinder_kit.execution.retry import OrderRetryPolicy, RetryingPort
from grinder_kit.model.config import RetryConfig
from grinder_kit.model.order import CancelRequest, OrderRequest, Side

PLACE = OrderRequest(
    client_order_id="gkt-B1-1", level_id="BUY_1", symbol="TOY", side=Side.BUY, price=Decimal(100), quantity=Decimal(1)
)
CANCEL = CancelRequest(client_order_id="gkt-B1-1", symbol="TOY")
PATIENT = RetryConfig(stale_after_s=1000, deadline_s=1000)


class Venue:
    """A venue that answers as it is written: errors are raised, numbers are slept; it notes when it was asked."""

    capabilities = FUTURES

    def __init__(self, *steps: Any) -> None:
        self.steps = list(steps)
        self.times: list[float] = []

    async def ask(self, *_: Any, **__: Any) -> Any:
        """Take the next step."""
        self.times.append(asyncio.get_running_loop().time())
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        if isinstance(step, float):
            await asyncio.sleep(step)
        return step

    place_order = cancel_order = batch_place = get_order = ask


def retrying(limit: int, *steps: Any, config: RetryConfig = PATIENT, **options: Any) -> tuple[RetryingPort, Venue]:
    """Return a retrying port over such a venue."""
    clock, venue = LoopClock(), Venue(*steps)
    port: Any = venue
    policy = OrderRetryPolicy(config, clock, rng=random.Random(7), **options)
    return RetryingPort(port, policy, WeightBudget(limit, 60, clock, reserve=0.2)), venue


def test_every_attempt_spends_its_own_weight() -> None:
    """Three attempts of a batch of weight 5 spend 15; a cancel spends 1."""

    async def main() -> None:
        limited = [RateLimitError("429", retry_after=0) for _ in range(2)]
        port, _ = retrying(100, *limited, "ok", "ok")
        await port.batch_place([PLACE])
        assert port.budget.used == 15
        await port.cancel_order(CANCEL)
        assert port.budget.used == 16

    run_stepped(main())


def test_questions_and_cancels_are_repeated_after_an_unknown_outcome_and_placements_are_not() -> None:
    """Only what does no harm twice is sent twice."""

    async def main() -> None:
        lost = OutcomeUnknownError("lost")
        port, venue = retrying(100, lost, "ok", lost, "ok", lost)
        await port.cancel_order(CANCEL)
        await port.get_order("TOY", client_order_id="gkt-B1-1")
        with pytest.raises(OutcomeUnknownError):
            await port.place_order(PLACE)
        assert len(venue.times) == 5

    run_stepped(main())


def test_cancels_get_through_when_placements_have_used_the_budget_up() -> None:
    """A cancel leaves at once where a placement would wait until its price is stale, and fails instead of waiting."""

    async def main() -> None:
        port, venue = retrying(10, *["ok"] * 9, config=RetryConfig(stale_after_s=2))
        for _ in range(8):
            await port.place_order(PLACE)
        with pytest.raises(OrderFailedError, match="failed after 0 attempts: the request-weight budget has no room"):
            await port.place_order(PLACE)
        await port.cancel_order(CANCEL)
        assert venue.times == [0] * 9

    run_stepped(main())


def test_waiting_for_weight_is_no_part_of_the_time_an_attempt_may_take() -> None:
    """A request leaves when its weight is granted and has its whole timeout then; a waiter that was cancelled spends nothing."""

    async def main() -> None:
        port, venue = retrying(10, 4.0, "ok")
        await port.budget.acquire(10, urgent=True)
        waiting = asyncio.create_task(port.cancel_order(CANCEL))
        gone = asyncio.create_task(port.place_order(PLACE))
        await asyncio.sleep(1)
        gone.cancel()
        assert await waiting == 4.0
        assert (venue.times, port.budget.used) == ([60], 1)

    run_stepped(main())


def test_a_cancelled_caller_leaves_the_request_on_its_way_and_a_late_answer_is_heard() -> None:
    """Neither a timeout nor the caller's end cancels anything in mid-send; a late 429 quiets everybody."""

    async def main() -> None:
        heard: list[Any] = []
        port, venue = retrying(100, 2.0, 8.0, on_late=lambda request, outcome: heard.append((request, outcome)))
        call = asyncio.create_task(port.place_order(PLACE))
        await asyncio.sleep(1)
        call.cancel()
        with pytest.raises(OutcomeUnknownError, match="no answer within 5 s"):
            await port.place_order(PLACE)
        await asyncio.sleep(5)
        assert heard == [(PLACE, 2.0), (PLACE, 8.0)]

        async def late_limit() -> None:
            await asyncio.sleep(6)
            raise RateLimitError("429", retry_after=30)

        with pytest.raises(OutcomeUnknownError):
            await port.policy.run(late_limit, request=PLACE)
        await asyncio.sleep(2)
        assert port.policy.quiet_s == pytest.approx(29)

    run_stepped(main())
