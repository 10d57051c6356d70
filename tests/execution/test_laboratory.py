"""Orders under faults: whatever a venue does wrong, a session neither doubles, loses nor orphans anything."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from grinder_kit.execution.clock import SteppedLoop
from grinder_kit.execution.port import Operation
from grinder_kit.model.event import RunState
from grinder_kit.venue.fault_schedule import RandomSchedule
from grinder_kit.venue.faults import EVENT_KINDS, FaultKind
from tests.lab.laboratory import CAPABILITIES, Laboratory, random_config
from tests.lab.mutants import MUTANTS
from tests.lab.soak import first_noticed, run_drill

DRILLS, PARTS = 300, 10


@pytest.mark.parametrize("part", range(PARTS))
def test_no_schedule_of_faults_breaks_a_session(part: int) -> None:
    """In 300 drills nothing that must hold fails; the seed of one that does is named."""
    for seed in range(part * DRILLS // PARTS, (part + 1) * DRILLS // PARTS):
        found, story = run_drill(seed)
        assert not found, f"seed {seed}: {found}\n{story}"


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_laboratory_notices(mutant: str) -> None:
    """A session with one thing wrong is caught."""
    assert first_noticed(mutant) is not None


class AnyFault(RuleBasedStateMachine):
    """Hypothesis decides the grid, which faults there are and how often, and what the operator does."""

    @initialize(
        seed=st.integers(0, 10**6),
        kinds=st.sets(st.sampled_from(list(FaultKind)), min_size=1),
        rate=st.sampled_from([0.1, 0.3, 0.6]),
    )
    def begin(self, seed: int, kinds: set[FaultKind], rate: float) -> None:
        """Open a venue and start a session on it."""
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner(loop_factory=SteppedLoop)
        window = CAPABILITIES.receive_window_s
        schedule = RandomSchedule(seed, rate=rate, only=kinds, longest_s=1.5, receive_window_s=window, ban_s=3.0)
        config = random_config(random.Random(seed))
        self.lab = Laboratory(Path(self.folder.name), schedule, config, market_seed=seed % 8, seconds=60, seed=seed)
        self.do(self.lab.open())

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run something in stepped time."""
        return self.runner.run(work)

    @rule(seconds=st.floats(0.1, 4.0))
    def trade(self, seconds: float) -> None:
        """The session runs for a while."""
        self.do(self.lab.run(seconds))

    @rule(state=st.sampled_from([RunState.PAUSED, RunState.RUNNING]))
    def steer(self, state: RunState) -> None:
        """The operator pauses or resumes."""

        async def steer() -> None:
            self.lab.set_state(state)

        self.do(steer())

    @rule()
    def die_and_start_again(self) -> None:
        """The process dies, and another takes over from the journal."""

        async def again() -> None:
            await self.lab.crash()
            await self.lab.start()

        self.do(again())

    @rule()
    def somebody_else(self) -> None:
        """Somebody else places an order on the account."""
        if len(self.lab.foreign) < 3:
            self.do(self.lab.others_order())

    @rule()
    def trade_by_hand(self) -> None:
        """Somebody else trades on the account."""
        if self.lab.trades_by_hand:
            self.do(self.lab.others_trade())

    @rule(seconds=st.floats(-60, 60))
    def set_the_clock(self, seconds: float) -> None:
        """The machine's clock jumps."""
        self.lab.clock.jump(seconds)

    @rule()
    def release(self) -> None:
        """Answers that hung come at last."""

        async def release() -> None:
            self.lab.port.release()

        self.do(release())

    @invariant()
    def nothing_is_broken(self) -> None:
        """What must hold at any time holds."""
        if hasattr(self, "lab"):
            assert not self.lab.violations.found, self.lab.schedule.story()

    def teardown(self) -> None:
        """Faults stop: everything that knows anything about orders and fills agrees."""
        if not hasattr(self, "lab"):
            return
        found = self.do(self.lab.finish())
        self.do(self.lab.close())
        self.runner.close()
        self.folder.cleanup()
        assert not found, (found, self.lab.schedule.story())


AnyFault.TestCase.settings = settings(max_examples=40, stateful_step_count=12, deadline=None)
TestAnyFault = AnyFault.TestCase


def test_the_drills_contain_every_fault() -> None:
    """A hundred drills inject every kind of fault at least once: nothing is passed by luck."""
    seen: set[str] = set()
    for seed in range(120):
        seen |= {word for line in run_drill(seed)[1].splitlines() for word in line.split()}
        if set(FaultKind) - {FaultKind.NONE} <= seen:
            break
    assert not set(FaultKind) - {FaultKind.NONE} - seen
    assert set(EVENT_KINDS) <= seen and {Operation.CANCEL.value, "event"} <= seen
