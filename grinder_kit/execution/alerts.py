"""AlertManager (SPEC 9.7): what a person must hear of, told once, to the log and to whoever else listens.

The panel of a session listens to the warnings of its log, so that an alert is told there by the log alone. What stands in an
alert is text: no object of a venue or of a configuration, which could show more of itself than was meant, reaches it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from grinder_kit.errors import ConfigError
from grinder_kit.model.section import did_you_mean

if TYPE_CHECKING:
    import polars as pl

    from grinder_kit.execution.journal import Journal

log = logging.getLogger(__name__)

NOTHING: Mapping[str, str] = MappingProxyType({})


class AlertLevel(StrEnum):
    """How much an alert matters; the names are those of the log."""

    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"
    CRITICAL = "CRITICAL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert: `times` it was sent, first at `ts_ns` and last at `last_ns` (ns UTC); `context` is that of the last time."""

    ts_ns: int
    level: AlertLevel
    message: str
    context: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    times: int = 1
    last_ns: int = 0

    def __str__(self) -> str:
        """Return the alert in one line."""
        facts = "".join(f" {name}={text}" for name, text in self.context.items())
        return f"{self.message}{facts}"


#: Told of each alert once, when it is new.
Sink: TypeAlias = Callable[[Alert], object]


class AlertManager:
    """Tell alerts to the log and to sinks, and keep the latest.

    The same message at the same level within `repeat_s` is counted and not told again; the next time it is told, it says how
    often. A sink that fails is logged, and the others hear of the alert all the same.

    Parameters
    ----------
    now_ns : callable
        Returns the time, ns UTC.
    sinks : sequence of callable
        Each is called with the :class:`Alert`; see :func:`into_journal`.
    repeat_s : float
        How long a message that comes again is only counted.
    kept : int
        How many alerts are kept.

    Raises
    ------
    ConfigError
        For a negative `repeat_s`, or fewer than one alert kept.

    Examples
    --------
    >>> import asyncio
    >>> heard = []
    >>> alerts = AlertManager(lambda: 5, sinks=[heard.append])
    >>> asyncio.run(alerts.send_alert("WARNING", "position differs", {"diff": "0.5"}))
    >>> asyncio.run(alerts.send_alert("WARNING", "position differs", {"diff": "0.7"}))
    >>> alerts, len(heard), str(alerts.alerts[0])
    (<AlertManager: 1 alert, 1 WARNING>, 1, 'position differs diff=0.7')
    """

    def __init__(
        self,
        now_ns: Callable[[], int] = time.time_ns,
        *,
        sinks: tuple[Sink, ...] | list[Sink] = (),
        repeat_s: float = 60.0,
        kept: int = 1000,
    ) -> None:
        if not repeat_s >= 0:
            raise ConfigError(f"repeat_s is {repeat_s}; write 0 or more seconds")
        if kept < 1:
            raise ConfigError(f"kept is {kept}; write 1 or more")
        self.sinks = list(sinks)
        self._now_ns = now_ns
        self._repeat_ns = round(repeat_s * 1e9)
        self._kept = kept
        self._number = 0
        self._alerts: dict[int, Alert] = {}
        self._latest: dict[tuple[AlertLevel, str], int] = {}

    async def send_alert(self, level: AlertLevel | str, message: str, context: Mapping[str, str] | None = None) -> None:
        """Tell an alert, or count it where the same was told within the last `repeat_s`.

        Parameters
        ----------
        level : AlertLevel or str
            INFO, WARNING, ERROR or CRITICAL.
        message : str
            What is the case, always in the same words; what changes from time to time belongs into the context.
        context : mapping of str to str, optional

        Raises
        ------
        ConfigError
            For an unknown level, or a context that is not text.
        """
        try:
            level = AlertLevel(level)
        except ValueError:
            raise ConfigError(
                f"unknown level {level!r}{did_you_mean(str(level), AlertLevel)} ({', '.join(AlertLevel)})"
            ) from None
        facts = dict(context or {})
        for name, text in facts.items():
            if not isinstance(text, str):
                raise ConfigError(f"context[{name!r}] is a {type(text).__name__}; write text")
        now = self._now_ns()
        last = self._alerts.get(self._latest.get((level, message), -1))
        # A clock that went back says nothing about how long ago it was: tell it again.
        if last is not None and 0 <= now - last.ts_ns < self._repeat_ns:
            self._alerts[self._latest[level, message]] = replace(
                last, times=last.times + 1, last_ns=now, context=MappingProxyType(facts)
            )
            return
        if last is not None and last.times > 1:
            facts["counted"] = f"{last.times - 1} more since it was told"
        self._keep(Alert(ts_ns=now, level=level, message=message, context=MappingProxyType(facts), last_ns=now))

    def _keep(self, alert: Alert) -> None:
        self._number += 1
        self._alerts[self._number] = alert
        self._latest[alert.level, alert.message] = self._number
        if len(self._alerts) > self._kept:
            number, gone = next(iter(self._alerts.items()))
            del self._alerts[number]
            if self._latest.get((gone.level, gone.message)) == number:
                del self._latest[gone.level, gone.message]
        log.log(logging.getLevelNamesMapping()[alert.level], "%s", alert)
        for sink in self.sinks:
            try:
                sink(alert)
            except Exception as error:
                log.error("alert not passed on sink=%r error=%r", sink, error)

    @property
    def alerts(self) -> tuple[Alert, ...]:
        """The latest alerts, oldest first."""
        return tuple(self._alerts.values())

    def to_frame(self) -> pl.DataFrame:
        """Return the alerts as a Polars frame, one row each; the context is one text."""
        import polars as pl

        from grinder_kit.execution.frames import rows_frame

        schema = {
            "ts_ns": pl.Int64, "last_ns": pl.Int64, "level": pl.Enum([level.value for level in AlertLevel]),
            "message": pl.String, "context": pl.String, "times": pl.Int64,
        }  # fmt: skip
        rows = [
            (a.ts_ns, a.last_ns, a.level.value, a.message, " ".join(f"{k}={v}" for k, v in a.context.items()), a.times)
            for a in self.alerts
        ]
        return rows_frame(rows, schema)

    def __repr__(self) -> str:
        levels = [alert.level for alert in self._alerts.values()]
        counts = ", ".join(f"{levels.count(level)} {level}" for level in AlertLevel if level in levels)
        return f"<AlertManager: {len(levels)} alert{'' if len(levels) == 1 else 's'}{', ' * bool(counts)}{counts}>"


def into_journal(journal: Journal) -> Sink:
    """Return a sink that writes each alert down as a note.

    Examples
    --------
    >>> alerts = AlertManager(sinks=[into_journal(journal)])  # doctest: +SKIP
    """

    def write(alert: Alert) -> None:
        journal.append_note(alert.message, alert.ts_ns, **{**alert.context, "alert": alert.level.value})

    return write
