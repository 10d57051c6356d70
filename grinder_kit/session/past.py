"""All fills and round trips of a session: from its journal, where they are not in memory."""

from __future__ import annotations

import json
from collections.abc import Callable
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
    # It decides nothing: which model it decided by does not matter any more.
    engine = ExecutionEngine(instrument, config.replace(fill_model=None), tag=card.tag)
    rebuild(entries(card.journal), engine)
    return engine


def past_frame(card: Card, config: Config, name: str) -> pl.DataFrame:
    """Return `fills` or `round_trips` of a session that has ended."""
    instrument = Instrument.from_json(json.loads(SessionFolder(card.name).instrument.read_bytes()))
    return _frame_of(past_engine(card, config, instrument), name)()


def present_frame(engine: ExecutionEngine, card: Card, name: str) -> Callable[[], pl.DataFrame]:
    """Return what makes `fills` or `round_trips` of a session under way, in any thread, as they are now or a little later.

    What its engine no longer holds is in the journal: commit before.
    """
    tracker = engine.tracker
    if tracker.fill_count == len(tracker.fills) and tracker.round_trip_count == len(tracker.round_trips):
        return _frame_of(engine, name)
    config, instrument = engine.config, engine.instrument
    return lambda: _frame_of(past_engine(card, config, instrument), name)()


def _frame_of(engine: ExecutionEngine, name: str) -> Callable[[], pl.DataFrame]:
    tracker, instrument = engine.tracker, engine.instrument
    if name == "fills":
        fills = tuple(tracker.fills)  # they go on changing
        return lambda: fills_frame(fills, instrument)
    trips = tuple(tracker.round_trips)
    return lambda: round_trips_frame(trips, instrument)
