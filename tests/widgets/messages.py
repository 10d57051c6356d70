"""What a widget says, to a browser that is not there and to a reader."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from typing import Any

import comm
import ipywidgets
import pytest

from grinder_widgets.controls import family


def note_messages(monkeypatch: pytest.MonkeyPatch, note: Callable[[str, int, dict[str, Any]], None]) -> None:
    """Tell kind, bytes and state of each message to a browser, from now on."""

    class Noting(comm.DummyComm):  # type: ignore[misc]
        def publish_msg(
            self, kind: str, data: Any = None, metadata: Any = None, buffers: Any = None, **keys: Any
        ) -> None:
            state = (data or {}).get("state", {})
            code = {"_esm", "_css"}  # plotly's and ours: it is no data, and goes once
            size = len(json.dumps({name: value for name, value in state.items() if name not in code}))
            note(kind, size + sum(memoryview(one).nbytes for one in buffers or ()), state)

    monkeypatch.setattr(comm, "create_comm", lambda *args, **options: Noting(*args, **options))


def text_within(widget: Any) -> str:
    """Return all that a widget and those in it say in HTML, as text."""
    found = [one.value for one in family(widget) if isinstance(one, ipywidgets.HTML)]
    return html.unescape(" ".join(found)).replace("\xa0", " ")
