"""A day of market through the whole program, at 200 times the speed."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

import grinder_kit as gk
from grinder_kit.session.folder import Card
from grinder_kit.session.past import past_engine
from tests.session.conftest import GRID, Make, until


def sizes(card: Card) -> tuple[float, float]:
    """Return the memory of the runner and the size of its journal, MiB."""
    journal = Path(card.journal)
    files = sum(file.stat().st_size for file in journal.parent.glob(f"{journal.name}*"))
    return psutil.Process(card.pid).memory_info().rss / 2**20, files / 2**20


def a_day(make: Make, minutes: int) -> None:
    """Play so many minutes: memory and files grow no faster later than sooner, and what is left is exact.

    The journal rebuilds an engine of the same digest, and the fills are those of a replay.
    """
    market = f"synthetic seed=11 minutes={minutes}"
    session = make("day", market=market, speed=200.0).start()
    session.wait("RUNNING", timeout_s=120)
    first = session.latest
    assert first is not None
    start_ns, span_ns = first.now.now_ns, minutes * 60_000_000_000
    seen: list[tuple[float, float]] = []
    for share in (0.25, 0.5, 0.75):

        def reached(share: float = share) -> bool:
            return session.latest is not None and session.latest.now.now_ns >= start_ns + share * span_ns

        until(reached, timeout_s=60 * minutes)
        card = session.folder.read_card()
        assert card is not None
        seen.append(sizes(card))
    session.wait(timeout_s=60 * minutes)
    (memory_1, files_1), (_, files_2), (memory_3, files_3) = seen
    assert memory_3 - memory_1 < 40, f"memory grows: {seen}"
    assert files_3 - files_2 < 1.5 * (files_2 - files_1) + 0.5, f"the journal grows faster and faster: {seen}"
    assert (session.folder.path / "log.jsonl").stat().st_size < 1_000_000

    card = session.folder.read_card()
    assert card is not None and card.code == 0
    result = gk.replay(gk.synthetic_market(seed=11, minutes=minutes), GRID)
    columns = ["ts_ns", "level_id", "price_ticks", "quantity_lots", "commission", "is_maker"]
    assert result.fills.height > minutes
    assert session.fills.select(columns).equals(result.fills.select(columns))
    assert past_engine(card, GRID, gk.synthetic_market(seed=11, minutes=1).instrument).digest() == card.digest


def test_twenty_minutes_at_200_times_the_speed(make: Make) -> None:
    """The same drill, short enough for every run."""
    a_day(make, 20)


@pytest.mark.slow
def test_a_day_at_200_times_the_speed(make: Make) -> None:
    """Memory and files stay flat, the journal gives the same digest, and every fill is the replay's."""
    a_day(make, 24 * 60)
