"""One look at a session from outside, without attaching to it."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from grinder_kit.errors import GrinderError
from grinder_kit.session import request
from grinder_kit.session.folder import Card, SessionFolder
from grinder_kit.session.snapshot import Snapshot
from grinder_kit.session.words import more_lines, status_line


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was seen: a line for a person and those below it, the card, and the snapshot where the runner answered."""

    line: str
    card: Card | None
    snapshot: Snapshot | None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {
            "status": self.line,
            "card": None if self.card is None else asdict(self.card),
            "snapshot": None if self.snapshot is None else self.snapshot.to_json(),
        }


def look(folder: SessionFolder, *, timeout_s: float = 2.0) -> Look:
    """Look at a session.

    Raises
    ------
    SessionError
        Where there never was one of this name.
    """
    card, snapshot = folder.read_card(), None
    if card is None:
        request.card_of(folder)
    with suppress(GrinderError):
        snapshot = Snapshot.from_json(json.loads(request.ask(folder, "GET", "/snapshot", timeout_s=timeout_s)))
    more = () if snapshot is None else more_lines(snapshot)
    return Look(line="\n  ".join((status_line(folder, snapshot), *more)), card=card, snapshot=snapshot)
