"""Labels beside hftbacktest: the same orders, filled by another program."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from grinder_kit.fillprob.labels import LabelOptions, label
from grinder_kit.market.recording import Recording
from grinder_kit.model.config import ExecutionConfig

pytest.importorskip("hftbacktest", reason="the peer is not installed: pip install .[bench]")

NOT_FILLED, REFUSED = 0, -1
HORIZONS_S = (1, 5, 10)
AGREE = 0.96
#: The peer knows depth alone and fills half a lot past the queue, or when the best of the depth reaches the price.
PEERS_RULES = ExecutionConfig(queue="power", partial_fills=False)


@functools.cache
def peer_events(raw: Path) -> Any:
    """Return the peer's events of a raw file; it holds no reference to them, so that this cache must."""
    from hftbacktest.data.utils import binancefutures

    return binancefutures.convert(str(raw), combined_stream=True)


@functools.cache
def peer_run() -> Any:
    """Return what sends orders to the peer and notes when they fill, compiled once."""
    from hftbacktest import EXPIRED, FILLED, GTX, LIMIT
    from numba import njit

    @njit  # type: ignore[untyped-decorator]
    def run(backtest: Any, times: Any, sides: Any, prices: Any, sizes: Any, out: Any) -> None:
        backtest.elapse(0)  # sets its clock to the first event
        for at in range(len(times)):
            if backtest.elapse(times[at] - backtest.current_timestamp) != 0:
                break
            if sides[at] > 0:
                backtest.submit_buy_order(0, at + 1, prices[at], sizes[at], GTX, LIMIT, False)
            else:
                backtest.submit_sell_order(0, at + 1, prices[at], sizes[at], GTX, LIMIT, False)
        while backtest.elapse(1_000_000_000) == 0:
            pass
        values = backtest.orders(0).values()
        while values.has_next():
            order = values.get()
            if order.status == FILLED:
                out[order.order_id - 1] = order.exch_timestamp
            elif order.status == EXPIRED:
                out[order.order_id - 1] = REFUSED

    return run


def peer_fills(raw: Path, orders: pl.DataFrame, tick: float) -> np.ndarray[Any, Any]:
    """Return when the peer fills each order (ns), NOT_FILLED, or REFUSED."""
    from hftbacktest import BacktestAsset, ROIVectorMarketDepthBacktest

    asset = (
        BacktestAsset()
        .data([peer_events(raw)])
        .linear_asset(1.0)
        .constant_order_latency(0, 0)
        .power_prob_queue_model(2.0)
        .no_partial_fill_exchange()
        .trading_value_fee_model(0.0, 0.0)
        .tick_size(tick)
        .lot_size(0.001)
        .roi_lb(0.0)
        .roi_ub(2_000_000 * tick)
    )
    backtest = ROIVectorMarketDepthBacktest([asset])
    out = np.full(orders.height, NOT_FILLED, np.int64)
    times, sides = orders["ts_ns"].to_numpy(), orders["side"].to_numpy()
    peer_run()(backtest, times, sides, orders["ticks"].to_numpy() * tick, orders["lots"].to_numpy() * 0.001, out)
    backtest.close()
    return out


@pytest.fixture(params=["btc", "eth"])
def market(request: pytest.FixtureRequest, shared_data: Path) -> tuple[Recording, Path]:
    """Return a recording and the raw file that it was made of."""
    recording: Recording = request.getfixturevalue(f"{request.param}_recording")
    return recording, shared_data / "ticks" / "hftbacktest" / f"usdm_{request.param}usdt_20240808.gz"


def test_labels_agree_with_the_peer(market: tuple[Recording, Path]) -> None:
    """At the touch, at least 96 of 100 orders are filled within 1, 5 and 10 s in both, or in neither."""
    recording, raw = market
    labels = label(recording, options=LabelOptions(ticks=(0,), distances_bps=()))
    orders = labels.frame.filter(pl.col("watched_s") >= max(HORIZONS_S))
    at = peer_fills(raw, orders, float(recording.instrument.tick))
    accepted = at != REFUSED  # the peer's book is made of depth alone, and may be a quote behind
    assert orders.height > 2_500 and accepted.mean() > 0.97
    theirs = np.where(at > 0, (at - orders["ts_ns"].to_numpy()) / 1e9, np.inf)
    ours = np.where(orders["filled_power"], orders["time_s_power"], np.inf)
    agree = {h: float(((ours <= h) == (theirs <= h))[accepted].mean()) for h in HORIZONS_S}
    assert min(agree.values()) >= AGREE, agree


def test_under_the_peers_rules_labels_are_the_peers_fills(market: tuple[Recording, Path]) -> None:
    """With the peer's own assumptions every order fills at the same nanosecond in both, at the touch and away from it."""
    recording, raw = market
    options = LabelOptions(ticks=(0, 1), distances_bps=(1, 3), execution=PEERS_RULES)
    orders = label(recording, options=options).frame
    at = peer_fills(raw, orders, float(recording.instrument.tick))
    joined = orders["ts_ns"].to_numpy()
    watched = joined + (orders["watched_s"].to_numpy() * 1e9).round().astype(np.int64)
    theirs = np.where(at <= watched, at, NOT_FILLED)
    ours = np.where(
        orders["filled_power"], joined + (orders["time_s_power"].to_numpy() * 1e9).round().astype(np.int64), 0
    )
    assert (theirs == ours).all() and (ours > 0).sum() > 5_000
