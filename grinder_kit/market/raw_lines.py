"""Raw recordings as blocks of whole lines: plain, gzip or xz, with a truncated end told apart from a whole file."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import queue
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from grinder_kit.errors import DataError

Progress = Callable[[int, int], None]  # compressed bytes read, of how many

_READ = 1 << 16
_BLOCK = 1 << 22  # characters a block: with it the importer's memory is bounded


class Block(NamedTuple):
    """Whole lines of one file; `open_end` says that the file's last line, which is in it, had no newline."""

    text: bytes
    first_line: int
    name: str
    open_end: bool

    def where(self, line: int) -> str:
        """Return file and line number, the latter from 1."""
        return f"{self.name}: line {self.first_line + line:,}"


class RawLines:
    """The lines of one file; iterate :meth:`blocks` once, then read the attributes.

    Attributes
    ----------
    lines : int
        Whole lines seen so far.
    truncated : bool
        The compressed stream ended early; half a line at its end is left out.
    """

    def __init__(self, path: Path, progress: Progress | None = None) -> None:
        self.path = Path(path)
        self.lines = 0
        self.truncated = False
        self._progress = progress
        if not self.path.exists():
            raise DataError(f"{self.path}: no such file; write the path of a recorded file")
        if self.path.is_dir():
            raise DataError(f"{self.path} is a folder; name the files to import, in the order of their time")
        self.size = self.path.stat().st_size
        if self.size == 0:
            raise DataError(f"{self.path.name}: an empty file; there is nothing to import, download or record it again")

    def sha256(self) -> str:
        """Return the hash of the file as it lies there."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def blocks(self) -> Iterator[Block]:
        """Yield whole lines; decompression runs ahead in a thread."""
        ahead: queue.Queue[tuple[bytes, bool] | BaseException | None] = queue.Queue(maxsize=2)
        gone = threading.Event()

        def read() -> None:
            def put(item: tuple[bytes, bool] | BaseException | None) -> None:
                while not gone.is_set():
                    with suppress(queue.Full):
                        ahead.put(item, timeout=0.2)
                        return

            try:
                for block in self._whole_lines():
                    put(block)
                    if gone.is_set():
                        return
                put(None)
            except BaseException as error:
                put(error)

        thread = threading.Thread(target=read, name="raw-lines", daemon=True)
        thread.start()
        try:
            while (item := ahead.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                text, open_end = item
                yield Block(text, self.lines + 1, self.path.name, open_end)
                self.lines += text.count(b"\n")
        finally:
            gone.set()
            thread.join()

    def _whole_lines(self) -> Iterator[tuple[bytes, bool]]:
        parts: list[bytes] = []
        held = 0
        for chunk in self._chunks():
            parts.append(chunk)
            held += len(chunk)
            if held >= _BLOCK:
                text = b"".join(parts)
                cut = text.rfind(b"\n") + 1
                if cut:
                    yield text[:cut], False
                parts, held = [text[cut:]], len(text) - cut
        text = b"".join(parts)
        if not text:
            return
        cut = text.rfind(b"\n") + 1
        if self.truncated:
            text = text[:cut]  # half a line
        open_end = cut < len(text)
        if open_end:
            text += b"\n"  # whether the line is whole shows when it is read
        if text:
            yield text, open_end

    def _chunks(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            stream = _decompressed(file)
            while True:
                try:
                    chunk = stream.read1(_READ)
                except EOFError:
                    self.truncated = True
                    return
                except (OSError, zlib.error, lzma.LZMAError) as error:
                    raise DataError(
                        f"{self.path.name}: the compressed stream is damaged ({error}); download it again"
                    ) from error
                if not chunk:
                    return
                if self._progress is not None:
                    self._progress(os.lseek(file.fileno(), 0, os.SEEK_CUR), self.size)
                yield chunk


def _decompressed(file: IO[bytes]) -> Any:
    """Return the stream under the compression that the first bytes tell, whatever the name says."""
    magic = file.read(6)
    file.seek(0)
    if magic.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file)
    if magic == b"\xfd7zXZ\x00":
        return lzma.LZMAFile(cast("Any", file))
    return file
