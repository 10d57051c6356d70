"""Pulse: eight numbers in a small file that the runner and its supervisor share, so that each sees the other without a message.

The runner writes its heartbeat, the supervisor its takeovers. A number is written as one aligned store of 8 bytes.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from grinder_kit.execution.port import Epoch

_SIZE = 64
_BEAT, _READY, _ENDED, _TAKEOVERS, _ACKNOWLEDGED = range(5)
#: Above every epoch: nothing passes.
SHUT = 2**62


class Pulse:
    """The shared numbers; make it with :meth:`create`, look into another process's with :meth:`open`.

    Attributes
    ----------
    beat_ns : int
        Monotonic time of the runner's last heartbeat, the same clock in every process of the machine; 0: none yet.
    ready, ended : bool
        Whether the runner has begun to trade; whether it has ended by itself, so that nothing is left to do.
    takeovers, acknowledged : int
        How often the supervisor has taken over, and how many of these the runner has noticed.
    """

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _SIZE)
        self._numbers = memoryview(self._map).cast("q")

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make the file with zeros, in place of an old one: who still looks into that sees it stand still."""
        draft = path.with_suffix(".part")
        draft.write_bytes(bytes(_SIZE))
        draft.replace(path)
        return cls(path)

    def beat(self) -> None:
        """Say that the runner lives."""
        self._numbers[_BEAT] = time.monotonic_ns()

    @property
    def beat_ns(self) -> int:
        """Time of the last heartbeat, ns of the monotonic clock."""
        return self._numbers[_BEAT]

    @property
    def age_s(self) -> float:
        """Seconds since the last heartbeat."""
        return (time.monotonic_ns() - self.beat_ns) / 1e9

    @property
    def ready(self) -> bool:
        """Whether the runner trades: from here on a heartbeat must come."""
        return bool(self._numbers[_READY])

    @ready.setter
    def ready(self, value: bool) -> None:
        self._numbers[_READY] = value

    @property
    def ended(self) -> bool:
        """Whether the runner has ended by itself."""
        return bool(self._numbers[_ENDED])

    @ended.setter
    def ended(self, value: bool) -> None:
        self._numbers[_ENDED] = value

    @property
    def takeovers(self) -> int:
        """How often the supervisor has taken over."""
        return self._numbers[_TAKEOVERS]

    def take_over(self) -> None:
        """Shut the runner's door: nothing that adds risk leaves it until it has noticed and agreed with the venue."""
        self._numbers[_TAKEOVERS] += 1

    @property
    def shut(self) -> bool:
        """Whether a takeover has not been acknowledged."""
        return self._numbers[_TAKEOVERS] != self._numbers[_ACKNOWLEDGED]

    def acknowledge(self, takeovers: int) -> None:
        """Open the door again, for the takeovers that were noticed; a later one keeps it shut."""
        self._numbers[_ACKNOWLEDGED] = takeovers

    def close(self) -> None:
        """Let go of the file."""
        self._numbers.release()
        self._map.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class SharedEpoch(Epoch):
    """The epoch of a session that a supervisor can shut from another process.

    Parameters
    ----------
    shut : callable
        Asked at every request, right before it leaves.
    current : int
    """

    def __init__(self, shut: Callable[[], bool], current: int = 0) -> None:
        self._shut = shut
        super().__init__(current)

    @property
    def current(self) -> int:
        """The epoch that may pass; above all of them while the door is shut."""
        return SHUT if self._shut() else self._own

    @current.setter
    def current(self, epoch: int) -> None:
        self._own = epoch

    def raise_to(self, epoch: int) -> None:
        """Let nothing older than `epoch` pass."""
        self._own = max(self._own, epoch)
