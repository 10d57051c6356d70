"""Computations that take a while: on a thread, with progress and a way out; the latest one wins."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import ipywidgets as widgets

from grinder_kit.errors import GrinderError
from grinder_widgets.controls import button
from grinder_widgets.markup import escape
from grinder_widgets.theme import count

log = logging.getLogger(__name__)

#: Seconds between two words on how far a computation is.
PROGRESS_S = 0.25


class Progress(Protocol):
    """Told how much is done, of how much where only the work knows, and what else there is to say.

    It raises where nobody waits any more.
    """

    def __call__(self, done: int, of: int | None = None, note: str = "") -> None:
        """Take note."""


class _Cancelled(Exception):
    """Nobody waits for this computation any more."""


class Work:
    """One computation at a time; a new one, or `stop`, gives up the one before.

    Parameters
    ----------
    lock : RLock
        Held while the end of a computation is told.
    said : callable
        Told in words what begins.
    dimmed : DOMWidget
        Looks old while something is computed.

    Attributes
    ----------
    box : HBox
        What is done, how far it is, and the way out; seen only meanwhile.
    cancel : Button
    """

    def __init__(self, lock: AbstractContextManager[Any], said: Callable[[str], None], dimmed: Any) -> None:
        self._lock, self._said, self._dimmed = lock, said, dimmed
        self._job = 0
        self._thread: threading.Thread | None = None
        self._undone: Callable[[Exception | None], None] = lambda _: None
        self.cancel = button(
            "Cancel", "Stop the computation; what was shown stays", self._cancel, layout={"flex": "0 0 auto"}
        )
        self._doing = widgets.HTML(layout={"margin": "0 8px"})
        self._bar = widgets.FloatProgress(0.0, min=0, max=1, layout={"width": "160px"})
        self.box = widgets.HBox(
            (self._doing, self._bar, self.cancel), layout={"display": "none", "align_items": "center"}
        )

    @property
    def running(self) -> bool:
        """Whether somebody waits for a computation."""
        return bool(self.box.layout.display != "none")

    def begin(
        self,
        what: str,
        work: Callable[[Progress], Any],
        done: Callable[[Any], None],
        undone: Callable[[Exception | None], None],
        rows: int | None = None,
        unit: str = "events",
    ) -> None:
        """Compute on a thread.

        Parameters
        ----------
        what : str
            Said meanwhile.
        work : callable
            Computes, and calls what it is given now and then.
        done, undone : callable
            Told the result; or the error, None where it was cancelled.
        rows : int, optional
            Events in all, where that is known.
        unit : str
            What is counted.
        """
        self._job += 1
        mine, self._undone = self._job, undone
        self._doing.value = escape(what)
        self._bar.value = 0.0
        self._bar.layout.display = None if rows else "none"
        self.box.layout.display = "flex"
        self._dimmed.add_class("gk-computing")
        self._said(what)
        said = time.monotonic()

        def progress(done: int, of: int | None = rows, note: str = "") -> None:
            nonlocal said
            if self._job != mine:
                raise _Cancelled
            now = time.monotonic()
            if done and now - said >= PROGRESS_S:
                said = now
                self._doing.value = escape(f"{what}: {count(done)} {unit}{note}")
                if of:
                    self._bar.layout.display = None
                    self._bar.value = min(1.0, done / of)

        def run() -> None:
            error: Exception | None = None
            result = None
            try:
                result = work(progress)
            except _Cancelled:
                return
            except Exception as raised:
                error = raised
                if not isinstance(raised, GrinderError):
                    log.exception("computation failed what=%s", what)
            with self._lock:
                if self._job == mine:
                    self.stop()
                    if error is None:
                        done(result)
                    else:
                        undone(error)

        # With the caller's context, by which the kernel knows whom a message of a widget belongs to.
        self._thread = threading.Thread(
            target=contextvars.copy_context().run, args=(run,), name="computation of a view", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Give up what is being computed; nobody is told."""
        self._job += 1
        self.box.layout.display = "none"
        self._dimmed.remove_class("gk-computing")

    def _cancel(self, _button: Any) -> None:
        with self._lock:
            if self.running:
                self.stop()
                self._undone(None)

    def settle(self, timeout_s: float | None = None) -> None:
        """Wait until what was begun has been computed."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while (thread := self._thread) is not None and thread.is_alive():
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                return
