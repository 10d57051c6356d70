"""grinder_kit: research toolkit for grid trading. One set of rules for replay, paper and live; honest fills.

The public names are listed here and loaded on first use, so that `import grinder_kit` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from grinder_kit.decision.constraints import ConstraintProvider
    from grinder_kit.decision.grid_manager import GridManager
    from grinder_kit.errors import (
        ConfigError,
        ConnectivityError,
        DataError,
        GrinderError,
        IdentityError,
        NotArmedError,
        OrderFailedError,
        OrderRejectedError,
        OutcomeUnknownError,
        RateLimitError,
        VenueError,
    )
    from grinder_kit.execution.engine import ExecutionEngine
    from grinder_kit.execution.fill_tracker import FillTracker
    from grinder_kit.fillprob.heuristic import estimate_fill_probability
    from grinder_kit.market.binance_ws import import_binance_ws
    from grinder_kit.market.features import FeatureState, features
    from grinder_kit.market.recording import Recording
    from grinder_kit.market.synthetic import synthetic_market
    from grinder_kit.model.config import (
        Config,
        ExecutionConfig,
        GridConfig,
        Limits,
        RetryConfig,
        RouterConfig,
    )
    from grinder_kit.model.config_file import load_config, save_config
    from grinder_kit.model.fill import Fill, RoundTrip
    from grinder_kit.model.grid import GridLevel, GridPlan
    from grinder_kit.model.instrument import Instrument
    from grinder_kit.model.market import Features
    from grinder_kit.model.order import OrderState, OrderType, Side
    from grinder_kit.simulation.replay import replay
    from grinder_kit.simulation.result import Result

#: Public name to the module that has it; the one list of what users may rely on.
_HOME = {
    # markets
    "FeatureState": "market.features",
    "Features": "model.market",
    "features": "market.features",
    "Instrument": "model.instrument",
    "Recording": "market.recording",
    "import_binance_ws": "market.binance_ws",
    "synthetic_market": "market.synthetic",
    # configuration
    "Config": "model.config",
    "ExecutionConfig": "model.config",
    "GridConfig": "model.config",
    "Limits": "model.config",
    "RetryConfig": "model.config",
    "RouterConfig": "model.config",
    "load_config": "model.config_file",
    "save_config": "model.config_file",
    # the grid
    "ConstraintProvider": "decision.constraints",
    "GridLevel": "model.grid",
    "GridManager": "decision.grid_manager",
    "GridPlan": "model.grid",
    "estimate_fill_probability": "fillprob.heuristic",
    # orders and fills
    "ExecutionEngine": "execution.engine",
    "Fill": "model.fill",
    "FillTracker": "execution.fill_tracker",
    "OrderState": "model.order",
    "OrderType": "model.order",
    "RoundTrip": "model.fill",
    "Side": "model.order",
    # runs
    "Result": "simulation.result",
    "replay": "simulation.replay",
    # errors
    "ConfigError": "errors",
    "ConnectivityError": "errors",
    "DataError": "errors",
    "GrinderError": "errors",
    "IdentityError": "errors",
    "NotArmedError": "errors",
    "OrderFailedError": "errors",
    "OrderRejectedError": "errors",
    "OutcomeUnknownError": "errors",
    "RateLimitError": "errors",
    "VenueError": "errors",
}

__all__ = [
    "Config",
    "ConfigError",
    "ConnectivityError",
    "ConstraintProvider",
    "DataError",
    "ExecutionConfig",
    "ExecutionEngine",
    "FeatureState",
    "Features",
    "Fill",
    "FillTracker",
    "GridConfig",
    "GridLevel",
    "GridManager",
    "GridPlan",
    "GrinderError",
    "IdentityError",
    "Instrument",
    "Limits",
    "NotArmedError",
    "OrderFailedError",
    "OrderRejectedError",
    "OrderState",
    "OrderType",
    "OutcomeUnknownError",
    "RateLimitError",
    "Recording",
    "Result",
    "RetryConfig",
    "RoundTrip",
    "RouterConfig",
    "Side",
    "VenueError",
    "estimate_fill_probability",
    "features",
    "import_binance_ws",
    "load_config",
    "replay",
    "save_config",
    "synthetic_market",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'grinder_kit' has no attribute {name!r}")
    value = getattr(import_module(f"grinder_kit.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
