"""The exchange once more, slow and plain: dictionaries for books, a list of orders, one event after the other.

Written from facts/simulation-oracle.md and facts/fill-probability.md, to be read beside them; the compiled kernel must agree
with it. Nothing here is shared with the kernel but the numbers of its codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from grinder_kit.kernel import exchange as ex
from grinder_kit.kernel.feed import FeedOptions
from grinder_kit.kernel.simulator import KernelOptions
from tests.kernel.markets import Command, MemoryMarket

SIDES = {"buy": 1, "sell": -1, "none": 0}


@dataclass
class Event:
    """One row of a market, or the clear that comes before a snapshot's side."""

    ts: int
    kind: str
    side: int
    tick: int
    lots: int
    id: int


def stream(rows: pl.DataFrame, feed: FeedOptions, offset: int, *, local: bool) -> list[Event]:
    """Return the events by one clock: a stable sort of the order in the file."""
    out: list[Event] = []
    cleared: set[tuple[int, str]] = set()
    for row in rows.iter_rows(named=True):
        if row["kind"] == "bbo" and not feed.quotes:
            continue
        ts = row["local_ns"] + offset if local or feed.by_local_time else row["exchange_ns"]
        if row["kind"] == "trade" and not local:
            ts -= feed.trade_advance_ns
        if row["kind"] == "snapshot" and (row["seq"], row["side"]) not in cleared:
            cleared.add((row["seq"], row["side"]))
            levels = rows.filter((pl.col("seq") == row["seq"]) & (pl.col("side") == row["side"]))["price"]
            edge = levels.min() if row["side"] == "buy" else levels.max()
            out.append(Event(ts, "clear", SIDES[row["side"]], edge, 0, row["id"]))
        out.append(Event(ts, row["kind"], SIDES[row["side"]], row["price"], row["quantity"], row["id"]))
    ranks = {"trade": 0, "bbo": 1} if feed.trades_first and not local else {}
    return sorted(out, key=lambda event: (event.ts, ranks.get(event.kind, 2)))


class Book:
    """Levels by side; a level that the other side reaches is gone."""

    def __init__(self, fused: bool) -> None:
        self.levels: dict[int, dict[int, int]] = {1: {}, -1: {}}
        self.fused, self.quote_id = fused, -1

    def best(self, side: int) -> int | None:
        """Return the best price of a side."""
        return max(self.levels[side], key=lambda tick: tick * side, default=None)

    def inside(self, side: int, tick: int) -> bool:
        """Whether a price would be the new best of its side."""
        best = self.best(side)
        return best is None or (tick - best) * side > 0

    def set(self, side: int, tick: int, lots: int) -> None:
        """Let a level hold `lots`; what it crosses goes."""
        self.levels[side].pop(tick, None)
        if lots:
            self.levels[side][tick] = lots
            self.levels[-side] = {t: q for t, q in self.levels[-side].items() if (t - tick) * side > 0}

    def clear(self, side: int, tick: int) -> None:
        """Remove the levels from the best to `tick`."""
        self.levels[side] = {t: q for t, q in self.levels[side].items() if (t - tick) * side < 0}

    def apply(self, event: Event) -> bool:
        """Apply an event; return whether the level at its price was set."""
        side, tick = event.side, event.tick
        if event.kind == "clear":
            self.clear(side, tick)
        elif event.kind == "bbo" and self.fused:
            self.quote_id = event.id
            self.clear(side, tick + side)
            self.set(side, tick, event.lots)
            return True
        elif event.kind in ("depth", "snapshot"):
            older = self.fused and event.kind == "depth" and event.id < self.quote_id
            if not (older and event.lots and self.inside(side, tick)):
                self.set(side, tick, event.lots)
                return True
        return False


@dataclass
class Resting:
    """An own order in the queue of its level."""

    id: int
    side: int
    tick: int
    leaves: int
    ahead: float
    lots: int = 0
    kind: int = ex.POST_ONLY
    traded: float = 0.0


class Reference:
    """The market, the exchange and one account; `run` and `submit` as of the kernel's Simulator."""

    def __init__(self, options: KernelOptions, market: MemoryMarket, funding: Sequence[tuple[int, int]] = ()) -> None:
        self.o, self.funding, self.funded = options, list(funding), 0
        self.events = stream(market.rows, options.feed, market.clock_offset_ns, local=False)
        self.seen = stream(market.rows, options.feed, market.clock_offset_ns, local=True)
        self.book, self.local = Book(options.fused), Book(options.fused)
        self.orders: list[Resting] = []
        self.inbox: list[tuple[int, Command]] = []
        self.outbox: list[dict[str, int]] = []
        self.account = dict.fromkeys(("inventory", "cash", "maker_notional", "taker_notional", "fills", "volume"), 0)
        self.inverse = [0.0, 0.0, 0.0]

    # --- the clock ---

    def run(self, until: int) -> tuple[int, list[dict[str, int]]]:
        """Run to `until`, or to the next response."""
        never = 1 << 62
        while True:  # at equal times: responses, market, funding, orders
            times = (
                self.outbox[0]["seen"] if self.outbox else never,
                self.events[0].ts if self.events else never,
                self.funding[0][0] if self.funding else never,
                self.inbox[0][0] if self.inbox else never,
            )
            now = min(times)
            what = times.index(now)
            if now > until or what == 0:
                now = min(now, until)
                while self.seen and self.seen[0].ts <= now:
                    self.local.apply(self.seen.pop(0))
                due = [r for r in self.outbox if r["seen"] <= now]
                self.outbox = self.outbox[len(due) :]
                return now, due
            if what == 1:
                self.market(self.events.pop(0))
            elif what == 2:
                _, mark = self.funding.pop(0)
                if held := self.account["inventory"]:
                    self.respond(now, ex.FUNDING, self.funded, 1, mark, held, 0, 0, 0)
                self.funded += 1
            else:
                self.arrive(now, *self.inbox.pop(0)[1])

    def submit(self, commands: Sequence[Command], now: int) -> None:
        """Send commands; they arrive after the entry latency."""
        self.inbox += [(now + self.o.entry_ns[0], command) for command in commands]

    def respond(
        self, ts: int, what: int, order: int, side: int, tick: int, lots: int, leaves: int, maker: int, cause: int
    ) -> None:
        """Answer; the answer is seen after the response latency."""
        seen = ts + self.o.response_ns[0]
        values = (what, ts, seen, order, side, tick, lots, leaves, maker, cause)
        names = ("type", "ts", "seen", "order", "side", "tick", "lots", "leaves", "maker", "cause")
        self.outbox.append(dict(zip(names, values, strict=True)))

    # --- the market ---

    def market(self, event: Event) -> None:
        """Fill by trades through the price, by the queue, and by the other side's best reaching it."""
        side, tick, lots, ts = event.side, event.tick, event.lots, event.ts
        if event.kind == "trade":
            self.fill_beyond(-side, tick - side, ts, ex.BY_TRADE)  # strictly through
            self.trade([o for o in self.orders if o.side == -side and o.tick == tick], lots, ts)
            return
        old, better = self.book.levels[side].get(tick, 0) if side else 0, side and self.book.inside(side, tick)
        was_set = self.book.apply(event)
        if was_set:
            for order in self.orders:
                if (order.side, order.tick) == (side, tick):
                    self.level_changed(order, old, lots)
        moved = was_set and better and lots > 0 and event.kind != "bbo"
        if (self.o.by_quote and event.kind == "bbo") or (not self.o.by_quote and moved):
            self.fill_beyond(-side, tick, ts, ex.BY_QUOTE)

    def trade(self, at_price: list[Resting], lots: int, ts: int) -> None:
        """Move own orders at the price of a trade forward, first come first served."""
        left = lots
        for order in at_price:
            order.ahead -= left
            order.traded += lots
            past = float("inf") if self.o.queue == "touch" else -order.ahead
            if self.o.whole_size:
                filled = order.leaves if past >= order.leaves else 0
            elif past < 0.5:
                filled = 0
            elif self.o.partial_fills:
                filled = min(order.leaves, left, int(min(past, left) + 0.5))
            else:
                filled = order.leaves
            if filled > 0 and left > 0:
                self.fill(order, filled, ts, ex.BY_QUEUE)
                order.ahead = 0.0
                left -= min(filled, left) if self.o.share_volume else 0

    def level_changed(self, order: Resting, old: int, new: int) -> None:
        """Of what was cancelled, a share lies behind us; the rest brings us forward."""
        model, ahead, back = self.o.queue, order.ahead, old - order.ahead
        cancelled = old - new - order.traded
        order.traded = 0.0
        if model == "touch":
            return
        if model == "risk_averse" or cancelled < 0:
            order.ahead = min(ahead, new)
        elif model == "optimistic":
            order.ahead = max(min(ahead - cancelled, new), min(ahead, 0.0))
        elif back == 0 and ahead == 0:
            order.ahead = float(new)
        else:
            n = 1.0 if model == "pro_rata" else self.o.power
            p = abs(back) ** n / (abs(back) ** n + abs(ahead) ** n)
            order.ahead = min(ahead - (1 - p) * cancelled + min(back - p * cancelled, 0.0), new)
        if self.o.whole_size:  # with nobody ahead, only trades bring us through our own size
            order.ahead = max(order.ahead, min(ahead, 0.0))

    def fill_beyond(self, side: int, limit: int, ts: int, cause: int) -> None:
        """Fill whole, best price first, whatever is at `limit` or better."""
        reached = [o for o in self.orders if o.side == side and (o.tick - limit) * side >= 0]
        for order in sorted(reached, key=lambda o: -o.tick * side):
            self.fill(order, order.leaves, ts, cause)

    def fill(self, order: Resting, lots: int, ts: int, cause: int) -> None:
        """Fill a resting order at its own price."""
        order.leaves -= lots
        self.book_fill(order.side, order.tick, lots, maker=True)
        self.respond(ts, ex.FILLED, order.id, order.side, order.tick, lots, order.leaves, 1, cause)
        self.orders = [o for o in self.orders if o.leaves > 0]

    def book_fill(self, side: int, tick: int, lots: int, *, maker: bool) -> None:
        """Add a fill to the account."""
        self.account["inventory"] += side * lots
        self.account["cash"] -= side * tick * lots
        self.account["maker_notional" if maker else "taker_notional"] += tick * lots
        self.account["fills"] += 1
        self.account["volume"] += lots
        self.inverse[0] += side * lots / tick
        self.inverse[1 if maker else 2] += lots / tick

    # --- orders ---

    def arrive(self, ts: int, what: int, order: int, side: int, tick: int, lots: int, kind: int) -> None:
        """Handle a command that has come to the exchange."""
        if what == ex.CANCEL:
            for o in self.orders:
                if o.id == order:
                    self.orders.remove(o)
                    return self.respond(ts, ex.CANCELLED, order, o.side, o.tick, 0, o.leaves, 1, 0)
            return self.respond(ts, ex.CANCEL_REJECTED, order, side, tick, 0, 0, 1, 0)
        if what == ex.AMEND:
            own = next((o for o in self.orders if o.id == order), None)
            if own is None:
                return self.respond(ts, ex.AMEND_REJECTED, order, side, tick, 0, 0, 1, 0)
            return self.amend(ts, own, tick, lots)
        opposite = sorted((t for t in self.book.levels[-side] if (tick - t) * side >= 0), key=lambda t: t * side)
        if opposite and kind == ex.POST_ONLY:
            return self.respond(ts, ex.REJECTED, order, side, tick, 0, lots, 1, 0)
        self.respond(ts, ex.ACCEPTED, order, side, tick, 0, lots, 1, 0)
        whole, lots = lots, self.take(ts, order, side, opposite, lots)
        if lots and kind == ex.IOC:
            return self.respond(ts, ex.EXPIRED, order, side, tick, 0, lots, 0, 0)
        if lots:
            self.orders.append(Resting(order, side, tick, lots, self.quantity_ahead(side, tick), whole, kind))
        return None

    def amend(self, ts: int, own: Resting, tick: int, lots: int) -> None:
        """Change an order as spot or USD-M does; a modified one joins the back of the queue."""
        left = lots - (own.lots - own.leaves)
        smaller = tick == own.tick and lots < own.lots and left > 0
        if self.o.amend == "none" or (self.o.amend == "reduce" and not smaller):
            return self.respond(ts, ex.AMEND_REJECTED, own.id, own.side, tick, lots, own.leaves, 1, 0)
        if self.o.amend == "reduce":
            own.lots, own.leaves = lots, left
            return self.respond(ts, ex.AMENDED, own.id, own.side, tick, lots, left, 1, 0)
        self.orders.remove(own)
        opposite = sorted(
            (t for t in self.book.levels[-own.side] if (tick - t) * own.side >= 0), key=lambda t: t * own.side
        )
        if left <= 0 or (opposite and own.kind == ex.POST_ONLY):
            return self.respond(ts, ex.CANCELLED, own.id, own.side, own.tick, 0, own.leaves, 1, 0)
        self.respond(ts, ex.AMENDED, own.id, own.side, tick, lots, left, 1, 0)
        left = self.take(ts, own.id, own.side, opposite, left)
        if left:
            self.orders.append(
                Resting(own.id, own.side, tick, left, self.quantity_ahead(own.side, tick), lots, own.kind)
            )
        return None

    def take(self, ts: int, order: int, side: int, opposite: Sequence[int], lots: int) -> int:
        """Take from the other side's levels; return what is left."""
        for level in opposite:
            if filled := min(lots, self.book.levels[-side][level]):
                lots -= filled
                self.book_fill(side, level, filled, maker=False)
                self.respond(ts, ex.FILLED, order, side, level, filled, lots, 0, ex.BY_TAKING)
        return lots

    def quantity_ahead(self, side: int, tick: int) -> float:
        """Return what a new order joins behind."""
        levels = self.book.levels[side]
        if tick in levels or not self.o.neighbours or self.book.inside(side, tick):
            return float(levels.get(tick, 0))
        near = [lots for t, lots in levels.items() if abs(t - tick) <= 25]
        return sum(near) / len(near) if near else 0.0

    def queue_ahead(self, order_id: int) -> float | None:
        """Return the lots ahead of a resting order."""
        return next((o.ahead for o in self.orders if o.id == order_id), None)
