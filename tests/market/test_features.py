"""Features: what they mean, that they never see the future, and that live and batch are one rule."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grinder_kit.errors import ConfigError
from grinder_kit.market import features as rule
from grinder_kit.market.feature_batch import best_levels
from grinder_kit.market.features import NAMES, FeatureState, features
from grinder_kit.market.schema import COLUMNS
from grinder_kit.market.synthetic import synthetic_market
from grinder_kit.model.market import Features, Quote

TICK = Decimal("0.1")
S = 1_000_000_000
T0 = 1_700_000_100 * S  # a bar begins here
SILENCE = rule.SILENCE_NS

Event = tuple[int, Quote | None, int | None]  # local time, quote, price of a trade


def quote(bid: int, ask: int, bid_lots: int = 10, ask_lots: int = 10) -> Quote:
    """Return a two-sided quote."""
    return Quote(bid_ticks=bid, ask_ticks=ask, bid_lots=bid_lots, ask_lots=ask_lots)


def live(events: list[Event], times: list[int]) -> list[Features]:
    """Return the features at rising `times`, each after the events up to it."""
    state, out, at = FeatureState(TICK), [], 0
    for now in times:
        while at < len(events) and events[at][0] <= now:
            state.update(events[at][0], quote=events[at][1], trade_ticks=events[at][2])
            at += 1
        out.append(state.features(now))
    return out


def rows(events: list[Event]) -> pl.DataFrame:
    """Return events as the rows of a recording."""
    out: list[tuple[Any, ...]] = []
    for seq, (ts_ns, now, price) in enumerate(events):
        if now is not None:
            out.append((ts_ns, ts_ns, seq, "bbo", "buy", now.bid_ticks, now.bid_lots, seq))
            out.append((ts_ns, ts_ns, seq, "bbo", "sell", now.ask_ticks, now.ask_lots, seq))
        else:
            out.append((ts_ns, ts_ns, seq, "trade", "buy", price, 1, seq))
    return pl.DataFrame(out, schema=COLUMNS, orient="row")


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Draw events with short and long pauses, also such that end the memory of the rule."""
    pauses = st.sampled_from([0, 1, S // 10, S, 7 * S, 45 * S, 299 * S, 601 * S])
    ts_ns = T0 + draw(st.integers(0, 400 * S))
    events: list[Event] = []
    for _ in range(draw(st.integers(1, 40))):
        ts_ns += draw(pauses)
        bid = draw(st.integers(5_000, 5_020))
        if draw(st.booleans()):
            spread, bid_lots, ask_lots = draw(st.tuples(st.integers(1, 3), st.integers(1, 99), st.integers(1, 99)))
            events.append((ts_ns, quote(bid, bid + spread, bid_lots, ask_lots), None))
        else:
            events.append((ts_ns, None, bid))
    return events


def test_one_quote_gives_mid_spread_and_imbalance_and_nothing_else() -> None:
    """The features of the moment come with the first quote; everything that needs a past is missing, not zero."""
    (got,) = live([(T0, quote(10_000, 10_002, 30, 10), None)], [T0])
    assert (got.mid, got.imbalance, got.ts_ns) == (pytest.approx(1000.1), 0.5, T0)
    assert got.spread_bps == pytest.approx(2 / 10_001 * 1e4)
    assert (got.sigma_bps, got.natr_14_5m, got.natr_proxy, got.natr_bps) == (None, None, None, None)
    assert got.ofi_zscore == 0.0


def test_a_side_without_orders_leaves_no_mid() -> None:
    """A one-sided book has no mid, spread or imbalance."""
    state = FeatureState(TICK)
    state.update(T0, quote=quote(100, 101))
    state.update(T0 + 1, quote=Quote(bid_ticks=100, ask_ticks=None, bid_lots=5))
    got = state.features(T0 + 1)
    assert (got.mid, got.spread_bps, got.imbalance) == (None, None, None)


def test_sigma_is_the_weighted_root_mean_square_of_ten_or_more_one_second_returns() -> None:
    """Sigma is missing until 10 returns, then the EWMA with a half-life of 30 s of their squares."""
    mids = [50_000, 50_010, 50_010, 49_990, 50_030, 50_040, 50_000, 50_000, 50_010, 50_020, 50_000, 50_050]
    events: list[Event] = [(T0 + k * S + S // 2, quote(m, m + 2), None) for k, m in enumerate(mids)]
    got = live(events, [T0 + k * S for k in range(1, 13)])
    assert [g.sigma_bps is None for g in got] == [True] * 10 + [False] * 2
    changes = [(b - a) / (a + 1) * 1e4 for a, b in zip(mids[:11], mids[1:11], strict=False)]
    weights = [0.5 ** ((len(changes) - 1 - k) / 30) for k in range(len(changes))]
    mean = sum(w * c * c for w, c in zip(weights, changes, strict=True)) / sum(weights)
    assert got[10].sigma_bps == pytest.approx(math.sqrt(mean))
    assert got[10].natr_proxy == pytest.approx(math.sqrt(8 / math.pi) * math.sqrt(mean) * math.sqrt(300) / 1e4)
    assert got[10].natr_is_proxy
    assert got[10].natr_bps == round(got[10].natr_proxy * 1e4)


def test_natr_needs_fifteen_bars_seen_whole_and_is_the_mean_true_range_over_the_close() -> None:
    """The first bar counts only when seen from its beginning; 15 bars give 14 true ranges."""
    for late, warm in ((0, 15), (1, 16)):
        events: list[Event] = []
        for bar in range(17):
            start = T0 + bar * 300 * S + (late if bar == 0 else 0)
            events += [
                (start, None, 1_000 + bar),
                (start + 9 * S, None, 1_010 + bar),
                (start + 20 * S, None, 1_005 + bar),
            ]
        got = live(events, [T0 + bar * 300 * S + 250 * S for bar in range(17)])
        assert [g.natr_14_5m is not None for g in got] == [bar >= warm for bar in range(17)]
        assert got[16].natr_14_5m == pytest.approx(10 / (1_005 + 15))
        assert not got[16].natr_is_proxy


def test_a_prelude_of_bars_warms_natr_up() -> None:
    """Fifteen completed bars before the first event stand for the 75 minutes."""
    bars = [(101.0, 99.0, 100.0)] * 15
    state = FeatureState(TICK)
    state.prelude(bars[:14])
    assert state.features(T0).natr_14_5m is None
    state.prelude(bars[14:])
    state.update(T0, quote=quote(1_000, 1_001))
    assert state.features(T0).natr_14_5m == pytest.approx(0.02)
    with pytest.raises(ConfigError, match="before the first event"):
        state.prelude(bars)
    with pytest.raises(ConfigError, match="low <= close <= high"):
        FeatureState(TICK).prelude([(99.0, 101.0, 100.0)])


def test_order_flow_counts_best_level_events_and_skips_the_first() -> None:
    """Flow: plus what joins or lifts the bid, minus what joins or lowers the ask; a first quote is no event."""
    f, i, ring = rule.init_state()
    steps = [
        ((100, 50, 101, 40), 0),  # the first: its previous state would be a fake
        ((100, 70, 101, 40), 20),  # bid joined
        ((101, 5, 102, 40), 5 + 40),  # ask eaten, bid stepped up
        ((101, 5, 102, 90), -50),  # ask joined
        ((100, 70, 101, 8), -5 - 8),  # down again
    ]
    total = 0
    for k, (best, flow) in enumerate(steps):
        rule.advance(f, i, ring, T0 + k)
        rule.on_quote(f, i, ring, T0 + k, *best)
        total += flow
        assert i[rule.FLOW] == total


def test_ofi_zscore_is_clipped_signed_and_zero_before_thirty_samples() -> None:
    """Thirty whole windows of 10 s come first; a burst of buying then gives +5, of selling -5."""
    for sign in (1, -1):
        events: list[Event] = [(T0 + k * S + 1, quote(100, 101, 50 + k % 2, 50), None) for k in range(60)]
        burst = quote(100, 101, 5_000, 50) if sign > 0 else quote(100, 101, 50, 5_000)
        events.append((T0 + 60 * S, burst, None))
        got = live(events, [T0 + k * S + S // 2 for k in range(62)])
        assert all(g.ofi_zscore == 0.0 for g in got[:39])
        assert got[45].ofi_zscore != 0.0
        assert got[61].ofi_zscore == 5.0 * sign


def test_a_long_silence_starts_anew_with_bounded_work() -> None:
    """A day without events costs no more than 600 seconds of it, and nothing from before it survives."""
    state = FeatureState(TICK)
    for k in range(60):
        state.update(T0 + k * S, quote=quote(1_000 + k % 3, 1_002 + k % 3))
    assert state.features(T0 + 60 * S).sigma_bps is not None
    got = state.features(T0 + 86_400 * 365 * S)
    assert (got.mid, got.sigma_bps, got.ofi_zscore) == (None, None, None)


@given(events=histories(), cut=st.integers(1, 39), every=st.sampled_from([S, 13 * S]))
@settings(max_examples=25)
def test_appending_rows_leaves_earlier_values_bit_equal(events: list[Event], cut: int, every: int) -> None:
    """What a row says was known at its time: later events never change it."""
    whole = features(rows(events), every_ns=every, quotes="bbo", tick=TICK)
    part = features(rows(events[:cut]), every_ns=every, quotes="bbo", tick=TICK)
    assert whole.head(len(part)).equals(part)


@given(events=histories(), every=st.sampled_from([S, 13 * S]))
@settings(max_examples=25)
def test_the_batch_equals_the_live_rule_bit_by_bit(events: list[Event], every: int) -> None:
    """The compiled batch and FeatureState give the same bits at the same times."""
    batch = features(rows(events), every_ns=every, quotes="bbo", tick=TICK)
    got = live(events, batch["ts_ns"].to_list())
    assert [tuple(getattr(g, name) for name in NAMES) for g in got] == batch.select(NAMES).rows()


@given(events=histories(), reads=st.lists(st.integers(0, 9_000 * S), max_size=30))
@settings(max_examples=25)
def test_reading_changes_nothing(events: list[Event], reads: list[int]) -> None:
    """However often the features are read between events, the last reading is the same."""
    end = events[-1][0] + 3 * S
    extra = sorted({events[0][0] + r for r in reads if events[0][0] + r < end})
    assert live(events, [*extra, end])[-1] == live(events, [end])[-1]


def test_depth_rows_give_the_quotes_of_the_best_prices_feed() -> None:
    """The book of snapshot and diffs has the synthetic market's own best prices, so both sources agree."""
    market = synthetic_market(seed=5, minutes=1)
    depth, best = (np.concatenate(list(best_levels(market.batches(), quotes))) for quotes in ("depth", "bbo"))
    from_depth, from_best = (events[events[:, 1] == 0, 2:] for events in (depth, best))
    changed = np.r_[True, (np.diff(from_depth, axis=0) != 0).any(axis=1)]
    from_depth = from_depth[changed]
    skipped = len(from_depth) - len(from_best)  # the snapshot may be repeated by the first bbo or not
    assert skipped in (0, 1)
    assert (from_depth[skipped:] == from_best).all()


def test_messages_that_change_nothing_keep_the_market_alive() -> None:
    """A touch that stands still for an hour while messages arrive is no silence, live and in the batch."""
    events: list[Event] = [(T0 + k * 100 * S, quote(100, 101), None) for k in range(36)]
    batch = features(rows(events), quotes="bbo", tick=TICK)
    assert batch["sigma_bps"].to_list()[-1] == 0.0
    assert batch["mid"].null_count() == 0
    assert live(events, [events[-1][0]])[0].sigma_bps == 0.0


def test_a_gap_makes_the_book_unknown_until_it_is_anchored() -> None:
    """After a gap row there is no mid; a new snapshot brings it back, and is no order flow."""
    schema = COLUMNS
    data = [
        (T0, T0, 1, "snapshot", "buy", 100, 5, 1),
        (T0, T0, 1, "snapshot", "sell", 101, 5, 1),
        (T0 + 2 * S, T0 + 2 * S, 2, "gap", "none", 0, 0, 7),
        (T0 + 4 * S, T0 + 4 * S, 3, "snapshot", "buy", 110, 5_000, 9),
        (T0 + 4 * S, T0 + 4 * S, 3, "snapshot", "sell", 111, 5, 9),
        (T0 + 6 * S, T0 + 6 * S, 4, "trade", "buy", 111, 1, 1),
    ]
    got = features(pl.DataFrame(data, schema=schema, orient="row"), tick=TICK)
    assert [None if mid is None else round(mid, 2) for mid in got["mid"]] == [10.05, 10.05, None, None, 11.05, 11.05]


def test_bad_arguments_say_what_to_write() -> None:
    """A frame without a tick, an unknown source and a distance of zero are refused in words."""
    frame = rows([(T0, quote(1, 2), None)])
    with pytest.raises(ConfigError, match="tick=instrument.tick"):
        features(frame)
    with pytest.raises(ConfigError, match='write "depth" or "bbo"'):
        features(frame, quotes="book", tick=TICK)
    with pytest.raises(ConfigError, match="above zero"):
        features(frame, every_ns=0, tick=TICK)


def test_the_uncompiled_rule_on_arrays_equals_the_lists_of_the_live_state() -> None:
    """NumPy state, as the kernel holds it, gives the numbers of FeatureState."""
    rng = np.random.default_rng(3)
    f, i, ring = rule.init_state()
    out = np.full(rule.FEATURES, math.nan)
    state, ts_ns = FeatureState(TICK), T0
    for _ in range(400):
        ts_ns += int(rng.integers(1, S))
        bid, bid_lots, ask_lots = (int(x) for x in rng.integers(1_000, 1_010, 3))
        rule.advance(f, i, ring, ts_ns)
        rule.on_quote(f, i, ring, ts_ns, bid, bid_lots, bid + 1, ask_lots)
        state.update(ts_ns, quote=quote(bid, bid + 1, bid_lots, ask_lots))
        rule.read(f, i, ring, float(TICK), out)
        assert rule.as_features(int(i[rule.LAST_NS]), out) == state.features(ts_ns)
