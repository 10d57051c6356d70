"""A position taken out by a schedule: TWAP and iceberg, through pauses, restarts and kills, and never twice."""

from __future__ import annotations

import random
import tempfile
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.decision.reason import Reason
from grinder_kit.decision.routing import Action
from grinder_kit.decision.slicing import SECOND_NS, Twap
from grinder_kit.errors import ConfigError
from grinder_kit.execution.clock import run_stepped
from grinder_kit.execution.engine import ExecutionEngine
from grinder_kit.execution.journal import entries, rebuild
from grinder_kit.execution.journal_codec import decode, encode, parse
from grinder_kit.execution.port import SPOT, Capabilities
from grinder_kit.execution.shell import Shell
from grinder_kit.execution.way_out import FOLLOW_NS, How, WayOut
from grinder_kit.model.event import Cancel, Flatten, OrderUpdate, Place, RunState, SetState
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.order import Order, OrderState, OrderType
from grinder_kit.venue.fault_schedule import RandomSchedule, Schedule
from grinder_kit.venue.faults import NO_FAULT
from grinder_kit.venue.simulated import SimulatedVenue
from tests.execution.desk import INSTRUMENT, MID
from tests.execution.test_flatten import SPOT_LAB, FlatteningLaboratory, exits, holding, on_a_thin_market
from tests.lab.laboratory import CAPABILITIES, LAB, random_config

SECOND = SECOND_NS
TWAP = Flatten(total_lots=12, least_lots=1, duration_ns=40 * SECOND, slices=4, reason="operator")
ICEBERG = Flatten(total_lots=12, least_lots=1, shown_lots=5, reason="operator")
PAUSE = SetState(state=RunState.PAUSED, reason="operator")


def leaving(event: Flatten, lots: int = 12, **changes: Any) -> Any:
    """Return a desk whose own orders are gone and whose position is to go by a schedule; a step is a second."""
    desk = holding(lots, **changes)
    desk.step_ns, desk.depth = SECOND, 100
    desk.now = 1_000 * SECOND
    desk.step(event)
    desk.flush()
    return desk


def sold(desk: Any, seconds: int) -> list[tuple[int, int]]:
    """Tick for some seconds; return when exits left (s since the start) and their lots."""
    out = []
    for _ in range(seconds):
        out += [(desk.now // SECOND - 1_000, lots) for _, _, lots in exits(desk.tick())]
        desk.flush()
    return out


# --- TWAP, step by step --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lots", [12, -12])
def test_a_twap_takes_its_slices_in_time(lots: int) -> None:
    """Four slices of three, ten seconds apart, each an IOC at what the market shows; then it is flat and paused."""
    desk = leaving(TWAP, lots)
    assert sold(desk, 15) == [(1, 3), (10, 3)]
    assert repr(desk.engine.exit_progress) == "2 of 4 slices, 6 of 12 lots out, next in 5 s"
    assert desk.engine.way_out.text(6, INSTRUMENT) == "2 of 4 slices, 0.06 of 0.12 TOY out, next in 5 s"
    assert sold(desk, 16) == [(20, 3), (30, 3)]
    engine = desk.engine
    assert (engine.state, engine.flattened, engine.position.lots) == (RunState.PAUSED, "flat", 0)
    assert engine.exit_progress is None


def test_a_slice_that_finds_too_little_tries_on_and_then_is_spread() -> None:
    """One lot stands there at a time: within a slice the exit goes on, never past the slice's share."""
    desk = leaving(TWAP)
    desk.depth = 1
    assert sold(desk, 9) == [(1, 3), (2, 2), (3, 1)]
    desk.depth = 0
    assert sold(desk, 10) == [(at, 3) for at in range(10, 20)], "nobody there: the slice is missed"
    desk.depth = 100
    assert sold(desk, 20) == [(20, 4), (30, 5)], "and its three are spread over the two that follow"
    assert desk.engine.state is RunState.PAUSED


def test_a_stale_market_makes_it_late_and_not_a_burst() -> None:
    """The first half is missed; slices become larger, none more than twice as large."""
    desk = leaving(TWAP)
    for _ in range(25):
        assert desk.tick(stale=True) == []
    assert sold(desk, 20) == [(26, 6), (30, 6)]
    desk = leaving(TWAP)
    for _ in range(55):
        assert desk.tick(stale=True) == []
    assert sold(desk, 20) == [(56, 6), (60, 6)], "past its end it goes on at the same pace"


def test_a_pause_does_not_count_and_the_same_flatten_goes_on() -> None:
    """What was out stays out, what is to come comes at the same distance; another one begins anew, a resume drops it."""
    desk = leaving(TWAP)
    assert sold(desk, 15) == [(1, 3), (10, 3)]
    desk.step(PAUSE)
    assert sold(desk, 100) == []
    assert repr(desk.engine.exit_progress) == "2 of 4 slices, 6 of 12 lots out, next in 5 s"
    desk.step(replace(TWAP, reason="again"))
    assert desk.engine.state_reason == "again"
    assert sold(desk, 10) == [(120, 3)]
    desk.step(PAUSE)
    desk.step(replace(TWAP, total_lots=3, slices=3))
    assert repr(desk.engine.exit_progress) == "0 of 3 slices, 0 of 3 lots out, next in 0 s"
    desk.step(PAUSE)
    desk.step(SetState(state=RunState.RUNNING))
    assert desk.engine.exit_progress is None


@pytest.mark.parametrize("end", [RunState.STOPPED, RunState.KILLED])
def test_an_end_drops_it(end: RunState) -> None:
    """Nothing leaves after it, and nothing leads back."""
    for event in (TWAP, ICEBERG):
        desk = leaving(event)
        desk._check_exit = lambda place, tick: None
        desk.tick()
        desk.step(SetState(state=end))
        desk.settle()
        assert desk.engine.exit_progress is None and desk.alive == {}
        with pytest.raises(ConfigError, match="for good"):
            desk.engine.step(event, desk.now)


def test_at_once_is_stronger_than_a_schedule() -> None:
    """A plain flatten while one is under way takes the rest at once; asked for again, a schedule changes nothing."""
    desk = leaving(TWAP)
    sold(desk, 5)
    epoch = desk.engine.epoch
    desk.step(replace(TWAP, reason="twice"))
    assert desk.engine.epoch == epoch and desk.engine.state_reason == "operator"
    desk.step(SetState(state=RunState.FLATTENING, reason="now"))
    assert desk.engine.epoch == epoch + 1 and desk.engine.exit_progress is None
    assert sold(desk, 2) == [(6, 9)] and desk.engine.state is RunState.PAUSED


def test_a_smallest_order_that_grows_makes_slices_wait_for_each_other() -> None:
    """The price halves while it goes on: shares are gathered until they can be sent."""
    desk = leaving(replace(TWAP, least_lots=3), min_notional=Decimal(3))  # .03 at 100
    assert [lots for _, _, lots in exits(desk.tick(1_010))] == [3]
    desk.flush()
    out = []
    for _ in range(60):
        out += [(desk.now // SECOND - 1_000, lots) for _, _, lots in exits(desk.tick(500))]
        desk.flush()
    assert out == [(30, 9)], "seven at least"


# --- an iceberg, step by step --------------------------------------------------------------------------------------------


class ClipDesk:
    """A desk with an iceberg, whose clip stands at the venue."""

    def __init__(self, lots: int = 12, **changes: Any) -> None:
        self.desk = holding(lots, **changes)
        self.desk._check_exit = lambda place, tick: None  # type: ignore[method-assign]
        self.desk.step_ns, self.desk.now = SECOND // 4, 1_000 * SECOND
        self.desk.step(ICEBERG)
        self.desk.flush()

    def tick(self, mid: int = MID) -> list[Any]:
        """Tick and let everything arrive; return what was sent."""
        sent = self.desk.tick(mid)
        self.desk.flush()
        return sent

    @property
    def clip(self) -> Place:
        """The only order alive."""
        (place,) = self.desk.alive.values()
        return place


@pytest.mark.parametrize(("lots", "side", "price"), [(12, "SELL", 1_001), (-12, "BUY", 999)])
def test_an_iceberg_shows_a_clip_at_the_own_sides_best(lots: int, side: str, price: int) -> None:
    """Post-only and reduce-only; the next one when it has filled; flat and paused at the end."""
    at = ClipDesk(lots)
    desk, engine = at.desk, at.desk.engine
    shown = []
    while engine.state is RunState.FLATTENING:
        at.tick()
        if desk.alive:
            clip = at.clip
            assert (clip.side, clip.price_ticks, clip.type, clip.reduce_only) == (
                side,
                price,
                OrderType.POST_ONLY,
                True,
            )
            shown.append(clip.quantity_lots)
            assert at.tick() == [], "it stands"
            desk.trade(clip.client_order_id, 100)
            desk.flush()
    assert shown == [5, 5, 2] and engine.state_reason == "flat" and engine.position.lots == 0


def test_a_clip_follows_the_market_at_a_bounded_rate() -> None:
    """Once a second at most, by amend; within the tolerance it stays."""
    at = ClipDesk()
    at.tick()
    prices = []
    for number in range(1, 41):
        at.tick(MID + number // 2)
        prices.append(at.clip.price_ticks)
    moves = [i for i in range(1, 40) if prices[i] != prices[i - 1]]
    assert moves and min(b - a for a, b in zip(moves, moves[1:], strict=False)) == FOLLOW_NS * 4 // SECOND
    assert at.clip.price_ticks >= MID + 19 and at.clip.quantity_lots == 5
    assert at.desk.engine.decisions[Action.AMEND, Reason.SMALL_MOVE] == len(moves)
    standing = at.clip.price_ticks
    for _ in range(8):
        at.tick(standing - 2)
    assert at.clip.price_ticks == standing, "one tick off"


def test_a_clip_that_filled_in_part_goes_on_with_its_rest() -> None:
    """Two of five are taken: three stand after an amend, a cancel and a new order where it must go far, and a pause."""
    at = ClipDesk()
    at.tick()
    at.desk.trade(at.clip.client_order_id, 2)
    at.desk.flush()
    assert repr(at.desk.engine.exit_progress) == "0 of 3 slices, 2 of 12 lots out"
    for _ in range(5):
        at.tick(MID + 2)
    assert (at.clip.price_ticks, at.clip.quantity_lots) == (MID + 3, 5)
    assert at.desk.resting[at.clip.client_order_id] == 3
    for _ in range(6):
        at.tick(MID + 20)
    assert (at.clip.price_ticks, at.clip.quantity_lots) == (MID + 21, 3)
    at.desk.step(PAUSE)
    at.desk.flush()
    assert at.desk.alive == {} and at.tick() == []
    at.desk.step(replace(ICEBERG, reason="again"))
    at.tick()
    assert at.clip.quantity_lots == 3


def test_a_clip_that_would_take_is_shown_again_a_second_later() -> None:
    """The venue refuses it: nobody asks at every step."""
    at = ClipDesk()
    at.desk.tick()
    (one,) = at.desk.alive
    at.desk.sent.clear()
    refused = OrderUpdate(client_order_id=one, state=OrderState.REJECTED, ts_ns=1, reason="POST_ONLY_WOULD_TAKE")
    at.desk.step(refused)
    at.desk._ended(one)
    assert [len(at.tick()) for _ in range(4)] == [0, 0, 0, 1]


def test_another_way_out_withdraws_the_clip_first() -> None:
    """At once after all: the clip goes, then the rest is taken."""
    at = ClipDesk()
    at.tick()
    at.desk.step(SetState(state=RunState.FLATTENING, reason="now"))
    assert [type(command) for command in at.desk.sent] == [Cancel]
    at.desk.flush()
    at.desk.depth = 100
    (out,) = at.tick()
    assert (out.type, out.quantity_lots) == (OrderType.IOC, 12)


# --- on a venue, in stepped time -----------------------------------------------------------------------------------------

SLOW = {"grid.recentre_bps": 200}
ON = pytest.mark.parametrize(("instrument", "can"), [(LAB, CAPABILITIES), (SPOT_LAB, SPOT)], ids=["futures", "spot"])


def placed(seen: list[tuple[str, Order]], since: int) -> list[Order]:
    """Return the exits that were opened."""
    return [o for what, o in seen[since:] if what == "OPENED" and o.level_id in ("BUY_0", "SELL_0")]


@ON
def test_a_session_leaves_by_a_twap(instrument: Instrument, can: Capabilities, tmp_path: Path) -> None:
    """On a thin book: no exit is larger than a slice may become, a pause in the middle, flat in the end, all of it in the journal."""

    async def work(shell: Shell, venue: SimulatedVenue, seen: list[tuple[str, Order]]) -> None:
        engine, before = shell.engine, len(seen)
        shell.flatten("out", twap_s=8, slices=4)
        assert engine.way_out is not None
        asked = engine.way_out.asked
        await shell.run(3)
        shell.pause()
        await shell.run(5)
        progress = engine.exit_progress
        assert progress is not None and 0 < progress.done_lots < progress.total_lots
        shell.flatten("go on", twap_s=8)
        assert engine.way_out is not None and engine.way_out.asked == asked and engine.exit_progress is not None
        assert engine.exit_progress.done_lots == progress.done_lots
        while engine.state is RunState.FLATTENING:
            await shell.run(0.2)
        assert venue.position == 0 == engine.position.lots and engine.state_reason == "flat"
        out = placed(seen, before)
        most = 2 * max(Twap(total_lots=asked.total_lots, duration_ns=8 * SECOND, slices=4).sizes)
        assert len(out) >= 4 and all(o.type is OrderType.IOC and instrument.lots(o.quantity) <= most for o in out)
        await _as_in_the_journal(shell)

    on_a_thin_market(work, instrument, can, tmp_path / "r0.journal", **SLOW)


@ON
def test_a_session_leaves_by_an_iceberg(instrument: Instrument, can: Capabilities, tmp_path: Path) -> None:
    """Every exit is a post-only of at most a clip, alone at the venue, and a maker's fill; flat in the end."""

    async def work(shell: Shell, venue: SimulatedVenue, seen: list[tuple[str, Order]]) -> None:
        engine, before, fills = shell.engine, len(seen), len(venue.fills)
        shell.flatten("out", show="0.05")
        while engine.state is RunState.FLATTENING:
            await shell.run(0.2)
            assert (
                len(await venue.get_open_orders(instrument.symbol)) <= 1
                or engine.way_out is None
                or not engine.way_out.done
            )
        assert venue.position == 0 == engine.position.lots and engine.state_reason == "flat"
        out = placed(seen, before)
        assert out and {(o.type, o.reduce_only) for o in out} == {(OrderType.POST_ONLY, can.reduce_only)}
        assert max(o.quantity for o in out) <= Decimal("0.05")
        ours = [f for f in venue.fills[fills:] if f.order_id in {o.client_order_id for o in out}]
        assert ours and all(fill.is_maker for fill in ours)
        await _as_in_the_journal(shell)

    on_a_thin_market(work, instrument, can, tmp_path / "r0.journal", **SLOW)


async def _as_in_the_journal(shell: Shell) -> None:
    assert shell.journal is not None and shell.failure is None
    shell.journal.commit()
    again = ExecutionEngine(shell.engine.instrument, shell.engine.config)
    rebuild(entries(shell.journal.path), again)
    assert again.digest() == shell.engine.digest()


BAD = [
    ({"twap_s": 600, "show": "0.01"}, "two ways out: write twap_s .* or show"),
    ({"twap_s": 0}, "twap_s is 0; write seconds, above 0"),
    ({"twap_s": float("nan")}, "twap_s is nan"),
    ({"twap_s": "600"}, "twap_s is '600'"),
    ({"twap_s": True}, "twap_s is True"),
    ({"twap_s": 10**9}, "at most 604,800"),
    ({"slices": 4}, "write twap_s as well"),
    ({"seed": 4}, "write twap_s=600, or show, as well"),
    ({"twap_s": 60, "slices": 0}, "slices is 0; write a whole number from 1"),
    ({"twap_s": 60, "slices": 2.0}, "slices is 2.0"),
    ({"twap_s": 60, "seed": -1}, "seed is -1; write a whole number from 0"),
    ({"show": 0.01}, 'show is a float; write "0.01"'),
    ({"show": "much"}, "show is 'much', which is no number"),
    ({"show": "0.015"}, 'show is 0.015, off the lot of 0.01 of LABUSDT; write "0.01" or "0.02"'),
    ({"show": "9"}, "a clip of 9 LAB shows more than there is"),
    ({"show": "0"}, "clips of 0 LAB are below the smallest order of 0.01 LAB: show at least 0.01 LAB"),
    ({"twap_s": 60, "slices": 90}, "90 slices of 0 LAB are below the smallest order of 0.01 LAB: write at most .* slices, or flatten"),
    ({"twap_s": 1, "slices": 10}, "10 slices in 1 s are closer together than the session's steps of 0.2 s: write at most 5"),
]  # fmt: skip


def test_bad_input_changes_nothing(tmp_path: Path) -> None:
    """A named error that says what to write; the session quotes on."""

    async def work(shell: Shell, venue: SimulatedVenue, seen: list[tuple[str, Order]]) -> None:
        assert shell.journal is not None
        entries_before, epoch = shell.journal.last_seq, shell.engine.epoch
        for given_, said in BAD:
            with pytest.raises(ConfigError, match=said):
                shell.flatten(**given_)
        assert shell.engine.state is RunState.RUNNING and shell.engine.epoch == epoch
        assert shell.journal.last_seq == entries_before and shell.failure is None
        shell.engine.synced = False
        with pytest.raises(ConfigError, match="the position is not known .* try again in a moment, or flatten at once"):
            shell.flatten(twap_s=60)

    on_a_thin_market(work, LAB, CAPABILITIES, tmp_path / "r0.journal")


def test_a_plan_needs_a_price_and_minds_the_largest_order() -> None:
    """Half a book; a clip that the venue would not take; a number of slices left open that fits the steps."""
    with pytest.raises(ConfigError, match="the book has no price .* try again, or flatten at once"):
        How(twap_s=60).plan(INSTRUMENT, 12, (None, 1_001), SECOND, "")
    large = replace(INSTRUMENT, max_quantity=Decimal("0.05"))
    with pytest.raises(ConfigError, match="a clip of 0.06 TOY is above the largest order of 0.05 TOY: show less"):
        How(show="0.06").plan(large, 12, (999, 1_001), SECOND, "")
    assert How(twap_s=60).plan(INSTRUMENT, -12, (999, 1_001), 10 * SECOND, "").slices == 6
    least = replace(INSTRUMENT, min_notional=Decimal(4))
    with pytest.raises(
        ConfigError, match="12 slices of 0.01 TOY are below the smallest order of 0.05 TOY: write at most 2 slices"
    ):
        How(twap_s=600, slices=12).plan(least, 12, (999, 1_001), SECOND, "")
    with pytest.raises(
        ConfigError, match="0.04 TOY are below the smallest order of 0.05 TOY: there is nothing to slice"
    ):
        How(twap_s=600).plan(least, 4, (999, 1_001), SECOND, "")


# --- the journal, and restarts -------------------------------------------------------------------------------------------


WHOLE = st.integers(1, 2**50)


@given(
    st.builds(
        Flatten, total_lots=WHOLE, least_lots=WHOLE, duration_ns=st.none() | WHOLE, slices=st.none() | WHOLE,
        shown_lots=st.none() | WHOLE, seed=st.none() | WHOLE, reason=st.text(max_size=9),
    )
)  # fmt: skip
def test_the_journal_carries_a_schedule(event: Flatten) -> None:
    """As it was asked for."""
    assert decode(parse(encode(event))) == event


@given(
    st.sampled_from([TWAP, replace(TWAP, seed=3), replace(TWAP, slices=7), ICEBERG, replace(ICEBERG, seed=5)]),
    st.lists(st.tuples(st.sampled_from(["fill", "see", "pause", "go on"]), st.integers(0, 9)), max_size=40),
)
def test_a_schedule_is_rebuilt_from_its_events(event: Flatten, story: list[tuple[str, int]]) -> None:
    """Ticks stand in no journal: one that has seen them and one that has not agree at the next tick."""
    now, held, ways = 1_000 * SECOND, 12, (WayOut(event, 1_000 * SECOND), WayOut(event, 1_000 * SECOND))
    for what, number in story:
        now += number * SECOND
        if what == "fill":
            lots = min(held, number)
            for way in ways:
                way.see(held, now)
                way.booked(lots)
            held -= lots
        elif what == "see":
            ways[0].see(held, now)
        else:
            for way in ways:
                way.stand_still(now) if what == "pause" else way.go_on(now)
    for way in ways:
        way.see(held, now)
    assert ways[0].due(held, 1) == ways[1].due(held, 1) <= held
    assert ways[0].progress(held) == ways[1].progress(held)
    assert ways[0].progress(held).done_lots == 12 - held


@pytest.mark.parametrize("how", [{"twap_s": 8, "slices": 8}, {"show": "0.04"}], ids=["twap", "iceberg"])
def test_a_killed_session_goes_on_where_it_stood(how: dict[str, Any], tmp_path: Path) -> None:
    """The process dies in the middle: the next one knows from the journal what is out, and takes out the rest and no more."""

    async def main() -> None:
        config = random_config(random.Random(3)).replace(**{"grid.recentre_bps": 200})
        lab = FlatteningLaboratory(
            tmp_path, Schedule(lambda operation: NO_FAULT, lambda: NO_FAULT), config, market_seed=2, seconds=90
        )
        await lab.open()
        while abs(lab.shell.engine.position.lots) < 20:
            await lab.run(0.2)
        lab.shell.flatten("drill", **how)
        way_out = lab.shell.engine.way_out
        assert way_out is not None
        while way_out.done < 6:
            await lab.run(0.2)
        before, asked = lab.shell.engine.exit_progress, way_out.asked
        assert before is not None and lab.shell.engine.state is RunState.FLATTENING
        await lab.crash()
        await lab.start()
        lab.port.may_add = True
        engine = lab.shell.engine
        assert engine.state is RunState.FLATTENING and engine.way_out is not None and engine.way_out.asked == asked
        after = engine.exit_progress
        assert after is not None and (after.done_lots, after.total_lots) == (before.done_lots, before.total_lots)
        while engine.state is RunState.FLATTENING:
            await lab.run(0.2)
        out = sum(LAB.lots(f.quantity) for f in lab.venue.fills if "-S0-" in f.order_id or "-B0-" in f.order_id)
        assert out == before.total_lots and lab.venue.position == 0 and not lab.violations.found
        await lab.close()

    run_stepped(main())


@pytest.mark.parametrize("part", range(3))
def test_no_schedule_of_faults_makes_a_schedule_sell_twice(part: int) -> None:
    """On a venue with a bad day, killed and restarted from the journal, paused and asked again: exits only ever reduce."""
    for seed in range(part * 6, part * 6 + 6):
        run_stepped(_drill(seed))


async def _drill(seed: int) -> None:
    rng = random.Random(f"way out {seed}")
    with tempfile.TemporaryDirectory() as folder:
        schedule = RandomSchedule(
            seed, rate=rng.choice((0.05, 0.2)), event_rate=rng.choice((0.0, 0.1)), longest_s=1.5,
            receive_window_s=CAPABILITIES.receive_window_s, ban_s=3.0,
        )  # fmt: skip
        config = random_config(rng).replace(**{"grid.recentre_bps": 200})
        lab = FlatteningLaboratory(Path(folder), schedule, config, market_seed=rng.randrange(8), seed=seed, seconds=90)
        await lab.open()
        await lab.run(rng.uniform(5, 12))
        how: dict[str, Any] = rng.choice(
            ({"twap_s": 6}, {"twap_s": 6, "seed": 1}, {"show": "0.03"}, {"show": "0.04", "seed": 2})
        )
        while True:
            try:
                lab.shell.flatten("drill", **how)
                break
            except ConfigError:  # not known yet, or too little to be sliced: as a person would, a moment later
                await lab.run(0.5)
        for _ in range(rng.randint(2, 4)):
            await lab.run(rng.uniform(0.3, 2.0))
            if rng.random() < 0.5:
                await lab.crash()
                await lab.start()
                lab.port.may_add = True
            elif rng.random() < 0.4 and lab.shell.engine.state is RunState.FLATTENING:
                lab.shell.pause("drill")
                await lab.run(1)
                if lab.shell.engine.way_out is not None:
                    lab.shell.flatten("drill", **how)
        schedule.calm()
        lab.port.release()
        for _ in range(60):
            await lab.run(0.5)
            if lab.shell.engine.state is RunState.PAUSED:
                break
        engine = lab.shell.engine
        assert lab.shell.failure is None and not lab.violations.found, f"seed {seed}: {lab.violations.found}"
        assert engine.state is RunState.PAUSED, f"seed {seed}: {how} {engine.exit_progress} {list(engine.orders)}"
        assert lab.venue.position == 0 == engine.position.lots
        assert sorted(f.fill_id for f in engine.tracker.fills) == sorted(f.fill_id for f in lab.venue.fills)
        again = lab.engine()
        lab.journal.commit()
        rebuild(entries(lab.path), again)
        assert again.digest() == engine.digest()
        await lab.close()
