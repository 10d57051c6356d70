"""Limits of a session that runs: the kill within one step, and its reason wherever somebody looks."""

from __future__ import annotations

import re

import pytest

from grinder_kit.execution.journal import entries
from grinder_kit.model.event import SetState
from grinder_kit.session import request
from tests.session.conftest import GRID, Make, until


@pytest.mark.parametrize(
    ("limit", "value"),
    [("max_drawdown", "0.2"), ("max_loss_per_day", "0.2"), ("max_orders_per_s", "1")],
)
def test_broken_limit_kills_and_says_why(make: Make, limit: str, value: str) -> None:
    """The reason stands in the snapshot, the journal, the log, the metrics and on the card; nothing is left, and the code is 3."""
    wide = GRID.replace(**{f"limits.{limit}": value, "grid.position_limit": "0.2", "grid.levels": 8})
    session = make(limit.replace("_", "-"), wide, speed=60.0).start()
    session.wait("RUNNING", timeout_s=120)
    killed = until(lambda: (s := session.latest) is not None and s.status.state == "KILLED" and s)
    until(lambda: session.latest is not None and session.latest.status.open_orders == 0)
    reason = killed.status.reason
    assert limit in reason
    metrics = request.ask(session.folder, "GET", "/metrics").decode()
    assert re.search(rf'grinder_execution_state{{.*{limit}.*state="KILLED".*}} 1\.0', metrics)
    assert reason in session.folder.log.read_text()
    session.stop()  # it has ended itself, and stays only to be looked at
    session.wait(timeout_s=60)
    card = session.folder.read_card()
    assert card is not None and card.code == 3 and card.ending.startswith(f"KILLED: {reason}; no order is left")
    told = [e for e in entries(card.journal) if isinstance(e.body, SetState) and e.body.state == "KILLED"]
    assert [event.body.reason for event in told] == [reason]  # type: ignore[union-attr]
