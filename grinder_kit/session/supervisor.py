"""The supervisor: a small process beside a runner that withdraws its orders when it dies or hangs.

It learns of a death by the end of the pipe that the runner holds, of a hang by a heartbeat that does not come. Then it shuts the
runner's door first (see pulse.py), so that a runner that wakes up later sends nothing, withdraws what is left, and watches for a
while whether something was on its way. Orders of others are never touched: ours are known by their client order ids.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from grinder_kit.errors import GrinderError, OrderNotFoundError, VenueError
from grinder_kit.execution.journal import Journal
from grinder_kit.execution.port import ExchangePort
from grinder_kit.execution.translate import is_ours
from grinder_kit.model.order import CancelRequest
from grinder_kit.session.folder import Card, SessionFolder
from grinder_kit.session.logs import start_log
from grinder_kit.session.pulse import Pulse
from grinder_kit.session.snapshot import Phase
from grinder_kit.session.venues import served_port
from grinder_kit.venue.socket_port import SocketPort

log = logging.getLogger("grinder_kit.session.supervisor")  # also where it runs as __main__

LOOK_S = 0.1
#: A runner that starts may compile for a while; a heartbeat is expected once it trades.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep has done: orders withdrawn, whether none is left, and the venue's time, ns (0: it did not answer)."""

    withdrawn: int
    clean: bool
    now_ns: int = 0


async def sweep(card: Card, *, enough: Callable[[], bool] = lambda: False, patience_s: float = 60.0) -> Swept:
    """Withdraw every open order of a session, and watch for as long as the venue accepts a request that was sent before.

    Parameters
    ----------
    card : Card
        Whose orders; its market says where the venue is.
    enough : callable
        Whether to watch no longer: the runner is back, and what it sends is its own business.
    patience_s : float
        When to give up on a venue that does not answer.
    """
    number = served_port(card.market)
    if number is None:
        return Swept(0, True)  # the venue was played by the runner and is gone with it
    give_up, pause, withdrawn = time.monotonic() + patience_s, FIRST_PAUSE_S, 0
    while time.monotonic() < give_up:
        try:
            port = await SocketPort.connect(number)
            try:
                withdrawn += await _withdraw_all(port, card)
                until = time.monotonic() + port.capabilities.receive_window_s
                while time.monotonic() < until and not enough():
                    await asyncio.sleep(LOOK_S)
                    late = await _withdraw_all(port, card)
                    withdrawn += late
                    if late:
                        log.warning("orders came late and were withdrawn count=%d", late)
                return Swept(withdrawn, True, await port.now_ns())
            finally:
                await port.close()
        except VenueError as error:
            log.warning("sweep goes on error=%s", error)
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE_S, 2 * pause)
    return Swept(withdrawn, False)


async def _withdraw_all(port: ExchangePort, card: Card) -> int:
    """Withdraw our open orders until the venue shows none; return how many there were."""
    withdrawn: set[str] = set()
    while True:
        ours = [o for o in await port.get_open_orders(card.symbol) if is_ours(o.client_order_id, card.tag)]
        if not ours:
            return len(withdrawn)
        for order in ours:
            request = CancelRequest(client_order_id=order.client_order_id, symbol=card.symbol, order_id=order.order_id)
            try:
                await port.cancel_order(request)
                withdrawn.add(order.client_order_id)
            except OrderNotFoundError:
                pass  # it filled, or somebody was faster


class Supervisor:
    """Watch one runner.

    Parameters
    ----------
    folder : SessionFolder
    patience_s : float
        How long a heartbeat may fail to come.
    """

    def __init__(self, folder: SessionFolder, patience_s: float) -> None:
        self.folder, self.patience_s = folder, patience_s

    async def watch(self) -> None:
        """Watch until the runner has ended, by itself or not."""
        gone = await _pipe_of_runner()
        with Pulse(self.folder.pulse) as pulse:
            while not gone.is_set():
                if pulse.ready and pulse.age_s > self.patience_s and not pulse.ended:
                    await self._hung(pulse, gone)
                try:
                    await asyncio.wait_for(gone.wait(), LOOK_S)
                except TimeoutError:
                    continue
            if not pulse.ended:
                await self._died(pulse)

    async def _hung(self, pulse: Pulse, gone: asyncio.Event) -> None:
        card = self._card()
        pulse.take_over()
        log.error("runner hangs pid=%d no heartbeat for %.1f s: its orders are withdrawn", card.pid, pulse.age_s)
        began = pulse.beat_ns
        swept = await sweep(card, enough=lambda: not pulse.shut)
        log.error("runner hangs pid=%d withdrawn=%d clean=%s", card.pid, swept.withdrawn, swept.clean)
        while not gone.is_set() and pulse.beat_ns == began:
            await asyncio.sleep(LOOK_S)
        if not gone.is_set():
            log.warning("runner is back pid=%d; it compares its orders with the venue before it sends", card.pid)

    async def _died(self, pulse: Pulse) -> None:
        card = self._card()
        said = f"{card.ending}; " if card.ending else ""
        pulse.take_over()
        log.error("runner died pid=%d: its orders are withdrawn", card.pid)
        self.folder.write_card(replace(card, ending=f"{said}the runner died; its supervisor withdraws what is left"))
        swept = await sweep(card, enough=lambda: self._replaced(card))
        left = "none is left" if swept.clean else "the venue did not answer: CHECK IT, orders may be open"
        words = f"{said}the runner died (pid {card.pid}); its supervisor withdrew {swept.withdrawn} orders, {left}"
        log.error(words)
        self._write_down(card, words, swept.now_ns or time.time_ns())
        if not self._replaced(card):
            self.folder.write_card(replace(card, phase=Phase.ENDED, ending=words, code=1))

    def _replaced(self, card: Card) -> bool:
        """Whether the session has been started again: what is open now is that runner's business."""
        now = self.folder.read_card()
        return now is None or now.pid != card.pid

    def _write_down(self, card: Card, words: str, ts_ns: int) -> None:
        """Say it in the journal, which nobody else writes any more, unless the session has been started again."""
        try:
            lock = self.folder.take()
        except GrinderError:
            return
        try:
            with Journal.open(card.journal) as journal:
                journal.append_note(words, ts_ns)
        except (GrinderError, OSError) as error:
            log.warning("not written to the journal error=%s", error)
        finally:
            lock.release()

    def _card(self) -> Card:
        card = self.folder.read_card()
        assert card is not None  # the runner writes it before it starts us
        return card


async def _pipe_of_runner() -> asyncio.Event:
    """Return an event that is set when the runner's end of our stdin closes."""
    loop, gone = asyncio.get_running_loop(), asyncio.Event()

    class Pipe(asyncio.Protocol):
        def connection_lost(self, error: Exception | None) -> None:
            gone.set()

    await loop.connect_read_pipe(Pipe, sys.stdin.buffer)
    return gone


def main() -> None:
    """Supervise the session that the command line names."""
    name, patience_s = sys.argv[1:3]
    folder = SessionFolder(name)
    start_log(folder.path / "supervisor.jsonl")
    log.info("supervisor watches session=%s pid=%d", name, os.getpid())
    asyncio.run(Supervisor(folder, float(patience_s)).watch())


if __name__ == "__main__":
    main()
