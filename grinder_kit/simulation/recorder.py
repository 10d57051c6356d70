"""Recorder: what happens during a replay, written down as it happens, in bounded memory, and hashed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

import polars as pl

from grinder_kit.decision.grid_manager import level_id
from grinder_kit.execution.frames import decimals
from grinder_kit.execution.money import money_scale
from grinder_kit.execution.own_orders import OwnOrder
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.order import Side
from grinder_kit.simulation.spool import Spool

if TYPE_CHECKING:
    from grinder_kit.execution.engine import ExecutionEngine

CAUSES = ("queue", "through", "quote", "taken")


class Recorder:
    """Orders, fills, equity and mid of one run."""

    def __init__(self, instrument: Instrument) -> None:
        side = pl.Enum([s.value for s in Side])
        money = pl.Decimal(38, money_scale(instrument))
        price, quantity = pl.Decimal(38, decimals(instrument.tick)), pl.Decimal(38, decimals(instrument.lot))
        self.instrument = instrument
        self.order_rows = Spool(
            {
                "client_order_id": pl.String,
                "level_id": pl.String,
                "side": side,
                "price": price,
                "quantity": quantity,
                "filled": quantity,
                "state": pl.String,
                "sent_ns": pl.Int64,
                "ended_ns": pl.Int64,
                "reason": pl.String,
            }
        )
        self.amend_rows = Spool(
            {
                "client_order_id": pl.String,
                "ts_ns": pl.Int64,
                "price_before": price,
                "quantity_before": quantity,
                "price": price,
                "quantity": quantity,
            }
        )
        self.fill_rows = Spool({"seen_ns": pl.Int64, "cause": pl.Enum(CAUSES)})
        self.equity_rows = Spool(
            {
                "ts_ns": pl.Int64,
                "mid": pl.Decimal(38, decimals(instrument.tick) + 1),
                "position": quantity,
                "equity": money,
                "grid": money,
                "trend": money,
                "funding": money,
                "commission": money,
            }
        )
        self.mid_rows = Spool({"ts_ns": pl.Int64, "mid2": pl.Int64})
        self.sent_count = {(s, c): 0 for s in (1, -1) for c in (False, True)}  # side, whether a cancel
        self.causes = dict.fromkeys(CAUSES, 0)
        self.rejected = self.amends = 0
        self._order_hash, self._fill_hash = hashlib.sha256(), hashlib.sha256()
        self._mid2 = 0

    def sent(self, side: int, *, cancel: bool) -> None:
        """Count a command: side +1 buy."""
        self.sent_count[side, cancel] += 1

    def amended(self, side: int, ticks: int, lots: int, now_ns: int) -> None:
        """Count an amend; a run that has none keeps the digest that it had before there were any."""
        self.amends += 1
        self._order_hash.update(b"amend %d %d %d %d;" % (side, ticks, lots, now_ns))

    def moved(self, order: OwnOrder, ticks: int, lots: int, ts_ns: int) -> None:
        """Write down an amend that the exchange has confirmed; `order` is as it was before."""
        price, quantity = self.instrument.price, self.instrument.quantity
        self.amend_rows.add(
            order.client_order_id, ts_ns, price(order.ticks), quantity(order.lots), price(ticks), quantity(lots)
        )

    def orders(self, ended: Iterable[OwnOrder]) -> None:
        """Write down orders that have ended."""
        for order in ended:
            self._order(order)
            self.rejected += order.state.value == "REJECTED"

    def still_open(self, orders: Iterable[OwnOrder]) -> None:
        """Write down orders that rest when the market ends."""
        for order in orders:
            self._order(order)

    def _order(self, order: OwnOrder) -> None:
        instrument, side = self.instrument, Side.BUY if order.side > 0 else Side.SELL
        self.order_rows.add(
            order.client_order_id,
            level_id(order.key),
            side.value,
            instrument.price(order.ticks),
            instrument.quantity(order.lots),
            instrument.quantity(order.filled),
            order.state.value,
            order.sent_ns,
            order.ended_ns or None,
            order.reason,
        )
        self._order_hash.update(
            f"{order.client_order_id},{order.side},{order.ticks},{order.lots},{order.filled},{order.state.value},"
            f"{order.sent_ns},{order.ended_ns};".encode()
        )

    def fill(self, order_id: str, ts_ns: int, seen_ns: int, ticks: int, lots: int, maker: int, cause: int) -> None:
        """Write down what the tracker's fills do not say: when it was seen, and why it happened."""
        self.fill_rows.add(seen_ns, CAUSES[cause])
        self.causes[CAUSES[cause]] += 1
        self._fill_hash.update(f"{order_id},{ts_ns},{ticks},{lots},{maker};".encode())

    def mid(self, now_ns: int, mid2: int) -> None:
        """Write down mid (in half ticks) where it changes."""
        if mid2 != self._mid2:
            self._mid2 = mid2
            self.mid_rows.add(now_ns, mid2)

    def equity(self, now_ns: int, mid2: int, engine: ExecutionEngine) -> None:
        """Write down a point of the equity curve, as the strategy knows it."""
        mid = self.instrument.tick * mid2 / 2
        tracker = engine.tracker
        equity = engine.ledger.equity(mid)
        grid = tracker.level.realised
        self.equity_rows.add(
            now_ns,
            mid,
            engine.ledger.inventory,
            equity,
            grid,
            equity - grid - tracker.funding + tracker.commission,
            tracker.funding,
            tracker.commission,
        )

    def digest(self, configuration: str) -> str:
        """Return SHA-256 over configuration, orders and fills."""
        whole = hashlib.sha256(configuration.encode())
        whole.update(self._order_hash.digest())
        whole.update(self._fill_hash.digest())
        return whole.hexdigest()
