"""grinder_widgets: figures, reports and notebook controls for grinder_kit. Importing it loads nothing heavy."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grinder_widgets import figures, ladder, theme
    from grinder_widgets.beacon import Beacon
    from grinder_widgets.fill_explorer import FillExplorer
    from grinder_widgets.grid_tuner import GridTuner
    from grinder_widgets.page import report
    from grinder_widgets.session_panel import SessionPanel

__all__ = ["Beacon", "FillExplorer", "GridTuner", "SessionPanel", "figures", "ladder", "report", "theme"]

#: Names that stand in a module of another name.
_HOME = {
    "Beacon": "beacon",
    "FillExplorer": "fill_explorer",
    "GridTuner": "grid_tuner",
    "SessionPanel": "session_panel",
    "report": "page",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'grinder_widgets' has no attribute {name!r}")
    if name in _HOME:
        value = getattr(import_module(f"grinder_widgets.{_HOME[name]}"), name)
    else:
        value = import_module(f"grinder_widgets.{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
