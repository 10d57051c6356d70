"""The runner: one session in a process of its own. `grinder run` is this, whether a notebook starts it or a service manager.

One loop carries everything: the shell with its venue, the heartbeat, the local API. It ends by itself once the session has: stopped,
killed, or out of market; orders are withdrawn and that is confirmed first. Its supervisor lives in another process.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from grinder_kit import __version__
from grinder_kit.errors import ConfigError, GrinderError, SessionError
from grinder_kit.execution.budget import WeightBudget
from grinder_kit.execution.clock import PacedLoop
from grinder_kit.execution.engine import ExecutionEngine
from grinder_kit.execution.journal import Journal, entries, journal_header, rebuild
from grinder_kit.execution.latency import LatencyMonitor
from grinder_kit.execution.metrics import ExecutionMetrics
from grinder_kit.execution.shell import Shell, guarded
from grinder_kit.execution.way_out import How
from grinder_kit.fillprob.model_file import fitted_for
from grinder_kit.model.config import Config
from grinder_kit.model.config_check import check_against
from grinder_kit.model.config_diff import differences
from grinder_kit.model.config_file import parse_config, save_config
from grinder_kit.model.event import RunState, SetState, StreamLost, Updated
from grinder_kit.session.control import Control
from grinder_kit.session.folder import Card, SessionFolder, take_account, write_whole
from grinder_kit.session.forecasts import Forecasts
from grinder_kit.session.guard import Lifelines, Policy
from grinder_kit.session.logs import start_log
from grinder_kit.session.metrics import SessionMetrics
from grinder_kit.session.past import present_frame
from grinder_kit.session.pulse import Pulse, SharedEpoch
from grinder_kit.session.snapshot import About, Phase, Snapshot
from grinder_kit.session.venues import needs_features, open_venue, served_port
from grinder_kit.session.view import Notices, View

log = logging.getLogger(__name__)

DONE, REFUSED, UNREACHABLE, INTERRUPTED = 0, 3, 4, 130
BEAT_S, SAMPLE_S = 0.02, 1.0
#: A kill that takes longer than this says so.
KILL_EXPECTED_S = 2.0
#: A session that ended itself stays to be looked at: two scrapes of its metrics, at the usual 15 s.
LINGER_S = 30.0
#: Fills and round trips that are held in memory, some 20 MB; the journal holds all.
KEEP = 20_000
#: Supervisors that are started one after another before the session gives up on being watched.
SUPERVISORS = 5
_FINAL = (RunState.STOPPED, RunState.KILLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a session is run.

    Parameters
    ----------
    name : str
    config : Config
    market : str
        See :mod:`grinder_kit.market.naming`; or ``venue 127.0.0.1:4711``, a venue that another process serves.
    speed : float
        Of a market that is played: 1 is real time.
    port : int
        Of the local API; 0 takes a free one.
    policy, grace_s
        What happens when the last client has gone for so many seconds.
    patience_s : float
        The supervisor takes over when no heartbeat came for so long.
    lifeline : bool
        The process that started this one holds a pipe to its stdin: the end of it is the end of that process.
    stream : bool
        Play the market as a live feed would come, into a PaperPort.
    supervise : bool
        Start a supervisor.
    """

    name: str
    config: Config
    market: str
    speed: float = 1.0
    port: int = 0
    policy: Policy = Policy.CANCEL
    grace_s: float = 30.0
    patience_s: float = 5.0
    lifeline: bool = False
    stream: bool = False
    supervise: bool = True


def run(options: RunOptions) -> int:
    """Run a session to its end; return the exit code.

    Raises
    ------
    GrinderError
        For what keeps it from starting. The card of the session says it too, unless another session holds its name.
    """
    folder = SessionFolder(options.name)
    folder.make()
    name_lock = folder.take()
    try:
        # A market that is played here needs no hurry: nothing is decided at another time than it is meant for.
        factory = PacedLoop if served_port(options.market) is None else None
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(_Session(options, folder).main())
    finally:
        name_lock.release()


class _Session:
    """One session under way."""

    def __init__(self, options: RunOptions, folder: SessionFolder) -> None:
        self.options, self.folder = options, folder
        self.card = Card(
            name=options.name,
            version=__version__,
            phase=Phase.STARTING,
            mode="paper",
            account="",
            symbol="",
            venue="",
            market=options.market,
            tag=folder.tag,
            pid=os.getpid(),
            started_wall_ns=time.time_ns(),
        )
        self.notices = Notices(lambda: time.time_ns() if self.view is None else self.view.shell.now_ns())
        self.lifelines = Lifelines(options.policy, options.grace_s, self._left_alone)
        self.view: View | None = None
        self.code = DONE
        self._over, self._dismissed = asyncio.Event(), asyncio.Event()
        self._signals = 0
        self._gaps: deque[tuple[float, float]] = deque()
        self._supervisor: asyncio.subprocess.Process | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    # --- life --------------------------------------------------------------------------------------------------------

    async def main(self) -> int:
        start_log(self.folder.log, self.notices)
        self.folder.final.unlink(missing_ok=True)
        self._write_card()
        try:
            async with AsyncExitStack() as stack:
                await self._open(stack)
                await self._live()
        except BaseException as error:
            words = str(error) if isinstance(error, GrinderError) else f"{type(error).__name__}: {error}"
            log.error("session ended by error=%s", words)
            self._write_card(phase=Phase.ENDED, ending=words, code=getattr(error, "code", 2))
            raise
        finally:
            await self._dismiss_supervisor()
        return self.code

    async def _open(self, stack: AsyncExitStack) -> None:
        """Open everything that a session needs, in this order; what has been opened is closed in the other."""
        options = self.options
        self._fitted = fitted_for(options.config)
        self.pulse = stack.enter_context(Pulse.create(self.folder.pulse))
        self.metrics = SessionMetrics(self._take)
        self.control = Control(
            self.folder.new_token(),
            self._take,
            self._execute,
            self.lifelines,
            {name: partial(self._frame, name) for name in ("fills", "round_trips")},
            self.metrics.registry,
        )
        port = await self.control.start(options.port)
        stack.push_async_callback(self.control.close)
        self._write_card(port=port)
        self.venue = await stack.enter_async_context(
            open_venue(options.market, options.config, speed=options.speed, stream=options.stream)
        )
        instrument = self.venue.instrument
        check_against(options.config, instrument, None)
        account = self.venue.account or f"paper-{options.name}-{self.card.started_wall_ns // 1_000_000}"
        lock = take_account(account, instrument.symbol, options.name)
        stack.callback(lock.release)
        journal = self.folder.path / f"{account}.journal"
        self._write_card(account=account, symbol=instrument.symbol, venue=instrument.venue, journal=str(journal))
        self.shell = self._shell(journal, stack)
        forecasts = Forecasts(self.shell.engine, self._fitted, self.venue.origin)
        self.shell.on_step = forecasts.take
        self.view = View(
            self._about(account),
            self.shell,
            self._latency,
            self._budget,
            self.notices,
            queue_ahead=self.venue.queue_ahead,
            forecasts=forecasts,
        )
        self.metrics.execution = ExecutionMetrics(
            self.shell.engine,
            latency=self._latency,
            budget=self._budget,
            labels={"session": options.name, "symbol": instrument.symbol},
        )
        save_config(options.config, self.folder.config)
        write_whole(self.folder.instrument, json.dumps(instrument.to_json()).encode())

    def _shell(self, path: Path, stack: AsyncExitStack) -> Shell:
        """Build the session: from its journal where it goes on with one that had not come to its end."""
        options, venue = self.options, self.venue
        engine, since_ns = self._engine(), None
        if path.exists():
            since_ns = next(entries(path)).ts_ns
            rebuild(entries(path), engine)
            if engine.state in _FINAL:
                path.rename(path.with_suffix(f".{time.time_ns() // 1_000_000}.journal"))
                engine, since_ns = self._engine(), None
        journal = Journal.open(
            path, header=journal_header(venue.instrument, options.config, self.folder.tag), ts_ns=venue.clock.now_ns()
        )
        stack.callback(journal.close)
        epoch = SharedEpoch(lambda: self.pulse.shut, engine.epoch)
        self._latency = LatencyMonitor(timeout_s=options.config.retry.timeout_s)
        self._budget = WeightBudget.of(venue.port.capabilities, venue.clock)
        timed = self._latency.timed(venue.port, venue.clock)
        port = guarded(timed, venue.clock, options.config.retry, epoch=epoch, budget=self._budget)
        shell = Shell(engine, port, venue.market, venue.clock, epoch=epoch, journal=journal, since_ns=since_ns)
        if differences(engine.config, options.config):  # the journal ends with another one than we were given
            shell.feed(Updated(config=options.config.canonical(), ts_ns=shell.now_ns()))
        return shell

    def _engine(self) -> ExecutionEngine:
        capabilities = self.venue.port.capabilities
        return ExecutionEngine(
            self.venue.instrument,
            self.options.config,
            tag=self.folder.tag,
            # Unlike any generation that an earlier run may have used, though its journal be lost.
            first_generation=self.card.started_wall_ns // 1_000_000,
            amend_rule=capabilities.amend,
            max_amends=capabilities.max_amends,
            reduce_only=capabilities.reduce_only,
            keep=KEEP,
            model=None if self._fitted is None else self._fitted.model,
            markout=None if self._fitted is None else self._fitted.markout,
        )

    def _about(self, account: str) -> About:
        instrument, options = self.venue.instrument, self.options
        return About(
            name=options.name,
            mode="paper",
            symbol=instrument.symbol,
            venue=instrument.venue,
            account=account,
            market=options.market,
            base=instrument.base,
            quote=instrument.quote,
            settle=instrument.settle,
            tick=instrument.tick,
            lot=instrument.lot,
            tag=self.folder.tag,
            pid=os.getpid(),
            version=__version__,
            started_wall_ns=self.card.started_wall_ns,
            speed=self.venue.speed,
            policy=options.policy.value,
            grace_s=options.grace_s,
            folder=str(self.folder.path),
        )

    async def _live(self) -> None:
        """Trade until the session is over; then wait until nothing of it is left at the venue."""
        view, shell = self.view, self.shell
        assert view is not None
        self._listen_to_signals()
        if self.options.lifeline:
            self._hold_stdin()
        self.pulse.beat()
        self._spawn(self._beat())
        if self.options.supervise:
            self._spawn(self._supervised())
        over = asyncio.ensure_future(self._over.wait())
        trading = asyncio.ensure_future(self._trade(view))
        await asyncio.wait({trading, over}, return_when=asyncio.FIRST_COMPLETED)
        if trading.done() and (error := trading.exception()) is not None:
            shell.fail(error)
        confirmed = await self._wind_up()
        if self._ended_itself and not self._signals:
            log.error("session killed itself reason=%s; it ends in %g s", shell.engine.state_reason, LINGER_S)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._dismissed.wait(), LINGER_S)
        for task in (trading, over):
            task.cancel()
        await asyncio.gather(trading, over, return_exceptions=True)
        await self._end(view, confirmed)

    async def _trade(self, view: View) -> None:
        """Agree with the venue, and quote until the session has ended."""
        await self.shell.start()
        view.facts.phase = Phase.RUNNING
        self.pulse.ready = True
        self._write_card(phase=Phase.RUNNING)
        log.info("session runs name=%s symbol=%s port=%d", self.options.name, self.card.symbol, self.card.port)
        self._spawn(self._sample())
        await self.shell.run()

    @property
    def _ended_itself(self) -> bool:
        """Whether a limit, or something that nobody foresaw, killed the session."""
        return self.shell.failure is not None or self.shell.engine.breach is not None

    async def _wind_up(self) -> bool:
        """Wait until every own order is gone; a signal that comes again hurries."""
        engine, shell = self.shell.engine, self.shell
        end = shell.kill if engine.state is RunState.KILLED or shell.failure is not None else shell.stop
        ending = asyncio.ensure_future(end(engine.state_reason))
        while not ending.done():
            await asyncio.wait({ending}, timeout=0.1)
            if self._signals > 1:
                ending.cancel()
                await asyncio.gather(ending, return_exceptions=True)
                return shell.ended
        return await ending

    async def _end(self, view: View, confirmed: bool) -> None:
        engine = self.shell.engine
        held = engine.tracker.inventory
        instrument = engine.instrument
        position = f"position {held:+f} {instrument.base} remains" if held else "flat"
        left = len(engine.orders)
        orders = "no order is left" if confirmed else f"{left} orders are NOT CONFIRMED to be gone: check the venue"
        ending = f"{engine.state.value}: {engine.state_reason}; {orders}; {position}"
        if not confirmed:
            self.code = UNREACHABLE
        elif self.code == DONE and self._ended_itself:
            self.code = REFUSED
        view.facts.unconfirmed = not confirmed
        view.sample()
        view.facts.phase = Phase.ENDED
        self.pulse.ended = confirmed
        write_whole(self.folder.final, json.dumps(view.snapshot().to_json()).encode())
        self._write_card(phase=Phase.ENDED, ending=ending, digest=engine.digest(), code=self.code)
        log.info("session ended %s", ending)
        for task in self._tasks:
            task.cancel()
        self.lifelines.close()
        await self.shell.close()

    # --- what goes on meanwhile --------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        """Say that we live, and notice when the supervisor thought otherwise."""
        last = time.monotonic()
        while True:
            await asyncio.sleep(BEAT_S)
            self.pulse.beat()
            now = time.monotonic()
            self._gaps.append((now, now - last))
            self.metrics.gaps.add(now - last)
            last = now
            while self._gaps[0][0] < now - 60:
                self._gaps.popleft()
            if self.pulse.shut:
                await self._superseded()

    async def _superseded(self) -> None:
        """Come back after the supervisor took over: nothing is sent before orders and fills agree with the venue again."""
        takeovers = self.pulse.takeovers
        log.error("taken over: the supervisor found this process hung and withdrew its orders")
        if self.shell.engine.state is RunState.RUNNING:
            self.shell.pause("the supervisor took over while this process hung; resume when you know why")
        self.shell.hear(StreamLost(ts_ns=self.shell.now_ns(), reason="the supervisor took over"))
        while not self.shell.engine.synced and self.shell.failure is None:
            self.pulse.beat()
            await asyncio.sleep(BEAT_S)
        self.pulse.acknowledge(takeovers)

    async def _sample(self) -> None:
        view, clock = self.view, self.venue.clock
        assert view is not None
        while True:
            await clock.sleep(SAMPLE_S)
            view.sample()
            self._latency.expire(clock.monotonic_ns())
            if self.metrics.execution is not None:
                self.metrics.execution.update()
            if self.venue.ended() and not self._over.is_set():
                view.facts.market_ended = True
                self._finish(RunState.STOPPED, "the market has been played to its end")

    async def _supervised(self) -> None:
        """Have a supervisor, and another one when it dies; without one, quote no more."""
        for _ in range(SUPERVISORS):
            with (self.folder.path / "supervisor.err").open("ab") as errors:
                self._supervisor = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "grinder_kit.session.supervisor", self.options.name,
                    str(self.options.patience_s),
                    stdin=asyncio.subprocess.PIPE, stdout=errors, stderr=errors, start_new_session=True,
                )  # fmt: skip
            self._write_card(supervisor_pid=self._supervisor.pid)
            code = await self._supervisor.wait()
            log.error("supervisor ended pid=%d code=%d", self._supervisor.pid, code)
            await asyncio.sleep(0.1)
        assert self.view is not None
        self.view.facts.unsupervised = "no supervisor can be started; if this process dies, nobody withdraws its orders"
        if self.shell.engine.state is RunState.RUNNING:
            self.shell.pause("no supervisor watches this session")

    async def _dismiss_supervisor(self) -> None:
        """Let the supervisor see by the pulse and the end of its pipe that there is nothing left to do."""
        if self._supervisor is not None and self._supervisor.stdin is not None:
            self._supervisor.stdin.close()

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signalled, number)

    def _signalled(self, number: int) -> None:
        self._signals += 1
        self._dismissed.set()
        name = signal.Signals(number).name
        log.warning("signal %s%s", name, " again: no more waiting" if self._signals > 1 else "")
        self.code = INTERRUPTED if number == signal.SIGINT else DONE
        self._finish(RunState.STOPPED, name)

    def _hold_stdin(self) -> None:
        """Take the pipe that the starting process holds for a lifeline."""
        loop, key = asyncio.get_running_loop(), object()
        self.lifelines.hold(key, "the process that started this session")

        def read() -> None:
            with suppress(OSError):
                while os.read(0, 1024):  # past Python's own buffer, whose lock would hold up our end
                    pass
            loop.call_soon_threadsafe(self.lifelines.let_go, key)

        threading.Thread(target=read, name="lifeline", daemon=True).start()

    def _left_alone(self, words: str) -> None:
        if self.shell.engine.state is RunState.RUNNING:
            self.shell.pause(f"{words}: all orders are withdrawn, the position is kept")

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.shell.fail(error)

    # --- what is asked -----------------------------------------------------------------------------------------------

    def _take(self) -> Snapshot:
        if self.view is None:
            raise SessionError(f"session '{self.options.name}' is starting: it loads its market")
        facts = self.view.facts
        facts.clients = len(self.lifelines)
        facts.grace_until_wall_ns = self.lifelines.until_wall_ns
        facts.longest_gap_ms = max((gap for _, gap in self._gaps), default=0.0) * 1e3
        loop = asyncio.get_running_loop()
        facts.behind_s = loop.behind_s if isinstance(loop, PacedLoop) else 0.0
        facts.feed_age_s = self.venue.feed_age_s()
        return self.view.snapshot()

    async def _execute(self, command: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out a command; commands come one after another, in the order of their arrival."""
        does: dict[str, Callable[[Mapping[str, Any]], str]] = {
            "pause": self._pause,
            "resume": self._resume,
            "flatten": self._flatten,
            "stop": lambda facts: self._finish(RunState.STOPPED, _reason(facts)),
            "kill": lambda facts: self._finish(RunState.KILLED, _reason(facts)),
            "update": self._update,
        }
        if command not in does:
            raise ConfigError(f"unknown command '{command}'; there are {', '.join(does)}")
        if self.view is None:
            raise SessionError("the session is starting: it has no order yet; try again in a moment")
        log.info("command %s id=%s", command, facts.get("id"))
        shell = self.shell
        if shell.journal is not None:
            shell.journal.append_note(f"command: {command}", shell.now_ns(), id=str(facts.get("id", "")))
        text = does[command](facts)
        shell.commit()  # what is answered for outlives this process
        return {"text": text, "state": shell.engine.state.value, "epoch": shell.engine.epoch}

    def _refuse_if_over(self) -> None:
        state = self.shell.engine.state
        if state in _FINAL:
            raise SessionError(f"the session is {state.value} for good; start it again")

    def _pause(self, facts: Mapping[str, Any]) -> str:
        self._refuse_if_over()
        self.shell.pause(_reason(facts))
        return f"paused: {self._orders()} are being withdrawn, the position is kept"

    def _resume(self, facts: Mapping[str, Any]) -> str:
        self._refuse_if_over()
        if self.pulse.shut:
            raise SessionError("the supervisor has taken over, and orders are being compared with the venue; try again")
        self.shell.resume(_reason(facts))
        return "quotes again"

    def _flatten(self, facts: Mapping[str, Any]) -> str:
        self._refuse_if_over()
        self.shell.flatten(_reason(facts), **{name: facts.get(name) for name in How._fields})
        engine = self.shell.engine
        held = f"{engine.tracker.inventory:+f} {engine.instrument.base}"
        how = "" if engine.way_out is None else f"; {engine.way_out.text(abs(engine.position.lots), engine.instrument)}"
        return f"flattening {held}: {self._orders()} are withdrawn first{how}"

    def _update(self, facts: Mapping[str, Any]) -> str:
        self._refuse_if_over()
        text = facts.get("config")
        if not isinstance(text, str):
            raise ConfigError("update needs the whole configuration, as TOML, in 'config'")
        config = parse_config(text, name="update")
        if config.grid.min_fill_prob > 0 and not needs_features(self.options.config):
            raise ConfigError(
                "grid.min_fill_prob cannot change from 0 while the session runs: its market is heard without features; stop it "
                "and start again"
            )
        changes = self.shell.update(config)
        save_config(config, self.folder.config)
        return "; ".join(str(one) for one in changes) or "nothing changes"

    def _finish(self, state: RunState, reason: str) -> str:
        """Stop or kill: at once, whatever else is going on. A stop that is under way can still be made a kill."""
        engine, view = self.shell.engine, self.view
        if self.shell.ended:
            self._dismissed.set()
        if engine.state is RunState.KILLED or engine.state is state:
            return f"already {engine.state.value}: {self._orders()} are left"
        if view is not None and not view.facts.to_end:
            view.facts.to_end = len(engine.orders)
        words = self._orders()
        self.shell.feed(SetState(state=state, reason=reason))
        self._over.set()
        if view is not None:
            asyncio.get_running_loop().call_later(KILL_EXPECTED_S, self._not_confirmed, view)
        return f"{state.value}: {words} are being withdrawn"

    def _not_confirmed(self, view: View) -> None:
        view.facts.unconfirmed = not self.shell.ended

    def _orders(self) -> str:
        count = len(self.shell.engine.orders)
        return "1 order" if count == 1 else f"{count} orders"

    def _frame(self, name: str) -> Callable[[], Any]:
        self.shell.commit()
        return present_frame(self.shell.engine, self.card, name)

    def _write_card(self, **changes: Any) -> None:
        self.card = replace(self.card, **changes)
        self.folder.write_card(self.card)


def _reason(facts: Mapping[str, Any]) -> str:
    reason = facts.get("reason")
    return reason[:200] if isinstance(reason, str) and reason else "operator"
