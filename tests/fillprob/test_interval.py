"""Intervals: a bootstrap over blocks that covers what it should, and arithmetic that only ever widens."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.fillprob.interval import FEWEST_BLOCKS, Interval, block_mean


def test_nine_in_ten_intervals_hold_the_truth() -> None:
    """Values that share a block's luck: the interval over 20 blocks covers the true mean in about 90 % of 300 worlds."""
    rng = np.random.default_rng(5)
    block = np.repeat(np.arange(20), 30)
    held = 0
    for _ in range(300):
        values = 0.7 + rng.normal(0, 1, 20)[block] + rng.normal(0, 1, len(block))
        found = block_mean(values, block)
        assert found.low is not None and found.high is not None
        held += found.low <= 0.7 <= found.high
    assert 0.82 <= held / 300 <= 0.95


def test_few_blocks_have_no_interval() -> None:
    """Below five blocks the mean stands alone; it is the plain weighted mean either way."""
    values, weights = np.arange(12.0), np.arange(12.0) + 1
    for blocks in (1, FEWEST_BLOCKS - 1, FEWEST_BLOCKS):
        found = block_mean(values, np.arange(12) % blocks, weights)
        assert found.value == np.average(values, weights=weights)
        assert (found.low is None) == (blocks < FEWEST_BLOCKS)


def test_a_weight_of_nothing_is_left_out() -> None:
    """A block whose weights are 0 may be drawn alone and breaks nothing."""
    block = np.arange(6)
    found = block_mean(np.arange(6.0), block, np.array([1.0, 0, 0, 0, 0, 0]))
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


@given(
    ends=st.tuples(st.floats(-9, 9), st.floats(-9, 9), st.floats(-9, 9)), factor=st.floats(-5, 5), add=st.floats(-5, 5)
)
def test_a_line_keeps_the_order(ends: tuple[float, float, float], factor: float, add: float) -> None:
    """Scaling by a negative number turns the ends around."""
    low, value, high = sorted(ends)
    found = Interval(value=value, low=low, high=high).line(factor, add)
    assert found.low is not None and found.high is not None
    assert found.low <= found.value <= found.high


def test_an_end_at_zero_is_not_beyond_it() -> None:
    """An interval that touches zero cannot be told from it."""
    assert not Interval(value=1.0, low=0.0, high=2.0).distinguishable
    assert Interval(value=-1.0, low=-2.0, high=-0.1).distinguishable
    assert not Interval(value=1.0).distinguishable
