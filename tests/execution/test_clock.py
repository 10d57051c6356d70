"""Stepped time: exact, for as long as one likes, and never waiting for nothing."""

from __future__ import annotations

import asyncio
import time

import pytest

from grinder_kit.execution.clock import LoopClock, PacedLoop, run_stepped


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


@pytest.mark.parametrize("speed", [1.0, 200.0])
def test_paced_time_is_exact_though_the_machine_is_late(speed: float) -> None:
    """Every timer runs at its own time, whatever the machine was busy with and whoever spoke to it meanwhile."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    async def talk(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(100):
            writer.write(b"x\n")
            await reader.readline()
        writer.close()
        await writer.wait_closed()

    async def main() -> list[int]:
        clock, seen = LoopClock(speed=speed), []
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        talking = asyncio.create_task(talk(server.sockets[0].getsockname()[1]))
        for step in range(1, 301):
            await clock.sleep((step * 1_000_000 * round(speed) - clock.now_ns()) / 1e9)
            seen.append(clock.now_ns() // round(speed))
            if step == 100:
                time.sleep(0.05)  # busy for fifty steps
        await talking
        server.close()
        await server.wait_closed()
        return seen

    with asyncio.Runner(loop_factory=PacedLoop) as runner:
        assert runner.run(main()) == [step * 1_000_000 for step in range(1, 301)]


def test_paced_time_waits_for_the_wall() -> None:
    """It is never ahead, and where it fell behind it catches up."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, PacedLoop)
        for _ in range(20):
            await asyncio.sleep(0.002)
            assert loop.behind_s >= 0
        time.sleep(0.05)
        assert loop.behind_s > 0.04
        began = loop.time()
        while loop.behind_s > 0.01:
            await asyncio.sleep(0.001)
        assert loop.time() > began

    with asyncio.Runner(loop_factory=PacedLoop) as runner:
        runner.run(main())
