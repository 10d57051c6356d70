"""grinder_kit: research toolkit for grid trading. One set of rules for replay, paper and live; honest fills.

The public names are listed here and loaded on first use, so that `import grinder_kit` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from grinder_kit.decision.constraints import ConstraintProvider
    from grinder_kit.decision.economics import LevelEconomics, RoundTripEconomics
    from grinder_kit.decision.grid_manager import GridManager
    from grinder_kit.decision.slicing import Iceberg, Twap
    from grinder_kit.errors import (
        BannedError,
        ConfigError,
        ConnectivityError,
        DataError,
        GrinderError,
        IdentityError,
        InvalidRequestError,
        JournalError,
        NotArmedError,
        OrderFailedError,
        OrderNotFoundError,
        OrderRejectedError,
        OutcomeUnknownError,
        RateLimitError,
        SessionError,
        SessionLostError,
        VenueError,
    )
    from grinder_kit.execution.alerts import AlertManager
    from grinder_kit.execution.clock import run_stepped
    from grinder_kit.execution.engine import ExecutionEngine
    from grinder_kit.execution.explain import explain
    from grinder_kit.execution.fill_tracker import FillTracker
    from grinder_kit.execution.idempotent import IdempotentPort
    from grinder_kit.execution.journal import Journal
    from grinder_kit.execution.latency import LatencyMonitor
    from grinder_kit.execution.metrics import ExecutionMetrics
    from grinder_kit.execution.port import Capabilities
    from grinder_kit.execution.position_syncer import PositionSyncer
    from grinder_kit.execution.retry import OrderRetryPolicy
    from grinder_kit.execution.router import SmartOrderRouter
    from grinder_kit.execution.shell import Shell, guarded
    from grinder_kit.fillprob.calibration import CalibratedModel
    from grinder_kit.fillprob.evaluation import evaluate
    from grinder_kit.fillprob.first_passage import FirstPassageModel
    from grinder_kit.fillprob.heuristic import estimate_fill_probability
    from grinder_kit.fillprob.heuristic_model import HeuristicModel
    from grinder_kit.fillprob.kaplan_meier import KaplanMeierModel
    from grinder_kit.fillprob.label_options import LabelOptions
    from grinder_kit.fillprob.labels import LabelSet, label
    from grinder_kit.fillprob.markout import MarkoutModel
    from grinder_kit.fillprob.model import FillModel, Inputs
    from grinder_kit.fillprob.model_file import load_fitted, load_model, save_model
    from grinder_kit.fillprob.own_fills import OwnFills
    from grinder_kit.fillprob.queue_band import fit_queues
    from grinder_kit.market.binance_ws import import_binance_ws
    from grinder_kit.market.features import FeatureState, features
    from grinder_kit.market.recording import Recording
    from grinder_kit.market.synthetic import synthetic_market
    from grinder_kit.model.config import (
        Config,
        ExecutionConfig,
        FillModelConfig,
        GridConfig,
        Limits,
        ReconcileConfig,
        RetryConfig,
        RouterConfig,
    )
    from grinder_kit.model.config_file import load_config, save_config
    from grinder_kit.model.fill import Fill, RoundTrip
    from grinder_kit.model.grid import GridLevel, GridPlan
    from grinder_kit.model.instrument import Instrument
    from grinder_kit.model.market import Features
    from grinder_kit.model.order import Order, OrderRequest, OrderResult, OrderState, OrderType, Side
    from grinder_kit.session.client import Session
    from grinder_kit.session.snapshot import Snapshot
    from grinder_kit.simulation.farm import sweep_far
    from grinder_kit.simulation.replay import replay
    from grinder_kit.simulation.result import Result
    from grinder_kit.simulation.sweep import sweep
    from grinder_kit.tuning.export import export
    from grinder_kit.tuning.space import Space
    from grinder_kit.tuning.study import Study
    from grinder_kit.tuning.tune import tune
    from grinder_kit.tuning.verify import verify
    from grinder_kit.venue.faulty import FaultyPort
    from grinder_kit.venue.paper import PaperPort
    from grinder_kit.venue.simulated import SimulatedVenue

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
    "FillModelConfig": "model.config",
    "GridConfig": "model.config",
    "Limits": "model.config",
    "ReconcileConfig": "model.config",
    "RetryConfig": "model.config",
    "RouterConfig": "model.config",
    "load_config": "model.config_file",
    "save_config": "model.config_file",
    # the grid
    "ConstraintProvider": "decision.constraints",
    "GridLevel": "model.grid",
    "GridManager": "decision.grid_manager",
    "GridPlan": "model.grid",
    "Iceberg": "decision.slicing",
    "Twap": "decision.slicing",
    # how likely it fills, and what that earns
    "CalibratedModel": "fillprob.calibration",
    "FillModel": "fillprob.model",
    "FirstPassageModel": "fillprob.first_passage",
    "HeuristicModel": "fillprob.heuristic_model",
    "Inputs": "fillprob.model",
    "KaplanMeierModel": "fillprob.kaplan_meier",
    "LabelOptions": "fillprob.label_options",
    "LabelSet": "fillprob.labels",
    "LevelEconomics": "decision.economics",
    "MarkoutModel": "fillprob.markout",
    "OwnFills": "fillprob.own_fills",
    "RoundTripEconomics": "decision.economics",
    "estimate_fill_probability": "fillprob.heuristic",
    "evaluate": "fillprob.evaluation",
    "fit_queues": "fillprob.queue_band",
    "label": "fillprob.labels",
    "load_fitted": "fillprob.model_file",
    "load_model": "fillprob.model_file",
    "save_model": "fillprob.model_file",
    # orders and fills
    "ExecutionEngine": "execution.engine",
    "Fill": "model.fill",
    "FillTracker": "execution.fill_tracker",
    "OrderState": "model.order",
    "OrderType": "model.order",
    "RoundTrip": "model.fill",
    "Side": "model.order",
    # at a venue
    "AlertManager": "execution.alerts",
    "Capabilities": "execution.port",
    "ExecutionMetrics": "execution.metrics",
    "FaultyPort": "venue.faulty",
    "IdempotentPort": "execution.idempotent",
    "Journal": "execution.journal",
    "LatencyMonitor": "execution.latency",
    "Order": "model.order",
    "OrderRequest": "model.order",
    "OrderResult": "model.order",
    "OrderRetryPolicy": "execution.retry",
    "PaperPort": "venue.paper",
    "PositionSyncer": "execution.position_syncer",
    "Shell": "execution.shell",
    "SimulatedVenue": "venue.simulated",
    "SmartOrderRouter": "execution.router",
    "explain": "execution.explain",
    "guarded": "execution.shell",
    "run_stepped": "execution.clock",
    # sessions
    "Session": "session.client",
    "Snapshot": "session.snapshot",
    # runs
    "Result": "simulation.result",
    "replay": "simulation.replay",
    "sweep": "simulation.sweep",
    "sweep_far": "simulation.farm",
    # which grid
    "Space": "tuning.space",
    "Study": "tuning.study",
    "tune": "tuning.tune",
    # to production
    "export": "tuning.export",
    "verify": "tuning.verify",
    # errors
    "BannedError": "errors",
    "ConfigError": "errors",
    "ConnectivityError": "errors",
    "DataError": "errors",
    "GrinderError": "errors",
    "IdentityError": "errors",
    "InvalidRequestError": "errors",
    "JournalError": "errors",
    "NotArmedError": "errors",
    "OrderFailedError": "errors",
    "OrderNotFoundError": "errors",
    "OrderRejectedError": "errors",
    "OutcomeUnknownError": "errors",
    "RateLimitError": "errors",
    "SessionError": "errors",
    "SessionLostError": "errors",
    "VenueError": "errors",
}

__all__ = [
    "Inputs",
    "fit_queues",
    "AlertManager",
    "BannedError",
    "CalibratedModel",
    "Capabilities",
    "Config",
    "ConfigError",
    "ConnectivityError",
    "ConstraintProvider",
    "DataError",
    "ExecutionConfig",
    "ExecutionEngine",
    "ExecutionMetrics",
    "FaultyPort",
    "FeatureState",
    "Features",
    "Fill",
    "FillModel",
    "FillModelConfig",
    "FillTracker",
    "FirstPassageModel",
    "GridConfig",
    "GridLevel",
    "GridManager",
    "GridPlan",
    "GrinderError",
    "HeuristicModel",
    "Iceberg",
    "IdempotentPort",
    "IdentityError",
    "Instrument",
    "InvalidRequestError",
    "Journal",
    "JournalError",
    "KaplanMeierModel",
    "LabelOptions",
    "LabelSet",
    "LatencyMonitor",
    "LevelEconomics",
    "Limits",
    "MarkoutModel",
    "NotArmedError",
    "Order",
    "OrderFailedError",
    "OrderNotFoundError",
    "OrderRejectedError",
    "OrderRequest",
    "OrderResult",
    "OrderRetryPolicy",
    "OrderState",
    "OrderType",
    "OutcomeUnknownError",
    "OwnFills",
    "PaperPort",
    "PositionSyncer",
    "RateLimitError",
    "ReconcileConfig",
    "Recording",
    "Result",
    "RetryConfig",
    "RoundTrip",
    "RoundTripEconomics",
    "RouterConfig",
    "Session",
    "SessionError",
    "SessionLostError",
    "Shell",
    "Side",
    "SimulatedVenue",
    "SmartOrderRouter",
    "Snapshot",
    "Space",
    "Study",
    "Twap",
    "VenueError",
    "estimate_fill_probability",
    "evaluate",
    "explain",
    "export",
    "features",
    "guarded",
    "import_binance_ws",
    "label",
    "load_config",
    "load_fitted",
    "load_model",
    "replay",
    "run_stepped",
    "save_config",
    "save_model",
    "sweep",
    "sweep_far",
    "synthetic_market",
    "tune",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'grinder_kit' has no attribute {name!r}")
    value = getattr(import_module(f"grinder_kit.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
