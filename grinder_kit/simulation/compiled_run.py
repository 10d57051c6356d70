"""A replay in compiled code: one grid, streamed over a market of any length, with every order, fill and amend written down."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grinder_kit.errors import DataError
from grinder_kit.execution.fees import FundingTable
from grinder_kit.kernel import book as bk
from grinder_kit.kernel import exchange as ex
from grinder_kit.kernel.exchange import Ints
from grinder_kit.kernel.simulator import KernelOptions, Simulator
from grinder_kit.model.config import Config
from grinder_kit.model.config_check import check_against
from grinder_kit.model.instrument import Instrument
from grinder_kit.simulation import grid_filter as gf
from grinder_kit.simulation import grid_orders as go
from grinder_kit.simulation import grid_pass as gp
from grinder_kit.simulation import grid_setup as gs
from grinder_kit.simulation import single_pass as sp
from grinder_kit.simulation.columns import (
    BURST_SIZE,
    WHEN,
    Piece,
    clock_settings,
    last_local_ns,
    local_settings,
    no_rows,
    stretches,
)
from grinder_kit.simulation.local_book import NEEDS_SIGHT, TOO_EARLY, ApartError, LocalBook, grown
from grinder_kit.simulation.patience import patience_ns

if TYPE_CHECKING:
    from grinder_kit.market.source import Market

log = logging.getLogger(__name__)

_LOGGED = 4096  # orders, fills and amends that there is room for at first
#: A sweep leaves these out; a single pass reads the market with the kernel's own exchange, which knows them.
_KNOWN = ("execution.entry_table_ms", "execution.response_table_ms", "execution.book", "execution.unknown_level")


def keeps_out(config: Config, instrument: Instrument) -> str | None:
    """Return the first key of a configuration that keeps a replay out of compiled code on an instrument; None: nothing does."""
    filtered = config.grid.min_fill_prob > 0
    return next(
        (key for key, outside in gs.left_out(config, instrument, filtered) if outside and key not in _KNOWN), None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PassLog:
    """What a pass has written down, as whole numbers; columns are those of grid_orders.py and single_pass.py.

    Attributes
    ----------
    orders, fills, amends : ndarray of int64
        By placement; as they were seen; as they were sent.
    moved : ndarray of int64
        Amends that the exchange confirmed.
    equity, mids : ndarray of int64
        Points of the equity curve; mid where it was another at a decision.
    paid, paid_touch : ndarray of int64
        Funding, and the best prices when it was seen, by its number.
    head, looked : ndarray of int64
        Counts, and what was looked at last.
    events : int
    start_ns, end_ns : int
        Time of the first event and of the last decision.
    decided : tuple of int
        Best bid and ask at the last decision; bk.NO_BID, bk.NO_ASK for an empty side.
    touch : tuple of int
        Best bid and ask after the last answer.
    """

    orders: Ints
    fills: Ints
    amends: Ints
    moved: Ints
    equity: Ints
    mids: Ints
    paid: Ints
    paid_touch: Ints
    head: Ints
    looked: Ints
    events: int
    start_ns: int
    end_ns: int
    decided: tuple[int, int]
    touch: tuple[int, int]


class _FullError(Exception):
    """A grid has more orders under way than there is room for."""


def run_compiled(
    market: Market,
    config: Config,
    instrument: Instrument,
    options: KernelOptions,
    funding: FundingTable,
    progress: Callable[[int], None] | None = None,
) -> PassLog:
    """Trade a grid on a market that is streamed through compiled code.

    Raises
    ------
    ConfigError
        For a configuration that does not fit the instrument at the market's first mid.
    DataError
        For a market without events or without a mid at the end, or rows that break their recording's promises.
    """
    room, logged, apart, told = gs.Room.of([config]), _LOGGED, False, 0

    def tell(events: int) -> None:
        nonlocal told
        if progress is not None:
            progress(max(0, events - told))  # a pass that began again has told of some before
        told = max(told, events)

    while True:
        one = _Pass(market, config, instrument, options, funding, room=room, logged=logged, apart=apart)
        try:
            return one.to_the_end(tell)
        except ApartError:
            apart = True
        except _FullError:
            room, logged = room.larger(1), 4 * logged


class _Pass:
    """One grid on one market."""

    def __init__(
        self, market: Market, config: Config, instrument: Instrument, options: KernelOptions, funding: FundingTable, *,
        room: gs.Room, logged: int, apart: bool,
    ) -> None:  # fmt: skip
        self.market, self.config, self.instrument, self.options = market, config, instrument, options
        self.events = 0
        payments = funding.times.shape[1]
        own = go.new_orders(room.capacity, room.levels, logged=logged, paid=payments)
        go.clear(own)
        exchange = Simulator(options, funding.times).exchange
        clock = clock_settings(market, options.feed)
        self.cursor = np.zeros(sp.CURSOR_SIZE, np.int64)
        self.cursor[[sp.STEP_NS, sp.LAST_NS, sp.WAIT_NS]] = config.grid.step_ns, ex.FOREVER, ex.FOREVER
        self.local = LocalBook(
            exchange.settings, local_settings(clock), market.disorder_ns[1], self.cursor, apart=apart
        )
        self.run = sp.Pass(
            exchange=exchange, own=own, trades=gp.new_trades(0), f=np.zeros(gf.F_SIZE), rule=gf.heuristic_rule(),
            look=np.zeros(gf.LOOKS), p=np.array(gs.parameters(config, instrument), np.int64),
            sizes=np.array(gs.sizes(config.grid, instrument), np.int64), looked=gp.new_looks(), clock=clock,
            sight=self.local.sight, moved=np.zeros((logged, sp.A_COLUMNS), np.int64),
            mids=np.zeros((1024, sp.M_COLUMNS), np.int64), equity=np.zeros((1024, go.LE_SIZE), np.int64),
            paid_touch=np.zeros((payments, 2), np.int64), cursor=self.cursor,
            commands=np.zeros((4 * room.capacity, ex.C_SIZE), np.int64),
        )  # fmt: skip
        self._checked = False

    def to_the_end(self, tell: Callable[[int], None]) -> PassLog:
        start_ns, last_ns, cursor = None, -ex.FOREVER, self.cursor
        for stretch in stretches(self.market, self.options.feed):
            self.local.compact()
            self.local.before(stretch, self.run.exchange.book, self.run.exchange.head)
            last_ns = max(last_ns, last_local_ns(stretch.rows, self.run.clock, self.market.disorder_ns[1]))
            pieces = stretch.pieces or (Piece(no_rows(), np.empty((0, BURST_SIZE), np.int64)),)
            self.events += sum(piece.events for piece in pieces)
            if start_ns is None:
                if not stretch.pieces:
                    continue
                start_ns = cursor[sp.NOW] = cursor[sp.NEXT_SAMPLE] = int(pieces[0].bursts[0, WHEN])
            for piece in stretch.pieces:
                last_ns = max(last_ns, int(piece.bursts[-1, WHEN]))
            if stretch.final:
                patience = patience_ns(self.config)
                cursor[sp.LAST_NS] = last_ns
                cursor[sp.WAIT_NS] = ex.FOREVER if patience is None else last_ns + patience
            for piece in pieces[:-1]:
                self._go_on(piece, int(piece.bursts[-1, WHEN]))
            self._go_on(pieces[-1], stretch.until_ns)
            self.local.after(stretch, self.run.exchange.book)
            tell(self.events)
        if start_ns is None:
            raise DataError("the market has no events; import it again, or choose another window")
        return self._log(int(start_ns))

    def _go_on(self, piece: Piece, until_ns: int) -> None:
        self.cursor[[sp.AT, sp.ROW]] = 0
        status = -1
        while status != ex.DONE:
            self.run = self.run._replace(sight=self.local.sight)
            status = sp.go_on(self.run, piece.rows, piece.bursts, until_ns, self.local.shared)
            if status != ex.DONE:
                self._make_room(status)
        if not self._checked and self.cursor[sp.MIDS]:
            mid = self.instrument.tick * int(self.run.mids[0, sp.M_MID2]) / 2
            check_against(self.config, self.instrument, mid)
            self._checked = True

    def _make_room(self, status: int) -> None:
        run, exchange = self.run, self.run.exchange
        if status == TOO_EARLY:
            raise ApartError
        if status == sp.NEEDS_OWN:
            raise _FullError
        if status == ex.NEEDS_BOOK:
            exchange = exchange._replace(book=bk.with_room(exchange.book))
        elif status == ex.NEEDS_ORDERS:
            exchange = exchange._replace(
                resting=grown(exchange.resting), queue=grown(exchange.queue), prices=grown(exchange.prices)
            )
        elif status == ex.NEEDS_OUTBOX:
            exchange = exchange._replace(outbox=_roomier(exchange.outbox, exchange.head, ex.OUT_FIRST, ex.OUT_LAST))
        elif status == sp.NEEDS_INBOX:
            exchange = exchange._replace(inbox=_roomier(exchange.inbox, exchange.head, ex.IN_FIRST, ex.IN_LAST))
        elif status == NEEDS_SIGHT:
            self.local.sight = grown(self.local.sight)
        elif status == sp.NEEDS_POINTS:
            full = self.cursor[sp.MIDS] == len(run.mids)
            run = run._replace(mids=grown(run.mids)) if full else run._replace(equity=grown(run.equity))
        else:
            logs = np.concatenate((run.own.logs, np.zeros_like(run.own.logs)), axis=1)
            run = run._replace(own=run.own._replace(logs=logs), moved=grown(run.moved))
        self.run = run._replace(exchange=exchange)

    def _log(self, start_ns: int) -> PassLog:
        run, cursor, own = self.run, self.cursor, self.run.own
        head = own.head
        bid, ask = int(cursor[sp.LAST_BID]), int(cursor[sp.LAST_ASK])
        if bid == bk.NO_BID or ask == bk.NO_ASK:
            raise DataError("the book has no mid at the end: the position cannot be valued")
        sp.sample(run, int(cursor[sp.NOW]), bid + ask)
        go.write_resting(own)
        return PassLog(
            orders=own.logs[go.ORDER_LOG, : head[go.PLACED]], fills=own.logs[go.FILL_LOG, : head[go.FILLS], : go.LF_SIZE],
            amends=own.logs[go.AMEND_LOG, : head[go.AMENDED], : go.LA_SIZE], moved=run.moved[: cursor[sp.MOVED]],
            equity=run.equity[: head[go.SAMPLES]], mids=run.mids[: cursor[sp.MIDS]], paid=own.paid[: head[go.PAID]],
            paid_touch=run.paid_touch, head=head, looked=run.looked, events=self.events, start_ns=start_ns,
            end_ns=int(cursor[sp.NOW]), decided=(int(cursor[sp.BID]), int(cursor[sp.ASK])), touch=(bid, ask),
        )  # fmt: skip


def _roomier(waiting: Ints, head: Ints, first: int, last: int) -> Ints:
    """Move what waits to the front, of an array twice as large where that would not free half of it."""
    kept = waiting[head[first] : head[last]]
    larger = head[first] == 0 or 2 * len(kept) > len(waiting)
    new = np.zeros((len(waiting) * (2 if larger else 1), waiting.shape[1]), np.int64)
    new[: len(kept)] = kept
    head[first], head[last] = 0, len(kept)
    return new
