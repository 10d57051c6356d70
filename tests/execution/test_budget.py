"""WeightBudget: no window over its limit, cancels get through, nobody starves, nothing leaks."""

from __future__ import annotations

import asyncio
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.errors import ConfigError
from grinder_kit.execution.budget import WeightBudget
from grinder_kit.execution.clock import LoopClock, SystemClock, run_stepped
from grinder_kit.execution.port import FUTURES, Capabilities, Operation


def test_what_fits_is_granted_at_once_and_the_rest_when_the_window_has_moved_on() -> None:
    """A request that does not fit waits until enough of the window's weight is free, not a moment longer."""

    async def main() -> list[float]:
        clock = LoopClock()
        budget = WeightBudget(10, 60, clock, reserve=0)
        times = []
        for pause, weight in ((0, 6), (5, 4), (1, 3), (0, 3), (0, 4)):
            await clock.sleep(pause)
            await budget.acquire(weight)
            times.append(clock.monotonic_ns() / 1e9)
        return times

    assert run_stepped(main()) == [0, 5, 60, 60, 65]


def test_only_cancels_may_use_the_reserve_and_they_go_first() -> None:
    """An urgent request uses what is kept for it, and overtakes those that wait."""

    async def main() -> list[tuple[str, float]]:
        clock = LoopClock()
        budget = WeightBudget(10, 60, clock, reserve=0.2)
        await budget.acquire(8)
        log: list[tuple[str, float]] = []

        async def ask(name: str, weight: int, urgent: bool) -> None:
            await budget.acquire(weight, urgent)
            log.append((name, clock.monotonic_ns() / 1e9))

        async with asyncio.TaskGroup() as group:
            group.create_task(ask("place", 1, False))
            await clock.sleep(1)
            group.create_task(ask("cancel", 2, True))
            await clock.sleep(1)
            group.create_task(ask("place 2", 1, False))
            group.create_task(ask("cancel 2", 5, True))
        return log

    assert run_stepped(main()) == [("cancel", 1), ("cancel 2", 60), ("place", 60), ("place 2", 61)]


def test_a_large_request_is_not_overtaken_by_small_ones() -> None:
    """Requests are served in the order of coming, so that none starves."""

    async def main() -> list[int]:
        clock = LoopClock()
        budget = WeightBudget(10, 1, clock, reserve=0)
        served: list[int] = []

        async def ask(weight: int) -> None:
            await budget.acquire(weight)
            served.append(weight)

        await asyncio.gather(*(ask(weight) for weight in (6, 10, 1, 2, 1)))
        return served

    assert run_stepped(main()) == [6, 10, 1, 2, 1]


def test_a_cancelled_waiter_spends_nothing_and_the_next_one_takes_its_turn() -> None:
    """Cancelling whoever is first, last or asleep neither loses nor leaks weight."""

    async def main() -> tuple[list[float], int, int]:
        clock = LoopClock()
        budget = WeightBudget(10, 60, clock, reserve=0)
        await budget.acquire(5)
        large = asyncio.create_task(budget.acquire(10))
        small = asyncio.create_task(budget.acquire(5))
        last = asyncio.create_task(budget.acquire(5))
        await clock.sleep(3)
        assert budget.waiting == 3
        large.cancel()
        last.cancel()
        await asyncio.wait({large, small, last})
        return [clock.monotonic_ns() / 1e9], budget.used, budget.waiting

    assert run_stepped(main()) == ([3], 10, 0)


def test_a_wait_that_ends_too_late_is_not_begun() -> None:
    """With `within_s`, a request that cannot be granted in time is told so, and takes nobody's place."""

    async def main() -> None:
        clock = LoopClock()
        budget = WeightBudget(10, 60, clock, reserve=0)
        assert await budget.acquire(10, within_s=0)
        assert not await budget.acquire(1, within_s=59)
        assert clock.monotonic_ns() == 0
        patient = asyncio.create_task(budget.acquire(10))
        await clock.sleep(0)
        assert not await budget.acquire(1, within_s=59)  # another's turn: it cannot know before
        assert clock.monotonic_ns() == 59_000_000_000
        assert await patient
        assert (budget.used, budget.left) == (10, 0)

    run_stepped(main())


def test_the_venues_own_count_is_taken_where_it_is_higher() -> None:
    """What others spend from the same account is seen by observing the venue's count; a lower one changes nothing."""

    async def main() -> None:
        clock = LoopClock()
        budget = WeightBudget(100, 60, clock, reserve=0.2)
        await budget.acquire(30)
        budget.observe(10)
        assert budget.used == 30
        budget.observe(120)
        assert (budget.used, budget.left) == (120, 0)
        assert repr(budget) == "WeightBudget(120 of 100 used in 60 s, 20 kept for cancels, 0 waiting)"
        await budget.acquire(1, urgent=True)
        assert clock.monotonic_ns() == 60_000_000_000

    run_stepped(main())


@pytest.mark.parametrize(
    ("weight", "urgent", "words"),
    [
        (9, False, r"weight 9 could never be sent: at most 8 \(10 less 2 kept for cancels\) fit into 60 s"),
        (11, True, "weight 11 could never be sent: at most 10 fit into 60 s"),
        (-1, False, "request weight is -1; write a whole number"),
    ],
)
def test_a_weight_that_can_never_be_granted_is_refused_at_once(weight: int, urgent: bool, words: str) -> None:
    """Waiting for ever is a configuration error, and says so."""
    budget = WeightBudget(10, 60, SystemClock())
    with pytest.raises(ConfigError, match=words):
        asyncio.run(budget.acquire(weight, urgent))
    assert budget.waiting == 0


@pytest.mark.parametrize(
    ("limit", "window", "reserve", "words"),
    [
        (0, 60, 0.2, "weight limit is 0"),
        (10, 0, 0.2, "weight window is 0 s"),
        (10, float("nan"), 0.2, "weight window is nan s"),
        (10, 60, 1.0, "reserve is 1.0"),
    ],
)
def test_a_budget_that_lets_nothing_through_is_refused(limit: int, window: float, reserve: float, words: str) -> None:
    """Limits that make no sense are named, with what to write instead."""
    with pytest.raises(ConfigError, match=words):
        WeightBudget(limit, window, SystemClock(), reserve=reserve)


def test_a_venue_says_what_it_grants() -> None:
    """A budget is made from the capabilities of a venue."""
    budget = WeightBudget.of(FUTURES, SystemClock())
    assert (budget.limit, budget.window_s, budget.reserved) == (2400, 60.0, 480)
    assert Capabilities(weights=MappingProxyType({Operation.PLACE: 3})).weight(Operation.PLACE) == 3


REQUESTS = st.lists(
    st.tuples(
        st.integers(0, 8),  # weight
        st.booleans(),  # urgent
        st.integers(0, 3000),  # ms after the one before
        st.one_of(st.none(), st.integers(0, 4000)),  # ms until its caller is cancelled
        st.one_of(st.none(), st.integers(0, 4000)),  # ms it is willing to wait
    ),
    min_size=1,
    max_size=40,
)


@given(REQUESTS)
def test_no_window_ever_holds_more_than_the_limit(
    requests: list[tuple[int, bool, int, int | None, int | None]],
) -> None:
    """Whatever is asked, cancelled or given up: windows keep to the limit, the reserve is kept, what is granted is counted."""
    limit, window_ns = 10, 2_000_000_000

    async def main() -> None:
        clock = LoopClock()
        budget = WeightBudget(limit, 2, clock, reserve=0.2)
        granted: list[tuple[int, int, bool, int]] = []

        async def ask(n: int, weight: int, urgent: bool, within_ms: int | None) -> None:
            if await budget.acquire(weight, urgent, within_s=None if within_ms is None else within_ms / 1e3):
                granted.append((clock.monotonic_ns(), weight, urgent, n))

        tasks = []
        for n, (weight, urgent, pause, cancel, within) in enumerate(requests):
            await clock.sleep(pause / 1e3)
            tasks.append(task := asyncio.create_task(ask(n, weight, urgent, within)))
            if cancel is not None:
                asyncio.get_running_loop().call_later(cancel / 1e3, task.cancel)
        await asyncio.wait(tasks)
        for n, (at, _, urgent, _) in enumerate(granted):
            window = [one for one in granted[: n + 1] if at - one[0] < window_ns]
            assert sum(weight for _, weight, _, _ in window) <= (limit if urgent else limit - budget.reserved)
        for kind in (True, False):
            order = [n for _, _, urgent, n in granted if urgent is kind]
            assert order == sorted(order)
        now = clock.monotonic_ns()
        assert budget.used == sum(weight for at, weight, _, _ in granted if now - at < window_ns)
        assert budget.waiting == 0

    run_stepped(main())
