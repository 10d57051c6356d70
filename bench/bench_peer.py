"""The peer: hftbacktest 2.4.4 with its own plain grid, as one pass over the same recording.

The grid is written here against hftbacktest's public interface, with the parameters of examples/hftbacktest_grid.toml; its fills are
those of data/vectors. Conversion is done once and is not part of a pass.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from hftbacktest import BUY, GTX, LIMIT, BacktestAsset, ROIVectorMarketDepthBacktest
from hftbacktest.data.utils import binancefutures
from numba import njit, uint64
from numba.typed import Dict


def convert(raw: Path) -> Any:
    """Return the peer's events of a raw file: both streams in order, in memory."""
    return binancefutures.convert(str(raw), combined_stream=True)


def timed_pass(events: Any, *, power: float = 2.0, tick: float = 0.1, roi: float = 200_000.0) -> tuple[float, int]:
    """Run the grid once; return the seconds of the pass itself and the number of trades."""
    asset = (
        BacktestAsset()
        .data([events])
        .linear_asset(1.0)
        .constant_order_latency(10_000_000, 10_000_000)
        .power_prob_queue_model(power)
        .no_partial_fill_exchange()
        .trading_value_fee_model(0.0002, 0.0005)
        .tick_size(tick)
        .lot_size(0.001)
        .roi_lb(0.0)
        .roi_ub(roi)
    )
    backtest = ROIVectorMarketDepthBacktest([asset])
    start = time.perf_counter()
    grid(backtest, tick)
    seconds = time.perf_counter() - start
    trades = int(backtest.state_values(0).num_trades)
    backtest.close()
    return seconds, trades


@njit
def grid(backtest: Any, tick: float) -> None:
    """Quote 20 levels a side, 10 ticks apart, 20 ticks from mid; stop a side at a position of 5."""
    interval, half_spread, quantity, limit = tick * 10, tick * 20, 0.1, 5.0
    while backtest.elapse(100_000_000) == 0:
        backtest.clear_inactive_orders(0)
        depth = backtest.depth(0)
        position = backtest.position(0)
        mid = (depth.best_bid + depth.best_ask) / 2.0
        bid = np.floor((mid - half_spread) / interval) * interval
        ask = np.ceil((mid + half_spread) / interval) * interval
        orders = backtest.orders(0)
        bids = Dict.empty(np.uint64, np.float64)
        if position < limit and np.isfinite(bid):
            for _ in range(20):
                bids[uint64(round(bid / tick))] = bid
                bid -= interval
        asks = Dict.empty(np.uint64, np.float64)
        if position > -limit and np.isfinite(ask):
            for _ in range(20):
                asks[uint64(round(ask / tick))] = ask
                ask += interval
        values = orders.values()
        while values.has_next():
            order = values.get()
            unwanted = order.order_id not in (bids if order.side == BUY else asks)
            if order.cancellable and unwanted:
                backtest.cancel(0, order.order_id, False)
        for number, price in bids.items():
            if number not in orders:
                backtest.submit_buy_order(0, number, price, quantity, GTX, LIMIT, False)
        for number, price in asks.items():
            if number not in orders:
                backtest.submit_sell_order(0, number, price, quantity, GTX, LIMIT, False)
