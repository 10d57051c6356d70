"""One name for each call: it is awaited in async code, and just called in a notebook's cell or a script.

This is the only place that nest-asyncio has: under ipykernel 6 a cell that waits here lets the kernel's loop go on meanwhile, so that
a panel stays alive while `session.wait()` waits. It is applied when it is first needed, never on import. Under ipykernel 7 a nested loop
keeps the next queued cell from ever running (seen with 7.4.0): there the work is done in a thread, and the panel stands still.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


class Done(Generic[Value]):
    """What a call in a cell returns: done already, and `await` gives it too."""

    def __init__(self, value: Value) -> None:
        self.value = value

    def __await__(self) -> Generator[Any, None, Value]:
        yield from ()  # what is done need not be waited for
        return self.value

    def __repr__(self) -> str:
        return repr(self.value)

    def __str__(self) -> str:
        return str(self.value)


def finish(work: Coroutine[Any, Any, Value]) -> Any:
    """Finish some work, or start it where the caller is async code that will wait for it.

    Returns
    -------
    Done, or Task
        `Done` in a notebook's cell and where no event loop runs; a running task in any other async code.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return Done(run_alone(work))
    if not _in_notebook():
        return loop.create_task(work)
    if not _may_nest():
        return Done(_in_a_thread(work))
    try:
        import nest_asyncio
    except ModuleNotFoundError:
        return Done(_in_a_thread(work))
    nest_asyncio.apply(loop)
    return Done(loop.run_until_complete(work))


def _in_a_thread(work: Coroutine[Any, Any, Value]) -> Value:
    """Finish some work on a loop of its own, in a thread of its own; an interrupt ends the waiting."""
    done: list[Value] = []
    failed: list[BaseException] = []

    def go() -> None:
        try:
            done.append(run_alone(work))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=go, name="session call", daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return done[0]


def run_alone(work: Coroutine[Any, Any, Value]) -> Value:
    """Run some work on a loop of its own, in a thread that has none.

    `asyncio.run` would not do: once nest-asyncio is applied, it looks for a loop that a thread does not have.
    """
    with asyncio.Runner() as runner:
        return runner.run(work)


def _may_nest() -> bool:
    """Whether the kernel bears a loop inside its own."""
    ipykernel = sys.modules.get("ipykernel")
    return ipykernel is None or ipykernel.version_info[0] < 7


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None
