"""What can go wrong between us and a venue, as values; fault_schedule.py says when it does.

Nothing here invents anything: an order exists at the venue or it does not, and a fault only decides what of that we are told,
and when.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from grinder_kit.errors import ConfigError
from grinder_kit.execution.port import Operation


class FaultKind(StrEnum):
    """One way in which a request, or a word of the stream, goes wrong."""

    NONE = "NONE"
    # a request
    UNREACHABLE = "UNREACHABLE"  # it does not get away: ConnectivityError
    VANISHED = "VANISHED"  # it is lost on the way and nobody can tell: OutcomeUnknownError
    LATE = "LATE"  # OutcomeUnknownError, and then it arrives; refused unseen where the receive window is over
    TIMED_OUT = "TIMED_OUT"  # carried out, the answer is lost: OutcomeUnknownError
    HANGS = "HANGS"  # carried out, no answer until `release`
    SLOW_REQUEST = (
        "SLOW_REQUEST"  # it arrives late, and is answered; OUTSIDE_RECV_WINDOW where the receive window is over
    )
    SLOW_ANSWER = "SLOW_ANSWER"  # carried out at once, answered late
    REJECTED = "REJECTED"  # OrderRejectedError; of a batch, every item
    RATE_LIMITED = "RATE_LIMITED"  # 429: RateLimitError
    BANNED = "BANNED"  # 418: BannedError
    PARTIAL = "PARTIAL"  # a batch: each item has a fate of its own
    MALFORMED = "MALFORMED"  # carried out, the answer cannot be read: MalformedAnswerError
    UNREADABLE = "UNREADABLE"  # the status is FOO: Order with in_flight UNKNOWN; in the stream too
    # the stream
    DUPLICATED = "DUPLICATED"  # told twice
    DELAYED = "DELAYED"  # told late, others overtake it
    REORDERED = "REORDERED"  # told after the next one
    STREAM_LOST = "STREAM_LOST"  # this and what follows for a while is never told; StreamLost when that is noticed


class Fate(StrEnum):
    """What becomes of one item of a batch that fails in part."""

    DONE = "DONE"  # carried out and answered
    REJECTED = "REJECTED"  # refused, not carried out
    TIMED_OUT = "TIMED_OUT"  # carried out, its outcome is not told
    VANISHED = "VANISHED"  # not carried out, its outcome is not told


_SINGLE = frozenset({Operation.PLACE, Operation.CANCEL, Operation.AMEND})
_BATCH = frozenset({Operation.BATCH_PLACE, Operation.BATCH_CANCEL, Operation.BATCH_AMEND})
_WRITES = _SINGLE | _BATCH
_ANY = frozenset(Operation)

#: Which operations a fault of a request can strike.
FITS: MappingProxyType[FaultKind, frozenset[Operation]] = MappingProxyType(
    {
        FaultKind.NONE: _ANY,
        FaultKind.UNREACHABLE: _ANY,
        FaultKind.VANISHED: _ANY,
        FaultKind.LATE: _WRITES,
        FaultKind.TIMED_OUT: _ANY,
        FaultKind.HANGS: _ANY,
        FaultKind.SLOW_REQUEST: _ANY,
        FaultKind.SLOW_ANSWER: _ANY,
        FaultKind.REJECTED: _WRITES,
        FaultKind.RATE_LIMITED: _ANY,
        FaultKind.BANNED: _ANY,
        FaultKind.PARTIAL: _BATCH,
        FaultKind.MALFORMED: _ANY,
        FaultKind.UNREADABLE: _WRITES | {Operation.GET_ORDER, Operation.GET_OPEN_ORDERS},
    }
)
EVENT_KINDS = (
    FaultKind.DUPLICATED,
    FaultKind.DELAYED,
    FaultKind.REORDERED,
    FaultKind.STREAM_LOST,
    FaultKind.UNREADABLE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault, with what it needs to know.

    Parameters
    ----------
    kind : FaultKind
    delay_s : float
        Until the caller is answered, after the venue has acted where it acts. Of an event: until it is told (DUPLICATED: again;
        REORDERED: at the latest; STREAM_LOST: how long nothing is told).
    arrives_s : float
        LATE and SLOW_REQUEST: until the request reaches the venue.
    notice_s : float
        STREAM_LOST: until the loss is noticed, never before it is over.
    retry_after : float or None
        RATE_LIMITED and BANNED: what the venue says, s. Requests before it is over are refused again.
    reason : str
        REJECTED, and the rejected items of PARTIAL.
    items : tuple of Fate
        PARTIAL: fate of the items, from the first on, and again from its start where the batch is longer.
    """

    kind: FaultKind = FaultKind.NONE
    delay_s: float = 0.0
    arrives_s: float = 0.0
    notice_s: float = 0.0
    retry_after: float | None = None
    reason: str = "VENUE_BUSY"
    items: tuple[Fate, ...] = ()

    def __post_init__(self) -> None:
        if min(self.delay_s, self.arrives_s, self.notice_s) < 0:
            raise ConfigError(f"{self.kind}: a delay is below zero; write 0 or more")
        if self.kind is FaultKind.PARTIAL and not self.items:
            raise ConfigError("PARTIAL needs the fates of its items; write items=(Fate.DONE, Fate.REJECTED)")


NO_FAULT = Fault()


@dataclass(frozen=True, slots=True, kw_only=True)
class Injected:
    """One line of what was done to a session: when, to what, and how."""

    at_ns: int
    where: str
    fault: Fault
    subject: str = ""

    def __str__(self) -> str:
        fault, words = self.fault, [f"{self.at_ns / 1e9:.3f}s", self.where, self.subject, self.fault.kind.value]
        words += [f"{n}={v:g}" for n in ("delay_s", "arrives_s", "notice_s") if (v := getattr(fault, n))]
        if fault.kind in (FaultKind.RATE_LIMITED, FaultKind.BANNED):
            words.append(f"retry_after={fault.retry_after}")
        if fault.kind in (FaultKind.REJECTED, FaultKind.PARTIAL):
            words.append(f"reason={fault.reason}")
        words += [fate.value for fate in fault.items]
        return " ".join(word for word in words if word)


def kinds_of(operation: Operation) -> tuple[FaultKind, ...]:
    """Return the faults that can strike an operation, NONE left out."""
    return tuple(kind for kind, fits in FITS.items() if operation in fits and kind is not FaultKind.NONE)
