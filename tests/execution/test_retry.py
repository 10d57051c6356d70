"""Trying again: the exact pauses, and each trap of the specification's sketch by its name."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest

from grinder_kit.errors import (
    BannedError,
    ConfigError,
    ConnectivityError,
    OrderFailedError,
    OrderRejectedError,
    OutcomeUnknownError,
    RateLimitError,
    SupersededError,
    VenueError,
)
from grinder_kit.execution.clock import LoopClock, run_stepped
from grinder_kit.execution.retry import OrderRetryPolicy
from grinder_kit.model.config import RetryConfig
from grinder_kit.model.order import OrderRequest, Side

CONFIG = RetryConfig(max_retries=4, timeout_s=5, base_delay_ms=100, cap_ms=300, deadline_s=30, stale_after_s=100)
ORDER = OrderRequest(
    client_order_id="gkr0-B1-1",
    level_id="BUY_1",
    symbol="LABUSDT",
    side=Side.BUY,
    price=Decimal(200),
    quantity=Decimal(1),
)


class FakeClock:
    """A clock that notes every sleep and takes no time; a wait for an answer is let go at once."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self._now = 0

    def now_ns(self) -> int:
        """Return the time."""
        return self._now

    def monotonic_ns(self) -> int:
        """Return the time."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Note a sleep; the time-outs of attempts are no sleeps of the policy."""
        if seconds == CONFIG.timeout_s:
            await asyncio.get_running_loop().create_future()
        self.slept.append(seconds)
        self._now += round(seconds * 1e9)
        await asyncio.sleep(0)


class Answers:
    """An operation that raises or returns what it is given, one after the other."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.calls = 0

    async def __call__(self, request: object) -> object:
        """Answer."""
        self.calls += 1
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer


def attempt(
    operation: Callable[..., Awaitable[Any]], config: RetryConfig = CONFIG, seed: int = 1
) -> tuple[Any, list[float]]:
    """Run an operation under a policy; return what came of it and the sleeps."""
    clock = FakeClock()

    async def main() -> Any:
        policy = OrderRetryPolicy(config, clock, rng=random.Random(seed))
        try:
            return await policy.execute_with_retry(operation, ORDER)
        except Exception as error:
            return error

    return asyncio.run(main()), clock.slept


def unreachable() -> ConnectivityError:
    """Return an error after which surely nothing was done."""
    return ConnectivityError("connection refused")


def test_429_with_retry_after_0_is_obeyed_and_not_taken_for_missing() -> None:
    """`retry_after` of 0 means at once: no sleep at all."""
    operation = Answers(RateLimitError("slow down", retry_after=0), "placed")
    assert attempt(operation) == ("placed", [])
    assert operation.calls == 2


def test_429_with_retry_after_3_sleeps_3_and_never_twice() -> None:
    """One sleep of what the venue said, and no back-off on top of it."""
    assert attempt(Answers(RateLimitError("slow down", retry_after=3), "placed")) == ("placed", [3.0])


def test_429_without_retry_after_backs_off() -> None:
    """Where the venue does not say how long, the back-off does."""
    rng = random.Random(1)
    assert attempt(Answers(RateLimitError("slow down", retry_after=None), "placed")) == (
        "placed",
        [rng.uniform(0, 0.1)],
    )


def test_418_stops_on_a_ban() -> None:
    """A ban is raised at once: no sleep, no second attempt."""
    operation = Answers(BannedError("banned", retry_after=120))
    outcome, slept = attempt(operation)
    assert isinstance(outcome, BannedError) and slept == [] and operation.calls == 1


def test_418_silences_every_other_caller_until_it_ends() -> None:
    """While the ban lasts nobody sends, and after it everybody may."""

    async def main() -> None:
        clock = FakeClock()
        policy = OrderRetryPolicy(CONFIG, clock)
        with pytest.raises(BannedError):
            await policy.execute_with_retry(Answers(BannedError("banned", retry_after=120)), ORDER)
        silent = Answers("never")
        with pytest.raises(BannedError):
            await policy.execute_with_retry(silent, ORDER)
        assert silent.calls == 0
        await clock.sleep(120)
        assert await policy.execute_with_retry(Answers("placed"), ORDER) == "placed"

    asyncio.run(main())


def test_a_timeout_after_the_send_is_looked_up_and_not_sent_again() -> None:
    """The outcome is unknown: it is raised, without a sleep, for whoever can look the order up."""
    operation = Answers(OutcomeUnknownError("no answer"))
    outcome, slept = attempt(operation)
    assert isinstance(outcome, OutcomeUnknownError) and slept == [] and operation.calls == 1


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("a bug"),
        ConfigError("bad"),
        OrderRejectedError("no", reason="MIN_NOTIONAL"),
        SupersededError("stopped"),
        VenueError("authentication failed"),
    ],
)
def test_bugs_rejections_and_authentication_errors_are_not_retried(error: Exception) -> None:
    """What would fail again, or is ours to mend, is raised as it is after one attempt."""
    operation = Answers(error)
    assert attempt(operation) == (error, []) and operation.calls == 1


def test_back_off_is_full_jitter_under_a_cap_and_does_not_sleep_after_the_last_attempt() -> None:
    """Four attempts sleep three times: uniform(0, min(cap, base * 2**n)), drawn from the given rng."""
    rng = random.Random(7)
    expected = [rng.uniform(0, min(0.3, 0.1 * 2**n)) for n in range(3)]
    outcome, slept = attempt(Answers(*(unreachable() for _ in range(4))), seed=7)
    assert isinstance(outcome, OrderFailedError) and slept == pytest.approx(expected)


def test_the_cause_is_chained_and_the_request_attached() -> None:
    """The last error and the request are there for whoever reads it at three in the morning."""
    errors = [unreachable() for _ in range(4)]
    outcome, _ = attempt(Answers(*errors))
    assert outcome.__cause__ is errors[-1] and outcome.request is ORDER
    assert "4 attempts" in str(outcome) and "connection refused" in str(outcome)


def test_max_retries_of_1_is_a_single_attempt() -> None:
    """`max_retries` counts attempts; 0 is refused with what it means."""
    operation = Answers(unreachable())
    outcome, slept = attempt(operation, CONFIG.replace(max_retries=1))
    assert isinstance(outcome, OrderFailedError) and slept == [] and operation.calls == 1
    with pytest.raises(ConfigError, match=r"max_retries must be at least 1 \(1 = a single attempt\)"):
        RetryConfig(max_retries=0)


def test_a_negative_deadline_is_refused() -> None:
    """The message names the key."""
    with pytest.raises(ConfigError, match="deadline_s is -1"):
        RetryConfig(deadline_s=-1)


def test_no_wait_ends_past_the_deadline() -> None:
    """A wait that would outlast the deadline is not begun."""
    operation = Answers(RateLimitError("slow down", retry_after=31), "never")
    outcome, slept = attempt(operation)
    assert isinstance(outcome, OrderFailedError) and slept == [] and operation.calls == 1


def test_a_stale_price_is_not_sent_again() -> None:
    """An order that is older than `stale_after_s` when it could be sent again is given up, and the message says so."""
    operation = Answers(RateLimitError("slow down", retry_after=3), "never")
    outcome, _ = attempt(operation, CONFIG.replace(stale_after_s=2))
    assert isinstance(outcome, OrderFailedError) and "stale" in str(outcome) and operation.calls == 1


def test_nothing_is_cancelled_in_mid_send() -> None:
    """After the time-out the operation goes on, and its late answer is handed over; the caller is told that it is unknown."""

    async def main() -> None:
        clock = LoopClock()
        late: list[Any] = []
        policy = OrderRetryPolicy(
            CONFIG.replace(timeout_s=1), clock, on_late=lambda request, outcome: late.append(outcome)
        )

        async def slow(request: object) -> str:
            await clock.sleep(4)
            return "placed after all"

        with pytest.raises(OutcomeUnknownError, match="no answer within 1 s"):
            await policy.execute_with_retry(slow, ORDER)
        await clock.sleep(5)
        assert late == ["placed after all"]

    run_stepped(main())


def test_back_off_is_shared_by_all_callers() -> None:
    """While one caller has been told to wait, another does not send either."""

    async def main() -> None:
        clock = LoopClock()
        policy = OrderRetryPolicy(CONFIG, clock)
        sent: list[float] = []

        async def other(request: object) -> str:
            sent.append(clock.monotonic_ns() / 1e9)
            return "placed"

        async def second() -> None:
            await clock.sleep(1)
            await policy.execute_with_retry(other, ORDER)

        limited = Answers(RateLimitError("slow down", retry_after=3), "placed")
        await asyncio.gather(policy.execute_with_retry(limited, ORDER), second())
        assert sent == [3.0]

    run_stepped(main())
