"""Recovery: makes orders and fills agree with the venue, at the start, after a gap in the stream, and now and then.

Missing fills are booked once. Own orders that the engine knows are taken as the venue shows them, or asked about one by one where
it does not. Own orders that the engine does not know are adopted where their level is free and cancelled otherwise. Orders of
others are never touched.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from grinder_kit.decision.grid_manager import level_id
from grinder_kit.errors import VenueError
from grinder_kit.execution import translate
from grinder_kit.execution.own_orders import OwnOrder, key_of
from grinder_kit.model.event import Event, OutcomeUnknown, Place, Resynced, RunState, StreamLost
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.order import CancelRequest, InFlight, Order, Side

if TYPE_CHECKING:
    from grinder_kit.execution.shell import Shell

log = logging.getLogger(__name__)

PERIODIC, LAST = "periodic", "last"
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
#: How far back fills are asked for again: exchange times of one account need not come in order.
OVERLAP_NS = 10_000_000_000


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
        try:
            while True:
                self._again = False
                await self._agree()
                if not self._again:
                    break
            shell = self._shell
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

    async def _agree(self) -> None:
        shell, symbol = self._shell, self._shell.engine.instrument.symbol
        pause = FIRST_PAUSE_S
        while True:
            try:
                # Orders first: what fills between the two questions is seen by the second.
                orders = await shell.port.get_open_orders(symbol)
                fills = await shell.port.get_fills(symbol, since_ns=max(0, self._since_ns - OVERLAP_NS))
                break
            except VenueError as error:
                log.warning("resync failed symbol=%s error=%s", symbol, error)
                await shell.clock.sleep(pause)
                pause = min(LONGEST_PAUSE_S, 2 * pause)
        instrument, tag = shell.engine.instrument, shell.engine.orders.tag
        for fill in fills:
            if not shell.engine.tracker.has(fill.fill_id):
                for event in translate.account_event(fill, instrument, tag):
                    shell.feed(event)
        self._since_ns = max((fill.ts_ns for fill in fills), default=self._since_ns)
        open_now = {o.client_order_id: o for o in orders if translate.is_ours(o.client_order_id, tag)}
        for own in list(shell.engine.orders):
            # An order with a request under way is that request's business.
            if own.in_flight in (None, InFlight.UNKNOWN) and not _agrees(
                own, open_now.get(own.client_order_id), instrument
            ):
                shell.look_up(own.client_order_id)
        for one in open_now:
            if one not in shell.engine.orders.by_id:
                await self._unknown(one)

    async def _unknown(self, client_order_id: str) -> None:
        """Deal with an open order of ours that the engine does not know, or takes for ended."""
        shell = self._shell
        order = await self._ask(client_order_id)
        if order is None or order.state.terminal or client_order_id in shell.engine.orders.by_id:
            return  # it ended while we looked
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
            await self._withdraw(order)
            return
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

    async def _withdraw(self, order: Order) -> None:
        shell, pause = self._shell, FIRST_PAUSE_S
        request = CancelRequest(client_order_id=order.client_order_id, symbol=order.symbol, order_id=order.order_id)
        while True:
            try:
                await shell.port.cancel_order(request)
                return
            except VenueError as error:
                log.warning("stray order not withdrawn id=%s error=%s", order.client_order_id, error)
            now = await self._ask(order.client_order_id)
            if now is None or now.state.terminal:
                return
            await shell.clock.sleep(pause)
            pause = min(LONGEST_PAUSE_S, 2 * pause)

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
