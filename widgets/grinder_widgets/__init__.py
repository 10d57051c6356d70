"""grinder_widgets: figures, reports and notebook controls for grinder_kit. Importing it loads nothing heavy."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grinder_widgets import figures, ladder, theme
    from grinder_widgets.page import report

__all__ = ["figures", "ladder", "report", "theme"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'grinder_widgets' has no attribute {name!r}")
    if name == "report":
        value = import_module("grinder_widgets.page").report
    else:
        value = import_module(f"grinder_widgets.{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
