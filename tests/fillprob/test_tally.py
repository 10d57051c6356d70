"""The tally of own fills: the same score in pieces, in bounded memory; and the share that filled with censored orders in place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grinder_kit.execution.latency import kaplan_meier
from grinder_kit.fillprob import own_fills
from grinder_kit.fillprob.first_passage import FirstPassageModel
from grinder_kit.fillprob.own_fills import OwnScore, Tally, observed_by, score_own
from tests.fillprob.test_own_fills import TRUE, own_orders

SEEN = own_orders(5, 5.0, steps=30)


def in_pieces(ends: list[int]) -> OwnScore:
    """Return the score of SEEN, added in pieces that end there."""
    tally = Tally(TRUE)
    for start, end in zip([0, *ends], [*ends, len(SEEN)], strict=True):
        row = np.arange(len(SEEN))
        tally.add(SEEN.rows((start <= row) & (row < end)))
    return tally.score()


@settings(max_examples=25)
@given(st.lists(st.integers(0, len(SEEN)), max_size=6).map(sorted))
def test_pieces_come_to_the_whole(ends: list[int]) -> None:
    """However the orders come, empty pieces among them, the score is that of all at once."""
    whole, parts = score_own(TRUE, SEEN), in_pieces(ends)
    assert (parts.spells, parts.seen, parts.text) == (whole.spells, whole.seen, whole.text)
    for name in ("expected", "spread", "rcll"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name))
    assert [band[:3] for band in parts.bands] == [band[:3] for band in whole.bands]


def test_a_tally_holds_few_blocks_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Old blocks are folded into one number, and the range stays what it was."""
    monkeypatch.setattr(own_fills, "KEPT_BLOCKS", 3)
    tally = Tally(TRUE)
    for block in np.unique(SEEN.block):
        tally.add(SEEN.rows(SEEN.block == block))
    assert len(tally._off) == 3 and tally.score().spread == pytest.approx(score_own(TRUE, SEEN).spread)


def test_a_tally_of_nothing_says_so() -> None:
    """No spell, no likelihood, and a range of nothing."""
    tally = Tally(FirstPassageModel())
    tally.leave_out(3)
    score = tally.score()
    assert (score.spells, score.left_out, score.seen, score.range()) == (0, 3, 0, (0.0, 0.0)) and np.isnan(score.rcll)
    assert not score.disagrees


def test_far_off_is_told_from_off() -> None:
    """Outside 90 % is outside the range; outside 99 % is no chance any more."""
    values = {"model": "m", "spells": 9, "left_out": 0, "expected": 100.0, "spread": 10.0, "rcll": -1.0, "bands": ()}
    found = [OwnScore(seen=seen, **values) for seen in (110, 120, 130)]  # type: ignore[arg-type]
    assert [(score.inside, score.disagrees) for score in found] == [(True, False), (False, False), (False, True)]


# --- the share that filled -------------------------------------------------------------------------------------------

orders = st.lists(st.tuples(st.floats(0.01, 100), st.booleans()), min_size=1, max_size=60)


@given(orders, st.floats(1, 80))
def test_the_share_is_kaplan_meiers(rows: list[tuple[float, bool]], horizon_s: float) -> None:
    """By another implementation; the interval, where there is one, holds it and lies in [0, 1]."""
    time_s, filled = np.array([time for time, _ in rows]), np.array([one for _, one in rows])
    found = observed_by(time_s, filled, horizon_s)
    reached = [share for time, share in kaplan_meier(rows) if time <= horizon_s]
    assert found.value == pytest.approx(reached[-1] if reached else 0.0, abs=1e-12)
    if found.low is not None and found.high is not None:
        assert 0 <= found.low <= found.value + 1e-9 and found.value - 1e-9 <= found.high <= 1 and found.low < found.high


def test_nobody_who_rested_so_long_leaves_no_interval() -> None:
    """What is known then is a least."""
    assert observed_by(np.array([1.0, 2.0]), np.array([True, False]), 10.0).low is None
    assert observed_by(np.array([1.0, 12.0]), np.array([True, False]), 10.0).low is not None
    none_filled = observed_by(np.full(20, 12.0), np.zeros(20, bool), 10.0)
    assert (
        none_filled.value == none_filled.low == 0.0 and none_filled.high is not None and 0.05 < none_filled.high < 0.2
    )


def test_the_interval_holds_the_truth_in_nine_cases_of_ten() -> None:
    """Under censoring that has nothing to do with the fills."""
    rng, hits = np.random.default_rng(0), 0
    for _ in range(400):
        fill, withdrawn = rng.exponential(20.0, 80), rng.exponential(40.0, 80)
        found = observed_by(np.minimum(fill, withdrawn), fill <= withdrawn, 10.0)
        assert found.low is not None and found.high is not None
        hits += found.low <= 1 - np.exp(-0.5) <= found.high
    assert 0.86 <= hits / 400 <= 0.95
