"""Fills that a tracker no longer holds in memory, on disk: so that one that comes again is still known."""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Iterable
from decimal import Decimal
from operator import attrgetter

import orjson

from grinder_kit.model.fill import Fill
from grinder_kit.model.order import Side

_NAMES = tuple(Fill.__dataclass_fields__)
_values = attrgetter(*_NAMES)
_DECIMALS = ("price", "quantity", "commission", "commission_rate")


class FillArchive:
    """Fills by id, in a temporary file that goes with this object; memory does not grow with them.

    Examples
    --------
    >>> FillArchive().find("4711") is None
    True
    """

    def __init__(self) -> None:
        # An empty name: a file of its own, which SQLite keeps in a small cache and removes when it is closed.
        self._file = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._file.execute("PRAGMA synchronous = OFF")
        self._file.execute("PRAGMA journal_mode = MEMORY")
        self._file.execute("CREATE TABLE fill (fill_id TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID")
        weakref.finalize(self, self._file.close)

    def add(self, fills: Iterable[Fill]) -> None:
        """Keep fills whose ids are new: all of them or none.

        Raises
        ------
        sqlite3.Error
            Where the disk is full.
        """
        rows = [(fill.fill_id, orjson.dumps(_values(fill), default=str)) for fill in fills]
        self._file.execute("BEGIN")
        try:
            self._file.executemany("INSERT INTO fill VALUES (?, ?)", rows)
            self._file.execute("COMMIT")
        except BaseException:
            if self._file.in_transaction:
                self._file.execute("ROLLBACK")
            raise

    def find(self, fill_id: str) -> Fill | None:
        """Return the fill of an id, None where there is none."""
        found = self._file.execute("SELECT body FROM fill WHERE fill_id = ?", (fill_id,)).fetchone()
        if found is None:
            return None
        values = dict(zip(_NAMES, orjson.loads(found[0]), strict=True))
        values["side"] = Side(values["side"])
        values |= {name: Decimal(values[name]) for name in _DECIMALS if values[name] is not None}
        return Fill(**values)
