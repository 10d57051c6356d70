"""What labels show of orders like one: shares, intervals, times; and what they must not show."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import grinder_kit as gk
from grinder_kit.fillprob.labels import LabelOptions, LabelSet, label
from grinder_widgets import explorer_evidence as module
from grinder_widgets.explorer_evidence import Evidence, later, of_size, product_limit
from grinder_widgets.explorer_models import Asked
from tests.widgets.explorers import asked, evidence, fitted, parts


def by_hand(labels: LabelSet, order: Asked, queue: str = "power") -> pl.DataFrame:
    """Return the orders like one, at any distance, with whether they filled in time."""
    apart = module.SIGMA_FACTOR
    return labels.frame.filter(
        pl.col("sigma").is_between(order.sigma / apart, order.sigma * apart),
        (pl.col("imb_own") - order.imb_own).abs() <= module.IMBALANCE_APART,
        pl.col("side") == order.side,
        pl.col("watched_s") >= order.horizon_s,
    ).with_columns(inside=pl.col(f"filled_{queue}") & (pl.col(f"time_s_{queue}") <= order.horizon_s))


@pytest.mark.parametrize("horizon_s", [1, 10, 60])
@pytest.mark.parametrize("side", ["buy", "sell"])
def test_observed_shares_are_those_of_the_frame(horizon_s: float, side: str) -> None:
    """Around the distance and at the touch, orders and fills are counted as a filter of the labels counts them."""
    away = asked(side=side, horizon_s=horizon_s, distance_bps=3.0)
    rows = by_hand(parts()[1], away).filter(~pl.col("at_touch"), (pl.col("distance_bps") - 3).abs() <= 0.45)
    found = evidence().around(away)
    assert (found.orders[0], found.fills[0]) == (rows.height, rows["inside"].sum())
    near = asked(side=side, horizon_s=horizon_s, distance_bps=0.0)
    for queue, shares in evidence().at_touch(near).items():
        rows = by_hand(parts()[1], near, queue).filter(
            "at_touch", pl.col("queue_s").is_between(near.queue_s / 2, near.queue_s * 2)
        )
        assert (shares.orders[0], shares.fills[0]) == (rows.height, rows["inside"].sum())


def test_distances_share_no_order_and_lose_none() -> None:
    """The groups by distance hold each order once; at the touch it is the group around an order at the touch."""
    order = asked(distance_bps=0.0)
    found = evidence().by_distance(order)
    rows = by_hand(parts()[1], order)
    like = rows.filter(~pl.col("at_touch") | pl.col("queue_s").is_between(order.queue_s / 2, order.queue_s * 2))
    assert found.orders.sum() == like.height
    assert found.orders[0] == evidence().around(order).orders[0]
    assert (np.diff(found.distance_bps[found.orders > 0]) > 0).all(), (
        "the touch is the nearest, then farther and farther"
    )


def test_few_orders_are_no_share_and_few_blocks_no_interval() -> None:
    """Under 30 orders a group is left out; where all filled, or none, no interval is claimed."""
    found = evidence().by_distance(asked())
    enough = found.enough()
    assert (enough.orders >= module.FEWEST_ORDERS).all() and len(enough.orders) < len(found.orders) + 1
    certain = (found.fills == 0) | (found.fills == found.orders)
    assert np.isnan(found.low[certain]).all() and certain.any()
    known = np.isfinite(found.low)
    assert known.any() and (found.low <= found.share)[known].all() and (found.share <= found.high)[known].all()
    nothing = evidence().by_distance(asked(sigma=20.0))
    assert nothing.orders.sum() == 0 and np.isnan(nothing.low).all() and len(nothing.enough().orders) == 0


def test_interval_knows_that_orders_of_a_block_are_alike() -> None:
    """Every order five times over says no more than once: the interval stays."""
    order = asked(distance_bps=3.0)
    labels = parts()[1]
    many = replace(labels, frame=pl.concat([labels.frame] * 5).sort("ts_ns"))
    once, five = evidence().around(order), Evidence.of(many, (), "power").around(order)
    assert five.orders[0] == 5 * once.orders[0]
    assert (five.low[0], five.high[0]) == (once.low[0], once.high[0])


def test_product_limit_by_hand() -> None:
    """Six orders, two of them lost: the textbook's steps; the lost ones stand on the curve."""
    found = product_limit(np.array([1.0, 2, 2, 3, 4, 5]), np.array([True, True, False, True, False, True]))
    assert found.time_s.tolist() == [1, 2, 3, 4, 5]
    after_2 = 1 - 5 / 6 * 4 / 5
    after_3 = 1 - 5 / 6 * 4 / 5 * 2 / 3
    assert found.share == pytest.approx([1 / 6, after_2, after_3, after_3, 1])
    assert found.censored_s.tolist() == [2, 4] and found.censored_share == pytest.approx([after_2, after_3])
    assert (found.orders, found.censored) == (6, 2)


@given(st.lists(st.integers(1, 600), min_size=1, max_size=400))
def test_product_limit_without_censoring_counts(tenths: list[int]) -> None:
    """Where every order filled, the curve is the share that had; it is thinned, never bent."""
    times = np.array(tenths) / 10
    found = product_limit(times, np.ones(len(times), np.bool_))
    assert found.share == pytest.approx([(times <= t).mean() for t in found.time_s])
    assert found.share[-1] == 1 and found.censored == 0 and len(found.censored_s) == 0


def test_product_limit_of_nothing() -> None:
    """No order, no curve."""
    found = product_limit(np.empty(0), np.empty(0, np.bool_))
    assert found.orders == 0 and len(found.time_s) == 0


def test_only_later_rows_are_unseen() -> None:
    """Of labels that hold the training, those after it count; those of the training alone are not unseen."""
    train, test = parts()
    training = fitted().training
    assert training is not None
    whole = replace(
        train, frame=pl.concat([train.frame, test.frame]), window_ns=(train.window_ns[0], test.window_ns[1])
    )
    rest, unseen = later(whole, (training,))
    assert unseen and rest.frame.equals(test.frame) and rest.window_ns == test.window_ns
    assert not training.overlaps(rest)
    assert later(train, (training,)) == (train, False)
    assert later(test, (training,)) == (test, True)
    assert later(train, ()) == (train, True)


def test_sizes_of_one_label_set_are_told_apart() -> None:
    """Rounded to lots, each order belongs to the size that it was placed for; every order to one."""
    sizes = tuple(Decimal(size) for size in (120, 1_000, 10_000))
    labels = label(gk.synthetic_market(seed=7, minutes=2), options=LabelOptions(sizes_quote=sizes))
    found = [of_size(labels, size) for size in labels.options.sizes_quote]
    assert sum(len(one) for one in found) == len(labels)
    for size, one in zip(sizes, found, strict=True):
        assert len(one) == len(labels) / len(sizes)
        assert one.frame["size_quote"].max() <= size < one.frame["size_quote"].min() * 2
