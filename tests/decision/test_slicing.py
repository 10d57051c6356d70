"""TWAP and iceberg as schedules: exact sums, no slice that the venue would refuse, and no burst whatever was missed."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.decision.slicing import CATCH_UP, SECOND_NS, Iceberg, Progress, Twap, check_slices
from grinder_kit.errors import ConfigError

SEEDS = st.none() | st.integers(0, 2**32)


@st.composite
def twaps(draw: st.DrawFn) -> Twap:
    """Draw a TWAP that the venue takes."""
    least = draw(st.integers(1, 50))
    slices = draw(st.integers(1, 40))
    total = draw(st.integers(least * slices, least * slices * 5))
    return Twap(
        total_lots=total,
        duration_ns=draw(st.integers(slices, 10_000) | st.integers(SECOND_NS, 3_600 * SECOND_NS)),
        slices=draw(st.sampled_from([slices, None])),
        least_lots=least,
        seed=draw(SEEDS),
    )


@st.composite
def icebergs(draw: st.DrawFn) -> Iceberg:
    """Draw an iceberg that the venue takes."""
    least = draw(st.integers(1, 50))
    shown = draw(st.integers(least, 4 * least))
    total = draw(st.integers(shown, 30 * shown))
    return Iceberg(total_lots=total, shown_lots=shown, least_lots=least, seed=draw(SEEDS))


# --- TWAP --------------------------------------------------------------------------------------------------------------


@given(twaps())
def test_slices_add_up_and_each_can_be_sent(twap: Twap) -> None:
    """The sum is exact, no slice is below the smallest order, and each has its own interval of the time."""
    count = len(twap.sizes)
    assert sum(twap.sizes) == twap.total_lots and min(twap.sizes) >= twap.least_lots
    assert count == len(twap.times_ns) == twap.slices
    starts = [twap.duration_ns * number // count for number in range(count + 1)]
    assert all(starts[i] <= twap.times_ns[i] < starts[i + 1] for i in range(count))
    if twap.seed is None:
        assert max(twap.sizes) - min(twap.sizes) <= 1 and list(twap.times_ns) == starts[:-1]


@given(twaps(), st.lists(st.integers(0, 4_000 * SECOND_NS), min_size=2, max_size=2))
def test_due_rises_from_nothing_to_all(twap: Twap, times: list[int]) -> None:
    """Never less later, all of it at the end, nothing before the start; what is next is never behind."""
    early, late = sorted(times)
    assert 0 <= twap.due(early) <= twap.due(late) <= twap.total_lots
    assert twap.due(-1) == 0 and twap.due(twap.duration_ns) == twap.total_lots
    assert twap.next_ns(early) > early and twap.slot(twap.next_ns(early)) > twap.slot(early)


@given(twaps())
def test_nothing_missed_is_the_plan_itself(twap: Twap) -> None:
    """Asked at each slice's time, its share is its size."""
    left, sent = twap.total_lots, []
    for at in twap.times_ns:
        sent.append(twap.share(twap.slot(at), left))
        left -= sent[-1]
    assert tuple(sent) == twap.sizes and not left


@given(twaps(), st.sets(st.integers(0, 60)), st.floats(0, 1), st.integers(0, 3))
def test_what_was_missed_is_spread_and_never_a_burst(twap: Twap, missed: set[int], filled: float, dearer: int) -> None:
    """With slices missed, filled in part, and a smallest order that grows: all is out in the end, in orders that can be sent."""
    least = twap.least_lots * (1 + dearer)
    left = twap.total_lots
    most = max(CATCH_UP * max(twap.sizes), least) + least
    for slot in range(10 * len(twap.sizes) + 100):
        share = twap.share(slot, left, least)
        assert share == 0 or share == left or share >= least, "never too small, but for a last rest"
        assert share <= most and share <= left
        assert left - share == 0 or left - share >= least or left < least, "never leaves too little behind"
        if slot in missed:
            continue
        left -= round(share * filled) if slot < len(twap.sizes) and filled > 0.2 else share
        if not left:
            break
    assert left == 0


def test_a_missed_slice_makes_the_later_ones_larger() -> None:
    """Ten slices of ten; the first five are missed: the other five take twenty each, and it still ends in time."""
    twap = Twap(total_lots=100, duration_ns=100 * SECOND_NS, slices=10)
    left, sent = 100, []
    for slot in range(5, 10):
        sent.append(twap.share(slot, left))
        left -= sent[-1]
    assert sent == [20] * 5
    assert [twap.share(slot, 100) for slot in (9, 10, 99)] == [20, 20, 20], (
        "all missed: it ends late, and not with a burst"
    )
    assert (twap.slot(99 * SECOND_NS), twap.slot(100 * SECOND_NS), twap.slot(119 * SECOND_NS)) == (9, 10, 11)
    assert twap.next_ns(119 * SECOND_NS) == 120 * SECOND_NS


@given(twaps())
def test_a_seed_decides_all_and_values_are_equal_by_what_they_say(twap: Twap) -> None:
    """Built again anywhere it is the same."""
    again = Twap(
        total_lots=twap.total_lots, duration_ns=twap.duration_ns, slices=twap.slices, least_lots=twap.least_lots, seed=twap.seed
    )  # fmt: skip
    assert (again, again.sizes, again.times_ns, hash(again)) == (twap, twap.sizes, twap.times_ns, hash(twap))


def test_drawn_slices_differ_from_each_other_and_by_seed() -> None:
    """Sizes stay between half and one and a half times the mean, roughly; times are no lattice."""
    drawn = [Twap(total_lots=6_000, duration_ns=600 * SECOND_NS, slices=60, seed=seed) for seed in (1, 2)]
    assert drawn[0].sizes != drawn[1].sizes and drawn[0].times_ns != drawn[1].times_ns
    for twap in drawn:
        assert len(set(twap.sizes)) > 20 and min(twap.sizes) > 40 and max(twap.sizes) < 170


@pytest.mark.parametrize(
    ("given_", "slices"),
    [
        ({"total_lots": 1_000, "duration_ns": 600 * SECOND_NS}, 60),
        ({"total_lots": 1_000, "duration_ns": 10 * SECOND_NS}, 10),
        ({"total_lots": 1_000, "duration_ns": 600 * SECOND_NS, "least_lots": 100}, 10),
        ({"total_lots": 1_000, "duration_ns": 600 * SECOND_NS, "least_lots": 100, "seed": 1}, 5),
        ({"total_lots": 199, "duration_ns": 600 * SECOND_NS, "least_lots": 100}, 1),
        ({"total_lots": 5, "duration_ns": 1}, 1),
    ],
)
def test_a_number_of_slices_left_open_fits(given_: dict[str, Any], slices: int) -> None:
    """As many as the smallest order allows, at most 60, no closer than a second."""
    twap = Twap(**given_)
    assert twap.slices == len(twap.sizes) == slices


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"slices": 5, "total_lots": 48, "least_lots": 10}, "5 slices of 9 lots are below the smallest order of 10 lots"),
        ({"slices": 12, "total_lots": 48, "least_lots": 10}, "write at most 4 slices, or flatten at once"),
        ({"slices": 2, "total_lots": 19, "least_lots": 10}, "write at most 1 slice, or"),
        ({"total_lots": 9, "least_lots": 10}, "9 lots are below the smallest order of 10 lots: there is nothing to slice"),
        ({"slices": 0}, "slices is 0; write a whole number from 1 to 100"),
        ({"slices": -3}, "slices is -3"),
        ({"slices": 20_000, "total_lots": 10**6}, "20000 slices are too many: write at most 10000"),
        ({"slices": 4, "duration_ns": 3}, "4 slices in 3 ns"),
        ({"duration_ns": 0}, "duration_ns is 0; write a time above zero"),
        ({"total_lots": 0}, "total_lots is 0; write a whole number from 1"),
        ({"least_lots": 0}, "least_lots is 0; write a whole number from 1"),
    ],
)  # fmt: skip
def test_a_twap_that_cannot_be_is_refused_with_what_to_write(given_: dict[str, Any], said: str) -> None:
    """Never a silent number."""
    with pytest.raises(ConfigError, match=said.replace("(", r"\(")):
        Twap(**{"total_lots": 100, "duration_ns": SECOND_NS, **given_})


@given(st.integers(1, 500), st.integers(1, 60), st.integers(1, 40))
def test_the_number_that_an_error_offers_would_do(total: int, slices: int, least: int) -> None:
    """What it says to write is taken."""
    try:
        check_slices(total, slices, least)
    except ConfigError as error:
        words = str(error)
        if "write at most" in words:
            check_slices(total, int(words.split("write at most ")[1].split()[0]), least)
        else:
            assert total < least


# --- iceberg -----------------------------------------------------------------------------------------------------------


@given(icebergs())
def test_clips_add_up_and_only_the_last_may_be_larger(iceberg: Iceberg) -> None:
    """Each can be sent; none shows more than allowed, but for a last one that takes a rest along."""
    *others, last = iceberg.sizes
    assert sum(iceberg.sizes) == iceberg.total_lots and min(iceberg.sizes) >= iceberg.least_lots
    assert all(lots <= iceberg.shown_lots for lots in others)
    assert last < iceberg.shown_lots + iceberg.least_lots
    if iceberg.seed is None:
        assert set(others) <= {iceberg.shown_lots}


@given(icebergs(), st.lists(st.floats(0.01, 1), max_size=200), st.integers(0, 3))
def test_every_clip_can_be_sent_however_it_fills(iceberg: Iceberg, fills: list[float], dearer: int) -> None:
    """After any fills what is shown next is neither too small nor more than is left, and it comes to an end."""
    done, least = 0, iceberg.least_lots * (1 + dearer)
    for part in (*fills, *[1.0] * 2 * len(iceberg.sizes)):
        clip, left = iceberg.clip(done, least), iceberg.total_lots - done
        assert clip <= left and (clip >= least or clip == left)
        assert clip == left or left - clip >= least
        assert clip < max(iceberg.shown_lots, least) + iceberg.shown_lots + 2 * least
        if not left:
            break
        done += max(1, round(clip * part))
    assert done == iceberg.total_lots and iceberg.clip(done) == 0


def test_a_clip_is_shown_to_its_end_before_the_next() -> None:
    """A clip that has filled in part and must be sent again is sent for its rest."""
    iceberg = Iceberg(total_lots=25, shown_lots=10, least_lots=3)
    assert iceberg.sizes == (10, 10, 5)
    assert [iceberg.clip(done) for done in (-4, 0, 6, 8, 10, 20, 21, 23, 25)] == [10, 10, 4, 12, 10, 5, 4, 2, 0]


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        (
            {"shown_lots": 4},
            "clips of 4 lots are below the smallest order of 5 lots: show at least 5 lots, or flatten at once",
        ),
        ({"shown_lots": 101}, "a clip of 101 lots shows more than there is, 100 lots"),
        ({"total_lots": 4}, "4 lots are below the smallest order of 5 lots"),
        ({"total_lots": 10**6, "shown_lots": 5}, "clips of 5 lots would be more than 10,000: show at least 100 lots"),
    ],
)
def test_an_iceberg_that_cannot_be_is_refused_with_what_to_write(given_: dict[str, Any], said: str) -> None:
    """Never a silent number."""
    with pytest.raises(ConfigError, match=said):
        Iceberg(**{"total_lots": 100, "shown_lots": 10, "least_lots": 5, **given_})


# --- both --------------------------------------------------------------------------------------------------------------


@given(twaps() | icebergs())
def test_a_frame_shows_the_slices(schedule: Twap | Iceberg) -> None:
    """One row a slice."""
    frame = schedule.to_frame()
    assert frame["lots"].to_list() == list(schedule.sizes)
    assert frame["out_lots"].to_list() == list(accumulate(schedule.sizes))
    assert frame["slice"].to_list() == list(range(1, len(schedule.sizes) + 1))
    assert ("at_ns" in frame.columns) == isinstance(schedule, Twap)


@given(twaps() | icebergs(), st.floats(0, 1), st.integers(0, 4_000 * SECOND_NS))
def test_progress_counts_whole_slices(schedule: Twap | Iceberg, part: float, elapsed: int) -> None:
    """All of them only when all is out, and then nothing is waited for."""
    done = int(schedule.total_lots * part)
    progress = schedule.progress(done, elapsed) if isinstance(schedule, Twap) else schedule.progress(done)
    assert (progress.slices_done == progress.slices) == (done == schedule.total_lots)
    assert sum(schedule.sizes[: progress.slices_done]) <= done
    if progress.wait_ns is not None:
        assert progress.wait_ns > 0 and isinstance(schedule, Twap) and done < schedule.total_lots


def test_progress_reads_well() -> None:
    """In lots, or in the units of an instrument."""
    progress = Progress(done_lots=4, total_lots=12, slices_done=3, slices=10, wait_ns=12 * SECOND_NS)
    assert progress.text(lambda lots: f"{lots / 1000:g} BTC") == "3 of 10 slices, 0.004 of 0.012 BTC out, next in 12 s"
    assert repr(Iceberg(total_lots=9, shown_lots=3).progress(9)) == "3 of 3 slices, 9 of 9 lots out"
