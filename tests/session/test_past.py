"""All fills of a session: those that its engine no longer holds come from its journal."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from grinder_kit.execution.engine import ExecutionEngine
from grinder_kit.execution.journal import Journal, journal_header
from grinder_kit.model.config import Config, GridConfig
from grinder_kit.model.event import OrderFilled
from grinder_kit.model.instrument import Instrument
from grinder_kit.session.folder import Card
from grinder_kit.session.past import present_frame
from grinder_kit.session.snapshot import Phase

TOY = Instrument(symbol="TOY", venue="v", base="TOY", quote="USDT", tick=Decimal("0.1"), lot=Decimal("0.01"))
CONFIG = Config(grid=GridConfig(spacing_bps=50, levels=3, size="0.04"))


def test_a_session_shows_all_its_fills_and_round_trips_and_not_only_those_in_memory(tmp_path: Path) -> None:
    """The frames of an engine with a bound are those of one without: read from memory while it holds all, then from the journal."""
    path = tmp_path / "a.journal"
    card = Card(
        name="a", version="1", phase=Phase.RUNNING, mode="paper", account="a", symbol="TOY", venue="v", market="", tag="r0", pid=1,
        journal=str(path),
    )  # fmt: skip
    bound, whole = ExecutionEngine(TOY, CONFIG, keep=10), ExecutionEngine(TOY, CONFIG)
    with Journal.open(path, header=journal_header(TOY, CONFIG, "r0"), ts_ns=0) as journal:
        for number in range(100):
            event = OrderFilled(
                client_order_id=f"gkr0-{'BS'[number % 2]}1-{number + 1}", trade_id=str(number), price_ticks=1_000 + number % 7,
                quantity_lots=4, commission=Decimal("0.001"), commission_asset="BNB", ts_ns=number, is_maker=True,
                commission_rate=Decimal(600 + number),
            )  # fmt: skip
            for engine in (bound, whole):
                engine.step(event, number)
            journal.append_event(event, number)
            if number in (3, 99):
                journal.commit()
                for name in ("fills", "round_trips"):
                    assert present_frame(bound, card, name)().equals(present_frame(whole, card, name)())
    assert len(bound.tracker.fills) < whole.tracker.fill_count == present_frame(bound, card, "fills")().height
