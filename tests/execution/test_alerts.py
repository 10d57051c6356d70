"""AlertManager: an alert is told once, to everybody, and nothing is lost by that."""

from __future__ import annotations

import asyncio
import itertools
import logging
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.errors import ConfigError
from grinder_kit.execution.alerts import Alert, AlertLevel, AlertManager, into_journal
from grinder_kit.execution.journal import EntryKind, Journal, entries
from grinder_kit.session.view import Notices

S = 1_000_000_000


class Told:
    """An AlertManager with a clock in the hands of the test."""

    def __init__(self, **options: Any) -> None:
        self.now = 1_700_000_000 * S
        self.heard: list[Alert] = []
        self.manager = AlertManager(lambda: self.now, sinks=[self.heard.append], **options)

    def send(self, level: str = "WARNING", message: str = "drift", **context: str) -> None:
        """Send an alert."""
        asyncio.run(self.manager.send_alert(level, message, context))


@pytest.mark.parametrize("level", AlertLevel)
def test_an_alert_reaches_log_journal_and_sinks(level: AlertLevel, tmp_path: Path, caplog: Any) -> None:
    """At its level, with its context, once each."""
    caplog.set_level(logging.INFO)
    told = Told()
    path = tmp_path / "j"
    with Journal.open(path, header={"symbol": "X", "venue": "v", "tag": "r0"}, ts_ns=0) as journal:
        told.manager.sinks.append(into_journal(journal))
        told.send(level, diff="0.5")
    (alert,) = told.heard
    assert (alert.level, alert.message, dict(alert.context), alert.ts_ns) == (level, "drift", {"diff": "0.5"}, told.now)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [(level, "drift diff=0.5")]
    (note,) = [entry for entry in entries(path) if entry.kind is EntryKind.NOTE]
    assert note.body == {"text": "drift", "facts": {"alert": level, "diff": "0.5"}} and note.ts_ns == told.now


def test_the_panel_hears_of_an_alert_once() -> None:
    """By the log, whose warnings it shows; what only informs is not shown."""
    told, notices, logger = Told(), Notices(lambda: 7), logging.getLogger("grinder_kit.execution.alerts")
    logger.addHandler(notices)
    try:
        for level in AlertLevel:
            told.send(level, level.lower())
    finally:
        logger.removeHandler(notices)
    assert [(one.level, one.text) for one in notices.latest] == [
        ("WARNING", "warning"), ("ERROR", "error"), ("CRITICAL", "critical"),
    ]  # fmt: skip


def test_the_same_message_within_a_minute_is_counted_and_not_repeated() -> None:
    """And the next time that it is told, it says how often it was only counted."""
    told = Told()
    for second in (0, 1, 30, 59, 60, 61):
        told.now = (1_700_000_000 + second) * S
        told.send(at=str(second))
    assert [dict(one.context) for one in told.heard] == [
        {"at": "0"},
        {"at": "60", "counted": "3 more since it was told"},
    ]
    first, second_ = told.manager.alerts
    assert (first.times, first.context["at"], (first.last_ns - first.ts_ns) // S) == (4, "59", 59)
    assert (second_.times, second_.context["at"]) == (2, "61")


def test_another_level_or_message_is_another_alert() -> None:
    """Only what is the same in both is counted."""
    told = Told()
    told.send()
    told.send("ERROR")
    told.send(message="other")
    assert len(told.heard) == 3


def test_a_clock_that_goes_back_hides_no_alert() -> None:
    """What was told in a future that was taken back is told again."""
    told = Told()
    told.send()
    told.now -= 3600 * S
    told.send()
    assert len(told.heard) == 2


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 90)), max_size=60), st.integers(1, 5))
def test_every_alert_is_told_or_counted(sent: list[tuple[str, int]], few: int) -> None:
    """Whatever comes when: the times of all alerts sum up to what was sent, and memory is bounded."""
    told, short = Told(), Told(kept=few)
    for message, later in sent:
        told.now += later * S
        short.now = told.now
        told.send(message=message)
        short.send(message=message)
        assert len(short.manager.alerts) <= few
    assert sum(one.times for one in told.manager.alerts) == len(sent)
    for message in "abc":
        times = [one.ts_ns for one in told.heard if one.message == message]
        assert all(b - a >= 60 * S for a, b in itertools.pairwise(times))


def test_a_sink_that_fails_keeps_nobody_from_hearing(caplog: Any) -> None:
    """It is logged; whoever sent the alert goes on."""

    def broken(alert: Alert) -> None:
        raise OSError("disk full")

    told = Told()
    told.manager.sinks.insert(0, broken)
    told.send()
    assert len(told.heard) == 1 and "disk full" in caplog.text


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: m.send_alert("WARN", "x"), "unknown level 'WARN'; did you mean 'WARNING'?"),
        (lambda m: m.send_alert("INFO", "x", {"n": 5}), "context['n'] is a int; write text"),
        (lambda m: m.send_alert("INFO", "x", {"key": object()}), "context['key'] is a object; write text"),
    ],
)
def test_what_is_no_alert_is_refused(call: Any, words: str) -> None:
    """An unknown level, and a context that is not text: an object could hold anything, a secret too."""
    with pytest.raises(ConfigError) as error:
        asyncio.run(call(AlertManager()))
    assert words in str(error.value)


@pytest.mark.parametrize("options", [{"repeat_s": -1.0}, {"kept": 0}, {"repeat_s": float("nan")}])
def test_a_negative_threshold_is_refused(options: Any) -> None:
    """By its name."""
    with pytest.raises(ConfigError, match=next(iter(options))):
        AlertManager(**options)


def test_it_shows_itself() -> None:
    """In a notebook: how many of which level, and all of them as a frame."""
    told = Told()
    assert repr(told.manager) == "<AlertManager: 0 alerts>" and told.manager.to_frame().is_empty()
    told.send(diff="0.5")
    told.send("ERROR", "gone")
    assert repr(told.manager) == "<AlertManager: 2 alerts, 1 WARNING, 1 ERROR>"
    frame = told.manager.to_frame()
    assert frame["context"].to_list() == ["diff=0.5", ""] and frame["times"].to_list() == [1, 1]
    assert (
        frame.schema["level"] == pl.Enum([level.value for level in AlertLevel])
        and frame.columns == told.manager.to_frame().columns
    )
