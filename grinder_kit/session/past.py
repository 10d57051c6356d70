"""What a session that has ended leaves: its fills and round trips, from its journal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from grinder_kit.execution.engine import ExecutionEngine
from grinder_kit.execution.frames import fills_frame, round_trips_frame
from grinder_kit.execution.journal import entries, rebuild
from grinder_kit.model.config import Config
from grinder_kit.model.instrument import Instrument
from grinder_kit.session.folder import Card, SessionFolder

if TYPE_CHECKING:
    import polars as pl


def past_engine(card: Card, config: Config, instrument: Instrument) -> ExecutionEngine:
    """Return an engine that knows what a session's journal says."""
    engine = ExecutionEngine(instrument, config, tag=card.tag)
    rebuild(entries(card.journal), engine)
    return engine


def past_frame(card: Card, config: Config, name: str) -> pl.DataFrame:
    """Return `fills` or `round_trips` of a session that has ended."""
    instrument = Instrument.from_json(json.loads(SessionFolder(card.name).instrument.read_bytes()))
    engine = past_engine(card, config, instrument)
    if name == "fills":
        return fills_frame(engine.tracker.fills, instrument)
    return round_trips_frame(engine.tracker.round_trips, instrument)
