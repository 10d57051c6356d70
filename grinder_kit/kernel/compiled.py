"""How the kernel is compiled: without the GIL, cached on disk, and never from a cache of other sources.

Numba keys a cached function by its own file, not by the files of the functions it calls: after an edit of
book.py, a cached exchange.py would still fill orders with the old book. So the cache of this package carries a hash of every
source that is compiled together, and is dropped when they differ. Compiling happens once on a machine, and says so.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

log = logging.getLogger(__name__)

Function = TypeVar("Function", bound=Callable[..., Any])

_KERNEL = Path(__file__).parent
_SOURCES = (
    *sorted(_KERNEL.glob("*.py")),
    _KERNEL.parent / "market" / "features.py",
    *(_KERNEL.parent / "fillprob" / f"{name}.py" for name in ("heuristic", "traded_rate", "passage", "level_kernel")),
    *(_KERNEL.parent / "decision" / f"{name}.py" for name in ("ladder", "rules")),
    *(
        _KERNEL.parent / "simulation" / f"{name}.py"
        for name in (
            "columns",
            "local_book",
            "shared_market",
            "single_pass",
            "grid_orders",
            "grid_exchange",
            "grid_pairing",
            "grid_filter",
            "grid_rules",
            "grid_pass",
        )  # fmt: skip
    ),
)


def _drop_stale_cache() -> None:
    stamp = hashlib.sha256(numba.__version__.encode())
    for source in _SOURCES:
        if source.exists():
            stamp.update(source.read_bytes())
    wanted = stamp.hexdigest()
    try:
        for folder in {source.parent / "__pycache__" for source in _SOURCES}:
            folder.mkdir(exist_ok=True)
            note = folder / "compiled.sha256"
            if not note.exists() or note.read_text() != wanted:
                for stale in (*folder.glob("*.nbi"), *folder.glob("*.nbc")):
                    stale.unlink(missing_ok=True)
                note.write_text(wanted)
    except OSError:
        # A read-only installation: Numba caches in the user's directory, and its files changed together when it was installed.
        return


_drop_stale_cache()


def compiled(function: Function) -> Function:
    """Compile a function of integers and small arrays; calling it compiles on first use, once per machine."""
    return _compile(function, inline="never")


def inlined(function: Function) -> Function:
    """Compile a function into its only caller, for what runs at every event: a call copies each array of its arguments."""
    return _compile(function, inline="always")


def _compile(function: Function, inline: str) -> Function:
    # Without Numba's memory manager nothing can be allocated, and no array is counted as it is handed about: the kernel
    # keeps all its memory in arrays made by Python, and runs five times faster.
    njit: Any = numba.njit
    dispatcher = njit(
        cache=True, nogil=True, error_model="numpy", inline=inline, no_cfunc_wrapper=True, _nrt=False
    )(function)  # fmt: skip
    # Between compiled functions every integer is an int64: otherwise 1, -1 and an int8 each compile a function again.
    template = dispatcher.get_call_template
    dispatcher.get_call_template = lambda args, kws: template([_wide(a) for a in args], kws)
    _say_when_compiling(dispatcher)
    return cast(Function, dispatcher)


def _say_when_compiling(dispatcher: Any) -> None:
    """Say, once in a process, that a function is not in the cache: whoever waits should know for what."""
    cache = dispatcher._cache
    load = cache.load_overload

    def load_or_say(*args: Any) -> Any:
        found = load(*args)
        if found is None and not _said:
            _said.append(dispatcher.py_func.__name__)
            # A warning is seen where nobody has set up logging, as in a notebook.
            log.warning("compiling for this machine, once: this can take a minute")
        return found

    cache.load_overload = load_or_say


_said: list[str] = []


def _wide(kind: Any) -> Any:
    unliteral: Any = numba.types.unliteral
    kind = unliteral(kind)
    return numba.types.int64 if isinstance(kind, numba.types.Integer) else kind
