"""The log of a session: one JSON object a line in its folder, bounded, and words on stderr where a person looks."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

_BYTES, _FILES = 4_000_000, 3


class JsonLines(logging.Formatter):
    """One JSON object a line: ts, level, logger, message, and the traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        entry = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def start_log(path: Path, *extra: logging.Handler) -> None:
    """Send what grinder_kit logs to a file, to further handlers, and its warnings to stderr."""
    file = RotatingFileHandler(path, maxBytes=_BYTES, backupCount=_FILES, encoding="utf-8")
    file.setFormatter(JsonLines())
    shown = logging.StreamHandler(sys.stderr)
    shown.setLevel(logging.WARNING)
    shown.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("grinder_kit")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    handlers: tuple[logging.Handler, ...] = (file, shown, *extra)
    for handler in handlers:
        logger.addHandler(handler)
