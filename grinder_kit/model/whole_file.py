"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from grinder_kit.errors import DataError


@contextmanager
def draft(target: Path) -> Iterator[Path]:
    """Give a temporary name beside `target` that becomes it when all went well, and is gone otherwise.

    Raises
    ------
    DataError
        For a folder.
    """
    if target.is_dir():
        raise DataError(f"{target}: is a folder; name a file")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.stem}.{os.getpid()}.part{target.suffix}")
    try:
        yield part
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
