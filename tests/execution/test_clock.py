"""Stepped time: exact, for as long as one likes, and never waiting for nothing."""

from __future__ import annotations

import asyncio

import pytest

from grinder_kit.execution.clock import LoopClock, run_stepped


@pytest.mark.parametrize("seconds", [0.0103, 3_600.5, 17_000.0, 10.0**6])
def test_a_sleep_ends_at_its_own_time(seconds: float) -> None:
    """Short or long, to the nanosecond, and without waiting."""

    async def main() -> int:
        clock = LoopClock(1_700_000_000_000_000_000)
        await clock.sleep(seconds)
        return clock.now_ns() - clock.start_ns

    assert run_stepped(main()) == pytest.approx(seconds * 1e9, abs=1)


def test_a_long_run_keeps_its_step() -> None:
    """Ten thousand steps of 100 ms late in a long run end where they should."""

    async def main() -> int:
        clock = LoopClock()
        await clock.sleep(200_000)
        for _ in range(10_000):
            await clock.sleep(0.1)
        return clock.now_ns()

    assert run_stepped(main()) == pytest.approx(201_000 * 1e9, abs=1000)


def test_waiting_for_what_never_comes_is_an_error() -> None:
    """A deadlock is said and not waited for."""

    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="nothing will ever do"):
        run_stepped(main())


def test_speed_scales_a_clock_of_the_machine() -> None:
    """At 1,000 times the speed a second takes a millisecond; a speed of 0 is refused."""

    async def main() -> None:
        clock = LoopClock(speed=1000)
        await clock.sleep(1)
        assert 1e9 <= clock.now_ns() < 60e9
        with pytest.raises(ValueError, match="speed is 0"):
            LoopClock(speed=0)

    asyncio.run(main())
