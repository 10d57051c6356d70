"""Lifelines: the last client that goes starts the grace, one that comes ends it; in stepped time."""

from __future__ import annotations

import asyncio

from grinder_kit.execution.clock import run_stepped
from grinder_kit.session.guard import Lifelines, Policy


def told(policy: Policy, *steps: tuple[float, str, str]) -> list[tuple[float, str]]:
    """Return what a guard with 30 s of grace does, and when; steps are (s, "+" or "-", client)."""

    async def main() -> list[tuple[float, str]]:
        loop, said = asyncio.get_running_loop(), list[tuple[float, str]]()
        lines = Lifelines(policy, 30, lambda words: said.append((round(loop.time(), 3), words)))
        for at, what, who in steps:
            await asyncio.sleep(at - loop.time())
            (lines.hold if what == "+" else lambda key, _: lines.let_go(key))(who, who)
        await asyncio.sleep(1000)
        lines.close()
        return said

    return run_stepped(main())


def test_grace_begins_with_the_end_of_the_last_client() -> None:
    """Not with the first of two that goes, and not before anybody was there."""
    assert told(Policy.CANCEL, (1, "+", "a"), (2, "+", "b"), (3, "-", "a"), (10, "-", "b")) == [
        (40, "no client for 30 s")
    ]
    assert told(Policy.CANCEL) == []


def test_client_that_comes_back_ends_the_grace() -> None:
    """A kernel that was restarted is in time within the grace; the next end begins a new one."""
    assert told(Policy.CANCEL, (1, "+", "a"), (2, "-", "a"), (31.9, "+", "a")) == []
    assert told(Policy.CANCEL, (1, "+", "a"), (2, "-", "a"), (31.9, "+", "b"), (50, "-", "b")) == [
        (80, "no client for 30 s")
    ]


def test_run_on_never_acts() -> None:
    """A session whose policy is to run on is not stopped by anybody's end."""
    assert told(Policy.RUN_ON, (1, "+", "a"), (2, "-", "a")) == []


def test_end_of_a_stranger_changes_nothing() -> None:
    """A connection that was never held, or ends twice, starts no grace."""
    assert told(Policy.CANCEL, (1, "+", "a"), (2, "-", "b"), (3, "-", "b")) == []
