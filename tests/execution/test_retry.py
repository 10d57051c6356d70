"""OrderRetryPolicy and RetryingPort: what is tried again, when exactly, and what never is; one test for each trap of the sketch."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.errors import (
    BannedError,
    ConfigError,
    ConnectivityError,
    InvalidRequestError,
    OrderFailedError,
    OrderRejectedError,
    OutcomeUnknownError,
    RateLimitError,
    SupersededError,
    VenueError,
)
from grinder_kit.execution.budget import WeightBudget
from grinder_kit.execution.clock import LoopClock, run_stepped
from grinder_kit.execution.port import FUTURES
from grinder_kit.execution.retry import OrderRetryPolicy, RetryingPort
from grinder_kit.model.config import RetryConfig
from grinder_kit.model.order import AmendRequest, CancelRequest, Order, OrderRequest, Side

PLACE = OrderRequest(
    client_order_id="gkt-B1-1", level_id="BUY_1", symbol="TOY", side=Side.BUY, price=Decimal(100), quantity=Decimal(1)
)
AMEND = AmendRequest(
    client_order_id="gkt-B1-1", level_id="BUY_1", symbol="TOY", side=Side.BUY, price=Decimal(99), quantity=Decimal(1)
)
CANCEL = CancelRequest(client_order_id="gkt-B1-1", symbol="TOY")
PATIENT = RetryConfig(stale_after_s=1000, deadline_s=1000)


class Diary(LoopClock):
    """A clock that writes down who sleeps for how long; the timers of attempts run in tasks of their own and are left out."""

    def __init__(self) -> None:
        super().__init__()
        self.callers: dict[asyncio.Task[Any] | None, list[float]] = {}

    async def sleep(self, seconds: float) -> None:
        """Write it down, and wait."""
        self.callers.setdefault(asyncio.current_task(), []).append(seconds)
        await super().sleep(seconds)

    @property
    def slept(self) -> list[float]:
        """What the current task has slept."""
        return self.callers.get(asyncio.current_task(), [])


class Script:
    """An operation that answers as it is written: an exception is raised, a number is slept, ``"ok"`` is the answer."""

    def __init__(self, clock: LoopClock, *steps: Any) -> None:
        self.clock = clock
        self.steps = list(steps)
        self.times: list[float] = []

    async def __call__(self, *requests: Any) -> str:
        """Take the next step."""
        self.times.append(self.clock.monotonic_ns() / 1e9)
        step = self.steps.pop(0)
        if isinstance(step, float):
            await asyncio.sleep(step)
            return "late"
        if isinstance(step, BaseException):
            raise step
        return str(step)


def limited(retry_after: float | None) -> RateLimitError:
    """Return a 429."""
    return RateLimitError("429", retry_after=retry_after)


def sleeps(
    *steps: Any,
    config: RetryConfig = PATIENT,
    request: Any = PLACE,
    repeatable: bool = False,
    seed: int = 7,
) -> tuple[str | BaseException, list[float], list[float]]:
    """Return what came of a call, the exact list of its sleeps, and when its attempts began."""

    async def main() -> tuple[str | BaseException, list[float], list[float]]:
        clock = Diary()
        script = Script(clock, *steps)
        policy = OrderRetryPolicy(config, clock, rng=random.Random(seed))
        outcome: str | BaseException
        try:
            if repeatable:
                outcome = await policy.run(lambda: script(request), request=request, repeatable=True, name="script")
            else:
                outcome = await policy.execute_with_retry(script, request)
        except Exception as error:
            outcome = error
        return outcome, clock.slept, script.times

    return run_stepped(main())


def test_trap_a_retry_after_of_0_is_obeyed_without_a_sleep() -> None:
    """429 with Retry-After 0: another attempt at once."""
    assert sleeps(limited(0), limited(0), "ok") == ("ok", [], [0, 0, 0])


def test_trap_a_rate_limit_is_slept_once_and_exactly() -> None:
    """429 with Retry-After 3: one sleep of 3 s, not another one on top."""
    assert sleeps(limited(3), "ok") == ("ok", [3.0], [0, 3])


def test_a_rate_limit_that_says_no_time_backs_off_with_jitter() -> None:
    """429 without Retry-After: the back-off of the attempt."""
    rng = random.Random(7)
    expected = [rng.uniform(0, 0.1), rng.uniform(0, 0.2)]
    outcome, slept, _ = sleeps(limited(None), limited(None), "ok")
    assert outcome == "ok"
    assert slept == pytest.approx(expected, abs=1e-9)


def test_trap_waits_have_full_jitter_and_a_cap() -> None:
    """Connectivity: uniform(0, min(cap, base * 2**n)), the exact list by the seed."""
    config = RetryConfig(max_retries=6, base_delay_ms=100, cap_ms=400, stale_after_s=1000)
    rng = random.Random(7)
    expected = [rng.uniform(0, most) / 1e3 for most in (100, 200, 400, 400, 400)]
    down = [ConnectivityError("refused") for _ in range(6)]
    outcome, slept, times = sleeps(*down, config=config)
    assert isinstance(outcome, OrderFailedError)
    assert slept == expected
    assert len(times) == 6


def test_trap_no_sleep_after_the_last_attempt() -> None:
    """Three attempts have two waits between them."""
    _, slept, times = sleeps(*(limited(1) for _ in range(3)))
    assert (slept, times) == ([1.0, 1.0], [0, 1, 2])


def test_trap_the_cause_is_chained_and_named() -> None:
    """When attempts are used up, the error names their number and the cause, and carries the request."""
    last = ConnectivityError("refused the third time")
    outcome, _, _ = sleeps(ConnectivityError("refused"), limited(1), last)
    assert isinstance(outcome, OrderFailedError)
    assert outcome.__cause__ is last
    assert outcome.request is PLACE
    assert str(outcome) == "Script gkt-B1-1 failed after 3 attempts: refused the third time"


def test_trap_a_ban_stops_everything_at_once() -> None:
    """418: raised without a sleep; nobody sends until the ban is over."""

    async def main() -> None:
        clock = Diary()
        script = Script(clock, BannedError("418", retry_after=120), "ok")
        policy = OrderRetryPolicy(PATIENT, clock)
        for at, left in ((0, 120), (50, 70), (119, 1)):
            await asyncio.sleep(at - clock.monotonic_ns() / 1e9)
            with pytest.raises(BannedError) as refused:
                await policy.execute_with_retry(script, CANCEL)
            assert refused.value.retry_after == left
            assert refused.value.request is CANCEL
        assert script.times == [0]
        await asyncio.sleep(1)
        assert await policy.execute_with_retry(script, CANCEL) == "ok"
        assert (script.times, clock.slept) == ([0, 120], [])

    run_stepped(main())


def test_a_ban_without_an_end_holds_for_good() -> None:
    """418 without Retry-After: nothing is sent any more."""

    async def main() -> None:
        clock = LoopClock()
        script = Script(clock, BannedError("418", retry_after=None))
        policy = OrderRetryPolicy(PATIENT, clock)
        for _ in range(3):
            with pytest.raises(BannedError):
                await policy.execute_with_retry(script, PLACE)
            await asyncio.sleep(1e6)
        assert script.times == [0]
        assert "banned" in repr(policy)

    run_stepped(main())


def test_trap_nothing_is_sent_again_after_a_timeout() -> None:
    """A timeout after the send: unknown, raised with the request, no sleep and no second attempt."""
    outcome, slept, times = sleeps(60.0, "ok")
    assert type(outcome) is OutcomeUnknownError
    assert outcome.request is PLACE
    assert str(outcome) == "no answer within 5 s"
    assert (slept, times) == ([], [0])


def test_what_is_repeatable_is_asked_again_after_a_timeout() -> None:
    """A question or a cancel may be repeated; each attempt has its timeout."""
    outcome, slept, times = sleeps(60.0, "ok", request=CANCEL, repeatable=True)
    assert outcome == "ok"
    assert times == [0, pytest.approx(5 + slept[0])]


def test_an_unknown_outcome_among_failed_attempts_is_the_cause() -> None:
    """A cancel that may have been done is not reported as one that surely was not."""
    outcome, _, _ = sleeps(OutcomeUnknownError("lost"), limited(0), limited(0), request=CANCEL, repeatable=True)
    assert isinstance(outcome, OrderFailedError)
    assert isinstance(outcome.__cause__, OutcomeUnknownError)


def test_trap_a_timeout_cancels_nothing_in_mid_send() -> None:
    """What takes too long goes on; its answer, or error, is given to `on_late`, and nothing complains."""

    async def main() -> None:
        clock, heard = LoopClock(), []
        policy = OrderRetryPolicy(PATIENT, clock, on_late=lambda request, outcome: heard.append((request, outcome)))

        async def fails() -> None:
            await asyncio.sleep(9)
            raise ConnectivityError("reset")

        with pytest.raises(OutcomeUnknownError):
            await policy.execute_with_retry(Script(clock, 8.0), PLACE)
        with pytest.raises(OutcomeUnknownError):
            await policy.run(fails, request=AMEND)
        assert heard == [(PLACE, "late")]
        await asyncio.sleep(5)
        assert heard[1][0] is AMEND
        assert isinstance(heard[1][1], ConnectivityError)

    run_stepped(main())


def test_a_caller_that_is_cancelled_cancels_nothing_in_mid_send() -> None:
    """Whoever stops waiting leaves the request on its way."""

    async def main() -> None:
        clock, heard = LoopClock(), []
        policy = OrderRetryPolicy(PATIENT, clock, on_late=lambda request, outcome: heard.append(outcome))
        call = asyncio.create_task(policy.execute_with_retry(Script(clock, 2.0), PLACE))
        await asyncio.sleep(1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.sleep(2)
        assert heard == ["late"]

    run_stepped(main())


@pytest.mark.parametrize(
    "error",
    [
        KeyError("a bug"),
        TimeoutError("of something else"),
        OrderRejectedError("no", reason="POST_ONLY_WOULD_TAKE"),
        SupersededError("stopped"),
        InvalidRequestError("nan"),
        ConfigError("weights"),
        VenueError("authentication"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_trap_rejections_authentication_errors_and_bugs_are_not_tried_again(error: Exception) -> None:
    """What would fail again is raised as it is, at once, even where the operation could be repeated."""
    for repeatable in (False, True):
        outcome, slept, times = sleeps(error, "ok", repeatable=repeatable)
        assert outcome is error
        assert (slept, times) == ([], [0])


def test_trap_max_retries_counts_attempts_and_is_at_least_1() -> None:
    """1 is a single attempt; 0, which would never run, is refused."""
    outcome, slept, times = sleeps(ConnectivityError("refused"), config=PATIENT.replace(max_retries=1))
    assert isinstance(outcome, OrderFailedError)
    assert "after 1 attempt:" in str(outcome)
    assert (slept, times) == ([], [0])
    with pytest.raises(ConfigError, match=r"max_retries must be at least 1 \(1 = a single attempt\)"):
        RetryConfig(max_retries=0)


def test_trap_a_deadline_bounds_attempts_and_waits() -> None:
    """A wait that would end past the deadline is not begun, and an attempt is cut at it."""
    config = RetryConfig(max_retries=9, deadline_s=10, timeout_s=6, stale_after_s=1000)
    outcome, slept, times = sleeps(limited(4), limited(4), limited(4), config=config)
    assert isinstance(outcome, OrderFailedError)
    assert "failed after 3 attempts: the deadline of 10 s leaves no time for another; 429" in str(outcome)
    assert (slept, times) == ([4.0, 4.0], [0, 4, 8])
    outcome, _, _ = sleeps(limited(8), 60.0, config=config)
    assert str(outcome) == "no answer within 2 s"


@pytest.mark.parametrize("request_", [PLACE, AMEND, [PLACE, PLACE]])
def test_trap_a_stale_price_is_not_sent_again(request_: Any) -> None:
    """Once an order or amend is older than stale_after_s it is not sent any more, nor waited for; a cancel never grows stale."""
    config = RetryConfig(stale_after_s=2)
    outcome, slept, times = sleeps(limited(1), limited(1.5), "ok", config=config, request=request_)
    assert isinstance(outcome, OrderFailedError)
    assert "its price is stale: older than 2 s" in str(outcome)
    assert (slept, times) == ([1.0], [0, 1])
    assert sleeps(limited(1), limited(1.5), "ok", config=config, request=CANCEL)[0] == "ok"


def test_trap_a_back_off_is_shared_by_all_callers() -> None:
    """While the venue wants quiet no caller begins an attempt; a longer wait replaces a shorter one, a shorter changes nothing."""

    async def main() -> None:
        clock = Diary()
        policy = OrderRetryPolicy(PATIENT, clock)
        first, second = Script(clock, limited(3), "ok"), Script(clock, "ok")
        third = Script(clock, 1.0, "ok")
        slow = Script(clock, "slow")

        async def late_limit() -> str:
            await asyncio.sleep(1)
            raise limited(5)

        async def one(script: Callable[..., Awaitable[str]], after: float = 0) -> tuple[str, list[float]]:
            await asyncio.sleep(after)
            return await policy.execute_with_retry(script, CANCEL), clock.slept

        async def longer() -> None:
            with pytest.raises(OrderFailedError):
                await OrderRetryPolicy.run(policy, late_limit, request=CANCEL)

        jobs = [one(first), one(second, 0.5), one(third), one(slow, 2.0)]
        results = await asyncio.gather(*jobs, longer())
        assert first.times == [0, 6]  # 3 s, and what the longer one adds
        assert second.times == [6]
        assert third.times == [0]  # it had begun
        assert slow.times == [6]
        assert results[1] == ("ok", [2.5, 3.0])

    run_stepped(main())


def test_a_call_that_cannot_wait_for_the_others_back_off_fails_without_an_attempt() -> None:
    """A first attempt is not made with a price that the shared wait would make stale."""

    async def main() -> None:
        clock = Diary()
        policy = OrderRetryPolicy(RetryConfig(stale_after_s=2), clock)
        cancel = asyncio.create_task(policy.execute_with_retry(Script(clock, limited(3), "ok"), CANCEL))
        await asyncio.sleep(0.5)
        script = Script(clock, "ok")
        with pytest.raises(OrderFailedError, match="failed after 0 attempts: its price is stale.*429") as failed:
            await policy.execute_with_retry(script, PLACE)
        assert isinstance(failed.value.__cause__, RateLimitError)
        assert (script.times, clock.slept) == ([], [])
        await cancel

    run_stepped(main())


@given(st.lists(st.sampled_from(["down", "unknown", "429", "slow", "ok"]), min_size=1, max_size=12), st.booleans())
def test_time_and_attempts_are_bounded_whatever_happens(story: list[str], repeatable: bool) -> None:
    """No call takes longer than its deadline or more attempts than allowed, and what may have been done is not sent again."""
    config = RetryConfig(max_retries=4, deadline_s=12, stale_after_s=1000, cap_ms=3000, base_delay_ms=1000)
    steps: dict[str, Callable[[], Any]] = {
        "down": lambda: ConnectivityError("refused"),
        "unknown": lambda: OutcomeUnknownError("lost"),
        "429": lambda: limited(2.5),
        "slow": lambda: 60.0,
        "ok": lambda: "ok",
    }

    async def main() -> None:
        clock = LoopClock()
        script = Script(clock, *(steps[word]() for word in [*story, "ok"]))
        policy = OrderRetryPolicy(config, clock, rng=random.Random(1))
        try:
            await policy.run(script, request=PLACE, repeatable=repeatable)
        except VenueError as error:
            assert error.request is PLACE
        assert clock.monotonic_ns() <= 12_000_000_000
        assert 1 <= len(script.times) <= 4
        if not repeatable:
            assert not {"unknown", "slow", "ok"} & set(story[: len(script.times) - 1])

    run_stepped(main())


def test_retries_and_their_end_are_logged_as_keys_and_values(caplog: pytest.LogCaptureFixture) -> None:
    """A person reading the log sees what was tried again and why it was given up."""
    with caplog.at_level(logging.WARNING):
        sleeps(limited(1), limited(1), limited(1))
    said = [record.getMessage() for record in caplog.records]
    assert said[0].startswith("trying again what='Script gkt-B1-1' attempt=1 of=3 wait_s=1.000 error=RateLimitError")
    assert said[-1].startswith("gave up what='Script gkt-B1-1' attempts=3")


class Venue:
    """A venue of which only what the tests below ask for exists."""

    capabilities = FUTURES

    def __init__(self, clock: LoopClock, *steps: Any) -> None:
        self.script = Script(clock, *steps)

    async def place_order(self, request: OrderRequest) -> Any:
        """Answer as it is written."""
        return await self.script(request)

    async def cancel_order(self, request: CancelRequest) -> Any:
        """Answer as it is written."""
        return await self.script(request)

    async def batch_place(self, requests: Any) -> Any:
        """Answer as it is written."""
        return await self.script(requests)

    async def get_order(self, symbol: str, **ids: str | None) -> Order | None:
        """Know nothing, once it answers."""
        await self.script(symbol, ids)
        return None


def retrying(clock: LoopClock, limit: int, *steps: Any, config: RetryConfig = PATIENT) -> tuple[RetryingPort, Venue]:
    """Return a retrying port over such a venue."""
    venue = Venue(clock, *steps)
    port: Any = venue
    budget = WeightBudget(limit, 60, clock, reserve=0.2)
    return RetryingPort(port, OrderRetryPolicy(config, clock, rng=random.Random(7)), budget), venue


def test_every_attempt_spends_its_own_weight() -> None:
    """Three attempts of a batch of weight 5 spend 15; a cancel spends 1."""

    async def main() -> None:
        clock = LoopClock()
        port, _ = retrying(clock, 100, limited(0), limited(0), "ok", "ok")
        await port.batch_place([PLACE])
        assert port.budget.used == 15
        await port.cancel_order(CANCEL)
        assert port.budget.used == 16

    run_stepped(main())


def test_questions_and_cancels_are_repeated_after_an_unknown_outcome_and_placements_are_not() -> None:
    """Only what does no harm twice is sent twice."""

    async def main() -> None:
        clock = LoopClock()
        lost = OutcomeUnknownError("lost")
        port, venue = retrying(clock, 100, lost, "ok", lost, "ok", lost)
        assert await port.cancel_order(CANCEL) == "ok"
        assert await port.get_order("TOY", client_order_id="gkt-B1-1") is None
        with pytest.raises(OutcomeUnknownError):
            await port.place_order(PLACE)
        assert len(venue.script.times) == 5

    run_stepped(main())


def test_cancels_get_through_when_placements_have_used_the_budget_up() -> None:
    """The reserve lets a cancel leave at once where a placement would have to wait until its price is stale, and fails."""

    async def main() -> None:
        clock = LoopClock()
        config = RetryConfig(stale_after_s=2)
        port, venue = retrying(clock, 10, *["ok"] * 10, config=config)
        for _ in range(8):
            await port.place_order(PLACE)
        with pytest.raises(OrderFailedError, match="failed after 0 attempts: the request-weight budget has no room"):
            await port.place_order(PLACE)
        await port.cancel_order(CANCEL)
        assert clock.monotonic_ns() == 0
        assert len(venue.script.times) == 9

    run_stepped(main())


def test_waiting_for_weight_is_no_part_of_the_time_an_attempt_may_take() -> None:
    """A request leaves when its weight is granted and has its whole timeout then: nothing waits to be sent after it was given up."""

    async def main() -> None:
        clock = LoopClock()
        port, venue = retrying(clock, 10, "ok", 4.0, config=PATIENT.replace(timeout_s=5))
        await port.budget.acquire(10, urgent=True)
        first = asyncio.create_task(port.cancel_order(CANCEL))
        await asyncio.sleep(1)
        with pytest.raises(asyncio.CancelledError):
            waiting = asyncio.create_task(port.place_order(PLACE))
            await asyncio.sleep(1)
            waiting.cancel()
            await waiting
        assert await port.cancel_order(CANCEL) == "late"
        assert await first == "ok"
        assert venue.script.times == [60, 60]
        assert port.budget.used == 2

    run_stepped(main())
