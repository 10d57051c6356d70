"""Stylised facts of a market, measured and held against the ranges of real recordings (facts/fill-probability.md)."""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

if TYPE_CHECKING:
    from grinder_kit.market.source import Market

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_MS, _SECOND = 1_000_000, 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One measured fact and the range of it over six real recordings."""

    name: str
    value: float
    low: float
    high: float

    @property
    def inside(self) -> bool:
        """Whether the value lies in the range."""
        return self.low <= self.value <= self.high


def stylised_facts(market: Market) -> list[Fact]:
    """Return the facts of a market that has bbo and trade rows, on exchange time; memory grows with its best prices."""
    quotes, trades, depth = _collect(market)
    scale = float(market.instrument.tick * market.instrument.lot * market.instrument.contract_size)
    facts = [*_spread_and_moves(quotes), *_returns(quotes), *_orders(trades, scale), *_pressure(quotes)]
    for bps, low, high in ((1, 1.5, 3), (5, 11, 40), (10, 22, 107)):
        touch, inside = (float(np.mean([row[at] for row in depth])) for at in (0, bps))
        facts.append(Fact(name=f"depth inside {bps} bps / touch queue", value=inside / touch, low=low, high=high))
    touched, filled = _fills_at_touch(quotes, trades)
    facts.append(Fact(name="touch rule / queue-aware fills, touch, 1 s", value=touched / filled, low=1.5, high=3.0))
    return facts


def _collect(market: Market) -> tuple[Ints, Ints, list[dict[int, float]]]:
    """Return quotes (n, 5), trades (n, 4), and depth of both sides every 5 s by reach in bps (0: the touch queue)."""
    quotes, trades, depth = [], [], []
    book: tuple[dict[int, int], dict[int, int]] = ({}, {})
    next_ns = 0
    for frame in market.batches():
        best = frame.filter(pl.col("kind") == "bbo").select("exchange_ns", "seq", "side", "price", "quantity")
        quotes.append(best)
        trades.append(frame.filter(pl.col("kind") == "trade").select("exchange_ns", "side", "price", "quantity"))
        levels = frame.filter(pl.col("kind").is_in(["depth", "snapshot"]))
        columns = [levels[name].to_list() for name in ("exchange_ns", "side", "price", "quantity")]
        for ts_ns, side, price, quantity in zip(*columns, strict=True):
            if ts_ns >= next_ns and next_ns:
                depth += _reach(book)
                next_ns = (ts_ns // (5 * _SECOND) + 1) * 5 * _SECOND
            next_ns = next_ns or ts_ns + 5 * _SECOND
            own = book[0 if side == "buy" else 1]
            if quantity:
                own[price] = quantity
            else:
                own.pop(price, None)
    bids, asks = (pl.concat(quotes).filter(pl.col("side") == side) for side in ("buy", "sell"))
    both = bids.join(asks, on="seq", maintain_order="left")
    quote = both.select("exchange_ns", "price", "quantity", "price_right", "quantity_right").to_numpy()
    trade = pl.concat(trades).with_columns(pl.when(pl.col("side") == "buy").then(1).otherwise(-1).alias("side"))
    return quote.astype(np.int64), trade.to_numpy().astype(np.int64), depth


def _reach(book: tuple[dict[int, int], dict[int, int]]) -> list[dict[int, float]]:
    rows = []
    mid = (max(book[0]) + min(book[1])) / 2
    for own, best in ((book[0], max(book[0])), (book[1], min(book[1]))):
        near = [(abs(price - mid) / mid * 1e4, lots) for price, lots in own.items() if abs(price - mid) < mid * 1e-3]
        rows.append({0: float(own[best]), **{bps: float(sum(q for d, q in near if d <= bps)) for bps in (1, 5, 10)}})
    return rows


def _sampled(quotes: Ints, step_ns: int) -> tuple[Ints, Ints]:
    """Return grid times and, for each, the index of the last quote before it."""
    times = np.arange(quotes[0, 0] // step_ns * step_ns + step_ns, quotes[-1, 0], step_ns)
    return times, np.searchsorted(quotes[:, 0], times, side="left") - 1


def _mid(quotes: Ints) -> Floats:
    return np.asarray((quotes[:, 1] + quotes[:, 3]) / 2, np.float64)


def _acf(values: Floats, lag: int) -> float:
    return float(np.corrcoef(values[lag:], values[:-lag])[0, 1])


def _kurtosis(values: Floats) -> float:
    centred = values - values.mean()
    return float((centred**4).mean() / (centred**2).mean() ** 2)


def _spread_and_moves(quotes: Ints) -> list[Fact]:
    lasts = np.diff(quotes[:, 0])
    tight = (quotes[:, 3] - quotes[:, 1] == 1)[:-1]
    moves = quotes[1:, 0][np.diff(_mid(quotes)) != 0]
    gaps = np.diff(moves)
    span_s = (quotes[-1, 0] - quotes[0, 0]) / _SECOND
    return [
        Fact(name="time at a spread of one tick", value=float(lasts[tight].sum() / lasts.sum()), low=0.991, high=0.996),
        Fact(name="mid changes per s", value=len(moves) / span_s, low=4, high=10),
        Fact(name="median gap of mid changes (ms)", value=float(np.median(gaps)) / _MS, low=1, high=9),
        Fact(name="mean gap of mid changes (s)", value=float(np.mean(gaps)) / _SECOND, low=0.1, high=0.3),
    ]


def _returns(quotes: Ints) -> list[Fact]:
    mid = _mid(quotes)
    tenth, second, ten = (
        np.diff(np.log(mid[_sampled(quotes, step)[1]])) * 1e4 for step in (_SECOND // 10, _SECOND, 10 * _SECOND)
    )
    return [
        Fact(name="100 ms returns: zeros", value=float((tenth == 0).mean()), low=0.86, high=0.90),
        Fact(name="100 ms returns: kurtosis", value=_kurtosis(tenth), low=18, high=263),
        Fact(name="100 ms returns: ACF(1) of |r|", value=_acf(np.abs(tenth), 1), low=0.09, high=0.24),
        Fact(name="sigma of 1 s returns (bps)", value=float(second.std()), low=1.15, high=1.43),
        Fact(name="variance ratio 1 s / .1 s", value=float(second.var() / tenth.var() / 10), low=0.9, high=1.5),
        Fact(name="variance ratio 10 s / 1 s", value=float(ten.var() / second.var() / 10), low=0.86, high=1.36),
        Fact(name="kurtosis of 1 s returns", value=_kurtosis(second), low=5, high=20),
    ]


def _orders(trades: Ints, scale: float) -> list[Fact]:
    """Facts of parent orders: trades of one side at one time, one after another."""
    first = np.r_[True, (np.diff(trades[:, 0]) != 0) | (np.diff(trades[:, 1]) != 0)]
    starts = np.flatnonzero(first)
    times, signs = trades[starts, 0], trades[starts, 1].astype(np.float64)
    value = np.sort(np.add.reduceat(trades[:, 2] * trades[:, 3] * scale, starts))
    top = value[-max(2, len(value) // 20) :]
    hill = 1.0 / float(np.mean(np.log(top[1:] / top[0])))
    lasts = np.diff(times) / _MS
    logs = np.log(np.maximum(lasts, 1.0))
    span = int(times[-1] - times[0])
    facts = [
        Fact(name="parent orders per s", value=len(starts) / (span / _SECOND), low=10, high=16),
        Fact(name="parent size: median (quote)", value=float(np.median(value)), low=79, high=1852),
        Fact(name="parent size: Hill index, top 5 %", value=hill, low=1.05, high=1.48),
        Fact(
            name="parent size: volume share of top 1 %",
            value=float(value[-max(1, len(value) // 100) :].sum() / value.sum()),
            low=0.28,
            high=0.48,
        ),
        Fact(name="inter-arrival CV", value=float(lasts.std() / lasts.mean()), low=1.5, high=2.1),
    ]
    for lag, low, high in ((1, 0.24, 0.51), (5, 0.10, 0.36), (20, 0.01, 0.26)):
        facts.append(Fact(name=f"ACF({lag}) of log durations", value=_acf(logs, lag), low=low, high=high))
    for step, low, high in ((_SECOND // 10, 3.4, 7.1), (_SECOND, 5.6, 25), (5 * _SECOND, 6.5, 50)):
        counts = np.bincount((times - times[0]) // step, minlength=span // step)[: span // step]
        fano = float(counts.var() / counts.mean())
        facts.append(Fact(name=f"Fano factor at {step / _SECOND:g} s", value=fano, low=low, high=high))
    for lag, low, high in ((1, 0.20, 0.57), (5, 0.14, 0.30), (20, 0.0, 0.11)):
        facts.append(Fact(name=f"trade-sign ACF({lag})", value=_acf(signs, lag), low=low, high=high))
    return facts


def _pressure(quotes: Ints) -> list[Fact]:
    before, after = quotes[:-1], quotes[1:]
    flow = (
        np.where(after[:, 1] >= before[:, 1], after[:, 2], 0)
        - np.where(after[:, 1] <= before[:, 1], before[:, 2], 0)
        - np.where(after[:, 3] <= before[:, 3], after[:, 4], 0)
        + np.where(after[:, 3] >= before[:, 3], before[:, 4], 0)
    )
    _, at = _sampled(quotes, _SECOND)
    total = np.r_[0, np.cumsum(flow)][at]
    move = np.diff(_mid(quotes)[at])
    imbalance = ((quotes[:, 2] - quotes[:, 4]) / (quotes[:, 2] + quotes[:, 4]))[at]
    return [
        Fact(name="corr(OFI, 1 s return)", value=float(np.corrcoef(np.diff(total), move)[0, 1]), low=0.63, high=0.86),
        Fact(
            name="corr(imbalance, sign of next 1 s return)",
            value=float(np.corrcoef(imbalance[:-1], np.sign(move))[0, 1]),
            low=0.32,
            high=0.48,
        ),
    ]


def _fills_at_touch(quotes: Ints, trades: Ints) -> tuple[int, int]:
    """Count small orders at the touch that the touch rule, and a queue with power-2 cancellations, fill within 1 s."""
    rows: list[tuple[Any, ...]] = [(q[0], 1, *q[1:]) for q in quotes.tolist()] + [
        (t[0], 0, *t[1:], 0) for t in trades.tolist()
    ]
    rows.sort(key=lambda row: row[:2])
    times = [row[0] for row in rows]
    touched = filled = 0
    for start in range(times[0] + _SECOND, min(times[-1] - _SECOND, times[0] + 600 * _SECOND), _SECOND):
        begin, end = bisect.bisect_left(times, start), bisect.bisect_left(times, start + _SECOND)
        at = begin - 1
        while rows[at][1] == 0:
            at -= 1
        for sign in (1, -1):  # a buy at the best bid, a sell at the best ask
            price, ahead = (rows[at][2], rows[at][3]) if sign > 0 else (rows[at][4], rows[at][5])
            level, since, touch, fill = ahead, 0, False, False
            for row in rows[begin:end]:
                if row[1] == 0:
                    if row[2] == -sign and (price - row[3]) * sign >= 0:
                        touch = True
                        if row[3] != price:
                            fill = True
                            break
                        ahead -= row[4]
                        since += row[4]
                        if ahead < 0:
                            fill = True
                            break
                    continue
                own, lots, other = (row[2], row[3], row[4]) if sign > 0 else (row[4], row[5], row[2])
                if (price - other) * sign >= 0:
                    touch = fill = True
                    break
                if own == price:
                    gone = level - lots - since
                    if gone > 0 and level > 0:
                        back = max(level - ahead, 0)
                        weight = back**2 / (ahead**2 + back**2) if ahead or back else 1.0
                        ahead = max(ahead - (1 - weight) * gone, 0)
                    ahead, level, since = min(ahead, lots), lots, 0
            touched += touch
            filled += fill
    return touched, filled
