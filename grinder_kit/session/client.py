"""Session: what a notebook or a script holds of a session that runs in a process of its own."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from grinder_kit import __version__
from grinder_kit.errors import ConfigError, SessionError
from grinder_kit.execution.way_out import How
from grinder_kit.market.naming import market_name
from grinder_kit.model.config import Config, GridConfig
from grinder_kit.model.config_check import check_against
from grinder_kit.model.config_file import format_config, load_config, load_exported, placed
from grinder_kit.model.number import Exact
from grinder_kit.session import request
from grinder_kit.session.facade import finish
from grinder_kit.session.feed import Feed, Link
from grinder_kit.session.folder import SessionFolder, write_whole
from grinder_kit.session.guard import Policy
from grinder_kit.session.request import Answer
from grinder_kit.session.snapshot import Phase, Snapshot
from grinder_kit.session.venues import served_port
from grinder_kit.session.words import status_line

if TYPE_CHECKING:
    import polars as pl

    from grinder_kit.market.source import Market

log = logging.getLogger(__name__)

#: One feed for each session and process, however often a cell is run again; a runner that we started dies alone, not with a variable.
_FEEDS: dict[str, Feed] = {}
_STARTED: dict[str, subprocess.Popen[bytes]] = {}


class Session:
    """A paper session in a process of its own.

    Calls that ask or command the runner are finished when they return in a notebook's cell or a script; in other async code they
    return a task to be awaited.

    Parameters
    ----------
    config : Config, GridConfig or path
    mode : str
        ``paper``: fills are simulated, and no credentials are read.
    market : Market, path or str
        A recording, the standard synthetic market, the name of either, or ``venue 127.0.0.1:4711``: a venue that another process
        serves. By default the market that the configuration names.
    name : str, optional
        By default the symbol in small letters.
    speed : float
        Of a market that is played: 1 is real time.
    policy : str
        When the last client is gone for `grace_s`: ``cancel`` withdraws all orders and keeps watching, ``run_on`` goes on.
    grace_s, patience_s : float
        The supervisor takes over when no heartbeat came for `patience_s`.
    port : int
        Of the local API; 0 takes a free one.
    stream : bool
        Play the market as a live feed would come.

    Raises
    ------
    ConfigError
        For a configuration that does not fit, a market that cannot be opened, or a mode that this version has not.

    Examples
    --------
    >>> session = gk.Session(config, market=gk.synthetic_market(seed=7))  # doctest: +SKIP
    >>> session.start()  # doctest: +SKIP
    """

    def __init__(
        self,
        config: Config | GridConfig | Path | str,
        *,
        mode: str = "paper",
        market: Market | Path | str | None = None,
        name: str | None = None,
        speed: float = 1.0,
        policy: str = Policy.CANCEL.value,
        grace_s: float = 30.0,
        patience_s: float = 5.0,
        port: int = 0,
        stream: bool = False,
    ) -> None:
        if mode != "paper":
            raise ConfigError(f"mode is {mode!r}; this version runs paper sessions: write mode='paper'")
        if isinstance(config, str | Path):
            config = load_exported(config)
        # The runner's folder is another than ours.
        self.config = placed(config if isinstance(config, Config) else Config(grid=config), Path.cwd())
        wanted = market if market is not None else self.config.provenance.market
        if wanted is None:
            raise ConfigError(
                "the configuration names no market; pass market='synthetic seed=7 minutes=30', or a recording"
            )
        self.market = market_name(wanted)
        if not speed > 0:
            raise ConfigError(f"speed is {speed!r}; write a number above zero (1 is real time)")
        for what, value in (("grace_s", grace_s), ("patience_s", patience_s)):
            if not value >= 0:
                raise ConfigError(f"{what} is {value!r}; write seconds, 0 or more")
        if policy not in list(Policy):
            raise ConfigError(f"policy is {policy!r}; write {' or '.join(repr(p.value) for p in Policy)}")
        self._options = {
            "speed": speed, "policy": policy, "grace": grace_s, "patience": patience_s, "port": port,
        }  # fmt: skip
        self._stream = stream
        symbol = self._symbol()
        self.folder = SessionFolder(symbol.lower() if name is None else name)

    def _symbol(self) -> str:
        """Return the market's symbol, after a look whether the configuration fits it and its fill model can be had."""
        if self.config.fill_model is not None:
            from grinder_kit.fillprob.model_file import fitted_for

            fitted_for(self.config)
        if served_port(self.market) is not None:
            return "session" if self.config.instrument is None else self.config.instrument.symbol
        from grinder_kit.market.naming import open_market

        instrument = open_market(self.market).instrument
        check_against(self.config, instrument, None)
        return instrument.symbol

    # --- beginning ---------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start the runner and return at once; where it runs already, attach to it.

        Raises
        ------
        ConfigError
            Where it runs with another configuration: the session is attached and unchanged, and the message names the differences.
        """
        if self.folder.running():
            self._attach()
            self._say_differences()
            return self
        self.folder.make()
        file = self.folder.path / "start.toml"
        write_whole(file, format_config(self.config).encode())
        self.folder.card.unlink(missing_ok=True)
        words = [f"--{name}={value}" for name, value in self._options.items()]
        if self._stream:
            words.append("--stream")
        with self.folder.errors.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "grinder_kit", "run", str(file), "--mode=paper", f"--name={self.name}",
                 f"--market={self.market}", "--lifeline", *words],
                stdin=subprocess.PIPE, stdout=errors, stderr=errors, start_new_session=True,
            )  # fmt: skip
        _runs_here(self.name)
        _STARTED[self.name] = process
        self._attach(fresh=True)
        return self

    @classmethod
    def attach(cls, name: str) -> Self:
        """Attach to a session that runs, or look at one that has ended.

        Raises
        ------
        SessionError
            Where there never was one of this name.
        """
        folder = SessionFolder(name)
        card = folder.read_card()
        if card is None:
            raise SessionError(
                f"there is no session '{name}' here ({folder.path}); `grinder status` lists what there is"
            )
        if card.version != __version__ and card.phase is not Phase.ENDED:
            raise SessionError(
                f"session '{name}' runs grinder_kit {card.version}, and this is {__version__}: attach from there, or end it with: "
                f"grinder stop {name}"
            )
        session = cls.__new__(cls)
        session.folder, session.market, session._options, session._stream = folder, card.market, {}, False
        session.config = _config_of(folder)
        session._attach()
        return session

    def _attach(self, *, fresh: bool = False) -> None:
        known = _FEEDS.get(self.name)
        if fresh or known is None or not known.alive or known.folder.path != self.folder.path:
            if known is not None:
                known.close()
            _FEEDS[self.name] = Feed(self.folder)

    def _say_differences(self) -> None:
        from grinder_kit.model.config_diff import differences

        changes = differences(_config_of(self.folder), self.config)
        if changes:
            raise ConfigError(
                f"session '{self.name}' runs with another configuration ({'; '.join(str(one) for one in changes)}). It is attached and "
                "unchanged: session.update(session.config) applies yours, session.stop() ends it"
            )

    # --- looking -----------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Name of the session, and of its folder."""
        return self.folder.name

    @property
    def _feed(self) -> Feed | None:
        return _FEEDS.get(self.name)

    @property
    def latest(self) -> Snapshot | None:
        """The newest snapshot that was heard; asks nobody."""
        return None if self._feed is None else self._feed.latest

    @property
    def link(self) -> Link:
        """How we stand with the runner."""
        return Link.NONE if self._feed is None else self._feed.link

    @property
    def heard_s(self) -> float | None:
        """Seconds since the runner was last heard."""
        return None if self._feed is None else self._feed.heard_s

    @property
    def status(self) -> str:
        """How the session is, in one line."""
        return status_line(self.folder, self.latest if self.link in (Link.OPEN, Link.CLOSED) else None)

    def snapshot(self) -> Any:
        """Ask the runner for all that it shows; the last snapshot of a session that has ended."""
        return finish(asyncio.to_thread(self._snapshot))

    def _snapshot(self) -> Snapshot:
        import orjson

        card = self.folder.read_card()
        if card is not None and card.phase is Phase.ENDED:
            return Snapshot.from_json(orjson.loads(self.folder.final.read_bytes()))
        return Snapshot.from_json(orjson.loads(request.ask(self.folder, "GET", "/snapshot")))

    @property
    def fills(self) -> pl.DataFrame:
        """Every fill of the session, one row each."""
        return self._frame("fills")

    @property
    def round_trips(self) -> pl.DataFrame:
        """Every round trip of the session, one row each."""
        return self._frame("round_trips")

    def _frame(self, name: str) -> pl.DataFrame:
        card = self.folder.read_card()
        if card is None or card.phase is not Phase.ENDED:
            return request.frame(self.folder, name)
        from grinder_kit.session.past import past_frame

        return past_frame(card, _config_of(self.folder), name)

    # --- steering ----------------------------------------------------------------------------------------------------

    def pause(self, reason: str = "operator") -> Any:
        """Withdraw all orders and keep the position."""
        return self._command("pause", reason=reason)

    def resume(self, reason: str = "operator") -> Any:
        """Quote again."""
        return self._command("resume", reason=reason)

    def flatten(
        self,
        reason: str = "operator",
        *,
        twap_s: float | None = None,
        slices: int | None = None,
        show: Exact | None = None,
        seed: int | None = None,
    ) -> Any:
        """Withdraw all orders and close the position; the session is paused then.

        By default at once, taking liquidity. The status says how far a schedule has come. A pause interrupts it, and the same call
        again goes on where it stood; another call begins anew, one without a schedule closes the rest at once.

        Parameters
        ----------
        reason : str
        twap_s : float, optional
            Close it over so many seconds instead, in slices that take liquidity (a TWAP). Slices that are missed, because the market
            is stale or the session away, are spread over those still to come.
        slices : int, optional
            So many; by default as many as the venue's smallest order allows, at most 60.
        show : str, optional
            Close it with post-only orders instead, of which only this quantity is shown at a time (an iceberg), such as "0.01": no
            taker fee, and nobody knows how long it takes.
        seed : int, optional
            Draws sizes, and times of slices, so that they are harder to recognise.

        Raises
        ------
        ConfigError
            For slices below the smallest order, and whatever else cannot be kept; nothing has changed then.
        """
        how = How(twap_s, slices, str(show) if isinstance(show, Decimal) else show, seed)
        how.check()
        return self._command("flatten", reason=reason, **{k: v for k, v in how._asdict().items() if v is not None})

    def stop(self, reason: str = "operator") -> Any:
        """Withdraw all orders and end; the position is kept."""
        return self._command("stop", reason=reason)

    def kill(self, reason: str = "operator") -> Any:
        """As `stop`, and past a runner that does not answer: it is killed, and its orders are withdrawn from here."""
        return finish(asyncio.to_thread(request.kill, self.folder, reason))

    def update(self, config: Config | GridConfig) -> Any:
        """Go on with another configuration; refused whole where anything in it does not fit.

        Raises
        ------
        ConfigError
            All that is wrong with it; the session goes on as it was.
        """
        whole = placed(config if isinstance(config, Config) else self.config.replace(grid=config), Path.cwd())

        async def work() -> Answer:
            answer = await asyncio.to_thread(request.command, self.folder, "update", config=format_config(whole))
            self.config = whole
            return answer

        return finish(work())

    def _command(self, name: str, **facts: Any) -> Any:
        return finish(asyncio.to_thread(request.command, self.folder, name, **facts))

    def wait(self, phase: str = Phase.ENDED.value, *, timeout_s: float | None = None) -> Any:
        """Wait until the session has ended, or is RUNNING; return its status.

        Raises
        ------
        TimeoutError
            After `timeout_s`.
        SessionError
            Where it ended before it was RUNNING.
        """
        return finish(self._wait(Phase(phase), timeout_s))

    async def _wait(self, phase: Phase, timeout_s: float | None) -> str:
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            card = self.folder.read_card()
            found = None if card is None else card.phase
            dead = card is None and not _runs_here(self.name)
            if found is phase and (phase is not Phase.RUNNING or self.latest is not None):
                if phase is not Phase.ENDED or not (self.folder.running() or _runs_here(self.name)):
                    return self.status
            elif dead or found is Phase.ENDED:
                raise SessionError(f"session '{self.name}' ended: {self._last_words()}")
            if until is not None and time.monotonic() > until:
                raise TimeoutError(f"session '{self.name}' is not {phase.value} after {timeout_s:g} s: {self.status}")
            await asyncio.sleep(0.05)

    def _last_words(self) -> str:
        card = self.folder.read_card()
        if card is not None and card.ending:
            return card.ending
        with suppress(FileNotFoundError):
            lines = [line for line in self.folder.errors.read_text().splitlines() if line.startswith("error: ")]
            if lines:
                return " ".join(line.removeprefix("error: ") for line in lines)
        return f"nobody said why; see {self.folder.errors}"

    def close(self) -> None:
        """Stop following the session; it goes on, and its policy decides when no other client is there."""
        feed = _FEEDS.pop(self.name, None)
        if feed is not None:
            feed.close()

    def __repr__(self) -> str:
        return f"Session({self.name!r}): {self.status}"


def _runs_here(name: str) -> bool:
    """Whether a runner that this process started lives; one that has ended is let go of."""
    process = _STARTED.get(name)
    if process is None or process.poll() is None:
        return process is not None
    del _STARTED[name]
    assert process.stdin is not None
    process.stdin.close()
    return False


def _config_of(folder: SessionFolder) -> Config:
    """Return the configuration that a session runs with."""
    file = folder.config if folder.config.exists() else folder.path / "start.toml"
    return load_config(file)
