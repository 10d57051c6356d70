"""Recovery: makes orders, fills and position agree with the venue, at the start, after a gap in the stream, and now and then.

One look asks for open orders, position and fills; what differs after that is judged by reconciliation before it is healed here.
Missing fills are booked once. Own orders that the engine knows are taken as the venue shows them, or asked about one by one where
it does not. Own orders that the engine does not know are adopted where their level is free and cancelled otherwise. Orders of
others are never touched.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from grinder_kit.decision.grid_manager import level_id
from grinder_kit.errors import VenueError
from grinder_kit.execution import translate
from grinder_kit.execution.alerts import AlertLevel
from grinder_kit.execution.money import EXACT, ZERO
from grinder_kit.execution.own_orders import OwnOrder, key_of
from grinder_kit.execution.position_syncer import PositionReportError
from grinder_kit.execution.reconciliation import Known, MismatchKind, known, mismatches
from grinder_kit.model.event import Event, OutcomeUnknown, Place, Rebased, Resynced, RunState, StreamLost
from grinder_kit.model.fill import Fill, Position, PositionDiff
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.order import CancelRequest, InFlight, Order, Side

if TYPE_CHECKING:
    from grinder_kit.execution.shell import Shell

log = logging.getLogger(__name__)

PERIODIC, LAST = "periodic", "last"
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
#: How far back fills are asked for again: exchange times of one account need not come in order.
OVERLAP_NS = 10_000_000_000
_POSITION = MismatchKind.POSITION_NONZERO_UNEXPECTED


class Recovery:
    """The part of a session that asks the venue how things are.

    Parameters
    ----------
    shell : Shell
        Its engine, port, clock and journal are used, and events are fed to it.
    since_ns : int
        Fills from here on are asked for.
    """

    def __init__(self, shell: Shell, since_ns: int) -> None:
        self._shell = shell
        self._running: asyncio.Event | None = None
        self._again = False
        self._since_ns = since_ns  # every fill up to here is booked
        self.last_ns = shell.now_ns()
        self._unanswered = False  # the last look did not learn the position
        self._counted = shell.engine.tracker.fill_count  # fills that the syncer has taken
        self._strangers: frozenset[str] | None = None  # fills of others in the last answer
        self._strange: list[Fill] = []  # and those since a difference was last taken for granted
        symbol = shell.engine.instrument.symbol
        held = EXACT.add(shell.engine.tracker.inventory, shell.engine.account.foreign or ZERO)
        shell.syncer.local_positions[symbol] = Position(symbol=symbol, quantity=held)

    @property
    def next_ns(self) -> int:
        """When the next look is due: sooner where something was found that may last, or a question was not answered."""
        shell, regular = self._shell, self.last_ns + self._shell.resync_ns
        if self._unanswered:
            return min(regular, self.last_ns + round(LONGEST_PAUSE_S * 1e9))
        young = shell.reconciler.next_look_ns(shell.engine.config.reconcile)
        return regular if young is None else min(regular, young)

    # --- all orders --------------------------------------------------------------------------------------------------

    def begin(self, reason: str) -> None:
        """Shut the gates and start to agree; while that is under way, note that it must be done once more.

        A comparison for its own sake (`PERIODIC`, `LAST`) shuts no gate: nothing is known to be missing.
        """
        if reason not in (PERIODIC, LAST):
            self._shell.feed(StreamLost(ts_ns=self._shell.now_ns(), reason=reason))
        if self._running is not None:
            self._again = self._again or reason != PERIODIC
            return
        self.last_ns = self._shell.now_ns()
        self._running = asyncio.Event()
        self._shell.spawn(self._run(), "resync")

    async def done(self) -> None:
        """Return when what was begun is done, however often the venue fails meanwhile."""
        if self._running is not None:
            await self._running.wait()

    async def _run(self) -> None:
        done = self._running
        assert done is not None
        shell, pause = self._shell, FIRST_PAUSE_S
        try:
            while True:
                self._again = False
                agreed = await self._agree()
                if agreed and not self._again:
                    break
                if not agreed:
                    await shell.clock.sleep(pause)
                    pause = min(LONGEST_PAUSE_S, 2 * pause)
            if not shell.engine.synced:
                shell.feed(Resynced(ts_ns=shell.now_ns()))
            self.last_ns = shell.now_ns()
        finally:
            self._running = None
            done.set()

    async def settle(self, end_ns: int) -> None:
        """Once no own order is left: wait for what is under way, then look whether the venue agrees that none is."""
        while self._shell.now_ns() < end_ns:
            self.begin(LAST)
            await self.done()
            if not len(self._shell.engine.orders):
                return

    async def _agree(self) -> bool:
        """Take one look and heal what differs; return whether nothing is left to be asked again at once."""
        shell, engine = self._shell, self._shell.engine
        before, orders, reports, fills = await self._look()
        await self._book(fills)
        diffs = None if reports is None else await self._position(reports)
        self._unanswered = diffs is None
        await self._judge(before, orders, diffs)
        instrument, tag = engine.instrument, engine.orders.tag
        open_now = {o.client_order_id: o for o in orders if translate.is_ours(o.client_order_id, tag)}
        for own in list(shell.engine.orders):
            # An order with a request under way is that request's business.
            if own.in_flight in (None, InFlight.UNKNOWN) and not _agrees(
                own, open_now.get(own.client_order_id), instrument
            ):
                shell.look_up(own.client_order_id)
        strays_gone = True
        for one in open_now:
            if one not in shell.engine.orders.by_id:
                strays_gone &= await self._unknown(one)
        # Without its position a session adds no risk; one that goes on, or is over, only looks again soon.
        return strays_gone and (diffs is not None or engine.synced or engine.state.final)

    async def _look(self) -> tuple[Known, Sequence[Order], Mapping[str, Position] | None, Sequence[Fill]]:
        """Ask until the venue answers: own orders as they were before, open orders, position (None: not known), fills."""
        shell, symbol = self._shell, self._shell.engine.instrument.symbol
        pause = FIRST_PAUSE_S
        while True:
            before = known(shell.engine.orders)
            self._catch_up()
            shell.syncer.begin()
            try:
                # Fills last: what fills while the others are asked for is seen by then.
                orders, reports = await asyncio.gather(
                    shell.port.get_open_orders(symbol), self._reports(), return_exceptions=True
                )
                if isinstance(orders, BaseException):
                    raise orders
                if isinstance(reports, BaseException):
                    raise reports
                fills = await shell.port.get_fills(symbol, since_ns=max(0, self._since_ns - OVERLAP_NS))
                return before, orders, reports, fills
            except VenueError as error:
                await shell.alerts.send_alert(
                    AlertLevel.WARNING, "the venue does not say how things are", {"error": str(error)}
                )
                await shell.clock.sleep(pause)
                pause = min(LONGEST_PAUSE_S, 2 * pause)

    async def _reports(self) -> Mapping[str, Position] | None:
        try:
            return await self._shell.syncer.fetch()
        except (VenueError, PositionReportError):
            return None  # the syncer has told why

    async def _book(self, fills: Sequence[Fill]) -> None:
        """Book own fills that the stream has not told, and take note of others' trades."""
        shell, instrument, tag = self._shell, self._shell.engine.instrument, self._shell.engine.orders.tag
        missing: list[str] = []
        for fill in fills:
            if not shell.engine.tracker.has(fill.fill_id):
                for event in translate.account_event(fill, instrument, tag):
                    shell.feed(event)
                    missing.append(fill.fill_id)
        self._since_ns = max((fill.ts_ns for fill in fills), default=self._since_ns)
        others = [fill for fill in fills if not translate.is_ours(fill.order_id, tag)]
        if self._strangers is not None:
            self._strange += [fill for fill in others if fill.fill_id not in self._strangers]
        self._strangers = frozenset(fill.fill_id for fill in others)
        self._catch_up()
        if missing:
            await shell.alerts.send_alert(
                AlertLevel.INFO, "fills were booked from the venue's trades", {"fills": " ".join(missing)}
            )

    def _catch_up(self) -> None:
        """Let what the account should hold follow the session's own fills."""
        tracker = self._shell.engine.tracker
        fresh = tracker.fill_count - self._counted
        for fill in tracker.fills[-fresh:] if fresh else ():
            self._shell.syncer.record_fill(fill)
        self._counted = tracker.fill_count

    async def _position(self, reports: Mapping[str, Position]) -> dict[str, PositionDiff] | None:
        """Return how the position differs; None where it is not known yet what others hold."""
        shell, account = self._shell, self._shell.engine.account
        config = shell.engine.config.reconcile
        if account.foreign is None and not shell.syncer.quiet:
            return None  # what was reported may be before or after those fills
        shell.syncer.set_thresholds(config.drift_steps, config.drift_notional)
        diffs = await shell.syncer.compare(reports)
        if account.foreign is not None:
            return diffs
        diff = diffs.get(shell.engine.instrument.symbol)
        if diff is None:
            shell.feed(Rebased(foreign=ZERO, ts_ns=shell.now_ns(), reason="first look"))
            return {}
        self._rebase(diff, "first look")
        await shell.alerts.send_alert(
            AlertLevel.INFO,
            "the account holds something beside this session's own fills: it is left alone",
            {"quantity": f"{diff.diff:+f}"},
        )
        return {}

    def _rebase(self, diff: PositionDiff, reason: str) -> None:
        """Take a difference for granted: it belongs to somebody else."""
        shell = self._shell
        shell.syncer.accept(diff)
        foreign = EXACT.add(shell.engine.account.foreign or ZERO, diff.diff)
        shell.feed(Rebased(foreign=foreign, ts_ns=shell.now_ns(), reason=reason))

    async def _judge(self, before: Known, orders: Sequence[Order], diffs: dict[str, PositionDiff] | None) -> None:
        """Have what differs judged, and take for granted what was dealt with."""
        shell, engine = self._shell, self._shell.engine
        found = mismatches(
            before,
            known(own for own in engine.orders if not shell.is_looked_up(own.client_order_id)),
            orders,
            diffs or {},
            instrument=engine.instrument,
            tag=engine.orders.tag,
            now_ns=shell.now_ns(),
            earlier=shell.reconciler.found,
        )
        traded = sum((fill.quantity * fill.side.sign for fill in self._strange), Decimal(0))
        others = f"{len(self._strange)}, {traded:+f} in all"
        context = {"trades_of_others": others} if self._strange and diffs else {}
        # Where the position is not known, how it differed is not forgotten.
        kept = () if diffs is not None else tuple(m for m in shell.reconciler.found if m.kind is _POSITION)
        dealt = await shell.reconciler.judge(found, engine.config.reconcile, shell.now_ns(), context)
        shell.reconciler.found += kept
        for one in dealt:
            if one.kind is _POSITION and diffs is not None:
                self._rebase(diffs.pop(one.subject), f"it lasted; trades of others since: {others}")
        if diffs is not None and not diffs:
            self._strange.clear()

    async def _unknown(self, client_order_id: str) -> bool:
        """Deal with an open order of ours that the engine does not know, or takes for ended; return whether it is dealt with."""
        shell = self._shell
        order = await self._ask(client_order_id)
        if order is None or order.state.terminal or client_order_id in shell.engine.orders.by_id:
            return True  # it ended while we looked
        key = key_of(client_order_id)
        assert key is not None
        instrument, now = shell.engine.instrument, shell.now_ns()
        usable = (
            key not in shell.engine.orders.by_key
            and shell.engine.state is RunState.RUNNING
            and not shell.engine.orders.has_ended(client_order_id)
            and order.price % instrument.tick == 0
            and order.quantity % instrument.lot == 0
        )
        if not usable:
            shell.note(f"withdrew {client_order_id}: an open order of ours that no level knows", order=client_order_id)
            return await self._withdraw(order)
        adopted = Place(
            client_order_id=client_order_id,
            level_id=level_id(key),
            side=Side.BUY if key[0] == "B" else Side.SELL,
            price_ticks=instrument.ticks(order.price, "price"),
            quantity_lots=instrument.lots(order.quantity, "quantity"),
            type=order.type,
            epoch=shell.engine.epoch,
            reason="ADOPTED",
        )
        shell.note(
            f"adopted {client_order_id}: an open order of ours that the journal did not know", order=client_order_id
        )
        if shell.journal is not None:
            shell.journal.append_intent(adopted, now)
        shell.engine.orders.sent(adopted, now)
        shell.feed(OutcomeUnknown(client_order_id=client_order_id, ts_ns=now, reason="adopted"))
        return True

    async def _withdraw(self, order: Order) -> bool:
        """Try to withdraw an order; return whether it is gone. The next look will show it otherwise."""
        request = CancelRequest(client_order_id=order.client_order_id, symbol=order.symbol, order_id=order.order_id)
        try:
            await self._shell.port.cancel_order(request)
            return True
        except VenueError as error:
            log.warning("stray order not withdrawn id=%s error=%s", order.client_order_id, error)
        now = await self._ask(order.client_order_id)
        return now is None or now.state.terminal

    # --- one order ---------------------------------------------------------------------------------------------------

    async def look_up(self, client_order_id: str) -> list[Event]:
        """Return what the venue says about an order: its fills, then its state. Asks until it is answered."""
        shell = self._shell
        instrument = shell.engine.instrument
        pause = FIRST_PAUSE_S
        while True:
            order = await self._ask(client_order_id)
            own = shell.engine.orders.by_id.get(client_order_id)
            if own is None:
                return []
            if order is None and shell.now_ns() < self._final_ns(own.sent_ns):
                await shell.clock.sleep(pause)  # it may not have arrived yet
                continue
            if order is not None and order.in_flight is InFlight.UNKNOWN:
                log.error("status not understood id=%s raw=%s", client_order_id, order.raw)
                await shell.clock.sleep(pause)
                pause = min(LONGEST_PAUSE_S, 2 * pause)
                continue
            events: list[Event] = []
            if order is not None and instrument.lots(order.filled_quantity, "filled_quantity") > own.filled:
                try:
                    fills = await shell.port.get_fills(instrument.symbol, order_id=client_order_id)
                except VenueError as error:
                    log.warning("fills not fetched id=%s error=%s", client_order_id, error)
                    await shell.clock.sleep(pause)
                    continue
                events += [translate.fill_event(fill, instrument) for fill in fills]
            events.append(translate.looked_up(client_order_id, order, instrument, shell.now_ns()))
            return events

    def _final_ns(self, sent_ns: int) -> int:
        """Session time from which "no such order" is final: the venue refuses what arrives later."""
        shell = self._shell
        window = round(shell.port.capabilities.receive_window_s * 1e9)
        # An order from the journal of an earlier run was sent before this one began, by a clock that may have been another.
        return max(sent_ns, shell.started_ns) + window

    async def _ask(self, client_order_id: str) -> Order | None:
        shell, pause = self._shell, FIRST_PAUSE_S
        while True:
            try:
                return await shell.port.get_order(shell.engine.instrument.symbol, client_order_id=client_order_id)
            except VenueError as error:
                log.warning("look-up failed id=%s error=%s", client_order_id, error)
                await shell.clock.sleep(pause)
                pause = min(LONGEST_PAUSE_S, 2 * pause)


def _agrees(own: OwnOrder, order: Order | None, instrument: Instrument) -> bool:
    return (
        own.in_flight is None
        and order is not None
        and order.in_flight is None
        and order.price == instrument.price(own.ticks)
        and order.quantity == instrument.quantity(own.lots)
        and order.filled_quantity <= instrument.quantity(own.filled)
    )
